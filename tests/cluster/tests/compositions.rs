//! Requests that several sets of leaves can serve: which one a job gets, what its user is told, and
//! that the job then runs on exactly these leaves.

mod common;

use common::{STAY, flexmig, list, node, shown, two_gpus, variable};
use flexmig_cluster::{Builder, Cluster, Job, Node, Ran, Release, Shared, wait_for};

const SMALL: &[&[&str]] = &[&["1g.10gb*7"]];
const MIXED: &[&[&str]] = &[&["3g.40gb", "2g.20gb", "1g.10gb*2"]];
const LARGE: &[&[&str]] = &[&["4g.40gb", "3g.40gb"]];

/// n1 with 7 x 1g, n2 with 3g+2g+1g+1g, n3 with 4g+3g, all in one partition; a view every second.
fn three_kinds() -> Builder {
    flexmig()
        .node(node("n1", SMALL, "flexmig:1g.10gb:7"))
        .node(node("n2", MIXED, "flexmig:1g.10gb:2,flexmig:2g.20gb:1,flexmig:3g.40gb:1"))
        .node(node("n3", LARGE, "flexmig:3g.40gb:1,flexmig:4g.40gb:1"))
}

const EVERY_SECOND: &str = "[select]\nrefresh = 1\n";

/// The same three nodes, in partitions, and one without leaves; nothing runs on them.
static IDLE: Shared = Shared::new(|| {
    let cluster = three_kinds()
        .node(Node::new("n4"))
        .policy("[select]\nrefresh = 1\nmixed = true\n[translate]\ngpu = true\n")
        .gres_types("gpu,flexmig")
        .partitions(
            "PartitionName=all Nodes=n[1-3] Default=YES\nPartitionName=small Nodes=n1\n\
             PartitionName=mixed Nodes=n2\nPartitionName=large Nodes=n3\n\
             PartitionName=cpu Nodes=n4\n",
        )
        .start();
    cluster.wait_view();
    cluster
});

/// The line of ours that sbatch shows, without prefixes.
#[track_caller]
fn told<'j>(job: &'j Job<'_>) -> &'j str {
    let line = job.messages.lines().find_map(|line| line.strip_prefix("sbatch: flexmig: "));
    line.unwrap_or_else(|| panic!("no line of ours in {:?}", job.messages))
}

/// Runs a job until it has shown its leaves, and cancels it.
#[track_caller]
fn profiles(cluster: &Cluster, args: &str) -> String {
    let job = cluster.sbatch(args, STAY);
    let output = shown(&job);
    let profiles = variable(&output, "FLEXMIG_PROFILES").to_owned();
    assert_eq!(list(variable(&output, "CUDA_VISIBLE_DEVICES")).len(), list(&profiles).len());
    job.cancel();
    profiles
}

#[test]
fn each_form_is_served_by_the_best_leaves_of_an_idle_cluster() {
    let cluster = IDLE.get();
    for (args, expected) in [
        ("--gres=flexmig:2", "1g.10gb,1g.10gb"),
        ("-p large --gres=flexmig:1", "3g.40gb"),
        ("--gres=flexmig:3g:1", "3g.40gb"),
        ("-p small --gres=flexmig:3g:2", "1g.10gb,1g.10gb,1g.10gb,1g.10gb,1g.10gb,1g.10gb"),
        ("-p mixed --gres=flexmig:2g:1", "2g.20gb"),
        ("--gres=flexmig:4g:1", "4g.40gb"),
        ("-p small --gres=flexmig:3g.40gb:1", "1g.10gb,1g.10gb,1g.10gb"),
        ("-p mixed --gres=flexmig:4g.40gb:1", ""),
        ("--gres=flexmig:20gb:1", "2g.20gb"),
        ("-p large --gres=flexmig:20gb:1", "3g.40gb"),
        ("--gres=flexmig:30gb:1", "3g.40gb"),
        ("-p mixed --gres=flexmig:mixed:5", "2g.20gb,3g.40gb"),
        ("-p mixed --gres=flexmig:3g:1,flexmig:1g.10gb:2", "1g.10gb,1g.10gb,3g.40gb"),
        (
            "-p small --gres=flexmig:3g:1,flexmig:1g.10gb:2",
            "1g.10gb,1g.10gb,1g.10gb,1g.10gb,1g.10gb",
        ),
        ("-w n1 --gres=flexmig:3g:1", "1g.10gb,1g.10gb,1g.10gb"),
        ("-w n3 --gres=flexmig:1", "3g.40gb"),
        ("--gres=gpu:a100_3g.40gb:1", "3g.40gb"),
        ("-p small --gpus-per-node=a100_1g.10gb:2", "1g.10gb,1g.10gb"),
    ] {
        if expected.is_empty() {
            // Four slices are not to be had from 2g and two 1g as equal leaves.
            assert!(cluster.try_sbatch(args, STAY).is_err(), "{args}");
        } else {
            assert_eq!(profiles(&cluster, args), expected, "{args}");
        }
    }
}

