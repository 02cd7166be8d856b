//! From the start of sbatch to the first line of the job, with and without gres/flexmig. Both
//! clusters have job_submit/flexmig; without the GRES plugin Slurm only counts leaves.
//!
//! The nodes serve mock-nvml, so what the driver of real GPUs needs to be asked is not in it.

use flexmig_cluster::{Cluster, Node, Plugins};

use crate::plugins::{Loaded, rounds};
use crate::report::{Figure, Report};
use crate::stats::Sample;

const REQUEST: &str = "flexmig:4";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds; each visits both clusters once.
    pub rounds: usize,
    /// Jobs of a visit, one after the other.
    pub jobs: usize,
}

/// Measures and compares.
pub fn measure(plan: &Plan) -> Result<Report, String> {
    let filter_only = Loaded::only("job_submit_flexmig.so")?;
    let clusters = [filter_only.directory(), Plugins::Release].map(start);
    let [counting, ours] = &clusters;
    // Warms up, and checks that one of them counts and the other hands out leaves.
    let [counted, handed_out] = [first_lines(counting, 3)?, first_lines(ours, 3)?]
        .map(|jobs| jobs.iter().map(|job| job.leaves).collect::<Vec<_>>());
    if counted != [0, 0, 0] || handed_out != [4, 4, 4] {
        return Err(format!(
            "jobs of {REQUEST} saw {handed_out:?} leaves with and {counted:?} without gres/flexmig: \
             the comparison is void"
        ));
    }
    let visits = rounds("start", plan.rounds, [counting, ours], |cluster| {
        let times = first_lines(cluster, plan.jobs)?;
        Ok(times.into_iter().map(|job| job.milliseconds).collect::<Vec<f64>>())
    })?;
    // Jobs vary far more than rounds do: the median of a visit stands for it.
    let [counting, ours] = &visits;
    let median = |visits: &[Vec<f64>]| -> Vec<f64> {
        visits.iter().map(|times| Sample::new(times.clone()).median()).collect()
    };
    let mut report =
        Report::new(format!("sbatch to the job's first line, {} jobs a round", plan.jobs));
    report.row("all jobs, ms: no gres plugin", Sample::new(counting.concat()));
    report.row("all jobs, ms: gres/flexmig", Sample::new(ours.concat()));
    report.figure(Figure {
        name: "job_start_vs_no_gres_plugin",
        against: "no gres plugin",
        lower_is_better: true,
        sample: Sample::ratios(&median(ours), &median(counting)),
    });
    Ok(report)
}

fn start(plugins: Plugins) -> Cluster {
    Cluster::builder()
        .nodes(2, |name| Node::new(name).leaves("dgx-a100", 8, "1g.10gb*7", "flexmig:1g.10gb:56"))
        .plugins(plugins)
        .job_submit("flexmig")
        .slurm_conf("SlurmctldDebug=info\nSlurmdDebug=info")
        .start()
}

/// A job that has run.
#[derive(Clone, Copy, Debug)]
struct Started {
    milliseconds: f64,
    /// How many leaves its environment names.
    leaves: usize,
}

/// Runs jobs one after the other.
fn first_lines(cluster: &Cluster, jobs: usize) -> Result<Vec<Started>, String> {
    cluster.write(
        "work/first-line.sh",
        "#!/bin/bash\necho \"$EPOCHREALTIME ${FLEXMIG_UUIDS:-}\" >first-line.new\n\
         mv first-line.new first-line\n",
    );
    // The pause lets the step end and slurmctld settle before the next job.
    let script = format!(
        "for job in $(seq {jobs}); do
             rm -f first-line
             start=$EPOCHREALTIME
             sbatch -Q -o /dev/null --gres={REQUEST} first-line.sh >/dev/null 2>&1 || exit 1
             for wait in $(seq 500); do [ ! -e first-line ] || break; sleep 0.02; done
             read -r first leaves <first-line || exit 1
             echo \"$start $first $leaves\"
             sleep 0.1
         done"
    );
    let ran = cluster.client("bash").arg("-c").arg(script).seconds(300).run().ok();
    let started: Option<Vec<Started>> = ran.stdout.lines().map(started).collect();
    started.filter(|all| all.len() == jobs).ok_or_else(|| format!("not {jobs} jobs: {ran}"))
}

/// Reads `START FIRST-LINE UUID,UUID,...`, times in seconds.
fn started(line: &str) -> Option<Started> {
    let mut words = line.split_whitespace();
    let mut seconds = || -> Option<f64> { words.next()?.parse().ok() };
    let milliseconds = (-(seconds()? - seconds()?)) * 1000.0;
    let leaves = words.next().map_or(0, |uuids| uuids.split(',').count());
    Some(Started { milliseconds, leaves })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_time_and_leaves() {
        let job = started("1700000000.500000 1700000000.750000 MIG-a,MIG-b").unwrap();
        assert!((job.milliseconds - 250.0).abs() < 1e-3, "{job:?}");
        assert_eq!(job.leaves, 2);
        assert_eq!(started("1.5 2.5").unwrap().leaves, 0);
        assert!(started("1.5").is_none());
    }
}
