//! Which device files belong to which leaf, for ConstrainDevices.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use slurm_sys::{Device, DeviceList, DeviceType, Slurm};

use crate::node::Node;

/// Three device files per leaf under the leaf's index: its GPU's, its GPU instance's and its
/// compute instance's. Leaves of one GPU share the first; Slurm allows a path that any of the
/// job's leaves has.
///
/// Numbers are read from the files now. A file that is gone or is no device cannot be handed to
/// anybody and is left out.
pub fn list(slurm: Slurm, node: &Node) -> DeviceList {
    let mut list = DeviceList::new(slurm);
    for (index, leaf) in node.indices.iter().enumerate() {
        let (Ok(index), Some(leaf)) = (i32::try_from(index), &leaf.leaf) else { continue };
        for path in leaf.devices.paths() {
            if let Some((device_type, major, minor)) = numbers(path) {
                let number = trailing_number(path);
                let unique_id = Some(leaf.uuid.as_str());
                list.push(&Device { index, device_type, major, minor, number, path, unique_id });
            }
        }
    }
    list
}

fn numbers(path: &str) -> Option<(DeviceType, u32, u32)> {
    let metadata = fs::metadata(path).ok()?;
    let kind = metadata.file_type();
    let device_type = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => DeviceType::Char,
        (_, true) => DeviceType::Block,
        _ => return None,
    };
    let device = metadata.rdev();
    Some((device_type, libc::major(device), libc::minor(device)))
}

/// The number at the end of a file's name, -1 without one.
fn trailing_number(path: &str) -> i32 {
    let digits = path.len() - path.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    path[path.len() - digits..].parse().unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_device_files_only() {
        assert_eq!(numbers("/dev/null"), Some((DeviceType::Char, 1, 3)));
        assert_eq!(numbers("/etc/passwd"), None);
        assert_eq!(numbers("/dev/nowhere"), None);
    }

    #[test]
    fn names_end_in_numbers() {
        assert_eq!(trailing_number("/dev/nvidia-caps/nvidia-cap30"), 30);
        assert_eq!(trailing_number("/dev/nvidia0"), 0);
        assert_eq!(trailing_number("/dev/null"), -1);
        assert_eq!(trailing_number("/dev/x99999999999"), -1);
    }

    #[test]
    fn each_leaf_has_three_files_if_they_are_devices() {
        let Some(slurm) = slurm_sys::testing::slurm() else { return };
        let mut node = crate::testing::node();
        assert!(list(slurm, &node).is_empty(), "no GPU here");
        for index in &mut node.indices[1..] {
            let leaf = index.leaf.as_mut().unwrap();
            leaf.devices.parent = "/dev/null".into();
            leaf.devices.gpu_instance = "/dev/zero".into();
            leaf.devices.compute_instance = "/dev/full".into();
        }
        assert_eq!(list(slurm, &node).len(), 9);
    }
}
