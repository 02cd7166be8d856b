//! Re-planning: a waiting job whose leaves are busy moves to a composition that could start now.
//!
//! Pure: [`Planner::plan`] looks at a view that has jobs, and says which updates to make. It goes
//! through the waiting jobs in Slurm's order. A job that can start as it is, is Slurm's business;
//! what it will take is not there for the jobs after it. A job that cannot, and whose request
//! leaves a choice, gets the best composition that can start now, if there is one.
//!
//! | rule | place |
//! |---|---|
//! | a node is open until the first planned start of a job that may go before; CPUs and memory fit | `nodes` |
//! | waits for resources only; no het job, reservation, dependency, hold, begin time, limit | `job` |
//! | of an array the next tasks only, as many as may run | here |
//! | one update per job and backfill cycle, [`MOST`] per round; back after two cycles, then rest | [`Past`] |
//! | leaves are left to jobs that wait for them and would waste less of them | `select` |
//! | back at once from leaves that brought it to a limit | here |
//! | never more leaves than at first where gres/flexmig is accounted, unless policy says so | here |
//! | no two jobs onto the same leaves | `nodes`, `Nodes::give` |
//!
//! Whom Slurm starts stays Slurm's decision: a move changes what a job asks for, never its place in
//! the queue. So no job is delayed by one that moves in behind it; the rules keep moves from being
//! in vain.

mod history;
mod job;
mod nodes;
mod past;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use crate::note::Note;
use crate::policy::{Compose, Policy};
use crate::request;
use crate::slurm_conf::SlurmConf;
use crate::submit::{self, Decision, Dialect, Site};
use crate::view::{ClusterView, JobState, JobView};
use history::History;
use job::Shape;
use nodes::Nodes;
pub use past::{Look, Past};

/// Most updates of one round.
pub const MOST: usize = 20;
/// Most waiting jobs and tasks that a round looks at, first things first.
pub const JOBS: usize = 1000;
/// `bf_max_job_test` where slurm.conf does not say.
const BF_MAX_JOB_TEST: usize = 500;
/// Tasks of one array that a round looks at.
const TASKS: usize = MOST;
/// `bf_interval` where slurm.conf does not say, and Slurm's own bound of it.
const BF_INTERVAL: u64 = 30;
const LONGEST_INTERVAL: u64 = 10_800;
/// The largest number of a job that is not in a federation: those have their origin's number in the
/// bits above.
const LAST_LOCAL_JOB: u32 = (1 << 26) - 1;
/// How many cycles a plan of the backfill scheduler counts that is not in the view: it is wiped at
/// the start of every cycle, job by job, and locks are yielded meanwhile.
const PLANS_COUNT: u64 = 2;

/// What policy and slurm.conf say about re-planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Re-planning is on.
    pub on: bool,
    /// Seconds between two cycles of the backfill scheduler, at least those between two views.
    pub cycle: u64,
    /// Waiting jobs that a round looks at: those that the backfill scheduler does, as others would be
    /// moved in vain; [`JOBS`] at most.
    pub depth: usize,
    /// A job may get more leaves than it had at first.
    pub more_leaves: bool,
    /// When a profile that was named is composed of others.
    pub compose: Compose,
    /// Slurm enforces limits of associations and QOS. Our updates are an admin's, and CPUs or
    /// memory that an admin sets are not held against limits any more (`limit_set` in
    /// `_update_job`): so moves leave both numbers alone.
    pub limits: bool,
}

impl Settings {
    /// Reads them.
    pub fn new(policy: &Policy, conf: Option<&SlurmConf>) -> Settings {
        let select = &policy.select;
        let words = |key| conf.into_iter().flat_map(move |conf| conf.words(key));
        let parameter = |name: &str| {
            words("SchedulerParameters")
                .filter_map(|word| word.split_once('='))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .and_then(|(_, value)| value.parse::<u64>().ok())
                .filter(|&number| number > 0)
        };
        let interval = parameter("bf_interval").map(|seconds| seconds.min(LONGEST_INTERVAL));
        let depth = parameter("bf_max_job_test").map(|jobs| usize::try_from(jobs).unwrap_or(JOBS));
        let limits = words("AccountingStorageEnforce").any(|word| {
            let named = ["limits", "safe", "all"].iter().any(|l| word.eq_ignore_ascii_case(l));
            // The old form is a number, of which 1 means associations only.
            named || word.parse::<u32>().is_ok_and(|number| number > 1)
        });
        let accounted = words("AccountingStorageTRES").any(|word| {
            word.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("gres/flexmig"))
        });
        Settings {
            on: select.replan && select.refresh > 0,
            cycle: interval.unwrap_or(BF_INTERVAL).max(select.refresh.into()),
            depth: depth.unwrap_or(BF_MAX_JOB_TEST).min(JOBS),
            more_leaves: !accounted || select.replan_more_leaves,
            compose: select.compose,
            limits,
        }
    }
}

