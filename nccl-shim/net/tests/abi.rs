//! The built library as NCCL sees it: symbols, structures, properties, and what
//! wrong arguments lead to.

mod common;

use std::ffi::{CStr, CString, c_char, c_int, c_ulong, c_void};
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

use nccl_net_flexmig::abi::{v6, v8, v11, v12};
use nccl_net_flexmig::env_plugin::{Env, InitV1, InitV2};

const NULL: *mut c_void = std::ptr::null_mut();
const INVALID_ARGUMENT: i32 = 4;

/// The address of a symbol of the built library.
fn symbol<T>(name: &CStr) -> &'static T {
    let path = CString::new(common::library().as_os_str().as_bytes()).unwrap();
    // SAFETY: the library is ours and stays loaded; the caller names the right type.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null(), "dlopen {path:?}");
        let address = libc::dlsym(library, name.as_ptr());
        assert!(!address.is_null(), "dlsym {name:?}");
        &*address.cast::<T>()
    }
}

fn text<'a>(pointer: *const c_char) -> &'a str {
    // SAFETY: a C string of the library.
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap()
}

/// Properties filled by the library, from memory that holds a pattern.
fn properties<P: Copy>(get: unsafe extern "C" fn(c_int, *mut P) -> i32) -> P {
    let mut place = std::mem::MaybeUninit::<P>::uninit();
    // SAFETY: room for one; the library fills it.
    unsafe {
        std::ptr::write_bytes(place.as_mut_ptr(), 0xee, 1);
        assert_eq!(get(0, place.as_mut_ptr()), 0);
        assert_eq!(get(1, place.as_mut_ptr()), INVALID_ARGUMENT, "there is one device");
        place.assume_init()
    }
}

#[test]
fn version_6() {
    let net: &v6::Net = symbol(c"ncclNetPlugin_v6");
    assert_eq!(text(net.name.0), "FlexMIG");
    let p = properties(net.get_properties);
    assert_eq!(text(p.name), "FlexMIG");
    assert!(p.pci_path.is_null());
    assert_ne!(p.guid, 0);
    assert_eq!((p.ptr_support, p.speed, p.max_comms, p.max_recvs), (1, 100_000, 65_536, 1));
}

#[test]
fn version_8() {
    let net: &v8::Net = symbol(c"ncclNetPlugin_v8");
    let p = properties(net.get_properties);
    assert_eq!((p.ptr_support, p.reg_is_global, p.speed, p.max_recvs), (1, 0, 100_000, 1));
    assert_eq!((p.net_device_type, p.net_device_version), (0, 0));
    assert!(net.get_device_mr.is_none() && net.irecv_consumed.is_none());
}

#[test]
fn version_11() {
    let net: &v11::Net = symbol(c"ncclNetPlugin_v11");
    let p = properties(net.get_properties);
    assert_eq!((p.force_flush, p.speed, p.max_recvs), (0, 100_000, 1));
    assert_eq!((p.virtual_device.count, p.virtual_device.devices), (1, [0; 4]));
    assert_eq!(
        (p.max_p2p_bytes, p.max_coll_bytes, p.max_multi_request_size),
        (1 << 30, 1 << 30, 1)
    );
    assert!(net.make_virtual_device.is_none());
    let mut context = NULL;
    // SAFETY: as NCCL calls them.
    unsafe {
        assert_eq!((net.init)(&mut context, 1, std::ptr::null(), None, std::ptr::null()), 0);
        assert!(!context.is_null());
        assert_eq!((net.set_net_attr)(context, NULL), 0);
        assert_eq!((net.finalize)(context), 0);
    }
}

#[test]
fn version_12() {
    let net: &v12::Net = symbol(c"ncclNetPlugin_v12");
    let p = properties(net.get_properties);
    assert_eq!((p.virtual_device.count, p.virtual_device.devices), (1, [0; 8]));
    assert_eq!(
        (p.max_p2p_bytes, p.max_coll_bytes, p.max_multi_request_size),
        (1 << 30, 1 << 30, 1)
    );
    assert_eq!((p.rail_id, p.plane_id), (-1, -1));
}

