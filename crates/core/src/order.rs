//! Which leaf gets which index.
//!
//! Slurm takes the lowest free index, so the order of indices is the placement policy. Indices are
//! grouped by type in slurm.conf's order, as slurmctld regroups the records that slurmd sends:
//! with `Gres=flexmig:1g.10gb:14,flexmig:3g.40gb:2` the indices 0 to 13 are of the first type and
//! 14 and 15 of the second. A `Gres=flexmig:16` without types is one group for all leaves.
//!
//! slurmctld compares counts only (seen on 22.05 and 26.05), so an index must not change its leaf
//! under a running job. While jobs run ([`assign`] with `busy`) the [`Entry`]s of the last time
//! hold: a leaf keeps its index, an index whose leaf is gone is unusable, and a new leaf only takes
//! an index that no leaf had. When no job runs the policy order is taken over whole.

mod finding;
mod sort;
mod types;

use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::leaf::{DeviceFiles, Leaf};
use crate::policy::Order;
use crate::profile::Profile;
pub use finding::{Finding, LeafName};
pub use types::{gres_for, profile_of_type};

/// Most indices that Slurm gives one GRES of a node (MAX_GRES_BITMAP).
pub const MAX_INDICES: usize = 1024;

/// What is remembered of an index between two runs of slurmd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Slurm's index of the leaf on this node, from 0.
    pub index: u32,
    /// UUID of the leaf.
    pub uuid: String,
    /// Type in slurm.conf, absent where that has none.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Profile of the leaf.
    pub profile: Profile,
    /// Whether the leaf was there and could be handed out.
    pub present: bool,
    /// Device files of the leaf.
    pub devices: DeviceFiles,
}

/// The indices of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Type in slurm.conf, `None` where that has none.
    pub kind: Option<String>,
    /// Its indices.
    pub indices: Range<usize>,
}

/// What stands behind an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A leaf that can be handed out.
    Leaf(Box<Leaf>),
    /// The leaf of this index is gone, or is no longer of the type; nobody else may have the index
    /// while jobs run.
    Unusable(Entry),
    /// slurm.conf counts it, but there is no leaf for it.
    Empty,
}

impl Slot {
    /// The leaf, if it can be handed out.
    pub fn leaf(&self) -> Option<&Leaf> {
        match self {
            Slot::Leaf(leaf) => Some(leaf),
            Slot::Unusable(_) | Slot::Empty => None,
        }
    }
}

/// Leaves with neighbouring indices, equal type and equal cores: one GRES record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// Type in slurm.conf.
    pub kind: Option<&'a str>,
    /// What the caller said are the leaves' cores.
    pub cores: String,
    /// The leaves with their indices, ascending.
    pub leaves: Vec<(usize, &'a Leaf)>,
}

/// Every index of the node, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The types in slurm.conf's order; together their indices are those of `slots`.
    pub groups: Vec<Group>,
    /// What each index stands for.
    pub slots: Vec<Slot>,
    /// Remembered indices above those that slurm.conf has now.
    pub beyond: Vec<Entry>,
    /// What does not agree.
    pub findings: Vec<Finding>,
}

impl Assignment {
    /// The leaf of an index, if it can be handed out.
    pub fn leaf(&self, index: usize) -> Option<&Leaf> {
        self.slots.get(index).and_then(Slot::leaf)
    }

    /// The leaves that can be handed out, with their indices.
    pub fn leaves(&self) -> impl Iterator<Item = (usize, &Leaf)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.leaf()?)))
    }

    /// Type of an index, `None` also where slurm.conf names none.
    pub fn kind(&self, index: usize) -> Option<&str> {
        self.groups.iter().find(|group| group.indices.contains(&index))?.kind.as_deref()
    }

    /// What to remember for the next run of slurmd.
    pub fn entries(&self) -> Vec<Entry> {
        let remembered = self.slots.iter().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Leaf(leaf) => Some(Entry {
                index: u32::try_from(index).ok()?,
                uuid: leaf.uuid.clone(),
                kind: self.kind(index).map(str::to_owned),
                profile: leaf.profile,
                present: true,
                devices: leaf.devices.clone(),
            }),
            Slot::Unusable(entry) => Some(entry.clone()),
            Slot::Empty => None,
        });
        remembered.chain(self.beyond.iter().cloned()).collect()
    }

    /// The leaves as runs of equal type and cores, one per GRES record. `cores` says what counts
    /// as the cores of a leaf.
    ///
    /// While leaves are missing every leaf is a run of its own. slurmctld numbers the leaves of
    /// the records it gets without holes and does that again only when the number of records
    /// changes (gres.c, 22.05 to 26.05); so when the leaves are back it must change, or a
    /// slurmctld that was started in between goes on with numbers that have moved. The node is
    /// drained meanwhile, so that the slower scheduling of many records does not matter.
    pub fn runs(&self, cores: impl Fn(&Leaf) -> String) -> Vec<Run<'_>> {
        let complete = self.slots.iter().all(|slot| slot.leaf().is_some());
        let mut runs: Vec<Run<'_>> = Vec::new();
        for (index, leaf) in self.leaves() {
            let (kind, cores) = (self.kind(index), cores(leaf));
            match runs.last_mut() {
                Some(run) if complete && run.kind == kind && run.cores == cores => {
                    run.leaves.push((index, leaf));
                }
                _ => runs.push(Run { kind, cores, leaves: vec![(index, leaf)] }),
            }
        }
        runs
    }
}

