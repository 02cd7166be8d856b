//! Commands run inside a cluster, always under a time limit.

use std::fmt;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Output, Stdio};

use crate::cluster::Cluster;

/// A command to be run inside a cluster.
#[derive(Debug)]
#[must_use]
pub struct Client<'c> {
    cluster: &'c Cluster,
    words: Vec<String>,
    env: Vec<(String, String)>,
    uid: Option<u32>,
    stdin: String,
    seconds: u32,
}

impl<'c> Client<'c> {
    pub(crate) fn new(cluster: &'c Cluster, program: &str) -> Client<'c> {
        Client {
            cluster,
            words: vec![program.to_owned()],
            env: Vec::new(),
            uid: None,
            stdin: String::new(),
            seconds: 30,
        }
    }

    /// Adds the words of `words`, split at white space.
    pub fn args(mut self, words: &str) -> Client<'c> {
        self.words.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    /// Adds one word as it is.
    pub fn arg(mut self, word: impl Into<String>) -> Client<'c> {
        self.words.push(word.into());
        self
    }

    /// Adds a variable to the command's environment.
    pub fn env(mut self, name: &str, value: &str) -> Client<'c> {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs as this user; only root can.
    pub fn uid(mut self, uid: u32) -> Client<'c> {
        self.uid = Some(uid);
        self
    }

    /// What the command reads on stdin; else nothing.
    pub fn stdin(mut self, text: impl Into<String>) -> Client<'c> {
        self.stdin = text.into();
        self
    }

    /// The time limit in seconds, 30 unless said; then the exit code is 124.
    pub fn seconds(mut self, seconds: u32) -> Client<'c> {
        self.seconds = seconds;
        self
    }

    /// Runs the command to its end.
    pub fn run(self) -> Ran {
        self.spawn().wait()
    }

    /// Starts the command and returns at once.
    pub fn spawn(self) -> Background {
        let Client { cluster, words, env, uid, stdin, seconds } = self;
        let shown = words.join(" ");
        let mut command = cluster.command(uid);
        command.args(env.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(["timeout", "--kill-after=2", &seconds.to_string()]).args(&words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        if let Some(mut pipe) = child.stdin.take() {
            // The command may end without reading; its own messages say more than EPIPE.
            let _ = pipe.write_all(stdin.as_bytes());
        }
        Background { shown, child }
    }
}

/// A command that runs in the background. The end of the cluster ends it too.
#[derive(Debug)]
pub struct Background {
    shown: String,
    child: Child,
}

impl Background {
    /// Waits for its end.
    pub fn wait(self) -> Ran {
        let Background { shown, child } = self;
        let output = child.wait_with_output();
        Ran::new(shown.clone(), output.unwrap_or_else(|error| panic!("{shown}: {error}")))
    }
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ran {
    command: String,
    /// Exit code; 128 and the signal if a signal ended it; 124 at the time limit.
    pub code: i32,
    /// What it wrote on stdout.
    pub stdout: String,
    /// What it wrote on stderr.
    pub stderr: String,
}

impl Ran {
    pub(crate) fn new(command: String, output: Output) -> Ran {
        let status = output.status;
        Ran {
            command,
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// The result if the command succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert!(self.success(), "{self}");
        self
    }

    /// Lines of stdout.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` ended with {}\n--- stdout\n{}--- stderr\n{}",
            self.command, self.code, self.stdout, self.stderr
        )
    }
}
