//! The plans of all ranks played against each other in memory.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::data;

const ALL: [Collective; 5] = [
    Collective::AllReduce,
    Collective::AllGather,
    Collective::ReduceScatter,
    Collective::Broadcast,
    Collective::SendRecv,
];
const SEED: u32 = 3;

struct Rank {
    plan: Plan,
    floats: Vec<f32>,
    sent: usize,
    received: usize,
}

fn floats_of(range: &Range<usize>) -> Range<usize> {
    assert!(range.start.is_multiple_of(4) && range.end.is_multiple_of(4), "{range:?}");
    range.start / 4..range.end / 4
}

/// Lets the ranks move in an order that follows from `seed`, over channels that hold `window`
/// messages, until nobody can move any more.
fn play(
    collective: Collective,
    ranks: usize,
    bytes: usize,
    slice: usize,
    window: usize,
    seed: u32,
) -> Vec<Vec<f32>> {
    let mut all: Vec<Rank> = (0..ranks)
        .map(|rank| {
            let mut floats = vec![-1.0; buffer_size(collective, bytes) / 4];
            data::fill_floats(&mut floats[..bytes / 4], SEED, rank);
            Rank { plan: plan(collective, rank, ranks, bytes, slice), floats, sent: 0, received: 0 }
        })
        .collect();
    let mut channels: Vec<VecDeque<Vec<f32>>> = vec![VecDeque::new(); ranks];
    let mut idle = 0;
    let mut random = seed;
    while idle < 40 * ranks {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (rank, sends_first) = ((random >> 8) as usize % ranks, random >> 31 == 0);
        let mut moved = false;
        for send in [sends_first, !sends_first] {
            let before = (rank + ranks - 1) % ranks;
            let me = &mut all[rank];
            if send {
                let Some(next) = me.plan.sends.get(me.sent) else { continue };
                if next.after_receives <= me.received && channels[rank].len() < window {
                    channels[rank].push_back(me.floats[floats_of(&next.range)].to_vec());
                    me.sent += 1;
                    moved = true;
                }
            } else {
                let Some(next) = me.plan.receives.get(me.received) else { continue };
                if next.after_sends > me.sent {
                    continue;
                }
                let Some(message) = channels[before].pop_front() else { continue };
                let place = &mut me.floats[floats_of(&next.range)];
                match next.action {
                    Action::Add => data::add(place, &message),
                    Action::Store => place.copy_from_slice(&message),
                }
                me.received += 1;
                moved = true;
            }
        }
        idle = if moved { 0 } else { idle + 1 };
    }
    for (rank, me) in all.iter().enumerate() {
        assert_eq!((me.sent, me.received), (me.plan.sends.len(), me.plan.receives.len()), "{rank}");
    }
    assert!(channels.iter().all(VecDeque::is_empty));
    all.into_iter().map(|rank| rank.floats).collect()
}

/// Wrong floats of all ranks.
fn wrong(collective: Collective, ranks: usize, bytes: usize, results: &[Vec<f32>]) -> u64 {
    let of_rank = |rank: usize| {
        let mut floats = vec![0.0; bytes / 4];
        data::fill_floats(&mut floats, SEED, rank);
        floats
    };
    let differ = |a: &[f32], b: &[f32]| a.iter().zip(b).filter(|(a, b)| a != b).count() as u64;
    let each = results.iter().enumerate().map(|(rank, floats)| match collective {
        Collective::AllReduce => data::wrong_sums(floats, 0, SEED, ranks),
        Collective::AllGather => (0..ranks)
            .map(|part| {
                let range = floats_of(&chunk(bytes, ranks, part));
                differ(&floats[range.clone()], &of_rank(part)[range])
            })
            .sum(),
        Collective::ReduceScatter => {
            let own = floats_of(&chunk(bytes, ranks, rank));
            data::wrong_sums(&floats[own.clone()], own.start, SEED, ranks)
        }
        Collective::Broadcast => differ(floats, &of_rank(0)),
        Collective::SendRecv => {
            differ(&floats[second_place(bytes) / 4..], &of_rank((rank + ranks - 1) % ranks))
        }
    });
    each.sum()
}

#[test]
fn chunks_cover_everything_once() {
    for bytes in [0, 4, 8, 100, 252, 256, 1000, 65536, 65540] {
        for parts in 1..9 {
            let mut end = 0;
            for index in 0..parts {
                let range = chunk(bytes, parts, index);
                assert!(range.start == end || range.is_empty(), "{bytes}/{parts}: {range:?}");
                end = range.end.max(end);
            }
            assert_eq!(end, bytes, "{parts}");
        }
    }
}

#[test]
fn a_ring_of_four_sends_what_the_textbook_says() {
    let sent = |collective| -> usize {
        plan(collective, 2, 4, 4096, 512).sends.iter().map(|send| send.range.len()).sum()
    };
    assert_eq!(sent(Collective::AllReduce), 2 * 3 * 1024);
    assert_eq!(sent(Collective::AllGather), 3 * 1024);
    assert_eq!(sent(Collective::ReduceScatter), 3 * 1024);
    assert_eq!(sent(Collective::Broadcast), 4096);
    let last = plan(Collective::Broadcast, 3, 4, 4096, 512);
    assert_eq!((last.sends.len(), last.receives.len()), (0, 8));
}

#[test]
fn one_rank_has_nothing_to_do() {
    for collective in [Collective::AllReduce, Collective::AllGather, Collective::Broadcast] {
        assert_eq!(plan(collective, 0, 1, 4096, 512), Plan::default());
    }
}

#[test]
fn one_wrong_element_is_seen() {
    let results = play(Collective::AllReduce, 3, 1200, 64, 2, 1);
    assert_eq!(wrong(Collective::AllReduce, 3, 1200, &results), 0);
    let mut spoiled = results;
    spoiled[1][7] += 1.0;
    assert_eq!(wrong(Collective::AllReduce, 3, 1200, &spoiled), 1);
}

proptest! {
    #[test]
    fn every_order_of_events_ends_with_the_right_result(
        which in 0..ALL.len(), ranks in 2..9usize, floats in 0..700usize, slice in 1..40usize,
        window in 1..9usize, seed: u32,
    ) {
        let (collective, bytes) = (ALL[which], floats * 4);
        let results = play(collective, ranks, bytes, slice * 4, window, seed);
        prop_assert_eq!(wrong(collective, ranks, bytes, &results), 0);
    }
}
