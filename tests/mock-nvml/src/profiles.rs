//! The profile and placement facts: `data/mig_profiles.csv`, which names its sources.

use std::sync::LazyLock;

use flexmig_core::leaf::Placement;
use flexmig_core::profile::{Profile, Suffix};

/// The data file. Lines of `#` are comments, the first other line names the columns.
pub const CSV: &str = include_str!("../data/mig_profiles.csv");

/// What is known about one profile of one GPU part.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileFact {
    /// GPU part, `A100-80`.
    pub part: String,
    /// Shape and name of the GPU instance.
    pub profile: Profile,
    /// GPU instance profile id, as `nvidia-smi mig -lgip` prints it.
    pub profile_id: u32,
    /// Streaming multiprocessors.
    pub sm: u32,
    /// Usable memory in MiB.
    pub memory_mib: u64,
    /// Most instances of this profile on one GPU.
    pub max_instances: u32,
    /// Where an instance can lie.
    pub placements: Vec<Placement>,
    /// Where the row comes from.
    pub source: String,
}

impl ProfileFact {
    /// Memory slices that an instance takes.
    pub fn size(&self) -> u32 {
        self.placements[0].size
    }

    /// NVML's number of this profile (`NVML_GPU_INSTANCE_PROFILE_*`), which calls for profile
    /// information take; not the `profile_id`.
    pub fn nvml_profile(&self) -> Option<u32> {
        use nvml_wrapper_sys::bindings::*;
        let double = self.profile.slices == 1 && self.size() > 1;
        Some(match (self.profile.slices, self.profile.suffix) {
            (1, Suffix::None) if double => NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV2,
            (1, Suffix::None) => NVML_GPU_INSTANCE_PROFILE_1_SLICE,
            (2, Suffix::None) => NVML_GPU_INSTANCE_PROFILE_2_SLICE,
            (3, Suffix::None) => NVML_GPU_INSTANCE_PROFILE_3_SLICE,
            (4, Suffix::None) => NVML_GPU_INSTANCE_PROFILE_4_SLICE,
            (7, Suffix::None) => NVML_GPU_INSTANCE_PROFILE_7_SLICE,
            (1, Suffix::Media) => NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV1,
            (2, Suffix::Media) => NVML_GPU_INSTANCE_PROFILE_2_SLICE_REV1,
            (1, Suffix::AllMedia) => NVML_GPU_INSTANCE_PROFILE_1_SLICE_ALL_ME,
            (2, Suffix::AllMedia) => NVML_GPU_INSTANCE_PROFILE_2_SLICE_ALL_ME,
            (1, Suffix::NoMedia) => NVML_GPU_INSTANCE_PROFILE_1_SLICE_NO_ME,
            (2, Suffix::NoMedia) => NVML_GPU_INSTANCE_PROFILE_2_SLICE_NO_ME,
            (1, Suffix::Graphics) => NVML_GPU_INSTANCE_PROFILE_1_SLICE_GFX,
            (2, Suffix::Graphics) => NVML_GPU_INSTANCE_PROFILE_2_SLICE_GFX,
            (4, Suffix::Graphics) => NVML_GPU_INSTANCE_PROFILE_4_SLICE_GFX,
            _ => return None,
        })
    }
}

/// All rows of the data file.
pub fn facts() -> &'static [ProfileFact] {
    static FACTS: LazyLock<Vec<ProfileFact>> = LazyLock::new(|| {
        let rows = CSV.lines().filter(|line| !line.starts_with('#')).skip(1);
        rows.map(|line| parse(line).unwrap_or_else(|| panic!("mig_profiles.csv: {line}"))).collect()
    });
    &FACTS
}

/// The rows of one part.
pub fn of_part(part: &str) -> impl Iterator<Item = &'static ProfileFact> + use<'_> {
    facts().iter().filter(move |fact| fact.part == part)
}

/// The row of one profile, by its exact name.
pub fn find(part: &str, profile: &Profile) -> Option<&'static ProfileFact> {
    of_part(part).find(|fact| fact.profile.same_name(profile))
}

