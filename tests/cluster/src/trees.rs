//! What a node finds of its GPUs: the file that mock-nvml serves, and the `dev` and `proc` trees.

use std::path::Path;

use mock_nvml::{DeviceKind, NodeSpec};

use crate::sandbox::is_root;
use crate::setup;

/// Lays out `dir`, a node's directory, or brings it up to date.
///
/// As root the device files are consoles from number 20 up: they open without harm, and each has a
/// number of its own for the device cgroup to see.
pub(crate) fn build(dir: &Path, spec: &NodeSpec) -> Result<(), String> {
    let kind = match is_root() {
        true => DeviceKind::Char { major: 4, first_minor: 20 },
        false => DeviceKind::Regular,
    };
    setup::write(dir, "node.toml", &spec.to_toml())?;
    mock_nvml::Node::new(spec.clone())
        .and_then(|node| node.build_tree(dir, kind))
        .map_err(|error| format!("{}: {error}", dir.display()))
}
