//! Waiting jobs move to leaves that can start now, and to no others.

mod common;

use std::time::{Duration, Instant};

use common::{STAY, flexmig, node, shown, variable};
use flexmig_cluster::{Builder, Cluster, Isolation, Job, JobInfo, Release, wait_for};

/// Seconds between two views.
const REFRESH: u64 = 2;

/// One GPU with one 3g.40gb and four 1g.10gb.
const ONE_BIG: &[&[&str]] = &[&["3g.40gb", "1g.10gb*4"]];
const ONE_BIG_GRES: &str = "flexmig:1g.10gb:4,flexmig:3g.40gb:1";
const SMALL: &[&[&str]] = &[&["1g.10gb*7"]];
const SMALL_GRES: &str = "flexmig:1g.10gb:7";

fn one_big(name: &str) -> flexmig_cluster::Node {
    node(name, ONE_BIG, ONE_BIG_GRES)
}

fn small(name: &str) -> flexmig_cluster::Node {
    node(name, SMALL, SMALL_GRES)
}

fn cluster() -> Builder {
    flexmig().policy(&format!("[select]\nrefresh = {REFRESH}\n"))
}

/// Whether this release replaces the request of a waiting job.
fn moves(cluster: &Cluster) -> bool {
    let moves = cluster.release() >= Release(23, 11);
    if !moves {
        eprintln!("waiting jobs stay as they are before Slurm 23.02.6");
    }
    moves
}

/// A job that holds leaves until it is cancelled.
fn holder<'c>(cluster: &'c Cluster, args: &str) -> Job<'c> {
    let job = cluster.sbatch(&format!("-n1 {args}"), "sleep 600");
    job.wait_running();
    job
}

/// Jobs that hold n1's large leaf and so many of its small ones, and a view that has seen them.
fn fill(cluster: &Cluster, small: u32) -> (Job<'_>, Job<'_>) {
    let big = holder(cluster, "--gres=flexmig:3g.40gb:1");
    let small = holder(cluster, &format!("--gres=flexmig:1g.10gb:{small}"));
    cluster.wait_view();
    (big, small)
}

/// The composition that a waiting job asks for now, without prefix.
fn asks(job: &Job<'_>) -> String {
    asks_of(job.info().get("TresPerNode"))
}

fn asks_of(text: &str) -> String {
    text.trim_start_matches("gres").trim_start_matches([':', '/']).to_owned()
}

fn gres(job: &Job<'_>, node: &str) -> String {
    let info = job.info();
    let held = info.nodes.iter().find(|(name, _)| name == node);
    let held = held.map_or("", |(_, fields)| fields.get("GRES"));
    held.split("(IDX").next().unwrap_or_default().to_owned()
}

/// AdminComment, whose `req=` and `got=` look like fields of their own.
fn admin_comment(info: &JobInfo) -> String {
    let line = info.text.lines().find_map(|line| line.trim().strip_prefix("AdminComment="));
    line.unwrap_or_default().trim().to_owned()
}

/// How many lines of slurmctld say that a job was moved.
fn moved_lines(log: &str) -> usize {
    log.lines().filter(|line| line.contains("flexmig: ") && line.contains(": moved from ")).count()
}

