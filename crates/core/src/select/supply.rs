//! What there is, as far as selection asks.

use super::{Kind, Part};

/// Jobs at the head of the queue for which leaves are left. In a long queue somebody waits for every
/// type: if all of it counts, leaves stay idle that nobody is about to take. Simulated on the Philly
/// trace under Slurm's schedulers, mean completion time with all, 50, 20, 10, no jobs over that with
/// 20: on 64 A100 1.28, 1.09, 1, 1.00, 1.03; with small jobs on 16 H100 0.98, 0.99, 1, 1.03, 1.08.
pub const FIRST: usize = 20;

/// What a job needs beside its leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Nodes at least.
    pub nodes: u64,
    /// How often the leaves must be on one node: 1, or the tasks that share it where leaves are
    /// counted per task.
    pub times: u64,
    /// CPUs on each node at least.
    pub cpus: u64,
    /// CPUs per leaf, where that is more.
    pub cpus_per_leaf: u64,
    /// Memory on each node in MiB.
    pub memory: u64,
    /// Memory per leaf in MiB, where that is more.
    pub memory_per_leaf: u64,
    /// Time limit in minutes; `None`: the partition's.
    pub minutes: Option<u64>,
    /// The job names nodes, features or a reservation, so that not all nodes of its partition count
    /// and whether it can start is not known.
    pub narrowed: bool,
}

impl Default for Need {
    fn default() -> Need {
        Need {
            nodes: 1,
            times: 1,
            cpus: 0,
            cpus_per_leaf: 0,
            memory: 0,
            memory_per_leaf: 0,
            minutes: None,
            narrowed: false,
        }
    }
}

impl Need {
    /// CPUs on each node with so many leaves.
    pub fn cpus_with(&self, leaves: u64) -> u64 {
        self.cpus.max(self.cpus_per_leaf.saturating_mul(leaves))
    }

    /// Memory on each node with so many leaves.
    pub fn memory_with(&self, leaves: u64) -> u64 {
        self.memory.max(self.memory_per_leaf.saturating_mul(leaves))
    }
}

/// What the nodes of a job's partitions have. If they are several partitions, the answers are
/// those of the best, as a job runs in one of them.
pub trait Supply {
    /// How many nodes have these leaves [`Need::times`] times and the CPUs that the user asked for
    /// ([`Need::cpus`]), whatever runs on them.
    fn holding(&self, parts: &[Part<'_>], need: &Need) -> u64;

    /// Whether the job could start on these leaves now: enough nodes have them free with CPUs and
    /// memory, for as long as it may run. `None`: not known.
    fn starts(&self, parts: &[Part<'_>], need: &Need) -> Option<bool>;

    /// Free leaves of a type on all usable nodes; where that is not known, all leaves.
    fn stock(&self, kind: &Kind) -> u64;

    /// Leaves of a type that waiting jobs ask for, and leaves that there are.
    fn queue(&self, kind: &Kind) -> (u64, u64);

    /// Whether one of the [`FIRST`] waiting jobs asks for leaves of a type.
    fn awaited(&self, kind: &Kind) -> bool;

    /// Whether the leaves can lie under one socket of a node; `None` where no layout file tells.
    fn one_socket(&self, parts: &[Part<'_>]) -> Option<bool>;

    /// Appends what single nodes have of each type (`kinds` in their order): some different nodes
    /// as they are free now and as they are configured, for compositions of several types.
    fn nodes_like(&self, kinds: &[&Kind], found: &mut Vec<Vec<u64>>);
}
