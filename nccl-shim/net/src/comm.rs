//! A connection as NCCL sees it: requests in a queue, and a link that moves them.
//!
//! Nothing happens in the background. Every `isend`, `irecv` and `test` of a
//! connection moves what can be moved, up to [`BUDGET`] bytes, then returns. NCCL
//! calls one connection from one thread at a time.

use crate::error::{NetError, Result};
use crate::request::{Queue, Region, Request, State};
use crate::shm_link::{ShmReceiver, ShmSender};
use crate::tcp::{TcpReceiver, TcpSender};

/// Bytes that one call copies at most, so that NCCL's proxy thread gets round to its
/// other connections.
pub const BUDGET: usize = 512 << 10;

/// What moves the messages.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per connection, never moved")]
pub enum Link {
    /// Into a ring.
    ShmSender(ShmSender),
    /// Out of a ring.
    ShmReceiver(ShmReceiver),
    /// Into sockets.
    TcpSender(TcpSender),
    /// Out of sockets.
    TcpReceiver(TcpReceiver),
}

/// One connection.
#[derive(Debug)]
pub struct Comm {
    queue: Queue,
    link: Link,
    failed: Option<NetError>,
    /// The process that made it; a forked child must not close the parent's end.
    pid: u32,
}

impl Comm {
    /// A connection over a link.
    pub fn new(link: Link) -> Self {
        Self { queue: Queue::default(), link, failed: None, pid: std::process::id() }
    }

    /// `isend` and `irecv`: a request for this buffer, of whose surroundings `region`
    /// bytes were registered. `None`: 32 are in flight.
    #[inline]
    pub fn start(
        &mut self,
        data: *mut u8,
        len: usize,
        region: usize,
    ) -> Result<Option<*mut Request>> {
        self.still_good()?;
        let Some(index) = self.queue.take(data, len, region) else {
            self.progress()?;
            return Ok(None);
        };
        let owner: *mut Self = self;
        self.queue.get(index).owner = owner;
        self.queue.push(index);
        // Older ones are moved by their own `test`; a lone request may be over at once.
        if self.queue.len() == 1 {
            self.progress()?;
        }
        Ok(Some(self.queue.get(index)))
    }

    /// `test`: the number of bytes if the request is over. It is then free.
    ///
    /// # Safety
    /// `request` must be one of this connection's, in flight.
    #[inline]
    pub unsafe fn test(&mut self, request: *mut Request) -> Result<Option<usize>> {
        // SAFETY: the caller's: it points into `self.queue`.
        if unsafe { (*request).state } != State::Done {
            self.still_good()?;
            self.progress()?;
        }
        // SAFETY: as above.
        let (state, len) = unsafe { ((*request).state, (*request).len) };
        if state != State::Done {
            return Ok(None);
        }
        self.queue.release(request);
        Ok(Some(len))
    }

    #[inline]
    fn still_good(&self) -> Result<()> {
        match &self.failed {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    #[inline]
    fn progress(&mut self) -> Result<()> {
        let queue = &mut self.queue;
        let result = match &mut self.link {
            Link::ShmSender(link) => link.progress(queue),
            Link::ShmReceiver(link) => link.progress(queue),
            Link::TcpSender(link) => link.progress(queue),
            Link::TcpReceiver(link) => link.progress(queue),
        };
        result.inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// NCCL takes memory back, which it does without a message under way unless the
    /// communicator is aborted. Then nobody may touch it from here on, the peer neither.
    pub fn withdraw(&mut self, region: Region) {
        if self.queue.touches(region) {
            self.close();
            self.failed = Some(NetError::usage(
                "memory was deregistered while a message of it was under way: the connection is over",
            ));
        }
    }

    /// Tells the peer that this end is closed. Dropping the connection does the rest.
    pub fn close(&mut self) {
        if self.pid != std::process::id() {
            return;
        }
        match &mut self.link {
            Link::ShmSender(link) => link.close(),
            Link::ShmReceiver(link) => link.close(),
            Link::TcpSender(_) | Link::TcpReceiver(_) => {}
        }
    }
}
