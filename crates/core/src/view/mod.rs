//! The cluster at one moment: nodes, partitions, waiting and running jobs, as slurmctld tells them.
//!
//! A [`ClusterView`] is raw material. slurmctld's plugin and `flexmig` read it from Slurm, `flexmig
//! status --save` writes it as JSON, and the simulator makes its own. What a submit looks at is
//! worked out of it by [`Site::of_view`](crate::submit::Site::of_view).
//!
//! | module | part |
//! |---|---|
//! | `gres` | Slurm's texts about leaves: `flexmig:1g.10gb:4(IDX:0-3)` |
//! | `rooms` | what is free on each node, and for how long |

mod gres;
mod rooms;

use serde::{Deserialize, Serialize};

use crate::layout::Layout;
pub use gres::{Used, leaf_counts, read_used};
pub use rooms::{Room, windows};

/// The version of the JSON form.
pub const FORMAT: u32 = 1;

/// A snapshot of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterView {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was taken, in seconds since 1970.
    pub taken_at: u64,
    /// Slurm's version, `24.11.5`.
    pub release: String,
    /// `ClusterName`, empty if it is not known.
    #[serde(default)]
    pub cluster: String,
    /// Nodes may join that are not listed (`MaxNodeCount`): nothing is impossible.
    #[serde(default)]
    pub open: bool,
    /// All nodes, also those without leaves.
    pub nodes: Vec<NodeView>,
    /// All partitions, in slurm.conf's order.
    pub partitions: Vec<PartitionView>,
    /// Waiting and running jobs; `None` where they were not asked for.
    #[serde(default)]
    pub jobs: Option<Vec<JobView>>,
    /// The layout files deployed on the controller: parents and sockets.
    #[serde(default)]
    pub layouts: Vec<Layout>,
    /// What Slurm said that made no sense, one line each.
    #[serde(default)]
    pub findings: Vec<String>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeView {
    /// Name.
    pub name: String,
    /// Slurm's words, `MIXED+PLANNED`; for people only.
    #[serde(default)]
    pub state: String,
    /// Jobs can start on it: not down, drained, draining, failing, powered off, rebooting, ...
    pub usable: bool,
    /// The backfill scheduler has planned a job on it (state flag `PLANNED`).
    #[serde(default)]
    pub planned: bool,
    /// In an active reservation or maintenance: only jobs of it start there.
    #[serde(default)]
    pub reserved: bool,
    /// CPUs that jobs can have.
    pub cpus: u32,
    /// CPUs that jobs hold.
    #[serde(default)]
    pub cpus_used: u32,
    /// Memory that jobs can have, in MiB.
    #[serde(default)]
    pub memory: u64,
    /// Memory that jobs hold, in MiB.
    #[serde(default)]
    pub memory_used: u64,
    /// Features that are active.
    #[serde(default)]
    pub features: Vec<String>,
    /// Leaves by type, in slurmctld's order.
    #[serde(default)]
    pub leaves: Vec<LeafCount>,
}

/// The leaves of one type on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeafCount {
    /// Type as slurm.conf spells it; `None` where leaves have no type.
    pub kind: Option<String>,
    /// Leaves that there are.
    pub configured: u64,
    /// Leaves that jobs hold; never more than there are.
    pub used: u64,
    /// Node-wide indices of those that jobs hold, `0-2,5`; empty if Slurm does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub used_indices: String,
}

