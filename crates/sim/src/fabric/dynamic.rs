//! Instances that come and go one by one, wherever the placement rules leave room.

use super::leaves::whole_memory;
use super::{Fabric, Hint, Leaf, Weight, one_to_one};
use crate::class::{Alternative, Asked};
use crate::layout::mask;
use crate::{Cluster, Gpu, Oversize, Time};

/// GPUs whose instances are made for each job.
#[derive(Debug)]
pub(crate) struct Dynamic {
    cluster: Cluster,
    weights: Vec<Weight>,
    rooms: Rooms,
    oversize: Oversize,
    delay: Time,
}

/// What fits on a GPU, by the memory slices that are taken.
#[derive(Debug)]
pub(super) struct Rooms {
    /// Per shape and mask: where an instance does least harm; `None`: nowhere.
    best: Vec<Vec<Option<u8>>>,
    /// Per shape and mask: how many more instances there is room for.
    count: Vec<Vec<u8>>,
    /// Per mask: slices that the best instances could still make.
    slices: Vec<u8>,
}

impl Rooms {
    pub fn new(gpu: &Gpu) -> Rooms {
        let masks = 1usize << gpu.axis;
        let starts = |shape: &crate::gpu::Shape, taken: usize| {
            let size = shape.size;
            let free = move |start: &&u8| mask(size, **start) & taken as u8 == 0;
            shape.starts.iter().filter(free).copied().collect::<Vec<u8>>()
        };
        // Possibilities that are left, large ones weighing more.
        let worth = |taken: usize| -> u32 {
            let of = |shape: &crate::gpu::Shape| {
                starts(shape, taken).len() as u32 * u32::from(shape.profile.slices)
            };
            gpu.shapes.iter().map(of).sum()
        };
        let with = |taken: usize, size: u8, start: u8| taken | usize::from(mask(size, start));
        let mut rooms = Rooms { best: Vec::new(), count: Vec::new(), slices: vec![0; masks] };
        for shape in gpu.shapes {
            let best = |taken: usize| {
                starts(shape, taken)
                    .into_iter()
                    .max_by_key(|&start| (worth(with(taken, shape.size, start)), start))
            };
            rooms.best.push((0..masks).map(best).collect());
            rooms.count.push((0..masks).map(|taken| starts(shape, taken).len() as u8).collect());
        }
        for taken in (0..masks).rev() {
            let fill = gpu.shapes.iter().flat_map(|shape| {
                let slices = shape.profile.slices;
                starts(shape, taken).into_iter().map(move |s| (shape.size, s, slices))
            });
            let most = fill.map(|(size, s, slices)| rooms.slices[with(taken, size, s)] + slices);
            rooms.slices[taken] = most.max().unwrap_or(0);
        }
        rooms
    }

    /// Where an instance of this shape goes.
    pub fn best(&self, shape: usize, taken: u8) -> Option<u8> {
        self.best[shape][usize::from(taken)]
    }

    /// Slices that instances could still make.
    pub fn free_slices(&self, taken: u8) -> u8 {
        self.slices[usize::from(taken)]
    }

    /// Instances of a shape on an empty GPU.
    pub fn most(&self, shape: usize) -> u8 {
        self.count[shape][0]
    }

    /// Slices that are free and of use, and of these what instances of one shape can take.
    pub fn fragments<'g>(
        &self,
        gpus: impl Iterator<Item = &'g u8> + Clone,
        weights: &[Weight],
    ) -> (u64, u64) {
        let free = gpus.clone().map(|&taken| u64::from(self.slices[usize::from(taken)])).sum();
        let of = |(shape, weight): (usize, &Weight)| {
            let count = |&taken: &u8| u64::from(self.count[shape][usize::from(taken)]);
            gpus.clone().map(count).sum::<u64>() * u64::from(weight.slices)
        };
        (free, weights.iter().enumerate().map(of).max().unwrap_or(0).min(free))
    }
}

/// The shapes of a GPU model.
pub(super) fn weights(gpu: &Gpu) -> Vec<Weight> {
    let weight = |shape: &crate::gpu::Shape| Weight {
        slices: shape.profile.slices,
        sms: shape.sms.into(),
        memory: shape.profile.memory_gb.into(),
        size: shape.size,
    };
    gpu.shapes.iter().map(weight).collect()
}

