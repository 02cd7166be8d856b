//! PCI addresses, and the synthetic ones that tell leaves of one GPU apart.
//!
//! All leaves of a GPU share its PCI address, and NCCL before 2.31 takes two ranks with one address
//! for the same device ("Duplicate GPU detected"). A *synthetic bus id* puts the leaf into the PCI
//! domain and leaves bus, device and function alone:
//!
//! ```text
//! domain = 0x8000 | gi << 11 | ci << 8 | (real domain & 0xff)
//! ```
//!
//! GPU instance ids seen go to 11 and compute instance ids to 7 (MIG user guide, NVML), so four and
//! three bits are enough. Real domains are small; bit 15 marks the synthetic ones. The function
//! digit is never used: NCCL 2.30 and later reject a GPU with a function other than 0.
//!
//! ```
//! use flexmig_core::bus_id::BusId;
//! let real: BusId = "00000000:3B:00.0".parse().unwrap();
//! let leaf = real.synthetic(9, 0).unwrap();
//! assert_eq!(leaf.to_string(), "0000c800:3b:00.0");
//! assert_eq!(leaf.leaf(), Some((real, 9, 0)));
//! ```

use core::fmt;
use core::str::FromStr;

/// Bit that marks a domain as synthetic.
const SYNTHETIC: u32 = 0x8000;
/// Highest GPU instance id that the encoding holds.
pub const MAX_GI: u32 = 15;
/// Highest compute instance id that the encoding holds.
pub const MAX_CI: u32 = 7;
/// Highest PCI domain that the encoding holds.
pub const MAX_DOMAIN: u32 = 0xff;

/// A PCI address `domain:bus:device.function`, written as `0000c800:3b:00.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BusId {
    /// PCI domain (segment); 16 bits in hardware, 32 in NVML.
    pub domain: u32,
    /// Bus number.
    pub bus: u8,
    /// Device (slot) number, 0 to 31.
    pub device: u8,
    /// Function number, 0 to 7.
    pub function: u8,
}

/// Why a bus id could not be read or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusIdError {
    /// The text is not a PCI address.
    #[error("not a PCI address: expected domain:bus:device.function, as 0000:3b:00.0")]
    Syntax,
    /// The GPU instance id does not fit.
    #[error("GPU instance id {0} is above 15, which a synthetic bus id cannot hold")]
    GpuInstance(u32),
    /// The compute instance id does not fit.
    #[error("compute instance id {0} is above 7, which a synthetic bus id cannot hold")]
    ComputeInstance(u32),
    /// The real PCI domain does not fit.
    #[error("PCI domain {0:#x} is above 0xff, which a synthetic bus id cannot hold")]
    Domain(u32),
}

impl BusId {
    /// The synthetic bus id of leaf (`gi`, `ci`) on the GPU at this real address.
    ///
    /// Refuses what the encoding cannot hold, so that two leaves never share an id.
    pub const fn synthetic(self, gi: u32, ci: u32) -> Result<BusId, BusIdError> {
        if gi > MAX_GI {
            return Err(BusIdError::GpuInstance(gi));
        }
        if ci > MAX_CI {
            return Err(BusIdError::ComputeInstance(ci));
        }
        if self.domain > MAX_DOMAIN {
            return Err(BusIdError::Domain(self.domain));
        }
        Ok(BusId { domain: SYNTHETIC | gi << 11 | ci << 8 | self.domain, ..self })
    }

    /// For a synthetic bus id the real address, the GPU instance and the compute instance; `None`
    /// for a real one.
    pub const fn leaf(self) -> Option<(BusId, u32, u32)> {
        if self.domain & SYNTHETIC == 0 || self.domain > 0xffff {
            return None;
        }
        let real = BusId { domain: self.domain & MAX_DOMAIN, ..self };
        Some((real, self.domain >> 11 & MAX_GI, self.domain >> 8 & MAX_CI))
    }

