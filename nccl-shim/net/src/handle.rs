//! The 128 bytes that tell a sender where a receiver listens.
//!
//! NCCL carries them from rank to rank. They name the host and its network
//! namespace, so that the sender can tell whether a shared ring is to be had, the
//! abstract socket, and the TCP address with the secret that opens it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::OnceLock;

use crate::error::{NetError, Result};
use crate::sys;

/// `NCCL_NET_HANDLE_MAXSIZE`.
pub const HANDLE_SIZE: usize = 128;
const MAGIC: [u8; 8] = *b"flexmig1";

/// Where in the world a process is, as far as shared memory is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The running kernel's boot id.
    boot: [u8; 16],
    /// The network namespace, which abstract sockets belong to.
    network: [u8; 16],
}

impl Place {
    /// The place of this process.
    pub fn here() -> Self {
        static HERE: OnceLock<Place> = OnceLock::new();
        *HERE.get_or_init(|| {
            let text =
                std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let (device, inode) = sys::file_id(c"/proc/self/ns/net").unwrap_or_default();
            let mut network = [0; 16];
            network[..8].copy_from_slice(&device.to_le_bytes());
            network[8..].copy_from_slice(&inode.to_le_bytes());
            Self { boot: hex_bytes(&text), network }
        })
    }

    /// Whether both places are known and the same.
    pub fn shares_memory_with(&self, other: &Self) -> bool {
        self == other && self.boot != [0; 16] && self.network != [0; 16]
    }

    /// One number for this host, the same in all its processes.
    pub fn host_number(&self) -> u64 {
        self.boot.chunks(8).fold(0, |sum: u64, part| {
            let word = part.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            sum.rotate_left(1) ^ word
        })
    }
}

/// The hexadecimal digits of a text as bytes; other characters are skipped.
fn hex_bytes(text: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let digits = text.chars().filter_map(|c| c.to_digit(16));
    for (i, digit) in digits.take(32).enumerate() {
        bytes[i / 2] = bytes[i / 2] << 4 | digit as u8;
    }
    bytes
}

/// A receiver's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Where the receiver is.
    pub place: Place,
    /// Random part of the abstract socket's name; `None`: it has none.
    pub name: Option<[u8; 16]>,
    /// What a TCP connection must say first.
    pub secret: [u8; 16],
    /// TCP address; `None`: it has none.
    pub tcp: Option<SocketAddr>,
}

/// The abstract socket's name, without the leading NUL.
pub fn socket_name(random: &[u8; 16]) -> Vec<u8> {
    let mut name = b"flexmig-".to_vec();
    for byte in random {
        name.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    name
}

const SHM: u8 = 1;
const TCP4: u8 = 2;
const TCP6: u8 = 4;

impl Handle {
    /// As bytes.
    pub fn encode(&self) -> [u8; HANDLE_SIZE] {
        let mut bytes = [0; HANDLE_SIZE];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        let (kind, address, port, scope) = match self.tcp {
            None => (0, [0; 16], 0, 0),
            Some(SocketAddr::V4(v4)) => (TCP4, v4.ip().to_ipv6_mapped().octets(), v4.port(), 0),
            Some(SocketAddr::V6(v6)) => (TCP6, v6.ip().octets(), v6.port(), v6.scope_id()),
        };
        let shm = if self.name.is_some() { SHM } else { 0 };
        put(&MAGIC);
        put(&self.place.boot);
        put(&self.place.network);
        put(&self.name.unwrap_or_default());
        put(&self.secret);
        put(&address);
        put(&scope.to_le_bytes());
        put(&port.to_le_bytes());
        put(&[kind | shm]);
        bytes
    }

    /// From the bytes that NCCL delivered.
    pub fn decode(bytes: &[u8; HANDLE_SIZE]) -> Result<Self> {
        let mut rest = &bytes[..];
        if take(&mut rest) != MAGIC {
            return Err(NetError::argument(
                "this handle was not made by the flexmig plugin: give all ranks the same \
                 NCCL_NET_PLUGIN, and the same version of it",
            ));
        }
        let place = Place { boot: take(&mut rest), network: take(&mut rest) };
        let (name, secret) = (take(&mut rest), take(&mut rest));
        let address = Ipv6Addr::from(take::<16>(&mut rest));
        let scope = u32::from_le_bytes(take(&mut rest));
        let port = u16::from_le_bytes(take(&mut rest));
        let [kind] = take(&mut rest);
        let tcp = if kind & TCP4 != 0 {
            let v4 = address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
            Some(SocketAddr::new(IpAddr::V4(v4), port))
        } else if kind & TCP6 != 0 {
            Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope)))
        } else {
            None
        };
        Ok(Self { place, name: (kind & SHM != 0).then_some(name), secret, tcp })
    }
}

/// The next `N` bytes; zeroes past the end.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut part = [0; N];
    if let Some((first, after)) = rest.split_at_checked(N) {
        part.copy_from_slice(first);
        *rest = after;
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(tcp: Option<&str>) -> Handle {
        Handle {
            place: Place { boot: [7; 16], network: [9; 16] },
            name: Some([0xab; 16]),
            secret: [3; 16],
            tcp: tcp.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn handles_travel_as_bytes() {
        for tcp in [None, Some("10.1.2.3:4000"), Some("[fe80::1%5]:70"), Some("[::1]:9")] {
            let handle = sample(tcp);
            assert_eq!(Handle::decode(&handle.encode()), Ok(handle));
        }
        let without = Handle { name: None, ..sample(Some("1.2.3.4:5")) };
        assert_eq!(
            Handle::decode(&without.encode()).unwrap().name,
            Some([0xab; 16]).filter(|_| false)
        );
    }

    #[test]
    fn a_foreign_handle_is_refused() {
        let error = Handle::decode(&[0; HANDLE_SIZE]).unwrap_err();
        assert!(error.to_string().contains("NCCL_NET_PLUGIN"), "{error}");
    }

    #[test]
    fn the_unknown_place_shares_nothing() {
        let nowhere = Place { boot: [0; 16], network: [0; 16] };
        assert!(!nowhere.shares_memory_with(&nowhere));
        let here = Place::here();
        assert!(here.shares_memory_with(&here), "{here:?}");
        assert!(!here.shares_memory_with(&sample(None).place));
    }

    #[test]
    fn names_are_hexadecimal() {
        assert_eq!(socket_name(&[0x0f; 16]), b"flexmig-0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
        assert_eq!(hex_bytes("0102-ff")[..3], [1, 2, 0xff]);
    }
}
