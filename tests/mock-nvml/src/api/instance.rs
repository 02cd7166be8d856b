//! Calls on GPU instances and compute instances, and on the profiles that they can have.

use std::os::raw::c_uint;

use nvml_wrapper_sys::bindings::*;

use super::{chars, put, put_list};
use crate::layout::GpuInstance;
use crate::node::Gpu;
use crate::profiles::{self, ProfileFact};
use crate::ret;
use crate::state::{
    Answer, compute_handle, gpu_handle, instance_handle, with_compute, with_gpu, with_instance,
};

fn fact_of(gpu: &Gpu, nvml_profile: c_uint) -> Result<&'static ProfileFact, nvmlReturn_t> {
    if nvml_profile >= NVML_GPU_INSTANCE_PROFILE_COUNT {
        return Err(ret::INVALID_ARGUMENT);
    }
    profiles::of_part(gpu.part.name)
        .find(|fact| fact.nvml_profile() == Some(nvml_profile))
        .ok_or(ret::NOT_SUPPORTED)
}

fn fact_by_id(gpu: &Gpu, profile_id: c_uint) -> Result<&'static ProfileFact, nvmlReturn_t> {
    profiles::of_part(gpu.part.name)
        .find(|fact| fact.profile_id == profile_id)
        .ok_or(ret::INVALID_ARGUMENT)
}

