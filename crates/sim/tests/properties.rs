//! What holds for every cluster, trace, policy and scheduler.

use std::collections::HashMap;

use flexmig_sim::gpu::GPUS;
use flexmig_sim::layout::{Cut, mask};
use flexmig_sim::model::Reach;
use flexmig_sim::{
    Cluster, Job, Layout, Metrics, Observer, Oversize, PolicyName, Record, SECOND, SchedulerName,
    Setup, Span, run, simulate,
};
use proptest::prelude::*;

fn job() -> impl Strategy<Value = (u64, u64, u64, u8, u16, bool)> {
    let slices = prop_oneof![Just(1u8), Just(2), Just(3), Just(4), Just(7)];
    let gpus = prop_oneof![8 => Just(1u16), 1 => 2..4u16, 1 => 8..12u16];
    (0..60u64, 1..300u64, 0..400u64, slices, gpus, any::<bool>())
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    proptest::collection::vec(job(), 1..40).prop_map(|rows| {
        let mut now = 0;
        let mut all = Vec::new();
        for (id, (gap, run, spare, slices, gpus, talks)) in rows.into_iter().enumerate() {
            now += gap * SECOND;
            let mut job = Job::new(id as u32, now, run * SECOND, slices);
            job.limit += spare * SECOND;
            job.communication = talks.then_some(0.5);
            if slices == 7 {
                job.gpus = gpus;
            }
            all.push(job);
        }
        all
    })
}

fn setup() -> impl Strategy<Value = Setup> {
    let policy = proptest::sample::select(PolicyName::ALL.to_vec());
    let scheduler = proptest::sample::select(SchedulerName::ALL.to_vec());
    let gpu = proptest::sample::select(GPUS.iter().collect::<Vec<_>>());
    let cuts = proptest::collection::vec(0..64usize, 0..4);
    (1..20u32, 1..9u32, gpu, policy, scheduler, cuts, any::<bool>()).prop_map(
        |(gpus, gpus_per_node, gpu, policy, scheduler, cuts, shrink)| {
            let cluster = Cluster { gpus, gpus_per_node, gpu };
            let mut setup = Setup::new(cluster, policy, scheduler);
            let all = Cut::all_full(gpu);
            let cuts: Vec<Cut> = cuts.iter().map(|place| all[place % all.len()].clone()).collect();
            setup.layout = (!cuts.is_empty()).then_some(Layout { cuts });
            setup.oversize = if shrink { Oversize::Shrink } else { Oversize::Reject };
            setup
        },
    )
}

/// Everything that happened.
#[derive(Default)]
struct Outcome {
    records: Vec<Record>,
    spans: Vec<Span>,
    metrics: Metrics,
}

impl Observer for Outcome {
    fn record(&mut self, _place: usize, record: &Record) {
        self.records.push(*record);
    }

    fn span(&mut self, span: &Span) {
        self.spans.push(*span);
    }
}

fn watch(setup: &Setup, jobs: &[Job]) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.metrics = run(setup, jobs.iter().copied(), &mut outcome);
    outcome.records.sort_by_key(|record| record.job.id);
    outcome
}

