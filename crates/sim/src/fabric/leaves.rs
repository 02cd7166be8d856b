//! Leaves that stay as they are.

use super::{Fabric, Hint, Leaf, Weight, one_to_one};
use crate::class::{Alternative, Asked};
use crate::{Cluster, Layout, Oversize, Time};
use flexmig_core::profile::Profile;

/// Most leaves of one shape on a node.
const MOST: usize = 128;

/// Nodes of fixed leaves.
#[derive(Debug)]
pub(crate) struct Leaves {
    nodes: Vec<Free>,
    weights: Vec<Weight>,
    /// For each shape its profile; none for the slices of a pool.
    pub profiles: Vec<Option<Profile>>,
    /// For each kind of node and shape where the leaves are.
    places: Vec<Vec<Vec<Leaf>>>,
    total: (f64, f64),
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    OneToOne {
        shrink: bool,
    },
    /// What serves a class is up to selection.
    Select,
    Pool,
}

/// Free leaves of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Free {
    /// For each shape a bit per leaf, in index order; parents follow each other.
    free: Vec<u128>,
    /// Which of [`Leaves::places`].
    kind: u32,
    slices: u32,
}

impl Leaves {
    /// One instance per job.
    pub fn one_to_one(cluster: &Cluster, layout: &Layout, oversize: Oversize) -> Leaves {
        Leaves::new(cluster, layout, How::OneToOne { shrink: oversize == Oversize::Shrink })
    }

    /// As many leaves as selection says.
    pub fn selected(cluster: &Cluster, layout: &Layout) -> Leaves {
        Leaves::new(cluster, layout, How::Select)
    }

    fn new(cluster: &Cluster, layout: &Layout, how: How) -> Leaves {
        let gpu = cluster.gpu;
        let used = |profile: Profile| {
            let cuts = layout.cuts.iter().flat_map(|cut| cut.instances());
            cuts.into_iter().any(|instance| instance.shape.profile == profile)
        };
        let shapes: Vec<_> = gpu.shapes.iter().filter(|shape| used(shape.profile)).collect();
        let weights = shapes.iter().map(|shape| Weight {
            slices: shape.profile.slices,
            sms: shape.sms.into(),
            memory: shape.profile.memory_gb.into(),
            size: shape.size,
        });
        let weights: Vec<Weight> = weights.collect();
        let mut places: Vec<Vec<Vec<Leaf>>> = Vec::new();
        let mut nodes = Vec::new();
        for first in (0..cluster.gpus).step_by(cluster.gpus_per_node.max(1) as usize) {
            let gpus = cluster.gpus_per_node.min(cluster.gpus - first);
            let mut leaves: Vec<Vec<Leaf>> = vec![Vec::new(); shapes.len()];
            for gpu in 0..gpus {
                for instance in layout.cut((first + gpu) as usize).instances() {
                    let profile = instance.shape.profile;
                    let Some(shape) = shapes.iter().position(|s| s.profile == profile) else {
                        continue;
                    };
                    let index = leaves[shape].len();
                    if index < MOST {
                        let (gpu, start) = (gpu as u8, instance.start);
                        leaves[shape].push(Leaf {
                            gpu,
                            start,
                            shape: shape as u8,
                            index: index as u8,
                        });
                    }
                }
            }
            nodes.push(free_node(&mut places, leaves, &weights));
        }
        let total = (
            f64::from(cluster.gpus) * f64::from(gpu.sms()),
            f64::from(cluster.gpus) * whole_memory(cluster),
        );
        let profiles = shapes.iter().map(|shape| Some(shape.profile)).collect();
        Leaves { nodes, weights, profiles, places, total, how }
    }

    /// Nodes that have so many leaves of each shape of the GPU, wherever they are cut from.
    #[cfg(test)]
    pub fn of_nodes(cluster: &Cluster, nodes: &[Vec<u64>]) -> Leaves {
        let shapes = cluster.gpu.shapes;
        let whole: Vec<String> = shapes.iter().map(|shape| shape.profile.to_string()).collect();
        let layout = Layout::parse(cluster.gpu, &whole.join(",")).expect("each is a cut");
        let mut all = Leaves::new(cluster, &layout, How::Select);
        let leaf = |shape: usize| {
            move |index: u64| Leaf { gpu: 0, start: 0, shape: shape as u8, index: index as u8 }
        };
        let node = |counts: &Vec<u64>| {
            let leaves = counts.iter().enumerate();
            let leaves = leaves.map(|(shape, &count)| (0..count).map(leaf(shape)).collect());
            free_node(&mut all.places, leaves.collect(), &all.weights)
        };
        all.nodes = nodes.iter().map(node).collect();
        all
    }

