//! Latency and bandwidth between two processes, against two private copy loops.
//!
//! `cargo run --release -p flexmig-nccl-net --example transport [-- SIZE...]`
//! Sizes in bytes; the `FLEXMIG_NET_` variables choose the transport as ever.

use std::ffi::c_void;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nccl_net_flexmig::abi::v11::ncclNetPlugin_v11 as NET;
use nccl_net_flexmig::copy;

/// Messages in flight.
const WINDOW: usize = 4;
const NULL: *mut c_void = std::ptr::null_mut();

fn ok(code: i32) {
    assert_eq!(code, 0, "the plugin failed");
}

/// One end of two connections, one in each direction.
struct End {
    send: *mut c_void,
    recv: *mut c_void,
}

impl End {
    /// Exchanges handles over pipes and connects both ways.
    fn meet(input: &mut impl Read, output: &mut impl Write) -> Self {
        // SAFETY: the plugin's functions, called as NCCL calls them.
        unsafe {
            let mut context = NULL;
            ok((NET.init)(&mut context, 0, std::ptr::null(), None, std::ptr::null()));
            let (mut handle, mut listener) = ([0u8; 128], NULL);
            ok((NET.listen)(context, 0, handle.as_mut_ptr().cast(), &mut listener));
            output.write_all(&handle).unwrap();
            output.flush().unwrap();
            input.read_exact(&mut handle).unwrap();
            let (mut send, mut recv) = (NULL, NULL);
            while send.is_null() || recv.is_null() {
                if send.is_null() {
                    let handle = handle.as_mut_ptr().cast();
                    ok((NET.connect)(context, 0, handle, &mut send, std::ptr::null_mut()));
                }
                if recv.is_null() {
                    ok((NET.accept)(listener, &mut recv, std::ptr::null_mut()));
                }
            }
            ok((NET.close_listen)(listener));
            Self { send, recv }
        }
    }

    fn isend(&self, data: &[u8]) -> Option<*mut c_void> {
        let (mut request, data, len) = (NULL, data.as_ptr().cast_mut().cast(), data.len());
        // SAFETY: the buffer outlives the request.
        ok(unsafe { (NET.isend)(self.send, data, len, 0, NULL, NULL, &mut request) });
        (!request.is_null()).then_some(request)
    }

    fn irecv(&self, data: &mut [u8]) -> Option<*mut c_void> {
        let mut request: *mut c_void = std::ptr::without_provenance_mut(1);
        let (mut place, mut len, mut tag) = (data.as_mut_ptr().cast(), data.len(), 0);
        let none = std::ptr::null_mut();
        // SAFETY: the buffer outlives the request.
        ok(unsafe {
            (NET.irecv)(self.recv, 1, &mut place, &mut len, &mut tag, none, none, &mut request)
        });
        (!request.is_null()).then_some(request)
    }

    fn is_done(request: *mut c_void) -> bool {
        let mut done = 0;
        // SAFETY: the request is in flight.
        ok(unsafe { (NET.test)(request, &mut done, std::ptr::null_mut()) });
        done != 0
    }

    /// `count` messages, up to `WINDOW` in flight.
    fn stream(&self, count: usize, mut start: impl FnMut(&Self) -> Option<*mut c_void>) {
        let (mut started, mut flying) = (0, std::collections::VecDeque::new());
        while started < count || !flying.is_empty() {
            if started < count
                && flying.len() < WINDOW
                && let Some(request) = start(self)
            {
                flying.push_back(request);
                started += 1;
            }
            if let Some(&oldest) = flying.front()
                && Self::is_done(oldest)
            {
                flying.pop_front();
            }
        }
    }

    fn send_one(&self, data: &[u8]) {
        self.stream(1, |end| end.isend(data));
    }

    fn recv_one(&self, data: &mut [u8]) {
        self.stream(1, |end| end.irecv(data));
    }
}

fn messages(size: usize) -> usize {
    ((1usize << 30) / size.max(4096)).clamp(16, 20_000)
}

/// What each side does for one size; the first measures.
fn run(end: &End, size: usize, first: bool, buffers: &mut [Vec<u8>; 2]) -> (f64, f64) {
    let count = messages(size);
    let [from, to] = buffers;
    let (from, to) = (&from[..size], &mut to[..size]);
    let mut bandwidth = 0f64;
    for _ in 0..3 {
        let start = Instant::now();
        if first {
            end.stream(count, |end| end.isend(from));
            end.recv_one(&mut to[..0]);
        } else {
            end.stream(count, |end| end.irecv(to));
            end.send_one(&from[..0]);
        }
        bandwidth = bandwidth.max((count * size) as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    let rounds = (200_000_000 / (size + 2000)).clamp(8, 50_000);
    let mut best = f64::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        for _ in 0..rounds {
            if first {
                end.send_one(from);
                end.recv_one(to);
            } else {
                end.recv_one(to);
                end.send_one(from);
            }
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / rounds as f64 / 2.0);
    }
    (bandwidth, best)
}

/// This process's copy rate while the other does the same.
fn private_loop(size: usize, buffers: &mut [Vec<u8>; 2]) -> f64 {
    let [from, to] = buffers;
    let (mut best, until) = (0f64, Instant::now() + Duration::from_millis(600));
    while Instant::now() < until {
        let (start, rounds) = (Instant::now(), ((256 << 20) / size).clamp(1, 20_000));
        for _ in 0..rounds {
            // SAFETY: both buffers are longer.
            unsafe { copy::forward(to.as_mut_ptr(), from.as_ptr(), size) };
        }
        best = best.max((rounds * size) as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    best
}

fn main() {
    let mut sizes: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = (3..=26).map(|shift| 1 << shift).collect();
    }
    let largest = sizes.iter().copied().max().unwrap_or(8);
    let mut buffers = [vec![1u8; largest], vec![2u8; largest]];
    if std::env::var_os("TRANSPORT_SECOND").is_some() {
        let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
        let end = End::meet(&mut input, &mut output);
        for size in sizes {
            run(&end, size, false, &mut buffers);
            private_loop(size, &mut buffers);
        }
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(std::env::args().skip(1))
        .env("TRANSPORT_SECOND", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut output, mut input) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let end = End::meet(&mut input, &mut output);
    println!("{:>10} {:>10} {:>10} {:>12} {:>7}", "bytes", "GB/s", "us", "limit GB/s", "ratio");
    for size in sizes {
        let (bandwidth, latency) = run(&end, size, true, &mut buffers);
        let limit = private_loop(size, &mut buffers);
        let ratio = bandwidth / limit;
        println!("{size:>10} {bandwidth:>10.2} {latency:>10.3} {limit:>12.2} {ratio:>7.2}");
    }
    child.wait().unwrap();
}
