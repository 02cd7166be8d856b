//! The plugin's own settings, one row each.
//!
//! | variable | takes | default | for |
//! |---|---|---|---|
//! | `FLEXMIG_NET_TRANSPORT` | `auto`, `tcp` | `auto` | TCP even within a host |
//! | `FLEXMIG_NET_RING` | 64K to 64M | 2M | memory of a connection |
//! | `FLEXMIG_NET_SINGLE_COPY` | `1`, `0` | `1` | long messages straight from process to process |
//! | `FLEXMIG_NET_SOCKETS` | 1 to 16 | 4 | sockets of a TCP connection |
//! | `FLEXMIG_NET_LIVENESS` | `auto`, `lock` | `auto` | record locks instead of pidfds |
//! | `FLEXMIG_LOG` | `error`, `warn`, `info`, `debug` | `warn` | lines on stderr |
//! | `NCCL_SOCKET_IFNAME`, `NCCL_SOCKET_FAMILY` | as for NCCL | | the interface for TCP |
//!
//! A value that cannot be read is named on stderr, with what to write instead, and
//! the default is used: a job never fails for a typing mistake here.

use std::sync::OnceLock;

use crate::log;
use crate::polled::Polled;

/// Which transports may be used within a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Shared memory where it is to be had, else TCP.
    Auto,
    /// TCP even within a host.
    Tcp,
}

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `FLEXMIG_NET_TRANSPORT`: `auto`, or `tcp`.
    pub transport: Transport,
    /// `FLEXMIG_NET_RING`: bytes of a ring's data area, 64K to 64M.
    pub ring: usize,
    /// `FLEXMIG_NET_SINGLE_COPY`: if not, all messages are copied through the ring.
    pub single_copy: bool,
    /// What the GPU may poll, by NCCL's own variables.
    pub polled: Polled,
    /// `FLEXMIG_NET_SOCKETS`: sockets of a TCP connection, 1 to 16.
    pub sockets: usize,
    /// `FLEXMIG_NET_LIVENESS`: `auto`, or `lock` to use record locks instead of pidfds.
    pub locks_only: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transport: Transport::Auto,
            ring: 2 << 20,
            single_copy: true,
            polled: Polled::from_env(|_| None),
            sockets: 4,
            locks_only: false,
        }
    }
}

/// The row of a setting: its name and what it takes.
struct Row {
    name: &'static str,
    takes: &'static str,
    apply: fn(&mut Config, &str) -> Option<()>,
}

const ROWS: [Row; 5] = [
    Row {
        name: "FLEXMIG_NET_TRANSPORT",
        takes: "auto or tcp",
        apply: |config, text| {
            config.transport = match text {
                "auto" => Transport::Auto,
                "tcp" => Transport::Tcp,
                _ => return None,
            };
            Some(())
        },
    },
    Row {
        name: "FLEXMIG_NET_RING",
        takes: "a size from 64K to 64M",
        apply: |config, text| {
            let size = parse_size(text).filter(|size| (64 << 10..=64 << 20).contains(size))?;
            config.ring = size.next_multiple_of(4096);
            Some(())
        },
    },
    Row {
        name: "FLEXMIG_NET_SINGLE_COPY",
        takes: "0 or 1",
        apply: |config, text| {
            config.single_copy = parse_switch(text)?;
            Some(())
        },
    },
    Row {
        name: "FLEXMIG_NET_SOCKETS",
        takes: "a number from 1 to 16",
        apply: |config, text| {
            config.sockets = text.parse().ok().filter(|n| (1..=16).contains(n))?;
            Some(())
        },
    },
    Row {
        name: "FLEXMIG_NET_LIVENESS",
        takes: "auto or lock",
        apply: |config, text| {
            config.locks_only = match text {
                "auto" => false,
                "lock" => true,
                _ => return None,
            };
            Some(())
        },
    },
];

fn parse_size(text: &str) -> Option<usize> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        _ => (text, 0),
    };
    digits.parse::<usize>().ok()?.checked_shl(shift)
}

fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "0" | "off" | "no" | "false" => Some(false),
        "1" | "on" | "yes" | "true" | "auto" => Some(true),
        _ => None,
    }
}

impl Config {
    /// From variables, as `get` gives them; `complain` gets one line per bad value.
    pub fn read(get: impl Fn(&str) -> Option<String>, mut complain: impl FnMut(String)) -> Self {
        let mut config = Self { polled: Polled::from_env(&get), ..Self::default() };
        for row in &ROWS {
            let Some(text) = get(row.name) else { continue };
            let word = text.trim().to_ascii_lowercase();
            if !word.is_empty() && (row.apply)(&mut config, &word).is_none() {
                let text: String = text.chars().take(40).collect();
                complain(format!("{}={text}: not understood: give it {}", row.name, row.takes));
            }
        }
        if let Some(text) = get("FLEXMIG_LOG")
            && !text.is_empty()
            && log::Level::parse(&text).is_none()
        {
            let text: String = text.chars().take(40).collect();
            complain(format!(
                "FLEXMIG_LOG={text}: not understood: give it error, warn, info or debug"
            ));
        }
        config
    }

    /// Of this process's environment, read once.
    pub fn get() -> &'static Self {
        static CONFIG: OnceLock<Config> = OnceLock::new();
        CONFIG.get_or_init(|| {
            let get = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
            Self::read(get, log::warn)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
        let mut lines = Vec::new();
        let get = |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let config = Config::read(get, |line| lines.push(line));
        (config, lines)
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(read(&[]), (Config::default(), vec![]));
        assert_eq!(read(&[("FLEXMIG_NET_RING", "")]), (Config::default(), vec![]));
    }

    #[test]
    fn values_are_read_leniently() {
        let (config, lines) = read(&[
            ("FLEXMIG_NET_TRANSPORT", " TCP "),
            ("FLEXMIG_NET_RING", "8M"),
            ("FLEXMIG_NET_SINGLE_COPY", "off"),
            ("FLEXMIG_NET_SOCKETS", "8"),
            ("FLEXMIG_NET_LIVENESS", "lock"),
        ]);
        let expected = Config {
            transport: Transport::Tcp,
            ring: 8 << 20,
            single_copy: false,
            polled: Config::default().polled,
            sockets: 8,
            locks_only: true,
        };
        assert_eq!((config, lines), (expected, vec![]));
    }

    #[test]
    fn a_bad_value_is_one_line_and_the_default() {
        let bad = [
            ("FLEXMIG_NET_TRANSPORT", "rdma"),
            ("FLEXMIG_NET_RING", "3G"),
            ("FLEXMIG_NET_RING", "99999999999999999999M"),
            ("FLEXMIG_NET_RING", "1K"),
            ("FLEXMIG_NET_SOCKETS", "0"),
            ("FLEXMIG_NET_SINGLE_COPY", "perhaps"),
            ("FLEXMIG_NET_LIVENESS", "\u{2713}"),
            ("FLEXMIG_LOG", "loud"),
        ];
        for pair in bad {
            let (config, lines) = read(&[pair]);
            assert_eq!(config, Config::default(), "{pair:?}");
            assert_eq!(lines.len(), 1, "{pair:?}");
            assert!(lines[0].contains(pair.0) && lines[0].contains("give it"), "{}", lines[0]);
        }
    }
}
