//! NCCL's net plugin ABI, one file per version that differs.
//!
//! NCCL 2.18 to 2.32 look for `ncclNetPlugin_vN` from the highest `N` they know
//! down to 6; a symbol is a structure of pointers. v6 alone would be found by all
//! of them; v8 registers memory of more than 2 GiB, v11 sends it, v12 is v11 with
//! longer properties.
//!
//! All versions share one implementation. What the versions have in common is
//! here: the C functions, each behind the panic fence; `tables` writes the structures.

mod tables;
pub mod v11;
pub mod v12;
pub mod v6;
pub mod v8;

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::comm::Comm;
use crate::config::Config;
use crate::endpoint::{self, Listener};
use crate::error::{Code, NetError, Result};
use crate::fence::{fence, install_hook};
use crate::handle::{HANDLE_SIZE, Place};
use crate::log::{self, Logger};
use crate::request::{Region, Request};

/// Name of the network: `NCCL_NET=FlexMIG`, and "via NET/FlexMIG/0" in NCCL's log.
pub const NAME: &CStr = c"FlexMIG";

/// `NCCL_PTR_HOST`.
pub const PTR_HOST: c_int = 1;
/// What a path through memory is announced as, in Mbps.
pub const SPEED: c_int = 100_000;
/// Connections at most.
pub const MAX_COMMS: c_int = 65_536;
/// The largest message that NCCL is told to send.
pub const MAX_BYTES: usize = 1 << 30;
/// `NCCL_NET_DEVICE_HOST`.
pub const DEVICE_HOST: c_int = 0;

/// Out pointer to a connection, handle or request.
pub type Out = *mut *mut c_void;
/// `getProperties`.
pub type GetProperties<P> = unsafe extern "C" fn(c_int, *mut P) -> Code;
/// `regMr` from v8 on.
pub type RegMr = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, c_int, Out) -> Code;
/// `regMrDmaBuf`.
pub type RegMrDmaBuf =
    unsafe extern "C" fn(*mut c_void, *mut c_void, usize, c_int, u64, c_int, Out) -> Code;
/// `deregMr`.
pub type DeregMr = unsafe extern "C" fn(*mut c_void, *mut c_void) -> Code;
/// `isend` with an int size.
pub type IsendInt =
    unsafe extern "C" fn(*mut c_void, *mut c_void, c_int, c_int, *mut c_void, Out) -> Code;
/// `irecv` with int sizes.
pub type IrecvInt =
    unsafe extern "C" fn(*mut c_void, c_int, Out, *mut c_int, *mut c_int, Out, Out) -> Code;
/// `iflush`.
pub type Iflush = unsafe extern "C" fn(*mut c_void, c_int, Out, *mut c_int, Out, Out) -> Code;
/// `test`.
pub type Test = unsafe extern "C" fn(*mut c_void, *mut c_int, *mut c_int) -> Code;
/// `closeSend` and the like.
pub type Close = unsafe extern "C" fn(*mut c_void) -> Code;
/// `getDeviceMr`, from v7 on.
pub type GetDeviceMr = unsafe extern "C" fn(*mut c_void, *mut c_void, Out) -> Code;
/// `irecvConsumed`, from v7 on.
pub type IrecvConsumed = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void) -> Code;

/// `ncclNetVDeviceProps_v11_t`, and `_v12_t` with more places.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct VirtualDevice<const DEVICES: usize> {
    /// Number of physical devices.
    pub count: c_int,
    /// Their indices.
    pub devices: [c_int; DEVICES],
}

/// Number of this host, for the properties.
pub fn guid() -> u64 {
    Place::here().host_number()
}

/// An out parameter of NCCL's.
///
/// # Safety
/// `place` must be null, or valid for one write.
unsafe fn put<T>(place: *mut T, value: T) -> Result<()> {
    if place.is_null() {
        return Err(NetError::argument("NCCL passed a null pointer for a result"));
    }
    // SAFETY: not null, and the caller vouches for it.
    unsafe { place.write(value) };
    Ok(())
}

