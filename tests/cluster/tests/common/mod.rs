//! What the tests of features have in common: nodes of mock GPUs, and what a job says of itself.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeSet;

use flexmig_cluster::mock_nvml::NodeSpec;
use flexmig_cluster::{Builder, Cluster, Job, Node, Plugins, Release};

/// Two A100-80 of seven 1g.10gb each.
pub const TWO_GPUS: &[&[&str]] = &[&["1g.10gb*7"], &["1g.10gb*7"]];

/// What NVML finds on a node with one A100-80 per layout; the first half of the GPUs is on NUMA node
/// 0, the second on 1.
pub fn mock(layouts: &[&[&str]]) -> NodeSpec {
    let mut spec = NodeSpec::preset("dgx-a100").expect("a preset").gpus(layouts.len());
    for (minor, (gpu, layout)) in spec.gpu.iter_mut().zip(layouts).enumerate() {
        gpu.numa = Some(u32::from(minor * 2 >= layouts.len()));
        gpu.mig = Some(layout.iter().map(|&profile| profile.to_owned()).collect());
    }
    spec
}

/// A node with these GPUs and `gres` in slurm.conf.
pub fn node(name: &str, layouts: &[&[&str]], gres: &str) -> Node {
    Node::new(name).gres(gres).mock(mock(layouts))
}

/// A node with two GPUs of seven leaves each.
pub fn two_gpus(name: &str) -> Node {
    node(name, TWO_GPUS, "flexmig:1g.10gb:14")
}

/// A cluster with our plugins, nodes to be added.
pub fn flexmig() -> Builder {
    Cluster::builder().plugins(Plugins::Release)
}

/// A batch script that shows its leaves' variables and stays until it is cancelled.
pub const STAY: &str = "env | grep -E '^(FLEXMIG|CUDA_VIS|NVIDIA_VIS|SLURM_JOB_FLEXMIGS)'; echo that is all; sleep 600";

/// The value of `name` in output made by `env`, or "".
pub fn variable<'o>(output: &'o str, name: &str) -> &'o str {
    let value = |line: &'o str| line.strip_prefix(name)?.strip_prefix('=');
    output.lines().find_map(value).unwrap_or("")
}

/// The words of a comma list.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// One leaf as `flexmig leaves --json` shows it.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub index: u32,
    pub uuid: String,
    pub gpu_minor: u64,
    pub bus_id: String,
    pub profile: String,
    pub device_files: Vec<String>,
}

/// The leaves of a node in order of their indices, as the command shows them.
pub fn leaves(cluster: &Cluster, node: &str) -> Vec<Leaf> {
    let ran = cluster.flexmig(node).args("leaves --json").run().ok();
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(json["indices_from"], "index file", "{ran}");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let rows =
        json["leaves"].as_array().expect("leaves").iter().filter(|row| !row["index"].is_null());
    rows.map(|row| Leaf {
        index: row["index"].as_u64().expect("index") as u32,
        uuid: text(&row["uuid"]),
        gpu_minor: row["gpu_minor"].as_u64().expect("gpu_minor"),
        bus_id: text(&row["bus_id"]),
        profile: text(&row["profile"]),
        device_files: row["device_files"].as_array().into_iter().flatten().map(text).collect(),
    })
    .collect()
}

/// The UUIDs of the leaves with these indices.
pub fn uuids_at(leaves: &[Leaf], indices: &[u32]) -> Vec<String> {
    let uuid =
        |index: &u32| leaves.iter().find(|leaf| leaf.index == *index).map(|leaf| leaf.uuid.clone());
    indices.iter().map(|index| uuid(index).unwrap_or_else(|| panic!("no leaf {index}"))).collect()
}

/// The minors of the GPUs under these indices.
pub fn parents_of(leaves: &[Leaf], indices: &[u32]) -> BTreeSet<u64> {
    leaves.iter().filter(|leaf| indices.contains(&leaf.index)).map(|leaf| leaf.gpu_minor).collect()
}

/// Waits until the job runs and has shown its variables; they are the answer.
#[track_caller]
pub fn shown(job: &Job<'_>) -> String {
    job.wait_running();
    job.wait_output("that is all")
}

/// Whether this release binds tasks to leaves by itself (23.11 and later).
pub fn binds_tasks(cluster: &Cluster) -> bool {
    cluster.release() >= Release(23, 11)
}
