//! The per-call times that criterion measured in `benches/filter_call.rs`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::report::{Figure, Report};
use crate::stats::Sample;

/// The groups of `benches/filter_call.rs`, and the name in summary.json of those that have one.
const GROUPS: [(&str, &str, Option<&str>); 6] = [
    ("untyped", "--gres=flexmig:4", Some("filter_call_vs_lua")),
    ("cold", "--gres=flexmig:4, caches cold", Some("filter_call_cold_vs_lua")),
    ("by_memory", "--gres=flexmig:20gb:2", None),
    ("exact", "--gres=gpu:1,flexmig:3g.40gb:2", None),
    ("rejected", "--gres=flexmig:40, rejected", None),
    ("no_leaves", "no --gres", None),
];

/// Reads what criterion left under `home`.
pub fn report(home: &Path) -> Result<Report, String> {
    let mut report = Report::new("job_submit() per call, us");
    let mut figures = Vec::new();
    for (group, request, name) in GROUPS {
        let [ours, lua] = ["flexmig", "lua"].map(|plugin| {
            let dir = home.join(format!("filter_call_{group}/{plugin}/new"));
            samples(&dir.join("sample.json"))
        });
        let (ours, lua) = (ours?, lua?);
        if let Some(name) = name {
            let (against, sample) = ("job_submit/lua", Sample::ratios(&ours, &lua));
            figures.push(Figure { name, against, lower_is_better: true, sample });
        }
        report.row(format!("{request}: flexmig"), Sample::new(ours));
        report.row(format!("{request}: lua"), Sample::new(lua));
    }
    figures.into_iter().for_each(|figure| report.figure(figure));
    Ok(report)
}

/// Microseconds per call of each sample.
fn samples(path: &Path) -> Result<Vec<f64>, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("{}: {error}: run scripts/bench", path.display()))?;
    per_call(&text).ok_or_else(|| format!("{}: not criterion's", path.display()))
}

/// criterion's sample.json: iterations and total nanoseconds of each sample.
fn per_call(text: &str) -> Option<Vec<f64>> {
    let sample: Value = serde_json::from_str(text).ok()?;
    let numbers = |key: &str| -> Option<Vec<f64>> {
        sample.get(key)?.as_array()?.iter().map(Value::as_f64).collect()
    };
    let (calls, times) = (numbers("iters")?, numbers("times")?);
    Some(times.iter().zip(calls).map(|(time, calls)| time / calls / 1000.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_per_call_is_total_over_calls() {
        let text = r#"{"sampling_mode":"Linear","iters":[10.0,20.0],"times":[5000.0,20000.0]}"#;
        assert_eq!(per_call(text), Some(vec![0.5, 1.0]));
        assert_eq!(per_call("{}"), None);
    }
}
