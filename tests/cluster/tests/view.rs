//! The picture of the cluster that slurmctld's plugin keeps: how fresh it is, and what becomes of
//! jobs while it cannot be renewed.

mod common;

use std::time::Duration;

use common::{STAY, node, two_gpus};
use flexmig_cluster::{Builder, Cluster, Job, Node, Plugins, Release, wait_for};
use serde_json::{Value, json};

/// One GPU with a large leaf and three small ones.
fn mixed(name: &str) -> Node {
    node(name, &[&["3g.40gb", "1g.10gb*3"]], "flexmig:1g.10gb:3,flexmig:3g.40gb:1").cpus(16, 2)
}

/// A look every second.
const FAST: &str = "[select]\nrefresh = 1\n";

fn faulty() -> Builder {
    Cluster::builder().plugins(Plugins::FaultInjection)
}

/// What three compute slices are made of now: the type that a new job was given.
fn choice(cluster: &Cluster) -> String {
    let job = cluster.sbatch("-H -n1 --gres=flexmig:3g:1", "true");
    let info = job.info();
    job.cancel();
    info.get("TresPerNode").rsplit_once("flexmig:").unwrap_or_default().1.to_owned()
}

const LARGE: &str = "3g.40gb:1";
const SMALL: &str = "1g.10gb:3";

fn wait_choice(cluster: &Cluster, wanted: &str) {
    wait_for_choice(cluster, wanted);
    // What was handed out counts as taken until the next look.
    cluster.wait_view();
}

fn wait_for_choice(cluster: &Cluster, wanted: &str) {
    wait_for(&format!("3g to become {wanted}"), 15, || (choice(cluster) == wanted).then_some(()));
}

/// A job that holds the large leaf.
fn hold_the_large<'c>(cluster: &'c Cluster) -> Job<'c> {
    let job = cluster.sbatch("-n1 -c1 --gres=flexmig:3g.40gb:1", STAY);
    job.wait_running();
    job
}

/// No errors of ours in slurmctld's log, and nothing of Slurm's that we did not understand.
fn assert_silent(cluster: &Cluster) {
    let log = cluster.controller().log();
    let ours = ["error: flexmig", "flexmig: view: node "];
    let is_ours = |line: &&str| ours.iter().any(|words| line.contains(words));
    let errors: Vec<&str> = log.lines().filter(is_ours).collect();
    assert_eq!(errors, [] as [&str; 0]);
}

#[test]
fn a_choice_follows_what_is_free() {
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).start();
    wait_choice(&cluster, LARGE);
    let holder = hold_the_large(&cluster);
    wait_choice(&cluster, SMALL);
    let composed = cluster.sbatch("-n1 -c1 --gres=flexmig:3g:1", STAY);
    composed.wait_running();
    assert_eq!(composed.indices("n1"), [0, 1, 2]);
    holder.cancel();
    wait_choice(&cluster, LARGE);
    assert_silent(&cluster);
}

/// The view as the command takes it, which is how the plugin does.
fn saved_view(cluster: &Cluster) -> Value {
    let file = cluster.dir().join("view.json");
    let command = cluster.client(&cluster.dir().join("bin/flexmig").display().to_string());
    command.args("status --save").arg(file.display().to_string()).run().ok();
    serde_json::from_str(&cluster.read("view.json")).expect("JSON")
}

/// The element of an array with this value of a field.
#[track_caller]
fn find<'v>(list: &'v Value, field: &str, value: impl Into<Value>) -> &'v Value {
    let (list, value) = (list.as_array().expect("a list"), value.into());
    list.iter().find(|one| one[field] == value).unwrap_or_else(|| panic!("no {value}: {list:#?}"))
}

/// Holds one object of a view against what is expected of some fields.
#[track_caller]
fn assert_fields(object: &Value, expected: Value) {
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&object[name], value, "{name} of {object:#}");
    }
}

