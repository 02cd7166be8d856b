//! GPUs that are cut anew when nothing runs on them.

use super::dynamic::{Rooms, made, total, weights};
use super::{Fabric, Hint, Leaf, Weight};
use crate::class::{Alternative, Asked, Part};
use crate::layout::{Cut, mask};
use crate::{Cluster, Layout, Oversize, Time};

/// GPUs with cuts that change.
#[derive(Debug)]
pub(crate) struct Drain {
    cluster: Cluster,
    weights: Vec<Weight>,
    rooms: Rooms,
    oversize: Oversize,
    delay: Time,
    cuts: Vec<Choice>,
    first: Vec<u16>,
}

/// One way to cut a GPU.
#[derive(Debug)]
struct Choice {
    cut: Cut,
    /// Place among the shapes and start of each instance.
    instances: Vec<(u8, u8)>,
    /// Instances of each shape, a bit each.
    of_shape: Vec<u8>,
    counts: Hint,
}

/// One GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gpu {
    cut: u16,
    /// Instances with jobs, a bit each.
    used: u8,
    /// When its instances can be used.
    ready: Time,
}

/// The GPUs of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gpus {
    gpus: Vec<Gpu>,
    cuts: u64,
}

impl Drain {
    /// `delay`: what a new cut takes.
    pub fn new(cluster: &Cluster, layout: &Layout, oversize: Oversize, delay: Time) -> Drain {
        let gpu = cluster.gpu;
        let mut cuts: Vec<Choice> =
            Cut::all_full(gpu).into_iter().map(|cut| choice(gpu, cut)).collect();
        let mut first = Vec::new();
        for place in 0..cluster.gpus as usize {
            let cut = layout.cut(place);
            let known = cuts.iter().position(|known| known.cut == *cut).unwrap_or_else(|| {
                cuts.push(choice(gpu, cut.clone()));
                cuts.len() - 1
            });
            first.push(known as u16);
        }
        let (weights, rooms) = (weights(gpu), Rooms::new(gpu));
        Drain { cluster: cluster.clone(), weights, rooms, oversize, delay, cuts, first }
    }

    fn free(&self, gpu: &Gpu, shape: usize) -> u32 {
        (self.cuts[usize::from(gpu.cut)].of_shape[shape] & !gpu.used).count_ones()
    }

    /// The cut for a leaf of this shape that serves most of what waits.
    fn choose(&self, shape: usize, hint: &Hint) -> usize {
        let serves = |choice: &Choice| -> u32 {
            let counts = choice.counts.iter().zip(hint).zip(&self.weights);
            counts.map(|((has, asked), w)| has.min(asked) * u32::from(w.slices)).sum()
        };
        let all = |choice: &Choice| -> u32 {
            let counts = choice.counts.iter().zip(&self.weights);
            counts.map(|(count, w)| count * u32::from(w.slices)).sum()
        };
        let holding = self.cuts.iter().enumerate().filter(|(_, cut)| cut.counts[shape] > 0);
        // Of equals the one with most slices in fewest pieces.
        let key = |(place, cut): &(usize, &Choice)| {
            let pieces = std::cmp::Reverse(cut.instances.len());
            (serves(cut), all(cut), pieces, std::cmp::Reverse(*place))
        };
        holding.max_by_key(key).map_or(0, |(place, _)| place)
    }
}

fn choice(gpu: &crate::Gpu, cut: Cut) -> Choice {
    let mut of_shape = vec![0u8; gpu.shapes.len()];
    let mut counts = [0; 8];
    let mut instances = Vec::new();
    for (bit, instance) in cut.instances().iter().enumerate() {
        let profile = instance.shape.profile;
        let Some(shape) = gpu.shapes.iter().position(|s| s.profile == profile) else { continue };
        of_shape[shape] |= 1 << bit;
        counts[shape] += 1;
        instances.push((shape as u8, instance.start));
    }
    Choice { cut, instances, of_shape, counts }
}

impl Fabric for Drain {
    type Node = Gpus;

