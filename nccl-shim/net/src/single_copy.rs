//! One copy instead of two: straight from one process's memory into the other's.
//!
//! `process_vm_readv` and `process_vm_writev` need ptrace rights over the other
//! process, so each receiver tries at connect time: it reads a random word whose
//! address came over the socket. If it cannot, or if a buffer turns out to be out of
//! reach later, the connection uses the ring.
//!
//! The kernel's copy promises nothing about the order of its stores. So a message that
//! the GPU may poll while it arrives ([`crate::polled`]) is read into a buffer of the
//! plugin's own and goes on with ordered stores: [`Bounce`]. All others are read, and
//! written, straight in place: [`Fetch`], [`Push`].
//!
//! Writing into another process is the delicate half. The sender does it only with
//! a chunk claimed ([`crate::grant`]), and only to a process that was alive just
//! before; the receiver holds its buffer until the chunk is reported.

use std::time::{Duration, Instant};

use crate::comm::BUDGET;
use crate::copy;
use crate::error::{NetError, Result};
use crate::grant::{Cut, Grant, number};
use crate::log;
use crate::sys;

/// Whether the word at `address` of process `pid` can be read and is `expected`.
pub fn probe(pid: i32, address: u64, expected: u64) -> bool {
    let mut word = 0u64;
    let place = (&raw mut word).cast();
    // SAFETY: `place` has room for 8 bytes.
    let read = unsafe { sys::read_process(pid, place, address, size_of::<u64>()) };
    matches!(read, Ok(8)) && word == expected && pid > 0
}

/// The profile that a connection starts with: nanoseconds per MiB for reading
/// `len` bytes at `address` of the sender, and for copying them out of the ring,
/// which both have mapped. Best of a few.
///
/// # Safety
/// `ring` must be readable for `len` bytes.
pub unsafe fn measure(pid: i32, address: u64, ring: *const u8, len: usize) -> (u64, u64) {
    let mut scratch = vec![0u8; len];
    let mut best = [u64::MAX; 2];
    for _ in 0..3 {
        let start = Instant::now();
        // SAFETY: `scratch` has `len` bytes.
        if !matches!(unsafe { sys::read_process(pid, scratch.as_mut_ptr(), address, len) }, Ok(n) if n == len)
        {
            return (u64::MAX, 0);
        }
        best[0] = best[0].min(start.elapsed().as_nanos() as u64);
        let start = Instant::now();
        // SAFETY: the caller vouches for `ring`.
        unsafe { copy::forward(scratch.as_mut_ptr(), ring, len) };
        best[1] = best[1].min(start.elapsed().as_nanos() as u64);
    }
    let per_mib = |ns: u64| ns.saturating_mul(1 << 20) / len as u64;
    (per_mib(best[0]), per_mib(best[1]))
}

/// What came of a round at a rendezvous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This many bytes moved; not over yet.
    Moved(usize),
    /// The message is complete.
    Complete,
    /// The memory is out of reach: take it through the ring.
    Refused,
}

/// The receiver's side of one message.
#[derive(Debug)]
pub struct Fetch {
    number: u32,
    from: u64,
    to: *mut u8,
    cut: Cut,
    /// Chunks claimed by us.
    front: u32,
    /// The chunk at hand: next byte and end.
    at: (usize, usize),
    /// The sender takes part.
    shared: bool,
    /// Out of reach; so many chunks of the sender's are to be waited for.
    draining: Option<u32>,
}

impl Fetch {
    /// Starts on message `message`; `shared` grants the sender its part.
    pub fn new(
        message: u64,
        from: u64,
        to: *mut u8,
        len: usize,
        grant: &Grant,
        shared: bool,
    ) -> Self {
        let number = number(message);
        if shared {
            grant.open(number, to as u64);
        }
        let cut = Cut::new(len);
        Self { number, from, to, cut, front: 0, at: (0, 0), shared, draining: None }
    }

