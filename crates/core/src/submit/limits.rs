//! What policy allows and what the nodes of slurm.conf can hold. Only what is impossible on every
//! node is rejected here; what is merely busy waits in the queue.

use std::fmt::Write;

use super::choose::Choice;
use super::fill::Nodes;
use super::rejection::{Rejection, typed};
use super::site::{Class, Offer, Scope, Site};
use super::{Asked, Field, Job};
use crate::promise;

/// How much a job asks for.
pub(super) struct Demand<'a> {
    asked: &'a Asked<'a>,
    /// Types and counts, per node or per task.
    pub wanted: Vec<(Option<&'a str>, u64)>,
    /// Leaves of all types, per node or per task.
    pub unit: u64,
    pub nodes: Nodes,
    /// Tasks with leaves of their own; `None` if leaves are counted per node.
    pub tasks: Option<u64>,
}

impl<'a> Demand<'a> {
    /// The demand of a new job.
    pub fn new(
        asked: &'a Asked,
        job: &Job,
        nodes: Nodes,
        choices: &[Choice<'a>],
    ) -> Result<Demand<'a>, Rejection> {
        let tasks = match asked.field {
            Field::Task => Some(tasks(job, &nodes).ok_or_else(|| Rejection::no_tasks(asked))?),
            Field::Node | Field::Job | Field::Socket => None,
        };
        Ok(Demand { nodes, tasks, ..Demand::of_change(asked, job, choices) })
    }

    /// The demand of an update, which names nodes and tasks only if it changes them.
    pub fn of_change(asked: &'a Asked, job: &Job, choices: &[Choice<'a>]) -> Demand<'a> {
        let wanted: Vec<_> = choices.iter().map(|choice| (choice.kind, choice.count)).collect();
        let unit = wanted.iter().map(|&(_, count)| count).fold(0, u64::saturating_add);
        let nodes =
            Nodes { min: job.min_nodes.unwrap_or(1).into(), max: job.max_nodes.map(u64::from) };
        let tasks = (asked.field == Field::Task).then(|| job.num_tasks.map_or(1, u64::from));
        Demand { asked, wanted, unit, nodes, tasks }
    }

    /// Leaves that one of the job's nodes must hold at least.
    pub fn on_one_node(&self) -> u64 {
        match (self.tasks, self.nodes.max) {
            (None, _) => self.unit,
            (Some(tasks), Some(nodes)) => self.unit.saturating_mul(tasks.div_ceil(nodes.max(1))),
            (Some(_), None) => self.unit,
        }
    }

    /// Leaves of the whole job, at least.
    fn total(&self) -> u64 {
        let units = self.tasks.unwrap_or(self.nodes.max.unwrap_or(self.nodes.min));
        self.unit.saturating_mul(units)
    }

    /// For the job's environment.
    pub fn promise(&self) -> String {
        let times = match (self.tasks, self.nodes.max) {
            (None, _) => Some(1),
            (Some(tasks), Some(1)) => Some(tasks),
            (Some(_), _) => None,
        };
        let mut text = String::with_capacity(24 * self.wanted.len());
        for &(kind, count) in &self.wanted {
            if !text.is_empty() {
                text.push(',');
            }
            promise::push(&mut text, kind, times.map(|times| count.saturating_mul(times)));
        }
        text
    }

    /// The request with the other options that matter: `-N 2 -n 4 -c 8 --gres=flexmig:4`.
    fn with_options(&self, job: &Job, cpus: bool) -> String {
        let mut text = String::new();
        let (nodes, tasks) =
            if self.asked.change { ("NumNodes=", "NumTasks=") } else { ("-N ", "-n ") };
        if let Some(number) = job.min_nodes {
            let _ = write!(text, "{nodes}{number} ");
        }
        if let Some(number) = job.num_tasks.filter(|_| cpus || self.tasks.is_some()) {
            let _ = write!(text, "{tasks}{number} ");
        }
        if let Some(cpus) = job.cpus_per_task.filter(|_| cpus) {
            let _ = write!(text, "-c {cpus} ");
        }
        if let Some(cpus) = job.pn_min_cpus.filter(|_| cpus) {
            let _ = write!(text, "--mincpus={cpus} ");
        }
        let _ = write!(text, "{}", self.asked);
        text
    }

    /// What to type for the first type: `-N 2 --gres=flexmig:1g.10gb:10`.
    fn form(&self, job: &Job, nodes: u64, count: u64) -> String {
        let kind = self.wanted.first().and_then(|&(kind, _)| kind);
        let request = format!("{}{}", self.asked.option(), typed(kind, count));
        if nodes == 1 && job.min_nodes.is_none_or(|nodes| nodes <= 1) {
            request
        } else if self.asked.change {
            format!("NumNodes={nodes} {request}")
        } else {
            format!("-N {nodes} {request}")
        }
    }
}