    /// Each node a pool of slices.
    pub fn pooled(cluster: &Cluster) -> Leaves {
        let gpu = cluster.gpu;
        let slices = f64::from(gpu.slices);
        let weight = Weight {
            slices: 1,
            sms: f64::from(gpu.sms()) / slices,
            memory: whole_memory(cluster) / slices,
            size: 1,
        };
        let mut places = Vec::new();
        let mut nodes = Vec::new();
        for first in (0..cluster.gpus).step_by(cluster.gpus_per_node.max(1) as usize) {
            let gpus = cluster.gpus_per_node.min(cluster.gpus - first);
            let all = (0..gpus).flat_map(|g| (0..gpu.slices).map(move |start| (g as u8, start)));
            let leaf = |(index, (gpu, start)): (usize, (u8, u8))| Leaf {
                gpu,
                start,
                shape: 0,
                index: index as u8,
            };
            let leaves: Vec<Leaf> = all.take(MOST).enumerate().map(leaf).collect();
            nodes.push(free_node(&mut places, vec![leaves], &[weight]));
        }
        let total = (
            f64::from(cluster.gpus) * f64::from(gpu.sms()),
            f64::from(cluster.gpus) * whole_memory(cluster),
        );
        let (weights, profiles) = (vec![weight], vec![None]);
        Leaves { nodes, weights, profiles, places, total, how: How::Pool }
    }

    /// Leaves of each shape on a node, free or not.
    pub fn all(&self, node: usize, shape: usize) -> u64 {
        self.nodes[node].free[shape].count_ones().into()
    }
}

pub(super) fn whole_memory(cluster: &Cluster) -> f64 {
    cluster.gpu.shapes.last().map_or(0.0, |shape| shape.profile.memory_gb.into())
}

/// A node with all its leaves free. Nodes that look alike share what is known of their leaves.
fn free_node(places: &mut Vec<Vec<Vec<Leaf>>>, leaves: Vec<Vec<Leaf>>, weights: &[Weight]) -> Free {
    let mask = |count: usize| if count >= MOST { u128::MAX } else { (1u128 << count) - 1 };
    let free = leaves.iter().map(|leaves| mask(leaves.len())).collect();
    let slices =
        leaves.iter().zip(weights).map(|(leaves, w)| leaves.len() as u32 * u32::from(w.slices));
    let slices = slices.sum();
    let kind = places.iter().position(|known| *known == leaves).unwrap_or_else(|| {
        places.push(leaves);
        places.len() - 1
    });
    Free { free, kind: kind as u32, slices }
}

impl Fabric for Leaves {
    type Node = Free;

    fn nodes(&self) -> Vec<Free> {
        self.nodes.clone()
    }

    fn weights(&self) -> &[Weight] {
        &self.weights
    }

    fn total(&self) -> (f64, f64) {
        self.total
    }

    fn ideal(&self) -> bool {
        self.how == How::Pool
    }

    fn alternatives(&self, asked: &Asked) -> Vec<Alternative> {
        let found = match self.how {
            How::OneToOne { shrink } => {
                let shape = |(place, profile): (usize, &Option<Profile>)| {
                    profile.map(|profile| (place, profile.slices, profile.memory_gb))
                };
                let shapes: Vec<_> = self.profiles.iter().enumerate().filter_map(shape).collect();
                one_to_one(&shapes, asked, shrink)
            }
            How::Pool => vec![Alternative::of(0, u16::from(asked.slices) * asked.gpus)],
            How::Select => Vec::new(),
        };
        let holds = |alternative: &Alternative| {
            let nodes = self.nodes.iter().filter(|node| self.fits(node, alternative));
            nodes.take(asked.nodes.into()).count() == usize::from(asked.nodes)
        };
        found.into_iter().filter(holds).collect()
    }

    fn fits(&self, node: &Free, alternative: &Alternative) -> bool {
        let has = |part: &crate::class::Part| {
            node.free[usize::from(part.shape)].count_ones() >= part.count.into()
        };
        alternative.parts.iter().all(has)
    }

    fn free(&self, node: &Free, shape: usize) -> u64 {
        node.free[shape].count_ones().into()
    }

    fn left(&self, node: &Free) -> u32 {
        node.slices
    }

    fn spare(&self, node: &Free) -> u32 {
        node.free.iter().map(|free| free.count_ones()).sum()
    }

    fn take(
        &self,
        node: &mut Free,
        alternative: &Alternative,
        now: Time,
        _hint: &Hint,
        taken: &mut Vec<Leaf>,
    ) -> Time {
        for part in &alternative.parts {
            let shape = usize::from(part.shape);
            for _ in 0..part.count {
                let index = node.free[shape].trailing_zeros();
                node.free[shape] &= !(1u128 << index);
                node.slices -= u32::from(self.weights[shape].slices);
                taken.push(self.places[node.kind as usize][shape][index as usize]);
            }
        }
        now
    }

    fn give(&self, node: &mut Free, leaves: &[Leaf]) {
        for leaf in leaves {
            let shape = usize::from(leaf.shape);
            node.free[shape] |= 1u128 << leaf.index;
            node.slices += u32::from(self.weights[shape].slices);
        }
    }

    fn hinted_jobs(&self) -> usize {
        // As in the plugin.
        if self.how == How::Select { flexmig_core::select::FIRST } else { 0 }
    }

    fn fragments(&self, node: &Free) -> (u64, u64) {
        let mut found = flexmig_core::select::fragmentation::Fragmentation::default();
        let leaves = node.free.iter().zip(&self.weights);
        found.add(leaves.map(|(free, w)| (w.slices.into(), u64::from(free.count_ones()))));
        (found.free, found.largest)
    }
}
