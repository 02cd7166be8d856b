//! The ring: one producer, one consumer, one connection.
//!
//! A message is announced by a **slot**, one of [`SLOTS`] fixed places outside the
//! data area, so that no payload can ever look like an announcement. A slot's
//! sequence number is stored last. Payload travels in one of four ways:
//!
//! | kind | payload | used for |
//! |---|---|---|
//! | inline | in the slot | up to [`INLINE`] bytes: one or two cache lines move |
//! | block | in the data area, whole before the announcement | short messages |
//! | stream | in the data area, while the consumer takes it out | long messages |
//! | rendezvous | not at all: the slot holds the sender's address | single copy |
//!
//! Positions in the data area are byte counts that only grow; their difference is
//! what the ring holds. Each side keeps its own positions in private memory and
//! reads the other's as advice from a stranger: a value outside of what the
//! protocol allows is an error, never an index.

use crate::error::{NetError, Result};
use crate::grant::Grant;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Messages that can be announced and not yet taken. NCCL has at most 32 in
/// flight.
pub const SLOTS: usize = if cfg!(feature = "loom") { 2 } else { 64 };
const INLINE_WORDS: usize = if cfg!(feature = "loom") { 1 } else { 14 };
/// The longest payload of a slot, in bytes.
pub const INLINE: usize = INLINE_WORDS * 8;
/// Payloads start on a cache line.
pub const ALIGN: usize = if cfg!(feature = "loom") { 8 } else { 64 };
/// Longer messages are nonsense: NCCL's own limit is 2^40.
pub const MAX_MESSAGE: u64 = 1 << 40;

const KIND_SHIFT: u32 = 62;
const LEN_MASK: u64 = (1 << KIND_SHIFT) - 1;

/// Written by the sender only.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct ProducerLine {
    /// Bytes of streams published.
    pub head: AtomicU64,
    /// Not 0: the sender closed its end.
    pub closed: AtomicU32,
}

/// Written by the receiver only.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct ConsumerLine {
    /// Bytes taken out of the data area.
    pub tail: AtomicU64,
    /// Messages taken.
    pub taken: AtomicU64,
    /// Not 0: the receiver closed its end.
    pub closed: AtomicU32,
    /// Not 0: the receiver cannot read the sender's memory.
    pub refused: AtomicU32,
    /// What the receiver prefers, see [`crate::path`].
    pub preference: AtomicU32,
}

/// One announcement. Two cache lines: the processor fetches them in pairs.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Slot {
    seq: AtomicU64,
    word: AtomicU64,
    inline: [AtomicU64; INLINE_WORDS],
}

/// The shared part but for the data.
#[repr(C)]
#[derive(Debug)]
pub struct Control {
    /// The sender's line.
    pub producer: ProducerLine,
    /// The receiver's line.
    pub consumer: ConsumerLine,
    /// The rendezvous under way.
    pub grant: Grant,
    /// The announcements.
    pub slots: [Slot; SLOTS],
}

impl Default for Control {
    fn default() -> Self {
        Self {
            producer: ProducerLine::default(),
            consumer: ConsumerLine::default(),
            grant: Grant::default(),
            slots: std::array::from_fn(|_| Slot::default()),
        }
    }
}

/// Where a ring lives: shared memory, or a model of it in tests.
pub trait Memory {
    /// The shared indices and slots.
    fn control(&self) -> &Control;

    /// Size of the data area, a multiple of [`ALIGN`]. Never read from shared memory.
    fn capacity(&self) -> usize;

    /// Copies into the data area.
    ///
    /// # Safety
    /// `src` must be readable for `len` bytes, and `offset + len` within the
    /// capacity.
    unsafe fn write(&self, offset: usize, src: *const u8, len: usize);

    /// Copies out of the data area, forward; `streaming` allows stores past the
    /// cache.
    ///
    /// # Safety
    /// `dst` must be writable for `len` bytes, and `offset + len` within the
    /// capacity.
    unsafe fn read(&self, offset: usize, dst: *mut u8, len: usize, streaming: bool);
}

