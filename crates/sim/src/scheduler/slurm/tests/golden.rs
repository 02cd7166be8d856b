//! The golden views, which `flexmig explain` and slurmctld's plugin are held against too.

use flexmig_core::hostlist;
use flexmig_core::policy::Policy;
use flexmig_core::request::Request;
use flexmig_core::view::JobState;

use super::*;
use crate::Cluster;
use views::{Case, Golden};

#[path = "../../../../../core/tests/views/mod.rs"]
#[allow(dead_code)] // Words of notes are for others.
mod views;

/// Cases that are compared at least: what the files have, but for a few.
const LEAST: usize = 40;

/// Whether the simulator has all that decides on this view: leaves of one GPU model, CPUs enough, and
/// no rules but those of selection.
fn can_be_simulated(gpu: &Gpu, view: &ClusterView, golden: &Golden, policy: &Policy) -> bool {
    let plain = Policy { select: policy.select.clone(), ..Policy::default() };
    let node = |node: &NodeView| {
        let leaves = node.leaves.iter().map(|leaves| leaves.configured).sum::<u64>();
        let known = |leaves: &LeafCount| shape(gpu, leaves.kind.as_deref()).is_some();
        u64::from(node.cpus - node.cpus_used) >= leaves && node.leaves.iter().all(known)
    };
    *policy == plain && golden.age == 0 && !view.open && view.nodes.iter().all(node)
}

fn shape(gpu: &Gpu, kind: Option<&str>) -> Option<usize> {
    gpu.shapes.iter().position(|shape| Some(shape.profile.to_string().as_str()) == kind)
}

/// The GPU that layout files tell. Without them slices count, and A100's SMs are proportional to those.
fn gpu(view: &ClusterView) -> &'static Gpu {
    let models = view.layouts.iter().flat_map(|layout| &layout.gpus);
    let model = models.map(|gpu| Model::named(&gpu.model)).next().flatten();
    let name = model.map_or("a100-80".into(), |model| model.name.to_ascii_lowercase());
    Gpu::named(&name).unwrap()
}

/// The job of a case, and its nodes; `None` if the simulator has no such jobs.
fn job(view: &ClusterView, case: &Case) -> Option<(Job, u32)> {
    let partition = view.partitions.iter().find(|partition| match &case.partition {
        Some(name) => partition.name == *name,
        None => partition.default,
    })?;
    let members = hostlist::expand(&partition.nodes).ok()?;
    let whole =
        view.nodes.iter().all(|node| node.leaves.is_empty() || members.contains(&node.name));
    let (size, count) = case.gres.strip_prefix("flexmig:")?.split_once("g:")?;
    let (slices, count) = (size.parse().ok()?, count.parse().ok()?);
    let untold = case.tasks.is_none() && case.cpus_per_task.is_none();
    if !whole || !partition.up || !untold {
        return None;
    }
    let minutes = case.minutes.map(u64::from).or(partition.default_minutes);
    let minutes = minutes.or(partition.max_minutes).unwrap_or(1_000_000);
    let nodes = case.nodes.unwrap_or(1);
    Some((Job { gpus: count, ..Job::new(0, 0, minutes * MINUTE, slices) }, nodes))
}

