//! Clusters, jobs and events of any kind, and core's own decisions about each.

use std::cell::Cell;

use flexmig_core::policy::Policy;
use flexmig_core::replan::{Planner, Settings};
use flexmig_core::submit::{self, Site};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;
use crate::{Cluster, Layout};

const CUTS: [(&str, &[&str]); 3] = [
    (
        "a100-80",
        &["7g", "4g+3g", "3x2g+1g", "7x1g", "4g+2g+1g", "3g+4x1g", "1g.20gb+3x2g", "4x1g.20gb"],
    ),
    ("h100-80", &["7g", "4g+3g", "2x3g", "3x2g+1g", "7x1g", "3g+2g+2x1g", "4g+1g.20gb+1g"]),
    ("a30-24", &["4g", "2x2g", "2g+2x1g", "4x1g"]),
];

/// What comes in, by indices and numbers that are brought into bounds where they are used.
#[derive(Clone, Debug)]
struct Plot {
    model: usize,
    /// Of each GPU, node by node.
    cuts: Vec<usize>,
    gpus_per_node: u32,
    rounds: Vec<Round>,
}

#[derive(Clone, Debug)]
struct Round {
    seconds: u64,
    /// (size, GPUs, minutes)
    jobs: Vec<(usize, u16, u64)>,
    ends: Vec<usize>,
    main: bool,
    backfill: bool,
}

fn plot() -> impl Strategy<Value = Plot> {
    let job = (0..5usize, 1..4u16, 1..90u64);
    let round = (
        1..45u64,
        proptest::collection::vec(job, 0..6),
        proptest::collection::vec(any::<usize>(), 0..3),
        prop::bool::weighted(0.6),
        prop::bool::weighted(0.4),
    );
    let round = round.prop_map(|(seconds, jobs, ends, main, backfill)| Round {
        seconds,
        jobs,
        ends,
        main,
        backfill,
    });
    let cluster =
        (0..CUTS.len(), 1..=4usize, 1..=3u32).prop_flat_map(|(model, nodes, per_node)| {
            let gpus = nodes * per_node as usize;
            (Just(model), proptest::collection::vec(0..8usize, gpus), Just(per_node))
        });
    (cluster, proptest::collection::vec(round, 1..25)).prop_map(
        |((model, cuts, gpus_per_node), rounds)| Plot { model, cuts, gpus_per_node, rounds },
    )
}

impl World {
    fn of(plot: &Plot, replan: bool) -> World {
        let (name, cuts) = CUTS[plot.model];
        let gpu = Gpu::named(name).unwrap();
        let texts: Vec<&str> = plot.cuts.iter().map(|&cut| cuts[cut % cuts.len()]).collect();
        let layout = Layout::parse(gpu, &texts.join(",")).unwrap();
        let cluster = Cluster { gpus: texts.len() as u32, gpus_per_node: plot.gpus_per_node, gpu };
        let leaves = Leaves::selected(&cluster, &layout);
        World::new(gpu, plot.gpus_per_node, leaves, &Select::default(), replan)
    }

    fn job(&self, &(size, gpus, minutes): &(usize, u16, u64)) -> Job {
        let slices = [1, 2, 3, 4, 7][size];
        let job = Job::new(self.submitted as u32, self.now, minutes * MINUTE, slices);
        // Jobs of several GPUs take whole ones.
        Job { gpus: if slices == 7 { gpus } else { 1 }, ..job }
    }

    /// What core decides about new jobs, one after the other on one view, as the plugin does: their
    /// compositions.
    fn decided(&self, jobs: &[Job], replan: bool) -> Vec<Option<String>> {
        let view = self.view();
        let site = Site::of_view(&Policy::default(), &view);
        let decide = |job: &Job| {
            let gpus = u32::from(job.gpus);
            let nodes = gpus.div_ceil(self.gpus_per_node);
            let request = format!("flexmig:{}g:{}", job.slices, gpus.div_ceil(nodes));
            let asked = submit::Job {
                tres_per_node: Some(&request),
                num_tasks: Some(1),
                min_cpus: Some(1),
                min_nodes: Some(nodes),
                max_nodes: Some(nodes),
                time_limit: Some((minutes(job.limit) / MINUTE) as u32),
                batch: true,
                ..submit::Job::default()
            };
            let decided = submit::decide(&site, &dialect(self.seconds(), replan), &asked);
            let decision = decided.ok()?.unwrap();
            decision.claims.iter().for_each(|(kind, count)| site.claim(kind.as_deref(), *count));
            site.queue_up(&decision.waits);
            let text = decision.tres_per_node.unwrap();
            Some(text.strip_prefix("gres/flexmig:").unwrap().to_owned())
        };
        jobs.iter().map(decide).collect()
    }

