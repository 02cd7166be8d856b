//! The simulator's account of the jobs.

use flexmig_sim::{Job, SECOND, Time, simulate};

use crate::compare::Ran;
use crate::plan::{self, OVERHEAD, Variant};

/// What the simulator says of these jobs. `replans`: see [`plan::setup`].
///
/// # Panics
/// If it says that a job never runs.
pub fn predict(jobs: &[Job], variant: Variant, replans: bool) -> Vec<Ran> {
    let overhead = (OVERHEAD * SECOND as f64) as Time;
    let longer = |job: &Job| Job { run: job.run + overhead, ..*job };
    let jobs: Vec<Job> = jobs.iter().map(longer).collect();
    let outcome = simulate(&plan::setup(variant, replans), &jobs);
    let seconds = |time: Time| time as f64 / SECOND as f64;
    let ran = outcome.records.iter().map(|record| {
        let (start, end) = record.ran.expect("every job fits");
        let span = outcome.spans.iter().find(|span| span.job == record.job.id);
        Ran {
            submit: seconds(record.job.submit),
            start: seconds(start),
            end: seconds(end),
            node: span.map_or(usize::MAX, |span| span.gpu as usize),
            leaves: record.leaves as usize,
        }
    });
    ran.collect()
}
