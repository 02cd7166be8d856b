//! Nodes.

use std::ffi::c_void;

use super::record::{Record, Records, fields};

/// The answer of `slurm_load_node`.
pub struct Nodes(pub(super) Records);

impl Nodes {
    /// How many there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One after the other, in the order of slurm.conf.
    pub fn iter(&self) -> impl Iterator<Item = Node<'_>> {
        self.0.iter().map(Node)
    }
}

/// `node_info_t`.
#[derive(Clone, Copy)]
pub struct Node<'a>(Record<'a>);

/// `SELECT_NODEDATA_SUBCNT`, an uint16_t.
const ALLOCATED_CPUS: i32 = 2;
/// `SELECT_NODEDATA_MEM_ALLOC`, an uint64_t, whatever slurm.h says.
const ALLOCATED_MEMORY: i32 = 8;
/// `NODE_STATE_ALLOCATED`.
const STATE_ALLOCATED: i32 = 3;

impl<'a> Node<'a> {
    fields! { node {
        /// NodeName. `None` for a slot that is not in use.
        name: text;
        /// CPUs, those that are reserved for the system counted.
        cpus: u16;
        /// CPUs that jobs can have.
        cpus_efctv: u16;
        /// MiB of memory.
        real_memory: u64;
        /// MiB of memory reserved for the system.
        mem_spec_limit: u64;
        /// `flexmig:1g.10gb:7(S:0),gpu:1`: configured units.
        gres: text;
        /// `flexmig:1g.10gb:4(IDX:0-3)`, units in use; typed counts also for types with none.
        /// Only with SHOW_DETAIL.
        gres_used: text;
        /// Features a job can ask for.
        features: text;
        /// Features that are active.
        features_act: text;
        /// Why it is down or drained.
        reason: text;
        /// The reservation it is in (23.02 and later); [`NodeState::RESERVED`] in all releases.
        resv_name: text;
    } }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> NodeState {
        NodeState(self.0.get(self.0.cluster().0.layout.node.node_state).unwrap_or(0))
    }

    /// CPUs that jobs have.
    #[must_use]
    pub fn alloc_cpus(&self) -> Option<u16> {
        let row = self.0.cluster().0.layout.node.alloc_cpus;
        self.0.get(row).or_else(|| {
            // The slot is zeroed and wide enough for either type.
            let value: u64 = self.nodeinfo(ALLOCATED_CPUS)?;
            u16::try_from(value & 0xffff).ok()
        })
    }

    /// MiB of memory that jobs have.
    #[must_use]
    pub fn alloc_memory(&self) -> Option<u64> {
        let row = self.0.cluster().0.layout.node.alloc_memory;
        self.0.get(row).or_else(|| self.nodeinfo(ALLOCATED_MEMORY))
    }

    /// What the select plugin of 22.05 to 24.11 knows.
    fn nodeinfo(&self, what: i32) -> Option<u64> {
        let cluster = self.0.cluster();
        let nodeinfo = self.0.pointer(cluster.0.layout.node.select_nodeinfo)?;
        let get = cluster.0.api.nodeinfo?;
        let mut value = 0_u64;
        // SAFETY: the node's own select information, and a slot that is wide enough for both
        // numbers that we ask for.
        let code = unsafe {
            get(nodeinfo.as_ptr(), what, STATE_ALLOCATED, (&raw mut value).cast::<c_void>())
        };
        (code == 0).then_some(value)
    }
}

/// `node_state`: a base state and flags, the same in all releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeState(pub u32);

impl NodeState {
    /// Base state: nothing is known.
    pub const UNKNOWN: u32 = 0;
    /// Base state: out of use.
    pub const DOWN: u32 = 1;
    /// Base state: no job.
    pub const IDLE: u32 = 2;
    /// Base state: jobs. Also where CPUs are left; the clients call that mixed.
    pub const ALLOCATED: u32 = 3;
    /// Base state: jobs and CPUs left, where the controller says so itself.
    pub const MIXED: u32 = 5;
    /// Base state: no node yet.
    pub const FUTURE: u32 = 6;

    /// In a reservation that is active.
    pub const RESERVED: u32 = 1 << 5;
    /// No new jobs.
    pub const DRAIN: u32 = 1 << 9;
    /// Jobs are ending.
    pub const COMPLETING: u32 = 1 << 10;
    /// slurmd does not answer.
    pub const NO_RESPOND: u32 = 1 << 11;
    /// Switched off; jobs switch it on.
    pub const POWERED_DOWN: u32 = 1 << 12;
    /// About to fail, no new jobs.
    pub const FAIL: u32 = 1 << 13;
    /// Being switched on.
    pub const POWERING_UP: u32 = 1 << 14;
    /// In a reservation for maintenance.
    pub const MAINT: u32 = 1 << 15;
    /// A reboot is wanted.
    pub const REBOOT_REQUESTED: u32 = 1 << 16;
    /// Being switched off.
    pub const POWERING_DOWN: u32 = 1 << 18;
    /// Rebooting.
    pub const REBOOT_ISSUED: u32 = 1 << 20;
    /// Backfill keeps it for a job.
    pub const PLANNED: u32 = 1 << 21;
    /// Registered with less than slurm.conf says.
    pub const INVALID_REG: u32 = 1 << 22;
    /// To be switched off.
    pub const POWER_DOWN: u32 = 1 << 23;
    /// To be switched off when its jobs have ended.
    pub const POWER_DRAIN: u32 = 1 << 25;
    /// Blocked by a job that has its part of the topology alone (24.05 and later).
    pub const BLOCKED: u32 = 1 << 27;

    /// The base state, without the flags.
    #[must_use]
    pub fn base(self) -> u32 {
        self.0 & 0xf
    }

    /// Whether any of these flags is set.
    #[must_use]
    pub fn any(self, flags: u32) -> bool {
        self.0 & flags != 0
    }
}
