//! How two processes of a host come to share a ring.
//!
//! The sender makes the ring, connects to the receiver's abstract socket and sends
//! the memfd with a hello; the receiver checks who and what came, tries whether it
//! can read the sender's memory, and answers. Two packets, no waiting: each step is
//! tried again when NCCL calls again.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::config::Config;
use crate::error::{NetError, Result};
use crate::forked::Guarded;
use crate::handle::socket_name;
use crate::log;
use crate::path::{Costs, Paths};
use crate::peer::{self, Peer, Pulse, Side};
use crate::ring::Memory;
use crate::shm::Mapping;
use crate::shm_link::{ShmReceiver, ShmSender};
use crate::single_copy;
use crate::sys;

const HELLO: u64 = u64::from_le_bytes(*b"fm-ring2");
const HELLO_WORDS: usize = 6;
/// Bytes that the receiver reads to take the profile.
const SAMPLE: usize = 64 << 10;
/// Rings that are accepted from a peer, in bytes of data.
pub const CAPACITIES: std::ops::RangeInclusive<u64> = 64 << 10..=256 << 20;

fn words_to_bytes(words: [u64; HELLO_WORDS]) -> [u8; HELLO_WORDS * 8] {
    let mut bytes = [0; HELLO_WORDS * 8];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn bytes_to_words(bytes: &[u8]) -> [u64; HELLO_WORDS] {
    let mut words = [0; HELLO_WORDS];
    for (word, part) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut eight = [0; 8];
        eight.copy_from_slice(part);
        *word = u64::from_le_bytes(eight);
    }
    words
}

/// The receiver of a connection that is being made, or nothing yet.
fn receive(socket: &Guarded) -> Result<Option<([u64; HELLO_WORDS], Option<OwnedFd>)>> {
    let mut bytes = [0; HELLO_WORDS * 8];
    match sys::receive_packet(socket.as_fd(), &mut bytes) {
        Ok((n, fd)) if n == bytes.len() => {
            let words = bytes_to_words(&bytes);
            if words[0] != HELLO {
                return Err(NetError::remote("the peer speaks another version of this plugin"));
            }
            Ok(Some((words, fd)))
        }
        Ok((0, _)) => Err(NetError::remote("the peer hung up while connecting")),
        Ok((n, _)) => Err(NetError::remote(format!("the peer sent a hello of {n} bytes"))),
        Err(error) if sys::would_block(&error) => Ok(None),
        Err(error) => Err(packet_error("receiving a hello", &error)),
    }
}

/// A sender on its way.
#[derive(Debug)]
pub struct Connecting {
    socket: Guarded,
    name: Vec<u8>,
    memory: Option<Mapping>,
    /// The word that the receiver tries to read; boxed, as it must stay in place.
    probe: Box<u64>,
    stage: Stage,
    /// The receiver's process, watched while it has not answered.
    receiver: Option<Peer>,
    pulse: Pulse,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Connect,
    Hello,
    Answer,
}

impl Connecting {
    /// Makes the ring; the first [`Self::step`] connects.
    pub fn new(random_name: &[u8; 16], config: &Config) -> Result<Self> {
        let mut probe = [0; 8];
        sys::random(&mut probe).map_err(|error| NetError::system("getrandom", &error))?;
        let socket =
            sys::packet_socket().map_err(|error| NetError::system("making a socket", &error))?;
        Ok(Self {
            socket: Guarded::new(socket),
            name: socket_name(random_name),
            memory: Some(Mapping::create(config.ring)?),
            probe: Box::new(u64::from_le_bytes(probe)),
            stage: Stage::Connect,
            receiver: None,
            pulse: Pulse::default(),
        })
    }

    /// One step; the finished sender in the end.
    pub fn step(&mut self, config: &Config) -> Result<Option<ShmSender>> {
        if self.stage == Stage::Connect {
            match sys::connect_abstract(self.socket.as_fd(), &self.name) {
                Ok(()) => self.stage = Stage::Hello,
                Err(error) if sys::would_block(&error) => return Ok(None),
                Err(error) => {
                    return Err(NetError::remote(format!(
                        "connecting to the receiver's socket: {error}: its process has ended, or \
                         listens no more"
                    )));
                }
            }
        }
        if self.stage == Stage::Hello {
            self.hello(config)?;
            self.stage = Stage::Answer;
        }
        let Some((words, _)) = receive(&self.socket)? else {
            return self.check_receiver().map(|()| None);
        };
        let (pid, _) = self.credentials()?;
        let peer = Peer::watch(self.socket.as_fd(), pid, Side::Receiver, config.locks_only);
        let Some(memory) = self.memory.take() else {
            return Err(NetError::remote("connected twice"));
        };
        let paths = Paths::new(config.single_copy && words[1] != 0);
        log::debug(format_args!(
            "sender: ring of {} bytes, {peer:?}, {paths:?}",
            memory.capacity()
        ));
        Ok(Some(ShmSender::new(memory, peer, pid, paths, config.polled)))
    }

