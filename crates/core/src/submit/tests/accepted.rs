//! What becomes of jobs that are accepted.

use super::*;

#[test]
fn jobs_without_leaves_are_left_alone() {
    let site = site(CLUSTER, "");
    for request in ["gres:gpu:1", "gres/gpu:flexmig:2", "", "license/flexmig:1"] {
        assert_eq!(decide(&site, &NEW, &gres(request)), Ok(None), "{request}");
    }
    assert_eq!(decide(&site, &NEW, &Job::default()), Ok(None));
}

#[test]
fn a_count_gets_the_smallest_profile_on_one_node() {
    let site = site(CLUSTER, "");
    let decision = accepted(&site, &batch("gres/flexmig:4"));
    let expected = Decision {
        tres_per_node: Some("gres/flexmig:1g.10gb:4".into()),
        min_nodes: Some(1),
        max_nodes: Some(1),
        num_tasks: Some(4),
        ntasks_per_node: Some(4),
        min_cpus: Some(4),
        promise: "1g.10gb:4".into(),
        note: "[flexmig:v1 req=4 got=1g.10gb:4 fill=t why=smallest]".into(),
        message: Some("--gres=flexmig:4: 4 leaves of 1g.10gb on one node, 4 tasks".into()),
        ..Decision::default()
    };
    assert_eq!(decision, expected);
    let old = decide(&site, &OLD, &batch("gres:flexmig:4")).unwrap().unwrap();
    assert_eq!(old.tres_per_node.as_deref(), Some("gres:flexmig:1g.10gb:4"));
}

#[test]
fn interactive_jobs_are_told_to_name_their_tasks() {
    let site = site(CLUSTER, "");
    let message = |job| accepted(&site, &job).message.unwrap();
    assert_eq!(
        message(gres("gres/flexmig:4")),
        "--gres=flexmig:4: 4 leaves of 1g.10gb on one node: add -n 4, one task per leaf"
    );
    assert_eq!(message(gres("flexmig")), "--gres=flexmig:1: 1 leaf of 1g.10gb on one node");
    assert_eq!(
        message(Job { num_tasks: Some(2), ..gres("flexmig:2") }),
        "--gres=flexmig:2: 2 leaves of 1g.10gb on one node"
    );
    let two = Job { min_nodes: Some(2), max_nodes: Some(2), ..gres("flexmig:2") };
    assert_eq!(
        message(two),
        "--gres=flexmig:2: 2 leaves of 1g.10gb on each of 2 nodes: add -n 4, one task per leaf"
    );
    let range = Job { min_nodes: Some(2), max_nodes: Some(4), ..gres("flexmig:2") };
    assert_eq!(message(range), "--gres=flexmig:2: 2 leaves of 1g.10gb on each node");
    assert_eq!(accepted(&site, &gres("flexmig:4")).num_tasks, None);
}

#[test]
fn types_are_found_by_name_shape_and_size() {
    let conf = "NodeName=n1 CPUs=4 Gres=flexmig:a100_1g.10gb+me:1,flexmig:a100_1g.10gb:5,\
                flexmig:1g.20gb:2,flexmig:a100_2g.20gb:4,flexmig:big:1";
    let site = site(conf, "");
    for (request, expected, why) in [
        ("flexmig:2", "a100_1g.10gb:2", "smallest"),
        ("flexmig:1g.10gb:2", "a100_1g.10gb:2", "shape"),
        ("flexmig:1g.10gb+me", "a100_1g.10gb+me:1", "shape"),
        ("flexmig:1g.10gb+gfx", "a100_1g.10gb:1", "shape"),
        ("flexmig:A100_2G.20GB:3", "a100_2g.20gb:3", "exact"),
        ("flexmig:h100_2g.20gb:3", "a100_2g.20gb:3", "shape"),
        ("flexmig:big", "big:1", "exact"),
        ("flexmig:11gb:2", "1g.20gb:2", "memory"),
        ("flexmig:20GB:3", "a100_2g.20gb:3", "memory"),
        ("flexmig:10gb:1", "a100_1g.10gb:1", "memory"),
    ] {
        let decision = accepted(&site, &gres(request));
        let expected = format!("gres/flexmig:{expected}");
        assert_eq!(decision.tres_per_node.as_deref(), Some(expected.as_str()), "{request}");
        assert!(decision.note.ends_with(&format!(" why={why}]")), "{}", decision.note);
    }
}

