//! Steps, tasks, arrays, het jobs, and what jobs inside jobs inherit.

mod common;

use std::collections::BTreeSet;

use flexmig_cluster::Release;

use common::{STAY, flexmig, leaves, list, shown, two_gpus, uuids_at, variable};

/// What no environment without leaves may hold: names of ours, and UUIDs of leaves anywhere.
fn traces(output: &str) -> Vec<&str> {
    let ours = |line: &&str| {
        line.starts_with("FLEXMIG_") && !line.starts_with("FLEXMIG_CONF=")
            || line.contains("_FLEXMIGS=")
            || line.contains("=MIG-")
            || line.starts_with("SLURM_TRES_BIND=")
    };
    output.lines().filter(ours).collect()
}

#[test]
fn two_steps_at_once_get_disjoint_leaves_of_the_job() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let step = "srun --exact -n1 -c1 --gres=flexmig:2 sh -c 'echo $FLEXMIG_UUIDS; sleep 3'";
    let script = format!("echo job=$FLEXMIG_UUIDS; {step} >a & {step} >b & wait; cat a b; rm a b");
    let job = cluster.sbatch("-n2 --gres=flexmig:4", &script);
    let output = job.finish();
    let mut lines = output.lines().filter(|line| line.contains("MIG-"));
    let all: BTreeSet<_> = list(variable(&output, "job")).into_iter().collect();
    lines.next();
    let steps: Vec<String> = lines.flat_map(list).collect();
    assert_eq!(steps.len(), 4, "{output}");
    assert_eq!(steps.into_iter().collect::<BTreeSet<_>>(), all, "{output}");
}

#[test]
fn three_tasks_of_a_job_of_three_leaves_are_bound_to_one_leaf_each() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let job = cluster.sbatch(
        "--gres=flexmig:3",
        "srun -n3 sh -c 'echo rank=$SLURM_PROCID $CUDA_VISIBLE_DEVICES all=$FLEXMIG_UUIDS'",
    );
    let output = job.finish();
    let uuids = uuids_at(&leaves(&cluster, "n1"), &[0, 1, 2]);
    for (rank, uuid) in uuids.iter().enumerate() {
        let prefix = format!("rank={rank} ");
        let line = output.lines().find_map(|line| line.strip_prefix(&prefix));
        let (visible, all) =
            line.expect("a line per rank").split_once(" all=").expect("two fields");
        assert_eq!(list(all), uuids, "{output}");
        // By Slurm from 23.11 on, before that by the preload library.
        assert_eq!(visible, uuid, "rank {rank}: {output}");
    }
}

#[test]
fn site_policy_and_user_can_keep_tasks_unbound() {
    // The preload library binds where Slurm does not, unless the mode is off.
    let node = two_gpus("n1").policy("bind_tasks = false").nccl("mode = \"off\"");
    let cluster = flexmig().node(node).start();
    let script = "srun -n2 sh -c 'echo $CUDA_VISIBLE_DEVICES'";
    let job = cluster.sbatch("--gres=flexmig:2", script);
    let both = uuids_at(&leaves(&cluster, "n1"), &[0, 1]).join(",");
    assert_eq!(job.finish().lines().collect::<Vec<_>>(), [&both, &both]);

    let cluster = flexmig().node(two_gpus("n1")).start();
    let job =
        cluster.sbatch("--gres=flexmig:2", &format!("FLEXMIG_MODE=off SLURM_TRES_BIND= {script}"));
    let output = job.finish();
    let both = uuids_at(&leaves(&cluster, "n1"), &[0, 1]).join(",");
    assert_eq!(output.lines().collect::<Vec<_>>(), [&both, &both]);
}

#[test]
fn a_batch_job_without_a_task_count_gets_one_task_per_leaf() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let job = cluster.sbatch("--gres=flexmig:3", "echo ntasks=$SLURM_NTASKS; srun echo task");
    let output = job.finish();
    assert_eq!(variable(&output, "ntasks"), "3", "{output}");
    assert_eq!(output.lines().filter(|line| *line == "task").count(), 3, "{output}");
    let job = cluster.sbatch("-n1 --gres=flexmig:3", "echo ntasks=$SLURM_NTASKS");
    assert_eq!(variable(&job.finish(), "ntasks"), "1", "what the user said stays");
}

#[test]
fn overlapping_steps_see_the_leaves_of_the_job() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let step = "srun --overlap -n1 sh -c 'echo step=$FLEXMIG_UUIDS; sleep 2'";
    let job =
        cluster.sbatch("--gres=flexmig:2", &format!("for i in 1 2 3; do {step} & done; wait"));
    let output = job.finish();
    let both = uuids_at(&leaves(&cluster, "n1"), &[0, 1]).join(",");
    let steps: Vec<_> = output.lines().filter_map(|line| line.strip_prefix("step=")).collect();
    assert_eq!(steps, [&both, &both, &both], "{output}");
}

#[test]
fn srun_and_salloc_get_their_leaves() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let both = uuids_at(&leaves(&cluster, "n1"), &[0, 1]);
    let ran = cluster.client("srun").args("-n1 --gres=flexmig:2 printenv FLEXMIG_UUIDS").run().ok();
    assert_eq!(list(ran.stdout.trim()), both, "{ran}");
    let ran = cluster
        .client("salloc")
        .args("-n1 --gres=flexmig:2 srun -n1 printenv FLEXMIG_UUIDS CUDA_VISIBLE_DEVICES")
        .run()
        .ok();
    let lines: Vec<_> = ran.lines().into_iter().map(list).collect();
    assert_eq!(lines, [both.clone(), both], "{ran}");
}

