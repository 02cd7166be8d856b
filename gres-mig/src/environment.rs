//! What a job, a step or a task finds in its environment. Pure: from the leaves and the environment
//! there is to a list of edits.
//!
//! | variable | job | step | bound task | no leaves |
//! |---|---|---|---|---|
//! | `SLURM_JOB_FLEXMIGS` | indices | kept | kept | removed |
//! | `SLURM_STEP_FLEXMIGS` | removed | indices | kept | removed |
//! | `CUDA_VISIBLE_DEVICES`, `NVIDIA_VISIBLE_DEVICES` | UUIDs | UUIDs | its UUID | our UUIDs removed |
//! | `FLEXMIG_UUIDS`, `_BUS_IDS`, `_PROFILES` | set | set | kept | removed |
//! | `FLEXMIG_LEAF` | removed | removed | its place in `FLEXMIG_UUIDS` | removed |
//! | `FLEXMIG_LOCAL_RANK` | removed | removed | kept | removed |
//! | `FLEXMIG_BOUND` | kept | kept | kept | removed |
//! | `FLEXMIG_REQUEST` | kept | kept | kept | removed |
//! | `FLEXMIG_MODE`, `NCCL_`, `LD_PRELOAD` | see [`flexmig_core::nccl::settings`] | as job | `NCCL_HOSTID` | removed if ours |
//! | `SLURM_TRES_BIND` | ours, see [`grant`] | kept | kept | removed if ours (also `SLURMD_`) |
//!
//! A leaf's place in every list is its rank: ascending index. The two `_VISIBLE_DEVICES` always
//! follow the leaves, also when the user had exported them at submission: an old value would hide
//! the leaves. What gres/gpu granted in the same call stays in front.

use flexmig_core::leaf::Leaf;
use flexmig_core::nccl::settings;

/// Slurm binds each task of a step to one leaf when srun finds this value.
pub const TRES_BIND: &str = "gres/flexmig:per_task:1";

const CUDA: &str = "CUDA_VISIBLE_DEVICES";
const NVIDIA: &str = "NVIDIA_VISIBLE_DEVICES";
const UUIDS: &str = "FLEXMIG_UUIDS";
const BUS_IDS: &str = "FLEXMIG_BUS_IDS";
const PROFILES: &str = "FLEXMIG_PROFILES";
const LEAF: &str = "FLEXMIG_LEAF";
const BOUND: &str = "FLEXMIG_BOUND";
const LOCAL_RANK: &str = "FLEXMIG_LOCAL_RANK";
const JOB_INDICES: &str = "SLURM_JOB_FLEXMIGS";
const STEP_INDICES: &str = "SLURM_STEP_FLEXMIGS";
const BIND: &str = "SLURM_TRES_BIND";
const TOLD_BIND: &str = "SLURMD_TRES_BIND";

/// One change of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Sets a variable, whether it is there or not.
    Set(&'static str, String),
    /// Removes a variable that is there.
    Unset(&'static str),
}

impl From<settings::Edit> for Edit {
    fn from((name, value): settings::Edit) -> Edit {
        match value {
            Some(value) => Edit::Set(name, value),
            None => Edit::Unset(name),
        }
    }
}

/// Whose environment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A batch script or an interactive step: all leaves of the job on this node.
    Job,
    /// A step of srun: the leaves of the step on this node.
    Step,
}

impl Scope {
    /// The variable with the indices, and the one that gres/gpu sets when it grants GPUs here.
    fn variables(self) -> (&'static str, &'static str) {
        match self {
            Scope::Job => (JOB_INDICES, "SLURM_JOB_GPUS"),
            Scope::Step => (STEP_INDICES, "SLURM_STEP_GPUS"),
        }
    }
}

/// A leaf that was granted, under its node-global index.
#[derive(Clone, Copy, Debug)]
pub struct Granted<'a> {
    /// Index in Slurm's bitmap.
    pub index: usize,
    /// The leaf.
    pub leaf: &'a Leaf,
}

