//! Pack buffers: what slurmd sends to slurmstepd.

use std::ffi::c_char;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

use crate::Slurm;
use crate::consts::SLURM_SUCCESS;
use crate::raw::Buf;

/// A buffer that `gres_p_send_stepd` writes to or `gres_p_recv_stepd` reads
/// from. Other plugins' data stand before and behind ours: one [`put`](Self::put)
/// needs exactly one [`take`](Self::take) on the other side.
pub struct PackBuf<'a> {
    slurm: Slurm,
    buffer: NonNull<Buf>,
    _borrow: PhantomData<&'a mut Buf>,
}

/// The buffer does not hold a block where one should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data from slurmd end too early")]
pub struct Truncated;

/// The block is larger than Slurm packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are too many for one message to slurmstepd")]
pub struct TooLarge(usize);

impl PackBuf<'_> {
    /// More than any inventory needs, and far below Slurm's own limits, at which
    /// it would write nothing and say so only in the log.
    pub const MAX_BLOCK: usize = 16 << 20;

    /// `None` for null.
    ///
    /// # Safety
    /// `buffer` is null or a pack buffer that nobody else uses during `'a`.
    #[must_use]
    pub unsafe fn from_raw(slurm: Slurm, buffer: *mut Buf) -> Option<Self> {
        Some(Self { slurm, buffer: NonNull::new(buffer)?, _borrow: PhantomData })
    }

    /// Appends one block.
    pub fn put(&mut self, block: &[u8]) -> Result<(), TooLarge> {
        let length = match u32::try_from(block.len()) {
            Ok(length) if block.len() <= Self::MAX_BLOCK => length,
            _ => return Err(TooLarge(block.len())),
        };
        // SAFETY: the buffer is live and ours; Slurm copies `length` bytes and
        // does not write to them, although the parameter lacks the const.
        unsafe {
            (self.slurm.api().packmem)(
                block.as_ptr().cast_mut().cast(),
                length,
                self.buffer.as_ptr(),
            );
        }
        Ok(())
    }

    /// Takes the next block. The bytes stay in the buffer and live as long as it.
    pub fn take(&mut self) -> Result<&[u8], Truncated> {
        let mut start: *mut c_char = null_mut();
        let mut length: u32 = 0;
        // SAFETY: the buffer is live and ours; the two outputs are valid.
        let rc = unsafe {
            (self.slurm.api().unpackmem_ptr)(&raw mut start, &raw mut length, self.buffer.as_ptr())
        };
        if rc != SLURM_SUCCESS {
            return Err(Truncated);
        }
        if start.is_null() || length == 0 {
            return Ok(&[]);
        }
        // SAFETY: on success Slurm has checked that `length` bytes from `start`
        // lie inside the buffer, which is borrowed for as long as the slice.
        Ok(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length as usize) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, TestBuf};

    #[test]
    fn blocks_come_back_as_they_went_in() {
        let Some(slurm) = testing::slurm() else { return };
        let mut test = TestBuf::new(slurm);
        let large: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        {
            // SAFETY: a live buffer of ours.
            let mut buffer = unsafe { PackBuf::from_raw(slurm, test.as_ptr()) }.unwrap();
            buffer.put(b"flexmig\0\xff").unwrap();
            buffer.put(b"").unwrap();
            buffer.put(&large).unwrap();
        }
        let end = test.position();
        test.rewind();
        // SAFETY: as above.
        let mut buffer = unsafe { PackBuf::from_raw(slurm, test.as_ptr()) }.unwrap();
        assert_eq!(buffer.take(), Ok(&b"flexmig\0\xff"[..]));
        assert_eq!(buffer.take(), Ok(&b""[..]));
        assert_eq!(buffer.take(), Ok(&large[..]));
        assert_eq!(buffer.take(), Err(Truncated));
        assert_eq!(test.position(), end);
    }

    #[test]
    fn a_block_that_slurm_would_drop_silently_is_an_error() {
        let Some(slurm) = testing::slurm() else { return };
        let test = TestBuf::new(slurm);
        // SAFETY: a live buffer of ours.
        let mut buffer = unsafe { PackBuf::from_raw(slurm, test.as_ptr()) }.unwrap();
        assert!(buffer.put(&vec![0; PackBuf::MAX_BLOCK + 1]).is_err());
        assert_eq!(test.position(), 0);
    }
}
