//! One thing that `flexmig check` looked at.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Jobs fail or run wrongly until it is mended.
    Error,
    /// Works, but not as well as it could.
    Warning,
    /// As it should be.
    Ok,
}

/// One finding; its Display is one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at: one of a few fixed words, for scripts.
    pub topic: &'static str,
    /// The file with its line, the node or the device.
    #[serde(rename = "where")]
    pub place: String,
    /// What was found.
    pub what: String,
    /// What to do; `None` if nothing is to be done, or if `what` says it.
    pub mend: Option<String>,
}

impl Finding {
    /// An error with its mend.
    pub fn error(
        topic: &'static str,
        place: impl fmt::Display,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding::new(Level::Error, topic, place, what.into(), Some(mend.into()))
    }

    /// A warning with its mend.
    pub fn warning(
        topic: &'static str,
        place: impl fmt::Display,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding::new(Level::Warning, topic, place, what.into(), Some(mend.into()))
    }

    /// Something that is as it should be.
    pub fn ok(topic: &'static str, place: impl fmt::Display, what: impl Into<String>) -> Finding {
        Finding::new(Level::Ok, topic, place, what.into(), None)
    }

    /// A message of another part, which names place and mend itself.
    pub fn message(level: Level, topic: &'static str, message: impl fmt::Display) -> Finding {
        Finding::new(level, topic, "", message.to_string(), None)
    }

    fn new(
        level: Level,
        topic: &'static str,
        place: impl fmt::Display,
        what: String,
        mend: Option<String>,
    ) -> Finding {
        Finding { level, topic, place: place.to_string(), what, mend }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Ok => "ok",
        };
        write!(f, "{level:<8}")?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.what)?;
        self.mend.as_ref().map_or(Ok(()), |mend| write!(f, ": {mend}"))
    }
}
