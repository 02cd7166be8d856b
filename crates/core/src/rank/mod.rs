//! Which leaf is this process to have? The binding of ranks, where Slurm did not bind.
//!
//! A job that holds four leaves starts four ranks, through srun, torchrun, mpirun or one inside the
//! other, and CUDA shows a process one MIG device only. So each rank gets its own leaf before its
//! program starts: by the preload library in every process, or by `flexmig exec`. Both ask
//! [`decide`], a pure function of the environment.
//!
//! `FLEXMIG_BOUND` records a binding: the leaf, and what the launchers' variables were then
//! ([`record`]). A process that finds them unchanged is the child of a rank and is left alone. In
//! any other only variables that are new or changed count, the innermost launcher first
//! ([`launcher`]).
//!
//! | found | leaf |
//! |---|---|
//! | `FLEXMIG_LEAF` from outside (Slurm bound the task, or the user) | that one |
//! | a launcher's local rank | the local rank |
//! | the same in each of several tasks, or in a bound process | outer rank * local size + local rank |
//! | a script that hands an outer launcher's rank on (`LOCAL_RANK=$SLURM_LOCALID`) | as bound |
//! | a step with one task here, a batch shell, a launcher's own process | none |
//! | `CUDA_VISIBLE_DEVICES` is the user's | none |
//!
//! Compiles without `std` and without `alloc`, and nothing in it can panic: it runs in every process
//! of a job.

pub mod launcher;
pub mod problem;
pub mod record;
#[cfg(test)]
mod tests;
mod view;

pub use problem::Problem;
pub use view::{Mode, Var, View};

use launcher::Kind;
use record::{Record, Written};

/// What is to be done in a process.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "made once per process, and there is no allocator")]
pub enum Decision<'a> {
    /// Nothing.
    Leave(Reason),
    /// Change the environment: this process has a leaf.
    Bind(Binding<'a>),
    /// Say the line once and go on unbound: a FLEXMIG_ variable is malformed.
    Complain(Problem<'a>),
    /// Say the line and end the process: there is no leaf for this rank.
    Refuse(Problem<'a>),
}

/// Why nothing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The process has no leaves: `FLEXMIG_UUIDS` is not set.
    NoLeaves,
    /// `FLEXMIG_MODE=off`.
    Off,
    /// A child of a bound process.
    Inherited,
    /// No launcher gave this process a rank of its own.
    NoRank,
    /// `CUDA_VISIBLE_DEVICES` is the user's own.
    Users,
    /// The same complaint was made by an ancestor.
    Said,
}

/// A process and its leaf.
#[derive(Clone, Debug)]
pub struct Binding<'a> {
    /// Index into `FLEXMIG_UUIDS`.
    pub leaf: u32,
    /// The leaf's UUID.
    pub uuid: &'a [u8],
    /// The local rank as launched, where there is one.
    pub local_rank: Option<u32>,
    /// `CUDA_VISIBLE_DEVICES` is something else and is to be replaced.
    pub replace_visible: bool,
    /// `LOCAL_RANK` is set and is to become 0.
    pub rewrite_local: bool,
    /// `SLURM_LOCALID` is set and is to become 0 (`FLEXMIG_REWRITE=local,slurm`).
    pub rewrite_slurm: bool,
    /// `NCCL_HOSTID` as gres/flexmig set it for all ranks of the node in mode `net`, where each rank
    /// is to be a host of its own: it gets the leaf behind it.
    pub host: Option<&'a [u8]>,
    /// The new `FLEXMIG_BOUND`.
    pub bound: Written,
    /// A lesser variable that is malformed; worth a line, the binding stands.
    pub note: Option<Problem<'a>>,
}

impl Binding<'_> {
    /// The changes of the environment, in order.
    pub fn edits(&self, mut set: impl FnMut(Var, &[u8])) {
        let decimal = |value: u32| {
            let mut text = crate::text::Text::<12>::new();
            text.push_number(u64::from(value));
            text
        };
        if self.replace_visible {
            set(Var::CudaVisible, self.uuid);
        }
        set(Var::Leaf, decimal(self.leaf).as_bytes());
        if let Some(rank) = self.local_rank {
            set(Var::OldLocalRank, decimal(rank).as_bytes());
        }
        if self.rewrite_local {
            set(Var::LocalRank, b"0");
        }
        if self.rewrite_slurm {
            set(Var::SlurmLocalId, b"0");
        }
        if let Some(host) = self.host {
            let mut text = crate::text::Text::<{ MAX_HOST + 12 }>::new();
            text.push(host);
            text.push(b"-");
            text.push_number(u64::from(self.leaf));
            set(Var::HostId, text.as_bytes());
        }
        set(Var::Bound, self.bound.as_bytes());
    }
}

