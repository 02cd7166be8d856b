//! Views of any kind: what becomes of a request does not depend on the order of nodes, more free
//! leaves never make it worse off, and nonsense does no harm.
#![cfg(feature = "config")]

use flexmig_core::policy::{Compose, Policy, Select};
use flexmig_core::request::Notation;
use flexmig_core::submit::{Considered, Dialect, Explanation, Job, Site, explain};
use flexmig_core::view::{ClusterView, JobState, JobView, LeafCount, NodeView, PartitionView};
use proptest::prelude::*;

const TYPES: [&str; 6] = ["1g.10gb", "1g.10gb+me", "2g.20gb", "3g.40gb", "4g.40gb", "a100_1g.5gb"];

fn node() -> impl Strategy<Value = NodeView> {
    let kinds = proptest::sample::subsequence(TYPES.to_vec(), 0..=4);
    let leaves = kinds.prop_flat_map(|kinds| {
        let leaf = |kind: &'static str| {
            (1..8u64, 0..8u64).prop_map(move |(configured, used)| LeafCount {
                kind: Some(kind.to_owned()),
                configured,
                used: used.min(configured),
                used_indices: String::new(),
            })
        };
        kinds.into_iter().map(leaf).collect::<Vec<_>>()
    });
    let flags = (prop::bool::weighted(0.9), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (leaves, flags, 1..17u32, 0..17u32, 0..4u64).prop_map(
        |(leaves, (usable, planned, reserved), cpus, cpus_used, memory)| NodeView {
            usable,
            planned,
            reserved,
            cpus,
            cpus_used: cpus_used.min(cpus),
            memory: 16_000 * memory,
            leaves,
            ..NodeView::default()
        },
    )
}

