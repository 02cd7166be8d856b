//! What jobs with leaves are given for NCCL: the runtime mode, its variables, the preload library, and
//! the node's topology file. And what the user has otherwise stays.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use common::{flexmig, leaves, list, two_gpus, variable};
use flexmig_cluster::{Client, Cluster, Node};

/// The environment of a job's batch script or of a step, as `env` prints it.
type Env = BTreeMap<String, String>;

fn parse(output: &str) -> Env {
    let pairs = output.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Everything of it that is about NCCL.
fn about_nccl(env: &Env) -> Vec<String> {
    let is = |name: &str| {
        name.starts_with("NCCL_")
            || name.starts_with("FLEXMIG_MODE")
            || name == "LD_PRELOAD"
            || name == "FLEXMIG_NCCL_SET"
    };
    env.iter().filter(|(name, _)| is(name)).map(|(name, value)| format!("{name}={value}")).collect()
}

/// The environments of a batch script and of a step in it. `before` is run between the two.
fn batch_and_step(cluster: &Cluster, sbatch: Client<'_>, before: &str) -> (Env, Env) {
    let script = format!("env; echo here is the step; {before}\nsrun -n1 env");
    let job = cluster.submit(sbatch.args("-n1 --gres=flexmig:2"), &script).expect("accepted");
    let output = job.finish();
    let (batch, step) = output.split_once("here is the step").expect("both");
    (parse(batch), parse(step))
}

fn library(cluster: &Cluster, name: &str) -> String {
    cluster.dir().join("lib").join(name).display().to_string()
}

fn preload(cluster: &Cluster) -> String {
    library(cluster, "libflexmig_preload.so")
}

fn topology(cluster: &Cluster) -> String {
    cluster.dir().join("topology/topo-n1.xml").display().to_string()
}

#[test]
fn batch_scripts_and_steps_get_the_mode_and_its_variables() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let (batch, step) = batch_and_step(&cluster, cluster.client("sbatch"), "");
    for env in [&batch, &step] {
        assert_eq!(env["FLEXMIG_MODE"], "relabel-shm");
        let reason = &env["FLEXMIG_MODE_REASON"];
        assert!(reason.starts_with("auto: 1g.10gb and 1g.10gb of one NVIDIA A100"), "{reason}");
        assert!(reason.ends_with("have not been tried by flexmig probe"), "{reason}");
        assert_eq!(env["LD_PRELOAD"], preload(&cluster));
        assert_eq!(env["NCCL_ENV_PLUGIN"], library(&cluster, "libnccl-net-flexmig.so"));
        assert_eq!(env["NCCL_TOPO_FILE"], topology(&cluster));
        for (name, value) in [("P2P_DISABLE", "1"), ("CUMEM_ENABLE", "0"), ("NVLS_ENABLE", "0")] {
            assert_eq!(env[&format!("NCCL_{name}")], value, "{name}");
        }
        for name in ["NCCL_NET", "NCCL_NET_PLUGIN", "NCCL_HOSTID"] {
            assert!(!env.contains_key(name), "{name} is the user's");
        }
    }
    assert_eq!(about_nccl(&batch), about_nccl(&step));
}

#[test]
fn the_probes_result_decides_without_a_restart() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let ran = cluster.flexmig("n1").args("leaves --json").run().ok();
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let driver = json["driver_version"].as_str().expect("a driver version");
    let gpu = json["gpus"][0]["model"].as_str().expect("a model");
    let write = |import: bool| {
        let text = format!(
            "version = 1\n[[result]]\ndriver = \"{driver}\"\ngpu = \"{gpu}\"\n\
             profiles = [\"1g.10gb\", \"1g.10gb\"]\nimport = {import}\n"
        );
        cluster.write("nodes/n1/flexmig-probe.toml", &text);
    };
    write(true);
    let (batch, step) = batch_and_step(&cluster, cluster.client("sbatch"), "");
    for env in [batch, step] {
        assert_eq!(env["FLEXMIG_MODE"], "relabel-p2p", "{}", env["FLEXMIG_MODE_REASON"]);
        assert_eq!(env["NCCL_CUMEM_ENABLE"], "1");
        assert!(!env.contains_key("NCCL_P2P_DISABLE") && !env.contains_key("NCCL_P2P_LEVEL"));
    }
    write(false);
    let (batch, _) = batch_and_step(&cluster, cluster.client("sbatch"), "");
    assert_eq!(batch["FLEXMIG_MODE"], "relabel-shm");
    assert!(batch["FLEXMIG_MODE_REASON"].contains("cannot share memory"));
}