    /// Whether the sender takes part.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Copies up to [`BUDGET`] bytes.
    ///
    /// # Safety
    /// The buffer must be valid for the length of the message.
    pub unsafe fn step(&mut self, grant: &Grant, pid: i32) -> Result<Outcome> {
        if let Some(back) = self.draining {
            let pushed = grant.pushed(self.number);
            let over = pushed.failed || pushed.count >= back;
            return Ok(if over { Outcome::Refused } else { Outcome::Moved(0) });
        }
        let mut moved = 0;
        while moved < BUDGET {
            if self.at.0 == self.at.1 && !self.next_chunk(grant)? {
                return self.end(grant, moved);
            }
            let (start, end) = self.at;
            let len = (end - start).min(BUDGET - moved);
            // SAFETY: the chunk lies within the message.
            let read = unsafe {
                let from = self.from.wrapping_add(start as u64);
                sys::read_process(pid, self.to.add(start), from, len)
            };
            match read {
                Ok(n) if n > 0 => {
                    self.at.0 += n;
                    moved += n;
                }
                _ => {
                    self.draining = Some(if self.shared { grant.close() } else { 0 });
                    return Ok(Outcome::Moved(moved));
                }
            }
        }
        Ok(Outcome::Moved(moved))
    }

    fn next_chunk(&mut self, grant: &Grant) -> Result<bool> {
        let index = if self.shared {
            grant.take_front(self.number, self.front, self.cut.count())?.0
        } else {
            (self.front < self.cut.count()).then_some(self.front)
        };
        let Some(index) = index else { return Ok(false) };
        self.front += 1;
        self.at = self.cut.range(index);
        Ok(true)
    }

    /// All is claimed: complete once the sender's chunks are written.
    fn end(&mut self, grant: &Grant, moved: usize) -> Result<Outcome> {
        if !self.shared {
            return Ok(Outcome::Complete);
        }
        let pushed = grant.pushed(self.number);
        if pushed.failed {
            // Once more, alone; what is there is written again.
            grant.close();
            (self.shared, self.front, self.at) = (false, 0, (0, 0));
            return Ok(Outcome::Moved(moved.max(1)));
        }
        let back = self.cut.count() - self.front;
        Ok(if pushed.count >= back { Outcome::Complete } else { Outcome::Moved(moved) })
    }

    /// Takes the grant back before the buffer is given up. Waits for a chunk that
    /// the sender is writing: microseconds, unless its process is stopped.
    ///
    /// A sender that is stopped between claim and write would write when it goes on, into
    /// whatever lies there by then. So it is locked out; where that cannot be done, the
    /// buffer is not given up before the sender has gone on or is dead.
    pub fn abandon(&self, grant: &Grant, is_gone: impl Fn() -> bool) {
        if !self.shared {
            return;
        }
        let back = self.draining.unwrap_or_else(|| grant.close());
        let is_over = || {
            let pushed = grant.pushed(self.number);
            pushed.failed || pushed.count >= back || is_gone()
        };
        if wait(PATIENCE, is_over) {
            return;
        }
        let locked_out = sys::lock_out_other_processes();
        log::warn(format_args!(
            "close: the sender's process has been stopped for {} s in the middle of a copy: {}",
            PATIENCE.as_secs(),
            match locked_out {
                true => "other processes can no longer reach the memory of this one",
                false => "waiting until it goes on or is dead",
            }
        ));
        // Locked out: this long for a write that had begun.
        while !wait(GRACE, is_over) && !locked_out {}
    }
}

/// How long a sender may take for a chunk before it counts as stopped.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How long a write inside the kernel takes at most: it is not stopped there.
const GRACE: Duration = Duration::from_secs(1);

