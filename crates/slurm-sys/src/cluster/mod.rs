//! The controller's own view of the cluster: nodes, partitions and jobs, and the update of a
//! waiting job. The same code in slurmctld ([`Cluster::of_process`]) and in a command of ours
//! ([`Cluster::connect`]).
//!
//! | module | part |
//! |---|---|
//! | this one | the calls, each a round trip to the primary controller |
//! | [`layout`] | where the fields lie, per release |
//! | [`node`], [`partition`], [`job`] | what an answer holds |
//! | [`update`] | changing a waiting job |
//! | `library` | finding and loading libslurmfull.so in a command |
//!
//! # Cost and patience
//! A call opens a connection, also from slurmctld to itself, and waits for the controller's locks
//! there. While no controller listens it tries for `MessageTimeout` (10 s unless set), once a
//! second. Never call it where Slurm waits for us (`job_submit`, `job_modify`), nor with a lock held
//! that those take.
//!
//! # Trust
//! An answer is Slurm's own unpacked message. Its size is compared with the layout table, so a
//! release whose structures have changed gives [`ClusterError::Layout`], not nonsense.

mod api;
pub mod job;
pub mod layout;
mod library;
pub mod node;
pub mod partition;
mod record;
#[cfg(test)]
mod tests;
pub mod update;

use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

pub use job::{Job, JobState, Jobs};
pub use library::candidates;
pub use node::{Node, NodeState, Nodes};
pub use partition::{Partition, Partitions};
pub use update::{JobUpdate, UpdateError};

use crate::{Release, Version};
use api::Api;
use layout::Layout;
use record::Message;

/// No limit, in a number of minutes or nodes.
pub const INFINITE: u32 = 0xffff_ffff;

/// `SHOW_ALL | SHOW_DETAIL`: hidden partitions too, and which units are used.
const SHOW: u16 = 0x1 | 0x2;

struct Known {
    api: Api,
    release: Release,
    layout: &'static Layout,
}

static KNOWN: OnceLock<Known> = OnceLock::new();

/// The controller of this process's cluster. Copy it around freely.
#[derive(Clone, Copy)]
pub struct Cluster(&'static Known);

/// Why there is no [`Cluster`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// This process is no program of Slurm.
    #[error("this is no program of Slurm")]
    NotSlurm,
    /// No library could be loaded.
    #[error(
        "no libslurmfull.so or libslurm.so can be loaded ({0}): install Slurm's client library, or \
         name its directory in slurm.conf's PluginDir"
    )]
    NoLibrary(String),
    /// A release that this crate does not know.
    #[error("Slurm's API number {0} is not known: a newer flexmig is needed")]
    UnknownApi(u32),
    /// The library lacks functions.
    #[error("Slurm {0} lacks {1}: a newer flexmig is needed")]
    Missing(Release, String),
}

/// A call that did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The controller could not be reached, or refused.
    #[error("{call}: {text}")]
    Rpc {
        /// Slurm's function.
        call: &'static str,
        /// Slurm's error number.
        code: i32,
        /// Its text.
        text: String,
    },
    /// The structures are not those of the layout table.
    #[error(
        "{structure} is not as this release's header has it ({found} bytes instead of {expected}): \
         report this line with the exact version of Slurm"
    )]
    Layout {
        /// Its name in C.
        structure: &'static str,
        /// By the table.
        expected: usize,
        /// In the answer.
        found: usize,
    },
}

impl Cluster {
    /// In slurmctld, or where [`connect`](Self::connect) was called before.
    pub fn of_process() -> Result<Self, Unavailable> {
        if let Some(known) = KNOWN.get() {
            return Ok(Self(known));
        }
        let (number, _) = crate::raw::api_version().ok_or(Unavailable::NotSlurm)?;
        let number = crate::release::forced_api_number().unwrap_or(number);
        let release = Release::from_api_number(number).ok_or(Unavailable::UnknownApi(number))?;
        let api =
            Api::resolve().map_err(|names| Unavailable::Missing(release, names.join(", ")))?;
        let layout = layout::of(release);
        Ok(Self(KNOWN.get_or_init(|| Known { api, release, layout })))
    }

    /// In a command: loads the first library of `libraries` (see [`candidates`]) that is there, and
    /// has it read slurm.conf (`conf`, else `SLURM_CONF`, else its own default).
    ///
    /// Slurm's library ends the process, with a line on stderr, where it finds no configuration at
    /// all or cannot load its authentication plugin.
    pub fn connect(
        conf: Option<&std::path::Path>,
        libraries: &[std::path::PathBuf],
    ) -> Result<Self, Unavailable> {
        if KNOWN.get().is_none() && crate::raw::api_version().is_none() {
            library::load(libraries).map_err(Unavailable::NoLibrary)?;
        }
        let cluster = Self::of_process()?;
        library::init_once(cluster.0.api.init, conf);
        Ok(cluster)
    }

