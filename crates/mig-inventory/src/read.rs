//! Reading the inventory: a walk over GPUs and their MIG devices.
//!
//! A call that fails costs the GPU or leaf it was made on, never the others.

use std::fs;
use std::path::Path;

use flexmig_core::bus_id::BusId;
use flexmig_core::leaf::{DeviceFiles, Leaf, Parent};
use flexmig_core::policy;
use flexmig_core::profile::Profile;
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

use crate::caps::{self, MigMinors};
use crate::error::{InventoryError, Warning};
use crate::{Inventory, nvml, shape};

/// A call that failed: its name, and what NVML said.
pub(crate) type Failed = (&'static str, NvmlError);

/// Puts the call's name to its error.
fn on<T>(call: &'static str, result: Result<T, NvmlError>) -> Result<T, Failed> {
    result.map_err(|error| (call, error))
}

struct Reader<'a> {
    root: &'a Path,
    /// Read when the first leaf needs it.
    mig_minors: Option<MigMinors>,
    inventory: Inventory,
}

/// See [`Inventory::read`].
pub(crate) fn read(node: &policy::Node) -> Result<Inventory, InventoryError> {
    let nvml = nvml::open(&node.nvml_library)?;
    let mut reader = Reader { root: &node.root, mig_minors: None, inventory: Inventory::default() };
    // Versions are for display: a failure here is not worth a leaf.
    reader.inventory.driver_version = nvml.sys_driver_version().unwrap_or_default();
    reader.inventory.nvml_version = nvml.sys_nvml_version().unwrap_or_default();
    let count = on("nvmlDeviceGetCount", nvml.device_count())
        .map_err(|(call, error)| InventoryError::Call { call, reason: nvml::reason(&error) })?;
    for index in 0..count {
        let gpu = on("nvmlDeviceGetHandleByIndex", nvml.device_by_index(index));
        let read = gpu.and_then(|gpu| Ok((parent(reader.root, &gpu, index)?, gpu)));
        match read {
            Ok((parent, gpu)) => reader.gpu(&gpu, parent)?,
            Err(failed) => {
                reader.warn_gpu(format!("GPU with NVML index {index}"), failed);
            }
        }
    }
    let mut inventory = reader.inventory;
    inventory.parents.sort_by_key(|parent| parent.minor);
    inventory.mig_minors.sort_unstable();
    // GPU instance ids, not places: NVML tells places only to root, and the order must not depend
    // on who reads.
    inventory.leaves.sort_by_key(|leaf| (leaf.parent.minor, leaf.gi, leaf.ci));
    Ok(inventory)
}

