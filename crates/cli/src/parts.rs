//! What `flexmig config` prints: the parts of Slurm's files that concern the leaves of a node.
//!
//! What slurm.conf already says is kept and completed, never dropped.

use flexmig_core::leaf::Leaf;
use flexmig_core::order;
use flexmig_core::profile::{Profile, Suffix};
use flexmig_core::slurm_conf::{GRES_NAME, SlurmConf};
use serde::Serialize;

use crate::check::{counted, gres_types, job_submit_plugins, task_plugins};
use crate::text::{self, File};

/// The parts. The field names are those of `--json`: add, never rename.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parts {
    /// Name in slurm.conf.
    pub node: String,
    /// Value of the node's `Gres=`.
    pub gres: String,
    /// Value of `GresTypes`.
    pub gres_types: String,
    /// Value of `JobSubmitPlugins`.
    pub job_submit_plugins: String,
    /// Value of `TaskPlugin`.
    pub task_plugin: String,
    /// Value of `AccountingStorageTRES`, for sites with slurmdbd.
    pub accounting_storage_tres: String,
    /// The `NodeName=` line.
    pub node_line: String,
    /// Lines of gres.conf; none unless asked for.
    pub gres_conf: Vec<String>,
    /// Lines of cgroup.conf.
    pub cgroup_conf: Vec<String>,
    /// The layout file.
    pub layout: LayoutFile,
    /// What the text says about them, not in JSON.
    #[serde(skip)]
    pub about: About,
}

/// The layout file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayoutFile {
    /// Its name, from flexmig.toml's directory.
    pub file: String,
    /// What it holds.
    pub text: String,
}

/// What the comments of the text depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Number of leaves.
    pub leaves: usize,
    /// Whether slurm.conf has the node.
    pub known: bool,
    /// Whether slurmdbd is in use.
    pub accounted: bool,
}

/// The types of a node: name in slurm.conf (none: untyped) and leaves in order of their indices.
pub type Types<'a> = Vec<(Option<String>, Vec<&'a Leaf>)>;

/// What slurm.conf should give the node, with counts: the types that it has (`configured`), and for
/// other shapes the profile's name without suffix, as that is about media engines and jobs want
/// equal leaves.
pub fn wanted_types(
    leaves: &[Leaf],
    configured: &[(Option<String>, u64)],
) -> Vec<(Option<String>, u64)> {
    let mut types = configured.to_vec();
    let mut shapes: Vec<Profile> = leaves.iter().map(|leaf| leaf.profile).collect();
    shapes.sort();
    shapes.dedup();
    for shape in shapes {
        let takes = |kind: &Option<String>| match kind {
            Some(kind) => order::profile_of_type(kind) == Some(shape),
            None => true,
        };
        if !types.iter().any(|(kind, _)| takes(kind)) {
            types.push((Some(Profile { suffix: Suffix::None, ..shape }.to_string()), 0));
        }
    }
    let line = format!("NodeName=node Gres={}", order::gres_for(leaves, &types));
    let conf = SlurmConf::parse("", line.as_bytes(), &mut |_| Err(String::new()));
    conf.nodes().first().map(|node| node.flexmig_types()).unwrap_or_default()
}

/// The leaves by type, as an assignment has them.
pub fn by_type(assignment: &order::Assignment) -> Types<'_> {
    let group = |group: &order::Group| {
        let leaves = group.indices.clone().filter_map(|index| assignment.leaf(index));
        (group.kind.clone(), leaves.collect())
    };
    assignment.groups.iter().map(group).collect()
}

impl Parts {
    /// The parts for a node with these leaves. `files` are slurm.conf and what it includes, `conf`
    /// is their meaning.
    pub fn new(
        node: &str,
        files: &[File],
        conf: &SlurmConf,
        types: &Types,
        layout: LayoutFile,
        explicit: bool,
    ) -> Parts {
        let statement = text::node_statement(files, node);
        let old = statement.as_ref().and_then(|s| s.value("Gres")).unwrap_or_default();
        let gres = gres(old, types);
        let node_line = match &statement {
            Some(statement) => with_gres(&statement.text, &gres),
            None => format!("NodeName={node} Gres={gres}"),
        };
        let kind = conf.get("AccountingStorageType").unwrap_or_default();
        let leaves = types.iter().map(|(_, leaves)| leaves.len()).sum();
        Parts {
            node: node.to_owned(),
            gres,
            gres_types: gres_types(conf),
            job_submit_plugins: job_submit_plugins(conf),
            task_plugin: task_plugins(conf),
            accounting_storage_tres: accounting(conf, types),
            node_line,
            gres_conf: if explicit { gres_conf(node, types) } else { Vec::new() },
            cgroup_conf: vec!["ConstrainDevices=yes".to_owned()],
            layout,
            about: About {
                leaves,
                known: statement.is_some(),
                accounted: kind.to_ascii_lowercase().ends_with("slurmdbd"),
            },
        }
    }

