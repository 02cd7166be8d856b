//! Every rejection, with its text as the user sees it after `flexmig: `.

use super::*;

#[test]
fn requests_that_cannot_be_read() {
    let site = site(CLUSTER, "");
    for (request, expected) in [
        (
            "gres:flexmig:0",
            "--gres=flexmig:0: \"0\" is not a count from 1 up: type flexmig:N with N leaves per node",
        ),
        (
            "gres/flexmig:-1",
            "--gres=flexmig:-1: \"-1\" is not a count from 1 up: type flexmig:N with N leaves per node",
        ),
        (
            "flexmig:1g.10gb:99999999999999999999",
            "--gres=flexmig:1g.10gb:99999999999999999999: \"99999999999999999999\" is not a count from 1 up: type flexmig:N with N leaves per node",
        ),
        (
            "flexmig:",
            "--gres=flexmig:: cannot be read: type flexmig:N, flexmig:PROFILE:N, flexmig:20gb:N or flexmig:3g:N",
        ),
        (
            "flexmig:1g.10gb:2:2",
            "--gres=flexmig:1g.10gb:2:2: cannot be read: type flexmig:N, flexmig:PROFILE:N, flexmig:20gb:N or flexmig:3g:N",
        ),
    ] {
        assert_eq!(told(&site, &gres(request)), expected);
    }
}

#[test]
fn more_entries_than_any_job_needs() {
    let site = site(CLUSTER, "");
    assert_eq!(
        told(&site, &gres(&vec!["flexmig:1g:9P"; 17].join(","))),
        "--gres=...: 17 entries for leaves, and 16 are the most: \
         type each profile once, as flexmig:PROFILE:N"
    );
    assert!(accepted(&site, &gres(&["flexmig:1g:1"; 3].join(","))).tres_per_node.is_some());
}

#[test]
fn types_that_are_not_there() {
    let site = site(CLUSTER, "");
    assert_eq!(
        told(&site, &gres("flexmig:big:2")),
        "--gres=flexmig:big:2: partition small has no leaves of type big: \
         type --gres=flexmig:1g.10gb:2"
    );
    let whole = self::site(CLUSTER, "[select]\ncompose = \"never\"");
    assert_eq!(
        told(&whole, &in_partition("mixed", "flexmig:7g.80gb:1")),
        "--gres=flexmig:7g.80gb:1: partition mixed has no leaves of 7g.80gb, and site policy \
         composes none of others: type --gres=flexmig:TYPE:1 with TYPE 1g.10gb, 2g.20gb or 3g.40gb"
    );
    let labels = self::site("NodeName=n1 Gres=flexmig:20gb:2", "");
    assert_eq!(
        told(&labels, &gres("flexmig:7g.80gb:1")),
        "--gres=flexmig:7g.80gb:1: this cluster has no leaves of 7g.80gb, and its types do not \
         tell their slices: type --gres=flexmig:20gb:1"
    );
    assert_eq!(
        told(&labels, &gres("flexmig:3g:1")),
        "--gres=flexmig:3g:1: the types of this cluster do not tell their sizes: \
         type --gres=flexmig:20gb:1"
    );
    assert_eq!(
        told(&site, &in_partition("small,mixed", "flexmig:80gb:2")),
        "--gres=flexmig:80gb:2: the largest leaves of partitions small,mixed have 40 GB: \
         type --gres=flexmig:3g.40gb:2"
    );
    assert_eq!(
        told(&site, &in_partition("cpu", "flexmig:2")),
        "--gres=flexmig:2: partition cpu has no leaves: add -p small, mixed or both"
    );
}

#[test]
fn mixed_profiles_where_policy_gives_none() {
    assert_eq!(
        denied(&site(CLUSTER, ""), &gres("flexmig:mixed:4")),
        "--gres=flexmig:mixed:4: site policy gives a job leaves of one profile only: \
         type --gres=flexmig:4 for equal leaves"
    );
}

