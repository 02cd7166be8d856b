//! `make bench`: what the plugins cost, side by side with Slurm without them, in one run.
//!
//! | module | measures |
//! |---|---|
//! | [`filter`] | `job_submit()` per call against job_submit/lua (criterion, `benches/filter_call.rs`) |
//! | [`submit`] | slurmctld per request, and jobs per second, with no filter, ours, its view, and lua |
//! | [`stream`] | 300 mixed jobs as flexmig requests against exact types, three seeds |
//! | [`select`] | one choice of leaves on views of 10 to 10,000 nodes, and building the views |
//! | [`simulate`] | simulated makespans on public traces, and the simulator's own speed |
//! | [`start`] | from sbatch to the job's first line, with and without gres/flexmig |
//! | [`preload`] | the start of a shell, with and without the preload library |
//! | [`backfill`] | a backfill cycle over 64 nodes of 56 leaves, against count-only GRES |
//! | [`transport`] | messages between two processes, against UCX and against two copy loops |
//! | [`allreduce`] | an all-reduce over four ranks, against Open MPI and gloo |
//!
//! What is compared takes turns, so that a slow minute of the machine hits all sides; ratios are
//! taken round by round. Nothing here asserts a time. The table goes to stdout, the ratios also to
//! `build/bench/summary.json`, of a quick run to `summary-quick.json`.

mod allreduce;
mod backfill;
mod copy_limit;
mod filter;
mod peers;
mod plugins;
mod preload;
mod report;
mod select;
mod simulate;
mod start;
mod stats;
mod stream;
mod submit;
mod transport;

use std::process::ExitCode;
use std::time::Instant;

use flexmig_cluster::build_dir;
use flexmig_cluster::stream::SEEDS;
use report::Report;

const USAGE: &str = "usage: scripts/bench [--quick] [filter] [select] [simulate] [submit] [stream] \
    [start] [preload] [backfill] [transport] [allreduce]";
const PARTS: [&str; 10] = [
    "filter",
    "select",
    "simulate",
    "submit",
    "stream",
    "start",
    "preload",
    "backfill",
    "transport",
    "allreduce",
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == copy_limit::ARGUMENT) {
        return finish(copy_limit::run(&words[1..]));
    }
    let mut quick = false;
    let mut parts = Vec::new();
    for word in words {
        match word.as_str() {
            "--quick" => quick = true,
            part if PARTS.contains(&part) => parts.push(word),
            _ => {
                eprintln!("bench: {word}: not known: {USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    finish(run(quick, &parts))
}

fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures these parts, or all.
fn run(quick: bool, parts: &[String]) -> Result<(), String> {
    let dir = build_dir().join("bench");
    // A quick run is a smoke test: its figures shall not stand beside real ones.
    let summary = dir.join(if quick { "summary-quick.json" } else { "summary.json" });
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let measure = |part: &str, measure: &dyn Fn() -> Result<Report, String>| {
        if !wanted(part) {
            return Ok(());
        }
        let start = Instant::now();
        let report = measure().map_err(|error| format!("{part}: {error}"))?;
        report.print();
        eprintln!("{part}: {} s", start.elapsed().as_secs());
        report.save(&summary)
    };
    let pick = |long, short| if quick { short } else { long };
    measure("filter", &|| filter::report(&dir.join("criterion")))?;
    measure("select", &|| {
        select::measure(&select::Plan { rounds: pick(15, 3), decisions: pick(20_000, 2_000) })
    })?;
    measure("simulate", &|| {
        simulate::measure(&simulate::Plan { seeds: pick(10, 1), jobs: pick(1_000_000, 10_000) })
    })?;
    measure("submit", &|| {
        let rounds = pick(24, 2);
        submit::measure(&submit::Plan { rounds, clients: 4, submissions: pick(60, 50) })
    })?;
    measure("stream", &|| Ok(stream::measure(pick(SEEDS.len(), 1))))?;
    measure("start", &|| start::measure(&start::Plan { rounds: pick(10, 2), jobs: pick(16, 5) }))?;
    measure("preload", &|| {
        preload::measure(&preload::Plan { rounds: pick(40, 10), processes: pick(50, 20) })
    })?;
    measure("backfill", &|| {
        backfill::measure(&backfill::Plan {
            rounds: pick(6, 1),
            seconds: if quick { 4 } else { 10 },
        })
    })?;
    measure("transport", &|| {
        transport::measure(&transport::Plan { rounds: pick(10, 3), factor: pick(2, 64) })
    })?;
    measure("allreduce", &|| allreduce::measure(pick(12, 3)))?;
    println!("\nfigures: {}", summary.canonicalize().unwrap_or(summary).display());
    Ok(())
}