#[test]
fn the_view_has_nodes_and_partitions_as_scontrol_shows_them() {
    let cluster = common::flexmig()
        .nodes(3, |name| mixed(name).memory(4000).conf("Feature=big,new"))
        .partitions(
            "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE\n\
             PartitionName=short Nodes=n[2-3] MaxTime=30 DefaultTime=10 Hidden=YES\n\
             PartitionName=closed Nodes=n1 State=DOWN\n",
        )
        .prepare();
    cluster.edit("slurm.conf", |text| text.replace("=CR_Core\n", "=CR_Core_Memory\n"));
    cluster.start_daemons();
    cluster.wait_ready();
    let job = cluster.sbatch("-w n1 -n2 -c2 --mem=1000 --gres=flexmig:1g.10gb:2", STAY);
    job.wait_running();
    cluster.scontrol("update nodename=n2 state=drain reason=test").ok();
    let reserve = "create reservation=kept starttime=now duration=60 users=root nodes=n3";
    cluster.scontrol(reserve).ok();
    cluster.wait_node("n3", "RESERVED");
    let view = saved_view(&cluster);

    let version = cluster.client("sinfo").arg("--version").run().ok();
    assert_eq!(view["release"].as_str(), version.stdout.split_whitespace().last());
    let conf = cluster.read("slurm.conf");
    let name = conf.lines().find_map(|line| line.strip_prefix("ClusterName=")).unwrap_or_default();
    assert_fields(&view, json!({ "cluster": name, "open": false, "findings": [] }));
    assert_fields(
        find(&view["nodes"], "name", "n1"),
        json!({
            "state": "MIXED", "usable": true, "planned": false, "reserved": false,
            "cpus": 16, "cpus_used": 4, "memory": 4000, "memory_used": 1000,
            "features": ["big", "new"],
            "leaves": [
                { "kind": "1g.10gb", "configured": 3, "used": 2, "used_indices": "0-1" },
                { "kind": "3g.40gb", "configured": 1, "used": 0 },
            ],
        }),
    );
    assert_fields(
        find(&view["nodes"], "name", "n2"),
        json!({ "state": "IDLE+DRAIN", "usable": false, "cpus_used": 0, "memory_used": 0 }),
    );
    assert_fields(
        find(&view["nodes"], "name", "n3"),
        json!({ "state": "IDLE+RESERVED", "usable": true, "reserved": true }),
    );
    assert_fields(
        find(&view["partitions"], "name", "all"),
        json!({ "default": true, "up": true, "default_minutes": null, "max_minutes": null }),
    );
    assert_fields(
        find(&view["partitions"], "name", "short"),
        json!({
            "nodes": "n[2-3]", "default": false, "up": true,
            "default_minutes": 10, "max_minutes": 30,
        }),
    );
    assert_fields(find(&view["partitions"], "name", "closed"), json!({ "up": false }));
}

#[test]
fn slurmctld_ends_well_while_the_thread_asks() {
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).start();
    cluster.controller().stop();
    for round in 0..5 {
        // In front, so that the shell tells of a crash at the very end. Each time the end comes at
        // another moment of the thread's second.
        let script = format!(
            "slurmctld -D 2>/dev/null & pid=$!; sleep 2.{round}5; kill $pid; wait $pid; echo rc=$?"
        );
        let mark = cluster.controller().log_mark();
        let ran = cluster.client("sh").arg("-c").arg(script).run();
        let log = cluster.controller().log_since(mark);
        assert!(log.contains("flexmig: view: 1 nodes"), "{log}");
        assert_eq!(ran.stdout.trim(), "rc=0", "{log}");
    }
}