#[test]
fn more_slices_than_a_node_has() {
    let site = site(CLUSTER, "[select]\nmixed = true");
    for (partition, request, expected) in [
        (
            "small",
            "flexmig:3g:5",
            "no node of partition small has leaves for 15 slices: \
             type at most -N 4 --gres=flexmig:3g:4",
        ),
        (
            "mixed",
            "flexmig:3g:3",
            "no node of partition mixed has leaves for 9 slices: \
             type at most -N 2 --gres=flexmig:3g:2, or add -p small or both",
        ),
        (
            "small",
            "flexmig:3g:17",
            "no node of partition small has leaves for 51 slices: \
             type at most -N 4 --gres=flexmig:3g:4",
        ),
        (
            "small",
            "flexmig:3g.40gb:5",
            "no node of partition small has leaves for 15 slices: \
             type at most -N 4 --gres=flexmig:3g.40gb:4",
        ),
        (
            "mixed",
            "flexmig:mixed:19",
            "no node of partition mixed has leaves for 19 slices: \
             type at most --gres=flexmig:mixed:18",
        ),
        (
            "small",
            "flexmig:7g:3,flexmig:1g.10gb:1",
            "no node of partition small has 22 leaves of 1g.10gb: \
             type at most --gres=flexmig:7g:2",
        ),
        (
            "mixed",
            "flexmig:3g:2,flexmig:2g.20gb:9",
            "no node of partition mixed has 2 leaves of 3g.40gb and 9 leaves of 2g.20gb: \
             type at most --gres=flexmig:3g:2,flexmig:2g.20gb:4",
        ),
        (
            "mixed",
            "flexmig:20gb:5",
            "no node of partition mixed has 5 leaves of one type with 20 GB: \
             type at most -N 2 --gres=flexmig:2g.20gb:4",
        ),
        (
            "mixed",
            "flexmig:5",
            "no node of partition mixed has 5 leaves of one type: \
             type at most -N 2 --gres=flexmig:1g.10gb:4, or add -p small or both",
        ),
    ] {
        let told = told(&site, &in_partition(partition, request));
        assert_eq!(told, format!("--gres={request}: {expected}"));
    }
    let huge = told(&site, &gres("flexmig:3g:18446744073709551615"));
    assert!(huge.ends_with(" slices: type at most -N 4 --gres=flexmig:3g:4"), "{huge}");
}

#[test]
fn slices_are_counted_in_leaves_by_policys_limits() {
    let site = site(CLUSTER, "[submit]\nmax_leaves_per_node = 4\nmax_leaves_per_job = 6");
    assert_eq!(
        denied(&site, &gres("flexmig:3g:2")),
        "--gres=flexmig:3g:2: site policy allows at most 4 leaves per node: \
         type -N 2 --gres=flexmig:3g:1"
    );
    // The large leaves are few enough.
    let decision = accepted(&site, &in_partition("mixed", "flexmig:3g:2"));
    assert_eq!(decision.promise, "3g.40gb:2");
}

#[test]
fn srun_that_would_ask_for_what_the_job_has_not() {
    let site = site(CLUSTER, "");
    let srun = |request| Job { repeats: true, ..gres(request) };
    assert_eq!(
        told(&site, &srun("flexmig:3g:1")),
        "--gres=flexmig:3g:1: srun of Slurm 24.11.5 asks for the same when it starts the tasks, \
         and the job would have 3 leaves of 1g.10gb: type --gres=flexmig:1g.10gb:3, or use sbatch \
         or salloc"
    );
    for request in ["flexmig:2", "flexmig:1g.10gb:2"] {
        assert_eq!(accepted(&site, &srun(request)).promise, "1g.10gb:2");
    }
}

#[test]
fn gpus_where_an_option_counts_them() {
    let site = site(CLUSTER, "[translate]\ngpu = true");
    let job = Job { per_gpu: Some("--cpus-per-gpu"), ..gres("gres:gpu:1g.10gb:2") };
    assert_eq!(
        told(&site, &job),
        "--gres=gpu:1g.10gb:2: the site gives leaves for GPUs of a MIG type, and --cpus-per-gpu \
         counts GPUs: leave --cpus-per-gpu out"
    );
    assert_eq!(
        told(&site, &gres("gpu:a100_1g.10gb:15")),
        "--gres=gpu:a100_1g.10gb:15: no node of partition small has 15 leaves of 1g.10gb: \
         type -N 3 --gres=flexmig:1g.10gb:5"
    );
}

