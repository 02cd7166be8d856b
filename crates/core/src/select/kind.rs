//! A type of leaves.

use crate::models::Model;
use crate::profile::{Profile, Suffix};
use crate::request::{Term, Want};

/// One type of slurm.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// As slurm.conf spells it; `None` where leaves have no type.
    pub name: Option<String>,
    /// The profile that the name tells.
    pub profile: Option<Profile>,
    /// The gigabytes that the name tells.
    pub memory_gb: Option<u16>,
    /// Policy offers it.
    pub offered: bool,
    /// The GPU model of all its leaves, where that is known.
    pub model: Option<&'static Model>,
}

impl Kind {
    /// A type; `profiles` are those that policy offers, none for all.
    pub fn new(name: Option<String>, profiles: &[Profile]) -> Kind {
        let text = name.as_deref().unwrap_or_default();
        let profile = Profile::of_type(text);
        // Sites also name types by size: `20gb`, `a100_20gb`.
        let label = text.rsplit_once('_').map_or(text, |(_, label)| label);
        let memory_gb = match (Term { kind: Some(label), count: 1 }).want() {
            Want::Profile(profile) => Some(profile.memory_gb),
            Want::Memory(gigabytes) => Some(gigabytes),
            Want::Any | Want::Slices(_) | Want::Mixed | Want::Name(_) => None,
        };
        let offered =
            profiles.is_empty() || profile.is_some_and(|profile| profiles.contains(&profile));
        Kind { name, profile, memory_gb, offered, model: None }
    }

    /// Small before large; of one shape the plain one first, as a GPU has few with media engines.
    pub fn size(&self) -> Option<(Profile, bool)> {
        self.profile.map(|profile| (profile, profile.suffix != Suffix::None))
    }

    /// The order of types: those with a profile from small to large, then by memory and name.
    pub fn order(&self) -> impl Ord + use<'_> {
        (self.profile.is_none(), self.size(), self.memory_gb, self.name.as_deref())
    }

    /// Compute slices of a leaf.
    pub fn slices(&self) -> Option<u64> {
        self.profile.map(|profile| profile.compute.into())
    }

    /// SMs of a leaf, where the GPU model is known.
    pub fn sms(&self) -> Option<u64> {
        self.model?.sms(self.profile.as_ref()?).map(u64::from)
    }
}
