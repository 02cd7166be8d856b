//! What one-to-many allocation is worth on a cluster: a discrete-event simulator of GPUs cut with
//! MIG, of Slurm's schedulers, and of several ways to give leaves to jobs.
//!
//! [`simulate`] runs jobs through one [`Setup`]; [`run`] does the same with an iterator of jobs and
//! an [`Observer`], with memory for running and queued jobs only. The policy `flex` chooses leaves
//! with the selection of flexmig-core, which is the code that slurmctld runs.
//!
//! | module | question it answers |
//! |---|---|
//! | [`job`] | what does a job ask for, and how long would it run? |
//! | [`gpu`] | which instances can a GPU have, and where (NVIDIA's placement rules)? |
//! | [`layout`] | how are the GPUs of a cluster cut? |
//! | [`model`] | how fast is a job on these leaves, and what does a new cut cost? |
//! | [`setup`] | what is simulated: cluster, policy, scheduler |
//! | [`engine`] | what happens when? |
//! | [`outcome`] | what came of it? |
//! | [`trace`] | how are traces read? |
//! | [`workload`] | which jobs become of a trace, at which load; which are generated? |
//! | [`sensitivity`] | how much do the results depend on the model? |
//! | [`report`] | what does it look like? |
#![forbid(unsafe_code)]

mod choose;
mod class;
pub mod engine;
mod fabric;
mod farm;
pub mod gpu;
pub mod job;
pub mod layout;
mod metrics;
pub mod model;
pub mod outcome;
pub mod policy;
pub mod report;
mod scheduler;
pub mod sensitivity;
pub mod setup;
pub mod trace;
pub mod workload;

pub use engine::{Observer, run, simulate, simulate_watched};
pub use gpu::Gpu;
pub use job::Job;
pub use layout::Layout;
pub use model::Performance;
pub use outcome::{Metrics, Outcome, Record, Sample, Span};
pub use setup::{Cluster, Oversize, PolicyName, SchedulerName, Setup, SlurmParameters};

/// Milliseconds since the start of the trace.
pub type Time = u64;

/// One second of [`Time`].
pub const SECOND: Time = 1000;