/// What every `init` does.
pub fn init(version: &str, logger: Option<Logger>) -> Code {
    install_hook();
    log::set_logger(logger);
    fence("init", || {
        let config = Config::get();
        log::info(format_args!("net plugin {} ({version}): {config:?}", env!("CARGO_PKG_VERSION")));
        Ok(())
    })
}

/// `init` of v6 to v9.
///
/// # Safety
/// As NCCL calls it.
pub unsafe extern "C" fn init_v6(logger: Option<Logger>) -> Code {
    init("v6 to v8", logger)
}

/// `devices`: one.
///
/// # Safety
/// As NCCL calls it.
pub unsafe extern "C" fn devices(count: *mut c_int) -> Code {
    // SAFETY: NCCL's out parameter.
    fence("devices", || unsafe { put(count, 1) })
}

/// The only device is number 0.
pub fn check_device(device: c_int) -> Result<()> {
    if device == 0 {
        return Ok(());
    }
    Err(NetError::argument(format!("device {device} was asked for: there is only device 0")))
}

/// `listen` of v6 to v10.
///
/// # Safety
/// As NCCL calls it: `handle` has 128 bytes.
pub unsafe extern "C" fn listen(
    device: c_int,
    handle: *mut c_void,
    comm: *mut *mut c_void,
) -> Code {
    fence("listen", || {
        check_device(device)?;
        let (listener, address) = Listener::new(Config::get())?;
        // SAFETY: NCCL's out parameters; a handle is 128 bytes.
        unsafe {
            put(handle.cast::<[u8; HANDLE_SIZE]>(), address.encode())?;
            put(comm, Box::into_raw(Box::new(listener)).cast())
        }
    })
}

/// `connect` of v6.
///
/// # Safety
/// As NCCL calls it: `handle` has 128 bytes.
pub unsafe extern "C" fn connect(
    device: c_int,
    handle: *mut c_void,
    comm: *mut *mut c_void,
) -> Code {
    fence("connect", || {
        check_device(device)?;
        if handle.is_null() {
            return Err(NetError::argument("NCCL passed a null handle"));
        }
        // SAFETY: a handle is 128 bytes, of any alignment.
        let bytes = unsafe { handle.cast::<[u8; HANDLE_SIZE]>().read_unaligned() };
        let made = endpoint::connect(handle as usize, &bytes, Config::get())?;
        // SAFETY: NCCL's out parameter.
        unsafe { put(comm, into_pointer(made)) }
    })
}

/// `accept` of v6.
///
/// # Safety
/// As NCCL calls it: `listener` is from `listen`.
pub unsafe extern "C" fn accept(listener: *mut c_void, comm: *mut *mut c_void) -> Code {
    fence("accept", || {
        // SAFETY: the pointer is from `listen`, and used by one thread at a time.
        let listener = unsafe { listener.cast::<Listener>().as_mut() }.ok_or_else(null_comm)?;
        let made = listener.accept(Config::get())?;
        // SAFETY: NCCL's out parameter.
        unsafe { put(comm, into_pointer(made)) }
    })
}

fn into_pointer(comm: Option<Comm>) -> *mut c_void {
    comm.map_or(std::ptr::null_mut(), |comm| Box::into_raw(Box::new(comm)).cast())
}

fn null_comm() -> NetError {
    NetError::argument("NCCL passed a null connection")
}

/// # Safety
/// `comm` must be null or from `connect` or `accept`, and not closed.
unsafe fn as_comm<'a>(comm: *mut c_void) -> Result<&'a mut Comm> {
    // SAFETY: NCCL uses a connection from one thread at a time.
    unsafe { comm.cast::<Comm>().as_mut() }.ok_or_else(null_comm)
}

