//! The exported `dlsym`.
//!
//! glibc's looks at its return address: `RTLD_NEXT` and `RTLD_DEFAULT` mean the caller's object. So
//! ours is a naked function. It asks [`route`] with the caller's address, and then jumps to the real
//! one as if it had never been there, or returns what `route` found.

use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::{elf, relabel};

/// The next `dlsym` after ours, once the constructor has found it.
static REAL: AtomicUsize = AtomicUsize::new(0);

/// What the exported function is to do.
#[repr(C)]
struct Route {
    /// Jump there, if it is not 0.
    jump: usize,
    /// Else return this.
    answer: usize,
}

/// Stores where the real `dlsym` is. It is another preloaded library's, or libc's; before glibc 2.34
/// it is libdl's, which a process may not have, or have later.
pub fn remember_real() {
    REAL.store(find_real(), Relaxed);
}

fn find_real() -> usize {
    let ours = &raw const REAL as usize;
    let mut passed = false;
    elf::find(|object| {
        if passed {
            return object.symbol(b"dlsym");
        }
        passed = object.contains(ours);
        None
    })
    .unwrap_or(0)
}

/// The real `dlsym`, or 0. Other libraries call before our constructor has run, and from any thread.
fn real() -> usize {
    match REAL.load(Relaxed) {
        0 => find_real(),
        real => real,
    }
}

extern "C" fn route(handle: *mut c_void, name: *const c_char, caller: usize) -> Route {
    let real = real();
    let jump = Route { jump: real, answer: 0 };
    // RTLD_DEFAULT and RTLD_NEXT.
    if real == 0 || name.is_null() || handle.is_null() || handle == libc::RTLD_NEXT {
        return jump;
    }
    // SAFETY: the caller's C string, which the real one reads too.
    let name = unsafe { CStr::from_ptr(name) };
    if !relabel::interesting(name.to_bytes()) {
        return jump;
    }
    // SAFETY: the address of a function with dlsym's type.
    let dlsym = unsafe { core::mem::transmute::<usize, relabel::Dlsym>(real) };
    match relabel::answer(dlsym, handle, name, caller) {
        Some(answer) => Route { jump: 0, answer },
        None => jump,
    }
}

/// `void *dlsym(void *handle, const char *name)`.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    // A structure of two words comes back in rax and rdx. On entry the stack is 8 bytes off a
    // multiple of 16; two pushes and 8 bytes make it one.
    core::arch::naked_asm!(
        "endbr64",
        "mov rdx, [rsp]",
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {route}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        "2:",
        "mov rax, rdx",
        "ret",
        route = sym route,
    )
}

/// `void *dlsym(void *handle, const char *name)`.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    // A structure of two words comes back in x0 and x1; x30 holds the return address. "hint 34" is
    // "bti c", a valid target of an indirect call.
    core::arch::naked_asm!(
        "hint #34",
        "stp x29, x30, [sp, #-32]!",
        "mov x29, sp",
        "stp x0, x1, [sp, #16]",
        "mov x2, x30",
        "bl {route}",
        "mov x16, x0",
        "mov x17, x1",
        "ldp x0, x1, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "cbz x16, 2f",
        "br x16",
        "2:",
        "mov x0, x17",
        "ret",
        route = sym route,
    )
}
