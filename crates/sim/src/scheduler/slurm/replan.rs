//! Re-planning of waiting jobs, by the rules of `flexmig_core::replan`: who cannot start as it is, and
//! could with another composition, gets it; one update per job and backfill cycle, so many per round;
//! back to the first choice after two cycles, and then left alone for a while.

use super::{Slurm, minutes};
use crate::Time;
use crate::class::Alternative;
use crate::fabric::{Fabric, Leaf};
use crate::scheduler::Ground;
use flexmig_core::replan::MOST;

/// Backfill cycles that a moved job waits before it goes back.
const PATIENCE: Time = 2;
/// Backfill cycles for which one that went back is left alone.
const REST: Time = 20;

impl Slurm {
    pub(super) fn replan_pass<F: Fabric>(&mut self, ground: &mut Ground<F>) {
        if ground.classes.iter().all(|class| class.alternatives.len() < 2) {
            return;
        }
        let now = ground.now;
        // What jobs take that can start is not there for those after them: it is given back at the
        // end of the round.
        let mut held: Vec<(u32, Vec<Leaf>)> = Vec::new();
        // Per class, alternative: jobs with such a limit or a longer one find no node.
        let mut refused = vec![Vec::new(); ground.classes.len()];
        let mut updates = 0;
        for place in 0..ground.queue.len().min(self.parameters.bf_max_job_test) {
            let waiting = &ground.queue[place];
            let (class, wait, trace) = (waiting.class, waiting.wait, waiting.place);
            let limit = minutes(waiting.job.limit);
            let count = ground.classes[class].alternatives.len();
            let known: &mut Vec<Time> = &mut refused[class];
            known.resize(count + 1, Time::MAX);
            let open = |node: usize, _: &Alternative| self.open(node, Some(trace), now + limit);
            let mut found = None;
            if limit < known[wait.choice] {
                let alternative = &ground.classes[class].alternatives[wait.choice];
                let admits = |node: usize| open(node, alternative);
                let nodes = ground.farm.nodes_for(&ground.classes[class], alternative, &admits);
                match nodes {
                    Some(nodes) => found = Some((wait.choice, nodes)),
                    None => known[wait.choice] = limit,
                }
            }
            let starts = found.is_some();
            let cycle = self.parameters.bf_interval;
            let may = updates < MOST
                && now >= wait.rests_until
                && wait.updated.is_none_or(|updated| now >= updated + cycle);
            if !starts && may && limit < known[count] {
                found = ground.choose(class, &open);
                if found.is_none() {
                    known[count] = limit;
                }
            }
            let wait = &mut ground.queue[place].wait;
            match found {
                Some((choice, nodes)) => {
                    if !starts {
                        updates += 1;
                        self.moved += 1;
                        wait.updated = Some(now);
                        wait.choice = choice;
                        wait.away = (choice != wait.first).then_some(wait.away.unwrap_or(now));
                        self.wake_backfill(now);
                        self.wake_main(now);
                    }
                    let alternative = &ground.classes[class].alternatives[choice];
                    ground.hold(nodes, alternative, &mut held);
                }
                None => {
                    let due = wait.away.is_some_and(|away| now >= away + PATIENCE * cycle);
                    if due && may {
                        updates += 1;
                        self.moved += 1;
                        wait.choice = wait.first;
                        (wait.updated, wait.away) = (Some(now), None);
                        wait.rests_until = now + REST * cycle;
                        self.wake_backfill(now);
                    }
                }
            }
        }
        ground.release(held);
    }
}