    /// All parts as text, each under a comment that names its file.
    pub fn text(&self) -> String {
        let leaves = counted(self.about.leaves as u64, "leaf");
        let mut lines = vec![
            format!(
                "# Flex-MIG: {} has {leaves}. Each part says which file it belongs in.",
                self.node
            ),
            String::new(),
            "# slurm.conf, the same on all hosts: these lines replace those with the same key."
                .into(),
            "# Then restart slurmctld and slurmd.".into(),
            format!("GresTypes={}", self.gres_types),
            format!("JobSubmitPlugins={}", self.job_submit_plugins),
            "SelectType=select/cons_tres".into(),
            format!("TaskPlugin={}", self.task_plugin),
        ];
        if self.about.accounted {
            lines.push(format!("AccountingStorageTRES={}", self.accounting_storage_tres));
        } else {
            lines.push("# With slurmdbd, for limits, billing and sacct:".into());
            lines.push(format!("# AccountingStorageTRES={}", self.accounting_storage_tres));
        }
        if !self.about.known {
            lines.push(
                "# `slurmd -C` prints the rest of this line (CPUs, RealMemory and so on):".into(),
            );
        }
        lines.push(self.node_line.clone());
        lines.extend([
            "".into(),
            "# cgroup.conf, beside slurm.conf: a job opens its own leaves only.".into(),
        ]);
        lines.extend(self.cgroup_conf.iter().cloned());
        lines.push(String::new());
        if self.gres_conf.is_empty() {
            lines.push("# gres.conf, beside slurm.conf: needs no flexmig lines, the plugin finds the leaves.".into());
        } else {
            lines.push(
                "# gres.conf, beside slurm.conf. To be renewed whenever the GPUs are cut anew."
                    .into(),
            );
            lines.extend(self.gres_conf.iter().cloned());
        }
        lines.push(String::new());
        lines.push(format!("# {}, beside flexmig.toml:", self.layout.file));
        lines.push(self.layout.text.trim_end().to_owned());
        lines.join("\n") + "\n"
    }
}

/// The old `Gres=` with flexmig's entries replaced.
fn gres(old: &str, types: &Types) -> String {
    let is_other = |entry: &&str| {
        !entry.is_empty() && entry.split(':').next() != Some(GRES_NAME) && *entry != "none"
    };
    let own = types.iter().map(|(kind, leaves)| match kind {
        Some(kind) => format!("{GRES_NAME}:{kind}:{}", leaves.len()),
        None => format!("{GRES_NAME}:{}", leaves.len()),
    });
    old.split(',').filter(is_other).map(str::to_owned).chain(own).collect::<Vec<_>>().join(",")
}

/// The `NodeName=` line with its `Gres=` replaced, or appended if it has none.
fn with_gres(line: &str, gres: &str) -> String {
    let is_gres =
        |word: &str| word.split_once('=').is_some_and(|(k, _)| k.eq_ignore_ascii_case("Gres"));
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let new = format!("Gres={gres}");
    match words.iter_mut().find(|word| is_gres(word)) {
        Some(word) => *word = new,
        None => words.push(new),
    }
    words.join(" ")
}

fn accounting(conf: &SlurmConf, types: &Types) -> String {
    let mut words: Vec<String> = conf.words("AccountingStorageTRES").map(str::to_owned).collect();
    let typed = types.iter().filter_map(|(kind, _)| kind.as_ref());
    let own = typed.map(|kind| format!("gres/{GRES_NAME}:{kind}"));
    for word in std::iter::once(format!("gres/{GRES_NAME}")).chain(own) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(",")
}

