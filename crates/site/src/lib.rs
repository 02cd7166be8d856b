//! The files around a Flex-MIG site: flexmig.toml, slurm.conf, layout files and the index file.
//!
//! [`flexmig_core`] knows what they say; this crate knows where they are, reads them, replaces them
//! whole and tells when one has changed.
//!
//! | question | answer |
//! |---|---|
//! | where is slurm.conf, flexmig.toml, the index file of this node? | [`Surroundings`], [`index_file_path`] |
//! | what do all of them say, and has one changed since? | [`Site::load`], [`Site::is_outdated`] |
//! | what does one of them say? | [`load_policy`], [`load_slurm_conf`], [`load_layouts`] |
//! | how is a file replaced so that no reader sees half of it? | [`write_atomically`] |
//!
//! Where the files are depends only on a [`Surroundings`] value, so a test can have its own.
#![forbid(unsafe_code)]

mod files;
mod load;
mod surroundings;

pub use files::{Stamp, read, stamp, write_atomically};
pub use load::{LayoutFile, PolicyState, Site, load_layouts, load_policy, load_slurm_conf};
pub use surroundings::{Surroundings, hostname, index_file_path, spool_dir};