/// Decides for the process whose environment `view` is.
///
/// With `rank` the caller names the local rank itself (`flexmig exec --rank-env`), and no launcher's
/// variable counts.
pub fn decide<'a>(view: &View<'a>, rank: Option<u32>) -> Decision<'a> {
    let Some(leaves) = view.given(Var::Uuids) else {
        return Decision::Leave(Reason::NoLeaves);
    };
    match attempt(view, leaves, rank) {
        Ok(decision) => decision,
        Err(problem) => {
            let said = view.given(Var::Bound).and_then(record::said);
            if said == Some(problem.hash()) {
                Decision::Leave(Reason::Said)
            } else {
                Decision::Complain(problem)
            }
        }
    }
}

fn attempt<'a>(
    view: &View<'a>,
    leaves: &'a [u8],
    rank: Option<u32>,
) -> Result<Decision<'a>, Problem<'a>> {
    if view.mode()? == Mode::Off {
        return Ok(Decision::Leave(Reason::Off));
    }
    let count = count(leaves)?;
    let bound = view.given(Var::Bound).filter(|text| record::said(text).is_none());
    let record = bound.and_then(Record::parse);
    // A binding that cannot be read is none; whoever binds next replaces it.
    let unreadable = match (bound, record) {
        (Some(text), None) => Some(Problem::Bound(text)),
        _ => None,
    };
    if rank.is_none() && record.is_some_and(|record| record.unchanged(view)) {
        return Ok(Decision::Leave(Reason::Inherited));
    }
    let Some(place) = place(view, record, count, rank)? else {
        return unreadable.map_or(Ok(Decision::Leave(Reason::NoRank)), Err);
    };
    let own = record.and_then(|record| uuid(leaves, record.leaf));
    let new = place.leaf.and_then(|leaf| Some((leaf, uuid(leaves, leaf)?)));
    if !replaceable(view.get(Var::CudaVisible), leaves, own, new.map(|(_, uuid)| uuid)) {
        return Ok(Decision::Leave(Reason::Users));
    }
    let Some((leaf, uuid)) = new else { return Ok(Decision::Refuse(place.problem)) };
    let (rewrite, note) = rewrite(view);
    let rewrite_local = rewrite.local && view.given(Var::LocalRank).is_some();
    let rewrite_slurm = rewrite.slurm && view.given(Var::SlurmLocalId).is_some();
    let bound = Record::written(view, leaf, place.fixed, rewrite_local, rewrite_slurm);
    Ok(Decision::Bind(Binding {
        leaf,
        uuid,
        local_rank: place.local_rank,
        replace_visible: view.get(Var::CudaVisible) != Some(uuid),
        rewrite_local,
        rewrite_slurm,
        host: host(view),
        bound,
        note: unreadable.or(note),
    }))
}

/// Where a process belongs, before it is known whether there is such a leaf.
struct Place {
    /// Index of the leaf; none if the process may not have this rank at all.
    leaf: Option<u32>,
    /// Slurm or the user chose the leaf; the process has no other.
    fixed: bool,
    local_rank: Option<u32>,
    problem: Problem<'static>,
}

