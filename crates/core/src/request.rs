//! What the user asked for: the strings of `--gres` and `--tres-per-task`, read and written.
//!
//! Slurm 22.05 and 23.02 write `gres:flexmig:4`, later releases `gres/flexmig:4`; clients other
//! than Slurm's own send either, and `flexmig:4` or `gres/flexmig=4`. All of them are read alike
//! and written back in the release's own notation. What is not flexmig is kept as it is, except for
//! the prefix `gres`: Slurm silently skips an entry whose prefix is of the other notation.

use std::borrow::Cow;
use std::fmt;

use crate::few::Few;
use crate::profile::{Profile, number, without_suffix};
pub use crate::slurm_conf::GRES_NAME as NAME;
use crate::slurm_conf::parse_count;

/// Name of the GRES that whole GPUs, and MIG devices without us, are handed out as.
const GPU: &str = "gpu";

/// How a release writes the prefix of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// `gres:flexmig:4`, Slurm 22.05 and 23.02.
    Colon,
    /// `gres/flexmig:4`, Slurm 23.11 and later.
    Slash,
}

impl Notation {
    fn prefix(self) -> &'static str {
        match self {
            Notation::Colon => "gres:",
            Notation::Slash => "gres/",
        }
    }
}

/// One request string, entry by entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// The entries in their order; empty ones are left out.
    entries: Few<Entry<'a>>,
}

/// One entry of a request string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// An entry for leaves.
    Flexmig(Term<'a>),
    /// `gpu:a100_3g.20gb:1`, an entry for leaves where policy translates it.
    Gpu(Term<'a>),
    /// An entry of another GRES, without the prefix `gres`.
    Gres(&'a str),
    /// Anything else, kept as it is.
    Other(&'a str),
}

/// `flexmig[:type][:count]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term<'a> {
    /// The type as the user wrote it; `None` in `flexmig:4`.
    pub kind: Option<&'a str>,
    /// How many; 1 if the user wrote none. Never 0.
    pub count: u64,
}

/// What the type of a [`Term`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want<'a> {
    /// No type: leaves of the smallest profile on offer.
    Any,
    /// `1g.10gb`, also with a model before it, `a100_1g.10gb`.
    Profile(Profile),
    /// `20gb`: at least this many gigabytes.
    Memory(u16),
    /// `3g`: this many compute slices.
    Slices(u8),
    /// `mixed`: leaves of any profiles.
    Mixed,
    /// Another name, which only slurm.conf can explain.
    Name(&'a str),
}

/// An entry for leaves that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The count is not a whole number of 1 or more.
    #[error("{0}: {1:?} is not a count from 1 up: type flexmig:N with N leaves per node")]
    Count(String, String),
    /// The entry has an empty or a surplus part.
    #[error(
        "{0}: cannot be read: type flexmig:N, flexmig:PROFILE:N, flexmig:20gb:N or flexmig:3g:N"
    )]
    Form(String),
}

/// Whether the string can concern us at all: a scan without allocation, the only thing that is
/// done about the jobs that do not.
pub fn mentions(text: &[u8]) -> bool {
    let begins = |window: &[u8]| window[0] | 0x20 == b'f';
    text.windows(NAME.len())
        .any(|window| begins(window) && window.eq_ignore_ascii_case(NAME.as_bytes()))
}

/// Whether the string can hold an entry for GPUs, which policy may translate.
pub fn mentions_gpu(text: &[u8]) -> bool {
    text.windows(GPU.len()).any(|window| window.eq_ignore_ascii_case(GPU.as_bytes()))
}

impl<'a> Request<'a> {
    /// Reads a request string in either notation.
    pub fn parse(text: &'a str) -> Result<Request<'a>, RequestError> {
        let entries = text.split(',').map(str::trim_ascii).filter(|entry| !entry.is_empty());
        Ok(Request { entries: entries.map(parse_entry).collect::<Result<_, _>>()? })
    }

    /// The same with GPUs of a MIG type (`gpu:a100_3g.20gb:1`, `gpu:3g.20gb:1`) taken for leaves.
    /// Entries for other GPUs stay what they are.
    pub fn translated(mut self) -> Request<'a> {
        for entry in self.entries.iter_mut() {
            if let Entry::Gres(text) | Entry::Other(text) = *entry
                && let Some(rest) = gpu(text)
                && let Ok(term) = parse_term(text, rest)
                && matches!(term.want(), Want::Profile(_))
            {
                *entry = Entry::Gpu(term);
            }
        }
        self
    }

