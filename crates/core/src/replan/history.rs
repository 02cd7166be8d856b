//! What has been done to each waiting job, and when something may be done again.

use std::collections::{HashMap, HashSet};

use super::Settings;
use super::job::Shape;

/// Moves wait so many cycles of the backfill scheduler for the job's start.
const PATIENCE: u64 = 2;
/// A job that went back is left alone for so many.
const REST: u64 = 20;

/// What is remembered of all jobs.
#[derive(Debug, Default)]
pub(super) struct History {
    jobs: HashMap<String, Past>,
    /// Since when jobs could start as they are.
    ready: HashMap<String, u64>,
}

/// What is remembered of one job.
#[derive(Clone, Debug)]
struct Past {
    /// Before its first move, and the word for it.
    first: Shape,
    /// The last update.
    updated: u64,
    /// Since when it is away from its first choice.
    away: Option<u64>,
    /// Until when it is left alone.
    rests_until: u64,
}

impl History {
    /// Forgets the jobs that do not wait any more.
    pub fn keep(&mut self, waiting: &HashSet<String>) {
        self.jobs.retain(|name, _| waiting.contains(name));
        self.ready.retain(|name, _| waiting.contains(name));
    }

    /// Whether the job may be changed now.
    pub fn may_change(&self, name: &str, now: u64, settings: &Settings) -> bool {
        self.jobs.get(name).is_none_or(|past| {
            now >= past.updated.saturating_add(settings.cycle) && now >= past.rests_until
        })
    }

    /// The shape before the first move, if the job has waited long enough after it.
    pub fn due_back(&self, name: &str, now: u64, settings: &Settings) -> Option<&Shape> {
        let past = self.jobs.get(name)?;
        let away = past.away?;
        (now >= away.saturating_add(PATIENCE * settings.cycle)).then_some(&past.first)
    }

    /// The shape before the first move, if it is known.
    pub fn first(&self, name: &str) -> Option<&Shape> {
        self.jobs.get(name).map(|past| &past.first)
    }

    /// A job that an earlier slurmctld process had moved: `first` is worked out anew.
    pub fn found(&mut self, name: &str, first: Shape, away: Option<u64>) {
        let past = Past { first, updated: 0, away, rests_until: 0 };
        self.jobs.entry(name.to_owned()).or_insert(past);
    }

    /// The job moved, or went back, to another shape than `before`.
    pub fn changed(
        &mut self,
        name: &str,
        before: &Shape,
        to: &Shape,
        now: u64,
        settings: &Settings,
    ) {
        let past = self.jobs.entry(name.to_owned()).or_insert_with(|| Past {
            first: before.clone(),
            updated: now,
            away: None,
            rests_until: 0,
        });
        past.updated = now;
        // Of the shape that it had.
        self.ready.remove(name);
        let was_away = past.away;
        past.away = (past.first != *to).then(|| was_away.unwrap_or(now));
        if was_away.is_some() && past.away.is_none() {
            past.rests_until = now.saturating_add(REST * settings.cycle);
        }
    }

    /// Slurm refused to change the job, or could not be reached: it is left alone.
    pub fn failed(&mut self, name: &str, before: &Shape, now: u64, settings: &Settings) {
        let rests_until = now.saturating_add(REST * settings.cycle);
        let past = Past { first: before.clone(), updated: now, away: None, rests_until };
        self.jobs.entry(name.to_owned()).or_insert(past).rests_until = rests_until;
    }

    /// Since when the job could start as it is, `now` if it has become so. `ready` false: it
    /// could not.
    pub fn ready_since(&mut self, name: &str, ready: bool, now: u64) -> u64 {
        if !ready {
            self.ready.remove(name);
            return now;
        }
        *self.ready.entry(name.to_owned()).or_insert(now)
    }

    /// How long a job that could start holds its place against others: afterwards something that
    /// is not known here must stop it.
    pub fn believes(&self, since: u64, now: u64, settings: &Settings) -> bool {
        now <= since.saturating_add(PATIENCE * settings.cycle)
    }
}
