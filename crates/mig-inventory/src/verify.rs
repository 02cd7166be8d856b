//! Is a leaf still what it was when the inventory was read?

use std::fs;
use std::path::Path;

use flexmig_core::leaf::Leaf;
use flexmig_core::policy::{self, Verify};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use crate::caps::{self, MigMinors};
use crate::{nvml, read};

/// What ends most messages.
const MEND: &str = "restart slurmd on this node once its GPUs are as they should be";

/// See [`crate::verify_leaves`].
pub(crate) fn verify(node: &policy::Node, leaves: &[&Leaf]) -> Vec<String> {
    if leaves.is_empty() {
        return Vec::new();
    }
    let minors = match MigMinors::read(&node.root) {
        Ok(minors) => minors,
        Err(error) => {
            let file = caps::mig_minors_file(&node.root);
            return vec![format!("{}: cannot be read: {error}: {MEND}", file.display())];
        }
    };
    let nvml = match node.verify {
        Verify::Files => None,
        Verify::Nvml => match nvml::open(&node.nvml_library) {
            Ok(nvml) => Some(nvml),
            Err(error) => return vec![error.to_string()],
        },
    };
    let check = |leaf: &Leaf| {
        files(&node.root, &minors, leaf)?;
        nvml.as_ref().map_or(Ok(()), |nvml| known(nvml, leaf))
    };
    let problem = |leaf: &&Leaf| {
        let name = read::leaf_name(&leaf.uuid, leaf.parent.minor, leaf.gi, leaf.ci);
        check(leaf).err().map(|problem| format!("{name}: {problem}: {MEND}"))
    };
    leaves.iter().filter_map(problem).collect()
}

/// The driver's lists and the device files.
fn files(root: &Path, minors: &MigMinors, leaf: &Leaf) -> Result<(), String> {
    let (gpu, gi, ci) = (leaf.parent.minor, leaf.gi, leaf.ci);
    let listed = minors
        .devices(root, gpu, gi, ci)
        .ok_or_else(|| "is gone: mig-minors no longer lists it".to_owned())?;
    for (now, before) in listed.paths().into_iter().zip(leaf.devices.paths()) {
        if now != before {
            return Err(format!("has changed: its device file was {before} and is {now} now"));
        }
    }
    for (ci, device) in [(None, &listed.gpu_instance), (Some(ci), &listed.compute_instance)] {
        let access = caps::access_file(root, gpu, gi, ci);
        let text = fs::read_to_string(&access)
            .map_err(|error| format!("is gone: {}: {error}", access.display()))?;
        let minor = text.lines().find_map(|line| line.strip_prefix("DeviceFileMinor:"));
        let minor = minor.map_or("", str::trim);
        if !device.ends_with(&format!("/nvidia-cap{minor}")) {
            let access = access.display();
            return Err(format!("has changed: {access} says minor {minor:?}, not {device}"));
        }
    }
    for path in listed.paths() {
        caps::check_device(root, path).map_err(|reason| format!("{path}: {reason}"))?;
    }
    Ok(())
}

/// NVML still knows the UUID, at the same place and with the same profile.
fn known(nvml: &Nvml, leaf: &Leaf) -> Result<(), String> {
    let failed = |call: &str, error: &NvmlError| format!("{call} failed: {}", nvml::reason(error));
    let mig = match nvml.device_by_uuid(leaf.uuid.as_str()) {
        Ok(mig) => mig,
        Err(NvmlError::NotFound | NvmlError::InvalidArg) => {
            return Err("is gone: NVML no longer knows its UUID".to_owned());
        }
        Err(error) => return Err(failed("nvmlDeviceGetHandleByUUID", &error)),
    };
    let identity = read::identity(&mig).map_err(|(call, error)| failed(call, &error))?;
    let gpu = mig
        .mig_parent_device()
        .map_err(|error| failed("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", &error))?;
    let minor = gpu.minor_number().map_err(|error| failed("nvmlDeviceGetMinorNumber", &error))?;
    if (minor, identity.gi, identity.ci) != (leaf.parent.minor, leaf.gi, leaf.ci) {
        let (gi, ci) = (identity.gi, identity.ci);
        return Err(format!("has changed: this UUID is gpu{minor}/gi{gi}/ci{ci} now"));
    }
    let profile =
        read::profile(&gpu, &mig).map_err(|reason| format!("profile unknown: {reason}"))?;
    if profile != leaf.profile {
        return Err(format!("has changed: it was a {} and is a {profile} now", leaf.profile));
    }
    Ok(())
}