/// The state of a view.
fn world(gpu: &'static Gpu, view: &ClusterView, select: &Select, case: &Case) -> World {
    let cluster = Cluster { gpus: gpu.shapes.len() as u32, gpus_per_node: 1, gpu };
    let counts = |of: fn(&LeafCount) -> u64| -> Vec<Vec<u64>> {
        let node = |node: &NodeView| {
            let mut counts = vec![0; gpu.shapes.len()];
            let leaves = node.leaves.iter();
            leaves.for_each(|l| counts[shape(gpu, l.kind.as_deref()).unwrap()] += of(l));
            counts
        };
        view.nodes.iter().map(node).collect()
    };
    let leaves = Leaves::of_nodes(&cluster, &counts(|leaves| leaves.configured));
    let replan = !case.old && select.replan && select.refresh > 0;
    let mut world = World::new(gpu, 1, leaves, select, replan);
    world.now = view.taken_at * SECOND;
    for (node, used) in counts(|leaves| leaves.used).into_iter().enumerate() {
        for (shape, count) in used.into_iter().enumerate() {
            let Farm { fabric, nodes, hint, .. } = &mut world.farm;
            let taken = Alternative::of(shape, count as u16);
            fabric.take(&mut nodes[node], &taken, 0, hint, &mut Vec::new());
        }
    }
    let slurm = &mut world.slurm;
    slurm.plans = vec![Vec::new(); view.nodes.len()];
    // A node that nothing starts on is one that is planned for somebody else.
    let closed = |node: &NodeView| !node.usable || node.reserved || node.planned;
    slurm.planned = view.nodes.iter().map(closed).collect();
    let pending = |job: &&JobView| job.state == JobState::Pending;
    let mut jobs: Vec<&JobView> = view.jobs.iter().flatten().filter(pending).collect();
    jobs.sort_by_key(|job| (std::cmp::Reverse(job.priority), job.job_id));
    for (place, job) in jobs.into_iter().enumerate() {
        let names = hostlist::expand(&job.sched_nodes).unwrap();
        for at in (0..view.nodes.len()).filter(|at| names.contains(&view.nodes[*at].name)) {
            world.slurm.plans[at].push((place, job.start_time.unwrap() * SECOND));
        }
        if job.waits_for_resources(view.taken_at) {
            world.wait(job);
        }
    }
    world
}

impl World {
    /// Puts a waiting job with its composition at the end of the queue.
    fn wait(&mut self, job: &JobView) {
        let request = Request::parse(&job.tres_per_node).unwrap();
        let part = |term: flexmig_core::request::Term| crate::class::Part {
            shape: shape(self.gpu, term.kind).unwrap() as u8,
            count: term.count as u16,
        };
        let parts = request.terms().map(part).collect();
        let nodes = job.min_nodes.unwrap_or(1) as u16;
        let asked = crate::class::Asked { slices: 0, nodes, gpus: 1, memory_gb: 0 };
        let alternatives = vec![Alternative { parts, wasteful: false }];
        let class = Class { asked, reserved: alternatives.clone(), alternatives };
        let leaves = asks(&class.alternatives[0], &class);
        leaves.for_each(|(shape, count)| self.slurm.waits[shape] += count);
        self.classes.all.push(class);
        let wait = Wait { chosen: true, ..Wait::default() };
        let (place, class) = (self.submitted, self.classes.all.len() - 1);
        self.submitted += 1;
        self.queue.push_back(Waiting { job: Job::new(0, 0, MINUTE, 1), place, class, wait });
    }
}

#[test]
fn the_simulator_gives_the_golden_answers() {
    let mut compared = 0;
    for (path, view, golden) in views::read("../core") {
        let policy = Policy::from_toml("flexmig.toml", &golden.policy).unwrap();
        let gpu = gpu(&view);
        if !can_be_simulated(gpu, &view, &golden, &policy) {
            continue;
        }
        for case in &golden.case {
            let Some((job, nodes)) = job(&view, case) else { continue };
            let mut world = world(gpu, &view, &policy.select, case);
            // As many GPUs per node as make the count one per node.
            world.gpus_per_node = job.gpus.into();
            let job = Job { gpus: job.gpus * nodes as u16, ..job };
            let fits = world.queue(job);
            world.with(|slurm, ground| slurm.choose(ground));
            let answer = world.queue.back().filter(|_| fits);
            let answer = answer.map(|waiting| world.composition(waiting));
            let expected = case.answer.strip_prefix("gres/flexmig:").map(str::to_owned);
            assert_eq!(answer, expected, "{}: {}", path.display(), case.gres);
            assert_eq!(fits, expected.is_some());
            compared += 1;
        }
    }
    assert!(compared >= LEAST, "only {compared} cases were compared");
}
