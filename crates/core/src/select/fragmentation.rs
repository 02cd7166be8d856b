//! How broken up free leaves are, and how much taking some of them hurts.

use super::{Kind, Part};

/// Fragmentation of one or more nodes, as sums over nodes.
///
/// A node's free slices are worth what the largest request of equal leaves can take of them: of a
/// free 3g, 2g and two 1g, seven slices in all, that is 3, so more than half of the node is
/// fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragmentation {
    /// Free compute slices.
    pub free: u64,
    /// Of these, what the largest request of equal leaves on each node can take.
    pub largest: u64,
}

impl Fragmentation {
    /// Adds a node with so many free leaves of so many slices each.
    pub fn add(&mut self, leaves: impl Iterator<Item = (u64, u64)>) {
        let mut largest = 0;
        for (slices, count) in leaves {
            let all = slices.saturating_mul(count);
            self.free = self.free.saturating_add(all);
            largest = largest.max(all);
        }
        self.largest = self.largest.saturating_add(largest);
    }

    /// Share of the free slices that is fragments, in percent; 0 with nothing free.
    pub fn percent(&self) -> u64 {
        let fragments = self.free.saturating_sub(self.largest);
        fragments.saturating_mul(100).checked_div(self.free).unwrap_or(0)
    }
}

/// Harm of taking these leaves to what larger requests could still get: for each size of memory on
/// offer, the share of the free leaves of at least this size that it takes, in thousandths, added up.
/// Leaves that are large and rare weigh most. `stock` are the free leaves of each kind.
pub fn harm(parts: &[Part<'_>], kinds: &[&Kind], stock: &[u64]) -> u64 {
    let taken = |kind: &Kind| {
        let same = parts.iter().filter(|part| part.kind == kind.name.as_deref());
        same.map(|part| part.count).fold(0, u64::saturating_add)
    };
    let taken: Vec<u64> = kinds.iter().map(|kind| taken(kind)).collect();
    let mut sum = 0u64;
    for (place, size) in kinds.iter().enumerate() {
        let Some(memory) = size.memory_gb.filter(|_| size.offered) else { continue };
        if kinds[..place].iter().any(|kind| kind.offered && kind.memory_gb == Some(memory)) {
            continue;
        }
        let total = |counts: &[u64]| {
            let large = |kind: &Kind| kind.memory_gb.is_some_and(|gigabytes| gigabytes >= memory);
            let of = kinds.iter().zip(counts).filter(|(kind, _)| large(kind));
            of.map(|(_, count)| *count).fold(0, u64::saturating_add)
        };
        let (taken, stock) = (total(&taken), total(stock));
        let share = taken.saturating_mul(1000).checked_div(stock).unwrap_or(1000).min(1000);
        sum = sum.saturating_add(if taken == 0 { 0 } else { share });
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_what_no_equal_request_can_take() {
        let mut one = Fragmentation::default();
        assert_eq!(one.percent(), 0);
        one.add([(3, 1), (2, 1), (1, 2)].into_iter());
        assert_eq!((one.free, one.largest, one.percent()), (7, 3, 57));
        one.add([(1, 7)].into_iter());
        assert_eq!((one.free, one.largest, one.percent()), (14, 10, 28));
    }
}
