//! A net plugin, loaded as NCCL loads it and called through its newest interface that we know.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::path::Path;
use std::ptr::{null_mut, without_provenance_mut};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

pub(crate) use crate::abi::HANDLE_SIZE;
use crate::abi::{self, NcclResult, NetV6, NetV8, NetV11, Object};
use crate::buffer::Buffer;
use crate::error::Error;

/// What a listening rank gives to the one that connects: `ncclNetHandle_t`.
pub type Handle = [u8; HANDLE_SIZE];

/// NCCL's `NCCL_LOG_WARN`.
const LOG_WARN: c_int = 2;
/// The first device: our plugin has one, and of others any will do.
const DEVICE: c_int = 0;
/// Messages match in order, one to a receive; NCCL passes a rank.
const TAG: c_int = 0;

#[derive(Clone, Copy)]
enum Table {
    V6(&'static NetV6),
    V8(&'static NetV8),
    V11(&'static NetV11),
}

/// Reads a field that every version has.
macro_rules! of_any {
    ($net:expr, $field:ident) => {
        match $net.table {
            Table::V6(table) => table.$field,
            Table::V8(table) => table.$field,
            Table::V11(table) => table.$field,
        }
    };
}

/// A loaded and initialised net plugin. It stays loaded until the process ends.
pub struct Net {
    table: Table,
    /// Version 11 gives its callers a context.
    context: Object,
    name: String,
}

/// Bytes registered with a connection.
#[derive(Clone, Copy)]
pub(crate) struct Registration(Object);

/// A message on its way.
#[derive(Clone, Copy)]
pub(crate) struct Request(Object);

impl Net {
    /// Loads a plugin and initialises it.
    ///
    /// `version` chooses among the interfaces that it exports; without it the highest of 11, 8 and 6
    /// is used, as NCCL does.
    pub fn load(path: &Path, version: Option<u32>) -> Result<Net, Error> {
        let failed = |reason: String| Error::Load { path: path.to_owned(), reason };
        // SAFETY: loading runs the plugin's constructors. The user named it, and NCCL would load it
        // into the user's program in the same way.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|error| {
            let cause = std::error::Error::source(&error);
            failed(cause.map_or(error.to_string(), |cause| cause.to_string()))
        })?;
        let wanted = |number: u32| version.is_none_or(|version| version == number);
        // SAFETY: NCCL defines the symbols as structures of these types; they are constant and the
        // library is never unloaded.
        let table = unsafe {
            let v11 = library.get::<*const NetV11>(c"ncclNetPlugin_v11").ok();
            let v8 = library.get::<*const NetV8>(c"ncclNetPlugin_v8").ok();
            let v6 = library.get::<*const NetV6>(c"ncclNetPlugin_v6").ok();
            v11.filter(|_| wanted(11))
                .map(|table| Table::V11(&**table))
                .or_else(|| v8.filter(|_| wanted(8)).map(|table| Table::V8(&**table)))
                .or_else(|| v6.filter(|_| wanted(6)).map(|table| Table::V6(&**table)))
        };
        std::mem::forget(library);
        let table = table.ok_or_else(|| {
            let names = match version {
                Some(version) => format!("ncclNetPlugin_v{version}"),
                None => "ncclNetPlugin_v11, _v8 or _v6".to_owned(),
            };
            failed(format!("it exports no {names}"))
        })?;
        let mut net = Net { table, context: null_mut(), name: String::new() };
        // SAFETY: the field is a C string by NCCL's definition.
        net.name = unsafe { CStr::from_ptr(of_any!(net, name)) }.to_string_lossy().into_owned();
        net.init()?;
        Ok(net)
    }

    fn init(&mut self) -> Result<(), Error> {
        // SAFETY: `log` takes the fixed arguments of NCCL's logger and the first of the variadic
        // ones. On x86-64 and aarch64 Linux a variadic call passes these as any other call does, and
        // the caller cleans up, so further arguments are not seen.
        let logger = unsafe {
            std::mem::transmute::<
                unsafe extern "C" fn(
                    c_int,
                    c_ulong,
                    *const c_char,
                    c_int,
                    *const c_char,
                    *const c_char,
                ),
                abi::Logger,
            >(log)
        };
        let mut devices = 0;
        let mut config = abi::CommConfigV11 { traffic_class: -1 };
        // SAFETY: the first call of the plugin; all pointers are to live values.
        let result = unsafe {
            match self.table {
                Table::V6(table) => (table.init)(logger),
                Table::V8(table) => (table.init)(logger),
                Table::V11(table) => (table.init)(&mut self.context, 1, &mut config, logger, None),
            }
        };
        self.result("init", result)?;
        // SAFETY: the plugin is initialised.
        let result = unsafe { of_any!(self, devices)(&mut devices) };
        self.result("devices", result)?;
        if devices < 1 { Err(self.broken("it has no device on this host")) } else { Ok(()) }
    }

    /// The plugin's name for itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Version of the interface in use.
    pub fn version(&self) -> u32 {
        match self.table {
            Table::V6(_) => 6,
            Table::V8(_) => 8,
            Table::V11(_) => 11,
        }
    }

    /// Messages that may be in flight on one connection (NCCL_NET_MAX_REQUESTS of the version).
    pub fn max_requests(&self) -> usize {
        match self.table {
            Table::V6(_) => 8,
            Table::V8(_) | Table::V11(_) => 32,
        }
    }

    fn result(&self, call: &'static str, result: NcclResult) -> Result<(), Error> {
        self.result_with(call, None, result)
    }

    fn result_with(
        &self,
        call: &'static str,
        peer: Option<usize>,
        result: NcclResult,
    ) -> Result<(), Error> {
        if result == abi::SUCCESS {
            return Ok(());
        }
        let peer = peer.map_or_else(String::new, |peer| format!(" with rank {peer}"));
        Err(Error::Plugin { call, plugin: self.name.clone(), result, peer })
    }

    pub(crate) fn broken(&self, what: impl Into<String>) -> Error {
        Error::Broken { plugin: self.name.clone(), what: what.into() }
    }

    /// Opens a place to connect to.
    pub(crate) fn listen(&self) -> Result<(Listener<'_>, Handle), Error> {
        let mut handle: Handle = [0; HANDLE_SIZE];
        let mut comm = null_mut();
        let at = handle.as_mut_ptr().cast();
        // SAFETY: the handle has NCCL's size, and the plugin is initialised.
        let result = unsafe {
            match self.table {
                Table::V6(table) => (table.listen)(DEVICE, at, &mut comm),
                Table::V8(table) => (table.listen)(DEVICE, at, &mut comm),
                Table::V11(table) => (table.listen)(self.context, DEVICE, at, &mut comm),
            }
        };
        self.result("listen", result)?;
        Ok((Listener { net: self, comm }, handle))
    }

    /// Goes on connecting to rank `peer`; `None`: not yet, call again with the same handle.
    pub(crate) fn connect(
        &self,
        handle: &mut Handle,
        peer: usize,
    ) -> Result<Option<Link<'_>>, Error> {
        let mut comm = null_mut();
        let mut device = null_mut();
        let at = handle.as_mut_ptr().cast();
        // SAFETY: the handle is one of `listen` of some rank; the plugin may keep its state in it,
        // as it does under NCCL. A NULL device handle asks for no offload.
        let result = unsafe {
            match self.table {
                Table::V6(table) => (table.connect)(DEVICE, at, &mut comm),
                Table::V8(table) => (table.connect)(DEVICE, at, &mut comm, &mut device),
                Table::V11(table) => {
                    (table.connect)(self.context, DEVICE, at, &mut comm, &mut device)
                }
            }
        };
        self.result_with("connect", Some(peer), result)?;
        Ok(Link::of(self, comm, peer, Side::Send))
    }

