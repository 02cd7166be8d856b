//! What ranks do.

use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use crate::{EXIT_REMOTE, REMOTE};
use crate::{Rank, holdings, leave, or_exit, plugin, publish};

/// A small generator, the same in every process with the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A size of every kind that the plugin treats differently.
    fn size(&mut self, limit: usize) -> usize {
        let shift = self.below(limit.ilog2() as usize + 1);
        let size = match self.below(8) {
            0 => 0,
            1 => 1 << shift,
            2 => (1 << shift) + 1,
            _ => self.below((1 << shift) + 1),
        };
        size.min(limit)
    }
}

/// The words of a message: a wrong byte, place or message shows.
fn words(seed: u64) -> impl Iterator<Item = [u8; 8]> {
    let mut word = seed.wrapping_mul(0xd134_2543_de82_ef95);
    std::iter::repeat_with(move || {
        word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        word.to_le_bytes()
    })
}

fn fill(data: &mut [u8], seed: u64) {
    for (part, word) in data.chunks_mut(8).zip(words(seed)) {
        part.copy_from_slice(&word[..part.len()]);
    }
}

fn check(data: &[u8], seed: u64) {
    for (at, (part, word)) in data.chunks(8).zip(words(seed)).enumerate() {
        assert!(part == &word[..part.len()], "message {seed:x}: wrong at byte {}", at * 8);
    }
}

/// A message in flight.
struct Message {
    request: *mut c_void,
    data: Vec<u8>,
    number: u64,
    len: usize,
}

/// What a traffic run is made of.
struct Traffic {
    /// Messages in each direction.
    count: u64,
    /// The longest, in bytes.
    limit: usize,
    /// In flight in each direction.
    window: usize,
    seed: u64,
}

/// Room behind a received message, to see that nothing is written there.
const SPARE: usize = 9;

impl Traffic {
    /// Keeps both directions busy, polls in random order, checks every byte.
    fn run(&self, rank: &Rank, ranks: usize) -> plugin::Answer<()> {
        let (mut sizes_out, mut sizes_in) = (Random::new(self.seed), Random::new(self.seed));
        let mut polls = Random::new(self.seed ^ (rank.rank as u64 + 17));
        let sender = (rank.rank + ranks - 1) % ranks;
        let tag = |rank: usize, number: u64| (rank as u64) << 48 | number;
        let (mut out, mut into): (Vec<Message>, Vec<Message>) = (Vec::new(), Vec::new());
        let (mut sent, mut received, mut over) = (0, 0, 0);
        let (mut next_out, mut next_in) = (sizes_out.size(self.limit), sizes_in.size(self.limit));
        let mut last = Instant::now();
        while over < 2 * self.count {
            if sent < self.count && out.len() < self.window {
                // At an odd address now and then.
                let pad = polls.below(3);
                let mut data = vec![0; next_out + pad];
                fill(&mut data[pad..], tag(rank.rank, sent));
                if let Some(request) = rank.plugin.isend(rank.send, &data[pad..])? {
                    out.push(Message { request, data, number: sent, len: next_out });
                    sent += 1;
                    next_out = sizes_out.size(self.limit);
                }
            }
            if received < self.count && into.len() < self.window {
                let mut data = vec![0xee; next_in + SPARE];
                if let Some(request) = rank.plugin.irecv(rank.recv, &mut data)? {
                    into.push(Message { request, data, number: received, len: next_in });
                    received += 1;
                    next_in = sizes_in.size(self.limit);
                }
            }
            for (messages, receiving) in [(&mut out, false), (&mut into, true)] {
                if messages.is_empty() {
                    continue;
                }
                let at = polls.below(messages.len());
                let Some(size) = rank.plugin.test(messages[at].request)? else { continue };
                let message = messages.swap_remove(at);
                assert_eq!(size, message.len, "size of message {}", message.number);
                if receiving {
                    let (data, spare) = message.data.split_at(message.len);
                    check(data, tag(sender, message.number));
                    assert!(spare.iter().all(|&byte| byte == 0xee), "written past the message");
                }
                over += 1;
                last = Instant::now();
            }
            assert!(last.elapsed() < Duration::from_secs(30), "rank {}: stuck", rank.rank);
        }
        Ok(())
    }
}

/// `COUNT:LIMIT:WINDOW:SEED`: so many messages, all right.
pub fn exchange(rank: &Rank, ranks: usize, argument: &str) {
    let mut numbers = argument.split(':').map(|word| word.parse::<u64>().unwrap());
    let mut next = || numbers.next().unwrap();
    let (count, limit, window, seed) = (next(), next() as usize, next() as usize, next());
    or_exit(Traffic { count, limit, window, seed }.run(rank, ranks));
    // Nobody leaves before all are through: a closed end is an error for the other.
    publish(&rank.directory.join(format!("through-{}", rank.rank)), b"");
    for other in 0..ranks {
        await_file(rank, &format!("through-{other}"));
    }
}

