//! Where figures go: a table on stdout, and `build/bench/summary.json`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::stats::{COLUMNS, Sample};

/// One figure of summary.json.
#[derive(Debug)]
pub struct Figure {
    /// The key; never renamed, so that runs can be compared.
    pub name: &'static str,
    /// What the ratio is taken against.
    pub against: &'static str,
    /// Whether less is better.
    pub lower_is_better: bool,
    /// Ratios, round by round.
    pub sample: Sample,
}

/// A figure with a value for each of several cases, which a median would hide.
#[derive(Debug)]
pub struct Cases {
    /// The key; never renamed, so that runs can be compared.
    pub name: &'static str,
    /// What the ratios are taken against.
    pub against: &'static str,
    /// Ratios, less is better, in the order of the cases.
    pub values: Vec<f64>,
}

/// What one part of the benchmark found.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(String, Option<Sample>)>,
    figures: Vec<Figure>,
    cases: Vec<Cases>,
}

impl Report {
    /// An empty report under a heading.
    pub fn new(heading: impl Into<String>) -> Report {
        Report { rows: vec![(heading.into(), None)], ..Report::default() }
    }

    /// Adds a line of the table.
    pub fn row(&mut self, what: impl Into<String>, sample: Sample) {
        self.rows.push((format!("  {}", what.into()), Some(sample)));
    }

    /// Adds a ratio that goes into summary.json too.
    pub fn figure(&mut self, figure: Figure) {
        self.row(format!("{} (against {})", figure.name, figure.against), figure.sample.clone());
        self.figures.push(figure);
    }

    /// Adds ratios that go into summary.json one by one.
    pub fn cases(&mut self, cases: Cases) {
        let sample = Sample::new(cases.values.clone());
        self.row(format!("{} (against {})", cases.name, cases.against), sample);
        self.cases.push(cases);
    }

    /// The names of the figures.
    #[cfg(test)]
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.figures.iter().map(|figure| figure.name)
    }

    /// Shows the table.
    pub fn print(&self) {
        for (what, sample) in &self.rows {
            match sample {
                Some(sample) => println!("{what:<62}{sample}"),
                None => println!("\n{what:<62}{COLUMNS}"),
            }
        }
    }

    /// Puts the figures into summary.json; what others wrote there stays.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let error = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let old = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(absent) if absent.kind() == std::io::ErrorKind::NotFound => "{}".to_owned(),
            Err(other) => return Err(error(&other)),
        };
        let text = merged(&old, &self.figures, &self.cases).map_err(|cause| error(&cause))?;
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|cause| error(&cause))?;
        }
        fs::write(path, text).map_err(|cause| error(&cause))
    }
}

/// What else this machine does: the load average of the last minute.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// The text of summary.json with these figures in it.
fn merged(old: &str, figures: &[Figure], cases: &[Cases]) -> Result<String, serde_json::Error> {
    let mut summary: Map<String, Value> = serde_json::from_str(old)?;
    for figure in figures {
        let value = rounded(figure.sample.median());
        let better = if figure.lower_is_better { "lower" } else { "higher" };
        let entry = json!({
            "value": value, "unit": "ratio", "against": figure.against, "better": better,
        });
        summary.insert(figure.name.to_owned(), entry);
    }
    for cases in cases {
        let values: Vec<f64> = cases.values.iter().copied().map(rounded).collect();
        let entry = json!({
            "value": values, "unit": "ratio", "against": cases.against, "better": "lower",
        });
        summary.insert(cases.name.to_owned(), entry);
    }
    Ok(serde_json::to_string_pretty(&summary)? + "\n")
}

fn rounded(ratio: f64) -> f64 {
    (ratio * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64) -> Figure {
        Figure {
            name: "submit",
            against: "no filter",
            lower_is_better: false,
            sample: Sample::new(vec![value]),
        }
    }

    #[test]
    fn figures_of_others_stay() {
        let old = r#"{"other": {"value": 2, "unit": "s"}, "submit": {"value": 1}}"#;
        let cases = Cases { name: "stream", against: "exact", values: vec![0.61239, 0.5] };
        let text = merged(old, &[figure(0.97)], &[cases]).unwrap();
        let summary: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(summary["other"]["value"], 2);
        let expected = json!({
            "value": 0.97, "unit": "ratio", "against": "no filter", "better": "higher",
        });
        assert_eq!(summary["submit"], expected);
        assert_eq!(summary["stream"]["value"], json!([0.6124, 0.5]));
    }

    #[test]
    fn a_broken_summary_is_not_overwritten() {
        assert!(merged("{", &[figure(1.0)], &[]).is_err());
        assert!(merged("[]", &[figure(1.0)], &[]).is_err());
    }
}
