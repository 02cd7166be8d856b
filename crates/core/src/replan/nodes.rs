//! What one waiting job could start on now, node by node.
//!
//! Slurm's backfill scheduler plans whole nodes, so a node is open for a job only until the first
//! planned start of a job that goes before it. What this round has given to one job is not there
//! for the next.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::job::Demand;
use crate::hostlist;
use crate::select::Part;
use crate::view::{ClusterView, JobView};

/// The nodes of a view, with what this round has given away.
pub(super) struct Nodes<'v> {
    view: &'v ClusterView,
    by_name: HashMap<&'v str, usize>,
    /// Nodes of each partition in the view's order; none where the partition is down.
    partitions: HashMap<&'v str, Vec<usize>>,
    /// Planned starts on each node, earliest first.
    plans: Vec<Vec<Planned>>,
    given: Vec<Given>,
    /// What could not start: in the rest of the round it cannot either, as nodes only fill up, and
    /// jobs that come later in the queue have more planned before them.
    vain: RefCell<HashSet<String>>,
}

/// A planned start.
#[derive(Clone, Copy)]
struct Planned {
    start: u64,
    job: u32,
    rank: Rank,
}

/// What decides which of two waiting jobs goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank {
    priority: u32,
    job: u32,
    /// Stands for the job's list of partitions. Tiers are not known, so that of jobs of different
    /// partitions either may go first.
    partition: u64,
}

impl Rank {
    pub fn of(job: &JobView) -> Rank {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        job.partition.hash(&mut hasher);
        Rank { priority: job.priority, job: job.job_id, partition: hasher.finish() }
    }

    /// Whether this job may go before the other.
    fn may_precede(&self, other: &Rank) -> bool {
        let earlier = (other.priority, self.job) < (self.priority, other.job);
        self.partition != other.partition || earlier
    }
}

/// What this round has given to jobs on one node.
#[derive(Clone, Debug, Default)]
struct Given {
    leaves: Vec<(Option<String>, u64)>,
    cpus: u64,
    memory: u64,
}

impl<'v> Nodes<'v> {
    /// `plans` are the nodes and planned start of each waiting job that has some.
    pub fn new<'p>(
        view: &'v ClusterView,
        plans: impl Iterator<Item = (&'p JobView, &'p str, u64)>,
    ) -> Nodes<'v> {
        let by_name: HashMap<&str, usize> = view
            .nodes
            .iter()
            .enumerate()
            .map(|(place, node)| (node.name.as_str(), place))
            .collect();
        let places = |list: &str| -> Vec<usize> {
            let names = hostlist::expand(list).unwrap_or_default();
            let mut places: Vec<usize> =
                names.iter().filter_map(|name| by_name.get(name.as_str()).copied()).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        let mut by_node: Vec<Vec<Planned>> = vec![Vec::new(); view.nodes.len()];
        for (job, nodes, start) in plans {
            for place in places(nodes) {
                by_node[place].push(Planned { start, job: job.job_id, rank: Rank::of(job) });
            }
        }
        for plans in &mut by_node {
            plans.sort_unstable_by_key(|planned| planned.start);
        }
        let partitions = view.partitions.iter().map(|partition| {
            let nodes = if partition.up { places(&partition.nodes) } else { Vec::new() };
            (partition.name.as_str(), nodes)
        });
        Nodes {
            partitions: partitions.collect(),
            by_name,
            plans: by_node,
            given: vec![Given::default(); view.nodes.len()],
            vain: RefCell::default(),
            view,
        }
    }

    /// What a job can see of them. `None`: the job names nodes or features in a way that is not
    /// looked into.
    pub fn of<'n>(&'n self, job: &'n JobView) -> Option<JobNodes<'n, 'v>> {
        let features = plain_features(&job.features)?;
        let list = |text: &str| -> Option<Vec<usize>> {
            let names = hostlist::expand(text).ok()?;
            let mut places: Vec<usize> =
                names.iter().filter_map(|name| self.by_name.get(name.as_str()).copied()).collect();
            // They are looked up for every node, and may be all of them.
            places.sort_unstable();
            Some(places)
        };
        let everywhere =
            job.req_nodes.is_empty() && job.exc_nodes.is_empty() && features.is_empty();
        let required = if job.req_nodes.is_empty() { None } else { Some(list(&job.req_nodes)?) };
        let excluded = list(&job.exc_nodes)?;
        let mut partitions = Vec::new();
        for name in job.partition.split(',') {
            let all = self.partitions.get(name).map(Vec::as_slice).unwrap_or_default();
            if everywhere {
                partitions.push(Cow::Borrowed(all));
                continue;
            }
            let fits = |place: &&usize| {
                let node = &self.view.nodes[**place];
                required.as_ref().is_none_or(|names| names.binary_search(place).is_ok())
                    && excluded.binary_search(place).is_err()
                    && features.iter().all(|&f| node.features.iter().any(|known| known == f))
            };
            partitions.push(all.iter().filter(fits).copied().collect::<Cow<[usize]>>());
        }
        Some(JobNodes { nodes: self, job, rank: Rank::of(job), everywhere, partitions })
    }

    /// Takes what a job needs from these nodes, for the rest of the round.
    pub fn give(&mut self, places: &[usize], parts: &[Part<'_>], demand: &Demand) {
        for &place in places {
            let given = &mut self.given[place];
            for part in parts {
                match given.leaves.iter_mut().find(|(kind, _)| kind.as_deref() == part.kind) {
                    Some((_, count)) => *count = count.saturating_add(part.count),
                    None => given.leaves.push((part.kind.map(str::to_owned), part.count)),
                }
            }
            given.cpus = given.cpus.saturating_add(demand.cpus);
            given.memory = given.memory.saturating_add(demand.memory);
        }
    }

    fn free(&self, place: usize, kind: Option<&str>) -> u64 {
        let node = &self.view.nodes[place];
        let of_kind = |name: &Option<String>| kind.is_none() || name.as_deref() == kind;
        let free: u64 = node.leaves.iter().filter(|l| of_kind(&l.kind)).map(|l| l.free()).sum();
        let given = self.given[place].leaves.iter().filter(|(name, _)| of_kind(name));
        given.fold(free, |free, (_, count)| free.saturating_sub(*count))
    }
}

