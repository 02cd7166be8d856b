//! The command line of `flexmig simulate`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args};
use flexmig_sim::trace::Format;
use flexmig_sim::workload::Mix;
use flexmig_sim::{Gpu, Oversize, PolicyName, SchedulerName};

const HELP: &str = "\
Policies: static (one instance per job, one layout), static-best (the same, on the layout that suits the jobs), drain (a GPU is cut anew when \
it is idle), dynamic (instances come and go), flex-uniform (all leaves 1g, many per job), flex (this selection on a layout), flex-best (on the \
layout that suits the jobs), pooled (an ideal without fragments). `all` runs each of them. docs/simulator.md says how to read the results, \
what the model of performance assumes, and what it does not know.

Schedulers: easy starts jobs in order with EASY backfill that counts leaves; slurm does what Slurm's main and backfill schedulers do, \
with the parameters that are Slurm's defaults.

A trace knows no MIG sizes but those of sacct and openb. --mix decides for jobs of one GPU: even (1g, 2g, 3g, 4g, 7g equally often), small \
(50:25:12:8:5), large (5:10:15:25:45), or weights of your own. Without --load jobs come as they came in the trace; with it, their submissions \
are drawn together or apart until their slice-seconds over those of the cluster are that much. Rows that are no jobs are counted on stderr, \
with line numbers.

A table of several seeds has their medians. REL is seed by seed, over static or the first policy, and then the median: not the ratio \
of the medians beside it. The same seed gives the same result.

Fields of --json (fields are added, never renamed; null where unknown):
  version            1
  input              trace, format, rows, skipped, skipped_reasons[] {reason, count}, skipped_rows[] {line, why}, jobs (per seed),
                     left_out (jobs of several GPUs), mix, load
  cluster            gpus, gpus_per_node, model
  scheduler          easy or slurm
  performance        the numbers of the model
  results[]          policy, seed, makespan_s, mean_wait_s, p95_wait_s, mean_jct_s, p95_jct_s, utilisation_sm, utilisation_memory,
                     fragmentation, unplaced_jobs, jobs, mean_slowdown, spanning_jobs, replanned_jobs, reconfigurations, layout
  sensitivity[]      number, value, unchanged, winner, makespans[] {policy, makespan_s}; with --sensitivity

Examples:
  flexmig simulate --trace philly.csv.gz --format philly --gpus 64 --model a100-80 --policy all --seed 1 --json
  flexmig simulate --print-sacct
  flexmig simulate --trace trace.txt --format sacct --gpus 32 --model h100-80 --scheduler slurm --report report.html
  flexmig simulate --generate 5000 --load 0.9 --seed 1-10 --policy static,dynamic,flex --layout flex=7x1g,4g+2g+1g";

/// `flexmig simulate`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
#[command(group(ArgGroup::new("jobs-from").required(true).args(["trace", "generate", "print_sacct", "print_model"])))]
pub struct Simulate {
    /// Jobs of this file, also gzipped; - is stdin
    #[arg(long, value_name = "FILE", requires = "format")]
    pub trace: Option<PathBuf>,
    /// What the file is: philly, openb, sacct or swf
    #[arg(long, value_name = "FORMAT", requires = "trace", conflicts_with = "generate")]
    pub format: Option<Format>,
    /// So many jobs out of the seed: they come at random, and run for log-normal times
    #[arg(long, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub generate: Option<u32>,
    /// Print the sacct command that makes a trace of this cluster, and do nothing else
    #[arg(long)]
    pub print_sacct: bool,
    /// Print the model of performance with its sources, to edit for --model-file, and do nothing else
    #[arg(long)]
    pub print_model: bool,

    /// GPUs of the cluster
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub gpus: u32,
    /// GPUs of a node
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub gpus_per_node: u32,
    /// Model of the GPUs
    #[arg(long, value_name = "NAME", default_value = "a100-80", value_parser = Gpu::named)]
    pub model: &'static Gpu,
    /// How leaves are given to jobs: all, or names with commas
    #[arg(long, value_name = "POLICY", default_value = "all", value_delimiter = ',')]
    pub policy: Vec<Policies>,
    /// Who decides which job starts when: easy or slurm
    #[arg(long, value_name = "NAME", default_value = "easy")]
    pub scheduler: SchedulerName,
    /// The cut of the GPUs, as 4g+2g+1g or 3*7x1g,4g+2g+1g; for one policy POLICY=LAYOUT
    #[arg(long, value_name = "LAYOUT")]
    pub layout: Vec<PolicyLayout>,
    /// What one-to-one policies do with jobs larger than any instance: shrink or reject
    #[arg(long, value_name = "WHAT", default_value = "shrink", value_parser = oversize)]
    pub oversize: Oversize,
    /// Jobs from the head of the queue that the scheduler looks at [default: 100 with easy, 500 with slurm]
    #[arg(long, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub depth: Option<u32>,
    /// A model of performance, see --print-model
    #[arg(long, value_name = "FILE")]
    pub model_file: Option<PathBuf>,

