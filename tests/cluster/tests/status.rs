//! `flexmig status` and `flexmig explain` against the live controller: what they say is what
//! scontrol, the nodes and sbatch say.

mod common;

use common::{STAY, flexmig, leaves, node, shown, two_gpus};
use flexmig_cluster::{Client, Cluster, Release, wait_for};
use serde_json::Value;

/// Two GPUs with a 3g.40gb and three 1g.10gb each.
fn sizes(name: &str) -> flexmig_cluster::Node {
    let gpu: &[&str] = &["3g.40gb", "1g.10gb*3"];
    node(name, &[gpu, gpu], "flexmig:1g.10gb:6,flexmig:3g.40gb:2")
}

/// `flexmig` as an administrator runs it on the controller.
fn command<'c>(cluster: &'c Cluster, args: &str) -> Client<'c> {
    let conf = cluster.dir().join("flexmig.toml");
    cluster
        .client(&cluster.dir().join("bin/flexmig").display().to_string())
        .args(args)
        .env("FLEXMIG_CONF", &conf.display().to_string())
        .env("LC_ALL", "C.UTF-8")
}

fn json(cluster: &Cluster, args: &str) -> Value {
    let ran = command(cluster, args).run();
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

fn status(cluster: &Cluster) -> Value {
    json(cluster, "status --json")
}

/// Deploys the layout file of a node on the controller.
fn deploy_layout(cluster: &Cluster, node: &str) {
    let layout = cluster.flexmig(node).args("config --layout").run().ok().stdout;
    std::fs::create_dir_all(cluster.dir().join("flexmig-layouts")).expect("a directory");
    cluster.write(&format!("flexmig-layouts/{node}.toml"), &layout);
}

fn of_node<'v>(status: &'v Value, name: &str) -> &'v Value {
    let nodes = status["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("no {name}: {status}"))
}

/// Indices of the leaves of a node for which `is` holds.
fn indices(node: &Value, is: impl Fn(&Value) -> bool) -> Vec<u32> {
    let leaves = node["leaves"].as_array().expect("leaves").iter();
    leaves
        .filter(|leaf| is(leaf))
        .map(|leaf| leaf["index"].as_u64().expect("index") as u32)
        .collect()
}

fn held_by(node: &Value, job: u32) -> Vec<u32> {
    let job = job.to_string();
    indices(node, |leaf| leaf["job"] == job)
}

#[test]
fn status_shows_who_holds_which_leaf() {
    let cluster = flexmig().node(sizes("n1")).node(two_gpus("n2")).start();
    deploy_layout(&cluster, "n1");
    let large = cluster.sbatch("-w n1 --gres=flexmig:3g.40gb:1 -t 60", STAY);
    shown(&large);
    let small = cluster.sbatch("-w n1 --gres=flexmig:1g.10gb:4 -t 60", STAY);
    shown(&small);
    let both = cluster.sbatch("-w n1,n2 -N2 --gres=flexmig:1g.10gb:2 -t 60", STAY);
    shown(&both);
    let waits = cluster.sbatch("-w n1 --gres=flexmig:1g.10gb:3 -t 60", STAY);
    wait_for("a reason", 20, || {
        let reason = waits.info().get("Reason").to_owned();
        (reason == "Resources").then_some(())
    });

    let seen = status(&cluster);
    let (n1, n2) = (of_node(&seen, "n1"), of_node(&seen, "n2"));
    for (job, name, node) in
        [(&large, "n1", n1), (&small, "n1", n1), (&both, "n1", n1), (&both, "n2", n2)]
    {
        assert!(!job.indices(name).is_empty(), "{}", job.info().text);
        assert_eq!(held_by(node, job.id), job.indices(name), "{} on {name}", job.id);
    }
    assert_eq!(indices(n1, |leaf| leaf["state"] == "free").len(), 1, "{n1}");
    assert_eq!(n1["cpus"], 16);
    assert_eq!(seen["totals"]["used"], 9);
    assert_eq!(seen["totals"]["free"], 13);
    let holders: Vec<u64> = seen["jobs"].as_array().expect("jobs").iter().map(id).collect();
    assert_eq!(holders, [large.id, small.id, both.id].map(u64::from));
    let pending = seen["pending"].as_array().expect("pending");
    assert_eq!(pending.iter().map(id).collect::<Vec<_>>(), [u64::from(waits.id)]);
    assert_eq!(pending[0]["request"], "1g.10gb:3");
    assert_eq!(pending[0]["reason"], "Resources");

    // Parents: those of the layout file are the node's own.
    let real = leaves(&cluster, "n1");
    for leaf in n1["leaves"].as_array().expect("leaves") {
        let own = &real[leaf["index"].as_u64().expect("index") as usize];
        assert_eq!(
            (leaf["gpu"].as_u64(), &leaf["profile"]),
            (Some(own.gpu_minor), &Value::from(own.profile.clone()))
        );
    }
    assert_eq!(n2["gpus"], Value::Array(Vec::new()));

    let picture = command(&cluster, "status").run().ok().stdout;
    assert!(picture.contains("  GPU 1  │"), "{picture}");
    assert!(picture.contains("note: n2: no layout file"), "{picture}");
    let row = picture.lines().find(|line| line.starts_with('B')).unwrap_or_default();
    assert!(row.contains(&small.id.to_string()) && row.contains("n1:1g.10gb:4("), "{picture}");

    // Anybody may look.
    if flexmig_cluster::is_root() {
        let other = command(&cluster, "status --json").uid(65534).run().ok();
        assert!(other.stdout.contains("\"totals\""), "{other}");
    }
}

