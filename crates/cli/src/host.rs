//! What this host has: Slurm's configuration, our policy, the node's name, its leaves and indices.

use std::path::{Path, PathBuf};

use flexmig_core::index_file;
use flexmig_core::layout::Layout;
use flexmig_core::order::{self, Assignment, Entry, Finding};
use flexmig_core::policy::{self, FileError, Policy};
use flexmig_core::slurm_conf::SlurmConf;
use flexmig_site::{Site, Surroundings};
use mig_inventory::Inventory;

use crate::parts::{LayoutFile, Parts, by_type, wanted_types};
use crate::text::{self, File};
use crate::view::{Gone, Gpu, Row, Source, View};

/// The configuration as this host sees it.
pub struct Host {
    /// The files an administrator writes.
    pub site: Site,
    /// slurm.conf and the files that it includes, for places in messages.
    pub conf_files: Vec<File>,
    /// What slurm.conf says; nothing if it cannot be read.
    pub conf: SlurmConf,
    /// What flexmig.toml says; the defaults if it cannot be used.
    pub policy: Policy,
    /// Host name, as the kernel has it.
    pub hostname: String,
    /// Name of this node.
    pub node: String,
    /// Where slurmd keeps the index file.
    pub index_file: PathBuf,
    /// Where the files are looked for.
    pub surroundings: Surroundings,
}

impl Host {
    /// Reads the configuration; nothing that is missing or broken is an error yet.
    pub fn read(node: Option<&str>) -> Host {
        let surroundings = Surroundings::of_process();
        let site = Site::load(&surroundings);
        let hostname = flexmig_site::hostname();
        let conf = site.slurm_conf.clone().unwrap_or_default();
        let node =
            node.map_or_else(|| surroundings.node_name(&conf, &hostname), |name| name.to_owned());
        let policy = site.policy.policy();
        let (_, paths) = flexmig_site::load_slurm_conf(&site.slurm_conf_path);
        Host {
            index_file: flexmig_site::index_file_path(&policy, &conf, &node, &hostname),
            conf_files: paths.iter().map(|path| file(path).0).collect(),
            site,
            conf,
            policy,
            hostname,
            node,
            surroundings,
        }
    }

    /// slurm.conf as messages name it.
    pub fn conf_file(&self) -> String {
        self.site.slurm_conf_path.display().to_string()
    }

    /// The flexmig types that slurm.conf gives this node.
    pub fn configured(&self) -> Vec<(Option<String>, u64)> {
        self.conf.node(&self.node).map(|line| line.flexmig_types()).unwrap_or_default()
    }

    /// What slurmd remembers; `Ok(None)` if there is no index file.
    pub fn entries(&self) -> Result<Option<Vec<Entry>>, FileError> {
        let file = self.index_file.display().to_string();
        match flexmig_site::read(&self.index_file) {
            Ok(bytes) => index_file::read(&file, &bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(FileError { file, line: 1, message: format!("cannot be read: {error}") })
            }
        }
    }
}

/// A file with its text, and whether it could be read; without text if not.
pub fn file(path: &Path) -> (File, bool) {
    let bytes = flexmig_site::read(path);
    let found = bytes.is_ok();
    let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
    (File { name: path.display().to_string(), text }, found)
}

/// The leaves with their indices.
pub struct Indices {
    /// As slurmd would assign them now, if jobs were running: what the index file says stays.
    pub assignment: Assignment,
    /// The index file's entries, if they are where the indices come from.
    pub entries: Option<Vec<Entry>>,
    /// What to know about them.
    pub notes: Vec<String>,
}

impl Indices {
    /// From what the host and its inventory say.
    pub fn new(host: &Host, inventory: &Inventory) -> Indices {
        let mut notes: Vec<String> = inventory.warnings.iter().map(|w| w.to_string()).collect();
        let mut types = host.configured();
        if types.is_empty() && !inventory.leaves.is_empty() {
            types = wanted_types(&inventory.leaves, &types);
            notes.push(format!(
                "{}: gives node {} no flexmig: paste what `flexmig config` prints; the indices are \
                 those after that",
                host.conf_file(),
                host.node
            ));
        }
        let entries = host.entries().unwrap_or_else(|error| {
            notes.push(format!("{error}: slurmd writes it anew when it restarts and no job runs"));
            None
        });
        let (previous, busy) = (entries.as_deref().unwrap_or_default(), entries.is_some());
        let order = host.policy.node.order;
        let assignment = order::assign(&inventory.leaves, &types, order, previous, busy);
        notes.extend(told(&assignment.findings).into_iter().map(|(_, text)| text));
        Indices { assignment, entries, notes }
    }
}

