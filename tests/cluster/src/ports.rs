//! TCP ports of the loopback interface for one cluster.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Below Linux's ephemeral ports, so that no client connection can take one of ours.
const FIRST: u16 = 10_240;
const LAST: u16 = 32_000;
/// Ports of one block; a cluster has at most this many daemons.
pub(crate) const BLOCK: u16 = 160;

/// A block of consecutive free ports. The claim is an abstract Unix socket: seen by every process
/// of the machine, and gone when this process is.
#[derive(Debug)]
pub(crate) struct Ports {
    first: u16,
    _claim: UnixListener,
}

impl Ports {
    /// Claims a block in which the first `count` ports are free just now.
    pub fn claim(count: u16) -> Result<Ports, String> {
        assert!(count <= BLOCK, "a cluster of {count} daemons: at most {BLOCK} fit");
        let blocks = (LAST - FIRST) / BLOCK;
        // Start somewhere else in every process: fewer blocks to try.
        let start = std::process::id() as u16 % blocks;
        for step in 0..blocks {
            let first = FIRST + (start + step) % blocks * BLOCK;
            let name = format!("flexmig-cluster-ports-{first}");
            let claim = SocketAddr::from_abstract_name(name)
                .and_then(|address| UnixListener::bind_addr(&address));
            let Ok(claim) = claim else { continue };
            if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
                return Ok(Ports { first, _claim: claim });
            }
        }
        Err(format!("no {count} free ports in a row between {FIRST} and {LAST}"))
    }

    /// The port number `index` of the block, from 0.
    pub fn get(&self, index: usize) -> u16 {
        self.first + index as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_claims_do_not_overlap() {
        let a = Ports::claim(3).unwrap();
        let b = Ports::claim(3).unwrap();
        assert!(a.first.abs_diff(b.first) >= BLOCK);
    }
}