/// One update of a waiting job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are Slurm's; the others are documented.
pub struct Update {
    /// `20`, or `20_6` for a task of an array.
    pub job: String,
    /// The number of the job's record.
    pub job_id: u32,
    pub tres_per_node: String,
    pub num_tasks: Option<u32>,
    pub ntasks_per_node: Option<u16>,
    pub cpus_per_task: Option<u16>,
    pub min_cpus: Option<u32>,
    pub pn_min_cpus: Option<u32>,
    /// MiB per node (pn_min_memory).
    pub memory: Option<u64>,
    /// The job's whole admin_comment as it is.
    pub comment: String,
    /// Our part of it as it is to be.
    pub note: Note,
    /// The composition so far.
    pub from: String,
    /// It goes back to its first choice.
    pub back: bool,
    before: Shape,
    after: Shape,
}

/// The planner and what it remembers.
#[derive(Debug, Default)]
pub struct Planner {
    history: History,
    /// Where and when Slurm last planned each job, and when that was seen.
    plans: HashMap<u32, Plan>,
}

#[derive(Debug)]
struct Plan {
    nodes: String,
    start: u64,
    seen: u64,
}

/// One record or task that waits.
struct Waiting<'v> {
    job: &'v JobView,
    name: String,
}

impl Planner {
    /// The updates to make now. What came of each is to be told: [`Planner::made`],
    /// [`Planner::failed`]; one that was not sent may come again.
    pub fn plan(
        &mut self,
        view: &ClusterView,
        site: &Site,
        slurm: &Dialect,
        settings: &Settings,
    ) -> Vec<Update> {
        let mut updates = Vec::new();
        let Some(jobs) = &view.jobs else { return updates };
        if !settings.on || !slurm.update_replaces {
            return updates;
        }
        let queue = queue(jobs, view.taken_at, settings.depth);
        self.remember(jobs, &queue, view.taken_at, settings);
        let plans = jobs.iter().filter_map(|job| {
            let plan = self.plans.get(&job.job_id)?;
            Some((job, plan.nodes.as_str(), plan.start))
        });
        let mut nodes = Nodes::new(view, plans);
        let mut done_arrays = HashSet::new();
        for waiting in &queue {
            // The next task of an array that can neither start nor move stands for those after it.
            if done_arrays.contains(&waiting.job.job_id) {
                continue;
            }
            let context = Context { view, site, slurm, settings };
            let past = self.history.of(&waiting.name);
            let full = updates.len() >= MOST;
            match context.look_at(waiting, past, &mut nodes, full) {
                Found::Starts => {}
                Found::Waits => _ = done_arrays.insert(waiting.job.job_id),
                Found::Moves(update) => updates.push(*update),
            }
        }
        updates
    }

    /// Slurm made this update.
    pub fn made(&mut self, update: &Update, now: u64, settings: &Settings) {
        let past = self.history.of(&update.job);
        past.changed(&update.before, &update.after, now, settings.cycle);
    }

    /// Slurm refused this update, or could not be reached: the job is left alone for a while.
    pub fn failed(&mut self, update: &Update, now: u64, settings: &Settings) {
        self.history.of(&update.job).failed(&update.before, now, settings.cycle);
    }

