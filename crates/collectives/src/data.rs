//! What the ranks send, and whether what arrived is right: every element is looked at.
//!
//! Each element is a function of the rank it comes from, its place and a seed that changes from run
//! to run, so that a stale, shifted or foreign element is a wrong one. Floats are whole numbers below
//! 65,536: sums over [`MAX_RANKS`] ranks are exact, in any order.

/// Most ranks whose sums are exact in 24 bits.
pub const MAX_RANKS: usize = 256;

/// Four bytes of the pattern, for `place` = offset / 4.
#[inline]
fn word(seed: u32, rank: usize, place: usize) -> u32 {
    let mixed = (place as u32)
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add((rank as u32).wrapping_mul(0x85eb_ca6b))
        .wrapping_add(seed.wrapping_mul(0xc2b2_ae35));
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x2c1b_3c6d);
    mixed ^ (mixed >> 13)
}

#[inline]
fn number(seed: u32, rank: usize, place: usize) -> f32 {
    (word(seed, rank, place) & 0xffff) as f32
}

/// Writes what `rank` contributes to a sum.
pub fn fill_floats(floats: &mut [f32], seed: u32, rank: usize) {
    for (place, float) in floats.iter_mut().enumerate() {
        *float = number(seed, rank, place);
    }
}

/// Elements that are not the sum over all ranks. `first` is the place of the first float.
pub fn wrong_sums(floats: &[f32], first: usize, seed: u32, ranks: usize) -> u64 {
    const BLOCK: usize = 1024;
    let mut wrong = 0;
    let mut sums = [0.0f32; BLOCK];
    for (block, floats) in floats.chunks(BLOCK).enumerate() {
        let sums = &mut sums[..floats.len()];
        sums.fill(0.0);
        for rank in 0..ranks {
            for (place, sum) in sums.iter_mut().enumerate() {
                *sum += number(seed, rank, first + block * BLOCK + place);
            }
        }
        wrong += floats.iter().zip(sums).filter(|(a, b)| a.to_bits() != b.to_bits()).count() as u64;
    }
    wrong
}

/// Calls `each` with every byte and what the pattern says; `first` is the place of the first.
#[inline]
fn walk(length: usize, first: usize, seed: u32, rank: usize, mut each: impl FnMut(usize, u8)) {
    let mut at = 0;
    while at < length {
        let place = first + at;
        let bytes = word(seed, rank, place / 4).to_le_bytes();
        for &byte in &bytes[place % 4..] {
            if at == length {
                break;
            }
            each(at, byte);
            at += 1;
        }
    }
}

/// Writes the bytes that `rank` sends; `first` is the place of the first byte.
pub fn fill_bytes(bytes: &mut [u8], first: usize, seed: u32, rank: usize) {
    walk(bytes.len(), first, seed, rank, |at, byte| bytes[at] = byte);
}

/// Writes bytes of which every single one is wrong, where those of `rank` are to arrive.
pub fn poison_bytes(bytes: &mut [u8], first: usize, seed: u32, rank: usize) {
    walk(bytes.len(), first, seed, rank, |at, byte| bytes[at] = !byte);
}

/// Bytes that are not those of `rank`.
pub fn wrong_bytes(bytes: &[u8], first: usize, seed: u32, rank: usize) -> u64 {
    let mut wrong = 0;
    walk(bytes.len(), first, seed, rank, |at, byte| wrong += u64::from(bytes[at] != byte));
    wrong
}

/// `into[i] += from[i]`.
pub fn add(into: &mut [f32], from: &[f32]) {
    assert_eq!(into.len(), from.len());
    for (into, from) in into.iter_mut().zip(from) {
        *into += from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sums(count: usize, seed: u32, ranks: usize) -> Vec<f32> {
        let mut total = vec![0.0; count];
        let mut part = vec![0.0; count];
        for rank in 0..ranks {
            fill_floats(&mut part, seed, rank);
            add(&mut total, &part);
        }
        total
    }

    #[test]
    fn sums_over_the_most_ranks_are_exact() {
        let total = sums(3000, 7, MAX_RANKS);
        assert_eq!(wrong_sums(&total, 0, 7, MAX_RANKS), 0);
        assert_eq!(wrong_sums(&total[100..], 100, 7, MAX_RANKS), 0);
        assert!(total.iter().all(|&sum| sum < (1 << 24) as f32));
        assert_eq!(wrong_sums(&total, 0, 8, MAX_RANKS), 3000, "another seed");
        assert!(wrong_sums(&total, 1, 7, MAX_RANKS) > 2990, "shifted by one");
    }

    #[test]
    fn every_poisoned_byte_is_wrong() {
        let mut bytes = vec![0; 1001];
        poison_bytes(&mut bytes, 3, 1, 2);
        assert_eq!(wrong_bytes(&bytes, 3, 1, 2), 1001);
    }

    proptest! {
        #[test]
        fn one_wrong_float_is_found(
            count in 1..5000usize, at in any::<prop::sample::Index>(), seed: u32, ranks in 1..9usize,
            bit in 0..32u32,
        ) {
            let mut total = sums(count, seed, ranks);
            prop_assert_eq!(wrong_sums(&total, 0, seed, ranks), 0);
            let float = &mut total[at.index(count)];
            *float = f32::from_bits(float.to_bits() ^ (1 << bit));
            prop_assert_eq!(wrong_sums(&total, 0, seed, ranks), 1);
        }

        #[test]
        fn one_wrong_byte_is_found(
            count in 1..5000usize, at in any::<prop::sample::Index>(), seed: u32, rank in 0..8usize,
            first in 0..9usize, change in 1..=255u8,
        ) {
            let mut bytes = vec![0; count];
            fill_bytes(&mut bytes, first, seed, rank);
            prop_assert_eq!(wrong_bytes(&bytes, first, seed, rank), 0);
            bytes[at.index(count)] ^= change;
            prop_assert_eq!(wrong_bytes(&bytes, first, seed, rank), 1);
        }
    }
}