#[test]
fn clusters_whose_types_say_little() {
    let untyped = site("NodeName=n1 Gres=flexmig:7\nPartitionName=p Nodes=n1 Default=YES", "");
    assert_eq!(
        told(&untyped, &gres("flexmig:1g.10gb:2")),
        "--gres=flexmig:1g.10gb:2: the leaves of this cluster have no types: type --gres=flexmig:2"
    );
    let labels = "NodeName=n1 Gres=flexmig:a:2,flexmig:b:2\nPartitionName=p Nodes=n1 Default=YES";
    let labels = site(labels, "");
    for request in ["flexmig:2", "flexmig:20gb:2"] {
        assert_eq!(
            told(&labels, &gres(request)),
            format!(
                "--gres={request}: the types of partition p do not tell their sizes: \
                 type --gres=flexmig:TYPE:2 with TYPE a or b"
            )
        );
    }
    let blind = Site::new(&Policy::default(), None);
    assert_eq!(
        told(&blind, &gres("flexmig:20gb:2")),
        "--gres=flexmig:20gb:2: slurm.conf does not tell which leaves there are: \
         type --gres=flexmig:TYPE:2"
    );
}

#[test]
fn more_leaves_than_a_node_has() {
    let site = site(CLUSTER, "");
    for (request, instead) in [
        ("flexmig:20", "type -N 2 --gres=flexmig:1g.10gb:10"),
        ("flexmig:15", "type -N 3 --gres=flexmig:1g.10gb:5"),
        ("flexmig:56", "type -N 4 --gres=flexmig:1g.10gb:14"),
        ("flexmig:17", "type at most -N 4 --gres=flexmig:1g.10gb:14"),
        ("flexmig:2K", "type at most -N 4 --gres=flexmig:1g.10gb:14"),
    ] {
        let count = request.replace("flexmig:", "").replace("2K", "2048");
        assert_eq!(
            told(&site, &gres(request)),
            format!(
                "--gres=flexmig:{count}: no node of partition small has {count} leaves of 1g.10gb: \
                 {instead}"
            )
        );
    }
    let nine = Job { min_nodes: Some(9), max_nodes: Some(9), ..gres("flexmig:4") };
    assert_eq!(
        told(&site, &nine),
        "-N 9 --gres=flexmig:4: partition small has fewer than 9 nodes with 4 leaves of 1g.10gb \
         each: type -N 3 --gres=flexmig:1g.10gb:12"
    );
    assert_eq!(
        told(&site, &in_partition("mixed", "flexmig:1g.10gb:2,flexmig:3g.40gb:3")),
        "--gres=flexmig:1g.10gb:2,flexmig:3g.40gb:3: no node of partition mixed has 2 leaves of \
         1g.10gb and 3 leaves of 3g.40gb: type at most --gres=flexmig:1g.10gb:2,flexmig:3g.40gb:2"
    );
    let single = self::site("NodeName=n1 CPUs=4 Gres=flexmig:1g.10gb:7", "");
    assert_eq!(
        told(&single, &gres("flexmig:8")),
        "--gres=flexmig:8: no node of this cluster has 8 leaves of 1g.10gb: \
         type at most --gres=flexmig:1g.10gb:7"
    );
}