    fn nodes(&self) -> Vec<Gpus> {
        let per_node = self.cluster.gpus_per_node.max(1) as usize;
        let gpu = |&cut: &u16| Gpu { cut, used: 0, ready: 0 };
        let node = |cuts: &[u16]| Gpus { gpus: cuts.iter().map(gpu).collect(), cuts: 0 };
        self.first.chunks(per_node).map(node).collect()
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

    fn fits(&self, node: &Gpus, alternative: &Alternative) -> bool {
        let has = |&Part { shape, count }: &Part| {
            let shape = usize::from(shape);
            let mut found = 0;
            for gpu in &node.gpus {
                // One that is idle can be cut for it.
                found += self.free(gpu, shape).max(u32::from(gpu.used == 0));
                if found >= count.into() {
                    return true;
                }
            }
            false
        };
        alternative.parts.iter().all(has)
    }

    fn left(&self, node: &Gpus) -> u32 {
        let free = |gpu: &Gpu| {
            let cut = &self.cuts[usize::from(gpu.cut)];
            let instances = cut.instances.iter().enumerate();
            let free = instances.filter(|(bit, _)| gpu.used & (1 << bit) == 0);
            free.map(|(_, (shape, _))| u32::from(self.weights[usize::from(*shape)].slices)).sum()
        };
        node.gpus.iter().map(|gpu| if gpu.used == 0 { 8 } else { free(gpu) }).sum()
    }

    fn take(
        &self,
        node: &mut Gpus,
        alternative: &Alternative,
        now: Time,
        hint: &Hint,
        taken: &mut Vec<Leaf>,
    ) -> Time {
        let mut ready = now;
        for &Part { shape, count } in &alternative.parts {
            let kind = usize::from(shape);
            for _ in 0..count {
                // An instance there is: of GPUs in use before idle ones, and of those in use the one
                // with least left. Else an idle GPU.
                let has = |(_, gpu): &(usize, &Gpu)| self.free(gpu, kind) > 0;
                let key = |(place, gpu): &(usize, &Gpu)| {
                    let cut = &self.cuts[usize::from(gpu.cut)];
                    let left = cut.instances.len() as u32 - gpu.used.count_ones();
                    (gpu.used == 0, gpu.ready > now, left, *place)
                };
                let gpus = || node.gpus.iter().enumerate();
                let found = gpus().filter(has).min_by_key(key).map(|(place, _)| place);
                let found = found.or_else(|| {
                    let place = node.gpus.iter().position(|gpu| gpu.used == 0)?;
                    let (cut, ready) = (self.choose(kind, hint) as u16, now + self.delay);
                    node.gpus[place] = Gpu { cut, used: 0, ready };
                    node.cuts += 1;
                    Some(place)
                });
                let Some(place) = found else { continue };
                let gpu = &mut node.gpus[place];
                let cut = &self.cuts[usize::from(gpu.cut)];
                let bit = (cut.of_shape[kind] & !gpu.used).trailing_zeros();
                gpu.used |= 1 << bit;
                ready = ready.max(gpu.ready);
                let start = cut.instances[bit as usize].1;
                taken.push(Leaf { gpu: place as u8, start, shape, index: bit as u8 });
            }
        }
        ready
    }

    fn give(&self, node: &mut Gpus, leaves: &[Leaf]) {
        for leaf in leaves {
            node.gpus[usize::from(leaf.gpu)].used &= !(1 << leaf.index);
        }
    }

    fn fragments(&self, node: &Gpus) -> (u64, u64) {
        // What idle GPUs could be cut to counts, and of others what their cut has.
        let taken = |gpu: &Gpu| {
            let cut = &self.cuts[usize::from(gpu.cut)];
            let bits = cut.instances.iter().enumerate();
            let used = bits.filter(|(bit, _)| gpu.used & (1 << bit) != 0);
            let size = |shape: u8| self.weights[usize::from(shape)].size;
            used.fold(0u8, |all, (_, &(shape, start))| all | mask(size(shape), start))
        };
        let free: u64 =
            node.gpus.iter().map(|gpu| u64::from(self.rooms.free_slices(taken(gpu)))).sum();
        let of = |(shape, weight): (usize, &Weight)| {
            let count = |gpu: &Gpu| match gpu.used {
                0 => u64::from(self.rooms.most(shape)),
                _ => u64::from(self.free(gpu, shape)),
            };
            node.gpus.iter().map(count).sum::<u64>() * u64::from(weight.slices)
        };
        (free, self.weights.iter().enumerate().map(of).max().unwrap_or(0).min(free))
    }

    fn hinted_jobs(&self) -> usize {
        50
    }

    fn cuts(&self, node: &Gpus) -> u64 {
        node.cuts
    }
}
