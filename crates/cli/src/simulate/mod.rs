//! `flexmig simulate`: what one-to-many allocation would be worth on a cluster and its jobs.
//!
//! | module | part |
//! |---|---|
//! | [`args`] | the command line |
//! | `input` | jobs of a trace or out of a seed |
//! | `work` | simulations side by side |
//! | `results` | what is printed: JSON, the table, CSV |
//!
//! The simulator itself and the report are flexmig-sim.

pub mod args;
mod input;
mod results;
mod work;

use std::path::Path;

use flexmig_sim::model::DEFAULTS;
use flexmig_sim::report::compare::{cautions, reference};
use flexmig_sim::report::{Digest, Report, Swept};
use flexmig_sim::trace::SACCT;
use flexmig_sim::{Cluster, Layout, Performance, PolicyName, Setup, sensitivity};

use crate::{Failure, json, print};
use args::Simulate;
use input::{Input, Source};
use results::{ClusterFacts, InputFacts, Results, Row, SweptRow};
use work::Task;

/// Simulates, and prints or writes what came of it.
pub fn run(args: &Simulate) -> Result<(), Failure> {
    if args.print_sacct {
        return print(&format!("{SACCT}\n"));
    }
    if args.print_model {
        return print(DEFAULTS);
    }
    let performance = performance(args.model_file.as_deref())?;
    let policies = args.policies();
    let setups = setups(args, &policies, &performance)?;
    let source = Source::read(args)?;
    let inputs: Vec<Input> = args
        .seed
        .0
        .iter()
        .map(|&seed| source.input(args, &cluster(args), seed))
        .collect::<Result<_, _>>()?;
    for note in source.notes() {
        eprintln!("flexmig: {note}");
    }
    for (option, path) in [("--csv", &args.csv), ("--report", &args.report)] {
        path.as_deref().map_or(Ok(()), |path| writable(option, path))?;
    }
    let threads = args
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let digests = simulated(&setups, &inputs, args.report.is_some(), threads);
    let sweep = match args.sensitivity {
        true => swept(&setups, &inputs[0], &performance, &digests, threads),
        false => Vec::new(),
    };
    if let Some(path) = &args.csv {
        write("--csv", path, &results::csv(&digests))?;
    }
    let report = report(args, &source, &inputs, &performance, digests, sweep);
    if let Some(path) = &args.report {
        write("--report", path, &report.html())?;
    }
    match args.json {
        true => print(&json(&results(args, &source, &inputs, &performance, &report))?),
        false => print(&text(&policies, inputs.len(), &report)),
    }
}

/// All that came of it.
fn report(
    args: &Simulate,
    source: &Source,
    inputs: &[Input],
    performance: &Performance,
    digests: Vec<Digest>,
    sweep: Vec<Swept>,
) -> Report {
    let numbers = performance.numbers();
    let notes = source.notes().into_iter();
    Report {
        title: format!("{} jobs on {} {}", inputs[0].jobs.len(), args.gpus, args.model.name),
        facts: facts(args, source, inputs),
        model: numbers.map(|(name, value)| (name.into(), value.to_string())).into(),
        notes: notes.chain(cautions(&args.policies(), &digests)).collect(),
        digests,
        sweep,
    }
}

/// `--json`.
fn results(
    args: &Simulate,
    source: &Source,
    inputs: &[Input],
    performance: &Performance,
    report: &Report,
) -> Results {
    let numbers = performance.numbers().map(|(name, value)| (name.to_owned(), value.into()));
    Results {
        version: 1,
        input: InputFacts::new(source, inputs, args.mix.to_string()),
        cluster: ClusterFacts {
            gpus: args.gpus,
            gpus_per_node: args.gpus_per_node,
            model: args.model.name.into(),
        },
        scheduler: args.scheduler.to_string(),
        performance: numbers.into_iter().collect(),
        results: report.digests.iter().map(Row::from).collect(),
        sensitivity: report.sweep.iter().map(SweptRow::from).collect(),
    }
}

