//! Choices with a view of what is free.

use super::*;
use crate::view::{ClusterView, JobView, LeafCount, NodeView, PartitionView};

/// A node with leaves as (type, configured, used).
fn node(name: &str, leaves: &[(&str, u64, u64)]) -> NodeView {
    let leaf = |&(kind, configured, used): &(&str, u64, u64)| LeafCount {
        kind: Some(kind.to_owned()),
        configured,
        used,
        used_indices: String::new(),
    };
    NodeView {
        name: name.into(),
        usable: true,
        cpus: 16,
        memory: 64_000,
        leaves: leaves.iter().map(leaf).collect(),
        ..NodeView::default()
    }
}

/// All nodes in one partition `all`, taken at [`NOW`].
fn view(nodes: Vec<NodeView>) -> ClusterView {
    let partition = PartitionView::of_all(&nodes);
    ClusterView { taken_at: NOW, nodes, partitions: vec![partition], ..ClusterView::default() }
}

fn seen(policy: &str, view: &ClusterView) -> Site {
    Site::of_view(&Policy::from_toml("flexmig.toml", policy).unwrap(), view)
}

/// Seven small leaves on one node, 3g+2g+1g+1g on another; so many of n2's 3g are taken.
fn two(used_3g: u64, used_small: u64) -> ClusterView {
    let mixed = [("1g.10gb", 2, used_small.min(2)), ("2g.20gb", 1, 1), ("3g.40gb", 1, used_3g)];
    view(vec![node("n1", &[("1g.10gb", 7, used_small)]), node("n2", &mixed)])
}

fn line(site: &Site, job: &Job) -> String {
    accepted(site, job).message.unwrap()
}

#[test]
fn slices_come_from_one_leaf_when_it_is_free() {
    let site = seen("", &two(0, 0));
    let decision = accepted(&site, &batch("gres/flexmig:3g:1"));
    assert_eq!(decision.tres_per_node.as_deref(), Some("gres/flexmig:3g.40gb:1"));
    assert_eq!(decision.note, "[flexmig:v1 req=3g:1 got=3g.40gb:1 fill=t why=slices]");
    assert_eq!(
        decision.message.as_deref(),
        Some("--gres=flexmig:3g:1: 1 leaf of 3g.40gb on one node, 1 task")
    );
    assert!(decision.flexible);
}

#[test]
fn slices_come_from_small_leaves_when_the_large_ones_are_busy() {
    let site = seen("", &two(1, 0));
    let decision = accepted(&site, &batch("gres/flexmig:3g:1"));
    let expected = Decision {
        tres_per_node: Some("gres/flexmig:1g.10gb:3".into()),
        min_nodes: Some(1),
        max_nodes: Some(1),
        num_tasks: Some(3),
        ntasks_per_node: Some(3),
        min_cpus: Some(3),
        promise: "1g.10gb:3".into(),
        note: "[flexmig:v1 req=3g:1 got=1g.10gb:3 fill=t why=starts-now]".into(),
        message: Some(
            "--gres=flexmig:3g:1: 3 leaves of 1g.10gb on one node, 3 tasks: no 3g.40gb is free"
                .into(),
        ),
        claims: vec![(Some("1g.10gb".into()), 3)],
        flexible: true,
        ..Decision::default()
    };
    assert_eq!(decision, expected);
    assert_eq!(
        line(&site, &gres("flexmig:3g:1")),
        "--gres=flexmig:3g:1: 3 leaves of 1g.10gb on one node: no 3g.40gb is free: \
         add -n 3, one task per leaf"
    );
    assert_eq!(
        line(&site, &Job { num_tasks: Some(4), min_cpus: Some(4), ..batch("flexmig:3g:1") }),
        "--gres=flexmig:3g:1: 3 leaves of 1g.10gb on one node: no 3g.40gb is free: \
         4 tasks are more than the leaves, --gres=flexmig:4 gives each its own"
    );
    let per_task = Job {
        tres_per_task: Some("gres/flexmig:3g:1"),
        num_tasks: Some(2),
        batch: true,
        ..Job::default()
    };
    let decision = accepted(&site, &per_task);
    assert_eq!(decision.tres_per_task.as_deref(), Some("gres/flexmig:1g.10gb:3"));
    assert_eq!(decision.promise, "1g.10gb:6");
    assert_eq!(
        decision.message.as_deref(),
        Some(
            "--tres-per-task=gres/flexmig:3g:1: 3 leaves of 1g.10gb for each of 2 tasks on one \
             node"
        )
    );
}

