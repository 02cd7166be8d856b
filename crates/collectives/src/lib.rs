//! Ring collectives.
mod abi;
pub mod buffer;
pub mod data;
pub mod error;
pub mod plugin;
pub mod rendezvous;
pub mod schedule;
