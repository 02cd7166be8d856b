//! The thread that looks at the cluster, every `[select] refresh` seconds, and at the files, every
//! two. After each look that changes something it publishes a new [`Site`].
//!
//! It asks the controller as any client does, over the network, from slurmctld to itself: so it
//! waits at start until that answers, and in a standby it asks the primary. No lock of ours is held
//! meanwhile, all signals are blocked, and nobody waits for the thread: a refresh that fails keeps
//! the view there is, with its age. Jobs are asked for only while one waits whose composition could
//! change.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flexmig_core::note::Note;
use flexmig_core::policy::{Compose, Policy};
use flexmig_core::slurm_conf::SlurmConf;
use flexmig_core::submit::Site;
use flexmig_core::view::{ClusterView, JobState};
use flexmig_site::Surroundings;
use slurm_sys::cluster::{Cluster, ClusterError, Unavailable};
use slurm_sys::{fence, log, thread};

use crate::settings::{self, Files};

/// How often the files are looked at: a few `stat` calls.
const FILES: Duration = Duration::from_secs(2);
/// First wait after a refresh that failed; doubled up to the period.
const RETRY: Duration = Duration::from_millis(250);
/// How long [`stop`] waits for the thread.
const PATIENCE: Duration = Duration::from_secs(2);
/// Refreshes with jobs after a flexible job was accepted: until then the controller has it.
const LOOKS: u32 = 3;
/// Time after which the jobs are asked for in any case: a controller that takes over has seen no
/// submits.
const JOBS: Duration = Duration::from_secs(60);

static WATCHER: Mutex<Option<Watcher>> = Mutex::new(None);
/// Refreshes with jobs that are still to come.
static JOBS_WANTED: AtomicU32 = AtomicU32::new(LOOKS);

struct Watcher {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

/// Has the next views show the jobs. For a submit that accepted a flexible request, and for an update of
/// a job that the view does not tell: one atomic store.
pub fn want_jobs() {
    JOBS_WANTED.store(LOOKS, Ordering::Relaxed);
}

/// What a refresh brought.
#[derive(Clone, Copy)]
pub struct Refreshed<'a> {
    /// The controller, for updates.
    pub cluster: Cluster,
    /// The new view.
    pub view: &'a Arc<ClusterView>,
    /// What submits look at from now on.
    pub site: &'a Arc<Site>,
    /// The policy that holds.
    pub policy: &'a Policy,
    /// slurm.conf, if it could be read.
    pub conf: Option<&'a SlurmConf>,
}

/// Called by the thread after each refresh, with no lock of ours held.
pub type Hook = Box<dyn FnMut(&Refreshed<'_>) + Send>;

/// Reads the files and starts the thread. Does nothing if it runs already.
pub fn start(after_refresh: Hook) {
    let mut watcher = WATCHER.lock().unwrap_or_else(PoisonError::into_inner);
    if watcher.is_some() {
        return;
    }
    let surroundings = Surroundings::of_process();
    // In another process (a bench, a test) there is no controller to ask.
    let in_slurmctld = surroundings.is_slurmctld();
    let files = Files::read(surroundings);
    settings::publish(files.site(None));
    let stop = Arc::new(AtomicBool::new(false));
    let refresher = in_slurmctld.then(|| Refresher::new(after_refresh));
    let body = {
        let stop = Arc::clone(&stop);
        move || watch(files, refresher, &stop)
    };
    match thread::spawn("flexmig-view", body) {
        Ok(thread) => *watcher = Some(Watcher { thread, stop }),
        Err(error) => log::error(format_args!(
            "view: no thread to look at the cluster and the files ({error}): choices are made \
             without free leaves, and a change of the files needs a restart of slurmctld"
        )),
    }
}

/// Stops the thread, and leaves it behind if it waits for the controller or a file system: it then
/// ends by itself, and publishes nothing more.
pub fn stop() {
    let watcher = WATCHER.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Watcher { thread, stop }) = watcher else { return };
    stop.store(true, Ordering::Release);
    thread.thread().unpark();
    let start = Instant::now();
    while !thread.is_finished() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The thread. A panic in one look is logged, and the next look comes.
fn watch(mut files: Files, mut refresher: Option<Refresher>, stop: &AtomicBool) {
    let mut next_files = Instant::now() + FILES;
    loop {
        let next_view = refresher.as_ref().and_then(|refresher| refresher.next);
        let next = next_view.map_or(next_files, |view| view.min(next_files));
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Acquire) {
            return;
        }
        if Instant::now() >= next_files {
            fence("settings", (), || {
                if files.read_again() {
                    let view = refresher.as_mut().and_then(|r| r.files_changed(files.policy()));
                    let site = files.site(view.as_deref());
                    if !stop.load(Ordering::Acquire) {
                        settings::publish(site);
                    }
                }
            });
            next_files = Instant::now() + FILES;
        }
        if let Some(refresher) = refresher.as_mut().filter(|refresher| refresher.is_due()) {
            // Before the look: should it panic, the next one is not at once.
            refresher.next = period(files.policy()).map(|period| Instant::now() + period);
            fence("view", (), || refresher.look(&files, stop));
        }
    }
}

