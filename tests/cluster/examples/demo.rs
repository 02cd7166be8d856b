//! `make demo`: a two-node cluster on mock GPUs, one job whose three slices come from three small
//! leaves of two GPUs, one over four leaves that all-reduces, and what user and administrator see of
//! them, each view checked against the others.

use std::process::exit;
use std::time::Duration;

use flexmig_cluster::{Client, Cluster, Job, Node, Plugins, Ran};

/// What slurmctld and the command read. The nodes have the same order of leaves.
const POLICY: &str = "[select]\nrefresh = 1\n\n[node]\norder = \"spread\"\n";

/// What each rank of the demo job says. Slurm before 23.11 does not bind tasks to leaves by itself,
/// so a rank finds its leaf at its place in the lists, which are in rank order.
const RANKS: &str = r#"#!/bin/bash
srun -l bash -c '
    at() { cut -d, -f$((SLURM_LOCALID + 1)) <<<"$1"; }
    bus_id=$(at $FLEXMIG_BUS_IDS) domain=${bus_id%%:*}
    # A synthetic bus id has the real domain in its low byte, and the real bus behind it.
    parent=$(printf %08x $((16#$domain & 0xff))):${bus_id#*:}
    echo "leaf=$(at $FLEXMIG_UUIDS) parent=$parent bus_id=$bus_id"
' | sort -n
echo ranks are done
srun FLEXMIG bench allreduce -b 1M -e 16M -f 4
echo all is done
sleep 600
"#;

fn main() {
    let a100 = |name: &str, mig: &str, gres: &str| {
        Node::new(name).leaves("dgx-a100", 2, mig, gres).policy("order = \"spread\"")
    };
    let cluster = Cluster::builder()
        .plugins(Plugins::Release)
        .node(a100("n1", "3g.40gb, 1g.10gb*3", "flexmig:1g.10gb:6,flexmig:3g.40gb:2"))
        .node(a100("n2", "1g.10gb*7", "flexmig:1g.10gb:14"))
        .start();
    deploy(&cluster);
    say("A cluster of two nodes with two A100-80 each, cut into leaves of different sizes:");
    show(cluster.client("sinfo").args("-N -o").arg("%N %T %G"));

    let busy = hold_large_leaves(&cluster);
    let sliced = three_slices(&cluster);
    if let Err(problem) = check_slices(&cluster, &sliced) {
        failed(&problem);
    }
    busy.iter().for_each(|job| job.cancel());

    say("A user asks for four leaves:");
    println!("$ sbatch --gres=flexmig:4 train.sh");
    let flexmig = cluster.dir().join("bin/flexmig");
    let script = RANKS.replace("FLEXMIG bench", &format!("{} bench", flexmig.display()));
    let job = cluster.sbatch("--gres=flexmig:4 -J train", &script);
    print!("{}", job.messages);
    println!("Submitted batch job {}", job.id);
    let output = job.wait_output("all is done");
    let (ranks, sums) = output.split_once("ranks are done\n").unwrap_or((&output, ""));

    say("Each rank has a leaf of its own:");
    print!("{ranks}");

    say("What squeue shows:");
    let queue = show(
        cluster.client("squeue").args("-O jobid:8,name:8,state:10,nodelist:10,tres-per-node:32"),
    );

    say("What scontrol shows, with the indices of the leaves:");
    show(cluster.client("scontrol").args(&format!("-d show job {}", job.id)));

    say("What the node's administrator sees:");
    let node = job.info().get("NodeList").to_owned();
    show(cluster.flexmig(&node).args("leaves"));

    say("The four ranks all-reduce over their leaves, through NCCL's plugin interface:");
    print!("{}", sums.replace("all is done\n", ""));

    match check(&cluster, &job, &node, &output, &queue.stdout) {
        Ok(()) => println!("\ndemo: ok"),
        Err(problem) => failed(&problem),
    }
}

/// What an administrator puts on the controller: policy, and a layout file per kind of node.
fn deploy(cluster: &Cluster) {
    cluster.set_policy(POLICY);
    let layouts = cluster.dir().join("flexmig-layouts");
    if let Err(error) = std::fs::create_dir_all(&layouts) {
        failed(&format!("{}: {error}", layouts.display()));
    }
    for node in ["n1", "n2"] {
        let layout = cluster.flexmig(node).args("config --layout").run().ok().stdout;
        cluster.write(&format!("flexmig-layouts/{node}.toml"), &layout);
    }
}

/// `flexmig` on the controller.
fn command<'c>(cluster: &'c Cluster, args: &str) -> Client<'c> {
    let policy = cluster.dir().join("flexmig.toml").display().to_string();
    let flexmig = cluster.dir().join("bin/flexmig").display().to_string();
    cluster.client(&flexmig).args(args).env("FLEXMIG_CONF", &policy).env("LC_ALL", "C.UTF-8")
}

/// Jobs that hold both large leaves, by the time slurmctld's plugin knows it.
fn hold_large_leaves(cluster: &Cluster) -> Vec<Job<'_>> {
    let hold = |_| cluster.sbatch("--gres=flexmig:3g.40gb:1 -t 60 -J large", "sleep 600");
    let jobs: Vec<Job> = (0..2).map(hold).collect();
    for job in &jobs {
        job.wait_running();
    }
    std::thread::sleep(Duration::from_secs(3));
    jobs
}

