//! In slurmd: find the leaves, give them their indices, tell Slurm.
//!
//! Records get cores only from `Cores=` of hand-written lines. Slurm wants its own abstract core
//! numbers there, from 24.11 on whole sockets, and drains the node otherwise; what NVML says about
//! the machine's CPUs is often half a socket (NPS4), and slurm.conf may describe other sockets than
//! the machine has. Order `numa` keeps the leaves of a job on one node without any of that.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use flexmig_core::leaf::Leaf;
use flexmig_core::order::{self, Assignment, Entry, Run};
use flexmig_core::slurm_conf::SlurmConf;
use flexmig_core::{hostlist, index_file, policy};
use flexmig_site::Surroundings;
use mig_inventory::Inventory;
use slurm_sys::{
    GRES_CONF_HAS_MULT, GresConfList, GresRecord, OwnedGresRecord, PackBuf, Release, Slurm, log,
};

use crate::hand_written::{self, Chosen, Cores, Line};
use crate::nccl::{self, Nccl};
use crate::node::Node;
use crate::{blob, running};

/// The GRES that is ours.
const NAME: &str = "flexmig";

/// `config_flags`: Slurm passes node-global numbers to `gres_p_task_set_env`, also where cgroups
/// hide the other devices; else each task would be given the number 0. Called GLOBAL_INDEX from
/// 23.11 to 25.11 and UUID in 26.05, where it counts only with a unique id.
const GRES_CONF_GLOBAL_INDEX: u32 = 0x4000;

/// The block for slurmstepd; empty while the node has no leaves.
static BLOCK: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn keep(block: Vec<u8>) {
    *BLOCK.lock().unwrap_or_else(PoisonError::into_inner) = block;
}

/// Appends the block for slurmstepd; exactly one, whatever happens.
pub fn send(buffer: &mut PackBuf<'_>) {
    let block = BLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = buffer.put(&block) {
        log::error(format_args!("leaves for slurmstepd: {error}: jobs with leaves are refused"));
        // An empty block always fits.
        let _ = buffer.put(&[]);
    }
}

/// Reads what this node has and rewrites our records accordingly. Never fails: a node without its
/// leaves registers with fewer than configured and is drained by slurmctld, while a slurmd that does
/// not start would say less.
pub fn load(slurm: Slurm, records: &mut GresConfList<'_>) {
    let own = records.take(NAME);
    let lines: Vec<Line> = own.iter().map(|record| line_of(record)).collect();
    keep(Vec::new());
    if lines.iter().all(|line| line.count == 0) {
        log::verbose("slurm.conf configures no leaves on this node");
        own.into_iter().for_each(|record| records.push(record));
        return;
    }
    let found = find(&lines);
    let runs = found.assignment.runs(|leaf| found.cores(leaf).text);
    for run in &runs {
        records.push(record_of(slurm, &own, run, &found));
    }
    if let ([], Some(record)) = (runs.as_slice(), own.first()) {
        // No record at all would leave slurmctld with what it knew before.
        records.push(OwnedGresRecord::like(record));
    }
    match blob::encode(&Node::new(found.name, found.policy, found.nccl, &found.assignment)) {
        Ok(block) => keep(block),
        Err(error) => log::error(format_args!("leaves for slurmstepd: {error}: jobs are refused")),
    }
}

/// Says that this node has no leaves, after an error of our own: slurmctld drains it. Records that
/// are out of the list already are gone with their counts, which has the same effect.
pub fn withdraw(records: &mut GresConfList<'_>) {
    keep(Vec::new());
    records.for_each(|record| {
        if record.name().as_deref() == Some(NAME) {
            record.set_count(0);
            record.set_file(None);
        }
    });
}

/// The node and its leaves.
struct Found {
    name: String,
    policy: policy::Node,
    nccl: Nccl,
    chosen: Chosen,
    assignment: Assignment,
}

impl Found {
    fn cores(&self, leaf: &Leaf) -> Cores {
        self.chosen.cores.get(&leaf.uuid).cloned().unwrap_or_default()
    }
}

