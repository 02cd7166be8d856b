//! What a batch job must not inherit from the job that it was submitted in: sbatch sends the whole
//! environment along, and a trace of the outer job's leaves would look like the user's own choice.

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
        let ours: Vec<String> = entries(&uuids).map(str::to_owned).collect();
        for name in ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"] {
            let Some(value) = job.env(name) else { continue };
            let is_ours = |entry: &&str| ours.iter().any(|uuid| uuid == entry);
            if !entries(&value).any(|entry| is_ours(&entry)) {
                continue;
            }
            let rest: Vec<&str> = entries(&value).filter(|entry| !is_ours(entry)).collect();
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