#[test]
fn what_the_user_set_wins_and_one_line_says_so() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let mark = cluster.slurmd("n1").log_mark();
    let sbatch = cluster.client("sbatch").env("NCCL_P2P_DISABLE", "0").env("NCCL_ALGO", "Ring");
    let before = "export NCCL_CUMEM_ENABLE=1; unset NCCL_TOPO_FILE";
    let (batch, step) = batch_and_step(&cluster, sbatch, before);
    assert_eq!((batch["NCCL_P2P_DISABLE"].as_str(), batch["NCCL_ALGO"].as_str()), ("0", "Ring"));
    assert!(
        batch["FLEXMIG_MODE_REASON"].ends_with("the user's own: NCCL_P2P_DISABLE (environment)")
    );
    assert_eq!(step["NCCL_P2P_DISABLE"], "0");
    assert_eq!(step["NCCL_CUMEM_ENABLE"], "1", "set in the batch script");
    assert!(!step.contains_key("NCCL_TOPO_FILE"), "unset in the batch script");
    let line = "flexmig: n1: relabel-shm: left as the user has it: NCCL_P2P_DISABLE (environment)";
    cluster.slurmd("n1").wait_log(mark, line, 10);
}

#[test]
fn the_users_mode_wins_at_submission_and_in_the_script() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let sbatch = cluster.client("sbatch").env("FLEXMIG_MODE", "native");
    let (batch, step) = batch_and_step(&cluster, sbatch, "export FLEXMIG_MODE=net");
    assert_eq!(batch["FLEXMIG_MODE"], "native");
    assert_eq!(batch["FLEXMIG_MODE_REASON"], "set by the user");
    assert!(!batch.contains_key("NCCL_P2P_DISABLE") && !batch.contains_key("NCCL_TOPO_FILE"));
    assert_eq!(step["FLEXMIG_MODE"], "net");
    assert_eq!(step["NCCL_NET"], "FlexMIG");
    assert_eq!(step["NCCL_NET_PLUGIN"], library(&cluster, "libnccl-net-flexmig.so"));
}

#[test]
fn a_mode_that_there_is_not_sets_nothing_and_is_told_in_the_job() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let sbatch = cluster.client("sbatch").env("FLEXMIG_MODE", "fast");
    let job = cluster.submit(sbatch.args("-n1 --gres=flexmig:2"), "env").expect("accepted");
    let output = job.finish();
    assert_eq!(variable(&output, "FLEXMIG_MODE"), "fast");
    assert!(variable(&output, "FLEXMIG_MODE_REASON").starts_with("FLEXMIG_MODE is none of"));
    assert!(!output.contains("NCCL_P2P"), "{output}");
    assert!(
        output.lines().any(|line| line.contains("flexmig")
            && line.contains("fast")
            && !line.starts_with("FLEXMIG_")),
        "a line of the preload library: {output}"
    );
}

#[test]
fn off_leaves_everything_alone() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let sbatch = || cluster.client("sbatch").env("NCCL_DEBUG", "INFO");
    let (batch, step) = batch_and_step(&cluster, sbatch().env("FLEXMIG_MODE", "off"), "");
    for env in [batch, step] {
        let expected =
            ["FLEXMIG_MODE=off", "FLEXMIG_MODE_REASON=set by the user", "NCCL_DEBUG=INFO"];
        assert_eq!(about_nccl(&env), expected);
        assert_eq!(list(&env["FLEXMIG_UUIDS"]).len(), 2);
    }
    let (_, step) = batch_and_step(&cluster, sbatch(), "export FLEXMIG_MODE=off");
    let expected = ["FLEXMIG_MODE=off", "FLEXMIG_MODE_REASON=set by the user", "NCCL_DEBUG=INFO"];
    assert_eq!(about_nccl(&step), expected, "switched off in the script");

    let site = flexmig().node(two_gpus("n1").nccl("mode = \"off\"")).start();
    let (batch, _) = batch_and_step(&site, site.client("sbatch"), "");
    assert_eq!(batch["FLEXMIG_MODE"], "off");
    assert!(!batch.contains_key("LD_PRELOAD") && !batch.contains_key("NCCL_NVLS_ENABLE"));
}

