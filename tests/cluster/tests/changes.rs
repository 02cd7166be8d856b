//! Leaves that vanish or change, and nodes that disagree with slurm.conf.

mod common;

use common::{STAY, flexmig, list, mock, node, shown, two_gpus, uuids_at, variable};
use flexmig_cluster::mock_nvml::Fail;
use flexmig_cluster::{Cluster, Node};

/// A cluster whose node n1 lost leaf gi 9 of its first GPU after slurmd started, with that leaf's
/// index and UUID.
fn with_a_vanished_leaf() -> (Cluster, u32, String) {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let leaf = common::leaves(&cluster, "n1").remove(2);
    let gi = gi_of(&cluster, leaf.index);
    let mut gpus = cluster.mock("n1");
    gpus.gpu[0].missing = vec![format!("gi{gi}/ci0")];
    cluster.set_mock("n1", &gpus);
    (cluster, leaf.index, leaf.uuid)
}

fn gi_of(cluster: &Cluster, index: u32) -> u64 {
    let ran = cluster.flexmig("n1").args("leaves --json").run().ok();
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let rows = json["leaves"].as_array().expect("leaves");
    let row = rows.iter().find(|row| row["index"] == index).expect("the row of the index");
    row["gi"].as_u64().expect("gi")
}

#[test]
fn a_leaf_that_vanished_fails_its_job_with_one_line_and_others_go_on() {
    let (cluster, index, uuid) = with_a_vanished_leaf();
    let before = cluster.sbatch("-n1 --gres=flexmig:2", STAY);
    shown(&before);
    let marker = cluster.dir().join("the-program-ran");
    let script = format!("touch {}; srun -n1 touch {}", marker.display(), marker.display());
    let doomed = cluster.sbatch("-n1 --gres=flexmig:1", &script);
    assert_eq!(doomed.wait_end(), "FAILED", "{}", doomed.output());
    let output = doomed.output();
    let lines: Vec<_> = output.lines().filter(|line| line.contains("flexmig: ")).collect();
    assert_eq!(lines.len(), 1, "{output}");
    for part in ["n1", uuid.as_str(), &format!("{index}")] {
        assert!(lines[0].contains(part), "{part} in {output}");
    }
    assert!(!marker.exists(), "the user's program ran on a leaf that is gone");

    assert_eq!(before.state(), "RUNNING");
    assert!(!cluster.node_info("n1").get("State").contains("DRAIN"), "{}", cluster.node_info("n1"));
    // The vanished leaf's index is free again, so the next job gets it and fails; one that holds
    // it back shows that the others work.
    before.cancel();
    let whole = cluster.sbatch("-n1 --gres=flexmig:2", STAY);
    assert_eq!(
        list(variable(&shown(&whole), "FLEXMIG_UUIDS")),
        uuids_at(&common::leaves(&cluster, "n1"), &[0, 1])
    );
}

#[test]
fn a_step_on_a_leaf_that_vanished_fails_with_the_line() {
    let (cluster, _, uuid) = with_a_vanished_leaf();
    let ran = cluster.client("srun").args("-n1 --gres=flexmig:3 echo the program ran").run();
    assert!(!ran.success(), "{ran}");
    assert!(ran.stderr.contains(&uuid) && ran.stderr.contains("n1"), "{ran}");
    assert!(!ran.stdout.contains("the program ran"), "{ran}");
}

#[test]
fn a_leaf_with_another_profile_than_at_slurmds_start_fails_its_job() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let other: &[&[&str]] = &[&["2g.20gb*3", "1g.10gb"], &["1g.10gb*7"]];
    cluster.set_mock("n1", &mock(other).named("n1"));
    let job = cluster.sbatch("-n1 --gres=flexmig:1", STAY);
    assert_eq!(job.wait_end(), "FAILED", "{}", job.output());
    assert!(job.output().contains("flexmig: "), "{}", job.output());
}