/// Waits for a word from another rank.
fn await_file(rank: &Rank, name: &str) {
    let start = Instant::now();
    while !rank.directory.join(name).exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "rank {}: no {name}", rank.rank);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Traffic until the other side dies. With argument `child` a forked child stays
/// behind, as a DataLoader's worker would. Leaves by `EXIT_REMOTE`, all closed.
pub fn forever(rank: &Rank, ranks: usize, argument: &str, before: (usize, usize)) {
    if argument.starts_with("child") {
        leave_a_child(rank);
    }
    // Mostly short messages, or mostly long ones: the same on both sides.
    let limit = if argument.ends_with(['0', '2', '4', '6', '8']) { 64 << 10 } else { 8 << 20 };
    let traffic = Traffic { count: u64::MAX / 2, limit, window: 8, seed: 99 };
    match traffic.run(rank, ranks) {
        Err(REMOTE) => {
            rank.close();
            assert_eq!(holdings(), before, "descriptors and mappings after close");
            leave(EXIT_REMOTE)
        }
        other => panic!("the other side was killed, and: {other:?}"),
    }
}

/// Forks a child that lives as long as the ranks' folder does.
fn leave_a_child(rank: &Rank) {
    let path = CString::new(rank.directory.as_os_str().as_bytes()).unwrap();
    // SAFETY: the child calls only async-signal-safe functions.
    unsafe {
        if libc::fork() == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, 0);
            for output in 0..3 {
                libc::close(output);
            }
            while libc::access(path.as_ptr(), libc::F_OK) == 0 {
                libc::usleep(20_000);
            }
            libc::_exit(0);
        }
    }
}

/// Rank 0 closes after 10 messages; rank 1 still gets them all, then an error.
pub fn close_early(rank: &Rank) {
    let (mut data, mut got) = (vec![0; 4096], 0);
    if rank.rank == 0 {
        for number in 0..10 {
            fill(&mut data, number);
            let request = or_exit(rank.plugin.isend(rank.send, &data)).expect("room for ten");
            while or_exit(rank.plugin.test(request)).is_none() {}
        }
        return;
    }
    let start = Instant::now();
    loop {
        let step = |data: &mut Vec<u8>| -> plugin::Answer<()> {
            let Some(request) = rank.plugin.irecv(rank.recv, data)? else { return Ok(()) };
            while rank.plugin.test(request)?.is_none() {
                assert!(start.elapsed() < Duration::from_secs(10), "no error after {got}");
            }
            Ok(())
        };
        match step(&mut data) {
            Ok(()) => {
                check(&data, got);
                got += 1;
            }
            Err(code) => {
                assert_eq!((code, got), (REMOTE, 10));
                return;
            }
        }
    }
}

/// Rank 0 sends more than rank 1 asked for: an error, and not a byte too many.
pub fn too_long(rank: &Rank) {
    const INVALID_USAGE: i32 = 5;
    if rank.rank == 0 {
        let data = vec![7; 1000];
        or_exit(rank.plugin.isend(rank.send, &data));
        publish(&rank.directory.join("sent"), b"");
        await_file(rank, "seen");
        return;
    }
    await_file(rank, "sent");
    let mut data = vec![0xee; 1000];
    let outcome = loop {
        match rank.plugin.irecv(rank.recv, &mut data[..999]) {
            Ok(Some(request)) => match rank.plugin.test(request) {
                Ok(None) => {}
                Ok(Some(size)) => panic!("{size} bytes came"),
                Err(code) => break code,
            },
            Ok(None) => {}
            Err(code) => break code,
        }
    };
    assert_eq!(outcome, INVALID_USAGE);
    assert!(data.iter().all(|&byte| byte == 0xee));
    publish(&rank.directory.join("seen"), b"");
}

/// One message of 1 GiB from rank 0 to rank 1.
pub fn gibibyte(rank: &Rank) {
    const SIZE: usize = 1 << 30;
    let mut data = vec![0; SIZE];
    let mut request = None;
    if rank.rank == 0 {
        fill(&mut data, 3);
    }
    while request.is_none() {
        request = or_exit(match rank.rank {
            0 => rank.plugin.isend(rank.send, &data),
            _ => rank.plugin.irecv(rank.recv, &mut data),
        });
    }
    let Some(request) = request else { return };
    let start = Instant::now();
    let size = loop {
        if let Some(size) = or_exit(rank.plugin.test(request)) {
            break size;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "stuck");
    };
    assert_eq!(size, SIZE);
    if rank.rank == 0 {
        await_file(rank, "seen");
    } else {
        check(&data, 3);
        publish(&rank.directory.join("seen"), b"");
    }
}
