//! `flexmig probe`: can one leaf import the memory of another leaf of the same GPU?
//!
//! NCCL's P2P transport inside a GPU stands on that (mode relabel-p2p), and no documentation promises
//! it for MIG. So the administrator lets two short processes try, one on each leaf, and the answer is
//! kept for the job starts to come ([`flexmig_core::probe`]).

mod cuda;
pub mod side;

use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use flexmig_core::leaf::Leaf;
use flexmig_core::probe::{ProbeResult, ProbeResults};
use flexmig_core::profile::Profile;
use mig_inventory::Inventory;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::Serialize;

use crate::args::{EXIT_ERROR, NodeName};
use crate::host::Host;
use crate::{Failure, configured_host, json, print};
use side::Found;

/// A probe takes a second or two; a driver that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const HELP: &str = "\
Run it as root on a node of each kind, when its leaves are idle, and again after a driver update. For every pair of profiles that two \
leaves of one GPU have, two processes share a few MiB of device memory through cuMemExportToShareableHandle, as NCCL does.

The result is stored in flexmig-probe.toml beside flexmig.toml, by driver, GPU model and profiles; put the file on all nodes. With \
mode = \"auto\" jobs then use relabel-p2p where it says that the import works. Without a result they use relabel-shm, which always works.

What is printed can be pasted into a bug report as it is.

Exit status: 0 if every pair was tested, whatever the answer; 1 if a pair could not be tested.

Examples:
  flexmig probe
  flexmig probe --no-store --json | jq '.pairs[] | [.profiles, .import]'";

/// `flexmig probe`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ProbeArgs {
    /// Which node this is.
    #[command(flatten)]
    pub node: NodeName,
    /// The CUDA driver library, as dlopen takes it
    #[arg(long, value_name = "PATH", default_value = "libcuda.so.1")]
    pub cuda: PathBuf,
    /// Leave flexmig-probe.toml as it is
    #[arg(long)]
    pub no_store: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Two leaves of one GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair<'a>(&'a Leaf, &'a Leaf);

/// One pair of leaves for each GPU model and pair of profiles: the first that there are.
fn pairs(leaves: &[Leaf]) -> Vec<Pair<'_>> {
    let mut seen = Vec::new();
    let mut pairs = Vec::new();
    for (index, first) in leaves.iter().enumerate() {
        let same_gpu = leaves[index + 1..].iter().filter(|l| l.parent.uuid == first.parent.uuid);
        for second in same_gpu {
            let mut key = [first.profile, second.profile];
            key.sort();
            let key = (first.parent.model.as_str(), key);
            if !seen.contains(&key) {
                seen.push(key);
                pairs.push(Pair(first, second));
            }
        }
    }
    pairs
}

/// What became of one pair.
#[derive(Clone, Debug, Serialize)]
struct Tried {
    gpu: String,
    gpu_uuid: String,
    profiles: [Profile; 2],
    leaves: [String; 2],
    /// `None`: nothing was learnt.
    import: Option<bool>,
    /// Where it stopped.
    reason: Option<String>,
    bytes: usize,
    api: String,
    exporter: Vec<String>,
    importer: Vec<String>,
}

/// All of it, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    version: u32,
    node: String,
    flexmig: &'static str,
    kernel: String,
    driver: String,
    pairs: Vec<Tried>,
    stored_in: Option<PathBuf>,
}

