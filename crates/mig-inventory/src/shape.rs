//! The profile of a MIG device.

use flexmig_core::profile::{Profile, Suffix};

/// From the name that NVML gives the MIG device, `NVIDIA A100-SXM4-80GB MIG 1g.10gb`.
pub(crate) fn from_name(name: &str) -> Option<Profile> {
    name.rsplit_once(" MIG ")?.1.trim().parse().ok()
}

/// From its slices and memory, where the name says nothing: the memory's share of the GPU in eighths,
/// rounded up, of the GPU's memory in whole gigabytes. This is how NVIDIA's tools (go-nvlib, and
/// mig-parted with it) make the names. A suffix cannot be told.
pub(crate) fn from_attributes(
    compute: u32,
    slices: u32,
    memory_mib: u64,
    gpu_memory_mib: u64,
) -> Option<Profile> {
    let gpu_gb = gpu_memory_mib.div_ceil(1024);
    let eighths = (memory_mib * 8).div_ceil(gpu_memory_mib.max(1));
    let memory_gb = (eighths * gpu_gb + 4) / 8;
    let profile = Profile {
        compute: compute.try_into().ok()?,
        slices: slices.try_into().ok()?,
        memory_gb: memory_gb.try_into().ok()?,
        suffix: Suffix::None,
    };
    let plausible = compute > 0 && compute <= slices && memory_gb > 0 && eighths <= 8;
    plausible.then_some(profile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mock_nvml::{profiles, spec};

    #[test]
    fn names_are_read_with_their_suffix() {
        let read = |name| from_name(name).map(|profile| profile.to_string());
        assert_eq!(read("NVIDIA A100-SXM4-80GB MIG 1g.10gb").as_deref(), Some("1g.10gb"));
        assert_eq!(read("NVIDIA H100 80GB HBM3 MIG 1g.10gb+me").as_deref(), Some("1g.10gb+me"));
        assert_eq!(read("NVIDIA A100-PCIE-40GB MIG 1c.3g.20gb").as_deref(), Some("1c.3g.20gb"));
        assert_eq!(
            read("NVIDIA RTX PRO 6000 MIG 1g.24gb+me.all").as_deref(),
            Some("1g.24gb+me.all")
        );
        assert_eq!(read("NVIDIA H200"), None);
        assert_eq!(read("NVIDIA H200 MIG "), None);
        assert_eq!(read("NVIDIA H200 MIG big"), None);
    }

    /// The rounding gives the right name for every profile of every part that is known.
    #[test]
    fn rounding_gives_the_names_of_all_parts() {
        for fact in profiles::facts() {
            let gpu = spec::find_part(&fact.part).unwrap().memory_mib;
            let slices = fact.profile.slices.into();
            let profile = from_attributes(slices, slices, fact.memory_mib, gpu);
            assert_eq!(profile, Some(fact.profile), "{fact:?}");
        }
    }

    #[test]
    fn what_makes_no_profile_is_refused() {
        assert_eq!(from_attributes(2, 1, 10_000, 80_000), None);
        assert_eq!(from_attributes(0, 1, 10_000, 80_000), None);
        assert_eq!(from_attributes(1, 1, 0, 80_000), None);
        assert_eq!(from_attributes(1, 1, 10_000, 0), None);
        assert_eq!(from_attributes(1, 400, 10_000, 80_000), None);
    }
}