#[test]
fn what_waits_says_whether_it_stays() {
    let site = seen("", &two(1, 5));
    assert_eq!(
        line(&site, &batch("gres/flexmig:3g:1")),
        "--gres=flexmig:3g:1: 1 leaf of 3g.40gb on one node, 1 task: it has to wait, for other \
         leaves too"
    );
    let old = decide(&site, &OLD, &batch("gres:flexmig:3g:1")).unwrap().unwrap();
    assert_eq!(
        old.message.unwrap(),
        "--gres=flexmig:3g:1: 3 leaves of 1g.10gb on one node, 3 tasks: they have the shortest \
         queue: it has to wait for these, as Slurm 22.05.8 cannot change the type of a waiting job"
    );
    let fixed = seen("[select]\nreplan = false", &two(1, 5));
    assert_eq!(
        line(&fixed, &batch("gres/flexmig:3g:1")),
        "--gres=flexmig:3g:1: 3 leaves of 1g.10gb on one node, 3 tasks: they have the shortest \
         queue: it has to wait for these"
    );
    // Who names a type knows what it waits for.
    assert_eq!(
        line(&site, &batch("gres/flexmig:3g.40gb:1")),
        "--gres=flexmig:3g.40gb:1: 1 leaf of 3g.40gb on one node, 1 task"
    );
}

#[test]
fn a_type_is_composed_where_it_is_missing_or_busy_as_policy_says() {
    let missing = "--gres=flexmig:4g.40gb:1: 4 leaves of 1g.10gb on one node, 4 tasks: \
                   no 4g.40gb is there, and each leaf has 10 GB of its own";
    let small = view(vec![node("n1", &[("1g.10gb", 7, 0)])]);
    assert_eq!(line(&seen("", &small), &batch("flexmig:4g.40gb:1")), missing);
    let busy = seen("[select]\ncompose = \"busy\"", &two(1, 0));
    assert_eq!(
        line(&busy, &batch("flexmig:3g.40gb:1")),
        "--gres=flexmig:3g.40gb:1: 3 leaves of 1g.10gb on one node, 3 tasks: \
         no 3g.40gb is free, and each leaf has 10 GB of its own"
    );
    let waits = accepted(&seen("", &two(1, 0)), &batch("flexmig:3g.40gb:1"));
    assert_eq!(waits.promise, "3g.40gb:1");
}

#[test]
fn several_entries_are_chosen_together() {
    let site = seen("", &two(0, 0));
    let decision = accepted(&site, &batch("gres/gpu:1,gres/flexmig:3g:1,gres/flexmig:1g.10gb:2"));
    assert_eq!(
        decision.tres_per_node.as_deref(),
        Some("gres/gpu:1,gres/flexmig:3g.40gb:1,gres/flexmig:1g.10gb:2")
    );
    assert_eq!(decision.num_tasks, Some(3));
    let merged = accepted(&seen("", &two(1, 0)), &batch("flexmig:3g:1,flexmig:1g.10gb:2"));
    assert_eq!(merged.tres_per_node.as_deref(), Some("gres/flexmig:1g.10gb:5"));
    assert_eq!(merged.promise, "1g.10gb:5");
    assert_eq!(merged.note, "[flexmig:v1 req=3g:1,1g.10gb:2 got=1g.10gb:5 fill=t why=starts-now]");
}

#[test]
fn mixed_profiles_where_policy_allows() {
    let site = seen(
        "[select]\nmixed = true",
        &view(vec![node("n1", &[("1g.10gb", 2, 0), ("2g.20gb", 1, 0), ("3g.40gb", 1, 0)])]),
    );
    let decision = accepted(&site, &batch("flexmig:mixed:5"));
    assert_eq!(
        decision.tres_per_node.as_deref(),
        Some("gres/flexmig:3g.40gb:1,gres/flexmig:2g.20gb:1")
    );
    assert_eq!(
        decision.message.as_deref(),
        Some(
            "--gres=flexmig:mixed:5: 1 leaf of 3g.40gb and 1 leaf of 2g.20gb on one node, 2 tasks"
        )
    );
}

#[test]
fn what_was_handed_out_since_the_view_counts() {
    let site = seen("", &two(0, 0));
    let job = batch("flexmig:3g:1");
    let first = accepted(&site, &job);
    assert_eq!(first.promise, "3g.40gb:1");
    for (kind, leaves) in &first.claims {
        site.claim(kind.as_deref(), *leaves);
    }
    assert_eq!(accepted(&site, &job).promise, "1g.10gb:3");
    // A view that is too old tells nothing.
    let later = Dialect { now: NOW + 61, ..NEW };
    let decision = decide(&seen("", &two(1, 0)), &later, &job).unwrap().unwrap();
    assert_eq!((decision.promise.as_str(), &decision.claims[..]), ("3g.40gb:1", &[][..]));
}

