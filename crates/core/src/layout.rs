//! Layout files: the leaves of one node class, for the controller.
//!
//! Slurm tells slurmctld counts only, neither parents nor placements. A layout file says the rest:
//! `flexmig config` prints it on a node, the administrator deploys it as
//! `flexmig-layouts/NAME.toml` beside flexmig.toml, and slurmd checks its node against it. UUIDs
//! are not in it, as they differ from node to node.
//!
//! ```toml
//! nodes = "n[1-4]"
//!
//! [[gpu]]
//! minor = 0
//! model = "NVIDIA A100-SXM4-80GB"
//! bus_id = "00000000:07:00.0"
//! numa = 3
//! cpus = "48-63"
//! leaves = [
//!   { profile = "3g.40gb", gi = 1, ci = 0, start = 0, size = 4 },
//! ]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::bus_id::BusId;
use crate::hostlist;
use crate::leaf::{Leaf, Placement};
use crate::policy::FileError;
use crate::profile::Profile;

/// What a layout file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The nodes of the class as a host list.
    pub nodes: String,
    /// Their GPUs with leaves, by device minor.
    #[serde(default, rename = "gpu")]
    pub gpus: Vec<Gpu>,
}

/// One GPU of the class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Device minor, the `N` of `/dev/nvidiaN`.
    pub minor: u32,
    /// Product name as NVML gives it.
    pub model: String,
    /// Real PCI address.
    pub bus_id: BusId,
    /// NUMA node, if the platform tells.
    #[serde(default)]
    pub numa: Option<u32>,
    /// CPUs close to the GPU, `0-31,64-95`; empty if the platform does not tell.
    #[serde(default)]
    pub cpus: String,
    /// Its leaves.
    #[serde(default)]
    pub leaves: Vec<LeafPlace>,
}

/// One leaf of the class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeafPlace {
    /// Shape.
    pub profile: Profile,
    /// GPU instance id.
    pub gi: u32,
    /// Compute instance id within the GPU instance.
    pub ci: u32,
    /// First memory slice, where NVML tells.
    #[serde(default)]
    pub start: Option<u32>,
    /// Number of memory slices, where NVML tells.
    #[serde(default)]
    pub size: Option<u32>,
}

impl LeafPlace {
    fn of(leaf: &Leaf) -> LeafPlace {
        LeafPlace {
            profile: leaf.profile,
            gi: leaf.gi,
            ci: leaf.ci,
            start: leaf.placement.map(|placement| placement.start),
            size: leaf.placement.map(|placement| placement.size),
        }
    }

    /// Place on the GPU's memory slices.
    pub fn placement(&self) -> Option<Placement> {
        Some(Placement { start: self.start?, size: self.size? })
    }

    /// What makes two leaves the same on two nodes of one class. The GPU instance id counts only
    /// where the place is not known: it depends on the order in which instances were made.
    fn key(&self) -> (Option<(u32, u32)>, Option<u32>, u32, Profile) {
        let place = self.placement().map(|place| (place.start, place.size));
        let gi = if place.is_none() { Some(self.gi) } else { None };
        (place, gi, self.ci, self.profile)
    }
}

impl fmt::Display for LeafPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.profile)?;
        match self.start {
            Some(start) => write!(f, " at slice {start}"),
            None => write!(f, " as GPU instance {}", self.gi),
        }
    }
}

impl Layout {
    /// The layout of a node with these leaves, for the nodes of a host list.
    pub fn of(nodes: &str, leaves: &[Leaf]) -> Layout {
        let mut gpus: BTreeMap<u32, Gpu> = BTreeMap::new();
        for leaf in leaves {
            let parent = &leaf.parent;
            let gpu = gpus.entry(parent.minor).or_insert_with(|| Gpu {
                minor: parent.minor,
                model: parent.model.clone(),
                bus_id: parent.bus_id,
                numa: parent.numa,
                cpus: parent.cpus.clone(),
                leaves: Vec::new(),
            });
            gpu.leaves.push(LeafPlace::of(leaf));
        }
        let mut gpus: Vec<Gpu> = gpus.into_values().collect();
        for gpu in &mut gpus {
            gpu.leaves.sort_by_key(|leaf| (leaf.start, leaf.gi, leaf.ci));
        }
        Layout { nodes: nodes.to_owned(), gpus }
    }