    /// Whether any entry for GPUs was taken for leaves.
    pub fn has_gpus(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Gpu(_)))
    }

    /// The entries for leaves.
    pub fn terms(&self) -> impl Iterator<Item = Term<'a>> + '_ {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Flexmig(term) | Entry::Gpu(term) => Some(*term),
            Entry::Gres(_) | Entry::Other(_) => None,
        })
    }

    /// Appends the entries for leaves as the user could have typed them, each as a message can hold
    /// it: `flexmig:3g:1,gpu:3g.20gb:1`.
    pub(crate) fn push_typed(&self, text: &mut String) {
        let mut first = true;
        for entry in self.entries.iter() {
            let (name, term) = match entry {
                Entry::Flexmig(term) => (NAME, term),
                Entry::Gpu(term) => (GPU, term),
                Entry::Gres(_) | Entry::Other(_) => continue,
            };
            if !std::mem::take(&mut first) {
                text.push(',');
            }
            text.push_str(name);
            text.push(':');
            push_kind(text, term.kind.map(shown).as_deref(), term.count);
        }
    }

    /// The string in the notation of a release; counts are always written.
    pub fn write(&self, notation: Notation) -> String {
        let mut text = String::with_capacity(40 * self.entries.len());
        for entry in self.entries.iter() {
            match entry {
                Entry::Flexmig(term) | Entry::Gpu(term) => {
                    push_leaves(&mut text, notation, term.kind, term.count);
                }
                other => push_other(&mut text, notation, other),
            }
        }
        text
    }

    /// As [`Request::write`] with these types and counts in place of the entries for leaves, all
    /// where the first of them stands.
    pub fn write_composed<'k>(
        &self,
        notation: Notation,
        mut leaves: impl ExactSizeIterator<Item = (Option<&'k str>, u64)>,
    ) -> String {
        let mut text = String::with_capacity(40 * (self.entries.len() + leaves.len()));
        for entry in self.entries.iter() {
            match entry {
                Entry::Flexmig(_) | Entry::Gpu(_) => {
                    for (kind, count) in leaves.by_ref() {
                        push_leaves(&mut text, notation, kind, count);
                    }
                }
                other => push_other(&mut text, notation, other),
            }
        }
        text
    }
}

fn push_leaves(text: &mut String, notation: Notation, kind: Option<&str>, count: u64) {
    text.push_str(if text.is_empty() { "" } else { "," });
    text.push_str(notation.prefix());
    push_term(text, kind, count);
}

fn push_other(text: &mut String, notation: Notation, entry: &Entry) {
    text.push_str(if text.is_empty() { "" } else { "," });
    match entry {
        Entry::Gres(gres) => {
            text.push_str(notation.prefix());
            text.push_str(gres);
        }
        Entry::Other(other) => text.push_str(other),
        Entry::Flexmig(_) | Entry::Gpu(_) => {}
    }
}

impl<'a> Term<'a> {
    /// What the type asks for, as far as its form tells.
    pub fn want(&self) -> Want<'a> {
        let Some(kind) = self.kind else { return Want::Any };
        if let Some(profile) = Profile::of_type(kind) {
            Want::Profile(profile)
        } else if let Some(gigabytes) = without_suffix(kind, "gb").and_then(number) {
            Want::Memory(gigabytes)
        } else if let Some(slices) = without_suffix(kind, "g").and_then(number) {
            Want::Slices(slices)
        } else if kind.eq_ignore_ascii_case("mixed") {
            Want::Mixed
        } else {
            Want::Name(kind)
        }
    }
}

impl fmt::Display for Term<'_> {
    /// As the user would type it: `flexmig:1g.10gb:4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(32);
        push_term(&mut text, self.kind, self.count);
        f.write_str(&text)
    }
}

