//! The nodes and what runs on them.

use std::collections::HashSet;

use crate::class::{Alternative, Class};
use crate::fabric::{Fabric, Hint, Leaf};
use crate::model::{Performance, Reach};
use crate::{Job, Time};

/// A job that runs.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub job: Job,
    /// Place in the trace.
    pub place: usize,
    pub start: Time,
    pub end: Time,
    /// When its time limit ends, at least `end`.
    pub limit_end: Time,
    /// Leaves on each of its nodes.
    pub taken: Vec<(u32, Vec<Leaf>)>,
    pub leaves: u32,
    pub parents: u16,
    pub slowdown: f64,
}

/// What leaves make of a job: when it starts, ends, and ends at the latest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    pub start: Time,
    pub end: Time,
    pub limit_end: Time,
    pub slowdown: f64,
    pub parents: u16,
}

/// Shares of the cluster that are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Busy {
    pub sms: f64,
    pub memory: f64,
    pub free: u64,
    pub largest: u64,
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Farm<F: Fabric> {
    pub fabric: F,
    pub nodes: Vec<F::Node>,
    /// Per node the runs by the end of their limits.
    pub running: Vec<Vec<(Time, u32)>>,
    /// Counts the changes of each node.
    pub changes: Vec<u32>,
    pub hint: Hint,
    pub model: Performance,
    pub sms_of_slices: [f64; 8],
    pub busy: Busy,
    runs: Vec<Option<Run>>,
    unused: Vec<u32>,
}

impl<F: Fabric> Farm<F> {
    pub fn new(fabric: F, model: Performance, sms_of_slices: [f64; 8]) -> Farm<F> {
        let nodes = fabric.nodes();
        let count = nodes.len();
        let mut busy = Busy::default();
        for node in &nodes {
            let (free, largest) = fabric.fragments(node);
            busy.free += free;
            busy.largest += largest;
        }
        Farm {
            fabric,
            nodes,
            running: vec![Vec::new(); count],
            changes: vec![0; count],
            hint: [0; 8],
            model,
            sms_of_slices,
            busy,
            runs: Vec::new(),
            unused: Vec::new(),
        }
    }

    /// Jobs that run.
    pub fn count(&self) -> usize {
        self.runs.len() - self.unused.len()
    }

    /// A job that runs.
    pub fn run(&self, id: u32) -> Option<&Run> {
        self.runs.get(id as usize)?.as_ref()
    }

    /// The nodes for an alternative: those that fit and that the caller admits, the fullest first.
    /// `None` if they are not enough.
    pub fn nodes_for(
        &self,
        class: &Class,
        alternative: &Alternative,
        admits: &dyn Fn(usize) -> bool,
    ) -> Option<Vec<u32>> {
        let wanted = usize::from(class.asked.nodes);
        if wanted == 1 {
            let mut best: Option<(u32, u32)> = None;
            for (place, node) in self.nodes.iter().enumerate() {
                if !self.fabric.fits(node, alternative) {
                    continue;
                }
                let key = (self.fabric.left(node), place as u32);
                if best.is_none_or(|best| key < best) && admits(place) {
                    best = Some(key);
                }
            }
            return best.map(|(_, node)| vec![node]);
        }
        let mut found = Vec::new();
        for (place, node) in self.nodes.iter().enumerate() {
            if self.fabric.fits(node, alternative) && admits(place) {
                found.push((self.fabric.left(node), place as u32));
            }
        }
        if found.len() < wanted {
            return None;
        }
        found.sort_unstable();
        found.truncate(wanted);
        Some(found.into_iter().map(|(_, node)| node).collect())
    }

    /// What these leaves would make of a job.
    pub fn times(
        &self,
        job: &Job,
        class: &Class,
        taken: &[(u32, Vec<Leaf>)],
        ready: Time,
    ) -> Times {
        let weights = self.fabric.weights();
        let (mut leaves, mut smallest) = (0u32, f64::INFINITY);
        let mut parents = HashSet::new();
        let mut first = None;
        for (node, on_node) in taken {
            for leaf in on_node {
                leaves += 1;
                smallest = smallest.min(weights[usize::from(leaf.shape)].sms);
                let parent = (*node, leaf.gpu);
                // Most jobs are on one GPU.
                if *first.get_or_insert(parent) != parent {
                    parents.insert(parent);
                }
            }
        }
        let parents = parents.len() as u16 + 1;
        let slowdown = if self.fabric.ideal() {
            1.0
        } else {
            let gpus = f64::from(class.asked.gpus) * f64::from(class.asked.nodes);
            let asked = self.sms_of_slices[usize::from(class.asked.slices.min(7))] * gpus;
            let reach = match (taken.len(), parents) {
                (..=1, ..=1) => Reach::Parent,
                (..=1, _) => Reach::Node,
                _ => Reach::Nodes,
            };
            let share = job.communication.map_or(self.model.communication, f64::from);
            self.model.slowdown(asked, smallest * f64::from(leaves), leaves, reach, share)
        };
        let stretched = |time: Time| ((time as f64 * slowdown).round() as Time).max(1);
        let end = ready + stretched(job.run);
        let limit_end = end.max(ready + stretched(job.limit));
        Times { start: ready, end, limit_end, slowdown, parents }
    }