    /// Reads the bytes of a layout file; `file` is only for messages.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Layout, FileError> {
        let error = |message: String| FileError { file: file.to_owned(), line: 1, message };
        let text = std::str::from_utf8(bytes).map_err(|_| error("not UTF-8 text".to_owned()))?;
        let layout: Layout =
            toml::from_str(text).map_err(|error| FileError::from_toml(file, text, &error))?;
        layout.check().map_err(error)?;
        Ok(layout)
    }

    /// What types cannot say.
    fn check(&self) -> Result<(), String> {
        hostlist::expand(&self.nodes).map_err(|error| format!("nodes: {error}"))?;
        let mut minors = BTreeSet::new();
        for gpu in &self.gpus {
            if !minors.insert(gpu.minor) {
                return Err(format!("GPU {} stands there twice", gpu.minor));
            }
            let mut ids = BTreeSet::new();
            if let Some(leaf) = gpu.leaves.iter().find(|leaf| !ids.insert((leaf.gi, leaf.ci))) {
                let (minor, gi, ci) = (gpu.minor, leaf.gi, leaf.ci);
                return Err(format!("GPU {minor} has gi = {gi}, ci = {ci} twice"));
            }
        }
        Ok(())
    }

    /// Whether the layout is for this node.
    pub fn covers(&self, node: &str) -> bool {
        hostlist::expand(&self.nodes).is_ok_and(|names| names.iter().any(|name| name == node))
    }

    /// In what a node differs from the layout: one line per difference, none if it agrees.
    ///
    /// What may differ inside a class does not count: UUIDs, GPU instance ids (they depend on the
    /// order of creation) and names of one shape.
    pub fn differences(&self, leaves: &[Leaf]) -> Vec<String> {
        let found = Layout::of(&self.nodes, leaves);
        let by_minor = |layout: &Layout| -> BTreeMap<u32, Gpu> {
            layout.gpus.iter().map(|gpu| (gpu.minor, gpu.clone())).collect()
        };
        let (wanted, found) = (by_minor(self), by_minor(&found));
        let minors: BTreeSet<u32> = wanted.keys().chain(found.keys()).copied().collect();
        let mut lines = Vec::new();
        for minor in minors {
            match (wanted.get(&minor), found.get(&minor)) {
                (Some(wanted), Some(found)) => lines.extend(wanted.differences(found)),
                (Some(wanted), None) if wanted.leaves.is_empty() => {}
                (Some(wanted), None) => lines.push(format!(
                    "GPU {minor}: the layout has {}, this node has none there",
                    count(wanted.leaves.len())
                )),
                (None, found) => lines.push(format!(
                    "GPU {minor}: not in the layout, this node has {} there",
                    count(found.map_or(0, |gpu| gpu.leaves.len()))
                )),
            }
        }
        lines
    }

    /// The text of the layout file.
    pub fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Leaves of one node class, for the controller: flexmig-layouts/NAME.toml beside\n\
             # flexmig.toml. Printed by `flexmig config` on one of the nodes.\n",
        );
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "nodes = {}", quoted(&self.nodes))?;
        for gpu in &self.gpus {
            writeln!(text, "\n[[gpu]]\nminor = {}", gpu.minor)?;
            writeln!(text, "model = {}", quoted(&gpu.model))?;
            writeln!(text, "bus_id = \"{}\"", gpu.bus_id)?;
            if let Some(numa) = gpu.numa {
                writeln!(text, "numa = {numa}")?;
            }
            writeln!(text, "cpus = {}\nleaves = [", quoted(&gpu.cpus))?;
            for LeafPlace { profile, gi, ci, start, size } in &gpu.leaves {
                write!(text, "  {{ profile = \"{profile}\", gi = {gi}, ci = {ci}")?;
                for (name, value) in [("start", start), ("size", size)] {
                    if let Some(value) = value {
                        write!(text, ", {name} = {value}")?;
                    }
                }
                text.push_str(" },\n");
            }
            text.push_str("]\n");
        }
        Ok(())
    }
}

impl Gpu {
    fn differences(&self, found: &Gpu) -> Vec<String> {
        let minor = self.minor;
        let numa = |gpu: &Gpu| gpu.numa.map_or("none".to_owned(), |numa| numa.to_string());
        let facts = [
            ("model", self.model.clone(), found.model.clone()),
            ("bus_id", self.bus_id.to_string(), found.bus_id.to_string()),
            ("numa", numa(self), numa(found)),
            ("cpus", self.cpus.clone(), found.cpus.clone()),
        ];
        let mut lines: Vec<String> = facts
            .iter()
            .filter(|(_, wanted, found)| wanted != found)
            .map(|(name, wanted, found)| {
                format!("GPU {minor}: the layout has {name} {wanted:?}, this node {found:?}")
            })
            .collect();
        let lacking = without(&self.leaves, &found.leaves);
        lines.extend(lacking.iter().map(|leaf| format!("GPU {minor}: this node lacks {leaf}")));
        let extra = without(&found.leaves, &self.leaves);
        lines.extend(extra.iter().map(|leaf| format!("GPU {minor}: the layout lacks {leaf}")));
        lines
    }
}