/// Time between two looks; `None`: none is wanted.
fn period(policy: &Policy) -> Option<Duration> {
    let seconds = policy.select.refresh;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Looks at the cluster when it is time.
struct Refresher {
    after_refresh: Hook,
    /// `None`: never.
    next: Option<Instant>,
    wait: Duration,
    view: Option<Arc<ClusterView>>,
    taken: Option<Instant>,
    started: Instant,
    trouble: Trouble,
    /// The last look saw a waiting job whose composition could change.
    flexible: bool,
    /// When the jobs were last asked for.
    jobs: Instant,
    /// Nonsense that has been logged; there may be some about every node.
    findings: HashSet<String>,
}

/// What has been logged of refreshes that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// That the view is kept.
    Failing,
    /// That it is too old to count.
    TooOld,
}

impl Refresher {
    fn new(after_refresh: Hook) -> Refresher {
        let now = Instant::now();
        Refresher {
            after_refresh,
            next: Some(now),
            wait: RETRY,
            view: None,
            taken: None,
            started: now,
            trouble: Trouble::None,
            flexible: false,
            jobs: now,
            findings: HashSet::new(),
        }
    }

    /// The view that still holds under a new policy. The next look comes at once.
    fn files_changed(&mut self, policy: &Policy) -> Option<Arc<ClusterView>> {
        self.next = Some(Instant::now());
        if policy.select.refresh == 0 {
            self.view = None;
        }
        self.view.clone()
    }

    fn is_due(&self) -> bool {
        self.next.is_some_and(|next| next <= Instant::now())
    }

    /// One look, if policy wants any.
    fn look(&mut self, files: &Files, stop: &AtomicBool) {
        let Some(period) = period(files.policy()) else { return };
        match self.take(files) {
            Ok(_) if stop.load(Ordering::Acquire) => {}
            Ok((cluster, view)) => {
                self.well(cluster, Arc::new(view), files);
                self.wait = RETRY;
            }
            Err(error) => {
                self.failed(&error, files.policy());
                self.next = Some(Instant::now() + self.wait.min(period));
                self.wait = (self.wait * 2).min(period);
            }
        }
    }

    fn take(&mut self, files: &Files) -> Result<(Cluster, ClusterView), Failure> {
        let cluster = Cluster::of_process()?;
        let wanted = JOBS_WANTED.load(Ordering::Relaxed);
        let with_jobs = self.flexible || wanted > 0 || self.jobs.elapsed() >= JOBS;
        let view = flexmig_cluster_view::take(cluster, files.for_view(), with_jobs)?;
        if with_jobs {
            self.jobs = Instant::now();
        }
        // A submit meanwhile has set it anew, and then it is a look too many.
        let one_less = wanted.saturating_sub(1);
        let _ =
            JOBS_WANTED.compare_exchange(wanted, one_less, Ordering::Relaxed, Ordering::Relaxed);
        Ok((cluster, view))
    }