    /// Whether a message is complete, and then its size.
    ///
    /// # Safety
    /// The request came from a link of this plugin that is still open, and has not been reported
    /// complete.
    pub(crate) unsafe fn test(
        &self,
        request: Request,
        peer: usize,
    ) -> Result<Option<usize>, Error> {
        let mut done = 0;
        let mut size: c_int = 0;
        // SAFETY: a live request by this function's contract.
        let result = unsafe { of_any!(self, test)(request.0, &mut done, &mut size) };
        self.result_with("test", Some(peer), result)?;
        Ok((done != 0).then_some(size as usize))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Table::V11(table) = self.table {
            // SAFETY: links borrow the plugin, so all of them are closed. There is nobody to tell
            // about a failure.
            unsafe { (table.finalize)(self.context) };
        }
    }
}

/// A place to connect to.
pub(crate) struct Listener<'a> {
    net: &'a Net,
    comm: Object,
}

impl<'a> Listener<'a> {
    /// Goes on accepting rank `peer`; `None`: not yet.
    pub(crate) fn accept(&self, peer: usize) -> Result<Option<Link<'a>>, Error> {
        let mut comm = null_mut();
        let mut device = null_mut();
        // SAFETY: the listener is open; pointers are to live values.
        let result = unsafe {
            match self.net.table {
                Table::V6(table) => (table.accept)(self.comm, &mut comm),
                Table::V8(table) => (table.accept)(self.comm, &mut comm, &mut device),
                Table::V11(table) => (table.accept)(self.comm, &mut comm, &mut device),
            }
        };
        self.net.result_with("accept", Some(peer), result)?;
        Ok(Link::of(self.net, comm, peer, Side::Receive))
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        // SAFETY: open until here. A failure to close has no consequence.
        unsafe { of_any!(self.net, close_listen)(self.comm) };
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Send,
    Receive,
}

/// One direction of a connection: the sending or the receiving end.
pub(crate) struct Link<'a> {
    net: &'a Net,
    comm: Object,
    side: Side,
    peer: usize,
    registered: Vec<Object>,
}