/// Does it; the exit status.
pub fn run(args: &ProbeArgs) -> Result<u8, Failure> {
    let host = configured_host(args.node.name.as_deref())?;
    let inventory = Inventory::read(&host.policy.node).map_err(Failure::message)?;
    let pairs = pairs(&inventory.leaves);
    if pairs.is_empty() {
        return Err(Failure::new(
            format!("node {}: no GPU has two leaves", host.node),
            format!("{} leaves on {} GPUs", inventory.leaves.len(), inventory.parents.len()),
            "there is nothing to probe; run it where GPUs are cut into several leaves",
        ));
    }
    let tried: Vec<Tried> = pairs.iter().map(|pair| try_pair(&args.cuda, pair)).collect();
    let mut report = Report {
        version: 1,
        node: host.node.clone(),
        flexmig: env!("CARGO_PKG_VERSION"),
        kernel: kernel(),
        driver: inventory.driver_version.clone(),
        pairs: tried,
        stored_in: None,
    };
    let stored = if args.no_store { Ok(None) } else { store(&host, &report) };
    if let Ok(path) = &stored {
        report.stored_in = path.clone();
    }
    // The report first: it is worth something even if it cannot be stored.
    print(&if args.json { json(&report)? } else { text(&report) })?;
    stored?;
    let untested = report.pairs.iter().any(|tried| tried.import.is_none());
    Ok(if untested { EXIT_ERROR } else { 0 })
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// Adds what was learnt to the file; its path if there was anything to add.
fn store(host: &Host, report: &Report) -> Result<Option<PathBuf>, Failure> {
    let path = host.surroundings.probe_path();
    let name = path.display().to_string();
    let mut results = match flexmig_site::read(&path) {
        Ok(bytes) => ProbeResults::read(&name, &bytes).map_err(|error| {
            Failure::message(format!("{error}: mend or remove the file, then probe again"))
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => ProbeResults::default(),
        Err(error) => return Err(Failure::new(name, error, "make it readable, then probe again")),
    };
    let mut any = false;
    for tried in &report.pairs {
        let outcome = match tried.import {
            Some(true) => Ok(()),
            Some(false) => Err(tried.reason.clone().unwrap_or_default()),
            None => continue,
        };
        any = true;
        results.record(ProbeResult::new(&report.driver, &tried.gpu, tried.profiles, outcome));
    }
    if !any {
        return Ok(None);
    }
    let bytes =
        results.write().map_err(|error| Failure::new(&name, error, "please report this"))?;
    flexmig_site::write_atomically(&path, bytes.as_bytes()).map_err(|error| {
        Failure::new(&name, error, "run it as root, or with --no-store and copy the result")
    })?;
    Ok(Some(path))
}

/// Lets two processes try it.
fn try_pair(cuda: &Path, pair: &Pair<'_>) -> Tried {
    let Pair(first, second) = pair;
    let mut tried = Tried {
        gpu: first.parent.model.clone(),
        gpu_uuid: first.parent.uuid.clone(),
        profiles: [first.profile, second.profile],
        leaves: [first.uuid.clone(), second.uuid.clone()],
        import: None,
        reason: None,
        bytes: 0,
        api: String::new(),
        exporter: Vec::new(),
        importer: Vec::new(),
    };
    let (exporter, importer) = match start(cuda, [&first.uuid, &second.uuid]) {
        Ok([exporter, importer]) => {
            let deadline = Instant::now() + PATIENCE;
            let exporter = finish(exporter, deadline);
            (exporter, finish(importer, deadline))
        }
        Err(error) => {
            tried.reason = Some(format!("cannot start the two processes: {error}"));
            return tried;
        }
    };
    let (import, reason) = verdict(&exporter, &importer);
    (tried.import, tried.reason) = (import, reason);
    let found = |ended: Ended| ended.unwrap_or_default();
    let (exporter, importer) = (found(exporter), found(importer));
    tried.api = if importer.api.is_empty() { exporter.api } else { importer.api };
    tried.bytes = exporter.bytes;
    (tried.exporter, tried.importer) = (exporter.steps, importer.steps);
    tried
}

/// A process that has ended: its report, or how it died.
type Ended = Result<Found, String>;

fn start(cuda: &Path, leaves: [&str; 2]) -> io::Result<[Child; 2]> {
    let (one, two) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let program = std::env::current_exe()?;
    let spawn = |part: &str, leaf: &str, socket| {
        Command::new(&program)
            .args(["probe-side", part])
            .arg(cuda)
            .env("CUDA_VISIBLE_DEVICES", leaf)
            // Nothing of a job may come between the probe and the driver.
            .env_remove("LD_PRELOAD")
            .stdin(Stdio::from(socket))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
    };
    let mut exporter = spawn("export", leaves[0], one)?;
    match spawn("import", leaves[1], two) {
        Ok(importer) => Ok([exporter, importer]),
        Err(error) => {
            // Its socket is closed: it ends by itself.
            let _ = exporter.wait();
            Err(error)
        }
    }
}

fn finish(mut child: Child, deadline: Instant) -> Ended {
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                // Gone already is as good as killed.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("no answer from the driver for {} s", PATIENCE.as_secs()));
            }
            None => sleep(Duration::from_millis(5)),
        }
    };
    if let Some(signal) = status.signal() {
        return Err(format!("died of signal {signal} in the driver"));
    }
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut text).map_err(|error| error.to_string())?;
    }
    serde_json::from_str(&text).map_err(|_| format!("ended with {status} and no report"))
}

/// What two reports say together: whether it works, and where it stopped.
///
/// A process that dies or hangs counts as a failure: NCCL would, too.
fn verdict(exporter: &Ended, importer: &Ended) -> (Option<bool>, Option<String>) {
    let sides = [("exporter", exporter), ("importer", importer)];
    for (name, side) in sides {
        if let Ok(Found { untested: Some(why), .. }) = side {
            return (None, Some(format!("{name}: {why}")));
        }
    }
    for (name, side) in sides {
        match side {
            Ok(Found { failed: Some(why), .. }) | Err(why) => {
                return (Some(false), Some(format!("{name}: {why}")));
            }
            Ok(_) => {}
        }
    }
    match sides.iter().find(|(_, side)| side.as_ref().is_ok_and(|found| found.left_alone)) {
        Some((name, _)) => (None, Some(format!("{name}: the other process went without a word"))),
        None => (Some(true), None),
    }
}

/// The report for people.
fn text(report: &Report) -> String {
    let Report { node, flexmig, kernel, driver, pairs, .. } = report;
    let api = pairs.iter().map(|tried| tried.api.as_str()).find(|api| !api.is_empty());
    let api = api.unwrap_or("unknown");
    let mut text = format!(
        "flexmig probe: can one leaf import the memory of another leaf of its GPU?\n\
         flexmig {flexmig}, driver {driver}, CUDA API {api}, Linux {kernel}, node {node}\n"
    );
    for tried in pairs {
        let Tried { gpu, gpu_uuid, profiles: [first, second], leaves, .. } = tried;
        let answer = match tried.import {
            Some(true) => "works",
            Some(false) => "FAILS",
            None => "could not be tested",
        };
        let _ = write!(text, "\n{gpu} ({gpu_uuid})\n  {first} to {second}: {answer}");
        if let Some(reason) = &tried.reason {
            let _ = write!(text, ": {reason}");
        }
        let steps = |steps: &[String]| match steps {
            [] => "nothing".to_owned(),
            steps => steps.join(", "),
        };
        let [from, to] = leaves;
        let _ = write!(
            text,
            "\n  exporter {from}: {}\n  importer {to}: {}\n  {} bytes\n",
            steps(&tried.exporter),
            steps(&tried.importer),
            tried.bytes
        );
    }
    match &report.stored_in {
        Some(path) => {
            let _ = writeln!(text, "\nstored in {}", path.display());
        }
        None => text.push_str("\nnot stored\n"),
    }
    text
}

#[cfg(test)]
mod tests;
