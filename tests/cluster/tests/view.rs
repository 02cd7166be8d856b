//! The picture of the cluster that slurmctld's plugin keeps: how fresh it is, and what becomes of
//! jobs while it cannot be renewed.

mod common;

use std::time::Duration;

use common::{STAY, node, two_gpus};
use flexmig_cluster::{Builder, Cluster, Job, Node, Plugins, Release, wait_for};

/// One GPU with a large leaf and three small ones.
fn mixed(name: &str) -> Node {
    node(name, &[&["3g.40gb", "1g.10gb*3"]], "flexmig:1g.10gb:3,flexmig:3g.40gb:1").cpus(16, 2)
}

/// A look every second.
const FAST: &str = "[select]\nrefresh = 1\n";

fn faulty() -> Builder {
    Cluster::builder().plugins(Plugins::FaultInjection)
}

/// What three compute slices are made of now: the type that a new job was given.
fn choice(cluster: &Cluster) -> String {
    let job = cluster.sbatch("-H -n1 --gres=flexmig:3g:1", "true");
    let info = job.info();
    job.cancel();
    info.get("TresPerNode").rsplit_once("flexmig:").unwrap_or_default().1.to_owned()
}

const LARGE: &str = "3g.40gb:1";
const SMALL: &str = "1g.10gb:3";

fn wait_choice(cluster: &Cluster, wanted: &str) {
    wait_for(&format!("3g to become {wanted}"), 15, || (choice(cluster) == wanted).then_some(()));
    // What was handed out counts as taken until the next look.
    std::thread::sleep(Duration::from_millis(1500));
}

/// A job that holds the large leaf.
fn hold_the_large<'c>(cluster: &'c Cluster) -> Job<'c> {
    let job = cluster.sbatch("-n1 -c1 --gres=flexmig:3g.40gb:1", STAY);
    job.wait_running();
    job
}

fn assert_silent(cluster: &Cluster) {
    let log = cluster.controller().log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("error: flexmig")).collect();
    assert_eq!(errors, [] as [&str; 0]);
}

#[test]
fn a_choice_follows_what_is_free() {
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).start();
    wait_choice(&cluster, LARGE);
    let holder = hold_the_large(&cluster);
    wait_choice(&cluster, SMALL);
    let composed = cluster.sbatch("-n1 -c1 --gres=flexmig:3g:1", STAY);
    composed.wait_running();
    assert_eq!(composed.indices("n1"), [0, 1, 2]);
    holder.cancel();
    wait_choice(&cluster, LARGE);
    assert_silent(&cluster);
}

#[test]
fn a_view_comes_back_after_reconfigure_and_restart() {
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).start();
    let holder = hold_the_large(&cluster);
    wait_choice(&cluster, SMALL);
    for _ in 0..3 {
        cluster.reconfigure();
    }
    cluster.wait_ready();
    wait_choice(&cluster, SMALL);
    cluster.restart_controller(true);
    wait_choice(&cluster, SMALL);
    cluster.restart_controller(false);
    holder.cancel();
    wait_choice(&cluster, LARGE);
    assert!(cluster.controller().is_running());
    assert_silent(&cluster);
}

#[test]
fn without_refresh_nothing_is_known_of_free_leaves() {
    let cluster = common::flexmig().policy("[select]\nrefresh = 0\n").node(mixed("n1")).start();
    let mark = cluster.controller().log_mark();
    let first = choice(&cluster);
    let holder = hold_the_large(&cluster);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(choice(&cluster), first);
    assert!(!threads(&cluster).is_empty(), "the files are watched");
    // Turned on while slurmctld runs, and off again.
    cluster.set_policy(FAST);
    wait_choice(&cluster, SMALL);
    cluster.set_policy("[select]\nrefresh = 0\n");
    wait_choice(&cluster, &first);
    holder.cancel();
    assert!(!cluster.controller().log_since(mark).contains("error: flexmig"));
}

#[test]
fn a_refresh_that_fails_keeps_the_view_and_jobs_pass() {
    let cluster =
        faulty().policy("[select]\nrefresh = 1\nmax_age = 8\n").node(mixed("n1")).prepare();
    let controller = cluster.controller();
    let file = cluster.dir().join("rpc-fails");
    controller.set_env("FLEXMIG_TEST_RPC_FAILS", file.to_str());
    let failing = |yes: bool| match yes {
        true => cluster.write("rpc-fails", ""),
        false => std::fs::remove_file(&file).expect("it is there"),
    };
    cluster.start_daemons();
    cluster.wait_ready();
    controller.wait_log(0, "flexmig: view: 1 nodes", 10);
    let holder = cluster.sbatch("-H -n1 -c1 --gres=flexmig:3g.40gb:1", STAY);
    wait_choice(&cluster, LARGE);

    let mark = controller.log_mark();
    failing(true);
    controller.wait_log(mark, "error: flexmig: view: slurm_load_", 10);
    cluster.scontrol(&format!("release {}", holder.id)).ok();
    holder.wait_running();
    // The old view still says that the large leaf is free. Slurm decides: the job waits for it.
    let sent_there = cluster.sbatch("-n1 -c1 --gres=flexmig:3g:1", STAY);
    assert!(sent_there.info().get("TresPerNode").ends_with(LARGE));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sent_there.state(), "PENDING");
    // Then it is too old, and is told once more.
    controller.wait_log(mark, "requests are resolved from policy alone", 20);
    let log = controller.log_since(mark);
    assert_eq!(log.matches("error: flexmig: view: ").count(), 2, "{log}");
    let policy_alone = cluster.sbatch("-H -n1 --gres=flexmig:1", "true");
    assert!(policy_alone.info().get("TresPerNode").contains("flexmig:"));
    policy_alone.cancel();

    failing(false);
    controller.wait_log(mark, "flexmig: view: the controller answers again", 10);
    wait_choice(&cluster, SMALL);
    // Where waiting jobs can be planned anew it has moved to the small leaves meanwhile.
    if cluster.release() < Release(23, 11) {
        assert_eq!(sent_there.state(), "PENDING");
        holder.cancel();
    }
    sent_there.wait_running();
    let taken = holder.info().indices("n1", "flexmig");
    assert!(sent_there.indices("n1").iter().all(|index| !taken.contains(index)));
}

