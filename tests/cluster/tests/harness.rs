//! The harness itself, on a cluster without our plugins.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use flexmig_cluster::{Auth, Builder, Cluster, Isolation, Node, Shared, is_root, wait_for};

static SHARED: Shared = Shared::new(|| two_nodes().start());

fn two_nodes() -> Builder {
    Cluster::builder().nodes(2, |name| Node::new(name).gres("flexmig:1g.10gb:14"))
}

#[test]
fn a_batch_job_runs_on_both_nodes_and_holds_what_it_asked_for() {
    let cluster = SHARED.get();
    let script = "srun sh -c 'echo on $SLURMD_NODENAME'; sleep 60";
    let job = cluster.sbatch("-N2 --gres=flexmig:4", script);
    job.wait_output("on n1");
    job.wait_output("on n2");
    assert_eq!(job.state(), "RUNNING");
    assert_eq!(job.info().get("NodeList"), "n[1-2]");
    assert!(job.indices("n1").is_empty(), "without a plugin Slurm only counts");
    assert!(cluster.node_info("n1").get("GresUsed").starts_with("flexmig:1g.10gb:4"));
    assert!(cluster.squeue_field(job.id, "tres-per-node").ends_with("flexmig:4"));
    job.cancel();
    assert_eq!(job.state(), "CANCELLED");
}

#[test]
fn a_rejected_job_and_a_time_limit_are_answers() {
    let cluster = SHARED.get();
    let refused = cluster.try_sbatch("--gres=flexmog:4", "true").unwrap_err();
    assert!(refused.stderr.contains("sbatch: error:"), "{refused}");
    assert_eq!(cluster.client("sleep").arg("30").seconds(1).run().code, 124);
}

#[test]
fn every_task_of_an_array_is_waited_for_and_read() {
    let cluster = SHARED.get();
    let job = cluster.sbatch("--array=0-2", "echo task $SLURM_ARRAY_TASK_ID");
    assert_eq!(job.wait_end(), "COMPLETED");
    let outputs = job.infos().into_iter().map(|info| {
        let path = format!("work/{}.out", info.id());
        cluster.read(&path)
    });
    let mut outputs: Vec<String> = outputs.collect();
    outputs.sort();
    assert_eq!(outputs, ["task 0\n", "task 1\n", "task 2\n"]);
}

#[test]
fn jobs_outlive_restarts_of_the_daemons() {
    let cluster = two_nodes().start();
    let job = cluster.sbatch("-w n1", "sleep 60");
    job.wait_running();
    cluster.restart_controller(true);
    cluster.restart_slurmd("n1");
    cluster.slurmd("n2").kill9();
    assert!(!cluster.slurmd("n2").is_running());
    cluster.slurmd("n2").start();
    cluster.reconfigure();
    assert_eq!(job.state(), "RUNNING");
    cluster.edit("slurm.conf", |text| text + "MinJobAge=77\n");
    cluster.restart_controller(false);
    assert!(cluster.scontrol("show config").ok().stdout.contains("= 77 sec"));
    assert_eq!(job.state(), "RUNNING");
}

#[test]
fn a_daemon_gets_its_environment_and_its_log_is_read() {
    let cluster = Cluster::builder().node(Node::new("n1").env("FM_A", "1")).start();
    // The batch script inherits slurmstepd's environment only where Slurm passes it on, so ask the
    // daemon itself.
    let pid = cluster.slurmd("n1").pid().unwrap();
    let environment = || {
        let pid = cluster.slurmd("n1").pid().unwrap_or(pid);
        let show = format!("tr '\\0' '\\n' </proc/{pid}/environ");
        cluster.client("sh").arg("-c").arg(show).run().ok().stdout
    };
    assert!(environment().contains("FM_A=1"));
    assert!(environment().contains("/nodes/n1/flexmig.toml"));
    cluster.slurmd("n1").set_env("FM_A", None);
    cluster.slurmd("n1").set_env("FM_B", Some("2"));
    cluster.restart_slurmd("n1");
    assert!(environment().contains("FM_B=2") && !environment().contains("FM_A"));
    let mark = cluster.controller().log_mark();
    cluster.reconfigure();
    cluster.controller().wait_log(mark, "econfigur", 10);
}

#[test]
fn a_start_that_fails_is_an_answer() {
    let cluster = two_nodes().job_submit("no_such_plugin").prepare();
    cluster.controller().try_start();
    let controller = cluster.controller();
    wait_for("slurmctld to give up", 10, || (!controller.is_running()).then_some(()));
    let log = controller.log();
    assert!(log.contains("fatal: failed to initialize job_submit plugin"), "{log}");
}

