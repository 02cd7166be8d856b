//! Jobs that ask for the same: which leaves serve them.

use std::collections::HashMap;

use crate::Job;

/// Leaves of one shape on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Place among the shapes of the fabric.
    pub shape: u8,
    /// How many.
    pub count: u16,
}

/// Leaves that serve a job, on each of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alternative {
    /// Each shape once.
    pub parts: Vec<Part>,
    /// It takes so much more than was asked that the scheduler does not wait for it: it is taken
    /// only where it can start and nobody else waits for it.
    pub wasteful: bool,
}

impl Alternative {
    pub fn of(shape: usize, count: u16) -> Alternative {
        Alternative { parts: vec![Part { shape: shape as u8, count }], wasteful: false }
    }

    /// Leaves on each node.
    pub fn leaves(&self) -> u32 {
        self.parts.iter().map(|part| u32::from(part.count)).sum()
    }
}

/// What jobs of one class ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub slices: u8,
    /// Nodes that the job is on.
    pub nodes: u16,
    /// GPUs on each of them.
    pub gpus: u16,
    pub memory_gb: u16,
}

/// A class and what serves it.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub asked: Asked,
    /// In the order in which a policy without selection tries them; none: it never fits.
    pub alternatives: Vec<Alternative>,
    /// Those that reservations are made for: all but the wasteful ones.
    pub reserved: Vec<Alternative>,
}

/// All classes seen so far.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    known: HashMap<(u8, u16, u16), usize>,
    pub all: Vec<Class>,
}

impl Classes {
    /// The class of a job; a new one is given its alternatives.
    pub fn of(
        &mut self,
        job: &Job,
        gpus_per_node: u32,
        alternatives: impl FnOnce(&Asked) -> Vec<Alternative>,
    ) -> usize {
        let key = (job.slices, job.gpus, job.memory_gb);
        if let Some(&class) = self.known.get(&key) {
            return class;
        }
        let gpus = u32::from(job.gpus.max(1));
        let nodes = gpus.div_ceil(gpus_per_node.max(1));
        let asked = Asked {
            slices: job.slices,
            nodes: nodes as u16,
            gpus: gpus.div_ceil(nodes) as u16,
            memory_gb: job.memory_gb,
        };
        let alternatives = alternatives(&asked);
        let thrifty = alternatives.iter().filter(|alternative| !alternative.wasteful);
        let mut reserved: Vec<Alternative> = thrifty.cloned().collect();
        if reserved.is_empty() {
            reserved.clone_from(&alternatives);
        }
        self.all.push(Class { asked, alternatives, reserved });
        self.known.insert(key, self.all.len() - 1);
        self.all.len() - 1
    }
}
