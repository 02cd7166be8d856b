//! Calls on GPUs and MIG devices.

use std::ffi::CStr;
use std::os::raw::{c_char, c_uint, c_ulong};

use flexmig_core::bus_id::BusId;
use nvml_wrapper_sys::bindings::*;

use super::{chars, put, put_set, put_text};
use crate::layout::GpuInstance;
use crate::node::{Gpu, MigDevice};
use crate::profiles;
use crate::ret;
use crate::state::{Device, gpu_handle, mig_handle, with_device, with_gpu, with_node};

const MIB: u64 = 1 << 20;

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    with_node("nvmlDeviceGetHandleByIndex_v2", |node| {
        let gpu = node.gpus.get(index as usize);
        let gpu = gpu.ok_or(ret::INVALID_ARGUMENT)?;
        let call = "nvmlDeviceGetHandleByIndex_v2";
        node.failure(call, Some(gpu.minor), None).map_or(Ok(()), Err)?;
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(device, gpu_handle(gpu)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    with_node("nvmlDeviceGetHandleByUUID", |node| {
        // SAFETY: the caller keeps NVML's contract: null or a C string.
        let uuid = unsafe { text(uuid) }?;
        let handle = node.gpus.iter().find_map(|gpu| {
            let leaf = || gpu.leaves.iter().find(|leaf| leaf.uuid == uuid);
            if gpu.uuid == uuid {
                Some(gpu_handle(gpu))
            } else {
                leaf().map(|leaf| mig_handle(gpu, leaf))
            }
        });
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(device, handle.ok_or(ret::NOT_FOUND)?) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    bus_id: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    with_node("nvmlDeviceGetHandleByPciBusId_v2", |node| {
        // SAFETY: the caller keeps NVML's contract: null or a C string.
        let bus_id: BusId = unsafe { text(bus_id) }?.parse().map_err(|_| ret::INVALID_ARGUMENT)?;
        let gpu = node.gpus.iter().find(|gpu| gpu.bus_id == bus_id);
        let gpu = gpu.ok_or(ret::NOT_FOUND)?;
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(device, gpu_handle(gpu)) }
    })
}

/// The first form, which NCCL asks for; it takes the same ids.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId(
    bus_id: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: the caller's arguments, under the same contract.
    unsafe { nvmlDeviceGetHandleByPciBusId_v2(bus_id, device) }
}

/// As a driver may answer for GPUs in MIG mode; nobody has said so yet.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetP2PStatus(
    one: nvmlDevice_t,
    other: nvmlDevice_t,
    _index: nvmlGpuP2PCapsIndex_t,
    status: *mut nvmlGpuP2PStatus_t,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetP2PStatus", one, |_| {
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(status, nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_NOT_SUPPORTED) }
    })
    .max(with_gpu("nvmlDeviceGetP2PStatus", other, |_| Ok(())))
}