/// The environment as it is: a variable's value.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Edits for a job or step that holds `leaves` (ascending index, at least one).
///
/// `bind` allows [`TRES_BIND`], which goes into jobs only, so that a plain srun in them gets it. It
/// is left out where it would do harm:
/// - the user set `SLURM_TRES_BIND`, or asked for leaves per task (then Slurm binds by itself);
/// - the job holds GPUs too (the value would replace srun's own binding of GPUs);
/// - the job's tasks are not as many as its leaves: fewer tasks are launchers, which start one rank
///   per leaf themselves, and more tasks share leaves.
pub fn grant(scope: Scope, leaves: &[Granted<'_>], bind: bool, env: Lookup<'_>) -> Vec<Edit> {
    let (indices, gpu_indices) = scope.variables();
    let list = |text: &dyn Fn(&Granted<'_>) -> String| {
        leaves.iter().map(text).collect::<Vec<_>>().join(",")
    };
    let uuids = list(&|granted| granted.leaf.uuid.clone());
    let with_gpus = env(gpu_indices).is_some();
    let visible = match env(CUDA).filter(|_| with_gpus) {
        Some(gpus) => {
            let ours: Vec<String> =
                entries(&env(UUIDS)).chain(entries(&Some(uuids.clone()))).collect();
            join(entries(&Some(gpus)).filter(|entry| !ours.contains(entry)).chain([uuids.clone()]))
        }
        None => uuids.clone(),
    };
    let mut edits = vec![
        Edit::Set(indices, list(&|granted| granted.index.to_string())),
        Edit::Set(CUDA, visible.clone()),
        Edit::Set(NVIDIA, visible),
        Edit::Set(UUIDS, uuids),
        Edit::Set(BUS_IDS, list(&|granted| bus_id(granted.leaf))),
        Edit::Set(PROFILES, list(&|granted| granted.leaf.profile.to_string())),
    ];
    // FLEXMIG_BOUND stays: it tells which of the launchers' variables are an outer rank's.
    edits.extend(unset_present(&[LEAF, LOCAL_RANK], env));
    if scope == Scope::Job {
        edits.extend(unset_present(&[STEP_INDICES], env));
        let set = env(BIND);
        let wanted = bind
            && !with_gpus
            && !env("SLURM_TRES_PER_TASK").is_some_and(|tres| tres.contains("flexmig"))
            && tasks_per_node(env).is_none_or(|tasks| tasks == leaves.len() as u64);
        match (wanted, set.as_deref()) {
            (true, None) => edits.push(Edit::Set(BIND, TRES_BIND.to_owned())),
            (false, Some(TRES_BIND)) => edits.push(Edit::Unset(BIND)),
            _ => (),
        }
    }
    edits
}

/// Edits for a job or step without leaves: removes what we once set for an outer job, and nothing
/// of anybody else's. No edits where there is no trace of us.
pub fn withdraw(env: Lookup<'_>) -> Vec<Edit> {
    let ours: Vec<String> = entries(&env(UUIDS)).collect();
    let mut edits = Vec::new();
    for name in [CUDA, NVIDIA] {
        let value = env(name);
        if entries(&value).any(|entry| ours.contains(&entry)) {
            let rest = join(entries(&value).filter(|entry| !ours.contains(entry)));
            // gres/gpu sets only the first: in the second its GPUs are our copy.
            let keep = name == CUDA && !rest.is_empty();
            edits.push(if keep { Edit::Set(name, rest) } else { Edit::Unset(name) });
        }
    }
    let names = [
        UUIDS,
        BUS_IDS,
        PROFILES,
        LEAF,
        BOUND,
        LOCAL_RANK,
        JOB_INDICES,
        STEP_INDICES,
        flexmig_core::promise::VARIABLE,
    ];
    edits.extend(unset_present(&names, env));
    if env(BIND).as_deref() == Some(TRES_BIND) {
        edits.push(Edit::Unset(BIND));
    }
    edits.extend(settings::withdraw(env).into_iter().map(Edit::from));
    edits
}

/// Edits for a task of a step without leaves that srun wanted to bind all the same, as the outer
/// job's environment asked it to: slurmstepd tells the task (26.05).
pub fn withdraw_from_task(env: Lookup<'_>) -> Vec<Edit> {
    let ours = env(TOLD_BIND).as_deref() == Some(TRES_BIND);
    if ours { vec![Edit::Unset(TOLD_BIND)] } else { Vec::new() }
}

/// Edits for a task that Slurm bound to `usable`, some of the `step`'s leaves. What gres/gpu put
/// into the lists stays.
pub fn bind(step: &[Granted<'_>], usable: &[Granted<'_>], env: Lookup<'_>) -> Vec<Edit> {
    let mut edits = Vec::new();
    for name in [CUDA, NVIDIA] {
        let others = entries(&env(name))
            .filter(|entry| !step.iter().any(|granted| granted.leaf.uuid == *entry));
        let mine = usable.iter().map(|granted| granted.leaf.uuid.clone());
        edits.push(Edit::Set(name, join(others.chain(mine))));
    }
    if let [only] = usable {
        let place = step.iter().position(|granted| granted.index == only.index);
        edits.extend(place.map(|place| Edit::Set(LEAF, place.to_string())));
    }
    edits
}

/// The synthetic bus id; inventory leaves out leaves that cannot have one.
fn bus_id(leaf: &Leaf) -> String {
    leaf.bus_id().unwrap_or(leaf.parent.bus_id).to_string()
}

/// Tasks per node that the user asked for (or job_submit filled in), if anybody did.
fn tasks_per_node(env: Lookup<'_>) -> Option<u64> {
    let number = |name: &str| env(name)?.parse::<u64>().ok();
    number("SLURM_NTASKS_PER_NODE").or_else(|| {
        let nodes = number("SLURM_JOB_NUM_NODES").unwrap_or(1).max(1);
        Some(number("SLURM_NTASKS")?.div_ceil(nodes))
    })
}

fn unset_present(names: &[&'static str], env: Lookup<'_>) -> Vec<Edit> {
    names.iter().filter(|name| env(name).is_some()).map(|name| Edit::Unset(name)).collect()
}

/// The entries of a comma list; none if it is not set.
fn entries(list: &Option<String>) -> impl Iterator<Item = String> + use<> {
    let list: Vec<String> = list
        .iter()
        .flat_map(|list| list.split(','))
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect();
    list.into_iter()
}

fn join(entries: impl Iterator<Item = String>) -> String {
    entries.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::leaf;

    type Env = BTreeMap<String, String>;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// The environment after the edits that `make` derives from it.
    fn after(mut env: Env, make: impl Fn(Lookup<'_>) -> Vec<Edit>) -> Env {
        for edit in make(&|name| env.get(name).cloned()) {
            match edit {
                Edit::Set(name, value) => _ = env.insert(name.to_owned(), value),
                Edit::Unset(name) => {
                    assert!(env.remove(name).is_some(), "{name} is not there to be removed");
                }
            }
        }
        env
    }

    fn granted(leaves: &[Leaf]) -> Vec<Granted<'_>> {
        leaves.iter().enumerate().map(|(place, leaf)| Granted { index: place * 2, leaf }).collect()
    }

    #[test]
    fn a_job_sees_its_leaves_in_rank_order() {
        let leaves = [leaf(0, 7), leaf(1, 9)];
        let after = after(env(&[("HOME", "/root")]), |env| {
            grant(Scope::Job, &granted(&leaves), false, env)
        });
        let expected = env(&[
            ("HOME", "/root"),
            ("SLURM_JOB_FLEXMIGS", "0,2"),
            ("CUDA_VISIBLE_DEVICES", "MIG-0-7,MIG-1-9"),
            ("NVIDIA_VISIBLE_DEVICES", "MIG-0-7,MIG-1-9"),
            ("FLEXMIG_UUIDS", "MIG-0-7,MIG-1-9"),
            ("FLEXMIG_BUS_IDS", "0000b800:10:00.0,0000c800:11:00.0"),
            ("FLEXMIG_PROFILES", "1g.10gb,1g.10gb"),
        ]);
        assert_eq!(after, expected);
    }

    #[test]
    fn step_values_replace_those_of_the_job() {
        let leaves = [leaf(0, 7), leaf(1, 9)];
        let job = after(Env::new(), |env| grant(Scope::Job, &granted(&leaves), true, env));
        let step = after(job.clone(), |env| grant(Scope::Step, &granted(&leaves[..1]), true, env));
        assert_eq!(step["CUDA_VISIBLE_DEVICES"], "MIG-0-7");
        assert_eq!(step["FLEXMIG_UUIDS"], "MIG-0-7");
        assert_eq!(step["SLURM_STEP_FLEXMIGS"], "0");
        assert_eq!(step["SLURM_JOB_FLEXMIGS"], "0,2");
        assert_eq!(step["SLURM_TRES_BIND"], TRES_BIND);
    }

    #[test]
    fn without_leaves_no_trace_of_the_outer_job_is_left() {
        let mine = env(&[("HOME", "/root"), ("FLEXMIG_MODE", "off"), ("FLEXMIG_LOG", "debug")]);
        let leaves = [leaf(0, 7), leaf(1, 9)];
        let mut outer = after(mine.clone(), |env| grant(Scope::Job, &granted(&leaves), true, env));
        outer.insert("FLEXMIG_REQUEST".into(), "1g.10gb:2".into());
        let step = after(outer, |env| grant(Scope::Step, &granted(&leaves), true, env));
        let task = after(step, |env| bind(&granted(&leaves), &granted(&leaves)[1..], env));
        assert_eq!(after(task, withdraw), mine);
    }

    #[test]
    fn a_job_that_never_knew_us_is_untouched() {
        let pairs = [("CUDA_VISIBLE_DEVICES", "0,1"), ("SLURM_TRES_BIND", "gres/gpu:single:1")];
        let other = env(&pairs);
        assert_eq!(withdraw(&|name| other.get(name).cloned()), []);
    }

    #[test]
    fn gpus_granted_in_the_same_call_stay_in_front() {
        let leaves = [leaf(0, 7)];
        let pairs = [("CUDA_VISIBLE_DEVICES", "0,1"), ("SLURM_JOB_GPUS", "2,3")];
        let job = after(env(&pairs), |env| grant(Scope::Job, &granted(&leaves), true, env));
        assert_eq!(job["CUDA_VISIBLE_DEVICES"], "0,1,MIG-0-7");
        assert!(!job.contains_key("SLURM_TRES_BIND"));
        // The same again, as when the plugin is asked twice.
        let twice = after(job.clone(), |env| grant(Scope::Job, &granted(&leaves), true, env));
        assert_eq!(twice, job);
        let task = after(job.clone(), |env| bind(&granted(&leaves), &granted(&leaves), env));
        assert_eq!(task["CUDA_VISIBLE_DEVICES"], "0,1,MIG-0-7");
        let gone = after(job, withdraw);
        assert_eq!(gone["CUDA_VISIBLE_DEVICES"], "0,1");
        assert!(!gone.contains_key("NVIDIA_VISIBLE_DEVICES"));
    }

    #[test]
    fn a_task_without_leaves_is_not_told_of_a_binding() {
        let task = after(env(&[("SLURMD_TRES_BIND", TRES_BIND)]), withdraw_from_task);
        assert_eq!(task, Env::new());
        let users = env(&[("SLURMD_TRES_BIND", "gres/gpu:per_task:1")]);
        assert_eq!(after(users.clone(), withdraw_from_task), users);
    }

    #[test]
    fn a_value_from_the_login_shell_does_not_hide_the_leaves() {
        let leaves = [leaf(0, 7)];
        let pairs = [("CUDA_VISIBLE_DEVICES", "3")];
        let job = after(env(&pairs), |env| grant(Scope::Job, &granted(&leaves), true, env));
        assert_eq!(job["CUDA_VISIBLE_DEVICES"], "MIG-0-7");
    }

    #[test]
    fn a_bound_task_has_one_leaf_and_its_place() {
        let leaves = [leaf(0, 7), leaf(1, 9)];
        let all = granted(&leaves);
        let step = after(Env::new(), |env| grant(Scope::Step, &all, true, env));
        let task = after(step, |env| bind(&all, &all[1..], env));
        assert_eq!(task["CUDA_VISIBLE_DEVICES"], "MIG-1-9");
        assert_eq!(task["NVIDIA_VISIBLE_DEVICES"], "MIG-1-9");
        assert_eq!(task["FLEXMIG_LEAF"], "1");
        assert_eq!(task["FLEXMIG_UUIDS"], "MIG-0-7,MIG-1-9");
    }

    #[test]
    fn tasks_are_bound_only_where_each_can_have_one_leaf() {
        let leaves = [leaf(0, 7), leaf(1, 9)];
        let bound = |pairs: &[(&str, &str)]| {
            let job = after(env(pairs), |env| grant(Scope::Job, &granted(&leaves), true, env));
            job.get("SLURM_TRES_BIND").map(String::to_owned)
        };
        let ours = Some(TRES_BIND.to_owned());
        assert_eq!(bound(&[]), ours);
        assert_eq!(bound(&[("SLURM_NTASKS", "2")]), ours);
        assert_eq!(bound(&[("SLURM_NTASKS", "4"), ("SLURM_JOB_NUM_NODES", "2")]), ours);
        assert_eq!(bound(&[("SLURM_NTASKS", "4"), ("SLURM_NTASKS_PER_NODE", "2")]), ours);
        assert_eq!(bound(&[("SLURM_TRES_BIND", TRES_BIND)]), ours);
        assert_eq!(bound(&[("SLURM_NTASKS", "1")]), None);
        assert_eq!(bound(&[("SLURM_NTASKS", "1"), ("SLURM_TRES_BIND", TRES_BIND)]), None);
        assert_eq!(bound(&[("SLURM_NTASKS", "16")]), None);
        assert_eq!(bound(&[("SLURM_TRES_PER_TASK", "gres/flexmig:2")]), None);
        let users = bound(&[("SLURM_TRES_BIND", "gres/flexmig:map:1,0")]);
        assert_eq!(users.as_deref(), Some("gres/flexmig:map:1,0"));
    }

    #[test]
    fn what_does_not_bind_does_not_set_it() {
        let leaves = [leaf(0, 7)];
        let job = after(Env::new(), |env| grant(Scope::Job, &granted(&leaves), false, env));
        assert!(!job.contains_key("SLURM_TRES_BIND"));
        let step = after(Env::new(), |env| grant(Scope::Step, &granted(&leaves), true, env));
        assert!(!step.contains_key("SLURM_TRES_BIND"));
    }
}
