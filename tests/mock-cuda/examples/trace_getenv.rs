//! A preloaded library that writes each NCCL_ variable that a program reads to stderr, in the order
//! of reading, among the lines of the preload library.

use std::ffi::{CStr, c_char, c_void};

#[unsafe(no_mangle)]
unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
    // SAFETY: a C string, by getenv's contract.
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    if text.starts_with(b"NCCL_") {
        let line = [b"getenv ", text, b"\n"].concat();
        // SAFETY: a buffer of that length.
        unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
    }
    // SAFETY: a C string.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"getenv".as_ptr()) };
    // SAFETY: libc's function of that name.
    let next = unsafe {
        std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*const c_char) -> *mut c_char>(next)
    };
    // SAFETY: the caller's argument.
    unsafe { next(name) }
}
