//! Which layout a policy has where none is given.
//!
//! | policy | layout |
//! |---|---|
//! | `static`, `drain` (at first) | 4g+2g+1g on every GPU |
//! | `flex-uniform` | 1g on every GPU |
//! | `flex` | from the sizes that jobs ask for: whole GPUs, 4g+3g and 3x2g+1g for most of what asks for them, 1g for the rest |
//! | `static-best` | of all layouts the one that is done first if nothing but the number of leaves counts; of the best eight, and that of `static`, the best in simulation |
//! | `flex-best` | of the neighbours of that of `flex`, and all 1g, the best in simulation |

use crate::engine::{Observer, run};
use crate::layout::Cut;
use crate::{Gpu, Job, Layout, PolicyName, Setup};

/// GPUs after which a layout repeats, if no job has several of them.
const PERIOD: u32 = 64;
/// Of so many GPUs the layouts that are tried differ in one.
const STEP: u32 = 8;
/// Jobs that layouts are tried with.
const SAMPLE: usize = 100_000;
/// Layouts of `static-best` that are tried.
const TRIED: usize = 8;

/// SMs that a request for so many slices means, by the number of slices.
pub(crate) fn sms_of_slices(gpu: &Gpu) -> [f64; 8] {
    let mut sms = [0.0; 8];
    for (slices, sms) in sms.iter_mut().enumerate().skip(1) {
        *sms = f64::from(gpu.sms_of_slices(slices as u8).min(gpu.sms()));
    }
    sms
}

/// The layout of a setup, or its policy's own for an even mix of sizes.
pub fn layout_of(setup: &Setup) -> Layout {
    if let Some(layout) = &setup.layout
        && setup.policy != PolicyName::FlexUniform
    {
        return layout.clone();
    }
    let gpu = setup.cluster.gpu;
    let text = match setup.policy {
        PolicyName::FlexUniform => uniform(gpu),
        PolicyName::Flex | PolicyName::FlexBest if gpu.slices == 7 => {
            "3*7g,3*4g+3g,3x2g+1g,7x1g".to_owned()
        }
        _ if gpu.slices == 7 => "4g+2g+1g".to_owned(),
        _ => "2g+2x1g".to_owned(),
    };
    read(gpu, &text)
}

/// The setup with the layout that its policy has for these jobs, if it has none.
pub fn with_layout(setup: &Setup, jobs: &[Job]) -> Setup {
    let mut setup = setup.clone();
    if setup.layout.is_none() {
        let jobs = &jobs[..jobs.len().min(SAMPLE)];
        setup.layout = match setup.policy {
            PolicyName::Flex => Some(Blocks::of(&setup, jobs).layout(&setup, jobs)),
            PolicyName::FlexBest => best(&setup, jobs, around(&setup, jobs)),
            PolicyName::StaticBest => best(&setup, jobs, matching(&setup, jobs)),
            _ => None,
        };
    }
    setup
}

fn uniform(gpu: &Gpu) -> String {
    format!("{}x1g", gpu.slices)
}

fn read(gpu: &'static Gpu, text: &str) -> Layout {
    // All texts here are of profiles that every model has.
    Layout::parse(gpu, text).unwrap_or_else(|_| Layout { cuts: Cut::all_full(gpu) })
}

/// Of so many GPUs how many are of each kind; the others are all 1g.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocks {
    /// One instance.
    whole: u32,
    /// 4g+3g; two halves on a GPU of four slices.
    half: u32,
    /// 3x2g+1g.
    pairs: u32,
}

impl Blocks {
    /// For the work that asks for each size. Some less than that, as 1g leaves serve every size, and
    /// the large ones serve small sizes badly. How much less was tried on Philly: docs/results.
    fn of(setup: &Setup, jobs: &[Job]) -> Blocks {
        let gpu = setup.cluster.gpu;
        let mut work = [0.0; 8];
        for job in jobs {
            let slices = usize::from(job.slices.min(7));
            work[slices] += job.run as f64 * job.all_slices() as f64;
        }
        let all = work.iter().sum::<f64>().max(1.0);
        let (whole, half, pairs) = match gpu.slices {
            7 => (work[7], work[3] + work[4], work[2]),
            _ => (work[3..].iter().sum(), work[2], 0.0),
        };
        let period = f64::from(period(setup, jobs));
        let share = |work: f64, factor: f64| (period * factor * work / all).round() as u32;
        Blocks { whole: share(whole, 0.92), half: share(half, 0.85), pairs: share(pairs, 0.8) }
            .with_room(setup, jobs)
    }

