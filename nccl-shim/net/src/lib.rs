//! libnccl-net-flexmig.so: NCCL's way between the leaves of a job where NCCL itself
//! knows none, and the answers that depend on NCCL's version.
//!
//! | module | holds |
//! |---|---|
//! | [`abi`] | the C interface, one small file per version, behind the panic [`fence`] |
//! | [`env_plugin`] | NCCL's env plugin |
//! | [`endpoint`], [`handle`] | listening, accepting, connecting |
//! | [`comm`], [`request`] | connections and requests, as NCCL sees them |
//! | [`ring`], [`shm`], [`shm_link`], [`shm_connect`] | within a host: a ring in a sealed memfd |
//! | [`single_copy`], [`grant`], [`path`] | one copy instead of two, and which messages take it |
//! | [`polled`] | which messages the GPU reads while they arrive |
//! | [`tcp`], [`tcp_connect`], [`interface`], [`forked`] | between hosts: a bundle of sockets |
//! | [`peer`] | is the other process alive |
//! | [`copy`], [`sys`], [`sync`] | copy loops, system calls, atomics |
//! | [`config`], [`log`], [`error`] | settings, lines, results |
#![cfg_attr(feature = "loom", allow(dead_code))]

pub mod abi;
pub mod comm;
pub mod config;
pub mod copy;
pub mod endpoint;
pub mod env_plugin;
pub mod error;
pub mod fence;
pub mod forked;
pub mod grant;
pub mod handle;
pub mod interface;
pub mod log;
pub mod path;
pub mod peer;
pub mod polled;
pub mod request;
pub mod ring;
pub mod shm;
pub mod shm_connect;
pub mod shm_link;
pub mod single_copy;
pub mod sync;
pub mod sys;
pub mod tcp;
pub mod tcp_connect;
