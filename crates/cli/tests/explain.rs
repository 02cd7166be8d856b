//! `flexmig explain`: its text, its options, and what it says about input that is no good.

mod common;

use common::{Host, Ran, a100};

const BUSY: &str = include_str!("../../core/tests/views/busy.json");
const EMPTY: &str = include_str!("../../core/tests/views/empty.json");

fn host(view: &str) -> Host {
    let host = Host::new(a100(1, "1g.10gb*7"));
    host.write("flexmig.toml", "");
    host.write("view.json", view);
    host
}

fn explain(host: &Host, args: &[&str]) -> Ran {
    let file = format!("--view={}", host.path("view.json").display());
    host.run(&[&["explain", &file], args].concat())
}

#[test]
fn the_text_has_candidates_and_what_the_user_and_slurm_get() {
    let ran = explain(&host(BUSY), &["--gres=flexmig:3g:1", "-t", "10"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let (head, rest) = ran.stdout.split_once('\n').unwrap();
    assert!(
        head.starts_with("--gres=flexmig:3g:1 in partition all (Slurm 24.11.5, looked at "),
        "{head}"
    );
    let expected = "
    CANDIDATE    NOW      LEAVES  ABOVE WHAT WAS ASKED  HARM  SOCKET  VERDICT
->  3 x 1g.10gb  starts        3  nothing                375  ?       chosen
    1 x 4g.40gb  starts        1  1 slice               1625  ?       wastes more compute
    1 x 3g.40gb  waits         1  nothing               1625  ?       has to wait
    2 x 2g.20gb  no node       2  1 slice               1250  ?       too few nodes have these leaves

flexmig: --gres=flexmig:3g:1: 3 leaves of 1g.10gb on one node, 3 tasks: no 3g.40gb is free
  TresPerNode=gres/flexmig:1g.10gb:3 NumNodes=1 NumTasks=3 NtasksPerNode=3
  AdminComment=[flexmig:v1 req=3g:1 got=1g.10gb:3 fill=t why=starts-now]
";
    assert_eq!(rest, expected);
}

#[test]
fn what_policy_forbids_is_told_with_the_candidate() {
    let host = host(BUSY);
    host.write("flexmig.toml", "[submit]\nmax_leaves_per_node = 2\n");
    let json = explain(&host, &["--gres=flexmig:3g:1", "--json"]).json();
    let told = json["candidates"].as_array().unwrap().iter().map(|candidate| {
        let text = |name: &str| candidate[name].as_str().unwrap_or("-").to_owned();
        (text("composition"), text("forbidden"))
    });
    let told: Vec<(String, String)> = told.collect();
    let small = ("3 x 1g.10gb".to_owned(), "policy: at most 2 leaves per node".to_owned());
    assert!(told.contains(&small), "{told:?}");
    assert_eq!(json["accepted"], true);
}

#[test]
fn what_is_rejected_is_exit_status_1_with_the_line_that_sbatch_shows() {
    let ran = explain(&host(BUSY), &["--gres=flexmig:80gb:1"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (1, ""));
    let line = ran.stdout.lines().last().unwrap();
    assert!(line.starts_with("flexmig: --gres=flexmig:80gb:1: "), "{}", ran.stdout);
    let ran = explain(&host(EMPTY), &["--gres=flexmig:4", "--json"]);
    assert_eq!((ran.status, &ran.json()["accepted"]), (1, &false.into()));
    assert_eq!(ran.json()["candidates"], serde_json::json!([]));
}

#[test]
fn options_count_as_sbatch_counts_them() {
    let host = host(BUSY);
    let json = |args: &[&str]| explain(&host, &[args, &["--json"]].concat()).json();
    let plain = json(&["--gres=flexmig:1g.10gb:2"]);
    assert_eq!((&plain["num_tasks"], &plain["min_nodes"]), (&2.into(), &1.into()));
    let nodes = json(&["--gres=flexmig:1g.10gb:2", "-N2"]);
    assert_eq!((&nodes["num_tasks"], &nodes["min_nodes"]), (&4.into(), &serde_json::Value::Null));
    let srun = json(&["--gres=flexmig:1g.10gb:2", "--srun"]);
    assert_eq!(srun["num_tasks"], serde_json::Value::Null);
    assert!(srun["line"].as_str().unwrap().contains("add -n 2"), "{srun}");
    let task = json(&["--tres-per-task=gres/flexmig:1g.10gb:1", "-n2"]);
    assert_eq!(task["tres_per_task"], "gres/flexmig:1g.10gb:1", "{task}");
    let narrowed = json(&["--gres=flexmig:3g:1", "-w", "n1"]);
    assert_eq!(narrowed["candidates"][0]["starts_now"], serde_json::Value::Null, "{narrowed}");
    let memory = json(&["--gres=flexmig:1", "--mem=9T"]);
    assert_eq!(memory["candidates"][0]["starts_now"], false, "{memory}");
}

#[test]
fn what_cannot_be_explained_is_told_in_one_line() {
    let host = host(BUSY);
    for (args, line) in [
        (
            &["--gres=flexmig:1", "-p", "big"][..],
            "partition big: there is no such partition: partitions are ",
        ),
        (&["--gres=flexmig:1", "-N", "many"], "-N many: no number of nodes: type -N 2 or -N 2-4"),
        (&["--gres=flexmig:1", "-t", "long"], "-t long: no time limit: type "),
        (&["--gres=flexmig:1", "--mem=big"], "--mem=big: no size: type --mem=16G"),
        (&["--gres=flexmig:1", "-w", "n[1"], "-w n[1: "),
        (&["--gres=gpu:1"], "--gres: it asks for no leaves: type --gres=flexmig:N"),
    ] {
        let ran = explain(&host, args);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{args:?}");
        assert!(ran.stderr.starts_with(&format!("flexmig: {line}")), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
    host.write("view.json", &BUSY.replace("24.11.5", "new"));
    let ran = explain(&host, &["--gres=flexmig:1"]);
    assert!(ran.stderr.starts_with("flexmig: Slurm new: no version "), "{}", ran.stderr);
    let ran = explain(&host, &[]);
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
}
