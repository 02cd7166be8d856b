//! Jobs: of a trace, or out of a seed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flexmig_sim::trace::{Format, Trace};
use flexmig_sim::workload::{self, Generator, Options, Workload};
use flexmig_sim::{Cluster, Job};

use super::args::Simulate;
use crate::Failure;

/// Where jobs come from.
#[derive(Debug)]
pub enum Source {
    /// A file's name and what it holds.
    Trace(String, Format, Trace),
    /// This many, out of the seed.
    Generated(u32),
}

/// The jobs of one seed.
#[derive(Debug)]
pub struct Input {
    /// What decided about them.
    pub seed: u64,
    /// By submission.
    pub jobs: Vec<Job>,
    /// Jobs of several GPUs that were left out.
    pub left_out: u64,
    /// Work over what the cluster can do; not finite where all jobs come at once.
    pub load: f64,
}

impl Source {
    /// Reads the trace, if there is one.
    pub fn read(args: &Simulate) -> Result<Source, Failure> {
        let (Some(path), Some(format)) = (&args.trace, args.format) else {
            return Ok(Source::Generated(args.generate.unwrap_or(1)));
        };
        let name = if path == Path::new("-") { "stdin".into() } else { path.display().to_string() };
        let what = format!("--trace {name}");
        let input: Box<dyn Read> = match path == Path::new("-") {
            true => Box::new(io::stdin().lock()),
            false => {
                let file = File::open(path);
                Box::new(file.map_err(|e| Failure::new(&what, e, "name a file that can be read"))?)
            }
        };
        let trace = Trace::read(format, input)
            .map_err(|error| Failure::message(format!("{what}: {error}")))?;
        Ok(Source::Trace(name, format, trace))
    }

    /// The jobs of a seed.
    pub fn input(&self, args: &Simulate, cluster: &Cluster, seed: u64) -> Result<Input, Failure> {
        match self {
            Source::Trace(name, _, trace) => {
                let options = Options {
                    mix: args.mix,
                    seed,
                    load: args.load,
                    jobs: args.jobs.map(|jobs| jobs as usize),
                    multi_gpu: !args.single_gpu,
                    limits: args.limits,
                };
                let Workload { jobs, left_out, load } = Workload::of(trace, cluster, &options);
                if jobs.is_empty() {
                    let why = "every job asks for several GPUs";
                    return Err(Failure::new(format!("--trace {name}"), why, "drop --single-gpu"));
                }
                Ok(Input { seed, jobs, left_out, load })
            }
            Source::Generated(jobs) => {
                let generator = Generator {
                    jobs: *jobs as usize,
                    seed,
                    mix: args.mix,
                    load: args.load.unwrap_or(1.0),
                    limits: args.limits,
                    ..Generator::default()
                };
                let jobs: Vec<Job> = generator.jobs(cluster).collect();
                let load = workload::load(&jobs, cluster);
                Ok(Input { seed, jobs, left_out: 0, load })
            }
        }
    }

    /// What was skipped, a line per reason with the first line numbers.
    pub fn notes(&self) -> Vec<String> {
        let Source::Trace(name, _, trace) = self else { return Vec::new() };
        let note = |(reason, count): &(String, u64)| {
            let lines = trace.skipped.iter().filter(|skipped| skipped.reason == *reason);
            let lines: Vec<String> = lines.map(|skipped| skipped.line.to_string()).collect();
            let more = if (lines.len() as u64) < *count { ", ..." } else { "" };
            let (rows, word) = match count {
                1 => ("row", "line"),
                _ => ("rows", "lines"),
            };
            format!("{name}: {count} {rows} skipped: {reason} ({word} {}{more})", lines.join(", "))
        };
        trace.reasons.iter().map(note).collect()
    }
}
