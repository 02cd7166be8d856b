//! Which way a long message takes: two copies through the ring, or one straight
//! into the receiver's memory.
//!
//! Which is faster depends on the machine: on how cores share caches, on page
//! sizes, on the kernel's checks. The receiver knows, as it sees both the beginning
//! and the end of every message. It starts with a small profile taken at connect
//! time, goes on with what the messages took, and publishes the better way for each
//! size class. The sender follows, and tries the other way now and then.

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
/// Messages up to this size are not measured.
pub const MEASURED: usize = 64 << 10;
/// The other way is tried once in so many messages.
const TRY_EVERY: u32 = 64;

fn class(len: usize) -> usize {
    let above = (len / MEASURED).max(1).ilog2() as usize;
    above.min(CLASSES - 1)
}

/// The sender's choice.
#[derive(Debug)]
pub struct Paths {
    /// The shortest message that may go straight.
    min: usize,
    counts: [u32; CLASSES],
}

impl Paths {
    /// `min`: the shortest message for single copy, if it is possible at all.
    pub fn new(min: Option<usize>) -> Self {
        Self { min: min.unwrap_or(usize::MAX), counts: [0; CLASSES] }
    }

    /// The way for the next message of `len` bytes, by what the receiver prefers.
    pub fn choose(&mut self, len: usize, preference: u32) -> Path {
        if !self.may_park(len) {
            return Path::Ring;
        }
        let class = class(len);
        let count = &mut self.counts[class];
        *count = count.wrapping_add(1);
        let straight = preference & 1 << class != 0;
        let other_way = count.is_multiple_of(TRY_EVERY);
        if straight != other_way { Path::SingleCopy } else { Path::Ring }
    }

    /// Whether single copy is possible for this size at all.
    pub fn may_park(&self, len: usize) -> bool {
        len >= self.min
    }

    /// The receiver cannot reach this process's memory after all.
    pub fn forbid_single_copy(&mut self) {
        self.min = usize::MAX;
    }
}

/// What messages cost, as the receiver sees it.
#[derive(Debug)]
pub struct Costs {
    /// Picoseconds per byte, through the ring and straight.
    classes: [[u64; 2]; CLASSES],
    /// When the last message was over, in nanoseconds.
    last_ns: u64,
}

impl Costs {
    /// From a profile in nanoseconds per MiB: copying out of the ring, while the
    /// sender copies in; and reading the sender's memory, of which it does half.
    pub fn new(ring: u64, fetch: u64) -> Self {
        let per_byte = |ns_per_mib: u64| ns_per_mib.saturating_mul(1000) >> 20;
        Self { classes: [[per_byte(ring), per_byte(fetch) / 2]; CLASSES], last_ns: 0 }
    }

    /// A message is over that was first seen at `begun_ns`. With several in flight it
    /// counts from the end of the one before.
    pub fn finished(&mut self, path: Path, len: usize, begun_ns: u64, now_ns: u64) {
        let took = now_ns.saturating_sub(begun_ns.max(self.last_ns));
        self.last_ns = now_ns;
        let cost = &mut self.classes[class(len)][path as usize];
        // A pause of either process only makes a message slower, so the estimate is the
        // least seen, forgotten within some dozen messages.
        let sample = took.saturating_mul(1000) / len as u64;
        *cost = (*cost + *cost / 16 + 1).min(sample);
    }

    /// One bit for each class: it goes straight.
    pub fn preference(&self) -> u32 {
        let straight = |cost: &[u64; 2]| u32::from(cost[1] <= cost[0]);
        self.classes.iter().rev().fold(0, |bits, cost| bits << 1 | straight(cost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Sends `count` messages on a machine where each way has its cost.
    fn drive(
        paths: &mut Paths,
        costs: &mut Costs,
        count: usize,
        ring: u64,
        straight: u64,
    ) -> usize {
        let (mut now, mut singles) = (costs.last_ns + 1, 0);
        for _ in 0..count {
            let path = paths.choose(MIB, costs.preference());
            let begun = now;
            now += if path == Path::Ring { ring } else { straight };
            singles += usize::from(path == Path::SingleCopy);
            costs.finished(path, MIB, begun, now);
        }
        singles
    }

    #[test]
    fn short_messages_and_refusals_take_the_ring() {
        let mut paths = Paths::new(Some(MIB));
        assert_eq!(paths.choose(MIB - 1, u32::MAX), Path::Ring);
        assert_eq!(paths.choose(MIB, u32::MAX), Path::SingleCopy);
        paths.forbid_single_copy();
        assert!((0..100).all(|_| paths.choose(64 * MIB, u32::MAX) == Path::Ring));
        assert!((0..100).all(|_| Paths::new(None).choose(64 * MIB, u32::MAX) == Path::Ring));
    }

    #[test]
    fn feedback_corrects_the_profile() {
        // The profile says ring; messages say otherwise.
        let (mut paths, mut costs) = (Paths::new(Some(1)), Costs::new(50_000, 300_000));
        drive(&mut paths, &mut costs, 1000, 80_000, 30_000);
        assert!(drive(&mut paths, &mut costs, 256, 80_000, 30_000) > 240);
        // And the other way round.
        let (mut paths, mut costs) = (Paths::new(Some(1)), Costs::new(50_000, 10_000));
        drive(&mut paths, &mut costs, 1000, 30_000, 80_000);
        assert!(drive(&mut paths, &mut costs, 256, 30_000, 80_000) < 16);
    }

    #[test]
    fn one_slow_message_is_soon_forgotten() {
        let (mut paths, mut costs) = (Paths::new(Some(1)), Costs::new(80_000, 60_000));
        drive(&mut paths, &mut costs, 500, 80_000, 30_000);
        let now = costs.last_ns;
        costs.finished(Path::SingleCopy, MIB, now, now + 50_000_000);
        assert!(drive(&mut paths, &mut costs, 128, 80_000, 30_000) > 120);
    }

    #[test]
    fn classes_grow_with_the_size() {
        assert_eq!(class(65_537), 0);
        assert_eq!(class(MIB / 8), 1);
        assert_eq!(class(MIB), 4);
        assert_eq!(class(2 * MIB - 1), 4);
        assert_eq!(class(64 * MIB), 10);
        assert_eq!(class(usize::MAX), CLASSES - 1);
        let mut costs = Costs::new(100_000, 1_000_000);
        assert_eq!(costs.preference(), 0);
        costs.classes[4] = [2, 1];
        assert_eq!(costs.preference(), 1 << 4);
    }
}
