//! Failing a job whose leaves cannot be used, without running its program and without harm to the
//! node.
//!
//! The functions of a GRES plugin that set environments return nothing, and slurmstepd takes most
//! failures of its own at this stage for a fault of the node, which it drains. A program that
//! cannot be executed is not among them: that is an ordinary exit of the task. So the environment
//! gets a variable that is larger than the kernel lets any program have. Everything that slurmstepd
//! does for the job goes its usual way, its `execve` answers E2BIG, the task ends with that as exit
//! code, and slurmctld sees a failed job. TaskProlog and containers get the same environment and do
//! not start either; helpers of other plugins have an environment of their own and are not touched.
//!
//! The user has to see why. When the environment is set, slurmstepd has no connection to the job's
//! stderr yet; when it forks the first task it has. A fork handler writes the line there, once.

use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use slurm_sys::{EnvArray, log};

/// The variable that is too large.
const VARIABLE: &str = "FLEXMIG_REFUSED";
/// Pages that one string of the environment may fill (MAX_ARG_STRLEN of Linux).
const PAGES_PER_STRING: usize = 32;
/// Slurm leaves out a variable whose value is longer than this when it copies an environment
/// (ENV_BUFSIZE, 22.05 to 26.05).
const LONGEST_VALUE: usize = 250_000;
/// Bytes that no environment may have, whatever the limits of the process are (three quarters of
/// _STK_LIM of Linux).
const LARGEST_ENVIRONMENT: usize = 6 << 20;

/// Refuses the job or step whose environment this is. `line` says what, why and what to do.
pub fn refuse(env: &mut EnvArray<'_>, line: &str) {
    log::error(line);
    env.set("CUDA_VISIBLE_DEVICES", "");
    env.set("NVIDIA_VISIBLE_DEVICES", "void");
    for (name, size) in too_large(page_size()) {
        env.set(&name, padded(line, size));
    }
    tell_at_fork(format!("slurmstepd: error: flexmig: {line}\n"));
}

/// Variables, with the size of their value, with which no program can be executed.
///
/// One suffices where the kernel's limit for one string is below Slurm's; with pages of 16 KiB and
/// more (aarch64) the sum of several has to exceed the limit of all together.
fn too_large(page_size: usize) -> Vec<(String, usize)> {
    let one = PAGES_PER_STRING * page_size;
    if one < LONGEST_VALUE {
        return vec![(VARIABLE.to_owned(), one)];
    }
    let several = LARGEST_ENVIRONMENT / LONGEST_VALUE + 1;
    (0..several).map(|n| (format!("{VARIABLE}_{n}"), LONGEST_VALUE)).collect()
}

/// The line, filled up with blanks.
fn padded(line: &str, size: usize) -> Vec<u8> {
    let mut value = line.as_bytes().to_vec();
    value.resize(size, b' ');
    value
}

fn page_size() -> usize {
    // SAFETY: sysconf reads a constant.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// A line for the job's stderr.
struct Message {
    text: String,
    /// What file descriptor 2 was when the line was prepared.
    stderr: Option<(u64, u64)>,
}

static MESSAGE: AtomicPtr<Message> = AtomicPtr::new(null_mut());

fn tell_at_fork(text: String) {
    static REGISTERED: Once = Once::new();
    // Never freed: another thread may be forking, and be reading the message before this one. A
    // slurmstepd makes one or two.
    let message = Box::into_raw(Box::new(Message { text, stderr: stderr() }));
    MESSAGE.store(message, Ordering::Release);
    REGISTERED.call_once(|| {
        // SAFETY: the handler has the wanted signature, does not unwind, and stays mapped (-z nodelete).
        unsafe { libc::pthread_atfork(Some(before_fork), None, None) };
    });
}

/// Runs in slurmstepd just before it forks. Writes the line as soon as file descriptor 2 is
/// something else than it was: Slurm has then connected it to the job's stderr
/// (`_slurmd_job_log_init`). A single write, as the log's own lock may be taken.
extern "C" fn before_fork() {
    let message = MESSAGE.load(Ordering::Acquire);
    // SAFETY: null or a message of `tell_at_fork`, which is never freed.
    let Some(Message { text, stderr: before }) = (unsafe { message.as_ref() }) else { return };
    if stderr() == *before {
        return;
    }
    // SAFETY: the buffer is valid for its length. Nobody can do anything about a failure.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    MESSAGE.store(null_mut(), Ordering::Release);
}

/// Device and inode behind file descriptor 2.
fn stderr() -> Option<(u64, u64)> {
    // SAFETY: all zero is a valid stat; fstat fills it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid; a closed descriptor is an error code.
    let rc = unsafe { libc::fstat(libc::STDERR_FILENO, &raw mut stat) };
    (rc == 0).then_some((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_too_large_with_any_page_size() {
        for page_size in [4096, 16384, 65536] {
            let variables = too_large(page_size);
            assert!(variables.iter().all(|(_, size)| *size <= LONGEST_VALUE));
            let sum: usize = variables.iter().map(|(_, size)| size).sum();
            let largest = variables.iter().map(|(_, size)| *size).max().unwrap_or(0);
            assert!(largest >= PAGES_PER_STRING * page_size || sum > LARGEST_ENVIRONMENT);
        }
    }

    #[test]
    fn a_refused_job_has_no_leaves_and_the_variable() {
        let Some(slurm) = slurm_sys::testing::slurm() else { return };
        let mut test =
            slurm_sys::testing::TestEnv::new(slurm, &[("CUDA_VISIBLE_DEVICES", "MIG-a")]);
        let ((), lines) =
            slurm_sys::testing::captured(|| refuse(&mut test.env(), "n1: leaf 3 is gone"));
        assert_eq!(lines, ["error: flexmig: n1: leaf 3 is gone"]);
        let env = test.env();
        assert_eq!(env.get("CUDA_VISIBLE_DEVICES").as_deref(), Some(""));
        let value = env.get("FLEXMIG_REFUSED").unwrap();
        assert!(value.starts_with("n1: leaf 3 is gone  ") && value.len() >= 32 * page_size());
    }

    #[test]
    fn no_program_can_be_executed_with_it() {
        use std::process::Command;
        for page_size in [page_size(), 65536] {
            let variables = too_large(page_size);
            let text = |size| String::from_utf8(padded("leaf 3 is gone", size)).unwrap();
            let variables = variables.iter().map(|(name, size)| (name, text(*size)));
            let error = Command::new("/bin/true").envs(variables).status().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
        }
    }
}
