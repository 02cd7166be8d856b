//! A panic in each entry point, and a Slurm of an unknown release. The plugins are the test builds,
//! which panic on demand.

mod common;

use common::{STAY, leaves, list, shown, two_gpus, uuids_at, variable};
use flexmig_cluster::{Builder, Cluster, Node, Plugins};

fn faulty() -> Builder {
    Cluster::builder().plugins(Plugins::FaultInjection)
}

/// A node whose daemons panic in these entry points.
fn panicking(entries: &str) -> Node {
    two_gpus("n1").env("FLEXMIG_TEST_PANIC", entries)
}

#[track_caller]
fn assert_logged(log: &str, entry: &str) {
    let line = format!("flexmig: {entry}: internal error: ");
    assert!(log.contains(&line), "no `{line}` in\n{log}");
}

#[test]
fn a_panic_in_job_submit_passes_the_job_unchanged() {
    let cluster =
        faulty().controller_env("FLEXMIG_TEST_PANIC", "job_submit").node(two_gpus("n1")).start();
    for _ in 0..3 {
        let job = cluster.sbatch("-n1 --gres=flexmig:1g.10gb:2", STAY);
        assert_eq!(list(variable(&shown(&job), "FLEXMIG_UUIDS")).len(), 2);
        assert!(!job.info().text.contains("[flexmig:v1"), "{}", job.info().text);
    }
    assert_logged(&cluster.controller().log(), "job_submit");
    assert!(cluster.controller().is_running());
}

#[test]
fn a_panic_in_job_modify_passes_the_change_unchanged() {
    let cluster =
        faulty().controller_env("FLEXMIG_TEST_PANIC", "job_modify").node(two_gpus("n1")).start();
    let job = cluster.sbatch("-H -n1 --gres=flexmig:1g.10gb:2", STAY);
    cluster.scontrol(&format!("update jobid={} comment=changed", job.id)).ok();
    assert_eq!(job.info().get("Comment"), "changed");
    assert_logged(&cluster.controller().log(), "job_modify");
    cluster.scontrol(&format!("release {}", job.id)).ok();
    assert_eq!(list(variable(&shown(&job), "FLEXMIG_UUIDS")).len(), 2);
}

#[test]
fn a_panic_in_init_or_in_the_settings_thread_leaves_slurmctld_running() {
    let cluster =
        faulty().controller_env("FLEXMIG_TEST_PANIC", "init,settings").node(two_gpus("n1")).start();
    let job = cluster.sbatch("-n1 --gres=flexmig:1g.10gb:2", STAY);
    assert_eq!(list(variable(&shown(&job), "FLEXMIG_UUIDS")).len(), 2);
    assert_logged(&cluster.controller().log(), "init");
    cluster.reconfigure();
    cluster.wait_ready();
}

#[test]
fn a_panic_in_node_config_load_drains_the_node_and_slurmd_lives() {
    let cluster =
        faulty().node(panicking("gres_p_node_config_load")).node(Node::new("n2")).prepare();
    cluster.start_daemons();
    cluster.wait_node("n1", "DRAIN");
    assert_logged(&cluster.slurmd("n1").log(), "gres_p_node_config_load");
    assert!(cluster.slurmd("n1").is_running());
    assert_eq!(cluster.sbatch("-w n2 -n1", "echo fine").finish().trim(), "fine");
}

#[test]
fn a_panic_between_slurmd_and_slurmstepd_fails_the_job_and_not_the_node() {
    for entry in ["gres_p_send_stepd", "gres_p_recv_stepd", "gres_p_job_set_env"] {
        let cluster = faulty().node(panicking(entry)).start();
        let job = cluster.sbatch("-n1 --gres=flexmig:2", "echo the program ran");
        assert_eq!(job.wait_end(), "FAILED", "{entry}: {}", job.output());
        assert!(!job.output().contains("the program ran"), "{entry}: {}", job.output());
        assert!(job.output().contains("flexmig: "), "{entry}: {}", job.output());
        assert!(cluster.slurmd("n1").is_running(), "{entry}");
        assert_logged(&cluster.slurmd("n1").log(), entry);
        let other = cluster.sbatch("-n1", "echo fine");
        assert_eq!(other.finish().trim(), "fine", "{entry}");
        assert!(!cluster.node_info("n1").get("State").contains("DRAIN"), "{entry}");
    }
}