#[test]
fn a_step_with_gres_none_carries_no_trace_of_the_jobs_leaves() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let job = cluster.sbatch("--gres=flexmig:2", "srun -n1 --gres=none env");
    let output = job.finish();
    assert!(output.contains("SLURM_STEP_ID="), "the step ran: {output}");
    assert_eq!(traces(&output), [""; 0], "{output}");
}

#[test]
fn sbatch_from_inside_a_job_carries_no_trace_of_the_outer_jobs_leaves() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let inner = cluster.dir().join("inner");
    let script = format!(
        "sbatch --wait -n1 -o {path} --wrap 'env; srun -n1 env' && echo done",
        path = inner.display()
    );
    let output = cluster.sbatch("-n1 --gres=flexmig:2", &script).finish();
    assert!(output.contains("done"), "{output}");
    let output = cluster.read(&inner.display().to_string());
    assert!(output.contains("SLURM_JOB_ID="), "the inner job ran: {output}");
    assert_eq!(traces(&output), [""; 0], "{output}");
}

#[test]
fn sbatch_from_inside_a_job_gets_leaves_of_its_own() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let inner = cluster.dir().join("inner");
    let script = format!(
        "sbatch --wait -n1 --gres=flexmig:1 -o {path} --wrap 'env' && echo done",
        path = inner.display()
    );
    let output = cluster.sbatch("-n1 --gres=flexmig:2", &script).finish();
    assert!(output.contains("done"), "{output}");
    let output = cluster.read(&inner.display().to_string());
    let own = uuids_at(&leaves(&cluster, "n1"), &[2]);
    assert_eq!(list(variable(&output, "FLEXMIG_UUIDS")), own);
    assert_eq!(list(variable(&output, "CUDA_VISIBLE_DEVICES")), own);
    assert_eq!(variable(&output, "FLEXMIG_REQUEST"), "1g.10gb:1");
}

#[test]
fn what_the_user_exports_stays() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let job = cluster.sbatch(
        "-n1 --gres=none",
        "CUDA_VISIBLE_DEVICES=7 srun -n1 --gres=none printenv CUDA_VISIBLE_DEVICES",
    );
    assert_eq!(job.finish().trim(), "7");
}

#[test]
fn each_task_of_an_array_gets_its_own_leaves() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let dir = cluster.dir().join("array");
    std::fs::create_dir(&dir).expect("a directory");
    let script = format!("echo $FLEXMIG_UUIDS >{}/$SLURM_ARRAY_TASK_ID; sleep 2", dir.display());
    let job = cluster.sbatch("--array=1-3 -n1 --gres=flexmig:2", &script);
    job.wait_state("COMPLETED");
    let read = |task: u32| cluster.read(&dir.join(task.to_string()).display().to_string());
    let seen: Vec<String> = (1..=3).flat_map(|task| list(read(task).trim())).collect();
    assert_eq!(seen.len(), 6);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 6, "{seen:?}");
}

#[test]
fn each_part_of_a_het_job_gets_its_own_leaves() {
    let cluster = flexmig().nodes(2, two_gpus).start();
    let job = cluster.sbatch(
        "-n1 --gres=flexmig:2 : -n1 --gres=flexmig:3",
        "srun --het-group=0 -n1 sh -c 'echo a=$FLEXMIG_UUIDS'; srun --het-group=1 -n1 sh -c 'echo b=$FLEXMIG_UUIDS'",
    );
    let output = job.finish();
    let (a, b) = (list(variable(&output, "a")), list(variable(&output, "b")));
    assert_eq!((a.len(), b.len()), (2, 3), "{output}");
    assert_eq!(a.iter().chain(&b).collect::<BTreeSet<_>>().len(), 5, "{output}");
}

#[test]
fn tres_per_task_gives_one_leaf_per_task() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    if cluster.release() < Release(23, 11) {
        println!(
            "skipped: --tres-per-task binds from Slurm 23.11 on; this is {:?}",
            cluster.release()
        );
        return;
    }
    let job = cluster
        .sbatch("-n3 --tres-per-task=gres/flexmig:1", "srun sh -c 'echo $CUDA_VISIBLE_DEVICES'");
    let output = job.finish();
    let seen: BTreeSet<_> = output.lines().filter(|line| line.starts_with("MIG-")).collect();
    assert_eq!(seen.len(), 3, "{output}");
    assert!(seen.iter().all(|line| !line.contains(',')), "{output}");
}

#[test]
fn a_job_that_is_requeued_gets_leaves_again() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let job = cluster.sbatch("--requeue -n1 --gres=flexmig:2", STAY);
    shown(&job);
    cluster.scontrol(&format!("requeue {}", job.id)).ok();
    job.wait_state("PENDING");
    // slurmd refuses a launch in the second in which it was told to end the job.
    std::thread::sleep(std::time::Duration::from_secs(2));
    cluster.scontrol(&format!("update jobid={} starttime=now", job.id)).ok();
    assert_eq!(list(variable(&shown(&job), "FLEXMIG_UUIDS")).len(), 2);
}
