use super::*;
use crate::leaf::{Parent, Placement};
use proptest::prelude::*;

/// A leaf on GPU `minor`; its UUID says where it is.
fn leaf(minor: u32, profile: &str, start: u32) -> Leaf {
    let gi = start + 7;
    Leaf {
        uuid: format!("MIG-{minor}-{start}-{profile}"),
        profile: profile.parse().unwrap(),
        memory_mib: 9728,
        sm_count: 14,
        gi,
        ci: 0,
        placement: Some(Placement { start, size: 1 }),
        devices: DeviceFiles {
            parent: format!("/dev/nvidia{minor}"),
            gpu_instance: format!("/dev/nvidia-caps/nvidia-cap{}", minor * 100 + gi),
            compute_instance: format!("/dev/nvidia-caps/nvidia-cap{}", minor * 100 + gi + 50),
        },
        parent: Parent {
            uuid: format!("GPU-{minor}"),
            model: "NVIDIA A100-SXM4-80GB".into(),
            index: minor,
            minor,
            bus_id: format!("0000:{:02x}:00.0", minor + 1).parse().unwrap(),
            numa: Some(minor % 2),
            cpus: if minor.is_multiple_of(2) { "0-7".into() } else { "8-15".into() },
        },
    }
}

fn small(gpus: u32, each: u32) -> Vec<Leaf> {
    (0..gpus).flat_map(|minor| (0..each).map(move |start| leaf(minor, "1g.10gb", start))).collect()
}

fn types(types: &[(&str, u64)]) -> Vec<(Option<String>, u64)> {
    let kind = |kind: &str| (!kind.is_empty()).then(|| kind.to_owned());
    types.iter().map(|&(name, count)| (kind(name), count)).collect()
}

/// `minor.start` of each index.
fn places(assignment: &Assignment) -> Vec<String> {
    let place = |slot: &Slot| {
        slot.leaf().map_or("-".into(), |l| format!("{}.{}", l.parent.minor, l.gi - 7))
    };
    assignment.slots.iter().map(place).collect()
}

fn uuids(assignment: &Assignment) -> Vec<Option<String>> {
    assignment.slots.iter().map(|slot| slot.leaf().map(|leaf| leaf.uuid.clone())).collect()
}

fn lines(assignment: &Assignment) -> Vec<String> {
    assignment.findings.iter().map(Finding::to_string).collect()
}

#[test]
fn pack_spread_and_numa() {
    let leaves = small(4, 2);
    let types = types(&[("1g.10gb", 8)]);
    let of = |order| assign(&leaves, &types, order, &[], false);
    let pack = ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1", "3.0", "3.1"];
    assert_eq!(places(&of(Order::Pack)), pack);
    let spread = ["0.0", "1.0", "2.0", "3.0", "0.1", "1.1", "2.1", "3.1"];
    assert_eq!(places(&of(Order::Spread)), spread);
    // GPUs 0 and 2 are on NUMA node 0, 1 and 3 on node 1.
    let numa = ["0.0", "2.0", "0.1", "2.1", "1.0", "3.0", "1.1", "3.1"];
    assert_eq!(places(&of(Order::Numa)), numa);
    assert_eq!(of(Order::Spread).findings, []);
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let leaves = small(3, 7);
    let reversed: Vec<Leaf> = leaves.iter().rev().cloned().collect();
    let types = types(&[("", 21)]);
    for order in [Order::Pack, Order::Spread, Order::Numa] {
        let assignment = assign(&leaves, &types, order, &[], false);
        assert_eq!(assign(&reversed, &types, order, &[], false), assignment);
    }
}

#[test]
fn types_are_grouped_in_slurm_confs_order() {
    let mut leaves = vec![leaf(0, "3g.40gb", 0), leaf(0, "3g.40gb", 4), leaf(1, "3g.40gb", 0)];
    leaves.extend([leaf(1, "1g.10gb", 4), leaf(1, "1g.10gb", 5)]);
    let types = types(&[("1g.10gb", 2), ("3g.40gb", 3)]);
    let assignment = assign(&leaves, &types, Order::Spread, &[], false);
    assert_eq!(places(&assignment), ["1.4", "1.5", "0.0", "1.0", "0.4"]);
    assert_eq!((assignment.kind(1), assignment.kind(2)), (Some("1g.10gb"), Some("3g.40gb")));
    assert_eq!(assignment.kind(5), None);
    assert_eq!(assignment.findings, []);
}