#[test]
fn more_cpus_than_a_node_has() {
    let site = site(CLUSTER, "");
    let job = |tasks, cpus| Job {
        num_tasks: Some(tasks),
        cpus_per_task: Some(cpus),
        min_cpus: Some(tasks * u32::from(cpus)),
        ..gres("flexmig:4")
    };
    assert_eq!(
        told(&site, &job(4, 8)),
        "-n 4 -c 8 --gres=flexmig:4: no node of partition small has 4 leaves of 1g.10gb and \
         32 CPUs: type -N 2 --gres=flexmig:1g.10gb:2"
    );
    assert_eq!(
        told(&site, &job(1, 32)),
        "-n 1 -c 32 --gres=flexmig:4: no node of partition small has 4 leaves of 1g.10gb and \
         32 CPUs: type -c 16 or less"
    );
    assert_eq!(
        told(&site, &job(9, 16)),
        "-n 9 -c 16 --gres=flexmig:4: no node of partition small has 4 leaves of 1g.10gb and \
         144 CPUs: type -n 1 or less"
    );
    assert_eq!(
        told(&site, &Job { pn_min_cpus: Some(20), ..gres("flexmig:4") }),
        "--mincpus=20 --gres=flexmig:4: no node of partition small has 4 leaves of 1g.10gb and \
         20 CPUs: type --mincpus=16 or less"
    );
    let shared = Job { overcommit: true, min_cpus: Some(1), ..job(4, 8) };
    assert!(decide(&site, &NEW, &shared).is_ok());
    let two = Job { min_nodes: Some(2), max_nodes: Some(2), ..job(4, 8) };
    assert!(decide(&site, &NEW, &two).is_ok());
}

#[test]
fn limits_of_policy() {
    let limits = site(CLUSTER, "[submit]\nmax_leaves_per_node = 4\nmax_leaves_per_job = 8");
    assert_eq!(
        denied(&limits, &gres("flexmig:8")),
        "--gres=flexmig:8: site policy allows at most 4 leaves per node: \
         type -N 2 --gres=flexmig:1g.10gb:4"
    );
    assert_eq!(
        denied(&limits, &gres("flexmig:9")),
        "--gres=flexmig:9: site policy allows at most 4 leaves per node: \
         type at most -N 2 --gres=flexmig:1g.10gb:4"
    );
    let three = Job { min_nodes: Some(3), max_nodes: Some(3), ..gres("flexmig:4") };
    assert_eq!(
        denied(&limits, &three),
        "-N 3 --gres=flexmig:4: site policy allows at most 8 leaves per job: \
         type at most -N 2 --gres=flexmig:1g.10gb:4"
    );
    let one = site(CLUSTER, "[submit]\nmax_leaves_per_node = 1\nmax_leaves_per_job = 1");
    assert_eq!(
        denied(&one, &gres("flexmig:2")),
        "--gres=flexmig:2: site policy allows at most 1 leaf per node: \
         type at most --gres=flexmig:1g.10gb:1"
    );
}

#[test]
fn profiles_that_are_not_on_offer() {
    let policy = "[submit]\nprofiles = [\"2g.20gb\", \"3g.40gb\"]";
    let site = site(CLUSTER, policy);
    assert_eq!(
        denied(&site, &in_partition("mixed", "flexmig:1g.10gb:2")),
        "--gres=flexmig:1g.10gb:2: site policy offers only 2g.20gb or 3g.40gb in partition mixed: \
         type --gres=flexmig:TYPE:2 with TYPE 2g.20gb or 3g.40gb"
    );
    for request in ["flexmig:1", "flexmig:1g.10gb:1", "flexmig:5gb:1"] {
        assert_eq!(
            denied(&site, &gres(request)),
            format!(
                "--gres={request}: site policy offers none of the profiles of partition small: \
                 ask your administrator which partition to use"
            )
        );
    }
}

