//! A list that mostly has one element.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A list that takes no memory on the heap while it has one element, which is the rule for what a
/// submit looks at.
#[derive(Clone)]
pub(crate) struct Few<T>(Inner<T>);

#[derive(Clone)]
enum Inner<T> {
    One([T; 1]),
    Several(Vec<T>),
}

impl<T> Few<T> {
    /// Of one element.
    pub fn one(item: T) -> Few<T> {
        Few(Inner::One([item]))
    }

    /// Appends an element.
    pub fn push(&mut self, item: T) {
        self.0 = Inner::Several(match std::mem::take(self).0 {
            Inner::One([first]) => vec![first, item],
            Inner::Several(mut items) => {
                items.push(item);
                items
            }
        });
    }
}

impl<T> Default for Few<T> {
    fn default() -> Few<T> {
        Few(Inner::Several(Vec::new()))
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Few<T> {
        let mut items = items.into_iter();
        let Some(first) = items.next() else { return Few::default() };
        let mut few = Few::one(first);
        items.for_each(|item| few.push(item));
        few
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Inner::One(items) => items,
            Inner::Several(items) => items,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Inner::One(items) => items,
            Inner::Several(items) => items,
        }
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Few<T>) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T: fmt::Debug> fmt::Debug for Few<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_any_length_keep_their_order() {
        for length in 0..4 {
            let few: Few<usize> = (0..length).collect();
            assert_eq!(few.to_vec(), (0..length).collect::<Vec<_>>());
        }
        let mut few = Few::one(1);
        few.push(2);
        assert_eq!(few, [1, 2].into_iter().collect());
    }
}
