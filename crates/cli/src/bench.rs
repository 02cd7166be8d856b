//! `flexmig bench`: starts ranks or joins those that srun started, and prints what they measured.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Args, ValueEnum};
use flexmig_collectives::bench::{self, MAX_BYTES, Op, Options};
use flexmig_collectives::plugin::Net;
use flexmig_collectives::rendezvous::slurm::{MAX_NODES, Step};
use flexmig_collectives::rendezvous::{Session, local};
use flexmig_collectives::report::{self, Json, RankLine};
use flexmig_core::hostlist;
use flexmig_site::Surroundings;

use crate::args::{EXIT_ERROR, EXIT_USAGE};
use crate::{Failure, output};

const HELP: &str = "\
Ranks are processes: -n starts them on this host; under srun every task is a rank, on as many nodes as the step has. They move host \
memory through the net plugin as NCCL would, by ring algorithms, and look at every element of the result.

Columns are those of nccl-tests: size in bytes of the whole data, time of one operation on the slowest rank, algbw = size / time, busbw \
= algbw times the factor that makes it comparable with the hardware (allreduce 2(n-1)/n, allgather and reduce-scatter (n-1)/n, else 1), \
and the number of wrong elements. transport: half the time of a round trip, and the bandwidth of a stream of messages one way. proxy: \
each rank sends to the next one as NCCL's proxy thread does, in slices of 512 KiB or LL lines, eight steps per channel.

--json prints {\"op\",\"ranks\",\"rows\":[{\"bytes\",\"time_us\",\"algbw_gbps\",\"busbw_gbps\",\"errors\"}]} with GB/s of 10^9 bytes.

The plugin is libnccl-net-flexmig.so beside this command's ../lib, or in the library path. Over several nodes the ranks find each other \
on one of eight TCP ports between 20000 and 32000 of rank 0's node.

Examples:
  flexmig bench allreduce -n 4 -b 8 -e 64M
  sbatch --gres=flexmig:4 --wrap 'srun -n4 flexmig bench allreduce'
  flexmig bench transport -n 2 --json | jq '.rows[-1].busbw_gbps'";

/// `flexmig bench`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Bench {
    /// What to measure.
    pub op: BenchOp,
    /// Ranks to start on this host [default: the tasks of srun]
    #[arg(short = 'n', long, value_name = "RANKS")]
    pub ranks: Option<usize>,
    /// Smallest size in bytes; K, M and G are powers of 1024
    #[arg(short = 'b', long = "begin", value_name = "SIZE", default_value = "8", value_parser = size)]
    pub begin: usize,
    /// Largest size in bytes
    #[arg(short = 'e', long = "end", value_name = "SIZE", default_value = "64M", value_parser = size)]
    pub end: usize,
    /// Each size is the one before times this
    #[arg(short = 'f', long, value_name = "N", default_value = "2",
        value_parser = clap::value_parser!(u32).range(2..=1024))]
    pub factor: u32,
    /// The net plugin to drive
    #[arg(long, value_name = "PATH")]
    pub plugin: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Channels between two ranks (proxy)
    #[arg(long, value_name = "C", default_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=32))]
    pub channels: u32,
    /// Repetitions of each size [default: as many as take 0.2 s]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub iters: Option<u32>,
    /// Seconds without any progress after which all ranks give up
    #[arg(long, value_name = "SECONDS", default_value = "60",
        value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub timeout: u32,
    /// Where rank 0 of several nodes is reached [default: NodeAddr of the step's nodes]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Version of the plugin's interface
    #[arg(long, hide = true)]
    pub abi: Option<u32>,
}

/// The operations, as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchOp(pub Op);

