//! What slurm.conf and flexmig.toml say, worked into lookups: built when the files are read, so
//! that a submit only looks things up.

use std::collections::BTreeMap;

use super::features;
use crate::policy::{Policy, Span, Submit};
use crate::profile::{Profile, Suffix};
use crate::request::{Term, Want};
use crate::slurm_conf::{NodeClass, SlurmConf};

/// Everything that [`super::decide`] needs to know about the cluster.
#[derive(Clone, Debug, Default)]
pub struct Site {
    pub(super) submit: Submit,
    pub(super) span: Span,
    refused: Option<String>,
    /// Nodes may exist that slurm.conf does not name: nothing is impossible.
    pub(super) open: bool,
    default_partition: Option<String>,
    /// In slurm.conf's order.
    names: Vec<String>,
    offers: BTreeMap<String, Offer>,
    all: Offer,
}

/// The leaves of a set of nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Offer {
    pub kinds: Vec<Kind>,
    pub classes: Vec<Class>,
    /// Types whose nodes one feature tells from all others with leaves, and that feature.
    pub features: BTreeMap<String, String>,
}

/// One type of slurm.conf.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// As slurm.conf spells it; `None` where leaves have no type.
    pub name: Option<String>,
    /// The profile that the name tells.
    pub profile: Option<Profile>,
    /// The gigabytes that the name tells.
    pub memory_gb: Option<u16>,
    /// Policy offers it.
    pub offered: bool,
}

/// Nodes that are equal for us.
#[derive(Clone, Debug)]
pub(super) struct Class {
    /// Leaves of each of the offer's kinds.
    pub counts: Vec<u64>,
    pub nodes: u64,
    pub cpus: u64,
}

/// The partitions that a job may run in. It runs in one of them only.
pub(super) struct Scope<'s> {
    first: &'s Offer,
    others: Vec<&'s Offer>,
    /// All nodes.
    all: &'s Offer,
    /// Their names in a comma list; `None` means the whole cluster.
    list: Option<&'s str>,
}

impl Site {
    /// Works the files into a site. Without slurm.conf nothing is known about nodes, and only
    /// policy is checked.
    pub fn new(policy: &Policy, conf: Option<&SlurmConf>) -> Site {
        let mut site = Site {
            submit: policy.submit.clone(),
            span: policy.span.clone(),
            open: conf.is_none_or(SlurmConf::has_dynamic_nodes),
            ..Site::default()
        };
        let Some(conf) = conf else { return site };
        let offer = |partition| Offer::new(conf.flexmig_capacity(partition), &policy.submit);
        site.default_partition = conf.default_partition().map(str::to_owned);
        site.all = offer(None);
        for partition in conf.partitions() {
            let name = &partition.name;
            if site.offers.insert(name.clone(), offer(Some(name))).is_none() {
                site.names.push(name.clone());
            }
        }
        site
    }

    /// The same site, rejecting every request for leaves; `why` says where the policy is broken.
    pub fn refusing(mut self, why: String) -> Site {
        self.refused = Some(why);
        self
    }

    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The partitions of a job, which are the default one if it names none. One that slurm.conf
    /// does not know (made with `scontrol create`) can have any node.
    pub(super) fn scope<'s>(&'s self, partition: Option<&'s str>) -> Scope<'s> {
        let Some(list) = partition.or(self.default_partition.as_deref()) else {
            return self.everywhere();
        };
        let mut offers = names(list).map(|name| self.offers.get(name).unwrap_or(&self.all));
        let first = offers.next().unwrap_or(&self.all);
        // Each once: a user may write a list of any length, and what follows compares all with all.
        let mut others: Vec<&Offer> = Vec::new();
        for offer in offers {
            let same = |known: &Offer| std::ptr::eq(known, offer);
            if !same(first) && !others.iter().any(|known| same(known)) {
                others.push(offer);
            }
        }
        Scope { first, others, all: &self.all, list: Some(list) }
    }

    /// All nodes.
    pub(super) fn everywhere(&self) -> Scope<'_> {
        Scope { first: &self.all, others: Vec::new(), all: &self.all, list: None }
    }

    /// Every partition that has leaves, on its own.
    pub(super) fn each_partition(&self) -> impl Iterator<Item = Scope<'_>> {
        self.partitions_with_leaves().map(|name| self.scope(Some(name)))
    }

    pub(super) fn partitions_with_leaves(&self) -> impl Iterator<Item = &str> {
        let has_leaves = |name: &&String| !self.offers[*name].kinds.is_empty();
        self.names.iter().filter(has_leaves).map(String::as_str)
    }

    pub(super) fn has_several_types(&self) -> bool {
        self.open || self.all.kinds.len() > 1
    }
}

