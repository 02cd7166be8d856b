//! What can be wrong with the environment, as a line each.

use super::Var;
use crate::text::{Text, hash};

/// A line for stderr: what, why, and what to do.
pub type Line = Text<512>;

/// Something that the user has to know. Texts are as found in the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem<'a> {
    /// `FLEXMIG_MODE` names no mode.
    Mode(&'a [u8]),
    /// An entry of `FLEXMIG_UUIDS` cannot be a UUID.
    Uuids {
        /// Its place in the list.
        entry: u32,
        /// The entry.
        text: &'a [u8],
    },
    /// `FLEXMIG_BOUND` is not a binding.
    Bound(&'a [u8]),
    /// `FLEXMIG_LEAF` is not the index of a leaf.
    Leaf {
        /// The value.
        text: &'a [u8],
        /// The number of leaves.
        leaves: u32,
    },
    /// There is no leaf for this rank.
    Rank {
        /// The variable with the rank, unless the caller named the rank.
        from: Option<Var>,
        /// The rank, counted from 0.
        rank: u32,
        /// The number of leaves that there are for it.
        leaves: u32,
    },
    /// A launcher started several ranks in a task that has one leaf.
    OneLeaf {
        /// The variable with the rank.
        from: Var,
        /// The rank, counted from 0.
        rank: u32,
    },
    /// `FLEXMIG_REWRITE` has an unknown word.
    Rewrite(&'a [u8]),
    /// `FLEXMIG_KEEP_LOCAL_RANK` is neither 0 nor 1.
    Keep(&'a [u8]),
}

impl Problem<'_> {
    /// The line, without prefix and newline.
    pub fn line(&self) -> Line {
        let mut line = Line::new();
        match *self {
            Problem::Mode(text) => {
                line.push(b"FLEXMIG_MODE: ");
                quote(&mut line, text);
                line.push(b" is not a mode: set native, relabel-p2p, relabel-shm, net or off; ");
                line.push(b"until then ranks are not bound");
            }
            Problem::Uuids { entry, text } => {
                line.push(b"FLEXMIG_UUIDS: entry ");
                line.push_number(u64::from(entry));
                line.push(b", ");
                quote(&mut line, text);
                line.push(b", is not a UUID: leave the variable as Slurm set it; ");
                line.push(b"until then ranks are not bound");
            }
            Problem::Bound(text) => {
                line.push(b"FLEXMIG_BOUND: ");
                quote(&mut line, text);
                line.push(b" is not a binding: leave the variable to flexmig; it is ignored");
            }
            Problem::Leaf { text, leaves } => {
                line.push(b"FLEXMIG_LEAF: ");
                quote(&mut line, text);
                line.push(b" is not one of the leaves here, 0 to ");
                line.push_number(u64::from(leaves.saturating_sub(1)));
                line.push(b": unset it, or set the index of a leaf; this process is not bound");
            }
            Problem::Rank { from, rank, leaves } => {
                line.push(b"more ranks than leaves: ");
                match from {
                    Some(var) => {
                        line.push(var.name().to_bytes());
                        line.push(b" makes this rank ");
                    }
                    None => line.push(b"this is rank "),
                }
                line.push_number(u64::from(rank));
                line.push(b", and there ");
                line.push(if leaves == 1 { b"is " } else { b"are " });
                line.push_number(u64::from(leaves));
                line.push(if leaves == 1 { b" leaf: " } else { b" leaves: " });
                line.push(b"start one rank per leaf, ask for more leaves, or set FLEXMIG_MODE=off");
            }
            Problem::OneLeaf { from, rank } => {
                line.push(b"more ranks than leaves: ");
                line.push(from.name().to_bytes());
                line.push(b" makes this rank ");
                line.push_number(u64::from(rank));
                line.push(b" of a task that was given one leaf: start one rank per task, or give ");
                line.push(b"srun an empty SLURM_TRES_BIND so that its tasks share the leaves");
            }
            Problem::Rewrite(text) => {
                line.push(b"FLEXMIG_REWRITE: ");
                quote(&mut line, text);
                line.push(
                    b" is not understood: set local, slurm or local,slurm; it counts as local",
                );
            }
            Problem::Keep(text) => {
                line.push(b"FLEXMIG_KEEP_LOCAL_RANK: ");
                quote(&mut line, text);
                line.push(b" is not understood: set 1 to keep LOCAL_RANK; it counts as 0");
            }
        }
        line
    }

    /// Tells one complaint from another.
    pub fn hash(&self) -> u64 {
        hash(self.line().as_bytes())
    }
}

/// A value from the environment, cut short, and on one line whatever is in it.
fn quote(line: &mut Line, text: &[u8]) {
    line.push(b"`");
    for byte in text.iter().take(64) {
        line.push(&[if (b' '..=b'~').contains(byte) { *byte } else { b'?' }]);
    }
    line.push(if text.len() > 64 { b"...`" } else { b"`" });
}

#[cfg(feature = "std")]
impl core::fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.line().as_bytes()))
    }
}
