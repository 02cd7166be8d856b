//! An update of a waiting job.
//!
//! The job's own record is opaque: what the update does not name is known only if the view tells
//! the job. The environment of a batch job cannot be changed any more, so it goes on saying what
//! was asked for at submission. So does admin_comment, unless root makes the update: Slurm refuses
//! an update by anybody else with an admin_comment in it (`_update_job`, 22.05 to 26.05), even if a
//! plugin has put it there. A note whose `got=` is not what the job asks for is thus an old one.

use flexmig_core::note::Note;
use flexmig_core::submit::{Job, Site, decide_change};
use slurm_sys::{ErrMsg, JobDesc, SLURM_SUCCESS, Slurm, log};

use crate::submit::{Fields, apply_numbers, apply_request, dialect, id, mentions_leaves, rejected};
use crate::{replan, settings, view};

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
    let dialect = dialect(&version);
    let answer = Fields::read(slurm, job)
        .with(|fields| decide_change(&site, &dialect, &Job { by_admin: uid == 0, ..*fields }));
    match answer {
        Ok(None) => SLURM_SUCCESS,
        Ok(Some(decision)) => {
            apply_request(job, &decision);
            apply_numbers(job, &decision);
            change_note(&site, job, uid, &decision.note);
            log::debug(format_args!("uid {uid}: update: {}", decision.note));
            SLURM_SUCCESS
        }
        Err(rejection) => {
            if id(job).and_then(|id| site.admin_comment(&id)).is_none() {
                // So that the same update can succeed soon.
                view::want_jobs();
            }
            rejected(uid, &rejection, err)
        }
    }
}

/// Puts our part into the comment that the update sets, or into the one that the job has.
fn change_note(site: &Site, job: &mut JobDesc<'_>, uid: u32, note: &str) {
    let Some(note) = Note::find(note) else { return };
    let comment = match job.admin_comment() {
        Some(comment) => note.put_into(&comment),
        None if uid != 0 => return,
        None => match id(job).and_then(|id| site.admin_comment(&id)) {
            Some(comment) => note.put_into(comment),
            None => return,
        },
    };
    job.set_admin_comment(Some(&comment));
}