impl Offer {
    fn new(classes: Vec<NodeClass>, submit: &Submit) -> Offer {
        let mut offer = Offer { features: features::telling(&classes), ..Offer::default() };
        for class in classes {
            let mut counts = vec![0; offer.kinds.len()];
            for (name, count) in class.types {
                let known = offer.kinds.iter().position(|kind| kind.name == name);
                let place = known.unwrap_or_else(|| {
                    offer.kinds.push(Kind::new(name, submit));
                    counts.push(0);
                    offer.kinds.len() - 1
                });
                counts[place] += count;
            }
            offer.classes.push(Class { counts, nodes: class.nodes, cpus: class.cpus.into() });
        }
        offer
    }

    /// How many leaves of a type a node of a class has; without a type, of all types together.
    pub fn held(&self, class: &Class, kind: Option<&str>) -> u64 {
        let counts = self.kinds.iter().zip(&class.counts);
        counts
            .filter(|(known, _)| kind.is_none() || known.name.as_deref() == kind)
            .map(|(_, &count)| count)
            .fold(0, u64::saturating_add)
    }

    /// Number of nodes with these leaves together and so many CPUs.
    pub fn nodes_with(&self, wanted: &[(Option<&str>, u64)], cpus: u64) -> u64 {
        let holds = |class: &&Class| {
            class.cpus >= cpus
                && wanted.iter().all(|&(kind, count)| self.held(class, kind) >= count)
        };
        self.classes.iter().filter(holds).map(|class| class.nodes).sum()
    }
}

impl Kind {
    fn new(name: Option<String>, submit: &Submit) -> Kind {
        let text = name.as_deref().unwrap_or_default();
        let profile = Profile::of_type(text);
        // Sites also name types by size: `20gb`, `a100_20gb`.
        let label = text.rsplit_once('_').map_or(text, |(_, label)| label);
        let memory_gb = match (Term { kind: Some(label), count: 1 }).want() {
            Want::Profile(profile) => Some(profile.memory_gb),
            Want::Memory(gigabytes) => Some(gigabytes),
            Want::Any | Want::Slices(_) | Want::Mixed | Want::Name(_) => None,
        };
        let offered = submit.profiles.is_empty()
            || profile.is_some_and(|profile| submit.profiles.contains(&profile));
        Kind { name, profile, memory_gb, offered }
    }

    /// Small before large; of one shape the plain one first, as a GPU has few with media engines.
    pub fn size(&self) -> Option<(Profile, bool)> {
        self.profile.map(|profile| (profile, profile.suffix != Suffix::None))
    }
}

/// The names in a comma list.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|name| !name.is_empty())
}

impl<'s> Scope<'s> {
    /// What each of the partitions has.
    pub fn offers(&self) -> impl Iterator<Item = &'s Offer> + '_ {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    /// The names of the partitions; none means the whole cluster.
    pub fn names(&self) -> impl Iterator<Item = &'s str> {
        names(self.list.unwrap_or_default())
    }

    /// The types of all the partitions, each once.
    pub fn kinds(&self) -> impl Iterator<Item = &'s Kind> + '_ {
        self.offers().enumerate().flat_map(move |(place, offer)| {
            offer.kinds.iter().filter(move |kind| {
                let known = |offer: &Offer| offer.kinds.iter().any(|k| k.name == kind.name);
                !self.offers().take(place).any(known)
            })
        })
    }

    /// A feature that tells the nodes of a type from the others with leaves.
    pub fn feature(&self, kind: &str) -> Option<&'s str> {
        let offer = if self.others.is_empty() { self.first } else { self.all };
        offer.features.get(kind).map(String::as_str)
    }

    /// The names of the types on offer.
    pub fn offered(&self) -> Vec<&'s str> {
        self.kinds().filter(|kind| kind.offered).filter_map(|kind| kind.name.as_deref()).collect()
    }

    /// The most nodes that any one of the partitions has with these leaves and CPUs.
    pub fn nodes_with(&self, wanted: &[(Option<&str>, u64)], cpus: u64) -> u64 {
        self.offers().map(|offer| offer.nodes_with(wanted, cpus)).max().unwrap_or(0)
    }

    /// For messages: `partition gpu`, `partitions a,b`, `this cluster`.
    pub fn place(&self) -> String {
        let names: Vec<&str> = self.names().collect();
        match names[..] {
            [] => "this cluster".to_owned(),
            [name] => format!("partition {name}"),
            _ => format!("partitions {}", names.join(",")),
        }
    }
}
