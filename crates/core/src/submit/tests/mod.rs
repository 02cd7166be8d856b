//! The decision, case by case.

mod accepted;
mod changed;
mod free;
mod rejected;

use super::*;
use crate::policy::Policy;
use crate::promise::Promise;
use crate::slurm_conf::SlurmConf;
use proptest::prelude::*;

/// Three kinds of nodes, partitions over them, and one without leaves.
const CLUSTER: &str = "
NodeName=n[1-4] CPUs=16 Gres=gpu:1,flexmig:1g.10gb:14
NodeName=m[1-2] CPUs=16 Gres=flexmig:1g.10gb:4,flexmig:2g.20gb:4,flexmig:3g.40gb:2
NodeName=c1 CPUs=64
PartitionName=small Nodes=n[1-4] Default=YES
PartitionName=mixed Nodes=m[1-2]
PartitionName=both Nodes=n[1-4],m[1-2]
PartitionName=cpu Nodes=c1
";

/// When tests happen.
const NOW: u64 = 1_000_000;

const OLD: Dialect = Dialect {
    notation: Notation::Colon,
    per_task: false,
    update_replaces: false,
    version: &"22.05.8",
    now: NOW,
};

const NEW: Dialect = Dialect {
    notation: Notation::Slash,
    per_task: true,
    update_replaces: true,
    version: &"24.11.5",
    now: NOW,
};

#[test]
fn releases_differ() {
    let of = |release| {
        let dialect = Dialect::of(release, &"", 0);
        (dialect.notation, dialect.per_task, dialect.update_replaces)
    };
    assert_eq!(of((22, 5, 8)), (Notation::Colon, false, false));
    assert_eq!(of((23, 2, 5)), (Notation::Colon, true, false));
    assert_eq!(of((23, 2, 6)), (Notation::Colon, true, true));
    assert_eq!(of((23, 11, 0)), (Notation::Slash, true, true));
    assert_eq!(of((26, 5, 5)), (Notation::Slash, true, true));
}

fn site(conf: &str, policy: &str) -> Site {
    let conf = SlurmConf::parse("slurm.conf", conf.as_bytes(), &mut |_| Err("none".into()));
    assert_eq!(conf.problems(), []);
    Site::new(&Policy::from_toml("flexmig.toml", policy).unwrap(), Some(&conf))
}

fn gres(request: &str) -> Job<'_> {
    Job { tres_per_node: Some(request), ..Job::default() }
}

/// As sbatch sends it: one CPU per task, and at least one.
fn batch(request: &str) -> Job<'_> {
    Job { batch: true, min_cpus: Some(1), ..gres(request) }
}

fn in_partition<'a>(partition: &'a str, request: &'a str) -> Job<'a> {
    Job { partition: Some(partition), ..gres(request) }
}

fn accepted(site: &Site, job: &Job) -> Decision {
    decide(site, &NEW, job).unwrap().unwrap()
}

fn told(site: &Site, job: &Job) -> String {
    decide(site, &NEW, job).unwrap_err().to_string()
}

fn denied(site: &Site, job: &Job) -> String {
    let rejection = decide(site, &NEW, job).unwrap_err();
    assert_eq!(rejection.reason, Reason::Denied);
    rejection.to_string()
}

proptest! {
    #[test]
    fn any_job_is_decided(
        request in "((gres[:/])?flexmig(:([1-7]g\\.[1-4]0gb|[0-9]{1,2}gb|[1-4]g|mixed|x))?([:=][0-9]{1,20})?|,|gpu:1){0,4}",
        per_task in any::<bool>(),
        old in any::<bool>(),
        batch in any::<bool>(),
        partition in proptest::option::of("(small|mixed|both|cpu|new|,){1,3}"),
        num_tasks in proptest::option::of(prop_oneof![0..20u32, any::<u32>()]),
        ntasks_per_node in proptest::option::of(prop_oneof![0..20u16, any::<u16>()]),
        cpus_per_task in proptest::option::of(prop_oneof![0..20u16, any::<u16>()]),
        min_cpus in proptest::option::of(prop_oneof![0..20u32, any::<u32>()]),
        nodes in (proptest::option::of(0..8u32), proptest::option::of(any::<u32>())),
        policy in prop_oneof![
            Just(""),
            Just("[submit]\nmax_leaves_per_node = 3\nmax_leaves_per_job = 5\ncpus_per_leaf = 3\nmemory_per_leaf = 7"),
            Just("[submit]\nprofiles = [\"2g.20gb\"]\n[span]\npartitions = [\"mixed\"]\naccounts = []"),
        ],
    ) {
        let site = site(CLUSTER, policy);
        let (node, task) = if per_task { (None, Some(&*request)) } else { (Some(&*request), None) };
        let job = Job {
            tres_per_node: node,
            tres_per_task: task,
            num_tasks,
            ntasks_per_node,
            cpus_per_task,
            min_cpus,
            min_nodes: nodes.0,
            max_nodes: nodes.1,
            partition: partition.as_deref(),
            batch,
            ..Job::default()
        };
        let slurm = if old { OLD } else { NEW };
        for answer in [decide(&site, &slurm, &job), decide_change(&site, &slurm, &job)] {
            match answer {
                Ok(None) => {}
                Ok(Some(decision)) => {
                    prop_assert!(decision.note.len() <= note::MAX);
                    let promise: Promise = decision.promise.parse().unwrap();
                    prop_assert_eq!(promise.to_string(), decision.promise);
                }
                Err(rejection) => {
                    let line = rejection.to_string();
                    prop_assert!(!line.contains('\n') && line.matches(": ").count() >= 2, "{}", line);
                }
            }
        }
    }
}
