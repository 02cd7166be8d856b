//! What two processes could move at most: two concurrent loops on private buffers, with the copy
//! primitives of the net plugin.
//!
//! Through a ring every byte is copied once by the sender and once by the receiver, at the same time,
//! so the rate of one such loop beside another is the limit of the transport.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nccl_net_flexmig::copy;

/// How long the loops run.
const TIME: Duration = Duration::from_millis(150);

/// Bytes per second of one loop while another runs; the mean of the two. The faster of the plugin's
/// two primitives counts.
pub fn measure(bytes: usize) -> f64 {
    let ordinary = two_loops(bytes, copy::forward);
    let streaming = two_loops(bytes, copy::streaming);
    ordinary.max(streaming)
}

fn two_loops(bytes: usize, copy: unsafe fn(*mut u8, *const u8, usize)) -> f64 {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let loops = [(); 2].map(|()| scope.spawn(|| one_loop(bytes, copy, &start)));
        let rates = loops.map(|each| each.join().expect("a copy loop does not panic"));
        (rates[0] + rates[1]) / 2.0
    })
}

fn one_loop(bytes: usize, copy: unsafe fn(*mut u8, *const u8, usize), together: &Barrier) -> f64 {
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

#[cfg(test)]
mod tests {
    #[test]
    fn a_rate_is_a_rate() {
        let rate = super::measure(1 << 16);
        assert!((1e6..1e13).contains(&rate), "{rate}");
    }
}
