//! The jobs on a real slurmctld.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flexmig_cluster::mock_nvml::NodeSpec;
use flexmig_cluster::{Cluster, JobInfo, Node, Plugins, Release, expand_hosts};
use flexmig_sim::layout::Cut;
use flexmig_sim::{Job, SECOND};

use crate::compare::{Ran, mean, median};
use crate::plan::{self, REFRESH, Variant};

/// Most seconds that a replay may take.
const PATIENCE: u32 = 3600;

/// A job: it only stays. Says when it began and ended.
const JOB: &str = r#"#!/bin/bash
begin=$EPOCHREALTIME
read -rt "$2" <> <(:)
echo "$1 $begin $EPOCHREALTIME" >>seen
"#;

/// Submits each job of the file `plan` when it is due, one after the other so that they stay in
/// order. `read` with a time limit on a pipe that nobody writes is a pause without a process.
const SUBMIT: &str = r#"
exec {pause}<> <(:)
start=${1}000000
while read -r place at request minutes seconds; do
    left=$((start + at * 1000 - ${EPOCHREALTIME/./}))
    if ((left > 0)); then
        read -rt "$((left / 1000000)).$(printf %06d $((left % 1000000)))" -u "$pause"
    fi
    # A busy machine may keep sbatch waiting until it gives up, perhaps after it was heard.
    for try in 1 2 3 4 5 6 7 8 9 rejected; do
        sbatch -Q -J "$place" -t "$minutes" -o /dev/null --gres="$request" \
            job.sh "$place" "$seconds" >>said 2>&1 </dev/null && break
        echo "$try: $request" >>said
        read -rt 1 -u "$pause"
        [ -z "$(squeue -h -n "$place")" ] || break
    done
done <plan
"#;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// By submission.
    pub jobs: Vec<Ran>,
    /// Whether flexmig may change the request of a waiting job: Slurm before 23.02.6 cannot.
    pub replans: bool,
    /// Seconds between Slurm's decision to start a job and the job's first line, the median.
    pub launch: f64,
    /// Seconds for which a job holds its leaves beyond its own time, the mean.
    pub overhead: f64,
    /// Seconds by which a job was submitted late, the longest: what else the machine did.
    pub late: f64,
}

