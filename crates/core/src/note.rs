//! Our part of a job's admin_comment: what the user asked for, what the job got, and why.
//!
//! `[flexmig:v1 req=3g:1 got=1g.10gb:3 fill=tcm why=starts-now]`, at most [`MAX`] bytes, somewhere in
//! the comment; what others wrote around it stays. It is the memory of re-planning over restarts of
//! slurmctld, so it is written and read here only.

use std::fmt;

/// Longest part of ours, in bytes.
pub const MAX: usize = 200;

const START: &str = "[flexmig:v1 ";
/// Stands where a request did not fit.
const CUT: &str = "...";

/// What we filled in where the user said nothing, so that re-planning may change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Task counts.
    pub tasks: bool,
    /// CPUs per task.
    pub cpus: bool,
    /// Memory per node.
    pub memory: bool,
}

/// What the part says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The request as the user wrote it, without `flexmig:`: `3g:1`, `4`, `3g:1,1g.10gb:2`; with
    /// `/task` at its end if leaves are counted per task.
    pub req: String,
    /// The composition in the same form.
    pub got: String,
    /// What was filled in.
    pub fill: Filled,
    /// One word.
    pub why: String,
    /// Token of the update that wrote this, while it is on its way to job_modify.
    pub token: Option<String>,
}

impl Note {
    /// Finds and reads our part of a comment. `None`: there is none, or not one of this form.
    pub fn find(comment: &str) -> Option<Note> {
        let (start, end) = place(comment)?;
        let inner = &comment[start + START.len()..end - 1];
        let mut note = Note::default();
        for word in inner.split(' ') {
            let (key, value) = word.split_once('=')?;
            match key {
                "req" => note.req = value.to_owned(),
                "got" => note.got = value.to_owned(),
                "why" => note.why = value.to_owned(),
                "tok" => note.token = Some(value.to_owned()),
                "fill" => {
                    note.fill = Filled {
                        tasks: value.contains('t'),
                        cpus: value.contains('c'),
                        memory: value.contains('m'),
                    };
                }
                // A later version may say more.
                _ => {}
            }
        }
        (!note.req.is_empty()).then_some(note)
    }

    /// The comment with our part replaced, or added at its end.
    pub fn put_into(&self, comment: &str) -> String {
        let note = self.to_string();
        match place(comment) {
            Some((start, end)) => [&comment[..start], &note, &comment[end..]].concat(),
            None if comment.is_empty() => note,
            None => [comment, " ", &note].concat(),
        }
    }

    /// The original request as `--gres` takes it, `flexmig:3g:1,flexmig:1g.10gb:2`, and whether it
    /// is per task. `None` where it was too long to be kept.
    pub fn request(&self) -> Option<(String, bool)> {
        let (list, per_task) = match self.req.strip_suffix("/task") {
            Some(list) => (list, true),
            None => (self.req.as_str(), false),
        };
        if list.is_empty() || list.contains(CUT) {
            return None;
        }
        let terms: Vec<String> = list.split(',').map(|term| format!("flexmig:{term}")).collect();
        Some((terms.join(","), per_task))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(MAX);
        self.push_to(&mut text);
        f.write_str(&text)
    }
}

impl Note {
    /// Appends the part.
    pub fn push_to(&self, text: &mut String) {
        let token = self.token.as_deref();
        let Note { req, got, why, .. } = self;
        push(text, |text| text.push_str(req), |text| text.push_str(got), self.fill, why, token);
    }
}

/// Appends a part whose request and composition are written in place. Without `format!`, which
/// would take most of the time of a submit.
pub(crate) fn push(
    text: &mut String,
    req: impl FnOnce(&mut String),
    got: impl FnOnce(&mut String),
    fill: Filled,
    why: &str,
    token: Option<&str>,
) {
    text.push_str(START);
    push_value(text, "req=", 72, req);
    push_value(text, " got=", 56, got);
    let Filled { tasks, cpus, memory } = fill;
    if tasks || cpus || memory {
        text.push_str(" fill=");
        for (filled, letter) in [(tasks, 't'), (cpus, 'c'), (memory, 'm')] {
            if filled {
                text.push(letter);
            }
        }
    }
    push_value(text, " why=", 14, |text| text.push_str(why));
    if let Some(token) = token {
        push_value(text, " tok=", 16, |text| text.push_str(token));
    }
    text.push(']');
}

