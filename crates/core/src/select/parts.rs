//! The leaves of a candidate.

use std::fmt;
use std::ops::Deref;

use super::Part;

/// Types and counts, each type once. One type, which is the rule, takes no memory on the heap: a
/// submit makes many candidates.
#[derive(Clone)]
pub struct Parts<'k>(Inner<'k>);

#[derive(Clone)]
enum Inner<'k> {
    One([Part<'k>; 1]),
    Several(Vec<Part<'k>>),
}

impl<'k> Parts<'k> {
    /// Leaves of one type.
    pub fn one(kind: Option<&'k str>, count: u64) -> Parts<'k> {
        Parts(Inner::One([Part { kind, count }]))
    }

    /// And these.
    pub fn add(&mut self, part: Part<'k>) {
        let known = match &mut self.0 {
            Inner::One(parts) => &mut parts[..],
            Inner::Several(parts) => &mut parts[..],
        };
        if let Some(known) = known.iter_mut().find(|known| known.kind == part.kind) {
            known.count = known.count.saturating_add(part.count);
            return;
        }
        match &mut self.0 {
            Inner::One([first]) => self.0 = Inner::Several(vec![*first, part]),
            Inner::Several(parts) => parts.push(part),
        }
    }
}

impl<'k> Deref for Parts<'k> {
    type Target = [Part<'k>];

    fn deref(&self) -> &[Part<'k>] {
        match &self.0 {
            Inner::One(parts) => parts,
            Inner::Several(parts) => parts,
        }
    }
}

impl PartialEq for Parts<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Parts<'_> {}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
