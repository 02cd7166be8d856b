//! Site policy: `flexmig.toml`.
//!
//! Every key has a default, so an absent file is a valid policy. Unknown keys are errors, with file
//! and line. `conf/flexmig.toml` is the commented example and is tested to say the defaults.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::nccl::Choice;
use crate::profile::Profile;

/// Everything flexmig.toml can say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What job_submit does with flexmig requests while this file cannot be read.
    pub if_broken: IfBroken,
    /// Rules for requests; read by slurmctld.
    pub submit: Submit,
    /// Who may hold more than one leaf; read by slurmctld.
    pub span: Span,
    /// How leaves are chosen; read by slurmctld.
    pub select: Select,
    /// Requests of other kinds that are taken for requests for leaves; read by slurmctld.
    pub translate: Translate,
    /// How leaves are found and handed out; read by slurmd and `flexmig`.
    pub node: Node,
    /// What jobs with leaves are given for NCCL; read by slurmd.
    pub nccl: Nccl,
}

/// What to do with flexmig requests while flexmig.toml is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IfBroken {
    /// Go on with the last good policy, at start-up with the defaults.
    #[default]
    Defaults,
    /// Reject every flexmig request until the file is mended.
    Refuse,
}

/// Table `[submit]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Submit {
    /// Profiles on offer. Empty: every flexmig type that slurm.conf configures.
    pub profiles: Vec<Profile>,
    /// Most leaves that a job may hold on one node.
    pub max_leaves_per_node: Option<u64>,
    /// Most leaves that a job may hold on all its nodes together.
    pub max_leaves_per_job: Option<u64>,
    /// Give a batch job without a task count one task per leaf.
    pub fill_tasks: bool,
    /// CPUs per leaf for batch jobs that name no CPU count; absent: Slurm's own default.
    pub cpus_per_leaf: Option<u16>,
    /// Memory per leaf in MiB for batch jobs that name no memory; absent: Slurm's own default.
    pub memory_per_leaf: Option<u64>,
    /// Tell the user of an accepted job in one line what was chosen.
    pub explain: bool,
}

impl Default for Submit {
    fn default() -> Submit {
        Submit {
            profiles: Vec::new(),
            max_leaves_per_node: None,
            max_leaves_per_job: None,
            fill_tasks: true,
            cpus_per_leaf: None,
            memory_per_leaf: None,
            explain: true,
        }
    }
}

/// Table `[span]`: who may hold more than one leaf. An absent list allows everyone; with several
/// lists a job must pass each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Span {
    /// Partitions whose jobs may span leaves.
    pub partitions: Option<Vec<String>>,
    /// Accounts whose jobs may span leaves.
    pub accounts: Option<Vec<String>>,
    /// QOS whose jobs may span leaves.
    pub qos: Option<Vec<String>>,
}

/// Table `[select]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Select {
    /// Seconds between two looks at the cluster; 0: never, requests are resolved from policy alone.
    pub refresh: u32,
    /// Age in seconds from which on what is known of free leaves does not count.
    pub max_age: u32,
    /// When leaves of other profiles serve a request for a profile.
    pub compose: Compose,
    /// Allow `flexmig:mixed:N`.
    pub mixed: bool,
    /// Change the composition of waiting jobs that could start with another one (Slurm 23.02.6 and
    /// later).
    pub replan: bool,
    /// ... also to more leaves than before where gres/flexmig is accounted.
    pub replan_more_leaves: bool,
    /// Most compute slices that a job gets above what was asked, where there is a choice.
    pub max_waste: Option<u64>,
}

impl Default for Select {
    fn default() -> Select {
        Select {
            refresh: 5,
            max_age: 60,
            compose: Compose::default(),
            mixed: false,
            replan: true,
            replan_more_leaves: false,
            max_waste: None,
        }
    }
}

/// When leaves of other profiles serve a request for a profile, as three 1g.10gb for a 3g.40gb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compose {
    /// Where the partition has no leaf of the profile.
    #[default]
    Missing,
    /// There, and where none is free.
    Busy,
    /// Never.
    Never,
}

/// Table `[translate]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Translate {
    /// `--gres=gpu:3g.20gb:1` and `gpu:a100_3g.20gb:1` ask for leaves.
    pub gpu: bool,
}

/// Table `[node]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// NVML library, as dlopen takes it.
    pub nvml_library: PathBuf,
    /// Directory that holds `dev` and `proc`; other than `/` only for tests.
    pub root: PathBuf,
    /// Which leaf gets which index, inside each type.
    pub order: Order,
    /// Give each task of a step its own leaf (SLURM_TRES_BIND, Slurm 23.11 and later).
    pub bind_tasks: bool,
    /// How a leaf is checked when a job starts on it.
    pub verify: Verify,
    /// Directory of the index file; absent: slurmd's spool directory.
    pub state_dir: Option<PathBuf>,
}