#[test]
fn steps_inside_get_the_leaves_of_a_composed_job() {
    let cluster = IDLE.get();
    let job = cluster.sbatch(
        "-p small --gres=flexmig:3g:1",
        "srun sh -c 'echo rank=$SLURM_PROCID uuid=$CUDA_VISIBLE_DEVICES'; env | grep FLEXMIG_REQ",
    );
    let output = job.finish();
    assert_eq!(variable(&output, "FLEXMIG_REQUEST"), "1g.10gb:3");
    assert_eq!(output.matches("rank=").count(), 3, "{output}");
    // Translated jobs too: nothing of the request for GPUs is left.
    let job = cluster.sbatch(
        "-p small --gpus-per-node=1g.10gb:2",
        "srun sh -c 'echo rank=$SLURM_PROCID'; env | grep GPUS; true",
    );
    let output = job.finish();
    assert_eq!(output.matches("rank=").count(), 2, "{output}");
    assert!(!output.contains("GPUS_PER_NODE"), "{output}");
}

#[test]
fn leaves_per_task_are_composed_too() {
    let cluster = IDLE.get();
    if cluster.release() < Release(23, 2) {
        return;
    }
    let args = "-p small -n2 --tres-per-task=gres/flexmig:3g:1";
    let job = cluster.sbatch(args, STAY);
    let output = shown(&job);
    assert_eq!(list(variable(&output, "FLEXMIG_PROFILES")).len(), 6, "{output}");
    assert!(job.info().get("TresPerTask").contains("flexmig:1g.10gb:3"), "{}", job.info().text);
    assert_eq!(
        told(&job),
        "--tres-per-task=gres/flexmig:3g:1: 3 leaves of 1g.10gb for each of 2 tasks on one node"
    );
    job.cancel();
}

#[test]
fn what_cannot_be_served_is_told_with_the_largest_request_and_where() {
    let cluster = IDLE.get();
    for (args, expected) in [
        (
            "--gres=flexmig:3g:3",
            "--gres=flexmig:3g:3: no node of partition all has leaves for 9 slices: type at most --gres=flexmig:3g:2",
        ),
        (
            "-p large --gres=flexmig:3g:2",
            "--gres=flexmig:3g:2: no node of partition large has leaves for 6 slices: type at most --gres=flexmig:3g:1, or add -p all or small",
        ),
        (
            "--gres=flexmig:60gb:1",
            "--gres=flexmig:60gb:1: the largest leaves of partition all have 40 GB: type --gres=flexmig:3g.40gb:1",
        ),
        (
            "-p small --gres=flexmig:20gb:1",
            "--gres=flexmig:20gb:1: the largest leaves of partition small have 10 GB: type --gres=flexmig:1g.10gb:1, or add -p all, mixed or large",
        ),
        (
            "-p cpu --gres=flexmig:3g:1",
            "--gres=flexmig:3g:1: partition cpu has no leaves: add -p all, small, mixed or large",
        ),
        (
            "-p mixed --gres=flexmig:mixed:8",
            "--gres=flexmig:mixed:8: no node of partition mixed has leaves for 8 slices: type at most --gres=flexmig:mixed:7",
        ),
        (
            "-p mixed --gres=flexmig:2g.20gb:1,flexmig:3g:2",
            "--gres=flexmig:2g.20gb:1,flexmig:3g:2: no node of partition mixed has 1 leaf of 2g.20gb and 2 leaves of 3g.40gb: type at most --gres=flexmig:2g.20gb:1,flexmig:3g:1",
        ),
    ] {
        let refused = cluster.try_sbatch(args, STAY).unwrap_err();
        let line = refused.stderr.lines().find_map(|l| l.strip_prefix("sbatch: error: flexmig: "));
        assert_eq!(line, Some(expected), "{args}: {refused}");
    }
}

