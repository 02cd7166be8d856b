//! The line for the user of an accepted job, as
//! `--gres=flexmig:3g:1: 3 leaves of 1g.10gb on one node, 3 tasks: no 3g.40gb is free`.
//!
//! Put together without `format!`, which would take most of the time of a submit.

use super::choose::{Case, Choice};
use super::limits::Demand;
use super::{Decision, push_counted, push_leaves};
use crate::policy::Compose;
use crate::request::{Want, push_number, push_term, shown};
use crate::select::{Candidate, Selection, Supply};

/// What was chosen, what was filled in, and why.
pub(super) fn message(
    case: &Case,
    selection: &Selection,
    demand: &Demand,
    choice: &Choice,
    decision: &Decision,
) -> String {
    let mut text = String::with_capacity(200);
    case.asked.push_to(&mut text);
    text.push_str(": ");
    push_choice(&mut text, choice);
    push_place(&mut text, demand);
    push_filled(&mut text, decision);
    push_reason(&mut text, case, selection, choice);
    push_hint(&mut text, case, demand);
    text
}

fn push_choice(text: &mut String, choice: &Choice) {
    if let Some((first, others)) = choice.either.split_first() {
        push_leaves(text, choice.parts[0].count, Some(first.0));
        for (kind, _) in others {
            text.push_str(" or of ");
            text.push_str(kind);
        }
        text.push_str(", whichever starts first,");
        return;
    }
    for (place, part) in choice.parts.iter().enumerate() {
        text.push_str(if place == 0 { "" } else { " and " });
        push_leaves(text, part.count, part.kind);
    }
}

fn push_place(text: &mut String, demand: &Demand) {
    if let Some(tasks) = demand.tasks {
        text.push_str(if tasks == 1 { " for " } else { " for each of " });
        push_counted(text, tasks, "task");
    }
    match (demand.nodes.min, demand.nodes.max) {
        (1, Some(1)) => text.push_str(" on one node"),
        (min, Some(max)) if min == max => {
            text.push_str(if demand.tasks.is_some() { " on " } else { " on each of " });
            push_counted(text, min, "node");
        }
        _ if demand.tasks.is_none() => text.push_str(" on each node"),
        _ => {}
    }
}

fn push_filled(text: &mut String, decision: &Decision) {
    if let Some(tasks) = decision.num_tasks {
        text.push_str(", ");
        push_counted(text, tasks.into(), "task");
    }
    if let Some(cpus) = decision.cpus_per_task {
        text.push_str(", ");
        push_counted(text, cpus.into(), "CPU");
        text.push_str(" per task");
    }
    if let Some(memory) = decision.memory {
        text.push_str(", ");
        push_number(text, memory);
        text.push_str(" MiB of memory per node");
    }
}

/// Why these leaves, where that is not plain.
fn push_reason(text: &mut String, case: &Case, selection: &Selection, choice: &Choice) {
    let chosen = &selection.candidates[choice.place];
    if !choice.either.is_empty() {
        return;
    }
    if chosen.substitute {
        push_substitute(text, case, chosen);
    } else if choice.why == "starts-now" {
        text.push_str(": ");
        match selection.passed_over(choice.place) {
            Some(better) => push_busy(text, case, better),
            None => text.push_str("these can start now"),
        }
    } else if choice.why == "queue" {
        text.push_str(": they have the shortest queue");
    }
    // A request for one certain type needs no such words.
    let flexible = selection.candidates.iter().filter(|other| other.fits).nth(1).is_some();
    if chosen.fits && chosen.starts_now == Some(false) && flexible {
        text.push_str(": it has to wait");
        if !case.stays() {
            text.push_str(", for other leaves too");
        } else if case.slurm.update_replaces {
            text.push_str(" for these");
        } else {
            text.push_str(" for these, as Slurm ");
            text.push_str(&case.slurm.version.to_string());
            text.push_str(" cannot change the type of a waiting job");
        }
    }
}

/// A type was named and others take its place. Memory does not pool, so each leaf's is told.
fn push_substitute(text: &mut String, case: &Case, chosen: &Candidate) {
    let kinds = case.scope.kinds();
    let find = |name: Option<&str>| kinds.iter().find(|kind| kind.name.as_deref() == name);
    let named = case.terms.iter().filter_map(|term| {
        let Want::Profile(profile) = term.want() else { return None };
        let there = kinds.iter().any(|kind| kind.profile == Some(profile));
        let taken =
            chosen.parts.iter().any(|p| find(p.kind).is_some_and(|k| k.profile == Some(profile)));
        (!taken).then_some((term.kind?, there))
    });
    let Some((name, there)) = named.into_iter().next() else { return };
    text.push_str(": no ");
    text.push_str(&shown(name));
    text.push_str(if there && case.site.select.compose == Compose::Busy {
        " is free"
    } else {
        " is there"
    });
    let memory = chosen.parts.iter().filter_map(|part| find(part.kind)?.memory_gb).min();
    if let Some(memory) = memory {
        text.push_str(", and each leaf has ");
        push_number(text, memory.into());
        text.push_str(" GB of its own");
    }
}

/// What would have been better and cannot start now.
fn push_busy(text: &mut String, case: &Case, better: &Candidate) {
    let kinds = case.scope.kinds();
    let [part] = better.parts[..] else {
        text.push_str("these can start now");
        return;
    };
    let kind = kinds.iter().find(|kind| kind.name.as_deref() == part.kind);
    let free = kind.map(|kind| case.supply().stock(kind));
    if free == Some(0)
        && let Some(name) = part.kind
    {
        text.push_str("no ");
        text.push_str(name);
        text.push_str(" is free");
    } else {
        push_leaves(text, part.count, part.kind);
        text.push_str(if part.count == 1 { " has to wait" } else { " have to wait" });
    }
}

/// What to add to srun and salloc, which count tasks before Slurm asks us. And where the user's own
/// tasks are more than the leaves, so that ranks without a leaf would end: what gives each one.
fn push_hint(text: &mut String, case: &Case, demand: &Demand) {
    let job = case.job;
    if demand.tasks.is_none()
        && let (Some(tasks), Some(nodes)) = (job.num_tasks.map(u64::from), demand.nodes.fixed())
        && tasks > demand.unit.saturating_mul(nodes)
    {
        text.push_str(": ");
        push_counted(text, tasks, "task");
        text.push_str(" are more than the leaves, ");
        text.push_str(case.asked.option());
        push_term(text, None, tasks.div_ceil(nodes));
        text.push_str(" gives each its own");
    }
    let untold = job.num_tasks.is_none() && job.ntasks_per_node.is_none();
    if !job.batch
        && untold
        && demand.unit > 1
        && let Some(tasks) = demand.nodes.fixed().and_then(|nodes| demand.unit.checked_mul(nodes))
    {
        text.push_str(": add -n ");
        push_number(text, tasks);
        text.push_str(", one task per leaf");
    }
}
