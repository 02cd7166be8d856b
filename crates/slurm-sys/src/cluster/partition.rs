//! Partitions.

use super::record::{Record, Records, fields};

/// The answer of `slurm_load_partitions`.
pub struct Partitions(pub(super) Records);

impl Partitions {
    /// How many there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Partition<'_>> {
        self.0.iter().map(Partition)
    }
}

/// `partition_info_t`.
#[derive(Clone, Copy)]
pub struct Partition<'a>(Record<'a>);

impl<'a> Partition<'a> {
    fields! { partition {
        /// Its name.
        name: text;
        /// Its nodes as a host list, NodeSets resolved.
        nodes: text;
        /// Time limit of jobs that name none, in minutes; `None`: `max_time`.
        default_time: u32;
        /// Longest time limit in minutes, [`INFINITE`](super::INFINITE) for none.
        max_time: u32;
    } }

    /// Whether jobs without a partition go here.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.flag(1 << 0)
    }

    /// Whether jobs start (state UP or DRAIN).
    #[must_use]
    pub fn starts_jobs(&self) -> bool {
        self.state() & 2 != 0
    }

    fn state(&self) -> u16 {
        self.0.get(self.0.cluster().0.layout.partition.state_up).unwrap_or(0)
    }

    /// The flags we know are in the low 16 bits; from 24.05 on the field is wider.
    fn flag(&self, bit: u16) -> bool {
        let flags: u16 = self.0.get(self.0.cluster().0.layout.partition.flags).unwrap_or(0);
        flags & bit != 0
    }
}
