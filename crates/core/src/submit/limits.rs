//! What policy allows and what the nodes of slurm.conf can hold. Only what is impossible on every
//! node is rejected here; what is merely busy waits in the queue.

use std::fmt::Write;

use super::choose::{Case, is_sliced};
use super::fill::Nodes;
use super::instead::smaller;
use super::rejection::{Rejection, typed};
use super::site::{Class, Offer, Scope, Site};
use super::{Asked, Job, counted, leaves};
use crate::promise;
use crate::request::{Want, shown};
use crate::select::{How, Part, Selection};

/// How much a job asks for.
pub(super) struct Demand<'a> {
    asked: &'a Asked<'a>,
    /// Types and counts, per node or per task.
    pub wanted: &'a [Part<'a>],
    /// Leaves of all types, per node or per task.
    pub unit: u64,
    pub nodes: Nodes,
    /// Tasks with leaves of their own; `None` if leaves are counted per node.
    pub tasks: Option<u64>,
}

impl<'a> Demand<'a> {
    /// What a job asks for with these leaves.
    pub fn new(
        asked: &'a Asked<'a>,
        nodes: Nodes,
        tasks: Option<u64>,
        wanted: &'a [Part<'a>],
    ) -> Demand<'a> {
        let unit = wanted.iter().map(|part| part.count).fold(0, u64::saturating_add);
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
        for &Part { kind, count } in self.wanted {
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
}

/// Number of tasks, as Slurm finds it where the user gives none.
pub(super) fn tasks(job: &Job, nodes: &Nodes) -> Option<u64> {
    let named = job.min_nodes.and(nodes.fixed());
    match (job.num_tasks, job.ntasks_per_node, job.cpus_per_task) {
        (Some(tasks), ..) => Some(tasks.into()),
        (None, Some(per_node), _) => Some(nodes.fixed()?.saturating_mul(per_node.into())),
        (None, None, None) => named,
        (None, None, Some(_)) => None,
    }
    .filter(|&tasks| tasks > 0)
}

/// Why a job cannot have certain leaves.
pub(super) enum Problem {
    /// More than one leaf, and the list of policy that does not allow it.
    Span(Who),
    /// Policy's limit per node.
    PerNode(u64),
    /// Policy's limit per job.
    PerJob(u64),
    /// Too few nodes have the leaves.
    Leaves,
    /// Too few of them have so many CPUs.
    Cpus(u64),
    /// Too few nodes hold all tasks with their leaves.
    Tasks,
    /// A node that the job names has not got them.
    Named,
    /// No node with the feature that the job names has them.
    Constraint,
    /// srun could not start its tasks on them.
    Srun,
}

/// A list of table `[span]`.
#[derive(Clone, Copy)]
pub(super) enum Who {
    Partitions,
    Accounts,
    Qos,
}

/// What policy forbids, or nodes cannot hold; `fits` says whether enough nodes have the leaves and
/// CPUs. A new job and an update are looked at alike.
pub(super) fn problem(
    site: &Site,
    scope: &Scope,
    job: &Job,
    demand: &Demand,
    fits: bool,
) -> Option<Problem> {
    let who = if demand.total() > 1 { may_not_span(site, scope, job) } else { None };
    if let Some(who) = who {
        return Some(Problem::Span(who));
    }
    if let Some(limit) = site.submit.max_leaves_per_node.filter(|&l| demand.on_one_node() > l) {
        return Some(Problem::PerNode(limit));
    }
    if let Some(limit) = site.submit.max_leaves_per_job.filter(|&l| demand.total() > l) {
        return Some(Problem::PerJob(limit));
    }
    if site.open {
        return None;
    }
    if let Some(tasks) = demand.tasks {
        let nodes = demand.nodes.max.unwrap_or(u64::MAX);
        let most = scope.offers().map(|offer| tasks_on(offer, site, job, demand, nodes)).max();
        return (most.unwrap_or(0) < tasks).then_some(Problem::Tasks);
    }
    let nodes = demand.nodes.min.max(1);
    if fits {
        None
    } else if scope.nodes_with(demand.wanted, 0) >= nodes {
        Some(Problem::Cpus(cpus_at_least(job, demand.nodes.max)))
    } else {
        Some(Problem::Leaves)
    }
}

/// The list of policy that does not allow the job more than one leaf. A job that names no account
/// or QOS gets its user's default, which is not known here, so it has to name one that is allowed.
fn may_not_span(site: &Site, scope: &Scope, job: &Job) -> Option<Who> {
    if let Some(allowed) = &site.span.partitions {
        let known = |name: &str| allowed.iter().any(|a| a == name);
        let mut names = scope.names().peekable();
        if names.peek().is_none() || !names.all(known) {
            return Some(Who::Partitions);
        }
    }
    let named = |allowed: &Option<Vec<String>>, name: Option<&str>| match allowed {
        Some(allowed) => name.is_some_and(|n| allowed.iter().any(|a| a.eq_ignore_ascii_case(n))),
        None => true,
    };
    if !named(&site.span.accounts, job.account) {
        return Some(Who::Accounts);
    }
    (!named(&site.span.qos, job.qos)).then_some(Who::Qos)
}

