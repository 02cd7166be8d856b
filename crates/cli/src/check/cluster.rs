//! Findings about what slurm.conf and cgroup.conf say for the whole cluster.

use flexmig_core::slurm_conf::{GRES_NAME, SlurmConf};

use super::finding::{Finding, Level};
use crate::probe::Version;
use crate::text::{self, File};

/// Plugins that unset CUDA_VISIBLE_DEVICES in jobs without their GRES, so flexmig comes after them.
const BEFORE: [&str; 3] = ["gpu", "mps", "shard"];
/// Most leaves of one node that slurmctld gives indices to (gres.c, MAX_GRES_BITMAP).
const MAX_LEAVES: u64 = 1024;

/// The files, read.
pub struct Cluster<'a> {
    /// slurm.conf and what it includes.
    pub files: &'a [File],
    /// What they mean.
    pub conf: &'a SlurmConf,
    /// cgroup.conf beside it, and whether it is there.
    pub cgroup: (&'a File, bool),
    /// Version of the installed Slurm, where known.
    pub slurm: Option<Version>,
}

impl Cluster<'_> {
    /// All findings, in the order in which an admin would mend them.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .conf
            .problems()
            .iter()
            .map(|problem| Finding::message(Level::Warning, "slurm.conf", problem))
            .collect();
        findings.push(self.gres_types());
        findings.push(self.job_submit());
        findings.push(self.nodes());
        findings.extend(self.accounting());
        findings.extend(self.select());
        findings.push(self.isolation());
        findings
    }

    /// slurm.conf.
    fn file(&self) -> &str {
        self.files.first().map_or("slurm.conf", |file| &file.name)
    }

    fn place(&self, key: &str) -> String {
        text::place(self.files, key)
    }

    fn gres_types(&self) -> Finding {
        let types: Vec<&str> = self.conf.words("GresTypes").collect();
        let place = self.place("GresTypes");
        let mend =
            format!("write GresTypes={} and restart slurmctld and slurmd", gres_types(self.conf));
        let said = types.join(",");
        let own = types.iter().position(|name| *name == GRES_NAME);
        let Some(own) = own else {
            let what = match types.len() {
                0 => "GresTypes is not set, so Slurm refuses --gres=flexmig".to_owned(),
                _ => format!("GresTypes={said} has no flexmig, so Slurm refuses --gres=flexmig"),
            };
            return Finding::error("GresTypes", place, what, mend);
        };
        match types[own..].iter().find(|name| BEFORE.contains(name)) {
            Some(late) => {
                let what = format!(
                    "GresTypes={said}: {late} comes after flexmig and unsets CUDA_VISIBLE_DEVICES \
                     of flexmig jobs"
                );
                Finding::error("GresTypes", place, what, mend)
            }
            None => Finding::ok("GresTypes", place, format!("GresTypes={said}")),
        }
    }

    fn job_submit(&self) -> Finding {
        let plugins: Vec<&str> = self.conf.words("JobSubmitPlugins").collect();
        let place = self.place("JobSubmitPlugins");
        let said = plugins.join(",");
        if plugins.iter().any(|name| matches!(*name, "flexmig" | "job_submit/flexmig")) {
            return Finding::ok("JobSubmitPlugins", place, format!("JobSubmitPlugins={said}"));
        }
        let what = match plugins.len() {
            0 => "JobSubmitPlugins is not set, so requests reach Slurm unchecked".to_owned(),
            _ => {
                format!("JobSubmitPlugins={said} has no flexmig, so requests reach Slurm unchecked")
            }
        };
        let plugins = job_submit_plugins(self.conf);
        let mend = format!("write JobSubmitPlugins={plugins} and restart slurmctld");
        Finding::error("JobSubmitPlugins", place, what, mend)
    }

    /// Whether any node has leaves, and no more than Slurm can count.
    fn nodes(&self) -> Finding {
        let classes = self.conf.flexmig_capacity(None);
        let leaves = |types: &[(Option<String>, u64)]| {
            types.iter().fold(0u64, |sum, &(_, count)| sum.saturating_add(count))
        };
        if let Some(class) = classes.iter().find(|class| leaves(&class.types) > MAX_LEAVES) {
            let what = format!("NodeName={} has {} leaves", class.example, leaves(&class.types));
            let mend =
                format!("Slurm numbers at most {MAX_LEAVES} on a node: mend the counts in Gres=");
            return Finding::error("NodeName", self.file(), what, mend);
        }
        let nodes: u64 = classes.iter().map(|class| class.nodes).sum();
        if nodes > 0 {
            let all = classes.iter().fold(0u64, |sum, class| {
                sum.saturating_add(leaves(&class.types).saturating_mul(class.nodes))
            });
            let what = format!("{} on {}", counted(all, "leaf"), counted(nodes, "node"));
            return Finding::ok("NodeName", self.file(), what);
        }
        let what = "no NodeName line has Gres=flexmig";
        let mend = "run `flexmig config` on a node with leaves and paste its NodeName line";
        match self.conf.has_dynamic_nodes() {
            true => Finding::ok(
                "NodeName",
                self.file(),
                format!("{what}; dynamic nodes may bring some"),
            ),
            false => Finding::error("NodeName", self.file(), what, mend),
        }
    }

    fn accounting(&self) -> Option<Finding> {
        let key = "AccountingStorageTRES";
        let uses = |suffix| {
            let kind = self.conf.get("AccountingStorageType").unwrap_or_default();
            kind.to_ascii_lowercase().ends_with(suffix)
        };
        let counted = self.conf.words(key).any(|word| {
            word.strip_prefix("gres/flexmig")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        });
        let place = self.place(key);
        match (uses("slurmdbd"), counted) {
            (true, true) => Some(Finding::ok(key, place, "leaves are accounted")),
            (true, false) => Some(Finding::warning(
                key,
                place,
                "leaves are not accounted: no limits, no billing, nothing in sacct",
                "add gres/flexmig to AccountingStorageTRES and restart slurmctld",
            )),
            (false, true) => Some(Finding::error(
                key,
                place,
                "gres/flexmig without slurmdbd: slurmctld does not start",
                "remove it, or set AccountingStorageType=accounting_storage/slurmdbd",
            )),
            (false, false) => None,
        }
    }

    fn select(&self) -> Option<Finding> {
        // select/linear is the default up to 23.02.
        let old = self.slurm.is_some_and(|version| version.0 < 0x17_0b_00);
        let (linear, said) = match self.conf.get("SelectType") {
            Some(value) => (value.eq_ignore_ascii_case("select/linear"), value),
            None => (old, "select/linear, the default of this release,"),
        };
        linear.then(|| {
            Finding::warning(
                "SelectType",
                self.place("SelectType"),
                format!("{said} gives whole nodes to jobs, so a job of one leaf takes all of them"),
                "write SelectType=select/cons_tres and restart slurmctld and slurmd",
            )
        })
    }

    /// cgroup.conf's ConstrainDevices, and task/cgroup, which acts on it.
    fn isolation(&self) -> Finding {
        let (file, found) = self.cgroup;
        let open = "any job can open all leaves";
        let statement =
            text::statements(file).into_iter().rfind(|s| s.value("ConstrainDevices").is_some());
        let value =
            statement.as_ref().and_then(|s| s.value("ConstrainDevices")).unwrap_or_default();
        let place = statement.as_ref().map_or(&file.name, |s| &s.place);
        if !["yes", "true", "up", "1"].contains(&value.to_ascii_lowercase().as_str()) {
            let what = match (found, value) {
                (false, _) => {
                    format!("there is no such file, so ConstrainDevices is off and {open}")
                }
                (_, "") => format!("ConstrainDevices is not set, so {open}"),
                (_, value) => format!("ConstrainDevices={value}, so {open}"),
            };
            return Finding::warning(
                "ConstrainDevices",
                place,
                what,
                "write ConstrainDevices=yes and restart slurmd",
            );
        }
        let plugins: Vec<&str> = self.conf.words("TaskPlugin").collect();
        if plugins.iter().any(|name| matches!(*name, "task/cgroup" | "cgroup")) {
            return Finding::ok(
                "ConstrainDevices",
                place,
                "ConstrainDevices=yes, with task/cgroup",
            );
        }
        Finding::warning(
            "ConstrainDevices",
            self.place("TaskPlugin"),
            format!("TaskPlugin has no task/cgroup, which ConstrainDevices needs, so {open}"),
            format!("write TaskPlugin={} and restart slurmd", task_plugins(self.conf)),
        )
    }
}