impl LeafCount {
    /// Leaves that no job holds.
    pub fn free(&self) -> u64 {
        self.configured.saturating_sub(self.used)
    }
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionView {
    /// Name.
    pub name: String,
    /// Host list, `n[1-4]`; empty for none.
    pub nodes: String,
    /// Of jobs that name none.
    #[serde(default)]
    pub default: bool,
    /// Jobs can start in it.
    pub up: bool,
    /// Time limit of jobs that name none, in minutes; `None`: the maximum.
    #[serde(default)]
    pub default_minutes: Option<u64>,
    /// Longest time limit in minutes; `None`: unlimited.
    #[serde(default)]
    pub max_minutes: Option<u64>,
}

impl PartitionView {
    /// A partition of these nodes that jobs are in unless they name another: `all`, up, without
    /// limits.
    pub fn of_all(nodes: &[NodeView]) -> PartitionView {
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        PartitionView {
            name: "all".into(),
            nodes: names.join(","),
            default: true,
            up: true,
            ..PartitionView::default()
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits.
    #[default]
    Pending,
    /// Holds its nodes: running, suspended, completing.
    Running,
    /// Done.
    Done,
}

/// One job record. Fields that Slurm leaves unset (NO_VAL) are `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // The names are Slurm's; the others are documented.
pub struct JobView {
    pub job_id: u32,
    pub array_job_id: Option<u32>,
    pub array_task_id: Option<u32>,
    /// Tasks of an array that still wait in this record, `3-5,9`; empty if it is not a meta record.
    pub array_tasks: String,
    pub het_job_id: Option<u32>,
    pub name: String,
    pub user_id: u32,
    pub account: String,
    pub qos: String,
    /// Comma list.
    pub partition: String,
    pub state: JobState,
    /// Slurm's word, `Resources`, `Priority`, `AssocGrpGRES`.
    pub reason: String,
    /// 0 if held.
    pub priority: u32,
    pub batch: bool,
    pub tres_per_node: String,
    pub tres_per_task: String,
    pub admin_comment: String,
    pub features: String,
    pub reservation: String,
    pub dependency: String,
    /// Minutes; `None`: unlimited or the partition's.
    pub time_limit: Option<u64>,
    /// Seconds since 1970.
    pub submit_time: u64,
    /// `--begin`, else when it could first have started.
    pub begin_time: Option<u64>,
    /// Of a waiting job when it is expected to start, of a running one when it did.
    pub start_time: Option<u64>,
    pub end_time: Option<u64>,
    /// Nodes that the scheduler plans for a waiting job, a host list.
    pub sched_nodes: String,
    /// Nodes that the job holds, a host list.
    pub nodes: String,
    /// Per node of `nodes`: `flexmig:1g.10gb:3(IDX:0-2)`.
    pub gres_detail: Vec<String>,
    /// `--nodelist` and `--exclude`, host lists.
    pub req_nodes: String,
    pub exc_nodes: String,
    pub num_tasks: Option<u32>,
    pub ntasks_per_node: Option<u16>,
    pub cpus_per_task: Option<u16>,
    /// Of the whole job.
    pub min_cpus: Option<u32>,
    /// Per node.
    pub pn_min_cpus: Option<u32>,
    /// MiB per node.
    pub memory_per_node: Option<u64>,
    /// MiB per CPU.
    pub memory_per_cpu: Option<u64>,
    pub min_nodes: Option<u32>,
    pub max_nodes: Option<u32>,
    /// `--exclusive`: whole nodes.
    pub exclusive: bool,
}

impl JobView {
    /// Reasons to wait that other leaves can end. Limits, holds and dependencies are not.
    const REASONS: [&str; 5] = ["", "None", "Priority", "Resources", "ReqNodeNotAvail"];

    /// Whether a waiting job waits for nothing but resources, of those that all jobs share.
    pub fn waits_for_resources(&self, now: u64) -> bool {
        let reason = self.reason.split([',', ' ']).next().unwrap_or_default();
        self.priority > 0
            && self.het_job_id.is_none_or(|id| id == 0)
            && self.dependency.is_empty()
            && self.reservation.is_empty()
            && self.begin_time.is_none_or(|begin| begin <= now)
            && !self.exclusive
            && Self::REASONS.contains(&reason)
    }
}

impl ClusterView {
    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The layout file that covers a node.
    pub fn layout(&self, node: &str) -> Option<&Layout> {
        self.layouts.iter().find(|layout| layout.covers(node))
    }
}
