//! What `flexmig leaves` shows: the same data as text and as JSON.
//!
//! The field names below are those of `--json`, which scripts rely on: add, never rename.

use serde::Serialize;

use crate::check::counted;
use crate::output::{Column, cut, table, width};

/// The leaves of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// Format of the JSON; 1.
    pub version: u32,
    /// Name in slurm.conf.
    pub node: String,
    /// Of the NVIDIA driver.
    pub driver_version: String,
    /// Of the NVML library.
    pub nvml_version: String,
    /// Order policy.
    pub order: &'static str,
    /// Where the indices come from.
    pub indices_from: Source,
    /// Where slurmd keeps the index file, whether it is there or not.
    pub index_file: Option<String>,
    /// GPUs in order of their minors.
    pub gpus: Vec<Gpu>,
    /// Leaves in order of their indices, those without an index last.
    pub leaves: Vec<Row>,
    /// Indices without a leaf.
    pub gone: Vec<Gone>,
    /// What slurmd would log about them.
    pub notes: Vec<String>,
}

/// Where the indices come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Source {
    /// From the index file that slurmd keeps.
    #[serde(rename = "index file")]
    IndexFile,
    /// Computed as slurmd would assign them.
    #[serde(rename = "policy")]
    Policy,
}

/// A GPU, with MIG or without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// NVML's index.
    pub index: u32,
    /// Device minor, the N of /dev/nvidiaN.
    pub minor: u32,
    /// UUID.
    pub uuid: String,
    /// Product name.
    pub model: String,
    /// PCI address.
    pub bus_id: String,
    /// NUMA node.
    pub numa: Option<u32>,
    /// CPUs close to it.
    pub cpus: String,
    /// Number of its leaves.
    pub leaves: usize,
    /// Whether MIG is on.
    pub mig: bool,
}

/// A leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Index in Slurm; none if slurm.conf has no place for it.
    pub index: Option<u32>,
    /// Type in slurm.conf; none if untyped or without index.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// UUID.
    pub uuid: String,
    /// Profile.
    pub profile: String,
    /// Usable memory in MiB.
    pub memory_mib: u64,
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// GPU instance id.
    pub gi: u32,
    /// Compute instance id.
    pub ci: u32,
    /// First memory slice and number of them.
    pub placement: Option<flexmig_core::leaf::Placement>,
    /// Synthetic bus id.
    pub bus_id: Option<String>,
    /// Parent, GPU instance, compute instance.
    pub device_files: [String; 3],
    /// The parent's device minor.
    pub gpu_minor: u32,
    /// The parent's UUID.
    pub gpu_uuid: String,
    /// The parent's PCI address.
    pub gpu_bus_id: String,
    /// The parent's NUMA node.
    pub numa: Option<u32>,
}

/// An index whose leaf is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// Index in Slurm.
    pub index: u32,
    /// Type in slurm.conf.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// UUID of the leaf that it was.
    pub uuid: String,
    /// Its profile.
    pub profile: String,
}

/// Shortest UUID that is printed: `MIG-` and eight digits still tell leaves apart.
const SHORTEST_UUID: usize = 13;

/// As text; `terminal` is the number of columns to keep within, if there is such a limit.
pub fn text(view: &View, terminal: Option<usize>) -> String {
    let mut text = headline(view);
    if !view.gpus.is_empty() {
        text.push('\n');
        text.push_str(&fitted(&gpu_columns(), &gpu_rows(view), terminal));
    }
    if !view.leaves.is_empty() {
        let typed = view.leaves.iter().any(|row| {
            row.kind.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case(&row.profile))
        });
        let rows: Vec<Vec<String>> = view.leaves.iter().map(|row| leaf_row(row, typed)).collect();
        text.push('\n');
        text.push_str(&fitted(&leaf_columns(typed), &rows, terminal));
    }
    if !view.notes.is_empty() {
        text.push('\n');
    }
    for note in &view.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

fn headline(view: &View) -> String {
    let leaves = counted(view.leaves.len() as u64, "leaf");
    let gpus = counted(view.gpus.len() as u64, "GPU");
    let from = match (view.indices_from, &view.index_file) {
        (Source::IndexFile, Some(file)) => format!("indices from {file}"),
        _ => format!("indices as slurmd would assign them (order {})", view.order),
    };
    format!("{}: {leaves} on {gpus}, driver {}; {from}\n", view.node, view.driver_version)
}

/// The table, its last column (UUIDs) cut if it would not fit.
fn fitted(columns: &[Column], rows: &[Vec<String>], terminal: Option<usize>) -> String {
    let full = table(columns, rows);
    let too_wide = terminal.map_or(0, |limit| width(&full).saturating_sub(limit));
    if too_wide == 0 {
        return full;
    }
    let longest = rows.iter().filter_map(|row| row.last()).map(String::len).max().unwrap_or(0);
    let room = longest.saturating_sub(too_wide).max(SHORTEST_UUID);
    let mut rows = rows.to_vec();
    for uuid in rows.iter_mut().filter_map(|row| row.last_mut()) {
        *uuid = cut(uuid, room);
    }
    table(columns, &rows)
}

fn gpu_columns() -> [Column; 7] {
    [
        ("GPU", true),
        ("MODEL", false),
        ("BUS ID", false),
        ("NUMA", true),
        ("CPUS", false),
        ("LEAVES", true),
        ("UUID", false),
    ]
}