/// Streaming multiprocessors of a compute instance with `slices` slices in an instance of `fact`.
pub fn compute_sm(fact: &ProfileFact, slices: u32) -> u32 {
    if slices == u32::from(fact.profile.slices) {
        return fact.sm;
    }
    let single = of_part(&fact.part).find(|fact| fact.nvml_profile() == Some(0));
    single.map_or(fact.sm / u32::from(fact.profile.slices), |single| single.sm) * slices
}

/// Memory slices of a part's GPU: 8, or 4 on parts that are cut into four.
pub fn axis(part: &str) -> u32 {
    of_part(part)
        .flat_map(|fact| &fact.placements)
        .map(|placement| placement.start + placement.size)
        .max()
        .unwrap_or(0)
}

fn parse(line: &str) -> Option<ProfileFact> {
    let mut columns = line.split(',');
    let mut next = || columns.next();
    let (part, profile, profile_id, slices) = (next()?, next()?, next()?, next()?);
    let (sm, memory, max_instances, placements, source) =
        (next()?, next()?, next()?, next()?, next()?);
    let profile: Profile = profile.parse().ok()?;
    let (starts, size) = placements.split_once(':')?;
    let size = size.parse().ok()?;
    let placements = starts
        .split(' ')
        .map(|start| Some(Placement { start: start.parse().ok()?, size }))
        .collect::<Option<Vec<_>>>()?;
    (next().is_none() && slices.parse() == Ok(profile.slices)).then_some(())?;
    Some(ProfileFact {
        part: part.to_owned(),
        profile,
        profile_id: profile_id.parse().ok()?,
        sm: sm.parse().ok()?,
        memory_mib: (memory.parse::<f64>().ok()? * 1024.0).round() as u64,
        max_instances: max_instances.parse().ok()?,
        placements,
        source: source.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placements_lie_on_the_axis_and_do_not_overlap_themselves() {
        for fact in facts() {
            let axis = axis(&fact.part);
            assert!(axis == 4 || axis == 8, "{fact:?}");
            let mut end = 0;
            for placement in &fact.placements {
                assert!(placement.start >= end, "{fact:?}: overlap");
                end = placement.start + placement.size;
                assert!(end <= axis, "{fact:?}: beyond the axis");
            }
        }
    }

    #[test]
    fn the_most_instances_fit_and_fill_what_they_can() {
        for fact in facts() {
            let places = fact.placements.len() as u32;
            assert!(fact.max_instances * fact.size() <= axis(&fact.part), "{fact:?}");
            match fact.profile.suffix {
                Suffix::Media | Suffix::AllMedia => assert_eq!(fact.max_instances, 1, "{fact:?}"),
                _ => assert_eq!(fact.max_instances, places, "{fact:?}"),
            }
        }
    }

    #[test]
    fn memory_is_below_what_the_name_says_and_not_far_below() {
        for fact in facts() {
            let named = u64::from(fact.profile.memory_gb) * 1024;
            assert!(fact.memory_mib <= named && fact.memory_mib * 10 > named * 8, "{fact:?}");
        }
    }

    #[test]
    fn rows_have_a_source_and_are_unique() {
        for (index, fact) in facts().iter().enumerate() {
            assert!(!fact.source.is_empty());
            let same = |other: &ProfileFact| {
                other.part == fact.part
                    && (other.profile.same_name(&fact.profile)
                        || other.profile_id == fact.profile_id
                        || other.nvml_profile() == fact.nvml_profile())
            };
            assert!(!facts()[index + 1..].iter().any(same), "{fact:?}");
            assert!(fact.nvml_profile().is_some(), "{fact:?}");
        }
    }

    #[test]
    fn slices_are_not_linear_on_h100() {
        let sm = |name: &str| find("H100-80", &name.parse().unwrap()).unwrap().sm;
        assert_eq!((sm("1g.10gb"), sm("1g.20gb"), sm("3g.40gb"), sm("7g.80gb")), (16, 26, 60, 132));
    }
}