/// Appends `flexmig:1g.10gb:4`. Lines of accepted jobs are put together without `format!`, which
/// would take most of the time of a submit.
pub(crate) fn push_term(text: &mut String, kind: Option<&str>, count: u64) {
    text.push_str(NAME);
    text.push(':');
    push_kind(text, kind, count);
}

/// Appends `1g.10gb:4`, without a type `4`.
pub(crate) fn push_kind(text: &mut String, kind: Option<&str>, count: u64) {
    if let Some(kind) = kind {
        text.push_str(kind);
        text.push(':');
    }
    push_number(text, count);
}

/// Appends a decimal number.
pub(crate) fn push_number(text: &mut String, number: u64) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

fn parse_entry(entry: &str) -> Result<Entry<'_>, RequestError> {
    let gres = without_prefix(entry);
    let text = gres.unwrap_or(entry);
    let end = text.bytes().position(|b| matches!(b, b':' | b'=')).unwrap_or(text.len());
    let name = &text[..end];
    if name.trim_ascii_end().eq_ignore_ascii_case(NAME) {
        return parse_term(text, &text[name.len()..]).map(Entry::Flexmig);
    }
    Ok(match gres {
        Some(gres) if !gres.is_empty() => Entry::Gres(gres),
        _ => Entry::Other(entry),
    })
}

/// What follows the name `gpu`.
fn gpu(text: &str) -> Option<&str> {
    let end = text.bytes().position(|b| matches!(b, b':' | b'='))?;
    text[..end].trim_ascii_end().eq_ignore_ascii_case(GPU).then(|| &text[end..])
}

/// What follows `gres:` or `gres/`.
fn without_prefix(entry: &str) -> Option<&str> {
    let (prefix, rest) = entry.split_at_checked("gres".len())?;
    let rest = rest.trim_ascii_start().strip_prefix([':', '/'])?;
    prefix.eq_ignore_ascii_case("gres").then(|| rest.trim_ascii_start())
}

/// Reads what follows the name `flexmig`; `text` is the entry for messages.
fn parse_term<'a>(text: &str, rest: &'a str) -> Result<Term<'a>, RequestError> {
    let form = || RequestError::Form(shown(text).into_owned());
    let counted = |count: &str| match parse_count(count).filter(|&count| count > 0) {
        Some(number) => Ok(number),
        None if count.is_empty() => Err(form()),
        None => Err(RequestError::Count(shown(text).into_owned(), shown(count).into_owned())),
    };
    let (kinds, count) = match rest.rsplit_once('=') {
        Some((kinds, count)) => (kinds, Some(count.trim_ascii())),
        None => (rest, None),
    };
    let mut parts = kinds.split(':').map(str::trim_ascii);
    // What stands before the first colon is the end of the name, so only spaces.
    if parts.next().is_none_or(|before| !before.is_empty()) {
        return Err(form());
    }
    let (kind, count) = match (parts.next(), parts.next(), count) {
        (None, _, None) => (None, 1),
        (None, _, Some(count)) => (None, counted(count)?),
        (Some(""), ..) => return Err(form()),
        (Some(part), None, None) if looks_like_count(part) => (None, counted(part)?),
        (Some(kind), None, None) => (Some(kind), 1),
        (Some(kind), None, Some(count)) | (Some(kind), Some(count), None) => {
            (Some(kind), counted(count)?)
        }
        (Some(_), Some(_), Some(_)) => return Err(form()),
    };
    let plain = |kind: &str| !kind.contains(|c: char| c.is_whitespace() || c.is_control());
    if parts.next().is_some() || !kind.is_none_or(plain) {
        return Err(form());
    }
    Ok(Term { kind, count })
}

/// Whether a single part is meant as a count. `20gb` and `3g` are types here, although Slurm would
/// take them for huge counts.
fn looks_like_count(part: &str) -> bool {
    if part.starts_with(['-', '+']) {
        return true;
    }
    let digits = part.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let suffix = part[digits..].to_ascii_lowercase();
    digits > 0
        && matches!(
            suffix.as_str(),
            "" | "k" | "kb" | "kib" | "m" | "mb" | "mib" | "t" | "tb" | "tib" | "p" | "pb" | "pib"
        )
}

