//! What libflexmig_preload.so costs each process of a job: `bash -c true` with and without it.
//!
//! Both run in the environment of a bound rank's child, which is what nearly every process of a job
//! is. They take turns process by process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flexmig_cluster::build_dir;

use crate::report::{Figure, Report};
use crate::stats::Sample;

/// How much is measured.
pub struct Plan {
    /// Rounds; a ratio is taken of each.
    pub rounds: usize,
    /// Processes per round and side.
    pub processes: usize,
}

/// Measures; the library must have been built.
pub fn measure(plan: &Plan) -> Result<Report, String> {
    let library = build_dir().join("lib/libflexmig_preload.so");
    if !library.exists() {
        return Err(format!("{} is missing: run `make build`", library.display()));
    }
    let env = environment(&library)?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..=plan.rounds {
        let mut times = [Vec::new(), Vec::new()];
        for turn in 0..2 * plan.processes {
            let preload = (turn + round) % 2 == 1;
            let time = start(&env, preload.then_some(&*library))?;
            times[usize::from(preload)].push(time.as_secs_f64() * 1e6);
        }
        // The first round fills caches. A process that had to wait for a CPU says nothing about us,
        // so the middle one stands for the round.
        if round > 0 {
            let [plain, preloaded] = times.map(|times| Sample::new(times).median());
            without.push(plain);
            with.push(preloaded);
        }
    }
    let mut report = Report::new("start of bash -c true, microseconds");
    let figure = Figure {
        name: "bash_start_with_preload_vs_without",
        against: "without",
        lower_is_better: true,
        sample: Sample::ratios(&with, &without),
    };
    report.row("without", Sample::new(without));
    report.row("with libflexmig_preload.so", Sample::new(with));
    report.figure(figure);
    Ok(report)
}

type Environment = Vec<(String, String)>;

/// The environment that a rank hands on to its children.
fn environment(library: &Path) -> Result<Environment, String> {
    let uuids: Vec<String> =
        (0..4).map(|leaf| format!("MIG-00000000-0000-4000-8000-00000000000{leaf}")).collect();
    let output = Command::new("env")
        .env("LD_PRELOAD", library)
        .env("FLEXMIG_UUIDS", uuids.join(","))
        .env("CUDA_VISIBLE_DEVICES", uuids.join(","))
        .env("FLEXMIG_MODE", "relabel-shm")
        .envs([("SLURM_JOB_ID", "17"), ("LOCAL_RANK", "2"), ("LOCAL_WORLD_SIZE", "4")])
        .arg("-0")
        .output()
        .map_err(|error| format!("env: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let variables = text.split_terminator('\0').filter_map(|entry| entry.split_once('='));
    let variables: Environment = variables
        .filter(|(name, _)| *name != "LD_PRELOAD")
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if variables.iter().any(|(name, _)| name == "FLEXMIG_BOUND") {
        Ok(variables)
    } else {
        Err(format!("{}: a rank was not bound", library.display()))
    }
}

/// From the start of a shell to its end.
fn start(env: &Environment, preload: Option<&Path>) -> Result<Duration, String> {
    let mut command = Command::new("/bin/bash");
    command.args(["-c", "true"]).env_clear().envs(env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null());
    if let Some(library) = preload {
        command.env("LD_PRELOAD", library);
    }
    let start = Instant::now();
    let status = command.status().map_err(|error| format!("bash: {error}"))?;
    let time = start.elapsed();
    if status.success() { Ok(time) } else { Err(format!("bash: {status}")) }
}
