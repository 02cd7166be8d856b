//! Messages over a ring in shared memory.

use crate::comm::BUDGET;
use crate::error::{NetError, Result};
use crate::path::{Costs, Next, Path, Paths, SHORT};
use crate::peer::{Peer, Pulse};
use crate::polled::Polled;
use crate::request::{Queue, State};
use crate::ring::{Consumer, INLINE, Kind, MAX_MESSAGE, Memory, Message, Producer};
use crate::shm::Mapping;
use crate::single_copy::{Bounce, Fetch, Outcome, Push};
use crate::sys;

/// Bytes between two looks at the other side's index: a short message is cut so that
/// both ends work at it at the same time.
fn piece(len: usize) -> usize {
    let most = if len >= STREAMING { 128 << 10 } else { 32 << 10 };
    (len / 4).clamp(4 << 10, most)
}
/// Messages from this size on leave the ring past the cache.
const STREAMING: usize = 8 << 20;

/// The sending end.
#[derive(Debug)]
pub struct ShmSender {
    ring: Producer<Mapping>,
    peer: Peer,
    /// The receiver's process, 0 if it cannot be seen.
    pid: i32,
    pulse: Pulse,
    paths: Paths,
    polled: Polled,
    push: Push,
}

impl ShmSender {
    /// A sender on a fresh ring; `pid` is the receiver's.
    pub fn new(memory: Mapping, peer: Peer, pid: i32, paths: Paths, polled: Polled) -> Self {
        Self {
            ring: Producer::new(memory),
            peer,
            pid,
            pulse: Pulse::default(),
            paths,
            polled,
            push: Push::default(),
        }
    }

    /// Moves what can be moved.
    #[inline]
    pub fn progress(&mut self, queue: &mut Queue) -> Result<()> {
        if queue.is_empty() || self.push(queue)? || !self.pulse.is_due() {
            return Ok(());
        }
        let gone = self.ring.peer_closed() || self.peer.is_gone(self.ring.memory().fd());
        // What the peer took before it went still counts.
        if !gone || self.push(queue)? {
            return Ok(());
        }
        Err(gone_error("receiver"))
    }

