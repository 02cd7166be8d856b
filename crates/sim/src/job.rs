//! A job of a trace.

use crate::Time;

/// What a job asks for, and how long it would run on exactly that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// The trace's number of it, for reports.
    pub id: u32,
    /// When it is submitted. Jobs come in this order, which is also their priority.
    pub submit: Time,
    /// How long it runs on what it asks for: one instance of [`Job::slices`] slices, or
    /// [`Job::gpus`] whole GPUs. At least 1.
    pub run: Time,
    /// Its time limit, for the scheduler. The simulator never kills a job: where leaves make it
    /// slower than its limit, the limit that counts is stretched as much as the run.
    pub limit: Time,
    /// Compute slices of one GPU: 1, 2, 3, 4 or 7.
    pub slices: u8,
    /// How many GPUs of 7 slices each; 1 for a job that asks for one instance. With more than 1,
    /// `slices` is 7.
    pub gpus: u16,
    /// Gigabytes that each of its processes needs in its leaf at least; 0: any leaf will do.
    pub memory_gb: u16,
    /// Share of its run time that goes into collectives when it spans leaves; `None`: the model's
    /// default.
    pub communication: Option<f32>,
}

impl Job {
    /// A job for one instance of so many slices, with a limit of its run time.
    pub fn new(id: u32, submit: Time, run: Time, slices: u8) -> Job {
        let run = run.max(1);
        Job { id, submit, run, limit: run, slices, gpus: 1, memory_gb: 0, communication: None }
    }

    /// Slices of all its GPUs together.
    pub fn all_slices(&self) -> u64 {
        u64::from(self.slices) * u64::from(self.gpus)
    }
}
