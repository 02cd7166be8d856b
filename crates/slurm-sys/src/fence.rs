//! The panic fence: no panic of ours may unwind into Slurm or end a daemon.
//!
//! Every function that Slurm calls, and every thread of a plugin, runs its body
//! inside [`fence`]. On the way in and out it costs nothing: no lock, no
//! allocation, no thread-local variable, so it is fit for a forked child too.

use std::any::Any;
use std::cell::Cell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::log;

/// Runs the body of an entry point. If it panics, the panic is logged with its
/// message and place, and `fallback` is the answer.
///
/// The body may leave a structure of its own half written when it panics; keep
/// what outlives the call in one atomic store, made at the end.
///
/// Test builds (feature `fault-injection`): panics on purpose if the environment
/// variable `FLEXMIG_TEST_PANIC` holds `entry`, alone or in a comma list.
pub fn fence<T>(entry: &'static str, fallback: T, body: impl FnOnce() -> T) -> T {
    let guarded = || {
        forced_panic(entry);
        body()
    };
    match catch_unwind(AssertUnwindSafe(guarded)) {
        Ok(answer) => answer,
        Err(payload) => {
            log_panic(entry, payload);
            fallback
        }
    }
}

/// Logs a caught panic. Neither writing the line nor dropping the payload can
/// unwind from here.
pub(crate) fn log_panic(entry: &str, payload: Box<dyn Any + Send>) {
    let logged = catch_unwind(AssertUnwindSafe(|| {
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("panic without a message");
        let place = PLACE.take();
        log::error(format_args!(
            "{entry}: internal error: {message}{place}: Slurm goes on without flexmig for this \
             call: please report this line",
        ));
    }));
    // Dropping a payload runs foreign code, which may panic again; that second
    // payload is leaked.
    let dropped = catch_unwind(AssertUnwindSafe(move || drop(payload)));
    for second in [logged, dropped].into_iter().filter_map(Result::err) {
        std::mem::forget(second);
    }
}

/// Where the last panic of this thread happened. A plain array: it needs no
/// destructor, which would be called after the library is gone.
#[derive(Clone, Copy)]
struct Place {
    text: [u8; 120],
    len: usize,
}

impl Default for Place {
    fn default() -> Self {
        Self { text: [0; 120], len: 0 }
    }
}

impl std::fmt::Write for Place {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = &mut self.text[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text[..self.len]))
    }
}

thread_local! {
    static PLACE: Cell<Place> = const { Cell::new(Place { text: [0; 120], len: 0 }) };
}

/// Replaces Rust's own panic report, which would go to the daemon's stderr, by
/// a note of the place for [`log_panic`]. The hook belongs to this library
/// alone: each plugin has its own copy of Rust's standard library.
pub(crate) fn install_panic_hook() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::AcqRel) {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        let mut place = Place::default();
        if let Some(location) = info.location() {
            let _ = write!(place, " (line {} of {})", location.line(), location.file());
        }
        PLACE.set(place);
    }));
}

#[cfg(feature = "fault-injection")]
fn forced_panic(entry: &str) {
    let Ok(list) = std::env::var("FLEXMIG_TEST_PANIC") else { return };
    assert!(!list.split(',').any(|name| name == entry), "forced by FLEXMIG_TEST_PANIC");
}

#[cfg(not(feature = "fault-injection"))]
fn forced_panic(_entry: &str) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::captured;

    /// Panics again when it is dropped.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the payload went off");
        }
    }

    #[test]
    fn an_answer_passes_through() {
        assert_eq!(fence("job_submit", -1, || 7), 7);
    }

    #[test]
    fn a_panic_becomes_the_fallback_and_one_line() {
        let (answer, lines) =
            captured(|| fence("job_submit", -1, || panic!("leaf {}\nis gone", 3)));
        assert_eq!(answer, -1);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("job_submit: internal error: leaf 3 is gone"), "{lines:?}");
    }

    #[test]
    fn a_payload_that_panics_is_harmless() {
        let (answer, lines) = captured(|| fence("job_modify", 0, || std::panic::panic_any(Bomb)));
        assert_eq!(answer, 0);
        assert!(lines[0].contains("panic without a message"), "{lines:?}");
    }

    #[test]
    fn a_long_place_is_cut() {
        let mut place = Place::default();
        write!(place, "{}", "x".repeat(500)).unwrap();
        assert_eq!(place.to_string().len(), 120);
    }
}
