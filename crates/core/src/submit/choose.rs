//! Which type of slurm.conf an entry of the request gets.

use super::Asked;
use super::rejection::{Rejection, typed};
use super::site::{Kind, Scope, Site};
use crate::request::{Term, Want};

/// What one entry becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    /// Type as slurm.conf spells it; `None` leaves the entry without one.
    pub kind: Option<&'a str>,
    /// Leaves, per node or per task.
    pub count: u64,
    /// One word for admin_comment.
    pub why: &'static str,
}

/// Chooses a type for every entry.
pub(super) fn choose<'a>(
    site: &'a Site,
    scope: &Scope<'a>,
    asked: &Asked<'a>,
) -> Result<Vec<Choice<'a>>, Rejection> {
    let mut choices: Vec<Choice> = Vec::with_capacity(1);
    for term in asked.request.terms() {
        let choice = choose_one(site, scope, asked, term)?;
        if let Some(twin) = choices.iter().find(|other| other.kind == choice.kind) {
            return Err(Rejection::twice(
                asked,
                choice.kind,
                twin.count.saturating_add(term.count),
            ));
        }
        choices.push(choice);
    }
    Ok(choices)
}

/// For a job whose partition is not known: rejects what would get other types in other partitions.
pub(super) fn same_everywhere(
    site: &Site,
    asked: &Asked,
    choices: &[Choice],
) -> Result<(), Rejection> {
    let kinds = |choices: &[Choice]| choices.iter().map(|c| c.kind.map(str::to_owned)).collect();
    let here: Vec<Option<String>> = kinds(choices);
    let exact = choices.iter().all(|choice| matches!(choice.why, "exact" | "shape"));
    let differs = |scope: Scope| {
        let there: Option<Vec<_>> = choose(site, &scope, asked).ok().as_deref().map(kinds);
        there.is_some_and(|there| there != here)
    };
    if !exact && site.each_partition().any(differs) {
        return Err(Rejection::which_partition(asked, &site.everywhere().offered()));
    }
    Ok(())
}

fn choose_one<'a>(
    site: &'a Site,
    scope: &Scope<'a>,
    asked: &Asked,
    term: Term<'a>,
) -> Result<Choice<'a>, Rejection> {
    let choice = |kind, why| Ok(Choice { kind, count: term.count, why });
    if scope.kinds().next().is_none() {
        return if site.open {
            // Nothing is known about nodes: exact types may exist, sizes cannot be looked up.
            match term.want() {
                Want::Any => choice(None, "untyped"),
                Want::Profile(_) | Want::Name(_) => choice(term.kind, "exact"),
                Want::Memory(_) | Want::Slices(_) | Want::Mixed => {
                    Err(Rejection::nothing_known(asked, term))
                }
            }
        } else {
            let elsewhere: Vec<&str> = site.partitions_with_leaves().collect();
            Err(Rejection::no_leaves(asked, &scope.place(), &elsewhere))
        };
    }
    let Some(text) = term.kind else { return any(scope, asked, term) };
    let named = scope
        .kinds()
        .find(|kind| kind.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(text)));
    if let Some(kind) = named {
        return offered(scope, asked, term, kind, "exact");
    }
    if scope.kinds().all(|kind| kind.name.is_none()) {
        return Err(Rejection::untyped(asked, term));
    }
    match term.want() {
        Want::Any => any(scope, asked, term),
        Want::Profile(profile) => {
            // The same shape can have several names: first the one with the same suffix, then one
            // that a node has enough of, in slurm.conf's order.
            let rank = |kind: &&Kind| {
                let same_name = kind.profile.is_some_and(|known| known.same_name(&profile));
                (!same_name, !holds(scope, kind, term.count))
            };
            match scope.kinds().filter(|kind| kind.profile == Some(profile)).min_by_key(rank) {
                Some(kind) => offered(scope, asked, term, kind, "shape"),
                None if site.open => choice(term.kind, "exact"),
                None => Err(Rejection::no_profile(asked, term, &scope.place(), &scope.offered())),
            }
        }
        Want::Memory(gigabytes) => memory(scope, asked, term, gigabytes),
        Want::Slices(slices) => {
            let enough = |kind: &&Kind| {
                kind.offered && kind.profile.is_some_and(|profile| profile.compute >= slices)
            };
            let instead = scope.kinds().filter(enough).min_by_key(|kind| kind.size());
            let instead = instead.and_then(|kind| kind.name.as_deref());
            Err(Rejection::slices(asked, term, instead, &scope.offered()))
        }
        Want::Mixed => Err(Rejection::mixed(asked, term)),
        Want::Name(_) if site.open => choice(term.kind, "exact"),
        Want::Name(_) => Err(Rejection::no_type(asked, term, &scope.place(), &scope.offered())),
    }
}

