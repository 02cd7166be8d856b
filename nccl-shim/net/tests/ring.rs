//! The ring between two threads, in ordinary memory: for Miri and Valgrind, which
//! see no memfd.

use std::cell::UnsafeCell;
use std::sync::Arc;

use nccl_net_flexmig::copy;
use nccl_net_flexmig::ring::{Consumer, Control, INLINE, Kind, Memory, Producer};

const CAPACITY: usize = 4096;
const MESSAGES: usize = if cfg!(miri) { 60 } else { 3000 };

struct Heap {
    control: Control,
    data: UnsafeCell<[u8; CAPACITY]>,
}

// SAFETY: the ring's indices say which thread may touch which bytes; Miri checks.
unsafe impl Sync for Heap {}

#[derive(Clone)]
struct Shared(Arc<Heap>);

impl Memory for Shared {
    fn control(&self) -> &Control {
        &self.0.control
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }

    unsafe fn write(&self, offset: usize, src: *const u8, len: usize) {
        // SAFETY: the ring keeps the range within the capacity.
        unsafe { copy::bulk(self.0.data.get().cast::<u8>().add(offset), src, len) }
    }

    unsafe fn read(&self, offset: usize, dst: *mut u8, len: usize, streaming: bool) {
        // SAFETY: as above.
        unsafe {
            let src = self.0.data.get().cast::<u8>().add(offset);
            if streaming { copy::streaming(dst, src, len) } else { copy::forward(dst, src, len) }
        }
    }
}

/// The message with a number: sizes of every kind, bytes that tell places apart.
fn message(number: usize) -> Vec<u8> {
    let len = match number % 5 {
        0 => number % (INLINE + 1),
        1 => INLINE + 1 + number % 500,
        2 => 0,
        _ => 1000 + number * 37 % (3 * CAPACITY),
    };
    (0..len).map(|at| (at * 31 + number * 7) as u8).collect()
}

fn send(memory: Shared) {
    let mut ring = Producer::new(memory);
    for number in 0..MESSAGES {
        let data = message(number);
        // SAFETY: `data` is as long as it says.
        unsafe {
            if data.len() <= INLINE {
                while !ring.inline(data.as_ptr(), data.len()).expect("honest peers") {
                    std::thread::yield_now();
                }
            } else if data.len() <= 700 {
                while !ring.block(data.as_ptr(), data.len()).expect("honest peers") {
                    std::thread::yield_now();
                }
            } else {
                while !ring.has_slot().expect("honest peers") {
                    std::thread::yield_now();
                }
                ring.begin_stream(data.len());
                let mut done = 0;
                while done < data.len() {
                    let rest = &data[done..];
                    done += ring.stream(rest.as_ptr(), rest.len(), 512).expect("honest");
                    std::thread::yield_now();
                }
            }
        }
    }
}

#[test]
fn messages_of_every_kind_pass_between_threads() {
    let data = UnsafeCell::new([0; CAPACITY]);
    let memory = Shared(Arc::new(Heap { control: Control::default(), data }));
    let theirs = memory.clone();
    let sender = std::thread::spawn(move || send(theirs));
    let mut ring = Consumer::new(memory);
    for number in 0..MESSAGES {
        let announced = loop {
            match ring.peek().expect("honest peers") {
                Some(announced) => break announced,
                None => std::thread::yield_now(),
            }
        };
        let mut data = vec![0; announced.len as usize];
        // SAFETY: `data` is as long as announced.
        unsafe {
            match announced.kind {
                Kind::Inline => ring.inline(data.as_mut_ptr(), data.len()),
                Kind::Block => ring.block(data.as_mut_ptr(), data.len()),
                _ => {
                    let mut done = 0;
                    while done < data.len() {
                        let rest = &mut data[done..];
                        let (place, streaming) = (rest.as_mut_ptr(), number % 2 == 0);
                        done += ring.stream(place, rest.len(), 700, streaming).expect("honest");
                        std::thread::yield_now();
                    }
                }
            }
        }
        ring.finish();
        assert!(data == message(number), "message {number}");
    }
    sender.join().expect("the sender");
}