#[test]
fn slices_come_from_small_leaves_when_every_large_one_is_busy() {
    let cluster = three_kinds().policy(EVERY_SECOND).start();
    cluster.wait_view();
    let first = cluster.sbatch("--gres=flexmig:3g:1", STAY);
    assert_eq!(told(&first), "--gres=flexmig:3g:1: 1 leaf of 3g.40gb on one node, 1 task");
    assert_eq!(variable(&shown(&first), "FLEXMIG_PROFILES"), "3g.40gb");
    let second = cluster.sbatch("--gres=flexmig:3g.40gb:1", STAY);
    shown(&second);
    cluster.wait_view();
    // Both 3g are taken now: the 4g is nearer to what was asked than three 1g, but takes one slice
    // more.
    let third = cluster.sbatch("--gres=flexmig:3g:1", STAY);
    assert_eq!(
        told(&third),
        "--gres=flexmig:3g:1: 3 leaves of 1g.10gb on one node, 3 tasks: no 3g.40gb is free"
    );
    let output = shown(&third);
    assert_eq!(variable(&output, "FLEXMIG_PROFILES"), "1g.10gb,1g.10gb,1g.10gb");
    assert_eq!(variable(&output, "FLEXMIG_REQUEST"), "1g.10gb:3");
    let info = third.info();
    assert!(
        info.text
            .contains("AdminComment=[flexmig:v1 req=3g:1 got=1g.10gb:3 fill=t why=starts-now]"),
        "{}",
        info.text
    );
    let got = || {
        variable(&shown(&cluster.sbatch("--gres=flexmig:3g:1", STAY)), "FLEXMIG_PROFILES")
            .to_owned()
    };
    // Without waiting for the next look.
    assert_eq!(got(), "1g.10gb,1g.10gb,1g.10gb");
    cluster.wait_view();
    assert_eq!(got(), "4g.40gb");
}

#[test]
fn what_has_to_wait_says_whether_it_stays() {
    let cluster = three_kinds().policy("[select]\nrefresh = 1\nreplan = false\n").start();
    for args in [
        "--gres=flexmig:3g.40gb:1",
        "--gres=flexmig:3g.40gb:1",
        "--gres=flexmig:4g.40gb:1",
        "--gres=flexmig:1g.10gb:5",
    ] {
        shown(&cluster.sbatch(args, STAY));
    }
    cluster.wait_view();
    let job = cluster.sbatch("--gres=flexmig:3g:1", STAY);
    let expected = if cluster.release() >= Release(23, 2) {
        "it has to wait for these"
    } else {
        "it has to wait for these, as Slurm 22.05.8 cannot change the type of a waiting job"
    };
    assert!(told(&job).ends_with(expected), "{}", told(&job));
    assert_eq!(job.state(), "PENDING");
    // Who names a type is not told about others.
    let exact = cluster.sbatch("--gres=flexmig:3g.40gb:1", STAY);
    assert_eq!(told(&exact), "--gres=flexmig:3g.40gb:1: 1 leaf of 3g.40gb on one node, 1 task");
}

