//! A cycle of the backfill scheduler over 64 nodes of 56 leaves (8 GPUs of 7), with the records of
//! gres/flexmig and without the plugin, when Slurm only counts.
//!
//! Both clusters have the same running and waiting jobs. While one is measured the other's slurmctld
//! is stopped, so that their cycles never meet on the machine.

use std::thread::sleep;
use std::time::Duration;

use flexmig_cluster::{Cluster, Node, Plugins, wait_for};

use crate::plugins::{Loaded, quiet, rounds};
use crate::report::{Figure, Report};
use crate::stats::Sample;

const NODES: usize = 64;
/// Jobs that wait.
const QUEUE: usize = 150;
/// Leaves that a running job holds on each node.
const HELD: u32 = 40;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds; each visits both clusters once.
    pub rounds: usize,
    /// Length of a visit; there is about one cycle a second.
    pub seconds: u64,
}

/// What sdiag tells of backfill.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cycles {
    count: u32,
    /// Mean, in microseconds.
    mean: f64,
    /// Jobs tried, mean; somewhat low, as the reset may come in the middle of a cycle.
    depth: u32,
}

/// Measures and compares.
pub fn measure(plan: &Plan) -> Result<Report, String> {
    let gres_only = Loaded::only("gres_flexmig.so")?;
    let counting = start(Plugins::None, &format!("flexmig:1g.10gb:{HELD}"))?;
    let indices = format!("(IDX:0-{})", HELD - 1);
    let ours = start(gres_only.directory(), &format!("flexmig:1g.10gb:{HELD}{indices}"))?;
    let visits = rounds("backfill", plan.rounds, [&counting, &ours], |cluster| {
        visit(cluster, plan.seconds)
    })?;
    let [counting, ours] =
        visits.map(|visits| visits.iter().map(|cycles| cycles.mean / 1000.0).collect::<Vec<f64>>());
    let mut report = Report::new(format!(
        "backfill cycle, {NODES} nodes x 56 leaves, {QUEUE} jobs waiting, {} s a round",
        plan.seconds
    ));
    report.row("mean cycle, ms: count only", Sample::new(counting.clone()));
    report.row("mean cycle, ms: gres/flexmig", Sample::new(ours.clone()));
    report.figure(Figure {
        name: "backfill_cycle_vs_count_only",
        against: "count-only GRES",
        lower_is_better: true,
        sample: Sample::ratios(&ours, &counting),
    });
    Ok(report)
}

/// A cluster with its running and waiting jobs, its controller stopped. `used` is what a node then
/// shows as GresUsed.
fn start(plugins: Plugins, used: &str) -> Result<Cluster, String> {
    let cluster = Cluster::builder()
        .nodes(NODES, |name| {
            let node = Node::new(name).cpus(128, 2).memory(1_000_000);
            node.leaves("dgx-a100", 8, "1g.10gb*7", "flexmig:1g.10gb:56")
        })
        .plugins(plugins)
        .job_submit("")
        .scheduler_parameters("bf_interval=1,bf_max_job_test=1000,sched_interval=60,defer")
        .start();
    quiet(&cluster);
    let array = format!("--array=1-{NODES}");
    // One job for each node: two of them do not fit on one.
    cluster.sbatch(&format!("{array} -t 480 --gres=flexmig:1g.10gb:{HELD}"), "exec sleep 7200");
    wait_for("a job on each node", 120, || {
        let squeue = cluster.client("squeue").args("-h -r -t R -o %i").run().ok();
        (squeue.lines().len() == NODES).then_some(())
    });
    cluster.write("work/queue.sh", "#!/bin/sh\nexit 0\n");
    let ran = cluster.client("sh").arg("-c").arg(queue()).seconds(120).run().ok();
    if !ran.stdout.is_empty() {
        return Err(format!("a submission failed: {ran}"));
    }
    let shown = cluster.node_info("n1").get("GresUsed").to_owned();
    if shown != used {
        return Err(format!("n1 uses {shown}, not {used}: the comparison is void"));
    }
    cluster.controller().signal("STOP");
    Ok(cluster)
}

/// A shell script that submits the waiting jobs: of one to eight nodes, half a node's leaves and
/// more, half an hour and more. None fits beside the running ones.
fn queue() -> String {
    let jobs = (0..QUEUE).map(|job| {
        let nodes = [1, 1, 1, 2, 1, 4, 1, 8][job % 8];
        let leaves = [20, 28, 56, 42, 24][job % 5];
        let minutes = [30, 60, 120, 240, 480, 720][job % 6];
        format!(
            "sbatch -Q -o /dev/null -N {nodes} -t {minutes} --gres=flexmig:1g.10gb:{leaves} \
             queue.sh >/dev/null 2>&1 || echo failed\n"
        )
    });
    jobs.collect()
}

/// Lets the cluster's controller go on for a while.
fn visit(cluster: &Cluster, seconds: u64) -> Result<Cycles, String> {
    cluster.controller().signal("CONT");
    // What piled up while it was stopped shall be over.
    sleep(Duration::from_secs(2));
    cluster.client("sdiag").arg("--reset").run().ok();
    for _ in 0..seconds {
        // Without a change since the last cycle there is no next one.
        cluster.scontrol("update job=1_1 comment=changed").ok();
        sleep(Duration::from_secs(1));
    }
    let sdiag = cluster.client("sdiag").run().ok().stdout;
    cluster.controller().signal("STOP");
    match cycles(&sdiag) {
        Some(cycles) if cycles.count >= 2 && cycles.depth as usize > QUEUE / 2 => Ok(cycles),
        other => Err(format!("backfill did not go through the queue ({other:?}):\n{sdiag}")),
    }
}

/// Reads the part `Backfilling stats` of what sdiag prints.
fn cycles(sdiag: &str) -> Option<Cycles> {
    let (_, part) = sdiag.split_once("Backfilling stats")?;
    let value = |key: &str| {
        let line = part.lines().find_map(|line| line.trim().strip_prefix(key))?;
        line.trim().parse::<u32>().ok()
    };
    Some(Cycles {
        count: value("Total cycles:")?,
        mean: value("Mean cycle:")?.into(),
        depth: value("Depth Mean:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdiag_tells_backfill_cycles() {
        let text = "Main schedule statistics (microseconds):\n\tMean cycle:   7\n\n\
             Backfilling stats\n\tTotal cycles: 12\n\tLast cycle:   1\n\tMean cycle:   61000\n\
             \tLast depth cycle: 9\n\tDepth Mean: 150\n\tDepth Mean (try depth): 128\n";
        assert_eq!(cycles(text), Some(Cycles { count: 12, mean: 61_000.0, depth: 150 }));
        assert_eq!(cycles("Mean cycle: 7"), None);
    }

    #[test]
    fn no_waiting_job_fits_beside_a_running_one() {
        let queue = queue();
        let smallest = queue.lines().filter_map(|line| {
            line.split("1g.10gb:").nth(1)?.split_whitespace().next()?.parse::<u32>().ok()
        });
        assert!(smallest.min().unwrap() + HELD > 56);
    }
}
