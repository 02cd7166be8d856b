//! The ring algorithms as data: which bytes a rank sends to the next rank and receives from the one
//! before, in which order, and what has to be done first.
//!
//! Pure. Chunks travel in slices, so that a slice can be passed on while the next one arrives.

use std::ops::Range;

/// The collective operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collective {
    /// Every rank gets the sum over all ranks.
    AllReduce,
    /// Every rank gets every rank's part.
    AllGather,
    /// Every rank gets its part of the sum.
    ReduceScatter,
    /// Every rank gets what rank 0 has.
    Broadcast,
    /// Every rank sends all to the next one, into a second place of its buffer.
    SendRecv,
}

/// What becomes of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Added to what lies in their place, as floats.
    Add,
    /// Put in their place.
    Store,
}

/// One message to the next rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Bytes of the buffer.
    pub range: Range<usize>,
    /// How many receives must be complete first.
    pub after_receives: usize,
}

/// One message from the rank before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receive {
    /// Bytes of the buffer.
    pub range: Range<usize>,
    /// What to do with them.
    pub action: Action,
    /// How many sends must be complete before anything may be put in this place.
    pub after_sends: usize,
}

/// All messages of one rank for one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To the next rank, in order.
    pub sends: Vec<Send>,
    /// From the rank before, in order.
    pub receives: Vec<Receive>,
}

/// Bytes of chunk `index` of `parts`. Boundaries are whole floats, and whole cache lines if there is
/// enough; the last chunks may be shorter or empty.
pub fn chunk(bytes: usize, parts: usize, index: usize) -> Range<usize> {
    const LINE: usize = 64;
    let unit = if bytes >= parts * LINE { LINE } else { size_of::<f32>() };
    let each = bytes.div_ceil(parts).next_multiple_of(unit);
    (index * each).min(bytes)..((index + 1) * each).min(bytes)
}

/// Where the received bytes of [`Collective::SendRecv`] start.
pub fn second_place(bytes: usize) -> usize {
    bytes.next_multiple_of(4096)
}

/// Bytes of buffer that an operation of this size needs.
pub fn buffer_size(collective: Collective, bytes: usize) -> usize {
    match collective {
        Collective::SendRecv => second_place(bytes) + bytes,
        _ => bytes,
    }
}

/// The slices of a chunk; an empty chunk is one empty message.
fn slices(range: Range<usize>, slice: usize) -> impl Iterator<Item = Range<usize>> {
    let count = range.len().div_ceil(slice).max(1);
    (0..count).map(move |index| {
        let start = range.start + index * slice;
        start..(start + slice).min(range.end)
    })
}

/// The messages of `rank` of `ranks` over `bytes` bytes.
///
/// A single rank has nothing to send, except for [`Collective::SendRecv`], which needs two ranks.
pub fn plan(collective: Collective, rank: usize, ranks: usize, bytes: usize, slice: usize) -> Plan {
    let mut builder = Builder { bytes, ranks, slice, ..Builder::default() };
    // Chunk numbers count backwards round the ring: what a rank receives now it sends next.
    let back = |steps: usize| (rank + 2 * ranks - steps) % ranks;
    match collective {
        Collective::AllReduce => {
            for step in 0..ranks - 1 {
                builder.step(back(step), back(step + 1), Action::Add);
            }
            for step in 0..ranks - 1 {
                builder.step((rank + 1 + ranks - step) % ranks, back(step), Action::Store);
            }
        }
        Collective::AllGather => {
            for step in 0..ranks - 1 {
                builder.step(back(step), back(step + 1), Action::Store);
            }
        }
        // One chunk further back, so that the last sum is the rank's own part.
        Collective::ReduceScatter => {
            for step in 0..ranks - 1 {
                builder.step(back(step + 1), back(step + 2), Action::Add);
            }
        }
        Collective::Broadcast => builder.pass_on(rank),
        Collective::SendRecv => builder.exchange(),
    }
    builder.plan
}

#[derive(Default)]
struct Builder {
    bytes: usize,
    ranks: usize,
    slice: usize,
    plan: Plan,
    /// For each chunk the index of its first slice among the receives that are in the plan.
    received: Vec<Option<usize>>,
    /// The same among the sends.
    sent: Vec<Option<usize>>,
}

impl Builder {
    /// One step of a ring algorithm: a chunk goes, a chunk comes.
    fn step(&mut self, send: usize, receive: usize, action: Action) {
        self.received.resize(self.ranks, None);
        self.sent.resize(self.ranks, None);
        let first = self.plan.sends.len();
        for (index, range) in slices(self.chunk(send), self.slice).enumerate() {
            let after_receives = self.received[send].map_or(0, |first| first + index + 1);
            self.plan.sends.push(Send { range, after_receives });
        }
        self.sent[send] = Some(first);
        let first = self.plan.receives.len();
        for (index, range) in slices(self.chunk(receive), self.slice).enumerate() {
            let after_sends = self.sent[receive].map_or(0, |first| first + index + 1);
            self.plan.receives.push(Receive { range, action, after_sends });
        }
        self.received[receive] = Some(first);
    }

    fn chunk(&self, index: usize) -> Range<usize> {
        chunk(self.bytes, self.ranks, index)
    }

    /// Broadcast: from rank 0 along the ring to the last rank.
    fn pass_on(&mut self, rank: usize) {
        for (index, range) in slices(0..self.bytes, self.slice).enumerate() {
            if rank > 0 {
                let (range, action) = (range.clone(), Action::Store);
                self.plan.receives.push(Receive { range, action, after_sends: 0 });
            }
            if rank + 1 < self.ranks {
                let after_receives = if rank > 0 { index + 1 } else { 0 };
                self.plan.sends.push(Send { range, after_receives });
            }
        }
    }

    fn exchange(&mut self) {
        let second = second_place(self.bytes);
        for range in slices(0..self.bytes, self.slice) {
            self.plan.sends.push(Send { range: range.clone(), after_receives: 0 });
            let range = range.start + second..range.end + second;
            self.plan.receives.push(Receive { range, action: Action::Store, after_sends: 0 });
        }
    }
}

#[cfg(test)]
mod tests;
