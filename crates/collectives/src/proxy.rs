//! A net plugin as NCCL's proxy thread drives it: sendProxyProgress and recvProxyProgress of
//! src/transport/net.cc, with a stand-in for the GPU that fills and empties the slots.
//!
//! Every rank sends to the next one over several channels. A channel has eight slots (NCCL_STEPS).
//! Large messages go as slices of 512 KiB (the Simple protocol's buffer of 4 MiB in eight steps), small
//! ones as LL lines: four bytes of data, four of flag, twice, up to 64 KiB of lines per slot.

use crate::buffer::Buffer;
use crate::data;
use crate::error::Error;
use crate::plugin::{Link, Net, Registration, Request};
use crate::progress::Progress;
use crate::rendezvous::Session;
use crate::ring;
use crate::schedule::chunk;

/// NCCL_STEPS.
const STEPS: usize = 8;
/// Bytes of a slot: one step of the Simple protocol's buffer.
const SLICE: usize = 512 << 10;
/// Most data of one channel that goes as LL lines.
const LL_DATA: usize = 32 << 10;
/// Bytes of a slot: one step of the LL protocol's buffer.
const LL_LINES: usize = 2 * LL_DATA;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Simple,
    Ll,
}

/// A protocol's buffer, registered by itself as NCCL does it.
struct Slots {
    buffer: Buffer,
    memory: Registration,
    /// Bytes of a slot.
    size: usize,
}

impl Slots {
    fn new(link: &mut Link<'_>, size: usize) -> Result<Slots, Error> {
        let buffer = Buffer::new(STEPS * size);
        let memory = link.register(&buffer)?;
        Ok(Slots { buffer, memory, size })
    }

    fn address(&self, slot: usize) -> *mut u8 {
        self.buffer.address(slot * self.size)
    }

    fn bytes(&self, slot: usize, len: usize) -> &[u8] {
        self.buffer.bytes(slot * self.size..slot * self.size + len)
    }

    fn bytes_mut(&mut self, slot: usize, len: usize) -> &mut [u8] {
        self.buffer.bytes_mut(slot * self.size..slot * self.size + len)
    }
}

/// One direction of one channel.
struct Sub<'a> {
    /// Dropped before the memory.
    link: Link<'a>,
    simple: Slots,
    ll: Slots,
    requests: [Option<Request>; STEPS],
    /// The connection's step at the start of this operation: slots go round.
    base: usize,
    posted: usize,
    /// Sent or received.
    passed: usize,
    done: usize,
}

/// What one operation moves over each channel.
#[derive(Clone, Copy)]
struct Operation {
    bytes: usize,
    channels: usize,
    protocol: Protocol,
    /// The seed of the data if it is to be looked at.
    seed: Option<u32>,
}

/// A rank's proxy.
pub struct Proxy<'a> {
    net: &'a Net,
    session: &'a Session,
    shared: bool,
    sends: Vec<Sub<'a>>,
    receives: Vec<Sub<'a>>,
}

impl Operation {
    /// Data bytes of a step, and where they start in the whole.
    fn step(&self, channel: usize, step: usize) -> std::ops::Range<usize> {
        let range = chunk(self.bytes, self.channels, channel);
        let each = if self.protocol == Protocol::Ll { LL_DATA } else { SLICE };
        let start = (range.start + step * each).min(range.end);
        start..(start + each).min(range.end)
    }

    fn steps(&self, channel: usize) -> usize {
        let each = if self.protocol == Protocol::Ll { LL_DATA } else { SLICE };
        chunk(self.bytes, self.channels, channel).len().div_ceil(each).max(1)
    }

    /// Bytes that go over the connection for this much data.
    fn wire(&self, data: usize) -> usize {
        if self.protocol == Protocol::Ll { data.div_ceil(8) * 16 } else { data }
    }
}

