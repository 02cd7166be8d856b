//! Waiting for something to become true.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Calls `probe` until it returns something.
///
/// # Panics
/// If that takes longer than `seconds`, naming `what` was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, seconds: u64, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "waited {seconds} s for {what}");
        sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(150));
    }
}
