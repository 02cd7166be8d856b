//! Slurm's host lists: `n[1-4,7],gpu[01-16]`, `rack[1-2]n[1-3]`.
//!
//! A list is bounded: [`MAX_NAMES`] names of at most [`MAX_NAME_LENGTH`] characters, so that a
//! slip as `n[1-99999999]` is an error and not an hour of work. Not supported: the box ranges of
//! Blue Gene (`[000x133]`) and the list functions of 23.11 (`blockof{...}`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Most names that one list may stand for: Slurm's own limit of nodes in a cluster.
pub const MAX_NAMES: usize = 65_536;
/// Longest name, as for host names in general.
pub const MAX_NAME_LENGTH: usize = 255;
/// Most brackets in a name; Slurm itself counts in at most five dimensions. Each bracket costs time
/// for every name, and slurmctld waits while the list of a job is looked at.
const MAX_BRACKETS: usize = 8;
/// Most digits of a number: all of them fit into a `u64`.
const MAX_DIGITS: usize = 18;

/// Why a text is not a host list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostlistError {
    /// A bracket without its partner, or brackets in brackets.
    #[error("host list {0:?}: brackets do not match: write n[1-4,7]")]
    Brackets(String),
    /// What stands in brackets is not a list of numbers and ranges.
    #[error("host list: {0:?} is not a range: write numbers as 7 or 1-4, the smaller one first")]
    Range(String),
    /// The list stands for too many names.
    #[error("host list {0:?}: more than {MAX_NAMES} names")]
    TooMany(String),
    /// A name is too long, or has too many brackets.
    #[error(
        "host list {0:?}: a name of more than {MAX_NAME_LENGTH} characters or {MAX_BRACKETS} brackets"
    )]
    TooLong(String),
}

