//! Is the process at the other end still alive?
//!
//! A socket's hang-up does not tell: a forked child of a dead rank keeps the socket
//! open. A pidfd does, and where the peer's process cannot be seen (another PID
//! namespace, Linux before 5.3) a POSIX record lock on the ring's memfd: it
//! belongs to the process alone, no child inherits it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{NetError, Result};
use crate::sys;

/// Which byte of the ring's memfd a side locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The sending end, which made the ring.
    Sender = 0,
    /// The receiving end.
    Receiver = 1,
}

/// How the peer is watched.
#[derive(Debug)]
pub enum Peer {
    /// It is this process.
    Myself,
    /// Through a pidfd.
    Process(OwnedFd),
    /// Through the lock on this byte of the memfd.
    Lock(i64),
}

impl Peer {
    /// Finds a way to watch the process at the other end of `socket`, whose side is
    /// `side` and which has taken its lock.
    pub fn watch(socket: BorrowedFd<'_>, pid: i32, side: Side, locks_only: bool) -> Self {
        if pid == std::process::id() as i32 {
            return Self::Myself;
        }
        match sys::peer_pidfd(socket, pid) {
            Ok(fd) if !locks_only => Self::Process(fd),
            _ => Self::Lock(side as i64),
        }
    }

    /// Whether the peer's process is gone. `memfd` is the ring's.
    pub fn is_gone(&self, memfd: BorrowedFd<'_>) -> bool {
        match self {
            Self::Myself => false,
            Self::Process(fd) => sys::is_ready(fd.as_fd()),
            Self::Lock(byte) => matches!(sys::is_locked(memfd, *byte), Ok(false)),
        }
    }
}

/// Takes the lock of our side, for a peer that may not see our process.
pub fn lock(memfd: BorrowedFd<'_>, side: Side) -> Result<()> {
    sys::lock_byte(memfd, side as i64).map_err(|error| NetError::system("locking the ring", &error))
}

/// Whether a process of this user may share memory with us.
pub fn same_user(uid: u32) -> bool {
    is_same_user(uid, sys::euid())
}

fn is_same_user(theirs: u32, ours: u32) -> bool {
    theirs == ours
}

/// Says when it is time to ask [`Peer::is_gone`]: not on every idle poll, which
/// would cost a system call, but at least every `PERIOD_MS` of polling.
#[derive(Debug, Default)]
pub struct Pulse {
    idle: u32,
    last_ms: u64,
}

impl Pulse {
    const PERIOD_MS: u64 = 10;
    const POLLS: u32 = 16;

    /// One more poll that moved nothing.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        self.idle += 1;
        if !self.idle.is_multiple_of(Self::POLLS) {
            return false;
        }
        let now = sys::now_ms();
        if now.wrapping_sub(self.last_ms) < Self::PERIOD_MS {
            return false;
        }
        self.last_ms = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn another_user_is_refused() {
        assert!(is_same_user(1000, 1000));
        assert!(!is_same_user(0, 1000), "not even root's process");
        assert!(!is_same_user(65534, 0));
        assert!(same_user(sys::euid()));
    }

    #[test]
    fn the_pulse_beats_while_polled() {
        let mut pulse = Pulse::default();
        let start = Instant::now();
        let mut beats = 0;
        while start.elapsed() < Duration::from_millis(200) {
            beats += u32::from(pulse.is_due());
        }
        assert!((5..=21).contains(&beats), "{beats}");
    }

    #[test]
    fn a_lock_of_our_own_is_not_a_peer() {
        let fd = sys::sealed_memfd(c"test", 4096).unwrap();
        lock(fd.as_fd(), Side::Sender).unwrap();
        // A process never sees its own locks: why `Myself` exists.
        assert!(Peer::Lock(0).is_gone(fd.as_fd()));
        assert!(!Peer::Myself.is_gone(fd.as_fd()));
    }
}
