//! Findings about this node: do NVML, slurm.conf and the index file agree about its leaves?

use flexmig_core::order::{self, Assignment, Entry};
use flexmig_core::policy::{FileError, Order};
use flexmig_core::slurm_conf::{GRES_NAME, NodeLine};
use mig_inventory::{Inventory, Warning};

use super::cluster::counted;
use super::finding::{Finding, Level};

/// Most leaves that one line names.
const NAMED: usize = 4;

/// What is known about this node.
pub struct Node<'a> {
    /// Its name.
    pub name: &'a str,
    /// slurm.conf with the line of its `NodeName`.
    pub place: String,
    /// What slurm.conf says about it.
    pub line: Option<&'a NodeLine>,
    /// Its leaves, or why there is no inventory.
    pub inventory: Result<&'a Inventory, String>,
    /// Where the index file is.
    pub index_file: String,
    /// What it says; `Ok(None)` if there is none.
    pub entries: Result<Option<&'a [Entry]>, &'a FileError>,
    /// Policy's order.
    pub order: Order,
}

impl Node<'_> {
    /// All findings.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.line.is_none() {
            findings.push(Finding::error(
                "node",
                &self.place,
                format!("no NodeName line has node {}", self.name),
                "paste what `flexmig config` prints, or say --node NAME if it has another name there",
            ));
        }
        let inventory = match &self.inventory {
            Ok(inventory) => inventory,
            Err(error) if self.configured() > 0 || self.line.is_none() => {
                findings.push(Finding::message(Level::Error, "NVML", error));
                return findings;
            }
            Err(_) => {
                let what = "no NVML here, and slurm.conf gives it no leaves";
                findings.push(Finding::ok("NVML", self.name, what));
                return findings;
            }
        };
        let driver =
            format!("driver {}, NVML {}", inventory.driver_version, inventory.nvml_version);
        findings.push(Finding::ok("NVML", self.name, driver));
        findings.extend(inventory.warnings.iter().map(|warning| self.warning(warning)));
        findings.extend(self.mig_off(inventory));
        findings.extend(self.leaves(inventory));
        findings.extend(self.twice());
        findings.extend(self.index_file(inventory));
        findings
    }

    fn configured(&self) -> u64 {
        let types = self.line.map(NodeLine::flexmig_types).unwrap_or_default();
        types.iter().fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    fn warning(&self, warning: &Warning) -> Finding {
        let level = match warning {
            Warning::PendingMode { .. } => Level::Warning,
            Warning::NoInstances { .. } if self.configured() == 0 => Level::Warning,
            _ => Level::Error,
        };
        Finding::message(level, "NVML", warning)
    }

    /// GPUs without MIG serve nobody unless gres/gpu has them.
    fn mig_off(&self, inventory: &Inventory) -> Vec<Finding> {
        let is_off = |minor: u32| !inventory.mig_minors.contains(&minor);
        let off: Vec<_> = inventory.parents.iter().filter(|p| is_off(p.minor)).collect();
        let mend = "nvidia-smi -i GPU -mig 1, make the instances (nvidia-mig-parted apply), restart slurmd";
        if off.len() == inventory.parents.len() {
            if self.configured() == 0 {
                return Vec::new();
            }
            let what = match off.len() as u64 {
                0 => "no GPU here answers".to_owned(),
                count => format!("MIG is off on {}", counted(count, "GPU")),
            };
            return vec![Finding::error("MIG", self.name, what, mend)];
        }
        let has_gpu = self.line.is_some_and(|line| line.gres.iter().any(|gres| gres.name == "gpu"));
        if has_gpu {
            return Vec::new();
        }
        let finding = |parent: &&flexmig_core::leaf::Parent| {
            let what =
                format!("MIG is off on GPU {} ({}), so nobody uses it", parent.minor, parent.model);
            Finding::warning(
                "MIG",
                self.name,
                what,
                mend.replace("-i GPU", &format!("-i {}", parent.bus_id)),
            )
        };
        off.iter().map(finding).collect()
    }

    fn leaves(&self, inventory: &Inventory) -> Vec<Finding> {
        let place = format!("{}: node {}", self.place, self.name);
        let leaves = &inventory.leaves;
        let types = self.line.map(NodeLine::flexmig_types).unwrap_or_default();
        if types.is_empty() {
            let gres = order::gres_for(leaves, &crate::parts::wanted_types(leaves, &[]));
            return match leaves.is_empty() {
                true => vec![Finding::ok("leaves", self.name, "no leaves, and none in slurm.conf")],
                // That there is no such node has been said.
                false if self.line.is_none() => Vec::new(),
                false => vec![Finding::error(
                    "leaves",
                    place,
                    format!(
                        "has {}, but no flexmig in Gres=",
                        counted(leaves.len() as u64, "leaf")
                    ),
                    format!("add {gres} to its Gres= and restart slurmctld and slurmd"),
                )],
            };
        }
        let assignment = self.assignment(inventory, &types);
        let finding = |(finding, text): (&order::Finding, String)| {
            let level = match finding {
                order::Finding::Extra { .. } | order::Finding::OrderWaits => Level::Warning,
                _ => Level::Error,
            };
            Finding::message(level, "leaves", format!("{place}: {text}"))
        };
        let mut findings: Vec<Finding> =
            crate::host::told(&assignment.findings).into_iter().map(finding).collect();
        if findings.is_empty() {
            let what = format!("{}, as slurm.conf says", order::gres_for(leaves, &types));
            findings.push(Finding::ok("leaves", self.name, what));
        }
        findings
    }

    fn assignment(&self, inventory: &Inventory, types: &[(Option<String>, u64)]) -> Assignment {
        // Whether jobs run is not known here; what the index file says is taken to be in use.
        let previous = self.entries.ok().flatten();
        let busy = previous.is_some();
        order::assign(&inventory.leaves, types, self.order, previous.unwrap_or_default(), busy)
    }

    /// A leaf must not be a gres/gpu too.
    fn twice(&self) -> Option<Finding> {
        let line = self.line.filter(|_| self.configured() > 0)?;
        let is_leaf = |kind: &str| order::profile_of_type(kind).is_some();
        let gres = line
            .gres
            .iter()
            .find(|gres| gres.name != GRES_NAME && gres.kind.as_deref().is_some_and(is_leaf))?;
        let entry = format!("{}:{}:{}", gres.name, gres.kind.as_deref()?, gres.count);
        Some(Finding::error(
            "leaves",
            format!("{}: node {}", self.place, self.name),
            format!("{entry} and flexmig hand out the same leaves to two jobs"),
            format!("remove {entry} from its Gres= and restart slurmctld and slurmd"),
        ))
    }

    fn index_file(&self, inventory: &Inventory) -> Vec<Finding> {
        let (topic, place) = ("index file", &self.index_file);
        let entries = match self.entries {
            Ok(Some(entries)) => entries,
            Ok(None) if self.configured() == 0 => return Vec::new(),
            Ok(None) => {
                let what = "not there yet; slurmd writes it when it starts with gres/flexmig";
                return vec![Finding::ok(topic, place, what)];
            }
            Err(FileError { file, line, message }) => {
                let mend = match message.starts_with("cannot be read") {
                    true => "run this as root",
                    false => "remove it when no job runs on this node, and restart slurmd",
                };
                return vec![Finding::error(topic, format!("{file}:{line}"), message, mend)];
            }
        };
        let leaf = |entry: &Entry| inventory.leaves.iter().find(|leaf| leaf.uuid == entry.uuid);
        let present = || entries.iter().filter(|entry| entry.present);
        let gone: Vec<&Entry> = present().filter(|entry| leaf(entry).is_none()).collect();
        let is_changed = |entry: &&Entry| {
            leaf(entry).is_some_and(|leaf| {
                leaf.devices != entry.devices || !leaf.profile.same_name(&entry.profile)
            })
        };
        let changed: Vec<&Entry> = present().filter(is_changed).collect();
        let mut findings = Vec::new();
        let mend = "restart slurmd; jobs that start on them before that fail";
        if !gone.is_empty() {
            let what = format!("{} gone since slurmd started: {}", are(gone.len()), named(&gone));
            findings.push(Finding::error(topic, place, what, mend));
        }
        if !changed.is_empty() {
            let what = format!(
                "{} another profile or other device files than when slurmd started: {}",
                if changed.len() == 1 {
                    "1 leaf has".into()
                } else {
                    format!("{} leaves have", changed.len())
                },
                named(&changed)
            );
            findings.push(Finding::error(topic, place, what, mend));
        }
        let is_known = |uuid: &str| entries.iter().any(|entry| entry.uuid == uuid);
        let new = inventory.leaves.iter().filter(|leaf| !is_known(&leaf.uuid)).count();
        if new > 0 && self.configured() > present().count() as u64 - gone.len() as u64 {
            let what = format!("{} new since slurmd started", are(new));
            findings.push(Finding::warning(topic, place, what, "restart slurmd to use them"));
        }
        if findings.is_empty() {
            let what = format!("pins {}", counted(present().count() as u64, "leaf"));
            findings.push(Finding::ok(topic, place, what));
        }
        findings
    }
}

fn are(leaves: usize) -> String {
    if leaves == 1 { "1 leaf is".to_owned() } else { format!("{leaves} leaves are") }
}

/// `MIG-... (index 3), MIG-... (index 4) and 2 more`.
fn named(entries: &[&Entry]) -> String {
    let name = |entry: &&Entry| format!("{} (index {})", entry.uuid, entry.index);
    let mut text = entries.iter().take(NAMED).map(name).collect::<Vec<_>>().join(", ");
    if entries.len() > NAMED {
        text.push_str(&format!(" and {} more", entries.len() - NAMED));
    }
    text
}
