//! Findings about the device files of the leaves: there, and the driver's numbers on them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use flexmig_core::leaf::Leaf;

use super::cluster::counted;
use super::finding::Finding;

/// A device file as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFile {
    /// Path on this node.
    pub path: String,
    /// The command that makes it again.
    pub again: String,
    /// Major and minor, `None` if it is no character device; or why it cannot be looked at.
    pub device: Result<Option<(u32, u32)>, String>,
}

/// The device files of these leaves, each once.
pub fn read<'a>(leaves: impl IntoIterator<Item = &'a Leaf>) -> Vec<DeviceFile> {
    let files: BTreeMap<&str, String> = leaves.into_iter().flat_map(files).collect();
    let look = |(path, again): (&str, String)| DeviceFile {
        path: path.to_owned(),
        again,
        device: device(Path::new(path)),
    };
    files.into_iter().map(look).collect()
}

fn files(leaf: &Leaf) -> [(&str, String); 3] {
    let Leaf { gi, ci, .. } = leaf;
    let minor = leaf.parent.minor;
    let capability =
        format!("nvidia-modprobe -f /proc/driver/nvidia/capabilities/gpu{minor}/mig/gi{gi}");
    let [parent, gpu_instance, compute_instance] = leaf.devices.paths();
    [
        (parent, format!("nvidia-modprobe -c {minor}")),
        (gpu_instance, format!("{capability}/access")),
        (compute_instance, format!("{capability}/ci{ci}/access")),
    ]
}

fn device(path: &Path) -> Result<Option<(u32, u32)>, String> {
    let data = fs::metadata(path).map_err(|error| error.to_string())?;
    let numbers = (rustix::fs::major(data.rdev()), rustix::fs::minor(data.rdev()));
    Ok(data.file_type().is_char_device().then_some(numbers))
}

/// Compares the files with the majors in `/proc/devices`; the minor is the number in the name, as
/// the driver numbers GPUs and capabilities. Without a major (no driver, or a stand-in) a file only
/// has to be there.
pub fn findings(node: &str, files: &[DeviceFile], proc_devices: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        files.iter().filter_map(|file| judge(file, proc_devices)).collect();
    if findings.is_empty() && !files.is_empty() {
        let what = format!(
            "{} there, with the driver's numbers",
            counted(files.len() as u64, "device file")
        );
        findings.push(Finding::ok("device", node, what));
    }
    findings
}

fn judge(file: &DeviceFile, proc_devices: &str) -> Option<Finding> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let expected = match name.strip_prefix("nvidia-cap") {
        Some(minor) => major(proc_devices, &["nvidia-caps"]).zip(minor.parse().ok()),
        None => {
            let minor = name.strip_prefix("nvidia").and_then(|minor| minor.parse().ok());
            major(proc_devices, &["nvidia", "nvidia-frontend"]).zip(minor)
        }
    };
    let again = &file.again;
    let error = |what: String, mend: String| Some(Finding::error("device", &file.path, what, mend));
    match (&file.device, expected) {
        (Err(reason), _) => error(format!("cannot be looked at: {reason}"), format!("run {again}")),
        (Ok(None), Some(_)) => {
            error("is no character device".into(), format!("remove it and run {again}"))
        }
        (Ok(Some((major, minor))), Some(right)) if (*major, *minor) != right => error(
            format!(
                "is device {major}:{minor}, but the driver's number is {}:{}",
                right.0, right.1
            ),
            format!("remove it and run {again}"),
        ),
        _ => None,
    }
}

/// The major number of a character device in `/proc/devices`.
fn major(proc_devices: &str, names: &[&str]) -> Option<u32> {
    let mut lines = proc_devices.lines().take_while(|line| !line.starts_with("Block"));
    lines.find_map(|line| {
        let (major, name) = line.trim().split_once(' ')?;
        if names.contains(&name.trim()) { major.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICES: &str = "Character devices:\n  1 mem\n195 nvidia-frontend\n237 nvidia-caps\n\n\
                           Block devices:\n254 nvidia\n";

    fn check(path: &str, device: Result<Option<(u32, u32)>, String>, devices: &str) -> Vec<String> {
        let file = DeviceFile { path: path.into(), again: "mkdev".into(), device };
        findings("n1", &[file], devices).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn the_numbers_of_the_driver_are_right() {
        let ok = ["ok      n1: 1 device file there, with the driver's numbers"];
        assert_eq!(check("/dev/nvidia0", Ok(Some((195, 0))), DEVICES), ok);
        assert_eq!(check("/dev/nvidia-caps/nvidia-cap30", Ok(Some((237, 30))), DEVICES), ok);
        assert_eq!(check("/t/dev/nvidia0", Ok(Some((4, 20))), ""), ok, "no driver to compare with");
        assert_eq!(check("/t/dev/nvidia0", Ok(None), ""), ok);
    }

    #[test]
    fn other_numbers_are_errors() {
        let other = "is device 195:0, but the driver's number is 195:1: remove it and run mkdev";
        assert_eq!(
            check("/dev/nvidia1", Ok(Some((195, 0))), DEVICES),
            [format!("error   /dev/nvidia1: {other}")]
        );
        let cap = "/dev/nvidia-caps/nvidia-cap30";
        let other = "is device 236:30, but the driver's number is 237:30: remove it and run mkdev";
        assert_eq!(check(cap, Ok(Some((236, 30))), DEVICES), [format!("error   {cap}: {other}")]);
        assert_eq!(
            check(cap, Ok(None), DEVICES),
            [format!("error   {cap}: is no character device: remove it and run mkdev")]
        );
        assert_eq!(
            check(cap, Err("No such file or directory (os error 2)".into()), ""),
            [format!(
                "error   {cap}: cannot be looked at: No such file or directory (os error 2): run mkdev"
            )]
        );
    }
}
