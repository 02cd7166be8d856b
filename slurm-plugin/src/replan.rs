//! Re-planning of waiting jobs, the edge: what [`flexmig_core::replan`] says is sent to the
//! controller as updates of jobs, after each new view.
//!
//! A controller that stands by runs our threads too, and its updates would reach the primary. So
//! each update carries a token that is this process's own, in admin_comment, and `job_modify` of the
//! process that gets it decides: its own token is taken out again and the update passes as it is,
//! another process's is refused. And before its first update a process sends a probe, an update that
//! `job_modify` always refuses: whoever sees its own probe arrive is the primary. A probe changes
//! nothing. Where nobody refuses it, as the primary runs without this plugin, it leaves its words in
//! front of the job's comment, and no job is changed.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flexmig_core::note::Note;
use flexmig_core::replan::{Planner, Settings, Update};
use slurm_sys::cluster::{Cluster, JobUpdate, UpdateError};
use slurm_sys::{ESLURM_ACCESS_DENIED, JobDesc, SLURM_SUCCESS, Slurm, log};

use crate::submit::dialect;
use crate::view::Refreshed;

/// A process whose probe went to another one asks again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(30);
const PROBE: &str = "[flexmig:probe tok=";

/// How many updates with our token `job_modify` has seen.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// The token of this process.
fn token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    // The standard library seeds it from the system's random numbers.
    TOKEN.get_or_init(|| format!("{:016x}", RandomState::new().build_hasher().finish()))
}

/// What `job_modify` does about an update of ours; `None`: it is none. No lock, no wait.
pub fn modified(job: &mut JobDesc<'_>) -> Option<i32> {
    let comment = job.admin_comment()?;
    if let Some((probe, _)) = split_probe(&comment) {
        if !seen(probe) {
            log::debug("re-planning: the probe of a controller that stands by is refused");
        }
        return Some(ESLURM_ACCESS_DENIED);
    }
    let note = Note::find(&comment)?;
    if !seen(note.token.as_deref()?) {
        log::info("re-planning: the update of a controller that is not the primary is refused");
        return Some(ESLURM_ACCESS_DENIED);
    }
    let plain = Note { token: None, ..note }.put_into(&comment);
    job.set_admin_comment(Some(&plain));
    Some(SLURM_SUCCESS)
}

