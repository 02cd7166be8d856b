//! What is free on each node, and for how long: Slurm's rule for starting a job at once.
//!
//! Backfill reserves whole nodes for the jobs it has planned, so a node is open only until the
//! first planned start on it, however many leaves it has free.

use std::collections::HashMap;

use super::{ClusterView, JobState, JobView, NodeView};
use crate::hostlist;

/// A node and how long it is open.
#[derive(Clone, Copy, Debug)]
pub struct Room<'v> {
    /// The node.
    pub node: &'v NodeView,
    /// Minutes until another job is planned on it; `None`: no end known; 0: nothing starts on it.
    pub minutes: Option<u64>,
}

impl Room<'_> {
    /// CPUs that no job holds.
    pub fn cpus(&self) -> u64 {
        u64::from(self.node.cpus.saturating_sub(self.node.cpus_used))
    }

    /// Memory that no job holds, in MiB.
    pub fn memory(&self) -> u64 {
        self.node.memory.saturating_sub(self.node.memory_used)
    }

    /// Whether a job of so many minutes (`None`: without limit) can start on it.
    pub fn open_for(&self, minutes: Option<u64>) -> bool {
        match (self.minutes, minutes) {
            (Some(0), _) => false,
            (None, _) => true,
            (Some(_), None) => false,
            (Some(open), Some(wanted)) => wanted <= open,
        }
    }
}

/// The nodes of a view in its order, each open until the first planned start of a waiting job that
/// `counts`: for a new job all of them, for one that waits those that go before it.
///
/// A node that Slurm marks as planned is closed if no job of the view is the reason, as the view
/// then lacks it.
pub fn windows<'v>(view: &'v ClusterView, counts: impl Fn(&JobView) -> bool) -> Vec<Room<'v>> {
    // Node name to the first start that counts, if any does.
    let mut planned: HashMap<String, Option<u64>> = HashMap::new();
    for job in view.jobs.iter().flatten() {
        if job.state != JobState::Pending || job.sched_nodes.is_empty() {
            continue;
        }
        let start = counts(job).then(|| {
            let start = job.start_time.unwrap_or(view.taken_at);
            start.saturating_sub(view.taken_at) / 60
        });
        for name in hostlist::expand(&job.sched_nodes).unwrap_or_default() {
            let known = planned.entry(name).or_insert(None);
            *known = known.iter().chain(&start).min().copied();
        }
    }
    let room = |node: &'v NodeView| {
        let minutes = match planned.get(&node.name) {
            _ if !node.usable || node.reserved => Some(0),
            Some(first) => *first,
            None if node.planned => Some(0),
            None => None,
        };
        Room { node, minutes }
    };
    view.nodes.iter().map(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_open_until_the_first_planned_start() {
        let node = |name: &str| NodeView { name: name.into(), usable: true, ..NodeView::default() };
        let job = |priority, nodes: &str, start| JobView {
            priority,
            sched_nodes: nodes.into(),
            start_time: Some(start),
            ..JobView::default()
        };
        let mut view = ClusterView {
            taken_at: 1000,
            nodes: ["n1", "n2", "n3", "n4", "n5"].map(node).into(),
            jobs: Some(vec![job(9, "n[1-2]", 1000 + 600), job(5, "n[2-3]", 1000 + 119)]),
            ..ClusterView::default()
        };
        view.nodes[2].planned = true;
        view.nodes[3].planned = true;
        view.nodes[4].usable = false;
        let minutes = |counts: &dyn Fn(&JobView) -> bool| -> Vec<Option<u64>> {
            windows(&view, counts).iter().map(|room| room.minutes).collect()
        };
        assert_eq!(minutes(&|_| true), [Some(10), Some(1), Some(1), Some(0), Some(0)]);
        assert_eq!(minutes(&|j| j.priority > 5), [Some(10), Some(10), None, Some(0), Some(0)]);
        let rooms = windows(&view, |_| true);
        assert!(rooms[0].open_for(Some(10)) && !rooms[0].open_for(Some(11)));
        assert!(!rooms[0].open_for(None) && !rooms[4].open_for(Some(0)));
    }
}