#[test]
fn jobs_that_wait_since_the_view_count_in_the_queue() {
    let site = seen("", &two(1, 5));
    let job = batch("gres:flexmig:3g:1");
    let promise = || {
        let decision = decide(&site, &OLD, &job).unwrap().unwrap();
        assert_eq!(decision.claims, []);
        site.queue_up(&decision.waits);
        decision.promise
    };
    // Of nine small leaves and one large: 3/9 asked for, 6/9, then 9/9 against 1/1, then 2/1.
    let promises = [promise(), promise(), promise(), promise()];
    assert_eq!(promises, ["1g.10gb:3", "1g.10gb:3", "3g.40gb:1", "1g.10gb:3"]);
}

#[test]
fn leaves_are_left_to_the_first_jobs_of_the_queue() {
    let job = |id: u32, got: &str| JobView {
        job_id: id,
        priority: 10_000 - id,
        reason: "Resources".into(),
        tres_per_node: format!("gres/flexmig:{got}"),
        ..JobView::default()
    };
    // The small leaves are busy, one large is free; so many jobs go before the one that wants it.
    let first_of = |before: u32| {
        let mut view = view(vec![node("n1", &[("1g.10gb", 7, 7), ("3g.40gb", 2, 1)])]);
        let mut jobs: Vec<JobView> = (1..=before).map(|id| job(id, "1g.10gb:1")).collect();
        jobs.push(job(before + 1, "3g.40gb:1"));
        // Slurm does not tell them in their order.
        jobs.reverse();
        view.jobs = Some(jobs);
        seen("", &view)
    };
    let promise = |site: &Site| accepted(site, &batch("flexmig:1g:1")).promise;
    assert_eq!(promise(&first_of(19)), "1g.10gb:1");
    assert_eq!(promise(&first_of(20)), "3g.40gb:1");
    // Those that began to wait since the view are behind them.
    let site = seen("", &view(vec![node("n1", &[("1g.10gb", 7, 7), ("3g.40gb", 2, 1)])]));
    assert_eq!(promise(&site), "3g.40gb:1");
    (0..20).for_each(|_| site.queue_up(&[(Some("1g.10gb".into()), 1)]));
    site.queue_up(&[(Some("3g.40gb".into()), 1)]);
    assert_eq!(promise(&site), "3g.40gb:1");
}

#[test]
fn slurm_chooses_between_types_that_features_tell_apart() {
    let with = |node: NodeView, features: &[&str]| NodeView {
        features: features.iter().map(|&feature| feature.to_owned()).collect(),
        ..node
    };
    let small = with(node("n1", &[("1g.10gb", 7, 7)]), &["ib", "small"]);
    let large = with(node("n2", &[("3g.40gb", 2, 0)]), &["ib", "big"]);
    let site = seen("", &view(vec![small.clone(), large.clone()]));
    let decision = accepted(&site, &batch("gres/flexmig:2"));
    let expected = Decision {
        tres_per_node: Some("gres/flexmig:2".into()),
        min_nodes: Some(1),
        max_nodes: Some(1),
        num_tasks: Some(2),
        ntasks_per_node: Some(2),
        min_cpus: Some(2),
        features: Some("[small|big]".into()),
        prefer: Some("small".into()),
        promise: "any:2".into(),
        note: "[flexmig:v1 req=2 got=2 fill=t why=features]".into(),
        message: Some(
            "--gres=flexmig:2: 2 leaves of 1g.10gb or of 3g.40gb, whichever starts first, on one \
             node, 2 tasks"
                .into(),
        ),
        claims: vec![(Some("1g.10gb".into()), 2)],
        ..Decision::default()
    };
    assert_eq!(decision, Decision { claims: expected.claims.clone(), ..decision.clone() });
    assert_eq!(Decision { claims: decision.claims.clone(), ..expected }, decision);
    // Not where the user constrains the job, the numbers differ, or only one type will do.
    let typed = |job: Job| {
        let decision = accepted(&site, &job);
        assert_eq!((decision.features, decision.prefer), (None, None));
        decision.promise
    };
    assert_eq!(
        typed(Job { features: Some("ib"), narrowed: true, ..batch("flexmig:2") }),
        "1g.10gb:2"
    );
    assert_eq!(typed(Job { prefer: Some("big"), ..batch("flexmig:2") }), "3g.40gb:2");
    assert_eq!(typed(batch("flexmig:3g:1")), "3g.40gb:1");
    assert_eq!(typed(batch("flexmig:20gb:2")), "3g.40gb:2");
    assert_eq!(typed(batch("flexmig:3")), "1g.10gb:3");
    // Two types of enough memory are left to Slurm too.
    let medium = with(node("n3", &[("2g.20gb", 3, 0)]), &["medium"]);
    let site = seen("", &view(vec![small, large, medium]));
    let decision = accepted(&site, &batch("flexmig:20gb:2"));
    assert_eq!(decision.features.as_deref(), Some("[medium|big]"));
    assert_eq!(decision.prefer.as_deref(), Some("medium"));
    // The re-planner is told types.
    let again = |starts: Option<&dyn Fn(&Decision) -> bool>| {
        let decision = decide_again(&site, &NEW, &batch("flexmig:20gb:2"), starts);
        decision.map(|decision| decision.promise)
    };
    assert_eq!(again(None).as_deref(), Some("2g.20gb:2"));
    let large = |decision: &Decision| decision.promise == "3g.40gb:2";
    assert_eq!(again(Some(&large)).as_deref(), Some("3g.40gb:2"));
    assert_eq!(again(Some(&|_| false)), None);
}

