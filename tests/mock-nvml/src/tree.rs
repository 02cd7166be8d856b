//! The driver's `dev` and `proc` trees of a node.
//!
//! `/proc/driver/nvidia-caps/mig-minors` lists every instance that could exist: 32 GPUs with 15 GPU
//! instances of 8 compute instances each, from minor 3 (seen with drivers 450 to 550). What does
//! exist has a file under `/proc/driver/nvidia/capabilities` and a device file.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::node::{MAX_GPUS, Node};

const INSTANCES: u32 = 15;
const COMPUTE_INSTANCES: u32 = 8;

/// What the stand-ins for device files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Empty regular files; needs no privilege, and device cgroups see nothing.
    Regular,
    /// Character devices with numbers of their own, given from `first_minor` up. Needs root.
    ///
    /// Major 4 with minors 20 to 63 are consoles that open without harm; higher ones fail with
    /// ENXIO, where a device cgroup that denies them says EPERM.
    Char {
        /// Major number.
        major: u32,
        /// Lowest minor number; a node needs 1 per GPU, 1 per GPU instance and 1 per leaf.
        first_minor: u32,
    },
}

/// Minor of a GPU instance's device file.
pub fn gi_minor(gpu: u32, gi: u32) -> u32 {
    3 + (gpu * INSTANCES + gi) * (1 + COMPUTE_INSTANCES)
}

/// Minor of a compute instance's device file.
pub fn ci_minor(gpu: u32, gi: u32, ci: u32) -> u32 {
    gi_minor(gpu, gi) + 1 + ci
}

/// The text of mig-minors.
pub fn mig_minors() -> String {
    let mut text = String::from("config 1\nmonitor 2\n");
    for gpu in 0..MAX_GPUS {
        for gi in 0..INSTANCES {
            let _ = writeln!(text, "gpu{gpu}/gi{gi}/access {}", gi_minor(gpu, gi));
            for ci in 0..COMPUTE_INSTANCES {
                let _ = writeln!(text, "gpu{gpu}/gi{gi}/ci{ci}/access {}", ci_minor(gpu, gi, ci));
            }
        }
    }
    text
}

impl Node {
    /// Builds `dev` and `proc` under `dir`, or brings them up to date after a change of the node.
    /// What stays is not touched: readers never miss it, and device files keep their numbers.
    pub fn build_tree(&self, dir: &Path, kind: DeviceKind) -> Result<(), Error> {
        let capability_file = |rest: &str| format!("proc/driver/nvidia/capabilities/{rest}/access");
        let mut files = vec![
            ("proc/driver/nvidia-caps/mig-minors".to_owned(), mig_minors()),
            ("proc/driver/nvidia/capabilities/mig/config".to_owned(), capability(1)),
            ("proc/driver/nvidia/capabilities/mig/monitor".to_owned(), capability(2)),
        ];
        let mut devices = vec!["dev/nvidiactl".to_owned(), cap_file(1), cap_file(2)];
        let shared = devices.len();
        for gpu in &self.gpus {
            let minor = gpu.minor;
            devices.push(format!("dev/nvidia{minor}"));
            for gi in gpu.instances().map(|gi| gi.id) {
                let (name, cap) = (format!("gpu{minor}/mig/gi{gi}"), gi_minor(minor, gi));
                files.push((capability_file(&name), capability(cap)));
                devices.push(cap_file(cap));
                for ci in gpu.leaves.iter().filter(|leaf| leaf.gi == gi).map(|leaf| leaf.compute.id)
                {
                    let cap = ci_minor(minor, gi, ci);
                    files.push((capability_file(&format!("{name}/ci{ci}")), capability(cap)));
                    devices.push(cap_file(cap));
                }
            }
        }
        let wanted: BTreeSet<PathBuf> =
            files.iter().map(|(file, _)| file).chain(&devices).map(|file| dir.join(file)).collect();
        for folder in ["proc/driver", "dev"] {
            prune(&dir.join(folder), "nvidia", &wanted)?;
        }
        for (file, text) in &files {
            write(&dir.join(file), text)?;
        }
        make_devices(dir, &devices, shared, kind)
    }
}

fn cap_file(minor: u32) -> String {
    format!("dev/nvidia-caps/nvidia-cap{minor}")
}

/// A file of `/proc/driver/nvidia/capabilities`.
fn capability(minor: u32) -> String {
    format!("DeviceFileMinor: {minor}\nDeviceFileMode: 256\nDeviceFileModify: 1\n")
}

/// Removes what is below `folder`, begins with `prefix` and is not `wanted`.
fn prune(folder: &Path, prefix: &str, wanted: &BTreeSet<PathBuf>) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_name().as_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        if path.is_dir() {
            prune(&path, "", wanted)?;
            // Fails, as it should, where something is left.
            let _ = fs::remove_dir(&path);
        } else if !wanted.contains(&path) {
            fs::remove_file(&path).map_err(|error| Error::io(&path, &error))?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    make_parent(path)?;
    fs::write(path, text).map_err(|error| Error::io(path, &error))
}