#[test]
fn the_view_has_jobs_as_scontrol_shows_them() {
    let cluster = common::flexmig()
        .policy("[select]\nrefresh = 0\n")
        .nodes(2, |name| mixed(name).conf("Feature=big"))
        .start();
    let running = cluster.sbatch(
        "-w n1 -J one -n2 -c2 -t 17 --gres=flexmig:1g.10gb:2 --exclude=n2 --prefer=big",
        STAY,
    );
    running.wait_running();
    let waiting = cluster.sbatch("-w n1 -n1 -t 5 --gres=flexmig:1g.10gb:3", STAY);
    let held = cluster.sbatch(
        "-H -p all -N1-2 --ntasks-per-node=3 --exclusive --mem-per-cpu=7 -C big -t UNLIMITED",
        STAY,
    );
    let array = cluster.sbatch("-H -n1 --array=1-5%2 --mem=9 --mincpus=3", STAY);
    let later = cluster.sbatch("-n1 --begin=now+1hour", STAY);
    let dependent = cluster.sbatch(&format!("-n1 -d afterok:{}", running.id), STAY);
    let planned = wait_for("the waiting job to be planned", 20, || {
        let info = waiting.info();
        (info.get("SchedNodeList") == "n1").then_some(info)
    });
    let view = saved_view(&cluster);
    let job = |id: u32| find(&view["jobs"], "job_id", id);
    let started = |name: &str| {
        let text = planned.get(name).to_owned();
        let date = cluster.client("date").arg("-d").arg(text).arg("+%s").run().ok();
        date.stdout.trim().parse::<u64>().expect("seconds")
    };

    let info = running.info();
    let user = info.get("UserId").rsplit_once('(').unwrap_or_default().1.trim_end_matches(')');
    let user: u32 = user.parse().expect("a number");
    assert_fields(
        job(running.id),
        json!({
            "state": "running", "name": "one", "user_id": user, "partition": "all",
            "batch": true, "reason": "None", "nodes": "n1", "req_nodes": "n1", "exc_nodes": "n2",
            "gres_detail": ["flexmig:1g.10gb:2(IDX:0-1)"], "time_limit": 17, "num_tasks": 2,
            "cpus_per_task": 2, "min_cpus": 4, "min_nodes": 1, "exclusive": false,
            "tres_per_node": info.get("TresPerNode"), "admin_comment": "[flexmig:v1 req=1g.10gb:2 got=1g.10gb:2 why=exact]",
            "array_job_id": null, "array_task_id": null, "het_job_id": null,
        }),
    );
    assert_fields(
        job(waiting.id),
        json!({
            "state": "pending", "sched_nodes": "n1", "nodes": "",
            "start_time": started("StartTime"), "submit_time": started("SubmitTime"),
            "begin_time": started("EligibleTime"), "gres_detail": [], "time_limit": 5,
        }),
    );
    assert!(job(waiting.id)["priority"].as_u64() > Some(0));
    assert_fields(
        job(held.id),
        json!({
            "state": "pending", "reason": "JobHeldUser", "priority": 0, "features": "big",
            "exclusive": true, "memory_per_cpu": 7, "memory_per_node": null, "min_nodes": 1,
            "max_nodes": 2, "ntasks_per_node": 3, "time_limit": null,
        }),
    );
    assert_fields(
        job(array.id),
        json!({
            "array_job_id": array.id, "array_task_id": null, "array_tasks": "1-5%2",
            "memory_per_node": 9, "memory_per_cpu": null, "pn_min_cpus": 3,
        }),
    );
    // Anybody may ask.
    let command = cluster.client(&cluster.dir().join("bin/flexmig").display().to_string());
    let status = command.args("status --json").uid(65534).run().ok();
    assert!(status.stdout.contains("\"n2\""), "{status}");
    assert_fields(job(later.id), json!({ "reason": "BeginTime" }));
    assert!(job(later.id)["begin_time"].as_u64() > view["taken_at"].as_u64());
    assert_fields(
        job(dependent.id),
        json!({
            "reason": "Dependency",
            "dependency": dependent.info().get("Dependency"),
        }),
    );
}