    fn remember(&mut self, jobs: &[JobView], queue: &[Waiting], now: u64, settings: &Settings) {
        let pending = jobs.iter().filter(|job| job.state == JobState::Pending);
        let pending: HashMap<u32, &JobView> = pending.map(|job| (job.job_id, job)).collect();
        // One that waits for something else just now may come back to the queue.
        let names = queue.iter().map(|waiting| waiting.name.clone());
        let names = names.chain(pending.values().map(|job| job::name(job))).collect();
        self.history.keep(&names);
        let oldest = now.saturating_sub(PLANS_COUNT * settings.cycle);
        self.plans.retain(|id, plan| pending.contains_key(id) && plan.seen >= oldest);
        for (&id, job) in &pending {
            if !job.sched_nodes.is_empty() {
                let (nodes, start) = (job.sched_nodes.clone(), job.start_time.unwrap_or(now));
                self.plans.insert(id, Plan { nodes, start, seen: now });
            }
        }
    }
}

/// The jobs that wait for resources, in Slurm's order; of an array its next tasks.
fn queue(jobs: &[JobView], now: u64, depth: usize) -> Vec<Waiting<'_>> {
    let mut running: HashMap<u32, u64> = HashMap::new();
    for job in jobs.iter().filter(|job| job.state == JobState::Running) {
        *running.entry(job.array_job_id.unwrap_or(0)).or_default() += 1;
    }
    let pending = jobs.iter().filter(|job| job.state == JobState::Pending);
    let mut order: Vec<&JobView> =
        pending.filter(|job| job.waits_for_resources(now) || moved_into_a_limit(job)).collect();
    // An update of a job that belongs to another cluster would go there.
    order.retain(|job| job.job_id <= LAST_LOCAL_JOB);
    order.sort_by_key(|job| (std::cmp::Reverse(job.priority), job.job_id));
    let mut queue = Vec::new();
    for job in order {
        let array = job.array_job_id.filter(|&id| id > 0);
        match array {
            Some(array) if job.array_task_id.is_none() => {
                let (tasks, throttle) = job::array_tasks(&job.array_tasks, TASKS);
                let room = throttle.map_or(u64::MAX, |most| {
                    most.saturating_sub(running.get(&array).copied().unwrap_or(0))
                });
                let room = usize::try_from(room).unwrap_or(usize::MAX);
                let tasks = tasks.iter().take(room);
                queue.extend(tasks.map(|task| Waiting { job, name: format!("{array}_{task}") }));
            }
            _ => queue.push(Waiting { job, name: job::name(job) }),
        }
        if queue.len() >= depth {
            break;
        }
    }
    queue
}

/// Whether a job that was moved waits for a limit, which its new leaves may have brought it to.
fn moved_into_a_limit(job: &JobView) -> bool {
    ["Assoc", "QOS", "Max"].iter().any(|start| job.reason.starts_with(start))
        && job.priority > 0
        && Note::find(&job.admin_comment).is_some_and(|note| note.why == MOVED)
}

/// What comes of looking at a job.
enum Found {
    /// Slurm will start it.
    Starts,
    /// It waits as it is.
    Waits,
    /// It is to be changed.
    Moves(Box<Update>),
}

/// What one look at a job needs.
struct Context<'a> {
    view: &'a ClusterView,
    site: &'a Site,
    slurm: &'a Dialect<'a>,
    settings: &'a Settings,
}

