//! A node as an author writes it: TOML, and the presets.

use flexmig_core::bus_id::BusId;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A node. Every key but `name` and `gpu` has a default.
///
/// ```toml
/// name = "n1"
/// [[gpu]]
/// part = "A100-80"
/// minor = 0
/// bus_id = "00000000:07:00.0"
/// mig = ["3g.40gb", "1c.2g.20gb*2", "1g.10gb"]
/// [[fail]]
/// call = "nvmlDeviceGetUUID"
/// gpu = 0
/// error = 15
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Seeds the UUIDs, so that nodes of a cluster have different ones.
    pub name: String,
    /// Driver version.
    #[serde(default = "driver")]
    pub driver: String,
    /// NVML version.
    #[serde(default = "nvml")]
    pub nvml: String,
    /// CUDA version as NVML writes it: 1000 * major + 10 * minor.
    #[serde(default = "cuda")]
    pub cuda: i32,
    /// NVML indices run against the order of the list.
    #[serde(default)]
    pub reverse: bool,
    /// Changes the UUIDs of all MIG devices, as making them anew does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub salt: String,
    /// The GPUs in NVML's order.
    pub gpu: Vec<GpuSpec>,
    /// Calls that fail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fail: Vec<Fail>,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuSpec {
    /// Part, as in `data/mig_profiles.csv`.
    pub part: String,
    /// Minor number of `/dev/nvidiaN`.
    pub minor: u32,
    /// PCI address.
    pub bus_id: BusId,
    /// NUMA node; absent: NVML does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa: Option<u32>,
    /// CPUs nearby as a list, `0-31,64-95`; empty: NVML does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cpus: String,
    /// The layout, as `["3g.40gb", "1g.10gb*4"]`. Absent: MIG is off. Empty: it is on and there are
    /// no instances, as after a reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<Vec<String>>,
    /// MIG devices of the layout that are gone, as `gi7/ci0`; the others keep their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A call that fails on demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// NVML function.
    pub call: String,
    /// Only on this GPU (minor) and its MIG devices; absent: anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// Only on MIG devices of this GPU instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gi: Option<u32>,
    /// What the call returns, an `nvmlReturn_t`; 15 is "GPU is lost".
    pub error: u32,
}

fn driver() -> String {
    "550.54.15".to_owned()
}

fn nvml() -> String {
    "12.550.54.15".to_owned()
}

fn cuda() -> i32 {
    12_040
}

/// What is the same on all GPUs of a part.
#[derive(Debug)]
pub struct Part {
    /// Name in `data/mig_profiles.csv`.
    pub name: &'static str,
    /// Product name.
    pub model: &'static str,
    /// Memory in MiB, as NVML gives it with MIG off.
    pub memory_mib: u64,
    /// PCI device and vendor id.
    pub pci_device: u32,
    /// PCI subsystem id.
    pub pci_subsystem: u32,
}

/// The parts that a node can have.
pub const PARTS: &[Part] = &[
    part("A30-24", "NVIDIA A30", 24_576, 0x20b7_10de, 0x1532_10de),
    part("A100-40", "NVIDIA A100-SXM4-40GB", 40_960, 0x20b0_10de, 0x144e_10de),
    part("A100-80", "NVIDIA A100-SXM4-80GB", 81_920, 0x20b2_10de, 0x147f_10de),
    part("H100-80", "NVIDIA H100 80GB HBM3", 81_559, 0x2330_10de, 0x16c1_10de),
    part("H100NVL-94", "NVIDIA H100 NVL", 95_830, 0x2321_10de, 0x1839_10de),
    part("GH200-96", "NVIDIA GH200 480GB", 97_871, 0x2342_10de, 0x16eb_10de),
    part("H200-141", "NVIDIA H200", 143_771, 0x2335_10de, 0x18be_10de),
    part("B200-180", "NVIDIA B200", 183_359, 0x2901_10de, 0x1999_10de),
    part(
        "RTXPRO6000-96",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        97_887,
        0x2bb5_10de,
        0x204e_10de,
    ),
];

const fn part(
    name: &'static str,
    model: &'static str,
    memory_mib: u64,
    pci_device: u32,
    pci_subsystem: u32,
) -> Part {
    Part { name, model, memory_mib, pci_device, pci_subsystem }
}

/// A preset: part, then PCI bus, NUMA node and CPUs of each GPU, as on the named machine.
type Preset = (&'static str, &'static str, &'static [(u8, u32, &'static str)]);

const DGX_A100: &[(u8, u32, &str)] = &[
    (0x07, 3, "48-63,176-191"),
    (0x0f, 3, "48-63,176-191"),
    (0x47, 1, "16-31,144-159"),
    (0x4e, 1, "16-31,144-159"),
    (0x87, 7, "112-127,240-255"),
    (0x90, 7, "112-127,240-255"),
    (0xb7, 5, "80-95,208-223"),
    (0xbd, 5, "80-95,208-223"),
];

