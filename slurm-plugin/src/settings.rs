//! flexmig.toml and slurm.conf: read at start, looked at every few seconds by a thread of our own,
//! and published as one immutable snapshot. The submit path takes no lock and reads no file.
//!
//! A broken flexmig.toml never stops slurmctld: it is logged with file and line, and the last good
//! policy (at start the defaults) holds, or flexmig requests are refused if the file says so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use flexmig_core::policy::{IfBroken, Policy};
use flexmig_core::slurm_conf::SlurmConf;
use flexmig_core::submit::Site;
use flexmig_site::{PolicyState, Surroundings};
use slurm_sys::{fence, log, thread};

/// How often the files are looked at: a few `stat` calls.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long [`stop`] waits for the thread.
const PATIENCE: Duration = Duration::from_secs(2);

static CURRENT: ArcSwapOption<Site> = ArcSwapOption::const_empty();
static WATCHER: Mutex<Option<Watcher>> = Mutex::new(None);

struct Watcher {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

/// The snapshot. `None` before [`start`], or if that failed: then jobs pass unchanged.
pub fn current() -> Option<Arc<Site>> {
    CURRENT.load_full()
}

/// Makes this the snapshot for the calls to come.
pub fn publish(site: Site) {
    CURRENT.store(Some(Arc::new(site)));
}

/// Reads the files and starts the thread. Does nothing if it runs already.
pub fn start() {
    let mut watcher = WATCHER.lock().unwrap_or_else(PoisonError::into_inner);
    if watcher.is_some() {
        return;
    }
    let (mut files, site) = Files::read(Surroundings::of_process());
    publish(site);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let watch = move || {
        while !stopped.load(Ordering::Acquire) {
            std::thread::park_timeout(INTERVAL);
            let fresh = fence("settings", None, || files.read_again());
            if let Some(site) = fresh {
                publish(site);
            }
        }
    };
    match thread::spawn("flexmig-settings", watch) {
        Ok(thread) => *watcher = Some(Watcher { thread, stop }),
        Err(error) => log::error(format_args!(
            "settings: no thread to watch them ({error}): restart slurmctld after a change"
        )),
    }
}

/// Stops the thread, and leaves it behind if it hangs in a file system.
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

/// The files, and what held when they were last good.
struct Files {
    surroundings: Surroundings,
    read: flexmig_site::Site,
    policy: Policy,
    conf: Option<SlurmConf>,
}

impl Files {
    fn read(surroundings: Surroundings) -> (Files, Site) {
        let read = flexmig_site::Site::load(&surroundings);
        let mut files = Files { surroundings, read, policy: Policy::default(), conf: None };
        let site = files.site(true);
        (files, site)
    }

    /// A new snapshot if a file has changed.
    fn read_again(&mut self) -> Option<Site> {
        if !self.read.is_outdated() {
            return None;
        }
        let policy = self.read.policy.clone();
        self.read = flexmig_site::Site::load(&self.surroundings);
        let changed = self.read.policy != policy;
        Some(self.site(changed))
    }