    /// Submits jobs and holds their compositions against core's; returns how many started elsewhere
    /// than on what is best.
    fn submit(&mut self, round: &Round, replan: bool) -> Result<usize, TestCaseError> {
        let jobs: Vec<Job> = round.jobs.iter().map(|job| self.job(job)).collect();
        let expected = self.decided(&jobs, replan);
        let first = self.queue.len();
        let fit: Vec<bool> = jobs.iter().map(|job| self.queue(*job)).collect();
        self.with(|slurm, ground| slurm.choose(ground));
        let mut new = self.queue.range(first..).map(|waiting| self.composition(waiting));
        let found = fit.iter().map(|fits| if *fits { new.next() } else { None });
        prop_assert_eq!(found.collect::<Vec<_>>(), expected);
        Ok(self.queue.range(first..).filter(|waiting| waiting.wait.choice > 0).count())
    }

    fn end(&mut self, ends: &[usize]) {
        for end in ends {
            if !self.running.is_empty() {
                let id = self.running.swap_remove(end % self.running.len());
                self.farm.end(id);
            }
        }
    }

    /// Re-plans and holds the moves against those of core's planner; returns how many jobs moved and
    /// how many of them went back.
    fn replan(&mut self, planner: &mut Planner) -> Result<(usize, usize), TestCaseError> {
        let (view, now) = (self.view(), self.seconds());
        let policy = Policy::default();
        let (site, settings) = (Site::of_view(&policy, &view), Settings::new(&policy, None));
        let updates = planner.plan(&view, &site, &dialect(now, true), &settings);
        updates.iter().for_each(|update| planner.made(update, now, &settings));
        let expected: Vec<(u32, String)> =
            updates.iter().map(|update| (update.job_id, update.note.got.clone())).collect();
        let before: Vec<usize> = self.queue.iter().map(|waiting| waiting.wait.choice).collect();
        let free = self.farm.nodes.clone();
        self.with(|slurm, ground| slurm.replan_pass(ground));
        prop_assert_eq!(&self.farm.nodes, &free);
        let moved = self.queue.iter().zip(&before).filter(|(w, before)| w.wait.choice != **before);
        let moved = moved.map(|(w, _)| (w.place as u32 + 1, self.composition(w)));
        prop_assert_eq!(moved.collect::<Vec<_>>(), expected);
        Ok((updates.len(), updates.iter().filter(|update| update.back).count()))
    }

    /// Waiting jobs that backfill has planned.
    fn planned(&self) -> Vec<usize> {
        let waits = |job: &usize| self.queue.iter().any(|waiting| waiting.place == *job);
        self.slurm.plans.iter().flatten().map(|(job, _)| *job).filter(waits).collect()
    }
}

/// Runs plots through the simulator, which must agree with core all along; returns what was seen: jobs
/// that got another composition than on an idle cluster, moves, moves back.
fn agree(replan: bool) -> [usize; 3] {
    let seen = Cell::new([0; 3]);
    let count = |what: usize, number: usize| {
        let mut counts = seen.get();
        counts[what] += number;
        seen.set(counts);
    };
    let config = Config { failure_persistence: None, ..Config::with_cases(256) };
    let mut runner = TestRunner::new(config);
    let ran = runner.run(&plot(), |plot| {
        let mut world = World::of(&plot, replan);
        let mut planner = Planner::default();
        for round in &plot.rounds {
            world.now += round.seconds * SECOND;
            world.end(&round.ends);
            count(0, world.submit(round, replan)?);
            if round.main {
                world.with(Slurm::main_pass);
            }
            let planned = world.planned();
            if round.backfill {
                world.with(Slurm::backfill_pass);
            }
            let kept = world.planned();
            let waits = |job: &usize| world.queue.iter().any(|waiting| waiting.place == *job);
            if planned.iter().filter(|job| waits(job)).any(|job| !kept.contains(job)) {
                // The planner counts such a plan for another cycle, as a view may be taken while
                // backfill is at work; here it is gone at once.
                break;
            }
            if replan {
                let (moves, back) = world.replan(&mut planner)?;
                count(1, moves);
                count(2, back);
            }
        }
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
    seen.get()
}

#[test]
fn submissions_and_moves_are_those_of_core() {
    let [others, moves, back] = agree(true);
    assert!(
        others > 500 && moves > 100 && back > 20,
        "{others} others, {moves} moves, {back} back"
    );
}

#[test]
fn submissions_are_those_of_core_where_jobs_stay_as_they_are() {
    let [others, ..] = agree(false);
    assert!(others > 500, "{others}");
}
