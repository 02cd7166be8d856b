//! The order of candidates.

use std::cmp::Ordering;

use super::{Candidate, How, Kind, Need, Part, Rules, Selection, Supply, fragmentation};

/// Fills in what depends on the nodes, and sorts: best first. Harm and sockets cost most and are
/// worked out only where they can decide.
pub(super) fn rank(
    candidates: &mut [Candidate],
    kinds: &[&Kind],
    rules: &Rules,
    need: &Need,
    supply: &dyn Supply,
) {
    for candidate in candidates.iter_mut() {
        let parts = &candidate.parts;
        candidate.fits = supply.holding(parts, need) >= need.nodes.max(1);
        candidate.starts_now =
            if candidate.fits { supply.starts(parts, need) } else { Some(false) };
        if candidate.starts_now == Some(true) && candidate.is_wasteful(kinds) {
            let waited_for =
                |part: &Part| kind_of(part, kinds).is_some_and(|kind| supply.awaited(kind));
            candidate.wanted = parts.iter().any(waited_for);
        }
    }
    // With nothing thriftier there is nothing to wait for.
    let thriftier =
        candidates.iter().any(|candidate| candidate.fits && !candidate.is_wasteful(kinds));
    for candidate in candidates.iter_mut() {
        candidate.left = candidate.wanted && thriftier;
        let parts = &candidate.parts;
        if rules.stays && candidate.fits && candidate.waits() {
            let times = need.times.max(1).saturating_mul(need.nodes.max(1));
            // With the job's own leaves: else the type of a few large leaves that nobody waits for
            // comes before one of many, of which one is free sooner.
            let queue = |part: &Part| {
                let (waiting, all) = supply.queue(kind_of(part, kinds)?);
                let waiting = waiting.saturating_add(part.count.saturating_mul(times));
                waiting.saturating_mul(1000).checked_div(all)
            };
            candidate.queue = parts.iter().filter_map(queue).max().unwrap_or(0);
        }
    }
    let mut known_stock: Option<Vec<u64>> = None;
    for at in 0..candidates.len() {
        let key = first_key(&candidates[at]);
        let twin =
            |(other, candidate): (usize, &Candidate)| other != at && first_key(candidate) == key;
        if candidates.iter().enumerate().any(twin) {
            let stock = known_stock.get_or_insert_with(|| stock(kinds, supply));
            weigh(&mut candidates[at], kinds, stock, supply);
        }
    }
    candidates.sort_by(compare);
}

fn kind_of<'k>(part: &Part, kinds: &[&'k Kind]) -> Option<&'k Kind> {
    kinds.iter().find(|kind| kind.name.as_deref() == part.kind).copied()
}

fn stock(kinds: &[&Kind], supply: &dyn Supply) -> Vec<u64> {
    kinds.iter().map(|kind| supply.stock(kind)).collect()
}

fn weigh(candidate: &mut Candidate, kinds: &[&Kind], stock: &[u64], supply: &dyn Supply) {
    candidate.harm = fragmentation::harm(&candidate.parts, kinds, stock);
    candidate.one_socket = supply.one_socket(&candidate.parts);
}

/// The order of two candidates.
pub(super) fn compare(a: &Candidate, b: &Candidate) -> Ordering {
    let now = |candidate: &Candidate| {
        let Candidate { fits, wanted, substitute, queue, .. } = *candidate;
        let waits = candidate.waits();
        (!fits, waits, wanted && !waits, substitute, queue)
    };
    now(a).cmp(&now(b)).then_with(|| static_key(a).cmp(&static_key(b)))
}

/// What depends on the request alone.
fn first_key(candidate: &Candidate) -> impl Ord + use<> {
    let Candidate { substitute, equal, waste, leaves, .. } = *candidate;
    (substitute, !equal, waste.compute, waste.memory_gb, leaves)
}

/// What does not depend on what is free, but for harm.
pub(super) fn static_key<'c>(candidate: &'c Candidate) -> impl Ord + use<'c> {
    let Candidate { harm, one_socket, variant, place, parts, .. } = candidate;
    (first_key(candidate), *harm, *one_socket != Some(true), *variant, *place, &parts[..])
}

impl Candidate<'_> {
    /// It has to wait, or does better to.
    fn waits(&self) -> bool {
        self.starts_now == Some(false) || self.left
    }

    /// More than a quarter of the slices that it takes are above what was asked. A job on such
    /// leaves keeps others from them that would use them whole: in simulations on the Philly trace
    /// leaving them to those makes the makespan 1 % shorter.
    pub fn is_wasteful(&self, kinds: &[&Kind]) -> bool {
        let slices = |part: &Part| {
            kind_of(part, kinds).and_then(Kind::slices).unwrap_or(0).saturating_mul(part.count)
        };
        let all = self.parts.iter().map(slices).fold(0, u64::saturating_add);
        self.waste.slices.saturating_mul(4) > all
    }
}

impl Selection<'_> {
    /// Works out harm and sockets of all candidates, for people; the order stays.
    pub fn weigh_all(&mut self, kinds: &[&Kind], supply: &dyn Supply) {
        let stock = stock(kinds, supply);
        for candidate in &mut self.candidates {
            weigh(candidate, kinds, &stock, supply);
        }
    }

    /// The best candidate that would come before this one if everything were free.
    pub fn passed_over(&self, chosen: usize) -> Option<&Candidate<'_>> {
        let candidate = self.candidates.get(chosen)?;
        self.candidates.iter().find(|other| {
            other.fits && static_key(other).cmp(&static_key(candidate)) == Ordering::Less
        })
    }

    /// Why this one of the candidates is the choice, in one word for admin_comment.
    pub fn why(&self, chosen: usize) -> &'static str {
        let Some(candidate) = self.candidates.get(chosen) else { return "" };
        let Some(starts) = candidate.starts_now else { return candidate.how.word() };
        match self.passed_over(chosen) {
            Some(other) if starts && other.starts_now == Some(false) => "starts-now",
            Some(other) if !starts && self.stays && other.queue > candidate.queue => "queue",
            _ => candidate.how.word(),
        }
    }
}

impl How {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            How::Exact => "exact",
            How::Shape => "shape",
            How::Any => "smallest",
            How::Only => "only",
            How::Untyped => "untyped",
            How::Memory => "memory",
            How::Slices => "slices",
            How::Composed => "composed",
            How::Mixed => "mixed",
        }
    }
}
