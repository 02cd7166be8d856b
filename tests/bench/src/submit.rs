//! Submitting with no filter, with job_submit/flexmig, with its view refreshed every second, and with
//! job_submit/lua: how long slurmctld takes per request, and how many jobs plain sbatch processes get
//! in per second.
//!
//! Each round starts a fresh cluster for each filter, so that no round finds more jobs in the list
//! than another. Jobs are held: the scheduler has nothing to do.

use flexmig_cluster::{Cluster, Node};

use crate::plugins::{Loaded, quiet, rounds};
use crate::report::{Figure, Report};
use crate::stats::Sample;

const GRES: &str = "flexmig:1g.10gb:28,flexmig:2g.20gb:8,flexmig:3g.40gb:4";
const REQUEST: &str = "flexmig:4";
const REWRITTEN: &str = "flexmig:1g.10gb:4";
const LUA: &str = include_str!("../benches/job_submit.lua");
const POLICY: &str = "\
[submit]
max_leaves_per_node = 28
max_leaves_per_job = 112
[span]
partitions = [\"gpu\", \"train\"]
";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds; each visits every filter once.
    pub rounds: usize,
    /// Clients at work at the same time.
    pub clients: usize,
    /// Submissions of each client in a round; one client does as many for the time per request.
    pub submissions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Filter {
    None,
    /// The choice by policy and slurm.conf alone.
    Flexmig,
    /// With what is free, asked for every second.
    View,
    Lua,
}

const FILTERS: [Filter; 4] = [Filter::None, Filter::Flexmig, Filter::View, Filter::Lua];

/// What one visit measured.
#[derive(Clone, Copy, Debug)]
struct Visit {
    /// Mean microseconds per REQUEST_SUBMIT_BATCH_JOB, as sdiag tells it.
    rpc: f64,
    /// Jobs per second.
    throughput: f64,
}

/// Measures and compares.
pub fn measure(plan: &Plan) -> Result<Report, String> {
    let loaded = Loaded::only("job_submit_flexmig.so")?;
    let visits = rounds("submit", plan.rounds, FILTERS, |filter| visit(plan, filter, &loaded))?;
    let [none, ours, view, lua] = visits;
    let column = |visits: &[Visit], value: fn(&Visit) -> f64| -> Vec<f64> {
        visits.iter().map(value).collect()
    };
    let visits = [&none, &ours, &view, &lua];
    let rpc = visits.map(|v| column(v, |v| v.rpc));
    let throughput = visits.map(|v| column(v, |v| v.throughput));

    let Plan { clients, submissions, .. } = plan;
    let mut report = Report::new(format!(
        "submit, sbatch: {submissions} requests a round; {clients} clients, {} jobs a round",
        clients * submissions
    ));
    for (what, values) in [("request, us (sdiag)", &rpc), ("jobs per second", &throughput)] {
        for (filter, values) in
            ["no filter", "flexmig", "flexmig and view", "lua"].iter().zip(values)
        {
            report.row(format!("{what}: {filter}"), Sample::new(values.clone()));
        }
    }
    let names = ["submit_rpc_vs_none", "submit_rpc_with_view_vs_none", "submit_rpc_lua_vs_none"];
    let throughput_names = [
        "submit_throughput_vs_none",
        "submit_throughput_with_view_vs_none",
        "submit_throughput_lua_vs_none",
    ];
    for (names, [none, ours, view, lua], lower_is_better) in
        [(names, rpc, true), (throughput_names, throughput, false)]
    {
        for (name, mine) in names.into_iter().zip([ours, view, lua]) {
            let sample = Sample::ratios(&mine, &none);
            report.figure(Figure { name, against: "no filter", lower_is_better, sample });
        }
    }
    Ok(report)
}

fn visit(plan: &Plan, filter: Filter, loaded: &Loaded) -> Result<Visit, String> {
    let refresh = u8::from(filter == Filter::View);
    let cluster = Cluster::builder()
        .nodes(2, |name| Node::new(name).cpus(128, 2).memory(1_000_000).gres(GRES))
        .partitions("PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
        // Slurm's own defaults; the harness's make the scheduler run after each submission.
        .scheduler_parameters("batch_sched_delay=3,bf_interval=30,sched_interval=60")
        .policy(&format!("{POLICY}[select]\nrefresh = {refresh}\n"))
        .file("job_submit.lua", LUA);
    let cluster = match filter {
        Filter::None => cluster,
        Filter::Flexmig | Filter::View => cluster.plugins(loaded.directory()).job_submit("flexmig"),
        Filter::Lua => cluster.job_submit("lua"),
    };
    let cluster = cluster.prepare();
    // Where this is allowed slurmctld's files are kept in memory: the disk is not what is compared.
    let state = cluster.dir().join("state").display().to_string();
    let _ = cluster.client("mount").args("-t tmpfs tmpfs").arg(state).run();
    cluster.start_daemons();
    quiet(&cluster);

    // Also makes slurmctld and the file cache warm.
    submit(&cluster, 1, 10)?;
    let request = cluster.squeue_field(1, "tres-per-node");
    let expected = if filter == Filter::None { REQUEST } else { REWRITTEN };
    if !request.ends_with(&format!(":{expected}")) {
        return Err(format!("{filter:?} made {request:?} of {REQUEST}: the comparison is void"));
    }
    // One client: with several at once the time per request is mostly waiting for locks.
    cluster.client("sdiag").arg("--reset").run().ok();
    submit(&cluster, 1, plan.submissions)?;
    let sdiag = cluster.client("sdiag").run().ok().stdout;
    let rpc = match submit_rpc(&sdiag) {
        Some((count, mean)) if count == plan.submissions => mean,
        other => return Err(format!("{} jobs, sdiag says {other:?}:\n{sdiag}", plan.submissions)),
    };
    let seconds = submit(&cluster, plan.clients, plan.submissions)?;
    Ok(Visit { rpc, throughput: (plan.clients * plan.submissions) as f64 / seconds })
}

/// Lets `clients` shells submit `each` held jobs; answers the seconds that it took.
fn submit(cluster: &Cluster, clients: usize, each: usize) -> Result<f64, String> {
    let script = format!(
        "start=$EPOCHREALTIME
         for client in $(seq {clients}); do
             for job in $(seq {each}); do
                 sbatch -Q -H -o /dev/null --gres={REQUEST} job.sh >/dev/null 2>&1 || echo failed
             done &
         done
         wait
         echo \"$start $EPOCHREALTIME\""
    );
    cluster.write("work/job.sh", "#!/bin/sh\nexit 0\n");
    let ran = cluster.client("bash").arg("-c").arg(script).seconds(300).run().ok();
    let words: Vec<f64> =
        ran.stdout.split_whitespace().map_while(|word| word.parse().ok()).collect();
    match words[..] {
        [start, end] => Ok(end - start),
        _ => Err(format!("a submission failed: {ran}")),
    }
}

/// Count and mean microseconds of REQUEST_SUBMIT_BATCH_JOB in what sdiag prints.
fn submit_rpc(sdiag: &str) -> Option<(usize, f64)> {
    let line = sdiag.lines().find(|line| line.contains("REQUEST_SUBMIT_BATCH_JOB"))?;
    let value = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key));
    let count: usize = value("count:")?.parse().ok()?;
    let total: f64 = value("total_time:")?.parse().ok()?;
    (count > 0).then(|| (count, total / count as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdiag_tells_count_and_mean() {
        let text = "Remote Procedure Call statistics by message type\n\
             \tREQUEST_PARTITION_INFO                  ( 2009) count:4      ave_time:68     total_time:272\n\
             \tREQUEST_SUBMIT_BATCH_JOB                ( 4003) count:400    ave_time:812    total_time:325000\n";
        assert_eq!(submit_rpc(text), Some((400, 812.5)));
        assert_eq!(submit_rpc(""), None);
    }
}