impl<'a> Proxy<'a> {
    /// Connects `channels` channels with both neighbours.
    pub fn new(
        net: &'a Net,
        session: &'a Session,
        shared: bool,
        channels: usize,
    ) -> Result<Proxy<'a>, Error> {
        let (sends, receives) = ring::connect(net, session, channels, shared)?;
        let subs = |links: Vec<Link<'a>>| -> Result<Vec<Sub<'a>>, Error> {
            links.into_iter().map(Sub::new).collect()
        };
        Ok(Proxy { net, session, shared, sends: subs(sends)?, receives: subs(receives)? })
    }

    /// Sends `bytes` bytes to the next rank and receives as many; wrong elements if there is a seed.
    pub fn run(&mut self, bytes: usize, seed: Option<u32>) -> Result<u64, Error> {
        let channels = self.sends.len();
        let small = bytes.div_ceil(channels) <= LL_DATA;
        let protocol = if small { Protocol::Ll } else { Protocol::Simple };
        let operation = Operation { bytes, channels, protocol, seed };
        let place = self.session.place();
        let before = (place.rank + place.ranks - 1) % place.ranks;
        let steps: Vec<usize> = (0..channels).map(|channel| operation.steps(channel)).collect();
        let mut progress = Progress::new(self.session, "moving data", self.shared);
        let mut wrong = 0;
        // One pass over the operations in the order in which NCCL appends them for a ring.
        loop {
            let mut moved = self.receive(&operation, before, &steps, &mut wrong)?;
            moved |= self.send(&operation, place.rank, &steps)?;
            let done =
                |subs: &[Sub]| subs.iter().zip(&steps).all(|(sub, &steps)| sub.done == steps);
            if done(&self.sends) && done(&self.receives) {
                break;
            }
            if moved {
                progress.moved();
            } else {
                progress.idle()?;
            }
        }
        for sub in self.sends.iter_mut().chain(&mut self.receives) {
            sub.base += sub.done;
            (sub.posted, sub.passed, sub.done) = (0, 0, 0);
        }
        Ok(wrong)
    }

    /// sendProxyProgress: for each channel at most one of posting, sending and completing.
    fn send(&mut self, op: &Operation, rank: usize, steps: &[usize]) -> Result<bool, Error> {
        let mut moved = false;
        for (channel, sub) in self.sends.iter_mut().enumerate() {
            let steps = steps[channel];
            if sub.done == steps {
                continue;
            }
            if sub.posted < steps && sub.posted < sub.done + STEPS {
                sub.fill(op, op.step(channel, sub.posted), rank);
                sub.posted += 1;
                moved = true;
                continue;
            }
            if sub.passed < sub.posted {
                let size = op.wire(op.step(channel, sub.passed).len());
                let (slot, step) = (sub.slot(sub.passed), sub.base + sub.passed);
                let ready = op.protocol == Protocol::Simple || sub.flags_are(slot, size, step);
                let mut request = None;
                if ready {
                    let slots = sub.slots(op.protocol);
                    // SAFETY: the slot is registered memory of this channel, and is filled again only
                    // after this send is complete. The link is dropped before the memory.
                    request = unsafe { sub.link.isend(slots.address(slot), size, slots.memory)? };
                }
                if request.is_some() {
                    sub.requests[slot] = request;
                    sub.passed += 1;
                    moved = true;
                    continue;
                }
            }
            if sub.done < sub.passed && sub.test(self.net, sub.done)?.is_some() {
                sub.done += 1;
                moved = true;
            }
        }
        Ok(moved)
    }

    /// recvProxyProgress: post to all channels; if nothing could be posted look for what arrived;
    /// if nothing did give it to the GPU.
    fn receive(
        &mut self,
        op: &Operation,
        before: usize,
        steps: &[usize],
        wrong: &mut u64,
    ) -> Result<bool, Error> {
        let mut moved = false;
        for (channel, sub) in self.receives.iter_mut().enumerate() {
            if sub.posted == steps[channel] || sub.posted >= sub.done + STEPS {
                continue;
            }
            let (slot, is_ll) = (sub.slot(sub.posted), op.protocol == Protocol::Ll);
            // NCCL offers the whole slot, whatever will come.
            let slots = sub.slots(op.protocol);
            // SAFETY: the slot is registered memory of this channel that is looked at only after
            // this receive is complete. The link is dropped before the memory.
            let request =
                unsafe { sub.link.irecv(slots.address(slot), slots.size, slots.memory, is_ll)? };
            if request.is_some() {
                sub.requests[slot] = request;
                sub.posted += 1;
                moved = true;
            }
        }
        if moved {
            return Ok(true);
        }
        for (channel, sub) in self.receives.iter_mut().enumerate() {
            if sub.passed == sub.posted {
                continue;
            }
            let Some(size) = sub.test(self.net, sub.passed)? else { continue };
            let expected = op.wire(op.step(channel, sub.passed).len());
            if size != expected {
                let what = format!("a message of {size} bytes where {expected} were sent");
                return Err(self.net.broken(what));
            }
            sub.passed += 1;
            moved = true;
        }
        if moved {
            return Ok(true);
        }
        for (channel, sub) in self.receives.iter_mut().enumerate() {
            if sub.done < sub.passed {
                *wrong += sub.empty(op, op.step(channel, sub.done), before);
                sub.done += 1;
                moved = true;
            }
        }
        Ok(moved)
    }
}

