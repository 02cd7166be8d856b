//! NVML's C functions. Each one checks its pointers, answers from the node under the lock, and sits
//! behind the panic fence of `state`.
//!
//! # Safety
//!
//! The contract of every function is NVML's: pointers are null or point to what the C prototype
//! says, arrays have the length that the caller passes along.

mod device;
mod instance;
mod system;

use std::os::raw::{c_char, c_uint, c_ulong};

use crate::ret;
use crate::state::Answer;

/// Writes `value` to where the caller wants it; a null pointer is an invalid argument.
///
/// # Safety
///
/// `target` must be null or valid for writing a `T`.
unsafe fn put<T>(target: *mut T, value: T) -> Answer {
    if target.is_null() {
        return Err(ret::INVALID_ARGUMENT);
    }
    // SAFETY: not null, so valid for writing, by the caller's contract; `write` drops nothing.
    unsafe { target.write(value) };
    Ok(())
}

/// Writes `text` with its NUL into a buffer of `length` bytes.
///
/// # Safety
///
/// `buffer` must be null or valid for writing `length` bytes.
unsafe fn put_text(buffer: *mut c_char, length: c_uint, text: &str) -> Answer {
    if buffer.is_null() {
        return Err(ret::INVALID_ARGUMENT);
    }
    if text.len() + 1 > length as usize {
        return Err(ret::INSUFFICIENT_SIZE);
    }
    // SAFETY: the buffer holds `length` bytes by the caller's contract, and text and NUL fit.
    unsafe {
        buffer.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        buffer.add(text.len()).write(0);
    }
    Ok(())
}

/// Answers a call that lists things: with a null array only the count, else as many as fit.
///
/// # Safety
///
/// `count` must be null or valid for reading and writing, `array` null or valid for writing as many
/// values as `count` says.
unsafe fn put_list<T>(array: *mut T, count: *mut c_uint, values: Vec<T>) -> Answer {
    if count.is_null() {
        return Err(ret::INVALID_ARGUMENT);
    }
    let length = values.len();
    if !array.is_null() {
        // SAFETY: `count` is not null, so readable by the caller's contract.
        if length > unsafe { *count } as usize {
            return Err(ret::INSUFFICIENT_SIZE);
        }
        // SAFETY: the array holds `count` values by the caller's contract, and there are not more.
        unsafe { array.copy_from_nonoverlapping(values.as_ptr(), length) };
    }
    // SAFETY: not null, so writable by the caller's contract.
    unsafe { *count = length as c_uint };
    Ok(())
}

/// Sets the bits of `members` in a set of `words` longs; members beyond its end are left out.
///
/// # Safety
///
/// `set` must be null or valid for writing `words` longs.
unsafe fn put_set(set: *mut c_ulong, words: c_uint, members: &[u32]) -> Answer {
    if set.is_null() || words == 0 {
        return Err(ret::INVALID_ARGUMENT);
    }
    let mut bits: Vec<c_ulong> = vec![0; words as usize];
    for member in members {
        let (word, bit) = (member / c_ulong::BITS, member % c_ulong::BITS);
        if let Some(word) = bits.get_mut(word as usize) {
            *word |= 1 << bit;
        }
    }
    // SAFETY: the set holds `words` longs by the caller's contract, as many as `bits`.
    unsafe { set.copy_from_nonoverlapping(bits.as_ptr(), bits.len()) };
    Ok(())
}

/// A C character array of `N` bytes; `text` is cut to leave room for the NUL.
fn chars<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    for (target, byte) in array.iter_mut().take(N - 1).zip(text.bytes()) {
        *target = byte as c_char;
    }
    array
}
