//! Which way a message takes: two copies through the ring, or one by the receiver.

use crate::single_copy;

/// A way for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Through the ring.
    Ring,
    /// The receiver reads our memory.
    SingleCopy,
}

/// The choice by message size.
#[derive(Debug)]
pub struct Paths {
    single_copy: bool,
}

impl Paths {
    /// `single_copy`: the receiver's probe went well.
    pub fn new(single_copy: bool) -> Self {
        Self { single_copy }
    }

    /// The way for the next message of `len` bytes.
    pub fn choose(&mut self, len: usize) -> Path {
        self.would_choose(len)
    }

    /// As [`Self::choose`], without counting it.
    pub fn would_choose(&self, len: usize) -> Path {
        if self.single_copy && len >= single_copy::MIN_MESSAGE {
            Path::SingleCopy
        } else {
            Path::Ring
        }
    }

    /// A message of `len` bytes is over.
    pub fn finished(&mut self, _path: Path, _len: usize) {}

    /// The receiver cannot read this process's memory after all.
    pub fn forbid_single_copy(&mut self) {
        self.single_copy = false;
    }

    /// Messages from this size on are written past the cache.
    pub fn streaming_from(&self) -> usize {
        4 << 20
    }
}