#[test]
fn fewer_leaves_than_slurm_conf_says_are_named_and_drain_the_node() {
    let cut: &[&[&str]] = &[&["1g.10gb*7"], &["1g.10gb*5"]];
    let cluster = flexmig().node(node("n1", cut, "flexmig:1g.10gb:14")).prepare();
    cluster.start_daemons();
    let info = cluster.wait_node("n1", "DRAIN");
    assert!(info.get("Reason").contains("gres/flexmig count"), "{info}");
    let log = cluster.slurmd("n1").log();
    let line = log.lines().find(|line| line.contains("flexmig:") && line.contains("Gres="));
    let line = line.unwrap_or_else(|| panic!("no line says what to write:\n{log}"));
    assert!(line.contains("flexmig:1g.10gb:12"), "{line}");
}

#[test]
fn more_leaves_than_slurm_conf_says_are_named_and_the_node_works() {
    let cluster = flexmig().node(node("n1", common::TWO_GPUS, "flexmig:1g.10gb:12")).start();
    let log = cluster.slurmd("n1").log();
    assert!(log.contains("flexmig:1g.10gb:14"), "{log}");
    let job = cluster.sbatch("-n1 --gres=flexmig:12", STAY);
    assert_eq!(list(variable(&shown(&job), "FLEXMIG_UUIDS")).len(), 12);
}

#[test]
fn a_type_that_no_leaf_has_is_named_and_drains_the_node() {
    let cluster = flexmig().node(node("n1", common::TWO_GPUS, "flexmig:3g.40gb:4")).prepare();
    cluster.start_daemons();
    cluster.wait_node("n1", "DRAIN");
    let log = cluster.slurmd("n1").log();
    assert!(log.contains("flexmig:1g.10gb:14"), "{log}");
}

#[test]
fn a_leaf_gone_for_good_keeps_its_index_and_the_others_keep_theirs() {
    let (cluster, index, uuid) = with_a_vanished_leaf();
    let before = common::leaves(&cluster, "n1");
    let job = cluster.sbatch("-n1 --gres=flexmig:1", STAY);
    shown(&job);
    cluster.slurmd("n1").restart();
    let info = cluster.wait_node("n1", "DRAIN");
    assert!(info.get("Reason").contains("gres/flexmig count"), "{info}");
    assert_eq!(job.state(), "RUNNING");
    let after = common::leaves(&cluster, "n1");
    for leaf in before.iter().filter(|leaf| leaf.uuid != uuid) {
        assert!(
            after.iter().any(|l| l.index == leaf.index && l.uuid == leaf.uuid),
            "{}",
            leaf.uuid
        );
    }
    assert!(after.iter().all(|leaf| leaf.index != index));
}

#[test]
fn nvml_failing_on_one_gpu_leaves_the_other_and_names_it() {
    let mut spec = mock(common::TWO_GPUS);
    spec.fail.push(Fail { call: "nvmlDeviceGetMigMode".into(), gpu: Some(1), gi: None, error: 15 });
    let spec = Node::new("n1").gres("flexmig:1g.10gb:14").mock(spec);
    let cluster = flexmig().node(spec).prepare();
    cluster.start_daemons();
    cluster.wait_node("n1", "DRAIN");
    let log = cluster.slurmd("n1").log();
    assert!(
        log.contains("flexmig:") && log.contains("nvmlDeviceGetMigMode") || log.contains("GPU 1"),
        "{log}"
    );
}

#[test]
fn no_nvml_library_is_one_clear_line_and_slurmd_runs() {
    let cluster = flexmig().node(two_gpus("n1")).node(Node::new("n2")).prepare();
    cluster.edit("nodes/n1/flexmig.toml", |text| {
        text.lines()
            .map(|line| match line.starts_with("nvml_library") {
                true => "nvml_library = \"/nonexistent/libnvidia-ml.so.1\"\n".to_owned(),
                false => format!("{line}\n"),
            })
            .collect()
    });
    cluster.start_daemons();
    cluster.wait_node("n1", "DRAIN");
    let log = cluster.slurmd("n1").log();
    assert!(log.contains("/nonexistent/libnvidia-ml.so.1"), "{log}");
    assert!(cluster.slurmd("n1").is_running());
    cluster.wait_node("n2", "IDLE");
    let job = cluster.sbatch("-w n2 -n1", "echo fine");
    assert_eq!(job.finish().trim(), "fine");
}
