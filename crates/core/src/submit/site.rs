//! What slurm.conf and flexmig.toml say, worked into lookups: built when the files are read, so
//! that a submit only looks things up.

use std::collections::{BTreeMap, HashMap};

use super::features;
use super::jobs::Jobs;
use super::now::Now;
use super::of_view::Open;
use crate::hostlist;
use crate::models::Model;
use crate::policy::{Policy, Select, Span, Submit, Translate};
pub(super) use crate::select::{Kind, Part};
use crate::slurm_conf::{NodeClass, SlurmConf};

/// Everything that [`super::decide`] needs to know about the cluster.
#[derive(Clone, Debug, Default)]
pub struct Site {
    pub(super) submit: Submit,
    pub(super) span: Span,
    pub(super) select: Select,
    pub(super) translate: Translate,
    refused: Option<String>,
    /// Nodes may exist that slurm.conf does not name: nothing is impossible.
    pub(super) open: bool,
    default_partition: Option<String>,
    /// In slurm.conf's order.
    names: Vec<String>,
    offers: BTreeMap<String, Offer>,
    all: Offer,
    /// The classes of nodes with leaves, as positions in `all`.
    class_of: HashMap<String, usize>,
    /// What a view tells about now.
    pub(super) now: Option<Now>,
    /// Waiting jobs, if the view has them.
    pub(super) jobs: Jobs,
}

/// The leaves of a set of nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Offer {
    /// In [`Kind::order`].
    pub kinds: Vec<Kind>,
    pub classes: Vec<Class>,
    /// Types whose nodes one feature tells from all others with leaves, and that feature.
    pub features: BTreeMap<String, String>,
    /// What is free, if the site comes from a view.
    pub open: Option<Open>,
}

/// Nodes that are equal for us.
#[derive(Clone, Debug)]
pub(super) struct Class {
    /// Leaves of each of the offer's kinds.
    pub counts: Vec<u64>,
    pub nodes: u64,
    pub cpus: u64,
    /// Features that any of them has.
    pub features: Vec<String>,
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
        let mut site = Site::of_policy(policy, conf.is_none_or(SlurmConf::has_dynamic_nodes));
        let Some(conf) = conf else { return site };
        let offer = |partition| Offer::new(conf.flexmig_capacity(partition), &policy.submit);
        for partition in conf.partitions() {
            let name = &partition.name;
            if !site.offers.contains_key(name) {
                site.add_partition(name, partition.default, offer(Some(name)));
            }
        }
        site.default_partition = conf.default_partition().map(str::to_owned);
        site.all = offer(None);
        for line in conf.nodes() {
            let types = line.flexmig_types();
            let leaves = types.iter().map(|(kind, count)| (kind.as_deref(), *count));
            site.add_names(line.names.iter().map(String::as_str), leaves, line.cpus);
        }
        site
    }

    /// Names nodes of one class of all nodes.
    pub(super) fn add_names<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        leaves: impl Iterator<Item = (Option<&'n str>, u64)>,
        cpus: u32,
    ) {
        let mut counts = vec![0; self.all.kinds.len()];
        for (kind, count) in leaves {
            if let Some(place) = self.all.kinds.iter().position(|k| k.name.as_deref() == kind) {
                counts[place] += count;
            }
        }
        let same = |class: &Class| class.counts == counts && class.cpus == u64::from(cpus);
        if let Some(class) = self.all.classes.iter().position(same) {
            self.class_of.extend(names.map(|name| (name.to_owned(), class)));
        }
    }

    /// The classes of the nodes of a host list that are known to have leaves, each once.
    pub(super) fn classes_of(&self, list: &str) -> Vec<&Class> {
        let names = hostlist::expand(list).unwrap_or_default();
        let mut places: Vec<usize> =
            names.iter().filter_map(|name| self.class_of.get(name).copied()).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().filter_map(|place| self.all.classes.get(place)).collect()
    }

    /// Whether a node of a class has these leaves; the class is one of [`Site::classes_of`].
    pub(super) fn class_holds(&self, class: &Class, wanted: &[Part]) -> bool {
        self.all.holds(class, wanted)
    }

    /// A site without nodes.
    pub(super) fn of_policy(policy: &Policy, open: bool) -> Site {
        Site {
            submit: policy.submit.clone(),
            span: policy.span.clone(),
            select: policy.select.clone(),
            translate: policy.translate.clone(),
            open,
            ..Site::default()
        }
    }

    /// Adds a partition.
    pub(super) fn add_partition(&mut self, name: &str, default: bool, offer: Offer) {
        if default {
            self.default_partition = Some(name.to_owned());
        }
        if self.offers.insert(name.to_owned(), offer).is_none() {
            self.names.push(name.to_owned());
        }
    }

    /// Sets what all nodes have.
    pub(super) fn set_all(&mut self, all: Offer) {
        self.all = all;
    }

    /// What the partitions have, and all nodes.
    pub(super) fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.offers.values().chain(std::iter::once(&self.all))
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

    /// The admin_comment of a waiting job with leaves, where the view tells it.
    pub fn admin_comment(&self, job: &str) -> Option<&str> {
        self.jobs.find(job).map(|known| known.admin_comment.as_str())
    }

    /// Whether requests for GPUs of a MIG type are taken for requests for leaves.
    pub fn translates_gpus(&self) -> bool {
        self.translate.gpu
    }

    pub(super) fn has_several_types(&self) -> bool {
        self.open || self.all.kinds.len() > 1
    }
}

