//! The programs that the transport and its all-reduce are compared with, and ours.
//!
//! Each is run for one size at a time. A peer that is not installed is left out, with the reason.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flexmig_cluster::build_dir;
use serde_json::Value;

/// Seconds after which a program that is measured must be over.
const PATIENCE: &str = "120";
/// What installs the peers.
const SETUP: &str = "`make bench-setup` installs it";

/// `flexmig bench` for one size: time of an operation in microseconds, and bytes per second.
pub fn flexmig(op: &str, ranks: usize, bytes: usize) -> Result<(f64, f64), String> {
    let program = build_dir().join("bin/flexmig");
    let (ranks, bytes) = (ranks.to_string(), bytes.to_string());
    let mut command = Command::new("timeout");
    command.args([PATIENCE.as_ref(), program.as_os_str()]);
    command.args(["bench", op, "-n", &ranks, "-b", &bytes, "-e", &bytes, "--json"]);
    // What is measured is the plugin as it comes.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("FLEXMIG_NET_") || name.starts_with("SLURM_") {
            command.env_remove(name);
        }
    }
    let row = json(&output(&mut command)?)?["rows"][0].take();
    no_errors("flexmig bench", &row)?;
    Ok((number(&row, "time_us")?, number(&row, "algbw_gbps")? * 1e9))
}

/// `ucx_perftest` over shared memory.
pub struct Ucx {
    /// As it names itself.
    pub version: String,
}

impl Ucx {
    /// If it is installed.
    pub fn find() -> Result<Ucx, String> {
        let text = output(Command::new("ucx_info").arg("-v"))
            .map_err(|error| format!("UCX is left out: {error}: {SETUP}"))?;
        let line = text.lines().find_map(|line| line.split_once("ersion ")).unwrap_or_default().1;
        Ok(Ucx { version: format!("UCX {}", line.trim()) })
    }

    /// Microseconds of half a round trip.
    pub fn latency(&self, bytes: usize) -> Result<f64, String> {
        let times = ((1 << 28) / bytes).clamp(8, 50_000);
        column(&self.run("tag_lat", bytes, times)?, "overall_lat")
    }

    /// Bytes per second of messages one way.
    pub fn bandwidth(&self, bytes: usize) -> Result<f64, String> {
        let times = ((1 << 30) / bytes).clamp(24, 200_000);
        // Its MB are 2^20 bytes.
        column(&self.run("tag_bw", bytes, times)?, "overall_bw").map(|mib| mib * 1_048_576.0)
    }

    fn run(&self, test: &str, bytes: usize, times: usize) -> Result<String, String> {
        let port = free_port()?;
        let (port_text, bytes, warmup) = (port.to_string(), bytes.to_string(), times / 10 + 2);
        let perftest = || {
            let mut command = Command::new("timeout");
            command.args([PATIENCE, "ucx_perftest", "-p", &port_text]);
            command.env("UCX_TLS", "sm").env("UCX_WARN_UNUSED_ENV_VARS", "n");
            command
        };
        let mut server = Background(
            perftest()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| format!("ucx_perftest: {error}"))?,
        );
        listens(port)?;
        let mut client = perftest();
        client.args(["127.0.0.1", "-f", "-v", "-t", test, "-s", &bytes]);
        client.args(["-n", &times.to_string(), "-w", &warmup.to_string()]);
        let text = output(&mut client)?;
        server.0.wait().map_err(|error| format!("ucx_perftest: {error}"))?;
        Ok(text)
    }
}

/// A column of ucx_perftest's CSV: a line of names, a line of numbers.
fn column(text: &str, name: &str) -> Result<f64, String> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("iterations,"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut columns = names.split(',').zip(values.split(','));
    let value = columns.find(|(column, _)| *column == name).and_then(|(_, text)| text.parse().ok());
    value.ok_or_else(|| format!("ucx_perftest: no column {name} in {text:?}"))
}

/// Open MPI over shared memory, by a small program of ours.
pub struct OpenMpi {
    program: PathBuf,
}

impl OpenMpi {
    /// Builds the program.
    pub fn build() -> Result<OpenMpi, String> {
        let dir = build_dir().join("bench");
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let program = dir.join("mpi_allreduce");
        let mut command = Command::new("mpicc");
        command.args(["-O2", "-Wall", "-o"]).arg(&program).arg(source("mpi_allreduce.c"));
        output(&mut command).map_err(|error| format!("Open MPI is left out: {error}: {SETUP}"))?;
        Ok(OpenMpi { program })
    }

    /// Microseconds of an all-reduce, and Open MPI's version.
    pub fn allreduce(&self, ranks: usize, bytes: usize) -> Result<(f64, String), String> {
        let mut command = Command::new("timeout");
        command.args([PATIENCE, "mpirun", "--allow-run-as-root", "--oversubscribe"]);
        command.args(["--mca", "pml", "ob1", "--mca", "btl", "vader,self"]);
        command.args(["--bind-to", "none", "-n", &ranks.to_string()]);
        command.arg(&self.program).arg(bytes.to_string());
        let line = json(&output(&mut command)?)?;
        no_errors("mpi_allreduce", &line)?;
        Ok((number(&line, "time_us")?, line["version"].as_str().unwrap_or_default().to_owned()))
    }
}

