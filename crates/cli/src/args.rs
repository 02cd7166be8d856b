//! The command line, as clap reads it and as `--help`, man pages and completions show it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::Bench;
use crate::exec::Exec;
use crate::explain::Explain;
use crate::probe_cmd::ProbeArgs;
use crate::probe_cmd::side::Side;
use crate::simulate::args::Simulate;
use crate::status::Status;

/// Exit status of `flexmig check` when it found errors, and of every command that failed.
pub const EXIT_ERROR: u8 = 1;
/// Exit status of a wrong command line, as clap has it.
pub const EXIT_USAGE: u8 = 2;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (Slurm 22.05 to 26.05)");

const AFTER: &str = "\
Environment:
  SLURM_CONF          path of slurm.conf; else /etc/slurm/slurm.conf, else /run/slurm/conf/slurm.conf
  FLEXMIG_CONF        path of flexmig.toml; else beside slurm.conf, else /etc/flexmig/flexmig.toml
  SLURMD_NODENAME     name of this node in slurm.conf, where --node does not say it

Exit status:
  0  success; check: no errors (there may be warnings); explain: the request would be accepted
  1  failure; check: at least one error; explain: the request would be rejected
  2  usage: the command line is wrong";

/// MIG leaves as a Slurm resource: what this node has, what to configure, and what is wrong.
#[derive(Debug, Parser)]
#[command(name = "flexmig", version = VERSION, after_help = AFTER)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the leaves (MIG devices) of this node with their indices.
    Leaves(Leaves),
    /// Show the leaves of the cluster: who holds which, and which are free.
    Status(Status),
    /// Say what a request would get, what else could serve it, and why.
    Explain(Box<Explain>),
    /// Say what one-to-many allocation would be worth on a cluster and its jobs.
    Simulate(Box<Simulate>),
    /// Print the configuration for this node, ready to paste.
    Config(Config),
    /// Find what is wrong with plugins, configuration and devices, and say how to mend it.
    Check(Check),
    /// Give this rank its leaf, then run a command.
    Exec(Exec),
    /// Measure and verify collectives over the net plugin, without a GPU.
    Bench(Bench),
    /// Find out whether leaves of one GPU can share memory, and remember it for jobs.
    Probe(ProbeArgs),
    /// Write man pages or shell completions (for `make install`).
    #[command(hide = true)]
    Generate(Generate),
    /// One of the two processes of `probe`.
    #[command(hide = true)]
    ProbeSide(Side),
    /// Load one plugin as slurmctld and slurmd do, and report on stdout (`check` runs it).
    #[command(hide = true)]
    Load(Load),
}

/// The node that a command is about.
#[derive(Debug, Default, Args)]
pub struct NodeName {
    /// Name of this node in slurm.conf [default: SLURMD_NODENAME, else the host's name]
    #[arg(long = "node", value_name = "NAME")]
    pub name: Option<String>,
}

const LEAVES_HELP: &str = "\
Indices are those that Slurm shows as IDX. They come from the index file that slurmd keeps; before slurmd has run with the plugin they \
are computed as slurmd would assign them. The output says which.

On a terminal that is too narrow the UUIDs are cut short; through a pipe, and with --json, they are complete.

Fields of --json (fields are added, never renamed; null where unknown):
  version            1
  node               name in slurm.conf
  driver_version     of the NVIDIA driver
  nvml_version       of the NVML library
  order              policy: pack, spread or numa
  indices_from       \"index file\" or \"policy\"
  index_file         its path
  gpus[]             index, minor, uuid, model, bus_id, numa, cpus, leaves (how many), mig (true or false)
  leaves[]           index, type (in slurm.conf), uuid, profile, memory_mib, sm_count, gi, ci, placement {start, size},
                     bus_id (synthetic), device_files[3], gpu_minor, gpu_uuid, gpu_bus_id, numa
  gone[]             indices whose leaf is not there: index, type, uuid, profile
  notes[]            what slurmd would log about them, as text

Examples:
  flexmig leaves
  flexmig leaves --json | jq -r '.leaves[] | [.index, .uuid] | @tsv'";

/// `flexmig leaves`.
#[derive(Debug, Args)]
#[command(after_help = LEAVES_HELP)]
pub struct Leaves {
    /// Which node this is.
    #[command(flatten)]
    pub node: NodeName,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const CONFIG_HELP: &str = "\
Each part starts with a comment that names its file. What slurm.conf already says (other GRES, other job_submit plugins, the rest of \
the NodeName line) is kept. gres.conf needs no lines for flexmig: the plugin finds the leaves; --explicit prints lines for sites that \
want them written down.

Fields of --json: node, gres, gres_types, job_submit_plugins, accounting_storage_tres, node_line, gres_conf[], cgroup_conf[], layout \
{file, text}.

Examples:
  flexmig config
  flexmig config --layout > /etc/slurm/flexmig-layouts/dgx.toml
  flexmig config --json | jq -r .gres";

/// `flexmig config`.
#[derive(Debug, Args)]
#[command(after_help = CONFIG_HELP)]
pub struct Config {
    /// Which node this is.
    #[command(flatten)]
    pub node: NodeName,
    /// Print the layout file only.
    #[arg(long, conflicts_with_all = ["json", "explicit"])]
    pub layout: bool,
    /// Write gres.conf lines, one per leaf, instead of leaving them to the plugin.
    #[arg(long)]
    pub explicit: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const CHECK_HELP: &str = "\
One line per finding: level, where, what, and what to do. Levels: error (jobs will fail or run wrongly until it is mended), warning \
(works, but not as well as it could), ok. --quiet leaves out the ok lines, so that nothing is printed when all is well.

What a host is for decides what is checked: a host named by SlurmctldHost is a controller, a host with a NodeName a node; --controller \
and --node say so where names do not tell.

Fields of --json: version, node, controller (true or false), errors, warnings, findings[] with level, topic, where, what, mend.

Examples:
  flexmig check
  flexmig check --quiet || echo mend me
  flexmig check --json | jq '.findings[] | select(.level == \"error\")'";

/// `flexmig check`.
#[derive(Debug, Args)]
#[command(after_help = CHECK_HELP)]
pub struct Check {
    /// Which node this is.
    #[command(flatten)]
    pub node: NodeName,
    /// Check this host as a controller [default: if slurm.conf names it in SlurmctldHost]
    #[arg(long)]
    pub controller: bool,
    /// Print errors and warnings only.
    #[arg(long, short, conflicts_with = "json")]
    pub quiet: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `flexmig generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// What to write.
    pub what: Generated,
    /// Existing directory to write into.
    pub dir: PathBuf,
}

/// What `flexmig generate` can write.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Generated {
    /// flexmig.1 and a page for each subcommand.
    Man,
    /// flexmig.bash, _flexmig (zsh) and flexmig.fish.
    Completion,
}

/// `flexmig load`.
#[derive(Debug, Args)]
pub struct Load {
    /// The plugin.
    pub file: PathBuf,
    /// Slurm's own plugin directory.
    pub slurm_dir: PathBuf,
}
