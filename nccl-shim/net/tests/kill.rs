//! One side is killed at a random point while a forked child of it lives on. The
//! other must get ncclRemoteError within a bounded time, with no byte wrong before,
//! and give back every descriptor and mapping.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use common::{Run, wait};

/// Exit codes of the rank that stays.
const REMOTE: i32 = 42;
const UNMET: i32 = 43;

/// The longest time between the kill and the survivor's end.
const BOUND: Duration = Duration::from_secs(5);

fn rounds(default: u64) -> u64 {
    let text = std::env::var("FLEXMIG_TEST_KILL_ROUNDS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Kills rank `victim` after `delay`. Returns how the other ended.
fn round(run: &Run, victim: usize, delay: Duration, seed: u64) -> i32 {
    let script = |rank: usize| if rank == victim { "child" } else { "alone" };
    let mut ranks: Vec<Child> =
        (0..2).map(|rank| run.start(rank, "forever", &format!("{}{seed}", script(rank)))).collect();
    // Before that, who kills the starter may not kill the rank.
    while !run.starters.is_empty() && !run.folder.path().join("up-1").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(delay);
    ranks[victim].kill().expect("killing a rank");
    let _ = ranks[victim].wait();
    let killed = Instant::now();
    std::fs::write(run.folder.path().join("killed"), "").expect("a file");
    let status = wait(&mut ranks[1 - victim], Duration::from_secs(20));
    assert!(killed.elapsed() < BOUND, "{:?} after the kill", killed.elapsed());
    status.code().unwrap_or_else(|| panic!("signal {:?}", status.signal()))
}

fn kill_rounds(count: u64, variables: &[(&'static str, &'static str)]) {
    kill_rounds_with(count, variables, &[]);
}

fn kill_rounds_with(count: u64, variables: &[(&'static str, &'static str)], starter: &[&str]) {
    let mut met = 0;
    for number in 0..count {
        let mut run = Run::new(2, [11, 6, 8, 12][number as usize % 4]);
        if !starter.is_empty() {
            let words = starter.iter().map(|&word| word.to_owned()).collect();
            run.starters = vec![Vec::new(), words];
        }
        run.variables.extend_from_slice(variables);
        // From the middle of connecting to well into the traffic.
        let delay = Duration::from_micros(3_000 + number * 7_919 % 60_000);
        let code = round(&run, (number % 2) as usize, delay, number / 2);
        assert!(code == REMOTE || code == UNMET, "round {number}: exit code {code}");
        met += u64::from(code == REMOTE);
    }
    // A round in which nobody had met shows nothing.
    assert!(met * 2 > count, "only {met} of {count} rounds had traffic");
}

#[test]
fn a_killed_rank_is_noticed() {
    kill_rounds(rounds(60), &[]);
}

#[test]
fn a_killed_rank_is_noticed_by_its_lock() {
    kill_rounds(rounds(60) / 4, &[("FLEXMIG_NET_LIVENESS", "lock")]);
}

#[test]
fn a_killed_rank_is_noticed_without_single_copy() {
    kill_rounds(rounds(60) / 4, &[("FLEXMIG_NET_SINGLE_COPY", "0")]);
}

#[test]
fn a_killed_rank_is_noticed_over_tcp() {
    kill_rounds(rounds(60) / 4, &[("FLEXMIG_NET_TRANSPORT", "tcp")]);
}

/// Rank 1 lives in a PID namespace of its own, from which rank 0 cannot be seen.
#[test]
fn a_killed_rank_is_noticed_across_pid_namespaces() {
    let status = std::process::Command::new("unshare").args(["--pid", "--fork", "true"]).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("skipped: unshare --pid is not allowed here");
        return;
    }
    let starter = &["unshare", "--pid", "--fork", "--kill-child"];
    for liveness in ["auto", "lock"] {
        kill_rounds_with(rounds(60) / 6, &[("FLEXMIG_NET_LIVENESS", liveness)], starter);
    }
}
