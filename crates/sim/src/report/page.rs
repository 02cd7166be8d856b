//! The page around the plots.

use std::fmt::Write;

use super::charts::{Bars, Lines, number, percent};
use super::digest::{Detail, Digest, means};
use super::svg::escape;
use super::timeline::{self, Window};
use super::{Report, Swept, median, reference};
use crate::{Metrics, PolicyName, SECOND, Sample, Time, sensitivity};

const STYLE: &str = include_str!("style.css");

/// Points of a curve over time.
const PARTS: usize = 240;

/// The whole page.
pub fn html(report: &Report) -> String {
    let policies = report.policies();
    let mut page = String::new();
    let title = escape(&report.title);
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
        toggles(policies.len())
    );
    facts(&mut page, report);
    figures(&mut page, report, &policies);
    legend(&mut page, &policies);
    bars(&mut page, report, &policies);
    over_time(&mut page, report, &policies);
    distributions(&mut page, report, &policies);
    timelines(&mut page, report, &policies);
    swept(&mut page, report, &policies);
    model(&mut page, report);
    page.push_str("</body>\n</html>\n");
    page
}

/// A policy that is not ticked in the legend is in no plot.
fn toggles(policies: usize) -> String {
    let mut style = String::new();
    for place in 0..policies {
        let _ = writeln!(
            style,
            "body:has(#t{place}:not(:checked)) svg :is([stroke=\"var(--p{place})\"], \
             [fill=\"var(--p{place})\"]) {{ display: none }}"
        );
    }
    style
}

fn facts(page: &mut String, report: &Report) {
    page.push_str("<dl>\n");
    for (name, value) in &report.facts {
        let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    page.push_str("</dl>\n");
    for note in &report.notes {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escape(note));
    }
}

type Figure = fn(&Metrics) -> f64;

/// Figures of a policy: the middle of all seeds.
fn of(report: &Report, policy: PolicyName, figure: Figure) -> f64 {
    median(report.of(policy).map(|digest| figure(&digest.metrics)))
}

fn figures(page: &mut String, report: &Report, policies: &[PolicyName]) {
    let compared = reference(policies);
    let to = compared.map_or("", PolicyName::name);
    let seeds = compared.map_or(0, |policy| report.of(policy).count());
    let _ = write!(
        page,
        "<h2>Figures</h2>\n<p>{} Times in hours.</p>\n<div class=\"wide\"><table>\n<thead><tr>\
         <th>policy</th><th>makespan</th><th>over {to}</th><th>mean wait</th><th>p95 wait</th>\
         <th>mean JCT</th><th>p95 JCT</th><th>SMs in use</th><th>memory in use</th>\
         <th>fragmentation</th><th>slowdown</th><th>jobs on several leaves</th><th>never fit</th>\
         <th>layout</th></tr></thead>\n<tbody>\n",
        match seeds {
            0 | 1 => "One seed.".to_owned(),
            seeds => format!("The middle of {seeds} seeds."),
        }
    );
    let base = compared.map_or(0.0, |policy| of(report, policy, |m| m.makespan));
    for &policy in policies {
        let hours = |figure| number(&(of(report, policy, figure) / 3600.0));
        let makespan = of(report, policy, |m| m.makespan);
        let over = if base > 0.0 { format!("{:.3}", makespan / base) } else { String::new() };
        let spanning = of(report, policy, |m| m.spanning as f64 / (m.jobs.max(1)) as f64);
        let layout = report.of(policy).next().map_or("", |digest| &digest.layout);
        let cells = [
            policy.name().to_owned(),
            hours(|m| m.makespan),
            over,
            hours(|m| m.mean_wait),
            hours(|m| m.p95_wait),
            hours(|m| m.mean_jct),
            hours(|m| m.p95_jct),
            percent(&of(report, policy, |m| m.utilisation_sm)),
            percent(&of(report, policy, |m| m.utilisation_memory)),
            percent(&of(report, policy, |m| m.fragmentation)),
            format!("{:.3}", of(report, policy, |m| m.mean_slowdown)),
            percent(&spanning),
            number(&of(report, policy, |m| m.unplaced as f64)),
            layout.to_owned(),
        ];
        let cells = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell)));
        let _ = writeln!(page, "<tr>{}</tr>", cells.collect::<String>());
    }
    page.push_str("</tbody></table></div>\n");
}