    /// Reads `[domain:]bus:device.function` in hexadecimal, either case; the domain may have up to
    /// eight digits (NVML) and counts as 0 when left out.
    pub fn parse(text: &[u8]) -> Result<BusId, BusIdError> {
        let (address, function) = split_last(text, b'.').ok_or(BusIdError::Syntax)?;
        let (front, device) = split_last(address, b':').ok_or(BusIdError::Syntax)?;
        let (domain, bus) = match split_last(front, b':') {
            Some((domain, bus)) => (hex(domain, 8)?, bus),
            None => (0, front),
        };
        let id = BusId {
            domain,
            bus: hex(bus, 2)? as u8,
            device: hex(device, 2)? as u8,
            function: hex(function, 1)? as u8,
        };
        if id.device > 0x1f || id.function > 7 { Err(BusIdError::Syntax) } else { Ok(id) }
    }
}

/// What is before and after the last `byte`. Never panics, as all that the preload library uses.
fn split_last(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = text.rsplitn(2, |&b| b == byte);
    let after = parts.next()?;
    Some((parts.next()?, after))
}

/// Up to `digits` hexadecimal digits, at least one.
fn hex(text: &[u8], digits: usize) -> Result<u32, BusIdError> {
    if text.is_empty() || text.len() > digits {
        return Err(BusIdError::Syntax);
    }
    text.iter().try_fold(0u32, |value, &byte| {
        let digit = (byte as char).to_digit(16).ok_or(BusIdError::Syntax)?;
        Ok(value << 4 | digit)
    })
}

impl FromStr for BusId {
    type Err = BusIdError;

    fn from_str(text: &str) -> Result<BusId, BusIdError> {
        BusId::parse(text.as_bytes())
    }
}

/// Lower case with an eight-digit domain, NVML's width.
impl fmt::Display for BusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

#[cfg(feature = "std")]
impl serde::Serialize for BusId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "std")]
impl<'de> serde::Deserialize<'de> for BusId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<BusId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn real() -> impl Strategy<Value = BusId> {
        (0..=MAX_DOMAIN, any::<u8>(), 0..32u8, 0..8u8)
            .prop_map(|(domain, bus, device, function)| BusId { domain, bus, device, function })
    }

    proptest! {
        #[test]
        fn synthetic_inverts(id in real(), gi in 0..=MAX_GI, ci in 0..=MAX_CI) {
            let synthetic = id.synthetic(gi, ci).unwrap();
            prop_assert_eq!(synthetic.leaf(), Some((id, gi, ci)));
            prop_assert!(synthetic.domain <= 0xffff);
        }

        #[test]
        fn synthetic_is_injective(
            a in (real(), 0..=MAX_GI, 0..=MAX_CI),
            b in (real(), 0..=MAX_GI, 0..=MAX_CI),
        ) {
            let equal = a.0.synthetic(a.1, a.2) == b.0.synthetic(b.1, b.2);
            prop_assert_eq!(equal, a == b);
        }

        #[test]
        fn text_round_trips(id in real(), gi in 0..=MAX_GI, ci in 0..=MAX_CI) {
            let synthetic = id.synthetic(gi, ci).unwrap();
            prop_assert_eq!(synthetic.to_string().parse(), Ok(synthetic));
            prop_assert_eq!(synthetic.to_string().to_uppercase().parse(), Ok(synthetic));
        }

        #[test]
        fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let _ = BusId::parse(&bytes);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let id: BusId = "0000:3b:00.0".parse().unwrap();
        assert_eq!(id.synthetic(16, 0), Err(BusIdError::GpuInstance(16)));
        assert_eq!(id.synthetic(0, 8), Err(BusIdError::ComputeInstance(8)));
        let far = BusId { domain: 0x100, ..id };
        assert_eq!(far.synthetic(0, 0), Err(BusIdError::Domain(0x100)));
        assert_eq!(id.leaf(), None, "a real bus id is not a leaf's");
    }
}