/// Number of tasks, as Slurm finds it where the user gives none.
fn tasks(job: &Job, nodes: &Nodes) -> Option<u64> {
    let named = job.min_nodes.and(nodes.fixed());
    match (job.num_tasks, job.ntasks_per_node, job.cpus_per_task) {
        (Some(tasks), ..) => Some(tasks.into()),
        (None, Some(per_node), _) => Some(nodes.fixed()?.saturating_mul(per_node.into())),
        (None, None, None) => named,
        (None, None, Some(_)) => None,
    }
    .filter(|&tasks| tasks > 0)
}

/// Rejects what site policy forbids.
pub(super) fn check_policy(
    site: &Site,
    scope: &Scope,
    job: &Job,
    demand: &Demand,
) -> Result<(), Rejection> {
    if demand.total() > 1 {
        check_span(site, scope, job, demand)?;
    }
    check_policy_numbers(site, scope, job, demand)
}

/// Rejects more than one leaf where policy does not allow it. A job that names no account or QOS
/// gets its user's default, which is not known here, so it has to name one that is allowed.
fn check_span(site: &Site, scope: &Scope, job: &Job, demand: &Demand) -> Result<(), Rejection> {
    let kind = demand.wanted.first().and_then(|&(kind, _)| kind);
    let single = |options: &str| format!("{options}{}{}", demand.asked.option(), typed(kind, 1));
    let one_leaf = || match demand.tasks {
        Some(_) => single("-n 1 "),
        None if demand.nodes.min > 1 => single("-N 1 "),
        None => single(""),
    };
    let reject = |thing, flag, allowed: &[String]| {
        Err(Rejection::span(demand.asked, thing, flag, allowed, &one_leaf()))
    };
    if let Some(allowed) = &site.span.partitions {
        let known = |name: &str| allowed.iter().any(|a| a == name);
        if scope.names().next().is_none() || !scope.names().all(known) {
            return reject("in partition", "-p", allowed);
        }
    }
    let named = |allowed: &[String], name: Option<&str>| {
        name.is_some_and(|name| allowed.iter().any(|a| a.eq_ignore_ascii_case(name)))
    };
    if let Some(allowed) = site.span.accounts.as_deref().filter(|list| !named(list, job.account)) {
        return reject("for account", "-A", allowed);
    }
    if let Some(allowed) = site.span.qos.as_deref().filter(|list| !named(list, job.qos)) {
        return reject("with QOS", "-q", allowed);
    }
    Ok(())
}

/// The limits for an update. What the update does not name is not known here, so what could break
/// policy is rejected.
pub(super) fn check_change(
    site: &Site,
    scope: &Scope,
    job: &Job,
    demand: &Demand,
) -> Result<(), Rejection> {
    let span = &site.span;
    let one = demand.unit == 1 && demand.tasks.is_none();
    if !one {
        let unknown = span.partitions.is_some() && job.partition.is_none()
            || span.accounts.is_some() && job.account.is_none()
            || span.qos.is_some() && job.qos.is_none();
        if unknown {
            return Err(Rejection::span_unknown(demand.asked));
        }
        check_span(site, scope, job, demand)?;
        let known = if demand.tasks.is_some() { job.num_tasks } else { job.min_nodes };
        if let Some(limit) = site.submit.max_leaves_per_job.filter(|_| known.is_none()) {
            return Err(Rejection::job_size_unknown(demand.asked, limit));
        }
    }
    check_policy_numbers(site, scope, job, demand)?;
    check_nodes(site, scope, job, demand)
}

