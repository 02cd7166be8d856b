//! What a library does to learn bus ids, the way CUDA's static runtime and NCCL do it. Compiled into
//! the program and into the library that stands in for NCCL, because who calls `dlsym` matters.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr::null_mut;

type GetProcAddress =
    unsafe extern "C" fn(*const c_char, *mut *mut c_void, c_int, u64, *mut c_int) -> c_int;
type GetProcAddressOld = unsafe extern "C" fn(*const c_char, *mut *mut c_void, c_int, u64) -> c_int;
type GetBusId = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
type ByBusId = unsafe extern "C" fn(*mut c_int, *const c_char) -> c_int;
type NvmlInit = unsafe extern "C" fn() -> c_int;
type NvmlByBusId = unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> c_int;
type NvmlIndex = unsafe extern "C" fn(*mut c_void, *mut u32) -> c_int;
type P2pStatus = unsafe extern "C" fn(*mut c_void, *mut c_void, u32, *mut c_int) -> c_int;

/// Looks everything up and prints what was found, a fact on a line.
pub fn look_up() {
    cuda();
    nvml();
}

fn open(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a C string.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY) };
    (!handle.is_null()).then_some(handle)
}

fn symbol(library: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: an open library and a C string.
    unsafe { libc::dlsym(library, name.as_ptr()) }
}

/// The file that a function is in.
fn home(function: *mut c_void) -> String {
    // SAFETY: all fields are pointers, which may be null.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: any address may be asked for.
    if function.is_null() || unsafe { libc::dladdr(function, &mut info) } == 0 {
        return "nowhere".to_owned();
    }
    // SAFETY: the loader's C string.
    let path = unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy().into_owned();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn cuda() {
    let Some(library) = open(c"libcuda.so.1") else { return println!("libcuda: none") };
    let entry = symbol(library, c"cuGetProcAddress_v2");
    println!("dlsym cuGetProcAddress_v2: {}", home(entry));
    for name in [c"cuInit", c"cuDeviceGetUuid_v2", c"cuDeviceGetPCIBusId", c"cuNoSuchFunction"] {
        println!("dlsym {}: {}", name.to_string_lossy(), home(symbol(library, name)));
    }
    // SAFETY: CUDA's function of that name.
    let get = unsafe { transmute::<*mut c_void, GetProcAddress>(entry) };
    let resolve = |name: &CStr, version: c_int| {
        let (mut function, mut status) = (null_mut(), 0);
        // SAFETY: a C string and two places for answers.
        unsafe { get(name.as_ptr(), &mut function, version, 0, &mut status) };
        function
    };
    // cudart asks for the entry point again through itself, NCCL for the form of CUDA 11.
    let again = resolve(c"cuGetProcAddress", 12_000);
    println!("cuGetProcAddress 12000: {}", home(again));
    let old = resolve(c"cuGetProcAddress", 11_030);
    println!("cuGetProcAddress 11030: {}", home(old));
    for name in [c"cuInit", c"cuDeviceGetUuid", c"cuDeviceGetByPCIBusId"] {
        println!("cuGetProcAddress {}: {}", name.to_string_lossy(), home(resolve(name, 11_040)));
    }
    let mut function = null_mut();
    // SAFETY: CUDA's function in its form without a status.
    let old = unsafe { transmute::<*mut c_void, GetProcAddressOld>(old) };
    // SAFETY: a C string and a place for the answer.
    unsafe { old(c"cuDeviceGetPCIBusId".as_ptr(), &mut function, 4010, 0) };
    let mut forms = vec![function, resolve(c"cuDeviceGetPCIBusId", 4010)];
    forms.push(symbol(library, c"cuDeviceGetPCIBusId"));
    for function in forms {
        // SAFETY: CUDA's function of that name.
        let get = unsafe { transmute::<*mut c_void, GetBusId>(function) };
        let ids = [13, 16, 3].map(|length: usize| {
            let mut id = [0u8; 16];
            // SAFETY: a buffer of at least that length.
            let result = unsafe { get(id.as_mut_ptr().cast(), length as c_int, 0) };
            let text = CStr::from_bytes_until_nul(&id).unwrap_or_default();
            format!("{result} {}", text.to_string_lossy())
        });
        println!("own bus id: {}", ids.join("; "));
    }
    for id in ids() {
        // SAFETY: CUDA's function of that name.
        let find =
            unsafe { transmute::<*mut c_void, ByBusId>(resolve(c"cuDeviceGetByPCIBusId", 4010)) };
        let mut ordinal = -1;
        let text = CString::new(id.as_str()).unwrap_or_default();
        // SAFETY: a C string and a place for the answer.
        let result = unsafe { find(&mut ordinal, text.as_ptr()) };
        println!("cuda {id}: {result} device {ordinal}");
    }
}

/// Bus ids to ask for: those of all leaves, as NCCL does, and more that the caller names.
fn ids() -> Vec<String> {
    let lists =
        ["FLEXMIG_BUS_IDS", "ASK_BUS_IDS"].map(|name| std::env::var(name).unwrap_or_default());
    lists
        .iter()
        .flat_map(|list| list.split(','))
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect()
}

fn nvml() {
    let Some(library) = open(c"libnvidia-ml.so.1") else { return println!("libnvidia-ml: none") };
    // SAFETY: NVML's functions of those names.
    let (init, index) = unsafe {
        (
            transmute::<*mut c_void, NvmlInit>(symbol(library, c"nvmlInit_v2")),
            transmute::<*mut c_void, NvmlIndex>(symbol(library, c"nvmlDeviceGetIndex")),
        )
    };
    // SAFETY: no preconditions.
    println!("nvmlInit: {}", unsafe { init() });
    let mut handles = Vec::new();
    // NCCL asks for the first.
    for name in [c"nvmlDeviceGetHandleByPciBusId", c"nvmlDeviceGetHandleByPciBusId_v2"] {
        let by_bus_id = symbol(library, name);
        println!("dlsym {}: {}", name.to_string_lossy(), home(by_bus_id));
        // SAFETY: NVML's function of that name.
        let by_bus_id = unsafe { transmute::<*mut c_void, NvmlByBusId>(by_bus_id) };
        handles.clear();
        for id in ids() {
            let (mut handle, mut place) = (null_mut(), u32::MAX);
            let text = CString::new(id.as_str()).unwrap_or_default();
            // SAFETY: a C string and a place for the answer.
            let result = unsafe { by_bus_id(text.as_ptr(), &mut handle) };
            if result == 0 {
                // SAFETY: a handle of NVML's and a place for the answer.
                unsafe { index(handle, &mut place) };
                handles.push(handle);
            }
            println!("nvml {id}: {result} GPU {}", place as i32);
        }
    }
    let p2p = symbol(library, c"nvmlDeviceGetP2PStatus");
    println!("dlsym nvmlDeviceGetP2PStatus: {}", home(p2p));
    // SAFETY: NVML's function of that name.
    let p2p = unsafe { transmute::<*mut c_void, P2pStatus>(p2p) };
    for (one, other) in handles.iter().zip(handles.iter().skip(1)) {
        let mut status = -1;
        // SAFETY: two handles of NVML's and a place for the answer.
        unsafe { p2p(*one, *other, 0, &mut status) };
        println!("p2p: {status}");
    }
}
