//! Version 6: NCCL 2.18 to 2.32.

use std::ffi::{c_char, c_int, c_void};
use std::mem::{offset_of, size_of};

use super::{MAX_COMMS, NAME, PTR_HOST, SPEED, Text, check_device};
use crate::error::Code;
use crate::fence::fence;
use crate::log::Logger;

/// `ncclNetProperties_v6_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Properties {
    /// For the log.
    pub name: *const c_char,
    /// Null: the device hangs off the CPU.
    pub pci_path: *const c_char,
    /// One number per host.
    pub guid: u64,
    /// `NCCL_PTR_HOST`.
    pub ptr_support: c_int,
    /// Mbps.
    pub speed: c_int,
    /// Port number.
    pub port: c_int,
    /// Microseconds.
    pub latency: f32,
    /// Connections at most.
    pub max_comms: c_int,
    /// Grouped receives.
    pub max_recvs: c_int,
}

/// Out pointer to a connection, handle or request.
pub type Out = *mut *mut c_void;
/// `closeSend` and the like.
pub type Close = unsafe extern "C" fn(*mut c_void) -> Code;
/// `regMrDmaBuf`.
pub type RegMrDmaBuf =
    unsafe extern "C" fn(*mut c_void, *mut c_void, usize, c_int, u64, c_int, Out) -> Code;
/// `isend` with an int size.
pub type Isend =
    unsafe extern "C" fn(*mut c_void, *mut c_void, c_int, c_int, *mut c_void, Out) -> Code;
/// `irecv` with int sizes.
pub type Irecv =
    unsafe extern "C" fn(*mut c_void, c_int, Out, *mut c_int, *mut c_int, Out, Out) -> Code;
/// `iflush`.
pub type Iflush = unsafe extern "C" fn(*mut c_void, c_int, Out, *mut c_int, Out, Out) -> Code;
/// `test`.
pub type Test = unsafe extern "C" fn(*mut c_void, *mut c_int, *mut c_int) -> Code;

/// `ncclNet_v6_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are NCCL's, in NCCL's order")]
pub struct Net {
    pub name: Text,
    pub init: unsafe extern "C" fn(Option<Logger>) -> Code,
    pub devices: unsafe extern "C" fn(*mut c_int) -> Code,
    pub get_properties: unsafe extern "C" fn(c_int, *mut Properties) -> Code,
    pub listen: unsafe extern "C" fn(c_int, *mut c_void, Out) -> Code,
    pub connect: unsafe extern "C" fn(c_int, *mut c_void, Out) -> Code,
    pub accept: unsafe extern "C" fn(*mut c_void, Out) -> Code,
    pub reg_mr: unsafe extern "C" fn(*mut c_void, *mut c_void, c_int, c_int, Out) -> Code,
    pub reg_mr_dma_buf: RegMrDmaBuf,
    pub dereg_mr: unsafe extern "C" fn(*mut c_void, *mut c_void) -> Code,
    pub isend: Isend,
    pub irecv: Irecv,
    pub iflush: Iflush,
    pub test: Test,
    pub close_send: Close,
    pub close_recv: Close,
    pub close_listen: Close,
}

unsafe extern "C" fn get_properties(device: c_int, place: *mut Properties) -> Code {
    fence("getProperties", || {
        check_device(device)?;
        let properties = Properties {
            name: NAME.as_ptr(),
            pci_path: std::ptr::null(),
            guid: super::guid(),
            ptr_support: PTR_HOST,
            speed: SPEED,
            port: 0,
            latency: 0.0,
            max_comms: MAX_COMMS,
            max_recvs: 1,
        };
        // SAFETY: NCCL's out parameter.
        unsafe { super::put(place, properties) }
    })
}

/// The plugin as NCCL looks it up.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "NCCL's name")]
pub static ncclNetPlugin_v6: Net = Net {
    name: Text(NAME.as_ptr()),
    init: super::init_v6,
    devices: super::devices,
    get_properties,
    listen: super::listen,
    connect: super::connect,
    accept: super::accept,
    reg_mr: super::reg_mr_int,
    reg_mr_dma_buf: super::reg_mr_dma_buf,
    dereg_mr: super::dereg_mr,
    isend: super::isend_int,
    irecv: super::irecv_int,
    iflush: super::iflush,
    test: super::test,
    close_send: super::close_comm,
    close_recv: super::close_comm,
    close_listen: super::close_listen,
};

// Sizes and offsets of NCCL's header, for 64-bit machines.
const _: () = {
    assert!(size_of::<Properties>() == 48);
    assert!(offset_of!(Properties, guid) == 16);
    assert!(offset_of!(Properties, ptr_support) == 24);
    assert!(offset_of!(Properties, speed) == 28);
    assert!(offset_of!(Properties, port) == 32);
    assert!(offset_of!(Properties, latency) == 36);
    assert!(offset_of!(Properties, max_comms) == 40);
    assert!(offset_of!(Properties, max_recvs) == 44);
    assert!(size_of::<Net>() == 17 * 8);
    assert!(offset_of!(Net, get_properties) == 3 * 8);
    assert!(offset_of!(Net, reg_mr) == 7 * 8);
    assert!(offset_of!(Net, isend) == 10 * 8);
    assert!(offset_of!(Net, test) == 13 * 8);
    assert!(offset_of!(Net, close_listen) == 16 * 8);
};
