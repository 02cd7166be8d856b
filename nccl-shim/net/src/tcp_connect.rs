//! How two processes come to share a bundle of TCP sockets.
//!
//! Each socket opens with a hello: the secret from the handle, the number of the
//! bundle, which of its sockets this is. When all are there the receiver answers
//! on the first.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use crate::error::{NetError, Result};
use crate::forked::Guarded;
use crate::interface;
use crate::log;
use crate::sys;
use crate::tcp::{TcpReceiver, TcpSender};

const HELLO: usize = 48;
const MAGIC: [u8; 8] = *b"fm-tcp-1";
/// Sockets of a bundle.
pub const MAX_SOCKETS: usize = 16;
const PATIENCE_MS: u64 = 30_000;

fn remote(what: &str, error: &io::Error) -> NetError {
    NetError::remote(format!("{what}: {error}"))
}

/// Where senders knock.
#[derive(Debug)]
pub struct TcpDoor {
    listener: Guarded,
    address: SocketAddr,
}

impl TcpDoor {
    /// Listens on the interface that `NCCL_SOCKET_IFNAME` and our own order choose.
    pub fn open() -> Result<Self> {
        let names = std::env::var("NCCL_SOCKET_IFNAME").ok();
        let family = std::env::var("NCCL_SOCKET_FAMILY").ok();
        let all = sys::interfaces();
        let Some(address) = interface::choose(&all, names.as_deref(), family.as_deref()) else {
            return Err(NetError::argument(
                "no network interface fits: correct NCCL_SOCKET_IFNAME or NCCL_SOCKET_FAMILY",
            ));
        };
        let open = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener: Guarded::new(listener.into()), address })
        };
        open().map_err(|error| NetError::system(&format!("listening at {address}"), &error))
    }

    /// The address for the handle.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A sender on its way.
#[derive(Debug)]
pub struct TcpConnecting {
    sockets: Vec<(Guarded, bool)>,
    bundle: [u8; 16],
    secret: [u8; 16],
    answer: usize,
}

impl TcpConnecting {
    /// Starts all connections.
    pub fn new(address: SocketAddr, secret: [u8; 16], sockets: usize) -> Result<Self> {
        let mut bundle = [0; 16];
        sys::random(&mut bundle).map_err(|error| NetError::system("getrandom", &error))?;
        let connect = |_| Ok((Guarded::new(sys::tcp_connect(&address)?), false));
        let sockets: io::Result<Vec<_>> = (0..sockets).map(connect).collect();
        let sockets =
            sockets.map_err(|error| remote(&format!("connecting to {address}"), &error))?;
        Ok(Self { sockets, bundle, secret, answer: 0 })
    }

    /// One step; the finished sender in the end.
    pub fn step(&mut self) -> Result<Option<TcpSender>> {
        let total = self.sockets.len() as u32;
        for (index, (socket, greeted)) in self.sockets.iter_mut().enumerate() {
            if *greeted {
                continue;
            }
            let connected = sys::tcp_connected(socket.as_fd());
            if !connected.map_err(|error| remote("connecting to the receiver", &error))? {
                return Ok(None);
            }
            sys::tune_tcp(socket.as_fd())
                .map_err(|error| NetError::system("setting socket options", &error))?;
            let mut hello = [0; HELLO];
            hello[..8].copy_from_slice(&MAGIC);
            hello[8..24].copy_from_slice(&self.secret);
            hello[24..40].copy_from_slice(&self.bundle);
            hello[40..44].copy_from_slice(&(index as u32).to_le_bytes());
            hello[44..48].copy_from_slice(&total.to_le_bytes());
            // SAFETY: no second part. A fresh socket takes 48 bytes whole.
            let sent = unsafe { sys::send_two(socket.as_fd(), &hello, std::ptr::null(), 0) };
            match sent {
                Ok(HELLO) => *greeted = true,
                Ok(_) => return Err(NetError::remote("sending a hello: cut short")),
                Err(error) => return Err(remote("sending a hello", &error)),
            }
        }
        let mut answer = [0u8; MAGIC.len()];
        let room = &mut answer[self.answer..];
        // SAFETY: `room` is writable for its length.
        let got = unsafe { sys::receive(self.sockets[0].0.as_fd(), room.as_mut_ptr(), room.len()) };
        match got {
            Ok(0) => Err(NetError::remote("the receiver hung up while connecting")),
            Ok(n) if self.answer + n == MAGIC.len() => {
                let sockets = self.sockets.drain(..).map(|(socket, _)| socket).collect();
                Ok(Some(TcpSender::new(sockets)))
            }
            Ok(n) => {
                self.answer += n;
                Ok(None)
            }
            Err(error) if sys::would_block(&error) => Ok(None),
            Err(error) => Err(remote("connecting to the receiver", &error)),
        }
    }
}

