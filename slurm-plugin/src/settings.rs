//! flexmig.toml, slurm.conf and layout files: what holds of them, and the [`Site`] that submits
//! look at, one immutable snapshot. The submit path takes no lock and reads no file.
//!
//! A broken flexmig.toml never stops slurmctld: it is logged with file and line, and the last good
//! policy (at start the defaults) holds, or flexmig requests are refused if the file says so.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use flexmig_cluster_view::layouts::{self, LeftOut};
use flexmig_core::layout::Layout;
use flexmig_core::policy::{IfBroken, Policy};
use flexmig_core::slurm_conf::SlurmConf;
use flexmig_core::submit::Site;
use flexmig_core::view::ClusterView;
use flexmig_site::{PolicyState, Surroundings};
use slurm_sys::log;

static CURRENT: ArcSwapOption<Site> = ArcSwapOption::const_empty();

/// The snapshot. `None` before the plugin has started: then jobs pass unchanged.
pub fn current() -> Option<Arc<Site>> {
    CURRENT.load_full()
}

/// Makes this the snapshot for the calls to come.
pub fn publish(site: impl Into<Arc<Site>>) {
    CURRENT.store(Some(site.into()));
}

/// The files, and what held when they were last good.
pub struct Files {
    surroundings: Surroundings,
    read: flexmig_site::Site,
    policy: Policy,
    conf: Option<SlurmConf>,
    layouts: Vec<Layout>,
    /// Layout files that have been logged as wrong.
    left_out: Vec<LeftOut>,
    /// Where the policy is broken, if it wants requests refused then.
    refused: Option<String>,
}

impl Files {
    /// Reads them, and logs what there is to say.
    pub fn read(surroundings: Surroundings) -> Files {
        let read = flexmig_site::Site::load(&surroundings);
        let mut files = Files {
            surroundings,
            read,
            policy: Policy::default(),
            conf: None,
            layouts: Vec::new(),
            left_out: Vec::new(),
            refused: None,
        };
        files.take_over(true);
        files
    }

    /// Looks at the files again, and says whether one has changed.
    pub fn read_again(&mut self) -> bool {
        if !self.read.is_outdated() {
            return false;
        }
        let policy = self.read.policy.clone();
        self.read = flexmig_site::Site::load(&self.surroundings);
        self.take_over(self.read.policy != policy);
        true
    }

    /// The policy that holds.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What a view of the cluster needs beside the controller's answers.
    pub fn for_view(&self) -> flexmig_cluster_view::Files<'_> {
        flexmig_cluster_view::Files { conf: self.conf.as_ref(), layouts: &self.layouts }
    }

    /// The snapshot: of the view where there is one, else of slurm.conf.
    pub fn site(&self, view: Option<&ClusterView>) -> Site {
        let site = match view {
            Some(view) => Site::of_view(&self.policy, view),
            None => Site::new(&self.policy, self.conf.as_ref()),
        };
        match &self.refused {
            Some(why) => site.refusing(why.clone()),
            None => site,
        }
    }

    /// Takes over what is good, and says so where the policy is new.
    fn take_over(&mut self, new_policy: bool) {
        match &self.read.slurm_conf {
            Ok(conf) => self.conf = Some(conf.clone()),
            Err(error) => log::error(format_args!(
                "{error}: the leaves of the nodes are not known, or as they were before: mend it, \
                 or name it in SLURM_CONF"
            )),
        }
        let (layouts, left_out) = layouts::believed(&self.read.layouts, self.conf.as_ref());
        self.layouts = layouts;
        for file in left_out.iter().filter(|file| !self.left_out.contains(file)) {
            log::error(file);
        }
        self.left_out = left_out;
        self.refused = None;
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
                        self.refused = Some(format!("{}:{}", error.file, error.line));
                        "flexmig requests are refused"
                    }
                };
                if new_policy {
                    log::error(format_args!("{error}: {consequence} until the file is mended"));
                }
            }
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
            now: 0,
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
        let (files, lines) = captured(|| Files::read(surroundings(dir)));
        let site = files.site(None);
        (files, site, lines)
    }

    /// The snapshot after a change, and what was logged.
    fn changed(files: &mut Files) -> (Site, Vec<String>) {
        let (changed, lines) = captured(|| files.read_again());
        assert!(changed);
        (files.site(None), lines)
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
        assert!(!files.read_again(), "nothing has changed");
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
        let (site, lines) = changed(&mut files);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with(&format!("error: flexmig: {}:2: ", place.display())));
        assert!(lines[0].ends_with(": the policy read before holds until the file is mended"));
        assert!(request(&site, "flexmig:4").contains("at most 3 leaves per node"));

        fs::write(&place, "if_broken = \"refuse\"\n[submit]\nmax_leafs = 2\n").unwrap();
        let (site, lines) = changed(&mut files);
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
        let (site, _) = changed(&mut files);
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
        let (site, _) = changed(&mut files);
        assert_eq!(request(&site, "flexmig:4"), "gres:flexmig:1g.10gb:4");
    }
}
