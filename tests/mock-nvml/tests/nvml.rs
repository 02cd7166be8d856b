//! The built library, loaded as a program loads NVML.

use std::ffi::{CStr, OsStr};
use std::mem::zeroed;
use std::path::PathBuf;
use std::ptr::null_mut;

use mock_nvml::{Fail, Node, NodeSpec, install, set_node, spec};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings::*;

struct Library {
    dir: tempfile::TempDir,
    path: PathBuf,
}

fn library(spec: &NodeSpec) -> Library {
    let dir = tempfile::tempdir().unwrap();
    let path = install(dir.path(), spec).unwrap();
    Library { dir, path }
}

impl Library {
    fn nvml(&self) -> Result<Nvml, NvmlError> {
        Nvml::builder().lib_path(OsStr::new(&self.path)).init()
    }
}

fn preset(name: &str, layout: &str) -> NodeSpec {
    NodeSpec::preset(name).unwrap().mig(layout)
}

/// The raw function of a loaded NVML, called.
macro_rules! call {
    ($nvml:expr, $name:ident($($argument:expr),*)) => {
        // SAFETY: handles come from the library itself, and pointers go to locals of the test.
        unsafe { $nvml.lib().$name($($argument),*) }
    };
}

#[test]
fn every_preset_answers_as_described() {
    for name in spec::presets() {
        let layout = if name == "a30" { "2g.12gb, 1g.6gb*2" } else { "" };
        let mut described = NodeSpec::preset(name).unwrap().named(name);
        if !layout.is_empty() {
            described = described.mig(layout);
        }
        let node = Node::new(described.clone()).unwrap();
        let library = library(&described);
        let nvml = library.nvml().unwrap();
        assert_eq!(nvml.sys_driver_version().unwrap(), described.driver);
        assert_eq!(nvml.sys_nvml_version().unwrap(), described.nvml);
        assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 12_040);
        assert_eq!(nvml.device_count().unwrap() as usize, node.gpus.len());
        for (index, gpu) in (0..).zip(&node.gpus) {
            let device = nvml.device_by_index(index).unwrap();
            assert_eq!(device.name().unwrap(), gpu.part.model);
            assert_eq!(device.uuid().unwrap(), gpu.uuid);
            assert_eq!(device.minor_number().unwrap(), gpu.minor);
            assert_eq!(device.memory_info().unwrap().total, gpu.part.memory_mib << 20);
            let pci = device.pci_info().unwrap();
            assert_eq!(pci.bus_id.to_lowercase(), gpu.bus_id.to_string());
            assert_eq!((pci.domain, pci.bus), (gpu.bus_id.domain, gpu.bus_id.bus.into()));
            let by_bus = nvml.device_by_pci_bus_id(pci.bus_id.as_str()).unwrap();
            assert_eq!(by_bus.uuid().unwrap(), gpu.uuid);
            assert_eq!(nvml.device_by_uuid(gpu.uuid.as_str()).unwrap().index().unwrap(), index);
            assert_eq!(device.mig_mode().unwrap().current, u32::from(!layout.is_empty()));
            assert!(!device.mig_is_mig_device_handle().unwrap());
            let cpus = device.cpu_affinity(16).unwrap();
            let bits: u32 = cpus.iter().map(|word| word.count_ones()).sum();
            assert_eq!(bits as usize, gpu.cpus.len());
        }
        nvml.shutdown().unwrap();
    }
}