/// Spans of each job.
fn leaves(outcome: &Outcome) -> HashMap<u32, Vec<Span>> {
    let mut all: HashMap<u32, Vec<Span>> = HashMap::new();
    for span in &outcome.spans {
        all.entry(span.job).or_default().push(*span);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_handed_out_twice(setup in setup(), jobs in jobs()) {
        let outcome = watch(&setup, &jobs);
        let gpu = setup.cluster.gpu;
        let pooled = setup.policy == PolicyName::Pooled;

        // No job is lost.
        prop_assert_eq!(outcome.records.len(), jobs.len());
        let ran = outcome.records.iter().filter(|record| record.ran.is_some()).count() as u64;
        prop_assert_eq!((outcome.metrics.jobs, outcome.metrics.unplaced), (ran, jobs.len() as u64 - ran));

        // No leaf twice, and none where NVIDIA's placement rules have none.
        let mut by_gpu: HashMap<u32, Vec<Span>> = HashMap::new();
        for span in &outcome.spans {
            prop_assert!(span.gpu < setup.cluster.gpus && span.from <= span.to);
            let is_it = |shape: &&flexmig_sim::gpu::Shape| {
                shape.size == span.size && shape.profile.slices == span.slices
            };
            if !pooled {
                let shape = gpu.shapes.iter().find(is_it).unwrap();
                prop_assert!(shape.starts.contains(&span.start));
            }
            by_gpu.entry(span.gpu).or_default().push(*span);
        }
        for spans in by_gpu.values() {
            for (place, a) in spans.iter().enumerate() {
                let meets = |b: &&Span| a.from < b.to && b.from < a.to;
                for b in spans[place + 1..].iter().filter(meets) {
                    prop_assert_eq!(mask(a.size, a.start) & mask(b.size, b.start), 0, "{:?} {:?}", a, b);
                }
            }
        }

        // Every job gets what it asked for, or as much as one instance has, for as long as it takes.
        let leaves = leaves(&outcome);
        let one_to_one = matches!(
            setup.policy,
            PolicyName::Static | PolicyName::StaticBest | PolicyName::Drain | PolicyName::Dynamic
        );
        for (record, job) in outcome.records.iter().zip(&jobs) {
            prop_assert_eq!(record.job.id, job.id);
            let Some((start, end)) = record.ran else { continue };
            prop_assert!(start >= job.submit);
            let spans = &leaves[&job.id];
            prop_assert_eq!(spans.len(), record.leaves as usize);
            prop_assert!(spans.iter().all(|span| (span.from, span.to) == (start, end)));
            // A job on several nodes gets as many GPUs on each.
            let nodes = u32::from(job.gpus).div_ceil(setup.cluster.gpus_per_node);
            let gpus = u32::from(job.gpus).div_ceil(nodes) * nodes;
            let slices: u64 = spans.iter().map(|span| u64::from(span.slices)).sum();
            if one_to_one {
                prop_assert_eq!(spans.len() as u32, gpus);
                prop_assert!(setup.oversize == Oversize::Shrink || slices >= job.all_slices());
            } else {
                prop_assert!(slices >= job.all_slices());
            }
            let sms = |span: &Span| {
                let is_it = |shape: &&flexmig_sim::gpu::Shape| {
                    shape.size == span.size && shape.profile.slices == span.slices
                };
                gpu.shapes.iter().find(is_it).map_or(0, |shape| shape.sms)
            };
            let mut parents: Vec<u32> = spans.iter().map(|span| span.gpu).collect();
            parents.sort_unstable();
            parents.dedup();
            prop_assert_eq!(parents.len(), usize::from(record.parents));
            let node = |gpu: u32| gpu / setup.cluster.gpus_per_node;
            let reach = match (parents.len(), node(parents[0]) == node(parents[parents.len() - 1])) {
                (1, _) => Reach::Parent,
                (_, true) => Reach::Node,
                _ => Reach::Nodes,
            };
            let slowdown = if pooled { 1.0 } else {
                let asked = f64::from(gpu.sms_of_slices(job.slices).min(gpu.sms()) * gpus);
                let least = spans.iter().map(sms).min().unwrap() * record.leaves;
                let share = job.communication.map_or(setup.performance.communication, f64::from);
                setup.performance.slowdown(asked, least.into(), record.leaves, reach, share)
            };
            prop_assert!((record.slowdown - slowdown).abs() < 1e-9, "{} {}", record.slowdown, slowdown);
            let work = (job.run as f64 * slowdown).round().max(1.0) as u64;
            prop_assert_eq!(end - start, work);
        }

        // The figures are those of the records.
        let first = jobs.iter().map(|job| job.submit).min().unwrap();
        let last = outcome.records.iter().filter_map(|record| Some(record.ran?.1)).max();
        let makespan = last.map_or(0, |last| last - first);
        prop_assert_eq!(outcome.metrics.makespan, makespan as f64 / SECOND as f64);
        prop_assert!(outcome.metrics.utilisation_sm <= 1.0 + 1e-9);
    }

    /// A pool of the same slices is never behind by more than what the order of starts makes.
    #[test]
    fn one_job_at_a_time_never_waits(setup in setup(), runs in proptest::collection::vec(1..200u64, 1..10)) {
        let mut now = 0;
        let mut jobs = Vec::new();
        for (id, run) in runs.into_iter().enumerate() {
            jobs.push(Job::new(id as u32, now, run * SECOND, [1, 2, 3, 4][id % 4]));
            // Until it is surely done, whatever the policy makes of it.
            now += (run * 10 + 1000) * SECOND;
        }
        let outcome = simulate(&setup, &jobs);
        let drained = if setup.policy == PolicyName::Drain { 180 } else { 5 };
        for record in outcome.records {
            if let Some((start, _)) = record.ran {
                prop_assert!(start <= record.job.submit + drained * SECOND);
            }
        }
    }
}