    /// With as many nodes of one kind as the largest job needs that fits the cluster at all.
    fn with_room(self, setup: &Setup, jobs: &[Job]) -> Blocks {
        let (period, each) = (period(setup, jobs), setup.cluster.gpus_per_node.max(1));
        let nodes = period / each;
        let wanted = jobs.iter().map(|job| u32::from(job.gpus).div_ceil(each));
        let wanted = wanted.filter(|&wanted| wanted <= nodes).max().unwrap_or(0);
        let small = period - self.whole - self.half - self.pairs;
        if !several(jobs) || self.whole.max(small) / each >= wanted {
            self
        } else if wanted == nodes {
            // Small leaves, as these serve the others as well.
            Blocks { whole: 0, half: 0, pairs: 0 }
        } else {
            let whole = wanted * each;
            Blocks { whole, half: self.half.min(period - whole), pairs: 0 }
        }
    }

    fn layout(self, setup: &Setup, jobs: &[Job]) -> Layout {
        let gpu = setup.cluster.gpu;
        let (half, pairs) =
            if gpu.slices == 7 { ("4g+3g", "3x2g+1g") } else { ("2x2g", "2g+2x1g") };
        let cut = |text: &str| read(gpu, text).cuts[0].clone();
        let period = period(setup, jobs);
        let rest = period.saturating_sub(self.whole + self.half + self.pairs);
        let kinds = [
            (cut(&format!("{}g", gpu.slices)), self.whole),
            (cut(half), self.half),
            (cut(pairs), self.pairs),
            (cut(&uniform(gpu)), rest),
        ];
        let group = if several(jobs) { period } else { setup.cluster.gpus_per_node };
        let mut made = [0; 4];
        let mut order: Vec<usize> = (0..period)
            .map(|place| {
                // The kind of which most is missing by now.
                let behind = |&kind: &usize| {
                    i64::from(kinds[kind].1 * (place + 1)) - i64::from(made[kind] * period)
                };
                let kind = (0..4).rev().max_by_key(behind).unwrap_or(3);
                made[kind] += 1;
                kind
            })
            .collect();
        order.chunks_mut(group.max(1) as usize).for_each(<[usize]>::sort_unstable);
        Layout { cuts: order.into_iter().map(|kind| kinds[kind].0.clone()).collect() }
    }
}

/// GPUs after which the layout repeats.
fn period(setup: &Setup, jobs: &[Job]) -> u32 {
    let most = if several(jobs) { 1024 } else { PERIOD };
    setup.cluster.gpus.clamp(1, most)
}

/// Jobs of several GPUs need nodes of one kind; without them each node has some of each kind.
fn several(jobs: &[Job]) -> bool {
    jobs.iter().any(|job| job.gpus > 1)
}

/// The layout of `flex` and those like it.
fn around(setup: &Setup, jobs: &[Job]) -> Vec<Layout> {
    let middle = Blocks::of(setup, jobs);
    let period = period(setup, jobs);
    let step = (period / STEP).max(1);
    let near = |count: u32| [count, count + step, count.saturating_sub(step)];
    let alike = |whole| Blocks { whole, half: 0, pairs: 0 };
    let mut all = vec![alike(0), alike(period)];
    for whole in near(middle.whole) {
        for half in near(middle.half) {
            for pairs in [middle.pairs, if middle.pairs == 0 { step } else { 0 }] {
                let blocks = Blocks { whole, half, pairs };
                if whole + half + pairs <= period && !all.contains(&blocks) {
                    all.push(blocks);
                }
            }
        }
    }
    all.into_iter().map(|blocks| blocks.layout(setup, jobs)).collect()
}

/// The layouts that are done first if each size has its own leaves and these are never idle.
fn matching(setup: &Setup, jobs: &[Job]) -> Vec<Layout> {
    let gpu = setup.cluster.gpu;
    // Leaves of one slice with more memory only where jobs ask for it.
    let memory = jobs.iter().any(|job| job.memory_gb > 0);
    let twin = |cut: &Cut| {
        let plain = |s: &crate::gpu::Shape| {
            gpu.shapes.iter().find(|first| first.profile.slices == s.profile.slices) == Some(s)
        };
        memory || cut.instances().iter().all(|instance| plain(&instance.shape))
    };
    let cuts: Vec<Cut> = Cut::all_full(gpu).into_iter().filter(twin).collect();
    let counts: Vec<[f64; 8]> = cuts
        .iter()
        .map(|cut| {
            let mut counts = [0.0; 8];
            for instance in cut.instances() {
                counts[usize::from(instance.shape.profile.slices)] += 1.0;
            }
            counts
        })
        .collect();
    let mut work = [0.0; 8];
    for job in jobs {
        work[usize::from(job.slices.min(7))] += job.run as f64 * f64::from(job.gpus);
    }
    let sms = sms_of_slices(gpu);
    // Nobody gets less than what he asks for.
    let wanted = (1..=usize::from(gpu.slices)).rev().find(|&s| work[s] > 0.0).unwrap_or(1);
    // Time until the last size is done.
    let time = |chosen: &[usize]| {
        let mut leaves = [0.0; 8];
        for &cut in chosen {
            (1..8).for_each(|slices| leaves[slices] += counts[cut][slices]);
        }
        let largest = (1..8).rev().find(|&slices| leaves[slices] > 0.0).unwrap_or(1);
        if largest < wanted {
            return f64::INFINITY;
        }
        let mut each = [0.0; 8];
        for slices in 1..8 {
            let place = (slices..8).find(|&more| leaves[more] > 0.0).unwrap_or(largest);
            let model = &setup.performance;
            let reach = crate::model::Reach::Parent;
            each[place] += work[slices] * model.slowdown(sms[slices], sms[place], 1, reach, 0.0);
        }
        (1..8).filter(|&s| leaves[s] > 0.0).map(|s| each[s] / leaves[s]).fold(0.0, f64::max)
    };
    let mut best: Vec<(f64, Vec<usize>)> = Vec::new();
    let period = STEP.min(setup.cluster.gpus).max(1) as usize;
    let mut chosen = vec![0; period];
    loop {
        let time = time(&chosen);
        if best.len() < TRIED || best.last().is_some_and(|last| time < last.0) {
            let at = best.partition_point(|known| known.0 <= time);
            best.insert(at, (time, chosen.clone()));
            best.truncate(TRIED);
        }
        // The next in which no cut comes before the one left of it.
        let Some(place) = chosen.iter().rposition(|&cut| cut + 1 < cuts.len()) else { break };
        let next = chosen[place] + 1;
        chosen[place..].fill(next);
    }
    let layout = |(_, chosen): &(f64, Vec<usize>)| Layout {
        cuts: chosen.iter().map(|&cut| cuts[cut].clone()).collect(),
    };
    let mut layouts: Vec<Layout> = best.iter().map(layout).collect();
    layouts.push(layout_of(&Setup { policy: PolicyName::Static, layout: None, ..setup.clone() }));
    layouts
}

