//! The C interface of NCCL's net plugins, as the caller sees it: versions 11, 8 and 6.
//!
//! Written from NCCL's headers (src/include/plugin/net/net_v6.h, net_v8.h, net_v11.h of 2.32). The
//! exported symbol `ncclNetPlugin_vN` is the structure itself. Functions that the driver does not
//! call are kept as untyped words, so that the others stand where they belong.

use std::ffi::{c_char, c_int, c_ulong, c_void};

/// `ncclResult_t`.
pub type NcclResult = c_int;
/// `ncclSuccess`.
pub const SUCCESS: NcclResult = 0;
/// `NCCL_PTR_HOST`: memory of the host.
pub const PTR_HOST: c_int = 1;
/// `NCCL_NET_HANDLE_MAXSIZE`.
pub const HANDLE_SIZE: usize = 128;

/// `ncclDebugLogger_t`, a variadic function. Plugins call it with a format and its arguments.
pub type Logger =
    unsafe extern "C" fn(level: c_int, flags: c_ulong, file: *const c_char, line: c_int, ...);
/// A function that the driver never calls.
pub type Unused = *const c_void;
/// An opaque object of the plugin: communicator, memory handle or request.
pub type Object = *mut c_void;

/// The functions that have the same type in every version.
type Devices = unsafe extern "C" fn(*mut c_int) -> NcclResult;
type Properties = unsafe extern "C" fn(c_int, *mut c_void) -> NcclResult;
type Deregister = unsafe extern "C" fn(Object, Object) -> NcclResult;
type Test = unsafe extern "C" fn(Object, *mut c_int, *mut c_int) -> NcclResult;
type Close = unsafe extern "C" fn(Object) -> NcclResult;
/// isend and irecv up to version 8.
type Send32 =
    unsafe extern "C" fn(Object, *mut c_void, c_int, c_int, Object, *mut Object) -> NcclResult;
type Receive32 = unsafe extern "C" fn(
    Object,
    c_int,
    *mut *mut c_void,
    *mut c_int,
    *mut c_int,
    *mut Object,
    *mut Object,
) -> NcclResult;
/// regMr from version 8.
type Register = unsafe extern "C" fn(Object, *mut c_void, usize, c_int, *mut Object) -> NcclResult;

/// `ncclNet_v6_t`.
#[repr(C)]
#[allow(missing_docs)] // Names as in the header.
pub struct NetV6 {
    pub name: *const c_char,
    pub init: unsafe extern "C" fn(Logger) -> NcclResult,
    pub devices: Devices,
    pub get_properties: Properties,
    pub listen: unsafe extern "C" fn(c_int, *mut c_void, *mut Object) -> NcclResult,
    pub connect: unsafe extern "C" fn(c_int, *mut c_void, *mut Object) -> NcclResult,
    pub accept: unsafe extern "C" fn(Object, *mut Object) -> NcclResult,
    pub reg_mr: unsafe extern "C" fn(Object, *mut c_void, c_int, c_int, *mut Object) -> NcclResult,
    pub reg_mr_dma_buf: Unused,
    pub dereg_mr: Deregister,
    pub isend: Send32,
    pub irecv: Receive32,
    pub iflush: Unused,
    pub test: Test,
    pub close_send: Close,
    pub close_recv: Close,
    pub close_listen: Close,
}

/// `ncclNet_v8_t`.
#[repr(C)]
#[allow(missing_docs)] // Names as in the header.
pub struct NetV8 {
    pub name: *const c_char,
    pub init: unsafe extern "C" fn(Logger) -> NcclResult,
    pub devices: Devices,
    pub get_properties: Properties,
    pub listen: unsafe extern "C" fn(c_int, *mut c_void, *mut Object) -> NcclResult,
    pub connect: unsafe extern "C" fn(c_int, *mut c_void, *mut Object, *mut Object) -> NcclResult,
    pub accept: unsafe extern "C" fn(Object, *mut Object, *mut Object) -> NcclResult,
    pub reg_mr: Register,
    pub reg_mr_dma_buf: Unused,
    pub dereg_mr: Deregister,
    pub isend: Send32,
    pub irecv: Receive32,
    pub iflush: Unused,
    pub test: Test,
    pub close_send: Close,
    pub close_recv: Close,
    pub close_listen: Close,
    pub get_device_mr: Unused,
    pub irecv_consumed: Unused,
}

/// `ncclNetCommConfig_v11_t`.
#[repr(C)]
pub struct CommConfigV11 {
    /// -1: none.
    pub traffic_class: c_int,
}

/// `ncclNet_v11_t`.
#[repr(C)]
#[allow(missing_docs)] // Names as in the header.
pub struct NetV11 {
    pub name: *const c_char,
    pub init: unsafe extern "C" fn(
        *mut Object,
        u64,
        *mut CommConfigV11,
        Logger,
        Option<unsafe extern "C" fn()>,
    ) -> NcclResult,
    pub devices: Devices,
    pub get_properties: Properties,
    pub listen: unsafe extern "C" fn(Object, c_int, *mut c_void, *mut Object) -> NcclResult,
    pub connect:
        unsafe extern "C" fn(Object, c_int, *mut c_void, *mut Object, *mut Object) -> NcclResult,
    pub accept: unsafe extern "C" fn(Object, *mut Object, *mut Object) -> NcclResult,
    pub reg_mr: Register,
    pub reg_mr_dma_buf: Unused,
    pub dereg_mr: Deregister,
    pub isend: unsafe extern "C" fn(
        Object,
        *mut c_void,
        usize,
        c_int,
        Object,
        Object,
        *mut Object,
    ) -> NcclResult,
    pub irecv: unsafe extern "C" fn(
        Object,
        c_int,
        *mut *mut c_void,
        *mut usize,
        *mut c_int,
        *mut Object,
        *mut Object,
        *mut Object,
    ) -> NcclResult,
    pub iflush: Unused,
    pub test: Test,
    pub close_send: Close,
    pub close_recv: Close,
    pub close_listen: Close,
    pub get_device_mr: Unused,
    pub irecv_consumed: Unused,
    pub make_v_device: Unused,
    pub finalize: unsafe extern "C" fn(Object) -> NcclResult,
    pub set_net_attr: Unused,
}

/// What an `ncclResult_t` other than success means.
pub fn result_text(result: NcclResult) -> &'static str {
    match result {
        1 => "ncclUnhandledCudaError",
        2 => "ncclSystemError",
        3 => "ncclInternalError",
        4 => "ncclInvalidArgument",
        5 => "ncclInvalidUsage",
        6 => "ncclRemoteError",
        7 => "ncclInProgress",
        _ => "an unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn functions_stand_where_the_headers_put_them() {
        const WORD: usize = size_of::<usize>();
        assert_eq!(size_of::<NetV6>(), 17 * WORD);
        assert_eq!(size_of::<NetV8>(), 19 * WORD);
        assert_eq!(size_of::<NetV11>(), 22 * WORD);
        for (offset, index) in [
            (offset_of!(NetV6, accept), 6),
            (offset_of!(NetV6, isend), 10),
            (offset_of!(NetV6, test), 13),
            (offset_of!(NetV6, close_listen), 16),
            (offset_of!(NetV8, reg_mr), 7),
            (offset_of!(NetV8, irecv), 11),
            (offset_of!(NetV8, close_send), 14),
            (offset_of!(NetV11, dereg_mr), 9),
            (offset_of!(NetV11, test), 13),
            (offset_of!(NetV11, finalize), 20),
        ] {
            assert_eq!(offset, index * WORD);
        }
    }
}
