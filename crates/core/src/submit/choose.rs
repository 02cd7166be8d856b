//! Which leaves a request gets: selection ranks the sets of leaves that serve it, and the best one
//! that policy allows and nodes can hold is taken.

use super::fill::Nodes;
use super::ground::{Ground, Known};
use super::limits::{self, Demand, Problem};
use super::rejection::Rejection;
use super::site::{Class, Scope};
use super::{Asked, Dialect, Field, Job, Site, features};
use crate::few::Few;
use crate::request::{Term, Want};
use crate::select::{self, Candidate, How, Need, NoFit, Part, Parts, Rules, Selection, Supply};

/// One request and everything that it is looked at with.
pub(super) struct Case<'a> {
    pub site: &'a Site,
    pub slurm: &'a Dialect<'a>,
    pub scope: &'a Scope<'a>,
    pub asked: &'a Asked<'a>,
    pub terms: Few<Term<'a>>,
    pub job: &'a Job<'a>,
    pub nodes: Nodes,
    /// Tasks with leaves of their own; `None` if leaves are counted per node.
    pub tasks: Option<u64>,
    /// The kinds of nodes that `--nodelist` names.
    named: Vec<&'a Class>,
}

/// The choice.
pub(super) struct Choice<'a> {
    /// Leaves per node or per task, each type once.
    pub parts: Parts<'a>,
    /// One word for admin_comment.
    pub why: &'static str,
    /// Types that Slurm may choose from, the preferred one first, each with the feature that tells
    /// its nodes. Empty: the parts have their types.
    pub either: Vec<(&'a str, &'a str)>,
    /// Place among the candidates.
    pub place: usize,
}