impl ValueEnum for BenchOp {
    fn value_variants<'a>() -> &'a [BenchOp] {
        static ALL: [BenchOp; Op::ALL.len()] = {
            let mut all = [BenchOp(Op::Proxy); Op::ALL.len()];
            let mut index = 0;
            while index < all.len() {
                all[index] = BenchOp(Op::ALL[index]);
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

/// Reads `8`, `64K`, `1M`, `1G`.
fn size(text: &str) -> Result<usize, String> {
    let upper = text.to_ascii_uppercase();
    let (digits, shift) = match upper.strip_suffix(['K', 'M', 'G']) {
        Some(digits) if upper.ends_with('K') => (digits, 10),
        Some(digits) if upper.ends_with('M') => (digits, 20),
        Some(digits) => (digits, 30),
        None => (upper.as_str(), 0),
    };
    let number: Option<usize> = digits.parse().ok().filter(|_| !digits.starts_with('+'));
    match number.and_then(|number| number.checked_mul(1 << shift)) {
        Some(bytes) if bytes <= MAX_BYTES => Ok(bytes),
        Some(_) => Err("1G is the largest size".to_owned()),
        None => Err("not a size: type bytes, or a number with K, M or G".to_owned()),
    }
}

impl Bench {
    /// All sizes, or why there are none.
    fn sizes(&self) -> Result<Vec<usize>, String> {
        let Bench { begin, end, factor, .. } = *self;
        if begin > end {
            return Err(format!("-b {begin} is above -e {end}: type the smaller size after -b"));
        }
        let mut sizes = vec![begin];
        // Nothing is followed by the smallest size that there usually is.
        let next = |size: usize| if size == 0 { 8 } else { size.saturating_mul(factor as usize) };
        let mut size = next(begin);
        while size <= end {
            sizes.push(size);
            size = next(size);
        }
        if self.op.0.adds() && sizes.iter().any(|size| !size.is_multiple_of(4)) {
            return Err(format!("{} adds floats: -b must be a multiple of 4", self.op.0));
        }
        Ok(sizes)
    }

    /// What is wrong with the command line for this number of ranks.
    fn check(&self, ranks: usize) -> Result<Options, String> {
        if ranks == 0 {
            return Err("-n 0: type one rank or more".to_owned());
        }
        if let Some(refusal) = self.op.0.refuses(ranks) {
            return Err(refusal);
        }
        Ok(Options {
            op: self.op.0,
            sizes: self.sizes()?,
            channels: self.channels as usize,
            iterations: self.iters,
        })
    }
}

fn failure(what: impl std::fmt::Display) -> Failure {
    Failure::message(format!("bench: {what}"))
}

/// A command line that clap could not see to be wrong.
fn usage(what: String) -> Result<u8, Failure> {
    eprintln!("{}", failure(what));
    Ok(EXIT_USAGE)
}

/// Runs as one rank of a group, or starts a group.
pub fn run(args: &Bench) -> Result<u8, Failure> {
    let patience = Duration::from_secs(args.timeout.into());
    if let Some(session) = local::member(patience).map_err(failure)? {
        // The parent has checked the options, and prints what went wrong.
        let Ok(options) = args.check(session.place().ranks) else { return Ok(EXIT_USAGE) };
        return Ok(rank(args, &options, session).map_or(EXIT_ERROR, |()| 0));
    }
    let step = Step::of_environment(|name| std::env::var(name).ok()).map_err(failure)?;
    match (step, args.ranks) {
        (Some(step), Some(ranks)) if ranks != step.place.ranks => usage(format!(
            "-n {ranks}, but srun started {} tasks, and each of them is a rank: leave -n out",
            step.place.ranks
        )),
        (Some(step), _) => {
            let number = step.place.rank;
            let options = match args.check(step.place.ranks) {
                Ok(options) => options,
                Err(what) => return usage(what),
            };
            let joined = step.join(&hosts(args, &step), patience);
            joined
                .and_then(|session| rank(args, &options, session))
                .map(|()| 0)
                .map_err(|error| failure(format!("rank {number} stops: {error}")))
        }
        (None, None) => usage(format!(
            "how many ranks: type -n RANKS, or start them with srun -n RANKS flexmig bench {}",
            args.op.0
        )),
        (None, Some(ranks)) => match args.check(ranks) {
            Ok(_) => start(ranks).map(|()| 0),
            Err(what) => usage(what),
        },
    }
}

/// Starts ranks on this host: this command again, with the same arguments.
fn start(ranks: usize) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(failure)?;
    local::launch(ranks, |_| {
        let mut command = Command::new(&program);
        command.args(std::env::args_os().skip(1)).stdin(Stdio::null());
        command
    })
    .map_err(failure)
}

/// One rank's work, and the output if it is rank 0.
fn rank(
    args: &Bench,
    options: &Options,
    session: Session,
) -> Result<(), flexmig_collectives::Error> {
    let result = measure(args, options, &session);
    session.end(result)
}

fn measure(
    args: &Bench,
    options: &Options,
    session: &Session,
) -> Result<(), flexmig_collectives::Error> {
    let path = args.plugin.clone().unwrap_or_else(default_plugin);
    let net = Net::load(&path, args.abi)?;
    let ranks = session.exchange(&own_line().encode())?;
    let lines: Vec<RankLine> = ranks.iter().map(|text| RankLine::decode(text)).collect();
    let (first, table) = (session.place().rank == 0, !args.json);
    if first && table {
        show(&report::head(options.op, net.name(), net.version(), &lines))?;
    }
    let mut shown = Ok(());
    let rows = bench::run(&net, session, options, |row| {
        if first && table && shown.is_ok() {
            shown = show(&report::row(row));
        }
    })?;
    shown?;
    if first {
        let json = Json { op: options.op.name(), ranks: lines.len(), rows: &rows };
        show(&match table {
            true => report::foot(&rows),
            false => serde_json::to_string(&json).unwrap_or_default() + "\n",
        })?;
    }
    let wrong = rows.iter().map(|row| row.errors).sum();
    if first && wrong > 0 {
        return Err(flexmig_collectives::Error::Wrong { op: options.op.name(), wrong });
    }
    Ok(())
}

fn show(text: &str) -> Result<(), flexmig_collectives::Error> {
    let failed = |error: io::Error| flexmig_collectives::Error::host("stdout", error);
    output::print(text).map_err(failed)
}

/// The plugin as it lies beside this command, built or installed, else by name.
fn default_plugin() -> PathBuf {
    const NAME: &str = "libnccl-net-flexmig.so";
    let program = std::env::current_exe().unwrap_or_default();
    let prefix = program.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let places = ["lib", "lib/flexmig", "lib64", "lib64/flexmig"];
    let found = places.iter().map(|place| prefix.join(place).join(NAME)).find(|path| path.exists());
    found.unwrap_or_else(|| NAME.into())
}

/// This rank as the head of the table shows it.
fn own_line() -> RankLine {
    let get = |name: &str| std::env::var(name).ok();
    RankLine {
        node: get("SLURMD_NODENAME").unwrap_or_else(flexmig_site::hostname),
        pid: std::process::id(),
        leaf: leaf(get).unwrap_or_default(),
    }
}

/// The leaf that this process is bound to: what the preload library says, or the one device that
/// Slurm left visible.
fn leaf(get: impl Fn(&str) -> Option<String>) -> Option<String> {
    let bound = || {
        let index: usize = get("FLEXMIG_LEAF")?.parse().ok()?;
        Some(get("FLEXMIG_UUIDS")?.split(',').nth(index)?.to_owned())
    };
    let visible = || {
        get("CUDA_VISIBLE_DEVICES").filter(|list| list.starts_with("MIG-") && !list.contains(','))
    };
    bound().or_else(visible)
}

/// Where rank 0 may be: what the user says, else the addresses of the step's nodes.
fn hosts(args: &Bench, step: &Step) -> Vec<String> {
    if let Some(host) = &args.host {
        return vec![host.clone()];
    }
    let mut names = hostlist::expand(&step.nodes).unwrap_or_default();
    names.truncate(MAX_NODES);
    let (conf, _) = flexmig_site::load_slurm_conf(&Surroundings::of_process().slurm_conf_path());
    let conf = conf.unwrap_or_default();
    // A node that slurm.conf does not name (dynamic, cloud) may be known by its name.
    names.iter().map(|name| conf.address(name).unwrap_or(name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn parse(line: &str) -> Result<Bench, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.bench).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_go_from_begin_to_end() {
        let sizes = |line| parse(line).unwrap().sizes();
        assert_eq!(sizes("allreduce -b 8 -e 32").unwrap(), [8, 16, 32]);
        assert_eq!(sizes("sendrecv -b 1k -e 1M -f 32").unwrap(), [1024, 32768, 1 << 20]);
        assert_eq!(sizes("broadcast -b 0 -e 20").unwrap(), [0, 8, 16]);
        assert_eq!(sizes("broadcast -b 3 -e 3").unwrap(), [3]);
        assert_eq!(sizes("transport").unwrap().len(), 24);
        assert!(sizes("allreduce -b 2 -e 8").unwrap_err().contains("multiple of 4"));
        assert!(sizes("allreduce -b 64 -e 8").unwrap_err().contains("-b 64 is above -e 8"));
    }

    #[test]
    fn bad_arguments_name_themselves() {
        for (line, expected) in [
            ("allreduce -b 8X", "not a size"),
            ("allreduce -b -8", "-8"),
            ("allreduce -e 2G", "1G is the largest size"),
            ("allreduce -e 99999999999999999999", "not a size"),
            ("allreduce -f 1", "2..=1024"),
            ("allreduce -n many", "many"),
            (
                "alreduce",
                "[possible values: transport, allreduce, allgather, reduce-scatter, \
              broadcast, sendrecv, proxy]",
            ),
            ("proxy --channels 0", "1..=32"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
        assert!(parse("allreduce").unwrap().check(0).unwrap_err().contains("one rank or more"));
        assert!(parse("transport").unwrap().check(4).unwrap_err().contains("-n 2"));
    }

    #[test]
    fn a_rank_says_which_leaf_it_has() {
        let leaf_of = |set: &[(&str, &str)]| {
            leaf(|name| set.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned()))
        };
        let both = [("FLEXMIG_LEAF", "1"), ("FLEXMIG_UUIDS", "MIG-a,MIG-b")];
        assert_eq!(leaf_of(&both).as_deref(), Some("MIG-b"));
        assert_eq!(leaf_of(&[("CUDA_VISIBLE_DEVICES", "MIG-c")]).as_deref(), Some("MIG-c"));
        assert_eq!(leaf_of(&[("CUDA_VISIBLE_DEVICES", "MIG-c,MIG-d")]), None);
        assert_eq!(leaf_of(&[("FLEXMIG_LEAF", "9"), ("FLEXMIG_UUIDS", "MIG-a")]), None);
    }
}
