//! A rendezvous shared by both ends.
//!
//! While the receiver reads a long message out of the sender's memory, front to
//! back, the sender writes into the receiver's buffer, back to front: two cores
//! copy each byte once. The receiver **grants** this for the message it is at. Both
//! claim chunks in one atomic word, which also holds the message's number, so that a
//! late sender can never write for a message that is over.
//!
//! The receiver does not let go of its buffer before every chunk that the sender
//! claimed is reported, or the sender is dead: see [`Grant::close`].

use crate::comm::BUDGET;
use crate::error::Result;
use crate::ring::broken;
use crate::sync::{AtomicU64, Ordering};

/// One half for each end where that is not too long for one call: a system call costs
/// as much as copying some KiB, and the same half every time stays in the same cache.
const CHUNKS: std::ops::RangeInclusive<usize> = 16 << 10..=BUDGET;
const MAX_CHUNKS: usize = 60_000;

/// How a message is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    len: usize,
    chunk: usize,
}

impl Cut {
    /// The same on both ends.
    pub fn new(len: usize) -> Self {
        let half = len.div_ceil(2).next_multiple_of(4096).clamp(*CHUNKS.start(), *CHUNKS.end());
        Self { len, chunk: half.max(len.div_ceil(MAX_CHUNKS).next_multiple_of(64)) }
    }

    /// Number of chunks.
    pub fn count(self) -> u32 {
        self.len.div_ceil(self.chunk) as u32
    }

    /// Where a chunk starts and ends.
    pub fn range(self, index: u32) -> (usize, usize) {
        let start = index as usize * self.chunk;
        (start.min(self.len), (start + self.chunk).min(self.len))
    }
}

/// The number of a message, as the claims hold it; never 0.
pub fn number(message: u64) -> u32 {
    (message % u64::from(u32::MAX)) as u32 + 1
}

/// The shared part.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Grant {
    /// Number of the message, chunks claimed by the receiver, and by the sender.
    claims: AtomicU64,
    /// The receiver's buffer.
    address: AtomicU64,
    /// Written by the sender: number, a mark of failure, chunks written.
    pushed: AtomicU64,
}

fn pack(number: u32, front: u32, back: u32) -> u64 {
    u64::from(number) << 32 | u64::from(front) << 16 | u64::from(back)
}

fn unpack(word: u64) -> (u32, u32, u32) {
    ((word >> 32) as u32, (word >> 16) as u32 & 0xffff, word as u32 & 0xffff)
}

const FAILED: u64 = 1 << 31;

/// How far the sender is with what it claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Chunks written.
    pub count: u32,
    /// It cannot write to our memory, and claims nothing more.
    pub failed: bool,
}

impl Grant {
    /// Receiver: lets the sender write into the buffer at `address`.
    pub fn open(&self, number: u32, address: u64) {
        self.address.store(address, Ordering::Relaxed);
        self.claims.store(pack(number, 0, 0), Ordering::Release);
    }

