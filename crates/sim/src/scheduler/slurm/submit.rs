//! New jobs get their composition, as `flexmig_core::submit` gives it at a submission.

use flexmig_core::select::FIRST;

use super::{MINUTE, Slurm, asks, first_wait, minutes};
use crate::class::{Alternative, Class};
use crate::fabric::{Fabric, Hint};
use crate::scheduler::Ground;

/// What jobs that are submitted at the same time were given, which no view shows yet.
struct Given {
    /// Free leaves of each shape, on nodes that are open at all.
    free: [u64; 8],
    /// Leaves that were handed out.
    claimed: Hint,
    /// Leaves that jobs wait for, and the first of them.
    waits: Hint,
    awaited: Hint,
    /// So many are first.
    first: usize,
}

impl Given {
    /// Whether as many leaves are free and not handed out.
    fn has(&self, alternative: &Alternative, class: &Class) -> bool {
        let mut leaves = asks(alternative, class);
        leaves.all(|(shape, count)| u64::from(self.claimed[shape] + count) <= self.free[shape])
    }
}

impl Slurm {
    /// Each gets what those before it leave; without re-planning it keeps that, so that selection
    /// looks at who waits for what.
    pub(super) fn choose<F: Fabric>(&mut self, ground: &mut Ground<F>) {
        let new = ground.queue.iter().rev().take_while(|waiting| !waiting.wait.chosen).count();
        if new == 0 {
            return;
        }
        let (waits, claimed) = (self.waits, Hint::default());
        let (awaited, first) = first_wait(ground, ground.queue.len() - new);
        let mut given = Given { free: [u64::MAX; 8], claimed, waits, awaited, first };
        if new > 1 {
            given.free = self.free(ground);
        }
        for place in ground.queue.len() - new..ground.queue.len() {
            let choice = self.choose_one(ground, place, &mut given);
            let waiting = &mut ground.queue[place];
            (waiting.wait.choice, waiting.wait.chosen) = (choice, true);
            let class = &ground.classes[waiting.class];
            let leaves = asks(&class.alternatives[choice], class);
            leaves.for_each(|(shape, count)| self.waits[shape] += count);
        }
    }

    fn choose_one<F: Fabric>(
        &self,
        ground: &mut Ground<F>,
        place: usize,
        given: &mut Given,
    ) -> usize {
        let waiting = &ground.queue[place];
        let class = &ground.classes[waiting.class];
        let until = ground.now + minutes(waiting.job.limit);
        let admits = |node: usize, alternative: &Alternative| {
            given.has(alternative, class) && self.open(node, None, until)
        };
        let mut choice = 0;
        if class.alternatives.len() > 1 {
            ground.farm.hint = given.awaited;
            choice = if self.parameters.replan_interval == 0 {
                ground.chooser.settle(ground.farm, class, &given.waits, &admits)
            } else {
                ground.choose(waiting.class, &admits).map_or(0, |(choice, _)| choice)
            };
        }
        let alternative = &class.alternatives[choice];
        if place + 1 < ground.queue.len() {
            let admits = |node: usize| admits(node, alternative);
            let starts = ground.farm.nodes_for(class, alternative, &admits).is_some();
            let is_first = !starts && given.first < FIRST;
            given.first += usize::from(is_first);
            for (shape, count) in asks(alternative, class) {
                let counts = if starts { &mut given.claimed } else { &mut given.waits };
                counts[shape] += count;
                given.awaited[shape] += if is_first { count } else { 0 };
            }
        }
        choice
    }

    /// Free leaves of each shape, but for nodes onto which something is planned at once.
    fn free<F: Fabric>(&self, ground: &Ground<F>) -> [u64; 8] {
        let (fabric, nodes) = (&ground.farm.fabric, &ground.farm.nodes);
        let mut free = [0; 8];
        for (place, node) in nodes.iter().enumerate() {
            if self.open(place, None, ground.now + MINUTE) {
                let shapes = 0..fabric.weights().len();
                shapes.for_each(|shape| free[shape] += fabric.free(node, shape));
            }
        }
        free
    }
}