fn legend(page: &mut String, policies: &[PolicyName]) {
    page.push_str("<p class=\"legend\">");
    for (place, policy) in policies.iter().enumerate() {
        let _ = write!(
            page,
            "<label><input type=\"checkbox\" id=\"t{place}\" checked>\
             <span style=\"background:var(--p{place})\"></span>{policy}</label> "
        );
    }
    page.push_str("</p>\n");
}

fn bars(page: &mut String, report: &Report, policies: &[PolicyName]) {
    page.push_str("<h2>Makespan and job completion time</h2>\n");
    let compared = reference(policies);
    let figures: [(&str, &str, Figure); 2] = [
        ("Makespan", "hours", |metrics| metrics.makespan / 3600.0),
        ("Mean job completion time", "hours", |metrics| metrics.mean_jct / 3600.0),
    ];
    for (title, y, figure) in figures {
        let base = compared.map_or(0.0, |policy| of(report, policy, figure));
        let bars = policies.iter().map(|&policy| {
            let values = || report.of(policy).map(|digest| figure(&digest.metrics));
            let least = values().fold(f64::INFINITY, f64::min);
            let most = values().fold(0.0, f64::max);
            (policy.name(), [least, median(values()), most])
        });
        let label = |value: f64| match base > 0.0 {
            true => format!("{} ({:.2}x)", number(&value), value / base),
            false => number(&value),
        };
        let to = compared.map_or("", PolicyName::name);
        let title = format!("{title} (and over {to}); the mark is the spread over seeds");
        page.push_str(&Bars { title: &title, y, bars: bars.collect(), label: &label }.svg());
    }
}

/// Digests with what happened when, one per policy, with the policy's place.
fn detailed<'r>(
    report: &'r Report,
    policies: &[PolicyName],
) -> Vec<(usize, &'r Digest, &'r Detail)> {
    let first = |(place, policy): (usize, &PolicyName)| {
        let mut details =
            report.of(*policy).filter_map(|digest| Some((digest, digest.detail.as_ref()?)));
        details.next().map(|(digest, detail)| (place, digest, detail))
    };
    policies.iter().enumerate().filter_map(first).collect()
}

fn over_time(page: &mut String, report: &Report, policies: &[PolicyName]) {
    let details = detailed(report, policies);
    let ends = details.iter().filter_map(|(_, _, detail)| Some(detail.samples.last()?.time));
    let (Some(end), Some(start)) =
        (ends.max(), details.iter().map(|(_, _, detail)| detail.start).min())
    else {
        return;
    };
    if end <= start {
        return;
    }
    let seed = details.first().map_or(0, |(_, digest, _)| digest.seed);
    let _ = writeln!(page, "<h2>Over time (seed {seed})</h2>");
    let (unit, x) = unit(end - start);
    /// Title, unit, value, and how the axis writes it.
    type Plot = (&'static str, &'static str, fn(&Sample) -> f64, fn(&f64) -> String);
    let plots: [Plot; 3] = [
        ("SMs in leaves with jobs", "share of all SMs", |s| s.sms, percent),
        ("Jobs that wait", "jobs", |s| f64::from(s.queued), number),
        ("Fragmentation", "share of free slices", |s| s.fragmentation, percent),
    ];
    for (title, y, value, y_label) in plots {
        let curve = |detail: &Detail| -> Vec<(f64, f64)> {
            let points = means(&detail.samples, value, (start, end), PARTS);
            points.into_iter().map(|(time, value)| ((time - start) as f64 / unit, value)).collect()
        };
        let curves: Vec<_> =
            details.iter().map(|(place, _, detail)| (*place, curve(detail))).collect();
        let all = curves.iter().flat_map(|(_, points)| points);
        let most = all.map(|(_, value)| *value).fold(0.0, f64::max);
        let y_top = match y {
            "jobs" => (most * 1.05).max(1.0),
            _ => 1.0,
        };
        let x_range = (0.0, (end - start) as f64 / unit);
        page.push_str(&Lines { title, x, y, x_range, y_top, log: false, y_label, curves }.svg());
    }
}

/// Milliseconds of the unit in which so much time is best told, and its name.
fn unit(time: Time) -> (f64, &'static str) {
    let seconds = time / SECOND;
    let (unit, name) = match seconds {
        0..=600 => (1, "seconds"),
        601..=36_000 => (60, "minutes"),
        36_001..=432_000 => (3600, "hours"),
        _ => (86_400, "days"),
    };
    ((unit * SECOND) as f64, name)
}

