//! The leaves of a candidate.

use std::ops::Deref;

use super::Part;
use crate::few::Few;

/// Types and counts, each type once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'k>(Few<Part<'k>>);

impl<'k> Parts<'k> {
    /// Leaves of one type.
    pub fn one(kind: Option<&'k str>, count: u64) -> Parts<'k> {
        Parts(Few::one(Part { kind, count }))
    }

    /// And these.
    pub fn add(&mut self, part: Part<'k>) {
        match self.0.iter_mut().find(|known| known.kind == part.kind) {
            Some(known) => known.count = known.count.saturating_add(part.count),
            None => self.0.push(part),
        }
    }
}

impl<'k> Deref for Parts<'k> {
    type Target = [Part<'k>];

    fn deref(&self) -> &[Part<'k>] {
        &self.0
    }
}
