//! Where the two libraries of a job are looked for: by gres/flexmig, and by `flexmig check`.

use std::path::{Path, PathBuf};

use super::Choice;
use crate::policy::{Nccl, can_be_listed};

/// Loaded into every process of a job.
pub const PRELOAD: &str = "libflexmig_preload.so";
/// Loaded by NCCL.
pub const PLUGIN: &str = "libnccl-net-flexmig.so";

/// Directories, best first: policy's, else those round the one of gres_flexmig.so, else ours. The
/// first that has one of the libraries is used.
pub fn dirs(policy: &Nccl, plugin_dir: Option<&Path>) -> Vec<PathBuf> {
    if let Some(dir) = &policy.library_dir {
        return vec![dir.clone()];
    }
    let beside = plugin_dir.and_then(Path::parent);
    let mut dirs: Vec<PathBuf> =
        beside.map(|parent| vec![parent.join("flexmig"), parent.to_owned()]).unwrap_or_default();
    dirs.extend(["/usr/local/lib/flexmig".into(), "/usr/lib/flexmig".into()]);
    // Such a path cannot stand in LD_PRELOAD.
    dirs.retain(|dir| can_be_listed(dir));
    dirs
}

/// Whether jobs want this library at all.
pub fn is_wanted(policy: &Nccl, file: &str) -> bool {
    policy.mode != Choice::Off && (file != PRELOAD || policy.ld_preload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_the_plugin_comes_first() {
        let plugin_dir = Some(Path::new("/usr/lib/x86_64-linux-gnu/slurm-wlm"));
        let expected = [
            "/usr/lib/x86_64-linux-gnu/flexmig",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/local/lib/flexmig",
            "/usr/lib/flexmig",
        ];
        assert_eq!(dirs(&Nccl::default(), plugin_dir), expected.map(PathBuf::from));
        let policy = Nccl { library_dir: Some("/opt/f".into()), ..Nccl::default() };
        assert_eq!(dirs(&policy, plugin_dir), [PathBuf::from("/opt/f")]);
        assert_eq!(dirs(&Nccl::default(), None).len(), 2);
        assert_eq!(dirs(&Nccl::default(), Some(Path::new("/a b/slurm"))).len(), 2, "a space");
    }

    #[test]
    fn policy_may_want_neither_or_one() {
        let policy = Nccl { ld_preload: false, ..Nccl::default() };
        assert!(!is_wanted(&policy, PRELOAD) && is_wanted(&policy, PLUGIN));
        let policy = Nccl { mode: Choice::Off, ..Nccl::default() };
        assert!(!is_wanted(&policy, PRELOAD) && !is_wanted(&policy, PLUGIN));
    }
}
