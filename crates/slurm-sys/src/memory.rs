//! Memory of Slurm's allocator, and fields at an offset.
//!
//! Slurm frees what it finds in its structures with `slurm_xfree`, which steps
//! back over a 16-byte header. A pointer from any other allocator in such a
//! field corrupts the heap silently; therefore every string that we leave
//! behind comes from `slurm_xstrdup`, and this module is the only place that
//! makes them.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Slurm;

/// Text as C takes it: what follows a NUL byte is not part of a C string, so it is cut off.
pub(crate) fn c_string(text: &[u8]) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let end = error.nul_position();
        let mut bytes = error.into_vec();
        bytes.truncate(end);
        CString::new(bytes).unwrap_or_default()
    })
}

impl Slurm {
    /// Zeroed memory of Slurm's allocator. Never null: Slurm ends the process
    /// when memory is out.
    pub(crate) fn xcalloc(self, count: usize, size: usize) -> NonNull<c_void> {
        // SAFETY: no precondition on the sizes; the file and function names are terminated strings.
        let memory = unsafe {
            (self.api().xcalloc)(
                count,
                size,
                true,
                false,
                c"flexmig".as_ptr(),
                0,
                c"flexmig".as_ptr(),
            )
        };
        NonNull::new(memory)
            .unwrap_or_else(|| std::alloc::handle_alloc_error(std::alloc::Layout::new::<u64>()))
    }

    /// A copy in Slurm's memory, owned by whoever takes the pointer.
    pub(crate) fn xstrdup(self, text: &[u8]) -> *mut c_char {
        let text = c_string(text);
        // SAFETY: it copies a terminated string.
        unsafe { (self.api().xstrdup)(text.as_ptr()) }
    }

    /// Frees what the slot points to and leaves null in it. Null is allowed.
    ///
    /// # Safety
    /// The slot is valid, and what it points to is null or owned memory of
    /// Slurm's allocator that nobody uses any more.
    pub(crate) unsafe fn xfree<T>(self, slot: *mut *mut T) {
        // SAFETY: promised by the caller; all data pointers have one representation.
        unsafe { (self.api().xfree)(slot.cast()) }
    }
}

/// A structure of Slurm's, of which we know the offsets of some fields.
///
/// Made only from pointers that Slurm passed to an entry point or that we
/// allocated with the size in the layout table, so that every offset of the
/// table lies inside.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) slurm: Slurm,
    base: NonNull<u8>,
}

impl Fields {
    /// # Safety
    /// `base` points to a live structure to which every offset used later
    /// belongs, for as long as the value is used, and nobody else changes it
    /// meanwhile.
    pub(crate) unsafe fn new<T>(slurm: Slurm, base: NonNull<T>) -> Self {
        Self { slurm, base: base.cast() }
    }

    /// For a private structure, which a micro release may change: `None`, and one
    /// line in the log, if its allocation has not one of the `sizes` we know.
    ///
    /// # Safety
    /// `base` points to a live allocation of Slurm's allocator; if it has one of
    /// the sizes, the promise of [`new`](Self::new) holds.
    pub(crate) unsafe fn checked<T>(
        slurm: Slurm,
        base: NonNull<T>,
        structure: &str,
        sizes: &[usize],
    ) -> Option<(Self, usize)> {
        static REPORTED: AtomicBool = AtomicBool::new(false);
        // SAFETY: Slurm's allocator keeps the size in front of the memory.
        let size = unsafe { (slurm.api().xsize)(base.as_ptr().cast()) };
        if !sizes.contains(&size) {
            if !REPORTED.swap(true, Ordering::Relaxed) {
                crate::log::error(format_args!(
                    "{structure}: Slurm {} has {size} bytes where {sizes:?} is known: left alone: \
                     install a newer flexmig",
                    slurm.version()
                ));
            }
            return None;
        }
        // SAFETY: promised by the caller for these sizes.
        Some((unsafe { Self::new(slurm, base) }, size))
    }

    pub(crate) fn base<T>(self) -> *mut T {
        self.base.as_ptr().cast()
    }

    /// The address of a field. Fields are aligned by the C compiler; the tables
    /// are compared with its headers.
    pub(crate) fn slot<T>(self, offset: usize) -> *mut T {
        debug_assert_ne!(offset, crate::layout::NONE);
        // SAFETY: the offset is inside the structure (see `new`).
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    pub(crate) fn get<T: Copy>(self, offset: usize) -> T {
        // SAFETY: `slot` is valid and aligned for the field; T is the field's
        // type or one of its size for which all bit patterns are valid.
        unsafe { self.slot::<T>(offset).read() }
    }

    pub(crate) fn set<T: Copy>(self, offset: usize, value: T) {
        // SAFETY: as in `get`; callers hold the structure exclusively (`&mut`).
        unsafe { self.slot::<T>(offset).write(value) }
    }

    /// A `char *` field, null as `None`. The lifetime is the caller's to bound
    /// by a borrow of its structure.
    pub(crate) fn c_str<'a>(self, offset: usize) -> Option<&'a CStr> {
        let pointer = NonNull::new(self.get::<*mut c_char>(offset))?;
        // SAFETY: Slurm's char * fields are null or terminated strings; callers
        // tie 'a to a shared borrow, and only `set_text` with `&mut` frees the string.
        Some(unsafe { CStr::from_ptr(pointer.as_ptr()) })
    }

    /// Replaces a `char *` field. Empty text is kept as an empty string.
    pub(crate) fn set_text(self, offset: usize, text: Option<&[u8]>) {
        // First the copy: the text may come from the old string.
        let mut old = text.map_or(null_mut(), |text| self.slurm.xstrdup(text));
        // SAFETY: the slot is a char * field, exclusively held; `old` then holds
        // the former string, which Slurm's allocator made and the structure owned.
        unsafe {
            self.slot::<*mut c_char>(offset).swap(&raw mut old);
            self.slurm.xfree(&raw mut old);
        }
    }
}

/// Text of Slurm's for reading; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn text(string: Option<&CStr>) -> Option<Cow<'_, str>> {
    string.map(CStr::to_string_lossy)
}
