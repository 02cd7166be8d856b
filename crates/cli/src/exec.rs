//! `flexmig exec`: gives this rank its leaf, then becomes the command.
//!
//! The same decision as in the preload library ([`flexmig_core::rank`]), for programs that the library
//! does not reach. A process that the library has bound already is handed on as it is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use flexmig_core::rank::{Decision, Reason, Var, View, decide, record};
use flexmig_core::text;

use crate::args::{EXIT_ERROR, EXIT_USAGE};

/// As env(1) and sh: the command is there but cannot be run.
const EXIT_CANNOT_RUN: u8 = 126;
/// As env(1) and sh: there is no such command.
const EXIT_NOT_FOUND: u8 = 127;

const HELP: &str = "\
Where a launcher starts dynamically linked programs this is not needed: the preload library does the same in each of them. It is for \
static programs, for launchers of containers, and for torchrun --no-python.

The rank is that of the innermost launcher (torchrun and others by LOCAL_RANK, mpirun, mpiexec, srun with several tasks on the node), or \
the number in the variable that --rank-env names. The command gets CUDA_VISIBLE_DEVICES=<its leaf>, LOCAL_RANK=0 \
(FLEXMIG_KEEP_LOCAL_RANK=1 leaves it), FLEXMIG_LEAF, FLEXMIG_LOCAL_RANK and FLEXMIG_BOUND. A CUDA_VISIBLE_DEVICES of your own stays. \
Without leaves or without a rank the command runs as it is, with one line on stderr (FLEXMIG_LOG=error is silent).

Exit status: that of the command; 1 if there is no leaf for this rank, 126 or 127 if the command cannot be run or is not found.

Examples:
  torchrun --nproc_per_node 4 --no-python flexmig exec -- ./train --epochs 3
  mpirun -n 4 flexmig exec -- apptainer exec --nv image.sif ./solver
  my-launcher -n 4 flexmig exec --rank-env MY_LOCAL_RANK -- ./solver";

/// `flexmig exec`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Exec {
    /// Variable that holds the rank on this node, instead of the launcher's
    #[arg(long, value_name = "NAME")]
    pub rank_env: Option<OsString>,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// What is to be done with an environment.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Set these variables, after saying these lines, and run the command.
    Run { set: Vec<(OsString, OsString)>, lines: Vec<(Level, String)> },
    /// Say the line and end with this status.
    End(u8, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error,
    Warn,
    Info,
}

impl Level {
    /// From FLEXMIG_LOG; warnings and errors are written without it.
    fn of(environment: &[Vec<u8>]) -> Level {
        match value(environment, b"FLEXMIG_LOG") {
            Some(b"error") => Level::Error,
            Some(b"info" | b"debug") => Level::Info,
            _ => Level::Warn,
        }
    }
}

fn value<'a>(environment: &'a [Vec<u8>], name: &[u8]) -> Option<&'a [u8]> {
    environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
}

