//! The table of figures, and bars with what every seed gave.

use std::fmt::Write;

use super::axis::{Axis, Unit, decimals, number};
use super::charts::{Bar, Bars};
use super::compare::{Figure, comparable, median, ratios, reference, relative, values};
use super::svg::escape;
use super::{Digest, Report, class};
use crate::{Metrics, PolicyName};

const MAKESPAN: Figure = |metrics| metrics.makespan;
const MEAN_JCT: Figure = |metrics| metrics.mean_jct;

/// How a column is written.
#[derive(Clone, Copy)]
enum Kind {
    /// Seconds, in the unit that suits the longest.
    Time,
    /// In percent.
    Share,
    /// With three decimals.
    Times,
    /// Over that of the policy that all are compared with.
    Over,
    Count,
}

const COLUMNS: [(&str, Kind, Figure); 13] = [
    ("makespan", Kind::Time, MAKESPAN),
    ("over", Kind::Over, MAKESPAN),
    ("mean wait", Kind::Time, |metrics| metrics.mean_wait),
    ("p95 wait", Kind::Time, |metrics| metrics.p95_wait),
    ("mean JCT", Kind::Time, MEAN_JCT),
    ("over", Kind::Over, MEAN_JCT),
    ("p95 JCT", Kind::Time, |metrics| metrics.p95_jct),
    ("SMs used", Kind::Share, |metrics| metrics.utilisation_sm),
    ("memory used", Kind::Share, |metrics| metrics.utilisation_memory),
    ("fragments", Kind::Share, |metrics| metrics.fragmentation),
    ("slow-down", Kind::Times, |metrics| metrics.mean_slowdown),
    ("several leaves", Kind::Share, several),
    ("never fit", Kind::Count, |metrics| metrics.unplaced as f64),
];

fn several(metrics: &Metrics) -> f64 {
    metrics.spanning as f64 / metrics.jobs.max(1) as f64
}

/// The section with what came of it.
pub fn section(page: &mut String, report: &Report) {
    let policies = report.policies();
    let Some(compared) = reference(&policies) else { return };
    page.push_str("<h2>Figures</h2>\n");
    shortest(page, report, &policies, compared);
    table(page, report, &policies, compared);
    page.push_str("<div class=\"plots\">\n");
    let several = match report.seeds() {
        0 | 1 => "",
        _ => "; a dot is a seed",
    };
    for (name, figure) in [("Makespan", MAKESPAN), ("Mean job completion time", MEAN_JCT)] {
        page.push_str(&absolute(report, &policies, &format!("{name}{several}"), figure));
        if policies.len() > 1 {
            let same = if several.is_empty() { "" } else { " with the same seed" };
            let title = format!("{name} over that of {compared}{same}{several}");
            page.push_str(&against(report, &policies, compared, &title, figure));
        }
    }
    page.push_str("</div>\n");
    layouts(page, report, &policies);
}

/// Who is ahead, in a sentence; not if some ran fewer jobs than others.
fn shortest(page: &mut String, report: &Report, policies: &[PolicyName], compared: PolicyName) {
    if policies.len() < 2 || !comparable(policies, &report.digests) {
        return;
    }
    let best = |figure| best(&report.digests, policies, compared, figure);
    let (Some(makespan), Some(jct)) = (best(MAKESPAN), best(MEAN_JCT)) else { return };
    let ideal = match policies.contains(&PolicyName::Pooled) {
        true => "; pooled is an ideal and does not count",
        false => "",
    };
    let _ = writeln!(
        page,
        "<p>Shortest makespan: {makespan}. Shortest mean job completion time: {jct}{ideal}.</p>"
    );
}

/// Those with the least ratio: all that have it in the table.
fn best(
    digests: &[Digest],
    policies: &[PolicyName],
    compared: PolicyName,
    figure: Figure,
) -> Option<String> {
    let real = policies.iter().filter(|policy| **policy != PolicyName::Pooled);
    let over = |policy: &PolicyName| {
        let times = relative(digests, *policy, compared, figure)?;
        Some((*policy, (times * 1000.0).round() / 1000.0))
    };
    let all: Vec<_> = real.filter_map(over).collect();
    let least = all.iter().map(|(_, times)| *times).min_by(f64::total_cmp)?;
    let same = all.iter().filter(|(_, times)| *times == least);
    let names: Vec<String> = same.map(|(policy, _)| format!("<b>{policy}</b>")).collect();
    Some(format!("{} ({least:.3} of {compared})", names.join(" and ")))
}

