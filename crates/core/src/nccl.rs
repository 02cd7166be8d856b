//! NCCL on leaves: which runtime mode a job has on a node, and what is set for it.
//!
//! NCCL before 2.31 refuses two ranks on one GPU, and leaves of one GPU are that to it. The modes are
//! ways around it; all ranks of a job must agree on one. So no rank decides: slurmstepd resolves the
//! mode ([`resolve`]), the same for every job and step on a node, and sets the variables for it
//! ([`settings`]) before anything of the job runs.
//!
//! | module | question it answers |
//! |---|---|
//! | [`variables`] | what does NCCL have to be told in each mode? |
//! | [`settings`] | what is set in this environment, and what is the user's own? |
//! | [`libraries`] | where are the two libraries of a job? |
//! | [`conf_file`] | which variables does an nccl.conf name? |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::leaf::Leaf;
use crate::probe::{Import, ProbeResults};
use crate::profile::Profile;
pub use crate::rank::Mode;

pub mod conf_file;
pub mod libraries;
pub mod settings;
pub mod variables;

/// `mode` of table `[nccl]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// `relabel-p2p` where the probe has shown that it works, else `relabel-shm`.
    #[default]
    Auto,
    /// See [`Mode::Native`].
    Native,
    /// See [`Mode::RelabelP2p`].
    RelabelP2p,
    /// See [`Mode::RelabelShm`].
    RelabelShm,
    /// See [`Mode::Net`].
    Net,
    /// See [`Mode::Off`].
    Off,
}

impl Choice {
    /// The mode, unless it is to be found out.
    pub const fn mode(self) -> Option<Mode> {
        Some(match self {
            Choice::Auto => return None,
            Choice::Native => Mode::Native,
            Choice::RelabelP2p => Mode::RelabelP2p,
            Choice::RelabelShm => Mode::RelabelShm,
            Choice::Net => Mode::Net,
            Choice::Off => Mode::Off,
        })
    }

    /// Its name, as in flexmig.toml.
    pub const fn name(self) -> &'static str {
        match self.mode() {
            None => "auto",
            Some(mode) => mode.name(),
        }
    }
}

/// What the mode follows from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What flexmig.toml says.
    pub policy: Choice,
    /// `FLEXMIG_MODE`, if the user set it ([`settings::users_mode`]).
    pub user: Option<&'a str>,
    /// Version of the NVIDIA driver.
    pub driver: &'a str,
    /// What `flexmig probe` found, or why that cannot be read.
    pub probe: Result<&'a ProbeResults, &'a str>,
    /// Every leaf of the node, whoever holds it: steps of a job hold different leaves and yet must
    /// agree.
    pub leaves: &'a [&'a Leaf],
}

/// The mode and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// `None` if the user named a mode that there is not: nothing is set for NCCL, and the preload
    /// library says the line in the job's own output.
    pub mode: Option<Mode>,
    /// One line for `FLEXMIG_MODE_REASON`.
    pub reason: String,
}

/// The mode of a job on a node: the user's, else that of policy, else by the probe's result.
pub fn resolve(situation: &Situation<'_>) -> Resolved {
    let resolved = |mode, reason| Resolved { mode, reason };
    // `auto` is what there is without the variable.
    if let Some(user) = situation.user.filter(|user| !matches!(*user, "" | "auto")) {
        return match Mode::parse(user.as_bytes()) {
            Some(mode) => resolved(Some(mode), "set by the user".to_owned()),
            None => resolved(
                None,
                "FLEXMIG_MODE is none of native, relabel-p2p, relabel-shm, net, off, auto"
                    .to_owned(),
            ),
        };
    }
    if let Some(mode) = situation.policy.mode() {
        return resolved(Some(mode), "set by the site in flexmig.toml".to_owned());
    }
    let (mode, reason) = by_probe(situation);
    resolved(Some(mode), format!("auto: {reason}"))
}

