//! Calls about the library and the node.

use std::os::raw::{c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings::*;

use super::{put, put_text};
use crate::ret;
use crate::state::{init, shutdown, with_node};

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    init("nvmlInit_v2")
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit() -> nvmlReturn_t {
    init("nvmlInit")
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvmlReturn_t {
    init("nvmlInitWithFlags")
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    shutdown()
}

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(result: nvmlReturn_t) -> *const c_char {
    let text = match result {
        ret::SUCCESS => c"Success",
        ret::UNINITIALIZED => c"Uninitialized",
        ret::INVALID_ARGUMENT => c"Invalid Argument",
        ret::NOT_SUPPORTED => c"Not Supported",
        ret::NO_PERMISSION => c"Insufficient Permissions",
        ret::NOT_FOUND => c"Not Found",
        ret::INSUFFICIENT_SIZE => c"Insufficient Size",
        ret::DRIVER_NOT_LOADED => c"Driver Not Loaded",
        ret::GPU_IS_LOST => c"GPU is lost",
        ret::LIB_RM_VERSION_MISMATCH => c"Driver/library version mismatch",
        ret::ARGUMENT_VERSION_MISMATCH => c"Argument version mismatch",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(
    version: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract for buffer and length.
    with_node("nvmlSystemGetDriverVersion", |node| unsafe {
        put_text(version, length, &node.spec.driver)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetNVMLVersion(
    version: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract for buffer and length.
    with_node("nvmlSystemGetNVMLVersion", |node| unsafe {
        put_text(version, length, &node.spec.nvml)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion(version: *mut c_int) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract for the pointer.
    with_node("nvmlSystemGetCudaDriverVersion", |node| unsafe { put(version, node.spec.cuda) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract for the pointer.
    with_node("nvmlSystemGetCudaDriverVersion_v2", |node| unsafe { put(version, node.spec.cuda) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract for the pointer.
    with_node("nvmlDeviceGetCount_v2", |node| unsafe { put(count, node.gpus.len() as c_uint) })
}
