//! Listening, accepting, connecting: which link two processes get.

use std::sync::{Mutex, PoisonError};

use crate::comm::{Comm, Link};
use crate::config::{Config, Transport};
use crate::error::{NetError, Result};
use crate::forked::Guarded;
use crate::handle::{HANDLE_SIZE, Handle, Place, socket_name};
use crate::log;
use crate::shm_connect::{Accepting, Connecting};
use crate::sys;
use crate::tcp_connect::{TcpAccepting, TcpConnecting, TcpDoor};

/// Where receivers of this process are reached.
#[derive(Debug)]
pub struct Listener {
    socket: Option<Guarded>,
    door: Option<TcpDoor>,
    arriving: Vec<Accepting>,
    tcp_arriving: TcpAccepting,
}

/// Strangers that may stand at the door at a time.
const MAX_ARRIVING: usize = 64;

impl Listener {
    /// Listens, and says where.
    pub fn new(config: &Config) -> Result<(Self, Handle)> {
        let mut random = [[0; 16]; 2];
        for bytes in &mut random {
            sys::random(bytes).map_err(|error| NetError::system("getrandom", &error))?;
        }
        let [name, secret] = random;
        let socket = match config.transport {
            Transport::Tcp => None,
            Transport::Auto => match sys::listen_abstract(&socket_name(&name)) {
                Ok(socket) => Some(Guarded::new(socket)),
                Err(error) => {
                    log::warn(format_args!("listen: unix socket: {error}: only TCP is offered"));
                    None
                }
            },
        };
        let door = TcpDoor::open();
        if let (Err(error), None) = (&door, &socket) {
            return Err(error.clone());
        }
        let door = door
            .inspect_err(|error| {
                log::warn(format_args!("listen: {error}: only this host can connect"))
            })
            .ok();
        let handle = Handle {
            place: Place::here(),
            name: socket.is_some().then_some(name),
            secret,
            tcp: door.as_ref().map(TcpDoor::address),
        };
        let tcp_arriving = TcpAccepting::new(secret);
        Ok((Self { socket, door, arriving: Vec::new(), tcp_arriving }, handle))
    }

    /// The next receiver that is complete.
    pub fn accept(&mut self, config: &Config) -> Result<Option<Comm>> {
        if let Some(socket) = &self.socket
            && self.arriving.len() < MAX_ARRIVING
            && let Some(one) = Accepting::take(socket)?
        {
            self.arriving.push(one);
        }
        let mut at = 0;
        while at < self.arriving.len() {
            match self.arriving[at].step(config) {
                Ok(Some(receiver)) => {
                    self.arriving.swap_remove(at);
                    return Ok(Some(Comm::new(Link::ShmReceiver(receiver))));
                }
                Ok(None) if self.arriving[at].is_stale() => {
                    self.arriving.swap_remove(at);
                }
                Ok(None) => at += 1,
                Err(error) => {
                    // It may be a stranger; the right one may still come.
                    log::warn(format_args!("accept: {error}"));
                    self.arriving.swap_remove(at);
                }
            }
        }
        match &self.door {
            Some(door) => {
                Ok(self.tcp_arriving.step(door)?.map(|link| Comm::new(Link::TcpReceiver(link))))
            }
            None => Ok(None),
        }
    }
}

/// A sender on its way.
#[derive(Debug)]
enum Way {
    Shm(Connecting),
    Tcp(TcpConnecting),
}

#[derive(Debug)]
struct Pending {
    /// The handle's address and bytes: NCCL passes the same ones again.
    key: (usize, [u8; HANDLE_SIZE]),
    way: Way,
    last_ms: u64,
}

/// Connections under way. The state is kept here and not in the handle, as the
/// handle comes from another process.
static PENDING: Mutex<Vec<Pending>> = Mutex::new(Vec::new());

/// A connection that NCCL has not asked for in this time was given up.
const GIVEN_UP_MS: u64 = 120_000;

/// One step towards the receiver of a handle; the finished sender in the end.
/// `address` is where NCCL keeps the handle.
pub fn connect(address: usize, bytes: &[u8; HANDLE_SIZE], config: &Config) -> Result<Option<Comm>> {
    let key = (address, *bytes);
    let now = sys::now_ms();
    let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    pending.retain(|one| now.saturating_sub(one.last_ms) < GIVEN_UP_MS);
    let known = pending.iter().position(|one| one.key == key).map(|at| pending.swap_remove(at));
    drop(pending);
    let mut way = match known {
        Some(one) => one.way,
        None => begin(&Handle::decode(bytes)?, config)?,
    };
    let link = match &mut way {
        Way::Shm(way) => way.step(config)?.map(Link::ShmSender),
        Way::Tcp(way) => way.step()?.map(Link::TcpSender),
    };
    if let Some(link) = link {
        return Ok(Some(Comm::new(link)));
    }
    let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    pending.push(Pending { key, way, last_ms: now });
    Ok(None)
}

fn begin(handle: &Handle, config: &Config) -> Result<Way> {
    let here = handle.place.shares_memory_with(&Place::here());
    if let (Some(name), true, Transport::Auto) = (&handle.name, here, config.transport) {
        match Connecting::new(name, config) {
            Ok(way) => return Ok(Way::Shm(way)),
            Err(error) if handle.tcp.is_some() => {
                log::warn(format_args!("connect: {error}: TCP is used instead"));
            }
            Err(error) => return Err(error),
        }
    }
    match handle.tcp {
        Some(address) => Ok(Way::Tcp(TcpConnecting::new(address, handle.secret, config.sockets)?)),
        None => Err(NetError::remote(
            "the receiver can be reached through shared memory only, and is on another host or in \
             another network namespace: allow TCP between them",
        )),
    }
}
