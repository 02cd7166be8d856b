//! Re-planning of waiting jobs: the rounds of `flexmig_core::replan::Planner` on the simulator's own
//! nodes. When a job may be changed, goes back or rests is core's [`Past`](flexmig_core::replan::Past),
//! what it gets core's selection; the tests hold both against the planner itself.

use flexmig_core::replan::{JOBS, Look, MOST};

use super::{Slurm, asks, first_wait, minutes};
use crate::Time;
use crate::class::Alternative;
use crate::fabric::{Fabric, Leaf};
use crate::farm::Farm;
use crate::scheduler::Ground;

/// What is known within one round, in which nodes only fill up.
struct Round {
    /// What jobs take that can start is not there for those after them: it is given back at the end.
    held: Vec<(u32, Vec<Leaf>)>,
    /// Per class and alternative, and last for all alternatives together: jobs with such a limit or a
    /// longer one find no nodes.
    vain: Vec<Vec<Time>>,
}

impl Slurm {
    pub(super) fn replan_pass<F: Fabric>(&mut self, ground: &mut Ground<F>) {
        if ground.classes.iter().all(|class| class.alternatives.len() < 2) {
            return;
        }
        let (now, cycle) = (ground.now, self.cycle());
        ground.farm.hint = first_wait(ground, ground.queue.len()).0;
        let vain = ground.classes.iter().map(|class| vec![Time::MAX; class.alternatives.len() + 1]);
        let mut round = Round { held: Vec::new(), vain: vain.collect() };
        let (mut updates, mut next) = (0, None);
        for place in 0..ground.queue.len().min(self.parameters.bf_max_job_test).min(JOBS) {
            let past = &ground.queue[place].wait.past;
            let may_change = updates < MOST && past.may_change(now, cycle);
            let back = past.due_back(now, cycle).copied().filter(|_| may_change);
            let to = back.or_else(|| self.look_at(ground, place, may_change, &mut round));
            if let Some(choice) = to {
                updates += 1;
                self.change(ground, place, choice);
            }
            let again = ground.queue[place].wait.past.next(now, cycle);
            next = next.into_iter().chain(again).min();
        }
        ground.release(round.held);
        if updates >= MOST {
            self.wake_replan(now);
        }
        if let Some(next) = next {
            self.wake_replan(next);
        }
    }

    /// Looks at a job that is not to go back. What it takes, as it is or moved, is held. Returns where
    /// it moves.
    fn look_at<F: Fabric>(
        &self,
        ground: &mut Ground<F>,
        place: usize,
        may_change: bool,
        round: &mut Round,
    ) -> Option<usize> {
        let (now, cycle) = (ground.now, self.cycle());
        let nodes = self.nodes(ground, place, round);
        let wait = &mut ground.queue[place].wait;
        let current = wait.choice;
        let (choice, nodes) = match (wait.past.look(nodes.is_some(), may_change, now, cycle), nodes)
        {
            (Look::Starts, Some(nodes)) => (current, nodes),
            (Look::MayMove, nodes) => self.better(ground, place, nodes.is_some(), round)?,
            _ => return None,
        };
        let class = &ground.classes[ground.queue[place].class];
        ground.hold(nodes, &class.alternatives[choice], &mut round.held);
        (choice != current).then_some(choice)
    }

    /// The nodes on which a job could start now as it is.
    fn nodes<F: Fabric>(
        &self,
        ground: &Ground<F>,
        place: usize,
        round: &mut Round,
    ) -> Option<Vec<u32>> {
        let waiting = &ground.queue[place];
        let (class, limit) = (&ground.classes[waiting.class], minutes(waiting.job.limit));
        let vain = &mut round.vain[waiting.class][waiting.wait.choice];
        if limit >= *vain {
            return None;
        }
        let open = |node: usize| self.open(node, Some(waiting.place), ground.now + limit);
        let alternative = &class.alternatives[waiting.wait.choice];
        let found = first(ground.farm, class.asked.nodes.into(), alternative, &open);
        if found.is_none() {
            *vain = limit;
        }
        found
    }

    /// Another alternative that could start now, and on which nodes.
    fn better<F: Fabric>(
        &self,
        ground: &Ground<F>,
        place: usize,
        starts: bool,
        round: &mut Round,
    ) -> Option<(usize, Vec<u32>)> {
        let waiting = &ground.queue[place];
        let (class, limit) = (&ground.classes[waiting.class], minutes(waiting.job.limit));
        let vain = round.vain[waiting.class].last_mut()?;
        if limit >= *vain {
            return None;
        }
        let current = &class.alternatives[waiting.wait.choice];
        let open = |node: usize| self.open(node, Some(waiting.place), ground.now + limit);
        let other = |node: usize, alternative: &Alternative| {
            alternative.parts != current.parts && open(node)
        };
        let Some((choice, _)) = ground.choose(waiting.class, &other) else {
            if !starts {
                *vain = limit;
            }
            return None;
        };
        let alternative = &class.alternatives[choice];
        Some((choice, first(ground.farm, class.asked.nodes.into(), alternative, &open)?))
    }

    /// Makes a job wait for another alternative.
    fn change<F: Fabric>(&mut self, ground: &mut Ground<F>, place: usize, choice: usize) {
        let (now, cycle) = (ground.now, self.cycle());
        let waiting = &mut ground.queue[place];
        let (class, wait) = (&ground.classes[waiting.class], &mut waiting.wait);
        wait.past.changed(&wait.choice, &choice, now, cycle);
        let [from, to] =
            [wait.choice, choice].map(|choice| asks(&class.alternatives[choice], class));
        from.for_each(|(shape, count)| self.waits[shape] -= count);
        to.for_each(|(shape, count)| self.waits[shape] += count);
        wait.choice = choice;
        self.moved += 1;
        self.wake_backfill(now);
        self.wake_main(now);
    }

    /// Between two updates of one job at least.
    fn cycle(&self) -> Time {
        self.parameters.bf_interval.max(self.parameters.replan_interval)
    }
}

/// The first nodes, so many, that have these leaves free and are open.
fn first<F: Fabric>(
    farm: &Farm<F>,
    wanted: usize,
    alternative: &Alternative,
    open: &dyn Fn(usize) -> bool,
) -> Option<Vec<u32>> {
    let fits = |node: &usize| farm.fabric.fits(&farm.nodes[*node], alternative) && open(*node);
    let found: Vec<u32> =
        (0..farm.nodes.len()).filter(fits).take(wanted).map(|node| node as u32).collect();
    (found.len() == wanted).then_some(found)
}
