//! The golden set: saved views and what becomes of requests on them. `flexmig explain` and
//! slurmctld's plugin are held against the same files, and the simulator against those of their
//! requests that it has, `flexmig:3g:1` on nodes that are short of leaves only.
//!
//! `tests/views/NAME.json` is a view as `flexmig status --save` writes it, `NAME.toml` the requests
//! and the answers. After a wanted change of answers `FLEXMIG_GOLDEN=write` writes the new ones; read
//! the difference before you commit it.
#![cfg(feature = "config")]

mod views;

use std::fs;
use std::path::PathBuf;

use flexmig_core::policy::Policy;
use flexmig_core::request::Notation;
use flexmig_core::submit::{Dialect, Job, Site, decide, explain};
use flexmig_core::view::{ClusterView, FORMAT};
use views::{Case, Golden, word};

/// As sbatch sends it.
fn job(case: &Case) -> Job<'_> {
    let cpus = case.tasks.unwrap_or(1) * u32::from(case.cpus_per_task.unwrap_or(1));
    Job {
        min_cpus: Some(cpus),
        tres_per_node: Some(&case.gres),
        partition: case.partition.as_deref(),
        time_limit: case.minutes,
        num_tasks: case.tasks,
        cpus_per_task: case.cpus_per_task,
        min_nodes: case.nodes,
        max_nodes: case.nodes,
        batch: true,
        ..Job::default()
    }
}

/// The case with the answers of this site.
fn look(site: &Site, case: &Case, now: u64) -> Case {
    let slurm = Dialect {
        notation: Notation::Slash,
        per_task: true,
        update_replaces: !case.old,
        version: if case.old { &"22.05.8" } else { &"24.11.5" },
        now,
    };
    let job = job(case);
    let explanation = explain(site, &slurm, &job);
    let decided = decide(site, &slurm, &job);
    assert_eq!(explanation.answer, decided, "explain and decide agree");
    let (answer, why) = match decided {
        Ok(None) => ("no leaves".to_owned(), None),
        Ok(Some(decision)) => {
            let why = word(&decision.note);
            assert!(why.is_some(), "{}", decision.note);
            let features = decision.features.map_or(String::new(), |list| format!(" {list}"));
            (decision.tres_per_node.unwrap() + &features, why)
        }
        Err(rejection) => (rejection.to_string(), None),
    };
    Case { answer, why, candidates: explanation.candidates, ..case.clone() }
}

fn views() -> Vec<(PathBuf, ClusterView, Golden)> {
    views::read(".")
}

#[test]
fn answers_are_as_written_down() {
    let write = std::env::var_os("FLEXMIG_GOLDEN").is_some();
    for (path, view, golden) in views() {
        assert_eq!(view.format, FORMAT);
        let policy = Policy::from_toml("flexmig.toml", &golden.policy).unwrap();
        let site = Site::of_view(&policy, &view);
        let look = |case: &Case| look(&site, case, view.taken_at + golden.age);
        if write {
            let case = golden.case.iter().map(look).collect();
            let text = toml::to_string_pretty(&Golden { case, ..golden }).unwrap();
            fs::write(path.with_extension("toml"), text).unwrap();
        } else {
            for case in &golden.case {
                assert_eq!(look(case), *case, "{}", path.display());
            }
        }
    }
}

#[test]
fn answers_do_not_depend_on_the_order_of_nodes() {
    for (path, view, golden) in views() {
        let policy = Policy::from_toml("flexmig.toml", &golden.policy).unwrap();
        let site = Site::of_view(&policy, &view);
        let mut turned = view.clone();
        turned.nodes.reverse();
        turned.partitions.iter_mut().for_each(|partition| {
            let names = flexmig_core::hostlist::expand(&partition.nodes).unwrap_or_default();
            partition.nodes = names.into_iter().rev().collect::<Vec<_>>().join(",");
        });
        let turned = Site::of_view(&policy, &turned);
        for case in &golden.case {
            let now = view.taken_at + golden.age;
            let place = format!("{}: {}", path.display(), case.gres);
            assert_eq!(look(&site, case, now), look(&turned, case, now), "{place}");
        }
    }
}

#[test]
fn what_was_handed_out_counts_until_the_next_view() {
    let (_, view, _) = views().into_iter().find(|(path, ..)| path.ends_with("free.json")).unwrap();
    let site = Site::of_view(&Policy::default(), &view);
    let case: Case = toml::from_str("gres = \"flexmig:3g:1\"\nanswer = \"\"").unwrap();
    let mut answers = Vec::new();
    for _ in 0..7 {
        let answer = look(&site, &case, view.taken_at).answer;
        let (_, kind) = answer.split_once("gres/flexmig:").unwrap();
        let (kind, count) = kind.split_once(':').unwrap();
        site.claim(Some(kind), count.parse().unwrap());
        answers.push(format!("{count} x {kind}"));
    }
    assert_eq!(
        answers,
        [
            "1 x 3g.40gb",
            "1 x 3g.40gb",
            "3 x 1g.10gb",
            "3 x 1g.10gb",
            "3 x 1g.10gb",
            "1 x 4g.40gb",
            "1 x 3g.40gb"
        ]
    );
}

#[test]
fn a_view_is_written_as_it_is_read() {
    for (path, view, _) in views() {
        let text = serde_json::to_string(&view).unwrap();
        let read = serde_json::from_str::<ClusterView>(&text).unwrap();
        assert_eq!(read, view, "{}", path.display());
    }
}
