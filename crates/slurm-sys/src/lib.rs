//! Slurm 22.05 to 26.05 for plugins that are built once and run in all of them.
//!
//! # The pieces
//! - [`declare_plugin!`]: the three data symbols of a plugin, and the
//!   constructor that gives it the version of the Slurm that loads it.
//! - [`slurm()`]: the [`Slurm`] of this process, or `None` if its release is not
//!   known. Every safe type is made from it, so an unknown Slurm is never touched.
//! - [`fence()`]: around the body of every function that Slurm calls and of every
//!   thread. [`log`]: lines in Slurm's log.
//! - job_submit: [`JobDesc`], [`ErrMsg`].
//! - gres: [`GresConfList`] with [`GresRecord`], [`NodeConfig`], [`DeviceList`] in
//!   a [`DeviceSlot`], [`BitstrRef`], [`EnvArray`], [`PackBuf`], [`JobState`] and
//!   [`PrepInfo`].
//! - [`cluster`]: nodes, partitions and jobs from the controller, and the update of a waiting job;
//!   for the view thread of job_submit and for commands.
//! - [`layout`]: the offsets of the fields, per release. [`raw`]: opaque C types
//!   for the signatures of entry points.
//!
//! # An entry point
//! ```ignore
//! #[unsafe(no_mangle)]
//! pub unsafe extern "C" fn job_submit(job: *mut JobDescMsg, uid: u32, err: *mut *mut c_char) -> c_int {
//!     fence("job_submit", SLURM_SUCCESS, || {
//!         let Some(slurm) = slurm_sys::slurm() else { return SLURM_SUCCESS };
//!         // SAFETY: slurmctld passes a description that is ours during the call.
//!         let Some(mut job) = (unsafe { JobDesc::from_raw(slurm, job) }) else { return SLURM_SUCCESS };
//!         ...
//!     })
//! }
//! ```
//!
//! # Building a plugin
//! - Nothing of Slurm's is an undefined symbol: the constructor looks every
//!   function up (see [`raw`]). Plugins and their unit tests link without libslurm.
//! - The plugin's `build.rs` passes
//!   `cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete`. Slurm may `dlclose` a plugin
//!   whose `init` failed, or at exit, and code that is still referred to (a
//!   thread, a panic hook) must stay mapped.
//! - rustc exports only `#[no_mangle]` items from a cdylib; no list is needed.
//!
//! # Rules
//! - Slurm's memory only through these types: each string left in a structure of
//!   Slurm's is made by `slurm_xstrdup`.
//! - After a fork (`task_set_env`, `get_devices` in slurmstepd's children) take no
//!   lock and initialise nothing. [`slurm()`], [`fence()`], [`DeviceSlot::as_ptr`],
//!   [`BitstrRef`] and [`EnvArray`] keep to that (memory comes from malloc,
//!   which glibc makes safe after a fork).
//! - slurmd calls `init` again on a reconfigure, in the same process and without
//!   `fini`: it must be idempotent. [`attach`] is.
//! - No thread-local variable with a destructor.
//!
//! # Features
//! - `testing`: the module `testing`, for the plugins' unit tests.
//! - `fault-injection`: `FLEXMIG_TEST_PANIC` and `FLEXMIG_TEST_API`. Never in what
//!   is installed.

pub mod bitmap;
pub mod cluster;
pub mod consts;
pub mod devices;
pub mod environment;
pub mod err_msg;
pub mod fence;
pub mod gres_conf;
pub mod job_desc;
pub mod layout;
pub mod log;
mod memory;
pub mod pack;
pub mod plugin;
pub mod prep;
pub mod raw;
pub mod release;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod thread;

pub use bitmap::{Bitmap, BitstrRef};
pub use consts::*;
pub use devices::{Device, DeviceList, DeviceSlot, DeviceType};
pub use environment::EnvArray;
pub use err_msg::ErrMsg;
pub use fence::fence;
pub use gres_conf::{GresConfList, GresRecord, NodeConfig, OwnedGresRecord};
pub use job_desc::JobDesc;
pub use pack::{PackBuf, TooLarge, Truncated};
pub use prep::{JobState, PrepInfo};
pub use release::{Attached, Release, Slurm, Version, attach, release, slurm};
