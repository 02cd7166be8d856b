//! `make demo`: a two-node cluster on mock GPUs, one job over four leaves of two GPUs, and what
//! user and administrator see of it, each view checked against the others.

use std::process::exit;

use flexmig_cluster::{Client, Cluster, Job, Node, Plugins, Ran};

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
    let cluster = Cluster::builder()
        .plugins(Plugins::Release)
        .nodes(2, |name| {
            Node::new(name)
                .leaves("dgx-a100", 2, "1g.10gb*7", "flexmig:1g.10gb:14")
                .policy("order = \"spread\"")
        })
        .start();
    say("A cluster of two nodes, each with two A100-80 cut into seven 1g.10gb leaves:");
    show(cluster.client("sinfo").args("-N -o").arg("%N %T %G"));

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
        Err(problem) => {
            println!("\ndemo: failed: {problem}");
            exit(1);
        }
    }
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

    let ran = cluster.flexmig(node).args("leaves --json").run();
    let json: serde_json::Value =
        serde_json::from_str(&ran.stdout).map_err(|error| format!("flexmig leaves: {error}"))?;
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
