//! Frames: four bytes of length, one of kind, then the content. Numbers are little-endian.

use std::io::{self, Read, Write};

/// Longest content: every rank's message to every rank, with room.
const MAX_CONTENT: usize = 4 << 20;

/// What goes over a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A rank to the coordinator, first: which group it looks for, and where it stands in it.
    Hello {
        /// The same for all ranks of a group, and for no other group.
        cookie: u64,
        /// This rank.
        rank: u32,
        /// All ranks.
        ranks: u32,
    },
    /// The coordinator: this is your group.
    Welcome,
    /// A rank to the coordinator: my part of the next exchange.
    Part(Vec<u8>),
    /// The coordinator: the parts of all ranks, in order.
    All(Vec<Vec<u8>>),
    /// A rank to the coordinator: I cannot go on.
    Failed(String),
    /// The coordinator: stop, and why.
    Stop(String),
    /// A rank to the coordinator: I am done.
    Bye,
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Frame::Hello { .. } => 1,
            Frame::Welcome => 2,
            Frame::Part(_) => 3,
            Frame::All(_) => 4,
            Frame::Failed(_) => 5,
            Frame::Stop(_) => 6,
            Frame::Bye => 7,
        }
    }

    /// Writes the frame with one call.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = vec![0, 0, 0, 0, self.kind()];
        match self {
            Frame::Hello { cookie, rank, ranks } => {
                bytes.extend(cookie.to_le_bytes());
                bytes.extend(rank.to_le_bytes());
                bytes.extend(ranks.to_le_bytes());
            }
            Frame::Part(part) => bytes.extend(part),
            Frame::All(parts) => {
                for part in parts {
                    bytes.extend((part.len() as u32).to_le_bytes());
                    bytes.extend(part);
                }
            }
            Frame::Failed(text) | Frame::Stop(text) => bytes.extend(text.as_bytes()),
            Frame::Welcome | Frame::Bye => {}
        }
        let content = (bytes.len() - 5) as u32;
        bytes[..4].copy_from_slice(&content.to_le_bytes());
        to.write_all(&bytes)
    }

    /// Reads one frame; `Ok(None)` when the other side has closed the connection.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut head = [0; 5];
        match from.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            // A peer that is killed with unread data resets the connection.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            result => result?,
        }
        let [a, b, c, d, kind] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MAX_CONTENT {
            return Err(io::Error::other("not one of our frames"));
        }
        let mut content = vec![0; length];
        from.read_exact(&mut content)?;
        Frame::decode(kind, &content)
            .map(Some)
            .ok_or_else(|| io::Error::other("not one of our frames"))
    }

    fn decode(kind: u8, content: &[u8]) -> Option<Frame> {
        let text = || String::from_utf8_lossy(content).into_owned();
        Some(match kind {
            1 => {
                let (cookie, rest) = content.split_first_chunk()?;
                let (rank, rest) = rest.split_first_chunk()?;
                let ranks = rest.try_into().ok()?;
                Frame::Hello {
                    cookie: u64::from_le_bytes(*cookie),
                    rank: u32::from_le_bytes(*rank),
                    ranks: u32::from_le_bytes(ranks),
                }
            }
            2 if content.is_empty() => Frame::Welcome,
            3 => Frame::Part(content.to_owned()),
            4 => {
                let (mut parts, mut rest) = (Vec::new(), content);
                while !rest.is_empty() {
                    let (length, after) = rest.split_first_chunk()?;
                    let length = u32::from_le_bytes(*length) as usize;
                    parts.push(after.get(..length)?.to_owned());
                    rest = &after[length..];
                }
                Frame::All(parts)
            }
            5 => Frame::Failed(text()),
            6 => Frame::Stop(text()),
            7 if content.is_empty() => Frame::Bye,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let frames = [
            Frame::Hello { cookie: u64::MAX - 1, rank: 3, ranks: 4 },
            Frame::Welcome,
            Frame::Part(vec![]),
            Frame::Part(vec![1, 2]),
            Frame::All(vec![vec![], vec![7; 300], vec![1]]),
            Frame::Failed("rank 1: it is over".to_owned()),
            Frame::Stop("ö".to_owned()),
            Frame::Bye,
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.write(&mut bytes).unwrap();
        }
        let mut from = bytes.as_slice();
        for frame in &frames {
            assert_eq!(Frame::read(&mut from).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(Frame::read(&mut from).unwrap(), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut from = bytes.as_slice();
            while let Ok(Some(_)) = Frame::read(&mut from) {}
        }
    }

    #[test]
    fn a_foreign_length_is_not_allocated() {
        let error = Frame::read(&mut &b"GET / HTTP/1.1\r\n"[..]).unwrap_err();
        assert_eq!(error.to_string(), "not one of our frames");
    }
}
