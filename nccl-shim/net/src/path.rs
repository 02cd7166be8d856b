//! Which way a long message takes: two copies through the ring, or one straight
//! into the receiver's memory.
//!
//! Which is faster depends on the machine: on how cores share caches, on page
//! sizes, on the kernel's checks. A connection starts with what its receiver
//! measured, and goes on with what its own messages took, by size class. The way
//! that lost is tried again now and then.

/// A way for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Through the ring.
    Ring,
    /// Straight from process to process.
    SingleCopy,
}

/// Size classes: up to 128 KiB, 256 KiB, ... and all above 128 MiB.
const CLASSES: usize = 12;
const FIRST_CLASS: usize = 64 << 10;
/// The other way is tried once in so many messages.
const TRY_EVERY: u32 = 64;

#[derive(Clone, Copy, Debug)]
struct Class {
    /// Picoseconds per byte: ring, single copy.
    cost: [u64; 2],
    count: u32,
}

/// The choice by message size.
#[derive(Debug)]
pub struct Paths {
    /// The shortest message that may go straight.
    min: usize,
    classes: [Class; CLASSES],
    /// When the last long message was over, in nanoseconds.
    last_ns: u64,
}

/// What the receiver measured, in nanoseconds per MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Reading the sender's memory; both ends will copy, each a part.
    pub fetch: u64,
    /// Copying out of the ring; the other end copies in at the same time.
    pub ring: u64,
}

impl Paths {
    /// `profile`: what the receiver measured, if its probe went well; `min`: the
    /// shortest message for single copy.
    pub fn new(profile: Option<Profile>, min: usize) -> Self {
        let per_byte = |ns_per_mib: u64| ns_per_mib.saturating_mul(1000) >> 20;
        let cost = match profile {
            Some(profile) => [per_byte(profile.ring), per_byte(profile.fetch) / 2],
            None => [0, 0],
        };
        Self {
            min: if profile.is_some() { min } else { usize::MAX },
            classes: [Class { cost, count: 0 }; CLASSES],
            last_ns: 0,
        }
    }

    fn class(len: usize) -> usize {
        let above = (len / FIRST_CLASS).max(1).ilog2() as usize;
        above.min(CLASSES - 1)
    }

    /// The way for the next message of `len` bytes.
    pub fn choose(&mut self, len: usize) -> Path {
        if !self.may_park(len) {
            return Path::Ring;
        }
        let class = &mut self.classes[Self::class(len)];
        class.count = class.count.wrapping_add(1);
        let best = if class.cost[1] <= class.cost[0] { Path::SingleCopy } else { Path::Ring };
        match best {
            _ if class.count % TRY_EVERY != 3 => best,
            Path::Ring => Path::SingleCopy,
            Path::SingleCopy => Path::Ring,
        }
    }

    /// Whether single copy is possible for this size at all.
    pub fn may_park(&self, len: usize) -> bool {
        len >= self.min
    }

    /// A message is over; it was begun at `begun_ns`. With several in flight it counts
    /// from the end of the one before. Waiting for the peer counts too, so the
    /// estimate is the least seen, forgotten slowly.
    pub fn finished(&mut self, path: Path, len: usize, begun_ns: u64, now_ns: u64) {
        let took = now_ns.saturating_sub(begun_ns.max(self.last_ns));
        self.last_ns = now_ns;
        // The ring is over for us when the last byte is in; the receiver copies on.
        let took = if path == Path::Ring { took + took / 4 } else { took };
        let sample = took.saturating_mul(1000) / len as u64;
        let cost = &mut self.classes[Self::class(len)].cost[path as usize];
        *cost = (*cost + *cost / 32 + 1).min(sample);
    }

    /// The receiver cannot reach this process's memory after all.
    pub fn forbid_single_copy(&mut self) {
        self.min = usize::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Sends `count` messages on a machine where each way has its cost.
    fn drive(paths: &mut Paths, count: usize, ring_ns: u64, single_ns: u64) -> usize {
        let (mut now, mut singles) = (paths.last_ns + 1, 0);
        for _ in 0..count {
            let path = paths.choose(MIB);
            let begun = now;
            now += if path == Path::Ring { ring_ns } else { single_ns };
            singles += usize::from(path == Path::SingleCopy);
            paths.finished(path, MIB, begun, now);
        }
        singles
    }

    #[test]
    fn short_messages_and_refusals_take_the_ring() {
        let profile = Profile { fetch: 1, ring: 1_000_000 };
        let mut paths = Paths::new(Some(profile), MIB);
        assert_eq!(paths.choose(MIB - 1), Path::Ring);
        assert!((0..10).any(|_| paths.choose(MIB) == Path::SingleCopy));
        paths.forbid_single_copy();
        assert!((0..100).all(|_| paths.choose(64 * MIB) == Path::Ring));
        assert!((0..100).all(|_| Paths::new(None, MIB).choose(64 * MIB) == Path::Ring));
    }

    #[test]
    fn feedback_corrects_the_profile() {
        // The profile says ring; messages say otherwise.
        let mut paths = Paths::new(Some(Profile { fetch: 300_000, ring: 50_000 }), MIB);
        drive(&mut paths, 500, 80_000, 30_000);
        assert!(drive(&mut paths, 256, 80_000, 30_000) > 240);
        // And the other way round.
        let mut paths = Paths::new(Some(Profile { fetch: 10_000, ring: 50_000 }), MIB);
        drive(&mut paths, 500, 30_000, 80_000);
        assert!(drive(&mut paths, 256, 30_000, 80_000) < 16);
    }

    #[test]
    fn one_slow_message_changes_nothing() {
        let mut paths = Paths::new(Some(Profile { fetch: 60_000, ring: 80_000 }), MIB);
        drive(&mut paths, 500, 80_000, 30_000);
        let now = paths.last_ns;
        paths.finished(Path::SingleCopy, MIB, now, now + 50_000_000);
        assert!(drive(&mut paths, 64, 80_000, 30_000) > 60);
    }

    #[test]
    fn classes_grow_with_the_size() {
        assert_eq!(Paths::class(65_537), 0);
        assert_eq!(Paths::class(MIB / 8), 1);
        assert_eq!(Paths::class(MIB), 4);
        assert_eq!(Paths::class(2 * MIB - 1), 4);
        assert_eq!(Paths::class(64 * MIB), 10);
        assert_eq!(Paths::class(usize::MAX), CLASSES - 1);
    }
}
