//! A [`Site`] from a view: what slurm.conf would tell, and what is free now.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::jobs::Jobs;
use super::now::Now;
use super::site::{Offer, Site};
use crate::hostlist;
use crate::models::Model;
use crate::policy::Policy;
use crate::profile::{Profile, Suffix};
use crate::select::index::{Index, Row};
use crate::slurm_conf::NodeClass;
use crate::view::{ClusterView, Room, windows};

/// A partition as it is now.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// Jobs can start in it.
    pub up: bool,
    /// Time limit of jobs that name none, in minutes; `u64::MAX` without.
    pub minutes: u64,
    /// Free leaves, by the offer's kinds.
    pub index: Arc<Index>,
    /// Leaves under each socket of nodes with layout files, by the offer's kinds; different ones.
    pub sockets: Arc<Vec<Vec<u64>>>,
}

impl Site {
    /// Works a view into a site. What it answers depends on neither the order of nodes in the view
    /// nor on anything but the view, so that the plugin, `flexmig explain` and the simulator agree.
    pub fn of_view(policy: &Policy, view: &ClusterView) -> Site {
        let mut site = Site::of_policy(policy, view.open);
        let rooms = windows(view, |_| true);
        let by_name: HashMap<&str, usize> =
            view.nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
        let types = Types::new(view);
        let layouts = Sockets::new(view);
        let build = |members: &[usize]| {
            let mut offer = Offer::new(types.classes(view, members), &policy.submit);
            layouts.set_models(&mut offer, members);
            let rows = members.iter().map(|&at| row(&rooms[at], &offer)).collect();
            let index = Arc::new(Index::new(offer.kinds.len(), rows));
            let sockets = Arc::new(layouts.rows(&offer, members));
            offer.open = Some(Open { up: true, minutes: u64::MAX, index, sockets });
            offer
        };
        let everything: Vec<usize> = (0..view.nodes.len()).collect();
        let all = build(&everything);
        // Partitions often have the same nodes.
        let mut built: HashMap<&str, Offer> = HashMap::new();
        for partition in &view.partitions {
            let offer = built.entry(&partition.nodes).or_insert_with(|| {
                let names = hostlist::expand(&partition.nodes).unwrap_or_default();
                let mut members: Vec<usize> =
                    names.iter().filter_map(|name| by_name.get(name.as_str()).copied()).collect();
                members.sort_unstable();
                members.dedup();
                build(&members)
            });
            let mut offer = offer.clone();
            if let Some(open) = &mut offer.open {
                open.up = partition.up;
                open.minutes =
                    partition.default_minutes.or(partition.max_minutes).unwrap_or(u64::MAX);
            }
            site.add_partition(&partition.name, partition.default, offer);
        }
        let now = Now::of(view, &all);
        site.set_all(all);
        for node in view.nodes.iter().filter(|node| !node.leaves.is_empty()) {
            let leaves = node.leaves.iter().map(|leaf| (leaf.kind.as_deref(), leaf.configured));
            site.add_names(std::iter::once(node.name.as_str()), leaves, node.cpus);
        }
        site.now = Some(now);
        site.jobs = Jobs::of(view);
        site
    }

    /// Whether free leaves are known at this time, in seconds since 1970: there is a view, not
    /// older than policy allows.
    pub fn knows_free(&self, now: u64) -> bool {
        self.age(now).is_some_and(|age| age <= self.select.max_age.into())
    }

    /// Seconds since the view was taken; `None` without a view.
    pub fn age(&self, now: u64) -> Option<u64> {
        self.now.as_ref().map(|view| now.saturating_sub(view.taken_at))
    }

    /// Remembers that leaves were handed out, until the next view: what is free counts as less.
    pub fn claim(&self, kind: Option<&str>, leaves: u64) {
        if let Some(now) = &self.now {
            now.claim(kind, leaves);
        }
    }

    /// Remembers that a job waits for leaves, until the next view: their queue counts as longer.
    pub fn queue_up(&self, leaves: &[(Option<String>, u64)]) {
        if let Some(now) = &self.now {
            now.queue_up(leaves.iter().map(|(kind, count)| (kind.as_deref(), *count)));
        }
    }

    /// Bytes that the indexes of free leaves take, about.
    pub fn index_size(&self) -> usize {
        let mut seen: Vec<*const Index> = Vec::new();
        let indexes = self.offers().filter_map(|offer| offer.open.as_ref());
        let mut sum = 0;
        for open in indexes {
            let place = Arc::as_ptr(&open.index);
            if !seen.contains(&place) {
                seen.push(place);
                sum += open.index.size();
            }
        }
        sum
    }
}

/// Types as (type, count), and CPUs: what makes nodes equal for us.
type NodeKey<'t> = (&'t [(usize, u64)], u32);

/// The types of a view in the order of their size, then their name; what a node has of them.
struct Types<'v> {
    names: Vec<Option<&'v str>>,
    /// Of each node of the view: (type, count), sorted.
    of_node: Vec<Vec<(usize, u64)>>,
}

