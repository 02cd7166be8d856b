//! Reading, replacing and watching single files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Largest file that is read: far above any real one, far below what would hurt a daemon.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a regular file of sensible size. A FIFO or a device under that name is an error, as a
/// daemon would hang in it.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a FIFO blocks.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

/// Replaces a file as a whole: a reader sees the old or the new bytes, also after a crash.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("not a file's name"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    // What a killed process with our id left behind.
    let _ = fs::remove_file(&temporary);
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // The new name is durable only with its directory. The file is replaced whether that works or
    // not (some file systems cannot), so it is no error: a caller would believe in the old bytes.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let _ = File::open(dir.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
    Ok(())
}

/// Writes a file that must not exist yet (so no link can lead elsewhere) and waits for the disk.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What a file looks like from outside: when two stamps of the same paths are equal, no file has
/// been edited, replaced, made or removed in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<Option<Look>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// The stamp of some paths: one `stat` each, nothing is opened.
pub fn stamp<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Stamp {
    let look = |path: &PathBuf| {
        let data = fs::metadata(path).ok()?;
        Some(Look {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
        })
    };
    Stamp(paths.into_iter().map(look).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.toml");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_atomically(&dir.path().join("no/f"), b"").is_err());
        assert!(write_atomically(Path::new("/"), b"").is_err());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::create_dir(&path).unwrap();
        assert!(write_atomically(&path, b"new").is_err(), "a directory is not replaced");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_regular_files_of_sensible_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).is_err());
        assert!(read(Path::new("/dev/zero")).is_err());
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert_eq!(read(&large).unwrap_err().to_string(), "larger than 16 MiB");
    }

    #[test]
    fn stamps_tell_every_change() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| dir.path().join(name));
        let mut last = stamp(&paths);
        assert_eq!(stamp(&paths), last);
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&paths[0], "1").unwrap(),
            &|| fs::write(&paths[0], "12").unwrap(),
            &|| write_atomically(&paths[0], b"13").unwrap(),
            &|| fs::remove_file(&paths[0]).unwrap(),
        ];
        for change in changes {
            change();
            let now = stamp(&paths);
            assert_ne!(now, last);
            last = now;
        }
    }
}