/// The one of the layouts with the least makespan times mean JCT, in simulation.
fn best(setup: &Setup, jobs: &[Job], layouts: Vec<Layout>) -> Option<Layout> {
    struct Nothing;
    impl Observer for Nothing {}
    let mut best: Option<((u64, u64), Layout)> = None;
    for layout in layouts {
        let tried = Setup {
            scheduler: crate::SchedulerName::Easy,
            layout: Some(layout.clone()),
            ..setup.clone()
        };
        let metrics = run(&tried, jobs.iter().copied(), &mut Nothing);
        // One long job at the end can make makespans equal, or decide them alone: both count alike.
        let key = (metrics.unplaced, (metrics.makespan * metrics.mean_jct) as u64);
        if best.as_ref().is_none_or(|best| key < best.0) {
            best = Some((key, layout));
        }
    }
    best.map(|(_, layout)| layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cluster, SchedulerName};

    fn layout(policy: PolicyName, sizes: &[u8]) -> String {
        let cluster = Cluster { gpus: 8, gpus_per_node: 8, gpu: Gpu::named("a100-80").unwrap() };
        let setup = Setup::new(cluster, policy, SchedulerName::Easy);
        let jobs: Vec<Job> = (0..200usize)
            .map(|place| Job::new(place as u32, 0, 1_000_000, sizes[place % sizes.len()]))
            .collect();
        with_layout(&setup, &jobs).layout.unwrap().to_string()
    }

    #[test]
    fn the_largest_job_finds_nodes_of_one_kind() {
        let cluster = Cluster { gpus: 32, gpus_per_node: 8, gpu: Gpu::named("a100-80").unwrap() };
        let setup = Setup::new(cluster, PolicyName::Flex, SchedulerName::Easy);
        let mut jobs: Vec<Job> = (0..200)
            .map(|place| Job::new(place, 0, 1_000_000, [1, 3, 7][place as usize % 3]))
            .collect();
        let mut of = |gpus: u16| {
            jobs[0] = Job { gpus, run: 1, slices: 7, ..jobs[0] };
            with_layout(&setup, &jobs).layout.unwrap().to_string()
        };
        assert_eq!(of(8), "19*7g.80gb,7*4g.40gb+3g.40gb,6*7x1g.10gb");
        assert_eq!(of(24), "24*7g.80gb,7*4g.40gb+3g.40gb,7x1g.10gb");
        assert_eq!(of(32), "32*7x1g.10gb");
        // It fits nowhere.
        assert_eq!(of(64), of(8));
    }

    #[test]
    fn layouts_suit_what_is_asked_for() {
        let even = [1, 2, 3, 4, 7];
        assert_eq!(
            layout(PolicyName::Flex, &even),
            "3*7g.80gb,3*4g.40gb+3g.40gb,3x2g.20gb+1g.10gb,7x1g.10gb"
        );
        assert_eq!(layout(PolicyName::Flex, &[1]), "8*7x1g.10gb");
        assert_eq!(layout(PolicyName::StaticBest, &[1]), "8*7x1g.10gb");
        assert_eq!(layout(PolicyName::StaticBest, &[3]), "8*2x3g.40gb");
        assert_eq!(layout(PolicyName::FlexBest, &[7]), "8*7g.80gb");
    }
}