#[test]
fn a_busy_type_is_composed_only_where_policy_says_so() {
    let cluster = three_kinds().policy("[select]\nrefresh = 1\ncompose = \"busy\"\n").start();
    // Otherwise the first may be composed, as no node has registered in the last look.
    cluster.wait_view();
    for _ in 0..2 {
        shown(&cluster.sbatch("--gres=flexmig:3g.40gb:1", STAY));
    }
    cluster.wait_view();
    let job = cluster.sbatch("--gres=flexmig:3g.40gb:1", STAY);
    assert_eq!(
        told(&job),
        "--gres=flexmig:3g.40gb:1: 3 leaves of 1g.10gb on one node, 3 tasks: \
         no 3g.40gb is free, and each leaf has 10 GB of its own"
    );
    assert_eq!(variable(&shown(&job), "FLEXMIG_PROFILES"), "1g.10gb,1g.10gb,1g.10gb");
    // Mixed profiles are off unless policy turns them on.
    let refused = cluster.try_sbatch("--gres=flexmig:mixed:4", STAY).unwrap_err();
    assert!(
        refused.stderr.contains(
            "flexmig: --gres=flexmig:mixed:4: site policy gives a job leaves of one profile only: \
             type --gres=flexmig:4 for equal leaves"
        ),
        "{refused}"
    );
}

#[test]
fn slurm_chooses_between_types_that_features_tell_apart() {
    let cluster = flexmig()
        .node(node("n1", SMALL, "flexmig:1g.10gb:7").conf("Features=a100,small"))
        .node(node("n2", &[&["2g.20gb*3"]], "flexmig:2g.20gb:3").conf("Features=a100,medium"))
        .start();
    cluster.wait_view();
    let submit = || cluster.sbatch("--gres=flexmig:3", STAY);
    let first = submit();
    assert_eq!(
        told(&first),
        "--gres=flexmig:3: 3 leaves of 1g.10gb or of 2g.20gb, whichever starts first, on one node, \
         3 tasks"
    );
    assert_eq!(variable(&shown(&first), "FLEXMIG_PROFILES"), "1g.10gb,1g.10gb,1g.10gb");
    let second = submit();
    assert_eq!(variable(&shown(&second), "FLEXMIG_PROFILES"), "1g.10gb,1g.10gb,1g.10gb");
    let third = submit();
    let output = shown(&third);
    assert_eq!(variable(&output, "FLEXMIG_PROFILES"), "2g.20gb,2g.20gb,2g.20gb");
    assert_eq!(variable(&output, "FLEXMIG_REQUEST"), "any:3");
    assert!(third.info().get("Features").contains("[small|medium]"), "{}", third.info().text);
    // A waiting one takes whichever is free first.
    let fourth = submit();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(fourth.state(), "PENDING");
    third.cancel();
    assert_eq!(variable(&shown(&fourth), "FLEXMIG_PROFILES"), "2g.20gb,2g.20gb,2g.20gb");
    // A user's own constraint counts.
    let own = cluster.sbatch("--gres=flexmig:1 -C small", STAY);
    assert_eq!(variable(&shown(&own), "FLEXMIG_PROFILES"), "1g.10gb");
}

/// Updates a job. One without alternatives is looked at only when an update needs it.
#[track_caller]
fn once_known(cluster: &Cluster, update: impl Fn() -> Ran) {
    let ran = update();
    if !ran.success() {
        assert!(ran.stderr.contains("the type depends on the partition of the job: "), "{ran}");
        assert!(ran.stderr.contains(", or repeat it in 2 s"), "{ran}");
        cluster.wait_view();
        update().ok();
    }
}

