//! What to type instead of a request that policy forbids or nodes cannot hold: the largest one that
//! works, on how many nodes, and where else the request works as it is.

use super::Job;
use super::choose::{Case, is_sliced};
use super::limits::{Demand, cpus_at_least, tasks_on};
use super::rejection::{alternatives, type_one_of, typed};
use super::site::{Class, Offer, Scope};
use crate::request::Term;
use crate::select::{Candidate, Part, Selection};

/// What a candidate of one type makes of a request of one entry: so many leaves per unit asked for.
#[derive(Clone, Copy)]
struct Scale<'a> {
    /// The type of the leaves.
    kind: Option<&'a str>,
    /// Leaves for each one that is asked for.
    per: u64,
    /// The type that a user types.
    typed: Option<&'a str>,
}

impl<'a> Scale<'a> {
    fn of(case: &Case<'a>, candidate: &Candidate<'a>) -> Option<Scale<'a>> {
        let ([term], [part]) = (&case.terms[..], &candidate.parts[..]) else { return None };
        let typed = if is_sliced(candidate.how) { term.kind } else { part.kind };
        Some(Scale { kind: part.kind, per: (part.count / term.count).max(1), typed })
    }

    /// So many leaves.
    fn part(&self, count: u64) -> Part<'a> {
        Part { kind: self.kind, count }
    }

    /// What to type for so many: `-N 2 --gres=flexmig:1g.10gb:10`.
    fn form(&self, case: &Case, nodes: u64, count: u64) -> String {
        let request = format!("{}{}", case.asked.option(), typed(self.typed, count));
        with_nodes(case, nodes, request)
    }
}

fn with_nodes(case: &Case, nodes: u64, request: String) -> String {
    if nodes == 1 && case.job.min_nodes.is_none_or(|nodes| nodes <= 1) {
        request
    } else if case.asked.change {
        format!("NumNodes={nodes} {request}")
    } else {
        format!("-N {nodes} {request}")
    }
}

/// CPUs that are enough on each of so many nodes, with the tasks spread evenly.
fn cpus_enough(job: &Job, nodes: u64) -> u64 {
    let least = cpus_at_least(job, Some(nodes));
    match (job.num_tasks, job.cpus_per_task) {
        (Some(tasks), Some(cpus)) if !job.overcommit => {
            least.max(u64::from(tasks).div_ceil(nodes).saturating_mul(cpus.into()))
        }
        _ => least,
    }
}

/// What to type instead of what is too much: the same on more nodes if some nodes can hold that,
/// else the most there is, and the partition that can hold it as it is.
pub(super) fn smaller<'a>(case: &Case<'a>, selection: &Selection<'a>) -> String {
    let (site, scope, job) = (case.site, case.scope, case.job);
    let per_job = site.submit.max_leaves_per_job.unwrap_or(u64::MAX);
    let demand = case.demand(&selection.best().parts);
    if let Some(tasks) = case.tasks {
        return fewer_tasks(case, selection.best(), tasks, per_job);
    }
    let scales: Option<Vec<Scale>> =
        selection.candidates.iter().map(|candidate| Scale::of(case, candidate)).collect();
    let Some(scales) = scales else { return fewer_of_several(case) };
    let count = case.terms.first().map_or(1, |term| term.count);
    let total = count.saturating_mul(case.nodes.min.max(1));
    let per_node = site.submit.max_leaves_per_node.unwrap_or(u64::MAX);
    let works = |scale: &Scale, nodes: u64| {
        let share = total / nodes;
        let leaves = share.saturating_mul(scale.per);
        total.is_multiple_of(nodes)
            && share > 0
            && leaves <= per_node
            && leaves.saturating_mul(nodes) <= per_job
            && scope.nodes_with(&[scale.part(leaves)], cpus_enough(job, nodes)) >= nodes
    };
    let more_nodes = (1..=node_count(scope).min(total))
        .find_map(|nodes| Some((nodes, scales.iter().find(|scale| works(scale, nodes))?)));
    if let Some((nodes, scale)) = more_nodes {
        return format!("type {}", scale.form(case, nodes, total / nodes));
    }
    if let Some(instead) = fewer_cpus(scope, job, &demand) {
        return instead;
    }
    let most = scales.iter().filter_map(|scale| {
        let (nodes, count) = most(scope, scale, per_node, per_job)?;
        Some((nodes.saturating_mul(count), count, nodes, scale))
    });
    // More first, then fewer nodes, then what comes first.
    let most =
        most.reduce(|best, next| if (next.0, next.1) > (best.0, best.1) { next } else { best });
    match most {
        Some((_, count, nodes, scale)) => {
            format!("type at most {}{}", scale.form(case, nodes, count), elsewhere(case))
        }
        None => match elsewhere(case).strip_prefix(", or ") {
            Some(there) => there.to_owned(),
            None => type_one_of(case.asked, &scope.offered(), 1),
        },
    }
}

