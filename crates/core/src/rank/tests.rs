//! The decision table: every launcher, alone and inside another, as chains of processes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LEAVES: &str = "MIG-a,MIG-b,MIG-c,MIG-d";

/// A process: the environment it starts with, after the constructor.
#[derive(Clone, Debug, Default, PartialEq)]
struct Process(BTreeMap<String, String>);

/// What became of a process that was started.
#[derive(Debug, PartialEq)]
enum Outcome {
    Left(Reason),
    Bound,
    Complained,
    Refused(String),
}

impl Process {
    /// A batch script of a job with four leaves on this node.
    fn batch() -> Process {
        let job = [
            ("FLEXMIG_UUIDS", LEAVES),
            ("CUDA_VISIBLE_DEVICES", LEAVES),
            ("FLEXMIG_MODE", "relabel-shm"),
            ("SLURM_JOB_ID", "17"),
            ("SLURM_PROCID", "0"),
            ("SLURM_LOCALID", "0"),
            ("SLURM_GTIDS", "0"),
        ];
        let (process, outcome) = Process::default().start(&job);
        assert_eq!(outcome, Outcome::Left(Reason::NoRank));
        process
    }

    /// The process that this one starts with more variables; an empty value unsets.
    fn start(&self, variables: &[(&str, &str)]) -> (Process, Outcome) {
        let mut env = self.0.clone();
        for (name, value) in variables {
            env.insert((*name).to_owned(), (*value).to_owned());
            if value.is_empty() {
                env.remove(*name);
            }
        }
        let entries: Vec<String> =
            env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut view = View::new();
        entries.iter().for_each(|entry| view.take(entry.as_bytes()));
        let mut set = |var: Var, value: &[u8]| {
            let name = var.name().to_str().unwrap().to_owned();
            env.insert(name, String::from_utf8(value.to_vec()).unwrap());
        };
        let outcome = match decide(&view, None) {
            Decision::Leave(reason) => Outcome::Left(reason),
            Decision::Bind(binding) => {
                binding.edits(set);
                Outcome::Bound
            }
            Decision::Complain(problem) => {
                set(Var::Bound, record::said_mark(problem.hash()).as_bytes());
                Outcome::Complained
            }
            Decision::Refuse(problem) => Outcome::Refused(problem.to_string()),
        };
        (Process(env), outcome)
    }

