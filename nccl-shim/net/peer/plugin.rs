//! The built plugin, loaded the way NCCL does, behind one set of functions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nccl_net_flexmig::abi::{v6, v8, v11, v12};

const NULL: *mut c_void = std::ptr::null_mut();

/// One of the structures.
#[derive(Clone, Copy)]
enum Net {
    V6(*const v6::Net),
    V8(*const v8::Net),
    V11(*const v11::Net),
    V12(*const v12::Net),
}

/// What every call returns: `ncclResult_t` if it is not success.
pub type Answer<T> = Result<T, i32>;

fn answer<T>(code: i32, value: T) -> Answer<T> {
    if code == 0 { Ok(value) } else { Err(code) }
}

/// Calls a function of the structure, whichever version it is.
macro_rules! call {
    ($self:expr, $field:ident, $($argument:expr),*) => {
        match $self.net {
            Net::V6(net) => ((*net).$field)($($argument),*),
            Net::V8(net) => ((*net).$field)($($argument),*),
            Net::V11(net) => ((*net).$field)($($argument),*),
            Net::V12(net) => ((*net).$field)($($argument),*),
        }
    };
}

/// Bytes that are registered with each connection, as NCCL's Simple protocol does.
const REGION: usize = 4 << 20;

/// A loaded plugin. It stays loaded.
pub struct Plugin {
    net: Net,
    context: *mut c_void,
    /// Of each connection.
    handles: RefCell<HashMap<usize, *mut c_void>>,
}

impl Plugin {
    /// Loads a library and takes one version's structure.
    pub fn load(path: &Path, version: u32) -> Self {
        // SAFETY: the library is ours; its symbols have these types.
        unsafe {
            let path = CString::new(path.as_os_str().as_bytes()).unwrap();
            let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            assert!(!library.is_null(), "dlopen {path:?}");
            let symbol = CString::new(format!("ncclNetPlugin_v{version}")).unwrap();
            let address = libc::dlsym(library, symbol.as_ptr()).cast_const();
            assert!(!address.is_null(), "dlsym {symbol:?}");
            let net = match version {
                6 => Net::V6(address.cast()),
                8 => Net::V8(address.cast()),
                11 => Net::V11(address.cast()),
                12 => Net::V12(address.cast()),
                other => panic!("no version {other}"),
            };
            let mut context = NULL;
            let code = match net {
                Net::V6(net) => ((*net).init)(None),
                Net::V8(net) => ((*net).init)(None),
                Net::V11(net) => {
                    ((*net).init)(&mut context, 7, std::ptr::null(), None, std::ptr::null())
                }
                Net::V12(net) => {
                    ((*net).init)(&mut context, 7, std::ptr::null(), None, std::ptr::null())
                }
            };
            assert_eq!(code, 0, "init");
            Self { net, context, handles: RefCell::default() }
        }
    }

    pub fn listen(&self) -> Answer<(*mut c_void, [u8; 128])> {
        let (mut comm, mut handle) = (NULL, [0u8; 128]);
        let place = handle.as_mut_ptr().cast();
        // SAFETY: called as NCCL does.
        let code = unsafe {
            match self.net {
                Net::V6(net) => ((*net).listen)(0, place, &mut comm),
                Net::V8(net) => ((*net).listen)(0, place, &mut comm),
                Net::V11(net) => ((*net).listen)(self.context, 0, place, &mut comm),
                Net::V12(net) => ((*net).listen)(self.context, 0, place, &mut comm),
            }
        };
        answer(code, (comm, handle))
    }

    /// One try; `handle` stays at its place between tries, as with NCCL.
    pub fn connect(&self, handle: &mut [u8; 128]) -> Answer<Option<*mut c_void>> {
        let (mut comm, mut device) = (NULL, NULL);
        let place = handle.as_mut_ptr().cast();
        // SAFETY: called as NCCL does.
        let code = unsafe {
            match self.net {
                Net::V6(net) => ((*net).connect)(0, place, &mut comm),
                Net::V8(net) => ((*net).connect)(0, place, &mut comm, &mut device),
                Net::V11(net) => ((*net).connect)(self.context, 0, place, &mut comm, &mut device),
                Net::V12(net) => ((*net).connect)(self.context, 0, place, &mut comm, &mut device),
            }
        };
        assert!(device.is_null());
        answer(code, if code == 0 { self.registered(comm) } else { None })
    }

    pub fn accept(&self, listener: *mut c_void) -> Answer<Option<*mut c_void>> {
        let (mut comm, mut device) = (NULL, NULL);
        // SAFETY: called as NCCL does.
        let code = unsafe {
            match self.net {
                Net::V6(net) => ((*net).accept)(listener, &mut comm),
                Net::V8(net) => ((*net).accept)(listener, &mut comm, &mut device),
                Net::V11(net) => ((*net).accept)(listener, &mut comm, &mut device),
                Net::V12(net) => ((*net).accept)(listener, &mut comm, &mut device),
            }
        };
        answer(code, if code == 0 { self.registered(comm) } else { None })
    }

