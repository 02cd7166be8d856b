//! One daemon of a cluster: munged, slurmctld or a slurmd.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::Ran;
use crate::sandbox::Sandbox;
use crate::wait::wait_for;

/// A daemon; it detaches itself, so it is known by its pid file.
#[derive(Debug)]
pub struct Daemon {
    pub(crate) name: String,
    words: Vec<String>,
    log: PathBuf,
    pid_file: PathBuf,
    /// What it writes before it has opened its log.
    out: PathBuf,
    env: Mutex<BTreeMap<String, String>>,
    sandbox: Arc<Sandbox>,
}

impl Daemon {
    pub(crate) fn new(
        name: &str,
        words: &[&str],
        dir: &Path,
        sandbox: &Arc<Sandbox>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Daemon {
        Daemon {
            name: name.to_owned(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
            log: dir.join(format!("log/{name}.log")),
            pid_file: dir.join(format!("run/{name}.pid")),
            out: dir.join(format!("log/{name}.out")),
            env: Mutex::new(env.into_iter().collect()),
            sandbox: Arc::clone(sandbox),
        }
    }

    /// Starts the daemon and returns what the starting command said. Success means that its pid
    /// file is there; a daemon that meets a fatal error later says so in its log only.
    pub fn try_start(&self) -> Ran {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&self, more: &[&str]) -> Ran {
        // The daemon inherits these; a pipe would never be closed.
        let out = fs::File::options().create(true).append(true).open(&self.out);
        let out = out.unwrap_or_else(|error| panic!("{}: {error}", self.out.display()));
        let err = out.try_clone().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let mut command = self.sandbox.command(None);
        command.args(self.env().iter().map(|(name, value)| format!("{name}={value}")));
        command.args(["timeout", "--foreground", "60"]).args(&self.words).args(more);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let shown = self.words.join(" ");
        let _ = fs::remove_file(&self.pid_file);
        let status = command.status().unwrap_or_else(|error| panic!("{shown}: {error}"));
        // Some releases detach first and write the file a moment later.
        let end = Instant::now() + Duration::from_secs(3);
        while status.success() && self.pid().is_none() && Instant::now() < end {
            sleep(Duration::from_millis(5));
        }
        let said = fs::read_to_string(&self.out).unwrap_or_default();
        Ran::new(shown, Output { status, stdout: Vec::new(), stderr: said.into_bytes() })
    }

    /// Starts the daemon.
    ///
    /// # Panics
    /// If the starting command fails.
    #[track_caller]
    pub fn start(&self) {
        self.try_start().ok();
    }

    /// Ends the daemon the orderly way and waits until it is gone.
    #[track_caller]
    pub fn stop(&self) {
        self.signal("TERM");
        wait_for(&format!("{} to end", self.name), 20, || (!self.is_running()).then_some(()));
    }

    /// Kills the daemon as a crash would and waits until it is gone.
    #[track_caller]
    pub fn kill9(&self) {
        self.signal("KILL");
        wait_for(&format!("{} to die", self.name), 20, || (!self.is_running()).then_some(()));
    }

    /// [`Daemon::stop`] and [`Daemon::start`], with the environment as it is set by now.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Sends a signal, for example `HUP`.
    pub fn signal(&self, signal: &str) {
        if let Some(pid) = self.pid() {
            self.sandbox.kill(signal, pid);
        }
    }

    /// Its process id inside the cluster.
    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.pid().is_some_and(|pid| self.sandbox.kill("0", pid))
    }

    /// Sets or removes a variable of its environment, from the next start on.
    pub fn set_env(&self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.env().insert(name.to_owned(), value.to_owned()),
            None => self.env().remove(name),
        };
    }

    fn env(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.env.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The variables of its environment as `NAME=value`.
    pub(crate) fn environment(&self) -> Vec<String> {
        self.env().iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How long its log is by now, for [`Daemon::log_since`].
    pub fn log_mark(&self) -> usize {
        self.log().len()
    }

    /// What it has logged since `mark`.
    pub fn log_since(&self, mark: usize) -> String {
        self.log().split_off(mark)
    }

    /// The first log line after `mark` that contains `needle`, waited for.
    ///
    /// # Panics
    /// If there is none within `seconds`.
    #[track_caller]
    pub fn wait_log(&self, mark: usize, needle: &str, seconds: u64) -> String {
        let what = format!("`{needle}` in the log of {}", self.name);
        wait_for(&what, seconds, || {
            let log = self.log_since(mark);
            log.lines().find(|line| line.contains(needle)).map(str::to_owned)
        })
    }

    /// The end of its log and of what it said before that, to be shown.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let out = fs::read_to_string(&self.out).unwrap_or_default();
        let log = self.log();
        let all: Vec<&str> = out.lines().chain(log.lines()).collect();
        let end = &all[all.len().saturating_sub(lines)..];
        format!("===== {}\n{}\n", self.name, end.join("\n"))
    }
}