/// How a message's payload travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In the slot.
    Inline,
    /// In the data area, complete.
    Block,
    /// In the data area, piece by piece.
    Stream,
    /// In the sender's memory, at this address.
    Rendezvous(u64),
}

/// An announcement, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Payload in bytes.
    pub len: u64,
    /// How it travels.
    pub kind: Kind,
}

fn padded(len: u64) -> u64 {
    len.next_multiple_of(ALIGN as u64)
}

#[cold]
pub(crate) fn broken(what: &str) -> NetError {
    NetError::remote(format!(
        "the peer wrote a wrong {what} into the ring: it is broken or hostile: its messages are \
         no longer taken"
    ))
}

/// The sending end.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    /// Messages announced.
    next: u64,
    /// Bytes written to the data area.
    pos: u64,
    tail: u64,
    taken: u64,
}

impl<M: Memory> Producer<M> {
    /// The sending end of a fresh ring.
    pub fn new(memory: M) -> Self {
        Self { memory, next: 0, pos: 0, tail: 0, taken: 0 }
    }

    /// Where the ring lives.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Reads the receiver's indices; both may only grow up to ours.
    fn refresh(&mut self) -> Result<()> {
        let line = &self.memory.control().consumer;
        let tail = line.tail.load(Ordering::Acquire);
        let taken = line.taken.load(Ordering::Acquire);
        if tail < self.tail || tail > self.pos || taken < self.taken || taken > self.next {
            return Err(broken("index"));
        }
        (self.tail, self.taken) = (tail, taken);
        Ok(())
    }

    /// Whether a message can be announced now.
    #[inline]
    pub fn has_slot(&mut self) -> Result<bool> {
        if self.next - self.taken >= SLOTS as u64 {
            self.refresh()?;
        }
        Ok(self.next - self.taken < SLOTS as u64)
    }

    fn room(&mut self, wanted: u64) -> Result<u64> {
        let capacity = self.memory.capacity() as u64;
        if capacity - (self.pos - self.tail) < wanted {
            self.refresh()?;
        }
        Ok(capacity - (self.pos - self.tail))
    }

    #[inline]
    fn slot(&self) -> &Slot {
        &self.memory.control().slots[self.next as usize % SLOTS]
    }

    #[inline]
    fn announce(&mut self, kind: u64, len: usize) {
        let slot = self.slot();
        slot.word.store(kind << KIND_SHIFT | len as u64, Ordering::Relaxed);
        slot.seq.store(self.next + 1, Ordering::Release);
        self.next += 1;
    }

    /// Sends a message of at most [`INLINE`] bytes. False: no slot is free.
    ///
    /// # Safety
    /// `src` must be readable for `len` bytes.
    #[inline]
    pub unsafe fn inline(&mut self, src: *const u8, len: usize) -> Result<bool> {
        if !self.has_slot()? {
            return Ok(false);
        }
        let mut words = [0u64; INLINE_WORDS];
        // SAFETY: the caller vouches for `src`; `len` is at most the array's size.
        unsafe {
            std::ptr::copy_nonoverlapping(src, words.as_mut_ptr().cast(), len.min(INLINE));
        }
        let slot = self.slot();
        for (place, word) in slot.inline.iter().zip(words).take(len.div_ceil(8)) {
            place.store(word, Ordering::Relaxed);
        }
        self.announce(0, len);
        Ok(true)
    }

    /// Sends a message that fits into the ring as a whole. False: no room yet.
    ///
    /// # Safety
    /// `src` must be readable for `len` bytes.
    pub unsafe fn block(&mut self, src: *const u8, len: usize) -> Result<bool> {
        let size = padded(len as u64);
        if !self.has_slot()? || self.room(size)? < size {
            return Ok(false);
        }
        // SAFETY: the caller vouches for `src`; `len` bytes are free.
        unsafe { self.put(src, len) };
        self.pos += size;
        self.announce(1, len);
        Ok(true)
    }

    /// Announces a message whose payload follows through [`Self::stream`]. Call only
    /// with a free slot.
    pub fn begin_stream(&mut self, len: usize) {
        self.announce(2, len);
    }

