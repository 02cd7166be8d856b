//! Errors, as NCCL numbers them.

use std::fmt;
use std::io;

/// `ncclResult_t`: what every function of the ABI returns.
pub type Code = i32;

/// `ncclSuccess`.
pub const SUCCESS: Code = 0;
/// `ncclSystemError`: a system call failed.
pub const SYSTEM: Code = 2;
/// `ncclInternalError`: a mistake of ours, caught by the fence.
pub const INTERNAL: Code = 3;
/// `ncclInvalidArgument`.
pub const INVALID_ARGUMENT: Code = 4;
/// `ncclInvalidUsage`: the two ends do not agree about a message.
pub const INVALID_USAGE: Code = 5;
/// `ncclRemoteError`: the peer is gone, or broke the protocol.
pub const REMOTE: Code = 6;

/// Why a call failed. The text becomes one line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetError {
    code: Code,
    text: String,
}

impl NetError {
    /// The peer is gone, closed its end, or broke the protocol.
    pub fn remote(text: impl Into<String>) -> Self {
        Self { code: REMOTE, text: text.into() }
    }

    /// A system call failed: `what` was to be done.
    pub fn system(what: &str, error: &io::Error) -> Self {
        Self { code: SYSTEM, text: format!("{what}: {error}") }
    }

    /// The two ends do not agree about a message.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { code: INVALID_USAGE, text: text.into() }
    }

    /// NCCL passed something that this plugin cannot take.
    pub fn argument(text: impl Into<String>) -> Self {
        Self { code: INVALID_ARGUMENT, text: text.into() }
    }

    /// What NCCL is told.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for NetError {}

/// Result of the inner functions.
pub type Result<T> = std::result::Result<T, NetError>;