fn find(lines: &[Line]) -> Found {
    let surroundings = Surroundings::of_process();
    let state = flexmig_site::load_policy(surroundings.policy_path().as_deref());
    if let Some(error) = state.error() {
        log::error(format_args!("{error}: the defaults hold: mend the file and restart slurmd"));
    }
    let policy = state.policy();
    let (conf, _) = flexmig_site::load_slurm_conf(&surroundings.slurm_conf_path());
    let conf = conf.unwrap_or_else(|error| {
        log::error(format_args!("{error}: node name and spool directory are guessed"));
        SlurmConf::default()
    });
    let hostname = flexmig_site::hostname();
    let name = surroundings.node_name(&conf, &hostname);
    let file = flexmig_site::index_file_path(&policy, &conf, &name, &hostname);

    let inventory = Inventory::read(&policy.node);
    let leaves =
        inventory.as_ref().map(|inventory| inventory.leaves.as_slice()).unwrap_or_default();
    let chosen = hand_written::choose(lines, leaves);
    // With a name that slurm.conf does not have, slurmd may have found another for its node.
    let known = conf.node(&name).map(|_| name.as_str());
    let busy = running::any_step(&flexmig_site::spool_dir(&conf, &name, &hostname), known);
    let previous = read_indices(&name, &file, busy);
    let only_looks = surroundings.only_prints();
    let assign =
        |busy| order::assign(&chosen.leaves, &chosen.types, policy.node.order, &previous, busy);
    let assignment = match &inventory {
        Ok(inventory) => {
            let remember = |entries: &[Entry]| only_looks || write_indices(&name, &file, entries);
            let assignment = assign_and_remember(assign, busy, &previous, remember);
            report(&name, inventory, &chosen, &assignment);
            report_layout(&name, &inventory.leaves, &surroundings);
            assignment
        }
        Err(error) => {
            log::error(format_args!("{name}: no leaf can be used: {error}"));
            // What the file remembers holds until the leaves can be read again.
            assign(true)
        }
    };
    let nccl = inventory.as_ref().map(|inventory| {
        nccl::prepare(&name, &policy, surroundings.probe_path(), inventory, only_looks)
    });
    let nccl = nccl.unwrap_or_default();
    Found { name, policy: policy.node, nccl, chosen, assignment }
}

/// Everything that an admin should know, one line each.
fn report(name: &str, inventory: &Inventory, chosen: &Chosen, assignment: &Assignment) {
    for warning in &inventory.warnings {
        log::error(format_args!("{name}: {warning}"));
    }
    for finding in &chosen.findings {
        log::error(format_args!("{name}: {finding}"));
    }
    for finding in &assignment.findings {
        if finding.lacks_leaves() {
            log::error(format_args!("{name}: {finding}"));
        } else {
            log::info(format_args!("{name}: {finding}"));
        }
    }
    let leaves = assignment.leaves().count();
    let mut parents: Vec<u32> = assignment.leaves().map(|(_, leaf)| leaf.parent.minor).collect();
    parents.sort_unstable();
    parents.dedup();
    log::info(format_args!("{name}: {leaves} leaves of {} GPUs are ready", parents.len()));
}

/// Compares the node with the layout files that cover it, as the controller believes them.
fn report_layout(name: &str, leaves: &[Leaf], surroundings: &Surroundings) {
    for file in flexmig_site::load_layouts(&surroundings.layouts_dir()) {
        let path = file.path.display();
        match file.layout {
            Ok(layout) if layout.covers(name) => {
                for difference in layout.differences(leaves) {
                    log::error(format_args!(
                        "{name}: {path}: {difference}: make the leaves as the layout has them, or \
                         replace it by what `flexmig config` prints on this node"
                    ));
                }
            }
            Ok(_) => {}
            Err(error) => log::error(format_args!("{error}: mend the layout file or remove it")),
        }
    }
}

/// The assignment, remembered before anybody is given a leaf by it. What cannot be remembered must
/// not be new: the next slurmd will go by the file when jobs run.
fn assign_and_remember(
    assign: impl Fn(bool) -> Assignment,
    busy: bool,
    previous: &[Entry],
    remember: impl FnOnce(&[Entry]) -> bool,
) -> Assignment {
    let assignment = assign(busy);
    let entries = assignment.entries();
    if entries == previous || remember(&entries) { assignment } else { assign(true) }
}