fn view() -> impl Strategy<Value = ClusterView> {
    let job = (1..100u32, 0..7usize, 0..9_000u64).prop_map(|(priority, node, start)| JobView {
        job_id: priority,
        priority,
        state: JobState::Pending,
        partition: "all".into(),
        tres_per_node: "gres/flexmig:3g.40gb:1".into(),
        sched_nodes: format!("n{node}"),
        start_time: Some(1_000_000 + start),
        ..JobView::default()
    });
    let jobs = proptest::option::of(proptest::collection::vec(job, 0..3));
    (proptest::collection::vec(node(), 0..8), jobs).prop_map(|(mut nodes, jobs)| {
        for (place, node) in nodes.iter_mut().enumerate() {
            node.name = format!("n{place}");
        }
        let partition = |name: &str, nodes: &str| PartitionView {
            name: name.into(),
            nodes: nodes.into(),
            default: name == "all",
            up: true,
            default_minutes: Some(60),
            max_minutes: None,
        };
        ClusterView {
            format: 1,
            taken_at: 1_000_000,
            nodes,
            partitions: vec![partition("all", "n[0-7]"), partition("few", "n[1,3,5]")],
            jobs,
            ..ClusterView::default()
        }
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let compose = prop_oneof![Just(Compose::Missing), Just(Compose::Busy), Just(Compose::Never)];
    (compose, any::<bool>(), proptest::option::of(0..5u64)).prop_map(
        |(compose, mixed, max_waste)| Policy {
            select: Select { compose, mixed, max_waste, ..Select::default() },
            ..Policy::default()
        },
    )
}

const REQUEST: &str = "flexmig(:(1g\\.10gb|2g\\.20gb|3g\\.40gb|[1-9]?[0-9]gb|[1-7]g|mixed|x))?:[1-9]\
    (,flexmig:([1-3]g|1g\\.10gb):[12])?";

#[derive(Clone, Debug)]
struct Ask {
    request: String,
    partition: Option<&'static str>,
    nodes: u32,
    cpus: Option<u16>,
    minutes: Option<u32>,
    batch: bool,
    old: bool,
}

fn ask() -> impl Strategy<Value = Ask> {
    let partition = prop_oneof![Just(None), Just(Some("few")), Just(Some("few,all"))];
    let numbers = (1..3u32, proptest::option::of(1..6u16), proptest::option::of(1..120u32));
    (REQUEST, partition, numbers, any::<bool>(), any::<bool>()).prop_map(
        |(request, partition, (nodes, cpus, minutes), batch, old)| Ask {
            request,
            partition,
            nodes,
            cpus,
            minutes,
            batch,
            old,
        },
    )
}

fn look(policy: &Policy, view: &ClusterView, ask: &Ask) -> Explanation {
    let slurm = Dialect {
        notation: Notation::Slash,
        per_task: true,
        update_replaces: !ask.old,
        version: &"x",
        now: 1_000_001,
    };
    let job = Job {
        tres_per_node: Some(&ask.request),
        partition: ask.partition,
        min_nodes: Some(ask.nodes),
        max_nodes: Some(ask.nodes),
        cpus_per_task: ask.cpus,
        min_cpus: Some(ask.cpus.unwrap_or(1).into()),
        time_limit: ask.minutes,
        batch: ask.batch,
        ..Job::default()
    };
    explain(&Site::of_view(policy, view), &slurm, &job)
}

fn chosen(explanation: &Explanation) -> Option<&Considered> {
    explanation.considered.iter().find(|considered| considered.chosen)
}

/// What makes one choice better than another for the user.
fn benefit(choice: &Considered) -> impl Ord + use<> {
    let waste = choice.waste;
    (
        choice.starts_now == Some(false),
        choice.substitute,
        // Queues go before waste where nothing starts; what is free is not in them.
        choice.queue,
        !choice.equal,
        waste.compute,
        waste.memory_gb,
        choice.leaves,
    )
}

proptest! {
    #[test]
    fn the_order_of_nodes_does_not_matter(
        view in view(), policy in policy(), ask in ask(), turn in 0..8usize,
    ) {
        let first = look(&policy, &view, &ask);
        let mut other = view;
        let turn = turn % other.nodes.len().max(1);
        other.nodes.rotate_left(turn);
        other.nodes.iter_mut().for_each(|node| node.leaves.reverse());
        if let Some(jobs) = &mut other.jobs {
            jobs.reverse();
        }
        prop_assert_eq!(look(&policy, &other, &ask), first);
    }

    #[test]
    fn more_free_leaves_never_make_a_request_worse_off(
        view in view(), policy in policy(), ask in ask(), place in (0..8usize, 0..4usize),
    ) {
        let before = look(&policy, &view, &ask);
        let mut more = view.clone();
        let node = more.nodes.get_mut(place.0);
        let Some(leaf) = node.and_then(|node| node.leaves.get_mut(place.1)) else { return Ok(()) };
        leaf.used = leaf.used.saturating_sub(1);
        let after = look(&policy, &more, &ask);
        match (chosen(&before), chosen(&after)) {
            (Some(before), Some(after)) => prop_assert!(
                benefit(after) <= benefit(before), "{:?}\nthen {:?}", before, after
            ),
            (before, after) => prop_assert_eq!(before.is_some(), after.is_some()),
        }
    }

    #[test]
    fn what_starts_now_is_free_on_nodes(view in view(), policy in policy(), ask in ask()) {
        let explanation = look(&policy, &view, &ask);
        for considered in explanation.considered.iter().filter(|c| c.starts_now == Some(true)) {
            let serves = |node: &&NodeView| {
                let free = |kind: &Option<String>| -> u64 {
                    node.leaves.iter().filter(|l| l.kind == *kind).map(LeafCount::free).sum()
                };
                node.usable && !node.reserved
                    && considered.parts.iter().all(|(kind, count)| free(kind) >= *count)
            };
            let nodes = view.nodes.iter().filter(serves).count();
            prop_assert!(nodes >= ask.nodes as usize, "{:?}", considered);
        }
    }

    #[test]
    fn nonsense_does_no_harm(
        mut view in view(), policy in policy(), ask in ask(), place in 0..8usize,
        numbers in (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>()),
        texts in (".{0,12}", "n\\[[0-9,-]{0,5}\\]?", "(flexmig:[0-9a-z.:]{0,9},?){0,3}"),
    ) {
        let (configured, used, cpus, cpus_used, time) = numbers;
        if let Some(node) = view.nodes.get_mut(place) {
            let kind = Some(texts.0.clone());
            let leaf = LeafCount { kind, configured, used, used_indices: texts.0.clone() };
            node.leaves.push(leaf.clone());
            node.leaves.push(LeafCount { kind: Some("1g.10gb".into()), ..leaf });
            (node.cpus, node.cpus_used) = (cpus, cpus_used);
            (node.memory, node.memory_used) = (used, configured);
        }
        view.partitions.push(PartitionView { name: "odd".into(), nodes: texts.1.clone(), ..PartitionView::default() });
        view.jobs.get_or_insert_default().push(JobView {
            sched_nodes: texts.1,
            start_time: Some(time),
            tres_per_node: texts.2,
            min_nodes: Some(cpus),
            ..JobView::default()
        });
        view.taken_at = time;
        look(&policy, &view, &ask);
        look(&policy, &view, &Ask { partition: Some("odd"), ..ask });
    }
}