#[test]
fn a_panic_in_the_thread_is_logged_and_the_thread_goes_on() {
    let cluster = faulty()
        .controller_env("FLEXMIG_TEST_PANIC", "view")
        .policy(FAST)
        .node(mixed("n1"))
        .start();
    let controller = cluster.controller();
    controller.wait_log(0, "flexmig: view: internal error: ", 10);
    // Not a busy loop.
    std::thread::sleep(Duration::from_secs(3));
    let count = controller.log().matches("flexmig: view: internal error: ").count();
    assert!((2..=8).contains(&count), "{count} lines");
    let job = cluster.sbatch("-n1 --gres=flexmig:1", STAY);
    job.wait_running();
    let mark = controller.log_mark();
    cluster.set_policy("[submit]\nmax_leaves_per_node = 2\n");
    controller.wait_log(mark, "flexmig.toml: read", 10);
}

/// The `SigBlk` masks of our threads in slurmctld.
fn threads(cluster: &Cluster) -> Vec<u64> {
    let pid = cluster.controller().pid().expect("slurmctld runs");
    let script = format!(
        "for task in /proc/{pid}/task/*; do
           case $(cat $task/comm) in flexmig-*) grep ^SigBlk: $task/status;; esac
         done"
    );
    let shown = cluster.client("sh").arg("-c").arg(script).run().ok();
    let mask = |line: &&str| u64::from_str_radix(line.rsplit('\t').next()?, 16).ok();
    shown.lines().iter().filter_map(mask).collect()
}

#[test]
fn our_thread_has_all_signals_blocked() {
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).start();
    wait_choice(&cluster, LARGE);
    let masks = threads(&cluster);
    assert_eq!(masks.len(), 1);
    // All but SIGKILL, SIGSTOP, and the two that the C library keeps for itself.
    let open = !masks[0];
    assert_eq!(open & !(1 << 8 | 1 << 18 | 1 << 31 | 1 << 32), 0, "{:016x}", masks[0]);
}

#[test]
fn a_cluster_without_leaves_is_no_trouble() {
    let cluster = common::flexmig()
        .policy(FAST)
        .nodes(2, Node::new)
        .slurm_conf("GresTypes=flexmig\n")
        .start();
    std::thread::sleep(Duration::from_secs(3));
    let refused = cluster.try_sbatch("-n1 --gres=flexmig:3g:1", "true").unwrap_err();
    assert!(refused.stderr.contains("sbatch: error: flexmig: "), "{refused}");
    assert_eq!(cluster.sbatch("-n1", "echo fine").finish().trim(), "fine");
    assert_silent(&cluster);
}

#[test]
fn a_layout_file_that_contradicts_slurm_conf_is_left_out_with_a_line() {
    let layout = "nodes = \"n[1-2]\"\n[[gpu]]\nminor = 0\nmodel = \"NVIDIA A100-SXM4-80GB\"\n\
                  bus_id = \"0000:07:00.0\"\nleaves = [{ profile = \"3g.40gb\", gi = 1, ci = 0 }]\n";
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).node(two_gpus("n2")).prepare();
    std::fs::create_dir(cluster.dir().join("flexmig-layouts")).expect("a directory");
    cluster.write("flexmig-layouts/wrong.toml", layout);
    cluster.start_daemons();
    cluster.wait_ready();
    let log =
        cluster.controller().wait_log(0, "flexmig-layouts/wrong.toml: node n1: it has 0 of", 10);
    let line = log.lines().find(|line| line.contains("wrong.toml: node n1")).unwrap_or_default();
    assert!(line.contains("flexmig:1g.10gb, slurm.conf 3: left out: "), "{line}");
    wait_choice(&cluster, LARGE);
    // Once.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(cluster.controller().log().matches("wrong.toml: node n1").count(), 1);
}

#[test]
fn a_controller_that_stands_by_looks_and_does_no_harm() {
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).backup_controller().start();
    cluster.backup().wait_log(0, "flexmig: view: 1 nodes", 20);
    wait_choice(&cluster, LARGE);
    let _holder = hold_the_large(&cluster);
    wait_choice(&cluster, SMALL);
    assert_silent(&cluster);
    assert!(!cluster.backup().log().contains("error: flexmig"));
}