/// Nothing needs registering, but the handle says what it belongs to: see
/// [`crate::polled`], and [`Comm::withdraw`].
fn register(data: *mut c_void, size: usize, kind: c_int, handle: *mut *mut c_void) -> Result<()> {
    if kind != PTR_HOST {
        return Err(NetError::argument(format!(
            "memory of type {kind} was to be registered: the plugin takes host memory only, as its \
             properties say"
        )));
    }
    if handle.is_null() {
        return Err(NetError::argument("NCCL passed a null pointer for a result"));
    }
    let region = Box::new(Region { start: data.addr(), len: size });
    // SAFETY: NCCL's out parameter.
    unsafe { put(handle, Box::into_raw(region).cast()) }
}

/// Bytes that were registered with a handle; 0 for none.
///
/// # Safety
/// `handle` must be null or from `regMr`, and not deregistered.
unsafe fn registered(handle: *mut c_void) -> usize {
    // SAFETY: the caller's.
    unsafe { handle.cast::<Region>().as_ref() }.map_or(0, |region| region.len)
}

/// `regMr` of v6 and v7.
///
/// # Safety
/// As NCCL calls it.
pub unsafe extern "C" fn reg_mr_int(
    _comm: *mut c_void,
    data: *mut c_void,
    size: c_int,
    kind: c_int,
    handle: *mut *mut c_void,
) -> Code {
    fence("regMr", || register(data, from_int(size)?, kind, handle))
}

/// `regMr` from v8 on.
///
/// # Safety
/// As NCCL calls it.
pub unsafe extern "C" fn reg_mr(
    _comm: *mut c_void,
    data: *mut c_void,
    size: usize,
    kind: c_int,
    handle: *mut *mut c_void,
) -> Code {
    fence("regMr", || register(data, size, kind, handle))
}

/// `regMrDmaBuf`: there is none for host memory.
///
/// # Safety
/// As NCCL calls it.
pub unsafe extern "C" fn reg_mr_dma_buf(
    _comm: *mut c_void,
    _data: *mut c_void,
    _size: usize,
    _kind: c_int,
    _offset: u64,
    _fd: c_int,
    _handle: *mut *mut c_void,
) -> Code {
    fence("regMrDmaBuf", || {
        Err(NetError::argument("DMA buffers are not taken, as the properties say"))
    })
}

/// `deregMr`: NCCL frees the memory next, before it closes the connection.
///
/// # Safety
/// As NCCL calls it: `handle` is from `regMr`.
pub unsafe extern "C" fn dereg_mr(comm: *mut c_void, handle: *mut c_void) -> Code {
    fence("deregMr", || {
        if handle.is_null() {
            return Ok(());
        }
        // SAFETY: from `regMr`, and given back once.
        let region = unsafe { Box::from_raw(handle.cast::<Region>()) };
        // SAFETY: NCCL's connection, which is still open.
        if let Some(comm) = unsafe { comm.cast::<Comm>().as_mut() } {
            comm.withdraw(*region);
        }
        Ok(())
    })
}

/// A send or receive of `size` bytes at `data`; `handle` is that of `regMr`.
///
/// # Safety
/// `comm` as for `as_comm`, `handle` as for `registered`; `data` must be valid for
/// `size` bytes until the request is done.
pub unsafe fn start(
    comm: *mut c_void,
    data: *mut c_void,
    size: usize,
    handle: *mut c_void,
    request: *mut *mut c_void,
) -> Result<()> {
    // SAFETY: the caller's.
    let (comm, region) = unsafe { (as_comm(comm)?, registered(handle)) };
    if data.is_null() && size > 0 {
        return Err(NetError::argument("NCCL passed a null buffer"));
    }
    let made = comm.start(data.cast(), size, region)?;
    // SAFETY: NCCL's out parameter. It may hold a hint (1) on the way in.
    unsafe { put(request, made.map_or(std::ptr::null_mut(), <*mut Request>::cast)) }
}

/// A size that older versions pass as an int.
fn from_int(size: c_int) -> Result<usize> {
    usize::try_from(size).map_err(|_| NetError::argument(format!("a message of {size} bytes")))
}

