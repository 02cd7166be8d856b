//! What can be wrong with a node: errors end the reading, warnings leave one GPU or leaf out.

use std::path::PathBuf;

use flexmig_core::bus_id::BusIdError;

/// Why there is no inventory at all. One line each: what, why, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// The NVML library could not be loaded.
    #[error(
        "NVML library {}: cannot be loaded: {reason}: install the NVIDIA driver on this node, or \
         set nvml_library in [node] of flexmig.toml", .library.display()
    )]
    Library {
        /// The library as policy names it.
        library: PathBuf,
        /// What the dynamic linker says.
        reason: String,
    },
    /// The library was loaded, but NVML did not start.
    #[error("NVML library {}: cannot be initialised: {reason}: {mend}", .library.display())]
    Init {
        /// The library as policy names it.
        library: PathBuf,
        /// What NVML says.
        reason: String,
        /// What to do.
        mend: &'static str,
    },
    /// NVML runs, but does not answer the question how many GPUs there are.
    #[error("NVML: {call} failed: {reason}: check the driver with nvidia-smi, then restart slurmd")]
    Call {
        /// NVML's function.
        call: &'static str,
        /// What NVML says.
        reason: String,
    },
    /// A GPU has MIG on, but the driver's list of device file minors cannot be read.
    #[error(
        "{}: cannot be read: {reason}: load the nvidia kernel module with its capabilities in \
         /dev, or mend root in [node] of flexmig.toml", .file.display()
    )]
    MigMinors {
        /// `/proc/driver/nvidia-caps/mig-minors` under the root directory.
        file: PathBuf,
        /// What the operating system says.
        reason: String,
    },
}

/// Why one GPU or leaf is not in the inventory, or what an admin should know about it. One line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A call on a GPU failed.
    #[error(
        "{gpu}: {call} failed: {reason}: its leaves are left out; check it with nvidia-smi, then \
         restart slurmd"
    )]
    Gpu {
        /// The GPU, as far as it is known.
        gpu: String,
        /// NVML's function.
        call: &'static str,
        /// What NVML says.
        reason: String,
    },
    /// A call on a MIG device failed.
    #[error(
        "{leaf}: {call} failed: {reason}: this leaf is left out; check it with nvidia-smi -L, then \
         restart slurmd"
    )]
    Leaf {
        /// The leaf, as far as it is known.
        leaf: String,
        /// NVML's function.
        call: &'static str,
        /// What NVML says.
        reason: String,
    },
    /// Neither name nor attributes of a MIG device say what its profile is.
    #[error("{leaf}: profile unknown: {reason}: this leaf is left out; please report the name")]
    Profile {
        /// The leaf.
        leaf: String,
        /// What was seen.
        reason: String,
    },
    /// mig-minors does not list an instance that NVML knows.
    #[error(
        "{leaf}: not listed in {}: this leaf is left out; if that is not this machine's file, mend \
         root in [node] of flexmig.toml", .file.display()
    )]
    NotListed {
        /// The leaf.
        leaf: String,
        /// The mig-minors file.
        file: PathBuf,
    },
    /// A device file does not exist.
    #[error("{object}: {}: {reason}: left out; {mend}, then restart slurmd", .file.display())]
    DeviceFile {
        /// The leaf, or the GPU with all its leaves.
        object: String,
        /// The device file.
        file: PathBuf,
        /// What the operating system says.
        reason: String,
        /// The command that makes the file.
        mend: String,
    },
    /// A leaf's ids do not fit into a synthetic bus id.
    #[error(
        "{leaf}: {error}: this leaf is left out; make the instance again, so that it gets a lower id"
    )]
    BusId {
        /// The leaf.
        leaf: String,
        /// What does not fit.
        error: BusIdError,
    },
    /// A GPU has MIG on and no MIG device, as after a reboot.
    #[error(
        "{gpu}: MIG is on, but there is no MIG device: make the instances (nvidia-mig-parted apply) \
         before slurmd starts"
    )]
    NoInstances {
        /// The GPU.
        gpu: String,
    },
    /// A GPU's MIG mode changes at the next reset.
    #[error("{gpu}: MIG is {now}, but {next} after the next reset: reset the GPU or reboot")]
    PendingMode {
        /// The GPU.
        gpu: String,
        /// `on` or `off`.
        now: &'static str,
        /// `on` or `off`.
        next: &'static str,
    },
}