    /// One round over the queue. True: something moved.
    #[inline]
    fn push(&mut self, queue: &mut Queue) -> Result<bool> {
        let mut moved = false;
        let mut budget = BUDGET;
        while !queue.is_empty() && budget > 0 {
            match queue.at(0).state {
                State::Queued => {
                    if !self.begin(queue, 0)? {
                        break;
                    }
                    if queue.at(0).state == State::Done {
                        queue.pop_done();
                    }
                }
                State::Parked(message) => match self.parked(queue, message)? {
                    Some(n) => budget = budget.saturating_sub(n),
                    None => {
                        moved |= self.park_more(queue)?;
                        break;
                    }
                },
                _ => match self.stream(queue)? {
                    0 => break,
                    n => budget = budget.saturating_sub(n),
                },
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Writes a piece of the oldest message into the ring.
    fn stream(&mut self, queue: &mut Queue) -> Result<usize> {
        let request = queue.at(0);
        let (left, len) = (request.len - request.moved, request.len);
        // SAFETY: NCCL keeps the buffer valid until `test` says done.
        let n = unsafe {
            let data = request.data.add(request.moved);
            self.ring.stream(data, left, piece(len))?
        };
        request.moved += n;
        if n == left {
            queue.pop_done();
        }
        Ok(n)
    }

    /// The oldest message is a rendezvous. `None`: nothing to do for it now.
    fn parked(&mut self, queue: &mut Queue, message: u64) -> Result<Option<usize>> {
        let request = queue.at(0);
        let (data, len) = (request.data, request.len);
        if self.ring.is_taken(message)? {
            queue.pop_done();
            return Ok(Some(0));
        }
        if self.ring.is_refused() {
            self.unpark(queue);
            return Ok(Some(0));
        }
        let memory = self.ring.memory();
        let is_gone = || self.peer.is_gone(memory.fd());
        let grant = &memory.control().grant;
        // SAFETY: NCCL keeps the buffer valid until `test` says done.
        let n = unsafe { self.push.step(grant, message, data, len, self.pid, is_gone)? };
        Ok((n > 0).then_some(n))
    }

    /// Announces a queued message. False: not possible now.
    #[inline]
    fn begin(&mut self, queue: &mut Queue, place: usize) -> Result<bool> {
        let waiting = queue.len();
        let request = queue.at(place);
        let (data, len, region) = (request.data, request.len, request.region);
        if len <= SHORT {
            // Written before it is announced.
            // SAFETY: NCCL keeps the buffer valid until `test` says done.
            let sent = unsafe {
                if len <= INLINE {
                    self.ring.inline(data, len)?
                } else {
                    self.ring.block(data, len)?
                }
            };
            if sent {
                request.state = State::Done;
            }
            return Ok(sent);
        }
        if len as u64 > MAX_MESSAGE {
            return Err(NetError::argument(format!("a message of {len} bytes: 2^40 at most")));
        }
        if !self.ring.has_slot()? {
            return Ok(false);
        }
        let next = Next { len, is_polled: self.polled.may_be(len, region), waiting };
        request.state = match self.paths.choose(next, self.ring.preference()) {
            Path::SingleCopy => State::Parked(self.ring.rendezvous(data as u64, len)),
            Path::Ring => {
                self.ring.begin_stream(len);
                State::Moving
            }
        };
        Ok(true)
    }

    /// Announces what follows an unfinished rendezvous, up to the first message that
    /// goes through the ring: nothing may enter the data area before it, should the
    /// receiver refuse it.
    fn park_more(&mut self, queue: &mut Queue) -> Result<bool> {
        let mut moved = false;
        for place in 1..queue.len() {
            let request = queue.at(place);
            match request.state {
                State::Parked(_) => {}
                State::Queued if self.paths.may_park(request.len) => {
                    if !self.begin(queue, place)? {
                        break;
                    }
                    moved = true;
                    if queue.at(place).state == State::Moving {
                        break;
                    }
                }
                _ => break,
            }
        }
        Ok(moved)
    }

    /// The receiver cannot read our memory: send what is announced through the ring.
    fn unpark(&mut self, queue: &mut Queue) {
        self.paths.forbid_single_copy();
        for place in 0..queue.len() {
            let request = queue.at(place);
            if matches!(request.state, State::Parked(_)) {
                request.state = State::Moving;
            }
        }
    }

    /// Tells the receiver.
    pub fn close(&mut self) {
        self.ring.close();
    }
}

/// A message under way.
#[derive(Debug)]
enum Taking {
    Inline,
    Block,
    Stream,
    /// `done` bytes of those at `from` of the sender went through the bounce buffer.
    Bounce {
        from: u64,
        done: usize,
    },
    Fetch(Fetch),
}

/// The receiving end.
#[derive(Debug)]
pub struct ShmReceiver {
    ring: Consumer<Mapping>,
    peer: Peer,
    /// The sender's process, 0 if it cannot be seen.
    pid: i32,
    pulse: Pulse,
    taking: Option<Taking>,
    /// The sender's memory is out of reach.
    refused: bool,
    /// Senders may write into our memory; no longer, once one could not.
    shared: bool,
    polled: Polled,
    bounce: Bounce,
    costs: Costs,
    /// When the message under way was first seen.
    begun_ns: u64,
}

impl ShmReceiver {
    /// A receiver on a fresh ring; `pid` is the sender's, 0 if its memory cannot be
    /// read.
    pub fn new(memory: Mapping, peer: Peer, pid: i32, costs: Costs, polled: Polled) -> Self {
        let ring = Consumer::new(memory);
        ring.prefer(costs.preference());
        Self {
            ring,
            peer,
            pid,
            pulse: Pulse::default(),
            taking: None,
            refused: pid <= 0,
            shared: true,
            polled,
            bounce: Bounce::default(),
            costs,
            begun_ns: 0,
        }
    }

    /// Moves what can be moved.
    #[inline]
    pub fn progress(&mut self, queue: &mut Queue) -> Result<()> {
        if queue.is_empty() || self.pull(queue)? || !self.pulse.is_due() {
            return Ok(());
        }
        // What the peer sent before it went is still good.
        if !self.is_gone() || self.pull(queue)? {
            return Ok(());
        }
        Err(gone_error("sender"))
    }

    fn is_gone(&self) -> bool {
        self.ring.peer_closed() || self.peer.is_gone(self.ring.memory().fd())
    }

    /// One round over the queue. True: something moved.
    #[inline]
    fn pull(&mut self, queue: &mut Queue) -> Result<bool> {
        let mut moved = false;
        let mut budget = BUDGET;
        while !queue.is_empty() && budget > 0 {
            let request = queue.at(0);
            if self.taking.is_none() {
                let Some(message) = self.ring.peek()? else { break };
                let len = message.len as usize;
                if len > request.len {
                    return Err(NetError::usage(format!(
                        "a message of {len} bytes came for a receive of {}: the ranks do not run \
                         the same collectives",
                        request.len
                    )));
                }
                request.len = len;
                request.state = State::Moving;
                self.taking = Some(self.begin(message, request.data, request.region));
                if len > SHORT {
                    self.begun_ns = sys::now_ns();
                }
            }
            let left = request.len - request.moved;
            // SAFETY: NCCL keeps the buffer valid until `test` says done, and the
            // message was held against its size.
            let n = unsafe {
                let dst = request.data.add(request.moved);
                match &mut self.taking {
                    Some(Taking::Inline) => {
                        self.ring.inline(dst, left);
                        left
                    }
                    Some(Taking::Block) => {
                        self.ring.block(dst, left);
                        left
                    }
                    Some(Taking::Fetch(fetch)) => {
                        let grant = &self.ring.memory().control().grant;
                        match fetch.step(grant, self.pid)? {
                            Outcome::Moved(0) => break,
                            Outcome::Moved(n) => {
                                budget = budget.saturating_sub(n);
                                moved = true;
                                continue;
                            }
                            Outcome::Complete => {
                                self.shared &= fetch.is_shared();
                                self.still_sending()?;
                                left
                            }
                            Outcome::Refused => {
                                self.refuse();
                                continue;
                            }
                        }
                    }
                    Some(Taking::Bounce { from, done }) => {
                        let (ring, peer) = (&self.ring, &self.peer);
                        let is_gone = || ring.peer_closed() || peer.is_gone(ring.memory().fd());
                        let (at, rest) = (from.wrapping_add(*done as u64), left - *done);
                        match self.bounce.step(self.pid, at, dst.add(*done), rest, is_gone)? {
                            Some(n) if n == rest => left,
                            Some(n) => {
                                *done += n;
                                budget = budget.saturating_sub(n);
                                moved = true;
                                continue;
                            }
                            None => {
                                self.refuse();
                                continue;
                            }
                        }
                    }
                    _ => {
                        let len = request.len;
                        let streaming =
                            len >= STREAMING && !self.polled.may_be(len, request.region);
                        self.ring.stream(dst, left, piece(len), streaming)?
                    }
                }
            };
            request.moved += n;
            budget = budget.saturating_sub(n);
            if n == left {
                let taken = self.taking.take();
                let straight = matches!(taken, Some(Taking::Fetch(_) | Taking::Bounce { .. }));
                self.ring.finish();
                if request.len > SHORT {
                    let path = if straight { Path::SingleCopy } else { Path::Ring };
                    self.costs.finished(path, request.len, self.begun_ns, sys::now_ns());
                    self.ring.prefer(self.costs.preference());
                }
                queue.pop_done();
            } else if n == 0 {
                break;
            }
            moved = true;
        }
        Ok(moved)
    }

    /// How an announced message is taken.
    #[inline]
    fn begin(&self, message: Message, to: *mut u8, region: usize) -> Taking {
        let len = message.len as usize;
        match message.kind {
            Kind::Inline => Taking::Inline,
            Kind::Block => Taking::Block,
            Kind::Rendezvous(_) if self.refused => Taking::Stream,
            Kind::Rendezvous(from) if self.polled.may_be(len, region) => {
                Taking::Bounce { from, done: 0 }
            }
            Kind::Rendezvous(from) => {
                let grant = &self.ring.memory().control().grant;
                Taking::Fetch(Fetch::new(self.ring.number(), from, to, len, grant, self.shared))
            }
            Kind::Stream => Taking::Stream,
        }
    }

    /// The sender's memory is out of reach: the message at hand, and all that follow,
    /// shall come through the ring.
    #[cold]
    fn refuse(&mut self) {
        self.refused = true;
        self.ring.refuse();
        self.taking = Some(Taking::Stream);
    }

    /// A rendezvous is only good if the sender held its buffer still to the end.
    fn still_sending(&self) -> Result<()> {
        if self.is_gone() { Err(gone_error("sender")) } else { Ok(()) }
    }

    /// Tells the sender, and takes our buffer back from it.
    pub fn close(&mut self) {
        self.ring.close();
        if let Some(Taking::Fetch(fetch)) = self.taking.take() {
            let memory = self.ring.memory();
            fetch.abandon(&memory.control().grant, || self.peer.is_gone(memory.fd()));
        }
    }
}

#[cold]
fn gone_error(who: &str) -> NetError {
    NetError::remote(format!(
        "the {who}'s process ended or closed the connection before all messages were over: look \
         for the first rank that failed"
    ))
}
