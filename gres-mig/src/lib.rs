//! gres/flexmig, the plugin that slurmd, slurmstepd and slurmctld load.
//!
//! | where | what | module |
//! |---|---|---|
//! | slurmd | finds the leaves, gives them indices, rewrites the GRES records | [`slurmd`] |
//! | slurmd | which leaves lines of gres.conf mean; whether jobs run | [`hand_written`], [`running`] |
//! | slurmd to slurmstepd | the leaves by index | [`node`], [`blob`] |
//! | slurmstepd | environment of job, step and task; device files | [`stepd`], [`environment`], [`devices`] |
//! | slurmd, slurmstepd | libraries, topology file, mode and variables for NCCL | [`nccl`], [`user_file`] |
//! | slurmstepd | a job that must not run | [`refuse`] |
//! | slurmctld | the indices for prolog and epilog | here |
//!
//! This file has every function that Slurm 22.05 to 26.05 looks for in a GRES plugin; a release
//! takes those it knows. Each runs inside [`slurm_sys::fence()`] and does nothing in a Slurm of an
//! unknown release, which does not load the plugin and counts leaves instead.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;

use slurm_sys::raw::{Bitstr, Buf, GresJobState, GresPrep, List, NodeConfigLoad};
use slurm_sys::{
    BitstrRef, EINVAL, EnvArray, GresConfList, JobState, NodeConfig, PackBuf, PrepInfo,
    SLURM_SUCCESS, fence,
};

use crate::environment::Scope;

pub mod blob;
pub mod devices;
pub mod environment;
pub mod hand_written;
pub mod nccl;
pub mod node;
pub mod refuse;
pub mod running;
pub mod slurmd;
pub mod stepd;
#[cfg(test)]
mod testing;
pub mod user_file;

slurm_sys::declare_plugin! {
    plugin_type: "gres/flexmig",
    plugin_name: "MIG leaves as a generic resource",
    unknown_release: Refuse,
}

/// Called when the plugin is loaded, by slurmd again at every reconfigure.
#[unsafe(no_mangle)]
pub extern "C" fn init() -> c_int {
    fence("init", SLURM_SUCCESS, || SLURM_SUCCESS)
}

/// Called by slurmd at its end; nothing is held that the process does not give back.
#[unsafe(no_mangle)]
pub extern "C" fn fini() -> c_int {
    fence("fini", SLURM_SUCCESS, || SLURM_SUCCESS)
}

/// slurmd reads its configuration. In slurmctld, which asks for cloud nodes, nothing is touched.
///
/// # Safety
/// Slurm's own list of `gres_slurmd_conf_t` and a `node_config_load_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gres_p_node_config_load(
    records: *mut List,
    config: *mut NodeConfigLoad,
) -> c_int {
    let Some(slurm) = slurm_sys::slurm() else { return SLURM_SUCCESS };
    // SAFETY: Slurm holds its GRES lock; the pointers are valid during the call.
    let (records, config) =
        unsafe { (GresConfList::from_raw(slurm, records), NodeConfig::from_raw(slurm, config)) };
    let (Some(mut records), Some(config)) = (records, config) else { return SLURM_SUCCESS };
    if !config.in_slurmd() {
        return SLURM_SUCCESS;
    }
    let done = fence("gres_p_node_config_load", false, || {
        slurmd::load(slurm, &mut records);
        true
    });
    if !done {
        fence("gres_p_node_config_load (after a panic)", (), || slurmd::withdraw(&mut records));
    }
    SLURM_SUCCESS
}

/// slurmd packs what slurmstepd needs: one block, also after a panic, as others read on behind it.
///
/// # Safety
/// A pack buffer of Slurm's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gres_p_send_stepd(buffer: *mut Buf) {
    let Some(slurm) = slurm_sys::slurm() else { return };
    // SAFETY: Slurm holds its GRES lock; the buffer is valid during the call.
    let Some(mut buffer) = (unsafe { PackBuf::from_raw(slurm, buffer) }) else { return };
    let mut sent = false;
    fence("gres_p_send_stepd", (), || {
        slurmd::send(&mut buffer);
        sent = true;
    });
    if !sent {
        fence("gres_p_send_stepd (after a panic)", (), || _ = buffer.put(&[]));
    }
}

/// slurmstepd unpacks it: one block, also after a panic.
///
/// # Safety
/// A pack buffer of Slurm's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gres_p_recv_stepd(buffer: *mut Buf) {
    let Some(slurm) = slurm_sys::slurm() else { return };
    // SAFETY: Slurm holds its GRES lock; the buffer is valid during the call.
    let Some(mut buffer) = (unsafe { PackBuf::from_raw(slurm, buffer) }) else { return };
    let mut block = None;
    fence("gres_p_recv_stepd", (), || {
        let taken = block.insert(buffer.take().map(<[u8]>::to_vec));
        stepd::receive(slurm, taken);
    });
    if block.is_none() {
        fence("gres_p_recv_stepd (after a panic)", (), || _ = buffer.take());
    }
}

/// The device files of all leaves, for ConstrainDevices; the list stays ours. The answer is the same
/// after a panic: without a list every job could open every leaf.
#[unsafe(no_mangle)]
pub extern "C" fn gres_p_get_devices() -> *mut List {
    let list = stepd::device_list();
    fence("gres_p_get_devices", list, || list)
}

/// Environment of a batch script or an interactive step.
///
/// # Safety
/// Slurm's environment array, and null or a bitmap of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gres_p_job_set_env(
    env: *mut *mut *mut c_char,
    bits: *mut Bitstr,
    count: u64,
    _flags: c_int,
) {
    // SAFETY: promised by the caller.
    unsafe { set_env("gres_p_job_set_env", Scope::Job, env, bits, count) };
}