#[test]
fn an_update_of_a_job_of_the_view_follows_the_rules_of_a_submit() {
    let mut view = two(1, 0);
    view.partitions.push(PartitionView {
        name: "large".into(),
        nodes: "n2".into(),
        up: true,
        ..PartitionView::default()
    });
    view.jobs = Some(vec![JobView {
        job_id: 20,
        array_job_id: Some(20),
        array_tasks: "3-5".into(),
        partition: "all".into(),
        num_tasks: Some(4),
        min_nodes: Some(1),
        min_cpus: Some(4),
        batch: true,
        tres_per_node: "gres/flexmig:1g.10gb:4".into(),
        admin_comment: "hi [flexmig:v1 req=4 got=1g.10gb:4 fill=t why=smallest]".into(),
        ..JobView::default()
    }]);
    let site = seen("[submit]\nmax_leaves_per_job = 6\n[span]\npartitions = [\"all\"]", &view);
    let update = |id| Job { id: Some(id), by_admin: true, ..gres("gres/flexmig:3g:1") };
    for id in ["20", "20_3", "20_[3-5]"] {
        let decision = decide_change(&site, &NEW, &update(id)).unwrap().unwrap();
        let expected = Decision {
            tres_per_node: Some("gres/flexmig:1g.10gb:3".into()),
            num_tasks: Some(3),
            ntasks_per_node: Some(3),
            min_cpus: Some(3),
            promise: "1g.10gb:3".into(),
            note: "[flexmig:v1 req=3g:1 got=1g.10gb:3 fill=t why=starts-now]".into(),
            ..Decision::default()
        };
        assert_eq!(decision, expected);
    }
    let told = |job: &Job| decide_change(&site, &NEW, job).unwrap_err().to_string();
    // Other partitions would give other leaves, and one would not allow them.
    assert_eq!(
        told(&update("21")),
        "Gres=flexmig:3g:1: site policy restricts who may have more than one leaf, and an update \
         does not say whose job it is: cancel the job and submit it again, or repeat it in 10 s"
    );
    assert_eq!(
        told(&Job { partition: Some("large"), id: Some("20"), ..gres("flexmig:2") }),
        "Gres=flexmig:2: site policy allows more than one leaf only in partition all: \
         add Partition=all, or type Gres=flexmig:1g.10gb:1"
    );
    assert_eq!(site.admin_comment("20_4"), Some(&*view.jobs.unwrap()[0].admin_comment));
    assert_eq!(
        decide_change(&site, &OLD, &update("20")).unwrap_err().to_string(),
        "Gres=flexmig:3g:1: Slurm 22.05.8 would add it to what the job already asks for: \
         cancel the job and submit it again"
    );
}

#[test]
fn gpus_of_a_mig_type_are_translated() {
    let site = seen("[translate]\ngpu = true", &two(0, 0));
    let decision = accepted(&site, &batch("gres:gpu:a100_3g.40gb:1,gres:gpu:a100:1"));
    assert_eq!(decision.tres_per_node.as_deref(), Some("gres/flexmig:3g.40gb:1,gres/gpu:a100:1"));
    assert!(decision.translated);
    assert_eq!(
        decision.message.as_deref(),
        Some("--gres=gpu:a100_3g.40gb:1: 1 leaf of 3g.40gb on one node, 1 task")
    );
    assert_eq!(decide(&site, &NEW, &batch("gres:gpu:a100:1")), Ok(None));
    assert_eq!(decide(&seen("", &two(0, 0)), &NEW, &batch("gres:gpu:3g.40gb:1")), Ok(None));
}

#[test]
fn a_cluster_without_nodes_and_one_without_leaves_are_told() {
    let empty = seen("", &view(Vec::new()));
    let bare = seen("", &view(vec![node("n1", &[])]));
    for site in [empty, bare] {
        assert_eq!(
            told(&site, &gres("flexmig:3g:1")),
            "--gres=flexmig:3g:1: partition all has no leaves: leave flexmig out"
        );
    }
}
