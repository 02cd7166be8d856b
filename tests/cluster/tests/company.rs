//! Beside other jobs, other GRES and other job_submit plugins.

mod common;

use common::{STAY, flexmig, leaves, list, shown, two_gpus, uuids_at, variable};
use flexmig_cluster::{Cluster, Node, Plugins};

#[test]
fn a_job_without_flexmig_is_the_same_with_and_without_the_plugins() {
    let run = |plugins| {
        let cluster = Cluster::builder().plugins(plugins).node(two_gpus("n1")).start();
        let job = cluster.sbatch("-n2 --comment=hello", "srun -l env; env");
        let output = job.finish();
        let info = job.info();
        let keys =
            ["NumNodes", "NumCPUs", "NumTasks", "ReqTRES", "AdminComment", "Comment", "JobState"];
        let fields: Vec<String> = keys.iter().map(|key| info.get(key).to_owned()).collect();
        let changing = ["SLURM_", "TMPDIR=", "PWD=", "OLDPWD=", "HOME=", "FLEXMIG_CONF=", "MOCK_"];
        let mut lines: Vec<String> = output
            .lines()
            .map(|line| {
                line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':' || c == ' ')
            })
            .filter(|line| !changing.iter().any(|name| line.starts_with(name)))
            .map(str::to_owned)
            .collect();
        lines.sort();
        (fields, lines, job.messages.clone())
    };
    assert_eq!(run(Plugins::Release), run(Plugins::None));
}

/// A node with two ordinary GPUs and fourteen leaves. The GPU files are stand-ins.
fn with_gpus(name: &str) -> Node {
    common::node(name, common::TWO_GPUS, "gpu:2,flexmig:1g.10gb:14")
}

#[test]
fn gres_gpu_and_flexmig_on_one_node_do_not_disturb_each_other() {
    let cluster = flexmig()
        .node(with_gpus("n1"))
        .gres_types("gpu,flexmig")
        .gres_conf("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        .start();
    let show = "echo gpu=$CUDA_VISIBLE_DEVICES leaves=$FLEXMIG_UUIDS; ";
    let step = format!("{show} srun -n1 sh -c '{show}'");

    let output = cluster.sbatch("-n1 --gres=gpu:1", &step).finish();
    assert_eq!(output.lines().collect::<Vec<_>>(), ["gpu=0 leaves="; 2], "{output}");

    let uuids = uuids_at(&leaves(&cluster, "n1"), &[0, 1]).join(",");
    let output = cluster.sbatch("-n1 --gres=flexmig:2", &step).finish();
    let line = format!("gpu={uuids} leaves={uuids}");
    assert_eq!(output.lines().collect::<Vec<_>>(), [&line, &line], "{output}");

    let output = cluster.sbatch("-n1 --gres=gpu:1,flexmig:2", &step).finish();
    let line = format!("gpu=0,{uuids} leaves={uuids}");
    assert_eq!(output.lines().collect::<Vec<_>>(), [&line, &line], "{output}");

    let output = cluster.sbatch("-n1", &step).finish();
    assert_eq!(output.lines().collect::<Vec<_>>(), ["gpu= leaves="; 2], "{output}");
}

#[test]
fn the_filter_works_in_a_chain_with_other_job_submit_plugins() {
    for chain in ["flexmig,require_timelimit", "require_timelimit,flexmig"] {
        let cluster = flexmig().job_submit(chain).node(two_gpus("n1")).start();
        let ran = cluster.try_sbatch("--gres=flexmig:2", STAY).expect_err("no time limit");
        assert!(ran.stderr.to_lowercase().contains("time limit"), "{chain}: {ran}");
        let job = cluster.sbatch("-t5 --gres=flexmig:2", STAY);
        assert_eq!(list(variable(&shown(&job), "FLEXMIG_UUIDS")).len(), 2, "{chain}");
    }
}

#[test]
fn a_lua_filter_before_or_after_ours_keeps_its_message_and_its_change() {
    let lua = r#"
function slurm_job_submit(job_desc, part_list, submit_uid)
    slurm.log_user("lua was here")
    job_desc.comment = "from lua"
    return slurm.SUCCESS
end
function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
    return slurm.SUCCESS
end
"#;
    for chain in ["flexmig,lua", "lua,flexmig"] {
        let cluster =
            flexmig().job_submit(chain).file("job_submit.lua", lua).node(two_gpus("n1")).start();
        let job = cluster.sbatch("--gres=flexmig:2", STAY);
        assert!(job.messages.contains("lua was here"), "{chain}: {}", job.messages);
        // job_submit/lua replaces what the plugins before it said, in every release.
        let kept = job.messages.contains("flexmig: ");
        assert_eq!(kept, chain == "lua,flexmig", "{chain}: {}", job.messages);
        assert_eq!(job.info().get("Comment"), "from lua", "{chain}");
        assert_eq!(list(variable(&shown(&job), "FLEXMIG_UUIDS")).len(), 2, "{chain}");
    }
}