fn table(page: &mut String, report: &Report, policies: &[PolicyName], compared: PolicyName) {
    let medians = match report.seeds() {
        0 | 1 => String::new(),
        seeds => format!(
            "Medians of {seeds} seeds; what is over {compared} is the median of the seeds' ratios. "
        ),
    };
    let _ = write!(
        page,
        "<p class=\"note\">{medians}Wait: from submission to start. JCT: from submission to end. \
         p95: 95 of 100 jobs take no longer. Fragments: share of the free slices that fits no \
         request while jobs wait. Slow-down: run time over that on exactly what was asked.</p>\n\
         <div class=\"wide\"><table>\n<thead><tr><th>policy</th>"
    );
    let columns: Vec<(String, Vec<String>)> = COLUMNS
        .iter()
        .map(|(name, kind, figure)| column(report, policies, compared, (name, *kind, *figure)))
        .collect();
    for (name, _) in &columns {
        let _ = write!(page, "<th>{name}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (row, policy) in policies.iter().enumerate() {
        let cells = columns.iter().map(|(_, cells)| format!("<td>{}</td>", cells[row]));
        let _ = writeln!(page, "<tr><th>{policy}</th>{}</tr>", cells.collect::<String>());
    }
    page.push_str("</tbody></table></div>\n");
}

/// The heading with its unit, and the cells.
fn column(
    report: &Report,
    policies: &[PolicyName],
    compared: PolicyName,
    (name, kind, figure): (&str, Kind, Figure),
) -> (String, Vec<String>) {
    let of = |policy: &PolicyName| median(values(&report.digests, *policy, figure));
    let most = policies.iter().map(of).fold(0.0, f64::max);
    let unit = Unit::of(most);
    let cell = |policy: &PolicyName| match kind {
        Kind::Time => {
            let digits = decimals(most / unit.seconds);
            format!("{:.digits$}", of(policy) / unit.seconds)
        }
        Kind::Share => format!("{:.1}", of(policy) * 100.0),
        Kind::Times => format!("{:.3}", of(policy)),
        Kind::Over => relative(&report.digests, *policy, compared, figure)
            .map_or("-".into(), |times| format!("{times:.3}")),
        Kind::Count => number(of(policy)),
    };
    let name = match kind {
        Kind::Time => format!("{name},&nbsp;{}", unit.name),
        Kind::Share => format!("{name},&nbsp;%"),
        Kind::Over => format!("{name} {compared}"),
        Kind::Times | Kind::Count => name.to_owned(),
    };
    (name, policies.iter().map(cell).collect())
}

fn layouts(page: &mut String, report: &Report, policies: &[PolicyName]) {
    let used: Vec<_> = policies
        .iter()
        .filter_map(|policy| report.of(*policy).next())
        .filter(|digest| !digest.layout.is_empty())
        .collect();
    let Some(first) = used.first() else { return };
    let _ = writeln!(page, "<h3>Layouts (seed {})</h3>\n<dl>", first.seed);
    for digest in used {
        let layout = escape(&digest.layout.replace(',', ", "));
        let _ = writeln!(page, "<dt>{}</dt><dd>{layout}</dd>", digest.policy);
    }
    page.push_str("</dl>\n");
}

fn absolute(report: &Report, policies: &[PolicyName], title: &str, figure: Figure) -> String {
    let all = policies.iter().flat_map(|policy| values(&report.digests, *policy, figure));
    let most = all.fold(0.0, f64::max);
    let unit = Unit::of(most);
    let digits = decimals(most / unit.seconds);
    let bar = |policy: &PolicyName| {
        let mut values = values(&report.digests, *policy, figure);
        values.iter_mut().for_each(|value| *value /= unit.seconds);
        let middle = median(values.iter().copied());
        let (name, class) = (policy.name(), class(*policy));
        Bar { name, class, values, middle, label: format!("{middle:.digits$} {}", unit.name) }
    };
    let axis = Axis::even(0.0, most / unit.seconds, 4, |value| unit.label(value));
    Bars { title, axis, base: 0.0, bars: policies.iter().map(bar).collect() }.figure()
}

/// Bars from 1 to the ratio, so that better and worse are to different sides.
fn against(
    report: &Report,
    policies: &[PolicyName],
    compared: PolicyName,
    title: &str,
    figure: Figure,
) -> String {
    let bar = |policy: &PolicyName| {
        let values = ratios(&report.digests, *policy, compared, figure);
        let middle = if values.is_empty() { 1.0 } else { median(values.iter().copied()) };
        let label = if values.is_empty() { "-".into() } else { format!("{middle:.3}") };
        Bar { name: policy.name(), class: class(*policy), values, middle, label }
    };
    let bars: Vec<Bar> = policies.iter().map(bar).collect();
    let all = || bars.iter().flat_map(|bar| bar.values.iter().copied());
    if all().next().is_none() {
        return String::new();
    }
    // Marks have two decimals, so the axis is not shorter than some of them.
    let (least, most) = (all().fold(0.95, f64::min), all().fold(1.0, f64::max));
    let room = (most - least) * 0.04;
    let axis = Axis::even((least - room).max(0.0), most + room, 5, number);
    Bars { title, axis, base: 1.0, bars }.figure()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_ahead_are_named_but_not_the_ideal() {
        use PolicyName::{Drain, Dynamic, Flex, Pooled, Static};
        let policies = [Static, Drain, Dynamic, Flex, Pooled];
        let digest = |(policy, makespan): (PolicyName, f64)| {
            let metrics = Metrics { makespan, ..Metrics::default() };
            Digest {
                policy,
                seed: 1,
                metrics,
                layout: String::new(),
                jct: Vec::new(),
                detail: None,
            }
        };
        let makespans = [1000.0, 800.0, 752.1, 751.9, 700.0];
        let digests: Vec<Digest> = policies.into_iter().zip(makespans).map(digest).collect();
        let told = best(&digests, &policies, Static, MAKESPAN);
        assert_eq!(told.as_deref(), Some("<b>dynamic</b> and <b>flex</b> (0.752 of static)"));
        assert_eq!(best(&digests, &policies, Static, MEAN_JCT), None);
    }
}