fn owned(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// Decides, from the entries `NAME=value` of an environment. Pure.
fn outcome(environment: &[Vec<u8>], rank_env: Option<&OsStr>) -> Outcome {
    let mut view = View::new();
    environment.iter().for_each(|entry| view.take(entry));
    // LOCAL_RANK is what counts anyway, and the preload library may have set it to 0 already.
    let named = rank_env.filter(|name| *name != "LOCAL_RANK");
    let mut rank = None;
    if let Some(name) = named {
        let found = value(environment, name.as_bytes());
        rank = found.and_then(text::number);
        if rank.is_none() {
            let text = String::from_utf8_lossy(found.unwrap_or_default()).into_owned();
            let name = name.display();
            let is = if found.is_some() { format!("`{text}`") } else { "not set".to_owned() };
            let line = format!("exec: {name} is {is}: name a variable that holds the local rank");
            return Outcome::End(EXIT_USAGE, line);
        }
    }
    let unbound = |level, why: &str| Outcome::Run {
        set: Vec::new(),
        lines: vec![(level, format!("exec: {why}: the command runs unbound"))],
    };
    match decide(&view, rank) {
        Decision::Leave(Reason::NoLeaves) => {
            unbound(Level::Warn, "FLEXMIG_UUIDS is not set, so there are no leaves")
        }
        Decision::Leave(Reason::NoRank) => {
            unbound(Level::Warn, "no launcher has given this process a rank (see --rank-env)")
        }
        Decision::Leave(Reason::Users) => unbound(Level::Info, "CUDA_VISIBLE_DEVICES is your own"),
        Decision::Leave(Reason::Off | Reason::Inherited | Reason::Said) => {
            Outcome::Run { set: Vec::new(), lines: Vec::new() }
        }
        Decision::Bind(binding) => {
            let mut set = Vec::new();
            binding.edits(|var, value| set.push((owned(var.name().to_bytes()), owned(value))));
            let note = binding.note.map(|note| (Level::Warn, note.to_string()));
            let uuid = String::from_utf8_lossy(binding.uuid);
            let line = (Level::Info, format!("bound to leaf {}, {uuid}", binding.leaf));
            Outcome::Run { set, lines: note.into_iter().chain([line]).collect() }
        }
        Decision::Complain(problem) => {
            let mark = record::said_mark(problem.hash());
            let name = owned(Var::Bound.name().to_bytes());
            Outcome::Run {
                set: vec![(name, owned(mark.as_bytes()))],
                lines: vec![(Level::Error, problem.to_string())],
            }
        }
        Decision::Refuse(problem) => Outcome::End(EXIT_ERROR, problem.to_string()),
    }
}

/// Becomes the command. Returns only if it cannot: the exit status.
pub fn run(args: &Exec) -> u8 {
    let environment: Vec<Vec<u8>> = std::env::vars_os()
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
        .collect();
    let (set, lines) = match outcome(&environment, args.rank_env.as_deref()) {
        Outcome::Run { set, lines } => (set, lines),
        Outcome::End(status, line) => {
            eprintln!("flexmig: {line}");
            return status;
        }
    };
    let most = Level::of(&environment);
    for (_, line) in lines.iter().filter(|(level, _)| *level <= most) {
        eprintln!("flexmig: {line}");
    }
    let Some((program, arguments)) = args.command.split_first() else { return EXIT_USAGE };
    let error = Command::new(program).args(arguments).envs(set).exec();
    eprintln!("flexmig: exec: {}: {error}: name a program that can be run", program.display());
    if error.kind() == io::ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_CANNOT_RUN }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAVES: [&str; 2] = ["FLEXMIG_UUIDS=MIG-a,MIG-b", "CUDA_VISIBLE_DEVICES=MIG-a,MIG-b"];

    fn run_in(entries: &[&str], rank_env: Option<&str>) -> Outcome {
        let entries: Vec<Vec<u8>> =
            LEAVES.iter().chain(entries).map(|entry| entry.as_bytes().to_vec()).collect();
        outcome(&entries, rank_env.map(OsStr::new))
    }

    fn set(outcome: Outcome) -> Vec<String> {
        match outcome {
            Outcome::Run { set, .. } => {
                set.iter().map(|(k, v)| format!("{}={}", k.display(), v.display())).collect()
            }
            Outcome::End(status, line) => panic!("{status}: {line}"),
        }
    }

    #[test]
    fn a_launchers_rank_is_bound() {
        let set = set(run_in(&["LOCAL_RANK=1", "LOCAL_WORLD_SIZE=2", "RANK=1"], None));
        assert_eq!(
            set[..4],
            [
                "CUDA_VISIBLE_DEVICES=MIG-b",
                "FLEXMIG_LEAF=1",
                "FLEXMIG_LOCAL_RANK=1",
                "LOCAL_RANK=0",
            ]
        );
        assert!(set[4].starts_with("FLEXMIG_BOUND=1:0,2,1,"), "{set:?}");
    }

    #[test]
    fn a_named_variable_counts_before_any_launchers() {
        let environment = ["MY_RANK=1", "LOCAL_RANK=0", "LOCAL_WORLD_SIZE=2"];
        let bound = set(run_in(&environment, Some("MY_RANK")));
        assert!(bound.contains(&"CUDA_VISIBLE_DEVICES=MIG-b".to_owned()), "{bound:?}");
        let bound = set(run_in(&environment, Some("LOCAL_RANK")));
        assert!(bound.contains(&"CUDA_VISIBLE_DEVICES=MIG-a".to_owned()), "{bound:?}");
    }

    #[test]
    fn a_bound_process_is_handed_on() {
        let mut environment = vec!["LOCAL_RANK=1".to_owned()];
        let bound = set(run_in(&["LOCAL_RANK=1"], None));
        environment.retain(|entry| !entry.starts_with("LOCAL_RANK"));
        environment.extend(bound.into_iter().skip(1));
        let entries: Vec<&str> = environment.iter().map(String::as_str).collect();
        assert_eq!(run_in(&entries, None), Outcome::Run { set: vec![], lines: vec![] });
        assert_eq!(
            run_in(&entries, Some("LOCAL_RANK")),
            Outcome::Run { set: vec![], lines: vec![] }
        );
    }

    #[test]
    fn what_does_not_fit_says_so() {
        let Outcome::End(status, line) = run_in(&["LOCAL_RANK=2"], None) else { panic!() };
        assert_eq!(status, 1);
        assert!(line.starts_with("more ranks than leaves: LOCAL_RANK"), "{line}");
        for entries in [&["R=x"][..], &[]] {
            let Outcome::End(status, line) = run_in(entries, Some("R")) else { panic!() };
            assert!(status == 2 && line.contains("name a variable"), "{line}");
        }
        let Outcome::Run { lines, .. } = run_in(&[], None) else { panic!() };
        assert_eq!(lines[0].0, Level::Warn);
        assert!(lines[0].1.contains("no launcher has given"), "{lines:?}");
        let Outcome::Run { set, lines } = run_in(&["FLEXMIG_MODE=fast", "LOCAL_RANK=1"], None)
        else {
            panic!()
        };
        assert!(set[0].1.as_bytes().starts_with(b"said:"), "{set:?}");
        assert!(lines[0].1.starts_with("FLEXMIG_MODE: `fast`"), "{lines:?}");
    }
}
