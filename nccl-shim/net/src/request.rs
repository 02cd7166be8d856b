//! Requests: what NCCL holds in hand between `isend` or `irecv` and `test`.

use crate::comm::Comm;

/// Requests of one connection at a time, `NCCL_NET_MAX_REQUESTS`.
pub const MAX_REQUESTS: usize = 32;

/// Memory that NCCL registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its address.
    pub start: usize,
    /// Its size in bytes.
    pub len: usize,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not in use.
    Free,
    /// In the queue; nothing happened yet.
    Queued,
    /// Announced as a rendezvous; the receiver fetches it. The number is that of
    /// the message, counted from 1.
    Parked(u64),
    /// Bytes are moving.
    Moving,
    /// Over; `test` will say so and free it.
    Done,
}

/// One send or receive.
#[derive(Debug)]
pub struct Request {
    /// The connection it belongs to.
    pub owner: *mut Comm,
    /// How far it is.
    pub state: State,
    /// NCCL's buffer.
    pub data: *mut u8,
    /// Bytes that were registered around it; 0 if that is not known.
    pub region: usize,
    /// Bytes to send; on a receiver the buffer's size until the message is known,
    /// then the message's.
    pub len: usize,
    /// Bytes moved so far.
    pub moved: usize,
}

/// The requests of a connection and the order of those that are not over.
#[derive(Debug)]
pub struct Queue {
    requests: [Request; MAX_REQUESTS],
    free: u32,
    order: [u8; MAX_REQUESTS],
    first: usize,
    count: usize,
}

impl Default for Queue {
    fn default() -> Self {
        let request = || Request {
            owner: std::ptr::null_mut(),
            state: State::Free,
            data: std::ptr::null_mut(),
            region: 0,
            len: 0,
            moved: 0,
        };
        Self {
            requests: std::array::from_fn(|_| request()),
            free: u32::MAX,
            order: [0; MAX_REQUESTS],
            first: 0,
            count: 0,
        }
    }
}

impl Queue {
    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Requests that are not over.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether a request that is not over may touch this memory.
    pub fn touches(&mut self, region: Region) -> bool {
        (0..self.count).any(|place| {
            let data = self.at(place).data.addr();
            data >= region.start && data - region.start < region.len
        })
    }

    /// Takes a free request; `None`: all are in flight.
    #[inline]
    pub fn take(&mut self, data: *mut u8, len: usize, region: usize) -> Option<usize> {
        if self.free == 0 {
            return None;
        }
        let index = self.free.trailing_zeros() as usize;
        self.free &= self.free - 1;
        let request = &mut self.requests[index];
        request.state = State::Queued;
        request.data = data;
        request.region = region;
        request.len = len;
        request.moved = 0;
        Some(index)
    }

    /// Puts a request at the end of the queue.
    #[inline]
    pub fn push(&mut self, index: usize) {
        self.order[(self.first + self.count) % MAX_REQUESTS] = index as u8;
        self.count += 1;
    }

    /// The request at a place in the queue, 0 being the oldest.
    #[inline]
    pub fn at(&mut self, place: usize) -> &mut Request {
        debug_assert!(place < self.count);
        &mut self.requests[self.order[(self.first + place) % MAX_REQUESTS] as usize]
    }

    /// The oldest request is over.
    #[inline]
    pub fn pop_done(&mut self) {
        self.at(0).state = State::Done;
        self.first = (self.first + 1) % MAX_REQUESTS;
        self.count -= 1;
    }

    /// A request by its index.
    #[inline]
    pub fn get(&mut self, index: usize) -> &mut Request {
        &mut self.requests[index]
    }

    /// Frees a request that is over. Its address tells which it is.
    #[inline]
    pub fn release(&mut self, request: *const Request) {
        let offset = request as usize - self.requests.as_ptr() as usize;
        let index = offset / size_of::<Request>();
        self.requests[index].state = State::Free;
        self.free |= 1 << index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_use_while_a_request_is_under_way() {
        let (mut queue, mut data) = (Queue::default(), [0u8; 64]);
        let region = Region { start: data.as_ptr().addr(), len: 64 };
        let index = queue.take(data[32..].as_mut_ptr(), 8, 64).expect("a free one");
        assert!(!queue.touches(region), "not queued yet");
        queue.push(index);
        assert!(queue.touches(region));
        assert!(!queue.touches(Region { len: 32, ..region }), "the part before it");
        queue.pop_done();
        assert!(!queue.touches(region));
    }

    #[test]
    fn requests_come_back_in_order() {
        let mut queue = Queue::default();
        for round in 0..3 {
            for i in 0..MAX_REQUESTS {
                let index = queue.take(std::ptr::null_mut(), i, 0).expect("a free one");
                queue.push(index);
            }
            assert_eq!(queue.take(std::ptr::null_mut(), 0, 0), None, "round {round}");
            for i in 0..MAX_REQUESTS {
                assert_eq!(queue.at(0).len, i);
                let address: *const Request = queue.at(0);
                queue.pop_done();
                queue.release(address);
            }
            assert!(queue.is_empty());
        }
    }
}
