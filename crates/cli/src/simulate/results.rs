//! What is printed: plain data as JSON, the table, and CSV.

use flexmig_sim::report::compare::{Figure, median, reference, relative, values};
use flexmig_sim::report::{Digest, Swept};
use flexmig_sim::{PolicyName, sensitivity};
use serde::Serialize;

use super::input::{Input, Source};
use crate::output;

/// `--json`.
#[derive(Debug, Serialize)]
pub struct Results {
    pub version: u32,
    pub input: InputFacts,
    pub cluster: ClusterFacts,
    pub scheduler: String,
    pub performance: serde_json::Map<String, serde_json::Value>,
    pub results: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sensitivity: Vec<SweptRow>,
}

#[derive(Debug, Serialize)]
pub struct InputFacts {
    pub trace: Option<String>,
    pub format: Option<String>,
    /// Jobs in the file.
    pub rows: Option<u64>,
    pub skipped: u64,
    pub skipped_reasons: Vec<Reason>,
    pub skipped_rows: Vec<SkippedRow>,
    pub jobs: u64,
    pub left_out: u64,
    pub mix: String,
    /// Of the first seed; null where all jobs come at once.
    pub load: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct Reason {
    pub reason: String,
    pub count: u64,
}

#[derive(Debug, Serialize)]
pub struct SkippedRow {
    pub line: usize,
    pub why: String,
}

#[derive(Debug, Serialize)]
pub struct ClusterFacts {
    pub gpus: u32,
    pub gpus_per_node: u32,
    pub model: String,
}

/// One simulation.
#[derive(Debug, Serialize)]
pub struct Row {
    pub policy: &'static str,
    pub seed: u64,
    pub makespan_s: f64,
    pub mean_wait_s: f64,
    pub p95_wait_s: f64,
    pub mean_jct_s: f64,
    pub p95_jct_s: f64,
    pub utilisation_sm: f64,
    pub utilisation_memory: f64,
    pub fragmentation: f64,
    pub unplaced_jobs: u64,
    pub jobs: u64,
    pub mean_slowdown: f64,
    pub spanning_jobs: u64,
    pub replanned_jobs: u64,
    pub reconfigurations: u64,
    pub layout: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct SweptRow {
    pub number: &'static str,
    pub value: f64,
    pub unchanged: bool,
    pub winner: Option<&'static str>,
    pub makespans: Vec<PolicyMakespan>,
}

#[derive(Debug, Serialize)]
pub struct PolicyMakespan {
    pub policy: &'static str,
    pub makespan_s: f64,
}

impl InputFacts {
    pub fn new(source: &Source, inputs: &[Input], mix: String) -> InputFacts {
        let first = inputs.first();
        let facts = InputFacts {
            trace: None,
            format: None,
            rows: None,
            skipped: 0,
            skipped_reasons: Vec::new(),
            skipped_rows: Vec::new(),
            jobs: first.map_or(0, |input| input.jobs.len() as u64),
            left_out: first.map_or(0, |input| input.left_out),
            mix,
            load: first.map(|input| input.load).filter(|load| load.is_finite()),
        };
        let Source::Trace(name, format, trace) = source else { return facts };
        let reason =
            |(reason, count): &(String, u64)| Reason { reason: reason.clone(), count: *count };
        let rows = trace.skipped.iter().map(|s| SkippedRow { line: s.line, why: s.why.clone() });
        InputFacts {
            trace: Some(name.clone()),
            format: Some(format.to_string()),
            rows: Some(trace.rows.len() as u64),
            skipped: trace.skipped_count(),
            skipped_reasons: trace.reasons.iter().map(reason).collect(),
            skipped_rows: rows.collect(),
            ..facts
        }
    }
}

impl From<&Digest> for Row {
    fn from(digest: &Digest) -> Row {
        let metrics = &digest.metrics;
        Row {
            policy: digest.policy.name(),
            seed: digest.seed,
            makespan_s: metrics.makespan,
            mean_wait_s: metrics.mean_wait,
            p95_wait_s: metrics.p95_wait,
            mean_jct_s: metrics.mean_jct,
            p95_jct_s: metrics.p95_jct,
            utilisation_sm: metrics.utilisation_sm,
            utilisation_memory: metrics.utilisation_memory,
            fragmentation: metrics.fragmentation,
            unplaced_jobs: metrics.unplaced,
            jobs: metrics.jobs,
            mean_slowdown: metrics.mean_slowdown,
            spanning_jobs: metrics.spanning,
            replanned_jobs: metrics.replanned,
            reconfigurations: metrics.reconfigurations,
            layout: Some(digest.layout.clone()).filter(|layout| !layout.is_empty()),
        }
    }
}

impl From<&Swept> for SweptRow {
    fn from(swept: &Swept) -> SweptRow {
        let makespans = swept.makespans.iter().map(|(policy, makespan)| PolicyMakespan {
            policy: policy.name(),
            makespan_s: *makespan,
        });
        SweptRow {
            number: swept.number,
            value: swept.value,
            unchanged: swept.unchanged,
            winner: sensitivity::winner(&swept.makespans).map(PolicyName::name),
            makespans: makespans.collect(),
        }
    }
}

/// The table of all policies: medians of the seeds; what is relative is a median of ratios.
pub fn table(policies: &[PolicyName], digests: &[Digest]) -> String {
    let Some(compared) = reference(policies) else { return String::new() };
    let of = |policy, figure: Figure| median(values(digests, policy, figure));
    let row = |policy: &PolicyName| {
        let over = |figure| times(relative(digests, *policy, compared, figure));
        let time = |figure| clock(of(*policy, figure));
        let share = |figure| format!("{:.1}", of(*policy, figure) * 100.0);
        vec![
            policy.to_string(),
            time(|m| m.makespan),
            over(|m| m.makespan),
            time(|m| m.mean_wait),
            time(|m| m.p95_wait),
            time(|m| m.mean_jct),
            over(|m| m.mean_jct),
            time(|m| m.p95_jct),
            share(|m| m.utilisation_sm),
            share(|m| m.utilisation_memory),
            share(|m| m.fragmentation),
            format!("{:.3}", of(*policy, |m| m.mean_slowdown)),
            format!("{:.0}", of(*policy, |m| m.unplaced as f64)),
        ]
    };
    let rows: Vec<Vec<String>> = policies.iter().map(row).collect();
    output::table(
        &[
            ("POLICY", false),
            ("MAKESPAN", true),
            ("REL", true),
            ("WAIT", true),
            ("P95 WAIT", true),
            ("JCT", true),
            ("REL", true),
            ("P95 JCT", true),
            ("SM %", true),
            ("MEM %", true),
            ("FRAG %", true),
            ("SLOWDOWN", true),
            ("NEVER FIT", true),
        ],
        &rows,
    )
}

/// The table of the sweep: makespans over that of the compared policy.
pub fn sweep_table(policies: &[PolicyName], sweep: &[Swept]) -> String {
    let Some(compared) = reference(policies) else { return String::new() };
    let row = |swept: &Swept| {
        let find = |wanted: PolicyName| {
            swept.makespans.iter().find(|(policy, _)| *policy == wanted).map_or(0.0, |(_, m)| *m)
        };
        let star = if swept.unchanged { "*" } else { "" };
        let winner = sensitivity::winner(&swept.makespans).map_or("", PolicyName::name);
        let mut row =
            vec![swept.number.to_owned(), format!("{}{star}", swept.value), winner.into()];
        let base = Some(find(compared)).filter(|base| *base > 0.0);
        row.extend(policies.iter().map(|policy| times(base.map(|base| find(*policy) / base))));
        row
    };
    let mut columns = vec![("NUMBER", false), ("VALUE", true), ("BEST", false)];
    columns.extend(policies.iter().map(|policy| (policy.name(), true)));
    output::table(&columns, &sweep.iter().map(row).collect::<Vec<_>>())
}

/// A line per simulation, with the fields of `--json`.
pub fn csv(digests: &[Digest]) -> String {
    let mut text = String::from(
        "policy,seed,makespan_s,mean_wait_s,p95_wait_s,mean_jct_s,p95_jct_s,utilisation_sm,\
         utilisation_memory,fragmentation,unplaced_jobs,jobs,mean_slowdown,spanning_jobs,\
         replanned_jobs,reconfigurations,layout\n",
    );
    for row in digests.iter().map(Row::from) {
        let numbers = [
            row.makespan_s,
            row.mean_wait_s,
            row.p95_wait_s,
            row.mean_jct_s,
            row.p95_jct_s,
            row.utilisation_sm,
            row.utilisation_memory,
            row.fragmentation,
            row.unplaced_jobs as f64,
            row.jobs as f64,
            row.mean_slowdown,
            row.spanning_jobs as f64,
            row.replanned_jobs as f64,
            row.reconfigurations as f64,
        ];
        let numbers = numbers.map(|number| number.to_string()).join(",");
        // A layout has commas, and never a quote.
        let layout = row.layout.as_deref().unwrap_or_default();
        text.push_str(&format!("{},{},{numbers},\"{layout}\"\n", row.policy, row.seed));
    }
    text
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"))
}

/// Seconds as Slurm writes them.
fn clock(seconds: f64) -> String {
    crate::status::duration(seconds.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flexmig_sim::Metrics;

    fn digest(policy: PolicyName, seed: u64, makespan: f64) -> Digest {
        let metrics = Metrics { makespan, mean_jct: 90.0, jobs: 2, ..Metrics::default() };
        let layout = "7x1g.10gb,4g.40gb+3x1g.10gb".to_owned();
        Digest { policy, seed, metrics, layout, jct: Vec::new(), detail: None }
    }

    #[test]
    fn the_table_has_medians_and_is_relative_to_static() {
        let digests = [
            digest(PolicyName::Flex, 1, 50.0),
            digest(PolicyName::Flex, 2, 100.0),
            digest(PolicyName::Flex, 3, 10_000.0),
            digest(PolicyName::Static, 1, 40.0),
            digest(PolicyName::Static, 2, 200.0),
            digest(PolicyName::Static, 3, 9000.0),
        ];
        let text = table(&[PolicyName::Flex, PolicyName::Static], &digests);
        let words = |line: usize| text.lines().nth(line).unwrap().split_whitespace();
        assert_eq!(words(1).take(3).collect::<Vec<_>>(), ["flex", "1:40", "1.111"]);
        // Of 1.25, 0.5 and 1.111; the ratio of the medians would be 0.5.
        assert_eq!(words(2).take(3).collect::<Vec<_>>(), ["static", "3:20", "1.000"]);
    }

    #[test]
    fn csv_has_a_field_per_heading() {
        let text = csv(&[digest(PolicyName::Flex, 7, 1.5)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("flex,7,1.5,"), "{text}");
        assert!(lines[1].ends_with(",\"7x1g.10gb,4g.40gb+3x1g.10gb\""), "{text}");
        let fields = lines[1].split(",\"").next().unwrap().split(',').count() + 1;
        assert_eq!(lines[0].split(',').count(), fields);
    }

    #[test]
    fn the_sweep_names_the_best() {
        let swept = Swept {
            number: "communication",
            value: 0.5,
            unchanged: false,
            makespans: vec![(PolicyName::Static, 100.0), (PolicyName::Flex, 120.0)],
        };
        let text = sweep_table(&[PolicyName::Static, PolicyName::Flex], &[swept]);
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["communication", "0.5", "static", "1.000", "1.200"]);
    }
}
