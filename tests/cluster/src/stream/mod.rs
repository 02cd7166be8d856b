//! A stream of 300 mixed jobs: generated from a seed, sent to a cluster as flexmig requests or as
//! exact types, and checked from what the jobs saw.
//!
//! | module | part |
//! |---|---|
//! | `generate` | which jobs, when, how long: pure |
//! | `check` | whether each job was served and no leaf was held twice: pure |
//! | `run` | the cluster, the submissions, the wait for the end |
//!
//! For the long tests and for `make bench`. Nothing here knows how the plugins choose: requests are
//! read as the user guide has them.

mod check;
mod generate;
mod run;

pub use check::{Clashes, Seen, Uses, satisfies};
pub use generate::{Form, Request, Stream, WINDOW};
pub use run::{Comparison, Outcome, Reserve, Variant, compare, run};

/// The seeds of the long test and of the bench.
pub const SEEDS: [u64; 3] = [20, 11, 2026];
