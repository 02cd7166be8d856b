//! The three orders of policy: `pack`, `spread` and `numa`.

use std::collections::HashMap;

use crate::leaf::Leaf;
use crate::policy::Order;

/// Sorts positions in `leaves` the way policy wants the indices of one type to run.
///
/// Parents come by device minor, the leaves of a parent by their place on it. `spread` takes the
/// first leaf of each parent, then the second of each; `numa` does so node by node, parents whose
/// NUMA node is unknown last.
pub(super) fn sort(order: Order, leaves: &[Leaf], positions: &mut [usize]) {
    let on_parent = |leaf: &Leaf| {
        (leaf.parent.minor, leaf.placement.map(|p| p.start), leaf.gi, leaf.ci, leaf.uuid.clone())
    };
    positions.sort_by_cached_key(|&position| on_parent(&leaves[position]));
    // Number of each leaf among those of its parent.
    let mut seen: HashMap<u32, usize> = HashMap::new();
    let mut turn: HashMap<usize, usize> = HashMap::new();
    for &position in &*positions {
        let seen = seen.entry(leaves[position].parent.minor).or_default();
        turn.insert(position, *seen);
        *seen += 1;
    }
    // The sorts are stable: equal keys stay in the order of parent and place.
    let turn = |position: &usize| turn.get(position).copied().unwrap_or_default();
    match order {
        Order::Pack => {}
        Order::Spread => positions.sort_by_key(turn),
        Order::Numa => positions.sort_by_key(|position| {
            let numa = leaves[*position].parent.numa;
            (numa.is_none(), numa, turn(position))
        }),
    }
}
