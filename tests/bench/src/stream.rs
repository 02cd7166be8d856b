//! A stream of 300 mixed jobs as flexmig requests, which the plugin composes, against the same stream
//! as exact types: how long until the last job has ended. Every job is checked as in the long tests.
//!
//! Each seed is one round; the jobs' own lengths are most of the time, so that a slow machine changes
//! little. As Slurm plans whole nodes for jobs that wait unless told otherwise, and that delays both
//! sides, the same is measured where it plans nothing and starts what fits.

use flexmig_cluster::stream::{Comparison, Reserve, SEEDS, Stream, Variant, compare, run};

use crate::report::{Cases, Report};
use crate::stats::Sample;

/// Measures the first `seeds` streams.
pub fn measure(seeds: usize) -> Report {
    let mut report = Report::new("stream of 300 mixed jobs, a seed a round");
    for (reserve, planned, name) in [
        (Reserve::Nodes, "nodes planned", "stream_time_composed_vs_exact"),
        (Reserve::Nothing, "nothing planned", "stream_time_composed_vs_exact_unplanned"),
    ] {
        let streams: Vec<Comparison> =
            SEEDS[..seeds].iter().map(|&seed| compare(seed, reserve)).collect();
        let column =
            |value: fn(&Comparison) -> f64| -> Vec<f64> { streams.iter().map(value).collect() };
        let mut row = |what: &str, value| {
            report.row(format!("{planned}, {what}"), Sample::new(column(value)));
        };
        row("seconds: composed", |c| c.composed.seconds);
        row("seconds: exact types", |c| c.exact.seconds);
        row("a job waits, s: composed", |c| c.composed.waited);
        row("a job waits, s: exact types", |c| c.exact.waited);
        let values = column(Comparison::ratio);
        report.cases(Cases { name, against: "exact types", values });
        if reserve == Reserve::Nodes {
            in_turn(&mut report, &streams);
        }
    }
    report
}

/// The same against users who know the cluster so well that no type stays unused.
fn in_turn(report: &mut Report, streams: &[Comparison]) {
    let seconds = streams.iter().map(|stream| {
        let stream = Stream::generate(stream.composed.seed);
        let outcome = run(&stream, Variant::InTurn, Reserve::Nodes);
        println!("{outcome}");
        outcome.seconds
    });
    let seconds: Vec<f64> = seconds.collect();
    let ratios =
        streams.iter().zip(&seconds).map(|(stream, other)| stream.composed.seconds / other);
    let values = ratios.collect();
    report.row("nodes planned, seconds: exact types in turn", Sample::new(seconds));
    let name = "stream_time_composed_vs_exact_in_turn";
    report.cases(Cases { name, against: "exact types in turn", values });
}
