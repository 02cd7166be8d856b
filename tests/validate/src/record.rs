//! What is kept of a validation.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use flexmig_sim::Job;
use serde_json::{Map, Value, json};

use crate::compare::{Comparison, Ran};
use crate::plan::Variant;
use crate::replay::Replay;

/// One replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// Its jobs come from this.
    pub seed: u64,
    /// How they are asked for.
    pub variant: Variant,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, {}", self.seed, self.variant.name())
    }
}

impl Case {
    fn file(&self, kind: &str) -> String {
        format!("{}-{}{kind}.csv", self.seed, self.variant.name())
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = dir.join(name);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Keeps a replay.
pub fn save(dir: &Path, case: &Case, replay: &Replay, jobs: &[Job]) -> Result<(), String> {
    let Replay { replans, launch, overhead, late, .. } = replay;
    let mut text =
        format!("# replans {replans} launch {launch:.3} overhead {overhead:.3} late {late:.3}\n");
    text.push_str("slices,limit,submit,start,end,node,leaves\n");
    for (ran, job) in replay.jobs.iter().zip(jobs) {
        let Ran { submit, start, end, node, leaves } = ran;
        let (slices, limit) = (job.slices, job.limit);
        let _ = writeln!(text, "{slices},{limit},{submit},{start},{end},{node},{leaves}");
    }
    write(dir, &case.file(""), &text)
}

/// Reads a replay that was kept.
pub fn load(dir: &Path, case: &Case) -> Result<Replay, String> {
    let path = dir.join(case.file(""));
    let text = fs::read_to_string(&path);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    read(&text).ok_or_else(|| format!("{}: not what a validation writes", path.display()))
}

fn read(text: &str) -> Option<Replay> {
    let mut lines = text.lines();
    let words: Vec<&str> = lines.next()?.split(' ').collect();
    let &["#", "replans", replans, "launch", launch, "overhead", overhead, "late", late] =
        &words[..]
    else {
        return None;
    };
    let ran = |line: &str| {
        let fields: Vec<f64> =
            line.split(',').map(|field| field.parse().ok()).collect::<Option<_>>()?;
        let [_, _, submit, start, end, node, leaves] = fields[..] else { return None };
        Some(Ran { submit, start, end, node: node as usize, leaves: leaves as usize })
    };
    let jobs = lines.skip(1).map(ran).collect::<Option<Vec<Ran>>>()?;
    Some(Replay {
        jobs,
        replans: replans == "true",
        launch: launch.parse().ok()?,
        overhead: overhead.parse().ok()?,
        late: late.parse().ok()?,
    })
}

/// Keeps both accounts beside each other, for whoever looks for the rule that is missing.
pub fn side_by_side(
    dir: &Path,
    case: &Case,
    replay: &Replay,
    predicted: &[Ran],
) -> Result<(), String> {
    let mut text =
        "job,submit,start,predicted_start,end,predicted_end,node,predicted_node,leaves,predicted_leaves\n"
            .to_owned();
    for (job, (a, b)) in replay.jobs.iter().zip(predicted).enumerate() {
        let _ = writeln!(
            text,
            "{job},{},{},{},{},{},{},{},{},{}",
            a.submit, a.start, b.start, a.end, b.end, a.node, b.node, a.leaves, b.leaves
        );
    }
    write(dir, &case.file("-both"), &text)
}

/// The columns of the table.
pub const HEADER: &str = "seed requests | makespan, predicted, error | mean wait, predicted | p95 wait, \
     predicted | tau: starts, (submissions), waits | start off by | same node | overhead, launch, late";

/// Prints a line of the table.
pub fn print(case: &Case, replay: &Replay, c: &Comparison) {
    println!(
        "{:>4} {:<8} | {:6.0} {:6.0} {:+5.1} % | {:5.0} {:5.0} | {:5.0} {:5.0} | {:.3} ({:.3}) {:.3} | \
         {:4.1} s | {:3.0} % | {:.2} {:.2} {:.1} s",
        case.seed,
        case.variant.name(),
        c.real.makespan,
        c.predicted.makespan,
        c.error() * 100.0,
        c.real.wait,
        c.predicted.wait,
        c.real.wait_p95,
        c.predicted.wait_p95,
        c.tau,
        c.tau_submission,
        c.tau_wait,
        c.start_error,
        c.same_node * 100.0,
        replay.overhead,
        replay.launch,
        replay.late,
    );
}

/// Puts the figure where those of `make bench` are; what others wrote there stays.
pub fn summary(dir: &Path, error: f64, errors: &[f64], taus: &[f64]) -> Result<(), String> {
    let rounded = |value: &f64| (value * 1e4).round() / 1e4;
    let list = |values: &[f64]| values.iter().map(rounded).collect::<Vec<f64>>();
    let entry = json!({
        "value": rounded(&error), "unit": "ratio", "against": "slurmctld", "better": "lower",
        "cases": list(errors), "tau": list(taus),
    });
    let bench = dir.parent().unwrap_or(dir);
    let short = dir.ends_with("validate-sim-short");
    let name = if short { "summary-quick.json" } else { "summary.json" };
    let old = fs::read_to_string(bench.join(name)).unwrap_or_else(|_| "{}".to_owned());
    let read = serde_json::from_str::<Map<String, Value>>(&old);
    let mut all = read.map_err(|error| format!("{}: {error}", bench.join(name).display()))?;
    all.insert("sim_vs_slurmctld_makespan_error".to_owned(), entry);
    write(bench, name, &format!("{:#}\n", Value::Object(all)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Size, jobs};

    #[test]
    fn a_replay_that_was_kept_is_read_back() {
        let jobs = jobs(1, &Size { jobs: 3, load: 1.0 });
        let ran = |place: usize| Ran {
            submit: place as f64,
            start: 2.5,
            end: 70.0,
            node: place,
            leaves: 2,
        };
        let replay = Replay { jobs: (0..3).map(ran).collect(), launch: 0.25, ..Replay::default() };
        let dir = std::env::temp_dir().join(format!("validate-sim-{}", std::process::id()));
        let case = Case { seed: 1, variant: Variant::Exact };
        save(&dir, &case, &replay, &jobs).unwrap();
        let back = load(&dir, &case);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(back.unwrap(), replay);
        assert_eq!(read("slices,limit\n1,2"), None);
    }
}
