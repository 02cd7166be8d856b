//! Bitmaps of Slurm: which units of a GRES a job has.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::Slurm;
use crate::raw::Bitstr;

/// A bitmap that belongs to Slurm, for reading. Bits outside are never set:
/// Slurm's own test has no bounds check.
#[derive(Clone, Copy)]
pub struct BitstrRef<'a> {
    slurm: Slurm,
    bits: NonNull<Bitstr>,
    _borrow: PhantomData<&'a Bitstr>,
}

impl BitstrRef<'_> {
    /// `None` for null, which Slurm passes when a job has no unit.
    ///
    /// # Safety
    /// `bits` is null or a bitmap that lives, unchanged, for `'a`.
    #[must_use]
    pub unsafe fn from_raw(slurm: Slurm, bits: *mut Bitstr) -> Option<Self> {
        Some(Self { slurm, bits: NonNull::new(bits)?, _borrow: PhantomData })
    }

    /// The number of bits, set or not.
    #[must_use]
    pub fn len(&self) -> usize {
        // SAFETY: a live bitmap (see `from_raw`).
        usize::try_from(unsafe { (self.slurm.api().bit_size)(self.bits.as_ptr()) }).unwrap_or(0)
    }

    /// Whether the bitmap has no bits at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a bit is set; false past the end.
    #[must_use]
    pub fn test(&self, bit: usize) -> bool {
        bit < self.len() && self.test_inside(bit)
    }

    /// The set bits, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..self.len()).filter(|&bit| self.test_inside(bit))
    }

    fn test_inside(&self, bit: usize) -> bool {
        // SAFETY: the bitmap is live and the bit below its size, so it fits an i64 too.
        unsafe { (self.slurm.api().bit_test)(self.bits.as_ptr(), bit as i64) != 0 }
    }

    /// An own copy.
    #[must_use]
    pub fn to_owned(&self) -> Bitmap {
        // SAFETY: a live bitmap; the copy is a new allocation.
        let copy = unsafe { (self.slurm.api().bit_copy)(self.bits.as_ptr()) };
        match NonNull::new(copy) {
            Some(bits) => Bitmap { slurm: self.slurm, bits },
            None => Bitmap::new(self.slurm, self.len()),
        }
    }
}

/// A bitmap of our own, in Slurm's memory.
pub struct Bitmap {
    slurm: Slurm,
    bits: NonNull<Bitstr>,
}

impl Bitmap {
    /// The most bits that Slurm allows in a bitmap.
    pub const MAX_BITS: usize = 0x4000_0000;

    /// All bits clear. The size is kept between 1 and [`Self::MAX_BITS`], as Slurm wants it.
    #[must_use]
    pub fn new(slurm: Slurm, size: usize) -> Self {
        let size = size.clamp(1, Self::MAX_BITS);
        // SAFETY: the size is in the allowed range.
        let bits = unsafe { (slurm.api().bit_alloc)(size as i64) };
        let bits = NonNull::new(bits)
            .unwrap_or_else(|| std::alloc::handle_alloc_error(std::alloc::Layout::new::<u64>()));
        Self { slurm, bits }
    }

    /// The same bitmap for reading.
    #[must_use]
    pub fn as_ref(&self) -> BitstrRef<'_> {
        BitstrRef { slurm: self.slurm, bits: self.bits, _borrow: PhantomData }
    }

    /// Sets a bit; past the end nothing happens.
    pub fn set(&mut self, bit: usize) {
        if bit < self.as_ref().len() {
            // SAFETY: the bitmap is ours and the bit inside.
            unsafe { (self.slurm.api().bit_set)(self.bits.as_ptr(), bit as i64) };
        }
    }

    /// Gives the bitmap to a structure of Slurm's.
    pub(crate) fn into_raw(self) -> *mut Bitstr {
        let bits = self.bits.as_ptr();
        std::mem::forget(self);
        bits
    }

    /// The pointer, for tests of entry points that take a bitmap.
    #[must_use]
    pub fn as_ptr(&self) -> *mut Bitstr {
        self.bits.as_ptr()
    }
}

impl Drop for Bitmap {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { free(self.slurm, self.bits.as_ptr()) };
    }
}

/// Frees a bitmap, or nothing for null.
///
/// # Safety
/// `bits` is null or an owned bitmap that nobody uses any more.
pub(crate) unsafe fn free(slurm: Slurm, mut bits: *mut Bitstr) {
    if !bits.is_null() {
        // SAFETY: promised by the caller.
        unsafe { (slurm.api().bit_free)(&raw mut bits) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn set_bits_are_found_in_order() {
        let Some(slurm) = testing::slurm() else { return };
        let mut bitmap = Bitmap::new(slurm, 130);
        for bit in [129, 3, 64, 63] {
            bitmap.set(bit);
        }
        let bits = bitmap.as_ref();
        assert_eq!(bits.iter().collect::<Vec<_>>(), [3, 63, 64, 129]);
        assert_eq!(bits.len(), 130);
        let copy = bits.to_owned();
        drop(bitmap);
        assert!(copy.as_ref().test(129) && !copy.as_ref().test(128));
    }

    #[test]
    fn bits_outside_are_clear_and_stay_so() {
        let Some(slurm) = testing::slurm() else { return };
        let mut bitmap = Bitmap::new(slurm, 8);
        bitmap.set(8);
        bitmap.set(usize::MAX);
        assert!(!bitmap.as_ref().test(8) && !bitmap.as_ref().test(usize::MAX));
        assert_eq!(bitmap.as_ref().iter().count(), 0);
    }

    #[test]
    fn null_is_no_bitmap() {
        let Some(slurm) = testing::slurm() else { return };
        // SAFETY: null is allowed.
        assert!(unsafe { BitstrRef::from_raw(slurm, std::ptr::null_mut()) }.is_none());
    }
}