#[test]
fn size_labels_and_single_types_work_too() {
    let labels = site("NodeName=n1 Gres=flexmig:a100_20gb:2,flexmig:a100_10gb:2", "");
    let request = |site, request| accepted(site, &gres(request)).tres_per_node.unwrap();
    assert_eq!(request(&labels, "flexmig:2"), "gres/flexmig:a100_10gb:2");
    assert_eq!(request(&labels, "flexmig:15gb:1"), "gres/flexmig:a100_20gb:1");
    let only = site("NodeName=n1 Gres=flexmig:leaf:2", "");
    assert_eq!(request(&only, "flexmig:2"), "gres/flexmig:leaf:2");
}

#[test]
fn untyped_leaves_stay_untyped() {
    let site = site("NodeName=n1 CPUs=8 Gres=flexmig:7", "[submit]\nprofiles = [\"1g.10gb\"]");
    let decision = accepted(&site, &batch("gres:flexmig:2"));
    assert_eq!(decision.tres_per_node.as_deref(), Some("gres/flexmig:2"));
    assert_eq!(decision.promise, "any:2");
    assert_eq!(decision.note, "[flexmig:v1 req=2 got=2 fill=t why=untyped]");
    assert_eq!(
        decision.message.as_deref(),
        Some("--gres=flexmig:2: 2 leaves on one node, 2 tasks")
    );
}

#[test]
fn policy_says_what_is_on_offer() {
    let site = site(CLUSTER, "[submit]\nprofiles = [\"2g.20gb\", \"3g.40gb\"]\nexplain = false");
    let decision = accepted(&site, &in_partition("mixed", "flexmig:2"));
    assert_eq!(decision.tres_per_node.as_deref(), Some("gres/flexmig:2g.20gb:2"));
    assert_eq!(decision.message, None);
    let decision = accepted(&site, &in_partition("mixed", "flexmig:10gb:2"));
    assert_eq!(decision.tres_per_node.as_deref(), Some("gres/flexmig:2g.20gb:2"));
}

#[test]
fn several_types_and_other_gres_go_together() {
    let site = site(CLUSTER, "");
    let job = in_partition("mixed", "gres:gpu:1,gres:flexmig:1g.10gb:1,gres:flexmig:40gb:2");
    let decision = accepted(&site, &job);
    assert_eq!(
        decision.tres_per_node.as_deref(),
        Some("gres/gpu:1,gres/flexmig:1g.10gb:1,gres/flexmig:3g.40gb:2")
    );
    assert_eq!(decision.promise, "1g.10gb:1,3g.40gb:2");
    assert_eq!(
        decision.message.as_deref(),
        Some(
            "--gres=flexmig:1g.10gb:1,flexmig:40gb:2: 1 leaf of 1g.10gb and 2 leaves of 3g.40gb \
             on one node: add -n 3, one task per leaf"
        )
    );
}

#[test]
fn node_counts_of_the_user_are_kept() {
    let site = site(CLUSTER, "");
    let nodes = |job: Job| {
        let decision = accepted(&site, &job);
        (decision.min_nodes, decision.max_nodes, decision.ntasks_per_node)
    };
    let job = gres("flexmig:2");
    assert_eq!(nodes(Job { min_nodes: Some(2), max_nodes: Some(2), ..job }), (None, None, None));
    assert_eq!(nodes(Job { min_nodes: Some(2), ..job }), (None, None, None));
    // Tasks stay together on the one node.
    assert_eq!(nodes(Job { num_tasks: Some(3), ..job }), (Some(1), Some(1), Some(3)));
    // Slurm would hold 30 tasks per node against the CPUs.
    let crowded = Job { num_tasks: Some(30), min_cpus: Some(1), overcommit: true, ..job };
    assert_eq!(nodes(crowded), (Some(1), Some(1), None));
    // -n 4 --ntasks-per-node=2 are two nodes; new clients send the minimum themselves.
    let pairs = Job { num_tasks: Some(4), ntasks_per_node: Some(2), ..job };
    assert_eq!(nodes(pairs), (Some(2), Some(2), None));
    assert_eq!(nodes(Job { min_nodes: Some(2), ..pairs }), (None, Some(2), None));
    // So does --nodelist; REST clients send the list alone.
    let listed = Job { named_nodes: Some(2), ..job };
    assert_eq!(nodes(Job { min_nodes: Some(2), ..listed }), (None, Some(2), None));
    assert_eq!(nodes(listed), (Some(2), Some(2), None));
}

