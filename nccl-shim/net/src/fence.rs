//! The panic fence: no panic of ours may unwind into NCCL.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use crate::error::{Code, INTERNAL, Result, SUCCESS};
use crate::log;

/// Runs the body of an entry point. An error is logged and becomes its code; a
/// panic becomes `ncclInternalError`.
#[inline]
pub fn fence(entry: &'static str, body: impl FnOnce() -> Result<()>) -> Code {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(error)) => {
            log::error(format_args!("{entry}: {error}"));
            error.code()
        }
        Err(payload) => {
            // Dropping a payload runs foreign code, which may panic again.
            std::mem::forget(payload);
            INTERNAL
        }
    }
}

/// Sends Rust's panic report to the log, as one line. The hook belongs to this
/// library alone, which has its own copy of Rust's standard library.
pub fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(report)));
}

fn report(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message");
    let (file, line) = info.location().map_or(("?", 0), |at| (at.file(), at.line()));
    log::error(format_args!(
        "internal error: {message} (line {line} of {file}): NCCL ends this communicator: please \
         report this line"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{NetError, REMOTE};

    #[test]
    fn results_become_codes() {
        assert_eq!(fence("test", || Ok(())), SUCCESS);
        assert_eq!(fence("test", || Err(NetError::remote("gone"))), REMOTE);
        assert_eq!(fence("test", || panic!("forced")), INTERNAL);
    }
}
