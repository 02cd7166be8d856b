//! Reading a file that a user names, from slurmstepd, which runs as root.
//!
//! Such a name can be anything: a FIFO that blocks, a device that does something when it is opened, a
//! file of somebody else's, a file in a home that root may not read (NFS). So it is looked at before
//! it is opened, only a regular file is read and not much of it, and all of it with the user's own
//! rights. Errors are no file.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use flexmig_core::nccl::settings::Lookup;

/// More than any nccl.conf.
const MAX_BYTES: u64 = 64 << 10;

/// Nobody: what such a user may read, everyone may.
const NOBODY: u32 = 65534;

/// With whose rights a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The user of a job: whose home it is. Slurm has not put the user's id into the environment yet
    /// when the leaves are handed out. The user can name another home; all that can be learned so is
    /// which NCCL variables a file names. Never root, as some files of `/proc` do things when root
    /// reads them: then only what everyone may read is read.
    pub fn of_job(env: Lookup<'_>) -> User {
        let home = env("HOME").and_then(|home| fs::metadata(home).ok());
        match home {
            Some(home) if home.uid() != 0 => {
                let gid = if home.gid() == 0 { NOBODY } else { home.gid() };
                User { uid: home.uid(), gid }
            }
            _ => User { uid: NOBODY, gid: NOBODY },
        }
    }
}

/// The thread's rights on files, until dropped.
struct Rights {
    uid: libc::c_int,
    gid: libc::c_int,
}

impl Rights {
    /// Takes those of `user`; without privilege nothing changes.
    fn of(user: User) -> Rights {
        // SAFETY: these act on this thread only and return what was before. The group goes first,
        // and back last, as it takes privilege.
        unsafe {
            let gid = libc::setfsgid(user.gid);
            Rights { uid: libc::setfsuid(user.uid), gid }
        }
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        // SAFETY: as in `of`.
        unsafe {
            libc::setfsuid(self.uid.cast_unsigned());
            libc::setfsgid(self.gid.cast_unsigned());
        }
    }
}

/// The beginning of a regular file, read with the rights of `user`.
pub fn read(path: &Path, user: User) -> Option<Vec<u8>> {
    let _rights = Rights::of(user);
    // Opens nothing yet: no device is touched, no FIFO waited for.
    let found = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path).ok()?;
    if !found.metadata().ok()?.is_file() {
        return None;
    }
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::process::Command;

    use super::*;

    fn me() -> User {
        // SAFETY: no preconditions.
        unsafe { User { uid: libc::geteuid(), gid: libc::getegid() } }
    }

    #[test]
    fn only_regular_files_are_read_and_not_much_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "text").unwrap();
        symlink(path("file"), path("link")).unwrap();
        fs::write(path("large"), vec![b'x'; 1 << 20]).unwrap();
        assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        assert_eq!(read(&path("file"), me()).as_deref(), Some(b"text".as_slice()));
        assert_eq!(read(&path("link"), me()).as_deref(), Some(b"text".as_slice()));
        assert_eq!(read(&path("large"), me()).map(|bytes| bytes.len() as u64), Some(MAX_BYTES));
        for none in [path("fifo"), path("nothing"), path(""), "/dev/zero".into()] {
            assert_eq!(read(&none, me()), None, "{}", none.display());
        }
    }

    #[test]
    fn the_users_rights_hold_and_ours_come_back() {
        if me().uid != 0 {
            eprintln!("skipped: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "text").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let home = |_: &str| Some(dir.path().display().to_string());
        let nobody = User { uid: NOBODY, gid: NOBODY };
        assert_eq!(User::of_job(&home), nobody, "a home of root's");
        assert_eq!(User::of_job(&|_| None), nobody);
        assert_eq!(read(&file, nobody), None);
        assert!(read(&file, me()).is_some(), "root again");
        chown(dir.path(), Some(4711), Some(4712)).unwrap();
        chown(&file, Some(4711), Some(4712)).unwrap();
        let user = User::of_job(&home);
        assert_eq!(user, User { uid: 4711, gid: 4712 });
        assert!(read(&file, user).is_some());
        assert_eq!(read(Path::new("/proc/kmsg"), user), None);
    }
}
