//! Lines for Slurm's own log.
//!
//! A line reads `flexmig: what: why: what to do`; the prefix is added here.
//! The text is always passed as an argument of `"%s"`, so that a `%` in it means
//! nothing, and stays one line: whatever a user put into a job name cannot
//! forge a second one. Outside Slurm's programs lines go to stderr.

use std::ffi::CString;
use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;

use crate::raw::{LogApi, LogFn};

/// The longest text that is logged, in bytes; the rest is cut off.
pub const MAX_LINE: usize = 2000;

static API: OnceLock<LogApi> = OnceLock::new();

/// Something is wrong and somebody has to mend it.
pub fn error(text: impl Display) {
    send("error: ", |api| api.error, text);
}

/// Worth knowing in normal operation.
pub fn info(text: impl Display) {
    send("", |api| api.info, text);
}

/// For an admin who turned the log level up (`SlurmctldDebug=verbose`).
pub fn verbose(text: impl Display) {
    send("verbose: ", |api| api.verbose, text);
}

/// For us.
pub fn debug(text: impl Display) {
    send("debug: ", |api| api.debug, text);
}

fn send(level: &str, function: impl Fn(&LogApi) -> LogFn, text: impl Display) {
    let line = one_line(text);
    #[cfg(any(test, feature = "testing"))]
    if crate::testing::record(level, &line) {
        return;
    }
    match functions().zip(CString::new(line.as_bytes()).ok()) {
        // SAFETY: the format takes one terminated string, which lives past the call.
        Some((api, line)) => unsafe { function(api)(c"%s".as_ptr(), line.as_ptr()) },
        // A closed stderr must not hurt anybody.
        None => drop(writeln!(std::io::stderr(), "{level}{line}")),
    }
}

/// Looks the functions up at the first line logged in Slurm: the constructor,
/// where one thread runs, or [`crate::attach`], which calls this.
pub(crate) fn functions() -> Option<&'static LogApi> {
    if let Some(api) = API.get() {
        return Some(api);
    }
    let found = LogApi::resolve()?;
    Some(API.get_or_init(|| found))
}

/// The prefix and the text, with each control character (newlines above all)
/// turned into a blank, cut at [`MAX_LINE`].
fn one_line(text: impl Display) -> String {
    let mut line = String::from("flexmig: ");
    // Writing into a String fails only if the Display itself does.
    if write!(line, "{text}").is_err() {
        line.push_str("(text could not be written)");
    }
    if line.len() > MAX_LINE {
        let end = (0..=MAX_LINE).rev().find(|&i| line.is_char_boundary(i)).unwrap_or(0);
        line.truncate(end);
        line.push_str("...");
    }
    if line.contains(char::is_control) {
        line = line.replace(char::is_control, " ");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(
            one_line("job\nslurmctld: error: forged\r\x1b[2J\0"),
            "flexmig: job slurmctld: error: forged  [2J "
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = one_line("ü".repeat(MAX_LINE));
        assert!(line.len() <= MAX_LINE + 3 && line.ends_with("ü..."), "{}", line.len());
    }

    #[test]
    fn percent_signs_are_text() {
        let ((), lines) = crate::testing::captured(|| error("100 %s %n"));
        assert_eq!(lines, ["error: flexmig: 100 %s %n"]);
    }
}
