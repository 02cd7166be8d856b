//! What the library knows between calls: the node, and how often it was initialised.
//!
//! Handles are numbers, not pointers: they stay valid while the node changes, and a wrong one is
//! recognised.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use nvml_wrapper_sys::bindings::*;

use crate::layout::GpuInstance;
use crate::node::{Gpu, MigDevice, Node};
use crate::{NODE_FILE, NODE_VARIABLE, ret};

/// What a call answers besides success.
pub(crate) type Answer = Result<(), nvmlReturn_t>;

struct State {
    /// `nvmlInit` calls without their `nvmlShutdown`.
    users: u32,
    node: Option<Node>,
}

static STATE: Mutex<State> = Mutex::new(State { users: 0, node: None });

/// What a device handle stands for.
#[derive(Clone, Copy)]
pub(crate) enum Device<'a> {
    Gpu(&'a Gpu),
    Mig(&'a Gpu, &'a MigDevice),
}

impl<'a> Device<'a> {
    /// The GPU itself, or the parent of a MIG device.
    pub(crate) fn gpu(self) -> &'a Gpu {
        match self {
            Device::Gpu(gpu) | Device::Mig(gpu, _) => gpu,
        }
    }
}

const GPU: usize = 0x4d00_0000;
const MIG: usize = 0x4e00_0000;
const INSTANCE: usize = 0x4f00_0000;
const COMPUTE: usize = 0x5000_0000;
const KIND: usize = 0xff00_0000;

pub(crate) fn gpu_handle(gpu: &Gpu) -> nvmlDevice_t {
    ptr::without_provenance_mut(GPU | (gpu.minor as usize) << 8)
}

pub(crate) fn mig_handle(gpu: &Gpu, leaf: &MigDevice) -> nvmlDevice_t {
    ptr::without_provenance_mut(MIG | packed(gpu, leaf.gi, leaf.compute.id))
}

pub(crate) fn instance_handle(gpu: &Gpu, instance: &GpuInstance) -> nvmlGpuInstance_t {
    ptr::without_provenance_mut(INSTANCE | packed(gpu, instance.id, 0))
}

pub(crate) fn compute_handle(gpu: &Gpu, leaf: &MigDevice) -> nvmlComputeInstance_t {
    ptr::without_provenance_mut(COMPUTE | packed(gpu, leaf.gi, leaf.compute.id))
}

fn packed(gpu: &Gpu, gi: u32, ci: u32) -> usize {
    (gpu.minor as usize) << 8 | (gi as usize) << 4 | ci as usize
}

fn unpack(node: &Node, address: usize) -> Result<(&Gpu, u32, u32), nvmlReturn_t> {
    let minor = (address & !KIND) >> 8;
    let gpu = node.gpus.iter().find(|gpu| gpu.minor as usize == minor);
    let gpu = gpu.ok_or(ret::INVALID_ARGUMENT)?;
    Ok((gpu, (address >> 4 & 0xf) as u32, (address & 0xf) as u32))
}

fn device(node: &Node, handle: nvmlDevice_t) -> Result<Device<'_>, nvmlReturn_t> {
    let (gpu, gi, ci) = unpack(node, handle.addr())?;
    match handle.addr() & KIND {
        GPU => Ok(Device::Gpu(gpu)),
        MIG => {
            let leaf = gpu.leaf(gi, ci).ok_or(ret::NOT_FOUND)?;
            Ok(Device::Mig(gpu, leaf))
        }
        _ => Err(ret::INVALID_ARGUMENT),
    }
}

/// The fence around every entry point: a panic is "unknown error" to the caller.
fn fence(body: impl FnOnce() -> Answer) -> nvmlReturn_t {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => ret::SUCCESS,
        Ok(Err(error)) => error,
        Err(_) => ret::UNKNOWN,
    }
}

fn fail(node: &Node, call: &str, gpu: Option<u32>, gi: Option<u32>) -> Answer {
    node.failure(call, gpu, gi).map_or(Ok(()), Err)
}

/// A call about the node.
pub(crate) fn with_node(call: &str, body: impl FnOnce(&Node) -> Answer) -> nvmlReturn_t {
    fence(|| {
        let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        let node = state.node.as_ref().ok_or(ret::UNINITIALIZED)?;
        fail(node, call, None, None)?;
        body(node)
    })
}

