//! The exact text of every rejection, as the user of each command sees it.

mod common;

use common::{STAY, flexmig, node, shown, two_gpus, variable};
use flexmig_cluster::{Cluster, Node, Release, Shared};

/// n1 and n2 with two GPUs of small leaves, n3 with mixed ones, n4 without.
static CLUSTER: Shared = Shared::new(|| {
    let mixed: &[&[&str]] = &[&["3g.40gb", "2g.20gb", "1g.10gb*2"]];
    let gres = "flexmig:1g.10gb:2,flexmig:2g.20gb:1,flexmig:3g.40gb:1";
    flexmig()
        // What is free does not count here: the texts shall not depend on what runs.
        .policy("[select]\nrefresh = 0\n")
        .nodes(2, two_gpus)
        .node(node("n3", mixed, gres))
        .node(Node::new("n4"))
        .partitions(
            "PartitionName=small Nodes=n[1-2] Default=YES\nPartitionName=mixed Nodes=n3\n\
             PartitionName=cpu Nodes=n4\n",
        )
        .start()
});

/// What `command` says of a request that it must reject.
#[track_caller]
fn said(cluster: &Cluster, command: &str, args: &str) -> String {
    let client = cluster.client(command).args(args);
    let ran = match command {
        "sbatch" => client.stdin(format!("#!/bin/sh\n{STAY}\n")).run(),
        _ => client.arg("true").run(),
    };
    assert!(!ran.success(), "{ran}");
    ran.stderr
}

/// The one line of ours in it, without the command's prefix.
#[track_caller]
fn line(stderr: &str) -> &str {
    let mut lines = stderr.lines().filter_map(|line| line.split_once("error: flexmig: "));
    let (_, line) = lines.next().unwrap_or_else(|| panic!("no line of ours in\n{stderr}"));
    assert!(lines.next().is_none(), "more than one line in\n{stderr}");
    line
}

