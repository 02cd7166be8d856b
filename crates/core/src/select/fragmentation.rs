//! How broken up free leaves are, and how much taking some of them hurts.

use super::{Kind, Part, Supply};

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
/// Leaves that are large and rare weigh most.
pub fn harm(parts: &[Part<'_>], kinds: &[&Kind], supply: &dyn Supply) -> u64 {
    let mut sum = 0u64;
    for (place, size) in kinds.iter().enumerate() {
        let Some(memory) = size.memory_gb.filter(|_| size.offered) else { continue };
        if kinds[..place].iter().any(|kind| kind.offered && kind.memory_gb == Some(memory)) {
            continue;
        }
        let (mut taken, mut stock) = (0u64, 0u64);
        for kind in kinds.iter().filter(|kind| kind.memory_gb.is_some_and(|m| m >= memory)) {
            stock = stock.saturating_add(supply.stock(kind));
            let same = parts.iter().filter(|part| part.kind == kind.name.as_deref());
            taken = same.map(|part| part.count).fold(taken, u64::saturating_add);
        }
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
