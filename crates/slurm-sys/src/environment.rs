//! Environment arrays: `char **` of `NAME=value`, ended by null.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::Slurm;
use crate::memory::c_string;

/// An environment array behind a `char ***`, as the `set_env` functions of a
/// GRES plugin get it. The array may be null: then it is empty, and the first
/// [`set`](Self::set) makes it.
pub struct EnvArray<'a> {
    slurm: Slurm,
    array: NonNull<*mut *mut c_char>,
    _borrow: PhantomData<&'a mut *mut c_char>,
}

impl EnvArray<'_> {
    /// `None` for a null pointer.
    ///
    /// # Safety
    /// `array` is null or points to an environment array of Slurm's allocator
    /// (null or ended by null), which nobody else uses during `'a`.
    #[must_use]
    pub unsafe fn from_raw(slurm: Slurm, array: *mut *mut *mut c_char) -> Option<Self> {
        Some(Self { slurm, array: NonNull::new(array)?, _borrow: PhantomData })
    }

    /// The entries, `NAME=value`, in order. Names may repeat: the first counts.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        // SAFETY: `array` is valid (see `from_raw`).
        let mut next = unsafe { self.array.read() };
        std::iter::from_fn(move || {
            if next.is_null() {
                return None;
            }
            // SAFETY: the array is ended by null, which stops the walk before its end.
            let entry = NonNull::new(unsafe { next.read() })?;
            // SAFETY: at most one past the entry read, hence not past the null.
            next = unsafe { next.add(1) };
            // SAFETY: entries are terminated strings; `&self` keeps them from being freed.
            Some(unsafe { CStr::from_ptr(entry.as_ptr()) }.to_bytes())
        })
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The value of a variable, byte for byte.
    #[must_use]
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        self.iter().find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// The value of a variable; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get_bytes(name).map(String::from_utf8_lossy)
    }

    /// Sets a variable, replacing what is there. A value is cut at a NUL byte; a
    /// name that is empty or holds `=` or NUL cannot be set, and is not.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        if name.is_empty() || name.contains(['=', '\0']) {
            return;
        }
        let (name, value) = (c_string(name.as_bytes()), c_string(value.as_ref()));
        // SAFETY: the array is Slurm's and exclusively ours (see `from_raw`); the
        // strings are terminated, and Slurm copies them.
        unsafe {
            (self.slurm.api().env_array_overwrite)(
                self.array.as_ptr(),
                name.as_ptr(),
                value.as_ptr(),
            );
        }
    }

    /// Removes a variable. Says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let found = self.get_bytes(name).is_some();
        let c_name = c_string(name.as_bytes());
        // slurm_unsetenvp steps over the entry that follows a removed one, so a
        // second entry of the same name right behind the first would survive.
        while self.get_bytes(name).is_some() {
            // SAFETY: the array is not null (it has the entry) and ours; Slurm
            // frees the entry, which its allocator made, and closes the gap.
            unsafe { (self.slurm.api().unsetenvp)(self.array.read(), c_name.as_ptr()) };
        }
        found
    }
}
