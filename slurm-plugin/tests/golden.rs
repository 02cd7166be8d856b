//! The golden views (`crates/core/tests/views`): job_submit gives the answers that are written down
//! there, as core and `flexmig explain` do. Skipped where no Slurm is installed.
//!
//! The plugin speaks for the installed release: cases for the other side of 23.02.6 are held against
//! core with that release's rules instead.

#[path = "../../crates/core/tests/views/mod.rs"]
mod views;

use std::ffi::{CStr, c_char};
use std::path::PathBuf;
use std::ptr;
use std::time::{SystemTime, UNIX_EPOCH};

use flexmig_core::policy::Policy;
use flexmig_core::request::Notation;
use flexmig_core::submit::{Dialect, Job, Site, decide};
use flexmig_core::view::ClusterView;
use job_submit_flexmig::{job_submit, settings};
use slurm_sys::testing::{self, TestJob};
use slurm_sys::{JobDesc, Release, SLURM_SUCCESS, Slurm, Version};
use views::{Case, Golden, word};

fn golden() -> Vec<(PathBuf, ClusterView, Golden)> {
    views::read("../crates/core")
}

/// The view as if it had been taken at another moment: the plugin looks at the clock.
fn moved(mut view: ClusterView, taken_at: u64) -> ClusterView {
    let by = taken_at - view.taken_at;
    view.taken_at = taken_at;
    for job in view.jobs.iter_mut().flatten() {
        let times = [&mut job.begin_time, &mut job.start_time, &mut job.end_time];
        times.into_iter().flatten().for_each(|time| *time += by);
        job.submit_time += by;
    }
    view
}

/// The request as it was rewritten with the word in admin_comment, or the line of the rejection.
type Answer = (String, Option<String>);

fn set_numbers(slurm: Slurm, test: &TestJob, case: &Case) {
    // SAFETY: a description of ours, used through one view at a time.
    let mut job = unsafe { JobDesc::from_raw(slurm, test.as_ptr()) }.unwrap();
    if let Some(nodes) = case.nodes {
        job.set_min_nodes(nodes);
        job.set_max_nodes(nodes);
    }
    if let Some(tasks) = case.tasks {
        job.set_num_tasks(tasks);
    }
    if let Some(cpus) = case.cpus_per_task {
        job.set_cpus_per_task(cpus);
    }
}

/// What the plugin makes of the case.
fn submitted(slurm: Slurm, case: &Case) -> Answer {
    let prefix = if slurm.release() >= Release::V23_11 { "gres/" } else { "gres:" };
    let mut test =
        TestJob::new(slurm).with_text("tres_per_node", &format!("{prefix}{}", case.gres));
    test = test.batch(&["HOME=/root"]);
    if let Some(partition) = &case.partition {
        test = test.with_text("partition", partition);
    }
    if let Some(minutes) = case.minutes {
        test = test.with_number("time_limit", minutes);
    }
    set_numbers(slurm, &test, case);
    let mut message: *mut c_char = ptr::null_mut();
    // SAFETY: both are ours and live as long as the call.
    let code = unsafe { job_submit(test.as_ptr(), 1000, &raw mut message) };
    // SAFETY: null or a terminated string, set by the plugin; its few bytes are never freed.
    let message = (!message.is_null()).then(|| unsafe { CStr::from_ptr(message) });
    let message = message.map(|text| text.to_str().unwrap()).unwrap_or_default();
    // SAFETY: as above.
    let job = unsafe { JobDesc::from_raw(slurm, test.as_ptr()) }.unwrap();
    if code != SLURM_SUCCESS {
        return (message.trim_start_matches("flexmig: ").to_owned(), None);
    }
    let Some(note) = job.admin_comment() else { return ("no leaves".to_owned(), None) };
    let request = job.tres_per_node().unwrap_or_default().replace("gres:", "gres/");
    let features = job.features().map(|list| format!(" {list}")).unwrap_or_default();
    (request + &features, word(&note))
}

/// What core makes of it with the rules of the installed release.
fn decided(slurm: Slurm, site: &Site, case: &Case, now: u64) -> Answer {
    let version = slurm.version();
    // The golden requests are in one notation.
    let dialect =
        Dialect { notation: Notation::Slash, ..Dialect::of(version.numbers(), &version, now) };
    let job = Job {
        tres_per_node: Some(&case.gres),
        partition: case.partition.as_deref(),
        time_limit: case.minutes,
        num_tasks: case.tasks,
        cpus_per_task: case.cpus_per_task,
        min_nodes: case.nodes,
        max_nodes: case.nodes,
        batch: true,
        ..Job::default()
    };
    match decide(site, &dialect, &job) {
        Ok(None) => ("no leaves".to_owned(), None),
        Ok(Some(decision)) => {
            let features = decision.features.map(|list| format!(" {list}")).unwrap_or_default();
            (decision.tres_per_node.unwrap_or_default() + &features, word(&decision.note))
        }
        Err(rejection) => (rejection.to_string(), None),
    }
}

#[test]
fn job_submit_gives_the_answers_that_are_written_down() {
    let Some(slurm) = testing::slurm() else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut written = 0;
    for (path, view, golden) in golden() {
        let policy = Policy::from_toml("flexmig.toml", &golden.policy).unwrap();
        let view = moved(view, now - golden.age);
        for case in &golden.case {
            let place = format!("{}: {}", path.display(), case.gres);
            // A site of its own for each: a job that starts now claims its leaves.
            settings::publish(Site::of_view(&policy, &view));
            let answer = submitted(slurm, case);
            let site = Site::of_view(&policy, &view);
            assert_eq!(answer, decided(slurm, &site, case, now), "{place}");
            if case.old != (slurm.version() >= Version::new(23, 2, 6)) {
                assert_eq!(answer, (case.answer.clone(), case.why.clone()), "{place}");
                written += 1;
            }
        }
    }
    assert!(written > 0);
}