/// A call on a device.
pub(crate) fn with_device(
    call: &str,
    handle: nvmlDevice_t,
    body: impl FnOnce(Device<'_>) -> Answer,
) -> nvmlReturn_t {
    fence(|| {
        let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        let node = state.node.as_ref().ok_or(ret::UNINITIALIZED)?;
        let device = device(node, handle)?;
        let gi = match device {
            Device::Gpu(_) => None,
            Device::Mig(_, leaf) => Some(leaf.gi),
        };
        fail(node, call, Some(device.gpu().minor), gi)?;
        body(device)
    })
}

/// A call on a physical GPU; MIG devices are refused.
pub(crate) fn with_gpu(
    call: &str,
    handle: nvmlDevice_t,
    body: impl FnOnce(&Gpu) -> Answer,
) -> nvmlReturn_t {
    with_device(call, handle, |device| match device {
        Device::Gpu(gpu) => body(gpu),
        Device::Mig(..) => Err(ret::INVALID_ARGUMENT),
    })
}

/// A call on a GPU instance or, with the second id, a compute instance of it.
fn with_handle(
    call: &str,
    address: usize,
    kind: usize,
    body: impl FnOnce(&Gpu, &GpuInstance, u32) -> Answer,
) -> nvmlReturn_t {
    fence(|| {
        let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        let node = state.node.as_ref().ok_or(ret::UNINITIALIZED)?;
        if address & KIND != kind {
            return Err(ret::INVALID_ARGUMENT);
        }
        let (gpu, gi, ci) = unpack(node, address)?;
        let instance = gpu.instance(gi).ok_or(ret::NOT_FOUND)?;
        fail(node, call, Some(gpu.minor), Some(gi))?;
        body(gpu, instance, ci)
    })
}

/// A call on a GPU instance.
pub(crate) fn with_instance(
    call: &str,
    handle: nvmlGpuInstance_t,
    body: impl FnOnce(&Gpu, &GpuInstance) -> Answer,
) -> nvmlReturn_t {
    with_handle(call, handle.addr(), INSTANCE, |gpu, instance, _| body(gpu, instance))
}

/// A call on a compute instance.
pub(crate) fn with_compute(
    call: &str,
    handle: nvmlComputeInstance_t,
    body: impl FnOnce(&Gpu, &GpuInstance, &MigDevice) -> Answer,
) -> nvmlReturn_t {
    with_handle(call, handle.addr(), COMPUTE, |gpu, instance, ci| {
        let leaf = gpu.leaf(instance.id, ci).ok_or(ret::NOT_FOUND)?;
        body(gpu, instance, leaf)
    })
}

/// `nvmlInit`: reads the node anew.
pub(crate) fn init(call: &str) -> nvmlReturn_t {
    fence(|| {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        let node = Node::from_file(&node_file()).map_err(|error| {
            eprintln!("mock-nvml: {error}");
            ret::DRIVER_NOT_LOADED
        })?;
        fail(&node, call, None, None)?;
        state.node = Some(node);
        state.users += 1;
        Ok(())
    })
}

/// `nvmlShutdown`: the last one forgets the node.
pub(crate) fn shutdown() -> nvmlReturn_t {
    fence(|| {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        if state.users == 0 {
            return Err(ret::UNINITIALIZED);
        }
        state.users -= 1;
        if state.users == 0 {
            state.node = None;
        }
        Ok(())
    })
}

/// Where the node is described.
fn node_file() -> PathBuf {
    if let Some(path) = std::env::var_os(NODE_VARIABLE) {
        return path.into();
    }
    library_path().with_file_name(NODE_FILE)
}

/// The file that this library was loaded from.
fn library_path() -> PathBuf {
    let mut info: libc::Dl_info =
        // SAFETY: Dl_info is four pointers and numbers, for which zero is a value.
        unsafe { std::mem::zeroed() };
    let address: *const State = ptr::from_ref(&STATE).cast();
    // SAFETY: dladdr takes any address and writes into `info`, which lives here.
    if unsafe { libc::dladdr(address.cast(), &mut info) } == 0 || info.dli_fname.is_null() {
        return PathBuf::new();
    }
    // SAFETY: dladdr succeeded, so dli_fname is the loader's NUL-terminated name of this library,
    // which stays as long as the library is loaded, and this is its code.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Path::new(OsStr::from_bytes(name.to_bytes())).to_owned()
}