#[test]
fn a_node_has_its_mock_gpus() {
    let cluster = Cluster::builder()
        .node(Node::new("n1").leaves("dgx-a100", 2, "1g.10gb*7", "flexmig:1g.10gb:14"))
        .start();
    let dir = cluster.node_dir("n1");
    assert!(dir.join("dev/nvidia1").exists() && !dir.join("dev/nvidia2").exists());
    assert!(cluster.read("nodes/n1/flexmig.toml").contains("nvml_library"));
    let mut gpus = cluster.mock("n1");
    gpus.gpu[1].missing = vec!["gi7/ci0".into()];
    let access = dir.join("proc/driver/nvidia/capabilities/gpu1/mig/gi7/ci0/access");
    assert!(access.exists());
    cluster.set_mock("n1", &gpus);
    assert!(!access.exists());
}

#[test]
fn auth_none_serves_too() {
    let cluster = two_nodes().auth(Auth::None).start();
    assert!(cluster.srun("-n1 true").success());
}

#[test]
fn another_user_may_submit() {
    if !is_root() {
        return eprintln!("skipped: only root can act as another user");
    }
    let cluster = SHARED.get();
    let sbatch = cluster.client("sbatch").uid(65534);
    let job = cluster.submit(sbatch, "id -u").unwrap_or_else(|ran| panic!("{ran}"));
    assert_eq!(job.finish(), "65534\n");
}

#[test]
fn device_cgroups_keep_a_job_from_devices() {
    if let Err(why) = flexmig_cluster::cgroups() {
        return eprintln!("skipped: device_cgroups_keep_a_job_from_devices: {why}");
    }
    let cluster = Cluster::builder()
        .node(Node::new("n1").gres("flexmig:2"))
        .gres_conf("Name=flexmig File={dir}/nodes/n1/a,{dir}/nodes/n1/b\n")
        .cgroups()
        .prepare();
    let dir = cluster.node_dir("n1");
    for (name, minor) in [("a", "61"), ("b", "62")] {
        let path = dir.join(name).display().to_string();
        cluster.client("mknod").args(&format!("-m666 {path} c 4 {minor}")).run().ok();
    }
    cluster.start_daemons();
    let job = cluster.sbatch("", "cat /proc/self/cgroup");
    let devices = job.finish();
    assert!(devices.contains("/slurm_n1/"), "{devices}");
    drop(cluster);
    assert!(!Path::new("/sys/fs/cgroup/devices/slurm_n1").exists());
}

#[test]
fn nothing_is_left_when_a_cluster_goes() {
    let cluster = two_nodes().start();
    cluster.sbatch("", "sleep 1000").wait_running();
    let dir = cluster.dir().to_owned();
    drop(cluster);
    assert_nothing_left(&dir);
}

/// The child of the next test: a test process that is killed while its cluster runs.
#[test]
#[ignore = "run by nothing_is_left_when_the_test_process_is_killed"]
fn waits_to_be_killed() {
    let cluster = two_nodes().start();
    cluster.sbatch("", "sleep 1000").wait_running();
    eprintln!("\ncluster {}", cluster.dir().display());
    std::thread::sleep(std::time::Duration::from_secs(100));
}

#[test]
fn nothing_is_left_when_the_test_process_is_killed() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "waits_to_be_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let dir = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("cluster ").map(|dir| dir.to_owned()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_nothing_left(Path::new(&dir.expect("the child's cluster did not start")));
}

/// No process has a file below `dir` open, and `dir` is gone.
fn assert_nothing_left(dir: &Path) {
    wait_for(&format!("{} to go", dir.display()), 20, || (!dir.exists()).then_some(()));
    let name = dir.display().to_string();
    let users = std::fs::read_dir("/proc").unwrap().flatten().filter(|process| {
        let files = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let cwd = std::fs::read_link(process.path().join("cwd")).into_iter();
        let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        links.chain(cwd).any(|target| target.display().to_string().starts_with(&name))
    });
    let users: Vec<_> = users.map(|process| process.file_name()).collect();
    assert!(users.is_empty(), "processes left: {users:?} ({:?})", Isolation::best());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&name), "{mounts}");
}

#[test]
fn a_second_controller_stands_by_and_takes_over() {
    if Isolation::best() != Isolation::Root {
        eprintln!("skipped: needs root and namespaces");
        return;
    }
    let cluster = Cluster::builder().nodes(1, Node::new).backup_controller().start();
    assert!(cluster.backup().is_running());
    let job = cluster.sbatch("-n1", "sleep 600");
    job.wait_running();
    cluster.save_state();
    cluster.controller().kill9();
    let state = wait_for("the second controller to answer", 60, || {
        let ran = cluster.client("squeue").args("-h -o %T").seconds(5).run();
        (ran.success() && !ran.stdout.is_empty()).then_some(ran.stdout)
    });
    assert_eq!(state.trim(), "RUNNING");
}
