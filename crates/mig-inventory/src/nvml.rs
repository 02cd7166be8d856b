//! NVML, loaded for one reading: nvml-wrapper where its calls are right, NVML's own functions where
//! it has none.

use std::path::Path;

use flexmig_core::leaf::Placement;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{NVML_AFFINITY_SCOPE_NODE, nvmlGpuInstanceInfo_t};

use crate::error::InventoryError;

/// CPUs that an affinity mask can name, in 64-bit words.
const CPU_WORDS: usize = 128;
/// NUMA nodes that an affinity mask can name, in 64-bit words.
const NODE_WORDS: usize = 16;

/// Loads and initialises NVML. Dropping it shuts NVML down and unloads the library.
pub(crate) fn open(library: &Path) -> Result<Nvml, InventoryError> {
    let result = Nvml::builder().lib_path(library.as_os_str()).init();
    result.map_err(|error| {
        let library = library.to_owned();
        match error {
            NvmlError::LibloadingError(_) | NvmlError::FailedToLoadSymbol(_) => {
                InventoryError::Library { library, reason: reason(&error) }
            }
            error => InventoryError::Init { library, reason: reason(&error), mend: mend(&error) },
        }
    })
}

fn mend(error: &NvmlError) -> &'static str {
    match error {
        NvmlError::DriverNotLoaded => "load the nvidia kernel module before slurmd starts",
        NvmlError::LibRmVersionMismatch => {
            "reboot, or load the kernel module of the library's version"
        }
        NvmlError::NoPermission => "let this user open /dev/nvidiactl",
        _ => "check the driver with nvidia-smi",
    }
}

/// An error as one line.
pub(crate) fn reason(error: &NvmlError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// GPU instance id of a MIG device.
pub(crate) fn gpu_instance_id(mig: &Device<'_>) -> Result<u32, NvmlError> {
    let function = nvml_sym(mig.nvml().lib().nvmlDeviceGetGpuInstanceId.as_ref())?;
    let mut id = 0;
    // SAFETY: the handle belongs to a device whose Nvml is borrowed, so initialised and loaded;
    // NVML writes one number into `id`.
    nvml_try(unsafe { function(mig.handle(), &mut id) })?;
    Ok(id)
}

/// Compute instance id of a MIG device within its GPU instance.
pub(crate) fn compute_instance_id(mig: &Device<'_>) -> Result<u32, NvmlError> {
    let function = nvml_sym(mig.nvml().lib().nvmlDeviceGetComputeInstanceId.as_ref())?;
    let mut id = 0;
    // SAFETY: as in `gpu_instance_id`.
    nvml_try(unsafe { function(mig.handle(), &mut id) })?;
    Ok(id)
}

/// Where a GPU instance lies. NVML tells only root; others get `None`.
pub(crate) fn placement(gpu: &Device<'_>, gi: u32) -> Option<Placement> {
    let library = gpu.nvml().lib();
    let by_id = library.nvmlDeviceGetGpuInstanceById.as_ref().ok()?;
    let get_info = library.nvmlGpuInstanceGetInfo.as_ref().ok()?;
    let mut instance = std::ptr::null_mut();
    // SAFETY: the handle belongs to a device whose Nvml is borrowed, so initialised and loaded;
    // NVML writes one handle into `instance`.
    nvml_try(unsafe { by_id(gpu.handle(), gi, &mut instance) }).ok()?;
    // SAFETY: the structure is numbers and a pointer, for which zero is a value.
    let mut info: nvmlGpuInstanceInfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `instance` was just given by NVML, which writes one structure into `info`.
    nvml_try(unsafe { get_info(instance, &mut info) }).ok()?;
    Some(Placement { start: info.placement.start, size: info.placement.size })
}

/// The NUMA node next to a GPU.
///
/// Not `nvmlDeviceGetNumaNodeId`: that names the node which the GPU's own memory is, on machines
/// where it is one (Grace Hopper).
pub(crate) fn numa_node(gpu: &Device<'_>) -> Option<u32> {
    let set = gpu.memory_affinity(NODE_WORDS, NVML_AFFINITY_SCOPE_NODE).ok()?;
    match members(&set)[..] {
        [node] => Some(node),
        _ => None,
    }
}

/// The CPUs next to a GPU as a list, `0-31,64-95`; empty if NVML does not tell.
pub(crate) fn cpu_list(gpu: &Device<'_>) -> String {
    gpu.cpu_affinity(CPU_WORDS).map(|set| ranges(&members(&set))).unwrap_or_default()
}

/// The numbers of the bits that are set.
fn members(set: &[u64]) -> Vec<u32> {
    let bits = (0..).zip(set).flat_map(|(word, bits)| {
        (0..u64::BITS).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * 64 + bit)
    });
    bits.collect()
}

/// Ascending numbers as `0-3,8`.
fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let texts: Vec<String> = runs
        .filter_map(|run| match (run.first()?, run.last()?) {
            (first, last) if first == last => Some(first.to_string()),
            (first, last) => Some(format!("{first}-{last}")),
        })
        .collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_become_lists() {
        assert_eq!(ranges(&members(&[0b1011, 0, 1 << 63])), "0-1,3,191");
        assert_eq!(ranges(&members(&[u64::MAX, 1])), "0-64");
        assert_eq!(ranges(&members(&[])), "");
    }
}