/// SMs and memory of all GPUs.
pub(super) fn total(cluster: &Cluster) -> (f64, f64) {
    let gpus = f64::from(cluster.gpus);
    (gpus * f64::from(cluster.gpu.sms()), gpus * whole_memory(cluster))
}

/// What serves a class where every shape can be made.
pub(super) fn made(cluster: &Cluster, asked: &Asked, oversize: Oversize) -> Vec<Alternative> {
    let shapes = cluster.gpu.shapes.iter().enumerate();
    let shapes: Vec<_> =
        shapes.map(|(place, s)| (place, s.profile.slices, s.profile.memory_gb)).collect();
    let nodes = cluster.gpus / cluster.gpus_per_node.max(1);
    let last = cluster.gpus % cluster.gpus_per_node.max(1);
    let holding = nodes + u32::from(last >= u32::from(asked.gpus));
    let gpus = cluster.gpus_per_node.min(cluster.gpus.max(last));
    if holding < u32::from(asked.nodes) || gpus < u32::from(asked.gpus) {
        return Vec::new();
    }
    one_to_one(&shapes, asked, oversize == Oversize::Shrink)
}

impl Dynamic {
    /// `delay`: what making an instance takes.
    pub fn new(cluster: &Cluster, oversize: Oversize, delay: Time) -> Dynamic {
        let (weights, rooms) = (weights(cluster.gpu), Rooms::new(cluster.gpu));
        Dynamic { cluster: cluster.clone(), weights, rooms, oversize, delay }
    }
}

/// Per GPU of a node the memory slices that are taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Taken {
    gpus: Vec<u8>,
    made: u64,
}

impl Fabric for Dynamic {
    type Node = Taken;

    fn nodes(&self) -> Vec<Taken> {
        let per_node = self.cluster.gpus_per_node.max(1);
        let firsts = (0..self.cluster.gpus).step_by(per_node as usize);
        let gpus = |first| per_node.min(self.cluster.gpus - first) as usize;
        firsts.map(|first| Taken { gpus: vec![0; gpus(first)], made: 0 }).collect()
    }

    fn weights(&self) -> &[Weight] {
        &self.weights
    }

    fn total(&self) -> (f64, f64) {
        total(&self.cluster)
    }

    fn alternatives(&self, asked: &Asked) -> Vec<Alternative> {
        made(&self.cluster, asked, self.oversize)
    }

    fn fits(&self, node: &Taken, alternative: &Alternative) -> bool {
        // A job that asks for several GPUs asks for whole ones: one instance per GPU.
        alternative.parts.iter().all(|part| {
            let shape = usize::from(part.shape);
            let room = |taken: &&u8| self.rooms.best(shape, **taken).is_some();
            node.gpus.iter().filter(room).take(part.count.into()).count() == usize::from(part.count)
        })
    }

    fn left(&self, node: &Taken) -> u32 {
        node.gpus.iter().map(|&taken| u32::from(self.rooms.slices[usize::from(taken)])).sum()
    }

    fn take(
        &self,
        node: &mut Taken,
        alternative: &Alternative,
        now: Time,
        _hint: &Hint,
        leaves: &mut Vec<Leaf>,
    ) -> Time {
        for part in &alternative.parts {
            let shape = usize::from(part.shape);
            for _ in 0..part.count {
                // The GPU that is fullest already.
                let room = |(gpu, &taken): (usize, &u8)| {
                    let start = self.rooms.best(shape, taken)?;
                    Some((self.rooms.slices[usize::from(taken)], gpu, start))
                };
                let Some((_, gpu, start)) = node.gpus.iter().enumerate().filter_map(room).min()
                else {
                    continue;
                };
                node.gpus[gpu] |= mask(self.weights[shape].size, start);
                node.made += 1;
                leaves.push(Leaf { gpu: gpu as u8, start, shape: part.shape, index: 0 });
            }
        }
        now + self.delay
    }

    fn give(&self, node: &mut Taken, leaves: &[Leaf]) {
        for leaf in leaves {
            let size = self.weights[usize::from(leaf.shape)].size;
            node.gpus[usize::from(leaf.gpu)] &= !mask(size, leaf.start);
        }
    }

    fn fragments(&self, node: &Taken) -> (u64, u64) {
        self.rooms.fragments(node.gpus.iter(), &self.weights)
    }

    fn cuts(&self, node: &Taken) -> u64 {
        node.made
    }
}
