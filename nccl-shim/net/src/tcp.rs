//! Messages over TCP: between hosts, and where memory cannot be shared.
//!
//! A connection is a bundle of sockets. The first carries a header for every
//! message, and the payload of short ones; a long payload is cut into one stripe per
//! socket.

use std::io;
use std::os::fd::AsFd;

use crate::comm::BUDGET;
use crate::error::{NetError, Result};
use crate::forked::Guarded;
use crate::request::{Queue, State};
use crate::ring::MAX_MESSAGE;
use crate::sys;

const HEADER: usize = 16;
const MAGIC: u64 = u64::from_le_bytes(*b"fm-mesg1");
/// Longer messages use all sockets.
const STRIPE: usize = 128 << 10;

/// The part of a message that one socket carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stripe {
    at: usize,
    end: usize,
}

/// Cuts a message among `sockets` sockets, on cache lines.
fn stripes(len: usize, sockets: usize) -> Vec<Stripe> {
    let mut parts = vec![Stripe::default(); sockets];
    if len <= STRIPE {
        parts[0].end = len;
        return parts;
    }
    let size = (len / sockets).next_multiple_of(64);
    for (i, part) in parts.iter_mut().enumerate() {
        *part = Stripe { at: (i * size).min(len), end: ((i + 1) * size).min(len) };
    }
    if let Some(last) = parts.last_mut() {
        last.end = len;
    }
    parts
}

fn lost(error: &io::Error) -> NetError {
    NetError::remote(format!(
        "the TCP connection to the peer is lost: {error}: look for the first rank that failed, or \
         for the network between the hosts"
    ))
}

/// A message on its way.
#[derive(Debug)]
struct Frame {
    header: [u8; HEADER],
    header_done: usize,
    stripes: Vec<Stripe>,
}

impl Frame {
    fn left(&self) -> bool {
        self.header_done < HEADER || self.stripes.iter().any(|part| part.at < part.end)
    }
}

/// The sending end.
#[derive(Debug)]
pub struct TcpSender {
    sockets: Vec<Guarded>,
    frame: Option<Frame>,
}

impl TcpSender {
    /// A sender on connected sockets; at least one.
    pub fn new(sockets: Vec<Guarded>) -> Self {
        Self { sockets, frame: None }
    }