/// `1 leaf`, `14 leaves`, `3 nodes`.
pub fn counted(number: u64, word: &str) -> String {
    match (number, word) {
        (1, word) => format!("1 {word}"),
        (number, "leaf") => format!("{number} leaves"),
        (number, word) => format!("{number} {word}s"),
    }
}

/// What GresTypes should say: what is there, and flexmig after those that would harm it.
pub fn gres_types(conf: &SlurmConf) -> String {
    let mut types: Vec<&str> = conf.words("GresTypes").filter(|name| *name != GRES_NAME).collect();
    types.push(GRES_NAME);
    types.join(",")
}

/// What JobSubmitPlugins should say: flexmig first, so that the others see exact requests.
pub fn job_submit_plugins(conf: &SlurmConf) -> String {
    let is_own = |name: &str| matches!(name, "flexmig" | "job_submit/flexmig");
    let plugins: Vec<&str> = conf.words("JobSubmitPlugins").collect();
    if plugins.iter().any(|name| is_own(name)) {
        return plugins.join(",");
    }
    [&["flexmig"], plugins.as_slice()].concat().join(",")
}

/// What TaskPlugin should say.
pub fn task_plugins(conf: &SlurmConf) -> String {
    let plugins: Vec<&str> =
        conf.words("TaskPlugin").filter(|name| !matches!(*name, "task/none" | "none")).collect();
    if plugins.iter().any(|name| matches!(*name, "task/cgroup" | "cgroup")) {
        return plugins.join(",");
    }
    [&["task/cgroup"], plugins.as_slice()].concat().join(",")
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
