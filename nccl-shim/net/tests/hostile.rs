//! A peer that is broken or hostile: what it writes into the ring is never an
//! index, and what it does to the memory is never our crash.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nccl_net_flexmig::error::REMOTE;
use nccl_net_flexmig::ring::{Consumer, Kind, Memory, Producer, SLOTS};
use nccl_net_flexmig::shm::{DATA_OFFSET, Mapping};
use nccl_net_flexmig::sys;

const CAPACITY: usize = 64 << 10;

/// Two mappings of one ring.
fn pair() -> (Mapping, Mapping) {
    let ours = Mapping::create(CAPACITY).expect("a ring");
    let fd = ours.fd().try_clone_to_owned().expect("dup");
    let theirs = Mapping::adopt(fd, CAPACITY).expect("the same ring");
    (ours, theirs)
}

/// A small generator.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// All of the shared part but the data, as words.
fn words(memory: &Mapping) -> &[AtomicU64] {
    let control: *const _ = memory.control();
    let count = size_of_val(memory.control()) / 8;
    // SAFETY: the control part consists of atomics; every bit pattern is valid.
    unsafe { std::slice::from_raw_parts(control.cast(), count) }
}

#[test]
fn a_receiver_survives_any_words() {
    let mut state = 42;
    for round in 0..3000 {
        let (ours, theirs) = pair();
        let mut ring = Consumer::new(ours);
        let mut data = vec![0xeeu8; 4096];
        for step in 0..40 {
            for _ in 0..4 {
                let at = random(&mut state) as usize % words(&theirs).len();
                let value = match random(&mut state) % 4 {
                    // Likely numbers: the next message, small lengths of every kind.
                    0 => step + 1,
                    1 => ((random(&mut state) % 4) << 62) | (random(&mut state) % 5000),
                    2 => random(&mut state) % (4 * CAPACITY as u64),
                    _ => random(&mut state),
                };
                words(&theirs)[at].store(value, Ordering::Relaxed);
            }
            // Announce something, so that the checks are reached.
            let message = match ring.peek() {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(error) => {
                    assert_eq!(error.code(), REMOTE, "{round}: {error}");
                    break;
                }
            };
            // What a link does: a message longer than the buffer is refused.
            let len = message.len as usize;
            if len > data.len() - 64 {
                break;
            }
            // SAFETY: the buffer has room for `len` bytes.
            let taken = unsafe {
                match message.kind {
                    Kind::Inline => ring.inline(data.as_mut_ptr(), len),
                    Kind::Block => ring.block(data.as_mut_ptr(), len),
                    Kind::Stream => {
                        if ring.stream(data.as_mut_ptr(), len, 1024, false).is_err() {
                            break;
                        }
                    }
                    Kind::Rendezvous(_) => {}
                }
                len
            };
            assert!(data[taken.max(4096 - 64)..].iter().all(|&byte| byte == 0xee), "{round}");
            ring.finish();
        }
    }
}

#[test]
fn a_sender_survives_any_words() {
    let mut state = 4711;
    for round in 0..3000 {
        let (ours, theirs) = pair();
        let mut ring = Producer::new(ours);
        let data = vec![7u8; 8192];
        for step in 0..3 * SLOTS {
            let at = random(&mut state) as usize % words(&theirs).len();
            let value = match random(&mut state) % 3 {
                0 => random(&mut state) % (step as u64 + 2),
                1 => random(&mut state) % (4 * CAPACITY as u64),
                _ => random(&mut state),
            };
            words(&theirs)[at].store(value, Ordering::Relaxed);
            let len = random(&mut state) as usize % data.len();
            // SAFETY: `data` is that long.
            let sent = unsafe {
                match len {
                    0..=112 => ring.inline(data.as_ptr(), len),
                    _ => ring.block(data.as_ptr(), len),
                }
            };
            if let Err(error) = sent {
                assert_eq!(error.code(), REMOTE, "{round}: {error}");
                break;
            }
        }
    }
}

#[test]
fn the_ring_cannot_be_cut_short() {
    let (ours, theirs) = pair();
    for size in [0, 4096, DATA_OFFSET + CAPACITY - 1, DATA_OFFSET + 2 * CAPACITY] {
        // SAFETY: a plain system call.
        let result = unsafe { libc::ftruncate(theirs.fd().as_raw_fd(), size as libc::off_t) };
        assert_eq!(result, -1, "ftruncate to {size}");
    }
    // SAFETY: as above. A hole would be no fault either: it reads as zeroes.
    let shrink = unsafe { libc::fcntl(theirs.fd().as_raw_fd(), libc::F_ADD_SEALS, 0) };
    assert_eq!(shrink, -1, "no further seals, such as against writing");
    let mut ring = Producer::new(ours);
    // SAFETY: one byte.
    assert_eq!(unsafe { ring.inline([1].as_ptr(), 1) }, Ok(true));
}

#[test]
fn soft_or_short_memory_is_not_adopted() {
    let size = DATA_OFFSET + CAPACITY;
    let offer = |fd: std::os::fd::OwnedFd| Mapping::adopt(fd, CAPACITY).unwrap_err();
    let file = tempfile();
    file.set_len(size as u64).unwrap();
    assert_eq!(offer(file.into()).code(), REMOTE, "an ordinary file");
    let short = sys::sealed_memfd(c"short", size - 4096).unwrap();
    assert!(sys::is_sealed(short.as_fd(), size - 4096));
    assert_eq!(offer(short).code(), REMOTE, "shorter than it says");
    // SAFETY: a fresh descriptor.
    let soft = unsafe {
        let fd = libc::memfd_create(c"soft".as_ptr(), libc::MFD_ALLOW_SEALING);
        libc::ftruncate(fd, size as libc::off_t);
        <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd)
    };
    assert_eq!(offer(soft).code(), REMOTE, "not sealed");
}

fn tempfile() -> std::fs::File {
    let path = std::env::temp_dir().join(format!("net-hostile-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}