impl Reader<'_> {
    fn warn_gpu(&mut self, gpu: String, (call, error): Failed) {
        let reason = nvml::reason(&error);
        self.inventory.warnings.push(Warning::Gpu { gpu, call, reason });
    }

    /// A GPU that answers, and its leaves.
    fn gpu(&mut self, gpu: &Device<'_>, parent: Parent) -> Result<(), InventoryError> {
        self.inventory.parents.push(parent.clone());
        let name = gpu_name(&parent);
        match mig_mode(gpu) {
            Ok((now, next)) => {
                if now != next {
                    let word = |on| if on { "on" } else { "off" };
                    let (now, next) = (word(now), word(next));
                    let gpu = name.clone();
                    self.inventory.warnings.push(Warning::PendingMode { gpu, now, next });
                }
                if !now {
                    return Ok(());
                }
            }
            Err(failed) => {
                self.warn_gpu(name, failed);
                return Ok(());
            }
        }
        self.inventory.mig_minors.push(parent.minor);
        let count = match on("nvmlDeviceGetMaxMigDeviceCount", gpu.mig_device_count()) {
            Ok(count) => count,
            Err(failed) => {
                self.warn_gpu(name, failed);
                return Ok(());
            }
        };
        let device = self.root.join(format!("dev/nvidia{}", parent.minor)).display().to_string();
        if let Err(reason) = caps::check_device(self.root, &device) {
            let mend = format!("run nvidia-modprobe -c {}", parent.minor);
            let warning = Warning::DeviceFile { object: name, file: device.into(), reason, mend };
            self.inventory.warnings.push(warning);
            return Ok(());
        }
        let mut found = 0;
        for index in 0..count {
            let mig = match gpu.mig_device_by_index(index) {
                Ok(mig) => mig,
                // Indices of MIG devices have gaps.
                Err(NvmlError::NotFound) => continue,
                Err(error) => {
                    let leaf = format!("MIG device {index} of {name}");
                    self.warn_leaf(leaf, ("nvmlDeviceGetMigDeviceHandleByIndex", error));
                    found += 1;
                    continue;
                }
            };
            found += 1;
            match identity(&mig) {
                Ok(identity) => self.leaf(gpu, &mig, &parent, identity)?,
                Err(failed) => self.warn_leaf(format!("MIG device {index} of {name}"), failed),
            }
        }
        if found == 0 {
            self.inventory.warnings.push(Warning::NoInstances { gpu: name });
        }
        Ok(())
    }

    fn warn_leaf(&mut self, leaf: String, (call, error): Failed) {
        let reason = nvml::reason(&error);
        self.inventory.warnings.push(Warning::Leaf { leaf, call, reason });
    }

    /// A MIG device that said who it is.
    fn leaf(
        &mut self,
        gpu: &Device<'_>,
        mig: &Device<'_>,
        parent: &Parent,
        identity: Identity,
    ) -> Result<(), InventoryError> {
        let Identity { uuid, gi, ci } = identity;
        let name = leaf_name(&uuid, parent.minor, gi, ci);
        let attributes = match on("nvmlDeviceGetAttributes", mig.attributes()) {
            Ok(attributes) => attributes,
            Err(failed) => {
                self.warn_leaf(name, failed);
                return Ok(());
            }
        };
        let profile = match profile(gpu, mig) {
            Ok(profile) => profile,
            Err(reason) => {
                self.inventory.warnings.push(Warning::Profile { leaf: name, reason });
                return Ok(());
            }
        };
        let Some(devices) = self.devices(&name, parent.minor, gi, ci)? else {
            return Ok(());
        };
        let leaf = Leaf {
            uuid,
            profile,
            memory_mib: attributes.memory_size_mb,
            sm_count: attributes.multiprocessor_count,
            gi,
            ci,
            placement: nvml::placement(gpu, gi),
            devices,
            parent: parent.clone(),
        };
        match leaf.bus_id() {
            Ok(_) => self.inventory.leaves.push(leaf),
            Err(error) => self.inventory.warnings.push(Warning::BusId { leaf: name, error }),
        }
        Ok(())
    }

    /// The device files of a leaf; `None`, with a warning, if there is something wrong with them.
    fn devices(
        &mut self,
        leaf: &str,
        minor: u32,
        gi: u32,
        ci: u32,
    ) -> Result<Option<DeviceFiles>, InventoryError> {
        let file = caps::mig_minors_file(self.root);
        if self.mig_minors.is_none() {
            let listed = MigMinors::read(self.root).map_err(|error| InventoryError::MigMinors {
                file: file.clone(),
                reason: error.to_string(),
            })?;
            self.mig_minors = Some(listed);
        }
        let listed = self.mig_minors.as_ref();
        let Some(devices) = listed.and_then(|listed| listed.devices(self.root, minor, gi, ci))
        else {
            self.inventory.warnings.push(Warning::NotListed { leaf: leaf.to_owned(), file });
            return Ok(None);
        };
        for (path, ci) in [(&devices.gpu_instance, None), (&devices.compute_instance, Some(ci))] {
            if let Err(reason) = caps::check_device(self.root, path) {
                let access = caps::access_file(Path::new("/"), minor, gi, ci);
                let mend = format!("run nvidia-modprobe -f {}", access.display());
                let (object, file) = (leaf.to_owned(), path.into());
                let warning = Warning::DeviceFile { object, file, reason, mend };
                self.inventory.warnings.push(warning);
                return Ok(None);
            }
        }
        Ok(Some(devices))
    }
}

/// What NVML knows a MIG device by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uuid: String,
    pub(crate) gi: u32,
    pub(crate) ci: u32,
}