#[test]
fn who_may_not_span_leaves() {
    let partitions = site(CLUSTER, "[span]\npartitions = [\"mixed\", \"both\"]");
    assert_eq!(
        denied(&partitions, &gres("flexmig:2")),
        "--gres=flexmig:2: site policy allows more than one leaf only in partition mixed or both: \
         add -p mixed, or type --gres=flexmig:1g.10gb:1"
    );
    let two = Job { min_nodes: Some(2), max_nodes: Some(2), ..gres("flexmig:1") };
    assert_eq!(
        denied(&partitions, &two),
        "--gres=flexmig:1: site policy allows more than one leaf only in partition mixed or both: \
         add -p mixed, or type -N 1 --gres=flexmig:1g.10gb:1"
    );
    let accounts = site(CLUSTER, "[span]\naccounts = [\"physics\"]");
    assert_eq!(
        denied(&accounts, &Job { account: Some("art"), ..gres("flexmig:2") }),
        "--gres=flexmig:2: site policy allows more than one leaf only for account physics: \
         add -A physics, or type --gres=flexmig:1g.10gb:1"
    );
    let qos = site(CLUSTER, "[span]\nqos = [\"long\"]");
    assert_eq!(
        denied(&qos, &gres("flexmig:2")),
        "--gres=flexmig:2: site policy allows more than one leaf only with QOS long: \
         add -q long, or type --gres=flexmig:1g.10gb:1"
    );
    let nobody = site(CLUSTER, "[span]\nqos = []");
    assert_eq!(
        denied(&nobody, &gres("flexmig:2")),
        "--gres=flexmig:2: site policy allows nobody more than one leaf: \
         type --gres=flexmig:1g.10gb:1"
    );
}

#[test]
fn options_that_count_otherwise() {
    let site = site(CLUSTER, "");
    let job = Job { tres_per_job: Some("gres/flexmig:4"), ..Job::default() };
    assert_eq!(
        told(&site, &job),
        "tres_per_job=gres/flexmig:4: leaves are counted per node, not per job: \
         type --gres=flexmig:4"
    );
    let job = Job { tres_per_socket: Some("flexmig:1g.10gb:2"), ..Job::default() };
    assert_eq!(
        told(&site, &job),
        "tres_per_socket=gres/flexmig:1g.10gb:2: leaves are counted per node, not per socket: \
         type --gres=flexmig:1g.10gb:2"
    );
    let per_task = Job { tres_per_task: Some("gres/flexmig:1"), ..Job::default() };
    assert_eq!(
        told(&site, &per_task),
        "--tres-per-task=gres/flexmig:1: the number of tasks is not known: add -n N for N tasks"
    );
    let old = decide(&site, &OLD, &Job { num_tasks: Some(3), ..per_task }).unwrap_err();
    assert_eq!(
        old.to_string(),
        "--tres-per-task=gres/flexmig:1: Slurm 22.05.8 cannot count leaves per task: \
         type --gres=flexmig:3 for each node"
    );
    let both = Job { tres_per_node: Some("flexmig:2"), ..per_task };
    assert_eq!(
        told(&site, &both),
        "--gres=flexmig:2 --tres-per-task=gres/flexmig:1: leaves are asked for twice: \
         type one of the two options"
    );
}

#[test]
fn more_tasks_than_a_node_has_leaves_for() {
    let site = site(CLUSTER, "");
    let job = |tasks| Job {
        tres_per_task: Some("gres/flexmig:2"),
        num_tasks: Some(tasks),
        ..Job::default()
    };
    assert_eq!(
        told(&site, &job(10)),
        "-n 10 --tres-per-task=gres/flexmig:2: no node of partition small can hold all tasks with \
         their leaves: type -N 2 --tres-per-task=gres/flexmig:1g.10gb:2"
    );
    assert_eq!(
        told(&site, &job(99)),
        "-n 99 --tres-per-task=gres/flexmig:2: no node of partition small can hold all tasks with \
         their leaves: type at most -n 28 -N 4 --tres-per-task=gres/flexmig:1g.10gb:2"
    );
    assert!(decide(&site, &NEW, &job(7)).is_ok());
}

#[test]
fn a_policy_that_cannot_be_read() {
    let site = site(CLUSTER, "").refusing("/etc/slurm/flexmig.toml:3".into());
    assert_eq!(
        denied(&site, &gres("flexmig:1")),
        "--gres=flexmig:1: site policy cannot be read (/etc/slurm/flexmig.toml:3): \
         ask your administrator to mend it"
    );
    assert_eq!(decide(&site, &NEW, &gres("gpu:1")), Ok(None));
}