impl<'a> Link<'a> {
    fn of(net: &'a Net, comm: Object, peer: usize, side: Side) -> Option<Link<'a>> {
        (!comm.is_null()).then(|| Link { net, comm, side, peer, registered: Vec::new() })
    }

    /// The rank at the other end.
    pub(crate) fn peer(&self) -> usize {
        self.peer
    }

    /// Registers memory. The buffer must outlive this link.
    pub(crate) fn register(&mut self, buffer: &Buffer) -> Result<Registration, Error> {
        let mut handle = null_mut();
        let at = buffer.address(0).cast::<c_void>();
        let size = buffer.len();
        // SAFETY: the bytes are memory of ours; the link is open.
        let result = unsafe {
            match self.net.table {
                Table::V6(table) => {
                    let size = c_int::try_from(size).unwrap_or(c_int::MAX);
                    (table.reg_mr)(self.comm, at, size, abi::PTR_HOST, &mut handle)
                }
                Table::V8(table) => (table.reg_mr)(self.comm, at, size, abi::PTR_HOST, &mut handle),
                Table::V11(table) => {
                    (table.reg_mr)(self.comm, at, size, abi::PTR_HOST, &mut handle)
                }
            }
        };
        self.net.result_with("regMr", Some(self.peer), result)?;
        self.registered.push(handle);
        Ok(Registration(handle))
    }

    /// Sends; `None`: the plugin cannot take it now.
    ///
    /// # Safety
    /// The bytes lie in the registered buffer and do not change until `test` reports the request
    /// complete or this link is closed.
    pub(crate) unsafe fn isend(
        &self,
        at: *mut u8,
        size: usize,
        registration: Registration,
    ) -> Result<Option<Request>, Error> {
        debug_assert!(self.side == Side::Send);
        let (comm, at, memory) = (self.comm, at.cast::<c_void>(), registration.0);
        let mut request = null_mut();
        // SAFETY: by this function's contract; the driver keeps messages below 2 GiB.
        let result = unsafe {
            match self.net.table {
                Table::V6(t) => (t.isend)(comm, at, size as c_int, TAG, memory, &mut request),
                Table::V8(t) => (t.isend)(comm, at, size as c_int, TAG, memory, &mut request),
                Table::V11(t) => (t.isend)(comm, at, size, TAG, memory, null_mut(), &mut request),
            }
        };
        self.net.result_with("isend", Some(self.peer), result)?;
        Ok((!request.is_null()).then_some(Request(request)))
    }

    /// Receives; `None`: the plugin cannot take it now.
    ///
    /// With `hint` the request pointer holds NCCL_NET_OPTIONAL_RECV_COMPLETION before the call, as
    /// NCCL 2.24 and later do for LL messages; plugins overwrite it.
    ///
    /// # Safety
    /// The bytes lie in the registered buffer and are neither read nor written by anybody else until
    /// `test` reports the request complete or this link is closed.
    pub(crate) unsafe fn irecv(
        &self,
        at: *mut u8,
        size: usize,
        registration: Registration,
        hint: bool,
    ) -> Result<Option<Request>, Error> {
        debug_assert!(self.side == Side::Receive);
        let comm = self.comm;
        let (mut at, mut tag, mut memory) = (at.cast::<c_void>(), TAG, registration.0);
        let mut request = if hint { without_provenance_mut(1) } else { null_mut() };
        // SAFETY: by this function's contract; arrays of one element each.
        let result = unsafe {
            match self.net.table {
                Table::V6(NetV6 { irecv, .. }) | Table::V8(NetV8 { irecv, .. }) => {
                    let mut size = size as c_int;
                    irecv(comm, 1, &mut at, &mut size, &mut tag, &mut memory, &mut request)
                }
                Table::V11(table) => {
                    let mut size = size;
                    let mut profiler = null_mut();
                    (table.irecv)(
                        comm,
                        1,
                        &mut at,
                        &mut size,
                        &mut tag,
                        &mut memory,
                        &mut profiler,
                        &mut request,
                    )
                }
            }
        };
        self.net.result_with("irecv", Some(self.peer), result)?;
        Ok((!request.is_null() && request.addr() != 1).then_some(Request(request)))
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        for &memory in &self.registered {
            // SAFETY: registered with this link, which is still open.
            unsafe { of_any!(self.net, dereg_mr)(self.comm, memory) };
        }
        // SAFETY: open until here. A failure to close has no consequence.
        unsafe {
            match self.side {
                Side::Send => of_any!(self.net, close_send)(self.comm),
                Side::Receive => of_any!(self.net, close_recv)(self.comm),
            }
        };
    }
}

/// NCCL's logger, for warnings: plugins pass a finished text with the format `%s`.
unsafe extern "C" fn log(
    level: c_int,
    _flags: c_ulong,
    _file: *const c_char,
    _line: c_int,
    format: *const c_char,
    first: *const c_char,
) {
    if level > LOG_WARN || format.is_null() {
        return;
    }
    // SAFETY: the format is a C string, and with `%s` the first further argument is one, too.
    let text = unsafe {
        let format = CStr::from_ptr(format);
        if format == c"%s" && !first.is_null() { CStr::from_ptr(first) } else { format }
    };
    eprintln!("flexmig: net plugin: {}", text.to_string_lossy());
}
