//! Lines for NCCL's log, and for stderr where the user asked for them.
//!
//! A line reads `flexmig: what: why: what to do`. NCCL gets every line and
//! filters by `NCCL_DEBUG`; `FLEXMIG_LOG` (error, warn, info, debug) prints lines
//! up to that level to stderr as well. With neither set, errors and warnings go to
//! stderr, as NCCL would keep them to itself.

use std::ffi::{CString, c_char, c_int, c_ulong};
use std::fmt::Display;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// NCCL's `ncclDebugLogger_t`.
pub type Logger = unsafe extern "C" fn(c_int, c_ulong, *const c_char, c_int, *const c_char, ...);

/// How important a line is. The order is that of `FLEXMIG_LOG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be; work goes on.
    Warn,
    /// Worth knowing once.
    Info,
    /// For us.
    Debug,
}

const NCCL_LOG_WARN: c_int = 2;
const NCCL_LOG_INFO: c_int = 3;
const NCCL_LOG_TRACE: c_int = 5;
const NCCL_INIT_NET: c_ulong = 1 | 16;

static LOGGER: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static STDERR_LEVEL: OnceLock<Level> = OnceLock::new();

/// Keeps the logger that NCCL hands over in `init`.
pub fn set_logger(logger: Option<Logger>) {
    let pointer = logger.map_or(std::ptr::null_mut(), |f| f as *mut ());
    LOGGER.store(pointer, Ordering::Release);
}

impl Level {
    /// The words of `FLEXMIG_LOG`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "error" => Some(Self::Error),
            "warn" | "warning" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" | "trace" => Some(Self::Debug),
            _ => None,
        }
    }

    fn to_nccl(self) -> c_int {
        match self {
            Self::Error | Self::Warn => NCCL_LOG_WARN,
            Self::Info => NCCL_LOG_INFO,
            Self::Debug => NCCL_LOG_TRACE,
        }
    }
}

/// The level for stderr: `FLEXMIG_LOG`, else warnings unless NCCL's own log is on.
fn stderr_level(flexmig_log: Option<&str>, nccl_debug: Option<&str>) -> Level {
    if let Some(level) = flexmig_log.and_then(Level::parse) {
        return level;
    }
    let nccl_prints_warnings = nccl_debug
        .is_some_and(|text| !matches!(text, "" | "NONE" | "none" | "VERSION" | "version"));
    if nccl_prints_warnings { Level::Error } else { Level::Warn }
}

fn threshold() -> Level {
    *STDERR_LEVEL.get_or_init(|| {
        let flexmig_log = std::env::var("FLEXMIG_LOG").ok();
        let nccl_debug = std::env::var("NCCL_DEBUG").ok();
        stderr_level(flexmig_log.as_deref(), nccl_debug.as_deref())
    })
}

/// Writes one line. Never fails, never panics.
pub fn line(level: Level, text: impl Display) {
    let mut text = format!("flexmig: {text}");
    text.retain(|c| c != '\0' && c != '\n');
    let logger = LOGGER.load(Ordering::Acquire);
    if !logger.is_null() {
        // SAFETY: the pointer was made from a `Logger` in `set_logger`.
        let logger: Logger = unsafe { std::mem::transmute(logger) };
        if let Ok(c_text) = CString::new(text.as_str()) {
            // SAFETY: NCCL's logger is printf-like; the format takes one string.
            unsafe {
                logger(
                    level.to_nccl(),
                    NCCL_INIT_NET,
                    c"net-flexmig".as_ptr(),
                    0,
                    c"%s".as_ptr(),
                    c_text.as_ptr(),
                );
            }
        }
    }
    if level <= threshold() {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Something failed.
pub fn error(text: impl Display) {
    line(Level::Error, text);
}

/// Something is not as it should be; work goes on.
pub fn warn(text: impl Display) {
    line(Level::Warn, text);
}

/// Worth knowing once.
pub fn info(text: impl Display) {
    line(Level::Info, text);
}

/// For us.
pub fn debug(text: impl Display) {
    line(Level::Debug, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flexmig_log_decides_for_stderr() {
        assert_eq!(stderr_level(Some("debug"), None), Level::Debug);
        assert_eq!(stderr_level(Some("Error"), Some("INFO")), Level::Error);
    }

    #[test]
    fn warnings_are_seen_once() {
        assert_eq!(stderr_level(None, None), Level::Warn);
        assert_eq!(stderr_level(None, Some("VERSION")), Level::Warn);
        assert_eq!(stderr_level(None, Some("INFO")), Level::Error, "NCCL prints the warning");
        assert_eq!(stderr_level(Some("loud"), None), Level::Warn, "a word that is none of ours");
    }
}
