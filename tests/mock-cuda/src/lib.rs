//! A stand-in for CUDA's driver library: as much of it as a bus id passes through.
//!
//! The built `libmock_cuda.so`, copied to `libcuda.so.1`, serves the devices of `MOCK_CUDA_DEVICES`
//! (`UUID@BUSID,...`; a MIG UUID is a leaf with its parent's bus id). Of those
//! `CUDA_VISIBLE_DEVICES` selects as CUDA does: of MIG devices only the first that is named.
//!
//! `cuGetProcAddress` answers every name with a pointer, or NCCL gives up before it asks for
//! `cuDeviceGetPCIBusId`. What is not here returns CUDA_ERROR_NOT_SUPPORTED. In particular nothing
//! answers the checks that CUDA's runtime makes at its start (`cuGetExportTable`): they are NVIDIA's,
//! and NCCL stops there.
//!
//! `MOCK_CUDA_LOG` names a file that gets a line for each name that is asked for and for each call.
#![allow(missing_docs, reason = "the entry points are CUDA's")]
#![allow(clippy::missing_safety_doc, reason = "the entry points are CUDA's")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::OpenOptions;
use std::io::Write;

const SUCCESS: c_int = 0;
const INVALID_VALUE: c_int = 1;
const NO_DEVICE: c_int = 100;
const INVALID_DEVICE: c_int = 101;
const NOT_SUPPORTED: c_int = 801;

/// A device as CUDA shows it.
struct Device {
    uuid: String,
    bus_id: String,
}

/// The devices that the process sees.
fn visible() -> Vec<Device> {
    let known = std::env::var("MOCK_CUDA_DEVICES").unwrap_or_default();
    let device = |text: &str| {
        let (uuid, bus_id) = text.split_once('@')?;
        Some(Device { uuid: uuid.to_owned(), bus_id: bus_id.to_owned() })
    };
    let mut known: Vec<Device> = known.split(',').filter_map(device).collect();
    let Ok(wanted) = std::env::var("CUDA_VISIBLE_DEVICES") else { return known };
    let mut chosen = Vec::new();
    for name in wanted.split(',') {
        let place = match name.parse::<usize>() {
            Ok(index) if index < known.len() => Some(index),
            _ => known.iter().position(|device| device.uuid == name),
        };
        // CUDA stops at the first name that it does not know.
        let Some(place) = place else { break };
        chosen.push(known.remove(place));
        if name.starts_with("MIG-") {
            break;
        }
    }
    chosen
}

fn device(ordinal: c_int) -> Option<Device> {
    visible().into_iter().nth(usize::try_from(ordinal).ok()?)
}

fn log(line: &str) {
    let Some(path) = std::env::var_os("MOCK_CUDA_LOG") else { return };
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        _ = writeln!(file, "{line}");
    }
}

/// The text behind a pointer, or nothing.
///
/// # Safety
///
/// `text` is null or a C string.
unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })?;
    Some(text.to_string_lossy().into_owned())
}

/// What every unknown function does.
extern "C" fn not_supported() -> c_int {
    NOT_SUPPORTED
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_flags: c_uint) -> c_int {
    log("cuInit");
    if visible().is_empty() { NO_DEVICE } else { SUCCESS }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int {
    // SAFETY: CUDA's contract: a place for the answer.
    unsafe { *version = 13_000 };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    // SAFETY: CUDA's contract: a place for the answer.
    unsafe { *count = visible().len() as c_int };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetPCIBusId(
    id: *mut c_char,
    length: c_int,
    ordinal: c_int,
) -> c_int {
    log("cuDeviceGetPCIBusId called");
    let Some(device) = device(ordinal) else { return INVALID_DEVICE };
    if id.is_null() || length <= 0 {
        return INVALID_VALUE;
    }
    // CUDA writes as much as there is room for, and the NUL.
    let room = length as usize - 1;
    let text: Vec<u8> = device.bus_id.bytes().take(room).chain([0]).collect();
    // SAFETY: CUDA's contract: a buffer of `length` bytes, and the text is not longer.
    unsafe { id.copy_from_nonoverlapping(text.as_ptr().cast(), text.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetByPCIBusId(ordinal: *mut c_int, id: *const c_char) -> c_int {
    // SAFETY: CUDA's contract: a C string.
    let Some(id) = (unsafe { text(id) }) else { return INVALID_VALUE };
    log(&format!("cuDeviceGetByPCIBusId {id}"));
    // The domain may be written with more digits than ours.
    let plain = |id: &str| id.to_ascii_lowercase().trim_start_matches('0').to_owned();
    let place = visible().iter().position(|device| plain(&device.bus_id) == plain(&id));
    let Some(place) = place else { return INVALID_VALUE };
    // SAFETY: CUDA's contract: a place for the answer.
    unsafe { *ordinal = place as c_int };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], ordinal: c_int) -> c_int {
    let Some(device) = device(ordinal) else { return INVALID_DEVICE };
    let digits: Vec<u8> = device
        .uuid
        .trim_start_matches("MIG-")
        .trim_start_matches("GPU-")
        .bytes()
        .filter_map(|byte| Some((byte as char).to_digit(16)? as u8))
        .collect();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digits.chunks(2)).for_each(|(byte, pair)| {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    });
    // SAFETY: CUDA's contract: room for 16 bytes.
    unsafe { *uuid = bytes };
    SUCCESS
}

/// The 11.3 form.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetProcAddress(
    name: *const c_char,
    function: *mut *mut c_void,
    version: c_int,
    _flags: u64,
) -> c_int {
    // SAFETY: CUDA's contract: a C string.
    let Some(name) = (unsafe { text(name) }) else { return INVALID_VALUE };
    log(&format!("cuGetProcAddress {name} {version}"));
    let found = match name.as_str() {
        "cuInit" => cuInit as *const (),
        "cuDriverGetVersion" => cuDriverGetVersion as *const (),
        "cuDeviceGetCount" => cuDeviceGetCount as *const (),
        "cuDeviceGetPCIBusId" => cuDeviceGetPCIBusId as *const (),
        "cuDeviceGetByPCIBusId" => cuDeviceGetByPCIBusId as *const (),
        "cuDeviceGetUuid" => cuDeviceGetUuid_v2 as *const (),
        "cuGetProcAddress" if version >= 12_000 => cuGetProcAddress_v2 as *const (),
        "cuGetProcAddress" => cuGetProcAddress as *const (),
        _ => not_supported as *const (),
    };
    // SAFETY: CUDA's contract: a place for the answer.
    unsafe { *function = found as *mut c_void };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetProcAddress_v2(
    name: *const c_char,
    function: *mut *mut c_void,
    version: c_int,
    flags: u64,
    status: *mut c_int,
) -> c_int {
    if !status.is_null() {
        // SAFETY: not null, so a place for the answer; 0 is CU_GET_PROC_ADDRESS_SUCCESS.
        unsafe { *status = 0 };
    }
    // SAFETY: the same arguments.
    unsafe { cuGetProcAddress(name, function, version, flags) }
}
