//! A stream of 300 mixed jobs as flexmig requests, which the plugin composes, against the same stream
//! as exact types: how long until the last job has ended. Every job is checked as in the long tests.
//!
//! Each seed is one round; the jobs' own lengths are most of the time, so that a slow machine changes
//! little.

use flexmig_cluster::stream::{Comparison, Reserve, SEEDS, compare};

use crate::report::{Cases, Report};
use crate::stats::Sample;

/// Measures the first `seeds` streams.
pub fn measure(seeds: usize) -> Report {
    let streams: Vec<Comparison> =
        SEEDS[..seeds].iter().map(|&seed| compare(seed, Reserve::Nothing)).collect();
    let mut report = Report::new("stream of 300 mixed jobs, a seed a round".to_owned());
    let column =
        |value: fn(&Comparison) -> f64| -> Vec<f64> { streams.iter().map(value).collect() };
    report.row("seconds: composed", Sample::new(column(|c| c.composed.seconds)));
    report.row("seconds: exact types", Sample::new(column(|c| c.exact.seconds)));
    report.row("a job waits, s: composed", Sample::new(column(|c| c.composed.waited)));
    report.row("a job waits, s: exact types", Sample::new(column(|c| c.exact.waited)));
    report.cases(Cases {
        name: "stream_time_composed_vs_exact",
        against: "exact types",
        values: column(Comparison::ratio),
    });
    report
}
