//! An answer of the controller, and fields in its records. All reading of foreign memory in this
//! module tree is here.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::api::FreeFn;
use super::{Cluster, ClusterError};
use crate::layout::NONE;
use crate::{NO_VAL, NO_VAL16, NO_VAL64};

/// A message that Slurm unpacked for us, freed by its own function.
pub(super) struct Message {
    cluster: Cluster,
    head: NonNull<u8>,
    free: FreeFn,
}

impl Message {
    /// # Safety
    /// `head` is a message that nobody else owns, and `free` its destructor.
    pub(super) unsafe fn new(cluster: Cluster, head: NonNull<u8>, free: FreeFn) -> Self {
        Self { cluster, head, free }
    }

    pub(super) fn cluster(&self) -> Cluster {
        self.cluster
    }

    /// The message itself as a record of `size` bytes.
    pub(super) fn head(&self, size: usize) -> Record<'_> {
        Record { cluster: self.cluster, base: self.head, size, _message: PhantomData }
    }

    /// The array in it, if that has the size that the table says.
    pub(super) fn records(
        self,
        structure: &'static str,
        array: usize,
        count: usize,
        size: usize,
    ) -> Result<Records, ClusterError> {
        // The heads have at most this size, in all releases.
        let head_size = allocation(self.cluster, self.head.as_ptr());
        let head = self.head(head_size);
        let count = head.get::<u32>(count).unwrap_or(0) as usize;
        let base = head.get::<*mut u8>(array).and_then(NonNull::new);
        let (Some(base), 1..) = (base, count) else {
            return Ok(Records { message: self, base: NonNull::dangling(), count: 0, size });
        };
        let found = allocation(self.cluster, base.as_ptr());
        if Some(found) != count.checked_mul(size) {
            return Err(ClusterError::Layout { structure, expected: size, found: found / count });
        }
        Ok(Records { message: self, base, count, size })
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: promised to `new`; the message is freed once.
        unsafe { (self.free)(self.head.as_ptr().cast()) };
    }
}

/// How many bytes were asked for when this was allocated.
fn allocation(cluster: Cluster, memory: *mut u8) -> usize {
    // SAFETY: the heads and arrays of a message are allocations of Slurm's, whose size stands in
    // front of them; 0 for null.
    unsafe { (cluster.0.api.xsize)(memory.cast()) }
}

/// An array of structures in a message.
pub(super) struct Records {
    message: Message,
    base: NonNull<u8>,
    count: usize,
    size: usize,
}

impl Records {
    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.count).map(|index| Record {
            cluster: self.message.cluster,
            // SAFETY: the array has `count` elements of `size` bytes (checked in `records`).
            base: unsafe { self.base.add(index * self.size) },
            size: self.size,
            _message: PhantomData,
        })
    }
}

/// One structure in a message.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    cluster: Cluster,
    base: NonNull<u8>,
    size: usize,
    _message: PhantomData<&'a Message>,
}

impl<'a> Record<'a> {
    pub(super) fn cluster(self) -> Cluster {
        self.cluster
    }

    /// A field of type `T`; `None` if this release does not have it.
    pub(super) fn get<T: Plain>(self, offset: usize) -> Option<T> {
        if offset == NONE || offset.checked_add(size_of::<T>())? > self.size {
            return None;
        }
        // SAFETY: the field lies inside the structure, which lives as long as the message, and all
        // bit patterns are valid for T.
        Some(unsafe { self.base.add(offset).cast::<T>().read_unaligned() })
    }

    /// A 16-bit number, `None` where Slurm has NO_VAL16.
    pub(super) fn u16(self, offset: usize) -> Option<u16> {
        self.get(offset).filter(|&value| value != NO_VAL16)
    }

    /// A 32-bit number, `None` where Slurm has NO_VAL.
    pub(super) fn u32(self, offset: usize) -> Option<u32> {
        self.get(offset).filter(|&value| value != NO_VAL)
    }

    /// A 64-bit number, `None` where Slurm has NO_VAL64.
    pub(super) fn u64(self, offset: usize) -> Option<u64> {
        self.get(offset).filter(|&value| value != NO_VAL64)
    }

    /// A point in time in seconds since 1970, `None` for "not known" (0).
    pub(super) fn time(self, offset: usize) -> Option<i64> {
        self.get(offset).filter(|&value: &i64| value > 0)
    }

    /// Text; `None` for null and for empty text, which Slurm does not tell apart.
    pub(super) fn text(self, offset: usize) -> Option<Cow<'a, str>> {
        let string = NonNull::new(self.get::<*mut u8>(offset)?)?;
        // SAFETY: the char * fields of a message are null or terminated strings of their own,
        // which live and stay unchanged as long as the message.
        let text = unsafe { CStr::from_ptr(string.as_ptr().cast::<c_char>()) }.to_string_lossy();
        (!text.is_empty()).then_some(text)
    }

    /// A pointer to something else, if it is not null.
    pub(super) fn pointer(self, offset: usize) -> Option<NonNull<c_void>> {
        NonNull::new(self.get::<*mut u8>(offset)?).map(NonNull::cast)
    }

    /// An array of `T` that a field points to, cut to its allocation.
    pub(super) fn array<T: Plain>(self, offset: usize, count: usize) -> Vec<T> {
        let Some(base) = self.pointer(offset) else { return Vec::new() };
        let room = allocation(self.cluster, base.as_ptr().cast()) / size_of::<T>();
        (0..count.min(room))
            // SAFETY: the element lies inside the allocation, and every bit pattern is a T.
            .map(|index| unsafe { base.cast::<T>().add(index).read_unaligned() })
            .collect()
    }

    /// An array of strings, null and empty ones left out.
    pub(super) fn texts(self, offset: usize, count: usize) -> Vec<Option<Cow<'a, str>>> {
        self.array::<*mut u8>(offset, count)
            .into_iter()
            .map(|string| {
                // SAFETY: the elements are null or terminated strings of the message.
                let text = unsafe { CStr::from_ptr(NonNull::new(string)?.as_ptr().cast()) };
                Some(text.to_string_lossy()).filter(|text| !text.is_empty())
            })
            .collect()
    }
}

/// Types for which every bit pattern is valid.
pub(super) trait Plain: Copy {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for i64 {}
impl Plain for *mut u8 {}

/// Methods that read one field each.
macro_rules! fields {
    ($row:ident { $($(#[$doc:meta])* $name:ident: $kind:ident $(@ $field:ident)? $(-> $as:ty)?;)* }) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> fields!(@type $kind) {
            self.0.$kind(fields!(@offset self.0.cluster().0.layout.$row, $name $(, $field)?))
        }
    )*};
    (@offset $rows:expr, $name:ident) => { $rows.$name };
    (@offset $rows:expr, $name:ident, $field:ident) => { $rows.$field };
    (@type u16) => { Option<u16> };
    (@type u32) => { Option<u32> };
    (@type u64) => { Option<u64> };
    (@type time) => { Option<i64> };
    (@type text) => { Option<std::borrow::Cow<'a, str>> };
}
pub(super) use fields;