/// What an update leaves unsaid and policy would have to know. The job itself is not known here.
pub(super) fn check_unknown(case: &Case, demand: &Demand) -> Result<(), Rejection> {
    let (span, job) = (&case.site.span, case.job);
    if demand.unit == 1 && demand.tasks.is_none() {
        return Ok(());
    }
    let unknown = span.partitions.is_some() && job.partition.is_none()
        || span.accounts.is_some() && job.account.is_none()
        || span.qos.is_some() && job.qos.is_none();
    if unknown {
        return Err(Rejection::span_unknown(demand.asked));
    }
    let known = if demand.tasks.is_some() { job.num_tasks } else { job.min_nodes };
    match case.site.submit.max_leaves_per_job.filter(|_| known.is_none()) {
        Some(limit) => Err(Rejection::job_size_unknown(demand.asked, limit)),
        None => Ok(()),
    }
}

/// The rejection of a request that none of the candidates serves; the problem is that of the best.
pub(super) fn rejection<'a>(
    case: &Case<'a>,
    selection: &Selection<'a>,
    problem: &Problem,
) -> Rejection {
    let best = selection.best();
    let demand = case.demand(&best.parts);
    let job = case.job;
    let place = case.scope.place();
    match *problem {
        Problem::Span(who) => {
            let span = &case.site.span;
            let (thing, flags, allowed) = match who {
                Who::Partitions => ("in partition", ("-p ", "Partition="), &span.partitions),
                Who::Accounts => ("for account", ("-A ", "Account="), &span.accounts),
                Who::Qos => ("with QOS", ("-q ", "QOS="), &span.qos),
            };
            let flag = if case.asked.change { flags.1 } else { flags.0 };
            let allowed = allowed.as_deref().unwrap_or_default();
            Rejection::span(case.asked, thing, flag, allowed, &one_leaf(case, &demand))
        }
        Problem::PerNode(limit) => {
            let what = demand.with_options(job, false);
            Rejection::per_node_limit(what, limit, smaller(case, selection))
        }
        Problem::PerJob(limit) => {
            let what = demand.with_options(job, false);
            Rejection::per_job_limit(what, limit, smaller(case, selection))
        }
        Problem::Leaves => {
            let what = demand.with_options(job, false);
            let things = things(case, selection);
            let nodes = demand.nodes.min.max(1);
            Rejection::too_many(what, &place, nodes, things, smaller(case, selection))
        }
        Problem::Cpus(cpus) => {
            let what = demand.with_options(job, true);
            let things = format!("{} and {}", things(case, selection), counted(cpus, "CPU"));
            let nodes = demand.nodes.min.max(1);
            Rejection::too_many(what, &place, nodes, things, smaller(case, selection))
        }
        Problem::Tasks => {
            let what = demand.with_options(job, true);
            let nodes = demand.nodes.max.unwrap_or(u64::MAX);
            Rejection::too_many_tasks(what, &place, nodes, smaller(case, selection))
        }
        Problem::Named => {
            let what = format!("-w {} {}", shown(job.req_nodes.unwrap_or_default()), case.asked);
            Rejection::named(what, &things(case, selection))
        }
        Problem::Constraint => {
            let feature = shown(job.features.unwrap_or_default());
            let what = format!("-C {feature} {}", case.asked);
            Rejection::constraint(what, &place, &feature, &things(case, selection))
        }
        Problem::Srun => {
            let leaves: Vec<String> =
                best.parts.iter().map(|part| leaves(part.count, part.kind)).collect();
            let typed: Vec<String> =
                best.parts.iter().map(|part| typed(part.kind, part.count)).collect();
            Rejection::srun(case, &leaves.join(" and "), &typed.join(","))
        }
    }
}

/// One leaf, for those who may not have more.
fn one_leaf(case: &Case, demand: &Demand) -> String {
    let kind = demand.wanted.first().and_then(|part| part.kind);
    let nodes = match demand.tasks {
        Some(_) => "-n 1 ",
        None if demand.nodes.min > 1 => "-N 1 ",
        None => "",
    };
    format!("{nodes}{}{}", case.asked.option(), typed(kind, 1))
}

/// What no node has: `15 leaves of 1g.10gb`, `leaves for 9 slices`.
fn things(case: &Case, selection: &Selection) -> String {
    let best = selection.best();
    match (&case.terms[..], term_slices(case)) {
        ([term], Some(slices)) if is_sliced(best.how) => {
            format!("leaves for {}", counted(term.count.saturating_mul(slices), "slice"))
        }
        ([term], _) if selection.candidates.len() > 1 && best.how != How::Exact => {
            match term.want() {
                Want::Memory(memory) => {
                    format!("{} of one type with {memory} GB", leaves(term.count, None))
                }
                _ => format!("{} of one type", leaves(term.count, None)),
            }
        }
        _ => {
            let parts = best.parts.iter().map(|part| leaves(part.count, part.kind));
            parts.collect::<Vec<_>>().join(" and ")
        }
    }
}

/// Slices that the one entry names, for each one of its count.
fn term_slices(case: &Case) -> Option<u64> {
    let [term] = &case.terms[..] else { return None };
    match term.want() {
        Want::Slices(slices) => Some(slices.into()),
        Want::Profile(profile) => Some(profile.compute.into()),
        Want::Mixed => Some(1),
        Want::Any | Want::Memory(_) | Want::Name(_) => None,
    }
}

/// CPUs that a node of the job must have at least, if it gets at most so many nodes.
pub(super) fn cpus_at_least(job: &Job, nodes: Option<u64>) -> u64 {
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

/// How many tasks with leaves of their own the best so many nodes of an offer can hold.
pub(super) fn tasks_on(offer: &Offer, site: &Site, job: &Job, demand: &Demand, nodes: u64) -> u64 {
    let slots = |class: &Class| {
        let fit = |part: &Part| offer.held(class, part.kind) / part.count.max(1);
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
