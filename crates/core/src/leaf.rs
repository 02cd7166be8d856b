//! A leaf: one MIG device that Slurm hands out as one unit of GRES `flexmig`.

use serde::{Deserialize, Serialize};

use crate::bus_id::{BusId, BusIdError};
use crate::profile::Profile;

/// The physical GPU that a leaf is cut from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// UUID, `GPU-...`.
    pub uuid: String,
    /// Product name as NVML gives it, `NVIDIA A100-SXM4-80GB`.
    pub model: String,
    /// NVML's index. It can change at a reboot; `minor` is the steadier name.
    pub index: u32,
    /// Device minor: the `N` of `/dev/nvidiaN` and of `gpuN` in mig-minors.
    pub minor: u32,
    /// Real PCI address.
    pub bus_id: BusId,
    /// NUMA node, if the platform tells.
    pub numa: Option<u32>,
    /// CPUs close to this GPU as a list, `0-31,64-95`; empty if the platform does not tell.
    pub cpus: String,
}

/// Where a GPU instance lies on its GPU's memory slices (8 of them; 4 on A30).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// First memory slice.
    pub start: u32,
    /// Number of memory slices.
    pub size: u32,
}

/// The three device files that a process needs to use a leaf, as paths on this node.
///
/// Minor numbers of the `nvidia-capN` files come from `/proc/driver/nvidia-caps/mig-minors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceFiles {
    /// `/dev/nvidiaN` of the parent.
    pub parent: String,
    /// `/dev/nvidia-caps/nvidia-capN` of the GPU instance.
    pub gpu_instance: String,
    /// `/dev/nvidia-caps/nvidia-capN` of the compute instance.
    pub compute_instance: String,
}

impl DeviceFiles {
    /// The three paths: parent, GPU instance, compute instance.
    pub fn paths(&self) -> [&str; 3] {
        [&self.parent, &self.gpu_instance, &self.compute_instance]
    }
}

/// One MIG device: a GPU instance and a compute instance of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// UUID, `MIG-...`.
    pub uuid: String,
    /// Shape.
    pub profile: Profile,
    /// Usable memory in MiB, as NVML gives it (less than the profile's name says).
    pub memory_mib: u64,
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// GPU instance id.
    pub gi: u32,
    /// Compute instance id within the GPU instance.
    pub ci: u32,
    /// Place on the parent's memory slices, where NVML tells.
    pub placement: Option<Placement>,
    /// Device files.
    pub devices: DeviceFiles,
    /// The GPU it is cut from.
    pub parent: Parent,
}

impl Leaf {
    /// The synthetic bus id: unique per leaf of a node, and parent and leaf can be computed back.
    pub fn bus_id(&self) -> Result<BusId, BusIdError> {
        self.parent.bus_id.synthetic(self.gi, self.ci)
    }
}