    /// The release of the library, which is that of the controller in a sound installation.
    #[must_use]
    pub fn release(self) -> Release {
        self.0.release
    }

    /// The version to the micro; the micro number is 0 where it cannot be found.
    #[must_use]
    pub fn version(self) -> Version {
        crate::plugin::process_version(self.0.release)
    }

    /// All nodes, with the units in use.
    pub fn nodes(self) -> Result<Nodes, ClusterError> {
        let api = &self.0.api;
        let message = self.load("slurm_load_node", api.free_nodes, |slot| {
            // SAFETY: the slot takes the answer; an update time of 0 asks for everything.
            unsafe { (api.load_nodes)(0, slot, SHOW) }
        })?;
        let rows = &self.0.layout.node_msg;
        Ok(Nodes(message.records(
            layout::NodeLayout::C_NAME,
            rows.node_array,
            rows.record_count,
            self.0.layout.node.size,
        )?))
    }

    /// All partitions, hidden ones too.
    pub fn partitions(self) -> Result<Partitions, ClusterError> {
        let api = &self.0.api;
        let message = self.load("slurm_load_partitions", api.free_partitions, |slot| {
            // SAFETY: as in `nodes`.
            unsafe { (api.load_partitions)(0, slot, SHOW) }
        })?;
        let rows = &self.0.layout.partition_msg;
        Ok(Partitions(message.records(
            layout::PartitionLayout::C_NAME,
            rows.partition_array,
            rows.record_count,
            self.0.layout.partition.size,
        )?))
    }

    /// All jobs that this process's user may see: for SlurmUser and root all of them.
    pub fn jobs(self) -> Result<Jobs, ClusterError> {
        let api = &self.0.api;
        let message = self.load("slurm_load_jobs", api.free_jobs, |slot| {
            // SAFETY: as in `nodes`.
            unsafe { (api.load_jobs)(0, slot, SHOW) }
        })?;
        let rows = &self.0.layout.job_msg;
        Ok(Jobs(message.records(
            layout::JobLayout::C_NAME,
            rows.job_array,
            rows.record_count,
            self.0.layout.job.size,
        )?))
    }

    /// Changes a waiting job. Slurm's `job_submit` plugins see it as any other update.
    pub fn update_job(self, update: &JobUpdate<'_>) -> Result<(), UpdateError> {
        update::send(self, update)
    }

    fn load(
        self,
        call: &'static str,
        free: api::FreeFn,
        load: impl FnOnce(*mut *mut c_void) -> i32,
    ) -> Result<Message, ClusterError> {
        if failure_is_forced() {
            return Err(self.rpc_error(call, -1));
        }
        let mut slot = null_mut();
        let code = load(&raw mut slot);
        let errno = last_errno();
        match NonNull::new(slot) {
            // SAFETY: the message is ours now, and `free` is its destructor.
            Some(message) if code == 0 => Ok(unsafe { Message::new(self, message.cast(), free) }),
            _ => Err(self.rpc_error(call, if code == 0 || errno == 0 { code } else { errno })),
        }
    }

    fn rpc_error(self, call: &'static str, code: i32) -> ClusterError {
        ClusterError::Rpc { call, code, text: self.strerror(code) }
    }

    /// Slurm's text for one of its error numbers.
    #[must_use]
    pub fn strerror(self, code: i32) -> String {
        // SAFETY: any number is allowed; the answer is a static string, or the thread's own
        // buffer for system errors, and copied at once.
        let text = unsafe { copied((self.0.api.strerror)(code)) };
        text.unwrap_or_else(|| format!("error {code}"))
    }

    /// Slurm's word for a number of `enum job_state_reason`.
    fn reason_word(self, number: u16) -> Option<String> {
        let reason = self.0.api.reason?;
        // SAFETY: as in `strerror`; numbers that it does not know are allowed.
        unsafe { copied(reason(number.into())) }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster of Slurm {}", self.0.release)
    }
}

/// # Safety
/// Null or a terminated string that nobody changes during the call.
unsafe fn copied(text: *const c_char) -> Option<String> {
    // SAFETY: promised by the caller.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Test builds: every call fails while the file named in `FLEXMIG_TEST_RPC_FAILS` is there.
#[cfg(feature = "fault-injection")]
fn failure_is_forced() -> bool {
    std::env::var_os("FLEXMIG_TEST_RPC_FAILS")
        .is_some_and(|file| std::path::Path::new(&file).exists())
}

#[cfg(not(feature = "fault-injection"))]
fn failure_is_forced() -> bool {
    false
}
