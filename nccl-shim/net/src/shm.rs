//! The memory of a ring: a sealed memfd, mapped by both ends.
//!
//! The memfd has its full size from the start and can neither shrink nor grow, so
//! no access can end in SIGBUS, whatever the peer does. Our copy of the size is
//! private: nothing is ever computed from a number in the shared part.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use crate::copy;
use crate::error::{NetError, Result};
use crate::ring::{Control, Memory};
use crate::sys;

/// The data area starts here: slots and indices, rounded up to pages.
pub const DATA_OFFSET: usize = 12 << 10;

const _: () = assert!(size_of::<Control>() <= DATA_OFFSET);

/// A mapped ring.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    capacity: usize,
    fd: OwnedFd,
}

// SAFETY: the mapping belongs to this value; whoever has the value may use it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// A new ring with `capacity` bytes of data, a multiple of the page size.
    pub fn create(capacity: usize) -> Result<Self> {
        let make = || {
            let fd = sys::sealed_memfd(c"flexmig-ring", DATA_OFFSET + capacity)?;
            Self::map(fd, capacity)
        };
        make().map_err(|error| {
            NetError::system(&format!("making a ring of {capacity} bytes"), &error)
        })
    }

    /// A ring that a peer made, if its memory is as firm as ours would be.
    pub fn adopt(fd: OwnedFd, capacity: usize) -> Result<Self> {
        if !sys::is_sealed(fd.as_fd(), DATA_OFFSET + capacity) {
            return Err(NetError::remote(
                "the peer offered a ring that is not sealed at the size it says: refused",
            ));
        }
        Self::map(fd, capacity).map_err(|error| NetError::system("mapping the peer's ring", &error))
    }

    fn map(fd: OwnedFd, capacity: usize) -> io::Result<Self> {
        let base = sys::map_shared(fd.as_fd(), DATA_OFFSET + capacity)?;
        let base = NonNull::new(base).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { base, capacity, fd })
    }

    /// The memfd, to be passed on or locked.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where the data area lies in this process.
    pub fn data(&self) -> *mut u8 {
        // SAFETY: the mapping is longer than DATA_OFFSET.
        unsafe { self.base.as_ptr().add(DATA_OFFSET) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody can hold a reference into it.
        unsafe { sys::unmap(self.base.as_ptr(), DATA_OFFSET + self.capacity) };
    }
}

impl Memory for Mapping {
    #[inline]
    fn control(&self) -> &Control {
        // SAFETY: the mapping starts with a `Control`: page-aligned, only atomics,
        // valid for every bit pattern, and it lives as long as `self`.
        unsafe { self.base.cast::<Control>().as_ref() }
    }

    #[inline]
    fn capacity(&self) -> usize {
        self.capacity
    }

    unsafe fn write(&self, offset: usize, src: *const u8, len: usize) {
        debug_assert!(offset + len <= self.capacity);
        // SAFETY: the caller keeps the range within the data area.
        unsafe { copy::bulk(self.data().add(offset), src, len) }
    }

    unsafe fn read(&self, offset: usize, dst: *mut u8, len: usize, streaming: bool) {
        debug_assert!(offset + len <= self.capacity);
        // SAFETY: the caller keeps the range within the data area.
        unsafe {
            let src = self.data().add(offset);
            if streaming { copy::streaming(dst, src, len) } else { copy::forward(dst, src, len) }
        }
    }
}
