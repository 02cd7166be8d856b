//! As Slurm's main and backfill schedulers (read in 22.05.8: `schedule()`, `_attempt_backfill()`,
//! `_will_run_test()`, `_eval_nodes()`).
//!
//! - A job waits for one composition: the one that selection chose when it was submitted.
//! - The main scheduler looks at once when a job has ended, and every batch_sched_delay if one was
//!   submitted; it stops at the first job that cannot start, as all are in one partition.
//! - The backfill scheduler looks every bf_interval, if something has changed. For each job that
//!   cannot start it reserves whole nodes, from a start that it knows to the precision of growing
//!   windows of time, for its time limit in whole minutes, in steps of bf_resolution.
//! - Policy `flex`: the re-planner moves waiting jobs to compositions that could start now, by the
//!   rules of `flexmig_core::replan`.
//!
//! What a job is given at submission and where it is moved are tested to be what core's `submit::decide`
//! and `replan::Planner` say about a view of the same state. The view is always that of the moment, and
//! a plan that a backfill pass does not renew is gone at once, where the planner counts it for two
//! more cycles.
//!
//! Left out: what a pass costs, locks, reservations, priorities other than the order of submission,
//! CPUs and memory of nodes, arrays, sockets, policy's rules but for `[select]`, and `sched_interval`,
//! as a pass without news finds nothing.

mod backfill;
mod bits;
mod replan;
mod space;
mod submit;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use flexmig_core::replan::Past;
use flexmig_core::select::FIRST;

use super::{Ground, News, Scheduler};
use crate::choose::Choice;
use crate::class::{Alternative, Class};
use crate::fabric::{Fabric, Hint};
use crate::farm::Farm;
use crate::{SECOND, SlurmParameters, Time};

/// One minute.
const MINUTE: Time = 60 * SECOND;

/// The scheduler.
pub(crate) struct Slurm {
    parameters: SlurmParameters,
    /// When each of them looked last.
    main: Option<Time>,
    backfill: Option<Time>,
    replan: Option<Time>,
    /// When each of them looks next, if there is something that it has not looked at yet.
    main_at: Option<Time>,
    backfill_at: Option<Time>,
    replan_at: Option<Time>,
    /// Per node the planned starts of jobs, by place in the trace.
    plans: Vec<Vec<(usize, Time)>>,
    /// Nodes that the backfill scheduler's last pass planned something onto.
    planned: Vec<bool>,
    /// Leaves of each shape that waiting jobs ask for.
    waits: Hint,
    /// Per class and alternative and node when it fits, and the node's changes then.
    earliest: HashMap<(usize, usize), Vec<Known>>,
    moved: u64,
}

/// How often a node had changed, and when something fits on it then.
type Known = (u32, Option<Time>);

/// Per waiting job what Slurm and the re-planner know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The alternative that it asks for.
    pub choice: usize,
    /// It has one.
    pub chosen: bool,
    /// What re-planning remembers of it.
    pub past: Past<usize>,
}

impl Slurm {
    pub fn new(parameters: &SlurmParameters) -> Slurm {
        Slurm {
            parameters: parameters.clone(),
            main: None,
            backfill: None,
            replan: None,
            main_at: None,
            backfill_at: None,
            replan_at: None,
            plans: Vec::new(),
            planned: Vec::new(),
            waits: Hint::default(),
            earliest: HashMap::new(),
            moved: 0,
        }
    }

    /// The main scheduler: from the front, until one cannot start.
    fn main_pass<F: Fabric>(&mut self, ground: &mut Ground<F>) {
        for _ in 0..self.parameters.default_queue_depth.max(1) {
            let Some(first) = ground.queue.front() else { break };
            let (class, choice) = (first.class, first.wait.choice);
            let wanted = usize::from(ground.classes[class].asked.nodes);
            let alternative = &ground.classes[class].alternatives[choice];
            let farm = &*ground.farm;
            let fits = |node: usize| farm.fabric.fits(&farm.nodes[node], alternative);
            let Some(nodes) = pick(farm, wanted, &fits) else { break };
            self.start(ground, 0, &(choice, nodes));
        }
    }

    /// Starts a job.
    fn start<F: Fabric>(&mut self, ground: &mut Ground<F>, place: usize, choice: &Choice) {
        let waiting = &ground.queue[place];
        let class = &ground.classes[waiting.class];
        let leaves = asks(&class.alternatives[choice.0], class);
        leaves.for_each(|(shape, count)| self.waits[shape] -= count);
        let job = waiting.place;
        self.plans.iter_mut().for_each(|plans| plans.retain(|(other, _)| *other != job));
        ground.start(place, choice);
        self.wake_backfill(ground.now);
    }

    /// Whether no job that may go before `place` is planned onto the node before this time.
    fn open(&self, node: usize, place: Option<usize>, until: Time) -> bool {
        let Some(plans) = self.plans.get(node) else { return true };
        if plans.is_empty() {
            // Whoever it was planned for has started: it stays marked until backfill looks again.
            return !self.planned[node];
        }
        plans
            .iter()
            .all(|&(other, start)| start >= until || place.is_some_and(|place| other >= place))
    }

    /// When an alternative of a class fits on a node, [`Farm::earliest`], remembered.
    fn earliest<F: Fabric>(&mut self, ground: &Ground<F>, class: usize, choice: usize) -> &[Known] {
        let farm = &*ground.farm;
        let alternative = &ground.classes[class].alternatives[choice..=choice];
        let known = self.earliest.entry((class, choice)).or_default();
        known.resize(farm.nodes.len(), (u32::MAX, None));
        for (node, known) in known.iter_mut().enumerate() {
            let changes = farm.changes[node];
            if known.0 != changes {
                *known = (changes, farm.earliest(node, alternative, 0));
            }
        }
        known
    }

