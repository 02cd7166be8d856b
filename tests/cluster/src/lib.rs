//! A real Slurm cluster on this machine, for one test.
//!
//! munged, slurmctld and any number of slurmd run in a private PID and mount namespace, over a
//! temporary directory, on free loopback ports. Nothing outlives the test process, not even if that
//! is killed. See `README.md` for what a test looks like.
#![doc = include_str!("../README.md")]

mod client;
mod cluster;
mod conf;
mod daemon;
mod job;
mod parse;
mod ports;
mod release;
mod sandbox;
mod setup;
mod shared;
mod spec;
pub mod stream;
mod trees;
mod wait;

pub use client::{Background, Client, Ran};
pub use cluster::Cluster;
pub use daemon::Daemon;
pub use job::Job;
pub use parse::{Fields, JobInfo, expand_hosts, gres_indices};
pub use release::Release;
pub use sandbox::{Isolation, is_root};
pub use setup::build_dir;
pub use shared::{Shared, SharedRef};
pub use spec::{Auth, Builder, Node, Plugins};
pub use wait::wait_for;

pub use mock_nvml;

/// Whether [`Builder::cgroups`] can work here, else why not.
pub fn cgroups() -> Result<(), String> {
    if Isolation::best() != Isolation::Root {
        return Err("needs root and mount namespaces".into());
    }
    for controller in ["devices", "freezer"] {
        let dir = std::path::Path::new("/sys/fs/cgroup").join(controller);
        if !dir.join("release_agent").exists() {
            return Err(format!("no cgroup v1 at {}", dir.display()));
        }
    }
    Ok(())
}
