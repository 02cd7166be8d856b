//! What the GPUs of a node can give, and what they have given.
//!
//! | module | instances |
//! |---|---|
//! | `leaves` | stay as they are: `static`, `flex` and its relatives; `pooled` with shapes of one slice |
//! | `drain` | a GPU is cut anew when nothing runs on it |
//! | `dynamic` | come and go one by one, wherever the placement rules leave room |

mod drain;
mod dynamic;
mod leaves;

pub(crate) use drain::Drain;
pub(crate) use dynamic::Dynamic;
pub(crate) use leaves::Leaves;

use crate::Time;
use crate::class::{Alternative, Asked};

/// One leaf of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// GPU on the node.
    pub gpu: u8,
    /// First slice of the memory axis.
    pub start: u8,
    /// Place among the shapes of the fabric.
    pub shape: u8,
    /// Place among the node's leaves of this shape, where leaves stay.
    pub index: u8,
}

/// What a shape weighs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Weight {
    pub slices: u8,
    pub sms: f64,
    pub memory: f64,
    /// Slices of the memory axis.
    pub size: u8,
}

/// What waits, for those that can choose what to make: how many leaves of each shape.
pub(crate) type Hint = [u32; 8];

/// Takes leaves of nodes and gives them back.
pub(crate) trait Fabric {
    /// What a node has free.
    type Node: Clone + PartialEq + std::fmt::Debug;

    /// The nodes with nothing running.
    fn nodes(&self) -> Vec<Self::Node>;

    /// The shapes of leaves.
    fn weights(&self) -> &[Weight];

    /// SMs and memory of all GPUs.
    fn total(&self) -> (f64, f64);

    /// Run times do not depend on leaves.
    fn ideal(&self) -> bool {
        false
    }

    /// What serves a class on each of its nodes, in order of preference.
    fn alternatives(&self, asked: &Asked) -> Vec<Alternative>;

    /// Whether a node has these leaves free, or can make them.
    fn fits(&self, node: &Self::Node, alternative: &Alternative) -> bool;

    /// Free leaves of a shape, where leaves stay as they are.
    fn free(&self, _node: &Self::Node, _shape: usize) -> u64 {
        0
    }

    /// How much of the node would be left: of nodes that fit, the one with least is taken.
    fn left(&self, node: &Self::Node) -> u32;

    /// How many more tasks the node could run, of one leaf each: what Slurm's own choice of nodes
    /// goes by, as CPUs do.
    fn spare(&self, node: &Self::Node) -> u32 {
        self.left(node)
    }

    /// Takes leaves, which must fit. Adds them to `taken`; returns when they can be used, at least
    /// `now`.
    fn take(
        &self,
        node: &mut Self::Node,
        alternative: &Alternative,
        now: Time,
        hint: &Hint,
        taken: &mut Vec<Leaf>,
    ) -> Time;

    /// Gives leaves back.
    fn give(&self, node: &mut Self::Node, leaves: &[Leaf]);

    /// Free slices, and of these what the largest request of equal leaves could take.
    fn fragments(&self, node: &Self::Node) -> (u64, u64);

    /// The first jobs of the queue that count for the hint; 0: it is not looked at.
    fn hinted_jobs(&self) -> usize {
        0
    }

    /// New cuts of GPUs so far.
    fn cuts(&self, _node: &Self::Node) -> u64 {
        0
    }
}

/// One instance per GPU that a class asks for: of the smallest shape with enough slices and memory.
/// If none has enough slices, of the largest, where that is allowed. `shapes`: those on offer as
/// (place, slices, gigabytes), smallest first.
pub(crate) fn one_to_one(
    shapes: &[(usize, u8, u16)],
    asked: &Asked,
    shrink: bool,
) -> Vec<Alternative> {
    let enough = shapes
        .iter()
        .find(|(_, slices, memory)| *slices >= asked.slices && *memory >= asked.memory_gb)
        .or_else(|| {
            let largest = shapes.iter().rev().find(|(_, _, memory)| *memory >= asked.memory_gb);
            largest.filter(|_| shrink)
        });
    enough.map(|&(shape, ..)| Alternative::of(shape, asked.gpus)).into_iter().collect()
}
