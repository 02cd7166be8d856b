//! The golden set as tests read it; core's, the command's and the plugin's share this file. What the
//! set is: `golden_views.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use flexmig_core::view::ClusterView;
use serde::{Deserialize, Serialize};

/// `NAME.toml`: requests on the view `NAME.json`, and the answers.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// What flexmig.toml says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policy: String,
    /// Seconds that the view is old.
    #[serde(default, skip_serializing_if = "is_default")]
    pub age: u64,
    pub case: Vec<Case>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub gres: String,
    pub partition: Option<String>,
    pub minutes: Option<u32>,
    pub nodes: Option<u32>,
    pub tasks: Option<u32>,
    pub cpus_per_task: Option<u16>,
    /// A release before 23.02.6.
    #[serde(default, skip_serializing_if = "is_default")]
    pub old: bool,
    /// The request as it is rewritten, with its features, or the line of the rejection.
    pub answer: String,
    /// The word in admin_comment.
    pub why: Option<String>,
    /// All that was looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Every view in `crates/core/tests/views`, by name, with the path of its `NAME.json`. Tests run in
/// the directory of their package, so they say where `crates/core` is from there.
pub fn read(core: &str) -> Vec<(PathBuf, ClusterView, Golden)> {
    let entries = fs::read_dir(Path::new(core).join("tests/views")).unwrap();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    assert!(!paths.is_empty());
    paths.sort();
    let read = |path: PathBuf| {
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let view = serde_json::from_str(&text(&path)).map_err(|error| told(&error)).unwrap();
        let golden = toml::from_str(&text(&path.with_extension("toml")));
        let golden = golden.map_err(|error| told(&error)).unwrap();
        (path, view, golden)
    };
    paths.into_iter().map(read).collect()
}

/// The word of a note that says why.
pub fn word(note: &str) -> Option<String> {
    note.rsplit_once("why=").map(|(_, why)| why.trim_end_matches(']').to_owned())
}
