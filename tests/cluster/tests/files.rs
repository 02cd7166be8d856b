//! Missing and broken files: one clear line, nothing else affected.

mod common;

use common::{STAY, flexmig, leaves, list, shown, two_gpus, variable};
use flexmig_cluster::wait_for;

/// The log line that names this file with a line number.
#[track_caller]
fn complaint(log: &str, place: &str) -> String {
    let line = log.lines().find(|line| line.contains("flexmig: ") && line.contains(place));
    line.unwrap_or_else(|| panic!("no line about {place} in\n{log}")).to_owned()
}

/// A cluster whose controller has this flexmig.toml; the node has a good one.
fn with_policy(text: &str) -> flexmig_cluster::Cluster {
    let cluster = flexmig().node(two_gpus("n1")).prepare();
    cluster.set_policy(text);
    cluster.start_daemons();
    cluster
}

#[test]
fn an_unknown_key_is_told_with_file_and_line_and_the_defaults_hold() {
    let cluster = with_policy("[submit]\nmax_leafs_per_job = 1\n");
    let line = complaint(&cluster.controller().log(), "flexmig.toml:2: ");
    assert!(line.contains("unknown field `max_leafs_per_job`"), "{line}");
    let job = cluster.sbatch("-n1 --gres=flexmig:2", STAY);
    assert_eq!(list(variable(&shown(&job), "FLEXMIG_UUIDS")).len(), 2);
}

#[test]
fn a_broken_file_that_says_so_refuses_flexmig_jobs_and_no_others() {
    let cluster = with_policy("if_broken = \"refuse\"\n[submit\n");
    let ran = cluster.try_sbatch("-n1 --gres=flexmig:2", STAY).expect_err("a refusal");
    assert!(ran.stderr.contains("flexmig.toml:2"), "{ran}");
    assert_eq!(cluster.sbatch("-n1", "echo fine").finish().trim(), "fine");
}

#[test]
fn a_file_that_breaks_while_slurmctld_runs_keeps_the_policy_and_a_mended_one_is_taken_over() {
    let cluster =
        flexmig().policy("[submit]\nmax_leaves_per_job = 3\n").node(two_gpus("n1")).start();
    let refused =
        |count: u32| cluster.try_sbatch(&format!("-H -n1 --gres=flexmig:{count}"), STAY).is_err();
    assert!(refused(4) && !refused(3));
    let mark = cluster.controller().log_mark();
    cluster.set_policy("[submit]\nmax_leaves_per_job = ???\n");
    cluster.controller().wait_log(mark, "flexmig.toml:2: ", 15);
    assert!(refused(4) && !refused(3), "the last good policy holds");
    cluster.set_policy("[submit]\nmax_leaves_per_job = 5\n");
    wait_for("the new policy", 15, || (!refused(5)).then_some(()));
    assert!(refused(6));
}

#[test]
fn a_corrupt_index_file_is_one_line_and_the_node_works() {
    for junk in ["", "version = 99\n", "\u{1}\u{2}not toml", "version = 1\n[[leaf]]\nindex = -4\n"]
    {
        let cluster = flexmig().node(two_gpus("n1")).start();
        let before = leaves(&cluster, "n1");
        cluster.slurmd("n1").stop();
        let file = index_file(&cluster);
        std::fs::write(&file, junk).expect("a corrupt index file");
        let mark = cluster.slurmd("n1").log_mark();
        cluster.slurmd("n1").start();
        cluster.wait_ready();
        let log = cluster.slurmd("n1").log_since(mark);
        complaint(&log, &format!("{}:", file.file_name().expect("a name").to_string_lossy()));
        let after = leaves(&cluster, "n1");
        assert_eq!(after.len(), before.len());
        let job = cluster.sbatch("-n1 --gres=flexmig:2", STAY);
        assert_eq!(list(variable(&shown(&job), "FLEXMIG_UUIDS")).len(), 2);
    }
}

fn index_file(cluster: &flexmig_cluster::Cluster) -> std::path::PathBuf {
    let ran = cluster.flexmig("n1").args("leaves --json").run().ok();
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    json["index_file"].as_str().expect("a path").into()
}

#[test]
fn flexmig_check_agrees_with_a_cluster_that_works_and_finds_what_does_not() {
    let cluster = flexmig().node(two_gpus("n1")).cgroup_conf("").start();
    let ran = cluster.flexmig("n1").args("check").run();
    assert_eq!(ran.code, 0, "{ran}");
    cluster.edit("slurm.conf", |text| text.replace("flexmig:1g.10gb:14", "flexmig:1g.10gb:16"));
    let ran = cluster.flexmig("n1").args("check").run();
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.stdout.contains("Gres=flexmig:1g.10gb:14"), "{ran}");
}