/// The user's text as a message can hold it: one line, not too long.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= 64 && !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let plain = |c: char| if c.is_control() { '?' } else { c };
    let mut shown: String = text.chars().take(64).map(plain).collect();
    if text.chars().nth(64).is_some() {
        shown.push_str("...");
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn term(text: &str) -> (Option<String>, u64) {
        let request = Request::parse(text).unwrap();
        let term = request.terms().next().unwrap();
        (term.kind.map(str::to_owned), term.count)
    }

    #[test]
    fn every_form_of_a_count_is_read() {
        for text in [
            "flexmig:4",
            "flexmig=4",
            "gres:flexmig:4",
            "gres/flexmig:4",
            "gres/flexmig=4",
            "GRES/FlexMIG:4",
            " gres / flexmig : 4 ",
            "flexmig = 4",
        ] {
            assert_eq!(term(text), (None, 4), "{text:?}");
        }
        assert_eq!(term("flexmig"), (None, 1));
        assert_eq!(term("gres/flexmig:2K"), (None, 2048));
        assert_eq!(term("flexmig:2kb"), (None, 2000));
    }

    #[test]
    fn every_form_of_a_type_is_read() {
        for text in ["flexmig:1g.10gb:2", "gres:flexmig:1g.10gb=2", "gres/flexmig : 1g.10gb : 2"] {
            assert_eq!(term(text), (Some("1g.10gb".into()), 2), "{text:?}");
        }
        for kind in
            ["1g.10gb", "1g.10gb+me", "20gb", "20GB", "3g", "mixed", "a100_3g.20gb", "2080ti"]
        {
            assert_eq!(term(&format!("flexmig:{kind}")), (Some(kind.into()), 1));
        }
    }

    #[test]
    fn types_say_what_is_wanted() {
        let want = |kind| Term { kind, count: 1 }.want();
        assert_eq!(want(None), Want::Any);
        assert_eq!(want(Some("1G.10GB")), Want::Profile(Profile::new(1, 10)));
        assert_eq!(want(Some("a100_3g.20gb")), Want::Profile(Profile::new(3, 20)));
        assert_eq!(want(Some("20gb")), Want::Memory(20));
        assert_eq!(want(Some("3g")), Want::Slices(3));
        assert_eq!(want(Some("Mixed")), Want::Mixed);
        for name in ["a100_10g", "big", "0gb", "é", "gb", "g", "99999gb"] {
            assert_eq!(want(Some(name)), Want::Name(name));
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_in_one_line() {
        let told = |text: &str| Request::parse(text).unwrap_err().to_string();
        for count in ["0", "-1", "+2", "1.5", "99999999999999999999", "999999999P"] {
            let expected = format!(
                "flexmig:{count}: {count:?} is not a count from 1 up: \
                 type flexmig:N with N leaves per node"
            );
            assert_eq!(told(&format!("gres:flexmig:{count}")), expected);
        }
        assert_eq!(
            told("flexmig:1g.10gb:four"),
            "flexmig:1g.10gb:four: \"four\" is not a count from 1 up: \
             type flexmig:N with N leaves per node"
        );
        for text in [
            "flexmig:",
            "flexmig::4",
            "flexmig:1g.10gb:",
            "flexmig:a:2:3",
            "flexmig=",
            "flexmig:a b:2",
            "flexmig:a\nb:2",
        ] {
            let shown = text.replace('\n', "?");
            assert_eq!(
                told(text),
                format!(
                    "{shown}: cannot be read: type flexmig:N, flexmig:PROFILE:N, flexmig:20gb:N or flexmig:3g:N"
                )
            );
        }
    }

    #[test]
    fn others_are_kept_and_prefixes_become_native() {
        let text = "gres/gpu:1, gres:flexmig:4,,gpu:2,license/x=1,gres:gpu:flexmig:1";
        let request = Request::parse(text).unwrap();
        assert_eq!(
            request.write(Notation::Slash),
            "gres/gpu:1,gres/flexmig:4,gpu:2,license/x=1,gres/gpu:flexmig:1"
        );
        assert_eq!(
            request.write(Notation::Colon),
            "gres:gpu:1,gres:flexmig:4,gpu:2,license/x=1,gres:gpu:flexmig:1"
        );
        assert_eq!(request.terms().count(), 1);
    }

    #[test]
    fn what_leaves_become_stands_where_the_first_entry_stood() {
        let request = Request::parse("gres/gpu:1,flexmig:3g:1,license/x=1,flexmig:2").unwrap();
        let write = |notation, leaves: &[(Option<&str>, u64)]| {
            request.write_composed(notation, leaves.iter().copied())
        };
        assert_eq!(
            write(Notation::Slash, &[(Some("1g.10gb"), 5), (Some("a"), 1)]),
            "gres/gpu:1,gres/flexmig:1g.10gb:5,gres/flexmig:a:1,license/x=1"
        );
        assert_eq!(write(Notation::Colon, &[(None, 5)]), "gres:gpu:1,gres:flexmig:5,license/x=1");
    }

    #[test]
    fn gpus_of_a_mig_type_are_leaves_where_policy_says_so() {
        let text = "gres:gpu:a100_3g.20gb:2,gpu:1g.5gb,gres/gpu:a100:1,gpu:2,gres:gpu:20gb:1,gpu=3";
        let request = Request::parse(text).unwrap();
        assert_eq!(request.terms().count(), 0);
        let request = request.translated();
        assert_eq!(
            request.write(Notation::Slash),
            "gres/flexmig:a100_3g.20gb:2,gres/flexmig:1g.5gb:1,gres/gpu:a100:1,gpu:2,\
             gres/gpu:20gb:1,gpu=3"
        );
        let mut typed = String::new();
        request.push_typed(&mut typed);
        assert_eq!(typed, "gpu:a100_3g.20gb:2,gpu:1g.5gb:1");
        // What Slurm cannot read either is left to it.
        let broken = Request::parse("gpu:3g.20gb:0,gpu:3g.20gb:x").unwrap().translated();
        assert_eq!(broken.terms().count(), 0);
        assert!(mentions_gpu(b"gres:GPU:1") && !mentions_gpu(b"gres:gp:1"));
    }

    #[test]
    fn the_scan_finds_the_name_in_any_case() {
        assert!(mentions(b"gres:flexmig:4") && mentions(b"FLEXMIG") && mentions(b"fflexmig"));
        assert!(!mentions(b"") && !mentions(b"flexmi") && !mentions(b"gres:gpu:4"));
    }

    fn notation() -> impl Strategy<Value = Notation> {
        prop_oneof![Just(Notation::Colon), Just(Notation::Slash)]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            entries in proptest::collection::vec(
                prop_oneof![
                    (proptest::option::of("[1-7]g\\.[1-9][0-9]gb(\\+me)?|[1-9][0-9]gb|[1-7]g|a100_1g\\.5gb|[a-z]{1,5}"), 1..u64::MAX)
                        .prop_map(|(kind, count)| (kind, Some(count), "")),
                    Just((Some("gpu:2".to_owned()), None, "gres")),
                    Just((Some("license/a=1".to_owned()), None, "")),
                ],
                0..5,
            ),
            notation in notation(),
        ) {
            let entries = entries
                .iter()
                .map(|(text, count, prefix)| match count {
                    Some(count) => Entry::Flexmig(Term { kind: text.as_deref(), count: *count }),
                    None if *prefix == "gres" => Entry::Gres(text.as_deref().unwrap()),
                    None => Entry::Other(text.as_deref().unwrap()),
                })
                .collect();
            let request = Request { entries };
            let text = request.write(notation);
            prop_assert_eq!(Request::parse(&text), Ok(request));
        }

        #[test]
        fn any_text_is_read_or_refused(
            text in "([gG]res[:/ ]|flexmig|[:=, +-]|[0-9a-z.]{1,6}|.){0,12}",
            notation in notation(),
        ) {
            match Request::parse(&text) {
                Ok(request) => {
                    let written = request.write(notation);
                    prop_assert_eq!(Request::parse(&written), Ok(request.clone()), "{:?}", written);
                }
                Err(error) => prop_assert!(!error.to_string().contains('\n')),
            }
        }
    }
}
