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

    /// The entries as they stand in the array.
    fn pointers(&self) -> impl Iterator<Item = NonNull<c_char>> {
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
            Some(entry)
        })
    }

    /// The entries, `NAME=value`, in order. Names may repeat: the first counts.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        // SAFETY: entries are terminated strings; `&self` keeps them from being freed.
        self.pointers().map(|entry| unsafe { CStr::from_ptr(entry.as_ptr()) }.to_bytes())
    }

    /// Whether the name of some entry begins like this. Looks at the beginnings only, which is
    /// what most jobs cost at submission.
    #[must_use]
    pub fn has_prefix(&self, prefix: &CStr) -> bool {
        let [first, ..] = *prefix.to_bytes_with_nul() else { return false };
        let length = prefix.count_bytes();
        self.pointers().any(|entry| {
            // SAFETY: both are terminated strings, so each has a first byte, and strncmp stops at
            // the end of either.
            unsafe {
                entry.cast::<u8>().read() == first
                    && libc::strncmp(entry.as_ptr(), prefix.as_ptr(), length) == 0
            }
        })
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pointers().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pointers().next().is_none()
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

#[cfg(test)]
mod tests {
    use crate::testing::{self, TestEnv};

    #[test]
    fn variables_are_set_replaced_and_removed() {
        let Some(slurm) = testing::slurm() else { return };
        let mut test = TestEnv::new(slurm, &[("HOME", "/root"), ("HOMEPAGE", "x")]);
        let mut env = test.env();
        env.set("FLEXMIG_UUIDS", "MIG-1,MIG-2");
        env.set("HOME", "/home/a=b %s");
        assert_eq!(env.get("HOME").as_deref(), Some("/home/a=b %s"));
        assert_eq!(env.get("HOMEPAGE").as_deref(), Some("x"));
        assert_eq!(env.get("FLEXMIG_UUIDS").as_deref(), Some("MIG-1,MIG-2"));
        assert_eq!(env.len(), 3);
        assert!(env.has_prefix(c"FLEXMIG_") && env.has_prefix(c"HOMEPAGE=x"));
        assert!(!env.has_prefix(c"HOMEPAGE=xy") && !env.has_prefix(c"EXMIG"));
        assert!(env.remove("HOME"));
        assert!(!env.remove("HOME"));
        assert!(env.remove("FLEXMIG_UUIDS"), "the last entry");
        assert_eq!(env.iter().collect::<Vec<_>>(), [b"HOMEPAGE=x"]);
    }

    #[test]
    fn an_array_that_is_null_is_empty_until_something_is_set() {
        let Some(slurm) = testing::slurm() else { return };
        let mut test = TestEnv::new(slurm, &[]);
        assert!(test.env().is_empty());
        assert!(!test.env().remove("A"));
        assert_eq!(test.env().get("A"), None);
        for i in 0..200 {
            test.env().set(&format!("V{i}"), i.to_string());
        }
        assert_eq!(test.env().len(), 200);
        assert_eq!(test.env().get("V199").as_deref(), Some("199"));
    }

    #[test]
    fn every_entry_of_a_repeated_name_goes() {
        let Some(slurm) = testing::slurm() else { return };
        // Two names of one length become one name, in place: Slurm itself does not repeat names.
        let mut test = TestEnv::new(slurm, &[("A1", "x"), ("A2", "y"), ("A3", "z"), ("B", "b")]);
        let mut next = test.array_for_test();
        // SAFETY: entries are writable strings longer than two bytes; the array ends with null.
        unsafe {
            while !next.read().is_null() {
                if next.read().read() == b'A' as std::ffi::c_char {
                    next.read().add(1).write(b'A' as std::ffi::c_char);
                }
                next = next.add(1);
            }
        }
        assert!(test.env().remove("AA"));
        assert_eq!(test.env().iter().collect::<Vec<_>>(), [b"B=b"]);
    }

    #[test]
    fn names_that_no_environment_can_hold_are_not_set() {
        let Some(slurm) = testing::slurm() else { return };
        let mut test = TestEnv::new(slurm, &[]);
        for name in ["", "A=B", "A\0B"] {
            test.env().set(name, "x");
        }
        assert!(test.env().is_empty());
        test.env().set("A", "x\0y");
        assert_eq!(test.env().get("A").as_deref(), Some("x"));
    }
}
