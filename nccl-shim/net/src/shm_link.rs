//! Messages over a ring in shared memory.

use crate::error::{NetError, Result};
use crate::path::{Path, Paths};
use crate::peer::{Peer, Pulse};
use crate::request::{Queue, State};
use crate::ring::{Consumer, INLINE, Kind, MAX_MESSAGE, Producer};
use crate::shm::Mapping;
use crate::single_copy;

use crate::comm::BUDGET;

/// Messages up to this size are written before they are announced.
const BLOCK: usize = 8 << 10;
/// Bytes between two looks at the other side's index.
const PIECE: usize = 32 << 10;

/// The sending end.
#[derive(Debug)]
pub struct ShmSender {
    ring: Producer<Mapping>,
    peer: Peer,
    pulse: Pulse,
    paths: Paths,
}

impl ShmSender {
    /// A sender on a fresh ring.
    pub fn new(memory: Mapping, peer: Peer, paths: Paths) -> Self {
        Self { ring: Producer::new(memory), peer, pulse: Pulse::default(), paths }
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
            let request = queue.at(0);
            match request.state {
                State::Queued => {
                    if !self.begin(queue, 0)? {
                        break;
                    }
                    if queue.at(0).state == State::Done {
                        queue.pop_done();
                    }
                }
                State::Parked(number) => {
                    if self.ring.is_taken(number)? {
                        self.paths.finished(Path::SingleCopy, request.len);
                        queue.pop_done();
                    } else if self.ring.is_refused() {
                        self.unpark(queue);
                    } else {
                        moved |= self.park_more(queue)?;
                        break;
                    }
                }
                _ => {
                    let left = request.len - request.moved;
                    let large = request.len >= self.paths.streaming_from();
                    // SAFETY: NCCL keeps the buffer valid until `test` says done.
                    let n = unsafe {
                        self.ring.stream(request.data.add(request.moved), left, PIECE, large)?
                    };
                    if n == 0 {
                        break;
                    }
                    request.moved += n;
                    budget = budget.saturating_sub(n);
                    if n == left {
                        self.paths.finished(Path::Ring, request.len);
                        queue.pop_done();
                    }
                }
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Announces a queued message. False: not possible now.
    #[inline]
    fn begin(&mut self, queue: &mut Queue, place: usize) -> Result<bool> {
        let request = queue.at(place);
        let (data, len) = (request.data, request.len);
        if len <= BLOCK {
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
        request.state = match self.paths.choose(len) {
            Path::SingleCopy => State::Parked(self.ring.rendezvous(data as u64, len)),
            Path::Ring => {
                self.ring.begin_stream(len);
                State::Moving
            }
        };
        Ok(true)
    }

    /// Behind an unfinished rendezvous only further ones may be announced: nothing
    /// may enter the data area before it, should the receiver refuse it.
    fn park_more(&mut self, queue: &mut Queue) -> Result<bool> {
        let mut moved = false;
        for place in 1..queue.len() {
            let request = queue.at(place);
            match request.state {
                State::Parked(_) => {}
                State::Queued if self.paths.would_choose(request.len) == Path::SingleCopy => {
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

/// The receiving end.
#[derive(Debug)]
pub struct ShmReceiver {
    ring: Consumer<Mapping>,
    peer: Peer,
    pid: i32,
    pulse: Pulse,
    /// The message under way, once it is known.
    kind: Option<Kind>,
    refused: bool,
}

impl ShmReceiver {
    /// A receiver on a fresh ring; `pid` is the sender's.
    pub fn new(memory: Mapping, peer: Peer, pid: i32) -> Self {
        let ring = Consumer::new(memory);
        Self { ring, peer, pid, pulse: Pulse::default(), kind: None, refused: false }
    }

    /// Moves what can be moved.
    #[inline]
    pub fn progress(&mut self, queue: &mut Queue) -> Result<()> {
        if queue.is_empty() || self.pull(queue)? || !self.pulse.is_due() {
            return Ok(());
        }
        let gone = self.ring.peer_closed() || self.peer.is_gone(self.ring.memory().fd());
        // What the peer sent before it went is still good.
        if !gone || self.pull(queue)? {
            return Ok(());
        }
        Err(gone_error("sender"))
    }

    /// One round over the queue. True: something moved.
    #[inline]
    fn pull(&mut self, queue: &mut Queue) -> Result<bool> {
        let mut moved = false;
        let mut budget = BUDGET;
        while !queue.is_empty() && budget > 0 {
            let request = queue.at(0);
            let kind = match self.kind {
                Some(kind) => kind,
                None => {
                    let Some(message) = self.ring.peek()? else { break };
                    let len = message.len as usize;
                    if len > request.len {
                        return Err(NetError::usage(format!(
                            "a message of {len} bytes came for a receive of {}: the ranks do \
                             not run the same collectives",
                            request.len
                        )));
                    }
                    request.len = len;
                    request.state = State::Moving;
                    *self.kind.insert(message.kind)
                }
            };
            let left = request.len - request.moved;
            // SAFETY: NCCL keeps the buffer valid until `test` says done, and the
            // message was held against its size.
            let n = unsafe {
                let dst = request.data.add(request.moved);
                match kind {
                    Kind::Inline => {
                        self.ring.inline(dst, left);
                        left
                    }
                    Kind::Block => {
                        self.ring.block(dst, left);
                        left
                    }
                    Kind::Stream => self.ring.stream(dst, left, PIECE)?,
                    Kind::Rendezvous(_) if self.refused => {
                        request.moved = 0;
                        self.kind = Some(Kind::Stream);
                        continue;
                    }
                    Kind::Rendezvous(address) => {
                        let from = address.wrapping_add(request.moved as u64);
                        match single_copy::fetch(self.pid, dst, from, left) {
                            Some(n) => n,
                            None => {
                                self.refused = true;
                                self.ring.refuse();
                                continue;
                            }
                        }
                    }
                }
            };
            request.moved += n;
            budget = budget.saturating_sub(n);
            if n < left {
                if n == 0 {
                    break;
                }
            } else {
                if matches!(kind, Kind::Rendezvous(_)) {
                    self.still_sending()?;
                }
                self.kind = None;
                self.ring.finish();
                queue.pop_done();
            }
            moved = true;
        }
        Ok(moved)
    }

    /// A rendezvous is only good if the sender held its buffer still to the end.
    fn still_sending(&self) -> Result<()> {
        if self.ring.peer_closed() || self.peer.is_gone(self.ring.memory().fd()) {
            return Err(gone_error("sender"));
        }
        Ok(())
    }

    /// Tells the sender.
    pub fn close(&mut self) {
        self.ring.close();
    }
}

#[cold]
fn gone_error(who: &str) -> NetError {
    NetError::remote(format!(
        "the {who}'s process ended or closed the connection before all messages were over: look \
         for the first rank that failed"
    ))
}