fn place<'a>(
    view: &View<'a>,
    record: Option<Record<'a>>,
    leaves: u32,
    rank: Option<u32>,
) -> Result<Option<Place>, Problem<'a>> {
    if let Some(rank) = rank {
        let problem = Problem::Rank { from: None, rank, leaves };
        return Ok(Some(Place { leaf: Some(rank), fixed: false, local_rank: Some(rank), problem }));
    }
    // In a new step an old binding says nothing about leaves, only about which variables are old.
    let outer = record.filter(|record| record.same_step(view));
    if outer.is_none()
        && let Some(text) = view.given(Var::Leaf)
    {
        let leaf = crate::text::number(text).filter(|leaf| *leaf < leaves);
        let leaf = leaf.ok_or(Problem::Leaf { text, leaves })?;
        let local_rank = launcher::innermost(view, None).map(|launcher| launcher.local);
        let problem = Problem::Rank { from: Some(Var::Leaf), rank: leaf, leaves };
        return Ok(Some(Place { leaf: Some(leaf), fixed: true, local_rank, problem }));
    }
    let Some(launcher) = launcher::innermost(view, record.as_ref()) else { return Ok(None) };
    let local = launcher.local;
    let bound = outer.map(|outer| (outer.leaf, outer.fixed));
    let around = bound.or_else(|| launcher::slurm(view).map(|task| (task.local, false)));
    let mut problem = Problem::Rank { from: Some(launcher.from), rank: local, leaves };
    let (leaf, fixed) = match (around, launcher.size) {
        _ if launcher.kind == Kind::Slurm => (Some(local), false),
        (Some((leaf, fixed)), _) if launcher.hands_on(view, record.as_ref()) => (Some(leaf), fixed),
        (Some((leaf, true)), _) => {
            problem = Problem::OneLeaf { from: launcher.from, rank: local };
            (Some(leaf).filter(|_| local == 0), true)
        }
        (Some((outer, false)), Some(size)) => {
            let rank = outer.saturating_mul(size).saturating_add(local);
            problem = Problem::Rank { from: Some(launcher.from), rank, leaves };
            (Some(rank), false)
        }
        _ => (Some(local), false),
    };
    Ok(Some(Place { leaf, fixed, local_rank: Some(local), problem }))
}

/// The number of leaves, if the list is one.
fn count(leaves: &[u8]) -> Result<u32, Problem<'_>> {
    let mut count = 0;
    for uuid in leaves.split(|byte| *byte == b',') {
        let graphic = uuid.iter().all(|byte| byte.is_ascii_graphic());
        if uuid.is_empty() || uuid.len() > MAX_UUID || !graphic {
            return Err(Problem::Uuids { entry: count, text: uuid });
        }
        count += 1;
    }
    Ok(count)
}

/// The longest UUID that is taken; `MIG-GPU-<uuid>/13/7` of old drivers has 49 bytes.
const MAX_UUID: usize = 64;

fn uuid(leaves: &[u8], leaf: u32) -> Option<&[u8]> {
    leaves.split(|byte| *byte == b',').nth(leaf as usize)
}

/// May `CUDA_VISIBLE_DEVICES` be replaced? Only if it is not set, or the list that gres set, or our
/// own value, or a launcher's list of integers. Anything else is the user's.
fn replaceable(
    visible: Option<&[u8]>,
    leaves: &[u8],
    own: Option<&[u8]>,
    new: Option<&[u8]>,
) -> bool {
    let Some(visible) = visible else { return true };
    let integers =
        || visible.split(|byte| *byte == b',').all(|entry| crate::text::number(entry).is_some());
    visible == leaves || Some(visible) == own || Some(visible) == new || integers()
}

/// The longest `NCCL_HOSTID` that a leaf is put behind; a host's name has up to 64 bytes.
const MAX_HOST: usize = 128;

/// `NCCL_HOSTID`, if it is to become the rank's own. Any other value is the user's.
fn host<'a>(view: &View<'a>) -> Option<&'a [u8]> {
    let host = view.given(Var::HostId).filter(|host| host.len() <= MAX_HOST)?;
    let set = view.given(Var::NcclSet)?;
    let ours = |pair: &[u8]| pair.strip_prefix(b"NCCL_HOSTID=") == Some(host);
    let is_net = matches!(view.mode(), Ok(Mode::Net));
    Some(host).filter(|_| is_net && set.split(|byte| *byte == b',').any(ours))
}

/// Which ranks the program is to see as 0.
struct Rewrite {
    local: bool,
    slurm: bool,
}

fn rewrite<'a>(view: &View<'a>) -> (Rewrite, Option<Problem<'a>>) {
    let mut note = None;
    let mut rewrite = Rewrite { local: true, slurm: false };
    if let Some(list) = view.given(Var::Rewrite) {
        rewrite.local = false;
        for word in list.split(|byte| *byte == b',') {
            match word {
                b"local" => rewrite.local = true,
                b"slurm" => rewrite.slurm = true,
                _ => note = Some(Problem::Rewrite(list)),
            }
        }
        if note.is_some() {
            rewrite = Rewrite { local: true, slurm: false };
        }
    }
    match view.given(Var::KeepLocalRank) {
        Some(b"1") => rewrite.local = false,
        None | Some(b"0") => (),
        Some(text) => note = Some(Problem::Keep(text)),
    }
    (rewrite, note)
}