pub(crate) fn identity(mig: &Device<'_>) -> Result<Identity, Failed> {
    Ok(Identity {
        uuid: on("nvmlDeviceGetUUID", mig.uuid())?,
        gi: on("nvmlDeviceGetGpuInstanceId", nvml::gpu_instance_id(mig))?,
        ci: on("nvmlDeviceGetComputeInstanceId", nvml::compute_instance_id(mig))?,
    })
}

/// The profile, from the name that NVML gives, else from slices and memory.
pub(crate) fn profile(gpu: &Device<'_>, mig: &Device<'_>) -> Result<Profile, String> {
    let name = mig.name();
    if let Some(profile) = name.as_deref().ok().and_then(shape::from_name) {
        return Ok(profile);
    }
    let called = match &name {
        Ok(name) => format!("its name is {name:?}"),
        Err(error) => format!("nvmlDeviceGetName failed: {}", nvml::reason(error)),
    };
    let failed = |call: &str, error: &NvmlError| {
        format!("{called}, and {call} failed: {}", nvml::reason(error))
    };
    let attributes = mig.attributes().map_err(|error| failed("nvmlDeviceGetAttributes", &error))?;
    let memory = gpu.memory_info().map_err(|error| failed("nvmlDeviceGetMemoryInfo", &error))?;
    let (compute, slices) =
        (attributes.compute_instance_slice_count, attributes.gpu_instance_slice_count);
    let memory_mib = attributes.memory_size_mb;
    shape::from_attributes(compute, slices, memory_mib, memory.total >> 20).ok_or_else(|| {
        format!("{called}, and {compute} of {slices} slices with {memory_mib} MiB have none")
    })
}

/// Whether MIG is on now, and after the next reset. GPUs and drivers that know no MIG have it off.
fn mig_mode(gpu: &Device<'_>) -> Result<(bool, bool), Failed> {
    match gpu.mig_mode() {
        Ok(mode) => Ok((mode.current == 1, mode.pending == 1)),
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => Ok((false, false)),
        Err(error) => Err(("nvmlDeviceGetMigMode", error)),
    }
}

fn parent(root: &Path, gpu: &Device<'_>, index: u32) -> Result<Parent, Failed> {
    let pci = on("nvmlDeviceGetPciInfo", gpu.pci_info())?;
    let bus_id = BusId::parse(pci.bus_id.as_bytes())
        .map_err(|_| ("nvmlDeviceGetPciInfo", NvmlError::InvalidArg))?;
    let cpus = match nvml::cpu_list(gpu) {
        cpus if cpus.is_empty() => pci_attribute(root, bus_id, "local_cpulist").unwrap_or_default(),
        cpus => cpus,
    };
    let numa = nvml::numa_node(gpu);
    let numa_from_pci = || pci_attribute(root, bus_id, "numa_node")?.parse().ok();
    Ok(Parent {
        uuid: on("nvmlDeviceGetUUID", gpu.uuid())?,
        model: on("nvmlDeviceGetName", gpu.name())?,
        index,
        minor: on("nvmlDeviceGetMinorNumber", gpu.minor_number())?,
        bus_id,
        numa: numa.or_else(numa_from_pci),
        cpus,
    })
}

/// What the kernel says about a PCI device; `numa_node` is -1 where it does not know.
fn pci_attribute(root: &Path, bus_id: BusId, name: &str) -> Option<String> {
    let BusId { domain, bus, device, function } = bus_id;
    let folder = format!("sys/bus/pci/devices/{domain:04x}:{bus:02x}:{device:02x}.{function}");
    let text = fs::read_to_string(root.join(folder).join(name)).ok()?;
    Some(text.trim().to_owned())
}

/// How messages call a GPU.
fn gpu_name(parent: &Parent) -> String {
    format!("GPU /dev/nvidia{} ({})", parent.minor, parent.bus_id)
}

/// How messages call a leaf.
pub(crate) fn leaf_name(uuid: &str, minor: u32, gi: u32, ci: u32) -> String {
    format!("leaf gpu{minor}/gi{gi}/ci{ci} ({uuid})")
}
