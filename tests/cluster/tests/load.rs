//! slurmctld under load: 200 submissions a second from eight clients for a minute, with a view that
//! is refreshed every second; and a crash in the middle of that. Minutes: `make test-long`.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flexmig_cluster::{Background, Cluster, JobInfo, Plugins};

use common::node;

const CLIENTS: usize = 8;
/// Submissions per second, all clients together.
const RATE: usize = 200;
const SECONDS: usize = 60;

/// What clients ask for in turn, and what a cluster without the plugin is asked for instead.
const REQUESTS: [(&str, &str); 6] = [
    ("1", "1g.10gb:1"),
    ("3g:1", "3g.40gb:1"),
    ("20gb:1", "2g.20gb:1"),
    ("2", "1g.10gb:2"),
    ("1g.10gb:2", "1g.10gb:2"),
    ("3g.40gb:1", "3g.40gb:1"),
];

/// Each client submits when the next submission is due, at once if it is late, and writes down
/// `BEGIN END ID REQUEST`; ID is `-` if sbatch failed. `read` on a pipe that nobody writes is a
/// pause without a process.
const CLIENT: &str = r#"
exec {pause}<> <(:)
client=$1 gap=$2 end=$((${EPOCHREALTIME/./} + $3 * 1000000)); shift 3
next=$((${EPOCHREALTIME/./} + client * gap / 8)) turn=$client
while now=${EPOCHREALTIME/./}; ((now < end)); do
    if ((next > now)); then
        read -rt "$(((next - now) / 1000000)).$(printf %06d $(((next - now) % 1000000)))" -u "$pause"
    fi
    words=($((turn++ % $# + 1)))
    request=${!words}
    begin=$EPOCHREALTIME
    id=$(sbatch --parsable -t 60 -o /dev/null -J "${request%%/*}" --gres="flexmig:${request##*/}" \
        job.sh 2>>"said.$client") || id=-
    echo "$begin $EPOCHREALTIME $id ${request%%/*}" >>"client.$client"
    next=$((next + gap))
done
"#;

/// A cluster whose leaves are all held, so that what is submitted waits.
fn full(plugins: Plugins, before_start: fn(&Cluster)) -> Cluster {
    let cluster = Cluster::builder()
        .node(node("n1", &[&["1g.10gb*7"], &["1g.10gb*7"]], "flexmig:1g.10gb:14"))
        .node(node(
            "n2",
            &[&["3g.40gb", "2g.20gb", "1g.10gb*2"]],
            "flexmig:3g.40gb:1,flexmig:2g.20gb:1,flexmig:1g.10gb:2",
        ))
        .node(node("n3", &[&["4g.40gb", "3g.40gb"]], "flexmig:4g.40gb:1,flexmig:3g.40gb:1"))
        .plugins(plugins)
        .policy("[select]\nrefresh = 1\n")
        // Slurm's own defaults; the harness's make the scheduler run after each submission.
        .scheduler_parameters("batch_sched_delay=3,bf_interval=30,sched_interval=60")
        .slurm_conf("MaxJobCount=60000")
        .prepare();
    before_start(&cluster);
    cluster.start_daemons();
    cluster.scontrol("setdebug info").ok();
    cluster.write("work/job.sh", "#!/bin/sh\nexit 0\n");
    for (gres, jobs) in [("1g.10gb:1", 16), ("2g.20gb:1", 1), ("3g.40gb:1", 2), ("4g.40gb:1", 1)] {
        for _ in 0..jobs {
            cluster.sbatch(&format!("-n1 -t 600 --gres=flexmig:{gres}"), "sleep 3600");
        }
    }
    flexmig_cluster::wait_for("all leaves to be held", 60, || {
        let running = cluster.client("squeue").args("-h -t R -o %i").run().ok();
        (running.lines().len() == 20).then_some(())
    });
    cluster
}

/// One submission.
#[derive(Clone, Debug)]
struct Submission {
    begin: f64,
    end: f64,
    /// `None` if sbatch failed.
    id: Option<u32>,
    request: String,
}

/// Starts the clients.
fn start(cluster: &Cluster, seconds: usize, with_plugin: bool) -> Vec<Background> {
    cluster.write("work/client.sh", CLIENT);
    let gap = CLIENTS * 1_000_000 / RATE;
    let clients = (0..CLIENTS).map(|client| {
        let bash = cluster.client("bash").args(&format!("client.sh {client} {gap} {seconds}"));
        let bash = REQUESTS.iter().fold(bash, |bash, (request, exact)| {
            bash.arg(format!("{request}/{}", if with_plugin { request } else { exact }))
        });
        bash.seconds(seconds as u32 + 120).spawn()
    });
    clients.collect()
}

/// What the clients have written down so far.
fn submissions(cluster: &Cluster) -> Vec<Submission> {
    let files = (0..CLIENTS).map(|client| cluster.dir().join(format!("work/client.{client}")));
    let texts: String =
        files.map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect();
    let submission = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[begin, end, id, request] = &words[..] else { return None };
        let (begin, end) = (begin.parse().ok()?, end.parse().ok()?);
        Some(Submission { begin, end, id: id.parse().ok(), request: request.to_owned() })
    };
    texts.lines().filter_map(submission).collect()
}

/// What clients were told beside ids, without repetitions: shown when something failed.
fn said(cluster: &Cluster) -> String {
    let files = (0..CLIENTS).map(|client| cluster.dir().join(format!("work/said.{client}")));
    let texts: String =
        files.map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect();
    let lines: BTreeSet<&str> = texts.lines().collect();
    lines.into_iter().take(30).collect::<Vec<_>>().join("\n")
}

/// Name and record of every job that slurmctld knows, by id. slurmctld must answer within seconds.
fn records(cluster: &Cluster) -> BTreeMap<u32, JobInfo> {
    let asked = Instant::now();
    let ran = cluster.client("scontrol").args("show job").seconds(60).run().ok();
    assert!(asked.elapsed() < Duration::from_secs(30), "slurmctld answers slowly");
    JobInfo::parse_all(&ran.stdout).into_iter().map(|job| (job.id(), job)).collect()
}

/// Prints rate and latency.
fn report(what: &str, all: &[Submission]) {
    let mut milliseconds: Vec<f64> = all.iter().map(|s| (s.end - s.begin) * 1000.0).collect();
    milliseconds.sort_by(f64::total_cmp);
    let at = |share: f64| milliseconds[(share * (milliseconds.len() - 1) as f64) as usize];
    let first = all.iter().map(|s| s.begin).fold(f64::MAX, f64::min);
    let last = all.iter().map(|s| s.end).fold(0.0, f64::max);
    println!(
        "{what}: {} submissions, {:.0} a second (wanted: {RATE}); sbatch took {:.1} ms (median), \
         {:.1} (90%), {:.1} (99%), {:.1} (longest)",
        all.len(),
        all.len() as f64 / (last - first),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

/// That the job's comment holds the request as its user typed it, in the job's own name.
fn keeps_its_request(job: &JobInfo) {
    let expected = format!("[flexmig:v1 req={} ", job.get("JobName"));
    assert!(job.text.contains(&expected), "no {expected}in:\n{}", job.text);
}

/// A minute of load. Every submission is answered and every id is known.
fn minute(plugins: Plugins, what: &str) {
    let loaded = plugins != Plugins::None;
    // Where this is allowed slurmctld's files are kept in memory: the disk is not what is timed.
    let cluster = full(plugins, |cluster| {
        let state = cluster.dir().join("state").display().to_string();
        let _ = cluster.client("mount").args("-t tmpfs tmpfs").arg(state).run();
    });
    for client in start(&cluster, SECONDS, loaded) {
        client.wait().ok();
    }
    let all = submissions(&cluster);
    report(what, &all);
    let failed = all.iter().filter(|s| s.id.is_none()).count();
    assert_eq!(failed, 0, "submissions failed:\n{}", said(&cluster));
    let records = records(&cluster);
    for submission in &all {
        let job = submission.id.and_then(|id| records.get(&id));
        let job = job.unwrap_or_else(|| panic!("slurmctld does not know of {submission:?}"));
        assert_eq!(job.get("JobName"), submission.request, "{}", job.text);
        assert_eq!(job.get("JobState"), "PENDING", "{}", job.text);
        if loaded {
            keeps_its_request(job);
        }
    }
    assert_eq!(records.len(), all.len() + 20, "jobs that nobody submitted");
}

#[test]
#[ignore = "long: make test-long"]
fn two_hundred_submissions_a_second_are_all_answered() {
    minute(Plugins::None, "no plugin      ");
    minute(Plugins::Release, "view every 1 s ");
}

#[test]
#[ignore = "long: make test-long"]
fn a_crash_under_load_loses_no_request() {
    let cluster = full(Plugins::Release, |_| {});
    let clients = start(&cluster, SECONDS, true);
    sleep(Duration::from_secs(SECONDS as u64 / 2));
    // What was answered by now is in the state that is saved next; a job that comes later and before
    // the crash may be lost by Slurm, which saves every few seconds, and its id given out again.
    let before: BTreeSet<u32> = submissions(&cluster).iter().filter_map(|s| s.id).collect();
    cluster.save_state();
    let killed = now();
    cluster.controller().kill9();
    let down = Instant::now();
    cluster.controller().start();
    cluster.wait_ready();
    let ready = now();
    println!("killed and ready again in {:.1} s", down.elapsed().as_secs_f64());
    for client in clients {
        client.wait().ok();
    }
    let all = submissions(&cluster);
    report("with a crash   ", &all);
    let after: BTreeSet<u32> =
        all.iter().filter(|s| s.begin > ready).filter_map(|s| s.id).collect();
    assert!(!after.is_empty(), "nothing was submitted after the crash:\n{}", said(&cluster));
    let failed = all.iter().filter(|s| s.id.is_none());
    let unexpected = failed.filter(|s| s.end < killed || s.begin > ready).count();
    assert_eq!(unexpected, 0, "submissions failed with slurmctld up:\n{}", said(&cluster));

    let records = records(&cluster);
    let known = |ids: &BTreeSet<u32>| ids.iter().filter(|id| records.contains_key(id)).count();
    assert_eq!(known(&before), before.len(), "jobs from before the crash are missing");
    assert_eq!(known(&after), after.len(), "jobs from after the crash are missing");
    let between = all.iter().filter_map(|s| s.id);
    let between: BTreeSet<u32> =
        between.filter(|id| !before.contains(id) && !after.contains(id)).collect();
    println!(
        "answered before the last save: {}, all known; between it and the restart: {}, {} known; \
         after it: {}, all known",
        before.len(),
        between.len(),
        known(&between),
        after.len()
    );
    let pending = records.values().filter(|job| job.get("JobState") == "PENDING");
    let pending = pending.inspect(|job| keeps_its_request(job)).count();
    assert!(pending >= before.len() + after.len(), "{pending} jobs wait");
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0.0, |since| since.as_secs_f64())
}