/// Fails if the job leaves its composition or starts within some refresh periods.
#[track_caller]
fn stays(job: &Job<'_>, composition: &str, periods: u64) {
    let end = Instant::now() + Duration::from_secs(periods * REFRESH);
    while Instant::now() < end {
        assert_eq!(job.state(), "PENDING", "{}", job.info().text);
        assert_eq!(asks(job), composition, "{}", job.info().text);
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn three_slices_move_to_three_small_leaves_when_these_are_free_first() {
    let cluster = cluster().node(one_big("n1")).start();
    let (big, small) = fill(&cluster, 3);
    let script = "srun sh -c 'echo rank $SLURM_PROCID $CUDA_VISIBLE_DEVICES'\n".to_owned() + STAY;
    let job = cluster.sbatch("-t 10 --comment=mine --gres=flexmig:3g:1", &script);
    if !moves(&cluster) {
        // The shorter queue has decided, and that is final.
        assert_eq!(asks(&job), "flexmig:1g.10gb:3");
        let said = "cannot change the type of a waiting job";
        assert!(job.messages.contains(said), "{}", job.messages);
        big.cancel();
        stays(&job, "flexmig:1g.10gb:3", 3);
        let log = cluster.controller().log();
        assert!(log.contains("waiting jobs keep their first composition"), "{log}");
        small.cancel();
        shown(&job);
        assert_eq!(gres(&job, "n1"), "flexmig:1g.10gb:3");
        return;
    }
    stays(&job, "flexmig:3g.40gb:1", 2);
    small.cancel();
    let free = Instant::now();
    wait_for("the job to move", 30, || (asks(&job) == "flexmig:1g.10gb:3").then_some(()));
    let took = free.elapsed();
    // Two periods, and two seconds for all the commands.
    assert!(took < Duration::from_secs(2 * REFRESH + 2), "{took:?}");
    let output = shown(&job);
    let info = job.info();
    assert_eq!(gres(&job, "n1"), "flexmig:1g.10gb:3", "{}", info.text);
    assert_eq!(variable(&output, "FLEXMIG_PROFILES"), "1g.10gb,1g.10gb,1g.10gb");
    let ranks: Vec<&str> = output.lines().filter(|line| line.starts_with("rank ")).collect();
    assert_eq!(ranks.len(), 3, "{output}");
    let uuids = variable(&output, "FLEXMIG_UUIDS");
    let mut devices: Vec<&str> = ranks.iter().filter_map(|line| line.split(' ').nth(2)).collect();
    devices.sort_unstable();
    devices.dedup();
    if common::binds_tasks(&cluster) {
        assert_eq!(devices.len(), 3, "{output}");
        assert!(devices.iter().all(|device| uuids.contains(device)), "{output}");
    }
    let comment = admin_comment(&info);
    assert!(comment.contains("req=3g:1 got=1g.10gb:3"), "{comment}");
    assert!(comment.contains("why=moved]"), "{comment}");
    assert!(!comment.contains("tok="), "{comment}");
    assert_eq!(info.get("Comment"), "mine");
    let log = cluster.controller().log();
    let line = format!("flexmig: job {}: 3g:1: moved from 3g.40gb:1 to 1g.10gb:3", job.id);
    assert!(log.contains(&line), "{log}");
}

#[test]
fn three_slices_stay_when_the_large_leaf_is_free_first() {
    let cluster = cluster().node(one_big("n1")).start();
    if !moves(&cluster) {
        return;
    }
    let (big, _) = fill(&cluster, 3);
    let job = cluster.sbatch("-t 10 --gres=flexmig:3g:1", STAY);
    stays(&job, "flexmig:3g.40gb:1", 1);
    big.cancel();
    let output = shown(&job);
    assert_eq!(gres(&job, "n1"), "flexmig:3g.40gb:1");
    assert_eq!(variable(&output, "FLEXMIG_PROFILES"), "3g.40gb");
    assert_eq!(moved_lines(&cluster.controller().log()), 0);
}

#[test]
fn the_users_own_comment_and_tasks_stay() {
    let cluster = cluster().node(one_big("n1")).start();
    if !moves(&cluster) {
        return;
    }
    let (_, small) = fill(&cluster, 3);
    let job = cluster.sbatch("-t 10 -n2 -c2 --gres=flexmig:3g:1", STAY);
    let note = admin_comment(&job.info());
    let update = format!("AdminComment=before {note} after");
    let id = format!("JobId={}", job.id);
    cluster.client("scontrol").args("update").arg(id).arg(update).run().ok();
    small.cancel();
    shown(&job);
    assert_eq!(gres(&job, "n1"), "flexmig:1g.10gb:3");
    let info = job.info();
    assert_eq!((info.get("NumTasks"), info.get("CPUs/Task")), ("2", "2"), "{}", info.text);
    let comment = admin_comment(&info);
    assert!(comment.starts_with("before [flexmig:v1 req=3g:1 got=1g.10gb:3"), "{comment}");
    assert!(comment.ends_with("] after"), "{comment}");
}

#[test]
fn an_srun_that_waits_gets_a_rank_on_each_leaf_that_it_moved_to() {
    let cluster = cluster().node(one_big("n1")).start();
    if !moves(&cluster) {
        return;
    }
    let (_, small) = fill(&cluster, 3);
    let srun = cluster.client("srun").args("-n3 -t 10 --gres=flexmig:3g:1 sh -c");
    let waiting = srun.arg("echo $CUDA_VISIBLE_DEVICES on $FLEXMIG_PROFILES").seconds(60).spawn();
    wait_for("srun to wait", 20, || {
        let queue = cluster.client("squeue").args("-h -t PD").run();
        (!queue.stdout.is_empty()).then_some(())
    });
    small.cancel();
    let ran = waiting.wait().ok();
    let mut lines = ran.lines();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 3, "{ran}");
    assert!(lines.iter().all(|line| line.ends_with(" on 1g.10gb,1g.10gb,1g.10gb")), "{ran}");
}

#[test]
fn a_job_of_higher_priority_on_the_same_node_is_not_delayed() {
    let cluster = cluster().node(one_big("n1")).start();
    if !moves(&cluster) {
        return;
    }
    holder(&cluster, "--gres=flexmig:3g.40gb:1");
    let three = holder(&cluster, "-t 30 --gres=flexmig:1g.10gb:3");
    let last = holder(&cluster, "-t 10 --gres=flexmig:1g.10gb:1");
    let high = cluster.sbatch("-t 5 --priority=5000 --gres=flexmig:1g.10gb:4", STAY);
    cluster.wait_view();
    let long = cluster.sbatch("-t 60 --priority=1000 --gres=flexmig:3g:1", STAY);
    let short = cluster.sbatch("-t 1 --priority=900 --gres=flexmig:3g:1", STAY);
    wait_for("the plan of the first job", 20, || {
        (cluster.squeue_field(high.id, "SchedNodes") == "n1").then_some(())
    });
    three.cancel();
    // Ends before the planned start, as the long one does not.
    short.wait_running();
    assert_eq!(gres(&short, "n1"), "flexmig:1g.10gb:3");
    stays(&long, "flexmig:3g.40gb:1", 1);
    assert_eq!(high.state(), "PENDING");
    short.cancel();
    stays(&long, "flexmig:3g.40gb:1", 4);
    last.cancel();
    high.wait_running();
    assert_eq!(gres(&high, "n1"), "flexmig:1g.10gb:4");
    stays(&long, "flexmig:3g.40gb:1", 2);
    let log = cluster.controller().log();
    assert_eq!(moved_lines(&log), 1, "{log}");
}

#[test]
fn two_jobs_do_not_move_onto_the_same_leaves() {
    let cluster = cluster().node(one_big("n1")).start();
    if !moves(&cluster) {
        return;
    }
    let (big, small) = fill(&cluster, 4);
    let first = cluster.sbatch("-t 10 --gres=flexmig:3g:1", STAY);
    let second = cluster.sbatch("-t 10 --gres=flexmig:3g:1", STAY);
    stays(&second, "flexmig:3g.40gb:1", 1);
    small.cancel();
    first.wait_running();
    assert_eq!(gres(&first, "n1"), "flexmig:1g.10gb:3");
    stays(&second, "flexmig:3g.40gb:1", 3);
    assert_eq!(moved_lines(&cluster.controller().log()), 1);
    big.cancel();
    second.wait_running();
    assert_eq!(gres(&second, "n1"), "flexmig:3g.40gb:1");
}

#[test]
fn a_reserved_node_is_not_moved_to() {
    let cluster = cluster().node(one_big("n1")).node(small("n2")).start();
    if !moves(&cluster) {
        return;
    }
    holder(&cluster, "-w n1 --gres=flexmig:3g.40gb:1");
    holder(&cluster, "-w n1 --gres=flexmig:1g.10gb:3");
    let all = holder(&cluster, "-w n2 --gres=flexmig:1g.10gb:7");
    cluster.wait_view();
    let job = cluster.sbatch("-t 10 --gres=flexmig:3g:1", STAY);
    let reservation = "create reservation=kept starttime=now duration=60 nodes=n2 users=root \
                       flags=IGNORE_JOBS";
    cluster.scontrol(reservation).ok();
    // slurmctld marks the node some seconds later.
    wait_for("the node to be reserved", 60, || {
        cluster.node_info("n2").get("State").contains("RESERVED").then_some(())
    });
    all.cancel();
    stays(&job, "flexmig:3g.40gb:1", 3);
    cluster.scontrol("delete reservation=kept").ok();
    job.wait_running();
    assert_eq!(gres(&job, "n2"), "flexmig:1g.10gb:3");
}

/// A cluster with a job that moved to n2, where it cannot start: a reservation to come is not seen.
fn moved_in_vain(cluster: &Cluster) -> (Job<'_>, Job<'_>) {
    let big = holder(cluster, "-w n1 --gres=flexmig:3g.40gb:1");
    holder(cluster, "-w n1 --gres=flexmig:1g.10gb:3");
    let all = holder(cluster, "-w n2 --gres=flexmig:1g.10gb:7");
    let reservation = "create reservation=kept starttime=now+10minutes duration=60 nodes=n2 \
                       users=root flags=IGNORE_JOBS";
    cluster.scontrol(reservation).ok();
    cluster.wait_view();
    let job = cluster.sbatch("-t 60 --gres=flexmig:3g:1", STAY);
    assert_eq!(asks(&job), "flexmig:3g.40gb:1");
    all.cancel();
    wait_for("the job to move", 30, || (asks(&job) == "flexmig:1g.10gb:3").then_some(()));
    (big, job)
}

#[test]
fn a_job_that_does_not_start_goes_back_and_is_left_alone() {
    let cluster = cluster().node(one_big("n1")).node(small("n2")).start();
    if !moves(&cluster) {
        return;
    }
    let (big, job) = moved_in_vain(&cluster);
    assert_eq!(job.info().get("NumTasks"), "3", "{}", job.info().text);
    wait_for("the job to go back", 30, || (asks(&job) == "flexmig:3g.40gb:1").then_some(()));
    let info = job.info();
    assert_eq!(info.get("NumTasks"), "1", "{}", info.text);
    assert_eq!(info.get("MinCPUsNode"), "1", "{}", info.text);
    assert!(admin_comment(&info).contains("req=3g:1 got=3g.40gb:1"), "{}", info.text);
    stays(&job, "flexmig:3g.40gb:1", 6);
    let log = cluster.controller().log();
    assert_eq!(moved_lines(&log), 1, "{log}");
    let line = format!("flexmig: job {}: 3g:1: back from 1g.10gb:3 to 3g.40gb:1", job.id);
    assert!(log.contains(&line), "{log}");
    big.cancel();
    job.wait_running();
    assert_eq!(gres(&job, "n1"), "flexmig:3g.40gb:1");
}

#[test]
fn a_killed_controller_finds_the_original_request_again() {
    // A cycle that is long enough for the job not to go back meanwhile.
    let cluster = cluster()
        .scheduler_parameters("sched_interval=1,bf_interval=12,batch_sched_delay=0")
        .node(one_big("n1"))
        .node(small("n2"))
        .start();
    if !moves(&cluster) {
        return;
    }
    let (big, job) = moved_in_vain(&cluster);
    let other = cluster.sbatch("-t 60 --gres=flexmig:3g:1", STAY);
    let comment = admin_comment(&job.info());
    assert!(comment.contains("req=3g:1 got=1g.10gb:3"), "{comment}");
    cluster.restart_controller(true);
    assert_eq!(admin_comment(&job.info()), comment);
    assert!(admin_comment(&other.info()).contains("req=3g:1"), "{}", other.info().text);
    // The new process knows from the note alone that the job was moved.
    wait_for("the job to go back", 60, || (asks(&job) == "flexmig:3g.40gb:1").then_some(()));
    big.cancel();
    wait_for("one of the jobs to start", 30, || {
        [&job, &other].iter().find(|job| job.state() == "RUNNING").map(|job| {
            assert_eq!(gres(job, "n1"), "flexmig:3g.40gb:1");
        })
    });
}

#[test]
fn of_an_array_the_next_tasks_move() {
    let cluster = cluster().node(one_big("n1")).node(small("n2")).start();
    if !moves(&cluster) {
        return;
    }
    holder(&cluster, "-w n1 --gres=flexmig:3g.40gb:1");
    holder(&cluster, "-w n1 --gres=flexmig:1g.10gb:3");
    let all = holder(&cluster, "-w n2 --gres=flexmig:1g.10gb:7");
    cluster.wait_view();
    let array = cluster.sbatch("--array=3-9 -t 10 --gres=flexmig:3g:1", "sleep 600");
    all.cancel();
    // Seven leaves are enough for two tasks.
    wait_for("two tasks to run", 30, || {
        let running = array.infos().iter().filter(|i| i.get("JobState") == "RUNNING").count();
        (running == 2).then_some(())
    });
    let infos = array.infos();
    for info in &infos {
        let task = info.get("ArrayTaskId");
        let (state, composition) = match task {
            "3" | "4" => ("RUNNING", "flexmig:1g.10gb:3"),
            _ => ("PENDING", "flexmig:3g.40gb:1"),
        };
        assert_eq!(info.get("JobState"), state, "{}", info.text);
        assert_eq!(asks_of(info.get("TresPerNode")), composition, "{}", info.text);
    }
    let rest = infos.iter().find(|info| info.get("JobState") == "PENDING").expect("the rest");
    assert_eq!(rest.get("ArrayTaskId"), "5-9");
    assert_eq!(moved_lines(&cluster.controller().log()), 2);
}

#[test]
fn jobs_that_wait_for_something_else_are_left_alone() {
    let cluster = cluster().node(one_big("n1")).start();
    if !moves(&cluster) {
        return;
    }
    let (big, small) = fill(&cluster, 3);
    let after = format!("--dependency=afterany:{} -t 10 --gres=flexmig:3g:1", big.id);
    let waiting = [
        cluster.sbatch("--hold -t 10 --gres=flexmig:3g:1", STAY),
        cluster.sbatch(&after, STAY),
        cluster.sbatch("--begin=now+1hour -t 10 --gres=flexmig:3g:1", STAY),
        cluster.sbatch("-t 10 --exclusive --gres=flexmig:3g:1", STAY),
        cluster.sbatch("-t 10 --gres=flexmig:3g.40gb:1", STAY),
    ];
    small.cancel();
    for job in &waiting {
        stays(job, "flexmig:3g.40gb:1", 1);
    }
    assert_eq!(moved_lines(&cluster.controller().log()), 0);
}

#[test]
fn what_the_user_changed_is_the_users_choice() {
    let cluster = cluster().node(one_big("n1")).start();
    if !moves(&cluster) {
        return;
    }
    let (_, small) = fill(&cluster, 4);
    let job = cluster.sbatch("-t 10 -n1 --gres=flexmig:3g:1", STAY);
    cluster.scontrol(&format!("update JobId={} Gres=flexmig:1g.10gb:2", job.id)).ok();
    assert_eq!(asks(&job), "flexmig:1g.10gb:2");
    small.cancel();
    job.wait_running();
    assert_eq!(gres(&job, "n1"), "flexmig:1g.10gb:2");
    assert_eq!(moved_lines(&cluster.controller().log()), 0);
}

#[test]
fn a_controller_that_stands_by_moves_nothing_until_it_takes_over() {
    if Isolation::best() != Isolation::Root {
        eprintln!("skipped: needs root and namespaces");
        return;
    }
    let cluster = cluster().node(one_big("n1")).node(small("n2")).backup_controller().start();
    if !moves(&cluster) {
        return;
    }
    holder(&cluster, "-w n1 --gres=flexmig:3g.40gb:1");
    let on_n1 = holder(&cluster, "-w n1 --gres=flexmig:1g.10gb:4");
    let on_n2 = holder(&cluster, "-w n2 --gres=flexmig:1g.10gb:7");
    cluster.wait_view();
    let first = cluster.sbatch("-t 60 --gres=flexmig:3g:1", STAY);
    let second = cluster.sbatch("-t 60 --gres=flexmig:3g:1", STAY);
    stays(&second, "flexmig:3g.40gb:1", 2);
    on_n1.cancel();
    first.wait_running();
    assert_eq!(gres(&first, "n1"), "flexmig:1g.10gb:3");
    assert_eq!(moved_lines(&cluster.controller().log()), 1);
    assert_eq!(moved_lines(&cluster.backup().log()), 0, "{}", cluster.backup().log());

    cluster.save_state();
    cluster.controller().kill9();
    wait_for("the second controller to answer", 60, || {
        let ran = cluster.client("squeue").args("-h -o %T").seconds(5).run();
        (ran.success() && ran.stdout.contains("PENDING")).then_some(())
    });
    on_n2.cancel();
    wait_for("the second job to run", 90, || (second.state() == "RUNNING").then_some(()));
    assert_eq!(gres(&second, "n2"), "flexmig:1g.10gb:3");
    assert_eq!(moved_lines(&cluster.backup().log()), 1, "{}", cluster.backup().log());
}