fn gres_conf(node: &str, types: &Types) -> Vec<String> {
    let line = |kind: &Option<String>, leaf: &Leaf| {
        let kind = kind.as_ref().map(|kind| format!(" Type={kind}")).unwrap_or_default();
        let files = leaf.devices.paths().join(",");
        format!("NodeName={node} Name={GRES_NAME}{kind} MultipleFiles={files}")
    };
    let lines =
        types.iter().flat_map(|(kind, leaves)| leaves.iter().map(move |leaf| line(kind, leaf)));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flexmig_core::leaf::{DeviceFiles, Parent};
    use flexmig_core::policy::Order;

    fn leaf(profile: &str, minor: u32, gi: u32) -> Leaf {
        Leaf {
            uuid: format!("MIG-{minor}-{gi}"),
            profile: profile.parse().unwrap(),
            memory_mib: 9728,
            sm_count: 14,
            gi,
            ci: 0,
            placement: None,
            devices: DeviceFiles {
                parent: format!("/dev/nvidia{minor}"),
                gpu_instance: format!("/dev/nvidia-caps/nvidia-cap{}", 30 + gi),
                compute_instance: format!("/dev/nvidia-caps/nvidia-cap{}", 31 + gi),
            },
            parent: Parent {
                uuid: "GPU-0".into(),
                model: "NVIDIA A100-SXM4-80GB".into(),
                index: minor,
                minor,
                bus_id: "0000:07:00.0".parse().unwrap(),
                numa: None,
                cpus: String::new(),
            },
        }
    }

    fn layout() -> LayoutFile {
        LayoutFile { file: "flexmig-layouts/n1.toml".into(), text: "nodes = \"n1\"\n".into() }
    }

    fn parts(text: Option<&str>, leaves: &[Leaf], explicit: bool) -> Parts {
        let text = text.unwrap_or_default();
        let conf = SlurmConf::parse("f", text.as_bytes(), &mut |_| Err("none".into()));
        let configured = conf.node("n1").map(|n| n.flexmig_types()).unwrap_or_default();
        let types = wanted_types(leaves, &configured);
        let assignment = order::assign(leaves, &types, Order::Pack, &[], false);
        let files = [File { name: "f".into(), text: text.into() }];
        Parts::new("n1", &files, &conf, &by_type(&assignment), layout(), explicit)
    }

    #[test]
    fn configured_types_keep_their_names() {
        let leaves = [leaf("1g.10gb+me", 0, 7), leaf("1g.10gb", 0, 8), leaf("3g.40gb", 0, 1)];
        let wanted = |configured: &[(Option<&str>, u64)]| {
            let configured: Vec<_> =
                configured.iter().map(|&(kind, n)| (kind.map(str::to_owned), n)).collect();
            wanted_types(&leaves, &configured)
        };
        let kind = |kind: &str, count| (Some(kind.to_owned()), count);
        assert_eq!(wanted(&[]), [kind("1g.10gb", 2), kind("3g.40gb", 1)]);
        assert_eq!(
            wanted(&[(Some("a100_3g.40gb"), 5)]),
            [kind("a100_3g.40gb", 1), kind("1g.10gb", 2)]
        );
        assert_eq!(wanted(&[(None, 14)]), [(None, 3)]);
    }

    #[test]
    fn a_new_node_gets_everything() {
        let leaves = [leaf("3g.40gb", 0, 1), leaf("1g.10gb", 0, 7), leaf("1g.10gb+me", 0, 8)];
        let expected = "\
# Flex-MIG: n1 has 3 leaves. Each part says which file it belongs in.

# slurm.conf, the same on all hosts: these lines replace those with the same key.
# Then restart slurmctld and slurmd.
GresTypes=flexmig
JobSubmitPlugins=flexmig
SelectType=select/cons_tres
TaskPlugin=task/cgroup
# With slurmdbd, for limits, billing and sacct:
# AccountingStorageTRES=gres/flexmig,gres/flexmig:1g.10gb,gres/flexmig:3g.40gb
# `slurmd -C` prints the rest of this line (CPUs, RealMemory and so on):
NodeName=n1 Gres=flexmig:1g.10gb:2,flexmig:3g.40gb:1

# cgroup.conf, beside slurm.conf: a job opens its own leaves only.
ConstrainDevices=yes

# gres.conf, beside slurm.conf: needs no flexmig lines, the plugin finds the leaves.

# flexmig-layouts/n1.toml, beside flexmig.toml:
nodes = \"n1\"
";
        assert_eq!(parts(None, &leaves, false).text(), expected);
    }

    #[test]
    fn what_is_configured_is_kept() {
        let text = "GresTypes=flexmig,gpu\nJobSubmitPlugins=lua\nTaskPlugin=task/affinity\n\
                    AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageTRES=gres/gpu\n\
                    NodeName=n[1-2] CPUs=16 gres=gpu:2,flexmig:1g.10gb:9 Weight=3\n";
        let parts = parts(Some(text), &[leaf("1g.10gb", 0, 7)], true);
        assert_eq!(parts.gres_types, "gpu,flexmig");
        assert_eq!(parts.job_submit_plugins, "flexmig,lua");
        assert_eq!(parts.task_plugin, "task/cgroup,task/affinity");
        assert_eq!(parts.accounting_storage_tres, "gres/gpu,gres/flexmig,gres/flexmig:1g.10gb");
        assert_eq!(
            parts.node_line,
            "NodeName=n[1-2] CPUs=16 Gres=gpu:2,flexmig:1g.10gb:1 Weight=3"
        );
        let files = "/dev/nvidia0,/dev/nvidia-caps/nvidia-cap37,/dev/nvidia-caps/nvidia-cap38";
        let line = format!("NodeName=n1 Name=flexmig Type=1g.10gb MultipleFiles={files}");
        assert_eq!(parts.gres_conf, std::slice::from_ref(&line));
        let text = parts.text();
        assert!(text.contains("\nAccountingStorageTRES=gres/gpu,"), "{text}");
        assert!(!text.contains("slurmd -C"), "{text}");
        assert!(text.contains(&format!("cut anew.\n{line}\n")), "{text}");
    }

    #[test]
    fn the_paste_is_what_check_wants() {
        let text = parts(None, &[leaf("1g.10gb", 0, 7)], false).text();
        let conf = SlurmConf::parse("f", text.as_bytes(), &mut |_| Err("none".into()));
        assert_eq!(conf.node("n1").unwrap().flexmig_types(), [(Some("1g.10gb".into()), 1)]);
        assert!(conf.words("GresTypes").eq(["flexmig"]));
    }
}