/// First byte of our part and the one after its last.
fn place(comment: &str) -> Option<(usize, usize)> {
    let start = comment.find(START)?;
    let end = start + comment[start..].find(']')? + 1;
    Some((start, end))
}

/// Appends a key and its value, the value shortened to `room` bytes and without what would end it
/// early.
fn push_value(text: &mut String, key: &str, room: usize, value: impl FnOnce(&mut String)) {
    text.push_str(key);
    let start = text.len();
    value(text);
    let length = text.len() - start;
    if length > room {
        // `/task` at the end has to stay.
        let end = if text.ends_with("/task") { "/task" } else { "" };
        let left = room - CUT.len() - end.len();
        let cut = (0..=left).rev().find(|&at| text.is_char_boundary(start + at)).unwrap_or(0);
        text.truncate(start + cut);
        text.push_str(CUT);
        text.push_str(end);
    }
    if text.as_bytes()[start..].iter().any(|byte| matches!(byte, b']' | b' ')) {
        let cleaned = text[start..].replace([']', ' '], "?");
        text.replace_range(start.., &cleaned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let note = Note {
            req: "3g:1".into(),
            got: "1g.10gb:3".into(),
            fill: Filled { tasks: true, cpus: false, memory: true },
            why: "starts-now".into(),
            token: None,
        };
        let text = "[flexmig:v1 req=3g:1 got=1g.10gb:3 fill=tm why=starts-now]";
        assert_eq!(note.to_string(), text);
        assert_eq!(Note::find(&format!("mine [a] {text} yours")), Some(note.clone()));
        assert_eq!(note.request(), Some(("flexmig:3g:1".into(), false)));
        let other = Note { got: "3g.40gb:1".into(), fill: Filled::default(), ..note };
        assert_eq!(
            other.put_into(&format!("mine {text} yours")),
            "mine [flexmig:v1 req=3g:1 got=3g.40gb:1 why=starts-now] yours"
        );
        assert_eq!(other.put_into("mine"), format!("mine {other}"));
        assert_eq!(other.put_into(""), other.to_string());
    }

    #[test]
    fn requests_are_given_back_or_were_too_long() {
        let note = |req: &str| Note { req: req.into(), ..Note::default() };
        assert_eq!(
            note("3g:1,1g.10gb:2/task").request(),
            Some(("flexmig:3g:1,flexmig:1g.10gb:2".into(), true))
        );
        let long = Note::find(&note(&"a:1,".repeat(60)).to_string()).unwrap();
        assert_eq!(long.request(), None);
        assert_eq!(Note::find("[flexmig:v1 got=x]"), None);
        assert_eq!(Note::find("[flexmig:v1 req=4"), None);
        assert_eq!(Note::find("[flexmig:v2 req=4]"), None);
    }

    proptest! {
        #[test]
        fn a_note_is_short_and_one_word_per_value(
            req in ".{0,200}", got in ".{0,200}", why in ".{0,40}",
            token in proptest::option::of("[0-9a-f]{0,32}"), tasks in any::<bool>(),
        ) {
            let fill = Filled { tasks, ..Filled::default() };
            let text = Note { req, got, fill, why, token }.to_string();
            prop_assert!(text.len() <= MAX, "{}", text.len());
            prop_assert_eq!(text.matches(']').count(), 1);
            if let Some(note) = Note::find(&text) {
                prop_assert_eq!(note.to_string(), text);
            }
        }

        #[test]
        fn any_comment_is_read(comment in ".{0,30}(\\[flexmig:v1 [a-z= ]{0,20}\\]?)?.{0,30}") {
            if let Some(note) = Note::find(&comment) {
                prop_assert!(Note::find(&note.put_into(&comment)).is_some());
            }
        }
    }
}
