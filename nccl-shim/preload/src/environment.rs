//! The environment of this process, read where it is: bash exports functions `getenv` and `setenv`
//! of its own, which know bash's variables and not `environ`.

use core::ffi::{CStr, c_char, c_int};

use flexmig_core::rank::View;

use crate::elf;

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Calls `visit` with each `NAME=value`, until it answers.
fn find<T>(mut visit: impl FnMut(&'static [u8]) -> Option<T>) -> Option<T> {
    // SAFETY: libc's variable; reading it races with a concurrent setenv as getenv does.
    let mut entry = unsafe { environ };
    if entry.is_null() {
        return None;
    }
    loop {
        // SAFETY: `entry` is in the array, which ends with a null pointer.
        let text = unsafe { *entry };
        if text.is_null() {
            return None;
        }
        // SAFETY: entries are C strings. They stay, as for getenv, unless somebody changes them
        // while we look; we keep none beyond a call.
        let text = unsafe { CStr::from_ptr(text) };
        if let Some(found) = visit(text.to_bytes()) {
            return Some(found);
        }
        // SAFETY: this was not the last one.
        entry = unsafe { entry.add(1) };
    }
}

/// The value of a variable.
pub fn get(name: &CStr) -> Option<&'static [u8]> {
    find(|entry| entry.strip_prefix(name.to_bytes())?.strip_prefix(b"="))
}

/// What a binding depends on.
pub fn view() -> View<'static> {
    let mut view = View::new();
    find(|entry| -> Option<()> {
        view.take(entry);
        None
    });
    view
}

/// libc's `setenv`, whoever else exports one.
pub struct Setter(unsafe extern "C" fn(*const c_char, *const c_char, c_int) -> c_int);

impl Setter {
    /// Finds it in the object that defines `__libc_start_main`.
    pub fn find() -> Option<Setter> {
        let address = elf::find(|object| {
            object.symbol(b"__libc_start_main")?;
            object.symbol(b"setenv")
        })?;
        // SAFETY: libc's function of that name has this type.
        Some(Setter(unsafe {
            core::mem::transmute::<
                usize,
                unsafe extern "C" fn(*const c_char, *const c_char, c_int) -> c_int,
            >(address)
        }))
    }

    /// Sets a variable, in place of any value that there is.
    pub fn set(&self, name: &CStr, value: &CStr) {
        // SAFETY: two C strings; libc copies them. Constructors run on one thread.
        unsafe { (self.0)(name.as_ptr(), value.as_ptr(), 1) };
    }
}
