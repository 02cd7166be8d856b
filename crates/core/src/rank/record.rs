//! `FLEXMIG_BOUND`: the leaf, and what the launchers' variables were when it was bound.
//!
//! ```text
//! 2:0,4,2,#5f3c0a1e9b274d68,,,,,,,17,,0,0
//! ```
//!
//! The leaf (followed by `!` if Slurm or the user chose it), a colon, and the fourteen values after
//! our own rewrite in the order of [`Var`], empty where not set. A value that is long or has other
//! characters than digits, letters, `.`, `-` and `_` is kept as `#` and its hash.

use super::view::{RECORDED, Var, View, recorded};
use crate::text::{Text, hash, number};

/// Room for a record: fourteen values of at most 17 bytes, commas, leaf.
pub type Written = Text<320>;

/// Longest value that is kept as it is.
const PLAIN: usize = 17;
/// In place of a record: the process said something, and its children need not say it again.
const SAID: &[u8] = b"said:";

/// A binding as read.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The leaf that was bound.
    pub leaf: u32,
    /// Slurm or the user chose it; the process has no other.
    pub fixed: bool,
    values: [&'a [u8]; RECORDED],
}

impl<'a> Record<'a> {
    /// Reads a binding; `None` if the text is not one.
    pub fn parse(text: &'a [u8]) -> Option<Record<'a>> {
        let mut parts = text.splitn(2, |byte| *byte == b':');
        let (leaf, values) = (parts.next()?, parts.next()?);
        let (leaf, fixed) = match leaf.strip_suffix(b"!") {
            Some(leaf) => (leaf, true),
            None => (leaf, false),
        };
        let mut record = Record { leaf: number(leaf)?, fixed, values: [&[]; RECORDED] };
        let mut values = values.split(|byte| *byte == b',');
        for slot in &mut record.values {
            *slot = values.next()?;
        }
        values.next().is_none().then_some(record)
    }

    /// The text of a binding to `leaf`, with the ranks as they will be after the rewrite.
    pub fn written(
        view: &View<'_>,
        leaf: u32,
        fixed: bool,
        rewrite_local: bool,
        rewrite_slurm: bool,
    ) -> Written {
        let mut text = Text::new();
        text.push_number(u64::from(leaf));
        text.push(if fixed { b"!:" } else { b":" });
        for (place, var) in recorded().enumerate() {
            if place > 0 {
                text.push(b",");
            }
            match var {
                Var::LocalRank if rewrite_local => text.push(b"0"),
                Var::SlurmLocalId if rewrite_slurm => text.push(b"0"),
                _ => text.push(kept(view.get(var).unwrap_or_default()).as_bytes()),
            }
        }
        text
    }

    /// Is a variable another than when the binding was made?
    pub fn changed(&self, view: &View<'_>, var: Var) -> bool {
        let now = kept(view.get(var).unwrap_or_default());
        self.values.get(var as usize).is_none_or(|value| *value != now.as_bytes())
    }

    /// Are all variables as they were?
    pub fn unchanged(&self, view: &View<'_>) -> bool {
        !recorded().any(|var| self.changed(view, var))
    }

    /// Was the binding made in this step of this job?
    pub fn same_step(&self, view: &View<'_>) -> bool {
        !self.changed(view, Var::SlurmJobId) && !self.changed(view, Var::SlurmStepId)
    }
}

/// How a value is kept.
fn kept(value: &[u8]) -> Text<{ PLAIN + 1 }> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    let mut text = Text::new();
    if value.len() <= PLAIN && value.iter().all(plain) {
        text.push(value);
    } else {
        text.push(b"#");
        text.push_hex(hash(value), 16);
    }
    text
}

/// The mark that a complaint was made, so that not every process of a job repeats it.
pub fn said_mark(complaint: u64) -> Text<24> {
    let mut text = Text::new();
    text.push(SAID);
    text.push_hex(complaint, 16);
    text
}

/// Reads such a mark.
pub fn said(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(SAID).filter(|digits| digits.len() == 16)?;
    digits.iter().try_fold(0, |value, byte| {
        let digit = (*byte as char).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}
