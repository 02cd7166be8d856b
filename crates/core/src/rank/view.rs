//! The part of an environment that a binding depends on.

use core::ffi::CStr;

use super::Problem;

macro_rules! variables {
    ($($name:ident = $text:literal, $doc:literal;)*) => {
        /// A variable that a binding reads or writes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Var { $(#[doc = $doc] $name,)* }

        pub(super) const NAMES: &[(&CStr, Var)] = &[$(($text, Var::$name),)*];
        const COUNT: usize = NAMES.len();

        impl Var {
            /// Its name in the environment.
            pub const fn name(self) -> &'static CStr {
                match self { $(Var::$name => $text,)* }
            }
        }
    };
}

// The first fourteen are what FLEXMIG_BOUND records, in this order.
variables! {
    LocalRank = c"LOCAL_RANK", "torchrun and others: rank on this node.";
    LocalWorldSize = c"LOCAL_WORLD_SIZE", "torchrun: ranks of this launcher on this node.";
    Rank = c"RANK", "torchrun and others: rank in the job.";
    TorchRunId = c"TORCHELASTIC_RUN_ID", "torchrun: its run.";
    OmpiRank = c"OMPI_COMM_WORLD_RANK", "Open MPI: rank in the job.";
    OmpiLocalRank = c"OMPI_COMM_WORLD_LOCAL_RANK", "Open MPI: rank on this node.";
    MpiLocalRank = c"MPI_LOCALRANKID", "Hydra and Intel MPI: rank on this node.";
    PmiRank = c"PMI_RANK", "PMI: rank in the job.";
    PmiLocalRank = c"PMI_LOCAL_RANK", "PMI: rank on this node.";
    PmixRank = c"PMIX_RANK", "PMIx: rank in the job.";
    SlurmJobId = c"SLURM_JOB_ID", "Slurm: the job.";
    SlurmStepId = c"SLURM_STEP_ID", "Slurm: the step; not set in a batch script.";
    SlurmProcId = c"SLURM_PROCID", "Slurm: task in the step.";
    SlurmLocalId = c"SLURM_LOCALID", "Slurm: task of the step on this node.";
    OmpiLocalSize = c"OMPI_COMM_WORLD_LOCAL_SIZE", "Open MPI: ranks on this node.";
    MpiLocalSize = c"MPI_LOCALNRANKS", "Hydra and Intel MPI: ranks on this node.";
    PmiLocalSize = c"PMI_LOCAL_SIZE", "PMI: ranks on this node.";
    SlurmGtids = c"SLURM_GTIDS", "Slurm: the tasks of the step on this node, as a list.";
    CudaVisible = c"CUDA_VISIBLE_DEVICES", "The devices that CUDA shows.";
    Uuids = c"FLEXMIG_UUIDS", "The leaves, in rank order.";
    Mode = c"FLEXMIG_MODE", "The runtime mode.";
    Bound = c"FLEXMIG_BOUND", "The binding of this process or of an ancestor.";
    Leaf = c"FLEXMIG_LEAF", "Index into the leaves.";
    OldLocalRank = c"FLEXMIG_LOCAL_RANK", "The local rank as launched.";
    KeepLocalRank = c"FLEXMIG_KEEP_LOCAL_RANK", "1: LOCAL_RANK stays as it is.";
    Rewrite = c"FLEXMIG_REWRITE", "Which of local and slurm become 0.";
    Log = c"FLEXMIG_LOG", "How much is said.";
    HostId = c"NCCL_HOSTID", "What NCCL takes for the host.";
    NcclSet = c"FLEXMIG_NCCL_SET", "What gres/flexmig set for NCCL, as NAME=value.";
}

/// How many variables [`super::record`] records: those up to here in the list.
pub(super) const RECORDED: usize = Var::SlurmLocalId as usize + 1;

/// The recorded variables in order.
pub(super) fn recorded() -> impl Iterator<Item = Var> {
    NAMES.iter().take(RECORDED).map(|(_, var)| *var)
}

/// The runtime modes of a job on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// NCCL does it all: 2.31 or later.
    Native,
    /// Synthetic bus ids, memory shared inside a GPU.
    RelabelP2p,
    /// Synthetic bus ids, host shared memory.
    RelabelShm,
    /// The net plugin carries the traffic.
    Net,
    /// Nothing is touched.
    Off,
}

impl Mode {
    /// Reads `relabel-shm` and the like.
    pub const fn parse(text: &[u8]) -> Option<Mode> {
        match text {
            b"native" => Some(Mode::Native),
            b"relabel-p2p" => Some(Mode::RelabelP2p),
            b"relabel-shm" => Some(Mode::RelabelShm),
            b"net" => Some(Mode::Net),
            b"off" => Some(Mode::Off),
            _ => None,
        }
    }

    /// Its name, as in `FLEXMIG_MODE`.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::RelabelP2p => "relabel-p2p",
            Mode::RelabelShm => "relabel-shm",
            Mode::Net => "net",
            Mode::Off => "off",
        }
    }
}

/// The variables of a process that matter here.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    values: [Option<&'a [u8]>; COUNT],
}

impl<'a> View<'a> {
    /// An environment without any of them.
    pub const fn new() -> View<'a> {
        View { values: [None; COUNT] }
    }

    /// Takes an entry of the environment, `NAME=value`, if it is one of them. The first of a name
    /// counts, as for getenv.
    pub fn take(&mut self, entry: &'a [u8]) {
        // Most entries of an environment end here.
        if !matches!(
            entry.first(),
            Some(b'C' | b'F' | b'L' | b'M' | b'N' | b'O' | b'P' | b'R' | b'S' | b'T')
        ) {
            return;
        }
        for (name, var) in NAMES {
            let value =
                entry.strip_prefix(name.to_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            if let (Some(value), Some(slot)) = (value, self.values.get_mut(*var as usize)) {
                slot.get_or_insert(value);
                return;
            }
        }
    }

    /// The value, which may be empty.
    pub fn get(&self, var: Var) -> Option<&'a [u8]> {
        self.values.get(var as usize).copied().flatten()
    }

    /// The value, unless it is empty.
    pub fn given(&self, var: Var) -> Option<&'a [u8]> {
        self.get(var).filter(|value| !value.is_empty())
    }

    /// The value as a number; what is not one counts as not set: launchers write plain numbers, and
    /// some programs `-1` for none.
    pub fn number(&self, var: Var) -> Option<u32> {
        self.get(var).and_then(crate::text::number)
    }

    /// The runtime mode; without one relabelling is not wanted, but ranks are bound.
    pub fn mode(&self) -> Result<Mode, Problem<'a>> {
        match self.given(Var::Mode) {
            Some(text) => Mode::parse(text).ok_or(Problem::Mode(text)),
            None => Ok(Mode::Native),
        }
    }
}

impl Default for View<'_> {
    fn default() -> Self {
        View::new()
    }
}