/// What a message quotes of a list: enough to find it.
fn quote(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Numbers from `low` to `high`, written with at least `width` digits.
#[derive(Clone, Copy)]
struct Range {
    low: u64,
    high: u64,
    width: usize,
}

/// A piece of one list item.
enum Part<'a> {
    Text(&'a str),
    Ranges(Vec<Range>),
}

/// All names that a list stands for, in its order, repeated ones included.
///
/// ```
/// use flexmig_core::hostlist::expand;
/// assert_eq!(expand("n[9-10],gpu[01-02]").unwrap(), ["n9", "n10", "gpu01", "gpu02"]);
/// ```
pub fn expand(text: &str) -> Result<Vec<String>, HostlistError> {
    let mut names = Vec::new();
    for item in items(text)? {
        if item.is_empty() {
            continue;
        }
        let parts = parts(item)?;
        let count = parts.iter().try_fold(1u64, |count, part| match part {
            Part::Text(_) => Some(count),
            Part::Ranges(ranges) => ranges
                .iter()
                .try_fold(0u64, |sum, range| sum.checked_add(range.high - range.low + 1))
                .and_then(|sum| count.checked_mul(sum)),
        });
        match count {
            Some(count) if names.len() as u64 + count <= MAX_NAMES as u64 => {}
            _ => return Err(HostlistError::TooMany(quote(text))),
        }
        append(&mut names, String::new(), &parts, item)?;
    }
    Ok(names)
}

/// Appends to `names` every name that starts with `prefix` and goes on with `parts`.
fn append(
    names: &mut Vec<String>,
    prefix: String,
    parts: &[Part<'_>],
    item: &str,
) -> Result<(), HostlistError> {
    if prefix.len() > MAX_NAME_LENGTH {
        return Err(HostlistError::TooLong(quote(item)));
    }
    match parts.split_first() {
        None => names.push(prefix),
        Some((Part::Text(text), rest)) => append(names, prefix + text, rest, item)?,
        Some((Part::Ranges(ranges), rest)) => {
            for &Range { low, high, width } in ranges {
                for number in low..=high {
                    append(names, format!("{prefix}{number:0width$}"), rest, item)?;
                }
            }
        }
    }
    Ok(())
}

/// The list cut at commas and white space that stand outside of brackets.
fn items(text: &str) -> Result<Vec<&str>, HostlistError> {
    let mut items = Vec::new();
    let mut start = 0;
    let mut inside = false;
    for (at, character) in text.char_indices() {
        match character {
            '[' if !inside => inside = true,
            ']' if inside => inside = false,
            '[' | ']' => return Err(HostlistError::Brackets(quote(text))),
            ',' | ' ' | '\t' | '\n' if !inside => {
                items.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(HostlistError::Brackets(quote(text)));
    }
    items.push(&text[start..]);
    Ok(items)
}

/// Cuts one item, whose brackets match, into text and ranges.
fn parts(item: &str) -> Result<Vec<Part<'_>>, HostlistError> {
    let mut parts = Vec::new();
    let mut rest = item;
    while let Some((text, bracket)) = rest.split_once('[') {
        let (list, after) =
            bracket.split_once(']').ok_or_else(|| HostlistError::Brackets(quote(item)))?;
        parts.push(Part::Text(text));
        parts.push(Part::Ranges(list.split(',').map(range).collect::<Result<_, _>>()?));
        // The recursion of `append` is as deep as there are parts.
        if parts.len() > 2 * MAX_BRACKETS {
            return Err(HostlistError::TooLong(quote(item)));
        }
        rest = after;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

/// Reads `7` or `01-16`; the width of the first number counts for both, as in Slurm.
fn range(text: &str) -> Result<Range, HostlistError> {
    let error = || HostlistError::Range(quote(text));
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let width = low.len();
    let (low, high) = (number(low).ok_or_else(error)?, number(high).ok_or_else(error)?);
    if low > high { Err(error()) } else { Ok(Range { low, high, width }) }
}

/// A decimal number of digits only.
fn number(text: &str) -> Option<u64> {
    let digits = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Names as a host list, sorted and without repetitions: `n[1-3]` for n2, n1, n3.
///
/// Only numbers at the end of a name are joined; [`expand`] gives the names back.
pub fn compact<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    // prefix -> (digits -> numbers); names that end in no number have an empty map.
    let mut plain = BTreeSet::new();
    let mut numbered: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names {
        let name = name.as_ref();
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (prefix, suffix) = name.split_at(name.len() - digits.min(MAX_DIGITS));
        if suffix.is_empty() {
            plain.insert(name.to_owned());
        } else {
            numbered.entry(prefix.to_owned()).or_default().push(suffix.to_owned());
        }
    }
    let mut items: Vec<String> = plain.into_iter().collect();
    items.extend(numbered.iter().map(|(prefix, suffixes)| join(prefix, suffixes)));
    items.sort();
    items.join(",")
}

/// One prefix with its numbers. Numbers with a leading zero are of fixed width, and so is a number
/// without one that is as long as those: `[01-10]`.
fn join(prefix: &str, suffixes: &[String]) -> String {
    let padded: BTreeSet<usize> =
        suffixes.iter().filter(|s| s.len() > 1 && s.starts_with('0')).map(String::len).collect();
    let mut numbers: BTreeSet<(usize, u64)> = BTreeSet::new();
    for suffix in suffixes {
        let width = if padded.contains(&suffix.len()) { suffix.len() } else { 0 };
        // At most MAX_DIGITS digits, so the number always fits.
        numbers.insert((width, suffix.parse().unwrap_or(u64::MAX)));
    }
    let mut runs: Vec<(usize, u64, u64)> = Vec::new();
    for (width, number) in numbers {
        match runs.last_mut() {
            Some((w, _, last)) if *w == width && *last + 1 == number => *last = number,
            _ => runs.push((width, number, number)),
        }
    }
    let mut text = String::new();
    for (index, &(width, first, last)) in runs.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = if first == last {
            write!(text, "{comma}{first:0width$}")
        } else {
            write!(text, "{comma}{first:0width$}-{last:0width$}")
        };
    }
    if matches!(runs[..], [(_, first, last)] if first == last) {
        format!("{prefix}{text}")
    } else {
        format!("{prefix}[{text}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_expand_in_their_order() {
        let cases: [(&str, &[&str]); 9] = [
            ("n1", &["n1"]),
            ("", &[]),
            ("n[1-3,7]", &["n1", "n2", "n3", "n7"]),
            ("gpu[08-11]", &["gpu08", "gpu09", "gpu10", "gpu11"]),
            ("b, a", &["b", "a"]),
            ("r[1-2]n[1-2]", &["r1n1", "r1n2", "r2n1", "r2n2"]),
            ("n[1-2]-ib", &["n1-ib", "n2-ib"]),
            ("n[9-10]", &["n9", "n10"]),
            ("n[3,1]", &["n3", "n1"]),
        ];
        for (text, names) in cases {
            assert_eq!(expand(text).unwrap(), names, "{text}");
        }
    }

    #[test]
    fn slips_are_errors() {
        for text in ["n[1-2", "n1-2]", "n[[1-2]]"] {
            assert_eq!(expand(text), Err(HostlistError::Brackets(text.into())));
        }
        for text in ["n[]", "n[a]", "n[2-1]", "n[1-2-3]", "n[-1]", "n[1-]", "n[000x133]"] {
            assert!(matches!(expand(text), Err(HostlistError::Range(_))), "{text}");
        }
        for text in ["n[1-99999999]", "n[0-999999999999999999]", "n[1-65537]", "a[1-300]b[1-300]"] {
            assert_eq!(expand(text), Err(HostlistError::TooMany(text.into())));
        }
        assert_eq!(expand("n[1-65536]").unwrap().len(), MAX_NAMES);
        assert!(matches!(expand(&"n".repeat(256)), Err(HostlistError::TooLong(_))));
        assert!(matches!(expand(&"[1]".repeat(100_000)), Err(HostlistError::TooLong(_))));
        assert_eq!(expand(&"[1]".repeat(MAX_BRACKETS)).unwrap(), ["11111111"]);
        let slow = format!("n[1-65536]{}", "[1]".repeat(MAX_BRACKETS));
        assert!(matches!(expand(&slow), Err(HostlistError::TooLong(_))));
    }

    #[test]
    fn names_are_joined() {
        assert_eq!(compact(["n3", "n1", "n2", "login", "n7"]), "login,n[1-3,7]");
        assert_eq!(compact(["gpu09", "gpu10", "gpu08"]), "gpu[08-10]");
        assert_eq!(compact(["n1", "n01", "n10"]), "n[1,01,10]");
        assert_eq!(compact(["r2n1", "r1n1", "r1n2"]), "r1n[1-2],r2n1");
        assert_eq!(compact([] as [&str; 0]), "");
    }

    proptest! {
        #[test]
        fn joined_names_expand_to_the_same_names(
            names in proptest::collection::btree_set("[a-c]{0,2}(-[a-c])?[0-9]{0,3}", 0..40),
        ) {
            let names: BTreeSet<String> = names.into_iter().filter(|n| !n.is_empty()).collect();
            let back: BTreeSet<String> = expand(&compact(&names)).unwrap().into_iter().collect();
            prop_assert_eq!(back, names);
        }

        #[test]
        fn any_text_expands_or_fails(text in "[n,0-9\\[\\]x-]{0,30}|.{0,30}") {
            let _ = expand(&text);
        }
    }
}
