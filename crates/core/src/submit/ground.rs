//! What selection asks, answered from the aggregates of a [`Site`]: the cost does not depend on the
//! number of nodes.

use super::now::Now;
use super::of_view::Open;
use super::site::{Class, Kind, Offer, Scope, Site};
use crate::select::index::Wanted;
use crate::select::{Need, Part, Supply};

/// The partitions of a job.
pub(super) struct Ground<'s> {
    scope: &'s Scope<'s>,
    /// What is free, if that is known now.
    now: Option<&'s Now>,
}

impl<'s> Ground<'s> {
    /// At this time, in seconds since 1970.
    pub fn new(site: &'s Site, scope: &'s Scope<'s>, now: u64) -> Ground<'s> {
        let known = site.knows_free(now);
        Ground { scope, now: site.now.as_ref().filter(|_| known) }
    }

    /// Partitions with what is free in them.
    fn open(&self) -> impl Iterator<Item = (&'s Offer, &'s Open)> + '_ {
        self.scope.offers().filter_map(|offer| Some((offer, offer.open.as_ref()?)))
    }
}

/// Whether nodes of a class have these leaves so many times.
fn holds(offer: &Offer, class: &Class, parts: &[Part<'_>], times: u64) -> bool {
    let has = |part: &Part| offer.held(class, part.kind) >= part.count.saturating_mul(times);
    parts.iter().all(has)
}

/// Whether a partition can start these leaves.
fn starts_in(offer: &Offer, open: &Open, now: &Now, parts: &[Part<'_>], need: &Need) -> bool {
    let times = need.times.max(1);
    let nodes = need.nodes.max(1);
    let on_a_node = parts.iter().map(|part| part.count).fold(0, u64::saturating_add);
    let on_a_node = on_a_node.saturating_mul(times);
    // What would be too much for every node is not filled in, see `fill`.
    let filled = need.cpus_with(on_a_node);
    let can_fill = |class: &&Class| class.cpus >= filled && holds(offer, class, parts, times);
    let fills = filled == need.cpus || offer.classes.iter().any(|class| can_fill(&class));
    let wanted = Wanted {
        cpus: if fills { filled } else { need.cpus },
        memory: need.memory_with(on_a_node),
        minutes: need.minutes.unwrap_or(open.minutes),
    };
    let unclaimed = |kind: usize, count: u64| {
        let claimed = now.claimed(offer.kinds[kind].name.as_deref());
        open.index.free(kind).saturating_sub(claimed) >= count.saturating_mul(nodes)
    };
    let enough = |leaves: &[(usize, u64)]| {
        leaves.iter().all(|&(kind, count)| unclaimed(kind, count))
            && open.index.nodes(leaves, &wanted) >= nodes
    };
    match parts {
        [part] => {
            let count = part.count.saturating_mul(times);
            match offer.place(part.kind) {
                Some(kind) => enough(&[(kind, count)]),
                // Any type: all leaves of one.
                None if part.kind.is_none() => {
                    (0..offer.kinds.len()).any(|kind| enough(&[(kind, count)]))
                }
                None => false,
            }
        }
        _ => {
            let leaf =
                |part: &Part| Some((offer.place(part.kind)?, part.count.saturating_mul(times)));
            let leaves: Option<Vec<(usize, u64)>> = parts.iter().map(leaf).collect();
            leaves.is_some_and(|leaves| enough(&leaves))
        }
    }
}

impl Supply for Ground<'_> {
    fn holding(&self, parts: &[Part<'_>], need: &Need) -> u64 {
        let times = need.times.max(1);
        let in_offer = |offer: &Offer| {
            if let [Part { kind, count }] = *parts {
                return offer
                    .nodes_with(&[Part { kind, count: count.saturating_mul(times) }], need.cpus);
            }
            let fits =
                |class: &&Class| class.cpus >= need.cpus && holds(offer, class, parts, times);
            offer.classes.iter().filter(fits).map(|class| class.nodes).sum()
        };
        self.scope.offers().map(in_offer).max().unwrap_or(0)
    }

    fn starts(&self, parts: &[Part<'_>], need: &Need) -> Option<bool> {
        let now = self.now.filter(|_| !need.narrowed)?;
        Some(self.open().any(|(offer, open)| open.up && starts_in(offer, open, now, parts, need)))
    }

    fn stock(&self, kind: &Kind) -> u64 {
        let name = kind.name.as_deref();
        if let Some(now) = self.now {
            let free = |(offer, open): (&Offer, &Open)| Some(open.index.free(offer.place(name)?));
            let free = self.open().filter_map(free).max().unwrap_or(0);
            return free.saturating_sub(now.claimed(name));
        }
        let all = |offer: &Offer| {
            let of = |class: &Class| offer.held(class, name).saturating_mul(class.nodes);
            offer.classes.iter().map(of).fold(0, u64::saturating_add)
        };
        self.scope.offers().map(all).max().unwrap_or(0)
    }

    fn queue(&self, kind: &Kind) -> (u64, u64) {
        self.now.map_or((0, 0), |now| now.queue(kind.name.as_deref()))
    }

    fn awaited(&self, kind: &Kind) -> bool {
        self.now.is_some_and(|now| now.awaited(kind.name.as_deref()))
    }

    fn one_socket(&self, parts: &[Part<'_>]) -> Option<bool> {
        let mut known = None;
        for (offer, open) in self.open() {
            let fits = |row: &Vec<u64>| {
                parts.iter().all(|part| {
                    offer.place(part.kind).is_some_and(|place| row[place] >= part.count)
                })
            };
            if !open.sockets.is_empty() {
                known = Some(known == Some(true) || open.sockets.iter().any(fits));
            }
        }
        known
    }

    fn nodes_like(&self, kinds: &[&Kind], found: &mut Vec<Vec<u64>>) {
        for offer in self.scope.offers() {
            let place = |kind: &&Kind| offer.place(kind.name.as_deref());
            let places: Vec<Option<usize>> = kinds.iter().map(place).collect();
            let by_kinds = |counts: &[u64]| {
                let count = |place: &Option<usize>| place.and_then(|p| counts.get(p)).copied();
                places.iter().map(|place| count(place).unwrap_or(0)).collect()
            };
            if let Some(open) = offer.open.as_ref().filter(|_| self.now.is_some()) {
                found.extend(open.index.samples().take(16).map(by_kinds));
            }
            found.extend(offer.classes.iter().map(|class| by_kinds(&class.counts)));
        }
    }
}

/// A ground of which the caller knows what could start on it.
pub(super) struct Known<'k> {
    pub ground: Ground<'k>,
    pub starts: &'k dyn Fn(&[Part<'_>]) -> bool,
}

impl Supply for Known<'_> {
    fn holding(&self, parts: &[Part<'_>], need: &Need) -> u64 {
        self.ground.holding(parts, need)
    }

    fn starts(&self, parts: &[Part<'_>], _need: &Need) -> Option<bool> {
        Some((self.starts)(parts))
    }

    fn stock(&self, kind: &Kind) -> u64 {
        self.ground.stock(kind)
    }

    fn queue(&self, kind: &Kind) -> (u64, u64) {
        self.ground.queue(kind)
    }

    fn awaited(&self, kind: &Kind) -> bool {
        self.ground.awaited(kind)
    }

    fn one_socket(&self, parts: &[Part<'_>]) -> Option<bool> {
        self.ground.one_socket(parts)
    }

    fn nodes_like(&self, kinds: &[&Kind], found: &mut Vec<Vec<u64>>) {
        self.ground.nodes_like(kinds, found);
    }
}