impl Default for Node {
    fn default() -> Node {
        Node {
            nvml_library: "libnvidia-ml.so.1".into(),
            root: "/".into(),
            order: Order::default(),
            bind_tasks: true,
            verify: Verify::default(),
            state_dir: None,
        }
    }
}

/// Table `[nccl]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nccl {
    /// The runtime mode of jobs whose user names none.
    pub mode: Choice,
    /// Put libflexmig_preload.so into LD_PRELOAD.
    pub ld_preload: bool,
    /// Directory of libflexmig_preload.so and libnccl-net-flexmig.so; absent: where they are found.
    pub library_dir: Option<PathBuf>,
    /// Directory of the topology file that slurmd writes.
    pub topology_dir: PathBuf,
}

impl Default for Nccl {
    fn default() -> Nccl {
        Nccl {
            mode: Choice::default(),
            ld_preload: true,
            library_dir: None,
            topology_dir: "/run/flexmig".into(),
        }
    }
}

/// Placement policy: Slurm takes the lowest free index, so the order of indices decides which
/// leaves a job gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Leaf after leaf of one GPU, then the next GPU: keeps GPUs free.
    #[default]
    Pack,
    /// Round robin over GPUs: the leaves of a job use several PCIe links.
    Spread,
    /// NUMA node after NUMA node, inside each round robin over its GPUs.
    Numa,
}

/// What is checked about each leaf of a job when the job starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// NVML still knows the UUID with the same profile, and the device files are the same.
    #[default]
    Nvml,
    /// The device files and the driver's list of instances are the same; NVML is not loaded.
    Files,
}

/// Why flexmig.toml, a layout file or an index file could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct FileError {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, and what to write instead where that is known.
    pub message: String,
}

impl FileError {
    /// From what the TOML reader says about `text`: one line, and the line number.
    pub fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> FileError {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..start].iter().filter(|&&b| b == b'\n').count() + 1;
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        FileError { file: file.to_owned(), line, message }
    }
}

impl Policy {
    /// Reads the text of flexmig.toml; `file` is only for messages.
    pub fn from_toml(file: &str, text: &str) -> Result<Policy, FileError> {
        let policy: Policy =
            toml::from_str(text).map_err(|error| FileError::from_toml(file, text, &error))?;
        policy.check().map_err(|(key, message)| FileError {
            file: file.to_owned(),
            line: line_of_key(text, key),
            message: format!("{key}: {message}"),
        })
    }

    /// As [`Policy::from_toml`], from bytes that may not be UTF-8.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Policy, FileError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Policy::from_toml(file, text),
            Err(error) => {
                let line = bytes[..error.valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
                let message = "not UTF-8 text: save the file as UTF-8".to_owned();
                Err(FileError { file: file.to_owned(), line, message })
            }
        }
    }

    /// What a file that [`Policy::from_bytes`] refused still says about being broken: its line
    /// `if_broken = "refuse"` counts even if the rest cannot be read.
    pub fn if_broken(bytes: &[u8]) -> IfBroken {
        match salvaged(bytes, "if_broken").as_deref() {
            Some("refuse") => IfBroken::Refuse,
            _ => IfBroken::Defaults,
        }
    }

    /// The policy while the file is one that [`Policy::from_bytes`] refused: the defaults, and its
    /// line `state_dir = "..."`. slurmd must find its index file, or it would number leaves anew
    /// under running jobs.
    pub fn while_broken(bytes: &[u8]) -> Policy {
        let mut policy = Policy::default();
        let dir = salvaged(bytes, "state_dir").map(PathBuf::from);
        policy.node.state_dir = dir.filter(|dir| dir.is_absolute());
        policy
    }

    /// What types cannot say.
    fn check(self) -> Result<Policy, (&'static str, &'static str)> {
        if self.submit.max_leaves_per_node == Some(0) {
            return Err(("max_leaves_per_node", "must be at least 1; leave it out for no limit"));
        }
        if self.submit.max_leaves_per_job == Some(0) {
            return Err(("max_leaves_per_job", "must be at least 1; leave it out for no limit"));
        }
        if self.submit.cpus_per_leaf == Some(0) {
            return Err(("cpus_per_leaf", "must be at least 1; leave it out for Slurm's default"));
        }
        if self.submit.memory_per_leaf == Some(0) {
            return Err((
                "memory_per_leaf",
                "must be at least 1 (MiB); leave it out for Slurm's default",
            ));
        }
        if !self.node.root.is_absolute() {
            return Err(("root", "must be an absolute path"));
        }
        if self.node.state_dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
            return Err(("state_dir", "must be an absolute path"));
        }
        if self.nccl.library_dir.as_deref().is_some_and(|dir| !can_be_listed(dir)) {
            return Err((
                "library_dir",
                "must be an absolute path without blanks, colons and commas",
            ));
        }
        if !can_be_listed(&self.nccl.topology_dir) {
            return Err((
                "topology_dir",
                "must be an absolute path without blanks, colons and commas",
            ));
        }
        Ok(self)
    }
}

