//! Why a rank cannot go on.

use std::io;
use std::path::PathBuf;

/// One line: what, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The net plugin cannot be loaded.
    #[error("{}: {reason}: name a built net plugin with --plugin PATH", path.display())]
    Load {
        /// The plugin as it was named.
        path: PathBuf,
        /// What dlopen says, or what the library lacks.
        reason: String,
    },
    /// A function of the plugin failed.
    #[error("{call} of net plugin {plugin}: {} ({result}){peer}", crate::abi::result_text(*result))]
    Plugin {
        /// The function's name in NCCL's header.
        call: &'static str,
        /// The plugin's name for itself.
        plugin: String,
        /// `ncclResult_t`.
        result: i32,
        /// With whom: ` with rank 3`, or empty.
        peer: String,
    },
    /// The plugin broke a rule of the interface.
    #[error("net plugin {plugin}: {what}: this is a bug of the plugin")]
    Broken {
        /// The plugin's name for itself.
        plugin: String,
        /// What it did.
        what: String,
    },
    /// Another rank has ended, or has stopped all of them.
    #[error("{0}")]
    Lost(String),
    /// Nothing has moved for too long.
    #[error(
        "no progress for {seconds} s in {what}: look at the other ranks, or allow more with --timeout"
    )]
    Stalled {
        /// The patience.
        seconds: u64,
        /// What was being done.
        what: String,
    },
    /// Elements of a result are not what they must be.
    #[error("{op}: {wrong} wrong elements: the net plugin delivers damaged data, please report it")]
    Wrong {
        /// The operation.
        op: &'static str,
        /// How many, of all ranks and sizes.
        wrong: u64,
    },
    /// The ranks did not find each other.
    #[error("rendezvous: {0}")]
    Rendezvous(String),
    /// Something of this host.
    #[error("{what}: {error}")]
    Host {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
}

impl Error {
    /// From an error of the operating system.
    pub fn host(what: impl Into<String>, error: io::Error) -> Error {
        Error::Host { what: what.into(), error }
    }
}
