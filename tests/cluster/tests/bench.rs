//! `flexmig bench` as a job: ranks on leaves, on one node and on two.

mod common;

use std::collections::BTreeSet;

use flexmig_cluster::{Cluster, Node};

use common::{flexmig, leaves, uuids_at};

fn cluster() -> Cluster {
    flexmig()
        .nodes(2, |name| {
            Node::new(name)
                .leaves("dgx-a100", 2, "1g.10gb*7", "flexmig:1g.10gb:14")
                .policy("order = \"spread\"")
        })
        .start()
}

/// `srun ARGS flexmig bench ...` in a job; what it prints.
fn bench(cluster: &Cluster, sbatch: &str, line: &str) -> String {
    let dir = cluster.dir().display();
    let line = line.replace("flexmig", &format!("{dir}/bin/flexmig"));
    cluster.sbatch(sbatch, &format!("srun {line}\n")).finish()
}

/// (node, leaf) of each rank, from the head of the table.
fn ranks(output: &str) -> Vec<(String, String)> {
    let lines = output.lines().filter(|line| line.starts_with("#  rank "));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.map(|words| (words[4].to_owned(), words[words.len() - 1].to_owned())).collect()
}

#[test]
fn four_tasks_sum_over_four_leaves_of_two_gpus() {
    let cluster = cluster();
    let output = bench(&cluster, "--gres=flexmig:4", "-n4 flexmig bench allreduce -b 8 -e 4M -f 8");
    assert!(output.contains("# flexmig bench allreduce: 4 ranks, net plugin FlexMIG"), "{output}");
    assert!(output.ends_with("# wrong elements: 0 OK\n"), "{output}");
    let leaves = leaves(&cluster, "n1");
    let expected: BTreeSet<String> = uuids_at(&leaves, &[0, 1, 2, 3]).into_iter().collect();
    let found: BTreeSet<String> = ranks(&output).into_iter().map(|(_, leaf)| leaf).collect();
    assert_eq!(found, expected, "{output}");
    let gpus: BTreeSet<u64> = leaves[..4].iter().map(|leaf| leaf.gpu_minor).collect();
    assert_eq!(gpus.len(), 2);
}

#[test]
fn eight_tasks_on_two_nodes_sum_over_both() {
    let cluster = cluster();
    let output = bench(
        &cluster,
        "-N2 -n8 --ntasks-per-node=4 --gres=flexmig:4",
        "-N2 -n8 flexmig bench allreduce -b 8 -e 1M -f 8",
    );
    assert!(output.ends_with("# wrong elements: 0 OK\n"), "{output}");
    let ranks = ranks(&output);
    assert_eq!(ranks.iter().filter(|(node, _)| node == "n1").count(), 4, "{output}");
    assert_eq!(ranks.iter().filter(|(node, _)| node == "n2").count(), 4, "{output}");
    let different: BTreeSet<_> = ranks.iter().collect();
    assert_eq!(different.len(), 8, "{output}");
}

#[test]
fn steps_at_the_same_time_do_not_meet() {
    let cluster = cluster();
    let dir = cluster.dir().display();
    let bench = format!("{dir}/bin/flexmig bench sendrecv -b 64K -e 64K --iters 500");
    let step = format!("srun --overlap -n3 {bench}");
    let script = format!("{step} & {step} & {step} & wait\n");
    let output = cluster.sbatch("-n3 --gres=flexmig:3", &script).finish();
    assert_eq!(output.matches("# wrong elements: 0 OK").count(), 3, "{output}");
}

#[test]
fn a_killed_task_ends_the_step_with_a_reason() {
    let cluster = cluster();
    let dir = cluster.dir().display();
    let script = format!(
        "srun --no-kill -K0 -n3 sh -c '\n\
           if [ $SLURM_PROCID = 1 ]; then (sleep 5; kill -9 $$) & fi\n\
           exec {dir}/bin/flexmig bench allreduce -b 1M -e 1M --iters 1000000'\n\
         echo status $?\n"
    );
    let output = cluster.sbatch("-n3 --gres=flexmig:3", &script).finish();
    assert!(output.contains("rank 1 is gone"), "{output}");
    assert!(output.contains("flexmig: bench: rank 0 stops: "), "{output}");
    assert!(output.contains("flexmig: bench: rank 2 stops: "), "{output}");
    assert!(!output.contains("status 0"), "{output}");
}
