//! What the user left out and Slurm would fill in less well: nodes for every job, tasks, CPUs and
//! memory for batch jobs.

use super::limits::Demand;
use super::site::{Scope, Site};
use super::{Decision, Job};

/// How many nodes a job gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nodes {
    pub min: u64,
    /// `None`: as many as Slurm likes.
    pub max: Option<u64>,
}

impl Nodes {
    /// The node count of a new job. `--gres` is per node, so a job that names no node count must
    /// not get more leaves because Slurm finds it easier to use two nodes: it gets one, or what
    /// its tasks and tasks per node make, or as many as it names.
    pub fn of(job: &Job) -> Nodes {
        let from_tasks = match (job.num_tasks, job.ntasks_per_node) {
            (Some(tasks), Some(per_node)) if tasks > 0 && per_node > 0 => {
                Some(u64::from(tasks).div_ceil(per_node.into()))
            }
            _ => None,
        };
        let named = job.named_nodes.map(u64::from);
        let meant = from_tasks.max(named);
        let max = job.max_nodes.filter(|&nodes| nodes > 0).map(u64::from);
        match (job.min_nodes.map(u64::from), max) {
            (None, None) => {
                let nodes = meant.unwrap_or(1);
                Nodes { min: nodes, max: Some(nodes) }
            }
            (None, max) => Nodes { min: 1, max },
            // Clients compute this minimum themselves and leave the maximum open.
            (Some(min), None) if meant == Some(min) => Nodes { min, max: meant },
            (Some(min), max) => Nodes { min, max },
        }
    }

    /// The number, if it is one and not a range.
    pub fn fixed(&self) -> Option<u64> {
        self.max.filter(|&max| max == self.min && max > 0)
    }
}

/// Fills in what the job leaves out. Filling never makes a job impossible: what no node could
/// hold is left to Slurm's defaults.
pub(super) fn fill(site: &Site, scope: &Scope, job: &Job, demand: &Demand) -> Decision {
    let mut decision = Decision::default();
    fill_nodes(site, job, demand, &mut decision);
    if job.batch {
        fill_tasks(site, scope, job, demand, &mut decision);
        fill_cpus(site, scope, job, demand, &mut decision);
        fill_memory(site, job, demand, &mut decision);
    }
    decision
}

fn fill_nodes(site: &Site, job: &Job, demand: &Demand, decision: &mut Decision) {
    let nodes = &demand.nodes;
    let number = |nodes: u64| u32::try_from(nodes).ok();
    if job.min_nodes.is_none() {
        decision.min_nodes = number(nodes.min);
    }
    match nodes.max {
        Some(max) if job.max_nodes.is_none_or(|nodes| nodes == 0) => {
            decision.max_nodes = number(max);
        }
        Some(_) => {}
        // An open range must not grow past the limit.
        None if demand.tasks.is_none() => {
            let limit = site.submit.max_leaves_per_job.map(|limit| limit / demand.unit.max(1));
            decision.max_nodes = limit.and_then(number);
        }
        None => {}
    }
    let per_node = |tasks: u64| u16::try_from(tasks).ok().filter(|&tasks| tasks < u16::MAX - 1);
    if job.ntasks_per_node.is_none() {
        decision.ntasks_per_node = match (job.num_tasks, demand.tasks) {
            // Slurm holds tasks per node against the CPUs even of jobs that overcommit them.
            (Some(tasks), _) if decision.max_nodes == Some(1) && !job.overcommit => {
                per_node(tasks.into())
            }
            // Slurm may spread tasks unevenly: never past the limit per node.
            (_, Some(_)) if nodes.max != Some(1) => {
                let limit = site.submit.max_leaves_per_node.map(|l| l / demand.unit.max(1));
                limit.and_then(per_node)
            }
            _ => None,
        };
    }
}

/// One task per leaf.
fn fill_tasks(site: &Site, scope: &Scope, job: &Job, demand: &Demand, decision: &mut Decision) {
    let untold = job.num_tasks.is_none() && job.ntasks_per_node.is_none();
    let Some(nodes) = demand.nodes.fixed() else { return };
    if !site.submit.fill_tasks || !untold || demand.tasks.is_some() {
        return;
    }
    let leaves = demand.unit;
    let cpus = u64::from(job.cpus_per_task.unwrap_or(1));
    let total = leaves.saturating_mul(nodes);
    let numbers = u32::try_from(total).ok().zip(u16::try_from(leaves).ok());
    if let Some((tasks, per_node)) = numbers
        && fits(site, scope, demand, nodes, leaves.saturating_mul(cpus))
    {
        decision.num_tasks = Some(tasks);
        decision.ntasks_per_node = Some(per_node);
        decision.min_cpus = min_cpus(job, total.saturating_mul(cpus));
    }
}

/// CPUs per leaf, as policy says.
fn fill_cpus(site: &Site, scope: &Scope, job: &Job, demand: &Demand, decision: &mut Decision) {
    let told = job.cpus_per_task.is_some() || job.pn_min_cpus.is_some();
    let Some(per_leaf) = site.submit.cpus_per_leaf.map(u64::from).filter(|_| !told) else { return };
    let tasks = decision.num_tasks.or(job.num_tasks).map(u64::from);
    let per_node = decision.ntasks_per_node.or(job.ntasks_per_node).map(u64::from);
    let (cpus, on_a_node, total) = if let Some(tasks) = demand.tasks {
        let cpus = per_leaf.saturating_mul(demand.unit);
        let on_a_node = tasks.div_ceil(demand.nodes.max.unwrap_or(tasks).max(1));
        (cpus, on_a_node, tasks)
    } else {
        let Some(nodes) = demand.nodes.fixed() else { return };
        // Slurm starts one task per node if nobody says otherwise.
        let on_a_node = per_node.or(tasks.map(|tasks| tasks.div_ceil(nodes))).unwrap_or(1).max(1);
        let cpus = per_leaf.saturating_mul(demand.unit).div_ceil(on_a_node);
        (cpus, on_a_node, tasks.unwrap_or(on_a_node.saturating_mul(nodes)))
    };
    let Some(number) = u16::try_from(cpus).ok().filter(|&cpus| cpus < u16::MAX - 1) else { return };
    if fits(site, scope, demand, demand.nodes.min.max(1), on_a_node.saturating_mul(cpus)) {
        decision.cpus_per_task = Some(number);
        decision.min_cpus = min_cpus(job, total.saturating_mul(cpus));
    }
}

/// Memory per leaf, as policy says.
fn fill_memory(site: &Site, job: &Job, demand: &Demand, decision: &mut Decision) {
    let Some(per_leaf) = site.submit.memory_per_leaf.filter(|_| !job.memory) else { return };
    let leaves = match (demand.tasks, demand.nodes.max) {
        (None, _) => demand.unit,
        (Some(tasks), Some(1)) => demand.unit.saturating_mul(tasks),
        // How many tasks a node gets is not known.
        (Some(_), _) => return,
    };
    decision.memory = per_leaf.checked_mul(leaves);
}

/// Whether so many nodes have the leaves and so many CPUs.
fn fits(site: &Site, scope: &Scope, demand: &Demand, nodes: u64, cpus: u64) -> bool {
    site.open || scope.nodes_with(demand.wanted, cpus) >= nodes
}

/// The job's new CPU count. sbatch sends one that was computed from one task; it only grows.
fn min_cpus(job: &Job, cpus: u64) -> Option<u32> {
    let cpus = u32::try_from(cpus).ok()?;
    (!job.overcommit && job.min_cpus.is_none_or(|given| given < cpus)).then_some(cpus)
}
