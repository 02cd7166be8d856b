//! The driver's lists of instances below `/proc/driver`, and the device files that follow from them.
//!
//! `nvidia-caps/mig-minors` names the device file minor of every instance that could exist;
//! `nvidia/capabilities/gpuM/mig/giG[/ciC]/access` is there for the instances that do exist. `M` is
//! the minor of `/dev/nvidiaM`, not NVML's index.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use flexmig_core::leaf::DeviceFiles;

/// GPU minor, GPU instance, and compute instance or `None` for the GPU instance itself.
type Instance = (u32, u32, Option<u32>);

/// Device file minors of instances.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MigMinors(HashMap<Instance, u32>);

/// Where mig-minors is.
pub(crate) fn mig_minors_file(root: &Path) -> PathBuf {
    root.join("proc/driver/nvidia-caps/mig-minors")
}

/// The file that says that an instance exists.
pub(crate) fn access_file(root: &Path, gpu: u32, gi: u32, ci: Option<u32>) -> PathBuf {
    let mut path = root.join(format!("proc/driver/nvidia/capabilities/gpu{gpu}/mig/gi{gi}"));
    if let Some(ci) = ci {
        path.push(format!("ci{ci}"));
    }
    path.join("access")
}

impl MigMinors {
    /// Reads the file.
    pub(crate) fn read(root: &Path) -> io::Result<MigMinors> {
        fs::read_to_string(mig_minors_file(root)).map(|text| MigMinors::parse(&text))
    }

    /// Reads lines `gpu0/gi7/access 66` and `gpu0/gi7/ci0/access 67`; others (`config 1`, what later
    /// drivers may add) are passed over.
    pub(crate) fn parse(text: &str) -> MigMinors {
        MigMinors(text.lines().filter_map(parse_line).collect())
    }

    /// The device files of a leaf, or `None` if an instance is not listed.
    pub(crate) fn devices(&self, root: &Path, gpu: u32, gi: u32, ci: u32) -> Option<DeviceFiles> {
        let cap = |ci| {
            let minor = self.0.get(&(gpu, gi, ci))?;
            Some(device(root, &format!("nvidia-caps/nvidia-cap{minor}")))
        };
        Some(DeviceFiles {
            parent: device(root, &format!("nvidia{gpu}")),
            gpu_instance: cap(None)?,
            compute_instance: cap(Some(ci))?,
        })
    }
}

fn parse_line(line: &str) -> Option<(Instance, u32)> {
    let (name, minor) = line.trim().split_once(' ')?;
    let mut parts = name.split('/');
    let gpu = parts.next()?.strip_prefix("gpu")?.parse().ok()?;
    let gi = parts.next()?.strip_prefix("gi")?.parse().ok()?;
    let ci = match parts.next()? {
        "access" => None,
        part => {
            let ci = part.strip_prefix("ci")?.parse().ok()?;
            (parts.next()? == "access").then_some(Some(ci))?
        }
    };
    parts.next().is_none().then_some(())?;
    Some(((gpu, gi, ci), minor.trim().parse().ok()?))
}

/// A path below the root's `dev`.
fn device(root: &Path, name: &str) -> String {
    root.join("dev").join(name).display().to_string()
}

/// Whether a device file can be used: it exists and, on a real root, is the character device that
/// its name says. Elsewhere (tests) anything may stand in for a device.
pub(crate) fn check_device(root: &Path, path: &str) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if root != Path::new("/") {
        return Ok(());
    }
    if !metadata.file_type().is_char_device() {
        return Err("not a character device".to_owned());
    }
    let number = (major(metadata.rdev()), minor(metadata.rdev()));
    match wrong_number(path, number, &fs::read_to_string("/proc/devices").unwrap_or_default()) {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

/// What is wrong with a device number: the minor is the number in the file's name, and the major is
/// the driver's in `/proc/devices`, where it is listed.
fn wrong_number(path: &str, number: (u32, u32), proc_devices: &str) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (drivers, minor): (&[&str], _) = match name.strip_prefix("nvidia-cap") {
        Some(minor) => (&["nvidia-caps"], minor),
        None => (&["nvidia", "nvidia-frontend"], name.strip_prefix("nvidia")?),
    };
    let majors: Vec<u32> = proc_devices
        .lines()
        .take_while(|line| !line.starts_with("Block"))
        .filter_map(|line| line.trim().split_once(' '))
        .filter(|(_, driver)| drivers.contains(driver))
        .filter_map(|(major, _)| major.parse().ok())
        .collect();
    let right = minor.parse() == Ok(number.1) && (majors.is_empty() || majors.contains(&number.0));
    (!right).then(|| format!("is device {}:{}, which is not the driver's", number.0, number.1))
}

/// Linux's split of a device number (makedev(3)).
fn major(rdev: u64) -> u32 {
    (rdev >> 8 & 0xfff | rdev >> 32 & !0xfff) as u32
}

fn minor(rdev: u64) -> u32 {
    (rdev & 0xff | rdev >> 12 & !0xff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn minors_are_found_by_gpu_minor_and_instance() {
        let text = "config 1\nmonitor 2\ngpu0/gi7/access 66\ngpu0/gi7/ci0/access 67\n\
                    gpu3/gi1/access 417\ngpu3/gi1/ci2/access 420\n";
        let minors = MigMinors::parse(text);
        let files = minors.devices(Path::new("/"), 3, 1, 2).unwrap();
        assert_eq!(
            files.paths(),
            ["/dev/nvidia3", "/dev/nvidia-caps/nvidia-cap417", "/dev/nvidia-caps/nvidia-cap420"]
        );
        let files = minors.devices(Path::new("/tmp/n1"), 0, 7, 0).unwrap();
        assert_eq!(files.compute_instance, "/tmp/n1/dev/nvidia-caps/nvidia-cap67");
        assert_eq!(minors.devices(Path::new("/"), 0, 7, 1), None);
        assert_eq!(minors.devices(Path::new("/"), 1, 7, 0), None);
    }

    #[test]
    fn device_numbers_are_the_drivers() {
        let listed = "Character devices:\n195 nvidia\n195 nvidiactl\n237 nvidia-caps\n\n\
                      Block devices:\n  7 nvidia-caps\n";
        let wrong = |path, number| wrong_number(path, number, listed).is_some();
        assert!(!wrong("/dev/nvidia3", (195, 3)));
        assert!(!wrong("/dev/nvidia-caps/nvidia-cap66", (237, 66)));
        assert!(wrong("/dev/nvidia-caps/nvidia-cap66", (237, 67)));
        assert!(wrong("/dev/nvidia-caps/nvidia-cap66", (7, 66)));
        assert!(wrong("/dev/nvidia3", (237, 3)));
        assert_eq!(wrong_number("/dev/nvidia3", (195, 3), ""), None);
        // /dev/nvidia3 and a minor above 255, as stat gives them.
        assert_eq!((major(0xc303), minor(0xc303)), (195, 3));
        assert_eq!((major(0x0010_eda2), minor(0x0010_eda2)), (237, 418));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(gpu|gi|ci|[0-9/ \n]|access|.){0,60}") {
            MigMinors::parse(&text);
        }
    }
}
