//! `flexmig check`: what is wrong on this host, and how to mend it.
//!
//! Each module judges one part, as a pure function of what was read; here the reading is done and
//! the roles of the host are told.

mod cluster;
mod devices;
mod finding;
mod gres_conf;
mod layouts;
mod libraries;
mod node;
mod plugins;
mod start;

use std::fs;
use std::path::{Path, PathBuf};

use flexmig_core::nccl;
use flexmig_site::PolicyState;
use mig_inventory::Inventory;
use serde::Serialize;

use crate::args::{Check, EXIT_ERROR};
use crate::host::{Host, file};
use crate::probe::{SIBLINGS, Version, probe};
use crate::text::{self, File};
pub use cluster::{counted, gres_types, job_submit_plugins, task_plugins};
pub use finding::{Finding, Level};
use plugins::{Found, GRES, JOB_SUBMIT, Plugin};

/// Slurm's plugin directory where slurm.conf names none, as SchedMD's packages, sources and some
/// sites have it; Debian's depends on the architecture.
const PLUGIN_DIRS: [&str; 4] =
    ["/usr/lib64/slurm", "/usr/lib/slurm", "/usr/local/lib/slurm", "/opt/slurm/lib/slurm"];

/// What `--json` prints. Field names are for scripts: add, never rename.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Format; 1.
    pub version: u32,
    /// Name of the node that was checked; none if this host is no node.
    pub node: Option<String>,
    /// Whether the host was checked as a controller.
    pub controller: bool,
    /// Number of errors.
    pub errors: usize,
    /// Number of warnings.
    pub warnings: usize,
    /// All findings.
    pub findings: Vec<Finding>,
}

impl Report {
    /// One line per finding; `quiet` leaves out those that are ok.
    pub fn text(&self, quiet: bool) -> String {
        let shown = self.findings.iter().filter(|finding| !quiet || finding.level != Level::Ok);
        shown.map(|finding| format!("{finding}\n")).collect()
    }

    /// Exit status: whether there are errors.
    pub fn status(&self) -> u8 {
        if self.errors > 0 { EXIT_ERROR } else { 0 }
    }
}

