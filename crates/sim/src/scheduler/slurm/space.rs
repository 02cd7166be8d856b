//! The backfill scheduler's map: which nodes no waiting job is planned onto, from when to when.

use super::bits::Bits;
use crate::Time;

/// One stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub begin: Time,
    pub end: Time,
    /// Nodes that nothing is planned onto.
    pub open: Bits,
}

/// Stretches of time that follow each other.
#[derive(Debug)]
pub(super) struct Space {
    slots: Vec<Slot>,
    resolution: Time,
}

impl Space {
    /// Everything open from now to the end of the window.
    pub fn new(now: Time, window: Time, resolution: Time, nodes: usize) -> Space {
        let resolution = resolution.max(1);
        let begin = now / resolution * resolution;
        let end = (now + window) / resolution * resolution;
        Space { slots: vec![Slot { begin, end, open: Bits::all(nodes) }], resolution }
    }

    /// The nodes that are open from `start` to `end` are left in `open`; and the time from which
    /// others may be, which is the end of a stretch.
    pub fn open(&self, start: Time, end: Time, open: &mut Bits) -> Option<Time> {
        let mut later = None;
        for (place, slot) in self.slots.iter().enumerate() {
            if slot.end > start
                && later.is_none()
                && let Some(next) = self.slots.get(place + 1)
                && open.gains(&slot.open, &next.open)
            {
                later = Some(slot.end);
            }
            if slot.end <= start {
                continue;
            }
            if slot.begin > end {
                break;
            }
            open.and(&slot.open);
        }
        later
    }

    /// Whether something is planned onto one of the nodes meanwhile.
    pub fn overlaps(&self, nodes: &[u32], start: Time, end: Time) -> bool {
        self.slots
            .iter()
            .filter(|slot| slot.end > start && slot.begin < end)
            .any(|slot| nodes.iter().any(|&node| !slot.open.has(node as usize)))
    }

    /// Plans a job: its nodes are closed for all others.
    pub fn reserve(&mut self, nodes: &[u32], start: Time, end: Time) {
        let start = start.max(self.slots[0].begin);
        let end = end.max(start + self.resolution);
        self.split(start);
        self.split(end);
        for slot in self.slots.iter_mut().filter(|slot| slot.begin >= start && slot.end <= end) {
            nodes.iter().for_each(|&node| slot.open.remove(node as usize));
        }
        self.slots.dedup_by(|next, slot| {
            let same = slot.open == next.open;
            if same {
                slot.end = next.end;
            }
            same
        });
    }

    fn split(&mut self, at: Time) {
        let Some(place) = self.slots.iter().position(|slot| slot.begin < at && at < slot.end)
        else {
            return;
        };
        let mut rest = self.slots[place].clone();
        self.slots[place].end = at;
        rest.begin = at;
        self.slots.insert(place + 1, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_close_nodes() {
        let mut space = Space::new(130, 1000, 60, 3);
        space.reserve(&[1], 240, 360);
        space.reserve(&[0, 1], 300, 480);
        let open = |start, end| {
            let mut open = Bits::all(3);
            let later = space.open(start, end, &mut open);
            (open.iter().collect::<Vec<_>>(), later)
        };
        assert_eq!(open(130, 200), (vec![0, 1, 2], None));
        assert_eq!(open(130, 240), (vec![0, 2], Some(480)));
        assert_eq!(open(130, 400), (vec![2], Some(480)));
        assert_eq!(open(480, 700), (vec![0, 1, 2], None));
        assert!(space.overlaps(&[1, 2], 400, 420) && !space.overlaps(&[2], 0, 2000));
        assert!(!space.overlaps(&[0], 240, 300));
    }
}
