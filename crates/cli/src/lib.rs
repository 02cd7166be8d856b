//! The `flexmig` command: `leaves`, `config` and `check` for administrators.
//!
//! | module | what it holds |
//! |---|---|
//! | [`args`] | the command line, with all help texts |
//! | `site` | what this host has: slurm.conf, flexmig.toml, the node's name, its leaves and indices |
//! | [`view`] | what `flexmig leaves` shows |
//! | [`parts`] | what `flexmig config` prints |
//! | [`check`] | what `flexmig check` finds |
//! | [`probe`] | trying for real whether the installed Slurm loads a plugin; the only `unsafe` |
//! | [`output`], [`text`], [`generate`] | tables, places in Slurm's files, man pages and completions |
//!
//! The views are pure functions of what `site` read, so their exact text is tested.

pub mod args;
pub mod check;
pub mod generate;
pub mod output;
pub mod parts;
pub mod probe;
pub mod text;
pub mod view;

use std::fmt::{self, Display};

use args::{Cli, Command};

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
        Command::Leaves(_) | Command::Config(_) | Command::Check(_) => Ok(0),
        Command::Generate(args) => generate::run(args).map(|()| 0),
        Command::Load(args) => print(&json(&probe::load(&args.file, &args.slurm_dir))?).map(|()| 0),
    }
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
