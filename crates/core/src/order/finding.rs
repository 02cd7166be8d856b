//! What does not agree between slurm.conf, this node's leaves and their indices.

use std::fmt;

use crate::leaf::Leaf;

/// Most leaves that one message names.
const NAMED: usize = 8;

/// A leaf as a message names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafName {
    /// UUID.
    pub uuid: String,
    /// What else is known: `1g.10gb on GPU 0`, or `index 3` for one that is gone.
    pub detail: String,
}

impl LeafName {
    pub(super) fn of(leaf: &Leaf) -> LeafName {
        let detail = format!("{} on GPU {}", leaf.profile, leaf.parent.minor);
        LeafName { uuid: leaf.uuid.clone(), detail }
    }
}

/// One disagreement. `Display` is one line: what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// slurm.conf has more leaves of a type than the node.
    Missing {
        /// Type, `None` where slurm.conf names none.
        kind: Option<String>,
        /// Count in slurm.conf.
        configured: u64,
        /// Leaves of the type per parent, as (device minor, number).
        found: Vec<(u32, u64)>,
        /// Leaves that had an index of the type and are gone.
        gone: Vec<LeafName>,
        /// What `Gres=` has to say for the leaves there are; empty if there is none.
        write: String,
    },
    /// Leaves for which slurm.conf has no index.
    Extra {
        /// The leaves.
        leaves: Vec<LeafName>,
        /// What `Gres=` has to say so that they are used.
        write: String,
    },
    /// Leaves whose index can only be given when no job runs on the node.
    Waiting {
        /// The leaves.
        leaves: Vec<LeafName>,
    },
    /// Every leaf has an index, but policy wants another order.
    OrderWaits,
    /// slurm.conf has more leaves than Slurm can number.
    TooMany {
        /// Count in slurm.conf, all types together.
        configured: u64,
    },
}

impl Finding {
    /// Whether leaves of slurm.conf cannot be used, so that the node has to be drained.
    pub fn lacks_leaves(&self) -> bool {
        matches!(self, Finding::Missing { .. } | Finding::Waiting { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Missing { kind, configured, found, gone, write } => {
                let name = kind.as_deref().map(|kind| format!(":{kind}")).unwrap_or_default();
                let total: u64 = found.iter().map(|&(_, count)| count).sum();
                write!(f, "slurm.conf has flexmig{name}:{configured}, this node has {total}")?;
                if !found.is_empty() {
                    let parents =
                        found.iter().map(|(minor, count)| format!("GPU {minor}: {count}"));
                    write!(f, " ({})", parents.collect::<Vec<_>>().join(", "))?;
                }
                if !gone.is_empty() {
                    write!(f, ", gone: {}", Names(gone))?;
                }
                f.write_str(": make the leaves and restart slurmd, or ")?;
                match write.as_str() {
                    "" => f.write_str("remove flexmig from Gres= in slurm.conf"),
                    write => write!(f, "write Gres={write} in slurm.conf"),
                }
            }
            Finding::Extra { leaves, write } => write!(
                f,
                "{} not in slurm.conf and not used: {}: write Gres={write} in slurm.conf",
                plural(leaves.len(), "leaf is", "leaves are"),
                Names(leaves)
            ),
            Finding::Waiting { leaves } => write!(
                f,
                "{} for an index that no running job may hold: {}: restart slurmd when no job runs \
                 on this node",
                plural(leaves.len(), "leaf waits", "leaves wait"),
                Names(leaves)
            ),
            Finding::OrderWaits => f.write_str(
                "the order of leaves that flexmig.toml asks for waits, as jobs run on this node: \
                 restart slurmd when none does",
            ),
            Finding::TooMany { configured } => write!(
                f,
                "slurm.conf has {configured} leaves of flexmig for this node, Slurm numbers at \
                 most {}: write less",
                super::MAX_INDICES
            ),
        }
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The first few names.
struct Names<'a>(&'a [LeafName]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, LeafName { uuid, detail }) in self.0.iter().take(NAMED).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{uuid} ({detail})")?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
