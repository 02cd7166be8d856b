//! How ranks find each other, and how each learns that another is gone.
//!
//! One coordinator, one TCP connection from every rank to it. It gives everybody's message to
//! everybody (connection handles, times, barriers) and tells all ranks when one of them fails or
//! disappears: a net plugin only tells the neighbours.
//!
//! | module | what it holds |
//! |---|---|
//! | [`frame`] | what goes over a connection |
//! | [`coordinator`] | the middle |
//! | [`member`] | a rank's end |
//! | [`local`] | ranks on this host, started by us: the coordinator is in the parent |
//! | [`slurm`] | ranks started by srun: the coordinator is in rank 0 |

pub mod coordinator;
pub mod frame;
pub mod local;
pub mod member;
pub mod slurm;

pub use coordinator::Coordinator;
pub use member::Session;

/// Where a rank stands in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// This rank, from 0.
    pub rank: usize,
    /// All ranks.
    pub ranks: usize,
}