    /// What a job would be on these nodes, without taking anything.
    pub fn trial(
        &self,
        job: &Job,
        class: &Class,
        alternative: &Alternative,
        node: usize,
        now: Time,
    ) -> (F::Node, Times) {
        let mut left = self.nodes[node].clone();
        let mut leaves = Vec::new();
        let ready = self.fabric.take(&mut left, alternative, now, &self.hint, &mut leaves);
        let mut taken = vec![(node as u32, leaves)];
        // Its other nodes, if it has any, are at least so far.
        if class.asked.nodes > 1 {
            taken.push((u32::MAX, taken[0].1.clone()));
        }
        let times = self.times(job, class, &taken, ready);
        (left, times)
    }

    /// Starts a job.
    pub fn start(
        &mut self,
        job: Job,
        place: usize,
        class: &Class,
        alternative: &Alternative,
        nodes: &[u32],
        now: Time,
    ) -> (u32, Times) {
        let mut ready = now;
        let mut taken = Vec::with_capacity(nodes.len());
        for &node in nodes {
            let mut leaves = Vec::with_capacity(alternative.leaves() as usize);
            let state = &mut self.nodes[node as usize];
            let before = self.fabric.fragments(state);
            let free = self.fabric.take(state, alternative, now, &self.hint, &mut leaves);
            let after = self.fabric.fragments(state);
            ready = ready.max(free);
            self.busy.count(before, after);
            self.weigh(&leaves, 1.0);
            taken.push((node, leaves));
        }
        let times = self.times(&job, class, &taken, ready);
        let leaves = taken.iter().map(|(_, leaves)| leaves.len() as u32).sum();
        let Times { start, end, limit_end, slowdown, parents } = times;
        let run = Run { job, place, start, end, limit_end, taken, leaves, parents, slowdown };
        let id = self.unused.pop().unwrap_or_else(|| {
            self.runs.push(None);
            self.runs.len() as u32 - 1
        });
        self.runs[id as usize] = Some(run);
        for &node in nodes {
            let list = &mut self.running[node as usize];
            let at = list.partition_point(|&known| known < (limit_end, id));
            list.insert(at, (limit_end, id));
            self.changes[node as usize] += 1;
        }
        (id, times)
    }

    /// Ends a job.
    pub fn end(&mut self, id: u32) -> Option<Run> {
        let run = self.runs.get_mut(id as usize)?.take()?;
        self.unused.push(id);
        for (node, leaves) in &run.taken {
            let state = &mut self.nodes[*node as usize];
            let before = self.fabric.fragments(state);
            self.fabric.give(state, leaves);
            let after = self.fabric.fragments(state);
            self.busy.count(before, after);
            let list = &mut self.running[*node as usize];
            if let Ok(at) = list.binary_search(&(run.limit_end, id)) {
                list.remove(at);
            }
            self.changes[*node as usize] += 1;
            self.weigh(leaves, -1.0);
        }
        Some(run)
    }

    fn weigh(&mut self, leaves: &[Leaf], sign: f64) {
        for leaf in leaves {
            let weight = self.fabric.weights()[usize::from(leaf.shape)];
            self.busy.sms += sign * weight.sms;
            self.busy.memory += sign * weight.memory;
        }
    }

    /// When a node could take one of these alternatives if every job ran to its limit and nothing
    /// started before: `now`, or the end of a limit. `None`: never.
    pub fn earliest(&self, node: usize, alternatives: &[Alternative], now: Time) -> Option<Time> {
        let fits = |node: &F::Node| alternatives.iter().any(|a| self.fabric.fits(node, a));
        if fits(&self.nodes[node]) {
            return Some(now);
        }
        let mut state = self.nodes[node].clone();
        let list = &self.running[node];
        for (place, &(end, id)) in list.iter().enumerate() {
            self.release(&mut state, node, id);
            let last = list.get(place + 1).is_none_or(|next| next.0 > end);
            if last && fits(&state) {
                return Some(end.max(now));
            }
        }
        None
    }

    /// A node's state with what one of its jobs has given back.
    pub fn release(&self, state: &mut F::Node, node: usize, id: u32) {
        let Some(run) = self.run(id) else { return };
        for (place, leaves) in &run.taken {
            if *place as usize == node {
                self.fabric.give(state, leaves);
            }
        }
    }
}

impl Busy {
    fn count(&mut self, before: (u64, u64), after: (u64, u64)) {
        self.free = self.free + after.0 - before.0;
        self.largest = self.largest + after.1 - before.1;
    }
}
