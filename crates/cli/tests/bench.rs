//! `flexmig bench` with real processes, over the built net plugin and over a loopback plugin of the
//! test's own (`examples/loopback_net.rs`).

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The test's own plugin, which cargo builds with these tests.
fn loopback() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(|deps| deps.parent()).unwrap();
    target.join("examples/libloopback_net.so")
}

/// The net plugin as `make build` leaves it.
fn built() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("build/lib/libnccl-net-flexmig.so");
    assert!(path.exists(), "{}: `make build` makes it", path.display());
    path
}

fn bench(plugin: &PathBuf, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flexmig"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SLURM_")) {
        command.env_remove(name);
    }
    command.arg("bench").args(line.split_whitespace()).arg("--plugin").arg(plugin);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs to a good end; the rows of the JSON.
fn rows(plugin: &PathBuf, line: &str) -> Vec<serde_json::Value> {
    let output = bench(plugin, line).arg("--json").output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = json["rows"].as_array().unwrap().clone();
    for row in &rows {
        assert_eq!(row["errors"], 0, "{line}: {json}");
        assert!(row["time_us"].as_f64().unwrap() > 0.0, "{line}: {json}");
    }
    rows
}

/// Waits for the end, and panics if that takes longer.
fn end_within(mut child: Child, seconds: u64) -> Output {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("not ended after {seconds} s: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(status.success());
}

const OPS: [&str; 7] =
    ["transport", "allreduce", "allgather", "reduce-scatter", "broadcast", "sendrecv", "proxy"];

#[test]
fn every_operation_over_the_test_plugin_with_every_version_of_the_interface() {
    for abi in [6, 8, 11] {
        for op in OPS {
            let ranks = if op == "transport" { 2 } else { 3 };
            let line = format!("{op} -n {ranks} -b 0 -e 3M -f 60 --iters 2 --abi {abi}");
            let output = bench(&loopback(), &line).env("LOOPBACK_NET_SLOW", "1").output().unwrap();
            let out = text(&output.stdout);
            assert!(output.status.success(), "{line}: {output:?}");
            assert!(out.starts_with(&format!(
                "# flexmig bench {op}: {ranks} ranks, net plugin Loopback v{abi}\n"
            )));
            assert!(out.ends_with("# wrong elements: 0 OK\n"), "{out}");
        }
    }
}

#[test]
fn the_built_plugin_moves_everything_right() {
    let plugin = built();
    for op in OPS {
        for (ranks, sizes) in
            [(2, "-b 0 -e 64M -f 32"), (5, "-b 0 -e 4M -f 64"), (8, "-b 12 -e 1M -f 50")]
        {
            let ranks = if op == "transport" { 2 } else { ranks };
            rows(&plugin, &format!("{op} -n {ranks} {sizes} --iters 2"));
        }
    }
    for (ranks, abi) in [(3, 6), (4, 8), (6, 11), (7, 11)] {
        rows(&plugin, &format!("allreduce -n {ranks} -b 4 -e 2M -f 40 --iters 2 --abi {abi}"));
        rows(
            &plugin,
            &format!("proxy -n {ranks} -b 4 -e 6M -f 40 --iters 2 --abi {abi} --channels 4"),
        );
    }
}

#[test]
fn json_is_what_the_documentation_says() {
    let output = bench(&loopback(), "allreduce -n 2 -b 8 -e 16 --iters 1 --json").output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |value: &serde_json::Value| {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(keys(&json), "op ranks rows");
    assert_eq!((&json["op"], &json["ranks"]), (&"allreduce".into(), &2.into()));
    assert_eq!(json["rows"].as_array().unwrap().len(), 2);
    assert_eq!(keys(&json["rows"][1]), "algbw_gbps busbw_gbps bytes errors time_us");
    assert_eq!(json["rows"][1]["bytes"], 16);
}

#[test]
fn one_changed_byte_is_an_error() {
    for op in OPS {
        let ranks = if op == "transport" { 2 } else { 3 };
        let line = format!("{op} -n {ranks} -b 4K -e 4K --iters 1");
        let output = bench(&loopback(), &line).env("LOOPBACK_NET_FLIP", "1").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{op}");
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(out.contains("FAILED"), "{out}");
        assert!(error.starts_with("flexmig: bench: rank 0: "), "{error}");
        assert!(error.contains(&format!("{op}: ")) && error.contains("wrong elements"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

/// Starts a group that runs for long; its processes as the head of the table names them.
fn long_run(line: &str, plugin: &PathBuf) -> (Child, Vec<u32>) {
    let mut child = bench(plugin, line).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut pids = Vec::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some((_, rest)) = line.split_once("  pid ") {
            pids.push(rest.split(' ').next().unwrap().parse().unwrap());
        }
        if line.ends_with("(GB/s)") {
            break;
        }
    }
    // Reads on, so that nobody waits for the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, pids)
}

#[test]
fn a_killed_rank_ends_all_of_them_with_its_name() {
    for plugin in [loopback(), built()] {
        for victim in [0, 2] {
            let (child, pids) = long_run("allreduce -n 4 -b 1M -e 1M --iters 1000000", &plugin);
            assert_eq!(pids.len(), 4);
            std::thread::sleep(Duration::from_millis(200));
            signal(pids[victim], "KILL");
            let output = end_within(child, 10);
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(
                text(&output.stderr).lines().last(),
                Some(format!("flexmig: bench: rank {victim} was killed by signal 9").as_str())
            );
            assert!(!pids.iter().any(|&pid| is_alive(pid)));
        }
    }
}

#[test]
fn a_stopped_rank_is_waited_for_no_longer_than_the_timeout() {
    let line = "allreduce -n 3 -b 64K -e 64K --iters 1000000 --timeout 1";
    let (child, pids) = long_run(line, &loopback());
    signal(pids[1], "STOP");
    let output = end_within(child, 15);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("no progress for 1 s in "), "{error}");
    assert!(!pids.iter().any(|&pid| is_alive(pid)), "the stopped one is killed");
}

#[test]
fn ranks_do_not_outlive_the_command() {
    let (mut child, pids) = long_run("sendrecv -n 3 -b 1M -e 1M --iters 1000000", &loopback());
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while pids.iter().any(|&pid| is_alive(pid)) {
        assert!(Instant::now() < deadline, "ranks are still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A task as srun starts it.
fn task(job: u32, rank: usize, ranks: usize, line: &str, plugin: &PathBuf) -> Child {
    let mut command = bench(plugin, line);
    command.env("SLURM_JOB_ID", job.to_string()).env("SLURM_STEP_ID", "0");
    command.env("SLURM_PROCID", rank.to_string()).env("SLURM_STEP_NUM_TASKS", ranks.to_string());
    command.env("SLURM_STEP_NODELIST", "a1,a2").env("SLURM_STEP_NUM_NODES", "2");
    command.env("SLURMD_NODENAME", format!("a{}", 1 + rank % 2)).env("SLURM_CONF", "/nowhere");
    command.args(["--host", "127.0.0.1"]).spawn().unwrap()
}

#[test]
fn tasks_of_a_step_find_each_other() {
    let tasks: Vec<Child> = (0..4)
        .map(|rank| task(std::process::id(), rank, 4, "allreduce -b 8 -e 1M -f 64", &loopback()))
        .collect();
    let outputs: Vec<Output> = tasks.into_iter().map(|task| end_within(task, 60)).collect();
    assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    let out = text(&outputs[0].stdout);
    assert!(out.contains("# flexmig bench allreduce: 4 ranks") && out.contains("node a2"), "{out}");
    assert!(out.ends_with("# wrong elements: 0 OK\n"), "{out}");
    assert!(outputs[1..].iter().all(|output| output.stdout.is_empty()));
}

#[test]
fn a_killed_task_ends_all_tasks_of_the_step() {
    for (victim, expected) in [(2, "rank 2 is gone"), (0, "rank 0 is gone")] {
        let job = std::process::id() + 1 + victim as u32;
        let line = "allreduce -b 1M -e 1M --iters 1000000";
        let mut tasks: Vec<Child> =
            (0..3).map(|rank| task(job, rank, 3, line, &loopback())).collect();
        // The head of the table comes when all are together.
        let mut out = tasks[0].stdout.take().unwrap();
        out.read_exact(&mut [0; 20]).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        tasks[victim].kill().unwrap();
        for (rank, task) in tasks.into_iter().enumerate() {
            let output = end_within(task, 10);
            if rank == victim {
                continue;
            }
            assert_eq!(output.status.code(), Some(1), "rank {rank}");
            let error = text(&output.stderr);
            assert!(error.starts_with(&format!("flexmig: bench: rank {rank} stops: ")), "{error}");
            assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
        }
    }
}

#[test]
fn what_cannot_run_says_why_in_one_line() {
    let nowhere = PathBuf::from("/nowhere/libnet.so");
    let not_one = PathBuf::from("/usr/lib/x86_64-linux-gnu/libm.so.6");
    for (plugin, line, status, expected) in [
        (&loopback(), "allreduce", 2, "how many ranks: type -n RANKS"),
        (&loopback(), "allreduce -n 0", 2, "-n 0: type one rank or more"),
        (&loopback(), "transport -n 3", 2, "transport runs between two ranks: type -n 2"),
        (&loopback(), "allreduce -n 2 -b 6 -e 6", 2, "-b must be a multiple of 4"),
        (&loopback(), "allreduce -n 2 -b 8 -e 4", 2, "-b 8 is above -e 4"),
        (&loopback(), "allreduce -n 300", 2, "300 ranks: 256 are the most"),
        (&loopback(), "allreduce -n 2 --abi 7", 1, "it exports no ncclNetPlugin_v7"),
        (&nowhere, "allreduce -n 2", 1, "/nowhere/libnet.so: cannot open shared object file"),
        (&not_one, "allreduce -n 2", 1, "it exports no ncclNetPlugin_v11, _v8 or _v6"),
    ] {
        let output = bench(plugin, line).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{line}: {error}");
        assert!(error.starts_with("flexmig: bench: ") && error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let mut command = bench(&loopback(), "allreduce -n 2");
    for (name, value) in
        [("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "0")]
    {
        command.env(name, value);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("srun started 4 tasks"), "{output:?}");
}
