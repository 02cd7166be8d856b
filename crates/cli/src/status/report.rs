//! What `flexmig status` knows: plain data, the same for the picture and for `--json`.
//!
//! The field names below are those of `--json`, which scripts rely on: add, never rename.

use std::collections::BTreeMap;

use flexmig_core::select::fragmentation::Fragmentation;
use serde::Serialize;

/// The leaves of a cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Format of the JSON; 1.
    pub version: u32,
    /// When the controller was asked, in seconds since 1970.
    pub taken: u64,
    /// Slurm's version.
    pub slurm: Option<String>,
    /// All nodes shown.
    pub totals: Totals,
    /// Nodes with leaves, in the controller's order.
    pub nodes: Vec<Node>,
    /// Jobs that hold leaves of these nodes, by id.
    pub jobs: Vec<Holder>,
    /// Waiting jobs that ask for leaves, by id.
    pub pending: Vec<Waiting>,
    /// What else an administrator should know.
    pub notes: Vec<String>,
}

/// Sums over the nodes shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Nodes with leaves.
    pub nodes: u64,
    /// Leaves that slurm.conf configures.
    pub leaves: u64,
    /// Held by jobs.
    pub used: u64,
    /// Free on nodes that start jobs.
    pub free: u64,
    /// Free on nodes that start none, or not there.
    pub unusable: u64,
    /// Share of the free slices that is fragments ([`Fragmentation`]); none where no leaf is free.
    pub fragmentation_percent: Option<u64>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Name.
    pub name: String,
    /// State as Slurm's commands write it, in lower case.
    pub state: String,
    /// Whether it starts jobs.
    pub usable: bool,
    /// CPUs.
    pub cpus: u64,
    /// CPUs that no job holds.
    pub cpus_free: u64,
    /// Memory that jobs may hold, in MiB.
    pub memory_mib: u64,
    /// Memory that no job holds, in MiB.
    pub memory_free_mib: u64,
    /// Partitions that have it.
    pub partitions: Vec<String>,
    /// Share of the free slices that is fragments ([`Fragmentation`]); none where no leaf is free.
    pub fragmentation_percent: Option<u64>,
    /// Counts by type of slurm.conf, in its order.
    pub types: Vec<TypeCount>,
    /// GPUs by minor; empty where no layout file tells.
    pub gpus: Vec<Gpu>,
    /// Leaves by index.
    pub leaves: Vec<Leaf>,
}

/// The leaves of one type on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TypeCount {
    /// Type in slurm.conf; none if untyped.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Configured.
    pub configured: u64,
    /// Held by jobs.
    pub used: u64,
    /// Free, whether the node starts jobs or not.
    pub free: u64,
}

/// A parent, as the layout file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Device minor.
    pub minor: u32,
    /// Product name.
    pub model: String,
    /// NUMA node.
    pub numa: Option<u32>,
    /// Indices of its leaves, in order of their places on the GPU.
    pub leaves: Vec<u32>,
}

/// One leaf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leaf {
    /// Index on the node, as Slurm shows it after IDX.
    pub index: u32,
    /// Type in slurm.conf.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its profile, where type or layout file tell.
    pub profile: Option<String>,
    /// Compute slices, where type or layout file tell.
    pub slices: Option<u8>,
    /// Minor of its parent, where a layout file tells.
    pub gpu: Option<u32>,
    /// Whether it can be had.
    pub state: LeafState,
    /// The job that holds it, where Slurm tells.
    pub job: Option<String>,
}

/// Whether a leaf can be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeafState {
    /// By the next job.
    #[default]
    Free,
    /// A job holds it.
    Used,
    /// Its node starts no jobs, or the layout file has no such leaf.
    Unusable,
}

/// A job that holds leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// `42`, or `40_7` for a task of an array.
    pub id: String,
    /// User, by name where it is known.
    pub user: String,
    /// Partition.
    pub partition: String,
    /// What the user asked for, where our note in admin_comment tells; else the request as it is.
    pub request: String,
    /// What it holds per node.
    pub leaves: Vec<Held>,
    /// When its time limit ends, in seconds since 1970.
    pub ends: Option<u64>,
}

/// The leaves of a job on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Node.
    pub node: String,
    /// Their indices; empty where Slurm only counts.
    pub indices: Vec<u32>,
    /// As `1g.10gb:3`, several types after commas.
    pub what: String,
}

/// A waiting job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// `42`, or `40_[7-9]` for tasks of an array.
    pub id: String,
    /// User, by name where it is known.
    pub user: String,
    /// Partitions that it may run in.
    pub partition: String,
    /// What the user asked for.
    pub request: String,
    /// What it waits for now: `1g.10gb:3`.
    pub composition: String,
    /// Slurm's reason.
    pub reason: String,
    /// When Slurm plans to start it, in seconds since 1970.
    pub start: Option<u64>,
}

impl Node {
    /// All leaves, counted by type.
    pub fn configured(&self) -> u64 {
        self.types.iter().map(|kind| kind.configured).sum()
    }

    /// Leaves that jobs hold.
    pub fn used(&self) -> u64 {
        self.count(LeafState::Used)
    }

    /// Leaves that a job can get now.
    pub fn free(&self) -> u64 {
        self.count(LeafState::Free)
    }

    /// Leaves that nobody can have.
    pub fn unusable(&self) -> u64 {
        self.count(LeafState::Unusable)
    }

    fn count(&self, state: LeafState) -> u64 {
        self.leaves.iter().filter(|leaf| leaf.state == state).count() as u64
    }

    /// The fragmentation measure of its free leaves. Leaves of unknown size count as one slice.
    pub fn fragmentation(&self) -> Fragmentation {
        let mut sizes: BTreeMap<(Option<&str>, u64), u64> = BTreeMap::new();
        for leaf in self.leaves.iter().filter(|leaf| leaf.state == LeafState::Free) {
            let slices = u64::from(leaf.slices.unwrap_or(1));
            *sizes.entry((leaf.profile.as_deref(), slices)).or_default() += 1;
        }
        let mut measure = Fragmentation::default();
        measure.add(sizes.into_iter().map(|((_, slices), count)| (slices, count)));
        measure
    }
}

/// The measure in percent, unless nothing is free.
pub fn percent(measure: &Fragmentation) -> Option<u64> {
    (measure.free > 0).then(|| measure.percent())
}