    /// Publishes a new view.
    fn well(&mut self, cluster: Cluster, view: Arc<ClusterView>, files: &Files) {
        let site = Arc::new(files.site(Some(&view)));
        settings::publish(Arc::clone(&site));
        self.flexible = waits_flexibly(&view, files.policy());
        if self.trouble != Trouble::None {
            let since = self.age().as_secs();
            log::info(format_args!("view: the controller answers again, after {since} s"));
        } else if self.view.is_none() {
            let (nodes, parts) = (view.nodes.len(), view.partitions.len());
            log::verbose(format_args!("view: {nodes} nodes and {parts} partitions seen"));
        }
        self.trouble = Trouble::None;
        self.tell_findings(&view);
        self.taken = Some(Instant::now());
        self.view = Some(Arc::clone(&view));
        let (policy, conf) = (files.policy(), files.for_view().conf);
        let refreshed = Refreshed { cluster, view: &view, site: &site, policy, conf };
        fence("replan", (), || (self.after_refresh)(&refreshed));
        // The tests wait for this line.
        let jobs = if view.jobs.is_some() { "jobs too" } else { "no jobs" };
        log::debug(format_args!("view: looked at {} nodes, {jobs}", view.nodes.len()));
    }

    /// Time since the last view, or since the start.
    fn age(&self) -> Duration {
        self.taken.unwrap_or(self.started).elapsed()
    }

    /// Says so, once per change of state.
    fn failed(&mut self, error: &Failure, policy: &Policy) {
        // The one that answers next may be this process, which did not before.
        want_jobs();
        let (age, limit) = (self.age().as_secs(), policy.select.max_age);
        let too_old = age > limit.into();
        if too_old && self.trouble != Trouble::TooOld {
            log::error(format_args!(
                "view: {error}: none for {age} s, and [select] max_age = {limit}: requests are \
                 resolved from policy alone until the controller answers"
            ));
            self.trouble = Trouble::TooOld;
        } else if self.trouble == Trouble::None && self.view.is_some() {
            log::error(format_args!(
                "view: {error}: the one of {age} s ago holds until the controller answers"
            ));
            self.trouble = Trouble::Failing;
        } else {
            // At start the controller may take its time.
            log::debug(format_args!("view: {error}"));
        }
    }

    /// Logs what made no sense, if that is new.
    fn tell_findings(&mut self, view: &ClusterView) {
        /// Most lines at a time.
        const MOST: usize = 5;
        let new: Vec<&String> =
            view.findings.iter().filter(|line| !self.findings.contains(*line)).collect();
        for line in new.iter().take(MOST) {
            log::info(format_args!("view: {line}"));
        }
        if new.len() > MOST {
            log::info(format_args!("view: {} more like this", new.len() - MOST));
        }
        if !new.is_empty() {
            self.findings = view.findings.iter().cloned().collect();
        }
    }
}

/// Whether a job waits that could get another composition.
fn waits_flexibly(view: &ClusterView, policy: &Policy) -> bool {
    let mut waiting = view.jobs.iter().flatten().filter(|job| job.state == JobState::Pending);
    waiting.any(|job| is_flexible(&job.admin_comment, policy))
}

/// Whether a job with this admin_comment could get another composition than it has: it asked for
/// no exact profile, or policy composes those too while they are busy.
fn is_flexible(admin_comment: &str, policy: &Policy) -> bool {
    let Some(note) = Note::find(admin_comment) else { return false };
    policy.select.compose == Compose::Busy || note.req.trim_end_matches("/task") != note.got
}

/// Why there is no new view.
#[derive(Debug)]
enum Failure {
    Unavailable(Unavailable),
    Cluster(ClusterError),
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Failure {
        Failure::Unavailable(error)
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Failure {
        Failure::Cluster(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Unavailable(error) => error.fmt(f),
            Failure::Cluster(error) => error.fmt(f),
        }
    }
}
