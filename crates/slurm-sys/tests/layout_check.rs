//! Compares the layout table and the constants with Slurm's public headers, by
//! bindgen. Checked are the headers in `/usr/include/slurm`, and those below
//! each root in `FLEXMIG_SLURM_ROOT` (a colon list) instead, where it is set:
//! one run can check several releases.
//!
//! The GRES structures are not in the public headers; see `gres_layouts.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use slurm_sys::cluster::layout::{
    ArrayRespLayout, JobLayout, JobMsgLayout, NodeLayout, NodeMsgLayout, PartitionLayout,
    PartitionMsgLayout,
};
use slurm_sys::cluster::{JobState, NodeState};
use slurm_sys::layout::{JobDescLayout, NONE};
use slurm_sys::{Release, Version};

type Rows = &'static [(&'static str, [usize; Release::ALL.len()])];

/// Each public structure: its tag as bindgen has it, our name for it, and its rows.
const STRUCTURES: [(&str, &str, Rows); 8] = [
    ("job_descriptor", JobDescLayout::C_NAME, JobDescLayout::ROWS),
    ("node_info", NodeLayout::C_NAME, NodeLayout::ROWS),
    ("node_info_msg", NodeMsgLayout::C_NAME, NodeMsgLayout::ROWS),
    ("partition_info", PartitionLayout::C_NAME, PartitionLayout::ROWS),
    ("partition_info_msg", PartitionMsgLayout::C_NAME, PartitionMsgLayout::ROWS),
    ("job_info", JobLayout::C_NAME, JobLayout::ROWS),
    ("job_info_msg", JobMsgLayout::C_NAME, JobMsgLayout::ROWS),
    ("job_array_resp_msg_t", ArrayRespLayout::C_NAME, ArrayRespLayout::ROWS),
];

/// What clang says about a header.
struct Header {
    version: Version,
    /// `(structure, field)` to offset; the field `size` is the size.
    offsets: BTreeMap<(String, String), usize>,
    constants: BTreeMap<String, u64>,
}

fn roots() -> Vec<PathBuf> {
    std::env::var("FLEXMIG_SLURM_ROOT")
        .unwrap_or_else(|_| "/".to_owned())
        .split(':')
        .filter(|root| !root.is_empty())
        .map(PathBuf::from)
        .collect()
}

