//! The library as it is installed, and processes that start with it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Four leaves of two GPUs.
pub const UUIDS: [&str; 4] = [
    "MIG-00000000-0000-4000-8000-0000000000a1",
    "MIG-00000000-0000-4000-8000-0000000000a2",
    "MIG-00000000-0000-4000-8000-0000000000b1",
    "MIG-00000000-0000-4000-8000-0000000000b2",
];

/// The directory that cargo builds into, without the profile.
pub fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().to_owned()
}

/// Runs cargo as the tests were built by it.
pub fn cargo(arguments: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .args(arguments)
        .arg("--target-dir")
        .arg(target())
        .status()
        .unwrap();
    assert!(status.success(), "cargo {arguments:?}");
}

/// libflexmig_preload.so, built as `make build` does. Unit tests link the same code with std; what is
/// loaded into processes is only ever this file.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        cargo(&["build", "-q", "-p", "flexmig-preload", "--profile", "preload"]);
        target().join("preload/libflexmig_preload.so")
    })
}

/// Where the programs and libraries of mock-cuda are.
pub fn mock_cuda() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        cargo(&["build", "-q", "-p", "mock-cuda", "--lib", "--bins", "--examples"]);
        target().join("debug")
    })
}

/// The environment of a process in a job with four leaves.
#[derive(Clone)]
pub struct Job(BTreeMap<String, String>);

impl Job {
    pub fn new() -> Job {
        let list = UUIDS.join(",");
        let path = std::env::var("PATH").unwrap();
        let home = std::env::var("HOME").unwrap_or_else(|_| "/".to_owned());
        Job(BTreeMap::new())
            .with("PATH", &path)
            .with("HOME", &home)
            .with("FLEXMIG_UUIDS", &list)
            .with("CUDA_VISIBLE_DEVICES", &list)
            .with("SLURM_JOB_ID", "17")
            .with("LD_PRELOAD", library().to_str().unwrap())
    }

    /// With one more variable, or another value.
    pub fn with(mut self, name: &str, value: &str) -> Job {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Without a variable.
    pub fn without(mut self, name: &str) -> Job {
        self.0.remove(name);
        self
    }

    /// As rank `local` of a torchrun.
    pub fn rank(self, local: u32) -> Job {
        self.with("LOCAL_RANK", &local.to_string())
            .with("LOCAL_WORLD_SIZE", "4")
            .with("TORCHELASTIC_RUN_ID", "none")
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.0);
        command
    }

    /// Runs a program to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Finished {
        Finished::of(self.command(program).args(arguments).output().unwrap())
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn of(output: Output) -> Finished {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Finished {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Its output, which nothing disturbed.
    #[track_caller]
    pub fn clean(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }
}

/// Is the program here? Says so if not.
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}
