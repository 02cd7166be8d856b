//! A plugin's own thread inside a daemon of Slurm.

use std::io;
use std::mem::MaybeUninit;
use std::thread::{Builder, JoinHandle};

use crate::fence;

/// Starts a thread whose body is inside the [`fence()`], with all signals blocked: daemons handle
/// theirs in threads of their own (slurmctld with `sigwait`), and one that is delivered to a
/// plugin's thread would be lost to them.
pub fn spawn(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset fills the set, and pthread_sigmask the former one, before they are read;
    // both live on this stack frame.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    // The new thread inherits the mask.
    let thread = Builder::new().name(name.to_owned()).spawn(move || fence(name, (), body));
    // SAFETY: `before` was filled by the first call, which cannot fail with these arguments.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    thread
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `SigBlk` mask of the calling thread.
    fn blocked() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    }

    #[test]
    fn signals_are_blocked_in_the_thread_only() {
        let here = blocked();
        let (sender, receiver) = std::sync::mpsc::channel();
        spawn("test", move || sender.send(blocked()).unwrap()).unwrap().join().unwrap();
        let usr1_and_term = 1 << (libc::SIGUSR1 - 1) | 1 << (libc::SIGTERM - 1);
        assert_eq!(receiver.recv().unwrap() & usr1_and_term, usr1_and_term);
        assert_eq!(blocked(), here);
    }

    #[test]
    fn a_panic_ends_the_thread_and_nothing_else() {
        assert!(spawn("test", || panic!("over")).unwrap().join().is_ok());
    }
}