/// Gives every leaf an index of its type.
///
/// `types` are those of slurm.conf for this node with their counts, in its order; `previous` is
/// what [`Assignment::entries`] said the last time; `busy` tells whether a job runs on the node,
/// when indices must not change.
pub fn assign(
    leaves: &[Leaf],
    types: &[(Option<String>, u64)],
    order: Order,
    previous: &[Entry],
    busy: bool,
) -> Assignment {
    let plan = Plan { leaves, groups: groups(types), order };
    let wanted = plan.in_policy_order();
    let pinned = busy && !previous.is_empty();
    let (given, reserved, beyond) =
        if pinned { plan.pinned(previous) } else { (wanted.clone(), HashMap::new(), Vec::new()) };
    let slots = given.iter().enumerate().map(|(index, given)| match given {
        Some(position) => Slot::Leaf(Box::new(leaves[*position].clone())),
        None => reserved.get(&index).map_or(Slot::Empty, |&entry| {
            Slot::Unusable(Entry { present: false, ..entry.clone() })
        }),
    });
    let slots = slots.collect();
    let findings = plan.findings(types, &wanted, &given, previous);
    Assignment { groups: plan.groups, slots, beyond, findings }
}

/// Lays the types out one after the other, as many as Slurm can number.
fn groups(types: &[(Option<String>, u64)]) -> Vec<Group> {
    let mut start = 0;
    let mut groups = Vec::with_capacity(types.len());
    for (kind, count) in types {
        let count = usize::try_from(*count).unwrap_or(usize::MAX).min(MAX_INDICES - start);
        groups.push(Group { kind: kind.clone(), indices: start..start + count });
        start += count;
    }
    groups
}

/// For each index the position of its leaf in the input.
type Given = Vec<Option<usize>>;

struct Plan<'a> {
    leaves: &'a [Leaf],
    groups: Vec<Group>,
    order: Order,
}