#[test]
fn layouts_are_seen_as_mig_devices() {
    let cases = [
        ("dgx-a100", "1g.10gb*7", 7),
        ("dgx-a100", "3g.40gb, 2g.20gb, 1g.10gb", 3),
        ("dgx-a100-40", "1c.3g.20gb*3, 2c.4g.20gb*2", 5),
        ("hgx-h100", "1g.10gb+me, 1g.20gb, 1g.10gb*2, 2g.20gb", 5),
        ("h200", "7g.141gb", 1),
        ("h200", "1g.35gb*4", 4),
        ("a30", "1g.6gb*4", 4),
    ];
    for (name, layout, count) in cases {
        let described = preset(name, layout);
        let node = Node::new(described.clone()).unwrap();
        let library = library(&described);
        let nvml = library.nvml().unwrap();
        for (index, gpu) in (0..).zip(&node.gpus) {
            let device = nvml.device_by_index(index).unwrap();
            let most = device.mig_device_count().unwrap();
            let handles: Vec<_> =
                (0..most).filter_map(|index| device.mig_device_by_index(index).ok()).collect();
            assert_eq!(handles.len(), count, "{name} {layout}");
            for (handle, leaf) in handles.iter().zip(&gpu.leaves) {
                let full_name = format!("{} MIG {}", gpu.part.model, leaf.profile);
                assert_eq!(handle.name().unwrap(), full_name);
                assert_eq!(handle.uuid().unwrap(), leaf.uuid);
                assert!(handle.mig_is_mig_device_handle().unwrap());
                assert_eq!(handle.mig_parent_device().unwrap().uuid().unwrap(), gpu.uuid);
                let attributes = handle.attributes().unwrap();
                assert_eq!(attributes.gpu_instance_slice_count, leaf.profile.slices.into());
                assert_eq!(attributes.compute_instance_slice_count, leaf.profile.compute.into());
                assert_eq!(handle.memory_info().unwrap().total >> 20, attributes.memory_size_mb);
                let by_uuid = nvml.device_by_uuid(leaf.uuid.as_str()).unwrap();
                // SAFETY: the handle is used while `nvml` lives.
                let raw = unsafe { by_uuid.handle() };
                let (mut gi, mut ci) = (99, 99);
                assert_eq!(call!(nvml, nvmlDeviceGetGpuInstanceId(raw, &mut gi)), 0);
                assert_eq!(call!(nvml, nvmlDeviceGetComputeInstanceId(raw, &mut ci)), 0);
                assert_eq!((gi, ci), (leaf.gi, leaf.compute.id));
            }
        }
    }
}

#[test]
fn instances_tell_their_profile_and_place() {
    let described = preset("hgx-h100", "4g.40gb, 1c.2g.20gb*2, 1g.10gb").gpus(1);
    let node = Node::new(described.clone()).unwrap();
    let library = library(&described);
    let nvml = library.nvml().unwrap();
    let device = nvml.device_by_index(0).unwrap();
    // SAFETY: the handle is used while `nvml` lives.
    let raw = unsafe { device.handle() };
    for expected in node.gpus[0].instances() {
        let profile = expected.fact.nvml_profile().unwrap();
        let info = device.profile_info(profile).unwrap();
        assert_eq!(info.id, expected.fact.profile_id);
        assert_eq!(info.multiprocessor_count, expected.fact.sm);

        let mut count = 0;
        let (first, ids) = (null_mut(), expected.fact.profile_id);
        let result =
            call!(nvml, nvmlDeviceGetGpuInstancePossiblePlacements_v2(raw, ids, first, &mut count));
        assert_eq!((result, count as usize), (0, expected.fact.placements.len()));

        let mut instance = null_mut();
        let result = call!(nvml, nvmlDeviceGetGpuInstanceById(raw, expected.id, &mut instance));
        assert_eq!(result, 0);
        // SAFETY: the structure is plain numbers and pointers.
        let mut info: nvmlGpuInstanceInfo_t = unsafe { zeroed() };
        assert_eq!(call!(nvml, nvmlGpuInstanceGetInfo(instance, &mut info)), 0);
        assert_eq!((info.id, info.profileId), (expected.id, expected.fact.profile_id));
        let place = (info.placement.start, info.placement.size);
        assert_eq!(place, (expected.placement.start, expected.placement.size));

        let mut instances = vec![null_mut(); expected.fact.max_instances as usize];
        let list = instances.as_mut_ptr();
        assert_eq!(call!(nvml, nvmlDeviceGetGpuInstances(raw, ids, list, &mut count)), 0);
        assert!(count >= 1 && instances.contains(&instance));

        for compute in &expected.compute {
            let mut handle = null_mut();
            let result = call!(
                nvml,
                nvmlGpuInstanceGetComputeInstanceById(instance, compute.id, &mut handle)
            );
            assert_eq!(result, 0);
            // SAFETY: the structure is plain numbers and pointers.
            let mut info: nvmlComputeInstanceInfo_t = unsafe { zeroed() };
            assert_eq!(call!(nvml, nvmlComputeInstanceGetInfo_v2(handle, &mut info)), 0);
            assert_eq!((info.id, info.placement.start), (compute.id, compute.start));
        }
    }
    assert!(device.profile_info(NVML_GPU_INSTANCE_PROFILE_6_SLICE).is_err());
}

/// Sizes as a C compiler gives them for nvml.h on 64-bit Linux.
#[test]
fn structures_have_the_size_of_the_header() {
    assert_eq!(size_of::<nvmlPciInfo_t>(), 68);
    assert_eq!(size_of::<nvmlMemory_t>(), 24);
    assert_eq!(size_of::<nvmlMemory_v2_t>(), 40);
    assert_eq!(size_of::<nvmlDeviceAttributes_t>(), 40);
    assert_eq!(size_of::<nvmlGpuInstancePlacement_t>(), 8);
    assert_eq!(size_of::<nvmlGpuInstanceProfileInfo_t>(), 48);
    assert_eq!(size_of::<nvmlGpuInstanceProfileInfo_v2_t>(), 152);
    assert_eq!(size_of::<nvmlGpuInstanceInfo_t>(), 24);
    assert_eq!(size_of::<nvmlComputeInstanceProfileInfo_t>(), 36);
    assert_eq!(size_of::<nvmlComputeInstanceInfo_t>(), 32);
}