/// Requests and the line that answers each.
const REJECTED: &[(&str, &str)] = &[
    (
        "--gres=flexmig:15",
        "--gres=flexmig:15: no node of partition small has 15 leaves of 1g.10gb: type at most -N 2 --gres=flexmig:1g.10gb:14",
    ),
    (
        "--gres=flexmig:28",
        "--gres=flexmig:28: no node of partition small has 28 leaves of 1g.10gb: type -N 2 --gres=flexmig:1g.10gb:14",
    ),
    (
        "--gres=flexmig:29",
        "--gres=flexmig:29: no node of partition small has 29 leaves of 1g.10gb: type at most -N 2 --gres=flexmig:1g.10gb:14",
    ),
    (
        "-N2 --gres=flexmig:15",
        "-N 2 --gres=flexmig:15: partition small has fewer than 2 nodes with 15 leaves of 1g.10gb each: type at most -N 2 --gres=flexmig:1g.10gb:14",
    ),
    (
        "-N3 --gres=flexmig:1",
        "-N 3 --gres=flexmig:1: partition small has fewer than 3 nodes with 1 leaf of 1g.10gb each: type -N 1 --gres=flexmig:1g.10gb:3",
    ),
    (
        "-n4 -c8 --gres=flexmig:4",
        "-n 4 -c 8 --gres=flexmig:4: no node of partition small has 4 leaves of 1g.10gb and 32 CPUs: type -N 2 --gres=flexmig:1g.10gb:2",
    ),
    (
        "-n40 --gres=flexmig:2",
        "-n 40 --gres=flexmig:2: no node of partition small has 2 leaves of 1g.10gb and 40 CPUs: type -n 16 or less",
    ),
    (
        "-p mixed --gres=flexmig:3",
        "--gres=flexmig:3: no node of partition mixed has 3 leaves of one type: type at most --gres=flexmig:1g.10gb:2, or add -p small",
    ),
    (
        "-p mixed --gres=flexmig:3g.40gb:2",
        "--gres=flexmig:3g.40gb:2: no node of partition mixed has 2 leaves of 3g.40gb: type at most --gres=flexmig:3g.40gb:1, or add -p small",
    ),
    (
        "-p cpu --gres=flexmig:1",
        "--gres=flexmig:1: partition cpu has no leaves: add -p small or mixed",
    ),
    (
        "--gres=flexmig:7g.99gb:3",
        "--gres=flexmig:7g.99gb:3: no node of partition small has leaves for 21 slices: type at most -N 2 --gres=flexmig:7g.99gb:2",
    ),
    (
        "-p mixed --gres=flexmig:4g.40gb:2",
        "--gres=flexmig:4g.40gb:2: no node of partition mixed has leaves for 8 slices: add -p small",
    ),
    (
        "--gres=flexmig:banana:2",
        "--gres=flexmig:banana:2: partition small has no leaves of type banana: type --gres=flexmig:1g.10gb:2",
    ),
    (
        "-p mixed --gres=flexmig:banana:2",
        "--gres=flexmig:banana:2: partition mixed has no leaves of type banana: type --gres=flexmig:TYPE:2 with TYPE 1g.10gb, 2g.20gb or 3g.40gb",
    ),
    (
        "--gres=flexmig:3g:5",
        "--gres=flexmig:3g:5: no node of partition small has leaves for 15 slices: type at most -N 2 --gres=flexmig:3g:4",
    ),
    (
        "--gres=flexmig:3g:6",
        "--gres=flexmig:3g:6: no node of partition small has leaves for 18 slices: type -N 2 --gres=flexmig:3g:3",
    ),
    (
        "-p mixed --gres=flexmig:3g:2",
        "--gres=flexmig:3g:2: no node of partition mixed has leaves for 6 slices: type at most --gres=flexmig:3g:1, or add -p small",
    ),
    (
        "-p mixed --gres=flexmig:3g:1,flexmig:1g.10gb:3",
        "--gres=flexmig:3g:1,flexmig:1g.10gb:3: no node of partition mixed has 1 leaf of 3g.40gb and 3 leaves of 1g.10gb: type at most --gres=flexmig:3g:1,flexmig:1g.10gb:2",
    ),
    (
        "--gres=flexmig:mixed:4",
        "--gres=flexmig:mixed:4: site policy gives a job leaves of one profile only: type --gres=flexmig:4 for equal leaves",
    ),
    (
        "--gres=flexmig:20gb:1",
        "--gres=flexmig:20gb:1: the largest leaves of partition small have 10 GB: type --gres=flexmig:1g.10gb:1, or add -p mixed",
    ),
    (
        "-p mixed --gres=flexmig:20gb:2",
        "--gres=flexmig:20gb:2: no node of partition mixed has 2 leaves of one type with 20 GB: type at most --gres=flexmig:2g.20gb:1",
    ),
    (
        "--gres=flexmig:80gb:1",
        "--gres=flexmig:80gb:1: the largest leaves of partition small have 10 GB: type --gres=flexmig:1g.10gb:1",
    ),
    (
        "--gres=flexmig:0",
        "--gres=flexmig:0: \"0\" is not a count from 1 up: type flexmig:N with N leaves per node",
    ),
    (
        "--gres=flexmig:-1",
        "--gres=flexmig:-1: \"-1\" is not a count from 1 up: type flexmig:N with N leaves per node",
    ),
    (
        "--gres=flexmig:1.5",
        "--gres=flexmig:1.5: \"1.5\" is not a count from 1 up: type flexmig:N with N leaves per node",
    ),
    (
        "--gres=flexmig:1K",
        "--gres=flexmig:1024: no node of partition small has 1024 leaves of 1g.10gb: type at most -N 2 --gres=flexmig:1g.10gb:14",
    ),
    (
        "--gres=flexmig:99999999999999999999",
        "--gres=flexmig:99999999999999999999: \"99999999999999999999\" is not a count from 1 up: type flexmig:N with N leaves per node",
    ),
    (
        "--gres=flexmig:1g:9,flexmig:1g.10gb:6",
        "--gres=flexmig:1g:9,flexmig:1g.10gb:6: no node of partition small has 15 leaves of 1g.10gb: type at most --gres=flexmig:1g:9,flexmig:1g.10gb:5",
    ),
];

