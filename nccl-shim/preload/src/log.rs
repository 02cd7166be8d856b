//! One line on stderr, `flexmig: what: why: what to do`, if FLEXMIG_LOG lets it through.

use flexmig_core::text::Text;

use crate::environment;

/// How much a line matters. Without FLEXMIG_LOG warnings and errors are written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    const fn parse(text: &[u8]) -> Option<Level> {
        match text {
            b"error" => Some(Level::Error),
            b"warn" => Some(Level::Warn),
            b"info" => Some(Level::Info),
            b"debug" => Some(Level::Debug),
            _ => None,
        }
    }
}

/// Writes the parts as one line.
pub fn say(level: Level, parts: &[&[u8]]) {
    let wanted = environment::get(c"FLEXMIG_LOG").filter(|text| !text.is_empty());
    if level <= wanted.and_then(Level::parse).unwrap_or(Level::Warn) {
        write(parts);
    }
}

/// Says so if FLEXMIG_LOG is not a level. For places that a rank comes through once, not for every
/// process.
pub fn check_level() {
    let text = environment::get(c"FLEXMIG_LOG").filter(|text| !text.is_empty());
    if let Some(text) = text.filter(|text| Level::parse(text).is_none()) {
        let text = text.get(..32).unwrap_or(text);
        write(&[b"FLEXMIG_LOG: `", text, b"` is not a level: set error, warn, info or debug"]);
    }
}

fn write(parts: &[&[u8]]) {
    let mut line = Text::<1024>::new();
    line.push(b"flexmig: ");
    parts.iter().for_each(|part| line.push(part));
    let piece = |text: &[u8]| libc::iovec {
        iov_base: text.as_ptr().cast_mut().cast(),
        iov_len: text.len(),
    };
    // One call, so that lines of several ranks do not mix. Nothing to do if it fails.
    // SAFETY: both pieces are as long as said and are only read.
    unsafe { libc::writev(2, [piece(line.as_bytes()), piece(b"\n")].as_ptr(), 2) };
}