/// # Safety
///
/// `text` must be null or a NUL-terminated string.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, nvmlReturn_t> {
    let invalid = ret::INVALID_ARGUMENT;
    if text.is_null() {
        return Err(invalid);
    }
    // SAFETY: not null, so a NUL-terminated string by the caller's contract.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| invalid)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetIndex(device: nvmlDevice_t, index: *mut c_uint) -> nvmlReturn_t {
    with_node("nvmlDeviceGetIndex", |node| {
        let position = node.gpus.iter().position(|gpu| gpu_handle(gpu) == device);
        let position = position.ok_or(ret::INVALID_ARGUMENT)?;
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(index, position as c_uint) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetName(
    device: nvmlDevice_t,
    name: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    with_device("nvmlDeviceGetName", device, |device| {
        let text = match device {
            Device::Gpu(gpu) => gpu.part.model.to_owned(),
            Device::Mig(gpu, leaf) => format!("{} MIG {}", gpu.part.model, leaf.profile),
        };
        // SAFETY: the caller keeps NVML's contract for buffer and length.
        unsafe { put_text(name, length, &text) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetUUID(
    device: nvmlDevice_t,
    uuid: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    with_device("nvmlDeviceGetUUID", device, |device| {
        let text = match device {
            Device::Gpu(gpu) => &gpu.uuid,
            Device::Mig(_, leaf) => &leaf.uuid,
        };
        // SAFETY: the caller keeps NVML's contract for buffer and length.
        unsafe { put_text(uuid, length, text) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMinorNumber(
    device: nvmlDevice_t,
    minor: *mut c_uint,
) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract for the pointer.
    with_gpu("nvmlDeviceGetMinorNumber", device, |gpu| unsafe { put(minor, gpu.minor) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(
    device: nvmlDevice_t,
    pci: *mut nvmlPciInfo_t,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetPciInfo_v3", device, |gpu| {
        let BusId { domain, bus, device, function } = gpu.bus_id;
        let info = nvmlPciInfo_t {
            busIdLegacy: chars(&format!("{domain:04X}:{bus:02X}:{device:02X}.{function}")),
            domain,
            bus: bus.into(),
            device: device.into(),
            pciDeviceId: gpu.part.pci_device,
            pciSubSystemId: gpu.part.pci_subsystem,
            busId: chars(&format!("{domain:08X}:{bus:02X}:{device:02X}.{function}")),
        };
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(pci, info) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetNumaNodeId(
    device: nvmlDevice_t,
    _node: *mut c_uint,
) -> nvmlReturn_t {
    // Only for GPUs that are NUMA nodes themselves (their memory), which no preset is.
    with_gpu("nvmlDeviceGetNumaNodeId", device, |_| Err(ret::NOT_SUPPORTED))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryAffinity(
    device: nvmlDevice_t,
    words: c_uint,
    set: *mut c_ulong,
    _scope: nvmlAffinityScope_t,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetMemoryAffinity", device, |gpu| {
        let numa = gpu.numa.ok_or(ret::NOT_SUPPORTED)?;
        // SAFETY: the caller keeps NVML's contract for set and size.
        unsafe { put_set(set, words, &[numa]) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCpuAffinity(
    device: nvmlDevice_t,
    words: c_uint,
    set: *mut c_ulong,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetCpuAffinity", device, |gpu| {
        if gpu.cpus.is_empty() {
            return Err(ret::NOT_SUPPORTED);
        }
        // SAFETY: the caller keeps NVML's contract for set and size.
        unsafe { put_set(set, words, &gpu.cpus) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetMigMode", device, |gpu| {
        let mode = c_uint::from(gpu.mig.is_some());
        // SAFETY: the caller keeps NVML's contract for both pointers.
        unsafe { put(current, mode).and_then(|()| put(pending, mode)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(
    device: nvmlDevice_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetMaxMigDeviceCount", device, |gpu| {
        let facts = profiles::of_part(gpu.part.name);
        let most = facts.map(|fact| fact.profile.slices).max().unwrap_or(0);
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(count, most.into()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    mig: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetMigDeviceHandleByIndex", device, |gpu| {
        let leaf = gpu.leaves.get(index as usize).ok_or(ret::NOT_FOUND)?;
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(mig, mig_handle(gpu, leaf)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(
    mig: nvmlDevice_t,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract for the pointer.
    with_leaf("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", mig, |gpu, _, _| unsafe {
        put(device, gpu_handle(gpu))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceIsMigDeviceHandle(
    device: nvmlDevice_t,
    is_mig: *mut c_uint,
) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract for the pointer.
    with_device("nvmlDeviceIsMigDeviceHandle", device, |device| unsafe {
        put(is_mig, matches!(device, Device::Mig(..)).into())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstanceId(
    mig: nvmlDevice_t,
    id: *mut c_uint,
) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract for the pointer.
    with_leaf("nvmlDeviceGetGpuInstanceId", mig, |_, instance, _| unsafe { put(id, instance.id) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeInstanceId(
    mig: nvmlDevice_t,
    id: *mut c_uint,
) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract for the pointer.
    with_leaf("nvmlDeviceGetComputeInstanceId", mig, |_, _, leaf| unsafe {
        put(id, leaf.compute.id)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetAttributes_v2(
    mig: nvmlDevice_t,
    attributes: *mut nvmlDeviceAttributes_t,
) -> nvmlReturn_t {
    with_leaf("nvmlDeviceGetAttributes_v2", mig, |_, instance, leaf| {
        let slices = leaf.profile.slices.into();
        let value = nvmlDeviceAttributes_t {
            multiprocessorCount: profiles::compute_sm(instance.fact, leaf.compute.slices),
            sharedCopyEngineCount: slices,
            sharedDecoderCount: slices,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
            gpuInstanceSliceCount: slices,
            computeInstanceSliceCount: leaf.compute.slices,
            memorySizeMB: instance.fact.memory_mib,
        };
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(attributes, value) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo(
    device: nvmlDevice_t,
    memory: *mut nvmlMemory_t,
) -> nvmlReturn_t {
    with_device("nvmlDeviceGetMemoryInfo", device, |device| {
        let (total, used) = memory_of(device);
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(memory, nvmlMemory_t { total, free: total - used, used }) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    memory: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    with_device("nvmlDeviceGetMemoryInfo_v2", device, |device| {
        let version = size_of::<nvmlMemory_v2_t>() as c_uint | 2 << 24;
        if memory.is_null() {
            return Err(ret::INVALID_ARGUMENT);
        }
        // SAFETY: not null, so a structure whose version the caller has set, by NVML's contract.
        if unsafe { (*memory).version } != version {
            return Err(ret::ARGUMENT_VERSION_MISMATCH);
        }
        let (total, used) = memory_of(device);
        let value = nvmlMemory_v2_t { version, total, reserved: 0, free: total - used, used };
        // SAFETY: as above.
        unsafe { put(memory, value) }
    })
}

/// Total and used bytes.
fn memory_of(device: Device<'_>) -> (u64, u64) {
    let mib = match device {
        Device::Gpu(gpu) => gpu.part.memory_mib,
        Device::Mig(gpu, leaf) => {
            gpu.instance(leaf.gi).map_or(0, |instance| instance.fact.memory_mib)
        }
    };
    (mib * MIB, (mib * MIB).min(12 * MIB))
}

/// A call on a MIG device; physical GPUs are refused.
fn with_leaf(
    call: &str,
    handle: nvmlDevice_t,
    body: impl FnOnce(&Gpu, &GpuInstance, &MigDevice) -> Result<(), nvmlReturn_t>,
) -> nvmlReturn_t {
    with_device(call, handle, |device| match device {
        Device::Mig(gpu, leaf) => {
            let instance = gpu.instance(leaf.gi).ok_or(ret::NOT_FOUND)?;
            body(gpu, instance, leaf)
        }
        Device::Gpu(_) => Err(ret::INVALID_ARGUMENT),
    })
}