/// Reads a root's slurm.h, with the other headers taken from this machine;
/// `None`, with the reason, where there is none.
fn read(root: &Path) -> Option<Header> {
    let headers = root.join("usr/include/slurm");
    if !headers.join("slurm.h").is_file() {
        assert_eq!(
            root,
            Path::new("/"),
            "{}: no slurm.h in a root that was named",
            headers.display()
        );
        eprintln!("skipped: no {}/slurm.h: install Slurm's development package", headers.display());
        return None;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let directory = scratch.path();
    std::os::unix::fs::symlink(&headers, directory.join("slurm")).expect("a link to the headers");
    let source = bindgen::builder()
        .header_contents("check.h", "#include <slurm/slurm.h>\n#include <slurm/slurm_errno.h>\n")
        .clang_arg(format!("-I{}", directory.display()))
        .allowlist_type(STRUCTURES.map(|(tag, ..)| tag).join("|"))
        .allowlist_type("slurm_step_id_t|slurm_step_id_msg|node_states|job_states")
        .allowlist_var("NO_VAL.*|INFINITE|MEM_PER_CPU|SLURM_VERSION_NUMBER|SLURM_SUCCESS")
        .allowlist_type("slurm_err_t")
        .layout_tests(true)
        .generate()
        .expect("clang reads slurm.h")
        .to_string();
    Some(parse(&source))
}

/// bindgen writes clang's numbers as
/// `["Offset of field: S::f"][::std::mem::offset_of!(S, f) - 8usize];`,
/// `["Size of S"][::std::mem::size_of::<S>() - 24usize];` and `pub const C: t = 1;`.
fn parse(source: &str) -> Header {
    let mut offsets = BTreeMap::new();
    let mut constants = BTreeMap::new();
    // Long statements are broken over lines; a statement ends with a semicolon.
    let flat = source.split_whitespace().collect::<Vec<_>>().join(" ");
    for statement in flat.split(';') {
        let number = || {
            let digits = statement.rsplit([' ', '(']).next()?.trim_end_matches("usize]");
            digits.parse::<usize>().ok()
        };
        if let Some((_, rest)) = statement.split_once("[\"Offset of field: ") {
            let (name, _) = rest.split_once('"').expect("a closing quote");
            let (structure, field) = name.split_once("::").expect("structure::field");
            offsets.insert((structure.to_owned(), field.to_owned()), number().expect("an offset"));
        } else if let Some((_, rest)) = statement.split_once("[\"Size of ") {
            let (name, _) = rest.split_once('"').expect("a closing quote");
            offsets.insert((name.to_owned(), "size".to_owned()), number().expect("a size"));
        } else if let Some((_, rest)) = statement.split_once("pub const ") {
            let Some((name, rest)) = rest.split_once(':') else { continue };
            let Some(value) = rest.rsplit("= ").next() else { continue };
            if let Ok(value) = value.trim().parse::<i128>() {
                constants.insert(name.trim().to_owned(), value as u64);
            }
        }
    }
    let number = constants.get("SLURM_VERSION_NUMBER").copied().expect("slurm_version.h");
    let version = Version::from_number(u32::try_from(number).expect("a version"));
    Header { version, offsets, constants }
}

fn release_of(version: Version) -> Option<Release> {
    Release::ALL.into_iter().find(|r| r.major_minor() == version.major_minor())
}

impl Header {
    /// Where a field lies, [`NONE`] if this release does not have it.
    fn offset(&self, structure: &str, field: &str) -> usize {
        let find = |structure: &str, field: &str| {
            self.offsets.get(&(structure.to_owned(), field.to_owned())).copied()
        };
        assert!(find(structure, "size").is_some(), "no {structure} in Slurm {}", self.version);
        // 25.11 and later have step_id.job_id; what is called job_id is filled in by some calls.
        let in_step = (field == "job_id").then(|| find(structure, "step_id")).flatten();
        if let Some(step) = in_step {
            let inner = find("slurm_step_id_t", "job_id")
                .or_else(|| find("slurm_step_id_msg", "job_id"))
                .expect("a job_id in the step_id");
            return step + inner;
        }
        find(structure, field).unwrap_or(NONE)
    }
}

#[test]
fn every_used_field_lies_where_the_header_says() {
    for root in roots() {
        let Some(header) = read(&root) else { continue };
        let release = release_of(header.version)
            .unwrap_or_else(|| panic!("no layout for Slurm {}: add a column", header.version));
        for (tag, name, rows) in STRUCTURES {
            for (field, row) in rows {
                assert_eq!(
                    row[release as usize],
                    header.offset(tag, field),
                    "{field} of {name} in Slurm {}",
                    header.version
                );
            }
            println!("{name}: {} fields agree with Slurm {}", rows.len(), header.version);
        }
    }
}

#[test]
fn the_constants_are_those_of_the_headers() {
    for root in roots() {
        let Some(header) = read(&root) else { continue };
        let ours = [
            ("NO_VAL16", u64::from(slurm_sys::NO_VAL16)),
            ("NO_VAL", u64::from(slurm_sys::NO_VAL)),
            ("NO_VAL64", slurm_sys::NO_VAL64),
            ("INFINITE", slurm_sys::cluster::INFINITE.into()),
            ("MEM_PER_CPU", slurm_sys::MEM_PER_CPU),
            ("NODE_STATE_DOWN", NodeState::DOWN.into()),
            ("NODE_STATE_IDLE", NodeState::IDLE.into()),
            ("NODE_STATE_ALLOCATED", NodeState::ALLOCATED.into()),
            ("NODE_STATE_MIXED", NodeState::MIXED.into()),
            ("NODE_STATE_FUTURE", NodeState::FUTURE.into()),
            ("JOB_PENDING", JobState::PENDING.into()),
            ("JOB_RUNNING", JobState::RUNNING.into()),
            ("JOB_SUSPENDED", JobState::SUSPENDED.into()),
            ("ESLURM_ACCESS_DENIED", slurm_sys::ESLURM_ACCESS_DENIED as u64),
            (
                "ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE",
                slurm_sys::ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE as u64,
            ),
            ("ESLURM_INVALID_GRES", slurm_sys::ESLURM_INVALID_GRES as u64),
            ("ESLURM_INVALID_TRES", slurm_sys::ESLURM_INVALID_TRES as u64),
            ("ESLURM_UNSUPPORTED_GRES", slurm_sys::ESLURM_UNSUPPORTED_GRES as u64),
        ];
        for (name, value) in ours {
            let theirs = header
                .constants
                .iter()
                .find(|(n, _)| *n == name || n.ends_with(&format!("_{name}")))
                .map(|(_, v)| *v);
            assert_eq!(theirs, Some(value), "{name} in Slurm {}", header.version);
        }
    }
}
