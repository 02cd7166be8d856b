//! Which leaves a job gets, and that it sees them.

mod common;

use std::collections::BTreeSet;

use common::{STAY, flexmig, leaves, list, node, parents_of, shown, two_gpus, uuids_at, variable};

#[test]
fn four_leaves_have_four_uuids_that_match_the_indices_scontrol_shows() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let other = cluster.sbatch("--gres=flexmig:1", STAY);
    shown(&other);
    let job = cluster.sbatch("--gres=flexmig:4", STAY);
    let output = shown(&job);
    let indices = job.indices("n1");
    assert_eq!(indices, [1, 2, 3, 4]);

    let node = leaves(&cluster, "n1");
    let uuids = list(variable(&output, "FLEXMIG_UUIDS"));
    assert_eq!(uuids.iter().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(uuids, uuids_at(&node, &indices));
    for name in ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"] {
        assert_eq!(list(variable(&output, name)), uuids, "{name}");
    }
    assert_eq!(variable(&output, "SLURM_JOB_FLEXMIGS"), "1,2,3,4");
    assert_eq!(variable(&output, "FLEXMIG_PROFILES"), "1g.10gb,1g.10gb,1g.10gb,1g.10gb");
    assert_eq!(variable(&output, "FLEXMIG_REQUEST"), "1g.10gb:4");
    let bus_ids: Vec<_> = indices.iter().map(|&i| node[i as usize].bus_id.clone()).collect();
    assert_eq!(list(variable(&output, "FLEXMIG_BUS_IDS")), bus_ids);
    assert_eq!(bus_ids.iter().collect::<BTreeSet<_>>().len(), 4, "synthetic bus ids are unique");
    assert!(job.info().get("TresPerNode").ends_with("flexmig:1g.10gb:4"), "{}", job.info().text);
    assert!(cluster.squeue_field(job.id, "tres-per-node").ends_with("flexmig:1g.10gb:4"));
    assert!(
        job.info().text.contains("AdminComment=[flexmig:v1 req=4 got=1g.10gb:4 "),
        "{}",
        job.info().text
    );
}

#[test]
fn fourteen_jobs_run_on_fourteen_leaves_and_the_fifteenth_waits_for_one() {
    let cluster = flexmig().node(two_gpus("n1")).start();
    let jobs: Vec<_> = (0..14).map(|_| cluster.sbatch("--gres=flexmig:1", STAY)).collect();
    let seen: BTreeSet<String> =
        jobs.iter().map(|job| variable(&shown(job), "FLEXMIG_UUIDS").to_owned()).collect();
    assert_eq!(seen.len(), 14, "{seen:?}");
    assert!(seen.iter().all(|uuid| uuid.starts_with("MIG-")), "{seen:?}");

    let last = cluster.sbatch("--gres=flexmig:1", STAY);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(last.state(), "PENDING");
    let freed = jobs[5].indices("n1");
    jobs[5].cancel();
    assert!(shown(&last).contains("FLEXMIG_UUIDS=MIG-"));
    assert_eq!(last.indices("n1"), freed);
}

#[test]
fn pack_gives_a_job_the_leaves_of_one_gpu() {
    let cluster = flexmig().node(two_gpus("n1").policy("order = \"pack\"")).start();
    let job = cluster.sbatch("--gres=flexmig:4", STAY);
    shown(&job);
    assert_eq!(parents_of(&leaves(&cluster, "n1"), &job.indices("n1")).len(), 1);
}

#[test]
fn spread_gives_a_job_leaves_of_both_gpus() {
    let cluster = flexmig().node(two_gpus("n1").policy("order = \"spread\"")).start();
    let job = cluster.sbatch("--gres=flexmig:4", STAY);
    shown(&job);
    assert_eq!(parents_of(&leaves(&cluster, "n1"), &job.indices("n1")).len(), 2);
}

