//! From the controller's view to the report.

use std::collections::{BTreeMap, BTreeSet};

use flexmig_core::hostlist;
use flexmig_core::layout::Layout;
use flexmig_core::note::Note;
use flexmig_core::policy::Order;
use flexmig_core::profile::Profile;
use flexmig_core::request::{self, Request};
use flexmig_core::select::fragmentation::Fragmentation;
use flexmig_core::view::{ClusterView, JobState, JobView, NodeView, Used, read_used};

use super::parents::Parents;
use super::report::{
    Held, Holder, Leaf, LeafState, Node, Report, Totals, TypeCount, Waiting, percent,
};

/// What is shown of a view.
pub struct Choice<'a> {
    /// Only nodes of this partition.
    pub partition: Option<&'a str>,
    /// Only these nodes; empty: all.
    pub nodes: &'a BTreeSet<String>,
    /// The order of indices that flexmig.toml asks for.
    pub order: Order,
    /// Names of users.
    pub user: &'a dyn Fn(u32) -> String,
}

/// The report. Nodes without leaves are left out.
pub fn report(view: &ClusterView, choice: &Choice) -> Report {
    let partitions = partitions(view);
    let shown = |node: &&NodeView| {
        let of = partitions.get(node.name.as_str());
        !node.leaves.is_empty()
            && (choice.nodes.is_empty() || choice.nodes.contains(&node.name))
            && choice.partition.is_none_or(|name| of.is_some_and(|of| of.contains(&name)))
    };
    let mut report = Report {
        version: 1,
        taken: view.taken_at,
        slurm: Some(view.release.clone()).filter(|release| !release.is_empty()),
        ..Report::default()
    };
    let mut classes = Classes::new(view, choice.order);
    let mut unknown: Vec<&str> = Vec::new();
    for node in view.nodes.iter().filter(shown) {
        let known = classes.parents(node);
        if known.is_none() {
            unknown.push(&node.name);
        }
        let of = partitions.get(node.name.as_str()).into_iter().flatten();
        report.nodes.push(self::node(node, known, of.map(|name| (*name).to_owned()).collect()));
    }
    jobs(view, choice, &mut report);
    for node in &mut report.nodes {
        node.fragmentation_percent = percent(&node.fragmentation());
    }
    report.totals = totals(&report.nodes);
    report.notes = notes(view, &report, &unknown);
    report
}

/// The partitions of each node.
fn partitions(view: &ClusterView) -> BTreeMap<String, Vec<&str>> {
    let mut of: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for partition in &view.partitions {
        for node in hostlist::expand(&partition.nodes).unwrap_or_default() {
            of.entry(node).or_default().push(&partition.name);
        }
    }
    of
}

/// Types of slurm.conf with their counts.
type Types = Vec<(Option<String>, u64)>;

/// Parents by layout file and types: nodes of one class are computed once.
struct Classes<'v> {
    layouts: BTreeMap<String, (usize, &'v Layout)>,
    /// By position of the layout and types.
    parents: BTreeMap<(usize, Types), Parents>,
    order: Order,
}