/// A job for three slices while no leaf of three slices is free.
fn three_slices(cluster: &Cluster) -> Job<'_> {
    say("Two jobs hold both 3g.40gb. What would a request for three slices get?");
    println!("$ flexmig explain --gres=flexmig:3g:1 -t 60");
    show(command(cluster, "explain --gres=flexmig:3g:1 -t 60"));
    say("A user asks for it:");
    println!("$ sbatch --gres=flexmig:3g:1 -t 60 solve.sh");
    let job = cluster.sbatch("--gres=flexmig:3g:1 -t 60 -J solve", "sleep 600");
    print!("{}", job.messages);
    println!("Submitted batch job {}", job.id);
    job.wait_running();
    say("It runs on three small leaves of two GPUs:");
    println!("$ flexmig status");
    show(command(cluster, "status"));
    println!("$ squeue");
    show(cluster.client("squeue").args("-O jobid:8,name:8,state:10,nodelist:10,tres-per-node:32"));
    job
}

/// Holds the sliced job against scontrol, `flexmig status` and `flexmig leaves`.
fn check_slices(cluster: &Cluster, job: &Job<'_>) -> Result<(), String> {
    let node = job.info().get("NodeList").to_owned();
    let indices = job.indices(&node);
    ensure(indices.len() == 3, || format!("scontrol shows indices {indices:?}, not three"))?;
    ensure(job.messages.contains("3 leaves of 1g.10gb"), || "sbatch does not say so".to_owned())?;
    let mut gpus = Vec::new();
    let leaves = parsed(&cluster.flexmig(&node).args("leaves --json").run())?;
    for leaf in leaves["leaves"].as_array().ok_or("flexmig leaves shows no leaves")? {
        if indices.iter().any(|index| leaf["index"] == *index) {
            gpus.push(leaf["gpu_minor"].as_u64());
        }
    }
    gpus.sort();
    gpus.dedup();
    ensure(gpus.len() == 2, || format!("the leaves are of GPUs {gpus:?}, not of two"))?;
    let status = parsed(&command(cluster, "status --json").run())?;
    let id = job.id.to_string();
    let holder = status["jobs"].as_array().into_iter().flatten().find(|job| job["id"] == id);
    let held = holder.map(|job| job["leaves"][0]["indices"].clone());
    ensure(held == Some(serde_json::json!(indices)), || format!("flexmig status shows {held:?}"))
}

fn parsed(ran: &Ran) -> Result<serde_json::Value, String> {
    serde_json::from_str(&ran.stdout).map_err(|error| format!("{ran}: {error}"))
}

fn failed(problem: &str) -> ! {
    println!("\ndemo: failed: {problem}");
    exit(1);
}

/// Holds the views against each other: ranks, squeue, scontrol and `flexmig leaves`.
fn check(
    cluster: &Cluster,
    job: &Job<'_>,
    node: &str,
    output: &str,
    queue: &str,
) -> Result<(), String> {
    let indices = job.indices(node);
    ensure(indices.len() == 4, || format!("scontrol shows indices {indices:?}, not four"))?;
    ensure(queue.contains("flexmig:1g.10gb:4"), || "squeue does not show the leaves".to_owned())?;

    let json = parsed(&cluster.flexmig(node).args("leaves --json").run())?;
    let leaves = json["leaves"].as_array().ok_or("flexmig leaves shows no leaves")?;
    let mut gpus = Vec::new();
    for (rank, index) in indices.iter().enumerate() {
        let leaf = leaves.iter().find(|leaf| leaf["index"] == *index);
        let leaf = leaf.ok_or_else(|| format!("flexmig leaves has no index {index}"))?;
        let text = |name: &str| leaf[name].as_str().unwrap_or_default().to_owned();
        let expected = format!(
            "{rank}: leaf={} parent={} bus_id={}",
            text("uuid"),
            text("gpu_bus_id"),
            text("bus_id")
        );
        ensure(output.lines().any(|line| line == expected), || {
            format!("no rank says {expected:?}")
        })?;
        gpus.push(text("gpu_uuid"));
    }
    ensure(output.contains("# wrong elements: 0 OK"), || "the all-reduce is wrong".to_owned())?;
    gpus.sort();
    gpus.dedup();
    ensure(gpus.len() == 2, || format!("the leaves are of {} GPUs, not of two", gpus.len()))
}

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}

fn say(text: &str) {
    println!("\n== {text}");
}

/// Runs a command of the cluster and shows what it prints.
fn show(client: Client<'_>) -> Ran {
    let ran = client.run().ok();
    print!("{}{}", ran.stdout, ran.stderr);
    ran
}
