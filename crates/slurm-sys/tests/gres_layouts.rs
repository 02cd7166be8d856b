//! The GRES structures are private to Slurm, so there is no header to compare
//! the table with at build time. Instead their members are written down here, in
//! the order of `src/common/gres.h` (22.05) and `src/interfaces/gres.h` (23.02
//! and later), and Rust lays them out by the rules of C.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;

use slurm_sys::Release::{self, V22_05, V23_02, V23_11, V24_05, V25_11};

type Text = *mut c_char;
type Pointer = *mut c_void;

#[repr(C)]
struct SlurmdConf {
    config_flags: u32,
    count: u64,
    cpu_cnt: u32,
    cpus: Text,
    cpus_bitmap: Pointer,
    file: Text,
    links: Text,
    name: Text,
    type_name: Text,
    unique_id: Text,
    plugin_id: u32,
}

#[repr(C)]
struct DeviceId {
    major: u32,
    minor: u32,
    dev_type: i32,
}

#[repr(C)]
struct Device {
    index: i32,
    alloc: i32,
    dev_desc: DeviceId,
    dev_num: i32,
    path: Text,
    unique_id: Text,
}

#[repr(C)]
struct Device25_11 {
    index: i32,
    alloc: i32,
    dev_desc: DeviceId,
    dev_num: i32,
    flags: u32,
    path: Text,
    unique_id: Text,
}

#[repr(C)]
struct NodeConfig {
    cpu_cnt: u32,
    in_slurmd: bool,
    xcpuinfo_mac_to_abs: Pointer,
}

#[repr(C)]
struct NodeConfig23_02 {
    cpu_cnt: u32,
    gres_name: Text,
    in_slurmd: bool,
    xcpuinfo_mac_to_abs: Pointer,
}

#[repr(C)]
struct Prep {
    plugin_id: u32,
    node_cnt: u32,
    node_list: Text,
    gres_bit_alloc: Pointer,
    gres_cnt_node_alloc: Pointer,
}

/// The members of gres_job_state_t that all releases begin with.
#[repr(C)]
struct JobStateHead {
    type_id: u32,
    type_name: Text,
    flags: u16,
    cpus_per_gres: u16,
    gres_per: [u64; 4],
    mem_per_gres: u64,
    ntasks_per_gres: u16,
    def_cpus_per_gres: u16,
    def_mem_per_gres: u64,
    total_node_cnt: u32,
    gres_bit_select: Pointer,
    gres_cnt_node_select: Pointer,
}

#[repr(C)]
struct JobState {
    head: JobStateHead,
    total_gres: u64,
    node_cnt: u32,
    gres_bit_alloc: Pointer,
    gres_cnt_node_alloc: Pointer,
    step: [Pointer; 2],
}

#[repr(C)]
struct JobState23_11 {
    head: JobStateHead,
    gres_per_bit_select: Pointer,
    total_gres: u64,
    node_cnt: u32,
    gres_bit_alloc: Pointer,
    gres_cnt_node_alloc: Pointer,
    gres_per_bit_alloc: Pointer,
    step: [Pointer; 3],
}

#[repr(C)]
struct JobState24_05 {
    head: JobStateHead,
    gres_per_bit_select: Pointer,
    res_gpu_cores: Pointer,
    res_array_size: u32,
    total_gres: u64,
    node_cnt: u32,
    gres_bit_alloc: Pointer,
    gres_cnt_node_alloc: Pointer,
    gres_per_bit_alloc: Pointer,
    step: [Pointer; 3],
}

/// Asserts that each named field of a layout is the field of the same name.
macro_rules! same {
    ($layout:expr, $type:ty, $($field:ident),*) => {{
        let layout = $layout;
        assert_eq!(layout.size, size_of::<$type>(), "size of {}", stringify!($type));
        $(assert_eq!(layout.$field, offset_of!($type, $field), stringify!($field));)*
    }};
}

#[test]
fn gres_slurmd_conf() {
    for release in Release::ALL {
        same!(
            release.layout().gres_conf,
            SlurmdConf,
            config_flags,
            count,
            cpu_cnt,
            cpus,
            cpus_bitmap,
            file,
            links,
            name,
            type_name,
            unique_id,
            plugin_id
        );
    }
}

#[test]
fn gres_device() {
    for release in Release::ALL {
        let layout = release.layout().gres_device;
        let id = offset_of!(Device, dev_desc);
        assert_eq!(layout.major, id + offset_of!(DeviceId, major));
        assert_eq!(layout.minor, id + offset_of!(DeviceId, minor));
        assert_eq!(layout.dev_type, id + offset_of!(DeviceId, dev_type));
        if release >= V25_11 {
            assert_eq!(id, offset_of!(Device25_11, dev_desc));
            same!(layout, Device25_11, index, alloc, dev_num, path, unique_id);
        } else {
            same!(layout, Device, index, alloc, dev_num, path, unique_id);
        }
    }
}

#[test]
fn node_config_load() {
    for release in Release::ALL {
        let layout = release.layout().node_config;
        if release == V22_05 {
            same!(layout, NodeConfig, cpu_cnt, in_slurmd, xcpuinfo_mac_to_abs);
            assert_eq!(layout.gres_name, slurm_sys::layout::NONE);
        } else {
            same!(layout, NodeConfig23_02, cpu_cnt, gres_name, in_slurmd, xcpuinfo_mac_to_abs);
        }
    }
}

#[test]
fn gres_prep() {
    for release in Release::ALL {
        same!(
            release.layout().gres_prep,
            Prep,
            plugin_id,
            node_cnt,
            node_list,
            gres_bit_alloc,
            gres_cnt_node_alloc
        );
    }
}

#[test]
fn gres_job_state() {
    for release in Release::ALL {
        let layout = release.layout().gres_job_state;
        match release {
            V22_05 | V23_02 => {
                same!(layout, JobState, node_cnt, gres_bit_alloc, gres_cnt_node_alloc);
            }
            V23_11 => same!(layout, JobState23_11, node_cnt, gres_bit_alloc, gres_cnt_node_alloc),
            _ => {
                assert!(release >= V24_05);
                same!(layout, JobState24_05, node_cnt, gres_bit_alloc, gres_cnt_node_alloc);
            }
        }
    }
}