impl Offer {
    pub fn new(classes: Vec<NodeClass>, submit: &Submit) -> Offer {
        let mut kinds: Vec<Kind> = Vec::new();
        for (name, _) in classes.iter().flat_map(|class| &class.types) {
            if !kinds.iter().any(|kind| kind.name == *name) {
                kinds.push(Kind::new(name.clone(), &submit.profiles));
            }
        }
        kinds.sort_by(|a, b| a.order().cmp(&b.order()));
        let place = |name: &Option<String>| kinds.iter().position(|kind| kind.name == *name);
        let mut models: Vec<Vec<Option<&'static Model>>> = vec![Vec::new(); kinds.len()];
        let mut known = Vec::with_capacity(classes.len());
        for class in &classes {
            let names = class.types.iter().map(|(name, _)| name.as_deref().unwrap_or_default());
            let model = Model::of_types(names);
            let mut counts = vec![0u64; kinds.len()];
            for (name, count) in &class.types {
                if let Some(place) = place(name) {
                    counts[place] = counts[place].saturating_add(*count);
                    models[place].push(model);
                }
            }
            known.push(Class {
                counts,
                nodes: class.nodes,
                cpus: class.cpus.into(),
                features: class.features.clone(),
            });
        }
        for (kind, mut models) in kinds.iter_mut().zip(models) {
            models.dedup();
            kind.model = if let [model] = models[..] { model } else { None };
        }
        Offer { kinds, classes: known, features: features::telling(&classes), open: None }
    }

    /// Position of a type. One that was taken from here is found without a look at its letters:
    /// this is asked several times for every candidate.
    pub fn place(&self, kind: Option<&str>) -> Option<usize> {
        let own = |known: &Kind| match (known.name.as_deref(), kind) {
            (Some(known), Some(kind)) => std::ptr::eq(known, kind),
            (known, kind) => known == kind,
        };
        let equal = |known: &Kind| known.name.as_deref() == kind;
        self.kinds.iter().position(own).or_else(|| self.kinds.iter().position(equal))
    }

    /// How many leaves of a type a node of a class has; without a type, of all types together.
    pub fn held(&self, class: &Class, kind: Option<&str>) -> u64 {
        match kind {
            Some(_) => self.place(kind).map_or(0, |place| class.counts[place]),
            None => class.counts.iter().copied().fold(0, u64::saturating_add),
        }
    }

    /// Whether a node of a class has these leaves together.
    pub fn holds(&self, class: &Class, wanted: &[Part]) -> bool {
        wanted.iter().all(|part| self.held(class, part.kind) >= part.count)
    }

    /// Number of nodes with these leaves together and so many CPUs.
    pub fn nodes_with(&self, wanted: &[Part], cpus: u64) -> u64 {
        let nodes = |holds: &dyn Fn(&Class) -> bool| {
            let fit = self.classes.iter().filter(|class| class.cpus >= cpus && holds(class));
            fit.map(|class| class.nodes).sum()
        };
        match *wanted {
            [Part { kind: kind @ Some(_), count }] => {
                let Some(place) = self.place(kind) else { return 0 };
                nodes(&|class| class.counts[place] >= count)
            }
            _ => nodes(&|class| self.holds(class, wanted)),
        }
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

    /// The types of all the partitions, each once, from small to large.
    pub fn kinds(&self) -> Vec<&'s Kind> {
        let mut kinds: Vec<&Kind> = self.first.kinds.iter().collect();
        if self.others.is_empty() {
            return kinds;
        }
        for kind in self.others.iter().flat_map(|offer| &offer.kinds) {
            if !kinds.iter().any(|known| known.name == kind.name) {
                kinds.push(kind);
            }
        }
        kinds.sort_by(|a, b| a.order().cmp(&b.order()));
        kinds
    }

    /// A feature that tells the nodes of a type from the others with leaves.
    pub fn feature(&self, kind: &str) -> Option<&'s str> {
        let offer = if self.others.is_empty() { self.first } else { self.all };
        offer.features.get(kind).map(String::as_str)
    }

    /// The names of the types on offer.
    pub fn offered(&self) -> Vec<&'s str> {
        let kinds = self.kinds().into_iter();
        kinds.filter(|kind| kind.offered).filter_map(|kind| kind.name.as_deref()).collect()
    }

    /// The most nodes that any one of the partitions has with these leaves and CPUs.
    pub fn nodes_with(&self, wanted: &[Part], cpus: u64) -> u64 {
        self.offers().map(|offer| offer.nodes_with(wanted, cpus)).max().unwrap_or(0)
    }

    /// Whether any node with this feature has these leaves and CPUs.
    pub fn has_with_feature(&self, wanted: &[Part], cpus: u64, feature: &str) -> bool {
        self.offers().any(|offer| {
            offer.classes.iter().any(|class| {
                class.cpus >= cpus
                    && class.features.iter().any(|known| known == feature)
                    && offer.holds(class, wanted)
            })
        })
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