/// The one buffer of a receive, and its handle.
///
/// # Safety
/// The arrays have `count` entries; `handles` may be null.
unsafe fn only(
    count: c_int,
    data: *mut *mut c_void,
    handles: *mut *mut c_void,
) -> Result<(*mut c_void, *mut c_void)> {
    if count != 1 {
        return Err(NetError::argument(format!(
            "a receive of {count} messages: one at a time, as maxRecvs says"
        )));
    }
    // SAFETY: the caller's arrays of one entry.
    unsafe { Ok((*data, handles.as_ref().copied().unwrap_or(std::ptr::null_mut()))) }
}

/// `isend` of v6 to v8.
///
/// # Safety
/// As NCCL calls it.
pub unsafe extern "C" fn isend_int(
    comm: *mut c_void,
    data: *mut c_void,
    size: c_int,
    _tag: c_int,
    handle: *mut c_void,
    request: *mut *mut c_void,
) -> Code {
    // SAFETY: NCCL's pointers.
    fence("isend", || unsafe { start(comm, data, from_int(size)?, handle, request) })
}

/// `irecv` of v6 to v8.
///
/// # Safety
/// As NCCL calls it: the arrays have `count` entries.
pub unsafe extern "C" fn irecv_int(
    comm: *mut c_void,
    count: c_int,
    data: *mut *mut c_void,
    sizes: *mut c_int,
    _tags: *mut c_int,
    handles: *mut *mut c_void,
    request: *mut *mut c_void,
) -> Code {
    // SAFETY: NCCL's arrays of one entry.
    fence("irecv", || unsafe {
        let (data, handle) = only(count, data, handles)?;
        start(comm, data, from_int(*sizes)?, handle, request)
    })
}

/// `iflush`: host memory needs none; there is no request to wait for.
///
/// # Safety
/// As NCCL calls it.
pub unsafe extern "C" fn iflush(
    _comm: *mut c_void,
    _count: c_int,
    _data: *mut *mut c_void,
    _sizes: *mut c_int,
    _handles: *mut *mut c_void,
    request: *mut *mut c_void,
) -> Code {
    // SAFETY: NCCL's out parameter.
    fence("iflush", || unsafe { put(request, std::ptr::null_mut()) })
}

/// `test`. Sizes above 2 GiB saturate: the field is an int in all versions.
///
/// # Safety
/// As NCCL calls it: `request` is in flight.
pub unsafe extern "C" fn test(request: *mut c_void, done: *mut c_int, sizes: *mut c_int) -> Code {
    fence("test", || {
        let request = request.cast::<Request>();
        if request.is_null() {
            return Err(NetError::argument("NCCL passed a null request"));
        }
        // SAFETY: a request in flight lies in its connection, which is alive.
        let outcome = unsafe {
            let owner = (*request).owner;
            (*owner).test(request)?
        };
        // SAFETY: NCCL's out parameters; sizes may be null.
        unsafe {
            put(done, c_int::from(outcome.is_some()))?;
            if let (Some(size), false) = (outcome, sizes.is_null()) {
                sizes.write(c_int::try_from(size).unwrap_or(c_int::MAX));
            }
        }
        Ok(())
    })
}

/// `closeSend` and `closeRecv`.
///
/// # Safety
/// As NCCL calls it: the connection is not used any more.
pub unsafe extern "C" fn close_comm(comm: *mut c_void) -> Code {
    fence("close", || {
        if comm.is_null() {
            return Ok(());
        }
        // SAFETY: from `connect` or `accept`, and closed once.
        let mut comm = unsafe { Box::from_raw(comm.cast::<Comm>()) };
        comm.close();
        Ok(())
    })
}

/// `closeListen`.
///
/// # Safety
/// As NCCL calls it: the listener is not used any more.
pub unsafe extern "C" fn close_listen(listener: *mut c_void) -> Code {
    fence("closeListen", || {
        if !listener.is_null() {
            // SAFETY: from `listen`, and closed once.
            drop(unsafe { Box::from_raw(listener.cast::<Listener>()) });
        }
        Ok(())
    })
}

/// A structure of pointers to immutable things.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct Text(pub *const c_char);

// SAFETY: points to a C string constant.
unsafe impl Sync for Text {}
// SAFETY: as above.
unsafe impl Send for Text {}
