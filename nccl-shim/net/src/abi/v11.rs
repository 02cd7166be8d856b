//! Version 11: NCCL 2.28 and later. A context per communicator, 64-bit sizes.

use std::ffi::{c_int, c_void};
use std::mem::{offset_of, size_of};

use super::Out;
use super::tables::properties;
use crate::error::{Code, SUCCESS};
use crate::fence::fence;
use crate::log::Logger;

/// Devices of a virtual one, at most.
const DEVICES: usize = 4;

properties! {
    /// `ncclNetProperties_v11_t`.
    name pci_path guid ptr_support reg_is_global force_flush speed port latency max_comms
    max_recvs net_device_type net_device_version virtual_device max_p2p_bytes max_coll_bytes
    max_multi_request_size
}

/// `init`: context, communicator, configuration, logger, profiler callback.
pub type Init =
    unsafe extern "C" fn(Out, u64, *const c_void, Option<Logger>, *const c_void) -> Code;
/// `listen`.
pub type Listen = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, Out) -> Code;
/// `connect`.
pub type Connect = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, Out, Out) -> Code;
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

/// The functions of version 11, which version 12 repeats: with the `Properties` and the
/// `get_properties` of the place where it is used.
macro_rules! functions_v11 {
    ($(#[$doc:meta])* $symbol:ident) => {
        $crate::abi::tables::functions! {
            $(#[$doc])*
            $symbol {
                init: $crate::abi::v11::Init = $crate::abi::v11::init,
                devices: unsafe extern "C" fn(*mut ::std::ffi::c_int) -> $crate::error::Code =
                    $crate::abi::devices,
                get_properties: $crate::abi::GetProperties<Properties> = get_properties,
                listen: $crate::abi::v11::Listen = $crate::abi::v11::listen,
                connect: $crate::abi::v11::Connect = $crate::abi::v11::connect,
                accept: unsafe extern "C" fn(
                    *mut ::std::ffi::c_void,
                    $crate::abi::Out,
                    $crate::abi::Out,
                ) -> $crate::error::Code = $crate::abi::v8::accept,
                reg_mr: $crate::abi::RegMr = $crate::abi::reg_mr,
                reg_mr_dma_buf: $crate::abi::RegMrDmaBuf = $crate::abi::reg_mr_dma_buf,
                dereg_mr: $crate::abi::DeregMr = $crate::abi::dereg_mr,
                isend: $crate::abi::v11::Isend = $crate::abi::v11::isend,
                irecv: $crate::abi::v11::Irecv = $crate::abi::v11::irecv,
                iflush: $crate::abi::Iflush = $crate::abi::iflush,
                test: $crate::abi::Test = $crate::abi::test,
                close_send: $crate::abi::Close = $crate::abi::close_comm,
                close_recv: $crate::abi::Close = $crate::abi::close_comm,
                close_listen: $crate::abi::Close = $crate::abi::close_listen,
                get_device_mr: Option<$crate::abi::GetDeviceMr> = None,
                irecv_consumed: Option<$crate::abi::IrecvConsumed> = None,
                make_virtual_device: Option<$crate::abi::v11::MakeVirtualDevice> = None,
                finalize: $crate::abi::Close = $crate::abi::v11::finalize,
                set_net_attr: unsafe extern "C" fn(
                    *mut ::std::ffi::c_void,
                    *mut ::std::ffi::c_void,
                ) -> $crate::error::Code = $crate::abi::v11::set_net_attr,
            }
        }
    };
}
pub(super) use functions_v11;

functions_v11! {
    /// `ncclNet_v11_t`.
    ncclNetPlugin_v11
}

/// There is nothing to keep per communicator; NCCL wants a pointer all the same.
static CONTEXT: u8 = 0;

pub(super) unsafe extern "C" fn init(
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

pub(super) unsafe extern "C" fn listen(
    _context: *mut c_void,
    device: c_int,
    handle: *mut c_void,
    comm: Out,
) -> Code {
    // SAFETY: NCCL's pointers, passed on.
    unsafe { super::listen(device, handle, comm) }
}

pub(super) unsafe extern "C" fn connect(
    _context: *mut c_void,
    device: c_int,
    handle: *mut c_void,
    comm: Out,
    _device_handle: Out,
) -> Code {
    // SAFETY: NCCL's pointers, passed on.
    unsafe { super::connect(device, handle, comm) }
}

pub(super) unsafe extern "C" fn isend(
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

pub(super) unsafe extern "C" fn irecv(
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

pub(super) unsafe extern "C" fn finalize(_context: *mut c_void) -> Code {
    SUCCESS
}

pub(super) unsafe extern "C" fn set_net_attr(
    _context: *mut c_void,
    _attributes: *mut c_void,
) -> Code {
    SUCCESS
}

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
    assert!(size_of::<Net>() == 22 * 8);
    assert!(offset_of!(Net, isend) == 10 * 8);
    assert!(offset_of!(Net, get_device_mr) == 17 * 8);
    assert!(offset_of!(Net, set_net_attr) == 21 * 8);
};