impl<'a> Case<'a> {
    /// A new job.
    pub fn new(
        site: &'a Site,
        slurm: &'a Dialect<'a>,
        scope: &'a Scope<'a>,
        asked: &'a Asked<'a>,
        job: &'a Job<'a>,
    ) -> Result<Case<'a>, Rejection> {
        let nodes = Nodes::of(job);
        let tasks = match asked.field {
            Field::Task => {
                Some(limits::tasks(job, &nodes).ok_or_else(|| Rejection::no_tasks(asked))?)
            }
            Field::Node | Field::Job | Field::Socket => None,
        };
        let terms = terms(asked);
        let named = named(site, job);
        Ok(Case { site, slurm, scope, asked, terms, job, nodes, tasks, named })
    }

    /// An update, which names nodes and tasks only if it changes them.
    pub fn of_change(
        site: &'a Site,
        slurm: &'a Dialect<'a>,
        scope: &'a Scope<'a>,
        asked: &'a Asked<'a>,
        job: &'a Job<'a>,
    ) -> Case<'a> {
        let nodes =
            Nodes { min: job.min_nodes.unwrap_or(1).into(), max: job.max_nodes.map(u64::from) };
        let tasks = (asked.field == Field::Task).then(|| job.num_tasks.map_or(1, u64::from));
        let terms = terms(asked);
        let named = named(site, job);
        Case { site, slurm, scope, asked, terms, job, nodes, tasks, named }
    }

    /// All sets of leaves that serve the request, best first.
    pub fn selection(&self) -> Result<Selection<'a>, Rejection> {
        self.select(&self.terms).map_err(|no_fit| Rejection::no_fit(self, no_fit))
    }

    /// As [`Case::selection`], with everything that a person may want to see of each candidate.
    pub fn selection_in_full(&self) -> Result<Selection<'a>, Rejection> {
        let mut selection = self.selection()?;
        selection.weigh_all(&self.scope.kinds(), &self.supply());
        Ok(selection)
    }

    /// As [`Case::selection`], where the caller knows what could start now.
    pub fn selection_of(&self, starts: &dyn Fn(&[Part]) -> bool) -> Result<Selection<'a>, NoFit> {
        self.select_from(&self.terms, &Known { ground: self.supply(), starts })
    }

    /// As [`Case::selection`], for other counts.
    pub fn select(&self, terms: &[Term<'a>]) -> Result<Selection<'a>, NoFit> {
        self.select_from(terms, &self.supply())
    }

    fn select_from(&self, terms: &[Term<'a>], supply: &dyn Supply) -> Result<Selection<'a>, NoFit> {
        let rules = Rules { policy: &self.site.select, open: self.site.open, stays: self.stays() };
        select::select(&self.scope.kinds(), terms, &rules, &self.need(), supply)
    }

    /// What there is.
    pub fn supply(&self) -> Ground<'a> {
        Ground::new(self.site, self.scope, self.slurm.now)
    }

    /// The same request in other partitions.
    pub fn there<'t>(&'t self, scope: &'t Scope<'t>) -> Case<'t> {
        let Case { site, slurm, asked, job, nodes, tasks, .. } = *self;
        let (terms, named) = (self.terms.clone(), self.named.clone());
        Case { site, slurm, scope, asked, terms, job, nodes, tasks, named }
    }

    /// Whether the job keeps what it is given now for as long as it waits.
    pub fn stays(&self) -> bool {
        let select = &self.site.select;
        !self.slurm.update_replaces || !select.replan || select.refresh == 0
    }

    /// What the job needs beside leaves, with what will be filled in.
    fn need(&self) -> Need {
        let (job, submit) = (self.job, &self.site.submit);
        let cpus = limits::cpus_at_least(job, self.nodes.max);
        let times = match (self.tasks, self.nodes.max) {
            (None, _) | (Some(_), None) => 1,
            (Some(tasks), Some(nodes)) => tasks.div_ceil(nodes.max(1)),
        };
        let told = job.cpus_per_task.is_some() || job.pn_min_cpus.is_some();
        let per_leaf = submit.cpus_per_leaf.filter(|_| job.batch && !told).map_or(0, u64::from);
        let untold = job.num_tasks.is_none() && job.ntasks_per_node.is_none();
        // One task per leaf, and a task has a CPU at least.
        let fills_tasks = job.batch && untold && submit.fill_tasks && self.tasks.is_none();
        let per_task = if fills_tasks { job.cpus_per_task.unwrap_or(1).into() } else { 0 };
        let cpus_per_leaf = per_leaf.max(per_task);
        let per_cpu = job.memory_per_cpu.unwrap_or(0);
        let filled = submit.memory_per_leaf.filter(|_| job.batch && !job.memory);
        Need {
            nodes: self.nodes.min.max(1),
            times,
            cpus,
            cpus_per_leaf,
            memory: job.memory_per_node.unwrap_or(0).max(per_cpu.saturating_mul(cpus)),
            memory_per_leaf: filled.unwrap_or(0).max(per_cpu.saturating_mul(cpus_per_leaf)),
            minutes: job.time_limit.map(u64::from),
            narrowed: job.narrowed,
        }
    }

    /// How much the job asks for with these leaves.
    pub fn demand<'d>(&'d self, parts: &'d [Part<'d>]) -> Demand<'d> {
        Demand::new(self.asked, self.nodes, self.tasks, parts)
    }

    /// The best candidate that policy allows and nodes can hold.
    pub fn choose(&self, selection: &Selection<'a>) -> Result<Choice<'a>, Rejection> {
        let mut first: Option<Problem> = None;
        for (place, candidate) in selection.candidates.iter().enumerate() {
            match self.problem(candidate) {
                None => return Ok(self.chosen(selection, place)),
                Some(problem) => _ = first.get_or_insert(problem),
            }
        }
        Err(match first {
            Some(problem) => limits::rejection(self, selection, &problem),
            None => Rejection::nothing_offered(self.asked, &self.scope.place()),
        })
    }

    /// Whether policy allows and nodes can hold any leaves that serve these entries.
    pub fn can_be_served(&self, terms: &[Term<'a>]) -> bool {
        let serves = |candidate: &Candidate<'a>| self.problem(candidate).is_none();
        self.select(terms).is_ok_and(|selection| selection.candidates.iter().any(serves))
    }

    /// What forbids a candidate.
    pub fn problem(&self, candidate: &Candidate<'a>) -> Option<Problem> {
        let demand = self.demand(&candidate.parts);
        limits::problem(self.site, self.scope, self.job, &demand, candidate.fits)
            .or_else(|| self.not_where_named(&demand))
            .or_else(|| (!self.srun_can_use(&candidate.parts)).then_some(Problem::Srun))
    }

    /// Whether the nodes or the feature that the job names rule the leaves out. What is not known
    /// here is Slurm's to judge.
    fn not_where_named(&self, demand: &Demand) -> Option<Problem> {
        if self.site.open {
            return None;
        }
        if !self.named.iter().all(|class| self.site.class_holds(class, demand.wanted)) {
            return Some(Problem::Named);
        }
        let known = |feature: &&str| self.scope.has_with_feature(&[], 0, feature);
        let feature = self.job.features.filter(known)?;
        let cpus = limits::cpus_at_least(self.job, self.nodes.max);
        let there = self.scope.has_with_feature(demand.wanted, cpus, feature);
        (!there).then_some(Problem::Constraint)
    }

    /// Whether the client can start its tasks on these leaves. Where srun asks for what the user
    /// typed once more, Slurm finds the typed types among those of the job, or starts nothing.
    fn srun_can_use(&self, parts: &[Part<'a>]) -> bool {
        let finds = |term: &Term| {
            term.kind.is_none()
                || parts.iter().any(|p| p.kind == term.kind && p.count >= term.count)
        };
        !self.job.repeats || self.terms.iter().all(finds)
    }

    fn chosen(&self, selection: &Selection<'a>, place: usize) -> Choice<'a> {
        let either = self.either(selection, place);
        if either.is_empty() {
            return self.typed(selection, place);
        }
        let parts = Parts::one(None, selection.candidates[place].leaves);
        Choice { parts, why: "features", either, place }
    }

    /// A candidate as it is.
    fn typed(&self, selection: &Selection<'a>, place: usize) -> Choice<'a> {
        let parts = selection.candidates[place].parts.clone();
        Choice { parts, why: selection.why(place), either: Vec::new(), place }
    }

    /// Types that Slurm can choose from by itself: where as many leaves of several types serve the
    /// request, each type on nodes of its own that a feature tells.
    fn either(&self, selection: &Selection<'a>, place: usize) -> Vec<(&'a str, &'a str)> {
        let job = self.job;
        let own = job.features.is_some() || job.prefer.is_some();
        if own || self.asked.change || self.terms.len() != 1 || selection.candidates.len() < 2 {
            return Vec::new();
        }
        let chosen = &selection.candidates[place];
        // Where no feature tells the types there is nothing to look for, as on most clusters.
        if chosen.parts[0].kind.and_then(|kind| self.scope.feature(kind)).is_none() {
            return Vec::new();
        }
        let mut alike: Vec<&Candidate> = Vec::new();
        for candidate in &selection.candidates {
            let single = candidate.parts.len() == 1 && !candidate.substitute;
            if self.problem(candidate).is_none() {
                if !single || candidate.leaves != chosen.leaves {
                    return Vec::new();
                }
                alike.push(candidate);
            }
        }
        // Preferred is what wastes least, whatever is free now.
        alike.sort_by_key(|candidate| (candidate.waste.compute, candidate.waste.memory_gb));
        let feature = |candidate: &&Candidate<'a>| {
            let kind = candidate.parts[0].kind?;
            Some((kind, self.scope.feature(kind)?))
        };
        let either: Option<Vec<_>> = alike.iter().map(feature).collect();
        either.filter(|types| types.len() > 1).unwrap_or_default()
    }
}

fn named<'a>(site: &'a Site, job: &Job) -> Vec<&'a Class> {
    job.req_nodes.map_or_else(Vec::new, |list| site.classes_of(list))
}

/// The entries for leaves. No cluster has so many leaves that the bound would matter; below it
/// counts times slices do not overflow.
fn terms<'a>(asked: &Asked<'a>) -> Few<Term<'a>> {
    let bounded = |term: Term<'a>| Term { count: term.count.min(u64::MAX >> 8), ..term };
    asked.request.terms().map(bounded).collect()
}