/// The token of a probe at the start of a comment, and what stands behind it.
fn split_probe(comment: &str) -> Option<(&str, &str)> {
    let (token, rest) = comment.strip_prefix(PROBE)?.split_once(']')?;
    Some((token, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// A job's comment without a probe that nobody refused.
fn own(mut comment: &str) -> &str {
    while let Some((_, rest)) = split_probe(comment) {
        comment = rest;
    }
    comment
}

/// Whether it is our token, which is remembered.
fn seen(found: &str) -> bool {
    let ours = found == token();
    if ours {
        SEEN.fetch_add(1, Ordering::AcqRel);
    }
    ours
}

/// Re-plans after each view; owned by the thread that takes them.
#[derive(Debug, Default)]
pub struct Replanner {
    planner: Planner,
    /// Our last update or probe arrived in this process.
    primary: bool,
    /// When a probe went elsewhere.
    asked: Option<Instant>,
    /// It was said that this release cannot.
    told: bool,
    /// It was said that the primary runs without us.
    unheard: bool,
}

impl Replanner {
    /// Looks at a view and makes the updates it gives rise to. Each is a round trip to the
    /// controller, so no lock may be held.
    pub fn round(&mut self, slurm: Slurm, refreshed: &Refreshed<'_>) {
        let &Refreshed { cluster, view, site, policy, conf } = refreshed;
        let settings = Settings::new(policy, conf);
        let version = slurm.version();
        let dialect = dialect(&version);
        if settings.on && !dialect.update_replaces {
            if !std::mem::replace(&mut self.told, true) {
                log::info(format_args!(
                    "re-planning: Slurm {version} adds to the request of a waiting job instead of \
                     replacing it: waiting jobs keep their first composition (23.02.6 and later \
                     can change it)"
                ));
            }
            return;
        }
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_AGAIN) {
            return;
        }
        let updates = self.planner.plan(view, site, &dialect, &settings);
        for update in &updates {
            if !self.primary && !self.probe(cluster, update)
                || !self.make(cluster, update, view.taken_at, &settings)
            {
                break;
            }
        }
    }

    /// Whether this process is the primary controller.
    fn probe(&mut self, cluster: Cluster, update: &Update) -> bool {
        let comment = format!("{PROBE}{}] {}", token(), own(&update.comment));
        let job = update.job_id.to_string();
        let before = SEEN.load(Ordering::Acquire);
        let probe = JobUpdate { job: &job, admin_comment: Some(&comment), ..JobUpdate::default() };
        let answer = cluster.update_job(&probe);
        self.primary = SEEN.load(Ordering::Acquire) != before;
        // A refusal came from another process. Anything else may be different the next time: no
        // controller listens yet, the job is gone.
        let elsewhere = matches!(&answer, Err(error) if error.code == ESLURM_ACCESS_DENIED);
        let unheard = !self.primary && answer.is_ok();
        self.asked = (!self.primary && (elsewhere || unheard)).then(Instant::now);
        if unheard && !std::mem::replace(&mut self.unheard, true) {
            log::error(
                "re-planning: the primary controller runs without job_submit/flexmig, so waiting \
                 jobs keep their composition: add it to its JobSubmitPlugins, and restart this \
                 controller if it is to run without",
            );
        }
        if self.primary {
            log::info(format_args!(
                "re-planning: this controller is the primary: its probe of job {job} arrived and \
                 was refused, as it should be"
            ));
        } else if elsewhere {
            log::debug("re-planning: another controller is the primary");
        }
        self.primary
    }

    /// Makes one update; whether others may follow.
    fn make(&mut self, cluster: Cluster, update: &Update, now: u64, settings: &Settings) -> bool {
        let before = SEEN.load(Ordering::Acquire);
        let answer = send(cluster, update);
        self.primary = SEEN.load(Ordering::Acquire) != before;
        let (job, asked, from, to) =
            (&update.job, &update.note.req, &update.from, &update.note.got);
        match answer {
            Ok(()) => {
                self.planner.made(update, now, settings);
                if update.back {
                    log::info(format_args!(
                        "job {job}: {asked}: back from {from} to {to}: it has not started there"
                    ));
                } else {
                    log::info(format_args!(
                        "job {job}: {asked}: moved from {from} to {to}: it can start now"
                    ));
                }
            }
            Err(error) if self.primary => {
                // It may have started meanwhile.
                log::info(format_args!("{error}: it keeps {from}"));
                self.planner.failed(update, now, settings);
            }
            Err(error) if error.code == ESLURM_ACCESS_DENIED => {
                self.asked = Some(Instant::now());
                log::info("re-planning: this controller is not the primary any more");
            }
            // The job is gone, or the controller does not answer.
            Err(error) => log::debug(format_args!("re-planning: {error}")),
        }
        self.primary
    }
}

fn send(cluster: Cluster, update: &Update) -> Result<(), UpdateError> {
    let note = Note { token: Some(token().to_owned()), ..update.note.clone() };
    let comment = note.put_into(own(&update.comment));
    cluster.update_job(&JobUpdate {
        job: &update.job,
        tres_per_node: Some(&update.tres_per_node),
        admin_comment: Some(&comment),
        num_tasks: update.num_tasks,
        ntasks_per_node: update.ntasks_per_node,
        cpus_per_task: update.cpus_per_task,
        min_cpus: update.min_cpus,
        pn_min_cpus: update.pn_min_cpus.and_then(|cpus| u16::try_from(cpus).ok()),
        pn_min_memory: update.memory,
        ..JobUpdate::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use slurm_sys::testing::{self, TestJob, captured};

    /// What becomes of an update with this comment: the code, and the comment afterwards.
    fn update(comment: &str) -> Option<(Option<i32>, String)> {
        let slurm = testing::slurm()?;
        let test = TestJob::new(slurm).with_text("admin_comment", comment);
        // SAFETY: a description of ours, which lives as long as the view.
        let mut job = unsafe { JobDesc::from_raw(slurm, test.as_ptr()) }?;
        let (code, _) = captured(|| modified(&mut job));
        Some((code, job.admin_comment().unwrap_or_default().into_owned()))
    }

    #[test]
    fn only_our_own_token_passes_and_is_taken_out() {
        let with =
            |token: &str| format!("mine [flexmig:v1 req=3g:1 got=a:1 why=moved{token}] more");
        let Some(answer) = update(&with(&format!(" tok={}", token()))) else { return };
        assert_eq!(answer, (Some(SLURM_SUCCESS), with("")));
        assert_eq!(update(&with(" tok=0123")).unwrap().0, Some(ESLURM_ACCESS_DENIED));
        assert_eq!(update(&with("")).unwrap(), (None, with("")));
        assert_eq!(update("a comment").unwrap().0, None);
    }

    #[test]
    fn probes_never_pass() {
        let before = SEEN.load(Ordering::Acquire);
        let Some((code, _)) = update(&format!("{PROBE}{}]", token())) else { return };
        assert_eq!(code, Some(ESLURM_ACCESS_DENIED));
        assert!(SEEN.load(Ordering::Acquire) > before);
        assert_eq!(update("[flexmig:probe tok=]").unwrap().0, Some(ESLURM_ACCESS_DENIED));
        assert_eq!(update("[flexmig:probe tok=0] mine").unwrap().0, Some(ESLURM_ACCESS_DENIED));
    }

    #[test]
    fn a_probe_that_nobody_refused_is_taken_out_again() {
        assert_eq!(own("mine"), "mine");
        assert_eq!(own("[flexmig:probe tok=0] [flexmig:probe tok=1] mine [x]"), "mine [x]");
        assert_eq!(own("[flexmig:probe tok=0]"), "");
        assert_eq!(own("[flexmig:probe tok=0"), "[flexmig:probe tok=0");
    }
}