fn id(job: &Value) -> u64 {
    job["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{job}"))
}

#[test]
fn a_saved_view_shows_the_same_later() {
    let cluster = flexmig().node(sizes("n1")).start();
    let job = cluster.sbatch("--gres=flexmig:1g.10gb:2", STAY);
    shown(&job);
    command(&cluster, "status --save view.json").run().ok();
    let before = command(&cluster, "status --view view.json").run().ok().stdout;
    let question = "explain --gres=flexmig:1g.10gb:5 --json";
    let refused = json(&cluster, &format!("{question} --view view.json"));
    job.cancel();
    assert_eq!(command(&cluster, "status --view view.json").run().ok().stdout, before);
    assert_eq!(json(&cluster, &format!("{question} --view view.json")), refused);
    assert_eq!(refused["candidates"][0]["starts_now"], false, "{refused}");
    wait_for("the leaves to be free", 20, || {
        (json(&cluster, question)["candidates"][0]["starts_now"] == true).then_some(())
    });
}

#[test]
fn a_drained_node_has_no_leaves_to_give() {
    let cluster = flexmig().node(sizes("n1")).node(two_gpus("n2")).start();
    cluster.scontrol("update nodename=n1 state=drain reason=test").ok();
    cluster.wait_node("n1", "DRAIN");
    let seen = status(&cluster);
    let n1 = of_node(&seen, "n1");
    assert_eq!((&n1["usable"], &n1["fragmentation_percent"]), (&Value::Bool(false), &Value::Null));
    assert!(n1["state"].as_str().is_some_and(|state| state.contains("drain")), "{n1}");
    assert_eq!(indices(n1, |leaf| leaf["state"] == "unusable").len(), 8);
    assert_eq!(seen["totals"]["unusable"], 8);
    let told = json(&cluster, "explain --gres=flexmig:3g.40gb:1 --json");
    assert_eq!(told["candidates"][0]["starts_now"], false, "{told}");
}