    /// The same, which must bind.
    fn bind(&self, variables: &[(&str, &str)]) -> Process {
        let (process, outcome) = self.start(variables);
        assert_eq!(outcome, Outcome::Bound, "{process:?}");
        process
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Task `local` of a step `step` with `tasks` tasks here, where gres set the list afresh.
    fn srun(&self, step: u32, tasks: u32, local: u32) -> (Process, Outcome) {
        self.start(&srun(step, tasks, local).map_refs())
    }

    /// Rank `local` of a torchrun with `size` ranks; `before` ranks are on other agents.
    fn torchrun(&self, run: &str, size: u32, local: u32, before: u32) -> (Process, Outcome) {
        self.start(&torchrun(run, size, local, before).map_refs())
    }

    /// Rank `local` of an Open MPI job of `size` ranks on this node.
    fn mpirun(&self, size: u32, local: u32) -> (Process, Outcome) {
        let (size, local) = (size.to_string(), local.to_string());
        self.start(&[
            ("OMPI_COMM_WORLD_RANK", &local),
            ("OMPI_COMM_WORLD_LOCAL_RANK", &local),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", &size),
            ("PMIX_RANK", &local),
        ])
    }

    /// What a program may do anywhere below: run a shell that runs another program.
    #[track_caller]
    fn has(&self, leaf: usize) {
        assert_eq!(self.get("CUDA_VISIBLE_DEVICES"), LEAVES.split(',').nth(leaf).unwrap());
        assert_eq!(self.get("FLEXMIG_LEAF"), leaf.to_string());
        let (child, outcome) = self.start(&[("OMP_NUM_THREADS", "4"), ("PWD", "/")]);
        assert_eq!(outcome, Outcome::Left(Reason::Inherited), "a child of a rank");
        assert_eq!(child.get("CUDA_VISIBLE_DEVICES"), self.get("CUDA_VISIBLE_DEVICES"));
    }
}

trait Refs {
    fn map_refs(&self) -> Vec<(&str, &str)>;
}

impl Refs for Vec<(&'static str, String)> {
    fn map_refs(&self) -> Vec<(&str, &str)> {
        self.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

fn srun(step: u32, tasks: u32, local: u32) -> Vec<(&'static str, String)> {
    let gtids: Vec<String> = (0..tasks).map(|task| task.to_string()).collect();
    vec![
        ("CUDA_VISIBLE_DEVICES", LEAVES.to_owned()),
        ("FLEXMIG_LEAF", String::new()),
        ("FLEXMIG_LOCAL_RANK", String::new()),
        ("SLURM_STEP_ID", step.to_string()),
        ("SLURM_PROCID", local.to_string()),
        ("SLURM_LOCALID", local.to_string()),
        ("SLURM_GTIDS", gtids.join(",")),
    ]
}

fn torchrun(run: &str, size: u32, local: u32, before: u32) -> Vec<(&'static str, String)> {
    vec![
        ("LOCAL_RANK", local.to_string()),
        ("LOCAL_WORLD_SIZE", size.to_string()),
        ("RANK", (before + local).to_string()),
        ("TORCHELASTIC_RUN_ID", run.to_owned()),
    ]
}

#[test]
fn srun_gives_each_task_a_leaf() {
    for local in 0..4 {
        let (task, outcome) = Process::batch().srun(0, 4, local);
        assert_eq!(outcome, Outcome::Bound);
        task.has(local as usize);
        assert_eq!(task.get("FLEXMIG_LOCAL_RANK"), local.to_string());
        assert_eq!(task.get("LOCAL_RANK"), "", "no launcher set it, so we do not");
        assert_eq!(task.get("SLURM_LOCALID"), local.to_string());
    }
}

#[test]
fn what_slurm_bound_stays() {
    let mut variables = srun(0, 4, 1);
    // Slurm may count the other way round; the leaf is the one it gave.
    variables.push(("FLEXMIG_LEAF", "2".to_owned()));
    variables.push(("CUDA_VISIBLE_DEVICES", "MIG-c".to_owned()));
    let task = Process::batch().bind(&variables.map_refs());
    task.has(2);
    let script = task.bind(&[("LOCAL_RANK", "1"), ("RANK", "1"), ("LOCAL_WORLD_SIZE", "4")]);
    script.has(2);
    assert_eq!((script.get("LOCAL_RANK"), script.get("FLEXMIG_LOCAL_RANK")), ("0", "1"));
    let (alone, outcome) = task.torchrun("x", 1, 0, 1);
    assert_eq!(outcome, Outcome::Bound);
    alone.has(2);
    let (_, outcome) = task.torchrun("x", 2, 1, 2);
    let Outcome::Refused(line) = outcome else { panic!("{outcome:?}") };
    assert!(
        line.contains("LOCAL_RANK makes this rank 1 of a task that was given one leaf: "),
        "{line}"
    );
}

#[test]
fn torchrun_in_a_batch_script() {
    for local in 0..4 {
        let (rank, outcome) = Process::batch().torchrun("none", 4, local, 0);
        assert_eq!(outcome, Outcome::Bound);
        rank.has(local as usize);
        assert_eq!(rank.get("LOCAL_RANK"), "0");
        assert_eq!(rank.get("FLEXMIG_LOCAL_RANK"), local.to_string());
        assert_eq!(rank.get("RANK"), local.to_string());
    }
}

#[test]
fn one_torchrun_per_node_under_srun() {
    let (agent, outcome) = Process::batch().srun(0, 1, 0);
    assert_eq!(outcome, Outcome::Left(Reason::NoRank), "the agent sees all leaves");
    assert_eq!(agent.get("CUDA_VISIBLE_DEVICES"), LEAVES);
    for local in 0..4 {
        agent.torchrun("7f3c", 4, local, 4).0.has(local as usize);
    }
}

#[test]
fn two_launchers_on_one_node() {
    for (task, local) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let leaf = (task * 2 + local) as usize;
        let (agent, _) = Process::batch().srun(0, 2, task);
        agent.torchrun("7f3c", 2, local, 2 * task).0.has(leaf);
        agent.torchrun("none", 2, local, 0).0.has(leaf);
        // Agents that were started without the preload library.
        let mut bare = srun(0, 2, task);
        bare.extend(torchrun("none", 2, local, 0));
        Process::batch().bind(&bare.map_refs()).has(leaf);
        let (wrapper, _) = Process::batch().mpirun(2, task);
        wrapper.torchrun("x", 2, local, 2 * task).0.has(leaf);
    }
}

#[test]
fn mpirun_and_hydra() {
    for local in 0..4 {
        Process::batch().mpirun(4, local).0.has(local as usize);
        let text = local.to_string();
        let hydra = [("MPI_LOCALRANKID", &*text), ("MPI_LOCALNRANKS", "4"), ("PMI_RANK", &text)];
        Process::batch().bind(&hydra).has(local as usize);
        Process::batch().bind(&[("PMI_LOCAL_RANK", &*text)]).has(local as usize);
    }
    let (daemon, outcome) = Process::batch().srun(0, 1, 0);
    assert_eq!(outcome, Outcome::Left(Reason::NoRank), "mpirun's daemon on another node");
    daemon.mpirun(4, 3).0.has(3);
}

#[test]
fn srun_inside_srun_and_inside_a_rank() {
    let (outer, _) = Process::batch().srun(0, 4, 3);
    for local in 0..4 {
        outer.srun(1, 4, local).0.has(local as usize);
        let (rank, _) = Process::batch().torchrun("x", 4, 2, 0);
        let (inner, _) = rank.srun(1, 4, local);
        inner.has(local as usize);
        assert_eq!(inner.get("LOCAL_RANK"), "0", "the outer rank's own");
    }
    let (alone, outcome) = outer.srun(2, 1, 0);
    assert_eq!(outcome, Outcome::Left(Reason::NoRank));
    assert_eq!(alone.get("CUDA_VISIBLE_DEVICES"), LEAVES, "a step of one task has all leaves");
    alone.torchrun("x", 2, 1, 0).0.has(1);
    // A job that was submitted from inside a rank.
    let (job, outcome) = Process::batch().torchrun("x", 4, 2, 0).0.start(&[
        ("SLURM_JOB_ID", "18"),
        ("FLEXMIG_LEAF", ""),
        ("CUDA_VISIBLE_DEVICES", LEAVES),
    ]);
    assert_eq!(outcome, Outcome::Left(Reason::NoRank));
    assert_eq!(job.get("CUDA_VISIBLE_DEVICES"), LEAVES);
}

#[test]
fn scripts_that_hand_a_rank_on() {
    let (task, _) = Process::batch().srun(0, 4, 3);
    for more in [&[][..], &[("LOCAL_WORLD_SIZE", "4")], &[("LOCAL_WORLD_SIZE", "8"), ("RANK", "3")]]
    {
        let variables = [&[("LOCAL_RANK", "3")], more].concat();
        let python = task.bind(&variables);
        python.has(3);
        assert_eq!((python.get("LOCAL_RANK"), python.get("FLEXMIG_LOCAL_RANK")), ("0", "3"));
    }
    let (rank, _) = Process::batch().mpirun(4, 2);
    rank.bind(&[("LOCAL_RANK", "2"), ("RANK", "2"), ("LOCAL_WORLD_SIZE", "4")]).has(2);
    // Open MPI's variables appear in the children of a rank that srun started.
    let (child, _) = task.mpirun(4, 3);
    child.has(3);
}

#[test]
fn a_rank_may_set_ranks_for_its_children() {
    let (rank, _) = Process::batch().torchrun("x", 4, 2, 0);
    let alone = [("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")];
    let (child, outcome) = rank.start(&alone);
    assert_eq!(outcome, Outcome::Left(Reason::NoRank));
    assert_eq!(child.get("CUDA_VISIBLE_DEVICES"), "MIG-c");
    rank.bind(&[("LOCAL_WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0")]).has(2);
    rank.torchrun("y", 1, 0, 0).0.has(2);
}

#[test]
fn more_ranks_than_leaves_end() {
    let lines = [
        Process::batch().torchrun("x", 5, 4, 0).1,
        Process::batch().srun(0, 5, 4).1,
        Process::batch().mpirun(5, 4).1,
        Process::batch().srun(0, 2, 1).0.torchrun("x", 3, 1, 0).1,
    ];
    for outcome in lines {
        let Outcome::Refused(line) = outcome else { panic!("{outcome:?}") };
        assert!(line.contains("makes this rank 4, and there are 4 leaves: start one"), "{line}");
    }
}

#[test]
fn devices_of_the_users_own_choice_stay() {
    for users in ["MIG-b", "MIG-a,MIG-b", "GPU-0", "", "0,MIG-a", "-1"] {
        let mut view = View::new();
        let visible = format!("CUDA_VISIBLE_DEVICES={users}");
        for entry in ["FLEXMIG_UUIDS=MIG-a,MIG-b,MIG-c", "LOCAL_RANK=2", &visible] {
            view.take(entry.as_bytes());
        }
        assert!(matches!(decide(&view, None), Decision::Leave(Reason::Users)), "{users}");
    }
    // Not set, or integers as DeepSpeed writes them, or what we set for an outer rank.
    let (rank, _) = Process::batch().torchrun("x", 4, 2, 0);
    for visible in ["", "0,1,2,3", "2", "MIG-c"] {
        rank.bind(&[("LOCAL_RANK", "1"), ("CUDA_VISIBLE_DEVICES", visible)]).has(1);
    }
}

#[test]
fn what_becomes_zero_is_the_users_choice() {
    let torch = |more: &[(&str, &str)]| {
        let variables = torchrun("x", 4, 2, 0);
        let rank = Process::batch().bind(&[&variables.map_refs(), more].concat());
        rank.has(2);
        (rank.get("LOCAL_RANK").to_owned(), rank.get("SLURM_LOCALID").to_owned())
    };
    assert_eq!(torch(&[("FLEXMIG_KEEP_LOCAL_RANK", "1")]).0, "2");
    assert_eq!(torch(&[("FLEXMIG_KEEP_LOCAL_RANK", "yes")]).0, "0");
    let both = [("SLURM_LOCALID", "2"), ("FLEXMIG_REWRITE", "local,slurm")];
    assert_eq!(torch(&both), ("0".to_owned(), "0".to_owned()));
    let (task, _) = Process::batch()
        .start(&[&srun(0, 4, 3).map_refs()[..], &[("FLEXMIG_REWRITE", "local,slurm")]].concat());
    assert_eq!(task.get("SLURM_LOCALID"), "0");
    task.has(3);
    task.bind(&[("LOCAL_RANK", task.get("SLURM_LOCALID"))]).has(3);
}

#[test]
fn off_and_no_leaves_leave_everything() {
    let (rank, outcome) = Process::batch().start(&[("FLEXMIG_MODE", "off"), ("LOCAL_RANK", "9")]);
    assert_eq!(outcome, Outcome::Left(Reason::Off));
    assert_eq!(rank.get("CUDA_VISIBLE_DEVICES"), LEAVES);
    let (_, outcome) = Process::default().start(&[("LOCAL_RANK", "9"), ("FLEXMIG_LEAF", "x")]);
    assert_eq!(outcome, Outcome::Left(Reason::NoLeaves));
}

#[test]
fn complaints_are_made_once_and_bind_nothing() {
    for (name, value, words) in [
        ("FLEXMIG_MODE", "relabel", "`relabel` is not a mode"),
        ("FLEXMIG_UUIDS", "MIG-a,,MIG-b", "entry 1, ``, is not a UUID"),
        ("FLEXMIG_UUIDS", "MIG-a,MIG b", "entry 1, `MIG b`, is not a UUID"),
        ("FLEXMIG_LEAF", "4", "`4` is not one of the leaves here, 0 to 3"),
        ("FLEXMIG_LEAF", "one", "`one` is not one of"),
        ("FLEXMIG_BOUND", "me\n", "`me?` is not a binding"),
    ] {
        let (process, outcome) = Process::batch().start(&[(name, value)]);
        assert_eq!(outcome, Outcome::Complained, "{name}={value}");
        let text = format!("{name}={value}");
        let mut view = View::new();
        view.take(text.as_bytes());
        view.take(b"FLEXMIG_UUIDS=MIG-a,MIG-b,MIG-c,MIG-d");
        let Decision::Complain(problem) = decide(&view, None) else { panic!("{text}") };
        let line = problem.to_string();
        assert!(line.starts_with(name) && line.contains(words), "{line}");
        let (_, outcome) = process.start(&[]);
        assert!(matches!(outcome, Outcome::Left(Reason::Said | Reason::NoRank)), "{outcome:?}");
        let (_, outcome) = process.start(&[("FLEXMIG_MODE", "other")]);
        assert_eq!(outcome, Outcome::Complained, "another complaint is made");
    }
}

#[test]
fn a_rank_named_by_the_caller_counts_alone() {
    let mut view = View::new();
    for entry in ["FLEXMIG_UUIDS=MIG-a,MIG-b", "LOCAL_RANK=0", "CUDA_VISIBLE_DEVICES=MIG-a,MIG-b"] {
        view.take(entry.as_bytes());
    }
    let Decision::Bind(binding) = decide(&view, Some(1)) else { panic!() };
    assert_eq!((binding.leaf, binding.uuid), (1, &b"MIG-b"[..]));
    let Decision::Refuse(problem) = decide(&view, Some(2)) else { panic!() };
    assert!(problem.to_string().starts_with("more ranks than leaves: this is rank 2"));
}

#[test]
fn a_list_may_hold_one_device_twice() {
    let mut view = View::new();
    for entry in ["FLEXMIG_UUIDS=GPU-x,GPU-x", "FLEXMIG_LEAF=1", "CUDA_VISIBLE_DEVICES=0"] {
        view.take(entry.as_bytes());
    }
    let Decision::Bind(binding) = decide(&view, None) else { panic!() };
    assert_eq!((binding.leaf, binding.uuid), (1, &b"GPU-x"[..]));
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..6u32).prop_map(|number| number.to_string()),
        Just(LEAVES.to_owned()),
        Just("999999999".to_owned()),
        Just("3!:0,4,2,x,,,,,,,17,0,0,0".to_owned()),
        "[ -~]{0,40}",
        "\\PC{0,300}",
    ]
}