/// Makes the device files that are not there. The first `shared` of them belong to no leaf and are
/// stand-ins for /dev/null, which needs no number of its own.
fn make_devices(
    dir: &Path,
    devices: &[String],
    shared: usize,
    kind: DeviceKind,
) -> Result<(), Error> {
    let number = |path: &Path| {
        let metadata = fs::symlink_metadata(path).ok()?;
        metadata.file_type().is_char_device().then(|| libc::minor(metadata.rdev()))
    };
    let mut taken: BTreeSet<u32> =
        devices[shared..].iter().filter_map(|device| number(&dir.join(device))).collect();
    for (index, device) in devices.iter().enumerate() {
        let path = dir.join(device);
        let result = match kind {
            _ if path.exists() => continue,
            DeviceKind::Regular => make_parent(&path).map(|()| fs::write(&path, ""))?,
            DeviceKind::Char { .. } if index < shared => {
                make_parent(&path).map(|()| make_node(&path, 1, 3))?
            }
            DeviceKind::Char { major, first_minor } => {
                let minor = (first_minor..).find(|minor| taken.insert(*minor)).unwrap_or(0);
                make_parent(&path).map(|()| make_node(&path, major, minor))?
            }
        };
        result.map_err(|error| Error::io(&path, &error))?;
    }
    Ok(())
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(|error| Error::io(parent, &error))
}

fn make_node(path: &Path, major: u32, minor: u32) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `name` is a NUL-terminated string that outlives the calls, which keep no pointer.
    let failed = unsafe {
        libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor)) != 0
            // The mode is set again because mknod takes the umask off.
            || libc::chmod(name.as_ptr(), 0o666) != 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::NodeSpec;

    #[test]
    fn minors_are_the_drivers() {
        let text = mig_minors();
        for line in [
            "config 1",
            "monitor 2",
            "gpu0/gi0/access 3",
            "gpu0/gi3/access 30",
            "gpu0/gi3/ci0/access 31",
            "gpu1/gi0/access 138",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}");
        }
        let minors: BTreeSet<u32> =
            text.lines().map(|line| line.split_once(' ').unwrap().1.parse().unwrap()).collect();
        assert_eq!(minors.len(), text.lines().count());
    }

    #[test]
    fn a_tree_follows_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let exists = |path: &str| dir.path().join(path).exists();
        let mut spec = NodeSpec::preset("dgx-a100").unwrap().gpus(1).mig("1g.10gb*7");
        let build = |spec: &NodeSpec| {
            Node::new(spec.clone()).unwrap().build_tree(dir.path(), DeviceKind::Regular).unwrap();
        };
        build(&spec);
        assert!(exists("dev/nvidia0") && exists("dev/nvidiactl") && !exists("dev/nvidia1"));
        assert!(exists(&cap_file(gi_minor(0, 7))) && exists(&cap_file(ci_minor(0, 7, 0))));
        assert!(exists("proc/driver/nvidia/capabilities/gpu0/mig/gi7/ci0/access"));
        assert!(!exists("proc/driver/nvidia/capabilities/gpu0/mig/gi10"));
        spec.gpu[0].missing = vec!["gi7/ci0".into()];
        build(&spec);
        assert!(!exists("proc/driver/nvidia/capabilities/gpu0/mig/gi7"));
        assert!(!exists(&cap_file(gi_minor(0, 7))) && exists(&cap_file(gi_minor(0, 8))));
    }

    #[test]
    fn character_devices_have_numbers_of_their_own_and_keep_them() {
        // SAFETY: takes nothing and only returns a number.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: mknod needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let numbers = |spec: &NodeSpec| {
            let kind = DeviceKind::Char { major: 4, first_minor: 20 };
            let node = Node::new(spec.clone()).unwrap();
            node.build_tree(dir.path(), kind).unwrap();
            let leaves = node.gpus.iter().flat_map(|gpu| {
                let minor = gpu.minor;
                let caps = gpu.leaves.iter().flat_map(move |leaf| {
                    let ci = ci_minor(minor, leaf.gi, leaf.compute.id);
                    [gi_minor(minor, leaf.gi), ci].map(cap_file)
                });
                caps.chain([format!("dev/nvidia{minor}")])
            });
            let number = |file: String| {
                let metadata = fs::metadata(dir.path().join(&file)).unwrap();
                assert!(metadata.file_type().is_char_device());
                (file, libc::minor(metadata.rdev()))
            };
            leaves.map(number).collect::<BTreeSet<_>>()
        };
        let mut spec = NodeSpec::preset("dgx-a100").unwrap().gpus(2).mig("1g.10gb*7");
        let first = numbers(&spec);
        let minors: BTreeSet<u32> = first.iter().map(|(_, minor)| *minor).collect();
        assert_eq!(minors, (20..50).collect(), "2 GPUs with 7 leaves of 2 files");
        spec.gpu[0].missing = vec!["gi9/ci0".into()];
        let second = numbers(&spec);
        assert!(second.is_subset(&first) && second.len() == 28);
        spec.gpu[0].missing.clear();
        assert!(second.is_subset(&numbers(&spec)));
    }
}