/// What is printed for people.
fn text(policies: &[PolicyName], seeds: usize, report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in &report.facts {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push_str(&format!("\n{}", results::table(policies, &report.digests)));
    if let (Some(compared), 2..) = (reference(policies), seeds) {
        text.push_str(&format!(
            "\nMedians of {seeds} seeds; REL is the median of the seeds' ratios to {compared}\n"
        ));
    }
    for caution in cautions(policies, &report.digests) {
        text.push_str(&format!("\n{caution}\n"));
    }
    if !report.sweep.is_empty() {
        text.push_str("\nMakespan with one number of the model changed (* its own value)\n");
        text.push_str(&results::sweep_table(policies, &report.sweep));
    }
    text
}

fn cluster(args: &Simulate) -> Cluster {
    Cluster { gpus: args.gpus, gpus_per_node: args.gpus_per_node, gpu: args.model }
}

fn performance(path: Option<&Path>) -> Result<Performance, Failure> {
    let Some(path) = path else { return Ok(Performance::default()) };
    let failed = |error: &dyn std::fmt::Display| {
        let mend = "flexmig simulate --print-model prints one to start from";
        Failure::new(format!("--model-file {}", path.display()), error, mend)
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    Performance::from_toml(&text).map_err(|error| failed(&error))
}

/// What is simulated, per policy.
fn setups(
    args: &Simulate,
    policies: &[PolicyName],
    performance: &Performance,
) -> Result<Vec<Setup>, Failure> {
    let mut setups = Vec::with_capacity(policies.len());
    let mut layouts = Vec::with_capacity(args.layout.len());
    for layout in &args.layout {
        let parsed = Layout::parse(args.model, &layout.text)
            .map_err(|error| Failure::message(format!("--layout {error}")))?;
        if let Some(policy) = layout.policy.filter(|policy| !policies.contains(policy)) {
            let what = format!("--layout {policy}={}", layout.text);
            return Err(Failure::new(what, "not among the policies", "add it to --policy"));
        }
        layouts.push((layout.policy, parsed));
    }
    for &policy in policies {
        let mut setup = Setup::new(cluster(args), policy, args.scheduler);
        setup.performance = performance.clone();
        setup.oversize = args.oversize;
        if let Some(depth) = args.depth {
            setup.depth = depth as usize;
            setup.slurm.bf_max_job_test = depth as usize;
        }
        let own = layouts.iter().rev().find(|(of, _)| *of == Some(policy));
        let layout = own.or(layouts.iter().rev().find(|(of, _)| of.is_none()));
        setup.layout = layout.map(|(_, layout)| layout.clone());
        setups.push(setup);
    }
    Ok(setups)
}

/// Each policy with each seed.
fn simulated(setups: &[Setup], inputs: &[Input], plots: bool, threads: usize) -> Vec<Digest> {
    let mut tasks = Vec::new();
    for setup in setups {
        for (place, input) in inputs.iter().enumerate() {
            tasks.push(Task {
                setup: setup.clone(),
                seed: input.seed,
                jobs: &input.jobs,
                detailed: plots && place == 0,
            });
        }
    }
    work::run(&tasks, threads)
}

/// The first seed, with one number of the model changed, and the layouts that suit the unchanged one.
fn swept(
    setups: &[Setup],
    input: &Input,
    performance: &Performance,
    digests: &[Digest],
    threads: usize,
) -> Vec<Swept> {
    let digest = |policy| digests.iter().find(|digest| digest.policy == policy);
    let points = sensitivity::points(performance);
    let mut tasks = Vec::new();
    for point in points.iter().filter(|point| !point.unchanged) {
        for setup in setups.iter().filter(|s| sensitivity::concerns(point.number, s.policy)) {
            let mut setup = setup.clone();
            setup.performance = point.performance.clone();
            let layout = digest(setup.policy).map_or("", |digest| &digest.layout);
            setup.layout = Layout::parse(setup.cluster.gpu, layout).ok().or(setup.layout);
            tasks.push(Task { setup, seed: input.seed, jobs: &input.jobs, detailed: false });
        }
    }
    let mut done = work::run(&tasks, threads).into_iter();
    let base = |policy| digest(policy).map_or(0.0, |digest| digest.metrics.makespan);
    let mut sweep = Vec::with_capacity(points.len());
    for point in points {
        let makespans = setups.iter().map(|setup| {
            let changed = !point.unchanged && sensitivity::concerns(point.number, setup.policy);
            let makespan = match changed {
                true => done.next().map_or(0.0, |digest| digest.metrics.makespan),
                false => base(setup.policy),
            };
            (setup.policy, makespan)
        });
        sweep.push(Swept {
            number: point.number,
            value: point.value,
            unchanged: point.unchanged,
            makespans: makespans.collect(),
        });
    }
    sweep
}

/// What was simulated, in words.
fn facts(args: &Simulate, source: &Source, inputs: &[Input]) -> Vec<(String, String)> {
    let first = &inputs[0];
    let nodes = args.gpus.div_ceil(args.gpus_per_node);
    let mut jobs = match source {
        Source::Trace(name, format, _) => format!("{} of {name} ({format})", first.jobs.len()),
        Source::Generated(_) => format!("{} generated", first.jobs.len()),
    };
    if first.left_out > 0 {
        jobs.push_str(&format!(", {} of several GPUs left out", first.left_out));
    }
    let load = match first.load.is_finite() {
        true => format!("{:.2} of the cluster while jobs come", first.load),
        false => "all jobs come at once".to_owned(),
    };
    let seeds: Vec<String> = args.seed.0.iter().map(u64::to_string).collect();
    let plural = if nodes == 1 { "node" } else { "nodes" };
    [
        ("Cluster", format!("{} {} on {nodes} {plural}", args.gpus, args.model.name)),
        ("Jobs", jobs),
        ("Sizes", format!("{} where the trace has none", args.mix)),
        ("Load", load),
        ("Scheduler", args.scheduler.to_string()),
        ("Seeds", seeds.join(", ")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Asked before the simulations, whose results would be lost. What is in the file stays as it is.
fn writable(option: &str, path: &Path) -> Result<(), Failure> {
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    file.map(drop).map_err(|error| unwritable(option, path, &error))
}

fn write(option: &str, path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| unwritable(option, path, &error))
}

fn unwritable(option: &str, path: &Path, error: &std::io::Error) -> Failure {
    let what = format!("{option} {}", path.display());
    Failure::new(what, error, "name a file that can be written")
}
