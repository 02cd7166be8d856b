//! A net plugin of a few lines over loopback TCP, for tests of the driver: versions 6, 8 and 11.
//!
//! `LOOPBACK_NET_FLIP=N` changes one byte in every N-th message of each connection that has any;
//! `LOOPBACK_NET_SLOW` makes every other isend and irecv say "not now".
#![allow(clippy::missing_safety_doc, unsafe_op_in_unsafe_fn, missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // A test's plugin: its caller is our driver.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ptr::null;

type Object = *mut c_void;
type Unused = *const c_void;

const NAME: &CStr = c"Loopback";
const REMOTE: c_int = 6;

struct Comm {
    stream: TcpStream,
    /// Requests in order; only the first moves.
    queue: VecDeque<*mut Request>,
    count: u64,
    calls: u64,
}

struct Request {
    comm: *mut Comm,
    is_send: bool,
    data: *mut u8,
    size: usize,
    head: [u8; 4],
    moved: usize,
    done: bool,
}

fn number(name: &str) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

unsafe fn listen(handle: *mut c_void, comm: *mut Object) -> c_int {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    handle.cast::<u16>().write(listener.local_addr().unwrap().port());
    *comm = Box::into_raw(Box::new(listener)).cast();
    0
}

fn comm(stream: TcpStream) -> Object {
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    Box::into_raw(Box::new(Comm { stream, queue: VecDeque::new(), count: 0, calls: 0 })).cast()
}

unsafe fn connect(handle: *mut c_void, out: *mut Object) -> c_int {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, handle.cast::<u16>().read())) {
        Ok(stream) => *out = comm(stream),
        Err(_) => return REMOTE,
    }
    0
}

unsafe fn accept(listener: Object, out: *mut Object) -> c_int {
    match (*listener.cast::<TcpListener>()).accept() {
        Ok((stream, _)) => *out = comm(stream),
        Err(error) if error.kind() == ErrorKind::WouldBlock => *out = std::ptr::null_mut(),
        Err(_) => return REMOTE,
    }
    0
}

unsafe fn post(to: Object, is_send: bool, data: Object, size: usize, out: *mut Object) -> c_int {
    let to = to.cast::<Comm>();
    (*to).calls += 1;
    *out = std::ptr::null_mut();
    if (*to).calls.is_multiple_of(2) && std::env::var_os("LOOPBACK_NET_SLOW").is_some() {
        return 0;
    }
    let head = (size as u32).to_le_bytes();
    let data = data.cast();
    let request = Request { comm: to, is_send, data, size, head, moved: 0, done: false };
    let request = Box::into_raw(Box::new(request));
    (*to).queue.push_back(request);
    *out = request.cast();
    0
}

