//! What is set in a job's environment for its mode, and what is left as the user has it.
//!
//! Everything that was set is recorded in [`RECORD`], as `NAME=value` pairs. So a step, a job inside
//! a job and NCCL's env plugin can tell our values from those of the user, who may change or unset a
//! variable in the batch script as well as at submission:
//!
//! | in the environment | recorded | whose |
//! |---|---|---|
//! | nothing | no | nobody's: it is set, unless an nccl.conf names it |
//! | the recorded value | yes | ours: it follows the mode, and goes when the leaves go |
//! | another value | yes or no | the user's: it stays |
//! | nothing | yes | the user unset it: it stays unset |

use super::variables::{Files, HOST_ID, VARIABLES};
use super::{Mode, Resolved};

/// The record: a comma list of `NAME=value`.
pub const RECORD: &str = "FLEXMIG_NCCL_SET";
/// The mode.
pub const MODE: &str = "FLEXMIG_MODE";
/// Why it is that one.
pub const REASON: &str = "FLEXMIG_MODE_REASON";
/// Libraries for the loader; separated by colons or blanks.
const PRELOAD: &str = "LD_PRELOAD";

/// One change: a variable and its new value, `None` to remove it.
pub type Edit = (&'static str, Option<String>);
/// The environment as it is: a variable's value.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What was set by whoever made the environment.
#[derive(Debug, Default)]
struct Record(Vec<(String, String)>);

impl Record {
    fn of(env: Lookup<'_>) -> Record {
        let text = env(RECORD).unwrap_or_default();
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        Record(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(recorded, _)| recorded == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(recorded, _)| recorded != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    fn text(&self) -> String {
        let pairs: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join(",")
    }

    /// Whether `value`, which the environment has, is what was recorded.
    fn holds(&self, name: &str, value: Option<&str>) -> bool {
        value.is_some() && self.get(name) == value
    }
}

/// `FLEXMIG_MODE`, if the user set it.
pub fn users_mode(env: Lookup<'_>) -> Option<String> {
    let mode = env(MODE);
    let ours = Record::of(env).holds(MODE, mode.as_deref());
    mode.filter(|_| !ours)
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Changes of the environment.
    pub edits: Vec<Edit>,
    /// What the mode would set and the user has otherwise, and where: `NCCL_NET (/etc/nccl.conf)`.
    pub kept: Vec<String>,
}

/// The environment of a job or step in its mode. `conf` tells which nccl.conf names a variable.
pub fn settings(
    resolved: &Resolved,
    files: &Files<'_>,
    conf: &dyn Fn(&str) -> Option<String>,
    env: Lookup<'_>,
) -> Settings {
    let old = Record::of(env);
    let mut new = Record::default();
    let Settings { mut edits, mut kept } = Settings::default();
    for variable in &VARIABLES {
        let name = variable.name;
        let wanted = resolved.mode.and_then(|mode| variable.value(mode, files));
        let now = env(name);
        let ours = old.holds(name, now.as_deref());
        let Some(wanted) = wanted else {
            if ours {
                edits.push((name, None));
            }
            continue;
        };
        if let Some(now) = now.as_deref().filter(|_| !ours) {
            if now != wanted {
                kept.push(format!("{name} (environment)"));
            }
        } else if let Some(file) = conf(name) {
            if ours {
                edits.push((name, None));
            }
            kept.push(format!("{name} ({file})"));
        } else if let Some(removed) = old.get(name).filter(|_| now.is_none()) {
            // Recorded on, so that it stays unset in steps of steps.
            new.set(name, removed);
            kept.push(format!("{name} (unset)"));
        } else {
            new.set(name, &wanted);
            edits.push((name, Some(wanted)));
        }
    }
    let preload = files.preload.filter(|_| resolved.mode != Some(Mode::Off));
    edits.extend(preloaded(preload, &old, &mut new, env, &mut kept));

    let mode = env(MODE).filter(|mode| !mode.is_empty() && mode != "auto");
    if let (Some(resolved), true) =
        (resolved.mode, mode.is_none() || old.holds(MODE, mode.as_deref()))
    {
        new.set(MODE, resolved.name());
        edits.push((MODE, Some(resolved.name().to_owned())));
    }
    let mut reason = resolved.reason.clone();
    if !kept.is_empty() {
        reason = format!("{reason}; the user's own: {}", kept.join(" "));
    }
    edits.push((REASON, Some(reason)));
    match new.text() {
        text if !text.is_empty() => edits.push((RECORD, Some(text))),
        _ if env(RECORD).is_some() => edits.push((RECORD, None)),
        _ => (),
    }
    Settings { edits, kept }
}

/// LD_PRELOAD with our library at its end, once; or without it.
fn preloaded(
    wanted: Option<&str>,
    old: &Record,
    new: &mut Record,
    env: Lookup<'_>,
    kept: &mut Vec<String>,
) -> Option<Edit> {
    let now = env(PRELOAD).unwrap_or_default();
    let Some(wanted) = wanted else { return without_ours(old, &now) };
    if let (Some(ours), true) = (old.get(PRELOAD), now.is_empty()) {
        new.set(PRELOAD, ours);
        kept.push(format!("{PRELOAD} (unset)"));
        return None;
    }
    if has(&now, wanted) {
        if old.get(PRELOAD) == Some(wanted) {
            new.set(PRELOAD, wanted);
        }
        return None;
    }
    if now.contains(char::REPLACEMENT_CHARACTER) {
        // Written back it would name other files.
        kept.push(format!("{PRELOAD} (not UTF-8)"));
        return None;
    }
    // One of ours with another path: from another node, or from before an update.
    let now = without_ours(old, &now).map_or(now, |(_, rest)| rest.unwrap_or_default());
    new.set(PRELOAD, wanted);
    let list = if now.is_empty() { wanted.to_owned() } else { format!("{now}:{wanted}") };
    Some((PRELOAD, Some(list)))
}

/// LD_PRELOAD without the recorded entry, if that is there. The rest stays as it is written.
fn without_ours(old: &Record, now: &str) -> Option<Edit> {
    let ours = old.get(PRELOAD).filter(|ours| !ours.is_empty() && has(now, ours))?;
    if now.contains(char::REPLACEMENT_CHARACTER) {
        return None;
    }
    let mut rest = String::new();
    for piece in now.split_inclusive(separates) {
        if piece.trim_end_matches(separates) != ours {
            rest.push_str(piece);
        }
    }
    let rest = rest.trim_matches(separates).to_owned();
    Some((PRELOAD, Some(rest).filter(|rest| !rest.is_empty())))
}

fn separates(c: char) -> bool {
    c == ':' || c.is_ascii_whitespace()
}

fn has(list: &str, entry: &str) -> bool {
    list.split(separates).any(|word| word == entry)
}

/// The environment without anything that [`settings`] set, for a job or step without leaves.
pub fn withdraw(env: Lookup<'_>) -> Vec<Edit> {
    let old = Record::of(env);
    let names = VARIABLES.iter().map(|variable| variable.name).chain([MODE]);
    let ours = names.filter(|name| old.holds(name, env(name).as_deref()));
    let mut edits: Vec<Edit> = ours.map(|name| (name, None)).collect();
    edits.extend(env(PRELOAD).and_then(|now| without_ours(&old, &now)));
    edits
        .extend([REASON, RECORD].into_iter().filter(|name| env(name).is_some()).map(|n| (n, None)));
    edits
}

/// The environment of a task that has one leaf, by its index on the node: in mode net each rank is a
/// host of its own.
pub fn bind(node: &str, index: usize, env: Lookup<'_>) -> Vec<Edit> {
    let mut record = Record::of(env);
    let is_net = env(MODE).as_deref() == Some(Mode::Net.name());
    if !is_net || !record.holds(HOST_ID, env(HOST_ID).as_deref()) {
        return Vec::new();
    }
    let id = format!("{node}-{index}");
    record.set(HOST_ID, &id);
    vec![(HOST_ID, Some(id)), (RECORD, Some(record.text()))]
}

#[cfg(test)]
mod tests;
