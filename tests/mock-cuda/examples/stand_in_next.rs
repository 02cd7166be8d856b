//! A preloaded library as many are: stands in front of a function of libc's, which it finds with
//! `RTLD_NEXT`, from its own place in the order. Asked from another place it would find itself.

use std::ffi::c_void;

#[unsafe(no_mangle)]
extern "C" fn getppid() -> libc::pid_t {
    // SAFETY: a C string.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"getppid".as_ptr()) };
    if next.is_null() || next == getppid as *mut c_void {
        return -1;
    }
    // SAFETY: libc's function of that name.
    unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> libc::pid_t>(next)() }
}