    /// A process that ended will not answer, even if a child of it holds the socket.
    fn check_receiver(&mut self) -> Result<()> {
        if !self.pulse.is_due() {
            return Ok(());
        }
        if self.receiver.is_none() {
            let (pid, _) = self.credentials()?;
            self.receiver = Some(Peer::watch(self.socket.as_fd(), pid, Side::Receiver, false));
        }
        match &self.receiver {
            Some(Peer::Process(pidfd)) if sys::is_ready(pidfd.as_fd()) => {
                Err(NetError::remote("the receiver's process ended before it answered"))
            }
            _ => Ok(()),
        }
    }

    fn credentials(&self) -> Result<(i32, u32)> {
        sys::peer_credentials(self.socket.as_fd())
            .map_err(|error| NetError::system("SO_PEERCRED", &error))
    }

    fn hello(&self, config: &Config) -> Result<()> {
        let (_, uid) = self.credentials()?;
        if !peer::same_user(uid) {
            return Err(NetError::remote(format!(
                "the receiver's socket belongs to user {uid}: not connected"
            )));
        }
        let Some(memory) = &self.memory else {
            return Err(NetError::remote("connected twice"));
        };
        peer::lock(memory.fd(), Side::Sender)?;
        let hello = words_to_bytes([
            HELLO,
            memory.capacity() as u64,
            u64::from(config.single_copy),
            std::ptr::from_ref::<u64>(&self.probe) as u64,
            *self.probe,
            memory.data() as u64,
        ]);
        sys::send_packet(self.socket.as_fd(), &hello, Some(memory.fd()))
            .map_err(|error| packet_error("sending the ring", &error))
    }
}

/// A peer that died while connecting is its fault, not the system's.
fn packet_error(what: &str, error: &io::Error) -> NetError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            NetError::remote("the peer hung up while connecting")
        }
        _ => NetError::system(what, error),
    }
}

/// A receiver on its way: a connection was taken, its hello not yet.
#[derive(Debug)]
pub struct Accepting {
    socket: Guarded,
    since_ms: u64,
}

impl Accepting {
    /// A stranger that says nothing is dropped after this time.
    const PATIENCE_MS: u64 = 10_000;

    /// Takes a waiting connection. `None`: none is there, or a stranger's was dropped.
    pub fn take(listener: &Guarded) -> Result<Option<Self>> {
        let socket = match sys::accept(listener.as_fd()) {
            Ok(socket) => Guarded::new(socket),
            Err(error) if sys::would_block(&error) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return Ok(None),
            Err(error) => return Err(NetError::system("accepting a connection", &error)),
        };
        let (_, uid) = sys::peer_credentials(socket.as_fd())
            .map_err(|error| NetError::system("SO_PEERCRED", &error))?;
        if !peer::same_user(uid) {
            log::warn(format_args!("accept: a process of user {uid} connected: turned away"));
            return Ok(None);
        }
        Ok(Some(Self { socket, since_ms: sys::now_ms() }))
    }

    /// Whether the other side had its chance.
    pub fn is_stale(&self) -> bool {
        sys::now_ms().saturating_sub(self.since_ms) > Self::PATIENCE_MS
    }

    /// One step; the finished receiver in the end.
    pub fn step(&mut self, config: &Config) -> Result<Option<ShmReceiver>> {
        let Some((words, fd)) = receive(&self.socket)? else { return Ok(None) };
        let [_, capacity, single_copy, address, value, data] = words;
        let Some(fd) = fd else {
            return Err(NetError::remote("the peer sent no ring with its hello"));
        };
        if !CAPACITIES.contains(&capacity) || !capacity.is_multiple_of(4096) {
            return Err(NetError::remote(format!("the peer offered a ring of {capacity} bytes")));
        }
        let memory = Mapping::adopt(fd, capacity as usize)?;
        let (pid, _) = sys::peer_credentials(self.socket.as_fd())
            .map_err(|error| NetError::system("SO_PEERCRED", &error))?;
        peer::lock(memory.fd(), Side::Receiver)?;
        let peer = Peer::watch(self.socket.as_fd(), pid, Side::Sender, config.locks_only);
        let readable =
            single_copy != 0 && config.single_copy && single_copy::probe(pid, address, value);
        let (fetch, ring) = match readable {
            // SAFETY: every ring is at least as long as the sample.
            true => unsafe { single_copy::measure(pid, data, memory.data(), SAMPLE) },
            false => (0, 0),
        };
        let answer = words_to_bytes([HELLO, u64::from(readable), 0, 0, 0, 0]);
        sys::send_packet(self.socket.as_fd(), &answer, None)
            .map_err(|error| NetError::remote(format!("answering a hello: {error}")))?;
        log::debug(format_args!(
            "receiver: ring of {capacity} bytes, {peer:?}, single copy {readable}, ns/MiB: fetch \
             {fetch}, ring {ring}"
        ));
        let pid = if readable { pid } else { 0 };
        let costs = Costs::new(ring, fetch);
        Ok(Some(ShmReceiver::new(memory, peer, pid, costs, config.polled)))
    }
}
