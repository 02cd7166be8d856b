//! Resolves CUDA's and NVML's entry points, and prints what it gets.
//!
//! `usage: mock-cudart [LIBRARY]`
//!
//! Itself, as any program would, and then through LIBRARY, which stands in for NCCL.

use std::ffi::{CString, c_void};
use std::process::ExitCode;

#[path = "../resolve.rs"]
mod resolve;

fn main() -> ExitCode {
    // A function that stand_in_next may have in front of libc's.
    // SAFETY: no preconditions.
    let (asked, told) = unsafe { (i64::from(libc::getppid()), libc::syscall(libc::SYS_getppid)) };
    println!("getppid: {}", if asked == told { "right" } else { "wrong" });
    let Some(library) = std::env::args().nth(1) else {
        resolve::look_up();
        return ExitCode::SUCCESS;
    };
    let Ok(path) = CString::new(library) else { return ExitCode::FAILURE };
    // SAFETY: C strings.
    let function = unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        if handle.is_null() { handle } else { libc::dlsym(handle, c"look_up".as_ptr()) }
    };
    if function.is_null() {
        eprintln!("mock-cudart: {}: not a library with look_up", path.to_string_lossy());
        return ExitCode::FAILURE;
    }
    // SAFETY: the library's function of that name.
    unsafe { std::mem::transmute::<*mut c_void, extern "C" fn()>(function)() };
    ExitCode::SUCCESS
}