impl<'a> Choice<'a> {
    /// The constraint and the preferred feature.
    pub fn features(&self) -> Option<(String, String)> {
        let (_, first) = self.either.first()?;
        let names: Vec<&str> = self.either.iter().map(|(_, feature)| *feature).collect();
        Some((features::one_of(&names), (*first).to_owned()))
    }
}

/// For a job whose partition is not known: rejects what would get other types in other partitions.
pub(super) fn same_everywhere(case: &Case, choice: &Choice) -> Result<(), Rejection> {
    let exact = |term: &Term| matches!(term.want(), Want::Profile(_) | Want::Name(_));
    if case.terms.iter().all(exact) && !matches!(choice.why, "composed" | "starts-now") {
        return Ok(());
    }
    let differs = |scope: Scope| {
        let there = case.there(&scope);
        let Ok(selection) = there.selection() else { return false };
        let Ok(other) = there.choose(&selection) else { return false };
        let names = |parts: &[Part]| {
            let kinds = parts.iter().map(|part| (part.kind.map(str::to_owned), part.count));
            kinds.collect::<Vec<_>>()
        };
        names(&other.parts) != names(&choice.parts)
    };
    if case.site.each_partition().any(differs) {
        return Err(Rejection::which_partition(case.asked, &case.scope.offered()));
    }
    Ok(())
}

/// Whether the leaves stand for what was named, and so are told in its words.
pub(super) fn is_sliced(how: How) -> bool {
    matches!(how, How::Slices | How::Composed | How::Mixed)
}