impl<'v> Types<'v> {
    fn new(view: &'v ClusterView) -> Types<'v> {
        let leaves = view.nodes.iter().flat_map(|node| &node.leaves);
        let names: HashSet<Option<&str>> = leaves.map(|leaf| leaf.kind.as_deref()).collect();
        let mut names: Vec<Option<&str>> = names.into_iter().collect();
        names.sort_by_cached_key(|name| {
            let profile = name.and_then(Profile::of_type);
            let plain = profile.is_none_or(|profile| profile.suffix == Suffix::None);
            (profile.is_none(), profile, !plain, *name)
        });
        let rank: HashMap<Option<&str>, usize> =
            names.iter().enumerate().map(|(rank, name)| (*name, rank)).collect();
        let of_node = view.nodes.iter().map(|node| {
            let there = node.leaves.iter().filter(|leaf| leaf.configured > 0);
            let ranked = there.map(|leaf| (rank[&leaf.kind.as_deref()], leaf.configured));
            let mut types: Vec<(usize, u64)> = ranked.collect();
            types.sort_unstable();
            types
        });
        Types { of_node: of_node.collect(), names }
    }

    /// Nodes that are equal for us, in an order that does not depend on the view's.
    fn classes(&self, view: &ClusterView, members: &[usize]) -> Vec<NodeClass> {
        let mut classes: BTreeMap<NodeKey, NodeClass> = BTreeMap::new();
        for &at in members {
            let (node, types) = (&view.nodes[at], &self.of_node[at][..]);
            if types.is_empty() {
                continue;
            }
            let class = classes.entry((types, node.cpus)).or_insert_with(|| NodeClass {
                types: types
                    .iter()
                    .map(|&(rank, count)| (self.names[rank].map(str::to_owned), count))
                    .collect(),
                nodes: 0,
                cpus: node.cpus,
                example: node.name.clone(),
                common_features: node.features.clone(),
                features: Vec::new(),
            });
            class.nodes += 1;
            class.add_features(&node.features);
            if node.name < class.example {
                class.example.clone_from(&node.name);
            }
        }
        let mut classes: Vec<NodeClass> = classes.into_values().collect();
        for class in &mut classes {
            class.common_features.sort();
            class.features.sort();
        }
        classes
    }
}

/// What a node has free, by the offer's kinds.
fn row(room: &Room, offer: &Offer) -> Row {
    let free = |name: Option<&str>| {
        let same = room.node.leaves.iter().filter(|leaf| leaf.kind.as_deref() == name);
        same.map(|leaf| leaf.free()).fold(0, u64::saturating_add)
    };
    Row {
        minutes: room.minutes.unwrap_or(u64::MAX),
        free: offer.kinds.iter().map(|kind| free(kind.name.as_deref())).collect(),
        cpus: room.cpus(),
        memory: room.memory(),
    }
}

/// What layout files tell about nodes: for each node its file, if any.
struct Sockets<'v> {
    view: &'v ClusterView,
    /// Node to layout, as positions.
    layout_of: HashMap<usize, usize>,
}

impl<'v> Sockets<'v> {
    fn new(view: &'v ClusterView) -> Sockets<'v> {
        let mut of_name: HashMap<String, usize> = HashMap::new();
        for (place, layout) in view.layouts.iter().enumerate() {
            for name in hostlist::expand(&layout.nodes).unwrap_or_default() {
                of_name.entry(name).or_insert(place);
            }
        }
        let nodes = view.nodes.iter().enumerate();
        let layout_of =
            nodes.filter_map(|(at, node)| Some((at, *of_name.get(&node.name)?))).collect();
        Sockets { view, layout_of }
    }

    /// The layouts of these nodes, each once.
    fn layouts(&self, members: &[usize]) -> Vec<usize> {
        let mut places: Vec<usize> =
            members.iter().filter_map(|at| self.layout_of.get(at).copied()).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The GPU models, where every node with leaves has a layout file.
    fn set_models(&self, offer: &mut Offer, members: &[usize]) {
        let has_leaves = |at: &&usize| !self.view.nodes[**at].leaves.is_empty();
        if !members.iter().filter(has_leaves).all(|at| self.layout_of.contains_key(at)) {
            return;
        }
        for kind in &mut offer.kinds {
            let mut models: Vec<Option<&'static Model>> = Vec::new();
            for place in self.layouts(members) {
                for gpu in &self.view.layouts[place].gpus {
                    if gpu.leaves.iter().any(|leaf| Some(leaf.profile) == kind.profile) {
                        models.push(Model::named(&gpu.model));
                    }
                }
            }
            models.dedup();
            if let [model] = models[..] {
                kind.model = model;
            }
        }
    }

    /// Leaves of the offer's kinds under each socket, different ones only.
    fn rows(&self, offer: &Offer, members: &[usize]) -> Vec<Vec<u64>> {
        let mut rows: Vec<Vec<u64>> = Vec::new();
        for place in self.layouts(members) {
            let mut sockets: BTreeMap<Option<u32>, Vec<u64>> = BTreeMap::new();
            for gpu in &self.view.layouts[place].gpus {
                let row = sockets.entry(gpu.numa).or_insert_with(|| vec![0; offer.kinds.len()]);
                for leaf in &gpu.leaves {
                    let same_name = |profile: &Profile| profile.same_name(&leaf.profile);
                    let named =
                        offer.kinds.iter().position(|k| k.profile.as_ref().is_some_and(same_name));
                    let shaped =
                        || offer.kinds.iter().position(|k| k.profile == Some(leaf.profile));
                    if let Some(kind) = named.or_else(shaped) {
                        row[kind] += 1;
                    }
                }
            }
            // Without a NUMA node nothing is known about sockets.
            sockets.remove(&None);
            rows.extend(sockets.into_values());
        }
        rows.sort_unstable();
        rows.dedup();
        rows
    }
}