fn check_policy_numbers(
    site: &Site,
    scope: &Scope,
    job: &Job,
    demand: &Demand,
) -> Result<(), Rejection> {
    let what = || demand.with_options(job, false);
    if let Some(limit) = site.submit.max_leaves_per_node.filter(|&l| demand.on_one_node() > l) {
        return Err(Rejection::per_node_limit(what(), limit, smaller(site, scope, job, demand)));
    }
    if let Some(limit) = site.submit.max_leaves_per_job.filter(|&l| demand.total() > l) {
        return Err(Rejection::per_job_limit(what(), limit, smaller(site, scope, job, demand)));
    }
    Ok(())
}

/// Rejects what no nodes can hold, with the form that works.
pub(super) fn check_nodes(
    site: &Site,
    scope: &Scope,
    job: &Job,
    demand: &Demand,
) -> Result<(), Rejection> {
    if site.open {
        return Ok(());
    }
    if let Some(tasks) = demand.tasks {
        return check_tasks(site, scope, job, demand, tasks);
    }
    let nodes = demand.nodes.min.max(1);
    let cpus = cpus_at_least(job, demand.nodes.max);
    if scope.nodes_with(&demand.wanted, cpus) >= nodes {
        return Ok(());
    }
    let instead = smaller(site, scope, job, demand);
    let place = scope.place();
    if scope.nodes_with(&demand.wanted, 0) >= nodes {
        let what = demand.with_options(job, true);
        Err(Rejection::too_many(what, &place, nodes, &demand.wanted, Some(cpus), instead))
    } else {
        let what = demand.with_options(job, false);
        Err(Rejection::too_many(what, &place, nodes, &demand.wanted, None, instead))
    }
}

fn check_tasks(
    site: &Site,
    scope: &Scope,
    job: &Job,
    demand: &Demand,
    tasks: u64,
) -> Result<(), Rejection> {
    let nodes = demand.nodes.max.unwrap_or(u64::MAX);
    let most = |nodes| scope.offers().map(|o| tasks_on(o, site, job, demand, nodes)).max();
    if most(nodes).unwrap_or(0) >= tasks {
        return Ok(());
    }
    let what = demand.with_options(job, true);
    let instead = smaller(site, scope, job, demand);
    Err(Rejection::too_many_tasks(what, &scope.place(), nodes, instead))
}

