//! First come first served, with EASY backfill: the first job of the queue that cannot start gets a
//! reservation, and others may start before it where they do not delay it.
//!
//! The reservation holds leaves, not nodes: a node is reserved from the time at which the first job
//! fits there if every job runs to its limit, and until then, and beside it, others may use it.

use super::{Ground, News, Scheduler};
use crate::Time;
use crate::class::Alternative;
use crate::fabric::Fabric;

/// The scheduler.
pub(crate) struct Easy {
    /// Jobs from the head of the queue that it looks at.
    depth: usize,
    /// Per node when the first job fits there, for that job's class.
    earliest: Vec<Known>,
    class: Option<usize>,
    /// Per class: jobs with such a limit, or a longer one, cannot start; in this pass.
    refused: Vec<Time>,
    /// The first job, by place in the trace, and when it starts at the latest.
    promised: Option<(usize, Time)>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    changes: u32,
    /// `None`: never.
    at: Option<Time>,
}

/// Where and when the first job starts at the latest.
#[derive(Debug)]
struct Reservation {
    at: Time,
    nodes: Vec<usize>,
    class: usize,
}

impl Easy {
    pub fn new(depth: usize) -> Easy {
        Easy {
            depth: depth.max(1),
            earliest: Vec::new(),
            class: None,
            refused: Vec::new(),
            promised: None,
        }
    }

    /// The first job starts now, or gets this reservation: neither is later than what it was
    /// promised before.
    fn keep(&mut self, place: usize, at: Time) {
        let promised = self.promised.filter(|(known, _)| *known == place);
        debug_assert!(
            promised.is_none_or(|(_, promised)| at <= promised),
            "job {place}: {promised:?}, now {at}"
        );
        self.promised = Some((place, at));
    }

    /// The nodes where the first job of the queue can start first.
    fn reserve<F: Fabric>(&mut self, ground: &Ground<F>, class: usize) -> Option<Reservation> {
        let farm = &*ground.farm;
        let all = &ground.classes[class].reserved;
        let wanted = usize::from(ground.classes[class].asked.nodes);
        if self.class != Some(class) {
            self.class = Some(class);
            self.earliest.clear();
        }
        let mut times = Vec::with_capacity(farm.nodes.len());
        for node in 0..farm.nodes.len() {
            let changes = farm.changes[node];
            let known = self.earliest.get(node).filter(|known| known.changes == changes);
            let at = match known {
                Some(known) => known.at,
                None => {
                    // "Now" stays now until the node changes.
                    let at = farm.earliest(node, all, 0);
                    let known = Known { changes, at };
                    match self.earliest.get_mut(node) {
                        Some(place) => *place = known,
                        None => self.earliest.push(known),
                    }
                    at
                }
            };
            if let Some(at) = at {
                times.push((at.max(ground.now), node));
            }
        }
        if times.len() < wanted {
            return None;
        }
        times.sort_unstable();
        times.truncate(wanted);
        let at = times.last()?.0;
        Some(Reservation { at, nodes: times.into_iter().map(|(_, node)| node).collect(), class })
    }
}

/// Whether a job may start on a node of the reservation: it is done in time, or the first job fits
/// beside it then.
fn may<F: Fabric>(
    ground: &Ground<F>,
    reservation: &Reservation,
    place: usize,
    node: usize,
    alternative: &Alternative,
) -> bool {
    let farm = &*ground.farm;
    let waiting = &ground.queue[place];
    let class = &ground.classes[waiting.class];
    let (mut left, times) = farm.trial(&waiting.job, class, alternative, node, ground.now);
    if times.limit_end <= reservation.at {
        return true;
    }
    for &(end, id) in &farm.running[node] {
        if end > reservation.at {
            break;
        }
        farm.release(&mut left, node, id);
    }
    let first = &ground.classes[reservation.class].reserved;
    first.iter().any(|alternative| farm.fabric.fits(&left, alternative))
}

impl<F: Fabric> Scheduler<F> for Easy {
    fn pass(&mut self, ground: &mut Ground<F>, _news: News) {
        while let Some(first) = ground.queue.front() {
            let Some(choice) = ground.choose(first.class, &|_, _| true) else { break };
            self.keep(first.place, ground.now);
            ground.start(0, &choice);
        }
        let Some(first) = ground.queue.front() else { return };
        let Some(reservation) = self.reserve(ground, first.class) else { return };
        self.keep(first.place, reservation.at);
        self.refused.clear();
        self.refused.resize(ground.classes.len(), Time::MAX);
        // The first job's class does not fit anywhere.
        self.refused[reservation.class] = 0;
        let mut place = 1;
        while place < self.depth.min(ground.queue.len()) {
            let waiting = &ground.queue[place];
            let (class, limit) = (waiting.class, waiting.job.limit);
            if limit >= self.refused[class] {
                place += 1;
                continue;
            }
            let admits = |node: usize, alternative: &Alternative| {
                !reservation.nodes.contains(&node)
                    || may(ground, &reservation, place, node, alternative)
            };
            match ground.choose(class, &admits) {
                Some(choice) => ground.start(place, &choice),
                None => {
                    let anywhere = ground.choose(class, &|_, _| true).is_some();
                    self.refused[class] = if anywhere { limit } else { 0 };
                    place += 1;
                }
            }
        }
    }
}
