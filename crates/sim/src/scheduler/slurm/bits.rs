//! Sets of nodes.

/// A bit per node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// All of so many nodes.
    pub fn all(nodes: usize) -> Bits {
        let mut bits = Bits(vec![u64::MAX; nodes.div_ceil(64)]);
        if let Some(last) = bits.0.last_mut()
            && !nodes.is_multiple_of(64)
        {
            *last = (1 << (nodes % 64)) - 1;
        }
        bits
    }

    /// The same as another one, without allocation.
    pub fn copy_from(&mut self, other: &Bits) {
        self.0.clone_from(&other.0);
    }

    pub fn has(&self, node: usize) -> bool {
        self.0[node / 64] & (1 << (node % 64)) != 0
    }

    pub fn remove(&mut self, node: usize) {
        self.0[node / 64] &= !(1 << (node % 64));
    }

    pub fn and(&mut self, other: &Bits) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The nodes.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(place, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(place * 64 + bit)
            })
        })
    }

    /// Whether some node is in `next` that is not both here and in `current`.
    pub fn gains(&self, current: &Bits, next: &Bits) -> bool {
        self.0
            .iter()
            .zip(&current.0)
            .zip(&next.0)
            .any(|((here, now), next)| next & !(here & now) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_nodes() {
        let mut bits = Bits::all(70);
        assert_eq!(bits.count(), 70);
        (0..68).for_each(|node| bits.remove(node));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [68, 69]);
        assert!(bits.has(69) && !bits.has(3));
        let all = Bits::all(70);
        assert!(bits.gains(&all, &all) && !all.gains(&all, &bits));
        let mut less = all.clone();
        less.and(&bits);
        assert_eq!(less, bits);
    }
}
