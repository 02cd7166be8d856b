//! Whether a job runs on the node.
//!
//! slurmd is asked for the leaves while it starts, before it knows its steps itself. Each running
//! slurmstepd listens on a socket `NODE_JOB.STEP` (or `NODE_JOB.STEP.COMPONENT`) in the spool
//! directory, and slurmd finds its steps there again after a restart (`stepd_available`, 22.05 to
//! 26.05). So do we; a socket on which nobody listens was left behind by a crash. A process table
//! would not tell the slurmstepd of several slurmd on one host apart.
//!
//! A job without any step (salloc before the first srun) does not show. It holds no leaf yet: its
//! steps get the leaves that its indices mean when they start.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Whether a slurmstepd of the node runs; of any node if it is not known what slurmd calls this one.
pub fn any_step(spool_dir: &Path, node: Option<&str>) -> bool {
    let entries = std::fs::read_dir(spool_dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| is_step(name, node)))
        .any(|entry| listens(&entry.path()))
}

/// Whether a file name is that of a step of the node.
fn is_step(name: &str, node: Option<&str>) -> bool {
    let of_node = |(name, step)| node.is_none_or(|node| node == name).then_some(step);
    let Some(step) = name.rsplit_once('_').and_then(of_node) else { return false };
    let numbers: Vec<&str> = step.split('.').collect();
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    matches!(numbers.len(), 2 | 3) && numbers.iter().all(is_number)
}

/// Whether somebody listens on a socket. What cannot be told counts as yes: an order that waits
/// does no harm.
fn listens(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn steps_are_known_by_their_name() {
        for name in ["n1_12.0", "n1_12.4294967291", "n1_12.0.1"] {
            assert!(is_step(name, Some("n1")), "{name}");
        }
        for name in
            ["n1_12", "n1_12.0.1.2", "n11_12.0", "n1_a.0", "n1_12.", "cred_state", "n1_12.x"]
        {
            assert!(!is_step(name, Some("n1")), "{name}");
        }
        assert!(is_step("n_1_12.0", Some("n_1")) && is_step("gpu.1_12.0", Some("gpu.1")));
        assert!(!is_step("n1_2_12.0", Some("n1")));
        assert!(is_step("alias_12.0", None) && !is_step("flexmig-indices-n1.toml", None));
    }

    #[test]
    fn only_a_socket_with_a_listener_is_a_running_step() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!any_step(dir.path(), Some("n1")));
        assert!(!any_step(&dir.path().join("missing"), Some("n1")));
        let path = dir.path().join("n1_7.0");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(any_step(dir.path(), Some("n1")));
        assert!(!any_step(dir.path(), Some("n2")));
        drop(listener);
        assert!(path.exists());
        // A process that another test forks at this moment holds the socket until it executes.
        let end = Instant::now() + Duration::from_secs(5);
        while any_step(dir.path(), Some("n1")) {
            assert!(Instant::now() < end, "left behind by a crash");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