#[test]
fn batch_jobs_get_tasks_cpus_and_memory_as_policy_says() {
    let policy = "[submit]\ncpus_per_leaf = 3\nmemory_per_leaf = 1000";
    let generous = site(CLUSTER, policy);
    let decision = accepted(&generous, &batch("flexmig:4"));
    assert_eq!((decision.num_tasks, decision.cpus_per_task), (Some(4), Some(3)));
    assert_eq!((decision.min_cpus, decision.memory), (Some(12), Some(4000)));
    assert_eq!(
        decision.message.as_deref(),
        Some(
            "--gres=flexmig:4: 4 leaves of 1g.10gb on one node, 4 tasks, 3 CPUs per task, \
             4000 MiB of memory per node"
        )
    );
    // Two nodes have twice the tasks.
    let two = Job { min_nodes: Some(2), max_nodes: Some(2), ..batch("flexmig:4") };
    let decision = accepted(&generous, &two);
    assert_eq!((decision.num_tasks, decision.ntasks_per_node), (Some(8), Some(4)));
    assert_eq!((decision.min_cpus, decision.memory), (Some(24), Some(4000)));
    // What the user says counts.
    let own = Job { num_tasks: Some(2), min_cpus: Some(2), ..batch("flexmig:4") };
    let decision = accepted(&generous, &own);
    assert_eq!((decision.num_tasks, decision.cpus_per_task), (None, Some(6)));
    let own = Job { cpus_per_task: Some(2), min_cpus: Some(2), memory: true, ..batch("flexmig:4") };
    let decision = accepted(&generous, &own);
    assert_eq!((decision.num_tasks, decision.cpus_per_task), (Some(4), None));
    assert_eq!((decision.min_cpus, decision.memory), (Some(8), None));
    // srun and salloc are left alone.
    let decision = accepted(&generous, &gres("flexmig:4"));
    assert_eq!((decision.num_tasks, decision.cpus_per_task, decision.memory), (None, None, None));
}

#[test]
fn filling_never_makes_a_job_impossible() {
    let site = site(CLUSTER, "[submit]\ncpus_per_leaf = 3");
    // 8 leaves with 3 CPUs each are more than 16.
    let decision = accepted(&site, &batch("flexmig:8"));
    assert_eq!((decision.num_tasks, decision.cpus_per_task), (Some(8), None));
    // One launcher with all the CPUs.
    let job = Job { cpus_per_task: Some(12), min_cpus: Some(12), ..batch("flexmig:4") };
    assert_eq!(accepted(&site, &job).num_tasks, None);
}

#[test]
fn fill_tasks_can_be_turned_off() {
    let site = site(CLUSTER, "[submit]\nfill_tasks = false\ncpus_per_leaf = 2");
    let decision = accepted(&site, &batch("flexmig:4"));
    assert_eq!((decision.num_tasks, decision.cpus_per_task), (None, Some(8)));
    assert_eq!(decision.min_cpus, Some(8));
}

#[test]
fn leaves_per_task_stay_on_one_node() {
    let site = site(CLUSTER, "[submit]\ncpus_per_leaf = 2\nmemory_per_leaf = 10");
    let per_task = Job {
        tres_per_task: Some("cpu:2,gres/flexmig:1"),
        num_tasks: Some(4),
        min_cpus: Some(4),
        batch: true,
        ..Job::default()
    };
    let decision = accepted(&site, &per_task);
    assert_eq!(decision.tres_per_node, None);
    assert_eq!(decision.tres_per_task.as_deref(), Some("cpu:2,gres/flexmig:1g.10gb:1"));
    assert_eq!((decision.min_nodes, decision.max_nodes), (Some(1), Some(1)));
    assert_eq!((decision.num_tasks, decision.ntasks_per_node), (None, Some(4)));
    assert_eq!((decision.cpus_per_task, decision.memory), (Some(2), Some(40)));
    assert_eq!(decision.promise, "1g.10gb:4");
    assert_eq!(decision.note, "[flexmig:v1 req=1/task got=1g.10gb:1/task fill=cm why=smallest]");
    assert_eq!(
        decision.message.as_deref(),
        Some(
            "--tres-per-task=gres/flexmig:1: 1 leaf of 1g.10gb for each of 4 tasks on one node, \
             2 CPUs per task, 40 MiB of memory per node"
        )
    );
    let two = Job { min_nodes: Some(2), max_nodes: Some(2), ..per_task };
    assert_eq!(accepted(&site, &two).promise, "1g.10gb");
}

#[test]
fn a_limit_per_job_bounds_open_ranges() {
    let site = site(CLUSTER, "[submit]\nmax_leaves_per_job = 7");
    let open = Job { min_nodes: Some(1), ..gres("flexmig:2") };
    assert_eq!(accepted(&site, &open).max_nodes, Some(3));
}