/// Whether files of a directory can stand in LD_PRELOAD and in comma lists.
pub fn can_be_listed(dir: &Path) -> bool {
    let separates = |c: char| c.is_whitespace() || matches!(c, ':' | ',');
    dir.is_absolute() && dir.to_str().is_some_and(|dir| !dir.contains(separates))
}

/// The text that a line `key = "text"` sets, whatever the lines around it are.
fn salvaged(bytes: &[u8], key: &str) -> Option<String> {
    String::from_utf8_lossy(bytes).lines().find_map(|line| {
        let value = line.trim_start().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim();
        let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        Some(value[1..].split_once(quote)?.0.to_owned())
    })
}

/// The line on which `key` is set, 1 if it is not found.
fn line_of_key(text: &str, key: &str) -> usize {
    let is_key = |line: &str| {
        line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().position(is_key).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = include_str!("../../../conf/flexmig.toml");

    #[test]
    fn the_example_says_the_defaults() {
        assert_eq!(Policy::from_toml("conf/flexmig.toml", EXAMPLE), Ok(Policy::default()));
    }

    #[test]
    fn what_the_example_shows_commented_out_is_valid() {
        let is_key = |line: &str| line.split_once(" = ").is_some_and(|(k, _)| !k.contains(' '));
        for line in EXAMPLE.lines().filter_map(|l| l.strip_prefix("# ")).filter(|l| is_key(l)) {
            let taken = ["submit", "span", "select", "translate", "node", "nccl"]
                .iter()
                .any(|table| Policy::from_toml("f", &format!("[{table}]\n{line}")).is_ok());
            assert!(taken, "{line}");
        }
    }

    #[test]
    fn an_empty_file_is_the_default_policy() {
        assert_eq!(Policy::from_toml("flexmig.toml", ""), Ok(Policy::default()));
    }

    #[test]
    fn unknown_keys_are_errors_with_file_and_line() {
        let text = "[submit]\nmax_leaves_per_node = 4\nmax_leafs = 4\n";
        let error = Policy::from_toml("/etc/flexmig.toml", text).unwrap_err();
        assert_eq!((error.file.as_str(), error.line), ("/etc/flexmig.toml", 3));
        assert!(error.message.contains("unknown field `max_leafs`"), "{error}");
        assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn values_out_of_range_are_errors_with_the_line_of_the_key() {
        let text = "[node]\nroot = \"/\"\n\n[submit]\nmax_leaves_per_job = 0\n";
        let error = Policy::from_toml("f", text).unwrap_err();
        assert_eq!(error.line, 5);
        for line in ["library_dir = \"lib\"", "topology_dir = \"/run/a,b\""] {
            let error = Policy::from_toml("f", &format!("[nccl]\n{line}\n")).unwrap_err();
            assert!(error.message.contains("absolute path without"), "{error}");
            assert_eq!(error.line, 2);
        }
    }

    #[test]
    fn modes_have_their_names() {
        for mode in ["auto", "native", "relabel-p2p", "relabel-shm", "net", "off"] {
            let policy = Policy::from_toml("f", &format!("[nccl]\nmode = \"{mode}\"")).unwrap();
            assert_eq!(policy.nccl.mode.name(), mode);
        }
        assert!(Policy::from_toml("f", "[nccl]\nmode = \"p2p\"").is_err());
    }

    #[test]
    fn profiles_are_checked() {
        let error =
            Policy::from_toml("f", "[submit]\nprofiles = [\"1g.10gb\", \"big\"]").unwrap_err();
        assert!(error.message.contains("\"big\" is not a MIG profile"), "{error}");
        assert_eq!(error.line, 2);
    }

    #[test]
    fn a_broken_file_can_still_ask_to_refuse() {
        assert_eq!(Policy::if_broken(b"if_broken = \"refuse\"\n[submit\n"), IfBroken::Refuse);
        assert_eq!(Policy::if_broken(b"# if_broken = \"refuse\"\n[submit\n"), IfBroken::Defaults);
    }

    #[test]
    fn a_broken_file_still_says_where_the_index_file_is() {
        let policy =
            Policy::while_broken(b"[node]\nstate_dir = '/var/lib/flexmig' # here\n[submit\n");
        assert_eq!(policy.node.state_dir.as_deref(), Some("/var/lib/flexmig".as_ref()));
        assert_eq!(Policy::while_broken(b"state_dir = \"here\"\n[x"), Policy::default());
        assert_eq!(Policy::while_broken(b"state_dir = \"/var\n"), Policy::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Policy::from_bytes("f", &bytes);
            let _ = Policy::if_broken(&bytes);
            let _ = Policy::while_broken(&bytes);
        }

        #[test]
        fn any_toml_like_text_is_read_or_refused(
            text in "(\\[(submit|span|node)\\]\n)?([a-z_]{1,20} = [\"0-9a-z\\[\\]]{0,8}\n){0,5}",
        ) {
            let _ = Policy::from_toml("f", &text);
        }
    }
}