#[test]
fn names_and_models_choose_among_types_of_one_shape() {
    let leaves = [leaf(0, "1g.10gb", 0), leaf(0, "1g.10gb+me", 1), leaf(0, "1g.10gb", 2)];
    let of = |list: &[(&str, u64)]| assign(&leaves, &types(list), Order::Pack, &[], false);
    assert_eq!(places(&of(&[("1g.10gb+me", 1), ("1g.10gb", 2)])), ["0.1", "0.0", "0.2"]);
    assert_eq!(places(&of(&[("1g.10gb", 3)])), ["0.0", "0.1", "0.2"], "the shape is enough");
    assert_eq!(places(&of(&[("h100_1g.10gb", 1), ("a100_1g.10gb", 2)])), ["0.1", "0.0", "0.2"]);
    assert_eq!(places(&of(&[("", 1), ("1g.10gb", 2)])), ["0.1", "0.0", "0.2"]);
    assert_eq!(profile_of_type("nvidia_a100_3g.20gb"), "3g.20gb".parse().ok());
    assert_eq!(profile_of_type("big"), None);
}

#[test]
fn known_leaves_keep_their_index_while_jobs_run() {
    let types = types(&[("1g.10gb", 14)]);
    let leaves = small(2, 7);
    let first = assign(&leaves, &types, Order::Pack, &[], false);
    let spread = assign(&leaves, &types, Order::Spread, &first.entries(), true);
    assert_eq!(spread.slots, first.slots);
    assert_eq!(spread.findings, [Finding::OrderWaits]);
    let free = assign(&leaves, &types, Order::Spread, &spread.entries(), false);
    assert_eq!(places(&free)[..3], ["0.0", "1.0", "0.1"]);
    assert_eq!(free.findings, []);
}

#[test]
fn a_gone_leaf_keeps_its_index_as_unusable_and_comes_back_to_it() {
    let types = types(&[("1g.10gb", 14)]);
    let leaves = small(2, 7);
    let first = assign(&leaves, &types, Order::Pack, &[], false);
    let mut fewer = leaves.clone();
    fewer.remove(3);
    let hole = assign(&fewer, &types, Order::Pack, &first.entries(), true);
    assert!(matches!(&hole.slots[3], Slot::Unusable(entry) if !entry.present));
    assert_eq!(hole.leaf(4), first.leaf(4));
    let expected = "slurm.conf has flexmig:1g.10gb:14, this node has 13 (GPU 0: 6, GPU 1: 7), \
                    gone: MIG-0-3-1g.10gb (1g.10gb, index 3): make the leaves and restart slurmd, \
                    or write Gres=flexmig:1g.10gb:13 in slurm.conf";
    assert_eq!(lines(&hole)[0], expected);
    assert!(hole.findings[0].lacks_leaves());
    let back = assign(&leaves, &types, Order::Pack, &hole.entries(), true);
    assert_eq!(back.slots, first.slots);
    assert_eq!(back.findings, []);
}

#[test]
fn new_leaves_wait_for_an_index_that_a_job_may_hold() {
    let types = types(&[("1g.10gb", 4)]);
    let first = assign(&small(2, 2), &types, Order::Pack, &[], false);
    // GPU 1 was partitioned again: same profiles, other leaves.
    let mut leaves = small(1, 2);
    leaves.extend([leaf(1, "1g.10gb", 4), leaf(1, "1g.10gb", 5)]);
    let busy = assign(&leaves, &types, Order::Pack, &first.entries(), true);
    assert_eq!(places(&busy), ["0.0", "0.1", "-", "-"]);
    let expected = "2 leaves wait for an index that no running job may hold: MIG-1-4-1g.10gb \
                    (1g.10gb on GPU 1), MIG-1-5-1g.10gb (1g.10gb on GPU 1): restart slurmd when no \
                    job runs on this node";
    assert_eq!(lines(&busy), [expected]);
    let free = assign(&leaves, &types, Order::Pack, &busy.entries(), false);
    assert_eq!(places(&free), ["0.0", "0.1", "1.4", "1.5"]);
    assert_eq!(free.findings, []);
}

