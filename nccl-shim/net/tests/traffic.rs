//! Ranks in processes of their own exchange messages through the built library, with
//! every version of the ABI and over every way; each byte is checked.

mod common;

use common::Run;

/// `COUNT:LIMIT:WINDOW:SEED` of the script.
fn mix(count: u64, limit: usize, window: usize, seed: u64) -> String {
    format!("{count}:{limit}:{window}:{seed}")
}

#[test]
fn every_version_carries_messages() {
    for (version, seed) in [(6, 1), (8, 2), (11, 3), (12, 4)] {
        Run::new(2, version).all("exchange", &mix(2000, 256 << 10, 32, seed));
    }
}

#[test]
fn long_messages_straight_between_processes() {
    Run::new(2, 11).all("exchange", &mix(150, 16 << 20, 6, 5));
}

#[test]
fn long_messages_through_the_ring() {
    let run = Run::new(2, 11).with("FLEXMIG_NET_SINGLE_COPY", "0");
    run.all("exchange", &mix(100, 16 << 20, 6, 6));
}

#[test]
fn long_messages_through_a_small_ring() {
    let run = Run::new(2, 8).with("FLEXMIG_NET_SINGLE_COPY", "0").with("FLEXMIG_NET_RING", "64K");
    run.all("exchange", &mix(300, 1 << 20, 32, 7));
}

#[test]
fn watched_by_locks_alone() {
    let run = Run::new(2, 11).with("FLEXMIG_NET_LIVENESS", "lock");
    run.all("exchange", &mix(300, 4 << 20, 16, 8));
}

#[test]
fn over_tcp() {
    for (sockets, seed) in [("1", 9), ("4", 10)] {
        let run = Run::new(2, 11).with("FLEXMIG_NET_TRANSPORT", "tcp");
        run.with("FLEXMIG_NET_SOCKETS", sockets).all("exchange", &mix(400, 4 << 20, 32, seed));
    }
}

#[test]
fn three_five_and_eight_ranks() {
    for (ranks, seed) in [(3, 11), (5, 12), (8, 13)] {
        Run::new(ranks, 11).all("exchange", &mix(200, 2 << 20, 16, seed));
    }
}

#[test]
fn a_rank_that_talks_to_itself() {
    Run::new(1, 11).all("exchange", &mix(300, 4 << 20, 16, 14));
}

#[test]
fn a_closed_end_is_an_error_after_the_last_message() {
    Run::new(2, 11).all("close-early", "");
    Run::new(2, 6).with("FLEXMIG_NET_TRANSPORT", "tcp").all("close-early", "");
}

#[test]
fn a_message_too_long_for_its_receive() {
    Run::new(2, 11).all("too-long", "");
    Run::new(2, 11).with("FLEXMIG_NET_TRANSPORT", "tcp").all("too-long", "");
}

/// 2 GiB of memory in each rank: for `make test-long`.
#[test]
#[ignore = "takes 4 GiB of memory: FLEXMIG_TEST_LONG, make test-long"]
fn a_message_of_one_gibibyte() {
    Run::new(2, 11).all("gibibyte", "");
    Run::new(2, 11).with("FLEXMIG_NET_SINGLE_COPY", "0").all("gibibyte", "");
}
