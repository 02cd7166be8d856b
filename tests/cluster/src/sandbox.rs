//! Where a cluster runs: a PID and mount namespace of its own, inside a temporary directory.
//!
//! `sandbox.sh` does the work; this module starts it and builds the commands that enter it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use std::os::unix::process::CommandExt as _;

/// What keeps the processes of a cluster apart from the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// PID and mount namespace, made by root.
    Root,
    /// The same inside a user namespace, made by an ordinary user.
    User,
    /// Namespaces are not to be had; processes are found by the files that they have open.
    None,
}

impl Isolation {
    /// The best that this process may have; found once by trying. FLEXMIG_CLUSTER_ISOLATION=none
    /// does without.
    pub fn best() -> Isolation {
        static BEST: OnceLock<Isolation> = OnceLock::new();
        *BEST.get_or_init(|| {
            if std::env::var_os("FLEXMIG_CLUSTER_ISOLATION").is_some_and(|word| word == "none") {
                return Isolation::None;
            }
            let common = ["--fork", "--pid", "--mount", "--kill-child"];
            let user = ["--user", "--map-current-user", "--keep-caps"];
            let works = |flags: &[&str]| {
                Command::new("unshare")
                    .args(flags)
                    .args(common)
                    .args(["mount", "-t", "proc", "proc", "/proc"])
                    .stdin(Stdio::null())
                    .output()
                    .is_ok_and(|output| output.status.success())
            };
            match is_root() {
                true if works(&[]) => Isolation::Root,
                false if works(&user) => Isolation::User,
                _ => Isolation::None,
            }
        })
    }

    fn word(self) -> &'static str {
        match self {
            Isolation::Root => "root",
            Isolation::User => "user",
            Isolation::None => "none",
        }
    }
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A running sandbox. Dropping it ends every process in it and removes its directory, unless
/// [`Sandbox::keep`] was called.
#[derive(Debug)]
pub(crate) struct Sandbox {
    dir: PathBuf,
    isolation: Isolation,
    /// Process id of the sandbox's PID 1, as seen from outside.
    init: u32,
    supervisor: Mutex<Child>,
}

impl Sandbox {
    /// Starts a sandbox over `dir`, which it will remove at the end. With `root`, commands see that
    /// directory as `/`, with `dir` at its own path.
    pub fn start(dir: &Path, root: Option<&Path>) -> Result<Sandbox, String> {
        let isolation = Isolation::best();
        if root.is_some() && isolation != Isolation::Root {
            return Err("another Slurm's root directory needs root and mount namespaces".into());
        }
        let script = dir.join("sandbox.sh");
        fs::write(&script, include_str!("sandbox.sh"))
            .map_err(|error| format!("{}: {error}", script.display()))?;
        let mut supervisor = Command::new("sh")
            .arg(&script)
            .args(["supervise", isolation.word()])
            .arg(dir)
            .arg(root.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("sh: {error}"))?;
        let mut line = String::new();
        if let Some(stdout) = supervisor.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        match line.trim().parse() {
            Ok(init) => Ok(Sandbox {
                dir: dir.to_owned(),
                isolation,
                init,
                supervisor: Mutex::new(supervisor),
            }),
            Err(_) => {
                drop(supervisor.stdin.take());
                let _ = supervisor.wait();
                Err("the sandbox did not start; its own message is above".into())
            }
        }
    }

    /// A command inside the sandbox, with an empty environment; as user `uid` (root only) if given.
    /// Its first words may be options of `env` and variables.
    pub fn command(&self, uid: Option<u32>) -> Command {
        let target = format!("--target={}", self.init);
        let mut words = match self.isolation {
            Isolation::Root => vec!["nsenter", &target, "--pid", "--mount", "--root"],
            Isolation::User => {
                vec!["nsenter", &target, "--user", "--preserve-credentials", "--pid", "--mount"]
            }
            Isolation::None => vec![],
        };
        let uid = uid.map(|uid| [format!("--reuid={uid}"), format!("--regid={uid}")]);
        if let Some([user, group]) = &uid {
            words.extend(["setpriv", user, group, "--clear-groups"]);
        }
        words.push("env");
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// Sends a signal to a process of the sandbox, 0 to ask whether it runs; whether it was there.
    pub fn kill(&self, signal: &str, pid: u32) -> bool {
        if self.isolation == Isolation::None {
            // Its parent may not have reaped it.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')) {
                return false;
            }
        }
        let mut command = self.command(None);
        // The shell's own kill: a small system has no other.
        command.args(["sh", "-c", &format!("kill -{signal} {pid}")]);
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Leaves the directory in place at the end.
    pub fn keep(&self) {
        let _ = fs::write(self.dir.join("keep"), "");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let mut supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner);
        drop(supervisor.stdin.take());
        let _ = supervisor.wait();
    }
}