/// Looks at everything.
pub fn report(args: &Check) -> Report {
    let host = Host::read(args.node.name.as_deref());
    let inventory = Inventory::read(&host.policy.node);
    let has_mig = inventory.as_ref().is_ok_and(|found| !found.mig_minors.is_empty());
    let is_node = args.node.name.is_some() || host.conf.node(&host.node).is_some() || has_mig;
    let controller = args.controller || is_controller(&host);

    let mut findings = vec![policy(&host)];
    match &host.site.slurm_conf {
        Ok(conf) => {
            if !is_node && !controller {
                findings.push(no_role(&host));
            }
            let (found, slurm, gres) = try_plugins(&host, is_node, controller);
            findings.extend(found);
            findings.extend(configuration(&host, slurm));
            findings.extend(layouts::files(&host.site.layouts, controller.then_some(conf)));
            if controller {
                findings.extend(layouts::cluster(
                    &host.site.layouts,
                    &layouts_dir(&host),
                    &leafy(&host),
                ));
            }
            if is_node {
                let inventory = inventory.map_err(|error| error.to_string());
                findings.extend(this_node(&host, &inventory, gres.as_deref()));
            }
        }
        Err(error) => findings.push(Finding::error(
            "slurm.conf",
            format!("{}:{}", error.file, error.line),
            &error.message,
            "set SLURM_CONF to where it is",
        )),
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    Report {
        version: 1,
        node: is_node.then(|| host.node.clone()),
        controller,
        errors: count(Level::Error),
        warnings: count(Level::Warning),
        findings,
    }
}

fn policy(host: &Host) -> Finding {
    match &host.site.policy {
        PolicyState::Good { path, .. } => Finding::ok("flexmig.toml", path.display(), "read"),
        PolicyState::Missing => {
            let candidates = host.surroundings.policy_candidates();
            let place =
                candidates.first().map(|path| path.display().to_string()).unwrap_or_default();
            Finding::ok("flexmig.toml", place, "not there, the defaults hold")
        }
        PolicyState::Broken { error, if_broken, .. } => {
            let until = match if_broken {
                flexmig_core::policy::IfBroken::Defaults => {
                    "the last good policy or the defaults hold"
                }
                flexmig_core::policy::IfBroken::Refuse => "slurmctld refuses flexmig jobs",
            };
            let mend = format!("mend the file; until then {until}");
            let place = format!("{}:{}", error.file, error.line);
            Finding::error("flexmig.toml", place, &error.message, mend)
        }
    }
}

/// Whether slurm.conf names this host as a controller.
fn is_controller(host: &Host) -> bool {
    let keys = ["SlurmctldHost", "ControlMachine", "BackupController"];
    let short = host.hostname.split('.').next().unwrap_or_default();
    let is_own = |value: &str| {
        let name = value.split('(').next().unwrap_or_default();
        name == host.hostname || name == short || name.split('.').next() == Some(short)
    };
    // SlurmctldHost stands once per controller; the reader keeps the last, also of included files.
    let statements: Vec<_> = host.conf_files.iter().flat_map(text::statements).collect();
    keys.iter().any(|key| {
        host.conf.get(key).is_some_and(is_own)
            || statements.iter().any(|s| s.value(key).is_some_and(is_own))
    })
}

fn no_role(host: &Host) -> Finding {
    Finding::warning(
        "host",
        host.conf_file(),
        format!("names this host ({}) neither in SlurmctldHost nor in NodeName", host.hostname),
        "say --node NAME or --controller",
    )
}

/// Tries the plugins that this host needs; also returns the version of Slurm, and where gres/flexmig
/// lies.
fn try_plugins(
    host: &Host,
    is_node: bool,
    controller: bool,
) -> (Vec<Finding>, Option<Version>, Option<PathBuf>) {
    let (dirs, place) = match host.conf.get("PluginDir") {
        Some(dirs) => (
            dirs.split(':').map(PathBuf::from).collect(),
            text::place(&host.conf_files, "PluginDir"),
        ),
        None => {
            let debian = format!("/usr/lib/{}-linux-gnu/slurm-wlm", std::env::consts::ARCH);
            let dirs = PLUGIN_DIRS.iter().map(PathBuf::from).chain([debian.into()]);
            let dir = dirs.into_iter().find(|dir: &PathBuf| is_slurms(dir));
            (dir.into_iter().collect::<Vec<_>>(), host.conf_file())
        }
    };
    let slurm_dir = dirs.iter().find(|dir| is_slurms(dir));
    let needed = [(JOB_SUBMIT, controller), (GRES, controller || is_node)];
    let needed = needed.into_iter().filter(|(_, needed)| *needed);
    let look = |plugin: Plugin| {
        let path = dirs.iter().map(|dir| dir.join(plugin.file)).find(|path| path.is_file());
        let file = path.zip(slurm_dir).map(|(path, slurm_dir)| {
            let probe = probe(&path, slurm_dir);
            (path, probe)
        });
        Found { plugin, file }
    };
    let found: Vec<Found> = needed.map(|(plugin, _)| look(plugin)).collect();
    let tried = found.iter().find_map(|found| found.file.as_ref()?.1.slurm);
    let slurm = tried.or_else(|| slurms_own(slurm_dir?)).map(Version);
    let gres = found.iter().find(|found| found.plugin == GRES);
    let gres = gres.and_then(|found| Some(found.file.as_ref()?.0.clone()));
    let slurm_dir = slurm_dir.map(PathBuf::as_path);
    (plugins::findings(&place, &dirs, slurm_dir, slurm, &found), slurm, gres)
}

/// Slurm's version from its own plugins, where there is none of ours to try.
fn slurms_own(dir: &Path) -> Option<u32> {
    let sibling = SIBLINGS.iter().map(|name| dir.join(name)).find(|path| path.exists())?;
    probe(&sibling, dir).slurm
}

/// Whether a directory holds Slurm's own plugins.
fn is_slurms(dir: &Path) -> bool {
    SIBLINGS.iter().any(|name| dir.join(name).exists())
}

/// A file beside slurm.conf, and whether it is there.
fn beside(host: &Host, name: &str) -> (File, bool) {
    file(&host.site.slurm_conf_path.with_file_name(name))
}

fn configuration(host: &Host, slurm: Option<Version>) -> Vec<Finding> {
    let (cgroup, found) = beside(host, "cgroup.conf");
    let cluster = cluster::Cluster {
        files: &host.conf_files,
        conf: &host.conf,
        cgroup: (&cgroup, found),
        slurm,
    };
    cluster.findings()
}

fn layouts_dir(host: &Host) -> String {
    host.surroundings.layouts_dir().display().to_string()
}

/// Names of the nodes with leaves.
fn leafy(host: &Host) -> Vec<&str> {
    let lines = host.conf.nodes().iter().filter(|line| !line.flexmig_types().is_empty());
    lines.flat_map(|line| line.names.iter().map(String::as_str)).collect()
}

fn this_node(
    host: &Host,
    inventory: &Result<Inventory, String>,
    gres: Option<&Path>,
) -> Vec<Finding> {
    let statement = text::node_statement(&host.conf_files, &host.node);
    let place = statement.map_or_else(|| host.conf_file(), |statement| statement.place);
    let line = host.conf.node(&host.node);
    let entries = host.entries();
    let node = node::Node {
        name: &host.node,
        place,
        line,
        inventory: inventory.as_ref().map_err(String::clone),
        index_file: host.index_file.display().to_string(),
        entries: entries.as_ref().map(|entries| entries.as_deref()),
        order: host.policy.node.order,
    };
    let mut findings = node.findings();
    let (gres_conf, _) = beside(host, "gres.conf");
    let exists = |path: &str| Path::new(path).exists();
    findings.extend(gres_conf::findings(&gres_conf, &host.node, exists));
    let Ok(inventory) = inventory else { return findings };
    if inventory.leaves.is_empty() {
        return findings;
    }
    if line.is_some_and(|line| line.gres.iter().any(|gres| gres.name == "gpu")) {
        findings.extend(gres_conf::auto_detect(&gres_conf));
    }
    // The plugin looks for them from where it really lies.
    if let Some(gres) = gres.and_then(|path| fs::canonicalize(path).ok()) {
        let dirs = nccl::libraries::dirs(&host.policy.nccl, gres.parent());
        findings.extend(libraries::findings(&host.policy.nccl, &dirs, libraries::look));
    }
    let root = &host.policy.node.root;
    let majors = fs::read_to_string(root.join("proc/devices")).unwrap_or_default();
    findings.extend(devices::findings(&host.node, &devices::read(&inventory.leaves), &majors));
    let dir = layouts_dir(host);
    findings.extend(layouts::node(&host.site.layouts, &dir, &host.node, &inventory.leaves));
    findings.extend(start::finding(&start::Units::read(root)));
    findings
}