/// The leaves of `all` without one for each of `others`.
fn without<'a>(all: &'a [LeafPlace], others: &[LeafPlace]) -> Vec<&'a LeafPlace> {
    let mut others: Vec<_> = others.iter().map(LeafPlace::key).collect();
    let mut rest: Vec<&LeafPlace> = all.iter().collect();
    rest.retain(|leaf| match others.iter().position(|key| *key == leaf.key()) {
        Some(at) => {
            others.swap_remove(at);
            false
        }
        None => true,
    });
    rest
}

fn count(leaves: usize) -> String {
    format!("{leaves} {}", if leaves == 1 { "leaf" } else { "leaves" })
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::{DeviceFiles, Parent};
    use proptest::prelude::*;

    fn leaf(minor: u32, profile: &str, gi: u32, start: Option<u32>) -> Leaf {
        Leaf {
            uuid: format!("MIG-{minor}-{gi}"),
            profile: profile.parse().unwrap(),
            memory_mib: 9728,
            sm_count: 14,
            gi,
            ci: 0,
            placement: start.map(|start| Placement { start, size: 1 }),
            devices: DeviceFiles {
                parent: String::new(),
                gpu_instance: String::new(),
                compute_instance: String::new(),
            },
            parent: Parent {
                uuid: "GPU-x".into(),
                model: "NVIDIA \"A100\" \\ 80GB".into(),
                index: minor,
                minor,
                bus_id: "0000:07:00.0".parse().unwrap(),
                numa: (minor == 0).then_some(3),
                cpus: "0-7".into(),
            },
        }
    }

    fn node() -> Vec<Leaf> {
        vec![
            leaf(0, "1g.10gb", 8, Some(1)),
            leaf(0, "1g.10gb+me", 7, Some(0)),
            leaf(1, "3g.40gb", 1, None),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let layout = Layout::of("n[1-4]", &node());
        let text = layout.to_toml();
        assert_eq!(Layout::from_bytes("f", text.as_bytes()), Ok(layout.clone()));
        let line = "  { profile = \"1g.10gb+me\", gi = 7, ci = 0, start = 0, size = 1 },\n";
        assert!(text.contains(line), "{text}");
        assert_eq!(layout.differences(&node()), [] as [&str; 0]);
        assert!(layout.covers("n4") && !layout.covers("n5"));
    }

    #[test]
    fn differences_are_told_by_gpu() {
        let layout = Layout::of("n1", &node());
        let mut other = node();
        other[0].gi = 11;
        other[1].profile = "1g.10gb".parse().unwrap();
        assert_eq!(layout.differences(&other), [] as [&str; 0], "ids and names may differ");
        other[0].profile = "1g.20gb".parse().unwrap();
        other[0].parent.numa = None;
        other[1].parent.numa = None;
        other[2] = leaf(2, "3g.40gb", 1, None);
        let expected = [
            "GPU 0: the layout has numa \"3\", this node \"none\"",
            "GPU 0: this node lacks 1g.10gb at slice 1",
            "GPU 0: the layout lacks 1g.20gb at slice 1",
            "GPU 1: the layout has 1 leaf, this node has none there",
            "GPU 2: not in the layout, this node has 1 leaf there",
        ];
        assert_eq!(layout.differences(&other), expected);
    }

    #[test]
    fn mistakes_are_told_with_file_and_line() {
        let gpu = "[[gpu]]\nminor = 0\nmodel = \"m\"\nbus_id = \"0:1:0.0\"\n";
        let same = "leaves = [{ profile = \"1g.5gb\", gi = 1, ci = 0 },\n\
                    { profile = \"1g.5gb\", gi = 1, ci = 0 }]\n";
        let cases = [
            ("nodes = \"n[1-\"".to_owned(), "f:1: nodes: host list"),
            (format!("nodes = \"n\"\n{gpu}{gpu}"), "f:1: GPU 0 stands there twice"),
            (format!("nodes = \"n\"\n{gpu}{same}"), "f:1: GPU 0 has gi = 1, ci = 0 twice"),
            (format!("nodes = \"n\"\n{gpu}uuid = \"x\"\n"), "f:6: unknown field `uuid`"),
            (gpu.to_owned(), "f:1: missing field `nodes`"),
        ];
        for (text, expected) in cases {
            let error = Layout::from_bytes("f", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Layout::from_bytes("f", &bytes);
        }

        #[test]
        fn every_node_agrees_with_its_own_layout(
            places in proptest::collection::btree_set((0..4u32, 0..7u32), 0..20),
            model in ".{0,12}",
        ) {
            let leaves: Vec<Leaf> = places
                .into_iter()
                .map(|(minor, start)| {
                    let mut leaf = leaf(minor, "1g.10gb", start + 7, Some(start));
                    leaf.parent.model.clone_from(&model);
                    leaf
                })
                .collect();
            let layout = Layout::of("n1", &leaves);
            let read = Layout::from_bytes("f", layout.to_toml().as_bytes()).unwrap();
            prop_assert_eq!(read.differences(&leaves), Vec::<String>::new());
            prop_assert_eq!(read, layout);
        }
    }
}
