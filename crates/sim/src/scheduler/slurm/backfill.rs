//! The backfill scheduler's pass.

use std::collections::HashMap;

use super::bits::Bits;
use super::space::Space;
use super::{Slurm, minutes, pick};
use crate::fabric::Fabric;
use crate::scheduler::Ground;
use crate::{SECOND, Time};

/// The first window of time in which ends of jobs are taken together; each next is twice as long.
const WINDOW: Time = 30 * SECOND;
/// Most tries to plan one job.
const TRIES: usize = 1000;

/// What is to be done with a job.
enum Plan {
    Starts(Vec<u32>),
    /// From when to when, and where.
    Waits(Time, Time, Vec<u32>),
    /// Nothing is known, or it is too far away.
    No,
}

impl Slurm {
    pub(super) fn backfill_pass<F: Fabric>(&mut self, ground: &mut Ground<F>) {
        let p = self.parameters.clone();
        let nodes = ground.farm.nodes.len();
        let mut space = Space::new(ground.now, p.bf_window, p.bf_resolution, nodes);
        let mut open = Bits::all(nodes);
        self.plans.clear();
        self.plans.resize(nodes, Vec::new());
        // Per class and alternative: what found no start within the window. Nothing that is as long will:
        // in one pass the map only fills up.
        let mut refused: HashMap<(usize, usize), Time> = HashMap::new();
        let (mut place, mut tested) = (0, 0);
        while place < ground.queue.len() && tested < p.bf_max_job_test {
            tested += 1;
            let waiting = &ground.queue[place];
            let (class, limit) = ((waiting.class, waiting.wait.choice), waiting.job.limit);
            if refused.get(&class).is_some_and(|least| limit >= *least) {
                place += 1;
                continue;
            }
            match self.plan(ground, place, &space, &mut open) {
                Plan::Starts(nodes) => {
                    let choice = ground.queue[place].wait.choice;
                    self.start(ground, place, &(choice, nodes));
                    continue;
                }
                Plan::Waits(start, end, nodes) => {
                    for &node in &nodes {
                        self.plans[node as usize].push((ground.queue[place].place, start));
                    }
                    space.reserve(&nodes, start, end);
                }
                Plan::No => _ = refused.insert(class, limit),
            }
            place += 1;
        }
        self.planned = self.plans.iter().map(|plans| !plans.is_empty()).collect();
    }

    /// When and where a job starts, as far as Slurm can tell.
    fn plan<F: Fabric>(
        &mut self,
        ground: &Ground<F>,
        place: usize,
        space: &Space,
        open: &mut Bits,
    ) -> Plan {
        let (now, p) = (ground.now, self.parameters.clone());
        let waiting = &ground.queue[place];
        let limit = minutes(waiting.job.limit);
        let wanted = usize::from(ground.classes[waiting.class].asked.nodes);
        let all = Bits::all(ground.farm.nodes.len());
        let mut later = Some(now);
        for _ in 0..TRIES {
            let Some(from) = later else { return Plan::No };
            open.copy_from(&all);
            later = space.open(from, from.max(now) + limit, open);
            if open.count() < wanted {
                continue;
            }
            let Some((start, nodes)) = self.will_run(ground, place, open) else { continue };
            let start = start.max(from);
            if start <= now {
                return Plan::Starts(nodes);
            }
            if later.is_some_and(|later| start > later) {
                continue;
            }
            if start > now + p.bf_window {
                return Plan::No;
            }
            let round = |time: Time| time / p.bf_resolution.max(1) * p.bf_resolution.max(1);
            let (begin, end) = (round(start), round(start + limit));
            if space.overlaps(&nodes, begin, end) {
                later = Some(start);
                continue;
            }
            return Plan::Waits(begin, end, nodes);
        }
        Plan::No
    }

    /// When a job fits on these nodes if others run to their limits and nothing else starts, and on
    /// which nodes then. Ends of jobs count in groups, so that the time is that of the last end of
    /// a group.
    fn will_run<F: Fabric>(
        &mut self,
        ground: &Ground<F>,
        place: usize,
        open: &Bits,
    ) -> Option<(Time, Vec<u32>)> {
        let waiting = &ground.queue[place];
        let (now, wanted) = (ground.now, usize::from(ground.classes[waiting.class].asked.nodes));
        let known = self.earliest(ground, waiting.class, waiting.wait.choice);
        let mut times: Vec<Time> = open.iter().filter_map(|node| known[node].1).collect();
        if times.len() < wanted {
            return None;
        }
        let (_, &mut fits, _) = times.select_nth_unstable(wanted - 1);
        let farm = &*ground.farm;
        let by = |time: Time| {
            let fits = |node: usize| open.has(node) && known[node].1.is_some_and(|at| at <= time);
            pick(farm, wanted, &fits)
        };
        if fits == 0 {
            return Some((now, by(0)?));
        }
        let first = open.iter().filter_map(|node| Some(farm.running[node].first()?.0)).min()?;
        let base = first + (WINDOW - first % WINDOW);
        let mut window = WINDOW;
        while base + window < fits {
            window *= 2;
        }
        let last = |node: usize| {
            let ends = &farm.running[node];
            let count = ends.partition_point(|(end, _)| *end <= base + window);
            count.checked_sub(1).map(|last| ends[last].0)
        };
        let start = open.iter().filter_map(last).max()?;
        Some((start.max(now + SECOND), by(start)?))
    }
}
