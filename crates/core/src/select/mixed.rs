//! Slices of several profiles: the leaves of one node that come closest to what is asked.

/// Most slices that are looked for on one node; no node has as many. slurmctld waits for the answer.
const MOST_SLICES: u64 = 256;

/// The leaves of a node that make at least so many slices: with the least above it, then the fewest
/// leaves, then large ones. `sizes` are (type, slices of a leaf), large ones first, `node` the leaves
/// by type. `None`: the node has not enough.
///
/// Exact, as a knapsack over slices: what a node with one more leaf gets is never worse.
pub(super) fn closest(
    slices: u64,
    sizes: &[(usize, u64)],
    node: &[u64],
) -> Option<Vec<(usize, u64)>> {
    let largest = sizes.iter().map(|(_, each)| *each).max()?;
    let there = |place: usize| node.get(place).copied().unwrap_or(0);
    let all = sizes.iter().map(|&(place, each)| there(place).saturating_mul(each));
    if slices > MOST_SLICES || all.fold(0, u64::saturating_add) < slices {
        return None;
    }
    let top = usize::try_from(slices + largest).ok()?;
    // Fewest leaves for each number of slices, and how many of each type those are.
    let mut fewest: Vec<Option<u64>> = vec![None; top];
    fewest[0] = Some(0);
    let mut taken: Vec<Vec<u64>> = Vec::with_capacity(sizes.len());
    for &(place, each) in sizes {
        let there = there(place);
        let step = usize::try_from(each).ok()?;
        let mut with = fewest.clone();
        let mut counts = vec![0; top];
        for total in 0..top {
            let most = there.min((total / step) as u64);
            for count in 1..=most {
                let rest = fewest[total - step * count as usize];
                let leaves = rest.map(|leaves| leaves + count);
                if leaves.is_some_and(|leaves| with[total].is_none_or(|known| leaves < known)) {
                    with[total] = leaves;
                    counts[total] = count;
                }
            }
        }
        fewest = with;
        taken.push(counts);
    }
    let asked = usize::try_from(slices).ok()?;
    let mut total = (asked..top).find(|&total| fewest[total].is_some())?;
    let mut counts = Vec::with_capacity(sizes.len());
    for (&(place, each), taken) in sizes.iter().zip(&taken).rev() {
        let count = taken[total];
        total -= (each * count) as usize;
        if count > 0 {
            counts.push((place, count));
        }
    }
    counts.reverse();
    (!counts.is_empty()).then_some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Places 0 to 3.
    const SIZES: [(usize, u64); 4] = [(3, 4), (2, 3), (1, 2), (0, 1)];

    #[test]
    fn the_closest_leaves_are_taken() {
        let closest = |slices, node| closest(slices, &SIZES, node);
        assert_eq!(closest(7, &[2, 1, 1, 0]), Some(vec![(2, 1), (1, 1), (0, 2)]));
        assert_eq!(closest(7, &[0, 2, 2, 0]), Some(vec![(2, 1), (1, 2)]), "not two 3g and a 2g");
        assert_eq!(closest(8, &[0, 2, 1, 1]), Some(vec![(3, 1), (1, 2)]), "not 4g, 3g and 2g");
        assert_eq!(closest(5, &[0, 0, 2, 0]), Some(vec![(2, 2)]));
        assert_eq!(closest(8, &[0, 0, 2, 0]), None);
        assert_eq!(closest(u64::MAX, &[u64::MAX; 4]), None);
    }

    proptest! {
        #[test]
        fn nothing_comes_closer(slices in 1..20u64, node in proptest::collection::vec(0..4u64, 4)) {
            let mut best: Option<(u64, u64)> = None;
            for code in 0..256u64 {
                let counts: Vec<u64> = (0..4).map(|place| code >> (2 * place) & 3).collect();
                let total: u64 = SIZES.iter().map(|&(place, each)| counts[place] * each).sum();
                if counts.iter().zip(&node).all(|(a, b)| a <= b) && total >= slices {
                    let key = (total, counts.iter().sum());
                    best = Some(best.map_or(key, |best| best.min(key)));
                }
            }
            let found = closest(slices, &SIZES, &node).map(|counts| {
                let each = |place| SIZES.iter().find(|(p, _)| *p == place).unwrap().1;
                let total: u64 = counts.iter().map(|&(place, count)| each(place) * count).sum();
                (total, counts.iter().map(|(_, count)| count).sum::<u64>())
            });
            prop_assert_eq!(found, best);
        }
    }
}
