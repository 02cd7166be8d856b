//! Version 8: NCCL 2.19 to 2.32. Device handles (which stay null), 64-bit regMr.

use std::ffi::{c_char, c_int, c_void};
use std::mem::{offset_of, size_of};

use super::v6::{Close, Iflush, Irecv, Isend, Out, RegMrDmaBuf, Test};
use super::{DEVICE_HOST, MAX_COMMS, NAME, PTR_HOST, SPEED, Text, check_device};
use crate::error::Code;
use crate::fence::fence;
use crate::log::Logger;

/// `ncclNetProperties_v8_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of v6 and NCCL's own")]
pub struct Properties {
    pub name: *const c_char,
    pub pci_path: *const c_char,
    pub guid: u64,
    pub ptr_support: c_int,
    /// Registrations belong to the process, not to a connection.
    pub reg_is_global: c_int,
    pub speed: c_int,
    pub port: c_int,
    pub latency: f32,
    pub max_comms: c_int,
    pub max_recvs: c_int,
    /// `NCCL_NET_DEVICE_HOST`.
    pub net_device_type: c_int,
    pub net_device_version: c_int,
}

/// `ncclNet_v8_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are NCCL's, in NCCL's order")]
pub struct Net {
    pub name: Text,
    pub init: unsafe extern "C" fn(Option<Logger>) -> Code,
    pub devices: unsafe extern "C" fn(*mut c_int) -> Code,
    pub get_properties: unsafe extern "C" fn(c_int, *mut Properties) -> Code,
    pub listen: unsafe extern "C" fn(c_int, *mut c_void, Out) -> Code,
    pub connect: unsafe extern "C" fn(c_int, *mut c_void, Out, Out) -> Code,
    pub accept: unsafe extern "C" fn(*mut c_void, Out, Out) -> Code,
    pub reg_mr: unsafe extern "C" fn(*mut c_void, *mut c_void, usize, c_int, Out) -> Code,
    pub reg_mr_dma_buf: RegMrDmaBuf,
    pub dereg_mr: unsafe extern "C" fn(*mut c_void, *mut c_void) -> Code,
    pub isend: Isend,
    pub irecv: Irecv,
    pub iflush: Iflush,
    pub test: Test,
    pub close_send: Close,
    pub close_recv: Close,
    pub close_listen: Close,
    pub get_device_mr: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, Out) -> Code>,
    pub irecv_consumed: Option<unsafe extern "C" fn(*mut c_void, c_int, *mut c_void) -> Code>,
}

unsafe extern "C" fn get_properties(device: c_int, place: *mut Properties) -> Code {
    fence("getProperties", || {
        check_device(device)?;
        let properties = Properties {
            name: NAME.as_ptr(),
            pci_path: std::ptr::null(),
            guid: super::guid(),
            ptr_support: PTR_HOST,
            reg_is_global: 0,
            speed: SPEED,
            port: 0,
            latency: 0.0,
            max_comms: MAX_COMMS,
            max_recvs: 1,
            net_device_type: DEVICE_HOST,
            net_device_version: 0,
        };
        // SAFETY: NCCL's out parameter.
        unsafe { super::put(place, properties) }
    })
}

/// `connect` with a device handle, which is left alone: null.
unsafe extern "C" fn connect(
    device: c_int,
    handle: *mut c_void,
    comm: Out,
    _device_handle: Out,
) -> Code {
    // SAFETY: NCCL's pointers, passed on.
    unsafe { super::connect(device, handle, comm) }
}

/// `accept` with a device handle, which is left alone: null.
///
/// # Safety
/// As NCCL calls it.
pub unsafe extern "C" fn accept(listener: *mut c_void, comm: Out, _device_handle: Out) -> Code {
    // SAFETY: NCCL's pointers, passed on.
    unsafe { super::accept(listener, comm) }
}

/// The plugin as NCCL looks it up.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "NCCL's name")]
pub static ncclNetPlugin_v8: Net = Net {
    name: Text(NAME.as_ptr()),
    init: super::init_v6,
    devices: super::devices,
    get_properties,
    listen: super::listen,
    connect,
    accept,
    reg_mr: super::reg_mr,
    reg_mr_dma_buf: super::reg_mr_dma_buf,
    dereg_mr: super::dereg_mr,
    isend: super::isend_int,
    irecv: super::irecv_int,
    iflush: super::iflush,
    test: super::test,
    close_send: super::close_comm,
    close_recv: super::close_comm,
    close_listen: super::close_listen,
    get_device_mr: None,
    irecv_consumed: None,
};

const _: () = {
    assert!(size_of::<Properties>() == 64);
    assert!(offset_of!(Properties, reg_is_global) == 28);
    assert!(offset_of!(Properties, speed) == 32);
    assert!(offset_of!(Properties, latency) == 40);
    assert!(offset_of!(Properties, max_recvs) == 48);
    assert!(offset_of!(Properties, net_device_version) == 56);
    assert!(size_of::<Net>() == 19 * 8);
    assert!(offset_of!(Net, isend) == 10 * 8);
    assert!(offset_of!(Net, close_listen) == 16 * 8);
    assert!(offset_of!(Net, irecv_consumed) == 18 * 8);
};
