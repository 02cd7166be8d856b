//! The text that a user sees: `char **err_msg` of job_submit and job_modify.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::Slurm;

/// The message of a submission, to which each plugin in the chain may add lines.
///
/// Rejected: sbatch prints each line as `sbatch: error: LINE`. Accepted: as
/// `sbatch: LINE` (and as an error after all if a later check rejects the job).
/// In job_modify add a line only when rejecting: scontrol prints every line as
/// an error.
pub struct ErrMsg<'a> {
    slurm: Slurm,
    message: NonNull<*mut c_char>,
    _borrow: PhantomData<&'a mut *mut c_char>,
}

impl ErrMsg<'_> {
    /// `None` for a null pointer: then nobody is listening.
    ///
    /// # Safety
    /// `message` is null or points to a `char *` that is null or a string of
    /// Slurm's allocator, and that nobody else uses during `'a`. On 22.05
    /// job_modify has no such argument ([`crate::Release::job_modify_has_err_msg`]).
    #[must_use]
    pub unsafe fn from_raw(slurm: Slurm, message: *mut *mut c_char) -> Option<Self> {
        Some(Self { slurm, message: NonNull::new(message)?, _borrow: PhantomData })
    }

    /// What is there so far.
    #[must_use]
    pub fn get(&self) -> Option<&CStr> {
        // SAFETY: the slot is valid and holds null or a terminated string, which
        // only `&mut self` replaces (see `from_raw`).
        unsafe { NonNull::new(self.message.read()).map(|text| CStr::from_ptr(text.as_ptr())) }
    }

    /// Adds a line (or several) below what earlier plugins said.
    pub fn add(&mut self, line: &str) {
        let mut old = match self.get().map(CStr::to_bytes).filter(|text| !text.is_empty()) {
            None => self.slurm.xstrdup(line.as_bytes()),
            Some(text) => {
                let newline: &[u8] = if text.ends_with(b"\n") { b"" } else { b"\n" };
                self.slurm.xstrdup(&[text, newline, line.as_bytes()].concat())
            }
        };
        // SAFETY: the slot is valid and ours; after the swap `old` is the former
        // string, of Slurm's allocator, which nobody uses any more.
        unsafe {
            self.message.as_ptr().swap(&raw mut old);
            self.slurm.xfree(&raw mut old);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn lines_are_added_below_what_is_there() {
        let Some(slurm) = testing::slurm() else { return };
        let mut message = std::ptr::null_mut();
        // SAFETY: a slot of ours that holds null.
        let mut err = unsafe { ErrMsg::from_raw(slurm, &raw mut message) }.unwrap();
        assert_eq!(err.get(), None);
        err.add("flexmig: 4 leaves");
        assert_eq!(err.get(), Some(c"flexmig: 4 leaves"));
        err.add("100 %s\nmore");
        assert_eq!(err.get(), Some(c"flexmig: 4 leaves\n100 %s\nmore"));
        // SAFETY: ours, of Slurm's allocator, used no more.
        unsafe { slurm.xfree(&raw mut message) };
    }

    #[test]
    fn nobody_listening_is_fine() {
        let Some(slurm) = testing::slurm() else { return };
        // SAFETY: null is allowed.
        assert!(unsafe { ErrMsg::from_raw(slurm, std::ptr::null_mut()) }.is_none());
    }
}
