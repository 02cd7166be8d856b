//! Daemons restart under running jobs: no device file is ever held by two jobs, no job is lost.

mod common;

use std::collections::BTreeSet;

use common::{STAY, flexmig, leaves, list, shown, two_gpus, uuids_at, variable};
use flexmig_cluster::{Cluster, Job, wait_for};

/// The leaves that running jobs hold, each of them once.
#[track_caller]
fn held(jobs: &[&Job<'_>]) -> BTreeSet<String> {
    let all: Vec<String> =
        jobs.iter().flat_map(|job| list(variable(&shown(job), "FLEXMIG_UUIDS"))).collect();
    let unique: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(unique.len(), all.len(), "a leaf is held twice: {all:?}");
    unique
}

/// Starts jobs before and after `change`; checks that nothing is held twice and nothing is lost.
fn survives(change: impl FnOnce(&Cluster)) {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let first = cluster.sbatch("-n1 --gres=flexmig:3", STAY);
    let middle = cluster.sbatch("-n1 --gres=flexmig:2", STAY);
    let last = cluster.sbatch("-n1 --gres=flexmig:4", STAY);
    held(&[&first, &middle, &last]);
    middle.cancel();
    let indices = last.indices("n1");

    change(&cluster);
    cluster.wait_ready();

    let uuids = list(variable(&shown(&last), "FLEXMIG_UUIDS"));
    wait_for("the indices of the running job", 20, || {
        (last.indices("n1") == indices).then_some(())
    });
    assert_eq!(uuids, uuids_at(&leaves(&cluster, "n1"), &indices), "an index changed its leaf");
    let next = cluster.sbatch("-n1 --gres=flexmig:7", STAY);
    assert_eq!(held(&[&first, &last, &next]).len(), 14);
    assert_eq!(
        list(variable(&shown(&next), "FLEXMIG_UUIDS")),
        uuids_at(&leaves(&cluster, "n1"), &next.indices("n1"))
    );
    for job in [&first, &last, &next] {
        assert_eq!(job.state(), "RUNNING", "job {} is lost", job.id);
    }
}

/// Turns the NVML order of the node's GPUs round.
fn reverse(cluster: &Cluster) {
    let mut gpus = cluster.mock("n1");
    gpus.reverse = true;
    cluster.set_mock("n1", &gpus);
}

#[test]
fn scontrol_reconfigure() {
    survives(|cluster| cluster.reconfigure());
}

#[test]
fn scontrol_reconfigure_with_another_order_policy() {
    survives(|cluster| {
        cluster.set_node_policy("n1", "order = \"spread\"");
        cluster.reconfigure();
    });
}

#[test]
fn slurmd_restart() {
    survives(|cluster| cluster.slurmd("n1").restart());
}

#[test]
fn slurmd_restart_with_another_order_policy() {
    survives(|cluster| {
        cluster.set_node_policy("n1", "order = \"spread\"");
        cluster.slurmd("n1").restart();
    });
}

#[test]
fn slurmd_restart_with_the_nvml_order_reversed() {
    survives(|cluster| {
        cluster.slurmd("n1").stop();
        reverse(cluster);
        cluster.slurmd("n1").start();
    });
}

#[test]
fn slurmd_killed() {
    survives(|cluster| {
        cluster.slurmd("n1").kill9();
        cluster.slurmd("n1").start();
    });
}

#[test]
fn slurmctld_restart() {
    survives(|cluster| cluster.controller().restart());
}

#[test]
fn slurmctld_killed() {
    survives(|cluster| cluster.restart_controller(true));
}

#[test]
fn both_killed_with_policy_and_nvml_order_changed() {
    survives(|cluster| {
        cluster.save_state();
        cluster.controller().kill9();
        cluster.slurmd("n1").kill9();
        reverse(cluster);
        cluster.set_node_policy("n1", "order = \"spread\"");
        cluster.slurmd("n1").start();
        cluster.controller().start();
    });
}

#[test]
fn a_new_order_is_taken_over_when_no_job_runs() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let before = leaves(&cluster, "n1");
    cluster.set_node_policy("n1", "order = \"spread\"");
    cluster.slurmd("n1").restart();
    cluster.wait_ready();
    let after = leaves(&cluster, "n1");
    let minors = |leaves: &[common::Leaf]| leaves.iter().map(|l| l.gpu_minor).collect::<Vec<_>>();
    assert_eq!(minors(&before)[..4], [0, 0, 0, 0]);
    assert_eq!(minors(&after)[..4], [0, 1, 0, 1]);
}

#[test]
fn a_typed_job_between_controller_restart_and_registration_never_runs_on_another_type() {
    let mixed: &[&[&str]] = &[&["3g.40gb", "1g.10gb*4"]];
    let cluster =
        flexmig().node(common::node("n1", mixed, "flexmig:1g.10gb:4,flexmig:3g.40gb:1")).start();
    let outputs = cluster.dir().join("typed");
    std::fs::create_dir(&outputs).expect("a directory");
    for round in 0..5 {
        cluster.save_state();
        cluster.controller().kill9();
        cluster.controller().start();
        // No wait for the node: until it registers, the controller knows counts but not which index
        // is of which type.
        let path = outputs.join(round.to_string());
        let script = format!("echo ${{FLEXMIG_PROFILES:-none}} >{}; sleep 600", path.display());
        let job = cluster.sbatch("-n1 --gres=flexmig:3g.40gb:1", &script);
        let state = wait_for("the job to start or to fail", 30, || {
            let state = job.state();
            (state == "FAILED" || path.exists()).then_some(state)
        });
        match state.as_str() {
            "FAILED" => {
                let output = job.output();
                assert!(output.contains("flexmig: ") && !path.exists(), "round {round}: {output}");
            }
            _ => {
                let ran = wait_for("the job's profile", 10, || {
                    std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))
                });
                assert_eq!(ran.trim(), "3g.40gb", "round {round}: {}", job.info().text);
                job.cancel();
            }
        }
        cluster.wait_ready();
    }
    // And one that is sure to run.
    let job = cluster.sbatch("-n1 --gres=flexmig:3g.40gb:1", STAY);
    assert_eq!(variable(&shown(&job), "FLEXMIG_PROFILES"), "3g.40gb");
}