#[test]
fn new_leaves_take_indices_that_no_leaf_had() {
    let first = assign(&small(1, 2), &types(&[("1g.10gb", 4)]), Order::Pack, &[], false);
    assert_eq!(places(&first), ["0.0", "0.1", "-", "-"]);
    let more = assign(&small(2, 2), &types(&[("1g.10gb", 4)]), Order::Pack, &first.entries(), true);
    assert_eq!(places(&more), ["0.0", "0.1", "1.0", "1.1"]);
}

#[test]
fn a_changed_slurm_conf_never_moves_a_leaf_under_a_job() {
    let mut leaves = small(1, 3);
    leaves.push(leaf(1, "3g.40gb", 0));
    let before = types(&[("1g.10gb", 3), ("3g.40gb", 1)]);
    let first = assign(&leaves, &before, Order::Pack, &[], false);
    let after = types(&[("1g.10gb", 2), ("3g.40gb", 1)]);
    let busy = assign(&leaves, &after, Order::Pack, &first.entries(), true);
    // Index 2 was a 1g leaf's and 3 the 3g leaf's; a job may hold either.
    assert_eq!(places(&busy), ["0.0", "0.1", "-"]);
    assert_eq!(busy.beyond.len(), 1);
    let told = lines(&busy);
    let extra = "1 leaf is not in slurm.conf and not used: MIG-0-2-1g.10gb (1g.10gb on GPU 0): \
                 write Gres=flexmig:1g.10gb:3,flexmig:3g.40gb:1 in slurm.conf";
    assert_eq!(told[0], extra);
    assert!(told[1].starts_with("1 leaf waits"), "{told:?}");
    let again = assign(&leaves, &after, Order::Pack, &busy.entries(), true);
    assert_eq!(again, busy, "the memory does not fade");
    let back = assign(&leaves, &before, Order::Pack, &again.entries(), true);
    assert_eq!(back.slots, first.slots);
    let free = assign(&leaves, &after, Order::Pack, &busy.entries(), false);
    assert_eq!(places(&free), ["0.0", "0.1", "1.0"]);
}

#[test]
fn types_that_no_leaf_has_are_told_with_the_mend() {
    let leaves = small(1, 3);
    let of = |list: &[(&str, u64)]| lines(&assign(&leaves, &types(list), Order::Pack, &[], false));
    let expected = [
        "slurm.conf has flexmig:4g.40gb:2, this node has 0: make the leaves and restart slurmd, or \
         write Gres=flexmig:1g.10gb:3 in slurm.conf",
        "3 leaves are not in slurm.conf and not used: MIG-0-0-1g.10gb (1g.10gb on GPU 0), \
         MIG-0-1-1g.10gb (1g.10gb on GPU 0), MIG-0-2-1g.10gb (1g.10gb on GPU 0): write \
         Gres=flexmig:1g.10gb:3 in slurm.conf",
    ];
    assert_eq!(of(&[("4g.40gb", 2)]), expected);
    let untyped = of(&[("", 4)]);
    assert!(untyped[0].starts_with("slurm.conf has flexmig:4, this node has 3"), "{untyped:?}");
    assert!(untyped[0].ends_with("write Gres=flexmig:3 in slurm.conf"), "{untyped:?}");
    let none = lines(&assign(&[], &types(&[("1g.10gb", 1)]), Order::Pack, &[], false));
    assert!(none[0].ends_with("or remove flexmig from Gres= in slurm.conf"), "{none:?}");
    let many = of(&[("", u64::MAX), ("1g.10gb", 7)]);
    assert!(many[0].contains("18446744073709551615 leaves"), "{many:?}");
}