#[test]
fn calls_fail_on_demand_and_only_there() {
    let mut described = preset("dgx-a100", "1g.10gb*7").gpus(2);
    let fail = |call: &str, gpu, gi, error| Fail { call: call.into(), gpu, gi, error };
    described.fail = vec![
        fail("nvmlDeviceGetUUID", Some(1), None, 15),
        fail("nvmlDeviceGetName", Some(0), Some(9), 999),
        fail("nvmlSystemGetNVMLVersion", None, None, 4),
    ];
    let library = library(&described);
    let nvml = library.nvml().unwrap();
    assert!(matches!(nvml.sys_nvml_version(), Err(NvmlError::NoPermission)));
    let devices = [0, 1].map(|index| nvml.device_by_index(index).unwrap());
    devices[0].uuid().unwrap();
    assert!(matches!(devices[1].uuid(), Err(NvmlError::GpuLost)));
    let names: Vec<bool> =
        (0..7).map(|index| devices[0].mig_device_by_index(index).unwrap().name().is_ok()).collect();
    assert_eq!(names, [true, true, false, true, true, true, true], "gi 9 is the third");
}

#[test]
fn bad_arguments_are_refused() {
    let library = library(&preset("dgx-a100", "1g.10gb*7").gpus(1));
    let nvml = library.nvml().unwrap();
    assert!(matches!(nvml.device_by_index(1), Err(NvmlError::InvalidArg)));
    assert!(matches!(nvml.device_by_uuid("GPU-1"), Err(NvmlError::NotFound)));
    assert!(matches!(nvml.device_by_pci_bus_id("nowhere"), Err(NvmlError::InvalidArg)));
    let device = nvml.device_by_index(0).unwrap();
    assert!(matches!(device.attributes(), Err(NvmlError::InvalidArg)), "only MIG devices");
    // SAFETY: the handle is used while `nvml` lives.
    let raw = unsafe { device.handle() };
    let invalid = nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
    assert_eq!(call!(nvml, nvmlDeviceGetMinorNumber(raw, null_mut())), invalid);
    let mut minor = 0;
    assert_eq!(
        call!(nvml, nvmlDeviceGetMinorNumber(raw.wrapping_byte_add(1 << 20), &mut minor)),
        invalid
    );
    let mut name = [1; 10];
    let result = call!(nvml, nvmlDeviceGetName(raw, name.as_mut_ptr(), 10));
    assert_eq!(result, nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    // SAFETY: the structure is plain numbers.
    let mut memory: nvmlMemory_v2_t = unsafe { zeroed() };
    let result = call!(nvml, nvmlDeviceGetMemoryInfo_v2(raw, &mut memory));
    assert_eq!(result, nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
}

#[test]
fn init_counts_and_reads_the_node_anew() {
    let described = preset("dgx-a100", "1g.10gb*7").gpus(2);
    let library = library(&described);
    let (first, second) = (library.nvml().unwrap(), library.nvml().unwrap());
    drop(first);
    let uuid = second.device_by_index(0).unwrap().uuid().unwrap();
    let reversed = NodeSpec { reverse: true, ..described };
    set_node(library.dir.path(), &reversed).unwrap();
    assert_eq!(second.device_by_index(0).unwrap().uuid().unwrap(), uuid);
    let third = library.nvml().unwrap();
    assert_eq!(third.device_by_index(1).unwrap().uuid().unwrap(), uuid);
}

#[test]
fn without_a_node_the_driver_is_not_loaded() {
    let library = library(&NodeSpec::preset("a30").unwrap());
    std::fs::remove_file(library.dir.path().join(mock_nvml::NODE_FILE)).unwrap();
    assert!(matches!(library.nvml(), Err(NvmlError::DriverNotLoaded)));
}

#[test]
fn error_codes_have_texts() {
    let library = library(&NodeSpec::preset("a30").unwrap());
    let nvml = library.nvml().unwrap();
    // SAFETY: the text is static in the library, which is loaded as long as `nvml` lives.
    let text = unsafe { CStr::from_ptr(nvml.lib().nvmlErrorString(15)) };
    assert_eq!(text.to_str(), Ok("GPU is lost"));
}