/// Whether it came true within a time.
fn wait(time: Duration, is_over: impl Fn() -> bool) -> bool {
    let until = Instant::now() + time;
    while !is_over() {
        if Instant::now() > until {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// Where messages rest that the GPU may poll: as long as the longest of them.
const BOUNCE: usize = 64 << 10;

/// The receiver's way round the kernel's unordered stores. The buffer stays in the
/// caches, so the second copy is a cheap one.
#[derive(Debug, Default)]
pub struct Bounce(Box<[u8]>);

impl Bounce {
    /// Copies the next of `len` bytes at `from` of the sender. Returns how many;
    /// `None`: its memory is out of reach.
    ///
    /// # Safety
    /// `to` must be writable for `len` bytes.
    pub unsafe fn step(
        &mut self,
        pid: i32,
        from: u64,
        to: *mut u8,
        len: usize,
        is_gone: impl Fn() -> bool,
    ) -> Result<Option<usize>> {
        if self.0.is_empty() {
            self.0 = vec![0; BOUNCE].into();
        }
        let len = len.min(BOUNCE);
        // SAFETY: `len` is at most the buffer's.
        let read = unsafe { sys::read_process(pid, self.0.as_mut_ptr(), from, len) };
        let Some(n) = read.ok().filter(|&n| n > 0) else { return Ok(None) };
        // A dead process's number may name another one by now.
        if is_gone() {
            return Err(NetError::remote("the sender's process ended"));
        }
        // SAFETY: the caller vouches for `to`; `n` bytes were read.
        unsafe { copy::forward(to, self.0.as_ptr(), n) };
        Ok(Some(n))
    }
}

/// The sender's part in its oldest rendezvous.
#[derive(Debug, Default)]
pub struct Push {
    number: u32,
    back: u32,
    impossible: bool,
}

impl Push {
    /// Writes one chunk, if one is granted. Returns its size.
    ///
    /// # Safety
    /// `from` must be readable for `len` bytes.
    pub unsafe fn step(
        &mut self,
        grant: &Grant,
        message: u64,
        from: *const u8,
        len: usize,
        pid: i32,
        is_gone: impl Fn() -> bool,
    ) -> Result<usize> {
        let number = number(message);
        if self.number != number {
            (self.number, self.back) = (number, 0);
        }
        if self.impossible || pid <= 0 {
            return Ok(0);
        }
        let cut = Cut::new(len);
        let Some((index, to)) = grant.take_back(number, self.back, cut.count())? else {
            return Ok(0);
        };
        self.back += 1;
        let (start, end) = cut.range(index);
        let mut at = start;
        while at < end {
            // A dead process's number may name another one by now.
            if is_gone() {
                return Err(NetError::remote("the receiver's process ended"));
            }
            // SAFETY: the caller vouches for `from`; the chunk lies within.
            let written = unsafe {
                sys::write_process(pid, to.wrapping_add(at as u64), from.add(at), end - at)
            };
            match written {
                Ok(n) if n > 0 => at += n,
                _ => {
                    self.impossible = true;
                    grant.report(number, self.back - 1, true);
                    return Ok(0);
                }
            }
        }
        grant.report(number, self.back, false);
        Ok(end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_wants_the_right_word() {
        let word = 0x1234_5678_9abc_def0u64;
        let pid = std::process::id() as i32;
        let address = &raw const word as u64;
        assert!(probe(pid, address, word));
        assert!(!probe(pid, address, word + 1));
        assert!(!probe(pid, 0, word), "an unmapped address");
        assert!(!probe(-1, address, word));
    }

    const LEN: usize = (3 << 20) + 77;

    fn message() -> Vec<u8> {
        (0..LEN).map(|i| ((i * 7) >> 5) as u8).collect()
    }

    fn me() -> i32 {
        std::process::id() as i32
    }

    #[test]
    fn what_a_gpu_may_poll_takes_two_steps() {
        let (from, mut to, mut bounce) = (message(), vec![0u8; LEN], Bounce::default());
        let mut done = 0;
        while done < LEN {
            let (source, place) = (from[done..].as_ptr() as u64, to[done..].as_mut_ptr());
            // SAFETY: both buffers have LEN bytes.
            let n = unsafe { bounce.step(me(), source, place, LEN - done, || false) };
            done += n.unwrap().unwrap();
        }
        assert!(from == to);
        let place = to.as_mut_ptr();
        // SAFETY: as above; nothing is read from address 4096.
        unsafe {
            assert_eq!(bounce.step(me(), 4096, place, 8, || false), Ok(None));
            assert!(bounce.step(me(), from.as_ptr() as u64, place, 8, || true).is_err());
        }
    }

    #[test]
    fn both_ends_copy_a_message_together() {
        let (from, mut to, grant) = (message(), vec![0u8; LEN], Grant::default());
        let mut fetch = Fetch::new(1, from.as_ptr() as u64, to.as_mut_ptr(), LEN, &grant, true);
        let mut push = Push::default();
        let mut pushed = 0;
        loop {
            // SAFETY: both buffers have LEN bytes.
            unsafe {
                pushed += push.step(&grant, 1, from.as_ptr(), LEN, me(), || false).unwrap();
                if fetch.step(&grant, me()).unwrap() == Outcome::Complete {
                    break;
                }
            }
        }
        assert!(pushed > 0 && pushed < LEN, "{pushed}");
        assert!(from == to);
    }

    #[test]
    fn a_sender_that_cannot_write_is_done_without() {
        let (from, mut to, grant) = (message(), vec![0u8; LEN], Grant::default());
        let mut fetch = Fetch::new(1, from.as_ptr() as u64, to.as_mut_ptr(), LEN, &grant, true);
        let mut push = Push::default();
        // A process that is not there: as refused as one without rights.
        // SAFETY: the buffer has LEN bytes.
        let wrote = unsafe { push.step(&grant, 1, from.as_ptr(), LEN, i32::MAX, || false) };
        assert_eq!(wrote, Ok(0));
        // SAFETY: as above.
        while unsafe { fetch.step(&grant, me()) }.unwrap() != Outcome::Complete {}
        assert!(from == to);
        assert!(!fetch.is_shared());
    }

    #[test]
    fn memory_out_of_reach_is_refused() {
        let (mut to, grant) = (vec![0u8; LEN], Grant::default());
        let mut fetch = Fetch::new(1, 4096, to.as_mut_ptr(), LEN, &grant, true);
        // SAFETY: the buffer has LEN bytes.
        unsafe {
            assert_eq!(fetch.step(&grant, me()), Ok(Outcome::Moved(0)));
            assert_eq!(fetch.step(&grant, me()), Ok(Outcome::Refused));
        }
    }

    #[test]
    fn a_claimed_chunk_is_waited_for() {
        let (from, mut to, grant) = (message(), vec![0u8; LEN], Grant::default());
        let fetch = Fetch::new(1, from.as_ptr() as u64, to.as_mut_ptr(), LEN, &grant, true);
        assert!(grant.take_back(number(1), 0, Cut::new(LEN).count()).unwrap().is_some());
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                grant.report(number(1), 1, false);
            });
            fetch.abandon(&grant, || false);
        });
        assert!(start.elapsed() >= Duration::from_millis(50));
        fetch.abandon(&grant, || true);
    }

    #[test]
    fn a_buffer_is_not_given_up_to_a_stopped_sender() {
        let (from, mut to, grant) = (message(), vec![0u8; LEN], Grant::default());
        let fetch = Fetch::new(1, from.as_ptr() as u64, to.as_mut_ptr(), LEN, &grant, true);
        assert!(grant.take_back(number(1), 0, Cut::new(LEN).count()).unwrap().is_some());
        let (start, late) = (Instant::now(), PATIENCE + 2 * GRACE);
        fetch.abandon(&grant, || start.elapsed() > late);
        // As root nothing locks it out: it was waited for. Else after the grace all is over.
        let root = sys::euid() == 0;
        assert!(start.elapsed() >= if root { late } else { PATIENCE + GRACE });
    }
}
