//! From the start of srun to the first line of the job, with and without gres/flexmig. Both clusters
//! have job_submit/flexmig; without the GRES plugin Slurm only counts leaves.
//!
//! srun, because it gets its allocation at once. A batch job waits for the next round of the
//! scheduler, up to a second, and what is to be seen here would drown in that.
//!
//! The nodes serve mock-nvml: what a real NVML takes to load and answer is not in it. With
//! `verify = "files"` no NVML is asked at all.

use flexmig_cluster::{Cluster, Node, Plugins};

use crate::plugins::{Loaded, quiet, rounds};
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
    let counting = start(filter_only.directory(), "");
    let ours = start(Plugins::Release, "");
    let files = start(Plugins::Release, "verify = \"files\"");
    // Warms up, and checks that one of them counts and the others hand out leaves.
    for (cluster, expected) in [(&counting, 0), (&ours, 4), (&files, 4)] {
        let seen: Vec<usize> = first_lines(cluster, 3)?.iter().map(|job| job.leaves).collect();
        if seen != [expected; 3] {
            return Err(format!(
                "jobs of {REQUEST} saw {seen:?} leaves, not {expected}: the comparison is void"
            ));
        }
    }
    let visits = rounds("start", plan.rounds, [&counting, &ours, &files], |cluster| {
        let times = first_lines(cluster, plan.jobs)?;
        Ok(times.into_iter().map(|job| job.milliseconds).collect::<Vec<f64>>())
    })?;
    let mut report =
        Report::new(format!("srun to the job's first line, {} jobs a round", plan.jobs));
    let [counting, ours, files] = &visits;
    report.row("all jobs, ms: no gres plugin", Sample::new(counting.concat()));
    report.row("all jobs, ms: gres/flexmig", Sample::new(ours.concat()));
    report.row("all jobs, ms: gres/flexmig, verify = \"files\"", Sample::new(files.concat()));
    // Jobs vary far more than rounds do: the median of a visit stands for it.
    let [counting, ours, files] = [counting, ours, files].map(|visits| {
        visits.iter().map(|times| Sample::new(times.clone()).median()).collect::<Vec<f64>>()
    });
    for (name, mine) in
        [("job_start_vs_no_gres_plugin", ours), ("job_start_files_vs_no_gres_plugin", files)]
    {
        let sample = Sample::ratios(&mine, &counting);
        report.figure(Figure { name, against: "no gres plugin", lower_is_better: true, sample });
    }
    Ok(report)
}

/// A cluster with these plugins and lines in table `[node]` of flexmig.toml.
fn start(plugins: Plugins, policy: &str) -> Cluster {
    let cluster = Cluster::builder()
        .nodes(2, |name| {
            Node::new(name).leaves("dgx-a100", 8, "1g.10gb*7", "flexmig:1g.10gb:56").policy(policy)
        })
        .plugins(plugins)
        .job_submit("flexmig")
        .start();
    quiet(&cluster);
    cluster
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
    // The pause lets slurmctld settle before the next job.
    let script = format!(
        "for job in $(seq {jobs}); do
             start=$EPOCHREALTIME
             line=$(srun -Q -n1 --gres={REQUEST} bash -c \
                 'echo \"$EPOCHREALTIME ${{FLEXMIG_UUIDS:-}}\"' 2>srun.err) || {{ cat srun.err; exit; }}
             echo \"$start $line\"
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
