//! A stream on a real cluster.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::parse::JobInfo;
use crate::spec::{Node, Plugins};
use crate::wait::wait_for;

use super::check::{Clashes, Seen, Uses, satisfies};
use super::generate::{Planned, Request, Stream};

/// Most seconds that a stream may take after its last submission.
const PATIENCE: u64 = 240;

/// How the same stream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// `flexmig:3g:1`: the plugin chooses.
    Composed,
    /// `flexmig:3g.40gb:1`: one leaf for one need, the smallest type that serves.
    Exact,
    /// One leaf for one need, all types that serve in turn.
    InTurn,
}

impl Variant {
    fn asks(self, request: &Request, place: usize) -> String {
        match self {
            Variant::Composed => request.flexible(),
            Variant::Exact => request.exact(),
            Variant::InTurn => request.in_turn(place),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Variant::Composed => "composed",
            Variant::Exact => "exact",
            Variant::InTurn => "exact, in turn",
        })
    }
}

/// What Slurm keeps free for jobs that wait. Either way it is the same for both variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Whole nodes, for the longest that running jobs may take: Slurm's default.
    Nodes,
    /// Nothing: what fits starts (`bf_min_prio_reserve`). What is compared is then the choice of
    /// leaves alone.
    Nothing,
}

/// Each job: takes the lock files of its leaves, asks slurmctld for its record, stays, and writes
/// down what it saw. Without another process where bash can do it.
const JOB: &str = r#"#!/bin/bash
begin=$EPOCHREALTIME
set -C
clashes=
for leaf in ${FLEXMIG_UUIDS//,/ }; do
    { : >"locks/$leaf"; } 2>/dev/null || clashes+=,$leaf
done
scontrol -d show job "$SLURM_JOB_ID" >"records/$1"
sleep "$2"
for leaf in ${FLEXMIG_UUIDS//,/ }; do leaves+=("locks/$leaf"); done
rm -f "${leaves[@]}"
echo "$1 $SLURM_JOB_ID $SLURMD_NODENAME $begin $EPOCHREALTIME \
    ${FLEXMIG_UUIDS:--} ${FLEXMIG_PROFILES:--} ${clashes:--}" >>seen
"#;

/// Submits each job of the file `stream` when it is due; says when it began. `read` with a time
/// limit on a pipe that nobody writes is a pause without a process.
const SUBMIT: &str = r#"
exec {pause}<> <(:)
start=${EPOCHREALTIME/./}
echo "$EPOCHREALTIME"
while read -r place at request seconds; do
    left=$((start + at - ${EPOCHREALTIME/./}))
    if ((left > 0)); then
        read -rt "$((left / 1000000)).$(printf %06d $((left % 1000000)))" -u "$pause"
    fi
    sbatch -Q -t 1 -o /dev/null --gres="$request" job.sh "$place" "$seconds" \
        >>said 2>&1 </dev/null || echo "rejected: $request" >>said &
done <stream
wait
"#;

/// What came of a stream.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed and how it was asked for.
    pub seed: u64,
    /// See `seed`.
    pub variant: Variant,
    /// From the first moment of the window to the end of the last job.
    pub seconds: f64,
    /// How long jobs waited, on average.
    pub waited: f64,
    /// Jobs at work at the same time, on average.
    pub at_work: f64,
    /// How each request was served.
    pub uses: Uses,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { seed, variant, seconds, waited, at_work, uses } = self;
        write!(
            f,
            "stream of seed {seed}, {variant}: {seconds:.1} s; a job waited {waited:.1} s, \
             {at_work:.1} at work\n{uses}"
        )
    }
}

/// The same stream both ways.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// As flexmig requests.
    pub composed: Outcome,
    /// As exact types.
    pub exact: Outcome,
}

impl Comparison {
    /// Time composed over time exact.
    pub fn ratio(&self) -> f64 {
        self.composed.seconds / self.exact.seconds
    }
}