    /// Decides what the trace does not say: 1, 1,2,5 or 1-10
    #[arg(long, value_name = "SEEDS", default_value = "1")]
    pub seed: Seeds,
    /// Sizes of jobs of one GPU: even, small, large, or weights of 1g, 2g, 3g, 4g and 7g as 50:25:12:8:5
    #[arg(long, value_name = "MIX", default_value = "even")]
    pub mix: Mix,
    /// Work that comes over what the cluster can do: 0.01 to 100 [default: as in the trace; 1 with --generate]
    #[arg(long, value_name = "LOAD", value_parser = load)]
    pub load: Option<f64>,
    /// So many jobs of the trace, from a place that the seed decides
    #[arg(long, value_name = "N", conflicts_with = "generate", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// Leave out jobs of several GPUs
    #[arg(long)]
    pub single_gpu: bool,
    /// Time limits, where the trace has none, are up to so many times the run time: 1 to 1000
    #[arg(long, value_name = "TIMES", default_value = "4", value_parser = limits)]
    pub limits: f64,

    /// Change each number of the model alone and tell which policy wins (first seed)
    #[arg(long)]
    pub sensitivity: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write a line per policy and seed
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write a page with plots, for any browser, offline
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Simulations at the same time [default: as many as there are CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// A word of `--policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policies {
    /// Each of them.
    All,
    /// This one.
    One(PolicyName),
}

impl FromStr for Policies {
    type Err = String;

    fn from_str(text: &str) -> Result<Policies, String> {
        match text {
            "all" => Ok(Policies::All),
            name => name.parse().map(Policies::One).map_err(|error| format!("{error}, or all")),
        }
    }
}

/// A word of `--layout`; which GPU model it must fit is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLayout {
    /// For this policy only.
    pub policy: Option<PolicyName>,
    /// As it was typed.
    pub text: String,
}

impl FromStr for PolicyLayout {
    type Err = String;

    fn from_str(text: &str) -> Result<PolicyLayout, String> {
        let Some((policy, layout)) = text.split_once('=') else {
            return Ok(PolicyLayout { policy: None, text: text.to_owned() });
        };
        let policy: PolicyName = policy.parse().map_err(|error| format!("{error}"))?;
        match policy {
            PolicyName::Dynamic | PolicyName::Pooled => Err(format!("{policy} has no layout")),
            PolicyName::FlexUniform => {
                Err(format!("{policy} has leaves of one slice only: type flex={layout}"))
            }
            _ => Ok(PolicyLayout { policy: Some(policy), text: layout.to_owned() }),
        }
    }
}

/// `--seed`: each once, in the order in which they were typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Vec<u64>);

/// Most seeds.
const SEEDS: u64 = 1000;

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let wrong = || format!("type 1, 1,2,5 or 1-10, at most {SEEDS} seeds");
        let mut seeds = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u64 = first.trim().parse().map_err(|_| wrong())?;
            let last: u64 = last.trim().parse().map_err(|_| wrong())?;
            if last < first || last - first >= SEEDS {
                return Err(wrong());
            }
            for seed in first..=last {
                if !seeds.contains(&seed) {
                    seeds.push(seed);
                }
            }
        }
        match seeds.len() as u64 {
            1..=SEEDS => Ok(Seeds(seeds)),
            _ => Err(wrong()),
        }
    }
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| (least..=most).contains(number));
    number.ok_or_else(|| format!("type a number from {least} to {most}"))
}

fn load(text: &str) -> Result<f64, String> {
    number(text, 0.01, 100.0)
}

fn limits(text: &str) -> Result<f64, String> {
    number(text, 1.0, 1000.0)
}

fn oversize(text: &str) -> Result<Oversize, String> {
    match text {
        "shrink" => Ok(Oversize::Shrink),
        "reject" => Ok(Oversize::Reject),
        _ => Err("type shrink or reject".to_owned()),
    }
}

impl Simulate {
    /// The policies, each once.
    pub fn policies(&self) -> Vec<PolicyName> {
        let named = |word: &Policies| match word {
            Policies::All => PolicyName::ALL.to_vec(),
            Policies::One(policy) => vec![*policy],
        };
        let mut policies = Vec::new();
        for policy in self.policy.iter().flat_map(named) {
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        policies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_lists_and_ranges() {
        assert_eq!("1".parse(), Ok(Seeds(vec![1])));
        assert_eq!("3,1-3,9".parse(), Ok(Seeds(vec![3, 1, 2, 9])));
        for text in ["", "a", "3-1", "1-", "-1", "0-1000", "0-999,2000", "1-18446744073709551615"] {
            assert!(text.parse::<Seeds>().is_err(), "{text}");
        }
    }

    #[test]
    fn layouts_are_for_all_policies_or_for_one() {
        let one = "flex=7x1g".parse::<PolicyLayout>().unwrap();
        assert_eq!((one.policy, one.text.as_str()), (Some(PolicyName::Flex), "7x1g"));
        assert_eq!("4g+2g+1g".parse::<PolicyLayout>().unwrap().policy, None);
        assert_eq!("pooled=7g".parse::<PolicyLayout>().unwrap_err(), "pooled has no layout");
        assert!("flex-uniform=7x1g".parse::<PolicyLayout>().is_err());
        assert!("best=7x1g".parse::<PolicyLayout>().unwrap_err().contains("no such policy"));
    }
}