#[test]
fn a_view_comes_back_after_reconfigure_and_restart() {
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).start();
    let holder = hold_the_large(&cluster);
    wait_choice(&cluster, SMALL);
    for _ in 0..3 {
        cluster.reconfigure();
    }
    cluster.wait_ready();
    wait_choice(&cluster, SMALL);
    cluster.restart_controller(true);
    wait_choice(&cluster, SMALL);
    cluster.restart_controller(false);
    holder.cancel();
    wait_choice(&cluster, LARGE);
    assert!(cluster.controller().is_running());
    assert_silent(&cluster);
}

#[test]
fn without_refresh_nothing_is_known_of_free_leaves() {
    let cluster = common::flexmig().policy("[select]\nrefresh = 0\n").node(mixed("n1")).start();
    let mark = cluster.controller().log_mark();
    let first = choice(&cluster);
    let holder = hold_the_large(&cluster);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(choice(&cluster), first);
    assert!(!threads(&cluster).is_empty(), "the files are watched");
    // Turned on while slurmctld runs, and off again.
    cluster.set_policy(FAST);
    wait_choice(&cluster, SMALL);
    cluster.set_policy("[select]\nrefresh = 0\n");
    wait_for_choice(&cluster, &first);
    holder.cancel();
    assert!(!cluster.controller().log_since(mark).contains("error: flexmig"));
}

#[test]
fn a_refresh_that_fails_keeps_the_view_and_jobs_pass() {
    let cluster =
        faulty().policy("[select]\nrefresh = 1\nmax_age = 8\n").node(mixed("n1")).prepare();
    let controller = cluster.controller();
    let file = cluster.dir().join("rpc-fails");
    controller.set_env("FLEXMIG_TEST_RPC_FAILS", file.to_str());
    let failing = |yes: bool| match yes {
        true => cluster.write("rpc-fails", ""),
        false => std::fs::remove_file(&file).expect("it is there"),
    };
    cluster.start_daemons();
    cluster.wait_ready();
    controller.wait_log(0, "flexmig: view: 1 nodes", 10);
    let holder = cluster.sbatch("-H -n1 -c1 --gres=flexmig:3g.40gb:1", STAY);
    wait_choice(&cluster, LARGE);

    let mark = controller.log_mark();
    failing(true);
    controller.wait_log(mark, "error: flexmig: view: slurm_load_", 10);
    cluster.scontrol(&format!("release {}", holder.id)).ok();
    holder.wait_running();
    // The old view still says that the large leaf is free. Slurm decides: the job waits for it.
    let sent_there = cluster.sbatch("-n1 -c1 --gres=flexmig:3g:1", STAY);
    assert!(sent_there.info().get("TresPerNode").ends_with(LARGE));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sent_there.state(), "PENDING");
    // Then it is too old, and is told once more.
    controller.wait_log(mark, "requests are resolved from policy alone", 20);
    let log = controller.log_since(mark);
    assert_eq!(log.matches("error: flexmig: view: ").count(), 2, "{log}");
    let policy_alone = cluster.sbatch("-H -n1 --gres=flexmig:1", "true");
    assert!(policy_alone.info().get("TresPerNode").contains("flexmig:"));
    policy_alone.cancel();

    failing(false);
    controller.wait_log(mark, "flexmig: view: the controller answers again", 10);
    wait_choice(&cluster, SMALL);
    // Where waiting jobs can be planned anew it has moved to the small leaves meanwhile.
    if cluster.release() < Release(23, 11) {
        assert_eq!(sent_there.state(), "PENDING");
        holder.cancel();
    }
    sent_there.wait_running();
    let taken = holder.info().indices("n1", "flexmig");
    assert!(sent_there.indices("n1").iter().all(|index| !taken.contains(index)));
}