#[test]
fn long_lists_are_cut() {
    let told = lines(&assign(&small(2, 7), &[], Order::Pack, &[], false));
    assert!(told[0].contains(" and 6 more: write Gres=flexmig:1g.10gb:14 "), "{told:?}");
}

#[test]
fn runs_join_equal_type_and_cores() {
    let mut leaves = small(2, 3);
    leaves.push(leaf(2, "3g.40gb", 0));
    let types = types(&[("1g.10gb", 6), ("3g.40gb", 1)]);
    let assignment = assign(&leaves, &types, Order::Pack, &[], false);
    let shape = |runs: Vec<Run<'_>>| -> Vec<(Option<String>, String, Vec<usize>)> {
        let indices = |run: &Run<'_>| run.leaves.iter().map(|(index, _)| *index).collect();
        runs.iter().map(|r| (r.kind.map(str::to_owned), r.cores.clone(), indices(r))).collect()
    };
    let run = |kind: &str, cores: &str, indices: &[usize]| {
        (Some(kind.to_owned()), cores.to_owned(), indices.to_vec())
    };
    let by_cpus = shape(assignment.runs(|leaf| leaf.parent.cpus.clone()));
    let expected = [
        run("1g.10gb", "0-7", &[0, 1, 2]),
        run("1g.10gb", "8-15", &[3, 4, 5]),
        run("3g.40gb", "0-7", &[6]),
    ];
    assert_eq!(by_cpus, expected);
    let by_type = shape(assignment.runs(|_| String::new()));
    assert_eq!(by_type, [run("1g.10gb", "", &[0, 1, 2, 3, 4, 5]), run("3g.40gb", "", &[6])]);
    leaves.remove(0);
    let hole = assign(&leaves, &types, Order::Pack, &assignment.entries(), true);
    let indices: Vec<usize> = hole.runs(|_| String::new()).iter().map(|r| r.leaves[0].0).collect();
    assert_eq!(indices, [1, 2, 3, 4, 5, 6]);
}

const PROFILES: [&str; 4] = ["1g.10gb", "1g.10gb+me", "1g.20gb", "3g.40gb"];

/// Any of the leaves that could be on a node of four GPUs.
fn some_leaves() -> impl Strategy<Value = Vec<Leaf>> {
    let any_leaf = (0..4u32, 0..PROFILES.len(), 0..7u32);
    proptest::collection::btree_set(any_leaf, 0..30).prop_map(|set| {
        set.into_iter()
            .map(|(minor, profile, start)| leaf(minor, PROFILES[profile], start))
            .collect()
    })
}

fn some_types() -> impl Strategy<Value = Vec<(Option<String>, u64)>> {
    let names = ["1g.10gb", "a100_1g.20gb", "3g.40gb", "1g.10gb+me", "odd", ""];
    let some = proptest::sample::subsequence(names.to_vec(), 0..=names.len()).prop_shuffle();
    some.prop_flat_map(|names| {
        let counts = proptest::collection::vec(0..12u64, names.len());
        counts.prop_map(move |counts| types(&names.iter().copied().zip(counts).collect::<Vec<_>>()))
    })
}

fn some_order() -> impl Strategy<Value = Order> {
    proptest::sample::select(vec![Order::Pack, Order::Spread, Order::Numa])
}