/// PyTorch's gloo, in processes that stay between measurements.
pub struct Gloo {
    process: Background,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// PyTorch's version.
    pub version: String,
}

impl Gloo {
    /// Starts the ranks.
    pub fn start(ranks: usize, bytes: usize) -> Result<Gloo, String> {
        let python = std::env::var_os("PYTHON").unwrap_or_else(|| "/usr/bin/python3".into());
        let left_out = |why: String| format!("gloo is left out: {why}: {SETUP}");
        output(Command::new(&python).args(["-c", "import torch.distributed"])).map_err(left_out)?;
        let mut process = Command::new("timeout")
            .args(["3600".as_ref(), python.as_os_str()])
            .arg(source("gloo_allreduce.py"))
            .args([ranks.to_string(), bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| left_out(error.to_string()))?;
        let (Some(commands), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("gloo: no pipes".to_owned());
        };
        let answers = BufReader::new(answers);
        let process = Background(process);
        let mut gloo = Gloo { process, commands, answers, version: String::new() };
        gloo.version = gloo.answer()?["version"].as_str().unwrap_or_default().to_owned();
        Ok(gloo)
    }

    /// Microseconds of an all-reduce.
    pub fn allreduce(&mut self) -> Result<f64, String> {
        self.commands.write_all(b"go\n").map_err(|error| format!("gloo: {error}"))?;
        let line = self.answer()?;
        no_errors("gloo", &line)?;
        number(&line, "time_us")
    }

    /// Ends the ranks.
    pub fn end(self) -> Result<(), String> {
        let Gloo { mut process, commands, .. } = self;
        drop(commands);
        process.0.wait().map(drop).map_err(|error| format!("gloo: {error}"))
    }

    fn answer(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(0) => Err("gloo: the ranks ended: see above".to_owned()),
            Ok(_) => json(&line),
            Err(error) => Err(format!("gloo: {error}")),
        }
    }
}

/// A process that ends with its owner.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // Over or not: both are fine. `timeout` hands SIGTERM on to what it runs.
        if let Ok(None) = self.0.try_wait() {
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
            let _ = self.0.wait();
        }
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers")).join(name)
}

/// Runs a program to its end; its stdout, or why it failed.
fn output(command: &mut Command) -> Result<String, String> {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let skip = if words[0] == "timeout" { 2 } else { 0 };
    let name =
        Path::new(words[skip]).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let result =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if result.status.success() {
        return Ok(String::from_utf8_lossy(&result.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&result.stderr);
    let why = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(format!("{name}: {}: {}", result.status, why.trim()))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text:?}"))
}

fn number(row: &Value, name: &str) -> Result<f64, String> {
    row[name].as_f64().ok_or_else(|| format!("no number {name} in {row}"))
}

fn no_errors(what: &str, row: &Value) -> Result<(), String> {
    match row["errors"].as_u64() {
        Some(0) => Ok(()),
        _ => Err(format!("{what}: wrong data: {row}")),
    }
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| format!("a free port: {error}"))
}

/// Waits until somebody listens; a trial connection would be taken for the client.
fn listens(port: u16) -> Result<(), String> {
    let until = Instant::now() + Duration::from_secs(20);
    let pattern = format!(":{port:04X} 00000000:0000 0A");
    while Instant::now() < until {
        let table = fs::read_to_string("/proc/net/tcp").map_err(|error| error.to_string())?;
        if table.contains(&pattern) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(format!("ucx_perftest: does not listen on port {port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_ucx_perftest_are_found_by_name() {
        let text = "iterations,50.0_percentile_lat,avg_lat,overall_lat,avg_bw,overall_bw\n\
                    2000,0.190,13.9,13.7,746.30,729.08\n";
        assert_eq!(column(text, "overall_lat"), Ok(13.7));
        assert_eq!(column(text, "overall_bw"), Ok(729.08));
        assert!(column(text, "other").unwrap_err().contains("no column other"));
        assert!(column("", "overall_bw").is_err());
    }

    #[test]
    fn a_failure_names_the_program_and_its_last_line() {
        let error = output(Command::new("timeout").args(["5", "sh", "-c", "echo bad >&2; exit 3"]));
        assert_eq!(error, Err("sh: exit status: 3: bad".to_owned()));
        assert!(output(&mut Command::new("/nonexistent/x")).unwrap_err().starts_with("x: "));
    }

    #[test]
    fn wrong_data_is_no_measurement() {
        assert!(no_errors("x", &json("{\"errors\": 0}").unwrap()).is_ok());
        assert!(no_errors("x", &json("{\"errors\": 1}").unwrap()).is_err());
        assert!(no_errors("x", &json("{}").unwrap()).is_err());
    }
}