/// Findings about indices with their texts, for someone who does not know whether jobs run. That
/// the order is another one goes without saying while leaves are missing.
pub fn told(findings: &[Finding]) -> Vec<(&Finding, String)> {
    let lacks_leaves = findings.iter().any(Finding::lacks_leaves);
    let is_told = |finding: &&Finding| !(lacks_leaves && **finding == Finding::OrderWaits);
    let text = |finding: &Finding| match finding {
        Finding::OrderWaits => "flexmig.toml asks for another order of leaves than the index file \
                                has: restart slurmd when no job runs on this node"
            .to_owned(),
        other => other.to_string(),
    };
    findings.iter().filter(is_told).map(|finding| (finding, text(finding))).collect()
}

/// What `flexmig leaves` shows.
pub fn view(host: &Host, inventory: &Inventory) -> View {
    let indices = Indices::new(host, inventory);
    let mut leaves = rows(inventory, &indices);
    leaves.sort_by_key(|row| row.index.map_or((1, 0), |index| (0, index)));
    View {
        version: 1,
        node: host.node.clone(),
        driver_version: inventory.driver_version.clone(),
        nvml_version: inventory.nvml_version.clone(),
        order: match host.policy.node.order {
            policy::Order::Pack => "pack",
            policy::Order::Spread => "spread",
            policy::Order::Numa => "numa",
        },
        indices_from: if indices.entries.is_some() { Source::IndexFile } else { Source::Policy },
        index_file: Some(host.index_file.display().to_string()),
        gpus: gpus(inventory),
        leaves,
        gone: gone(inventory, &indices),
        notes: indices.notes,
    }
}

fn gpus(inventory: &Inventory) -> Vec<Gpu> {
    let gpu = |parent: &flexmig_core::leaf::Parent| Gpu {
        index: parent.index,
        minor: parent.minor,
        uuid: parent.uuid.clone(),
        model: parent.model.clone(),
        bus_id: parent.bus_id.to_string(),
        numa: parent.numa,
        cpus: parent.cpus.clone(),
        leaves: inventory.leaves.iter().filter(|leaf| leaf.parent.minor == parent.minor).count(),
        mig: inventory.mig_minors.contains(&parent.minor),
    };
    inventory.parents.iter().map(gpu).collect()
}

fn rows(inventory: &Inventory, indices: &Indices) -> Vec<Row> {
    let place = |uuid: &str| match &indices.entries {
        Some(entries) => {
            let entry = entries.iter().find(|entry| entry.present && entry.uuid == uuid)?;
            Some((entry.index, entry.kind.clone()))
        }
        None => {
            let (index, _) = indices.assignment.leaves().find(|(_, leaf)| leaf.uuid == uuid)?;
            Some((u32::try_from(index).ok()?, indices.assignment.kind(index).map(str::to_owned)))
        }
    };
    let row = |leaf: &flexmig_core::leaf::Leaf| {
        let (index, kind) = place(&leaf.uuid).unzip();
        Row {
            index,
            kind: kind.flatten(),
            uuid: leaf.uuid.clone(),
            profile: leaf.profile.to_string(),
            memory_mib: leaf.memory_mib,
            sm_count: leaf.sm_count,
            gi: leaf.gi,
            ci: leaf.ci,
            placement: leaf.placement,
            bus_id: leaf.bus_id().ok().map(|id| id.to_string()),
            device_files: leaf.devices.paths().map(str::to_owned),
            gpu_minor: leaf.parent.minor,
            gpu_uuid: leaf.parent.uuid.clone(),
            gpu_bus_id: leaf.parent.bus_id.to_string(),
            numa: leaf.parent.numa,
        }
    };
    inventory.leaves.iter().map(row).collect()
}

fn gone(inventory: &Inventory, indices: &Indices) -> Vec<Gone> {
    let is_there = |entry: &&Entry| {
        entry.present && inventory.leaves.iter().any(|leaf| leaf.uuid == entry.uuid)
    };
    let entries = indices.entries.iter().flatten().filter(|entry| !is_there(entry));
    let gone = entries.map(|entry| Gone {
        index: entry.index,
        kind: entry.kind.clone(),
        uuid: entry.uuid.clone(),
        profile: entry.profile.to_string(),
    });
    gone.collect()
}

/// What `flexmig config` prints.
pub fn parts(host: &Host, inventory: &Inventory, explicit: bool) -> Parts {
    let types = wanted_types(&inventory.leaves, &host.configured());
    let order = host.policy.node.order;
    let assignment = order::assign(&inventory.leaves, &types, order, &[], false);
    let statement = text::node_statement(&host.conf_files, &host.node);
    let nodes = statement.as_ref().and_then(|s| s.value("NodeName")).unwrap_or(&host.node);
    let layout = LayoutFile {
        file: format!("flexmig-layouts/{}.toml", host.node),
        text: Layout::of(nodes, &inventory.leaves).to_toml(),
    };
    let (files, conf) = (&host.conf_files, &host.conf);
    Parts::new(&host.node, files, conf, &by_type(&assignment), layout, explicit)
}
