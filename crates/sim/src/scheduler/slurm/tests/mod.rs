//! The simulator gives the answers of slurmctld's plugin: its submissions are held against the golden
//! views (`golden`), and its submissions and re-planning on clusters of any kind against core's own
//! decisions on a view of the same state (`random`).

mod golden;
mod random;

use std::collections::VecDeque;

use flexmig_core::bus_id::BusId;
use flexmig_core::layout;
use flexmig_core::models::Model;
use flexmig_core::policy::Select;
use flexmig_core::submit::Dialect;
use flexmig_core::view::{ClusterView, JobView, LeafCount, NodeView, PartitionView};

use super::*;
use crate::choose::{Chooser, Selected};
use crate::class::Classes;
use crate::fabric::Leaves;
use crate::scheduler::Waiting;
use crate::{Gpu, Job, Performance};

/// A cluster under the scheduler, without a clock.
struct World {
    gpu: &'static Gpu,
    gpus_per_node: u32,
    slurm: Slurm,
    farm: Farm<Leaves>,
    chooser: Selected,
    classes: Classes,
    queue: VecDeque<Waiting>,
    running: Vec<u32>,
    now: Time,
    submitted: usize,
}

impl World {
    fn new(
        gpu: &'static Gpu,
        gpus_per_node: u32,
        leaves: Leaves,
        select: &Select,
        replan: bool,
    ) -> World {
        let mut parameters = SlurmParameters::default();
        if !replan {
            parameters.replan_interval = 0;
        }
        World {
            gpu,
            gpus_per_node,
            slurm: Slurm::new(&parameters),
            chooser: Selected::new(gpu, &leaves, select.clone()),
            farm: Farm::new(leaves, Performance::default(), [1.0; 8]),
            classes: Classes::default(),
            queue: VecDeque::new(),
            running: Vec::new(),
            now: 1_000_000 * SECOND,
            submitted: 0,
        }
    }

    /// Does something as the scheduler does in a pass.
    fn with(&mut self, act: impl FnOnce(&mut Slurm, &mut Ground<Leaves>)) {
        let mut ground = Ground {
            now: self.now,
            farm: &mut self.farm,
            chooser: &self.chooser,
            classes: &self.classes.all,
            queue: &mut self.queue,
            started: Vec::new(),
        };
        act(&mut self.slurm, &mut ground);
        self.running.extend(ground.started);
    }

    /// Puts a job at the end of the queue. False: it never fits.
    fn queue(&mut self, job: Job) -> bool {
        let (farm, chooser) = (&self.farm, &self.chooser);
        let alternatives = |asked: &_| chooser.alternatives(farm, asked);
        let class = self.classes.of(&job, self.gpus_per_node, alternatives);
        if self.classes.all[class].alternatives.is_empty() {
            return false;
        }
        let place = self.submitted;
        self.submitted += 1;
        self.queue.push_back(Waiting { job, place, class, wait: Wait::default() });
        true
    }

    /// What a waiting job asks for on each of its nodes, `1g.10gb:3`.
    fn composition(&self, waiting: &Waiting) -> String {
        let alternative = &self.classes.all[waiting.class].alternatives[waiting.wait.choice];
        let part = |part: &crate::class::Part| {
            let profile = self.farm.fabric.profiles[usize::from(part.shape)].unwrap();
            format!("{profile}:{}", part.count)
        };
        alternative.parts.iter().map(part).collect::<Vec<_>>().join(",")
    }

    /// The same cluster as a thread in slurmctld sees it.
    fn view(&self) -> ClusterView {
        let nodes: Vec<NodeView> = (0..self.farm.nodes.len()).map(|at| self.node(at)).collect();
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let partition = PartitionView::of_all(&nodes);
        ClusterView {
            taken_at: self.seconds(),
            partitions: vec![partition],
            jobs: Some(self.queue.iter().map(|waiting| self.waiting(waiting)).collect()),
            layouts: vec![self.layout(&names)],
            nodes,
            ..ClusterView::default()
        }
    }

    fn seconds(&self) -> u64 {
        self.now / SECOND
    }

    fn node(&self, at: usize) -> NodeView {
        let (fabric, node) = (&self.farm.fabric, &self.farm.nodes[at]);
        let shape = |(shape, profile): (usize, &Option<_>)| {
            let (configured, free) = (fabric.all(at, shape), fabric.free(node, shape));
            let kind = profile.map(|profile: flexmig_core::profile::Profile| profile.to_string());
            LeafCount { kind, configured, used: configured - free, used_indices: String::new() }
        };
        let leaves = fabric.profiles.iter().enumerate().map(shape);
        NodeView {
            name: format!("n{at}"),
            usable: true,
            planned: self.slurm.planned.get(at) == Some(&true),
            // Never short of anything else.
            cpus: 1_000_000,
            leaves: leaves.filter(|leaves| leaves.configured > 0).collect(),
            ..NodeView::default()
        }
    }

    fn waiting(&self, waiting: &Waiting) -> JobView {
        let got = self.composition(waiting);
        let planned = |node: usize| {
            let plans = self.slurm.plans.get(node)?;
            Some(plans.iter().find(|(job, _)| *job == waiting.place)?.1)
        };
        let nodes = (0..self.farm.nodes.len()).filter(|node| planned(*node).is_some());
        let nodes: Vec<usize> = nodes.collect();
        let start = nodes.first().and_then(|node| planned(*node));
        let asked = &self.classes.all[waiting.class].asked;
        JobView {
            job_id: waiting.place as u32 + 1,
            partition: "all".into(),
            reason: "Resources".into(),
            priority: 1_000_000 - waiting.place as u32,
            tres_per_node: format!("gres/flexmig:{got}"),
            admin_comment: format!(
                "[flexmig:v1 req={}g:{} got={got} why=slices]",
                asked.slices, asked.gpus
            ),
            time_limit: Some(minutes(waiting.job.limit) / MINUTE),
            sched_nodes: nodes.iter().map(|n| format!("n{n}")).collect::<Vec<_>>().join(","),
            start_time: start.map(|start| start / SECOND),
            num_tasks: Some(1),
            min_cpus: Some(1),
            min_nodes: Some(asked.nodes.into()),
            max_nodes: Some(asked.nodes.into()),
            batch: true,
            ..JobView::default()
        }
    }

    /// All that matters of it: the model of the GPUs.
    fn layout(&self, names: &[&str]) -> layout::Layout {
        let products = ["NVIDIA A30", "NVIDIA A100 80GB PCIe", "NVIDIA H100 80GB HBM3"];
        let is_it = |product: &&&str| Model::named(product) == self.gpu.model();
        let model = (*products.iter().find(is_it).unwrap()).to_owned();
        let profiles = self.farm.fabric.profiles.iter().flatten();
        let leaf = |(place, profile): (usize, &_)| layout::LeafPlace {
            profile: *profile,
            gi: place as u32,
            ci: 0,
            start: None,
            size: None,
        };
        let leaves = profiles.enumerate().map(leaf).collect();
        let bus_id: BusId = "00000000:07:00.0".parse().unwrap();
        let gpu = layout::Gpu { minor: 0, model, bus_id, numa: None, cpus: String::new(), leaves };
        layout::Layout { nodes: names.join(","), gpus: vec![gpu] }
    }
}

/// As Slurm 24.11 would be; `replan`: a release that can.
fn dialect(now: u64, replan: bool) -> Dialect<'static> {
    Dialect { update_replaces: replan, ..Dialect::of((24, 11, 5), &"24.11.5", now) }
}
