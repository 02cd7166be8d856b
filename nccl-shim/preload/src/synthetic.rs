//! Which leaf a device is, and how its bus id is written. Pure.

use flexmig_core::bus_id::BusId;
use flexmig_core::text::Text;

/// Why a device keeps its own bus id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// FLEXMIG_UUIDS and FLEXMIG_BUS_IDS have not the same length.
    Lengths,
    /// The device's UUID is not in FLEXMIG_UUIDS.
    Unknown,
    /// It is there more than once, and FLEXMIG_LEAF is none of its places.
    Ambiguous,
    /// The entry of FLEXMIG_BUS_IDS is not a synthetic bus id of this device.
    BusId,
}

impl Why {
    /// The line: what, why, what to do.
    pub const fn line(self) -> &'static [u8] {
        match self {
            Why::Lengths => {
                b"not relabelled: FLEXMIG_UUIDS and FLEXMIG_BUS_IDS are of unequal length: \
                  leave both as Slurm set them; NCCL may say Duplicate GPU detected"
            }
            Why::Unknown => {
                b"not relabelled: the CUDA device is not in FLEXMIG_UUIDS: leave \
                  CUDA_VISIBLE_DEVICES as it was bound, or set FLEXMIG_MODE=off"
            }
            Why::Ambiguous => {
                b"not relabelled: the CUDA device is several times in FLEXMIG_UUIDS: set \
                  FLEXMIG_LEAF to this rank's index in the list"
            }
            Why::BusId => {
                b"not relabelled: the leaf's entry in FLEXMIG_BUS_IDS is not a synthetic bus id of \
                  this device: leave the variable as Slurm set it"
            }
        }
    }
}

/// The lists of the environment.
#[derive(Clone, Copy, Default)]
pub struct Lists<'a> {
    /// FLEXMIG_UUIDS.
    pub uuids: &'a [u8],
    /// FLEXMIG_BUS_IDS.
    pub bus_ids: &'a [u8],
    /// FLEXMIG_LEAF, if it is a number.
    pub leaf: Option<u32>,
}

/// The place in the lists and the synthetic bus id of the device with this UUID and real bus id.
pub fn leaf(lists: &Lists<'_>, uuid: &[u8; 16], real: BusId) -> Result<(usize, BusId), Why> {
    let entries = |list: &[u8]| list.split(|byte| *byte == b',').count();
    if entries(lists.uuids) != entries(lists.bus_ids) {
        return Err(Why::Lengths);
    }
    let places = || {
        let known = lists.uuids.split(|byte| *byte == b',').enumerate();
        known.filter(|(_, text)| parse_uuid(text) == Some(*uuid)).map(|(place, _)| place)
    };
    let first = places().next().ok_or(Why::Unknown)?;
    let place = match places().nth(1) {
        None => first,
        Some(_) => places()
            .find(|place| lists.leaf.is_some_and(|leaf| leaf as usize == *place))
            .ok_or(Why::Ambiguous)?,
    };
    let text = lists.bus_ids.split(|byte| *byte == b',').nth(place).ok_or(Why::BusId)?;
    let synthetic = BusId::parse(text).map_err(|_| Why::BusId)?;
    match synthetic.leaf() {
        Some((parent, _, _)) if parent == real => Ok((place, synthetic)),
        _ => Err(Why::BusId),
    }
}

/// `MIG-` or `GPU-` and a UUID, as bytes. The older `MIG-GPU-.../1/0` names the parent and is none.
fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text = text.strip_prefix(b"MIG-").or_else(|| text.strip_prefix(b"GPU-"))?;
    if text.len() != 36 {
        return None;
    }
    let mut uuid = [0; 16];
    let mut digits = text.iter().enumerate().filter_map(|(place, byte)| {
        let dash = matches!(place, 8 | 13 | 18 | 23);
        // A dash in the wrong place, or none in the right one, is no digit.
        match (dash, byte) {
            (true, b'-') => None,
            (true, _) => Some(None),
            (false, byte) => Some((*byte as char).to_digit(16)),
        }
    });
    for byte in &mut uuid {
        *byte = (digits.next()?? << 4 | digits.next()??) as u8;
    }
    digits.next().is_none().then_some(uuid)
}

/// Writes the domain of `id` over the one in `text`, a bus id that ends with a NUL. Width, case and
/// all the rest stay, so it always fits. False if there is no room for the domain's digits.
pub fn write_domain(text: &mut [u8], id: BusId) -> bool {
    let Some(colon) = text.iter().position(|byte| *byte == b':') else { return false };
    let Some(domain) = text.get_mut(..colon) else { return false };
    if !(4..=8).contains(&domain.len()) {
        return false;
    }
    let mut digits = Text::<9>::new();
    digits.push_hex(u64::from(id.domain), domain.len() as u32);
    for (byte, digit) in domain.iter_mut().zip(digits.as_bytes()) {
        *byte = digit.to_ascii_uppercase();
    }
    true
}