/// Moves the first request; false: the peer is gone.
unsafe fn advance(comm: &mut Comm) -> bool {
    while let Some(&first) = comm.queue.front() {
        let request = &mut *first;
        while request.moved < 4 || request.moved < 4 + request.size {
            let part = if request.moved < 4 {
                &mut request.head[request.moved..]
            } else {
                let moved = request.moved - 4;
                std::slice::from_raw_parts_mut(request.data.add(moved), request.size - moved)
            };
            let moved = match request.is_send {
                true => comm.stream.write(part),
                false => comm.stream.read(part),
            };
            match moved {
                Ok(0) => return false,
                Ok(moved) => request.moved += moved,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
            if !request.is_send && request.moved == 4 {
                request.size = u32::from_le_bytes(request.head) as usize;
            }
        }
        comm.count += 1;
        let flip = number("LOOPBACK_NET_FLIP");
        if !request.is_send && flip > 0 && request.size > 0 && comm.count.is_multiple_of(flip) {
            *request.data.add(request.size / 2) ^= 1;
        }
        request.done = true;
        comm.queue.pop_front();
    }
    true
}

unsafe extern "C" fn test(request: Object, done: *mut c_int, size: *mut c_int) -> c_int {
    let request = request.cast::<Request>();
    if !(*request).done && !advance(&mut *(*request).comm) {
        return REMOTE;
    }
    *done = c_int::from((*request).done);
    if (*request).done {
        if !size.is_null() {
            *size = (*request).size as c_int;
        }
        drop(Box::from_raw(request));
    }
    0
}

unsafe extern "C" fn close(comm: Object) -> c_int {
    drop(Box::from_raw(comm.cast::<Comm>()));
    0
}
unsafe extern "C" fn close_listen(comm: Object) -> c_int {
    drop(Box::from_raw(comm.cast::<TcpListener>()));
    0
}
unsafe extern "C" fn init(_log: Unused) -> c_int {
    0
}
unsafe extern "C" fn init11(ctx: *mut Object, _: u64, _: Unused, _: Unused, _: Unused) -> c_int {
    *ctx = std::ptr::dangling_mut::<u64>().cast();
    0
}
unsafe extern "C" fn finalize(_ctx: Object) -> c_int {
    0
}
unsafe extern "C" fn devices(count: *mut c_int) -> c_int {
    *count = 1;
    0
}
unsafe extern "C" fn properties(_dev: c_int, _props: Object) -> c_int {
    0
}
unsafe extern "C" fn listen6(_: c_int, handle: Object, comm: *mut Object) -> c_int {
    listen(handle, comm)
}
unsafe extern "C" fn listen11(_: Object, _: c_int, handle: Object, comm: *mut Object) -> c_int {
    listen(handle, comm)
}
unsafe extern "C" fn connect6(_: c_int, handle: Object, comm: *mut Object) -> c_int {
    connect(handle, comm)
}
unsafe extern "C" fn connect8(_: c_int, handle: Object, comm: *mut Object, _: Unused) -> c_int {
    connect(handle, comm)
}
unsafe extern "C" fn connect11(
    _: Object,
    _: c_int,
    handle: Object,
    comm: *mut Object,
    _: Unused,
) -> c_int {
    connect(handle, comm)
}
unsafe extern "C" fn accept6(listener: Object, comm: *mut Object) -> c_int {
    accept(listener, comm)
}
unsafe extern "C" fn accept8(listener: Object, comm: *mut Object, _: Unused) -> c_int {
    accept(listener, comm)
}
unsafe extern "C" fn reg6(_: Object, _: Object, _: c_int, _: c_int, out: *mut Object) -> c_int {
    *out = std::ptr::dangling_mut::<u64>().cast();
    0
}
unsafe extern "C" fn reg8(_: Object, _: Object, _: usize, _: c_int, out: *mut Object) -> c_int {
    *out = std::ptr::dangling_mut::<u64>().cast();
    0
}
unsafe extern "C" fn dereg(_comm: Object, _memory: Object) -> c_int {
    0
}
unsafe extern "C" fn isend6(
    comm: Object,
    data: Object,
    size: c_int,
    _tag: c_int,
    _memory: Object,
    out: *mut Object,
) -> c_int {
    post(comm, true, data, size as usize, out)
}
unsafe extern "C" fn isend11(
    comm: Object,
    data: Object,
    size: usize,
    _tag: c_int,
    _memory: Object,
    _profiler: Object,
    out: *mut Object,
) -> c_int {
    post(comm, true, data, size, out)
}
unsafe extern "C" fn irecv6(
    comm: Object,
    _n: c_int,
    data: *mut Object,
    sizes: *mut c_int,
    _tags: Unused,
    _memory: Unused,
    out: *mut Object,
) -> c_int {
    post(comm, false, *data, *sizes as usize, out)
}
unsafe extern "C" fn irecv11(
    comm: Object,
    _n: c_int,
    data: *mut Object,
    sizes: *mut usize,
    _tags: Unused,
    _memory: Unused,
    _profiler: Unused,
    out: *mut Object,
) -> c_int {
    post(comm, false, *data, *sizes, out)
}

/// The table as NCCL sees it: one word per function.
#[repr(transparent)]
pub struct Table<const N: usize>([Unused; N]);
// SAFETY: constant words.
unsafe impl<const N: usize> Sync for Table<N> {}

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static ncclNetPlugin_v6: Table<17> = Table([
    NAME.as_ptr().cast::<c_char>().cast(),
    init as Unused,
    devices as Unused,
    properties as Unused,
    listen6 as Unused,
    connect6 as Unused,
    accept6 as Unused,
    reg6 as Unused,
    null(),
    dereg as Unused,
    isend6 as Unused,
    irecv6 as Unused,
    null(),
    test as Unused,
    close as Unused,
    close as Unused,
    close_listen as Unused,
]);

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static ncclNetPlugin_v8: Table<19> = Table([
    NAME.as_ptr().cast::<c_char>().cast(),
    init as Unused,
    devices as Unused,
    properties as Unused,
    listen6 as Unused,
    connect8 as Unused,
    accept8 as Unused,
    reg8 as Unused,
    null(),
    dereg as Unused,
    isend6 as Unused,
    irecv6 as Unused,
    null(),
    test as Unused,
    close as Unused,
    close as Unused,
    close_listen as Unused,
    null(),
    null(),
]);

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static ncclNetPlugin_v11: Table<22> = Table([
    NAME.as_ptr().cast::<c_char>().cast(),
    init11 as Unused,
    devices as Unused,
    properties as Unused,
    listen11 as Unused,
    connect11 as Unused,
    accept8 as Unused,
    reg8 as Unused,
    null(),
    dereg as Unused,
    isend11 as Unused,
    irecv11 as Unused,
    null(),
    test as Unused,
    close as Unused,
    close as Unused,
    close_listen as Unused,
    null(),
    null(),
    null(),
    finalize as Unused,
    null(),
]);
