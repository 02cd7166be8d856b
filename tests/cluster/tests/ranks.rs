//! Ranks and their leaves: whatever launches them, each process finds its own leaf.
//!
//! The jobs preload libflexmig_preload.so themselves, so that this is about the binding alone.

mod common;

use flexmig_cluster::{Cluster, Shared, build_dir};

use common::{binds_tasks, flexmig, leaves, two_gpus, uuids_at};

static CLUSTER: Shared = Shared::new(|| {
    let cluster = flexmig().nodes(2, two_gpus).start();
    let library = build_dir().join("lib/libflexmig_preload.so");
    let copy = cluster.dir().join("libflexmig_preload.so");
    std::fs::copy(&library, copy).expect("libflexmig_preload.so, which `make build` makes");
    cluster
});

/// Prints the rank that `name` holds, and what this process sees.
fn show(name: &str) -> String {
    format!("echo r${name} leaf$FLEXMIG_LEAF $CUDA_VISIBLE_DEVICES")
}

/// The output of a job on four leaves of one node.
fn run(cluster: &Cluster, args: &str, script: &str) -> String {
    let library = cluster.dir().join("libflexmig_preload.so");
    let script = format!("export LD_PRELOAD={}\n{script}", library.display());
    cluster.sbatch(&format!("--gres=flexmig:4 {args}"), &script).finish()
}

/// Each rank's line is there once per leaf named: `(rank, leaf)`.
#[track_caller]
fn bound(cluster: &Cluster, output: &str, expected: &[(usize, usize)]) {
    let uuids = leaves(cluster, "n1");
    let indices: Vec<u32> = job_indices(output);
    let uuids = uuids_at(&uuids, &indices);
    let mut wanted: Vec<String> = expected
        .iter()
        .map(|(rank, leaf)| format!("r{rank} leaf{leaf} {}", uuids[*leaf]))
        .collect();
    let mut found: Vec<&str> = output.lines().filter(|line| line.contains(" leaf")).collect();
    wanted.sort();
    found.sort_unstable();
    assert_eq!(found, wanted, "{output}");
}

/// The job's indices on n1, which its script prints first.
fn job_indices(output: &str) -> Vec<u32> {
    let line = output.lines().find_map(|line| line.strip_prefix("indices=")).unwrap_or("");
    line.split(',').map(|index| index.parse().expect(line)).collect()
}

const INDICES: &str = "echo indices=$SLURM_JOB_FLEXMIGS;";