/// Runs the stream of a seed both ways, each on a fresh cluster, and prints what came of it.
///
/// # Panics
/// As [`run`].
pub fn compare(seed: u64, reserve: Reserve) -> Comparison {
    let stream = Stream::generate(seed);
    let [exact, composed] = [Variant::Exact, Variant::Composed].map(|variant| {
        let outcome = run(&stream, variant, reserve);
        println!("{outcome}");
        outcome
    });
    let comparison = Comparison { composed, exact };
    println!("stream of seed {seed}: composed over exact {:.3}", comparison.ratio());
    comparison
}

/// Runs a stream on a fresh cluster and checks every job.
///
/// # Panics
/// If a job did not complete or was not served as it asked, or a leaf was held twice.
pub fn run(stream: &Stream, variant: Variant, reserve: Reserve) -> Outcome {
    let cluster = cluster(reserve);
    cluster.scontrol("setdebug info").ok();
    let work = cluster.dir().join("work");
    for dir in ["locks", "records"] {
        fs::create_dir(work.join(dir)).unwrap_or_else(|error| panic!("{dir}: {error}"));
    }
    cluster.write("work/job.sh", JOB);
    cluster.write("work/stream", &lines(stream, variant));
    let submitted = cluster.client("bash").arg("-c").arg(SUBMIT).seconds(300).run().ok();
    let start: f64 = submitted.stdout.trim().parse().expect("the time of the start");
    let said = cluster.read("work/said");
    assert!(!said.contains("rejected: "), "not every job was accepted:\n{said}");

    wait_for_end(&cluster, stream.jobs.len());
    let seen = jobs(&cluster, stream, variant);
    let clashes = Clashes::find(&seen);
    assert_eq!(clashes, Clashes::default(), "leaves were held twice:\n{clashes}");
    let mut uses = Uses::default();
    for (planned, seen) in stream.jobs.iter().zip(&seen) {
        uses.add(planned.request, &seen.profiles);
    }
    let seconds = seen.iter().map(|job| job.end - start).fold(0.0, f64::max);
    let waits = stream.jobs.iter().zip(&seen).map(|(job, seen)| seen.begin - start - job.at);
    let worked: f64 = seen.iter().map(|job| job.end - job.begin).sum();
    Outcome {
        seed: stream.seed,
        variant,
        seconds,
        waited: waits.sum::<f64>() / seen.len() as f64,
        at_work: worked / seconds,
        uses,
    }
}

/// Three nodes of two GPUs each, a way of cutting for each node.
fn cluster(reserve: Reserve) -> Cluster {
    let node = |name: &str, mig: &[&str], gres: &str| {
        let mut spec = mock_nvml::NodeSpec::preset("dgx-a100").expect("a preset").gpus(2);
        for gpu in &mut spec.gpu {
            gpu.mig = Some(mig.iter().map(|&item| item.to_owned()).collect());
        }
        Node::new(name).cpus(32, 1).gres(gres).mock(spec).nccl("mode = \"off\"")
    };
    // The harness's, which make Slurm act at once, and with them what Slurm reserves.
    let mut scheduler =
        "sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0".to_owned();
    if reserve == Reserve::Nothing {
        scheduler += ",bf_min_prio_reserve=4294967295";
    }
    Cluster::builder()
        .node(node("n1", &["1g.10gb*7"], "flexmig:1g.10gb:14"))
        .node(node(
            "n2",
            &["3g.40gb", "2g.20gb", "1g.10gb*2"],
            "flexmig:3g.40gb:2,flexmig:2g.20gb:2,flexmig:1g.10gb:4",
        ))
        .node(node("n3", &["4g.40gb", "3g.40gb"], "flexmig:4g.40gb:2,flexmig:3g.40gb:2"))
        .plugins(Plugins::Release)
        .policy("[select]\nrefresh = 1\n")
        .scheduler_parameters(&scheduler)
        .start()
}

/// `PLACE AT REQUEST SECONDS`, a line for each job, AT in microseconds.
fn lines(stream: &Stream, variant: Variant) -> String {
    let mut text = String::new();
    for (place, Planned { at, request, seconds }) in stream.jobs.iter().enumerate() {
        let asks = variant.asks(request, place);
        let _ = writeln!(text, "{place} {} {asks} {seconds:.3}", (at * 1e6) as u64);
    }
    text
}