fn read_indices(name: &str, file: &Path, busy: bool) -> Vec<Entry> {
    let read = match flexmig_site::read(file) {
        Ok(bytes) => index_file::read(&file.display().to_string(), &bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // So it is when flexmig is new on the node; else somebody moved or removed it.
            if busy {
                log::info(format_args!(
                    "{name}: {}: not there while jobs run: the leaves are numbered anew: if those \
                     jobs hold leaves, drain the node until they have ended",
                    file.display()
                ));
            }
            return Vec::new();
        }
        Err(error) => {
            let message = format!("cannot be read: {error}");
            Err(policy::FileError { file: file.display().to_string(), line: 1, message })
        }
    };
    read.unwrap_or_else(|error| {
        log::error(format_args!(
            "{name}: {error}: the leaves are numbered anew: if jobs run on this node, drain it \
             until they have ended"
        ));
        Vec::new()
    })
}

/// Says whether it was written.
fn write_indices(name: &str, file: &Path, entries: &[Entry]) -> bool {
    let written = index_file::write(entries).map_err(|error| error.to_string()).and_then(|text| {
        flexmig_site::write_atomically(file, text.as_bytes()).map_err(|error| error.to_string())
    });
    if let Err(error) = &written {
        log::error(format_args!(
            "{name}: {}: cannot be written: {error}: the next slurmd may number the leaves \
             differently under running jobs: mend it and restart slurmd",
            file.display()
        ));
    }
    written.is_ok()
}

fn line_of(record: &GresRecord) -> Line {
    let cores = record.cpus().map(|text| Cores {
        text: text.into_owned(),
        numbers: record.cpus_bitmap().map(|bits| bits.iter().collect()).unwrap_or_default(),
    });
    Line {
        kind: record.type_name().map(|kind| kind.into_owned()),
        count: record.count(),
        files: record.file().map(|file| file.into_owned()),
        multiple: record.flags() & GRES_CONF_HAS_MULT != 0,
        cores,
    }
}

/// The record of a run: what Slurm made of the configuration, with our count, files and cores.
///
/// File= only has to be there: slurmctld gives out indices for records that have one and never sees
/// the names. It lists the leaves' own files, those of the compute instances, for the log.
fn record_of(
    slurm: Slurm,
    own: &[OwnedGresRecord],
    run: &Run<'_>,
    found: &Found,
) -> OwnedGresRecord {
    let like = own.iter().find(|record| record.type_name().as_deref() == run.kind);
    let mut record = match like.or_else(|| own.first()) {
        Some(like) => OwnedGresRecord::like(like),
        None => OwnedGresRecord::new(slurm, NAME, 1),
    };
    let files = run.leaves.iter().map(|(_, leaf)| &leaf.devices.compute_instance);
    record.set_type_name(run.kind);
    record.set_count(run.leaves.len() as u64);
    record.set_file(Some(&hostlist::compact(files)));
    record.set_links(None);
    record.set_flag(GRES_CONF_HAS_MULT, false);
    let first = run.leaves.first().map(|(_, leaf)| *leaf);
    let cores = first.map(|leaf| found.cores(leaf)).filter(|cores| !cores.text.is_empty());
    record.set_cpus(cores.as_ref().map(|cores| (cores.text.as_str(), cores.numbers.as_slice())));
    if slurm.release() >= Release::V23_11 {
        record.set_flag(GRES_CONF_GLOBAL_INDEX, true);
        record.set_unique_id(first.map(|leaf| leaf.uuid.as_str()));
    }
    record
}

#[cfg(test)]
mod tests {
    use flexmig_core::policy::Order;

    use super::*;
    use crate::testing::leaf;

    #[test]
    fn an_order_that_cannot_be_remembered_is_not_taken_over() {
        let leaves = [leaf(0, 7), leaf(0, 8), leaf(1, 7)];
        let types = [(Some("1g.10gb".to_owned()), 3)];
        let by =
            |order, previous: &[Entry], busy| order::assign(&leaves, &types, order, previous, busy);
        let packed = by(Order::Pack, &[], false).entries();
        let spread = |busy| by(Order::Spread, &packed, busy);
        assert_ne!(spread(false).entries(), packed);
        let kept = assign_and_remember(spread, false, &packed, |_| false);
        assert_eq!(kept.entries(), packed, "what the file says");
        let taken = assign_and_remember(spread, false, &packed, |_| true);
        assert_eq!(taken, spread(false));
        let first = assign_and_remember(|busy| by(Order::Spread, &[], busy), false, &[], |_| false);
        assert_eq!(first.entries(), spread(false).entries(), "nothing to hold on to");
    }
}