/// The partitions that hold the request as it is.
pub(super) fn elsewhere(case: &Case) -> String {
    if case.asked.change || case.scope.names().nth(1).is_some() {
        return String::new();
    }
    let serves = |name: &&str| {
        let scope = case.site.scope(Some(name));
        let there = case.there(&scope);
        there.can_be_served(&there.terms)
    };
    let names: Vec<&str> = case.site.partitions_with_leaves().filter(serves).collect();
    match names[..] {
        [] => String::new(),
        _ => format!(", or add -p {}", alternatives(&names)),
    }
}

fn fewer_tasks<'a>(case: &Case<'a>, best: &Candidate<'a>, tasks: u64, per_job: u64) -> String {
    let demand = &case.demand(&best.parts);
    let most = |nodes| {
        let on = case.scope.offers().map(|o| tasks_on(o, case.site, case.job, demand, nodes));
        on.max().unwrap_or(0).min(per_job / demand.unit.max(1))
    };
    let all = node_count(case.scope);
    let request = |nodes| match Scale::of(case, best) {
        Some(scale) => scale.form(case, nodes, demand.unit / scale.per),
        None => with_nodes(case, nodes, case.asked.to_string()),
    };
    match most(all) {
        enough if enough >= tasks => {
            let nodes = fewest(all, |nodes| most(nodes) >= tasks);
            format!("type {}", request(nodes))
        }
        0 => "ask for fewer leaves or CPUs per task".to_owned(),
        tasks => format!("type at most -n {tasks} {}", request(all)),
    }
}

/// What to type where the leaves have several types: from the last entry to the first each count
/// is lowered until nodes hold it.
fn fewer_of_several(case: &Case) -> String {
    let mut terms = case.terms.to_vec();
    let fits = |terms: &[Term]| case.can_be_served(terms);
    while let Some(last) = terms.pop() {
        let with = |count| {
            let lowered = Term { count, ..last };
            terms.iter().copied().chain([lowered]).collect::<Vec<Term>>()
        };
        if fits(&with(1)) {
            let most = match fits(&with(last.count)) {
                true => last.count,
                // One below the least that does not fit.
                false => fewest(last.count, |count| !fits(&with(count))) - 1,
            };
            let typed: Vec<String> = with(most).iter().map(Term::to_string).collect();
            return format!("type at most {}{}", case.asked.option(), typed.join(","));
        }
    }
    "leave flexmig out".to_owned()
}

/// The least number from 1 to `all` that is enough, where `all` is and more is never less. In few
/// looks, as slurmctld waits for the answer.
fn fewest(all: u64, enough: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (1, all);
    while low < high {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    high
}

/// What to type where the leaves fit but the CPUs do not.
fn fewer_cpus(scope: &Scope, job: &Job, demand: &Demand) -> Option<String> {
    let nodes = demand.nodes.min.max(1);
    if scope.nodes_with(demand.wanted, 0) < nodes
        || scope.nodes_with(demand.wanted, cpus_at_least(job, demand.nodes.max)) >= nodes
    {
        return None;
    }
    let cpus = scope.offers().flat_map(|offer| offer.classes.iter().map(move |c| (offer, c)));
    let holds = |(offer, class): &(&Offer, &Class)| offer.holds(class, demand.wanted);
    let most = cpus.filter(holds).map(|(_, class)| class.cpus).max()?;
    let per_task = u64::from(job.cpus_per_task.unwrap_or(1)).max(1);
    if job.pn_min_cpus.is_some_and(|cpus| u64::from(cpus) > most) {
        Some(format!("type --mincpus={most} or less"))
    } else if per_task > most || job.num_tasks.is_none_or(|tasks| tasks <= 1) {
        Some(format!("type -c {most} or less"))
    } else {
        Some(format!("type -n {} or less", (most / per_task).saturating_mul(nodes)))
    }
}

/// The largest request: nodes, and how many on each.
fn most(scope: &Scope, scale: &Scale, per_node: u64, per_job: u64) -> Option<(u64, u64)> {
    let mut best = None;
    for offer in scope.offers() {
        for class in &offer.classes {
            let count = offer.held(class, scale.kind).min(per_node).min(per_job) / scale.per;
            if count > 0 {
                let leaves = count * scale.per;
                let nodes = offer.nodes_with(&[scale.part(leaves)], 0).min(per_job / leaves);
                // More first, then fewer nodes.
                let rank = |&(nodes, count): &(u64, u64)| (nodes.saturating_mul(count), count);
                best = best.into_iter().chain([(nodes, count)]).max_by_key(rank);
            }
        }
    }
    best
}

/// The most nodes that one of the partitions has.
fn node_count(scope: &Scope) -> u64 {
    let nodes = |offer: &Offer| offer.classes.iter().map(|class| class.nodes).sum();
    scope.offers().map(nodes).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::fewest;

    #[test]
    fn the_fewest_is_found_in_few_looks() {
        for (all, least) in [(1, 1), (2, 1), (2, 2), (7, 3), (65_536, 65_535)] {
            let looks = std::cell::Cell::new(0);
            let enough = |nodes| {
                looks.set(looks.get() + 1);
                nodes >= least
            };
            assert_eq!(fewest(all, enough), least);
            assert!(looks.get() <= 16);
        }
    }
}
