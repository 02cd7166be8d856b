//! The ring and the grant under every interleaving that loom can make:
//! `cargo test -p flexmig-nccl-net --features loom --test loom --release`.
#![cfg(feature = "loom")]

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use nccl_net_flexmig::grant::Grant;
use nccl_net_flexmig::ring::{ALIGN, Consumer, Control, Kind, Memory, Producer};

/// Shared memory in small: two units of data, each a cell that loom watches.
struct Model {
    control: Control,
    data: Vec<UnsafeCell<u8>>,
}

#[derive(Clone)]
struct Shared(Arc<Model>);

const UNITS: usize = 2;

impl Shared {
    fn new() -> Self {
        let data = (0..UNITS).map(|_| UnsafeCell::new(0)).collect();
        Self(Arc::new(Model { control: Control::default(), data }))
    }

    fn unit(&self, offset: usize, len: usize) -> &UnsafeCell<u8> {
        assert!(offset.is_multiple_of(ALIGN) && len <= ALIGN, "one unit at a time");
        &self.0.data[offset / ALIGN]
    }
}

impl Memory for Shared {
    fn control(&self) -> &Control {
        &self.0.control
    }

    fn capacity(&self) -> usize {
        UNITS * ALIGN
    }

    unsafe fn write(&self, offset: usize, src: *const u8, len: usize) {
        // A unit's first byte stands for all of them.
        // SAFETY: the caller's `src`; loom checks the cell.
        self.unit(offset, len).with_mut(|cell| unsafe { *cell = *src });
    }

    unsafe fn read(&self, offset: usize, dst: *mut u8, len: usize, _streaming: bool) {
        // SAFETY: the caller's `dst`; loom checks the cell.
        self.unit(offset, len).with(|cell| unsafe { *dst = *cell });
    }
}

fn message(number: u8) -> [u8; ALIGN] {
    [number; ALIGN]
}

#[test]
fn inline_and_block_messages_arrive_in_order() {
    loom::model(|| {
        let memory = Shared::new();
        let theirs = memory.clone();
        let sender = thread::spawn(move || {
            let mut ring = Producer::new(theirs);
            for number in 1..=3u8 {
                let data = message(number);
                // SAFETY: the message is ALIGN bytes long.
                while !unsafe {
                    match number {
                        2 => ring.inline(data.as_ptr(), 8),
                        _ => ring.block(data.as_ptr(), ALIGN),
                    }
                }
                .expect("honest peers")
                {
                    thread::yield_now();
                }
            }
        });
        let mut ring = Consumer::new(memory);
        for number in 1..=3u8 {
            let announced = loop {
                match ring.peek().expect("honest peers") {
                    Some(announced) => break announced,
                    None => thread::yield_now(),
                }
            };
            let mut data = [0; ALIGN];
            // SAFETY: the buffer is ALIGN bytes long.
            unsafe {
                match announced.kind {
                    Kind::Inline => ring.inline(data.as_mut_ptr(), 8),
                    _ => ring.block(data.as_mut_ptr(), ALIGN),
                }
            }
            assert_eq!(data[0], number);
            ring.finish();
        }
        sender.join().expect("the sender");
    });
}