fn distributions(page: &mut String, report: &Report, policies: &[PolicyName]) {
    let mut curves = Vec::new();
    for (place, policy) in policies.iter().enumerate() {
        let Some(digest) = report.of(*policy).find(|digest| !digest.jct.is_empty()) else {
            continue;
        };
        let steps = (digest.jct.len() - 1) as f64;
        let point =
            |(step, seconds): (usize, &f64)| (seconds.max(0.001) / 3600.0, step as f64 / steps);
        curves.push((place, digest.jct.iter().enumerate().map(point).collect::<Vec<_>>()));
    }
    let times = || curves.iter().flat_map(|(_, points)| points).map(|(time, _)| *time);
    let least = times().fold(f64::INFINITY, f64::min);
    let most = times().fold(0.0, f64::max);
    if curves.is_empty() || least.is_infinite() {
        return;
    }
    let _ = writeln!(page, "<h2>Distribution of job completion times (first seed)</h2>");
    let lines = Lines {
        title: "Jobs that are done within so many hours of their submission",
        x: "hours from submission to end (logarithmic)",
        y: "share of jobs",
        x_range: (least * 0.9, most * 1.1),
        y_top: 1.0,
        log: true,
        y_label: percent,
        curves,
    };
    page.push_str(&lines.svg());
}

fn timelines(page: &mut String, report: &Report, policies: &[PolicyName]) {
    let details = detailed(report, policies);
    let spans = || details.iter().flat_map(|(_, _, detail)| &detail.spans);
    let Some(gpus) = spans().map(|span| span.gpu + 1).max() else { return };
    let gpus = gpus.min(timeline::GPUS);
    let axis = spans().map(|span| span.start + span.size).max().unwrap_or(8);
    let axis = if axis > 4 { 8 } else { 4 };
    let ends = details.iter().map(|(_, _, detail)| timeline::end(&detail.spans, gpus));
    let end = ends.filter(|end| *end > 0).min().unwrap_or(0);
    let start = details.iter().map(|(_, _, detail)| detail.start).min().unwrap_or(0);
    let window = Window { start, end, gpus, axis, unit: unit(end.saturating_sub(start)) };
    page.push_str(
        "<h2>Timeline of leaves</h2>\n<p>The first GPUs and the first jobs of them. Grey: a job on \
         one leaf. A colour: a job on several leaves, all of one colour.</p>\n",
    );
    for (place, digest, detail) in details {
        let name = digest.policy.name();
        let open = if place == 0 || digest.policy == PolicyName::Flex { " open" } else { "" };
        let _ = writeln!(page, "<details{open}><summary>{name}</summary>");
        page.push_str(&timeline::svg(&format!("Leaves under {name}"), detail, &window));
        page.push_str("</details>\n");
    }
}

fn swept(page: &mut String, report: &Report, policies: &[PolicyName]) {
    let (false, Some(compared)) = (report.sweep.is_empty(), reference(policies)) else { return };
    let _ = write!(
        page,
        "<h2>Sensitivity</h2>\n<p>Makespan over that of {compared} with one number of the model \
         changed. The shortest is bold; pooled is an ideal and does not count. A star marks the \
         model's own value.</p>\n<div class=\"wide\"><table>\n<thead><tr><th>number</th><th>value</th>"
    );
    for policy in policies {
        let _ = write!(page, "<th>{policy}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for Swept { number: name, value, unchanged, makespans } in &report.sweep {
        let star = if *unchanged { " *" } else { "" };
        let _ = write!(page, "<tr><td>{name}</td><td>{}{star}</td>", number(value));
        let find = |wanted| makespans.iter().find(|(policy, _)| *policy == wanted);
        let base = find(compared).map_or(0.0, |(_, makespan)| *makespan);
        let winner = sensitivity::winner(makespans);
        for policy in policies {
            let text = find(*policy).map_or(String::new(), |(_, m)| format!("{:.3}", m / base));
            let (on, off) = if winner == Some(*policy) { ("<b>", "</b>") } else { ("", "") };
            let _ = write!(page, "<td>{on}{text}{off}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn model(page: &mut String, report: &Report) {
    page.push_str("<h2>Model</h2>\n<dl>\n");
    for (name, value) in &report.model {
        let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    page.push_str("</dl>\n");
}
