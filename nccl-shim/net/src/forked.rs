//! Sockets are closed in forked children.
//!
//! A child of a rank keeps copies of its sockets. Were the rank killed, its peer on
//! another host would wait for ever, as there is neither a pidfd nor a lock to ask;
//! and on this host a connection to its listener would be taken by nobody.
//! So every socket is listed here, and a fork handler closes the child's copies.
//! It uses nothing but atomics and `close`, which are allowed after fork.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

const PLACES: usize = 4096;
const EMPTY: RawFd = -1;

static LIST: [AtomicI32; PLACES] = [const { AtomicI32::new(EMPTY) }; PLACES];

/// A socket that forked children do not keep.
#[derive(Debug)]
pub struct Guarded {
    fd: Option<OwnedFd>,
    place: Option<usize>,
}

impl Guarded {
    /// Lists a socket. With a full list it is a plain one.
    pub fn new(fd: OwnedFd) -> Self {
        install();
        let raw = fd.as_raw_fd();
        let free = |place: &AtomicI32| {
            place.compare_exchange(EMPTY, raw, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        Self { fd: Some(fd), place: LIST.iter().position(free) }
    }
}

impl AsFd for Guarded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            None => unreachable!("only drop takes the descriptor"),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let mut ours = true;
        if let Some(place) = self.place {
            // Empty already: we are in a forked child, where the number may belong
            // to another file by now.
            ours = LIST[place].swap(EMPTY, Ordering::AcqRel) != EMPTY;
        }
        if let Some(fd) = self.fd.take()
            && !ours
        {
            let _ = fd.into_raw_fd();
        }
    }
}

extern "C" fn in_child() {
    for place in &LIST {
        let fd = place.swap(EMPTY, Ordering::AcqRel);
        if fd != EMPTY {
            // SAFETY: a listed descriptor is open and belongs to its `Guarded`, which
            // will not close it again.
            unsafe { libc::close(fd) };
        }
    }
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_has_no_copy() {
        let socket = Guarded::new(crate::sys::packet_socket().unwrap());
        let raw = socket.as_fd().as_raw_fd();
        // SAFETY: the child calls only async-signal-safe functions.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(i32::from(libc::fcntl(raw, libc::F_GETFD) != -1));
            }
            let mut status = 0;
            libc::waitpid(child, &raw mut status, 0);
            status
        };
        assert_eq!(status, 0, "the child still had the socket");
        // SAFETY: a plain query.
        assert_ne!(unsafe { libc::fcntl(raw, libc::F_GETFD) }, -1, "the parent keeps it");
    }
}