/// One socket that knocked and has not said its hello.
#[derive(Debug)]
struct Arriving {
    socket: Guarded,
    hello: [u8; HELLO],
    got: usize,
    since_ms: u64,
}

/// A bundle that is not complete.
#[derive(Debug)]
struct Bundle {
    id: [u8; 16],
    sockets: Vec<Option<Guarded>>,
    since_ms: u64,
}

/// Receivers on their way.
#[derive(Debug)]
pub struct TcpAccepting {
    secret: [u8; 16],
    arriving: Vec<Arriving>,
    bundles: Vec<Bundle>,
}

impl TcpAccepting {
    /// Nobody yet.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { secret, arriving: Vec::new(), bundles: Vec::new() }
    }

    /// One step; a finished receiver when a bundle is complete.
    pub fn step(&mut self, door: &TcpDoor) -> Result<Option<TcpReceiver>> {
        let now = sys::now_ms();
        while self.arriving.len() < 64 {
            match sys::accept(door.listener.as_fd()) {
                Ok(socket) => {
                    let socket = Guarded::new(socket);
                    let hello = [0; HELLO];
                    self.arriving.push(Arriving { socket, hello, got: 0, since_ms: now });
                }
                Err(error) if sys::would_block(&error) => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(NetError::system("accepting a connection", &error)),
            }
        }
        let fresh = |since: u64| now.saturating_sub(since) < PATIENCE_MS;
        let mut waiting = Vec::new();
        for mut one in std::mem::take(&mut self.arriving) {
            match one.read() {
                Ok(true) => self.greet(one, now),
                Ok(false) if fresh(one.since_ms) => waiting.push(one),
                Ok(false) => {}
                Err(error) => log::debug(format_args!("accept: a TCP connection: {error}")),
            }
        }
        self.arriving = waiting;
        self.bundles.retain(|bundle| fresh(bundle.since_ms));
        let complete = |bundle: &Bundle| bundle.sockets.iter().all(Option::is_some);
        let Some(at) = self.bundles.iter().position(complete) else { return Ok(None) };
        let bundle = self.bundles.swap_remove(at);
        let sockets: Vec<_> = bundle.sockets.into_iter().flatten().collect();
        // SAFETY: no second part.
        let sent = unsafe { sys::send_two(sockets[0].as_fd(), &MAGIC, std::ptr::null(), 0) };
        if let Err(error) = sent {
            log::warn(format_args!("accept: answering: {error}"));
            return Ok(None);
        }
        Ok(Some(TcpReceiver::new(sockets)))
    }

    /// Puts a socket into its bundle, if it knows the secret.
    fn greet(&mut self, one: Arriving, now: u64) {
        let number = |at: usize| {
            let part = [one.hello[at], one.hello[at + 1], one.hello[at + 2], one.hello[at + 3]];
            u32::from_le_bytes(part) as usize
        };
        let (index, total) = (number(40), number(44));
        let knows = one.hello[..8] == MAGIC && one.hello[8..24] == self.secret;
        if !knows || index >= total || total > MAX_SOCKETS {
            log::warn("accept: a TCP connection without the right hello: turned away");
            return;
        }
        if let Err(error) = sys::tune_tcp(one.socket.as_fd()) {
            log::warn(format_args!("accept: setting socket options: {error}"));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&one.hello[24..40]);
        let known = self.bundles.iter_mut().position(|bundle| bundle.id == id);
        let at = known.unwrap_or_else(|| {
            let sockets = (0..total).map(|_| None).collect();
            self.bundles.push(Bundle { id, sockets, since_ms: now });
            self.bundles.len() - 1
        });
        if let Some(place) = self.bundles[at].sockets.get_mut(index) {
            *place = Some(one.socket);
        }
    }
}

impl Arriving {
    /// Reads more of the hello. True: it is whole.
    fn read(&mut self) -> io::Result<bool> {
        let room = &mut self.hello[self.got..];
        // SAFETY: `room` is writable for its length.
        match unsafe { sys::receive(self.socket.as_fd(), room.as_mut_ptr(), room.len()) } {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.got += n;
                Ok(self.got == HELLO)
            }
            Err(error) if sys::would_block(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