/// The nodes as one job sees them.
pub(super) struct JobNodes<'n, 'v> {
    nodes: &'n Nodes<'v>,
    job: &'n JobView,
    rank: Rank,
    /// It names no nodes and no features.
    everywhere: bool,
    /// Nodes of each of its partitions.
    partitions: Vec<Cow<'n, [usize]>>,
}

impl JobNodes<'_, '_> {
    /// The nodes on which the job could start now with these leaves and this much more on each, as
    /// many as it needs; `None` if it could not.
    pub fn start(&self, parts: &[Part<'_>], demand: &Demand) -> Option<Vec<usize>> {
        let wanted = usize::try_from(demand.nodes).ok()?;
        let question = format!("{} {parts:?} {demand:?}", self.job.partition);
        let for_so_long = format!("{question} {:?}", self.job.time_limit);
        let vain = |text: &String| self.everywhere && self.nodes.vain.borrow().contains(text);
        if vain(&question) || vain(&for_so_long) {
            return None;
        }
        let mut enough = false;
        for places in &self.partitions {
            let (mut holding, mut found) = (0, Vec::with_capacity(wanted.min(places.len())));
            for &place in places.iter().filter(|&&place| self.holds(place, parts, demand)) {
                holding += 1;
                if self.open(place) {
                    found.push(place);
                }
                if found.len() == wanted {
                    return Some(found);
                }
            }
            enough |= holding >= wanted;
        }
        if self.everywhere {
            self.nodes.vain.borrow_mut().insert(if enough { for_so_long } else { question });
        }
        None
    }

    /// Whether what the job needs is free on the node.
    fn holds(&self, place: usize, parts: &[Part<'_>], demand: &Demand) -> bool {
        let (node, given) = (&self.nodes.view.nodes[place], &self.nodes.given[place]);
        let cpus = u64::from(node.cpus.saturating_sub(node.cpus_used));
        let memory = node.memory.saturating_sub(node.memory_used);
        node.usable
            && !node.reserved
            && cpus.saturating_sub(given.cpus) >= demand.cpus
            && memory.saturating_sub(given.memory) >= demand.memory
            // Where memory is handed out, a job that names none gets all of the node's.
            && (demand.memory > 0 || node.memory_used == 0)
            && parts.iter().all(|part| self.nodes.free(place, part.kind) >= part.count)
    }

    /// Whether the job would be gone before the first job that goes before it is to start.
    fn open(&self, place: usize) -> bool {
        let (node, plans) = (&self.nodes.view.nodes[place], &self.nodes.plans[place]);
        if node.planned && plans.is_empty() {
            // For a job that the view does not show.
            return false;
        }
        let first = plans
            .iter()
            .find(|planned| planned.job != self.job.job_id && planned.rank.may_precede(&self.rank));
        let Some(first) = first else { return true };
        let now = self.nodes.view.taken_at;
        let limit = self.job.time_limit.and_then(|minutes| minutes.checked_mul(60));
        limit.and_then(|seconds| now.checked_add(seconds)).is_some_and(|end| end <= first.start)
    }
}

/// The features of a constraint that asks for all of them: `a`, `a&b`. `None` for anything else.
fn plain_features(constraint: &str) -> Option<Vec<&str>> {
    let plain = !constraint.contains(['|', '[', ']', '(', ')', '*', '!', ',']);
    plain.then(|| constraint.split('&').map(str::trim).filter(|name| !name.is_empty()).collect())
}
