//! Selection: which leaves serve a request best now.
//!
//! Written once, for slurmctld's plugin, `flexmig explain`, the re-planner and the simulator. They
//! differ in what they know about the nodes, which is behind [`Supply`]: the plugin and `explain`
//! look at an index whose cost does not depend on the number of nodes, the re-planner at every node.
//!
//! The order of two candidates, first difference decides:
//!
//! 1. some nodes hold it at all;
//! 2. it can start now, and does not waste leaves that other jobs wait for (where all that serve the
//!    request waste as much: those that nobody waits for first);
//! 3. it is of the type that was named, not composed in its place;
//! 4. of what cannot start and stays as it is: the shorter queue;
//! 5. equal leaves;
//! 6. least waste: SMs above what was asked (slices where the GPU model is not known), then memory;
//! 7. fewest leaves;
//! 8. least harm to what larger requests could still get;
//! 9. leaves under one socket, where layout files tell;
//! 10. the smaller profile, then the type that comes first.
//!
//! | module | part |
//! |---|---|
//! | `kind` | a type of leaves: its profile, memory, SMs |
//! | `supply` | what there is, as far as selection asks |
//! | `parts` | the leaves of a candidate |
//! | `enumerate` | the sets of leaves that serve a request |
//! | `mixed` | slices of several profiles |
//! | `rank` | their order |
//! | `words` | why, for people |
//! | `index` | free leaves of a partition, aggregated |
//! | `fragmentation` | how broken up the free leaves of nodes are |

mod enumerate;
pub mod fragmentation;
pub mod index;
mod kind;
mod mixed;
mod parts;
mod rank;
mod supply;
#[cfg(test)]
mod tests;
mod words;

pub use enumerate::{NoFit, WhyNot};
pub use kind::Kind;
pub use parts::Parts;
pub use supply::{FIRST, Need, Supply};

use crate::policy::Select;
use crate::request::Term;

/// What policy and the release of Slurm say about selection.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'p> {
    /// Table `[select]`.
    pub policy: &'p Select,
    /// Types may exist that are not known: a name that is not known passes as it is.
    pub open: bool,
    /// The job cannot be re-planned while it waits: queues count.
    pub stays: bool,
}

/// Leaves of one type, per node or per task as the request counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part<'k> {
    /// Type as slurm.conf spells it; `None` where leaves have no type.
    pub kind: Option<&'k str>,
    /// How many.
    pub count: u64,
}

/// How a set of leaves serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The type that was named.
    Exact,
    /// A type of the shape that was named.
    Shape,
    /// A number of leaves.
    Any,
    /// A number of leaves, and there is one type only, whose size is not known.
    Only,
    /// Leaves have no types.
    Untyped,
    /// At least so much memory per leaf.
    Memory,
    /// A number of slices.
    Slices,
    /// A type was named; these leaves have as many slices.
    Composed,
    /// Slices of several profiles.
    Mixed,
}

/// What compute waste is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Streaming multiprocessors.
    Sms,
    /// Compute slices, where the GPU model is not known.
    Slices,
    /// Types do not tell their compute share: not counted.
    #[default]
    Unknown,
}

/// What a candidate takes above what was asked, per node or per task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waste {
    /// Compute, in [`Waste::unit`].
    pub compute: u64,
    /// The same for all candidates of a request.
    pub unit: Unit,
    /// Gigabytes.
    pub memory_gb: u64,
    /// Compute slices, whatever the unit.
    pub slices: u64,
}

/// One set of leaves that serves the request, and its score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'k> {
    /// Its leaves, per node or per task.
    pub parts: Parts<'k>,
    /// How it serves the request (its first term).
    pub how: How,
    /// Enough nodes hold it, whatever runs on them.
    pub fits: bool,
    /// Can start now; `None` where free leaves are not known.
    pub starts_now: Option<bool>,
    /// It could start now, but wastes leaves of a type that the first waiting jobs ask for.
    pub wanted: bool,
    /// ... and is left to them, as leaves that waste less serve the request too.
    pub left: bool,
    /// Composed in place of the type that was named.
    pub substitute: bool,
    /// Leaves that waiting jobs and this one ask for, per thousand that there are; of the longest
    /// queue. Counted only where the job has to wait and stays as it is.
    pub queue: u64,
    /// One profile.
    pub equal: bool,
    /// What it takes above what was asked.
    pub waste: Waste,
    /// Leaves, per node or per task.
    pub leaves: u64,
    /// Harm to larger requests, see [`fragmentation::harm`].
    pub harm: u64,
    /// The leaves can lie under one socket of a node; `None` where no layout file tells.
    pub one_socket: Option<bool>,
    /// SMs and slices above what was asked; `None` where it cannot be told.
    sms: Option<u64>,
    slices: Option<u64>,
    /// Another suffix than the name that was asked for.
    variant: bool,
    /// Position of its first type in the order of kinds.
    place: u16,
}

/// All candidates of a request, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection<'k> {
    /// Never empty.
    pub candidates: Vec<Candidate<'k>>,
    /// Queues counted.
    stays: bool,
}

/// Finds and ranks the sets of leaves that serve all terms of a request together.
///
/// `kinds` are the types of the job's partitions, each once, in an order that does not depend on
/// the order of nodes. What policy says about job sizes and about who may span leaves is left to the
/// caller, who goes down the list.
pub fn select<'k>(
    kinds: &[&'k Kind],
    terms: &[Term<'k>],
    rules: &Rules,
    need: &Need,
    supply: &dyn Supply,
) -> Result<Selection<'k>, NoFit> {
    let mut candidates = enumerate::candidates(kinds, terms, rules, need, supply)?;
    rank::rank(&mut candidates, kinds, rules, need, supply);
    Ok(Selection { candidates, stays: rules.stays })
}

impl<'k> Selection<'k> {
    /// The best.
    pub fn best(&self) -> &Candidate<'k> {
        &self.candidates[0]
    }
}
