//! The simulator's account of the jobs, submitted when they were.

use flexmig_sim::{Job, SECOND, Time, simulate};

use crate::compare::Ran;
use crate::plan::{self, OVERHEAD, Variant};
use crate::replay::Replay;

/// What the simulator says of these jobs, of which a replay tells when they were submitted and
/// whether flexmig could change waiting ones.
///
/// # Panics
/// If it says that a job never runs.
pub fn predict(jobs: &[Job], variant: Variant, replay: &Replay) -> Vec<Ran> {
    let time = |seconds: f64| (seconds * SECOND as f64).round() as Time;
    let as_it_was = |(job, ran): (&Job, &Ran)| Job {
        submit: time(ran.submit),
        run: job.run + time(OVERHEAD),
        ..*job
    };
    let jobs: Vec<Job> = jobs.iter().zip(&replay.jobs).map(as_it_was).collect();
    let outcome = simulate(&plan::setup(variant, replay.replans), &jobs);
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
