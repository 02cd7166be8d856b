//! What a batch job must not inherit from the job that it was submitted in: sbatch sends the whole
//! environment along, and a trace of the outer job's leaves would look like the user's own choice.

use std::collections::HashSet;

use flexmig_core::nccl::settings;
use slurm_sys::JobDesc;

/// What the GRES plugin and we set for a job, and nobody else.
const OURS: [&str; 9] = [
    flexmig_core::promise::VARIABLE,
    "FLEXMIG_UUIDS",
    "FLEXMIG_BUS_IDS",
    "FLEXMIG_PROFILES",
    "FLEXMIG_BOUND",
    "FLEXMIG_LOCAL_RANK",
    "FLEXMIG_LEAF",
    "SLURM_JOB_FLEXMIGS",
    "SLURM_STEP_FLEXMIGS",
];

/// Removes all of it. Variables that users set (`FLEXMIG_LOG` and the like) stay.
pub fn clean(job: &mut JobDesc<'_>) {
    // One look at the environment is all that a job of the outside costs.
    if !job.env_has_prefix(c"FLEXMIG_") {
        return;
    }
    if let Some(uuids) = job.env("FLEXMIG_UUIDS") {
        // A set, as slurmctld waits and a user can write lists of any length.
        let ours: HashSet<String> = entries(&uuids).map(str::to_owned).collect();
        for name in ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"] {
            let Some(value) = job.env(name) else { continue };
            if !entries(&value).any(|entry| ours.contains(entry)) {
                continue;
            }
            let rest: Vec<&str> = entries(&value).filter(|entry| !ours.contains(*entry)).collect();
            let rest = rest.join(",");
            if rest.is_empty() {
                job.remove_env(name);
            } else {
                job.set_env(name, &rest);
            }
        }
    }
    // Mode, NCCL_ and LD_PRELOAD: the GRES plugin recorded what of them is its own.
    for (name, value) in settings::withdraw(&|name| job.env(name).map(|value| value.into_owned())) {
        match value {
            Some(value) => _ = job.set_env(name, &value),
            None => _ = job.remove_env(name),
        }
    }
    if job.env("SLURM_TRES_BIND").as_deref() == Some("gres/flexmig:per_task:1") {
        job.remove_env("SLURM_TRES_BIND");
    }
    for name in OURS {
        job.remove_env(name);
    }
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use slurm_sys::testing::{self, TestJob};

    /// The environment of a batch job that brings this one along.
    fn cleaned(environment: &[&str]) -> Option<Vec<(String, String)>> {
        let slurm = testing::slurm()?;
        let test = TestJob::new(slurm).batch(environment);
        // SAFETY: a description of ours, which lives as long as the view.
        let mut job = unsafe { JobDesc::from_raw(slurm, test.as_ptr()) }?;
        clean(&mut job);
        let value = |name: &String| job.env(name).unwrap_or_default().into_owned();
        Some(job.env_names().into_iter().map(|name| (name.clone(), value(&name))).collect())
    }

    #[test]
    fn leaves_of_the_outer_job_go_and_the_users_own_stay() {
        let outer = ["A=1", "FLEXMIG_UUIDS=x,y", "CUDA_VISIBLE_DEVICES=x,own,y"];
        let Some(left) = cleaned(&outer) else { return };
        assert_eq!(left, [("A".into(), "1".into()), ("CUDA_VISIBLE_DEVICES".into(), "own".into())]);
    }

    #[test]
    fn lists_of_any_length_take_no_time() {
        let ours = format!("FLEXMIG_UUIDS={}", "ab,".repeat(40_000));
        let others: String = (0..20_000).map(|n| format!("{n},")).collect();
        let others = format!("CUDA_VISIBLE_DEVICES={others}");
        let start = std::time::Instant::now();
        let Some(left) = cleaned(&[&ours, &others]) else { return };
        assert_eq!(left.len(), 1, "the list is the user's");
        // Each with each would be 800 million looks.
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }
}
