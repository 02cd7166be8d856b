//! Who decides which job starts when.

mod easy;
mod slurm;

pub(crate) use easy::Easy;
pub(crate) use slurm::{Slurm, Wait, minutes};

use std::collections::VecDeque;

use crate::choose::{Choice, Chooser};
use crate::class::{Alternative, Class};
use crate::fabric::{Fabric, Leaf};
use crate::farm::Farm;
use crate::{Job, Time};

/// A job that waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub job: Job,
    /// Place in the trace.
    pub place: usize,
    pub class: usize,
    /// For `slurm`.
    pub wait: Wait,
}

/// What a scheduler works with.
pub(crate) struct Ground<'g, F: Fabric> {
    pub now: Time,
    pub farm: &'g mut Farm<F>,
    pub chooser: &'g dyn Chooser<F>,
    pub classes: &'g [Class],
    /// In order of priority.
    pub queue: &'g mut VecDeque<Waiting>,
    /// Runs that began.
    pub started: Vec<u32>,
}

impl<F: Fabric> Ground<'_, F> {
    /// Leaves and nodes on which a job could start now.
    pub fn choose(
        &self,
        class: usize,
        admits: &dyn Fn(usize, &Alternative) -> bool,
    ) -> Option<Choice> {
        self.chooser.choose(self.farm, &self.classes[class], admits)
    }

    /// Takes leaves without a job, for those that shall not have them.
    pub fn hold(
        &mut self,
        nodes: Vec<u32>,
        alternative: &Alternative,
        held: &mut Vec<(u32, Vec<Leaf>)>,
    ) {
        for node in nodes {
            let mut leaves = Vec::new();
            let Farm { fabric, nodes, hint, .. } = &mut *self.farm;
            fabric.take(&mut nodes[node as usize], alternative, self.now, hint, &mut leaves);
            held.push((node, leaves));
        }
    }

    /// Gives them back.
    pub fn release(&mut self, held: Vec<(u32, Vec<Leaf>)>) {
        for (node, leaves) in held {
            self.farm.fabric.give(&mut self.farm.nodes[node as usize], &leaves);
        }
    }

    /// Starts the job at this place of the queue.
    pub fn start(&mut self, place: usize, (alternative, nodes): &Choice) {
        let Some(waiting) = self.queue.remove(place) else { return };
        let class = &self.classes[waiting.class];
        let alternative = &class.alternatives[*alternative];
        let (id, _) =
            self.farm.start(waiting.job, waiting.place, class, alternative, nodes, self.now);
        self.started.push(id);
    }
}

/// Looks at the queue when something has happened.
pub(crate) trait Scheduler<F: Fabric> {
    /// Something has happened, or a time has come that was asked for.
    fn pass(&mut self, ground: &mut Ground<F>, news: News);

    /// When to call it again at the latest.
    fn next(&self) -> Option<Time> {
        None
    }

    /// Jobs that were moved to another composition so far.
    fn moved(&self) -> u64 {
        0
    }
}

/// What has happened since the last pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub submitted: bool,
    pub ended: bool,
}