#[test]
fn every_rejection_of_a_request() {
    let cluster = CLUSTER.get();
    let mut wrong = Vec::new();
    for (args, expected) in REJECTED {
        let stderr = said(&cluster, "sbatch", args);
        if !stderr.contains("error: flexmig: ") || line(&stderr) != *expected {
            wrong.push(format!("{args}\n  expected {expected}\n  said {stderr}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn srun_and_salloc_show_the_same_line() {
    let cluster = CLUSTER.get();
    for command in ["srun", "salloc"] {
        let stderr = said(&cluster, command, "--gres=flexmig:banana:2");
        let expected = "--gres=flexmig:banana:2: partition small has no leaves of type banana: \
                        type --gres=flexmig:1g.10gb:2";
        assert_eq!(line(&stderr), expected);
        assert!(stderr.starts_with(&format!("{command}: error: flexmig: ")), "{stderr}");
    }
}

#[test]
fn what_was_chosen_is_told_in_one_line_with_the_task_hint_for_srun_and_salloc() {
    let cluster = CLUSTER.get();
    let job = cluster.sbatch("-H --gres=flexmig:2", STAY);
    let expected = "sbatch: flexmig: --gres=flexmig:2: 2 leaves of 1g.10gb on one node, 2 tasks\n";
    assert_eq!(job.messages, expected);
    let job = cluster.sbatch("-H -p mixed -n1 --gres=flexmig:20gb:1", STAY);
    let expected = "sbatch: flexmig: --gres=flexmig:20gb:1: 1 leaf of 2g.20gb on one node\n";
    assert_eq!(job.messages, expected);
    for command in ["srun", "salloc"] {
        let ran = cluster.client(command).args("--gres=flexmig:2 true").run().ok();
        let line = ran.stderr.lines().find(|line| line.contains("flexmig: ")).expect("a line");
        let expected = format!(
            "{command}: flexmig: --gres=flexmig:2: 2 leaves of 1g.10gb on one node: add -n 2, one task per leaf"
        );
        assert_eq!(line, expected);
    }
}

#[test]
fn site_policy_is_told_where_it_forbids() {
    let cluster = flexmig()
        .policy(
            "[submit]\nmax_leaves_per_node = 4\nmax_leaves_per_job = 6\nprofiles = [\"1g.10gb\"]\n\
             [select]\ncompose = \"never\"\n[span]\npartitions = [\"train\"]\n",
        )
        .nodes(2, two_gpus)
        .partitions(
            "PartitionName=debug Nodes=n[1-2] Default=YES\nPartitionName=train Nodes=n[1-2]\n",
        )
        .start();
    for (args, expected) in [
        (
            "-p train --gres=flexmig:5",
            "--gres=flexmig:5: site policy allows at most 4 leaves per node: type at most --gres=flexmig:1g.10gb:4",
        ),
        (
            "-p train -N2 --gres=flexmig:4",
            "-N 2 --gres=flexmig:4: site policy allows at most 6 leaves per job: type at most -N 1 --gres=flexmig:1g.10gb:4",
        ),
        (
            "-p debug --gres=flexmig:2",
            "--gres=flexmig:2: site policy allows more than one leaf only in partition train: add -p train, or type --gres=flexmig:1g.10gb:1",
        ),
        (
            "-p train --gres=flexmig:2g.20gb:1",
            "--gres=flexmig:2g.20gb:1: partition train has no leaves of 2g.20gb, and site policy composes none of others: type --gres=flexmig:1g.10gb:1",
        ),
    ] {
        assert_eq!(line(&said(&cluster, "sbatch", args)), expected, "{args}");
    }
    assert!(cluster.try_sbatch("-H -p debug --gres=flexmig:1", STAY).is_ok());
    assert!(cluster.try_sbatch("-H -p train --gres=flexmig:4", STAY).is_ok());
}

#[test]
fn an_update_follows_the_same_rules() {
    let cluster = CLUSTER.get();
    let job = cluster.sbatch("-H -n1 -p mixed --gres=flexmig:1g.10gb:1", STAY);
    let update = |words: &str| cluster.scontrol(&format!("update jobid={} {words}", job.id));
    let shows = |gres: &str| job.info().get("TresPerNode").ends_with(gres);
    update("comment=fine").ok();
    assert_eq!(job.info().get("Comment"), "fine");
    if cluster.release() < Release(23, 2) {
        // There an update would add to the old request, and has no way to tell the user why not.
        let mark = cluster.controller().log_mark();
        for words in ["gres=flexmig:2g.20gb:1", "gres=flexmig:1g.10gb:2"] {
            let ran = update(words);
            let expected =
                format!("Invalid generic resource (gres) specification for job {}\n", job.id);
            assert_eq!((ran.code, ran.stderr.as_str()), (1, expected.as_str()), "{words}");
        }
        cluster.controller().wait_log(
            mark,
            "flexmig: uid 0: Gres=flexmig:2g.20gb:1: Slurm 22.05.8 would add it to what the job \
             already asks for: cancel the job and submit it again",
            5,
        );
        assert!(shows("flexmig:1g.10gb:1"), "{}", job.info().text);
        return;
    }
    for (words, expected) in [
        (
            "gres=flexmig:banana:1",
            "Gres=flexmig:banana:1: this cluster has no leaves of type banana: \
             type Gres=flexmig:TYPE:1 with TYPE 1g.10gb, 2g.20gb or 3g.40gb",
        ),
        (
            "gres=flexmig:99",
            "Gres=flexmig:99: no node of this cluster has 99 leaves of one type: \
             type at most NumNodes=2 Gres=flexmig:1g.10gb:14",
        ),
        (
            "gres=flexmig:0",
            "Gres=flexmig:0: \"0\" is not a count from 1 up: type flexmig:N with N leaves per node",
        ),
    ] {
        let ran = update(words);
        assert_eq!((ran.code, line(&ran.stderr)), (1, expected), "{ran}");
        assert!(shows("flexmig:1g.10gb:1"), "{}", job.info().text);
    }
    for (words, gres) in [
        ("gres=flexmig:2", "flexmig:1g.10gb:2"),
        ("gres=flexmig:20gb:1", "flexmig:2g.20gb:1"),
        ("gres=flexmig:3g.40gb:1", "flexmig:3g.40gb:1"),
    ] {
        update(words).ok();
        assert!(shows(gres), "{words}: {}", job.info().text);
    }
    cluster.scontrol(&format!("release {}", job.id)).ok();
    assert_eq!(variable(&shown(&job), "FLEXMIG_PROFILES"), "3g.40gb");
    job.cancel();
}