    /// A new connection, with memory registered.
    fn registered(&self, comm: *mut c_void) -> Option<*mut c_void> {
        if comm.is_null() {
            return None;
        }
        let (place, mut handle) = (std::ptr::dangling_mut(), NULL);
        // SAFETY: nothing is ever done to the memory itself.
        let code = unsafe {
            match self.net {
                Net::V6(net) => ((*net).reg_mr)(comm, place, REGION as i32, 1, &mut handle),
                Net::V8(net) => ((*net).reg_mr)(comm, place, REGION, 1, &mut handle),
                Net::V11(net) => ((*net).reg_mr)(comm, place, REGION, 1, &mut handle),
                Net::V12(net) => ((*net).reg_mr)(comm, place, REGION, 1, &mut handle),
            }
        };
        assert_eq!(code, 0, "regMr");
        self.handles.borrow_mut().insert(comm.addr(), handle);
        Some(comm)
    }

    /// Messages of even length belong to the registered memory, others to none: these
    /// the plugin must take for ones that a GPU polls.
    fn handle(&self, comm: *mut c_void, len: usize) -> *mut c_void {
        let handle = self.handles.borrow().get(&comm.addr()).copied();
        handle.filter(|_| len.is_multiple_of(2)).unwrap_or(NULL)
    }

    fn deregister(&self, comm: *mut c_void) {
        if let Some(handle) = self.handles.borrow_mut().remove(&comm.addr()) {
            // SAFETY: from `regMr`, once.
            assert_eq!(unsafe { call!(self, dereg_mr, comm, handle) }, 0);
        }
    }

    pub fn isend(&self, comm: *mut c_void, data: &[u8]) -> Answer<Option<*mut c_void>> {
        let (place, len, mut request) = (data.as_ptr().cast_mut().cast(), data.len(), NULL);
        let h = self.handle(comm, len);
        // SAFETY: the caller keeps the buffer.
        let code = unsafe {
            match self.net {
                Net::V6(net) => ((*net).isend)(comm, place, len as i32, 0, h, &mut request),
                Net::V8(net) => ((*net).isend)(comm, place, len as i32, 0, h, &mut request),
                Net::V11(net) => ((*net).isend)(comm, place, len, 0, h, NULL, &mut request),
                Net::V12(net) => ((*net).isend)(comm, place, len, 0, h, NULL, &mut request),
            }
        };
        answer(code, (!request.is_null()).then_some(request))
    }

    pub fn irecv(&self, comm: *mut c_void, data: &mut [u8]) -> Answer<Option<*mut c_void>> {
        let mut place = data.as_mut_ptr().cast();
        let (mut len, mut tag, mut size) = (data.len() as i32, 0, data.len());
        let mut handle = self.handle(comm, size);
        // NCCL's hint that it does not wait for the completion.
        let mut request: *mut c_void = std::ptr::without_provenance_mut(1);
        let none = std::ptr::null_mut();
        // SAFETY: the caller keeps the buffer.
        let code = unsafe {
            let (p, t, h, r) = (&mut place, &mut tag, &mut handle, &mut request);
            match self.net {
                Net::V6(net) => ((*net).irecv)(comm, 1, p, &mut len, t, h, r),
                Net::V8(net) => ((*net).irecv)(comm, 1, p, &mut len, t, h, r),
                Net::V11(net) => ((*net).irecv)(comm, 1, p, &mut size, t, h, none, r),
                Net::V12(net) => ((*net).irecv)(comm, 1, p, &mut size, t, h, none, r),
            }
        };
        assert!(code != 0 || request as usize != 1, "the hint must be overwritten");
        answer(code, (!request.is_null()).then_some(request))
    }

    /// The size if the request is over.
    pub fn test(&self, request: *mut c_void) -> Answer<Option<usize>> {
        let (mut done, mut size) = (-1, -1);
        // SAFETY: the request is in flight.
        let code = unsafe { call!(self, test, request, &mut done, &mut size) };
        answer(code, (done == 1).then_some(size as usize))
    }

    pub fn close_send(&self, comm: *mut c_void) {
        self.deregister(comm);
        // SAFETY: not used any more.
        assert_eq!(unsafe { call!(self, close_send, comm) }, 0);
    }

    pub fn close_recv(&self, comm: *mut c_void) {
        self.deregister(comm);
        // SAFETY: not used any more.
        assert_eq!(unsafe { call!(self, close_recv, comm) }, 0);
    }

    pub fn close_listen(&self, listener: *mut c_void) {
        // SAFETY: not used any more.
        assert_eq!(unsafe { call!(self, close_listen, listener) }, 0);
    }
}