#[test]
fn srun_gives_each_task_its_leaf() {
    let cluster = CLUSTER.get();
    let show = show("SLURM_LOCALID");
    let output = run(&cluster, "-w n1 -n4", &format!("{INDICES} srun -n4 sh -c '{show}'"));
    bound(&cluster, &output, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
    // A shell, and a program that it starts.
    let inner = format!("bash -c \"{}\"", show.replace('$', "\\$"));
    let output = run(&cluster, "-w n1 -n4", &format!("{INDICES} srun -n4 bash -c '{inner}; :'"));
    bound(&cluster, &output, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
    // perl is in every Debian, python where it is installed.
    let perl = r#"perl -e "print qq(r\$ENV{SLURM_LOCALID} leaf\$ENV{FLEXMIG_LEAF} \$ENV{CUDA_VISIBLE_DEVICES}\n)""#;
    let output = run(&cluster, "-w n1 -n4", &format!("{INDICES} srun -n4 bash -c '{perl}; :'"));
    bound(&cluster, &output, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
    let python = "import os; e = os.environ; import subprocess, sys; \
                  a = [e.get(n, \"\") for n in (\"SLURM_LOCALID\", \"FLEXMIG_LEAF\", \"CUDA_VISIBLE_DEVICES\")]; \
                  print(\"r%s leaf%s %s\" % tuple(a), flush=True)";
    let python = python.replace('"', "\\\"");
    let script = format!(
        "{INDICES} command -v python3 || exit 0; srun -n4 bash -c 'python3 -c \"{python}\"; :'"
    );
    let output = run(&cluster, "-w n1 -n4", &script);
    if output.contains(" leaf") {
        bound(&cluster, &output, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
    } else {
        eprintln!("skipped: no python3 here");
    }
}

/// A launcher as torchrun: one process that starts `size` local ranks.
fn torchrun(size: usize, first: &str, command: &str) -> String {
    format!(
        "for i in $(seq 0 {last}); do LOCAL_RANK=$i LOCAL_WORLD_SIZE={size} RANK=$(({first} + i)) \
         TORCHELASTIC_RUN_ID=none {command} & done; wait",
        last = size - 1
    )
}

#[test]
fn torchrun_binds_its_local_ranks() {
    let cluster = CLUSTER.get();
    let show = show("FLEXMIG_LOCAL_RANK");
    let ranks = torchrun(4, "0", &format!("sh -c '{show}'"));
    let all = [(0, 0), (1, 1), (2, 2), (3, 3)];
    let output = run(&cluster, "-w n1 -n1", &format!("{INDICES} {ranks}"));
    bound(&cluster, &output, &all);
    // One agent per node, as a task of srun.
    let script = format!(
        "{INDICES}\ncat >agent.$SLURM_JOB_ID <<'END'\n{ranks}\nEND\nsrun -n1 sh agent.$SLURM_JOB_ID; rm agent.$SLURM_JOB_ID"
    );
    let output = run(&cluster, "-w n1 -n1", &script);
    bound(&cluster, &output, &all);
}

#[test]
fn two_launchers_on_one_node_share_its_leaves() {
    let cluster = CLUSTER.get();
    let ranks = torchrun(2, "2 * SLURM_PROCID", &format!("sh -c '{}'", show("RANK")));
    let script = format!(
        "{INDICES}\ncat >agent.$SLURM_JOB_ID <<'END'\n{ranks}\nEND\nsrun -n2 sh agent.$SLURM_JOB_ID; rm agent.$SLURM_JOB_ID"
    );
    let output = run(&cluster, "-w n1 -n2", &script);
    bound(&cluster, &output, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
}

#[test]
fn mpirun_binds_its_ranks() {
    let cluster = CLUSTER.get();
    let show = show("OMPI_COMM_WORLD_LOCAL_RANK");
    let script = format!(
        "{INDICES} command -v mpirun >/dev/null || exit 0; \
         mpirun --allow-run-as-root --oversubscribe -n 4 sh -c '{show}'"
    );
    let output = run(&cluster, "-w n1 -n4", &script);
    if output.contains(" leaf") {
        bound(&cluster, &output, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
    } else {
        eprintln!("skipped: no Open MPI here (openmpi-bin): {output}");
    }
}

#[test]
fn children_and_inner_steps_of_a_rank() {
    let cluster = CLUSTER.get();
    let show = show("SLURM_LOCALID");
    // A child as a DataLoader's worker or a spawned process is: a new program, two levels down.
    let child = show.replace('$', "\\$");
    let script = format!("{INDICES} srun -n4 sh -c 'env OMP_NUM_THREADS=1 sh -c \"{child}\"; :'");
    let output = run(&cluster, "-w n1 -n4", &script);
    bound(&cluster, &output, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
    // srun inside srun: the outer step is one task, the inner one has four.
    let inner = format!("srun --overlap -n4 sh -c \"{child}\"");
    let output =
        run(&cluster, "-w n1 -n4", &format!("{INDICES} srun --overlap -n1 sh -c '{inner}'"));
    bound(&cluster, &output, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
    // srun inside a rank of torchrun, whose variables the inner tasks inherit.
    let ranks = torchrun(1, "0", &format!("sh -c '{inner}'"));
    let output = run(&cluster, "-w n1 -n4", &format!("{INDICES} {ranks}"));
    bound(&cluster, &output, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
}

#[test]
fn three_overlapping_steps_each_have_all_leaves() {
    let cluster = CLUSTER.get();
    let step = format!("srun --overlap -n3 sh -c '{}'", show("SLURM_LOCALID"));
    let script = format!("{INDICES} for i in 1 2 3; do {step} & done; wait");
    let output = run(&cluster, "-w n1 -n4", &script);
    bound(&cluster, &output, &[(0, 0), (1, 1), (2, 2)].repeat(3));
}

#[test]
fn more_ranks_than_leaves_is_an_error_that_says_so() {
    let cluster = CLUSTER.get();
    let script =
        format!("{INDICES} srun -O -n5 sh -c '{}' 2>&1; echo status=$?", show("SLURM_LOCALID"));
    let library = cluster.dir().join("libflexmig_preload.so");
    let script = format!("export LD_PRELOAD={}\n{script}", library.display());
    let output = cluster.sbatch("-w n1 -n5 --gres=flexmig:4", &script).finish();
    let line = "flexmig: more ranks than leaves: SLURM_LOCALID makes this rank 4, and there are 4 \
                leaves: start one rank per leaf, ask for more leaves, or set FLEXMIG_MODE=off";
    assert_eq!(output.matches(line).count(), 1, "{output}");
    assert!(output.contains("status=1"), "{output}");
    // The user may insist.
    let script = script.replace("srun", "FLEXMIG_MODE=off srun");
    let output = cluster.sbatch("-w n1 -n5 --gres=flexmig:4", &script).finish();
    assert!(output.contains("status=0") && !output.contains("flexmig:"), "{output}");
}

#[test]
fn a_launcher_in_a_task_that_slurm_bound_has_one_leaf() {
    let cluster = CLUSTER.get();
    if !binds_tasks(&cluster) {
        return eprintln!("skipped: before 23.11 Slurm does not bind tasks");
    }
    let ranks = |size| torchrun(size, "0", &format!("sh -c '{}'", show("SLURM_LOCALID")));
    let script = |size, srun| {
        format!(
            "{INDICES}\ncat >agent.$SLURM_JOB_ID <<'END'\n{}\nEND\n{srun} -n2 sh agent.$SLURM_JOB_ID; rm agent.$SLURM_JOB_ID",
            ranks(size)
        )
    };
    let output = run(&cluster, "-w n1 -n4", &script(1, "srun"));
    bound(&cluster, &output, &[(0, 0), (1, 1)]);
    let output = run(&cluster, "-w n1 -n4", &script(2, "srun"));
    let line = "LOCAL_RANK makes this rank 1 of a task that was given one leaf: start one rank per \
                task, or give srun an empty SLURM_TRES_BIND";
    assert_eq!(output.matches(line).count(), 2, "{output}");
    // What the line says to do.
    let output = run(&cluster, "-w n1 -n4", &script(2, "SLURM_TRES_BIND= srun"));
    bound(&cluster, &output, &[(0, 0), (0, 1), (1, 2), (1, 3)]);
}

#[test]
fn tasks_on_two_nodes_count_on_each_node() {
    let cluster = CLUSTER.get();
    let library = cluster.dir().join("libflexmig_preload.so");
    let script = format!(
        "export LD_PRELOAD={}\nsrun -n4 sh -c 'echo $SLURMD_NODENAME $SLURM_PROCID leaf$FLEXMIG_LEAF'",
        library.display()
    );
    let args = "-N2 -n4 --ntasks-per-node=2 --gres=flexmig:2";
    let output = cluster.sbatch(args, &script).finish();
    for line in ["n1 0 leaf0", "n1 1 leaf1", "n2 2 leaf0", "n2 3 leaf1"] {
        assert!(output.lines().any(|found| found == line), "{line}: {output}");
    }
}