    /// Receiver: claims its next chunk, `front` being what it has claimed so far.
    /// `None`: all are claimed; the second value is the sender's share.
    pub fn take_front(&self, number: u32, front: u32, chunks: u32) -> Result<(Option<u32>, u32)> {
        let mut word = self.claims.load(Ordering::Acquire);
        loop {
            let (theirs, front_now, back) = unpack(word);
            if theirs != number || front_now != front || front + back > chunks {
                return Err(broken("claim"));
            }
            if front + back == chunks {
                return Ok((None, back));
            }
            let next = pack(number, front + 1, back);
            match self.claims.compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok((Some(front), back)),
                Err(now) => word = now,
            }
        }
    }

    /// Receiver: no further claims. Returns the chunks that the sender has claimed;
    /// the buffer is its own again when as many are reported.
    pub fn close(&self) -> u32 {
        unpack(self.claims.swap(0, Ordering::AcqRel)).2
    }

    /// Receiver: what the sender reported for this message.
    pub fn pushed(&self, number: u32) -> Pushed {
        let word = self.pushed.load(Ordering::Acquire);
        if (word >> 32) as u32 != number {
            return Pushed { count: 0, failed: false };
        }
        Pushed { count: word as u32 & 0xffff, failed: word & FAILED != 0 }
    }

    /// Sender: claims its next chunk, from the end, `back` being what it has claimed
    /// so far. Returns its index and the receiver's buffer.
    pub fn take_back(&self, number: u32, back: u32, chunks: u32) -> Result<Option<(u32, u64)>> {
        let mut word = self.claims.load(Ordering::Acquire);
        loop {
            let (theirs, front, back_now) = unpack(word);
            if theirs != number || front + back_now >= chunks {
                return Ok(None);
            }
            if back_now != back {
                return Err(broken("claim"));
            }
            // Belongs to `number`, or the exchange fails.
            let address = self.address.load(Ordering::Relaxed);
            let next = pack(number, front, back + 1);
            match self.claims.compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(Some((chunks - 1 - back, address))),
                Err(now) => word = now,
            }
        }
    }

    /// Sender: `count` chunks are written.
    pub fn report(&self, number: u32, count: u32, failed: bool) {
        let mark = if failed { FAILED } else { 0 };
        self.pushed.store(u64::from(number) << 32 | mark | u64::from(count), Ordering::Release);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_message() {
        let chunk = *CHUNKS.end();
        for len in [1, 70_000, chunk - 1, chunk, chunk + 1, 5 << 20, 1 << 30, 1 << 40] {
            let cut = Cut::new(len);
            assert!(cut.count() as usize <= MAX_CHUNKS, "{len}");
            let mut next = 0;
            for index in 0..cut.count() {
                let (start, end) = cut.range(index);
                assert_eq!(start, next);
                assert!(end > start);
                next = end;
            }
            assert_eq!(next, len);
        }
    }

    #[test]
    fn every_chunk_is_claimed_once() {
        let grant = Grant::default();
        let number = number(7);
        assert_eq!(grant.take_back(number, 0, 5), Ok(None), "nothing granted");
        grant.open(number, 0xabc0);
        assert_eq!(grant.take_front(number, 0, 5), Ok((Some(0), 0)));
        assert_eq!(grant.take_back(number, 0, 5), Ok(Some((4, 0xabc0))));
        assert_eq!(grant.take_back(number, 1, 5), Ok(Some((3, 0xabc0))));
        assert_eq!(grant.take_front(number, 1, 5), Ok((Some(1), 2)));
        assert_eq!(grant.take_front(number, 2, 5), Ok((Some(2), 2)));
        assert_eq!(grant.take_back(number, 2, 5), Ok(None));
        assert_eq!(grant.take_front(number, 3, 5), Ok((None, 2)));
        grant.report(number, 1, false);
        assert_eq!(grant.pushed(number), Pushed { count: 1, failed: false });
        assert_eq!(grant.pushed(number + 1), Pushed { count: 0, failed: false });
        grant.report(number, 1, true);
        assert!(grant.pushed(number).failed);
    }

    #[test]
    fn a_closed_or_later_grant_gives_nothing() {
        let grant = Grant::default();
        grant.open(1, 0x1000);
        assert_eq!(grant.take_back(1, 0, 4), Ok(Some((3, 0x1000))));
        assert_eq!(grant.close(), 1, "one chunk to wait for");
        assert_eq!(grant.take_back(1, 1, 4), Ok(None));
        grant.open(2, 0x2000);
        assert_eq!(grant.take_back(1, 1, 4), Ok(None), "late by one message");
    }

    #[test]
    fn a_hostile_word_is_an_error() {
        let grant = Grant::default();
        grant.open(1, 0);
        grant.claims.store(pack(1, 0, 9), Ordering::Relaxed);
        assert!(grant.take_front(1, 0, 5).is_err(), "more than there is");
        grant.claims.store(pack(1, 3, 0), Ordering::Relaxed);
        assert!(grant.take_front(1, 0, 5).is_err(), "not what we claimed");
        grant.claims.store(pack(2, 0, 0), Ordering::Relaxed);
        assert!(grant.take_front(1, 0, 5).is_err(), "another message");
        grant.claims.store(pack(1, 0, 2), Ordering::Relaxed);
        assert!(grant.take_back(1, 0, 5).is_err(), "not what we claimed");
    }

    #[test]
    fn numbers_are_never_zero() {
        assert_eq!(number(0), 1);
        assert_eq!(number(u64::from(u32::MAX) - 1), u32::MAX);
        assert_eq!(number(u64::from(u32::MAX)), 1);
    }
}
