//! Ring collectives over an NCCL net plugin, verified element by element.
//!
//! The plugin is loaded with dlopen and called through NCCL's own interface, with host memory: what
//! works here is what NCCL will find. Ranks are processes, on one host or on several.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mod@bench`] | what one rank does: warm up, measure, verify, for each size |
//! | [`schedule`] | the ring algorithms as data; pure |
//! | [`data`] | what is sent, and whether what arrived is right; pure |
//! | [`ring`], [`proxy`] | carrying out a plan; driving the plugin as NCCL's proxy does |
//! | [`plugin`], `abi` | the plugin's functions, versions 11, 8 and 6 |
//! | [`rendezvous`] | how ranks find each other, and learn that one is gone |
//! | [`report`] | columns and JSON |
//!
//! `unsafe` is in [`buffer`] and [`plugin`], and where [`ring`] and [`proxy`] give memory to the plugin.

mod abi;
pub mod bench;
pub mod buffer;
pub mod data;
pub mod error;
pub mod plugin;
mod progress;
pub mod proxy;
pub mod rendezvous;
pub mod report;
pub mod ring;
pub mod schedule;

pub use error::Error;