impl Context<'_> {
    fn look_at(
        self,
        waiting: &Waiting,
        past: &mut Past<Shape>,
        nodes: &mut Nodes,
        full: bool,
    ) -> Found {
        let (job, now, cycle) = (waiting.job, self.view.taken_at, self.settings.cycle);
        let current = Shape::of(job);
        let note = Note::find(&job.admin_comment);
        let note = note.filter(|note| may_move(job, note, &current, self.settings));
        let may_change = !full && past.may_change(now, cycle);
        let movable = note.as_ref().filter(|_| may_change);
        if let Some(note) = &note {
            self.recognise(job, past, note);
        }
        if !job.waits_for_resources(now) {
            let back = movable.zip(past.first());
            let back = back.and_then(|(note, first)| update(waiting, note, first, BACK));
            return back.map_or(Found::Waits, Found::Moves);
        }
        if let Some(note) = movable
            && let Some(first) = past.due_back(now, cycle)
        {
            return update(waiting, note, first, BACK).map_or(Found::Waits, Found::Moves);
        }

        let (Some(parts), Some(own)) = (current.parts(), nodes.of(job)) else {
            return Found::Waits;
        };
        let demand = current.demand(job);
        let start = own.start(&parts, &demand);
        let look = past.look(start.is_some(), movable.is_some(), now, cycle);
        if start.is_some() && job::asks_for_more(job, parts.len()) {
            // It may well wait for that.
            return Found::Waits;
        }
        match (look, start, movable) {
            (Look::Starts, Some(places), _) => {
                nodes.give(&places, &parts, &demand);
                Found::Starts
            }
            (Look::MayMove, _, Some(note)) => {
                let most = match self.settings.more_leaves {
                    true => u64::MAX,
                    false => past.first().unwrap_or(&current).leaves(),
                };
                let places = |shape: &Shape| own.start(&shape.parts()?, &shape.demand(job));
                let starts = |shape: &Shape| {
                    shape.leaves() <= most
                        && shape.parts().as_ref() != Some(&parts)
                        && places(shape).is_some()
                };
                let found = self.choice(job, note, self.slurm, Some(&starts));
                let found = found.and_then(|target| Some((places(&target)?, target)));
                let Some((places, target)) = found else { return Found::Waits };
                nodes.give(&places, &target.parts().unwrap_or_default(), &target.demand(job));
                update(waiting, note, &target, MOVED).map_or(Found::Waits, Found::Moves)
            }
            _ => Found::Waits,
        }
    }

    /// A job that a slurmctld process before this one has moved: its note says so.
    fn recognise(&self, job: &JobView, past: &mut Past<Shape>, note: &Note) {
        if note.why == MOVED && past.first().is_none() {
            // What was its first choice is not known any more, but what it would be now.
            let blind = Dialect { now: u64::MAX, ..*self.slurm };
            if let Some(first) = self.choice(job, note, &blind, None) {
                let away = first.tres_per_node != job.tres_per_node;
                past.found(first, away.then_some(self.view.taken_at));
            }
        }
    }

    /// The best that the job's first request could become; of what could start now, if that is told.
    fn choice(
        &self,
        job: &JobView,
        note: &Note,
        slurm: &Dialect,
        starts: Option<&dyn Fn(&Shape) -> bool>,
    ) -> Option<Shape> {
        let request = job::first_request(job, note)?;
        let first = job::first_job(job, note, &request);
        let shape = |decision: &Decision| Shape::decided(job, note, decision, self.settings.limits);
        let decision = match starts {
            None => submit::decide_again(self.site, slurm, &first, None),
            Some(starts) => {
                let starts = |decision: &Decision| shape(decision).is_some_and(|s| starts(&s));
                submit::decide_again(self.site, slurm, &first, Some(&starts))
            }
        };
        shape(&decision?)
    }
}

/// Reasons in notes.
const MOVED: &str = "moved";
const BACK: &str = "first-choice";

/// Whether the request leaves a choice and is still what we made of it. A user who changed it has
/// chosen.
fn may_move(job: &JobView, note: &Note, current: &Shape, settings: &Settings) -> bool {
    (note.req != note.got || settings.compose == Compose::Busy)
        && !request::mentions(job.tres_per_task.as_bytes())
        && current.got() == note.got
        && current.parts().is_some_and(|parts| parts.iter().all(|part| part.kind.is_some()))
}

fn update(waiting: &Waiting, note: &Note, target: &Shape, why: &str) -> Option<Box<Update>> {
    fn changed<T: PartialEq>(from: Option<T>, to: Option<T>) -> Option<T> {
        if from == to { None } else { to }
    }
    let job = waiting.job;
    let current = Shape::of(job);
    if current.tres_per_node == target.tres_per_node {
        return None;
    }
    Some(Box::new(Update {
        job: waiting.name.clone(),
        job_id: job.job_id,
        tres_per_node: target.tres_per_node.clone(),
        num_tasks: changed(current.num_tasks, target.num_tasks),
        ntasks_per_node: changed(current.ntasks_per_node, target.ntasks_per_node),
        cpus_per_task: changed(current.cpus_per_task, target.cpus_per_task),
        min_cpus: changed(current.min_cpus, target.min_cpus),
        pn_min_cpus: changed(current.pn_min_cpus, target.pn_min_cpus),
        memory: changed(current.memory, target.memory),
        comment: job.admin_comment.clone(),
        note: Note { got: target.got(), why: why.to_owned(), token: None, ..note.clone() },
        from: note.got.clone(),
        back: why == BACK,
        before: current,
        after: target.clone(),
    }))
}
