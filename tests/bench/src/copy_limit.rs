//! What two processes can copy at most: two concurrent loops on private buffers. The limit is what
//! both loops move together.
//!
//! A transport comes near it in two ways. Straight from process to process, each of them can copy one
//! half. Through a ring that stays in the caches, a message costs the memory as much as one copy,
//! though two processes make two. So the rate of a single loop is no limit, and the sum is one.
//!
//! There are two readings of it. [`Limits::same`] is that of the primitive which carries messages of
//! 1 and 64 MiB: the kernel's copy between processes, here from a process to itself.
//! [`Limits::fastest`] is that of any copy loop, whether or not it could reach another process.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nccl_net_flexmig::{copy, sys};

/// How long a pair of loops runs.
const TIME: Duration = Duration::from_millis(150);
/// Bytes of a page.
const PAGE: usize = 4096;
/// The argument that makes this program one of the loops.
pub const ARGUMENT: &str = "copy-loop";

type Copy = unsafe fn(*mut u8, *const u8, usize);

/// The kernel's copy between processes.
const KERNEL: &str = "kernel";
/// The loops by name.
const LOOPS: [(&str, Copy); 5] = [
    (KERNEL, kernel),
    ("forward", copy::forward),
    ("bulk", copy::bulk),
    ("streaming", copy::streaming),
    ("memcpy", memcpy),
];

/// Bytes per second of two loops together.
pub struct Limits {
    /// With the primitive that the transport uses.
    pub same: f64,
    /// With the fastest one.
    pub fastest: f64,
}

/// Measures the loops for messages of this size.
pub fn measure(bytes: usize) -> Result<Limits, String> {
    let same = together(bytes, KERNEL)?;
    let rates = LOOPS.iter().map(|(name, _)| match *name {
        KERNEL => Ok(same),
        name => together(bytes, name),
    });
    let fastest = rates.collect::<Result<Vec<_>, _>>()?.into_iter().fold(0.0, f64::max);
    Ok(Limits { same, fastest })
}

/// Two processes that copy at the same time.
fn together(bytes: usize, name: &str) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| format!("copy loop: {error}"))?;
    let mut loops = Vec::new();
    for _ in 0..2 {
        let mut command = Command::new(&program);
        command.args([ARGUMENT, name, &bytes.to_string()]);
        loops.push(Loop::start(&mut command).map_err(|error| format!("copy loop: {error}"))?);
    }
    for each in &mut loops {
        // The end of its input is the sign to start.
        drop(each.process.stdin.take());
    }
    loops.into_iter().map(Loop::rate).sum()
}

/// One of the processes.
struct Loop {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Loop {
    /// Returns when it has its buffers.
    fn start(command: &mut Command) -> std::io::Result<Loop> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or_else(|| std::io::Error::other("no output"))?;
        let mut each = Loop { process, output: BufReader::new(output) };
        each.output.read_line(&mut String::new())?;
        Ok(each)
    }

    fn rate(mut self) -> Result<f64, String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        let ended = self.process.wait();
        let rate = line.trim().parse().ok();
        rate.ok_or_else(|| format!("copy loop: {read:?}, {ended:?}, {line:?}"))
    }
}

/// What this program does as one of the loops: `NAME BYTES`.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let [name, bytes] = arguments else { return Err(format!("{ARGUMENT} NAME BYTES")) };
    let (_, copy) = LOOPS.iter().find(|(known, _)| known == name).ok_or("an unknown loop")?;
    let bytes = bytes.parse().map_err(|error| format!("{bytes}: {error}"))?;
    // Written to: pages of their own. Aligned to them, as the transport's buffers are.
    let (from, mut to) = (vec![1u8; bytes + PAGE], vec![2u8; bytes + PAGE]);
    let from = &from[from.as_ptr().align_offset(PAGE)..][..bytes];
    let gap = to.as_ptr().align_offset(PAGE);
    let to = &mut to[gap..][..bytes];
    let mut once = || {
        // SAFETY: two allocations of this many bytes.
        unsafe { copy(to.as_mut_ptr(), from.as_ptr(), bytes) };
        std::hint::black_box(&mut *to);
    };
    once();
    let error = |error| format!("copy loop: {error}");
    println!("ready");
    std::io::stdout().flush().map_err(error)?;
    std::io::stdin().read_to_end(&mut Vec::new()).map_err(error)?;
    let start = Instant::now();
    let mut moved = 0;
    while start.elapsed() < TIME {
        once();
        moved += bytes;
    }
    println!("{}", moved as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

/// # Safety
/// As for [`copy::forward`].
unsafe fn memcpy(to: *mut u8, from: *const u8, bytes: usize) {
    // SAFETY: the callee's contract is ours.
    unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
}

/// In parts as long as the transport's.
///
/// # Safety
/// As for [`copy::forward`].
unsafe fn kernel(to: *mut u8, from: *const u8, bytes: usize) {
    const PART: usize = 512 << 10;
    for start in (0..bytes).step_by(PART) {
        let len = PART.min(bytes - start);
        // SAFETY: within the caller's range.
        let copied = unsafe {
            sys::read_process(std::process::id() as i32, to.add(start), from.add(start) as u64, len)
        };
        assert_eq!(copied.ok(), Some(len), "a process may read itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loop_copies() {
        let from: Vec<u8> = (0..1_200_000).map(|i: u32| ((i * 7) >> 3) as u8).collect();
        for (name, copy) in LOOPS {
            let mut to = vec![0u8; from.len()];
            // SAFETY: two allocations of this size.
            unsafe { copy(to.as_mut_ptr(), from.as_ptr(), from.len()) };
            assert!(from == to, "{name}");
        }
    }

    #[test]
    fn an_unknown_loop_is_an_error() {
        assert!(run(&["none".to_owned(), "64".to_owned()]).is_err());
        assert!(run(&[]).is_err());
    }
}
