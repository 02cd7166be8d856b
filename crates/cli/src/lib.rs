//! The `flexmig` command: `leaves`, `config` and `check` for administrators.
//!
//! | module | what it holds |
//! |---|---|
//! | [`args`] | the command line, with all help texts |
//! | [`host`] | what this host has: slurm.conf, flexmig.toml, the node's name, its leaves and indices |
//! | [`view`] | what `flexmig leaves` shows |
//! | [`parts`] | what `flexmig config` prints |
//! | [`check`] | what `flexmig check` finds |
//! | [`exec`] | a rank's leaf for programs that the preload library does not reach |
//! | [`mod@bench`] | collectives over the net plugin (`flexmig bench`) |
//! | [`probe_cmd`] | whether leaves of one GPU can share memory (`flexmig probe`) |
//! | [`cluster`] | the view of the cluster: from the controller or from a file |
//! | [`explain`] | what a request would get, and why |
//! | [`status`] | who holds which leaf of the cluster, and which are free |
//! | [`simulate`] | what one-to-many allocation would be worth on a cluster and its jobs |
//! | [`probe`] | trying for real whether the installed Slurm loads a plugin |
//! | [`output`], [`canvas`], [`text`], [`generate`] | tables, pictures, places in Slurm's files, man pages and completions |
//!
//! The views are pure functions of what [`host`] read, so their exact text is tested.

pub mod args;
pub mod bench;
pub mod canvas;
pub mod check;
pub mod cluster;
pub mod exec;
pub mod explain;
pub mod generate;
pub mod host;
pub mod output;
pub mod parts;
pub mod probe;
pub mod probe_cmd;
pub mod simulate;
pub mod status;
pub mod text;
pub mod view;

use std::fmt::{self, Display};

use mig_inventory::Inventory;

use args::{Cli, Command};
use host::Host;

/// Why a command ended without doing its work: one line, `what: why: what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// From its three parts.
    pub fn new(what: impl Display, why: impl Display, mend: impl Display) -> Failure {
        Failure(format!("{what}: {why}: {mend}"))
    }

    /// From a message of another part, which has all three.
    pub fn message(message: impl Display) -> Failure {
        Failure(message.to_string())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flexmig: {}", self.0)
    }
}

/// Does what the command line says; returns the exit status.
pub fn run(cli: &Cli) -> Result<u8, Failure> {
    match &cli.command {
        Command::Leaves(args) => leaves(args).map(|()| 0),
        Command::Config(args) => config(args).map(|()| 0),
        Command::Check(args) => {
            let report = check::report(args);
            print(&if args.json { json(&report)? } else { report.text(args.quiet) })?;
            Ok(report.status())
        }
        Command::Bench(args) => bench::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Exec(args) => Ok(exec::run(args)),
        Command::Probe(args) => probe_cmd::run(args),
        Command::ProbeSide(args) => print(&json(&probe_cmd::side::run(args))?).map(|()| 0),
        Command::Simulate(args) => simulate::run(args).map(|()| 0),
        Command::Status(args) => status::run(args).map(|()| 0),
        Command::Generate(args) => generate::run(args).map(|()| 0),
        Command::Load(args) => print(&json(&probe::load(&args.file, &args.slurm_dir))?).map(|()| 0),
    }
}

fn leaves(args: &args::Leaves) -> Result<(), Failure> {
    let host = configured_host(args.node.name.as_deref())?;
    let inventory = Inventory::read(&host.policy.node).map_err(Failure::message)?;
    let view = host::view(&host, &inventory);
    print(&if args.json { json(&view)? } else { view::text(&view, output::terminal_width()) })
}

fn config(args: &args::Config) -> Result<(), Failure> {
    let host = configured_host(args.node.name.as_deref())?;
    let inventory = Inventory::read(&host.policy.node).map_err(Failure::message)?;
    if inventory.leaves.is_empty() {
        return Err(no_leaves(&host, &inventory));
    }
    let parts = host::parts(&host, &inventory, args.explicit);
    let text = match (args.layout, args.json) {
        (true, _) => parts.layout.text,
        (_, true) => json(&parts)?,
        _ => parts.text(),
    };
    print(&text)
}

/// The configuration; a broken flexmig.toml is an error, as it says where the leaves are.
fn configured_host(node: Option<&str>) -> Result<Host, Failure> {
    let host = Host::read(node);
    match host.site.policy.error() {
        Some(error) => Err(Failure::message(format!("{error}: mend it, then try again"))),
        None => Ok(host),
    }
}

fn no_leaves(host: &Host, inventory: &Inventory) -> Failure {
    let why = match inventory.warnings.first() {
        Some(warning) => {
            return Failure::message(format!("node {}: no leaves: {warning}", host.node));
        }
        None if inventory.parents.is_empty() => "NVML shows no GPU",
        None => "MIG is off on its GPUs",
    };
    Failure::new(
        format!("node {}: no leaves", host.node),
        why,
        "nvidia-smi -mig 1, then make the instances (nvidia-mig-parted apply)",
    )
}

fn print(text: &str) -> Result<(), Failure> {
    output::print(text)
        .map_err(|error| Failure::new("stdout", error, "free space or another target"))
}

/// JSON as it is printed, with a newline at the end.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new("JSON", error, "please report this"))?;
    Ok(text + "\n")
}
