//! What a job was promised: the value of `FLEXMIG_REQUEST` in its environment.
//!
//! job_submit writes it for batch jobs, the GRES plugin compares it with the leaves of the job's
//! node. It is what was asked for at submission: `scontrol update` cannot change the environment
//! of a waiting job, so a job that was updated may rightly hold other leaves.

use std::fmt;
use std::str::FromStr;

use crate::request::push_number;

/// Name of the environment variable.
pub const VARIABLE: &str = "FLEXMIG_REQUEST";

/// Stands for the type where slurm.conf has none.
const ANY: &str = "any";

/// `1g.10gb:4`, `any:4`, or a list of such entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// One entry per type.
    pub parts: Vec<Part>,
}

/// One entry of a [`Promise`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Type as slurm.conf spells it; `None` (written `any`) where slurm.conf has no types.
    pub kind: Option<String>,
    /// Leaves per node; `None` (left out) where the scheduler decides: a job with leaves per task
    /// on several nodes.
    pub count: Option<u64>,
}

/// A text that is not a [`Promise`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a list of type:count")]
pub struct PromiseError(String);

/// Appends one entry: `1g.10gb:4`.
pub(crate) fn push(text: &mut String, kind: Option<&str>, count: Option<u64>) {
    text.push_str(kind.unwrap_or(ANY));
    if let Some(count) = count {
        text.push(':');
        push_number(text, count);
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for part in &self.parts {
            if !text.is_empty() {
                text.push(',');
            }
            push(&mut text, part.kind.as_deref(), part.count);
        }
        f.write_str(&text)
    }
}

impl FromStr for Promise {
    type Err = PromiseError;

    fn from_str(text: &str) -> Result<Promise, PromiseError> {
        let part = |entry: &str| {
            let (kind, count) = match entry.split_once(':') {
                Some((kind, count)) => (kind, Some(count.parse().ok()?)),
                None => (entry, None),
            };
            let kind = (kind != ANY).then(|| kind.to_owned());
            (kind.as_deref() != Some("")).then_some(Part { kind, count })
        };
        let parts: Option<Vec<Part>> = text.split(',').map(part).collect();
        let error = || PromiseError(text.chars().take(64).collect());
        Ok(Promise { parts: parts.ok_or_else(error)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_reads_back_the_same() {
        for text in ["1g.10gb:4", "any:4", "1g.10gb", "any", "1g.10gb:1,a100_3g.40gb:2"] {
            assert_eq!(text.parse::<Promise>().unwrap().to_string(), text);
        }
        let promise: Promise = "any:4".parse().unwrap();
        assert_eq!(promise.parts, [Part { kind: None, count: Some(4) }]);
        for text in ["", ":4", "1g.10gb:", "1g.10gb:x", "1g.10gb:4,", "a:b:2"] {
            assert!(text.parse::<Promise>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([0-9a-z.]{0,6}[:,]?.?){0,4}") {
            if let Ok(promise) = text.parse::<Promise>() {
                prop_assert_eq!(promise.to_string().parse::<Promise>(), Ok(promise));
            }
        }
    }
}