    /// Takes over what is good, and says so where the policy is new.
    fn site(&mut self, new_policy: bool) -> Site {
        match &self.read.slurm_conf {
            Ok(conf) => self.conf = Some(conf.clone()),
            Err(error) => log::error(format_args!(
                "{error}: the leaves of the nodes are not known, or as they were before: mend it, \
                 or name it in SLURM_CONF"
            )),
        }
        let mut refused = None;
        match &self.read.policy {
            PolicyState::Missing => {
                self.policy = Policy::default();
                if new_policy {
                    let place = self.surroundings.policy_candidates();
                    let place = place.first().map(|path| path.display().to_string());
                    log::info(format_args!(
                        "{}: not there: the default policy holds",
                        place.as_deref().unwrap_or("flexmig.toml")
                    ));
                }
            }
            PolicyState::Good { policy, path } => {
                self.policy.clone_from(policy);
                if new_policy {
                    log::info(format_args!("{}: read", path.display()));
                }
            }
            PolicyState::Broken { error, if_broken, .. } => {
                let consequence = match if_broken {
                    IfBroken::Defaults if self.policy == Policy::default() => {
                        "the default policy holds"
                    }
                    IfBroken::Defaults => "the policy read before holds",
                    IfBroken::Refuse => {
                        refused = Some(format!("{}:{}", error.file, error.line));
                        "flexmig requests are refused"
                    }
                };
                if new_policy {
                    log::error(format_args!("{error}: {consequence} until the file is mended"));
                }
            }
        }
        let site = Site::new(&self.policy, self.conf.as_ref());
        match refused {
            Some(why) => site.refusing(why),
            None => site,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flexmig_core::request::Notation;
    use flexmig_core::submit::{Dialect, Job, decide};
    use slurm_sys::testing::captured;
    use std::fs;
    use std::path::Path;

    const CONF: &str = "NodeName=n1 CPUs=8 Gres=flexmig:1g.10gb:7\n";

    fn surroundings(dir: &Path) -> Surroundings {
        Surroundings {
            slurm_conf: Some(dir.join("slurm.conf")),
            default_flexmig_conf: dir.join("none"),
            ..Surroundings::default()
        }
    }

    /// What becomes of a request: its new string, or the line of the rejection.
    fn request(site: &Site, text: &str) -> String {
        let slurm = Dialect {
            notation: Notation::Colon,
            per_task: true,
            update_replaces: true,
            version: &"23.02.7",
        };
        let job = Job { tres_per_node: Some(text), ..Job::default() };
        match decide(site, &slurm, &job) {
            Ok(decision) => {
                decision.and_then(|decision| decision.tres_per_node).unwrap_or_default()
            }
            Err(rejection) => rejection.to_string(),
        }
    }

    fn read(dir: &Path) -> (Files, Site, Vec<String>) {
        let ((files, site), lines) = captured(|| Files::read(surroundings(dir)));
        (files, site, lines)
    }

    #[test]
    fn a_missing_policy_is_the_default_and_one_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("slurm.conf"), CONF).unwrap();
        let (mut files, site, lines) = read(dir.path());
        let place = dir.path().join("flexmig.toml");
        assert_eq!(
            lines,
            [format!("flexmig: {}: not there: the default policy holds", place.display())]
        );
        assert_eq!(request(&site, "flexmig:2"), "gres:flexmig:1g.10gb:2");
        assert!(files.read_again().is_none(), "nothing has changed");
    }

    #[test]
    fn a_broken_policy_keeps_the_last_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("flexmig.toml");
        fs::write(dir.path().join("slurm.conf"), CONF).unwrap();
        fs::write(&place, "[submit]\nmax_leaves_per_node = 3\n").unwrap();
        let (mut files, site, lines) = read(dir.path());
        assert_eq!(lines, [format!("flexmig: {}: read", place.display())]);
        assert!(request(&site, "flexmig:4").contains("at most 3 leaves per node"));

        fs::write(&place, "[submit]\nmax_leafs = 2\n").unwrap();
        let (site, lines) = captured(|| files.read_again().unwrap());
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with(&format!("error: flexmig: {}:2: ", place.display())));
        assert!(lines[0].ends_with(": the policy read before holds until the file is mended"));
        assert!(request(&site, "flexmig:4").contains("at most 3 leaves per node"));

        fs::write(&place, "if_broken = \"refuse\"\n[submit]\nmax_leafs = 2\n").unwrap();
        let (site, lines) = captured(|| files.read_again().unwrap());
        assert!(lines[0].ends_with(": flexmig requests are refused until the file is mended"));
        assert_eq!(
            request(&site, "flexmig:1"),
            format!(
                "--gres=flexmig:1: site policy cannot be read ({}:3): \
                 ask your administrator to mend it",
                place.display()
            )
        );

        fs::remove_file(&place).unwrap();
        let (site, _) = captured(|| files.read_again().unwrap());
        assert_eq!(request(&site, "flexmig:4"), "gres:flexmig:1g.10gb:4");
    }

    #[test]
    fn a_broken_policy_at_start_means_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("slurm.conf"), CONF).unwrap();
        fs::write(dir.path().join("flexmig.toml"), "what").unwrap();
        let (_, site, lines) = read(dir.path());
        assert!(lines[0].ends_with(": the default policy holds until the file is mended"));
        assert_eq!(request(&site, "flexmig:4"), "gres:flexmig:1g.10gb:4");
    }

    #[test]
    fn without_slurm_conf_requests_pass_and_the_log_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (mut files, site, lines) = read(dir.path());
        assert!(lines[0].starts_with("error: flexmig: "), "{lines:?}");
        assert_eq!(request(&site, "flexmig:4"), "gres:flexmig:4");
        // A change of slurm.conf is taken over.
        fs::write(dir.path().join("slurm.conf"), CONF).unwrap();
        let (site, _) = captured(|| files.read_again().unwrap());
        assert_eq!(request(&site, "flexmig:4"), "gres:flexmig:1g.10gb:4");
    }
}
