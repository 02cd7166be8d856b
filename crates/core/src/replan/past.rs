//! What has been done to one waiting job, and when something may be done again.
//!
//! The simulator re-plans with the same rules, on shapes and times of its own: times are numbers of any
//! unit, `cycle` is that of the backfill scheduler in the same.

/// Moves wait so many cycles of the backfill scheduler for the job's start.
const PATIENCE: u64 = 2;
/// A job that went back is left alone for so many.
const REST: u64 = 20;

/// What is remembered of one job; `S` is what it can be made to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past<S> {
    /// Before its first move.
    first: Option<S>,
    /// The last update.
    updated: Option<u64>,
    /// Since when it is away from its first choice.
    away: Option<u64>,
    /// Until when it is left alone.
    rests_until: u64,
    /// Since when it could start as it is.
    ready: Option<u64>,
}

/// What to do about a job that is not to go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It can start as it is: what it takes is not there for others.
    Starts,
    /// It gets what could start instead, if there is something.
    MayMove,
    /// It waits as it is.
    Waits,
}

impl<S> Default for Past<S> {
    fn default() -> Past<S> {
        Past { first: None, updated: None, away: None, rests_until: 0, ready: None }
    }
}

impl<S: Clone + PartialEq> Past<S> {
    /// Whether the job may be changed now.
    pub fn may_change(&self, now: u64, cycle: u64) -> bool {
        self.updated.is_none_or(|updated| now >= updated.saturating_add(cycle))
            && now >= self.rests_until
    }

    /// The shape before the first move, if the job has waited long enough after it.
    pub fn due_back(&self, now: u64, cycle: u64) -> Option<&S> {
        let away = self.away?;
        (now >= away.saturating_add(PATIENCE * cycle)).then_some(self.first.as_ref()?)
    }

    /// The shape before the first move, if it is known.
    pub fn first(&self) -> Option<&S> {
        self.first.as_ref()
    }

    /// Looks at a job, which could start now as it is or not, and may be changed or not.
    pub fn look(&mut self, could_start: bool, may_change: bool, now: u64, cycle: u64) -> Look {
        self.ready = could_start.then(|| self.ready.unwrap_or(now));
        // One that could start but does not is stopped by something that is not known here: others
        // may then have its place, and it another one.
        if self.ready.is_some_and(|since| now <= since.saturating_add(PATIENCE * cycle)) {
            return Look::Starts;
        }
        if may_change { Look::MayMove } else { Look::Waits }
    }

    /// When to look at the job again if nothing else happens: the next time at which it may be changed,
    /// goes back, or is not expected to start any more.
    pub fn next(&self, now: u64, cycle: u64) -> Option<u64> {
        let times = [
            self.updated.map(|updated| updated.saturating_add(cycle)),
            Some(self.rests_until),
            self.away.map(|away| away.saturating_add(PATIENCE * cycle)),
            self.ready.map(|ready| ready.saturating_add(PATIENCE * cycle + 1)),
        ];
        times.into_iter().flatten().filter(|time| *time > now).min()
    }

    /// A job that an earlier slurmctld process had moved: `first` is worked out anew.
    pub(super) fn found(&mut self, first: S, away: Option<u64>) {
        (self.first, self.away) = (Some(first), away);
    }

    /// The job moved, or went back, to another shape than `before`.
    pub fn changed(&mut self, before: &S, to: &S, now: u64, cycle: u64) {
        self.updated = Some(now);
        // Of the shape that it had.
        self.ready = None;
        let first = self.first.get_or_insert_with(|| before.clone());
        let was_away = self.away;
        self.away = (first != to).then(|| was_away.unwrap_or(now));
        if was_away.is_some() && self.away.is_none() {
            self.rests_until = now.saturating_add(REST * cycle);
        }
    }

    /// Slurm refused to change the job, or could not be reached: it is left alone.
    pub(super) fn failed(&mut self, before: &S, now: u64, cycle: u64) {
        self.first.get_or_insert_with(|| before.clone());
        self.updated.get_or_insert(now);
        self.rests_until = now.saturating_add(REST * cycle);
    }
}
