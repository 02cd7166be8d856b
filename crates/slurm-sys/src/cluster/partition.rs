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
        /// Most nodes of a job, [`INFINITE`](super::INFINITE) for no limit.
        max_nodes: u32;
        /// Fewest nodes of a job.
        min_nodes: u32;
        /// CPUs of all its nodes.
        total_cpus: u32;
        /// How many nodes.
        total_nodes: u32;
        /// Most CPUs of a job on a node, [`INFINITE`](super::INFINITE) for no limit.
        max_cpus_per_node: u32;
        /// MiB that a job gets if it names no memory, per node, or per CPU with
        /// [`MEM_PER_CPU`](crate::MEM_PER_CPU); 0: not set.
        def_mem_per_cpu: u64;
        /// The most, likewise.
        max_mem_per_cpu: u64;
        /// OverSubscribe; 0: EXCLUSIVE.
        max_share: u16;
        /// PreemptMode.
        preempt_mode: u16;
        /// Order among partitions: jobs of a higher tier come first.
        priority_tier: u16;
        /// PriorityJobFactor.
        priority_job_factor: u16;
        /// AllowAccounts.
        allow_accounts: text;
        /// DenyAccounts.
        deny_accounts: text;
        /// AllowQos.
        allow_qos: text;
        /// DenyQos.
        deny_qos: text;
    } }

    /// Whether jobs without a partition go here.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.flag(1 << 0)
    }

    /// Whether only root may submit.
    #[must_use]
    pub fn is_root_only(&self) -> bool {
        self.flag(1 << 3)
    }

    /// Whether jobs need a reservation.
    #[must_use]
    pub fn needs_reservation(&self) -> bool {
        self.flag(1 << 4)
    }

    /// Whether jobs can be submitted (state UP or DOWN).
    #[must_use]
    pub fn takes_jobs(&self) -> bool {
        self.state() & 1 != 0
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