/// Runs jobs on a fresh cluster, from the next whole multiple of bf_resolution on.
///
/// # Panics
/// If a job was rejected, or did not complete.
pub fn replay(jobs: &[Job], variant: Variant) -> Replay {
    let cluster = cluster();
    cluster.scontrol("setdebug info").ok();
    cluster.write("work/job.sh", JOB);
    cluster.write("work/plan", &lines(jobs, variant));
    let start = (now() + 3).next_multiple_of(60);
    let submit = cluster.client("bash").arg("-c").arg(SUBMIT).arg("submit").arg(start.to_string());
    submit.seconds(PATIENCE).run().ok();
    let said = cluster.read("work/said");
    assert!(!said.contains("rejected: "), "not every job was accepted:\n{said}");
    wait_for_end(&cluster);
    account(&cluster, jobs, start as f64)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A CPU for each leaf and one more: leaves are what jobs wait for.
fn cluster() -> Cluster {
    // Starting one is the only work there is: one after the other.
    static STARTING: Mutex<()> = Mutex::new(());
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let layout = plan::layout();
    let builder = Cluster::builder().nodes(0, Node::new);
    let nodes = (0..plan::NODES as usize).map(|place| {
        let leaves = leaves(layout.cut(place));
        let mig = leaves.iter().map(|(profile, count)| format!("{profile}*{count}"));
        let gres = leaves.iter().map(|(profile, count)| format!("flexmig:{profile}:{count}"));
        let mut spec = NodeSpec::preset("dgx-a100").expect("a preset").gpus(1);
        spec.gpu[0].mig = Some(mig.collect());
        let cpus = leaves.iter().map(|(_, count)| count).sum::<u32>() + 1;
        let node = Node::new(&format!("n{}", place + 1)).cpus(cpus, 1);
        node.gres(&gres.collect::<Vec<_>>().join(",")).mock(spec).nccl("mode = \"off\"")
    });
    nodes
        .fold(builder, |builder, node| builder.node(node))
        .plugins(Plugins::Release)
        .policy(&format!("[select]\nrefresh = {REFRESH}\n"))
        .scheduler_parameters(&plan::scheduler_parameters())
        // Records of ended jobs are read at the end.
        .slurm_conf("MinJobAge=36000")
        .start()
}

/// The profiles of a cut and how many of each, large first.
fn leaves(cut: &Cut) -> Vec<(String, u32)> {
    let mut profiles: Vec<_> = cut.instances().iter().map(|leaf| leaf.shape.profile).collect();
    profiles.sort_by_key(|profile| std::cmp::Reverse(*profile));
    let groups = profiles.chunk_by(|a, b| a == b);
    groups.map(|group| (group[0].to_string(), group.len() as u32)).collect()
}

/// `PLACE AT REQUEST MINUTES SECONDS`, a line for each job, AT in milliseconds.
fn lines(jobs: &[Job], variant: Variant) -> String {
    let mut text = String::new();
    for (place, job) in jobs.iter().enumerate() {
        let (asks, minutes) = (variant.asks(job.slices), job.limit / (60 * SECOND));
        let _ = writeln!(text, "{place} {} {asks} {minutes} {}", job.submit, job.run / SECOND);
    }
    text
}

fn wait_for_end(cluster: &Cluster) {
    for _ in 0..PATIENCE / 5 {
        let queue = cluster.client("squeue").args("-h").run();
        if queue.success() && queue.stdout.trim().is_empty() {
            return;
        }
        sleep(Duration::from_secs(5));
    }
    panic!("jobs are left after an hour");
}

/// Slurm's records, whose times are whole seconds, and what the jobs said.
fn account(cluster: &Cluster, jobs: &[Job], start: f64) -> Replay {
    let show = cluster.client("scontrol").args("show job").env("SLURM_TIME_FORMAT", "%s");
    let mut records = JobInfo::parse_all(&show.run().ok().stdout);
    let place = |record: &JobInfo| record.get("JobName").parse::<usize>().unwrap_or(usize::MAX);
    records.sort_by_key(place);
    assert_eq!(records.len(), jobs.len(), "jobs that Slurm knows");
    let mut seen = vec![(0.0, 0.0); jobs.len()];
    for line in cluster.read("work/seen").lines() {
        let words: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        if let [place, begin, end] = words[..] {
            seen[place as usize] = (begin - start, end - start);
        }
    }
    let decided = decisions(&cluster.read("log/slurmctld.log"));
    let (mut launch, mut overhead, mut late) = (Vec::new(), Vec::new(), 0f64);
    let mut ran = Vec::new();
    for ((record, job), (begin, end)) in records.iter().zip(jobs).zip(seen) {
        assert_eq!(record.get("JobState"), "COMPLETED", "{}", record.text);
        let time = |key: &str| -> f64 {
            let time: Option<f64> = record.get(key).parse().ok();
            time.unwrap_or_else(|| panic!("{key} of {}", record.text)) - start
        };
        let hosts = expand_hosts(record.get("NodeList"));
        let node =
            hosts.first().and_then(|host| host.trim_start_matches('n').parse::<usize>().ok());
        let (submit, slept) = (job.submit as f64 / SECOND as f64, job.run as f64 / SECOND as f64);
        late = late.max(time("SubmitTime") - submit);
        // The records' seconds are cut off, and schedulers like some parts of a second: the log
        // has more of them.
        if let Some((from, to)) = record.get("JobId").parse().ok().and_then(|id| decided.get(&id)) {
            overhead.push((to - from).rem_euclid(DAY) - slept);
            launch.push((begin + start - from).rem_euclid(DAY));
        }
        assert!(end - begin >= slept - 0.1, "a job slept {} s, not {slept}", end - begin);
        ran.push(Ran {
            submit: time("SubmitTime"),
            start: time("StartTime"),
            end: time("EndTime"),
            node: node.map_or(usize::MAX, |node| node - 1),
            leaves: record.get("NumTasks").parse().unwrap_or(0),
        });
    }
    let replans = cluster.release() >= Release(23, 2);
    Replay { jobs: ran, replans, launch: median(launch), overhead: mean(&overhead), late }
}

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// When slurmctld started each job and saw it end, in seconds of the day, from its log.
fn decisions(log: &str) -> HashMap<u32, (f64, f64)> {
    let (mut starts, mut both) = (HashMap::new(), HashMap::new());
    for line in log.lines() {
        let Some((seconds, text)) = clock(line) else { continue };
        let Some((before, after)) = text.split_once("JobId=") else { continue };
        let id = after.split(' ').next().and_then(|id| id.parse::<u32>().ok());
        let Some(id) = id else { continue };
        if before.contains("Allocate") || before.contains("Started") {
            starts.insert(id, seconds);
        } else if before.contains("_job_complete") && after.ends_with(" done") {
            both.extend(starts.get(&id).map(|start| (id, (*start, seconds))));
        }
    }
    both
}

/// `[2026-11-20T14:13:03.268] text`.
fn clock(line: &str) -> Option<(f64, &str)> {
    let (time, text) = line.strip_prefix('[')?.split_once("] ")?;
    let (_, time) = time.split_once('T')?;
    let parts: Vec<f64> = time.split(':').filter_map(|part| part.parse().ok()).collect();
    let [hours, minutes, seconds] = parts[..] else { return None };
    Some((hours * 3600.0 + minutes * 60.0 + seconds, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_when_a_job_started_and_ended() {
        let log = "[2026-11-20T14:13:03.268] sched/backfill: _start_job: Started JobId=1 in all on n2\n\
             [2026-11-20T14:13:10.384] sched: Allocate JobId=3 NodeList=n1 #CPUs=1 Partition=all\n\
             [2026-11-20T14:14:10.500] _job_complete: JobId=1 WEXITSTATUS 0\n\
             [2026-11-20T14:14:10.768] _job_complete: JobId=1 done\n";
        let found = decisions(log);
        let (from, to) = found[&1];
        assert!(found.len() == 1 && (to - from - 67.5).abs() < 1e-6, "{found:?}");
    }
}
