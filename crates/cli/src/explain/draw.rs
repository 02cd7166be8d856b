//! The explanation as text.

use super::report::{Candidate, Report};
use crate::canvas::{Line, Paint, Style};
use crate::output::{Column, table};
use crate::status::duration;

/// The report as text; `now` in seconds since 1970.
pub fn text(report: &Report, now: u64, style: &Style) -> String {
    let mut text = String::new();
    let mut write = |line: Line| line.write_to(&mut text, style);
    let mut head = Line::new(Paint::Bold, report.request.clone());
    head.push(Paint::Plain, format!(" in {}", report.place));
    let age = duration(now.saturating_sub(report.taken));
    head.push(Paint::Dim, format!(" (Slurm {}, looked at {age} ago)", report.slurm));
    write(head);
    if !report.candidates.is_empty() {
        write(Line::default());
    }
    let rows: Vec<Vec<String>> = report.candidates.iter().map(row).collect();
    let lines = table(&COLUMNS, &rows);
    for (place, line) in lines.lines().enumerate().filter(|_| !rows.is_empty()) {
        let paint = match place.checked_sub(1).map(|place| &report.candidates[place]) {
            None => Paint::Dim,
            Some(candidate) if candidate.chosen => Paint::Bold,
            Some(_) => Paint::Plain,
        };
        write(Line::new(paint, line));
    }
    text.push('\n');
    // What the user is told is never cut.
    let line = Line::new(if report.accepted { Paint::Good } else { Paint::Bad }, &report.line);
    line.write_to(&mut text, &Style { width: None, ..*style });
    if report.accepted {
        for change in changes(report) {
            text.push_str(&format!("  {change}\n"));
        }
    }
    text
}

const COLUMNS: [Column; 8] = [
    ("", false),
    ("CANDIDATE", false),
    ("NOW", false),
    ("LEAVES", true),
    ("ABOVE WHAT WAS ASKED", false),
    ("HARM", true),
    ("SOCKET", false),
    ("VERDICT", false),
];

fn row(candidate: &Candidate) -> Vec<String> {
    let now = match (candidate.fits, candidate.starts_now) {
        (false, _) => "no node",
        (true, Some(true)) => "starts",
        (true, Some(false)) => "waits",
        (true, None) => "?",
    };
    let verdict = match (&candidate.forbidden, candidate.chosen) {
        (Some(why), _) => why.clone(),
        (None, true) => "chosen".to_owned(),
        (None, false) => candidate.behind.clone().unwrap_or_default(),
    };
    vec![
        if candidate.chosen { "->" } else { "" }.to_owned(),
        candidate.composition.clone(),
        now.to_owned(),
        candidate.leaves.to_string(),
        candidate.above.clone(),
        candidate.harm.to_string(),
        match candidate.one_socket {
            Some(true) => "one",
            Some(false) => "several",
            None => "?",
        }
        .to_owned(),
        verdict,
    ]
}

/// What Slurm would be asked for.
fn changes(report: &Report) -> Vec<String> {
    let number = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={value}"));
    let text =
        |name: &str, value: &Option<String>| value.as_ref().map(|text| format!("{name}={text}"));
    let nodes = match (report.min_nodes, report.max_nodes) {
        (Some(min), Some(max)) if min != max => Some(format!("NumNodes={min}-{max}")),
        (min, max) => min.or(max).map(|nodes| format!("NumNodes={nodes}")),
    };
    let job = [
        text("TresPerNode", &report.tres_per_node),
        text("TresPerTask", &report.tres_per_task),
        nodes,
        number("NumTasks", report.num_tasks.map(u64::from)),
        number("NtasksPerNode", report.ntasks_per_node.map(u64::from)),
        number("CPUs/Task", report.cpus_per_task.map(u64::from)),
        number("MinMemoryNode", report.memory_mib),
        text("Features", &report.features),
        text("Prefer", &report.prefer),
    ];
    let job: Vec<String> = job.into_iter().flatten().collect();
    vec![job.join(" "), format!("AdminComment={}", report.note.as_deref().unwrap_or_default())]
}