    /// Announces a message that the receiver fetches from `address` by itself. Call
    /// only with a free slot. Returns the number to ask [`Self::is_taken`] for.
    pub fn rendezvous(&mut self, address: u64, len: usize) -> u64 {
        self.slot().inline[0].store(address, Ordering::Relaxed);
        self.announce(3, len);
        self.next
    }

    /// Whether the receiver has taken the first `count` messages.
    pub fn is_taken(&mut self, count: u64) -> Result<bool> {
        if self.taken < count {
            self.refresh()?;
        }
        Ok(self.taken >= count)
    }

    /// Writes the next bytes of the message under way, at most `piece` of the `len`
    /// that are left. Returns how many; 0 is: no room now.
    ///
    /// # Safety
    /// `src` must be readable for `len` bytes.
    pub unsafe fn stream(&mut self, src: *const u8, len: usize, piece: usize) -> Result<usize> {
        let wanted = len.min(piece);
        let room = self.room(wanted as u64)?;
        let mut now = wanted.min(room as usize);
        if now < len {
            now &= !(ALIGN - 1);
        }
        if now == 0 {
            return Ok(0);
        }
        // SAFETY: the caller vouches for `src`; `now` bytes are free.
        unsafe { self.put(src, now) };
        self.pos += padded(now as u64);
        self.memory.control().producer.head.store(self.pos, Ordering::Release);
        Ok(now)
    }

    /// # Safety
    /// `src` must be readable for `len` bytes, and `len` at most the capacity.
    unsafe fn put(&self, src: *const u8, len: usize) {
        let capacity = self.memory.capacity();
        let at = (self.pos % capacity as u64) as usize;
        let first = len.min(capacity - at);
        // SAFETY: both parts end within the capacity.
        unsafe {
            self.memory.write(at, src, first);
            if first < len {
                self.memory.write(0, src.add(first), len - first);
            }
        }
    }

    /// Whether the receiver closed its end.
    pub fn peer_closed(&self) -> bool {
        self.memory.control().consumer.closed.load(Ordering::Acquire) != 0
    }

    /// Whether the receiver wants every rendezvous that it has not taken as a stream.
    pub fn is_refused(&self) -> bool {
        self.memory.control().consumer.refused.load(Ordering::Acquire) != 0
    }

    /// The receiver's preference. Only advice: any value is good.
    pub fn preference(&self) -> u32 {
        self.memory.control().consumer.preference.load(Ordering::Relaxed)
    }

    /// Tells the receiver that nothing follows.
    pub fn close(&self) {
        self.memory.control().producer.closed.store(1, Ordering::Release);
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    /// Messages taken.
    next: u64,
    /// Bytes taken.
    pos: u64,
    head: u64,
}

impl<M: Memory> Consumer<M> {
    /// The receiving end of a fresh ring.
    pub fn new(memory: M) -> Self {
        Self { memory, next: 0, pos: 0, head: 0 }
    }

    /// Where the ring lives.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    #[inline]
    fn slot(&self) -> &Slot {
        &self.memory.control().slots[self.next as usize % SLOTS]
    }

    /// The next message, if it is announced.
    #[inline]
    pub fn peek(&self) -> Result<Option<Message>> {
        let slot = self.slot();
        let seq = slot.seq.load(Ordering::Acquire);
        let expected = self.next + 1;
        if seq != expected {
            let before = expected.saturating_sub(SLOTS as u64);
            return if seq == before { Ok(None) } else { Err(broken("sequence number")) };
        }
        let word = slot.word.load(Ordering::Relaxed);
        let len = word & LEN_MASK;
        let (kind, limit) = match word >> KIND_SHIFT {
            0 => (Kind::Inline, INLINE as u64),
            1 => (Kind::Block, self.memory.capacity() as u64),
            2 => (Kind::Stream, MAX_MESSAGE),
            _ => (Kind::Rendezvous(slot.inline[0].load(Ordering::Relaxed)), MAX_MESSAGE),
        };
        if len > limit {
            return Err(broken("length"));
        }
        Ok(Some(Message { len, kind }))
    }