    /// The main scheduler has something to look at.
    fn wake_main(&mut self, now: Time) {
        let p = &self.parameters;
        wake(&mut self.main_at, self.main, p.batch_sched_delay, now + p.latency);
    }

    fn wake_backfill(&mut self, now: Time) {
        let p = &self.parameters;
        wake(&mut self.backfill_at, self.backfill, p.bf_interval, now + p.latency);
    }

    fn wake_replan(&mut self, now: Time) {
        let interval = self.parameters.replan_interval;
        if interval > 0 {
            wake(&mut self.replan_at, self.replan, interval, now);
        }
    }
}

/// Sets when one of them looks next, if that is not earlier anyway: not before `soon`.
fn wake(at: &mut Option<Time>, last: Option<Time>, interval: Time, soon: Time) {
    let next = last.map_or(soon, |last| (last + interval.max(1)).max(soon));
    *at = Some(at.map_or(next, |known| known.min(next)));
}

impl<F: Fabric> Scheduler<F> for Slurm {
    fn pass(&mut self, ground: &mut Ground<F>, news: News) {
        let now = ground.now;
        // What was due while nothing waited has been: they look at an empty queue too.
        let looks = [
            (&mut self.main, &mut self.main_at),
            (&mut self.backfill, &mut self.backfill_at),
            (&mut self.replan, &mut self.replan_at),
        ];
        for (last, at) in looks {
            if at.is_some_and(|at| at < now) {
                *last = at.take();
            }
        }
        let due = |at: Option<Time>| at == Some(now);
        if news.submitted {
            self.wake_main(now);
        }
        if news.submitted || news.ended {
            self.wake_backfill(now);
            self.wake_replan(now);
        }
        self.choose(ground);
        let by_the_clock = due(self.main_at);
        if by_the_clock {
            (self.main, self.main_at) = (Some(now), None);
        }
        if by_the_clock || news.ended {
            self.main_pass(ground);
        }
        if due(self.backfill_at) {
            (self.backfill, self.backfill_at) = (Some(now), None);
            self.backfill_pass(ground);
            self.wake_replan(now);
        }
        if due(self.replan_at) {
            (self.replan, self.replan_at) = (Some(now), None);
            self.replan_pass(ground);
        }
    }

    fn next(&self) -> Option<Time> {
        [self.main_at, self.backfill_at, self.replan_at].into_iter().flatten().min()
    }

    fn moved(&self) -> u64 {
        self.moved
    }
}

/// Leaves that the first jobs wait for, those that leaves are left to, and their number; of so many
/// that have a composition.
fn first_wait<F: Fabric>(ground: &Ground<F>, jobs: usize) -> (Hint, usize) {
    let (mut hint, jobs) = (Hint::default(), jobs.min(FIRST));
    for waiting in ground.queue.iter().take(jobs) {
        let class = &ground.classes[waiting.class];
        let leaves = asks(&class.alternatives[waiting.wait.choice], class);
        leaves.for_each(|(shape, count)| hint[shape] += count);
    }
    (hint, jobs)
}

/// The leaves that an alternative asks for on all nodes of the job, as (shape, count).
fn asks<'a>(
    alternative: &'a Alternative,
    class: &Class,
) -> impl Iterator<Item = (usize, u32)> + 'a {
    let nodes = u32::from(class.asked.nodes);
    let parts = alternative.parts.iter();
    parts.map(move |part| (usize::from(part.shape), u32::from(part.count) * nodes))
}

/// A time limit as Slurm has it: whole minutes.
pub(crate) fn minutes(limit: Time) -> Time {
    limit.div_ceil(MINUTE).max(1) * MINUTE
}

/// The nodes that `_eval_nodes()` picks of those that fit: of the runs of neighbours that are enough
/// the one with least free, and in it the nodes with least free. What counts as free on a node are the
/// CPUs that the job could use: for a job of one node the same on all (`gres_select_filter_sock_core()`
/// leaves as many as it has tasks), so that it gets the first node of the shortest run.
fn pick<F: Fabric>(
    farm: &Farm<F>,
    wanted: usize,
    fits: &dyn Fn(usize) -> bool,
) -> Option<Vec<u32>> {
    let spare = |node: usize| u64::from(farm.fabric.spare(&farm.nodes[node])) + 1;
    let free = |node: usize| if wanted == 1 { 1 } else { spare(node) };
    let mut best: Option<(u64, usize, usize)> = None;
    let mut all = Vec::new();
    let mut run: Option<(u64, usize, usize)> = None;
    for node in 0..=farm.nodes.len() {
        if node < farm.nodes.len() && fits(node) {
            all.push(node as u32);
            let (sum, from, count) = run.unwrap_or((0, node, 0));
            run = Some((sum + free(node), from, count + 1));
            continue;
        }
        if let Some((sum, from, count)) = run.take()
            && count >= wanted
            && best.is_none_or(|best| sum < best.0)
        {
            best = Some((sum, from, count));
        }
    }
    if all.len() < wanted {
        return None;
    }
    if let Some((_, from, count)) = best {
        all = (from as u32..(from + count) as u32).collect();
    }
    // A stable sort: of equals the first.
    all.sort_by_key(|&node| free(node as usize));
    all.truncate(wanted);
    Some(all)
}
