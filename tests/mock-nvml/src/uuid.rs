//! UUIDs that depend on nothing but their seed.

/// `PREFIX-xxxxxxxx-xxxx-5xxx-8xxx-xxxxxxxxxxxx` from a 128-bit hash of `seed`.
pub fn new(prefix: &str, seed: &str) -> String {
    let hash = u128::from(hash(seed, 1)) << 64 | u128::from(hash(seed, 2));
    // Version 5 (made from a name) and the usual variant.
    let bits = hash & !(0xf << 76) & !(0x3 << 62) | 0x5 << 76 | 0x2 << 62;
    let digits = format!("{bits:032x}");
    format!(
        "{prefix}-{}-{}-{}-{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..]
    )
}

/// FNV-1a, then a mixer so that similar seeds share no digits.
fn hash(seed: &str, lane: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ lane;
    for byte in seed.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}