/// Environment of the tasks of a step.
///
/// # Safety
/// Slurm's environment array, and null or a bitmap of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gres_p_step_set_env(
    env: *mut *mut *mut c_char,
    bits: *mut Bitstr,
    count: u64,
    _flags: c_int,
) {
    // SAFETY: promised by the caller.
    unsafe { set_env("gres_p_step_set_env", Scope::Step, env, bits, count) };
}

/// A job whose environment could not be made must not run with what it inherited.
///
/// # Safety
/// Slurm's environment array, and null or a bitmap of it.
unsafe fn set_env(
    entry: &'static str,
    scope: Scope,
    env: *mut *mut *mut c_char,
    bits: *mut Bitstr,
    count: u64,
) {
    let Some(slurm) = slurm_sys::slurm() else { return };
    // SAFETY: Slurm holds its GRES lock; the array and the bitmap are valid during the call.
    let (env, bits) = unsafe { (EnvArray::from_raw(slurm, env), BitstrRef::from_raw(slurm, bits)) };
    let Some(mut env) = env else { return };
    let done = fence(entry, false, || {
        stepd::set_environment(slurm, scope, &mut env, bits, count);
        true
    });
    if !done && (bits.is_some() || count > 0) {
        fence("set_env (after a panic)", (), || stepd::refuse_after_panic(&mut env));
    }
}

/// Environment of one task, in its own process after the fork.
///
/// # Safety
/// Slurm's environment array, and null or bitmaps of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gres_p_task_set_env(
    env: *mut *mut *mut c_char,
    bits: *mut Bitstr,
    _count: u64,
    usable: *mut Bitstr,
    _flags: c_int,
) {
    let Some(slurm) = slurm_sys::slurm() else { return };
    // SAFETY: the array and the bitmaps are valid during the call.
    let (env, bits, usable) = unsafe {
        (
            EnvArray::from_raw(slurm, env),
            BitstrRef::from_raw(slurm, bits),
            BitstrRef::from_raw(slurm, usable),
        )
    };
    let Some(mut env) = env else { return };
    let done = fence("gres_p_task_set_env", false, || {
        stepd::bind_task(&mut env, bits, usable);
        true
    });
    if !done && usable.is_some() {
        fence("set_env (after a panic)", (), || stepd::refuse_after_panic(&mut env));
    }
}

/// slurmctld tells prologs and epilogs about a job: its leaves on each node.
///
/// # Safety
/// A `gres_job_state_t` of Slurm's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gres_p_prep_build_env(job: *mut GresJobState) -> *mut GresPrep {
    fence("gres_p_prep_build_env", null_mut(), || {
        let Some(slurm) = slurm_sys::slurm() else { return null_mut() };
        // SAFETY: Slurm holds its locks; the job is valid during the call.
        let job = unsafe { JobState::from_raw(slurm, job) };
        job.map_or(null_mut(), |job| job.to_prep())
    })
}

/// Environment of a prolog or epilog on the job's `node`th node.
///
/// # Safety
/// Slurm's environment array and what [`gres_p_prep_build_env`] made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gres_p_prep_set_env(
    env: *mut *mut *mut c_char,
    prep: *mut GresPrep,
    node: c_int,
) {
    fence("gres_p_prep_set_env", (), || {
        let Some(slurm) = slurm_sys::slurm() else { return };
        // SAFETY: both are valid during the call.
        let (env, prep) =
            unsafe { (EnvArray::from_raw(slurm, env), PrepInfo::from_raw(slurm, prep)) };
        let (Some(mut env), Some(prep), Ok(node)) = (env, prep, usize::try_from(node)) else {
            return;
        };
        if let Some(bits) = prep.bits(node) {
            let indices: Vec<String> = bits.iter().map(|index| index.to_string()).collect();
            env.set("SLURM_JOB_FLEXMIGS", indices.join(","));
        }
    });
}

/// [`gres_p_prep_build_env`] as 22.05 calls it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gres_p_epilog_build_env(job: *mut GresJobState) -> *mut GresPrep {
    // SAFETY: promised by the caller.
    unsafe { gres_p_prep_build_env(job) }
}

/// [`gres_p_prep_set_env`] as 22.05 calls it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gres_p_epilog_set_env(
    env: *mut *mut *mut c_char,
    prep: *mut GresPrep,
    node: c_int,
) {
    // SAFETY: promised by the caller.
    unsafe { gres_p_prep_set_env(env, prep, node) }
}

/// `--gpu-freq` means GPUs, not leaves.
#[unsafe(no_mangle)]
pub extern "C" fn gres_p_step_hardware_init(_bits: *mut Bitstr, _settings: *mut c_char) {}

/// See [`gres_p_step_hardware_init`].
#[unsafe(no_mangle)]
pub extern "C" fn gres_p_step_hardware_fini() {}

/// Nothing is kept per job (22.05 to 24.05 ask).
#[unsafe(no_mangle)]
pub extern "C" fn gres_p_get_job_info(
    _job: *mut GresJobState,
    _node: u32,
    _what: c_int,
    _data: *mut c_void,
) -> c_int {
    EINVAL
}

/// Nothing is kept per step (22.05 to 24.05 ask).
#[unsafe(no_mangle)]
pub extern "C" fn gres_p_get_step_info(
    _step: *mut c_void,
    _node: u32,
    _what: c_int,
    _data: *mut c_void,
) -> c_int {
    EINVAL
}