#[test]
fn names_in_nccl_conf_count_as_set() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let home = cluster.dir().join("work/home");
    std::fs::create_dir(&home).expect("a home");
    let conf = home.join(".nccl.conf");
    std::fs::write(&conf, "# mine\nNCCL_P2P_DISABLE=0\nNCCL_SOCKET_IFNAME=eth0\n").expect("a file");
    let home = home.display().to_string();
    let sbatch = || cluster.client("sbatch").env("HOME", &home);
    let (batch, step) = batch_and_step(&cluster, sbatch(), "");
    for env in [batch, step] {
        assert!(!env.contains_key("NCCL_P2P_DISABLE"), "the file's value would be beaten: {env:?}");
        assert_eq!(env["NCCL_CUMEM_ENABLE"], "0");
        let reason = &env["FLEXMIG_MODE_REASON"];
        assert!(reason.ends_with(&format!("NCCL_P2P_DISABLE ({})", conf.display())), "{reason}");
    }
    // NCCL_CONF_FILE takes the place of ~/.nccl.conf.
    let other = cluster.dir().join("work/other.conf");
    std::fs::write(&other, "NCCL_CUMEM_ENABLE=1\n").expect("a file");
    let sbatch = sbatch().env("NCCL_CONF_FILE", &other.display().to_string());
    let (batch, _) = batch_and_step(&cluster, sbatch, "");
    assert_eq!(batch["NCCL_P2P_DISABLE"], "1");
    assert!(!batch.contains_key("NCCL_CUMEM_ENABLE"));
}

#[test]
fn the_library_is_preloaded_once_behind_the_users_own() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let ours = preload(&cluster);
    // One that exists everywhere: the loader says nothing about it.
    let users = "libc.so.6";
    let sbatch = cluster.client("sbatch").env("LD_PRELOAD", users);
    let (batch, step) = batch_and_step(&cluster, sbatch, "");
    assert_eq!(batch["LD_PRELOAD"], format!("{users}:{ours}"));
    assert_eq!(step["LD_PRELOAD"], format!("{users}:{ours}"));
    let (_, step) = batch_and_step(&cluster, cluster.client("sbatch"), "unset LD_PRELOAD");
    assert!(!step.contains_key("LD_PRELOAD"), "unset in the script");
    let before = format!("export LD_PRELOAD={users}");
    let (_, step) = batch_and_step(&cluster, cluster.client("sbatch"), &before);
    assert_eq!(step["LD_PRELOAD"], format!("{users}:{ours}"), "a module that sets it anew");

    let without = flexmig().node(two_gpus("n1").nccl("ld_preload = false")).start();
    let (batch, _) = batch_and_step(&without, without.client("sbatch"), "");
    assert!(!batch.contains_key("LD_PRELOAD"));
}

#[test]
fn nothing_is_left_in_a_step_without_leaves() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let script = "srun -n1 --gres=none env";
    let sbatch = || cluster.client("sbatch").args("-n1 --gres=flexmig:2");
    for mode in ["auto", "net"] {
        let users = sbatch().env("NCCL_DEBUG", "INFO").env("LD_PRELOAD", "libc.so.6");
        let users = if mode == "net" { users.env("FLEXMIG_MODE", "net") } else { users };
        let output = cluster.submit(users, script).expect("accepted").finish();
        let mut expected = vec!["LD_PRELOAD=libc.so.6", "NCCL_DEBUG=INFO"];
        if mode == "net" {
            expected.insert(0, "FLEXMIG_MODE=net");
        }
        assert_eq!(about_nccl(&parse(&output)), expected, "{mode}");
    }
}

#[test]
fn nothing_is_left_in_a_job_that_is_submitted_from_a_job() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let inner = cluster.dir().join("work/inner");
    let script = format!(
        "sbatch --wait -n1 -o {path} --wrap 'env; srun -n1 env' && echo done",
        path = inner.display()
    );
    let sbatch = cluster.client("sbatch").args("-n1 --gres=flexmig:2").env("NCCL_DEBUG", "INFO");
    let output = cluster.submit(sbatch, &script).expect("accepted").finish();
    assert!(output.contains("done"), "{output}");
    let output = cluster.read(&inner.display().to_string());
    assert!(output.contains("SLURM_JOB_ID="), "the inner job ran: {output}");
    assert_eq!(about_nccl(&parse(&output)), ["NCCL_DEBUG=INFO"]);
}

