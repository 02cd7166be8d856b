//! Version 11: NCCL 2.28 and later. A context per communicator, 64-bit sizes.

use std::ffi::{c_char, c_int, c_void};
use std::mem::{offset_of, size_of};

use super::v6::{Close, Iflush, Out, RegMrDmaBuf, Test};
use super::{DEVICE_HOST, MAX_BYTES, MAX_COMMS, NAME, PTR_HOST, SPEED, Text, check_device};
use crate::error::{Code, SUCCESS};
use crate::fence::fence;
use crate::log::Logger;

/// `ncclNetVDeviceProps_v11_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct VirtualDevice<const DEVICES: usize> {
    /// Number of physical devices.
    pub count: c_int,
    /// Their indices.
    pub devices: [c_int; DEVICES],
}

/// `ncclNetProperties_v11_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of v8 and NCCL's own")]
pub struct Properties {
    pub name: *const c_char,
    pub pci_path: *const c_char,
    pub guid: u64,
    pub ptr_support: c_int,
    pub reg_is_global: c_int,
    /// Receives want a flush even without GPU memory.
    pub force_flush: c_int,
    pub speed: c_int,
    pub port: c_int,
    pub latency: f32,
    pub max_comms: c_int,
    pub max_recvs: c_int,
    pub net_device_type: c_int,
    pub net_device_version: c_int,
    pub virtual_device: VirtualDevice<4>,
    /// The largest message of a point-to-point operation; 0 is an error to NCCL.
    pub max_p2p_bytes: usize,
    /// The largest message of a collective.
    pub max_coll_bytes: usize,
    pub max_multi_request_size: c_int,
}

/// `init`: context, communicator, configuration, logger, profiler callback.
pub type Init =
    unsafe extern "C" fn(Out, u64, *const c_void, Option<Logger>, *const c_void) -> Code;
/// `isend`.
pub type Isend = unsafe extern "C" fn(
    *mut c_void,
    *mut c_void,
    usize,
    c_int,
    *mut c_void,
    *mut c_void,
    Out,
) -> Code;
/// `irecv`.
pub type Irecv =
    unsafe extern "C" fn(*mut c_void, c_int, Out, *mut usize, *mut c_int, Out, Out, Out) -> Code;
/// `makeVDevice`.
pub type MakeVirtualDevice = unsafe extern "C" fn(*mut c_int, *mut c_void) -> Code;

/// `ncclNet_v11_t`, and `ncclNet_v12_t` with its own properties.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are NCCL's, in NCCL's order")]
pub struct Net<P> {
    pub name: Text,
    pub init: Init,
    pub devices: unsafe extern "C" fn(*mut c_int) -> Code,
    pub get_properties: unsafe extern "C" fn(c_int, *mut P) -> Code,
    pub listen: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, Out) -> Code,
    pub connect: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, Out, Out) -> Code,
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
    pub make_virtual_device: Option<MakeVirtualDevice>,
    pub finalize: Close,
    pub set_net_attr: unsafe extern "C" fn(*mut c_void, *mut c_void) -> Code,
}

/// There is nothing to keep per communicator; NCCL wants a pointer all the same.
static CONTEXT: u8 = 0;

unsafe extern "C" fn init(
    context: Out,
    _communicator: u64,
    _config: *const c_void,
    logger: Option<Logger>,
    _profiler: *const c_void,
) -> Code {
    match super::init("v11 and later", logger) {
        SUCCESS => {
            let ours = (&raw const CONTEXT).cast_mut().cast();
            // SAFETY: NCCL's out parameter.
            fence("init", || unsafe { super::put(context, ours) })
        }
        code => code,
    }
}

/// The values of v11, which v12 repeats.
pub fn properties() -> Properties {
    Properties {
        name: NAME.as_ptr(),
        pci_path: std::ptr::null(),
        guid: super::guid(),
        ptr_support: PTR_HOST,
        reg_is_global: 0,
        force_flush: 0,
        speed: SPEED,
        port: 0,
        latency: 0.0,
        max_comms: MAX_COMMS,
        max_recvs: 1,
        net_device_type: DEVICE_HOST,
        net_device_version: 0,
        virtual_device: VirtualDevice { count: 1, devices: [0; 4] },
        max_p2p_bytes: MAX_BYTES,
        max_coll_bytes: MAX_BYTES,
        max_multi_request_size: 1,
    }
}

