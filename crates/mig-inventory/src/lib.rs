//! The MIG leaves of this node, from NVML and the driver's proc and dev trees.
//!
//! Made for guests in other people's daemons: nothing is printed, nothing panics, NVML is loaded
//! (RTLD_LOCAL) for one call and shut down and unloaded at its end, so that forks and restarts find
//! no state.
//!
//! ```no_run
//! use mig_inventory::{Inventory, verify_leaf};
//! let node = flexmig_core::policy::Node::default();
//! match Inventory::read(&node) {
//!     Ok(inventory) => {
//!         for warning in &inventory.warnings {
//!             eprintln!("{warning}");
//!         }
//!         for leaf in &inventory.leaves {
//!             println!("{} {} {:?}", leaf.uuid, leaf.profile, verify_leaf(&node, leaf));
//!         }
//!     }
//!     Err(error) => eprintln!("{error}"),
//! }
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | `read` | the walk over GPUs and MIG devices |
//! | `verify` | whether a leaf is still what it was |
//! | `nvml` | the calls that nvml-wrapper has not, or not right |
//! | [`topology`] | the topology file for NCCL |
//! | `caps` | mig-minors, `capabilities`, device files |
//! | `shape` | the profile from a name, or from slices and memory |
//! | `error` | errors and warnings, one line each |

mod caps;
mod error;
mod nvml;
mod read;
mod shape;
pub mod topology;
mod verify;

use flexmig_core::leaf::{Leaf, Parent};
use flexmig_core::policy;

pub use error::{InventoryError, Warning};

/// What this node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Leaves in order of parent minor, GPU instance and compute instance. Each of them has its
    /// device files and a synthetic bus id.
    pub leaves: Vec<Leaf>,
    /// Every GPU that answers, in order of its minor, also those without MIG.
    pub parents: Vec<Parent>,
    /// Minors of those parents that have MIG switched on, ascending.
    pub mig_minors: Vec<u32>,
    /// Version of the NVIDIA driver, `550.54.15`; empty if NVML does not tell.
    pub driver_version: String,
    /// Version of the NVML library, `12.550.54.15`; empty if NVML does not tell.
    pub nvml_version: String,
    /// What was left out, and why.
    pub warnings: Vec<Warning>,
}

impl Inventory {
    /// Reads the inventory through the library and below the root directory that policy names.
    ///
    /// A GPU or leaf that does not answer is left out with a warning. Errors are for the whole node:
    /// no library, no driver, no list of device file minors.
    pub fn read(node: &policy::Node) -> Result<Inventory, InventoryError> {
        read::read(node)
    }
}

/// Checks one leaf as policy says (`verify`), when a job starts on it.
///
/// The error is one line that names the leaf and says what changed and what to do.
pub fn verify_leaf(node: &policy::Node, leaf: &Leaf) -> Result<(), String> {
    verify_leaves(node, [leaf]).into_iter().next().map_or(Ok(()), Err)
}

/// As [`verify_leaf`] for all leaves of a job, with NVML loaded once: one line per bad leaf, one for
/// all of them if nothing can be checked, none if all are well.
pub fn verify_leaves<'a>(
    node: &policy::Node,
    leaves: impl IntoIterator<Item = &'a Leaf>,
) -> Vec<String> {
    verify::verify(node, &leaves.into_iter().collect::<Vec<_>>())
}