#[test]
fn a_panic_in_step_or_task_environment_fails_the_step() {
    for entry in ["gres_p_step_set_env", "gres_p_task_set_env"] {
        let cluster = faulty().node(panicking(entry)).start();
        if entry == "gres_p_task_set_env" && !common::binds_tasks(&cluster) {
            continue;
        }
        let script = "srun -n2 echo the program ran || echo the step failed";
        let job = cluster.sbatch("-n2 --gres=flexmig:2", script);
        let output = job.finish();
        assert!(output.contains("the step failed"), "{entry}: {output}");
        assert!(!output.lines().any(|line| line == "the program ran"), "{entry}: {output}");
        assert_logged(&format!("{output}{}", cluster.slurmd("n1").log()), entry);
        assert!(!cluster.node_info("n1").get("State").contains("DRAIN"), "{entry}");
    }
}

#[test]
fn a_panic_in_get_devices_opens_no_leaf() {
    if let Err(why) = flexmig_cluster::cgroups() {
        println!("skipped: {why}");
        return;
    }
    let cluster = faulty().cgroups().node(panicking("gres_p_get_devices")).start();
    let job = cluster.sbatch("-n1 --gres=flexmig:1", "echo the program ran");
    job.wait_end();
    assert_logged(&cluster.slurmd("n1").log(), "gres_p_get_devices");
    assert!(cluster.slurmd("n1").is_running());
}

#[test]
fn a_panic_for_the_prolog_leaves_the_job_as_it_is() {
    for entry in ["gres_p_prep_build_env", "gres_p_prep_set_env"] {
        let cluster = faulty()
            .slurm_conf("Prolog=/bin/true\nPrologFlags=Alloc\n")
            .controller_env("FLEXMIG_TEST_PANIC", entry)
            .node(panicking(entry))
            .start();
        let job = cluster.sbatch("-n1 --gres=flexmig:2", STAY);
        let uuids = list(variable(&shown(&job), "FLEXMIG_UUIDS"));
        assert_eq!(uuids, uuids_at(&leaves(&cluster, "n1"), &[0, 1]), "{entry}");
        assert!(cluster.controller().is_running() && cluster.slurmd("n1").is_running());
        let logs = cluster.controller().log() + &cluster.slurmd("n1").log();
        assert_logged(&logs, entry);
    }
}

#[test]
fn prologs_know_the_leaves_of_the_job() {
    let cluster = common::flexmig()
        .file("prolog", "#!/bin/sh\nenv >\"$0.out.$SLURM_JOB_ID\"\n")
        .node(two_gpus("n1"))
        .prepare();
    let prolog = cluster.dir().join("prolog");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&prolog, mode).expect("an executable prolog");
    cluster.edit("slurm.conf", |text| {
        format!("{text}\nProlog={}\nPrologFlags=Alloc\n", prolog.display())
    });
    cluster.start_daemons();
    let job = cluster.sbatch("-n1 --gres=flexmig:2", STAY);
    shown(&job);
    let output = cluster.read(&format!("prolog.out.{}", job.id));
    assert_eq!(variable(&output, "SLURM_JOB_FLEXMIGS"), "0,1", "{output}");
}

#[test]
fn with_an_unknown_release_jobs_pass_unchanged_and_each_plugin_says_so_once() {
    let cluster = faulty()
        .controller_env("FLEXMIG_TEST_API", "99")
        .node(two_gpus("n1").env("FLEXMIG_TEST_API", "99"))
        .start();
    for _ in 0..2 {
        let job = cluster.sbatch("-n1 --gres=flexmig:1g.10gb:2", STAY);
        let output = shown(&job);
        assert_eq!(variable(&output, "FLEXMIG_UUIDS"), "", "Slurm only counts: {output}");
        assert_eq!(job.messages, "");
        assert!(job.info().get("TresPerNode").ends_with("flexmig:1g.10gb:2"));
    }
    for log in [cluster.controller().log(), cluster.slurmd("n1").log()] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains("API number 99")).collect();
        assert_eq!(lines.len(), 1, "{log}");
    }
}
