//! What came of a simulation.

use crate::{Job, Time};

/// What became of one job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// The job.
    pub job: Job,
    /// When it started and ended; `None`: it never fits.
    pub ran: Option<(Time, Time)>,
    /// Leaves that it had.
    pub leaves: u32,
    /// Physical GPUs that these were on.
    pub parents: u16,
    /// How much longer it ran than on what it asked for: 1.0 is as long.
    pub slowdown: f64,
}

/// The cluster at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// When.
    pub time: Time,
    /// Share of all SMs that are in leaves with jobs.
    pub sms: f64,
    /// Share of all memory.
    pub memory: f64,
    /// Jobs that run.
    pub running: u32,
    /// Jobs that wait.
    pub queued: u32,
    /// Share of the free slices that no request of equal leaves on one node can take.
    pub fragmentation: f64,
}

/// One job on one leaf, for a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The physical GPU, counted over all nodes.
    pub gpu: u32,
    /// First memory slice of the leaf on its GPU.
    pub start: u8,
    /// Memory slices of the leaf.
    pub size: u8,
    /// Compute slices of the leaf.
    pub slices: u8,
    /// When the job took it.
    pub from: Time,
    /// When the job left it.
    pub to: Time,
    /// [`Job::id`].
    pub job: u32,
}

/// Figures of one simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Jobs that ended.
    pub jobs: u64,
    /// Jobs that can never run under this policy.
    pub unplaced: u64,
    /// From the first submission to the last end, in seconds.
    pub makespan: f64,
    /// Seconds from submission to start.
    pub mean_wait: f64,
    /// 95 of 100 jobs wait at most so many seconds (within 1 %).
    pub p95_wait: f64,
    /// Seconds from submission to end.
    pub mean_jct: f64,
    /// 95 of 100 jobs are done after so many seconds (within 1 %).
    pub p95_jct: f64,
    /// Share of the SMs in leaves with jobs, over the makespan.
    pub utilisation_sm: f64,
    /// Share of the memory in leaves with jobs, over the makespan.
    pub utilisation_memory: f64,
    /// Share of the free slices that are fragments while jobs wait, over that time.
    pub fragmentation: f64,
    /// Run time over that on what was asked, mean of all jobs.
    pub mean_slowdown: f64,
    /// Jobs on more than one leaf.
    pub spanning: u64,
    /// Jobs that were moved to another composition while they waited.
    pub replanned: u64,
    /// New cuts of a GPU.
    pub reconfigurations: u64,
    /// Most jobs that ran or waited at one time.
    pub most_jobs: u64,
}

/// Everything about one simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Figures.
    pub metrics: Metrics,
    /// The layout that was used, in words: `4g+2g+1g`; empty where there is none.
    pub layout: String,
    /// One per job, in the order of the jobs.
    pub records: Vec<Record>,
    /// The cluster over time, evenly spaced: 1,000 to 2,000 of them in a long run.
    pub samples: Vec<Sample>,
    /// Jobs on leaves of the first 32 GPUs: those that start first, 10,000 to 20,000 in a long run.
    pub spans: Vec<Span>,
}
