//! A rank for the tests: `net-peer PLUGIN VERSION RANK RANKS DIRECTORY SCRIPT [ARGUMENT]`.
//!
//! Ranks meet through files in the directory. Each sends to the next and receives
//! from the one before. Exit codes: 0 all well, 42 the plugin said remote error,
//! 43 told to stop while still connecting, else a failed assertion.

mod plugin;
mod scripts;

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plugin::Plugin;

/// `ncclRemoteError`.
const REMOTE: i32 = 6;
const EXIT_REMOTE: i32 = 42;
const EXIT_UNMET: i32 = 43;

/// A rank that is connected to its neighbours.
struct Rank {
    plugin: Plugin,
    rank: usize,
    send: *mut c_void,
    recv: *mut c_void,
    directory: PathBuf,
}

/// Writes a file so that it appears whole.
fn publish(path: &Path, bytes: &[u8]) {
    let part = path.with_extension("part");
    std::fs::write(&part, bytes).unwrap();
    std::fs::rename(part, path).unwrap();
}

fn or_exit<T>(answer: plugin::Answer<T>) -> T {
    match answer {
        Ok(value) => value,
        Err(REMOTE) => leave(EXIT_REMOTE),
        Err(code) => panic!("ncclResult_t {code}"),
    }
}

/// Out, without the harness's destructors.
fn leave(code: i32) -> ! {
    std::process::exit(code)
}

impl Rank {
    /// Meets the others. `stop`: a file that says the other side was killed.
    fn meet(plugin: Plugin, rank: usize, ranks: usize, directory: &Path) -> Self {
        let (listener, handle) = plugin.listen().expect("listen");
        publish(&directory.join(format!("handle-{rank}")), &handle);
        let theirs = directory.join(format!("handle-{}", (rank + 1) % ranks));
        let stop = directory.join("killed");
        let (mut send, mut recv, mut handle) = (None, None, None);
        let (start, mut told) = (Instant::now(), None);
        while send.is_none() || recv.is_none() {
            if handle.is_none() {
                handle = std::fs::read(&theirs).ok().map(|bytes| {
                    let bytes: [u8; 128] = bytes.try_into().expect("128 bytes");
                    Box::new(bytes)
                });
            }
            if let (Some(handle), None) = (&mut handle, send) {
                send = or_exit(plugin.connect(handle));
            }
            if recv.is_none() {
                recv = or_exit(plugin.accept(listener));
            }
            if stop.exists() && told.get_or_insert_with(Instant::now).elapsed().as_millis() > 300 {
                leave(EXIT_UNMET);
            }
            assert!(start.elapsed() < Duration::from_secs(30), "rank {rank} met nobody");
            std::thread::yield_now();
        }
        plugin.close_listen(listener);
        let (send, recv) = (send.unwrap(), recv.unwrap());
        Self { plugin, rank, send, recv, directory: directory.into() }
    }

    fn close(&self) {
        self.plugin.close_send(self.send);
        self.plugin.close_recv(self.recv);
    }
}

/// Open descriptors and ring mappings of this process.
fn holdings() -> (usize, usize) {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (fds, maps.matches("flexmig-ring").count())
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let number = |at: usize| words[at].parse::<usize>().unwrap();
    // SAFETY: a plain system call; a rank never outlives its test.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    publish(&Path::new(&words[5]).join(format!("up-{}", words[3])), &[]);
    let plugin = Plugin::load(Path::new(&words[1]), number(2) as u32);
    let before = holdings();
    let argument = words.get(7).map_or("", String::as_str);
    let rank = Rank::meet(plugin, number(3), number(4), Path::new(&words[5]));
    match words[6].as_str() {
        "exchange" => scripts::exchange(&rank, number(4), argument),
        "exchange-tcp" => {
            assert_eq!(holdings().1, 0, "there is a ring");
            scripts::exchange(&rank, number(4), argument);
        }
        "forever" => scripts::forever(&rank, number(4), argument, before),
        "close-early" => scripts::close_early(&rank),
        "too-long" => scripts::too_long(&rank),
        "gibibyte" => scripts::gibibyte(&rank),
        other => panic!("no script {other}"),
    }
    rank.close();
    assert_eq!(holdings(), before, "descriptors and mappings after close");
}