/// CPUs that a node of the job must have at least, if it gets at most so many nodes.
fn cpus_at_least(job: &Job, nodes: Option<u64>) -> u64 {
    let per_task = u64::from(job.cpus_per_task.unwrap_or(1));
    let tasks = u64::from(job.num_tasks.unwrap_or(0)).saturating_mul(per_task);
    let total = match job.min_cpus {
        Some(cpus) if job.overcommit => cpus.into(),
        Some(cpus) => tasks.max(cpus.into()),
        None => tasks,
    };
    let share = nodes.map_or(0, |nodes| total.div_ceil(nodes.max(1)));
    share.max(job.pn_min_cpus.map_or(0, u64::from))
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

/// How many tasks with leaves of their own the best so many nodes of an offer can hold.
fn tasks_on(offer: &Offer, site: &Site, job: &Job, demand: &Demand, nodes: u64) -> u64 {
    let slots = |class: &Class| {
        let fit = |&(kind, count): &(Option<&str>, u64)| offer.held(class, kind) / count.max(1);
        let leaves = demand.wanted.iter().map(fit).min().unwrap_or(0);
        let cpus = match job.cpus_per_task {
            _ if job.overcommit => u64::MAX,
            cpus => class.cpus / u64::from(cpus.unwrap_or(1)).max(1),
        };
        let limit = site.submit.max_leaves_per_node.map_or(u64::MAX, |l| l / demand.unit.max(1));
        let per_node = job.ntasks_per_node.map_or(u64::MAX, u64::from);
        leaves.min(cpus).min(limit).min(per_node)
    };
    let mut classes: Vec<(u64, u64)> = offer.classes.iter().map(|c| (slots(c), c.nodes)).collect();
    classes.sort_unstable_by(|a, b| b.cmp(a));
    let mut left = nodes;
    let mut tasks = 0u64;
    for (slots, count) in classes {
        let taken = count.min(left);
        tasks = tasks.saturating_add(slots.saturating_mul(taken));
        left -= taken;
    }
    tasks
}

/// What to type instead of what is too much: the same number of leaves on more nodes if some
/// nodes can hold that, else the most there is.
fn smaller(site: &Site, scope: &Scope, job: &Job, demand: &Demand) -> String {
    let per_job = site.submit.max_leaves_per_job.unwrap_or(u64::MAX);
    if let Some(tasks) = demand.tasks {
        let most = |nodes| {
            let on = scope.offers().map(|o| tasks_on(o, site, job, demand, nodes));
            on.max().unwrap_or(0).min(per_job / demand.unit.max(1))
        };
        let all = node_count(scope);
        let unit = demand.unit;
        return match most(all) {
            enough if enough >= tasks => {
                let nodes = fewest(all, |nodes| most(nodes) >= tasks);
                format!("type {}", demand.form(job, nodes, unit))
            }
            0 => "ask for fewer leaves or CPUs per task".to_owned(),
            tasks => format!("type at most -n {tasks} {}", demand.form(job, all, unit)),
        };
    }
    let per_node = site.submit.max_leaves_per_node.unwrap_or(u64::MAX);
    let [(kind, count)] = demand.wanted[..] else {
        return "ask for one type per job".to_owned();
    };
    let total = count.saturating_mul(demand.nodes.min.max(1));
    let works = |&nodes: &u64| {
        let share = total / nodes;
        total.is_multiple_of(nodes)
            && share > 0
            && share <= per_node
            && scope.nodes_with(&[(kind, share)], cpus_enough(job, nodes)) >= nodes
    };
    if total <= per_job
        && let Some(nodes) = (1..=node_count(scope).min(total)).find(works)
    {
        return format!("type {}", demand.form(job, nodes, total / nodes));
    }
    match fewer_cpus(scope, job, demand) {
        Some(instead) => instead,
        None => match most(scope, kind, per_node, per_job) {
            Some((nodes, count)) => format!("type at most {}", demand.form(job, nodes, count)),
            None => "leave flexmig out".to_owned(),
        },
    }
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
    if scope.nodes_with(&demand.wanted, 0) < nodes
        || scope.nodes_with(&demand.wanted, cpus_at_least(job, demand.nodes.max)) >= nodes
    {
        return None;
    }
    let cpus = scope.offers().flat_map(|offer| offer.classes.iter().map(move |c| (offer, c)));
    let holds = |(offer, class): &(&Offer, &Class)| {
        demand.wanted.iter().all(|&(kind, count)| offer.held(class, kind) >= count)
    };
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

/// The largest request: nodes, and leaves on each.
fn most(scope: &Scope, kind: Option<&str>, per_node: u64, per_job: u64) -> Option<(u64, u64)> {
    let mut best = None;
    for offer in scope.offers() {
        for class in &offer.classes {
            let count = offer.held(class, kind).min(per_node).min(per_job);
            if count > 0 {
                let nodes = offer.nodes_with(&[(kind, count)], 0).min(per_job / count);
                // More leaves first, then fewer nodes.
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
