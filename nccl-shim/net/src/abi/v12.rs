//! Version 12: NCCL 2.30 and later. The functions of v11, longer properties.

use std::ffi::{c_char, c_int};
use std::mem::{offset_of, size_of};

use super::check_device;
use super::v11::{self, Net, VirtualDevice};
use crate::error::Code;
use crate::fence::fence;

/// `NCCL_NET_ID_UNDEF`.
const UNDEFINED: i16 = -1;

/// `ncclNetProperties_v12_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of v11 and NCCL's own")]
pub struct Properties {
    pub name: *const c_char,
    pub pci_path: *const c_char,
    pub guid: u64,
    pub ptr_support: c_int,
    pub reg_is_global: c_int,
    pub force_flush: c_int,
    pub speed: c_int,
    pub port: c_int,
    pub latency: f32,
    pub max_comms: c_int,
    pub max_recvs: c_int,
    pub net_device_type: c_int,
    pub net_device_version: c_int,
    pub virtual_device: VirtualDevice<8>,
    pub max_p2p_bytes: usize,
    pub max_coll_bytes: usize,
    pub max_multi_request_size: c_int,
    pub rail_id: i16,
    pub plane_id: i16,
}

unsafe extern "C" fn get_properties(device: c_int, place: *mut Properties) -> Code {
    fence("getProperties", || {
        check_device(device)?;
        let base = v11::properties();
        let properties = Properties {
            name: base.name,
            pci_path: base.pci_path,
            guid: base.guid,
            ptr_support: base.ptr_support,
            reg_is_global: base.reg_is_global,
            force_flush: base.force_flush,
            speed: base.speed,
            port: base.port,
            latency: base.latency,
            max_comms: base.max_comms,
            max_recvs: base.max_recvs,
            net_device_type: base.net_device_type,
            net_device_version: base.net_device_version,
            virtual_device: VirtualDevice { count: 1, devices: [0; 8] },
            max_p2p_bytes: base.max_p2p_bytes,
            max_coll_bytes: base.max_coll_bytes,
            max_multi_request_size: base.max_multi_request_size,
            rail_id: UNDEFINED,
            plane_id: UNDEFINED,
        };
        // SAFETY: NCCL's out parameter.
        unsafe { super::put(place, properties) }
    })
}

/// The plugin as NCCL looks it up.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "NCCL's name")]
pub static ncclNetPlugin_v12: Net<Properties> = v11::net(get_properties);

const _: () = {
    assert!(size_of::<Properties>() == 128);
    assert!(offset_of!(Properties, virtual_device) == 64);
    assert!(offset_of!(Properties, max_p2p_bytes) == 104);
    assert!(offset_of!(Properties, max_coll_bytes) == 112);
    assert!(offset_of!(Properties, max_multi_request_size) == 120);
    assert!(offset_of!(Properties, rail_id) == 124);
    assert!(offset_of!(Properties, plane_id) == 126);
    assert!(size_of::<Net<Properties>>() == 22 * 8);
};