proptest! {
    #[test]
    fn index_assignment_keeps_every_known_uuid_in_place_over_random_changes(
        types in some_types(),
        rounds in proptest::collection::vec((some_leaves(), some_order()), 1..6),
    ) {
        let mut previous: Vec<Entry> = Vec::new();
        for (round, (leaves, order)) in rounds.into_iter().enumerate() {
            let assignment = assign(&leaves, &types, order, &previous, round > 0);
            for entry in &previous {
                let slot = &assignment.slots[entry.index as usize];
                let there = leaves.iter().any(|leaf| leaf.uuid == entry.uuid);
                if there {
                    prop_assert_eq!(&slot.leaf().unwrap().uuid, &entry.uuid);
                } else {
                    let unusable = Slot::Unusable(Entry { present: false, ..entry.clone() });
                    prop_assert_eq!(slot, &unusable);
                }
            }
            previous = assignment.entries();
        }
    }

    #[test]
    fn no_index_ever_changes_its_leaf_even_if_slurm_conf_does(
        rounds in proptest::collection::vec((some_types(), some_leaves(), some_order()), 1..6),
    ) {
        let mut previous: Vec<Entry> = Vec::new();
        for (round, (types, leaves, order)) in rounds.into_iter().enumerate() {
            let assignment = assign(&leaves, &types, order, &previous, round > 0);
            let now = assignment.entries();
            for entry in &previous {
                let kept = now.iter().find(|other| other.index == entry.index);
                prop_assert_eq!(kept.map(|e| &e.uuid), Some(&entry.uuid));
                prop_assert_eq!(now.iter().filter(|other| other.uuid == entry.uuid).count(), 1);
            }
            let file = crate::index_file::write(&now).unwrap();
            prop_assert_eq!(crate::index_file::read("f", file.as_bytes()), Ok(now.clone()));
            previous = now;
        }
    }

    #[test]
    fn every_leaf_is_on_one_index_of_its_type(
        types in some_types(),
        before in some_leaves(),
        leaves in some_leaves(),
        order in some_order(),
        busy in any::<bool>(),
    ) {
        let first = assign(&before, &types, order, &[], false);
        let assignment = assign(&leaves, &types, order, &first.entries(), busy);
        let total: u64 = types.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(assignment.slots.len() as u64, total);
        let mut given: Vec<String> = uuids(&assignment).into_iter().flatten().collect();
        given.sort();
        let all = given.len();
        given.dedup();
        prop_assert_eq!(given.len(), all, "no leaf has two indices");
        let mut start = 0;
        for (group, (kind, count)) in assignment.groups.iter().zip(&types) {
            prop_assert_eq!(&group.kind, kind);
            prop_assert_eq!(group.indices.clone(), start..start + *count as usize);
            start = group.indices.end;
            for leaf in group.indices.clone().filter_map(|index| assignment.leaf(index)) {
                let fits = match kind {
                    None => true,
                    Some(kind) => profile_of_type(kind) == Some(leaf.profile),
                };
                prop_assert!(fits, "{} on {kind:?}", leaf.profile);
            }
        }
        let runs = assignment.runs(|leaf| leaf.parent.cpus.clone());
        let in_runs: Vec<usize> = runs.iter().flat_map(|r| &r.leaves).map(|(i, _)| *i).collect();
        let indices: Vec<usize> = assignment.leaves().map(|(index, _)| index).collect();
        prop_assert_eq!(in_runs, indices, "runs hold every leaf once and in order");
        for finding in lines(&assignment) {
            prop_assert!(!finding.contains('\n'));
        }
    }

    #[test]
    fn a_free_node_uses_as_many_leaves_as_fit_and_tells_the_rest(
        types in some_types(),
        leaves in some_leaves(),
        order in some_order(),
    ) {
        let assignment = assign(&leaves, &types, order, &[], false);
        for (index, slot) in assignment.slots.iter().enumerate() {
            let unused = |leaf: &&Leaf| !assignment.leaves().any(|(_, used)| used == *leaf);
            if *slot == Slot::Empty {
                let kind = assignment.kind(index);
                let fitting = leaves.iter().filter(unused).find(|leaf| {
                    kind.is_none_or(|kind| profile_of_type(kind) == Some(leaf.profile))
                });
                prop_assert_eq!(fitting, None, "a free index and an unused leaf of its type");
            }
        }
        let suggestion = gres_for(&leaves, &types);
        let complete = assignment.slots.iter().all(|slot| slot.leaf().is_some());
        let told = assignment.findings.iter().any(|f| matches!(f, Finding::Missing { .. }));
        prop_assert_eq!(complete, !told);
        // What is suggested fits exactly.
        let text = format!("NodeName=n Gres={suggestion}");
        let conf = crate::slurm_conf::SlurmConf::parse("f", text.as_bytes(), &mut |_| Ok(vec![]));
        let types = conf.node("n").map(|node| node.flexmig_types()).unwrap_or_default();
        prop_assert_eq!(assign(&leaves, &types, order, &[], false).findings, []);
    }
}
