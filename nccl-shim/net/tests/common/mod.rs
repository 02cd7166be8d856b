//! Starting ranks and waiting for them.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// The library that was built together with this test.
pub fn library() -> PathBuf {
    let exe = std::env::current_exe().expect("this test's path");
    let deps = exe.parent().expect("its folder");
    let name = "libnccl_net_flexmig.so";
    let found = [deps.join(name), deps.parent().expect("the profile's folder").join(name)];
    found.into_iter().find(|path| path.exists()).expect("cargo built the library")
}

/// A folder of its own, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("net-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the ranks");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A run of ranks.
pub struct Run {
    pub folder: Folder,
    pub ranks: usize,
    pub version: u32,
    pub variables: Vec<(&'static str, &'static str)>,
    /// Programs that start the first ranks, as `unshare`; empty: none.
    pub starters: Vec<Vec<String>>,
}

impl Run {
    pub fn new(ranks: usize, version: u32) -> Self {
        Self { folder: Folder::new(), ranks, version, variables: Vec::new(), starters: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// One rank.
    pub fn start(&self, rank: usize, script: &str, argument: &str) -> Child {
        let peer = env!("CARGO_BIN_EXE_net-peer");
        let mut command = match self.starters.get(rank).map(Vec::as_slice) {
            Some([program, arguments @ ..]) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(peer);
                command
            }
            _ => Command::new(peer),
        };
        command
            .arg(library())
            .args([self.version.to_string(), rank.to_string(), self.ranks.to_string()])
            .arg(self.folder.path())
            .args([script, argument])
            .env("NCCL_SOCKET_IFNAME", "lo")
            .env("NCCL_SOCKET_FAMILY", "AF_INET")
            .envs(self.variables.iter().copied())
            .spawn()
            .expect("a rank starts")
    }

    /// All ranks with the same script; all must end well.
    pub fn all(&self, script: &str, argument: &str) {
        let ranks: Vec<Child> =
            (0..self.ranks).map(|rank| self.start(rank, script, argument)).collect();
        for (number, mut rank) in ranks.into_iter().enumerate() {
            let status = wait(&mut rank, Duration::from_secs(120));
            assert!(status.success(), "rank {number}: {status}");
        }
    }
}

/// Waits; kills what does not end.
pub fn wait(child: &mut Child, limit: Duration) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("waiting for a rank") {
            return status;
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            panic!("a rank hangs after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