#[test]
fn an_update_of_a_known_job_follows_the_rules_of_a_submit() {
    let cluster = three_kinds()
        .policy(EVERY_SECOND)
        .partitions("PartitionName=all Nodes=n[1-3] Default=YES\nPartitionName=small Nodes=n1\n")
        .start();
    if cluster.release() < Release(23, 11) {
        return;
    }
    let job = cluster.sbatch("-H -p small --gres=flexmig:3g:1", STAY);
    let update = |words: &str| cluster.scontrol(&format!("update jobid={} {words}", job.id));
    let shows = |gres: &str| job.info().get("TresPerNode").ends_with(gres);
    // While a job with alternatives waits, each look is at the jobs too.
    let flexible = cluster.sbatch("-H --gres=flexmig:3g:1", STAY);
    cluster.wait_view();
    flexible.cancel();
    update("gres=flexmig:3g:2").ok();
    assert!(shows("flexmig:1g.10gb:6"), "{}", job.info().text);
    // Its tasks were ours, so they follow; root's update keeps the note true.
    assert_eq!(job.info().get("NumTasks"), "6", "{}", job.info().text);
    assert!(job.info().text.contains("req=3g:2 got=1g.10gb:6 fill=t"), "{}", job.info().text);
    let ran = update("gres=flexmig:3g:3");
    assert!(
        ran.stderr.contains(
            "error: flexmig: NumNodes=1 Gres=flexmig:3g:3: no node of partition small has leaves for 9 \
             slices: type at most Gres=flexmig:3g:2"
        ),
        "{ran}"
    );
    cluster.scontrol(&format!("release {}", job.id)).ok();
    assert_eq!(list(variable(&shown(&job), "FLEXMIG_PROFILES")).len(), 6);
    job.cancel();
    if !flexmig_cluster::is_root() {
        return;
    }
    // Slurm lets nobody but admins change admin_comment, so a user's update leaves it alone.
    let args = "-H -p small --gres=flexmig:3g:1";
    let theirs = cluster.client("sbatch").args(args).uid(65534);
    let theirs = cluster.submit(theirs, STAY).unwrap();
    let update = format!("update jobid={} gres=flexmig:2g:1", theirs.id);
    once_known(&cluster, || cluster.client("scontrol").args(&update).uid(65534).run());
    let info = theirs.info();
    assert!(info.get("TresPerNode").ends_with("flexmig:1g.10gb:2"), "{}", info.text);
    assert_eq!(info.get("NumTasks"), "2", "{}", info.text);
    assert!(info.text.contains("req=3g:1 got=1g.10gb:3"), "{}", info.text);
}

#[test]
fn tasks_given_by_the_user_are_kept() {
    let cluster = IDLE.get();
    let job = cluster.sbatch("-p small -n2 --gres=flexmig:3g:1", STAY);
    assert_eq!(told(&job), "--gres=flexmig:3g:1: 3 leaves of 1g.10gb on one node");
    shown(&job);
    assert_eq!(job.info().get("NumTasks"), "2");
    job.cancel();
    wait_for("the node to be free", 10, || (job.state() != "RUNNING").then_some(()));
}

#[test]
fn srun_is_told_how_many_tasks_the_leaves_make() {
    let cluster = IDLE.get();
    let salloc = |args| cluster.client("salloc").args(args).run().ok();
    salloc("-p small -n3 --gres=flexmig:3g:1 srun true");
    let ran = salloc("-p small --gres=flexmig:3g:1 true");
    assert!(
        ran.stderr.contains(
            "salloc: flexmig: --gres=flexmig:3g:1: 3 leaves of 1g.10gb on one node: add -n 3, one \
             task per leaf"
        ),
        "{ran}"
    );
    let ran = cluster.client("srun").args("-p small -n3 --gres=flexmig:3g:1 true").run();
    if cluster.release() >= Release(23, 2) {
        assert!(ran.success(), "{ran}");
        return;
    }
    assert!(
        ran.stderr.contains(
            "srun: error: flexmig: --gres=flexmig:3g:1: srun of Slurm 22.05.8 asks for the same \
             when it starts the tasks, and the job would have 3 leaves of 1g.10gb: type \
             --gres=flexmig:1g.10gb:3, or use sbatch or salloc"
        ),
        "{ran}"
    );
}

#[test]
fn a_view_of_a_whole_cluster_leaves_plain_requests_as_they_were() {
    let cluster = flexmig().policy(EVERY_SECOND).nodes(2, two_gpus).start();
    cluster.wait_view();
    let job = cluster.sbatch("--gres=flexmig:4", STAY);
    assert_eq!(told(&job), "--gres=flexmig:4: 4 leaves of 1g.10gb on one node, 4 tasks");
    shown(&job);
    assert_eq!(job.indices("n1"), [0, 1, 2, 3]);
}
