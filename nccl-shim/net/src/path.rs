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

/// Messages up to this size always take the ring, and are not measured.
pub const SHORT: usize = 8 << 10;
/// Of a longer message both ends copy a part when it goes straight.
const SHARED: usize = 32 << 10;
/// Size classes: up to 16 KiB, 32 KiB, ... 128 MiB, and all above.
const CLASSES: usize = 15;
/// How often the ways of a class are compared.
#[derive(Clone, Copy)]
struct Trials {
    /// Messages in a row: the ring is at its best only when one follows the other.
    row: u32,
    /// The other way is tried at the end of so many.
    cycle: u32,
}

/// Long messages fill the ring by themselves, and there are fewer of them.
fn trials(class: usize) -> Trials {
    if class < 9 { Trials { row: 8, cycle: 512 } } else { Trials { row: 2, cycle: 32 } }
}

fn class(len: usize) -> usize {
    let above = (len.saturating_sub(1) / SHORT).max(1).ilog2() as usize;
    above.min(CLASSES - 1)
}

/// The sender's choice.
#[derive(Debug)]
pub struct Paths {
    /// Whether the receiver can reach this process's memory.
    single_copy: bool,
    counts: [u32; CLASSES],
}

/// The message that the sender chooses a way for.
#[derive(Clone, Copy, Debug)]
pub struct Next {
    /// Bytes.
    pub len: usize,
    /// The GPU may poll it while it arrives: both ends use buffers of one protocol.
    pub is_polled: bool,
    /// Messages in flight, this one among them.
    pub waiting: usize,
}

impl Paths {
    /// `single_copy`: whether it is possible at all.
    pub fn new(single_copy: bool) -> Self {
        Self { single_copy, counts: [0; CLASSES] }
    }

    /// The way for the next message, by what the receiver prefers.
    pub fn choose(&mut self, next: Next, preference: u32) -> Path {
        let Next { len, is_polled, waiting } = next;
        // The receiver alone would copy it, and the sender be idle: the ring is better
        // as soon as several are in flight.
        let alone = len <= SHARED || is_polled;
        if !self.may_park(len) || (alone && waiting > 1) {
            return Path::Ring;
        }
        let class = class(len);
        let (Trials { row, cycle }, place) = (trials(class), self.counts[class]);
        // A row of each first, then cycles.
        let first = 2 * row;
        self.counts[class] = if place + 1 == first + cycle { first } else { place + 1 };
        let straight = match place {
            _ if place < row => true,
            _ if place < first => false,
            _ => (preference & 1 << class != 0) == (place < first + cycle - row),
        };
        if straight { Path::SingleCopy } else { Path::Ring }
    }

    /// Whether single copy is possible for this size at all.
    pub fn may_park(&self, len: usize) -> bool {
        self.single_copy && len > SHORT
    }

    /// The receiver cannot reach this process's memory after all.
    pub fn forbid_single_copy(&mut self) {
        self.single_copy = false;
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

    fn next(len: usize) -> Next {
        Next { len, is_polled: false, waiting: 1 }
    }

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
            let path = paths.choose(next(MIB), costs.preference());
            let begun = now;
            now += if path == Path::Ring { ring } else { straight };
            singles += usize::from(path == Path::SingleCopy);
            costs.finished(path, MIB, begun, now);
        }
        singles
    }

    #[test]
    fn short_messages_and_refusals_take_the_ring() {
        let mut paths = Paths::new(true);
        assert_eq!(paths.choose(next(SHORT), u32::MAX), Path::Ring);
        assert_eq!(paths.choose(next(SHORT + 1), u32::MAX), Path::SingleCopy);
        assert_eq!(paths.choose(Next { waiting: 2, ..next(SHARED) }, u32::MAX), Path::Ring);
        let shared = Next { waiting: 2, ..next(SHARED + 1) };
        assert_eq!(paths.choose(shared, u32::MAX), Path::SingleCopy);
        assert_eq!(paths.choose(Next { is_polled: true, ..shared }, u32::MAX), Path::Ring);
        paths.forbid_single_copy();
        assert!((0..100).all(|_| paths.choose(next(64 * MIB), u32::MAX) == Path::Ring));
    }

    #[test]
    fn both_ways_are_tried_first() {
        let mut paths = Paths::new(true);
        let mut straight = |count: u32, preference| {
            let is_straight = |_: &u32| paths.choose(next(MIB), preference) == Path::SingleCopy;
            (0..count).filter(is_straight).count()
        };
        let Trials { row, cycle } = trials(class(MIB));
        assert_eq!(straight(row, 0), row as usize);
        assert_eq!(straight(row, u32::MAX), 0);
        // And again at the end of each cycle.
        assert_eq!(straight(cycle - row, u32::MAX), (cycle - row) as usize);
        assert_eq!(straight(row, u32::MAX), 0);
        assert_eq!(straight(cycle - row, 0), 0);
        assert_eq!(straight(row, 0), row as usize);
    }

    #[test]
    fn feedback_corrects_the_profile() {
        // The profile says ring; messages say otherwise.
        let (mut paths, mut costs) = (Paths::new(true), Costs::new(50_000, 300_000));
        drive(&mut paths, &mut costs, 1000, 80_000, 30_000);
        assert!(drive(&mut paths, &mut costs, 256, 80_000, 30_000) > 240);
        // And the other way round.
        let (mut paths, mut costs) = (Paths::new(true), Costs::new(50_000, 10_000));
        drive(&mut paths, &mut costs, 1000, 30_000, 80_000);
        assert!(drive(&mut paths, &mut costs, 256, 30_000, 80_000) < 16);
    }

    #[test]
    fn one_slow_message_is_soon_forgotten() {
        let (mut paths, mut costs) = (Paths::new(true), Costs::new(80_000, 60_000));
        drive(&mut paths, &mut costs, 500, 80_000, 30_000);
        let now = costs.last_ns;
        costs.finished(Path::SingleCopy, MIB, now, now + 50_000_000);
        assert!(drive(&mut paths, &mut costs, 128, 80_000, 30_000) > 112);
    }

    #[test]
    fn classes_grow_with_the_size() {
        assert_eq!(class(0), 0);
        assert_eq!(class(16 << 10), 0);
        assert_eq!(class((16 << 10) + 1), 1);
        assert_eq!(class(64 << 10), 2);
        assert_eq!(class((64 << 10) + 1), 3);
        assert_eq!(class(MIB), 6);
        assert_eq!(class(64 * MIB), 12);
        assert_eq!(class(128 * MIB), 13);
        assert_eq!(class(usize::MAX), CLASSES - 1);
        let mut costs = Costs::new(100_000, 1_000_000);
        assert_eq!(costs.preference(), 0);
        costs.classes[4] = [2, 1];
        assert_eq!(costs.preference(), 1 << 4);
    }
}