#[test]
fn who_may_span_leaves_is_checked_against_every_list() {
    let policy =
        "[span]\npartitions = [\"mixed\", \"both\"]\naccounts = [\"Physics\"]\nqos = [\"long\"]";
    let site = site(CLUSTER, policy);
    let job = Job {
        account: Some("physics"),
        qos: Some("long"),
        ..in_partition("mixed,both", "flexmig:2")
    };
    assert!(decide(&site, &NEW, &job).is_ok());
    assert!(decide(&site, &NEW, &gres("flexmig:1")).is_ok(), "one leaf is for everybody");
}

#[test]
fn nothing_is_impossible_with_dynamic_nodes_or_without_slurm_conf() {
    let dynamic = site(&format!("{CLUSTER}MaxNodeCount=10\n"), "");
    let request = |site, request| accepted(site, &gres(request)).tres_per_node.unwrap();
    assert_eq!(request(&dynamic, "flexmig:99"), "gres/flexmig:1g.10gb:99");
    assert_eq!(request(&dynamic, "flexmig:7g.80gb:1"), "gres/flexmig:7g.80gb:1");
    let blind = Site::new(&Policy::default(), None);
    assert_eq!(request(&blind, "gres:flexmig:4"), "gres/flexmig:4");
    assert_eq!(request(&blind, "flexmig:1g.10gb:4"), "gres/flexmig:1g.10gb:4");
}

#[test]
fn a_partition_that_slurm_conf_does_not_know_can_have_any_node() {
    let site = site(CLUSTER, "");
    let decision = accepted(&site, &in_partition("new", "flexmig:3g.40gb"));
    assert_eq!(decision.tres_per_node.as_deref(), Some("gres/flexmig:3g.40gb:1"));
}

#[test]
fn notes_are_cut_to_their_size() {
    let site = Site::new(&Policy::default(), None);
    let request = format!("flexmig:{}]:1", "x".repeat(300));
    let note = accepted(&site, &gres(&request)).note;
    assert!(note.len() <= note::MAX && note.ends_with("... why=exact]"), "{note}");
}

#[test]
fn a_partition_that_is_named_often_is_looked_at_once() {
    let site = site(CLUSTER, "");
    let list = "small,mixed,new,other,".repeat(20_000);
    assert_eq!(
        site.scope(Some(&list)).offers().count(),
        3,
        "small, mixed, and any for the unknown"
    );
    let often = accepted(&site, &in_partition(&list, "flexmig:2"));
    assert_eq!(often, accepted(&site, &in_partition("small,mixed,new", "flexmig:2")));
}

#[test]
fn leaves_are_those_of_the_nodes_and_the_feature_that_the_job_names() {
    let conf = "NodeName=n[1-2] CPUs=16 Gres=flexmig:1g.10gb:7 Feature=small\n\
                NodeName=n3 CPUs=16 Gres=flexmig:3g.40gb:2 Feature=large\n\
                NodeName=n4 CPUs=16\n\
                PartitionName=all Nodes=ALL Default=YES";
    let site = site(conf, "");
    let on = |list| Job { req_nodes: Some(list), narrowed: true, ..gres("flexmig:3g:1") };
    assert_eq!(accepted(&site, &on("n[1-2]")).promise, "1g.10gb:3");
    assert_eq!(accepted(&site, &on("n3")).promise, "3g.40gb:1");
    assert_eq!(
        told(&site, &on("n[2-3]")),
        "-w n[2-3] --gres=flexmig:3g:1: not every node that is named has leaves for 3 slices: \
         name other nodes, or leave -w out"
    );
    assert_eq!(accepted(&site, &on("n4,n9")).promise, "3g.40gb:1", "Slurm's to refuse");
    let with = |feature| Job { features: Some(feature), narrowed: true, ..gres("flexmig:3g:1") };
    assert_eq!(accepted(&site, &with("small")).promise, "1g.10gb:3");
    assert_eq!(accepted(&site, &with("large")).promise, "3g.40gb:1");
    assert_eq!(accepted(&site, &with("small|large")).promise, "3g.40gb:1", "Slurm's to read");
    assert_eq!(accepted(&site, &with("medium")).promise, "3g.40gb:1", "Slurm's to refuse");
    let three = Job { features: Some("large"), narrowed: true, ..gres("flexmig:3") };
    assert_eq!(
        told(&site, &three),
        "-C large --gres=flexmig:3: no node of partition all with feature large has 3 leaves of \
         one type: leave -C large out"
    );
}