#[test]
fn wrong_arguments_are_errors() {
    let net: &v8::Net = symbol(c"ncclNetPlugin_v8");
    let mut comm: *mut c_void = std::ptr::without_provenance_mut(1);
    let mut handle = [0u8; 128];
    let place = handle.as_mut_ptr().cast();
    let none = std::ptr::null_mut();
    // SAFETY: what NCCL never does, and what must not crash it.
    unsafe {
        assert_eq!((net.connect)(0, place, &mut comm, none), INVALID_ARGUMENT, "a foreign handle");
        assert_eq!((net.listen)(1, place, &mut comm), INVALID_ARGUMENT, "no such device");
        assert_eq!((net.listen)(0, none.cast(), &mut comm), INVALID_ARGUMENT);
        assert_eq!((net.accept)(NULL, &mut comm, none), INVALID_ARGUMENT);
        assert_eq!((net.isend)(NULL, NULL, 0, 0, NULL, &mut comm), INVALID_ARGUMENT);
        assert_eq!((net.test)(NULL, none.cast(), none.cast()), INVALID_ARGUMENT);
        assert_eq!((net.devices)(none.cast()), INVALID_ARGUMENT);
        assert_eq!((net.reg_mr)(NULL, place, 128, 1, none), INVALID_ARGUMENT);
        assert_eq!((net.reg_mr)(NULL, place, 128, 1, &mut comm), 0, "host memory");
        assert_eq!((net.dereg_mr)(NULL, comm), 0);
        assert_eq!((net.dereg_mr)(NULL, NULL), 0);
        assert_eq!((net.reg_mr)(NULL, place, 128, 2, &mut comm), INVALID_ARGUMENT, "GPU memory");
        assert_eq!((net.reg_mr_dma_buf)(NULL, place, 128, 4, 0, -1, &mut comm), INVALID_ARGUMENT);
        assert_eq!((net.iflush)(NULL, 0, none, none.cast(), none, &mut comm), 0);
        assert!(comm.is_null(), "no request to wait for");
        assert_eq!((net.close_send)(NULL), 0);
        assert_eq!((net.close_listen)(NULL), 0);
    }
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// NCCL's logger is variadic; on both processors a function that takes the one
/// argument behind the format can stand in for it.
unsafe extern "C" fn logger(
    _level: c_int,
    _flags: c_ulong,
    _file: *const c_char,
    _line: c_int,
    format: *const c_char,
    argument: *const c_char,
) {
    assert_eq!(text(format), "%s");
    LINES.lock().unwrap().push(text(argument).to_owned());
}

#[test]
fn lines_go_to_nccls_logger() {
    let net: &v6::Net = symbol(c"ncclNetPlugin_v6");
    // SAFETY: see `logger`.
    let logger = unsafe {
        std::mem::transmute::<*const (), nccl_net_flexmig::log::Logger>(logger as *const ())
    };
    let wrong = "flexmig: connect: this handle was not made by the flexmig plugin";
    // The other tests of this file init the same plugin at the same time, with other loggers.
    for _ in 0..1000 {
        let (mut comm, mut handle) = (NULL, [1u8; 128]);
        // SAFETY: as NCCL calls it.
        unsafe {
            assert_eq!((net.init)(Some(logger)), 0);
            (net.connect)(0, handle.as_mut_ptr().cast(), &mut comm);
        }
        if LINES.lock().unwrap().iter().any(|line| line.starts_with(wrong)) {
            break;
        }
    }
    let lines = LINES.lock().unwrap();
    assert!(lines.iter().any(|line| line.starts_with("flexmig: net plugin ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with(wrong)), "{lines:?}");
}

#[test]
fn the_env_plugin_answers_like_the_environment() {
    let v1: &Env<InitV1> = symbol(c"ncclEnvPlugin_v1");
    let v2: &Env<InitV2> = symbol(c"ncclEnvPlugin_v2");
    assert_eq!((text(v1.name.0), text(v2.name.0)), ("FlexMIG", "FlexMIG"));
    // SAFETY: as NCCL calls them.
    unsafe {
        assert_eq!((v2.init)(2, 32, 3, c"".as_ptr(), None), 0);
        assert_eq!((v1.init)(2, 28, 9, c"".as_ptr()), 0, "twice does no harm");
        let path = std::env::var("PATH").unwrap();
        assert_eq!(text((v2.get_env)(c"PATH".as_ptr())), path);
        assert!((v1.get_env)(c"NCCL_P2P_DISABLE_NOT".as_ptr()).is_null());
        assert_eq!((v2.finalize)(), 0);
    }
}