/// A wrong yes makes NCCL fail, a wrong no makes it slower: so yes needs a result for every pair.
fn by_probe(situation: &Situation<'_>) -> (Mode, String) {
    let mut parents: BTreeMap<&str, Vec<&Leaf>> = BTreeMap::new();
    for leaf in situation.leaves {
        parents.entry(&leaf.parent.uuid).or_default().push(leaf);
    }
    parents.retain(|_, leaves| leaves.len() > 1);
    if parents.is_empty() {
        return (Mode::RelabelShm, "no two leaves of this node share a GPU".to_owned());
    }
    let results = match situation.probe {
        Ok(results) => results,
        Err(error) => return (Mode::RelabelShm, error.to_owned()),
    };
    let driver = match situation.driver {
        "" => "an unknown driver".to_owned(),
        driver => format!("driver {driver}"),
    };
    for leaves in parents.values() {
        let profiles: Vec<Profile> = leaves.iter().map(|leaf| leaf.profile).collect();
        let model = &leaves[0].parent.model;
        match results.import(situation.driver, model, &profiles) {
            Import::Works => {}
            Import::Fails([a, b]) => {
                return (
                    Mode::RelabelShm,
                    format!(
                        "flexmig probe: {a} and {b} of one {model} cannot share memory with {driver}"
                    ),
                );
            }
            Import::Unknown([a, b]) => {
                return (
                    Mode::RelabelShm,
                    format!(
                        "{a} and {b} of one {model} with {driver} have not been tried by flexmig probe"
                    ),
                );
            }
        }
    }
    (Mode::RelabelP2p, format!("flexmig probe: leaves of one GPU share memory with {driver}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::{DeviceFiles, Parent};
    use crate::probe::ProbeResult;

    const SMALL: Profile = Profile::new(1, 10);
    const LARGE: Profile = Profile::new(3, 40);
    const DRIVER: &str = "580.65.06";
    const MODEL: &str = "NVIDIA H100 80GB HBM3";

    fn leaf(minor: u32, gi: u32, profile: Profile) -> Leaf {
        Leaf {
            uuid: format!("MIG-{minor}-{gi}"),
            profile,
            memory_mib: 9856,
            sm_count: 16,
            gi,
            ci: 0,
            placement: None,
            devices: DeviceFiles {
                parent: String::new(),
                gpu_instance: String::new(),
                compute_instance: String::new(),
            },
            parent: Parent {
                uuid: format!("GPU-{minor}"),
                model: MODEL.into(),
                index: minor,
                minor,
                bus_id: "0000:10:00.0".parse().unwrap(),
                numa: None,
                cpus: String::new(),
            },
        }
    }

    fn results(all: &[([Profile; 2], bool)]) -> ProbeResults {
        let mut results = ProbeResults::default();
        for (profiles, works) in all {
            let outcome = if *works { Ok(()) } else { Err("801".to_owned()) };
            results.record(ProbeResult::new(DRIVER, MODEL, *profiles, outcome));
        }
        results
    }

    fn auto(probe: Result<&ProbeResults, &str>, leaves: &[Leaf]) -> (Option<Mode>, String) {
        let leaves: Vec<&Leaf> = leaves.iter().collect();
        let situation =
            Situation { policy: Choice::Auto, user: None, driver: DRIVER, probe, leaves: &leaves };
        let Resolved { mode, reason } = resolve(&situation);
        (mode, reason)
    }

    #[test]
    fn the_user_goes_before_policy_and_policy_before_the_probe() {
        let none = ProbeResults::default();
        let ask = |policy, user| {
            resolve(&Situation { policy, user, driver: DRIVER, probe: Ok(&none), leaves: &[] })
        };
        assert_eq!(ask(Choice::Net, Some("native")).mode, Some(Mode::Native));
        assert_eq!(ask(Choice::Net, Some("native")).reason, "set by the user");
        assert_eq!(ask(Choice::Net, None).mode, Some(Mode::Net));
        assert_eq!(ask(Choice::Net, Some("auto")).mode, Some(Mode::Net));
        assert_eq!(ask(Choice::Off, Some("")).mode, Some(Mode::Off));
        assert_eq!(ask(Choice::Auto, None).mode, Some(Mode::RelabelShm));
    }

    #[test]
    fn a_mode_that_there_is_not_is_left_to_be_told_in_the_job() {
        let none = ProbeResults::default();
        let user = Some("relable-shm");
        let situation =
            Situation { policy: Choice::Net, user, driver: DRIVER, probe: Ok(&none), leaves: &[] };
        let resolved = resolve(&situation);
        assert_eq!(resolved.mode, None);
        assert!(resolved.reason.starts_with("FLEXMIG_MODE is none of"), "{}", resolved.reason);
    }

    #[test]
    fn memory_is_shared_only_where_every_pair_of_one_gpu_was_probed() {
        let same = [leaf(0, 7, SMALL), leaf(0, 8, SMALL)];
        let works = results(&[([SMALL, SMALL], true)]);
        assert_eq!(
            auto(Ok(&works), &same),
            (
                Some(Mode::RelabelP2p),
                "auto: flexmig probe: leaves of one GPU share memory with driver 580.65.06".into()
            )
        );
        let mixed = [leaf(0, 7, SMALL), leaf(0, 8, SMALL), leaf(1, 7, SMALL), leaf(1, 1, LARGE)];
        let (mode, reason) = auto(Ok(&works), &mixed);
        assert_eq!(mode, Some(Mode::RelabelShm));
        assert_eq!(
            reason,
            "auto: 1g.10gb and 3g.40gb of one NVIDIA H100 80GB HBM3 with driver 580.65.06 have not \
             been tried by flexmig probe"
        );
        let fails = results(&[([SMALL, SMALL], true), ([SMALL, LARGE], false)]);
        let (mode, reason) = auto(Ok(&fails), &mixed);
        assert_eq!(mode, Some(Mode::RelabelShm));
        assert!(reason.contains("1g.10gb and 3g.40gb of one NVIDIA H100"), "{reason}");
        assert!(reason.contains("cannot share memory"), "{reason}");
    }

    #[test]
    fn leaves_of_different_gpus_have_nothing_to_share() {
        let works = results(&[([SMALL, SMALL], true)]);
        let apart = [leaf(0, 7, SMALL), leaf(1, 7, SMALL)];
        assert_eq!(
            auto(Ok(&works), &apart),
            (Some(Mode::RelabelShm), "auto: no two leaves of this node share a GPU".into())
        );
    }

    #[test]
    fn a_probe_file_that_cannot_be_read_is_the_reason() {
        let same = [leaf(0, 7, SMALL), leaf(0, 8, SMALL)];
        let (mode, reason) = auto(Err("/etc/slurm/flexmig-probe.toml:3: oh"), &same);
        assert_eq!(mode, Some(Mode::RelabelShm));
        assert_eq!(reason, "auto: /etc/slurm/flexmig-probe.toml:3: oh");
    }
}