/// `flexmig:N`: the smallest profile on offer.
fn any<'a>(scope: &Scope<'a>, asked: &Asked, term: Term<'a>) -> Result<Choice<'a>, Rejection> {
    let choice =
        |kind: &'a Kind, why| Ok(Choice { kind: kind.name.as_deref(), count: term.count, why });
    if scope.kinds().all(|kind| kind.name.is_none()) {
        return Ok(Choice { kind: None, count: term.count, why: "untyped" });
    }
    let offered = || scope.kinds().filter(|kind| kind.offered && kind.name.is_some());
    let by_profile = offered().filter(|kind| kind.profile.is_some());
    if let Some(kind) = by_profile.min_by_key(|kind| kind.size()) {
        return choice(kind, "smallest");
    }
    let by_memory = offered().filter(|kind| kind.memory_gb.is_some());
    if let Some(kind) = by_memory.min_by_key(|kind| kind.memory_gb) {
        return choice(kind, "smallest");
    }
    let mut offered = offered();
    match (offered.next(), offered.next()) {
        (None, _) => Err(Rejection::nothing_offered(asked, &scope.place())),
        (Some(kind), None) => choice(kind, "only"),
        _ => Err(Rejection::unsized_types(asked, term, &scope.place(), &scope.offered())),
    }
}

/// `flexmig:20gb:N`: the least memory that is enough, then the fewest slices, of what a node has
/// enough of.
fn memory<'a>(
    scope: &Scope<'a>,
    asked: &Asked,
    term: Term<'a>,
    gigabytes: u16,
) -> Result<Choice<'a>, Rejection> {
    let sized = || scope.kinds().filter(|kind| kind.offered && kind.memory_gb.is_some());
    let rank = |kind: &&Kind| {
        (!holds(scope, kind, term.count), kind.memory_gb, kind.profile.is_none(), kind.size())
    };
    let enough = |kind: &&Kind| kind.memory_gb.is_some_and(|memory| memory >= gigabytes);
    if let Some(kind) = sized().filter(enough).min_by_key(rank) {
        return Ok(Choice { kind: kind.name.as_deref(), count: term.count, why: "memory" });
    }
    let largest = sized().max_by_key(|kind| (kind.memory_gb, std::cmp::Reverse(kind.size())));
    match largest.and_then(|kind| kind.name.as_deref().zip(kind.memory_gb)) {
        Some((name, memory)) => {
            Err(Rejection::no_memory(asked, &scope.place(), memory, &typed(Some(name), term.count)))
        }
        None if scope.offered().is_empty() => {
            Err(Rejection::nothing_offered(asked, &scope.place()))
        }
        None => Err(Rejection::unsized_types(asked, term, &scope.place(), &scope.offered())),
    }
}

fn offered<'a>(
    scope: &Scope<'a>,
    asked: &Asked,
    term: Term,
    kind: &'a Kind,
    why: &'static str,
) -> Result<Choice<'a>, Rejection> {
    if !kind.offered {
        return Err(Rejection::not_offered(asked, term, &scope.place(), &scope.offered()));
    }
    Ok(Choice { kind: kind.name.as_deref(), count: term.count, why })
}

fn holds(scope: &Scope, kind: &Kind, count: u64) -> bool {
    scope.nodes_with(&[(kind.name.as_deref(), count)], 0) > 0
}