#[test]
fn a_stream_longer_than_the_ring_arrives_whole() {
    const PIECES: usize = 3;
    loom::model(|| {
        let memory = Shared::new();
        let theirs = memory.clone();
        let sender = thread::spawn(move || {
            let mut ring = Producer::new(theirs);
            assert!(ring.has_slot().expect("honest peers"));
            ring.begin_stream(PIECES * ALIGN);
            let mut data = [0; PIECES * ALIGN];
            for (i, part) in data.chunks_mut(ALIGN).enumerate() {
                part.fill(i as u8 + 1);
            }
            let mut done = 0;
            while done < data.len() {
                let rest = &data[done..];
                // SAFETY: `rest` is as long as it says.
                let n = unsafe { ring.stream(rest.as_ptr(), rest.len(), ALIGN) };
                match n.expect("honest peers") {
                    0 => thread::yield_now(),
                    n => done += n,
                }
            }
        });
        let mut ring = Consumer::new(memory);
        while ring.peek().expect("honest peers").is_none() {
            thread::yield_now();
        }
        let (mut data, mut done) = ([0u8; PIECES * ALIGN], 0);
        while done < data.len() {
            let rest = &mut data[done..];
            // SAFETY: `rest` is as long as it says.
            let n = unsafe { ring.stream(rest.as_mut_ptr(), rest.len(), ALIGN, false) };
            match n.expect("honest peers") {
                0 => thread::yield_now(),
                n => done += n,
            }
        }
        let firsts: Vec<u8> = data.chunks(ALIGN).map(|part| part[0]).collect();
        assert_eq!(firsts, [1, 2, 3]);
        ring.finish();
        sender.join().expect("the sender");
    });
}

/// The buffer of the receiver: whoever claims a chunk owns its cell.
#[test]
fn every_chunk_has_one_writer_and_is_seen() {
    const CHUNKS: u32 = 3;
    loom::model(|| {
        let cells = || (0..CHUNKS).map(|_| UnsafeCell::new(0u8)).collect::<Vec<_>>();
        let shared = Arc::new((Grant::default(), cells()));
        let theirs = Arc::clone(&shared);
        let sender = thread::spawn(move || {
            let (grant, cells) = &*theirs;
            let mut back = 0;
            while let Some((index, _)) = grant.take_back(1, back, CHUNKS).expect("honest peers") {
                // SAFETY: the chunk is claimed; loom checks the cell.
                cells[index as usize].with_mut(|cell| unsafe { *cell = 2 });
                back += 1;
                grant.report(1, back, false);
            }
        });
        let (grant, cells) = &*shared;
        grant.open(1, 0);
        let mut front = 0;
        while let (Some(index), _) = grant.take_front(1, front, CHUNKS).expect("honest peers") {
            // SAFETY: the chunk is claimed; loom checks the cell.
            cells[index as usize].with_mut(|cell| unsafe { *cell = 1 });
            front += 1;
        }
        while front + grant.pushed(1).count < CHUNKS {
            thread::yield_now();
        }
        for (i, cell) in cells.iter().enumerate() {
            let expected = if (i as u32) < front { 1 } else { 2 };
            // SAFETY: complete: nobody writes any more; loom checks.
            assert_eq!(cell.with(|cell| unsafe { *cell }), expected);
        }
        sender.join().expect("the sender");
    });
}

/// The receiver takes its buffer back while the sender may be at it.
#[test]
fn nobody_writes_after_the_grant_is_taken_back() {
    static SHARES: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        let shared = Arc::new((Grant::default(), UnsafeCell::new(0u8)));
        let theirs = Arc::clone(&shared);
        let sender = thread::spawn(move || {
            let (grant, cell) = &*theirs;
            if grant.take_back(1, 0, 2).expect("honest peers").is_some() {
                // SAFETY: the chunk is claimed; loom checks the cell.
                cell.with_mut(|cell| unsafe { *cell = 2 });
                grant.report(1, 1, false);
            }
        });
        let (grant, cell) = &*shared;
        grant.open(1, 0);
        let claimed = grant.close();
        while grant.pushed(1).count < claimed {
            thread::yield_now();
        }
        SHARES.fetch_or(1 << claimed, Ordering::Relaxed);
        // The buffer is ours again. SAFETY: loom checks that nobody else writes.
        cell.with_mut(|cell| unsafe { *cell = 9 });
        sender.join().expect("the sender");
        // SAFETY: the sender is done.
        assert_eq!(cell.with(|cell| unsafe { *cell }), 9);
    });
    assert_eq!(SHARES.load(Ordering::Relaxed), 0b11, "with and without a claim");
}