impl Plan<'_> {
    fn indices(&self) -> usize {
        self.groups.last().map_or(0, |group| group.indices.end)
    }

    /// The assignment that policy wants, whatever was before.
    fn in_policy_order(&self) -> Given {
        let mut given = vec![None; self.indices()];
        self.fill(&mut given, |_| false, (0..self.leaves.len()).collect());
        for group in &self.groups {
            let slots = &mut given[group.indices.clone()];
            let mut members: Vec<usize> = slots.iter().flatten().copied().collect();
            sort::sort(self.order, self.leaves, &mut members);
            for (slot, member) in slots.iter_mut().zip(members) {
                *slot = Some(member);
            }
        }
        given
    }

    /// The assignment that keeps every known leaf where it is, with the remembered indices that
    /// stay unusable, and those that slurm.conf no longer has.
    fn pinned<'e>(&self, previous: &'e [Entry]) -> (Given, HashMap<usize, &'e Entry>, Vec<Entry>) {
        let by_uuid: HashMap<&str, usize> =
            self.leaves.iter().enumerate().map(|(at, leaf)| (leaf.uuid.as_str(), at)).collect();
        let mut given = vec![None; self.indices()];
        let mut reserved: HashMap<usize, &Entry> = HashMap::new();
        let mut beyond = Vec::new();
        let mut known: Vec<usize> = Vec::new();
        for entry in previous {
            let index = entry.index as usize;
            let leaf = by_uuid.get(entry.uuid.as_str()).copied();
            if index >= given.len() {
                beyond.push(Entry { present: false, ..entry.clone() });
            } else if reserved.insert(index, entry).is_none() {
                let fits = |leaf: &usize| {
                    !known.contains(leaf) && self.fit_at(index, &self.leaves[*leaf]).is_some()
                };
                given[index] = leaf.filter(fits);
            }
            known.extend(leaf);
        }
        let new = (0..self.leaves.len()).filter(|leaf| !known.contains(leaf)).collect();
        self.fill(&mut given, |index| reserved.contains_key(&index), new);
        (given, reserved, beyond)
    }

    /// Gives free indices to leaves, the best fitting ones of each type first.
    fn fill(&self, given: &mut Given, taken: impl Fn(usize) -> bool, mut leaves: Vec<usize>) {
        for fit in 0..types::FITS {
            for group in &self.groups {
                let fits = |leaf: usize| {
                    types::fit(group.kind.as_deref(), &self.leaves[leaf]) == Some(fit)
                };
                let mut candidates: Vec<usize> =
                    leaves.iter().copied().filter(|&leaf| fits(leaf)).collect();
                sort::sort(self.order, self.leaves, &mut candidates);
                let free: Vec<usize> = group
                    .indices
                    .clone()
                    .filter(|&index| given[index].is_none() && !taken(index))
                    .collect();
                for (index, leaf) in free.into_iter().zip(candidates) {
                    given[index] = Some(leaf);
                    leaves.retain(|&other| other != leaf);
                }
            }
        }
    }

    fn fit_at(&self, index: usize, leaf: &Leaf) -> Option<u8> {
        let group = self.groups.iter().find(|group| group.indices.contains(&index))?;
        types::fit(group.kind.as_deref(), leaf)
    }

    /// Compares slurm.conf with the leaves there are (`wanted`), and that with what could be given
    /// under running jobs (`given`).
    fn findings(
        &self,
        types: &[(Option<String>, u64)],
        wanted: &Given,
        given: &Given,
        previous: &[Entry],
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let write = gres_for(self.leaves, types);
        let configured = types.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        if configured > MAX_INDICES as u64 {
            findings.push(Finding::TooMany { configured });
        }
        for group in &self.groups {
            let members: Vec<&Leaf> = wanted[group.indices.clone()]
                .iter()
                .flatten()
                .map(|&at| &self.leaves[at])
                .collect();
            if members.len() < group.indices.len() {
                findings.push(Finding::Missing {
                    kind: group.kind.clone(),
                    configured: group.indices.len() as u64,
                    found: per_parent(&members),
                    gone: self.gone(group, previous),
                    write: write.clone(),
                });
            }
        }
        let named = |lacking: &Given, among: &mut dyn Iterator<Item = usize>| -> Vec<LeafName> {
            let lacking = among.filter(|&leaf| !lacking.contains(&Some(leaf)));
            lacking.map(|leaf| LeafName::of(&self.leaves[leaf])).collect()
        };
        let extra = named(wanted, &mut (0..self.leaves.len()));
        if !extra.is_empty() {
            findings.push(Finding::Extra { leaves: extra, write });
        }
        let waiting = named(given, &mut wanted.iter().flatten().copied());
        if !waiting.is_empty() {
            findings.push(Finding::Waiting { leaves: waiting });
        } else if given != wanted {
            findings.push(Finding::OrderWaits);
        }
        findings
    }

    /// The leaves that had an index of the type and are not on the node any more.
    fn gone(&self, group: &Group, previous: &[Entry]) -> Vec<LeafName> {
        let is_gone = |entry: &&Entry| {
            entry.kind == group.kind && !self.leaves.iter().any(|leaf| leaf.uuid == entry.uuid)
        };
        let gone = previous.iter().filter(is_gone);
        gone.map(|entry| LeafName {
            uuid: entry.uuid.clone(),
            detail: format!("{}, index {}", entry.profile, entry.index),
        })
        .collect()
    }
}

/// Number of leaves per device minor of their parents, by minor.
fn per_parent(leaves: &[&Leaf]) -> Vec<(u32, u64)> {
    let mut counts: std::collections::BTreeMap<u32, u64> = Default::default();
    for leaf in leaves {
        *counts.entry(leaf.parent.minor).or_default() += 1;
    }
    counts.into_iter().collect()
}

#[cfg(test)]
mod tests;
