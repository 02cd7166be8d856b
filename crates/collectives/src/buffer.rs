//! Host memory as NCCL's buffers are: page-aligned, and used by the plugin while we look at it.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;

/// One page; cache lines and vector registers divide it.
const ALIGNMENT: usize = 4096;

/// Page-aligned zeroed bytes.
pub struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
}

impl Buffer {
    /// Of at least this many bytes; never empty, so that there is always an address.
    pub fn new(bytes: usize) -> Buffer {
        let size = bytes.max(1).next_multiple_of(ALIGNMENT);
        let layout = Layout::from_size_align(size, ALIGNMENT)
            .unwrap_or_else(|_| panic!("{bytes} bytes cannot be one allocation"));
        // SAFETY: the layout's size is not 0.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => Buffer { start, layout },
            None => handle_alloc_error(layout),
        }
    }

    /// Size in bytes, whole pages.
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Address of the byte at `offset`, for the plugin.
    pub fn address(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.len());
        // SAFETY: inside the allocation or one past its end.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// The bytes.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len());
        // SAFETY: initialised memory inside the allocation. The plugin writes to a range only between
        // irecv and test; callers look at ranges that have no receive in flight.
        unsafe { std::slice::from_raw_parts(self.address(range.start), range.len()) }
    }

    /// The bytes, to be changed.
    pub fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.len());
        // SAFETY: as in `bytes`, and `&mut self` makes this the only reference of ours.
        unsafe { std::slice::from_raw_parts_mut(self.address(range.start), range.len()) }
    }

    /// Bytes as floats; the range must lie on multiples of 4.
    pub fn floats(&self, range: Range<usize>) -> &[f32] {
        let bytes = self.bytes(range);
        // SAFETY: every bit pattern is a float.
        let (head, floats, tail) = unsafe { bytes.align_to::<f32>() };
        assert!(head.is_empty() && tail.is_empty(), "a range of whole floats");
        floats
    }

    /// Bytes as floats, to be changed; the range must lie on multiples of 4.
    pub fn floats_mut(&mut self, range: Range<usize>) -> &mut [f32] {
        let bytes = self.bytes_mut(range);
        // SAFETY: every bit pattern is a float, and every float is bytes.
        let (head, floats, tail) = unsafe { bytes.align_to_mut::<f32>() };
        assert!(head.is_empty() && tail.is_empty(), "a range of whole floats");
        floats
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_zeroed_and_never_empty() {
        let mut buffer = Buffer::new(0);
        assert_eq!((buffer.len(), buffer.address(0) as usize % ALIGNMENT), (4096, 0));
        assert!(buffer.bytes(0..4096).iter().all(|&byte| byte == 0));
        buffer.floats_mut(4..12).copy_from_slice(&[1.0, 2.0]);
        assert_eq!(buffer.floats(0..16), [0.0, 1.0, 2.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "whole floats")]
    fn half_a_float_is_refused() {
        Buffer::new(16).floats(2..6);
    }
}
