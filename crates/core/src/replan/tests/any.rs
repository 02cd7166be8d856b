//! Views of any kind.

use proptest::prelude::*;

use super::*;

/// The compute slices of a composition, and whether all its leaves are of one type.
fn slices(tres: &str) -> (u64, usize) {
    let request = Request::parse(tres).unwrap();
    let of = |kind: &str| u64::from(crate::profile::Profile::of_type(kind).unwrap().compute);
    let sum = request.terms().map(|term| of(term.kind.unwrap()) * term.count).sum();
    (sum, request.terms().count())
}

const KINDS: [&str; 4] = ["1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb"];

fn any_node() -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
    let leaf = (0..KINDS.len(), 1..8u64, 0..8u64);
    proptest::collection::vec(leaf.prop_map(|(kind, all, used)| (kind, all, used.min(all))), 1..4)
}

fn any_view() -> impl Strategy<Value = ClusterView> {
    let nodes = proptest::collection::vec(any_node(), 1..6);
    let waiting = (1..5u64, 0..KINDS.len(), 0..6u32, 1..200u64, 0..40u64);
    let jobs = proptest::collection::vec(waiting, 1..30);
    (nodes, jobs).prop_map(|(nodes, jobs)| {
        let nodes = nodes.into_iter().enumerate().map(|(place, mut leaves)| {
            leaves.sort_unstable();
            leaves.dedup_by_key(|leaf| leaf.0);
            let leaves: Vec<_> =
                leaves.iter().map(|&(kind, all, used)| (KINDS[kind], all, used)).collect();
            node(&format!("n{place}"), &leaves)
        });
        let nodes: Vec<NodeView> = nodes.collect();
        let jobs =
            jobs.into_iter().enumerate().map(|(place, (slices, kind, priority, limit, start))| {
                let got = format!("{}:{slices}", KINDS[kind]);
                let mut job = job(place as u32 + 1, &format!("{slices}g:1"), &got);
                job.priority = priority;
                job.time_limit = Some(limit);
                if start > 20 {
                    job.sched_nodes = nodes[place % nodes.len()].name.clone();
                    job.start_time = Some(NOW + start * 60);
                }
                job
            });
        let jobs = jobs.collect();
        view(nodes, jobs)
    })
}

proptest! {
    #[test]
    fn every_move_serves_its_request_and_all_fit_together(view in any_view()) {
        let updates = plan_with(&mut Planner::default(), &view, &settings());
        prop_assert!(updates.len() <= MOST);
        let jobs = view.jobs.as_ref().unwrap();
        let mut names = HashSet::new();
        let mut taken: HashMap<String, u64> = HashMap::new();
        for update in &updates {
            let job = jobs.iter().find(|job| job.job_id == update.job_id).unwrap();
            prop_assert!(names.insert(update.job.clone()), "twice: {}", update.job);
            prop_assert!(job.priority > 0);
            let asked: u64 = update.note.req.split('g').next().unwrap().parse().unwrap();
            let (slices, types) = slices(&update.tres_per_node);
            prop_assert!(slices >= asked && types == 1, "{}: {}", update.note.req, update.tres_per_node);
            // Some node holds it, and is open for the job.
            let shape = Shape { tres_per_node: update.tres_per_node.clone(), ..Shape::default() };
            let part = shape.parts().unwrap()[0];
            let end = NOW + job.time_limit.unwrap() * 60;
            let open = view.nodes.iter().any(|node| {
                let free = node.leaves.iter().filter(|l| l.kind.as_deref() == part.kind);
                let precedes = |other: &&JobView| {
                    other.sched_nodes == node.name
                        && other.job_id != job.job_id
                        && (other.priority > job.priority
                            || (other.priority == job.priority && other.job_id < job.job_id))
                };
                let mut before = jobs.iter().filter(precedes);
                free.map(|leaves| leaves.free()).sum::<u64>() >= part.count
                    && before.all(|other| other.start_time.unwrap() >= end)
            });
            prop_assert!(open, "{update:?}");
            *taken.entry(part.kind.unwrap().to_owned()).or_default() += part.count;
        }
        for (kind, count) in taken {
            let leaves = view.nodes.iter().flat_map(|node| &node.leaves);
            let free: u64 =
                leaves.filter(|l| l.kind.as_deref() == Some(&kind)).map(LeafCount::free).sum();
            prop_assert!(count <= free, "{count} of {free} {kind}");
        }
    }

    #[test]
    fn once_made_nothing_is_changed_again_within_a_cycle(view in any_view(), wait in 0..30u64) {
        let mut planner = Planner::default();
        let updates = plan_with(&mut planner, &view, &settings());
        let mut later = view.clone();
        later.taken_at += wait;
        for update in &updates {
            planner.made(update, NOW, &settings());
            let jobs = later.jobs.as_mut().unwrap();
            let job = jobs.iter_mut().find(|job| job.job_id == update.job_id).unwrap();
            job.tres_per_node.clone_from(&update.tres_per_node);
            job.admin_comment = update.note.put_into(&update.comment);
        }
        let again = plan_with(&mut planner, &later, &settings());
        for update in again {
            prop_assert!(updates.iter().all(|made| made.job != update.job), "{update:?}");
        }
    }
}