impl<'v> Classes<'v> {
    fn new(view: &'v ClusterView, order: Order) -> Classes<'v> {
        let mut layouts = BTreeMap::new();
        for (place, layout) in view.layouts.iter().enumerate() {
            for name in hostlist::expand(&layout.nodes).unwrap_or_default() {
                layouts.entry(name).or_insert((place, layout));
            }
        }
        Classes { layouts, parents: BTreeMap::new(), order }
    }

    fn parents(&mut self, node: &NodeView) -> Option<&Parents> {
        let (place, layout) = *self.layouts.get(&node.name)?;
        let types: Types =
            node.leaves.iter().map(|count| (count.kind.clone(), count.configured)).collect();
        let order = self.order;
        let new = |key: &(usize, Types)| Parents::new(layout, &key.1, order);
        Some(self.parents.entry((place, types)).or_insert_with_key(new))
    }
}

fn node(node: &NodeView, parents: Option<&Parents>, partitions: Vec<String>) -> Node {
    let mut leaves = Vec::new();
    for count in &node.leaves {
        let first = leaves.len() as u64;
        let used = indices(&count.used_indices);
        for index in first..first.saturating_add(count.configured) {
            let Ok(index) = u32::try_from(index) else { break };
            // Without indices the first are drawn as used: only their number is known.
            let is_used = if count.used_indices.is_empty() {
                u64::from(index) < first + count.used
            } else {
                used.contains(&index)
            };
            let known =
                parents.map(|parents| parents.leaves.get(index as usize).copied().flatten());
            let profile = match known.flatten() {
                Some((profile, _)) => Some(profile),
                None => count.kind.as_deref().and_then(Profile::of_type),
            };
            let state = match (is_used, known) {
                (true, _) => LeafState::Used,
                (false, Some(None)) => LeafState::Unusable,
                (false, _) if !node.usable => LeafState::Unusable,
                (false, _) => LeafState::Free,
            };
            leaves.push(Leaf {
                index,
                kind: count.kind.clone(),
                profile: profile.map(|profile| profile.to_string()),
                slices: profile.map(|profile| profile.compute),
                gpu: known.flatten().map(|(_, minor)| minor),
                state,
                job: None,
            });
        }
    }
    Node {
        name: node.name.clone(),
        state: node.state.to_ascii_lowercase(),
        usable: node.usable,
        cpus: node.cpus.into(),
        cpus_free: node.cpus.saturating_sub(node.cpus_used).into(),
        memory_mib: node.memory,
        memory_free_mib: node.memory.saturating_sub(node.memory_used),
        partitions,
        fragmentation_percent: None,
        types: node
            .leaves
            .iter()
            .map(|count| TypeCount {
                kind: count.kind.clone(),
                configured: count.configured,
                used: count.used,
                free: count.free(),
            })
            .collect(),
        gpus: parents.map(|parents| parents.gpus.clone()).unwrap_or_default(),
        leaves,
    }
}

/// The numbers of `0-2,5`; nonsense is left out.
fn indices(list: &str) -> BTreeSet<u32> {
    let names = hostlist::expand(&format!("[{list}]")).unwrap_or_default();
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Who holds which leaves, and who waits.
fn jobs(view: &ClusterView, choice: &Choice, report: &mut Report) {
    let places: BTreeMap<String, usize> =
        (0..).zip(&report.nodes).map(|(place, node)| (node.name.clone(), place)).collect();
    let mut jobs: Vec<&JobView> = view.jobs.iter().flatten().collect();
    jobs.sort_by_key(|job| (job.array_job_id.unwrap_or(job.job_id), job.array_task_id, job.job_id));
    for job in jobs {
        match job.state {
            JobState::Running => {
                let leaves = held(job, report, &places);
                if !leaves.is_empty() {
                    report.jobs.push(Holder {
                        id: id(job),
                        user: (choice.user)(job.user_id),
                        partition: job.partition.clone(),
                        request: asked_for(job),
                        leaves,
                        ends: job.end_time.filter(|_| job.time_limit.is_some()),
                    });
                }
            }
            JobState::Pending if asks_for_leaves(job) && may_run_here(job, choice) => {
                report.pending.push(Waiting {
                    id: id(job),
                    user: (choice.user)(job.user_id),
                    partition: job.partition.clone(),
                    request: asked_for(job),
                    composition: composition(job),
                    reason: job.reason.clone(),
                    start: job.start_time,
                });
            }
            JobState::Pending | JobState::Done => {}
        }
    }
}

fn may_run_here(job: &JobView, choice: &Choice) -> bool {
    choice.partition.is_none_or(|name| job.partition.split(',').any(|own| own == name))
}

fn asks_for_leaves(job: &JobView) -> bool {
    request::mentions(job.tres_per_node.as_bytes())
        || request::mentions(job.tres_per_task.as_bytes())
}

/// `42`, `40_7`, `40_[7-9]`
fn id(job: &JobView) -> String {
    match (job.array_job_id.filter(|&id| id > 0), job.array_task_id) {
        (Some(array), Some(task)) => format!("{array}_{task}"),
        (Some(array), None) if !job.array_tasks.is_empty() => {
            format!("{array}_[{}]", job.array_tasks)
        }
        _ => job.job_id.to_string(),
    }
}

/// What the user typed, as our note has it; without a note what Slurm has.
fn asked_for(job: &JobView) -> String {
    Note::find(&job.admin_comment).map_or_else(|| composition(job), |note| note.req)
}

/// `1g.10gb:3`
fn composition(job: &JobView) -> String {
    let (text, per_task) = match (&job.tres_per_node, &job.tres_per_task) {
        (node, task) if node.is_empty() && task.is_empty() => return "-".to_owned(),
        (node, task) if node.is_empty() => (task, "/task"),
        (node, _) => (node, ""),
    };
    let Ok(request) = Request::parse(text) else { return text.clone() };
    let terms: Vec<String> = request
        .terms()
        .map(|term| term.to_string().trim_start_matches("flexmig:").to_owned())
        .collect();
    terms.join(",") + per_task
}

/// Marks the leaves of a running job, and tells them.
fn held(job: &JobView, report: &mut Report, places: &BTreeMap<String, usize>) -> Vec<Held> {
    let names = hostlist::expand(&job.nodes).unwrap_or_default();
    let mut held = Vec::new();
    for (name, detail) in names.iter().zip(&job.gres_detail) {
        let Some(node) = places.get(name).and_then(|&place| report.nodes.get_mut(place)) else {
            continue;
        };
        let used: Vec<Used> =
            read_used(detail).0.into_iter().filter(|used| used.count > 0).collect();
        if used.is_empty() {
            continue;
        }
        let indices: Vec<u32> = used.iter().flat_map(|used| indices(&used.indices)).collect();
        for &index in &indices {
            if let Some(leaf) = node.leaves.get_mut(index as usize) {
                leaf.state = LeafState::Used;
                leaf.job = Some(id(job));
            }
        }
        let what = |used: &Used| {
            format!(
                "{}{}",
                used.kind.as_ref().map(|k| format!("{k}:")).unwrap_or_default(),
                used.count
            )
        };
        let what: Vec<String> = used.iter().map(what).collect();
        held.push(Held { node: name.clone(), indices, what: what.join(",") });
    }
    held
}

fn totals(nodes: &[Node]) -> Totals {
    let sum = |of: &dyn Fn(&Node) -> u64| nodes.iter().map(of).sum::<u64>();
    let mut measure = Fragmentation::default();
    for of in nodes.iter().map(Node::fragmentation) {
        measure.free += of.free;
        measure.largest += of.largest;
    }
    Totals {
        nodes: nodes.len() as u64,
        leaves: sum(&Node::configured),
        used: sum(&Node::used),
        free: sum(&Node::free),
        unusable: sum(&Node::unusable),
        fragmentation_percent: percent(&measure),
    }
}

fn notes(view: &ClusterView, report: &Report, unknown: &[&str]) -> Vec<String> {
    let mut notes = Vec::new();
    if !unknown.is_empty() {
        notes.push(format!(
            "{}: no layout file, so counts only are known, not GPUs: deploy what `flexmig config \
             --layout` prints in flexmig-layouts/",
            hostlist::compact(unknown)
        ));
    }
    let differ = report.nodes.iter().filter(|node| {
        let covered = !node.gpus.is_empty();
        covered && node.leaves.iter().any(|leaf| leaf.gpu.is_none())
    });
    let differ: Vec<&str> = differ.map(|node| node.name.as_str()).collect();
    if !differ.is_empty() {
        notes.push(format!(
            "{}: slurm.conf has more leaves than the layout file: run `flexmig check` there",
            hostlist::compact(&differ)
        ));
    }
    if view.jobs.is_none() {
        notes.push("the view has no jobs: who holds the leaves is not known".to_owned());
    }
    notes.extend(view.findings.iter().cloned());
    notes
}
