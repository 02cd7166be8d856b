//! Which launcher gave this process its rank.

use super::record::Record;
use super::{Var, View};

/// The launchers that are told apart, the innermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// torchrun, accelerate, deepspeed, or a script that sets `LOCAL_RANK`.
    Torch,
    /// Open MPI's mpirun.
    OpenMpi,
    /// Hydra: MPICH's and Intel's mpiexec.
    Hydra,
    /// A step with several tasks on this node.
    Slurm,
}

/// A rank as a launcher gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launcher {
    /// Which one.
    pub kind: Kind,
    /// Rank on this node.
    pub local: u32,
    /// Rank in the job.
    pub global: Option<u32>,
    /// How many ranks it started on this node.
    pub size: Option<u32>,
    /// The variable with the local rank.
    pub from: Var,
}

/// The innermost launcher whose variables are new since `record` was made.
pub fn innermost(view: &View<'_>, record: Option<&Record<'_>>) -> Option<Launcher> {
    let changed = |vars: &[Var]| vars.iter().any(|var| new(view, record, *var));
    // The rank in the job alone does not make a launcher: PMI_RANK and PMIX_RANK also come from srun
    // while the local rank is an older one's, and programs set RANK for children of their own.
    [
        torch(view, record)
            .filter(|_| changed(&[Var::LocalRank, Var::LocalWorldSize, Var::TorchRunId])),
        open_mpi(view).filter(|_| changed(&[Var::OmpiRank, Var::OmpiLocalRank])),
        hydra(view).filter(|_| changed(&[Var::MpiLocalRank, Var::PmiLocalRank])),
        slurm(view).filter(|_| {
            changed(&[Var::SlurmJobId, Var::SlurmStepId, Var::SlurmProcId, Var::SlurmLocalId])
        }),
    ]
    .into_iter()
    .flatten()
    .next()
}

fn new(view: &View<'_>, record: Option<&Record<'_>>, var: Var) -> bool {
    record.is_none_or(|record| record.changed(view, var))
}

fn torch(view: &View<'_>, record: Option<&Record<'_>>) -> Option<Launcher> {
    // The size of an outer launcher is still there when a rank sets LOCAL_RANK for its children.
    let size = view.number(Var::LocalWorldSize);
    Some(Launcher {
        kind: Kind::Torch,
        local: view.number(Var::LocalRank)?,
        global: view.number(Var::Rank),
        size: size.filter(|_| new(view, record, Var::LocalWorldSize)),
        from: Var::LocalRank,
    })
}

fn open_mpi(view: &View<'_>) -> Option<Launcher> {
    Some(Launcher {
        kind: Kind::OpenMpi,
        local: view.number(Var::OmpiLocalRank)?,
        global: view.number(Var::OmpiRank),
        size: view.number(Var::OmpiLocalSize),
        from: Var::OmpiLocalRank,
    })
}

fn hydra(view: &View<'_>) -> Option<Launcher> {
    let from = |var| Some((view.number(var)?, var));
    let (local, from) = from(Var::MpiLocalRank).or_else(|| from(Var::PmiLocalRank))?;
    Some(Launcher {
        kind: Kind::Hydra,
        local,
        global: view.number(Var::PmiRank),
        size: view.number(Var::MpiLocalSize).or_else(|| view.number(Var::PmiLocalSize)),
        from,
    })
}

/// Slurm's task, if the step has several on this node. Batch shells, the agents of torchrun and
/// mpirun's daemons are the only task of their step here, or of none.
pub fn slurm(view: &View<'_>) -> Option<Launcher> {
    view.given(Var::SlurmStepId)?;
    let tasks = view.given(Var::SlurmGtids)?.split(|byte| *byte == b',').count();
    Some(Launcher {
        kind: Kind::Slurm,
        local: view.number(Var::SlurmLocalId)?,
        global: view.number(Var::SlurmProcId),
        size: u32::try_from(tasks).ok().filter(|tasks| *tasks > 1),
        from: Var::SlurmLocalId,
    })
    .filter(|task| task.size.is_some())
}

impl Launcher {
    /// Is this an outer launcher's rank under another name? Scripts write
    /// `LOCAL_RANK=$SLURM_LOCALID`, and Open MPI sets its variables for the children of a rank that
    /// srun started. A launcher that starts ranks of its own has other numbers, or is torchrun.
    pub fn hands_on(&self, view: &View<'_>, record: Option<&Record<'_>>) -> bool {
        let torch = self.kind == Kind::Torch;
        if torch && view.given(Var::TorchRunId).is_some() && new(view, record, Var::TorchRunId) {
            return false;
        }
        let outer = match self.kind {
            Kind::Torch => [open_mpi(view), hydra(view), slurm(view)],
            _ => [slurm(view), None, None],
        };
        outer.into_iter().flatten().any(|outer| {
            let fits = self.size.is_none() || self.size == outer.size;
            self.local == outer.local
                && match (self.global, outer.global) {
                    (Some(ours), Some(theirs)) => ours == theirs && (torch || fits),
                    _ => fits,
                }
        })
    }
}
