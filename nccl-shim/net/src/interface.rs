//! Which address a receiver gives to senders on other hosts.
//!
//! The user's `NCCL_SOCKET_IFNAME` and `NCCL_SOCKET_FAMILY` hold here as they do for
//! NCCL itself.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// An interface: name, address, scope of a link-local address, loopback or not.
pub type Interface = (String, IpAddr, u32, bool);

/// `NCCL_SOCKET_IFNAME`: a list of prefixes, `=` for whole names, `^` for all others.
#[derive(Debug, Default)]
struct Names {
    except: bool,
    exact: bool,
    list: Vec<String>,
}

impl Names {
    fn parse(text: &str) -> Self {
        let (except, text) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
        let (exact, text) = text.strip_prefix('=').map_or((false, text), |rest| (true, rest));
        let list = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        Self { except, exact, list: list.map(str::to_owned).collect() }
    }

    fn lists(&self, name: &str) -> bool {
        let hit = |one: &String| if self.exact { name == one } else { name.starts_with(one) };
        self.list.iter().any(hit)
    }
}

/// The address to listen at, of those at hand.
pub fn choose(all: &[Interface], names: Option<&str>, family: Option<&str>) -> Option<SocketAddr> {
    let wanted_family = |address: &IpAddr| match family {
        Some("AF_INET") => address.is_ipv4(),
        Some("AF_INET6") => address.is_ipv6(),
        _ => true,
    };
    let names = names.map(Names::parse).filter(|names| !names.list.is_empty());
    let usable = |one: &&Interface| {
        wanted_family(&one.1)
            && match &names {
                Some(names) => names.lists(&one.0) != names.except,
                None => true,
            }
    };
    // Container bridges come last but for loopback, IPv6 after IPv4, link-local
    // addresses after routed ones.
    let rank = |one: &&Interface| {
        let bridge = ["docker", "virbr", "veth", "br-"].iter().any(|p| one.0.starts_with(p));
        let link_local = match one.1 {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
        };
        (one.3, bridge, link_local, one.1.is_ipv6())
    };
    all.iter().filter(usable).min_by_key(rank).map(|one| match one.1 {
        IpAddr::V4(v4) => SocketAddr::new(IpAddr::V4(v4), 0),
        IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, 0, 0, one.2)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Vec<Interface> {
        [
            ("lo", "127.0.0.1", true),
            ("docker0", "172.17.0.1", false),
            ("eth0", "fe80::1", false),
            ("eth0", "10.0.0.5", false),
            ("ib0", "10.9.0.5", false),
            ("eth0", "2001:db8::5", false),
        ]
        .map(|(name, address, loopback)| (name.into(), address.parse().unwrap(), 3, loopback))
        .to_vec()
    }

    fn chosen(names: Option<&str>, family: Option<&str>) -> Option<String> {
        choose(&host(), names, family).map(|address| address.ip().to_string())
    }

    #[test]
    fn a_routed_ipv4_address_comes_first() {
        assert_eq!(chosen(None, None).as_deref(), Some("10.0.0.5"));
        assert_eq!(choose(&host()[..1], None, None), Some("127.0.0.1:0".parse().unwrap()));
        assert_eq!(choose(&host()[..2], None, None), Some("172.17.0.1:0".parse().unwrap()));
        assert_eq!(choose(&[], None, None), None);
    }

    #[test]
    fn the_users_choice_holds() {
        assert_eq!(chosen(Some("ib"), None).as_deref(), Some("10.9.0.5"));
        assert_eq!(chosen(Some("=ib"), None), None, "no interface of exactly this name");
        assert_eq!(chosen(Some("=ib0,eth7"), None).as_deref(), Some("10.9.0.5"));
        assert_eq!(chosen(Some("^eth,docker,lo"), None).as_deref(), Some("10.9.0.5"));
        assert_eq!(chosen(None, Some("AF_INET6")).as_deref(), Some("2001:db8::5"));
        assert_eq!(chosen(Some(""), None).as_deref(), Some("10.0.0.5"), "empty is unset");
    }
}
