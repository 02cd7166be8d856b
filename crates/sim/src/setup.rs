//! What is simulated.

use std::fmt;
use std::str::FromStr;

use flexmig_core::policy::Select;

use crate::{Gpu, Layout, Performance, SECOND, Time};

/// The GPUs: all of one model, on nodes of equal size.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// How many.
    pub gpus: u32,
    /// How many share a node; the last node may have fewer.
    pub gpus_per_node: u32,
    /// Their model.
    pub gpu: &'static Gpu,
}

/// How leaves are given to jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyName {
    /// One instance per job, one layout for all GPUs (4g+2g+1g).
    Static,
    /// One instance per job, the mix of layouts that suits the trace best.
    StaticBest,
    /// One instance per job; a GPU is cut anew when it is idle.
    Drain,
    /// One instance per job; instances come and go wherever the placement rules leave room.
    Dynamic,
    /// All leaves 1g, as many per job as it takes: the Flex-MIG paper.
    FlexUniform,
    /// flexmig: core's selection and re-planning, on a layout.
    Flex,
    /// The same, on the layout that suits the trace best.
    FlexBest,
    /// Nodes as pools of interchangeable slices: nothing is fragmented, spanning costs nothing.
    Pooled,
}

impl PolicyName {
    /// All of them.
    pub const ALL: [PolicyName; 8] = [
        PolicyName::Static,
        PolicyName::StaticBest,
        PolicyName::Drain,
        PolicyName::Dynamic,
        PolicyName::FlexUniform,
        PolicyName::Flex,
        PolicyName::FlexBest,
        PolicyName::Pooled,
    ];

    /// `flex-uniform`.
    pub fn name(self) -> &'static str {
        match self {
            PolicyName::Static => "static",
            PolicyName::StaticBest => "static-best",
            PolicyName::Drain => "drain",
            PolicyName::Dynamic => "dynamic",
            PolicyName::FlexUniform => "flex-uniform",
            PolicyName::Flex => "flex",
            PolicyName::FlexBest => "flex-best",
            PolicyName::Pooled => "pooled",
        }
    }
}

/// Who decides which job starts when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchedulerName {
    /// First come first served, with EASY backfill that counts leaves.
    Easy,
    /// As Slurm's main and backfill schedulers: whole nodes are reserved for every job tested.
    Slurm,
}

impl SchedulerName {
    /// All of them.
    pub const ALL: [SchedulerName; 2] = [SchedulerName::Easy, SchedulerName::Slurm];

    /// `easy`, `slurm`.
    pub fn name(self) -> &'static str {
        match self {
            SchedulerName::Easy => "easy",
            SchedulerName::Slurm => "slurm",
        }
    }
}

/// A name that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: no such {what}: one of {known}")]
pub struct NameError {
    what: &'static str,
    name: String,
    known: String,
}

macro_rules! named {
    ($kind:ty, $what:literal) => {
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $kind {
            type Err = NameError;

            fn from_str(text: &str) -> Result<$kind, NameError> {
                Self::ALL.into_iter().find(|known| known.name() == text).ok_or_else(|| NameError {
                    what: $what,
                    name: text.chars().take(64).collect(),
                    known: Self::ALL.map(Self::name).join(", "),
                })
            }
        }
    };
}

named!(PolicyName, "policy");
named!(SchedulerName, "scheduler");

/// What a one-to-one policy does with a job that asks for more than any instance has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oversize {
    /// It gets the largest instance there is and runs longer, as the model says.
    #[default]
    Shrink,
    /// It never runs, and is counted.
    Reject,
}

/// SchedulerParameters of slurm.conf, as far as they count here, by Slurm's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlurmParameters {
    /// Between two cycles of the backfill scheduler.
    pub bf_interval: Time,
    /// Plans start and end at whole multiples of this.
    pub bf_resolution: Time,
    /// How far ahead the backfill scheduler looks.
    pub bf_window: Time,
    /// Jobs that a backfill cycle tests.
    pub bf_max_job_test: usize,
    /// Jobs that a pass of the main scheduler starts at most.
    pub default_queue_depth: usize,
    /// Between two passes of the main scheduler.
    pub batch_sched_delay: Time,
    /// From a submission, or a start, to when a scheduler can look again: both look at the clock once
    /// a second, so 0.5 s on average. Small beside jobs of hours; 0 unless said.
    pub latency: Time,
    /// Between two looks of the re-planner (`[select] refresh` of flexmig.toml), in policy `flex`;
    /// 0: never.
    pub replan_interval: Time,
}

impl Default for SlurmParameters {
    fn default() -> SlurmParameters {
        SlurmParameters {
            bf_interval: 30 * SECOND,
            bf_resolution: 60 * SECOND,
            bf_window: 1440 * 60 * SECOND,
            bf_max_job_test: 500,
            default_queue_depth: 100,
            batch_sched_delay: 3 * SECOND,
            latency: 0,
            replan_interval: 5 * SECOND,
        }
    }
}

/// One simulation.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The GPUs.
    pub cluster: Cluster,
    /// How leaves are given to jobs.
    pub policy: PolicyName,
    /// Who decides which job starts when.
    pub scheduler: SchedulerName,
    /// How fast jobs are.
    pub performance: Performance,
    /// The cut of the GPUs; `None`: the policy's own. Not used by `dynamic` and `pooled`.
    pub layout: Option<Layout>,
    /// Table `[select]` of flexmig.toml, for `flex` and its relatives.
    pub select: Select,
    /// What one-to-one policies do with jobs larger than any instance.
    pub oversize: Oversize,
    /// Jobs from the head of the queue that `easy` looks at.
    pub depth: usize,
    /// Parameters of `slurm`.
    pub slurm: SlurmParameters,
}

impl Setup {
    /// A simulation with everything else as it is by default.
    pub fn new(cluster: Cluster, policy: PolicyName, scheduler: SchedulerName) -> Setup {
        Setup {
            cluster,
            policy,
            scheduler,
            performance: Performance::default(),
            layout: None,
            select: Select::default(),
            oversize: Oversize::default(),
            depth: 100,
            slurm: SlurmParameters::default(),
        }
    }
}
