//! The cluster over time, and how long jobs took.

use std::fmt::Write;

use super::axis::{Axis, Unit, number, percent};
use super::charts::Lines;
use super::digest::{Detail, means};
use super::{Report, class};
use crate::{SECOND, Sample};

/// Points of a curve over time: less would hide what happens, more is noise.
const PARTS: usize = 120;

/// All curves.
pub fn section(page: &mut String, report: &Report) {
    let curves = [over_time(report), distribution(report)].concat();
    let Some(first) = report.digests.first().filter(|_| !curves.is_empty()) else { return };
    let _ = writeln!(page, "<section class=\"curves\">\n<h2>Over time (seed {})</h2>", first.seed);
    legend(page, report);
    let _ = writeln!(page, "<div class=\"plots\">\n{curves}</div>\n</section>");
}

/// What has which colour. What is not ticked is not drawn.
fn legend(page: &mut String, report: &Report) {
    page.push_str("<p class=\"legend\">");
    for policy in report.policies() {
        let class = class(policy);
        let _ = write!(
            page,
            "<label><input type=\"checkbox\" id=\"{class}\" checked><svg viewBox=\"0 0 30 10\">\
             <polyline class=\"{class}\" points=\"0,5 30,5\"/></svg>{policy}</label> "
        );
    }
    page.push_str("</p>\n");
}

type Value = fn(&Sample) -> Option<f64>;

fn over_time(report: &Report) -> String {
    let details = report.details();
    let start = details.iter().map(|(_, detail)| detail.start).min().unwrap_or(0);
    let ends = details.iter().filter_map(|(_, detail)| Some(detail.samples.last()?.time));
    let end = ends.max().unwrap_or(start);
    if end <= start {
        return String::new();
    }
    let unit = Unit::of((end - start) as f64 / SECOND as f64);
    let length = unit.time(end - start);
    // Where no job waits, leaves are free because nobody wants them.
    let fragments: Value = |sample| (sample.queued > 0).then_some(sample.fragmentation);
    let plots: [(&str, bool, Value); 3] = [
        ("Share of all SMs that is in leaves with jobs", true, |sample| Some(sample.sms)),
        ("Jobs that wait", false, |sample| Some(f64::from(sample.queued))),
        (
            "Fragments: share of the free slices that fits no request, while jobs wait",
            true,
            fragments,
        ),
    ];
    let figure = |(title, share, value): (&str, bool, Value)| {
        let curve = |detail: &Detail| -> Vec<(f64, f64)> {
            let points = means(&detail.samples, value, (start, end), PARTS);
            points.into_iter().map(|(time, value)| (unit.time(time - start), value)).collect()
        };
        let curves: Vec<_> =
            details.iter().map(|(digest, detail)| (class(digest.policy), curve(detail))).collect();
        let points = curves.iter().flat_map(|(_, points)| points);
        let most = points.map(|(_, value)| *value).fold(1.0, f64::max);
        let y = match share {
            true => Axis::even(0.0, 1.0, 5, percent),
            false => Axis::even(0.0, most * 1.05, 5, jobs),
        };
        let x = Axis::even(0.0, length, 4, |value| unit.label(value));
        Lines { title, x, y, gap: length / PARTS as f64 * 1.5, curves }.figure()
    };
    plots.map(figure).concat()
}

/// `20000`, and `200 k` where that would be too long for a telephone.
fn jobs(count: f64) -> String {
    match count >= 100_000.0 {
        true => format!("{} k", number(count / 1000.0)),
        false => number(count),
    }
}

/// Of the first seed, as the others are.
fn distribution(report: &Report) -> String {
    let mut curves = Vec::new();
    for policy in report.policies() {
        let Some(digest) = report.of(policy).next().filter(|first| !first.jct.is_empty()) else {
            continue;
        };
        let steps = (digest.jct.len() - 1) as f64;
        let point = |(step, seconds): (usize, &f64)| (seconds.max(0.1), step as f64 / steps);
        curves.push((class(policy), digest.jct.iter().enumerate().map(point).collect::<Vec<_>>()));
    }
    let times = || curves.iter().flat_map(|(_, points)| points).map(|(time, _)| *time);
    let least = times().fold(f64::INFINITY, f64::min);
    let most = times().fold(0.0, f64::max);
    if curves.is_empty() {
        return String::new();
    }
    let title = "Share of the jobs that is done so long after its submission (time is logarithmic)";
    let (x, y) = (Axis::durations(least, most), Axis::even(0.0, 1.0, 5, percent));
    Lines { title, x, y, gap: f64::INFINITY, curves }.figure()
}
