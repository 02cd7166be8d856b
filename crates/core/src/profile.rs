//! MIG profiles: the shape of a leaf.
//!
//! Names are the MIG user guide's: `1g.10gb`, `1c.2g.20gb` for a compute instance that holds part
//! of its GPU instance, and the suffixes `+me`, `+me.all`, `-me` and `+gfx`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// What a profile's name says after the memory size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suffix {
    /// No suffix.
    #[default]
    None,
    /// `+me`: has the media engines; one such instance per GPU.
    Media,
    /// `+me.all`: has all media engines.
    AllMedia,
    /// `-me`: has no media engine.
    NoMedia,
    /// `+gfx`: can do graphics.
    Graphics,
}

impl Suffix {
    /// Every suffix with its spelling; `None` is last, as every name ends with the empty text.
    const SPELLINGS: [(Suffix, &'static str); 5] = [
        (Suffix::AllMedia, "+me.all"),
        (Suffix::Media, "+me"),
        (Suffix::NoMedia, "-me"),
        (Suffix::Graphics, "+gfx"),
        (Suffix::None, ""),
    ];

    fn spelling(self) -> &'static str {
        Self::SPELLINGS.iter().find(|(suffix, _)| *suffix == self).map_or("", |(_, text)| text)
    }
}

/// The shape of a leaf, as `2g.20gb`.
///
/// Two profiles are equal when their slices and memory are: the same shape can have several names
/// (`1g.10gb` and `1g.10gb+me`), so never compare the strings. Order is by slices, then memory.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Compute slices of the compute instance: the `1c` of `1c.2g.20gb`, else the slices of the
    /// GPU instance.
    pub compute: u8,
    /// Compute slices of the GPU instance: the `2g` of `2g.20gb`.
    pub slices: u8,
    /// Memory of the GPU instance in the rounded gigabytes of its name. All compute instances of
    /// one GPU instance share it.
    pub memory_gb: u16,
    /// The name's suffix.
    pub suffix: Suffix,
}

/// A text that is not a profile's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MIG profile: expected a name as 1g.10gb, 1c.2g.20gb or 1g.10gb+me")]
pub struct ProfileError(pub String);

impl Profile {
    /// The profile of a whole GPU instance, without a suffix.
    pub const fn new(slices: u8, memory_gb: u16) -> Profile {
        Profile { compute: slices, slices, memory_gb, suffix: Suffix::None }
    }

    /// The profile that a type of slurm.conf names: `3g.20gb`, or with the model in front as Slurm's
    /// AutoDetect writes it, `a100_3g.20gb`. `None` for any other word.
    pub fn of_type(kind: &str) -> Option<Profile> {
        parse(kind.rsplit_once('_').map_or(kind, |(_, name)| name))
    }

    /// What equality, order and hash look at.
    fn shape(&self) -> (u8, u8, u16) {
        (self.compute, self.slices, self.memory_gb)
    }

    /// Whether the two have the same name, suffix included, and not only the same shape.
    pub fn same_name(&self, other: &Profile) -> bool {
        self == other && self.suffix == other.suffix
    }
}

impl PartialEq for Profile {
    fn eq(&self, other: &Profile) -> bool {
        self.shape() == other.shape()
    }
}

impl Eq for Profile {}

impl Hash for Profile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.shape().hash(state);
    }
}

impl PartialOrd for Profile {
    fn partial_cmp(&self, other: &Profile) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Profile {
    fn cmp(&self, other: &Profile) -> Ordering {
        self.shape().cmp(&other.shape())
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    /// Reads a profile's name, in either case.
    fn from_str(text: &str) -> Result<Profile, ProfileError> {
        parse(text).ok_or_else(|| ProfileError(text.chars().take(64).collect()))
    }
}

fn parse(text: &str) -> Option<Profile> {
    let with_suffix = |(suffix, spelling)| Some((suffix, without_suffix(text, spelling)?));
    let (suffix, text) = Suffix::SPELLINGS.into_iter().find_map(with_suffix)?;
    let mut parts = text.split('.');
    let first = parts.next()?;
    let (compute, slices) = match without_suffix(first, "c") {
        Some(compute) => (Some(number(compute)?), parts.next()?),
        None => (None, first),
    };
    let slices: u8 = number(without_suffix(slices, "g")?)?;
    let memory_gb: u16 = number(without_suffix(parts.next()?, "gb")?)?;
    let compute = compute.unwrap_or(slices);
    let plausible = parts.next().is_none() && compute <= slices;
    plausible.then_some(Profile { compute, slices, memory_gb, suffix })
}

/// What stands before a suffix in either case.
pub(crate) fn without_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

/// A decimal number above 0 with digits only: no sign, no leading zero.
pub(crate) fn number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.compute != self.slices {
            write!(f, "{}c.", self.compute)?;
        }
        write!(f, "{}g.{}gb{}", self.slices, self.memory_gb, self.suffix.spelling())
    }
}

impl serde::Serialize for Profile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Profile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Profile, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(text: &str) -> Profile {
        text.parse().unwrap()
    }

    #[test]
    fn equality_is_on_slices_and_memory() {
        assert_eq!(profile("1g.10gb"), profile("1g.10gb+me"));
        assert_eq!(profile("1g.24gb-me"), profile("1g.24gb+me.all"));
        assert_ne!(profile("1g.10gb"), profile("1g.20gb"));
        assert_ne!(profile("1c.2g.20gb"), profile("2g.20gb"));
        assert_eq!(profile("2c.2g.20gb"), profile("2g.20gb"));
        assert!(!profile("1g.10gb").same_name(&profile("1g.10gb+me")));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "1g",
            "10gb",
            "1g.10",
            "0g.10gb",
            "1g.0gb",
            "01g.10gb",
            "+1g.10gb",
            "3c.2g.20gb",
            "1g.10gb+xx",
            "1g.10gb.10gb",
            "1c.1c.1g.10gb",
            "300g.10gb",
        ] {
            assert_eq!(text.parse::<Profile>(), Err(ProfileError(text.into())), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn names_round_trip(slices in 1..=8u8, less in 0..8u8, memory_gb in 1..1000u16, s in 0..5usize) {
            let compute = slices.saturating_sub(less).max(1);
            let suffix = Suffix::SPELLINGS[s].0;
            let profile = Profile { compute, slices, memory_gb, suffix };
            let read: Profile = profile.to_string().parse().unwrap();
            prop_assert!(read.same_name(&profile));
        }

        #[test]
        fn any_text_parses_or_fails(text in ".{0,20}") {
            let _ = text.parse::<Profile>();
        }
    }
}