fn need_mig(gpu: &Gpu) -> Answer {
    if gpu.mig.is_some() { Ok(()) } else { Err(ret::NOT_SUPPORTED) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstanceProfileInfo(
    device: nvmlDevice_t,
    profile: c_uint,
    info: *mut nvmlGpuInstanceProfileInfo_t,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetGpuInstanceProfileInfo", device, |gpu| {
        let fact = fact_of(gpu, profile)?;
        let slices = fact.profile.slices.into();
        let value = nvmlGpuInstanceProfileInfo_t {
            id: fact.profile_id,
            isP2pSupported: 0,
            sliceCount: slices,
            instanceCount: fact.max_instances,
            multiprocessorCount: fact.sm,
            copyEngineCount: slices,
            decoderCount: slices,
            encoderCount: 0,
            jpegCount: 0,
            ofaCount: 0,
            memorySizeMB: fact.memory_mib,
        };
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(info, value) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstanceProfileInfoV(
    device: nvmlDevice_t,
    profile: c_uint,
    info: *mut nvmlGpuInstanceProfileInfo_v2_t,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetGpuInstanceProfileInfoV", device, |gpu| {
        let fact = fact_of(gpu, profile)?;
        let version = size_of::<nvmlGpuInstanceProfileInfo_v2_t>() as c_uint | 2 << 24;
        if info.is_null() {
            return Err(ret::INVALID_ARGUMENT);
        }
        // SAFETY: not null, so a structure whose version the caller has set, by NVML's contract.
        if unsafe { (*info).version } != version {
            return Err(ret::ARGUMENT_VERSION_MISMATCH);
        }
        let slices = fact.profile.slices.into();
        let value = nvmlGpuInstanceProfileInfo_v2_t {
            version,
            id: fact.profile_id,
            isP2pSupported: 0,
            sliceCount: slices,
            instanceCount: fact.max_instances,
            multiprocessorCount: fact.sm,
            copyEngineCount: slices,
            decoderCount: slices,
            encoderCount: 0,
            jpegCount: 0,
            ofaCount: 0,
            memorySizeMB: fact.memory_mib,
            name: chars(&format!("MIG {}", fact.profile)),
        };
        // SAFETY: as above.
        unsafe { put(info, value) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstancePossiblePlacements_v2(
    device: nvmlDevice_t,
    profile_id: c_uint,
    placements: *mut nvmlGpuInstancePlacement_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetGpuInstancePossiblePlacements_v2", device, |gpu| {
        need_mig(gpu)?;
        let places = fact_by_id(gpu, profile_id)?.placements.iter();
        let places =
            places.map(|place| nvmlGpuInstancePlacement_t { start: place.start, size: place.size });
        // SAFETY: the caller keeps NVML's contract for array and count.
        unsafe { put_list(placements, count, places.collect()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstanceRemainingCapacity(
    device: nvmlDevice_t,
    profile_id: c_uint,
    count: *mut c_uint,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetGpuInstanceRemainingCapacity", device, |gpu| {
        need_mig(gpu)?;
        let fact = fact_by_id(gpu, profile_id)?;
        let free = |start: u32| {
            gpu.instances().all(|other| {
                start + fact.size() <= other.placement.start
                    || other.placement.start + other.placement.size <= start
            })
        };
        let places = fact.placements.iter().filter(|place| free(place.start)).count() as u32;
        let made = gpu.instances().filter(|other| other.fact == fact).count() as u32;
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(count, places.min(fact.max_instances - made)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstances(
    device: nvmlDevice_t,
    profile_id: c_uint,
    instances: *mut nvmlGpuInstance_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetGpuInstances", device, |gpu| {
        need_mig(gpu)?;
        let fact = fact_by_id(gpu, profile_id)?;
        let handles = gpu.instances().filter(|instance| instance.fact == fact);
        let handles = handles.map(|instance| instance_handle(gpu, instance)).collect();
        if count.is_null() || instances.is_null() {
            return Err(ret::INVALID_ARGUMENT);
        }
        // This call takes no length: the array holds `instanceCount` handles by NVML's contract.
        // SAFETY: not null, so writable by the caller's contract.
        unsafe { *count = fact.max_instances };
        // SAFETY: the array holds that many handles.
        unsafe { put_list(instances, count, handles) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstanceById(
    device: nvmlDevice_t,
    id: c_uint,
    instance: *mut nvmlGpuInstance_t,
) -> nvmlReturn_t {
    with_gpu("nvmlDeviceGetGpuInstanceById", device, |gpu| {
        need_mig(gpu)?;
        let found = gpu.instance(id).ok_or(ret::NOT_FOUND)?;
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(instance, instance_handle(gpu, found)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlGpuInstanceGetInfo(
    instance: nvmlGpuInstance_t,
    info: *mut nvmlGpuInstanceInfo_t,
) -> nvmlReturn_t {
    with_instance("nvmlGpuInstanceGetInfo", instance, |gpu, instance| {
        let placement = nvmlGpuInstancePlacement_t {
            start: instance.placement.start,
            size: instance.placement.size,
        };
        let value = nvmlGpuInstanceInfo_t {
            device: gpu_handle(gpu),
            id: instance.id,
            profileId: instance.fact.profile_id,
            placement,
        };
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(info, value) }
    })
}

/// Compute slices of NVML's compute instance profile, if the GPU instance can hold it.
fn compute_slices(instance: &GpuInstance, profile: c_uint) -> Result<u32, nvmlReturn_t> {
    let slices = match profile {
        NVML_COMPUTE_INSTANCE_PROFILE_1_SLICE => 1,
        NVML_COMPUTE_INSTANCE_PROFILE_2_SLICE => 2,
        NVML_COMPUTE_INSTANCE_PROFILE_3_SLICE => 3,
        NVML_COMPUTE_INSTANCE_PROFILE_4_SLICE => 4,
        NVML_COMPUTE_INSTANCE_PROFILE_7_SLICE => 7,
        _ if profile < NVML_COMPUTE_INSTANCE_PROFILE_COUNT => {
            return Err(ret::NOT_SUPPORTED);
        }
        _ => return Err(ret::INVALID_ARGUMENT),
    };
    let fits = slices <= u32::from(instance.fact.profile.slices);
    if fits { Ok(slices) } else { Err(ret::NOT_SUPPORTED) }
}

/// NVML's compute instance profile of so many slices.
fn compute_profile(slices: u32) -> u32 {
    if slices == 7 { NVML_COMPUTE_INSTANCE_PROFILE_7_SLICE } else { slices.saturating_sub(1) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlGpuInstanceGetComputeInstanceProfileInfo(
    instance: nvmlGpuInstance_t,
    profile: c_uint,
    engine: c_uint,
    info: *mut nvmlComputeInstanceProfileInfo_t,
) -> nvmlReturn_t {
    with_instance("nvmlGpuInstanceGetComputeInstanceProfileInfo", instance, |_, instance| {
        if engine != 0 {
            return Err(ret::NOT_SUPPORTED);
        }
        let slices = compute_slices(instance, profile)?;
        let whole = u32::from(instance.fact.profile.slices);
        let value = nvmlComputeInstanceProfileInfo_t {
            id: profile,
            sliceCount: slices,
            instanceCount: whole / slices,
            multiprocessorCount: profiles::compute_sm(instance.fact, slices),
            sharedCopyEngineCount: whole,
            sharedDecoderCount: whole,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
        };
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(info, value) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlGpuInstanceGetComputeInstances(
    instance: nvmlGpuInstance_t,
    profile_id: c_uint,
    instances: *mut nvmlComputeInstance_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    with_instance("nvmlGpuInstanceGetComputeInstances", instance, |gpu, instance| {
        let slices = compute_slices(instance, profile_id)?;
        if count.is_null() || instances.is_null() {
            return Err(ret::INVALID_ARGUMENT);
        }
        let leaves = gpu.leaves.iter().filter(|leaf| leaf.gi == instance.id);
        let handles = leaves
            .filter(|leaf| leaf.compute.slices == slices)
            .map(|leaf| compute_handle(gpu, leaf))
            .collect();
        // As for GPU instances, the array holds `instanceCount` handles by NVML's contract.
        // SAFETY: not null, so writable by the caller's contract.
        unsafe { *count = u32::from(instance.fact.profile.slices) / slices };
        // SAFETY: the array holds that many handles.
        unsafe { put_list(instances, count, handles) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlGpuInstanceGetComputeInstanceById(
    instance: nvmlGpuInstance_t,
    id: c_uint,
    compute: *mut nvmlComputeInstance_t,
) -> nvmlReturn_t {
    with_instance("nvmlGpuInstanceGetComputeInstanceById", instance, |gpu, instance| {
        let leaf = gpu.leaf(instance.id, id).ok_or(ret::NOT_FOUND)?;
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(compute, compute_handle(gpu, leaf)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlComputeInstanceGetInfo_v2(
    compute: nvmlComputeInstance_t,
    info: *mut nvmlComputeInstanceInfo_t,
) -> nvmlReturn_t {
    with_compute("nvmlComputeInstanceGetInfo_v2", compute, |gpu, instance, leaf| {
        let placement =
            nvmlComputeInstancePlacement_t { start: leaf.compute.start, size: leaf.compute.slices };
        let value = nvmlComputeInstanceInfo_t {
            device: gpu_handle(gpu),
            gpuInstance: instance_handle(gpu, instance),
            id: leaf.compute.id,
            profileId: compute_profile(leaf.compute.slices),
            placement,
        };
        // SAFETY: the caller keeps NVML's contract for the pointer.
        unsafe { put(info, value) }
    })
}