    /// Moves what can be moved.
    pub fn progress(&mut self, queue: &mut Queue) -> Result<()> {
        let mut budget = BUDGET;
        while !queue.is_empty() && budget > 0 {
            let request = queue.at(0);
            if request.len as u64 > MAX_MESSAGE {
                return Err(NetError::argument("a message above 2^40 bytes"));
            }
            let frame = self.frame.get_or_insert_with(|| {
                let mut header = [0; HEADER];
                header[..8].copy_from_slice(&MAGIC.to_le_bytes());
                header[8..].copy_from_slice(&(request.len as u64).to_le_bytes());
                let stripes = stripes(request.len, self.sockets.len());
                Frame { header, header_done: 0, stripes }
            });
            request.state = State::Moving;
            let mut moved = 0;
            for (i, (socket, part)) in self.sockets.iter().zip(&mut frame.stripes).enumerate() {
                let header = if i == 0 { &frame.header[frame.header_done..] } else { &[] };
                let len = (part.end - part.at).min(BUDGET / 4);
                if header.is_empty() && len == 0 {
                    continue;
                }
                // SAFETY: NCCL keeps the buffer valid until `test` says done.
                let sent = unsafe {
                    sys::send_two(socket.as_fd(), header, request.data.add(part.at), len)
                };
                match sent {
                    Ok(n) => {
                        let of_header = n.min(header.len());
                        frame.header_done += of_header;
                        part.at += n - of_header;
                        moved += n;
                    }
                    Err(error) if sys::would_block(&error) => {}
                    Err(error) => return Err(lost(&error)),
                }
            }
            if !frame.left() {
                self.frame = None;
                queue.pop_done();
            } else if moved == 0 {
                break;
            }
            budget = budget.saturating_sub(moved);
        }
        Ok(())
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct TcpReceiver {
    sockets: Vec<Guarded>,
    frame: Option<Frame>,
}

impl TcpReceiver {
    /// A receiver on connected sockets; at least one.
    pub fn new(sockets: Vec<Guarded>) -> Self {
        Self { sockets, frame: None }
    }

    /// Moves what can be moved.
    pub fn progress(&mut self, queue: &mut Queue) -> Result<()> {
        let mut budget = BUDGET;
        while !queue.is_empty() && budget > 0 {
            let request = queue.at(0);
            let frame = self.frame.get_or_insert_with(|| Frame {
                header: [0; HEADER],
                header_done: 0,
                stripes: Vec::new(),
            });
            if frame.header_done < HEADER {
                let room = &mut frame.header[frame.header_done..];
                // SAFETY: `room` is writable for its length.
                let got = unsafe { receive(&self.sockets[0], room.as_mut_ptr(), room.len())? };
                frame.header_done += got;
                if frame.header_done < HEADER {
                    break;
                }
                request.len = announced(&frame.header, request.len)?;
                request.state = State::Moving;
                frame.stripes = stripes(request.len, self.sockets.len());
            }
            let mut moved = 0;
            for (socket, part) in self.sockets.iter().zip(&mut frame.stripes) {
                let len = (part.end - part.at).min(BUDGET / 4);
                if len > 0 {
                    // SAFETY: NCCL keeps the buffer valid until `test` says done, and
                    // the message was held against its size.
                    let got = unsafe { receive(socket, request.data.add(part.at), len)? };
                    part.at += got;
                    moved += got;
                }
            }
            if !frame.left() {
                self.frame = None;
                queue.pop_done();
            } else if moved == 0 {
                break;
            }
            budget = budget.saturating_sub(moved);
        }
        Ok(())
    }
}

/// The length in a header, held against the buffer's.
fn announced(header: &[u8; HEADER], room: usize) -> Result<usize> {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let len = word(8);
    if word(0) != MAGIC || len > MAX_MESSAGE {
        return Err(NetError::remote("the peer sent a broken header: it is broken or hostile"));
    }
    if len as usize > room {
        return Err(NetError::usage(format!(
            "a message of {len} bytes came for a receive of {room}: the ranks do not run the same \
             collectives"
        )));
    }
    Ok(len as usize)
}

/// What is there; 0 is: nothing now.
///
/// # Safety
/// `data` must be writable for `len` bytes.
unsafe fn receive(socket: &Guarded, data: *mut u8, len: usize) -> Result<usize> {
    // SAFETY: the caller vouches for `data`.
    match unsafe { sys::receive(socket.as_fd(), data, len) } {
        Ok(0) => Err(lost(&io::ErrorKind::UnexpectedEof.into())),
        Ok(n) => Ok(n),
        Err(error) if sys::would_block(&error) => Ok(0),
        Err(error) => Err(lost(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_cover_the_message_once() {
        for sockets in 1..=16 {
            for len in [0, 1, STRIPE, STRIPE + 1, 1 << 20, (1 << 20) + 37] {
                let parts = stripes(len, sockets);
                assert_eq!(parts.len(), sockets);
                let mut next = 0;
                for part in &parts {
                    assert!(part.at <= part.end);
                    if part.at < part.end {
                        assert_eq!(part.at, next, "{len} over {sockets}");
                        next = part.end;
                    }
                }
                assert_eq!(next, len, "{len} over {sockets}");
            }
        }
    }

    #[test]
    fn headers_are_checked() {
        let header = |magic: u64, len: u64| {
            let mut bytes = [0; HEADER];
            bytes[..8].copy_from_slice(&magic.to_le_bytes());
            bytes[8..].copy_from_slice(&len.to_le_bytes());
            bytes
        };
        assert_eq!(announced(&header(MAGIC, 5), 5), Ok(5));
        assert_eq!(
            announced(&header(MAGIC, 6), 5).unwrap_err().code(),
            crate::error::INVALID_USAGE
        );
        assert_eq!(announced(&header(1, 5), 5).unwrap_err().code(), crate::error::REMOTE);
        assert_eq!(
            announced(&header(MAGIC, u64::MAX), 5).unwrap_err().code(),
            crate::error::REMOTE
        );
    }
}
