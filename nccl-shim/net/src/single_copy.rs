//! One copy instead of two: the receiver reads the sender's memory itself.
//!
//! `process_vm_readv` needs ptrace rights over the sender, so each receiver tries
//! at connect time: it reads a random word whose address came over the socket. If
//! it cannot, or if a buffer turns out to be unreadable later, the connection uses
//! the ring only.
//!
//! The kernel's copy promises nothing about the order of its stores, and the GPU
//! may poll NCCL's LL128 lines while they arrive: so messages shorter than
//! [`MIN_MESSAGE`], above NCCL's largest LL128 step (600 KiB), never go this way.

use crate::sys;

/// Shorter messages always take the ring.
pub const MIN_MESSAGE: usize = 1 << 20;

/// Read in one call at most; bounds the time of one `test`.
pub const PIECE: usize = 512 << 10;

/// Whether the word at `address` of process `pid` can be read and is `expected`.
pub fn probe(pid: i32, address: u64, expected: u64) -> bool {
    let mut word = 0u64;
    let place = (&raw mut word).cast();
    // SAFETY: `place` has room for 8 bytes.
    let read = unsafe { sys::read_process(pid, place, address, size_of::<u64>()) };
    matches!(read, Ok(8)) && word == expected && pid > 0
}

/// Reads the next bytes of a message. `None`: the memory cannot be read.
///
/// # Safety
/// `dst` must be writable for `len` bytes.
pub unsafe fn fetch(pid: i32, dst: *mut u8, address: u64, len: usize) -> Option<usize> {
    // SAFETY: the caller vouches for `dst`.
    match unsafe { sys::read_process(pid, dst, address, len.min(PIECE)) } {
        Ok(n) if n > 0 => Some(n),
        _ => None,
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
}
