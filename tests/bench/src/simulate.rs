//! The simulator: makespans of `flex` against the other policies on public traces, and its own speed.
//!
//! 64 GPUs of A100-80, load 1.0, the even mix of sizes, scheduler `easy`, once all jobs and once those of one
//! GPU only; a seed a round, which decides sizes and time limits. Traces are read from the folder that `FLEXMIG_TRACES` names, else
//! `../shared/traces`; without it the part says so and measures the simulator's speed only.

use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use flexmig_sim::policy::with_layout;
use flexmig_sim::trace::{Format, Trace};
use flexmig_sim::workload::{Generator, Mix, Options, Workload};
use flexmig_sim::{Cluster, Gpu, Job, Metrics, Observer, PolicyName, SchedulerName, Setup, run};

use crate::report::{Figure, Report};
use crate::stats::Sample;

/// How much is measured.
#[derive(Debug)]
pub struct Plan {
    /// Seeds per trace.
    pub seeds: usize,
    /// Largest number of generated jobs.
    pub jobs: usize,
}

/// What is simulated: a trace and its jobs, with the names of the figures in the order of [`OTHERS`].
struct Subject {
    format: Format,
    file: &'static str,
    one_gpu: bool,
    names: [&'static str; 6],
}

const SUBJECTS: [Subject; 4] = [
    Subject {
        format: Format::Philly,
        file: "philly.csv.gz",
        one_gpu: false,
        names: [
            "sim_philly_makespan_flex_vs_static",
            "sim_philly_makespan_flex_vs_static_best",
            "sim_philly_makespan_flex_vs_drain",
            "sim_philly_makespan_flex_vs_dynamic",
            "sim_philly_makespan_flex_vs_flex_uniform",
            "sim_philly_makespan_flex_vs_pooled",
        ],
    },
    Subject {
        format: Format::Philly,
        file: "philly.csv.gz",
        one_gpu: true,
        names: [
            "sim_philly_one_gpu_makespan_flex_vs_static",
            "sim_philly_one_gpu_makespan_flex_vs_static_best",
            "sim_philly_one_gpu_makespan_flex_vs_drain",
            "sim_philly_one_gpu_makespan_flex_vs_dynamic",
            "sim_philly_one_gpu_makespan_flex_vs_flex_uniform",
            "sim_philly_one_gpu_makespan_flex_vs_pooled",
        ],
    },
    Subject {
        format: Format::Openb,
        file: "openb_pods.csv",
        one_gpu: false,
        names: [
            "sim_openb_makespan_flex_vs_static",
            "sim_openb_makespan_flex_vs_static_best",
            "sim_openb_makespan_flex_vs_drain",
            "sim_openb_makespan_flex_vs_dynamic",
            "sim_openb_makespan_flex_vs_flex_uniform",
            "sim_openb_makespan_flex_vs_pooled",
        ],
    },
    Subject {
        format: Format::Openb,
        file: "openb_pods.csv",
        one_gpu: true,
        names: [
            "sim_openb_one_gpu_makespan_flex_vs_static",
            "sim_openb_one_gpu_makespan_flex_vs_static_best",
            "sim_openb_one_gpu_makespan_flex_vs_drain",
            "sim_openb_one_gpu_makespan_flex_vs_dynamic",
            "sim_openb_one_gpu_makespan_flex_vs_flex_uniform",
            "sim_openb_one_gpu_makespan_flex_vs_pooled",
        ],
    },
];
/// What `flex` is compared with.
const OTHERS: [PolicyName; 6] = [
    PolicyName::Static,
    PolicyName::StaticBest,
    PolicyName::Drain,
    PolicyName::Dynamic,
    PolicyName::FlexUniform,
    PolicyName::Pooled,
];

struct Nothing;

impl Observer for Nothing {}

/// Simulates.
pub fn measure(plan: &Plan) -> Result<Report, String> {
    let mut report = Report::new("simulated makespans, a seed a round; and the simulator's speed");
    for subject in &SUBJECTS {
        let path = traces().join(subject.file);
        match File::open(&path) {
            Ok(input) => {
                let trace = Trace::read(subject.format, input)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                makespans(&mut report, &trace, subject, plan.seeds);
            }
            Err(error) => println!(
                "simulate: {}: {error}: left out; set FLEXMIG_TRACES to the folder of traces",
                path.display()
            ),
        }
    }
    growth(&mut report, plan.jobs)?;
    Ok(report)
}

fn traces() -> PathBuf {
    std::env::var_os("FLEXMIG_TRACES").map_or_else(|| "../shared/traces".into(), PathBuf::from)
}

fn cluster(gpus: u32) -> Cluster {
    // The name is one of the library's own.
    let gpu = Gpu::named("a100-80").unwrap_or(&flexmig_sim::gpu::GPUS[0]);
    Cluster { gpus, gpus_per_node: 8, gpu }
}

fn simulated(cluster: &Cluster, policy: PolicyName, jobs: &[Job]) -> Metrics {
    let setup = Setup::new(cluster.clone(), policy, SchedulerName::Easy);
    let setup = with_layout(&setup, jobs);
    run(&setup, jobs.iter().copied(), &mut Nothing)
}

fn makespans(report: &mut Report, trace: &Trace, subject: &Subject, seeds: usize) {
    let Subject { format, one_gpu, names, .. } = *subject;
    let cluster = cluster(64);
    let mut mine: Vec<Metrics> = Vec::new();
    let mut others: [Vec<Metrics>; 6] = Default::default();
    let mut best: Vec<Metrics> = Vec::new();
    for seed in 1..=seeds as u64 {
        let options = Options { load: Some(1.0), seed, multi_gpu: !one_gpu, ..Options::default() };
        let jobs = Workload::of(trace, &cluster, &options).jobs;
        mine.push(simulated(&cluster, PolicyName::Flex, &jobs));
        best.push(simulated(&cluster, PolicyName::FlexBest, &jobs));
        for (policy, metrics) in OTHERS.into_iter().zip(&mut others) {
            metrics.push(simulated(&cluster, policy, &jobs));
        }
    }
    let column = |metrics: &[Metrics], of: fn(&Metrics) -> f64| -> Vec<f64> {
        metrics.iter().map(of).collect()
    };
    let makespan = |metrics: &Metrics| metrics.makespan;
    let jct = |metrics: &Metrics| metrics.mean_jct;
    let unplaced = |metrics: &Metrics| metrics.unplaced as f64;
    let rows = OTHERS.into_iter().zip(&others);
    let rows = rows.chain([(PolicyName::Flex, &mine), (PolicyName::FlexBest, &best)]);
    for (policy, metrics) in rows {
        let jobs = if one_gpu { ", jobs of one GPU" } else { "" };
        let row = |what| format!("{}{jobs}: {policy}, {what}", format.name());
        report.row(row("makespan, s"), Sample::new(column(metrics, makespan)));
        report.row(row("mean JCT, s"), Sample::new(column(metrics, jct)));
        report.row(row("jobs that never fit"), Sample::new(column(metrics, unplaced)));
    }
    for ((policy, name), metrics) in OTHERS.into_iter().zip(names).zip(&others) {
        let sample = Sample::ratios(&column(&mine, makespan), &column(metrics, makespan));
        report.figure(Figure { name, against: policy.name(), lower_is_better: true, sample });
    }
}

/// From 1,000 jobs on in steps of ten: the time a job costs.
fn growth(report: &mut Report, most: usize) -> Result<(), String> {
    let cluster = cluster(64);
    let mut first = None;
    let mut last = 0.0;
    let mut count = 1000;
    while count <= most {
        let generator =
            Generator { jobs: count, load: 0.9, mix: Mix::EVEN, ..Generator::default() };
        let setup = Setup::new(cluster.clone(), PolicyName::Flex, SchedulerName::Easy);
        let start = Instant::now();
        let metrics = run(&setup, generator.jobs(&cluster), &mut Nothing);
        let each = start.elapsed().as_secs_f64() * 1e6 / count as f64;
        if metrics.jobs != count as u64 {
            return Err(format!("{count} jobs: {} ended", metrics.jobs));
        }
        let row = |what: &str| format!("{count} generated jobs, flex: {what}");
        report.row(row("microseconds each"), Sample::new(vec![each]));
        report.row(row("most at a time"), Sample::new(vec![metrics.most_jobs as f64]));
        first.get_or_insert(each);
        last = each;
        count *= 10;
    }
    if let Some(first) = first {
        report.figure(Figure {
            name: "sim_time_per_job_growth",
            against: "1,000 jobs",
            lower_is_better: true,
            sample: Sample::new(vec![last / first]),
        });
    }
    Ok(())
}