#[test]
fn a_panic_in_the_thread_is_logged_and_the_thread_goes_on() {
    let cluster = faulty()
        .controller_env("FLEXMIG_TEST_PANIC", "view")
        .policy(FAST)
        .node(mixed("n1"))
        .start();
    let controller = cluster.controller();
    controller.wait_log(0, "flexmig: view: internal error: ", 10);
    // Not a busy loop.
    std::thread::sleep(Duration::from_secs(3));
    let count = controller.log().matches("flexmig: view: internal error: ").count();
    assert!((2..=8).contains(&count), "{count} lines");
    let job = cluster.sbatch("-n1 --gres=flexmig:1", STAY);
    job.wait_running();
    let mark = controller.log_mark();
    cluster.set_policy("[submit]\nmax_leaves_per_node = 2\n");
    controller.wait_log(mark, "flexmig.toml: read", 10);
}

/// The `SigBlk` masks of our threads in slurmctld.
fn threads(cluster: &Cluster) -> Vec<u64> {
    let pid = cluster.controller().pid().expect("slurmctld runs");
    let script = format!(
        "for task in /proc/{pid}/task/*; do
           case $(cat $task/comm) in flexmig-*) grep ^SigBlk: $task/status;; esac
         done"
    );
    let shown = cluster.client("sh").arg("-c").arg(script).run().ok();
    let mask = |line: &&str| u64::from_str_radix(line.rsplit('\t').next()?, 16).ok();
    shown.lines().iter().filter_map(mask).collect()
}

#[test]
fn our_thread_has_all_signals_blocked() {
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).start();
    wait_choice(&cluster, LARGE);
    let masks = threads(&cluster);
    assert_eq!(masks.len(), 1);
    // All but SIGKILL, SIGSTOP, and the two that the C library keeps for itself.
    let open = !masks[0];
    assert_eq!(open & !(1 << 8 | 1 << 18 | 1 << 31 | 1 << 32), 0, "{:016x}", masks[0]);
}

#[test]
fn a_cluster_without_leaves_is_no_trouble() {
    let cluster = common::flexmig()
        .policy(FAST)
        .nodes(2, Node::new)
        .slurm_conf("GresTypes=flexmig\n")
        .start();
    cluster.wait_view();
    let refused = cluster.try_sbatch("-n1 --gres=flexmig:3g:1", "true").unwrap_err();
    assert!(refused.stderr.contains("sbatch: error: flexmig: "), "{refused}");
    assert_eq!(cluster.sbatch("-n1", "echo fine").finish().trim(), "fine");
    assert_silent(&cluster);
}

#[test]
fn a_layout_file_that_contradicts_slurm_conf_is_left_out_with_a_line() {
    let layout = "nodes = \"n[1-2]\"\n[[gpu]]\nminor = 0\nmodel = \"NVIDIA A100-SXM4-80GB\"\n\
                  bus_id = \"0000:07:00.0\"\nleaves = [{ profile = \"3g.40gb\", gi = 1, ci = 0 }]\n";
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).node(two_gpus("n2")).prepare();
    std::fs::create_dir(cluster.dir().join("flexmig-layouts")).expect("a directory");
    cluster.write("flexmig-layouts/wrong.toml", layout);
    cluster.start_daemons();
    cluster.wait_ready();
    let log =
        cluster.controller().wait_log(0, "flexmig-layouts/wrong.toml: node n1: it has 0 of", 10);
    let line = log.lines().find(|line| line.contains("wrong.toml: node n1")).unwrap_or_default();
    assert!(line.contains("flexmig:1g.10gb, slurm.conf 3: left out: "), "{line}");
    wait_choice(&cluster, LARGE);
    // Once.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(cluster.controller().log().matches("wrong.toml: node n1").count(), 1);
}

#[test]
fn a_controller_that_stands_by_looks_and_does_no_harm() {
    let cluster = common::flexmig().policy(FAST).node(mixed("n1")).backup_controller().start();
    cluster.backup().wait_log(0, "flexmig: view: 1 nodes", 20);
    wait_choice(&cluster, LARGE);
    let _holder = hold_the_large(&cluster);
    wait_choice(&cluster, SMALL);
    assert_silent(&cluster);
    assert!(!cluster.backup().log().contains("error: flexmig"));
}