fn gpu_rows(view: &View) -> Vec<Vec<String>> {
    let row = |gpu: &Gpu| {
        vec![
            gpu.minor.to_string(),
            gpu.model.clone(),
            gpu.bus_id.clone(),
            number(gpu.numa),
            if gpu.cpus.is_empty() { "-".into() } else { gpu.cpus.clone() },
            if gpu.mig { gpu.leaves.to_string() } else { "no MIG".into() },
            gpu.uuid.clone(),
        ]
    };
    view.gpus.iter().map(row).collect()
}

fn leaf_columns(typed: bool) -> Vec<Column> {
    let mut columns = vec![("INDEX", true)];
    columns.extend(typed.then_some(("TYPE", false)));
    columns.extend([
        ("PROFILE", false),
        ("MIB", true),
        ("SMS", true),
        ("GPU", true),
        ("GI", true),
        ("CI", true),
        ("BUS ID", false),
        ("DEVICE FILES", false),
        ("UUID", false),
    ]);
    columns
}

fn leaf_row(leaf: &Row, typed: bool) -> Vec<String> {
    let mut row = vec![number(leaf.index)];
    row.extend(typed.then(|| leaf.kind.clone().unwrap_or_else(|| "-".into())));
    row.extend([
        leaf.profile.clone(),
        leaf.memory_mib.to_string(),
        leaf.sm_count.to_string(),
        leaf.gpu_minor.to_string(),
        leaf.gi.to_string(),
        leaf.ci.to_string(),
        leaf.bus_id.clone().unwrap_or_else(|| "-".into()),
        short_files(&leaf.device_files),
        leaf.uuid.clone(),
    ]);
    row
}

/// `nvidia0 cap66 cap67` for `/dev/nvidia0`, `/dev/nvidia-caps/nvidia-cap66` and `...67`.
fn short_files(files: &[String; 3]) -> String {
    let names = files.iter().map(|path| {
        let name = path.rsplit('/').next().unwrap_or_default();
        if name.starts_with("nvidia-cap") { &name["nvidia-".len()..] } else { name }
    });
    names.collect::<Vec<_>>().join(" ")
}

fn number(number: Option<u32>) -> String {
    number.map_or_else(|| "-".into(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let uuid = |n: u32| format!("MIG-{n:08x}-1111-5222-8333-444444444444");
        let row = |index: Option<u32>, n: u32| Row {
            index,
            kind: index.map(|_| "1g.10gb".to_owned()),
            uuid: uuid(n),
            profile: "1g.10gb".into(),
            memory_mib: 9728,
            sm_count: 14,
            gi: n,
            ci: 0,
            placement: None,
            bus_id: Some(format!("0000b{n}00:07:00.0")),
            device_files: [
                "/dev/nvidia0".into(),
                format!("/dev/nvidia-caps/nvidia-cap{}", 30 + n),
                format!("/dev/nvidia-caps/nvidia-cap{}", 31 + n),
            ],
            gpu_minor: 0,
            gpu_uuid: "GPU-0".into(),
            gpu_bus_id: "00000000:07:00.0".into(),
            numa: Some(3),
        };
        View {
            version: 1,
            node: "n1".into(),
            driver_version: "550.54.15".into(),
            nvml_version: "12.550.54.15".into(),
            order: "pack",
            indices_from: Source::Policy,
            index_file: None,
            gpus: vec![Gpu {
                index: 0,
                minor: 0,
                uuid: "GPU-00000000-1111-5222-8333-444444444444".into(),
                model: "NVIDIA A100-SXM4-80GB".into(),
                bus_id: "00000000:07:00.0".into(),
                numa: Some(3),
                cpus: "48-63".into(),
                leaves: 2,
                mig: true,
            }],
            leaves: vec![row(Some(0), 7), row(None, 8)],
            gone: Vec::new(),
            notes: vec!["one leaf too many".into()],
        }
    }

    #[test]
    fn a_pipe_gets_everything() {
        let expected = "\
n1: 2 leaves on 1 GPU, driver 550.54.15; indices as slurmd would assign them (order pack)

GPU  MODEL                  BUS ID            NUMA  CPUS   LEAVES  UUID
  0  NVIDIA A100-SXM4-80GB  00000000:07:00.0     3  48-63       2  GPU-00000000-1111-5222-8333-444444444444

INDEX  PROFILE   MIB  SMS  GPU  GI  CI  BUS ID            DEVICE FILES         UUID
    0  1g.10gb  9728   14    0   7   0  0000b700:07:00.0  nvidia0 cap37 cap38  MIG-00000007-1111-5222-8333-444444444444
    -  1g.10gb  9728   14    0   8   0  0000b800:07:00.0  nvidia0 cap38 cap39  MIG-00000008-1111-5222-8333-444444444444

note: one leaf too many
";
        assert_eq!(text(&view(), None), expected);
        assert_eq!(text(&view(), Some(200)), expected);
    }

    #[test]
    fn a_narrow_terminal_gets_short_uuids() {
        for limit in [100, 110, 118] {
            let text = text(&view(), Some(limit));
            assert!(text.lines().all(|line| line.chars().count() <= limit), "{text}");
            assert!(text.contains("MIG-00000007-"), "{text}");
        }
    }

    #[test]
    fn types_that_are_no_profile_names_are_shown() {
        let mut view = view();
        view.leaves[0].kind = Some("a100_10g".into());
        let text = text(&view, None);
        assert!(text.contains("INDEX  TYPE      PROFILE"), "{text}");
        assert!(text.contains("    0  a100_10g  1g.10gb"), "{text}");
        assert!(
            text.contains("    -  1g.10gb") || text.contains("    -  -         1g.10gb"),
            "{text}"
        );
    }
}