unsafe extern "C" fn get_properties(device: c_int, place: *mut Properties) -> Code {
    fence("getProperties", || {
        check_device(device)?;
        // SAFETY: NCCL's out parameter.
        unsafe { super::put(place, properties()) }
    })
}

unsafe extern "C" fn listen(
    _context: *mut c_void,
    device: c_int,
    handle: *mut c_void,
    comm: Out,
) -> Code {
    // SAFETY: NCCL's pointers, passed on.
    unsafe { super::listen(device, handle, comm) }
}

unsafe extern "C" fn connect(
    _context: *mut c_void,
    device: c_int,
    handle: *mut c_void,
    comm: Out,
    _device_handle: Out,
) -> Code {
    // SAFETY: NCCL's pointers, passed on.
    unsafe { super::connect(device, handle, comm) }
}

unsafe extern "C" fn isend(
    comm: *mut c_void,
    data: *mut c_void,
    size: usize,
    _tag: c_int,
    handle: *mut c_void,
    _profiler: *mut c_void,
    request: Out,
) -> Code {
    // SAFETY: NCCL's pointers.
    fence("isend", || unsafe { super::start(comm, data, size, handle, request) })
}

unsafe extern "C" fn irecv(
    comm: *mut c_void,
    count: c_int,
    data: Out,
    sizes: *mut usize,
    _tags: *mut c_int,
    handles: Out,
    _profilers: Out,
    request: Out,
) -> Code {
    // SAFETY: NCCL's arrays of one entry.
    fence("irecv", || unsafe {
        let (data, handle) = super::only(count, data, handles)?;
        super::start(comm, data, *sizes, handle, request)
    })
}

unsafe extern "C" fn finalize(_context: *mut c_void) -> Code {
    SUCCESS
}

unsafe extern "C" fn set_net_attr(_context: *mut c_void, _attributes: *mut c_void) -> Code {
    SUCCESS
}

/// The functions with a version's own properties.
pub const fn net<P>(get_properties: unsafe extern "C" fn(c_int, *mut P) -> Code) -> Net<P> {
    Net {
        name: Text(NAME.as_ptr()),
        init,
        devices: super::devices,
        get_properties,
        listen,
        connect,
        accept: super::v8::accept,
        reg_mr: super::reg_mr,
        reg_mr_dma_buf: super::reg_mr_dma_buf,
        dereg_mr: super::dereg_mr,
        isend,
        irecv,
        iflush: super::iflush,
        test: super::test,
        close_send: super::close_comm,
        close_recv: super::close_comm,
        close_listen: super::close_listen,
        get_device_mr: None,
        irecv_consumed: None,
        make_virtual_device: None,
        finalize,
        set_net_attr,
    }
}

/// The plugin as NCCL looks it up.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "NCCL's name")]
pub static ncclNetPlugin_v11: Net<Properties> = net(get_properties);

const _: () = {
    assert!(size_of::<Properties>() == 112);
    assert!(offset_of!(Properties, force_flush) == 32);
    assert!(offset_of!(Properties, speed) == 36);
    assert!(offset_of!(Properties, latency) == 44);
    assert!(offset_of!(Properties, max_recvs) == 52);
    assert!(offset_of!(Properties, net_device_version) == 60);
    assert!(offset_of!(Properties, virtual_device) == 64);
    assert!(offset_of!(Properties, max_p2p_bytes) == 88);
    assert!(offset_of!(Properties, max_coll_bytes) == 96);
    assert!(offset_of!(Properties, max_multi_request_size) == 104);
    assert!(size_of::<Net<Properties>>() == 22 * 8);
    assert!(offset_of!(Net<Properties>, isend) == 10 * 8);
    assert!(offset_of!(Net<Properties>, get_device_mr) == 17 * 8);
    assert!(offset_of!(Net<Properties>, set_net_attr) == 21 * 8);
};