#[test]
fn numa_fills_one_socket_before_the_next() {
    let four: &[&[&str]] = &[&["1g.10gb*7"], &["1g.10gb*7"], &["1g.10gb*7"], &["1g.10gb*7"]];
    let spec = node("n1", four, "flexmig:1g.10gb:28").policy("order = \"numa\"");
    let cluster = flexmig().node(spec).start();
    let job = cluster.sbatch("--gres=flexmig:4", STAY);
    shown(&job);
    // GPUs 0 and 1 are on NUMA node 0.
    let parents = parents_of(&leaves(&cluster, "n1"), &job.indices("n1"));
    assert_eq!(parents.into_iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn profile_and_memory_requests_get_leaves_of_their_type() {
    let mixed: &[&[&str]] = &[&["3g.40gb", "2g.20gb", "1g.10gb*2"], &["4g.40gb", "3g.40gb"]];
    let gres = "flexmig:1g.10gb:2,flexmig:2g.20gb:1,flexmig:3g.40gb:2,flexmig:4g.40gb:1";
    // Without a view: what the job before has just given back would still count as taken.
    let policy = "[select]\nrefresh = 0\n";
    let cluster = flexmig().policy(policy).node(node("n1", mixed, gres)).start();
    for (request, type_name, profiles) in [
        ("flexmig:2", "1g.10gb:2", "1g.10gb,1g.10gb"),
        ("flexmig:3g.40gb:2", "3g.40gb:2", "3g.40gb,3g.40gb"),
        ("flexmig:20gb:1", "2g.20gb:1", "2g.20gb"),
        ("flexmig:40gb:1", "3g.40gb:1", "3g.40gb"),
        ("flexmig:4g.40gb", "4g.40gb:1", "4g.40gb"),
        ("flexmig:2g.20gb:1,flexmig:4g.40gb:1", "2g.20gb:1", "2g.20gb,4g.40gb"),
    ] {
        let job = cluster.sbatch(&format!("--gres={request}"), STAY);
        let output = shown(&job);
        assert_eq!(variable(&output, "FLEXMIG_PROFILES"), profiles, "{request}");
        assert!(job.info().get("TresPerNode").contains(type_name), "{}", job.info().text);
        let node = leaves(&cluster, "n1");
        assert_eq!(
            list(variable(&output, "FLEXMIG_UUIDS")),
            uuids_at(&node, &job.indices("n1")),
            "{request}"
        );
        job.cancel();
    }
}

#[test]
fn two_nodes_give_each_their_own_leaves() {
    let cluster = flexmig().nodes(2, two_gpus).start();
    let script = "srun -N2 --ntasks-per-node=1 sh -c 'echo $SLURMD_NODENAME=$FLEXMIG_UUIDS'";
    let job = cluster.sbatch("-N2 --gres=flexmig:2", script);
    let output = job.finish();
    for name in ["n1", "n2"] {
        let uuids = list(variable(&output, name));
        assert_eq!(uuids, uuids_at(&leaves(&cluster, name), &[0, 1]), "{output}");
    }
}

#[test]
fn hand_written_gres_conf_lines_give_the_same_leaves_as_an_empty_file() {
    let plain = flexmig().node(two_gpus("n1")).start();
    let expected = leaves(&plain, "n1");
    let with_type = "Name=flexmig Type=1g.10gb MultipleFiles=";
    for first in [with_type, "Name=flexmig MultipleFiles="] {
        let typed = first == with_type;
        let gres = if typed { "flexmig:1g.10gb:14" } else { "flexmig:14" };
        let spec = node("n1", common::TWO_GPUS, gres);
        let cluster = flexmig().node(spec).prepare();
        // The paths are those of this cluster's own tree, so they are known only now.
        let root = cluster.node_dir("n1");
        let lines: String = expected
            .iter()
            .map(|leaf| {
                let file = |path: &String| {
                    let tail = path.split("/dev/").last().unwrap_or_default();
                    format!("{}/dev/{tail}", root.display())
                };
                let files: Vec<_> = leaf.device_files.iter().map(file).collect();
                format!("{first}{}\n", files.join(","))
            })
            .collect();
        cluster.write("gres.conf", &lines);
        cluster.start_daemons();
        cluster.wait_ready();
        let job = cluster.sbatch("--gres=flexmig:3", STAY);
        let output = shown(&job);
        assert_eq!(job.indices("n1"), [0, 1, 2], "{}", job.info().text);
        assert_eq!(
            list(variable(&output, "FLEXMIG_UUIDS")),
            uuids_at(&leaves(&cluster, "n1"), &[0, 1, 2])
        );
    }
}
