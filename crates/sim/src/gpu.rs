//! GPU models: which instances they can have, and where.
//!
//! The facts are those of mock-nvml's `data/mig_profiles.csv`, which names the source of each row:
//! go-nvml for A30 and A100, `nvidia-smi mig -lgipp` of real devices for H100. Placements of GH200
//! and H200 are assumed to be H100's, those of RTX PRO 6000 A30's, and the SMs of H200 that nobody
//! has published H100's. Profiles
//! with a suffix (`+me`) are left out: they take the same place as the plain ones.

use flexmig_core::models::{MODELS, Model};
use flexmig_core::profile::Profile;

/// One profile of a GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Its name and compute slices.
    pub profile: Profile,
    /// Streaming multiprocessors of an instance.
    pub sms: u32,
    /// Slices of the memory axis that an instance takes.
    pub size: u8,
    /// Where on the memory axis an instance may start.
    pub starts: &'static [u8],
    /// Most instances of this profile on one GPU.
    pub most: u8,
}

/// A GPU model that can be cut.
#[derive(Debug, PartialEq)]
pub struct Gpu {
    /// `a100-80`, as on the command line.
    pub name: &'static str,
    /// Length of the memory axis: 8, or 4 of an A30.
    pub axis: u8,
    /// Compute slices: 7, or 4 of an A30.
    pub slices: u8,
    /// The profiles on offer, smallest first.
    pub shapes: &'static [Shape],
}

/// A model that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: no such GPU model: one of {names}", names = names())]
pub struct GpuError(String);

fn names() -> String {
    GPUS.iter().map(|gpu| gpu.name).collect::<Vec<_>>().join(", ")
}

const fn shape(
    slices: u8,
    memory_gb: u16,
    sms: u32,
    size: u8,
    starts: &'static [u8],
    most: u8,
) -> Shape {
    Shape { profile: Profile::new(slices, memory_gb), sms, size, starts, most }
}

/// The six profiles of a GPU with seven slices, from their gigabytes and SMs.
const fn seven(gb: [u16; 6], sms: [u32; 6]) -> [Shape; 6] {
    [
        shape(1, gb[0], sms[0], 1, &[0, 1, 2, 3, 4, 5, 6], 7),
        shape(1, gb[1], sms[1], 2, &[0, 2, 4, 6], 4),
        shape(2, gb[2], sms[2], 2, &[0, 2, 4], 3),
        shape(3, gb[3], sms[3], 4, &[0, 4], 2),
        shape(4, gb[4], sms[4], 4, &[0], 1),
        shape(7, gb[5], sms[5], 8, &[0], 1),
    ]
}

const AMPERE: [u32; 6] = [14, 14, 28, 42, 56, 98];
const HOPPER: [u32; 6] = [16, 26, 32, 60, 64, 132];

static A30: [Shape; 3] = [
    shape(1, 6, 14, 1, &[0, 1, 2, 3], 4),
    shape(2, 12, 28, 2, &[0, 2], 2),
    shape(4, 24, 56, 4, &[0], 1),
];
static RTX_PRO: [Shape; 3] = [
    shape(1, 24, 46, 1, &[0, 1, 2, 3], 4),
    shape(2, 48, 94, 2, &[0, 2], 2),
    shape(4, 96, 188, 4, &[0], 1),
];
static A100_40: [Shape; 6] = seven([5, 10, 10, 20, 20, 40], AMPERE);
static A100_80: [Shape; 6] = seven([10, 20, 20, 40, 40, 80], AMPERE);
static H100_80: [Shape; 6] = seven([10, 20, 20, 40, 40, 80], HOPPER);
static H100_NVL: [Shape; 6] = seven([12, 24, 24, 47, 47, 94], HOPPER);
static GH200: [Shape; 6] = seven([12, 24, 24, 48, 48, 96], HOPPER);
static H200: [Shape; 6] = seven([18, 35, 35, 71, 71, 141], HOPPER);

