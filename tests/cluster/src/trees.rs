//! What a node finds of its GPUs: the TOML that mock-nvml serves.

use std::path::Path;

use crate::setup;

/// Lays out `dir`, the directory of node number `index`.
pub(crate) fn build(dir: &Path, toml: &str, _index: usize) -> Result<(), String> {
    setup::write(dir, "node.toml", toml)
}
