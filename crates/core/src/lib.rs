//! The domain of Flex-MIG for Slurm: what a leaf is, what a request means, what policy allows.
//!
//! Nothing here reads a file, a clock, the environment or a device, and nothing is `unsafe`. The
//! plugins, the command and the simulator stand on top and do the I/O.
//!
//! | module | question it answers |
//! |---|---|
//! | [`profile`] | what does `1c.3g.20gb+me` mean, and are two profiles equal? |
//! | [`leaf`] | what do we know about one MIG device? |
//! | [`bus_id`] | what is the synthetic bus id of a leaf, and which leaf is behind one? |
//! | [`hostlist`] | which nodes does `n[1-4,7]` name? |
//! | [`request`] | what did the user ask for with `--gres=`? |
//! | [`promise`] | what was a job promised, as its environment tells the node? |
//! | [`policy`] | what does flexmig.toml say? |
//! | [`nccl`] | which runtime mode does a job have, and what is NCCL told in it? |
//! | [`order`] | which leaf gets which index? |
//! | [`index_file`] | which index did a leaf have when slurmd last ran? |
//! | [`probe`] | between which leaves can CUDA memory be shared? |
//! | [`slurm_conf`] | which leaves do nodes and partitions of slurm.conf have? |
//! | [`layout`] | what does a node class look like, as deployed on the controller? |
//! | [`rank`] | which leaf does a process get, whatever launched it? |
//! | [`text`] | how is text built without allocating? |
//! | [`models`] | how many SMs does a leaf of this GPU model have? |
//! | [`note`] | what does admin_comment say about a job's leaves? |
//! | [`view`] | what is on the cluster now? |
//! | [`select`] | which leaves serve a request best? |
//! | [`submit`] | is a request allowed, and what becomes of it? |
//! | [`replan`] | which waiting jobs move to other leaves? |
//!
//! [`bus_id`], [`rank`] and [`text`] compile without `std` and without `alloc`, for the preload
//! library; the rest needs feature `std`, and what reads or writes TOML needs feature `config`.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

pub mod bus_id;
#[cfg(feature = "std")]
mod few;
#[cfg(feature = "std")]
pub mod hostlist;
#[cfg(feature = "config")]
pub mod index_file;
#[cfg(feature = "config")]
pub mod layout;
#[cfg(feature = "std")]
pub mod leaf;
#[cfg(feature = "std")]
pub mod models;
#[cfg(feature = "config")]
pub mod nccl;
#[cfg(feature = "std")]
pub mod note;
#[cfg(feature = "config")]
pub mod order;
#[cfg(feature = "config")]
pub mod policy;
#[cfg(feature = "config")]
pub mod probe;
#[cfg(feature = "std")]
pub mod profile;
#[cfg(feature = "std")]
pub mod promise;
pub mod rank;
#[cfg(feature = "config")]
pub mod replan;
#[cfg(feature = "std")]
pub mod request;
#[cfg(feature = "config")]
pub mod select;
#[cfg(feature = "std")]
pub mod slurm_conf;
#[cfg(feature = "config")]
pub mod submit;
pub mod text;
#[cfg(feature = "config")]
pub mod view;