/// All models that can be simulated.
pub static GPUS: [Gpu; 8] = [
    Gpu { name: "a30-24", axis: 4, slices: 4, shapes: &A30 },
    Gpu { name: "a100-40", axis: 8, slices: 7, shapes: &A100_40 },
    Gpu { name: "a100-80", axis: 8, slices: 7, shapes: &A100_80 },
    Gpu { name: "h100-80", axis: 8, slices: 7, shapes: &H100_80 },
    Gpu { name: "h100nvl-94", axis: 8, slices: 7, shapes: &H100_NVL },
    Gpu { name: "gh200-96", axis: 8, slices: 7, shapes: &GH200 },
    Gpu { name: "h200-141", axis: 8, slices: 7, shapes: &H200 },
    Gpu { name: "rtxpro6000-96", axis: 4, slices: 4, shapes: &RTX_PRO },
];

impl Gpu {
    /// The model of this name, in either case.
    pub fn named(name: &str) -> Result<&'static Gpu, GpuError> {
        let found = GPUS.iter().find(|gpu| gpu.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| GpuError(name.chars().take(64).collect()))
    }

    /// What core knows of it.
    pub fn model(&self) -> Option<&'static Model> {
        MODELS.iter().find(|model| model.name.eq_ignore_ascii_case(self.name))
    }

    /// SMs of the whole GPU as one instance.
    pub fn sms(&self) -> u32 {
        self.shapes.last().map_or(0, |shape| shape.sms)
    }

    /// SMs that a job of so many slices asks for: those of the smallest instance with so many, else
    /// of as many one-slice instances.
    pub fn sms_of_slices(&self, slices: u8) -> u32 {
        let of = |slices| self.shapes.iter().find(|s| s.profile.slices == slices).map(|s| s.sms);
        of(slices).or_else(|| Some(of(1)? * u32::from(slices))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flexmig_core::profile::Suffix;

    #[test]
    fn models_are_found_by_name() {
        assert_eq!(Gpu::named("A100-80").unwrap().sms(), 98);
        assert_eq!(Gpu::named("h100-80").unwrap().sms_of_slices(3), 60);
        assert_eq!(Gpu::named("a30-24").unwrap().sms_of_slices(3), 42);
        let error = Gpu::named("v100").unwrap_err().to_string();
        assert!(error.starts_with("v100: no such GPU model: one of a30-24, a100-40"), "{error}");
    }

    #[test]
    fn core_has_the_same_sms() {
        for gpu in &GPUS {
            let model = gpu.model().unwrap_or_else(|| panic!("{} in core", gpu.name));
            for shape in gpu.shapes {
                assert_eq!(model.sms(&shape.profile), Some(shape.sms), "{}", gpu.name);
            }
        }
    }

    /// Every row without a suffix: name, SMs, number and placements.
    #[test]
    fn the_facts_are_those_of_the_profile_data() {
        let data = include_str!("../../../tests/mock-nvml/data/mig_profiles.csv");
        let mut seen = 0;
        for line in data.lines().filter(|line| !line.starts_with(['#', 'p'])) {
            let fields: Vec<&str> = line.splitn(9, ',').collect();
            let (Ok(gpu), Ok(profile)) = (Gpu::named(fields[0]), fields[1].parse::<Profile>())
            else {
                continue;
            };
            if profile.suffix != Suffix::None {
                continue;
            }
            let shape = gpu.shapes.iter().find(|shape| shape.profile == profile);
            let shape = shape.unwrap_or_else(|| panic!("{line}"));
            let (starts, size) = fields[7].split_once(':').unwrap();
            let starts: Vec<u8> = starts.split(' ').map(|start| start.parse().unwrap()).collect();
            let known = [shape.profile.slices.to_string(), shape.sms.to_string()];
            assert_eq!(known, [fields[3], fields[4]], "{line}");
            assert_eq!(
                (shape.most.to_string(), shape.size.to_string()),
                (fields[6].into(), size.into())
            );
            assert_eq!(shape.starts, &starts[..], "{line}");
            seen += 1;
        }
        assert!(seen >= 40, "{seen} rows");
    }
}
