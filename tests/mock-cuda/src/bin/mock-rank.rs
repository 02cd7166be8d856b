//! Starts a rank of a real libnccl.so.2, as far as it goes without a GPU: to the checks that CUDA's
//! runtime makes at its start.
//!
//! usage: mock-rank LIBNCCL RANK
//!
//! Rank 0 makes the unique id first, as in every program; the others get one.

use std::ffi::{CString, c_int, c_void};
use std::process::ExitCode;

#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId([u8; 128]);

type GetVersion = unsafe extern "C" fn(*mut c_int) -> c_int;
type GetUniqueId = unsafe extern "C" fn(*mut UniqueId) -> c_int;
type CommInitRank = unsafe extern "C" fn(*mut *mut c_void, c_int, UniqueId, c_int) -> c_int;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, rank] = &arguments[..] else {
        eprintln!("usage: mock-rank LIBNCCL RANK");
        return ExitCode::FAILURE;
    };
    let (Ok(path), Ok(rank)) = (CString::new(library.as_str()), rank.parse::<c_int>()) else {
        return ExitCode::FAILURE;
    };
    // SAFETY: a C string.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY) };
    if library.is_null() {
        eprintln!("mock-rank: {} cannot be loaded", path.to_string_lossy());
        return ExitCode::FAILURE;
    }
    // SAFETY: an open library and C strings; NCCL's functions of those names.
    let (version, unique_id, init) = unsafe {
        (
            std::mem::transmute::<*mut c_void, GetVersion>(libc::dlsym(
                library,
                c"ncclGetVersion".as_ptr(),
            )),
            std::mem::transmute::<*mut c_void, GetUniqueId>(libc::dlsym(
                library,
                c"ncclGetUniqueId".as_ptr(),
            )),
            std::mem::transmute::<*mut c_void, CommInitRank>(libc::dlsym(
                library,
                c"ncclCommInitRank".as_ptr(),
            )),
        )
    };
    let mut number = 0;
    // SAFETY: a place for the answer.
    let result = unsafe { version(&mut number) };
    eprintln!("ncclGetVersion: {result} {number}");
    let mut id = UniqueId([0; 128]);
    if rank == 0 {
        // SAFETY: a place for the answer.
        eprintln!("ncclGetUniqueId: {}", unsafe { unique_id(&mut id) });
    }
    let mut comm = std::ptr::null_mut();
    // SAFETY: a place for the answer, and an id.
    eprintln!("ncclCommInitRank: {}", unsafe { init(&mut comm, rank + 1, id, rank) });
    ExitCode::SUCCESS
}