const PRESETS: &[Preset] = &[
    ("dgx-a100", "A100-80", DGX_A100),
    ("dgx-a100-40", "A100-40", DGX_A100),
    (
        "hgx-h100",
        "H100-80",
        &[
            (0x1b, 0, "0-55,112-167"),
            (0x43, 0, "0-55,112-167"),
            (0x52, 0, "0-55,112-167"),
            (0x61, 0, "0-55,112-167"),
            (0x9d, 1, "56-111,168-223"),
            (0xc3, 1, "56-111,168-223"),
            (0xd1, 1, "56-111,168-223"),
            (0xdf, 1, "56-111,168-223"),
        ],
    ),
    (
        "h200",
        "H200-141",
        &[
            (0x19, 0, "0-47,96-143"),
            (0x3b, 0, "0-47,96-143"),
            (0x4c, 0, "0-47,96-143"),
            (0x5d, 0, "0-47,96-143"),
            (0x9b, 1, "48-95,144-191"),
            (0xbb, 1, "48-95,144-191"),
            (0xcb, 1, "48-95,144-191"),
            (0xdb, 1, "48-95,144-191"),
        ],
    ),
    (
        "a30",
        "A30-24",
        &[
            (0x17, 0, "0-31,64-95"),
            (0x65, 0, "0-31,64-95"),
            (0xca, 1, "32-63,96-127"),
            (0xe3, 1, "32-63,96-127"),
        ],
    ),
];

/// The names of the presets.
pub fn presets() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, ..)| *name)
}

/// The part of this name.
pub fn find_part(name: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.name == name)
}

impl NodeSpec {
    /// A machine of this kind with MIG off: `dgx-a100`, `dgx-a100-40`, `hgx-h100`, `h200`, `a30`.
    pub fn preset(name: &str) -> Result<NodeSpec, Error> {
        let (_, part, gpus) =
            PRESETS.iter().find(|(preset, ..)| *preset == name).ok_or_else(|| Error::Preset {
                name: name.to_owned(),
                known: presets().collect::<Vec<_>>().join(", "),
            })?;
        let gpu = (0..)
            .zip(*gpus)
            .map(|(minor, &(bus, numa, cpus))| GpuSpec {
                part: (*part).to_owned(),
                minor,
                bus_id: BusId { domain: 0, bus, device: 0, function: 0 },
                numa: Some(numa),
                cpus: cpus.to_owned(),
                mig: None,
                missing: Vec::new(),
            })
            .collect();
        Ok(NodeSpec {
            name: name.to_owned(),
            driver: driver(),
            nvml: nvml(),
            cuda: cuda(),
            reverse: false,
            salt: String::new(),
            gpu,
            fail: Vec::new(),
        })
    }

    /// The same node under another name, and so with other UUIDs.
    pub fn named(mut self, name: &str) -> NodeSpec {
        name.clone_into(&mut self.name);
        self
    }

    /// Only the first `count` GPUs.
    pub fn gpus(mut self, count: usize) -> NodeSpec {
        self.gpu.truncate(count);
        self
    }

    /// This layout on every GPU, as `1g.10gb*7` or `3g.40gb, 1g.10gb*4`.
    pub fn mig(mut self, layout: &str) -> NodeSpec {
        for gpu in &mut self.gpu {
            gpu.mig = Some(vec![layout.to_owned()]);
        }
        self
    }

    /// Every GPU close to these CPUs of NUMA node 0, for machines smaller than the preset.
    pub fn cpus(mut self, cpus: &str) -> NodeSpec {
        for gpu in &mut self.gpu {
            gpu.numa = Some(0);
            cpus.clone_into(&mut gpu.cpus);
        }
        self
    }

    /// Reads TOML. The layout is checked later, by [`crate::Node::new`].
    pub fn from_toml(text: &str) -> Result<NodeSpec, Error> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count() + 1;
            Error::Toml { line, message: error.message().replace('\n', " ") }
        })
    }

    /// As TOML that [`NodeSpec::from_toml`] reads back.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| panic!("a node is TOML: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles;

    #[test]
    fn presets_are_what_they_are_called_and_round_trip() {
        let counts: Vec<_> =
            presets().map(|name| NodeSpec::preset(name).unwrap().gpu.len()).collect();
        assert_eq!(counts, [8, 8, 8, 8, 4]);
        for name in presets() {
            let spec = NodeSpec::preset(name).unwrap();
            assert_eq!(NodeSpec::from_toml(&spec.to_toml()).unwrap(), spec);
        }
        let error = NodeSpec::preset("dgx-1").unwrap_err().to_string();
        assert_eq!(
            error,
            "no preset \"dgx-1\": there are dgx-a100, dgx-a100-40, hgx-h100, h200, a30"
        );
    }

    #[test]
    fn every_part_has_profiles_and_back() {
        for part in PARTS {
            assert!(profiles::of_part(part.name).count() > 0, "{part:?}");
        }
        for fact in profiles::facts() {
            assert!(find_part(&fact.part).is_some(), "{fact:?}");
        }
    }

    #[test]
    fn unknown_keys_are_errors_with_the_line() {
        let error = NodeSpec::from_toml("name = \"n\"\ngpus = 3\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2: unknown field `gpus`"), "{error}");
    }
}
