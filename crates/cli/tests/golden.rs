//! `flexmig explain` on the golden set of saved views gives the answers that are written down there,
//! as core does (`crates/core/tests/golden_views.rs`) and slurmctld's plugin (`slurm-plugin/tests/golden.rs`).

mod common;
#[path = "../../core/tests/views/mod.rs"]
mod views;

use std::path::PathBuf;

use common::{Host, a100};
use flexmig_cli::explain::{Explain, Report, report};
use flexmig_core::policy::Policy;
use flexmig_core::view::ClusterView;
use views::{Case, Golden, word};

impl Case {
    fn options(&self) -> Explain {
        Explain {
            gres: Some(self.gres.clone()),
            partition: self.partition.clone(),
            time: self.minutes.map(|minutes| minutes.to_string()),
            nodes: self.nodes.map(|nodes| nodes.to_string()),
            ntasks: self.tasks,
            cpus_per_task: self.cpus_per_task,
            ..Explain::default()
        }
    }

    /// The same on the command line.
    fn words(&self) -> Vec<String> {
        let mut words = vec![format!("--gres={}", self.gres)];
        let mut push = |option: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{option}={value}")));
        };
        push("--partition", self.partition.clone());
        push("--time", self.minutes.map(|minutes| minutes.to_string()));
        push("--nodes", self.nodes.map(|nodes| nodes.to_string()));
        push("--ntasks", self.tasks.map(|tasks| tasks.to_string()));
        push("--cpus-per-task", self.cpus_per_task.map(|cpus| cpus.to_string()));
        words
    }

    /// A release with the rules of the case.
    fn release(&self) -> &'static str {
        if self.old { "22.05.8" } else { "24.11.5" }
    }
}

fn golden() -> Vec<(PathBuf, ClusterView, Golden)> {
    views::read("../core")
}

/// Checks a report against what is written down; the notation is the release's.
fn check(report: &Report, case: &Case, place: &str) {
    let request = report.tres_per_node.as_deref().unwrap_or_default().replace("gres:", "gres/");
    let features = report.features.as_ref().map(|list| format!(" {list}")).unwrap_or_default();
    let answer = match report.accepted {
        true => request + &features,
        false => report.line.trim_start_matches("flexmig: ").to_owned(),
    };
    assert_eq!(answer, case.answer, "{place}");
    assert_eq!(report.note.as_deref().and_then(word), case.why, "{place}");
    if !case.candidates.is_empty() {
        let line = |line: &String| {
            let (composition, rest) = line.split_once(": ").unwrap();
            (composition.to_owned(), rest.starts_with("chosen: "))
        };
        let written: Vec<(String, bool)> = case.candidates.iter().map(line).collect();
        let told = report.candidates.iter().map(|c| (c.composition.clone(), c.chosen));
        assert_eq!(told.collect::<Vec<_>>(), written, "{place}");
    }
}

#[test]
fn explain_gives_the_answers_that_are_written_down() {
    for (path, view, golden) in golden() {
        let policy = Policy::from_toml("flexmig.toml", &golden.policy).unwrap();
        for case in &golden.case {
            let place = format!("{}: {}", path.display(), case.gres);
            let view = ClusterView { release: case.release().into(), ..view.clone() };
            let report = report(&view, &policy, &case.options(), view.taken_at + golden.age);
            match report {
                Ok(report) => check(&report, case, &place),
                Err(failure) => {
                    assert_eq!(case.answer, "no leaves", "{place}: {failure}");
                    assert_eq!(
                        failure.to_string(),
                        "flexmig: --gres: it asks for no leaves: type --gres=flexmig:N, \
                         flexmig:PROFILE:N, flexmig:20gb:N or flexmig:3g:N"
                    );
                }
            }
        }
    }
}

/// The command on a saved view is the library on that view.
#[test]
fn the_command_gives_the_same_answers() {
    let host = Host::new(a100(1, "1g.10gb*7"));
    for (path, view, golden) in golden().into_iter().filter(|(.., golden)| golden.age == 0) {
        let policy = Policy::from_toml("flexmig.toml", &golden.policy).unwrap();
        host.write("flexmig.toml", &golden.policy);
        // The command tells a partition that does not exist before core is asked.
        let known = |case: &&Case| {
            let named = case.partition.iter().flat_map(|list| list.split(','));
            named.into_iter().all(|name| view.partitions.iter().any(|known| known.name == name))
        };
        let cases = golden.case.iter().filter(|case| case.answer != "no leaves").filter(known);
        for case in cases {
            let view = ClusterView { release: case.release().into(), ..view.clone() };
            host.write("view.json", &serde_json::to_string(&view).unwrap());
            let file = format!("--view={}", host.path("view.json").display());
            let words = case.words();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = host.run(&[&["explain", "--json", &file], &words[..]].concat());
            let expected = report(&view, &policy, &case.options(), view.taken_at).unwrap();
            assert_eq!(ran.json(), serde_json::to_value(&expected).unwrap(), "{words:?}");
            assert_eq!(ran.status, i32::from(!expected.accepted), "{}: {ran:?}", path.display());
        }
    }
}