/// The real bus id behind a synthetic one, as NVML and CUDA take it; `None` for any other text.
pub fn real(text: &[u8]) -> Option<Text<20>> {
    let (real, _, _) = BusId::parse(text).ok()?.leaf()?;
    let mut text = Text::new();
    text.push_hex(u64::from(real.domain), 8);
    text.push(b":");
    text.push_hex(u64::from(real.bus), 2);
    text.push(b":");
    text.push_hex(u64::from(real.device), 2);
    text.push(b".");
    text.push_hex(u64::from(real.function), 1);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "MIG-00000000-0000-0000-0000-00000000000a";
    const B: &str = "MIG-00000000-0000-0000-0000-00000000000B";

    fn uuid(last: u8) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid[15] = last;
        uuid
    }

    fn find(
        uuids: &str,
        bus_ids: &str,
        leaf_variable: Option<u32>,
        last: u8,
    ) -> Result<(usize, String), Why> {
        let lists =
            Lists { uuids: uuids.as_bytes(), bus_ids: bus_ids.as_bytes(), leaf: leaf_variable };
        let real = BusId::parse(b"0000:3B:00.0").unwrap();
        leaf(&lists, &uuid(last), real).map(|(place, id)| (place, id.to_string()))
    }

    #[test]
    fn a_device_is_known_by_its_uuid() {
        let uuids = format!("{A},{B}");
        let ids = "0000b800:3b:00.0,0000c000:3B:00.0";
        assert_eq!(find(&uuids, ids, None, 0x0b), Ok((1, "0000c000:3b:00.0".to_owned())));
        assert_eq!(find(&uuids, ids, Some(1), 0x0a), Ok((0, "0000b800:3b:00.0".to_owned())));
        assert_eq!(find(&uuids, ids, None, 0x0c), Err(Why::Unknown));
        assert_eq!(find(&uuids, "0000b800:3b:00.0", None, 0x0a), Err(Why::Lengths));
        assert_eq!(find(&uuids, "", None, 0x0a), Err(Why::Lengths));
        for bad in ["0000:3b:00.0", "b800:3c:00.0", "b801:3b:00.0", "x", ""] {
            let ids = format!("{bad},b800:3b:00.0");
            assert_eq!(find(&uuids, &ids, None, 0x0a), Err(Why::BusId), "{bad}");
        }
    }

    #[test]
    fn of_several_places_the_variable_decides() {
        let uuids = format!("{A},{A}");
        let ids = "8000:3b:00.0,8800:3b:00.0";
        assert_eq!(find(&uuids, ids, Some(1), 0x0a), Ok((1, "00008800:3b:00.0".to_owned())));
        assert_eq!(find(&uuids, ids, None, 0x0a), Err(Why::Ambiguous));
        assert_eq!(find(&uuids, ids, Some(2), 0x0a), Err(Why::Ambiguous));
    }

    #[test]
    fn only_uuids_are_uuids() {
        assert_eq!(parse_uuid(B.as_bytes()), Some(uuid(0x0b)));
        assert_eq!(parse_uuid(b"GPU-00000000-0000-0000-0000-00000000000b"), Some(uuid(0x0b)));
        for text in [
            "",
            "MIG-",
            "00000000-0000-0000-0000-00000000000b",
            "MIG-00000000-0000-0000-0000-00000000000",
            "MIG-00000000-0000-0000-0000-00000000000g",
            "MIG-0000000000000-0000-0000-00000000000b",
            "MIG-GPU-00000000-0000-0000-0000-00000000000b/1/0",
        ] {
            assert_eq!(parse_uuid(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn only_the_domain_is_written_over() {
        let id = BusId::parse(b"c80f:3b:00.0").unwrap();
        let write = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            write_domain(&mut bytes, id).then(|| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(write("000F:3B:00.0\0").as_deref(), Some("C80F:3B:00.0\0"));
        assert_eq!(write("0000000f:3b:00.0\0").as_deref(), Some("0000C80F:3b:00.0\0"));
        assert_eq!(write("3b:00.0\0"), None);
        assert_eq!(write("000F"), None, "cut short by the caller's buffer");
        assert_eq!(write(""), None);
    }

    #[test]
    fn the_parent_is_computed_back() {
        for text in ["0000C80F:3b:00.0", "c80f:3B:00.0"] {
            assert_eq!(real(text.as_bytes()).unwrap().as_bytes(), b"0000000f:3b:00.0");
        }
        for text in ["0000:3b:00.0", "0001c80f:3b:00.0", "", "nonsense"] {
            assert!(real(text.as_bytes()).is_none(), "{text}");
        }
    }
}
