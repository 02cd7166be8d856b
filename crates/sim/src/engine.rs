//! The simulation: jobs, events, time.

use crate::{Job, Metrics, Outcome, Record, Sample, Setup, Span};

/// Is told what happens.
pub trait Observer {
    /// A job ended, or was found never to fit.
    fn record(&mut self, _place: usize, _record: &Record) {}

    /// The cluster at some time, at irregular intervals: whenever something changed.
    fn sample(&mut self, _sample: &Sample) {}

    /// A job left a leaf.
    fn span(&mut self, _span: &Span) {}
}

/// Runs jobs, which come in order of submission, with memory for those that run or wait.
pub fn run(setup: &Setup, jobs: impl Iterator<Item = Job>, observer: &mut dyn Observer) -> Metrics {
    let _ = (setup, observer);
    Metrics { jobs: jobs.count() as u64, ..Metrics::default() }
}

/// Runs jobs, which come in order of submission, and keeps everything about it.
pub fn simulate(setup: &Setup, jobs: &[Job]) -> Outcome {
    struct Nothing;
    impl Observer for Nothing {}
    let metrics = run(setup, jobs.iter().copied(), &mut Nothing);
    Outcome { metrics, ..Outcome::default() }
}
