//! An update of a waiting job.
//!
//! The job's own record is opaque, so only what the update names is known. The environment of a
//! batch job cannot be changed any more, and its admin_comment not without losing what is there:
//! both go on saying what was asked for at submission.

use flexmig_core::submit::decide_change;
use slurm_sys::{ErrMsg, JobDesc, SLURM_SUCCESS, Slurm, log};

use crate::submit::{Fields, add_note, apply_request, dialect, mentions_leaves, rejected};
use crate::{replan, settings};

/// Handles an update. Returns Slurm's error code. On 22.05 there is no `err`: the user sees the
/// code's text only, the log has the line.
pub fn modify(slurm: Slurm, job: &mut JobDesc<'_>, uid: u32, err: Option<ErrMsg<'_>>) -> i32 {
    if let Some(code) = replan::modified(job) {
        return code;
    }
    if !mentions_leaves(job) {
        return SLURM_SUCCESS;
    }
    let Some(site) = settings::current() else { return SLURM_SUCCESS };
    let version = slurm.version();
    let dialect = dialect(slurm, &version);
    let answer = Fields::read(job).with(|fields| decide_change(&site, &dialect, fields));
    match answer {
        Ok(None) => SLURM_SUCCESS,
        Ok(Some(decision)) => {
            apply_request(job, &decision);
            if job.admin_comment().is_some() {
                add_note(job, &decision.note);
            }
            log::debug(format_args!("uid {uid}: update: {}", decision.note));
            SLURM_SUCCESS
        }
        Err(rejection) => rejected(uid, &rejection, err),
    }
}
