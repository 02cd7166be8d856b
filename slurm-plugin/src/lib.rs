//! job_submit/flexmig, the plugin that slurmctld loads: it turns `--gres=flexmig:4` into a typed
//! request that the job's partition can hold, and rejects with one line what cannot be.
//!
//! | module | part |
//! |---|---|
//! | this one | the functions that slurmctld calls |
//! | [`submit`] | a new job |
//! | [`modify`] | an update of a waiting job |
//! | [`environment`] | what a batch job must not inherit from the job it was submitted in |
//! | [`settings`] | flexmig.toml, slurm.conf and layout files, and what they make of a view |
//! | [`replan`] | waiting jobs move to leaves that are free |
//! | [`view`] | the thread that looks at the cluster and at the files |
//!
//! What becomes of a request is decided by [`flexmig_core::submit`], which is pure. An error of
//! ours never stops a job: whatever goes wrong here is logged, and the job passes unchanged.

pub mod environment;
pub mod modify;
pub mod replan;
pub mod settings;
pub mod submit;
pub mod view;

use std::ffi::{c_char, c_int, c_void};

use slurm_sys::raw::JobDescMsg;
use slurm_sys::{ErrMsg, JobDesc, SLURM_SUCCESS, fence, slurm};

slurm_sys::declare_plugin! {
    plugin_type: "job_submit/flexmig",
    plugin_name: "MIG leaves as a generic resource: job submission",
    unknown_release: Load,
}

/// Reads the settings and starts the thread that watches them and the cluster. slurmctld may call it again after [`fini`].
#[unsafe(no_mangle)]
pub extern "C" fn init() -> c_int {
    fence("init", SLURM_SUCCESS, || {
        // In a release that we do not know every job passes, so nothing is needed.
        if let Some(slurm) = slurm() {
            let mut replanner = replan::Replanner::default();
            view::start(Box::new(move |refreshed| replanner.round(slurm, refreshed)));
        }
        SLURM_SUCCESS
    })
}

/// Stops the thread. Most builds of slurmctld never call it.
#[unsafe(no_mangle)]
pub extern "C" fn fini() -> c_int {
    fence("fini", SLURM_SUCCESS, || {
        view::stop();
        SLURM_SUCCESS
    })
}

/// A new job: sbatch, salloc, srun, each component of a het job, an array once.
///
/// # Safety
/// As Slurm calls it: `job` is a job description and `err_msg` a slot for a string of Slurm's
/// allocator, both for this call alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn job_submit(
    job: *mut JobDescMsg,
    submit_uid: u32,
    err_msg: *mut *mut c_char,
) -> c_int {
    fence("job_submit", SLURM_SUCCESS, || {
        let Some(slurm) = slurm() else { return SLURM_SUCCESS };
        // SAFETY: see above; both are ours until we return.
        let (job, err) =
            unsafe { (JobDesc::from_raw(slurm, job), ErrMsg::from_raw(slurm, err_msg)) };
        job.map_or(SLURM_SUCCESS, |mut job| submit::submit(slurm, &mut job, submit_uid, err))
    })
}

/// An update of a job, by `scontrol update` and the like.
///
/// # Safety
/// As Slurm calls it: `job` is a job description with the fields to change. From 23.02 on
/// `err_msg` is a slot for a string of Slurm's allocator; 22.05 passes three arguments only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn job_modify(
    job: *mut JobDescMsg,
    _job_record: *mut c_void,
    submit_uid: u32,
    err_msg: *mut *mut c_char,
) -> c_int {
    fence("job_modify", SLURM_SUCCESS, || {
        let Some(slurm) = slurm() else { return SLURM_SUCCESS };
        // SAFETY: see above; it is ours until we return.
        let job = unsafe { JobDesc::from_raw(slurm, job) };
        let err = if slurm.release().job_modify_has_err_msg() {
            // SAFETY: this release passes the fourth argument.
            unsafe { ErrMsg::from_raw(slurm, err_msg) }
        } else {
            None
        };
        job.map_or(SLURM_SUCCESS, |mut job| modify::modify(slurm, &mut job, submit_uid, err))
    })
}