#[test]
fn in_mode_net_each_rank_is_a_host_of_its_own() {
    let host = |variables: &[(&str, &str)]| {
        let (process, outcome) = Process::batch().start(variables);
        assert_eq!(outcome, Outcome::Bound);
        process.0.get("NCCL_HOSTID").cloned().unwrap_or_default()
    };
    let ours = ("FLEXMIG_NCCL_SET", "NCCL_NET=FlexMIG,NCCL_HOSTID=n1,LD_PRELOAD=/l/x.so");
    let net = [("FLEXMIG_MODE", "net"), ("NCCL_HOSTID", "n1"), ("LOCAL_RANK", "2"), ours];
    assert_eq!(host(&net), "n1-2");
    let mut users = net;
    users[1].1 = "mine";
    assert_eq!(host(&users), "mine");
    let mut relabelled = net;
    relabelled[0].1 = "relabel-shm";
    assert_eq!(host(&relabelled), "n1");
    assert_eq!(host(&net[..3]), "n1", "nothing is recorded");
}

proptest! {
    #[test]
    fn any_environment_is_decided_and_a_binding_is_final(
        values in proptest::collection::vec(proptest::option::of(value()), view::NAMES.len()),
        rank in proptest::option::weighted(0.1, 0..6u32),
    ) {
        let entries: Vec<String> = view::NAMES.iter().zip(&values)
            .filter_map(|((name, _), value)| Some(format!("{}={}", name.to_str().unwrap(), value.as_ref()?)))
            .collect();
        let mut view = View::new();
        entries.iter().for_each(|entry| view.take(entry.as_bytes()));
        match decide(&view, rank) {
            Decision::Bind(binding) => {
                prop_assert!(binding.uuid.len() <= MAX_UUID);
                let mut after: Vec<String> = Vec::new();
                binding.edits(|var, value| {
                    after.push(format!("{}={}", var.name().to_str().unwrap(), str::from_utf8(value).unwrap()));
                });
                let mut view = View::new();
                after.iter().chain(&entries).for_each(|entry| view.take(entry.as_bytes()));
                prop_assert!(Record::parse(view.get(Var::Bound).unwrap()).is_some());
                prop_assert!(matches!(decide(&view, None), Decision::Leave(Reason::Inherited)));
            }
            Decision::Complain(problem) | Decision::Refuse(problem) => {
                let line = problem.line();
                prop_assert!(line.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)));
                prop_assert!(line.as_bytes().len() < 400);
            }
            Decision::Leave(_) => (),
        }
    }

    #[test]
    fn any_bytes_are_taken(entries in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let mut view = View::new();
        entries.iter().for_each(|entry| view.take(entry));
        let _ = decide(&view, None);
    }
}