#[test]
fn jobs_without_leaves_are_given_nothing() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let output = cluster.sbatch("-n1", "env; srun -n1 env").finish();
    assert_eq!(about_nccl(&parse(&output)), [""; 0]);
}

#[test]
fn in_mode_net_each_bound_task_is_a_host_of_its_own() {
    let cluster = flexmig().node(two_gpus("n1").nccl("mode = \"net\"")).start();
    let script =
        "echo $FLEXMIG_MODE_REASON; srun -n3 sh -c 'echo leaf=$FLEXMIG_LEAF host=$NCCL_HOSTID'";
    let output = cluster.sbatch("--gres=flexmig:3", script).finish();
    assert!(output.contains("set by the site in flexmig.toml"), "{output}");
    for leaf in 0..3 {
        // By Slurm from 23.11 on, else by the preload library.
        let line = format!("leaf={leaf} host=n1-{leaf}");
        assert!(output.contains(&line), "{line}: {output}");
    }
}

#[test]
fn the_topology_file_lists_all_leaves_and_everyone_can_read_it() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let file = topology(&cluster);
    let text = cluster.read(&file);
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o644);
    let document = xml(&text);
    let bus_ids: Vec<String> = document.iter().filter_map(|tag| attribute(tag, "busid")).collect();
    for leaf in leaves(&cluster, "n1") {
        // FLEXMIG_BUS_IDS has the domain with eight digits, NCCL's files with four.
        let id = leaf.bus_id.strip_prefix("0000").expect("eight digits").to_owned();
        assert_eq!(bus_ids.iter().filter(|other| **other == id).count(), 1, "{id}: {text}");
    }
    let numa: Vec<String> = document.iter().filter_map(|tag| attribute(tag, "numaid")).collect();
    assert_eq!(numa, ["0", "1"], "{text}");
    // Another cut of the GPU is another file, without a moment in which there is none.
    let mut gpus = cluster.mock("n1");
    gpus.gpu[0].mig = Some(vec!["3g.40gb".into()]);
    cluster.set_mock("n1", &gpus);
    cluster.slurmd("n1").stop();
    let mark = cluster.slurmd("n1").log_mark();
    cluster.slurmd("n1").start();
    cluster.slurmd("n1").wait_log(mark, "leaves of 1 GPUs are ready", 10);
    assert_ne!(cluster.read(&file), text);
    cluster.slurmd("n1").stop();
    assert!(std::path::Path::new(&file).exists(), "jobs outlive slurmd");
}

/// The tags of a document, which must be balanced.
fn xml(text: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut tags = Vec::new();
    for piece in text.split('<').skip(1) {
        let (tag, rest) = piece.split_once('>').expect("a whole tag");
        assert_eq!(rest.trim(), "", "no text between tags");
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name.to_owned()), "{text}"),
            None if tag.ends_with('/') => tags.push(tag.to_owned()),
            None => {
                open.push(name.to_owned());
                tags.push(tag.to_owned());
            }
        }
    }
    assert!(open.is_empty() && !tags.is_empty(), "{text}");
    tags
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split_once(&format!(" {name}=\""))?.1;
    Some(value.split_once('"')?.0.to_owned())
}

#[test]
fn missing_libraries_and_directories_are_one_line_and_jobs_run() {
    let missing = |node: Node| flexmig().node(node);
    let cluster = missing(two_gpus("n1")).prepare();
    std::fs::remove_file(preload(&cluster)).expect("the library was there");
    let file = cluster.dir().join("topology");
    std::fs::write(&file, "").expect("a file where a directory should be");
    cluster.start_daemons();
    let log = cluster.slurmd("n1").log();
    let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("flexmig: n1: libflexmig_preload.so: not in "), 1, "{log}");
    assert_eq!(lines("topo-n1.xml: cannot be written: "), 1, "{log}");
    let (batch, _) = batch_and_step(&cluster, cluster.client("sbatch"), "");
    assert!(!batch.contains_key("LD_PRELOAD") && !batch.contains_key("NCCL_TOPO_FILE"));
    assert_eq!(batch["NCCL_P2P_DISABLE"], "1");
}
