//! What a view tells beside the leaves that there are, and what has been handed out since.

use std::sync::atomic::{AtomicU64, Ordering};

use super::site::Offer;
use crate::request::Request;
use crate::select::FIRST;
use crate::view::{ClusterView, JobState, JobView};

/// What a view tells beside the leaves that there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    /// When the view was taken, in seconds since 1970.
    pub taken_at: u64,
    /// The types in the order of their claims and queues.
    kinds: Vec<KindNow>,
    /// Jobs that wait for leaves, those since the view among them.
    jobs: Count,
}

/// A type on the whole cluster.
#[derive(Clone, Debug, Default)]
struct KindNow {
    name: Option<String>,
    configured: u64,
    /// Leaves that waiting jobs ask for, those since the view among them.
    waiting: Count,
    /// Of the first jobs that wait, those that ask for such leaves.
    first: Count,
    /// Leaves handed out since the view was taken.
    claimed: Count,
}

/// A number that changes between two views.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds to it, and tells what it was.
    fn add(&self, more: u64) -> u64 {
        let sum = |number: u64| Some(number.saturating_add(more));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).unwrap_or_default()
    }
}

impl Clone for Count {
    fn clone(&self) -> Count {
        Count(AtomicU64::new(self.get()))
    }
}

impl Now {
    /// Of a view; `all`: the leaves of all its nodes.
    pub fn of(view: &ClusterView, all: &Offer) -> Now {
        let kinds = all.kinds.iter().enumerate().map(|(place, kind)| KindNow {
            name: kind.name.clone(),
            configured: all
                .classes
                .iter()
                .map(|class| class.counts.get(place).unwrap_or(&0).saturating_mul(class.nodes))
                .fold(0, u64::saturating_add),
            ..KindNow::default()
        });
        let now = Now { taken_at: view.taken_at, kinds: kinds.collect(), jobs: Count::default() };
        // A held job takes no leaves from anybody.
        let waits = |job: &&JobView| {
            job.state == JobState::Pending && job.waits_for_resources(view.taken_at)
        };
        let mut queue: Vec<&JobView> = view.jobs.iter().flatten().filter(waits).collect();
        queue.sort_by_key(|job| (std::cmp::Reverse(job.priority), job.job_id));
        for job in queue {
            let nodes = u64::from(job.min_nodes.unwrap_or(1).max(1));
            let tasks = u64::from(job.num_tasks.unwrap_or(1).max(1));
            let mut leaves: Vec<(Option<&str>, u64)> = Vec::new();
            for (text, times) in [(&job.tres_per_node, nodes), (&job.tres_per_task, tasks)] {
                let Ok(request) = Request::parse(text.as_str()) else { continue };
                leaves.extend(request.terms().map(|t| (t.kind, t.count.saturating_mul(times))));
            }
            now.queue_up(leaves.into_iter());
        }
        now
    }

    fn kind(&self, name: Option<&str>) -> Option<&KindNow> {
        self.kinds.iter().find(|kind| kind.name.as_deref() == name)
    }

    /// Leaves of a type handed out since the view was taken.
    pub fn claimed(&self, name: Option<&str>) -> u64 {
        self.kind(name).map_or(0, |kind| kind.claimed.get())
    }

    /// Leaves of a type that waiting jobs ask for, and all there are.
    pub fn queue(&self, name: Option<&str>) -> (u64, u64) {
        self.kind(name).map_or((0, 0), |kind| (kind.waiting.get(), kind.configured))
    }

    /// Whether one of the first waiting jobs asks for leaves of a type.
    pub fn awaited(&self, name: Option<&str>) -> bool {
        self.kind(name).is_some_and(|kind| kind.first.get() > 0)
    }

    /// Leaves of a type are handed out.
    pub fn claim(&self, name: Option<&str>, leaves: u64) {
        if let Some(kind) = self.kind(name) {
            kind.claimed.add(leaves);
        }
    }

    /// One more job waits, behind those that are known, for these leaves.
    pub fn queue_up<'k>(&self, leaves: impl Iterator<Item = (Option<&'k str>, u64)>) {
        let mut leaves = leaves.peekable();
        // A job without leaves is nobody here.
        let is_first = leaves.peek().is_some() && self.jobs.add(1) < FIRST as u64;
        for (name, count) in leaves {
            if let Some(kind) = self.kind(name) {
                kind.waiting.add(count);
                kind.first.add(is_first.into());
            }
        }
    }
}