impl<'a> Sub<'a> {
    fn new(mut link: Link<'a>) -> Result<Sub<'a>, Error> {
        let simple = Slots::new(&mut link, SLICE)?;
        let ll = Slots::new(&mut link, LL_LINES)?;
        let requests = [None; STEPS];
        Ok(Sub { link, simple, ll, requests, base: 0, posted: 0, passed: 0, done: 0 })
    }

    fn slots(&self, protocol: Protocol) -> &Slots {
        match protocol {
            Protocol::Simple => &self.simple,
            Protocol::Ll => &self.ll,
        }
    }

    fn slots_mut(&mut self, protocol: Protocol) -> &mut Slots {
        match protocol {
            Protocol::Simple => &mut self.simple,
            Protocol::Ll => &mut self.ll,
        }
    }

    fn slot(&self, step: usize) -> usize {
        (self.base + step) % STEPS
    }

    fn test(&self, net: &Net, step: usize) -> Result<Option<usize>, Error> {
        let Some(request) = self.requests[self.slot(step)] else { return Ok(None) };
        // SAFETY: a request of this open link that has not been seen complete: the callers count a
        // complete one at once and do not come back to its step.
        unsafe { net.test(request, self.link.peer()) }
    }

    /// The GPU of the sender: data into the slot of the step that is posted next.
    fn fill(&mut self, op: &Operation, range: std::ops::Range<usize>, rank: usize) {
        let (slot, flag) = (self.slot(self.posted), flag(self.base + self.posted));
        let place = self.slots_mut(op.protocol).bytes_mut(slot, op.wire(range.len()));
        match op.protocol {
            Protocol::Simple => {
                if let Some(seed) = op.seed {
                    data::fill_bytes(place, range.start, seed, rank);
                }
            }
            Protocol::Ll => {
                let mut data = vec![0; place.len() / 2];
                data::fill_bytes(&mut data[..range.len()], range.start, op.seed.unwrap_or(0), rank);
                for (to, from) in place.chunks_exact_mut(8).zip(data.chunks_exact(4)) {
                    to[..4].copy_from_slice(from);
                    to[4..].copy_from_slice(&flag);
                }
            }
        }
    }

    /// The GPU of the receiver: wrong elements in the slot of the step that is done next.
    fn empty(&mut self, op: &Operation, range: std::ops::Range<usize>, rank: usize) -> u64 {
        let (slot, step) = (self.slot(self.done), self.base + self.done);
        let size = op.wire(range.len());
        let wrong = match (op.protocol, op.seed) {
            (Protocol::Simple, None) => 0,
            (Protocol::Simple, Some(seed)) => {
                data::wrong_bytes(self.simple.bytes(slot, size), range.start, seed, rank)
            }
            (Protocol::Ll, seed) => {
                let lines = self.ll.bytes(slot, size);
                let mut data: Vec<u8> =
                    lines.chunks_exact(8).flat_map(|half| &half[..4]).copied().collect();
                data.truncate(range.len());
                let seed = seed.unwrap_or(0);
                let flags = u64::from(!self.flags_are(slot, size, step));
                data::wrong_bytes(&data, range.start, seed, rank) + flags
            }
        };
        // Stale data must not pass for the next message in this slot.
        if op.seed.is_some() || op.protocol == Protocol::Ll {
            self.slots_mut(op.protocol).bytes_mut(slot, size).fill(0xff);
        }
        wrong
    }

    /// Whether all LL flags of a slot are those of this step.
    fn flags_are(&self, slot: usize, size: usize, step: usize) -> bool {
        let lines = self.ll.bytes(slot, size);
        lines.chunks_exact(8).all(|half| half[4..] == flag(step))
    }
}

/// NCCL_LL_FLAG of a step, as it lies in memory.
fn flag(step: usize) -> [u8; 4] {
    (step as u32 + 1).to_le_bytes()
}