/// The answer changes with what is free, and sbatch gives the same one.
#[test]
fn explain_says_what_sbatch_will_do() {
    let cluster = flexmig().policy("[select]\nrefresh = 1\n").node(sizes("n1")).start();
    for (busy, composition) in [(0, "1 x 3g.40gb"), (2, "3 x 1g.10gb")] {
        let holders: Vec<_> =
            (0..busy).map(|_| cluster.sbatch("--gres=flexmig:3g.40gb:1 -t 60", STAY)).collect();
        holders.iter().for_each(|job| drop(shown(job)));
        cluster.wait_view();
        let told = json(&cluster, "explain --gres=flexmig:3g:1 -t 60 --json");
        assert_eq!(told["accepted"], true, "{told}");
        let chosen = &told["candidates"][0];
        assert_eq!(
            (&chosen["composition"], &chosen["chosen"]),
            (&composition.into(), &true.into())
        );
        assert_eq!(chosen["starts_now"], true, "{told}");

        let job = cluster.sbatch("--gres=flexmig:3g:1 -t 60", STAY);
        let line = told["line"].as_str().expect("a line");
        assert_eq!(job.messages, format!("sbatch: {line}\n"));
        let info = job.info();
        assert_eq!(info.get("TresPerNode"), told["tres_per_node"].as_str().expect("text"));
        assert!(info.text.contains(told["note"].as_str().expect("text")), "{}", info.text);
        shown(&job);
        job.cancel();
    }
    let refused = command(&cluster, "explain --gres=flexmig:80gb:1").run();
    assert_eq!(refused.code, 1, "{refused}");
    let line =
        refused.stdout.lines().find(|line| line.starts_with("flexmig: ")).unwrap_or_default();
    let sbatch = cluster.try_sbatch("--gres=flexmig:80gb:1", STAY).expect_err("refused");
    assert!(sbatch.stderr.contains(&format!("sbatch: error: {line}\n")), "{line}: {sbatch}");
}

/// Options as sbatch sends them and as explain reads them come to the same.
#[test]
fn explain_reads_options_as_sbatch_does() {
    let policy = "[select]\nrefresh = 1\nmixed = true\n[submit]\ncpus_per_leaf = 2\n\
                  memory_per_leaf = 100\n";
    let cluster = flexmig().policy(policy).node(sizes("n1")).node(two_gpus("n2")).start();
    for options in [
        "--gres=flexmig:4",
        "--gres=flexmig:4 -c 3",
        "--gres=flexmig:3g:1,flexmig:1g.10gb:2 -t 10",
        "--gres=flexmig:2g.20gb:1 --mem=2G",
        "--gres=flexmig:mixed:5 -n 2",
        "--gres=flexmig:2 -N 2",
        "--gres=flexmig:20gb:1 -N 1-2 --ntasks-per-node=2",
        "--gres=flexmig:3g:1 -w n2",
        "-n 8 -c 4 --gres=flexmig:4",
        "--gres=flexmig:99",
        "--gres=flexmig:80gb:1 -p all",
        "--gres=flexmig:2 -n 2 --tres-per-task=gres/flexmig:1",
    ] {
        if options.contains("per-task=") && cluster.release() < Release(23, 2) {
            continue;
        }
        let told = json(&cluster, &format!("explain {options} --json"));
        let line = told["line"].as_str().expect("a line");
        match cluster.try_sbatch(&format!("{options} --hold"), STAY) {
            Ok(job) => {
                assert_eq!(job.messages, format!("sbatch: {line}\n"), "{options}");
                let info = job.info();
                let expected = |key: &str, field: &str| {
                    let value = &told[field];
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    assert!(value == "null" || info.get(key) == value, "{options}: {}", info.text);
                };
                expected("TresPerNode", "tres_per_node");
                expected("NumTasks", "num_tasks");
                expected("CPUs/Task", "cpus_per_task");
                let note = told["note"].as_str().expect("text");
                assert!(info.text.contains(note), "{options}: {}", info.text);
                job.cancel();
                // What it would have taken counts as taken until the next look.
                cluster.wait_view();
            }
            Err(ran) => {
                assert_eq!(told["accepted"], false, "{options}: {ran}");
                assert!(ran.stderr.contains(&format!("sbatch: error: {line}\n")), "{line}: {ran}");
            }
        }
    }
}

#[test]
fn without_a_controller_one_line_says_so() {
    let cluster = flexmig().slurm_conf("MessageTimeout=2").node(sizes("n1")).start();
    command(&cluster, "status --save view.json").run().ok();
    cluster.controller().stop();
    for args in ["status", "status --json", "explain --gres=flexmig:1"] {
        let ran = command(&cluster, args).seconds(60).run();
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran}");
        let line = ran.stderr.lines().find(|line| line.starts_with("flexmig: slurmctld: "));
        assert!(line.is_some_and(|line| line.contains("scontrol ping")), "{ran}");
    }
    command(&cluster, "status --view view.json").run().ok();
    command(&cluster, "explain --view view.json --gres=flexmig:1").run().ok();
}
