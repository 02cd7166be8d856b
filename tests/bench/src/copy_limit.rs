//! What two processes can copy at most: two concurrent loops on private buffers, with the copy
//! primitives of the net plugin. The limit is what both loops move together.
//!
//! A transport comes near it in two ways. Through a ring that stays in the caches, a message costs the
//! memory as much as one copy, though two processes make two. Straight from process to process, each
//! of them can copy one half. So the rate of a single loop is no limit, and the sum is one.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nccl_net_flexmig::copy;

/// How long a pair of loops runs.
const TIME: Duration = Duration::from_millis(150);

type Copy = unsafe fn(*mut u8, *const u8, usize);

/// What the sender and the receiver may copy with. Data must not arrive by streaming stores, as the
/// GPU polls it; `memcpy` stands for the kernel's copy from process to process.
const PAIRS: [[Copy; 2]; 4] = [
    [copy::forward, copy::forward],
    [copy::streaming, copy::forward],
    [copy::streaming, memcpy],
    [memcpy, memcpy],
];

/// Bytes per second of two loops together, by the fastest pair of primitives.
pub fn measure(bytes: usize) -> f64 {
    PAIRS.into_iter().map(|pair| together(bytes, pair)).fold(0.0, f64::max)
}

fn together(bytes: usize, pair: [Copy; 2]) -> f64 {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let loops = pair.map(|copy| {
            let start = &start;
            scope.spawn(move || one_loop(bytes, copy, start))
        });
        loops.into_iter().map(|each| each.join().expect("a copy loop does not panic")).sum()
    })
}

fn one_loop(bytes: usize, copy: Copy, together: &Barrier) -> f64 {
    // Written to: pages of their own.
    let (from, mut to) = (vec![1u8; bytes], vec![2u8; bytes]);
    let mut once = || {
        // SAFETY: two allocations of this many bytes.
        unsafe { copy(to.as_mut_ptr(), from.as_ptr(), bytes) };
        std::hint::black_box(&mut to);
    };
    once();
    together.wait();
    let start = Instant::now();
    let mut moved = 0;
    while start.elapsed() < TIME {
        once();
        moved += bytes;
    }
    moved as f64 / start.elapsed().as_secs_f64()
}

/// # Safety
/// As for [`copy::forward`].
unsafe fn memcpy(to: *mut u8, from: *const u8, bytes: usize) {
    // SAFETY: the callee's contract is ours.
    unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_rate_is_a_rate() {
        let rate = super::measure(1 << 16);
        assert!((1e6..1e13).contains(&rate), "{rate}");
    }
}