/// Waits until no job is left; shows the queue if that takes too long.
fn wait_for_end(cluster: &Cluster, jobs: usize) {
    let end = Instant::now() + Duration::from_secs(PATIENCE);
    loop {
        let queue = cluster
            .client("squeue")
            .args("-h -O jobid:8,state:12,tres-per-node:32,reason")
            .run()
            .ok();
        if queue.stdout.trim().is_empty() {
            return;
        }
        let left = queue.stdout.lines().count();
        let why = format!("{left} of {jobs} jobs are left after {PATIENCE} s:\n{}", queue.stdout);
        assert!(Instant::now() < end, "{why}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What the jobs saw, in the order of the stream, each checked against its request and against
/// Slurm's records.
fn jobs(cluster: &Cluster, stream: &Stream, variant: Variant) -> Vec<Seen> {
    let ended = JobInfo::parse_all(&cluster.scontrol("show job").ok().stdout);
    let failed = ended.iter().find(|job| job.get("JobState") != "COMPLETED");
    assert!(failed.is_none(), "{}", failed.map_or("", |job| &job.text));
    assert_eq!(ended.len(), stream.jobs.len(), "jobs that Slurm knows");

    let mut seen: Vec<Seen> = wait_for("what the jobs saw", 10, || {
        let seen: Vec<Seen> = cluster.read("work/seen").lines().filter_map(Seen::parse).collect();
        (seen.len() == stream.jobs.len()).then_some(seen)
    });
    seen.sort_by_key(|job| job.place);
    let uuids: BTreeMap<&str, Vec<String>> =
        ["n1", "n2", "n3"].map(|node| (node, uuids(cluster, node))).into();
    for (place, (planned, seen)) in stream.jobs.iter().zip(&seen).enumerate() {
        assert_eq!(seen.place, place, "a job of the stream is missing");
        let record = cluster.read(&format!("work/records/{place}"));
        let record = JobInfo::parse_all(&record).swap_remove(0);
        let problem = check(&planned.request, variant, seen, &record, &uuids[&*seen.node]);
        problem.unwrap_or_else(|why| panic!("job {}: {why}:\n{}", seen.id, record.text));
    }
    seen
}

/// One job against its request and against the record that slurmctld had while it ran.
fn check(
    request: &Request,
    variant: Variant,
    seen: &Seen,
    record: &JobInfo,
    uuids: &[String],
) -> Result<(), String> {
    satisfies(request, &seen.profiles)?;
    let got = format!("flexmig:{}:{}", seen.profiles[0], seen.profiles.len());
    let asked = variant.asks(request, seen.place);
    if variant != Variant::Composed && got != asked {
        return Err(format!("asked for {asked} and got {got}"));
    }
    let indices = record.indices(&seen.node, "flexmig");
    let by_index: Option<Vec<&String>> =
        indices.iter().map(|&index| uuids.get(index as usize)).collect();
    let mut by_index = by_index.ok_or("an index without a leaf")?;
    let mut held: Vec<&String> = seen.uuids.iter().collect();
    by_index.sort();
    held.sort();
    if by_index != held {
        return Err(format!("Slurm gave {by_index:?}, the job saw {held:?}"));
    }
    if !record.get("TresPerNode").ends_with(&got) {
        return Err(format!("the record does not say {got}"));
    }
    let req = format!(
        "AdminComment=[flexmig:v1 req={request} got={} ",
        got.trim_start_matches("flexmig:")
    );
    if variant == Variant::Composed && !record.text.contains(&req) {
        return Err(format!("the record has no {req}"));
    }
    Ok(())
}

/// UUIDs of a node's leaves by index, as the command shows them.
fn uuids(cluster: &Cluster, node: &str) -> Vec<String> {
    let ran = cluster.flexmig(node).args("leaves --json").run().ok();
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let mut leaves: Vec<(u64, String)> = json["leaves"]
        .as_array()
        .expect("leaves")
        .iter()
        .filter_map(|leaf| Some((leaf["index"].as_u64()?, leaf["uuid"].as_str()?.to_owned())))
        .collect();
    leaves.sort();
    leaves.into_iter().map(|(_, uuid)| uuid).collect()
}