    /// Takes the payload of an inline message out, not yet the message.
    ///
    /// # Safety
    /// `dst` must be writable for `len` bytes.
    #[inline]
    pub unsafe fn inline(&self, dst: *mut u8, len: usize) {
        let mut words = [0u64; INLINE_WORDS];
        for (word, place) in words.iter_mut().zip(&self.slot().inline).take(len.div_ceil(8)) {
            *word = place.load(Ordering::Relaxed);
        }
        // SAFETY: the caller vouches for `dst`; `len` is at most the array's size.
        unsafe { crate::copy::forward(dst, words.as_ptr().cast(), len.min(INLINE)) };
    }

    /// Takes the payload of a block message out, not yet the message.
    ///
    /// # Safety
    /// `dst` must be writable for `len` bytes; `len` as announced.
    pub unsafe fn block(&mut self, dst: *mut u8, len: usize) {
        // SAFETY: `peek` held `len` against the capacity.
        unsafe { self.get(dst, len, false) };
        self.pos += padded(len as u64);
        self.head = self.head.max(self.pos);
        self.memory.control().consumer.tail.store(self.pos, Ordering::Release);
    }

    /// Takes the next bytes of the message under way, at most `piece` of the `len`
    /// that are left. Returns how many; 0 is: none there now. `streaming` allows
    /// stores past the cache.
    ///
    /// # Safety
    /// `dst` must be writable for `len` bytes.
    pub unsafe fn stream(
        &mut self,
        dst: *mut u8,
        len: usize,
        piece: usize,
        streaming: bool,
    ) -> Result<usize> {
        let wanted = len.min(piece) as u64;
        if self.head - self.pos < wanted {
            let head = self.memory.control().producer.head.load(Ordering::Acquire);
            // The sender publishes streams only: blocks in between may have
            // carried us past its last word.
            if head > self.head {
                if head - self.pos > self.memory.capacity() as u64 {
                    return Err(broken("index"));
                }
                self.head = head;
            }
        }
        let mut now = wanted.min(self.head - self.pos) as usize;
        if now < len {
            now &= !(ALIGN - 1);
        }
        if now == 0 {
            return Ok(0);
        }
        // SAFETY: `now` is at most the capacity, as head was checked.
        unsafe { self.get(dst, now, streaming) };
        self.pos += padded(now as u64);
        self.head = self.head.max(self.pos);
        self.memory.control().consumer.tail.store(self.pos, Ordering::Release);
        Ok(now)
    }

    /// # Safety
    /// `dst` must be writable for `len` bytes, and `len` at most the capacity.
    unsafe fn get(&self, dst: *mut u8, len: usize, streaming: bool) {
        let capacity = self.memory.capacity();
        let at = (self.pos % capacity as u64) as usize;
        let first = len.min(capacity - at);
        // SAFETY: both parts end within the capacity.
        unsafe {
            self.memory.read(at, dst, first, streaming);
            if first < len {
                self.memory.read(0, dst.add(first), len - first, streaming);
            }
        }
    }

    /// The number of the message at hand, as [`Producer::rendezvous`] gave it.
    pub fn number(&self) -> u64 {
        self.next + 1
    }

    /// The message is taken: its slot is free, a rendezvous is over.
    #[inline]
    pub fn finish(&mut self) {
        self.next += 1;
        self.memory.control().consumer.taken.store(self.next, Ordering::Release);
    }

    /// Whether the sender closed its end. What it announced before stays valid.
    pub fn peer_closed(&self) -> bool {
        self.memory.control().producer.closed.load(Ordering::Acquire) != 0
    }

    /// Tells the sender which way messages shall take.
    pub fn prefer(&self, preference: u32) {
        self.memory.control().consumer.preference.store(preference, Ordering::Relaxed);
    }

    /// Asks for every rendezvous from the present message on as a stream.
    pub fn refuse(&self) {
        self.memory.control().consumer.refused.store(1, Ordering::Release);
    }

    /// Tells the sender that nothing more is taken.
    pub fn close(&self) {
        self.memory.control().consumer.closed.store(1, Ordering::Release);
    }
}
