//! Where `status` and `explain` get their view of the cluster: from the controller, or from a file
//! that `flexmig status --save` wrote.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use flexmig_cluster_view::{Files, layouts, take};
use flexmig_core::policy::Policy;
use flexmig_core::view::{ClusterView, FORMAT};
use flexmig_site::{Site, Surroundings};
use slurm_sys::cluster::{Cluster, candidates};

use crate::Failure;

/// The cluster as it is now, or as a file has it; and the policy that slurmctld has here.
pub fn view_and_policy(file: Option<&Path>) -> Result<(ClusterView, Policy), Failure> {
    let site = Site::load(&Surroundings::of_process());
    if let Some(error) = site.policy.error() {
        return Err(Failure::message(format!("{error}: mend it, then try again")));
    }
    let view = match file {
        Some(path) => saved(path)?,
        None => live(&site)?,
    };
    Ok((view, site.policy.policy()))
}

/// Asks the controller.
fn live(site: &Site) -> Result<ClusterView, Failure> {
    let conf = site.slurm_conf.as_ref().map_err(|error| {
        Failure::new(
            format!("{}:{}", error.file, error.line),
            &error.message,
            "set SLURM_CONF to where it is, or name a saved view with --view",
        )
    })?;
    let (layouts, left_out) = layouts::believed(&site.layouts, Some(conf));
    let cluster = Cluster::connect(Some(&site.slurm_conf_path), &candidates(conf.get("PluginDir")))
        .map_err(|error| Failure::message(error.to_string()))?;
    let mut view =
        take(cluster, Files { conf: Some(conf), layouts: &layouts }, true).map_err(|error| {
            Failure::new(
                "slurmctld",
                error,
                "`scontrol ping` shows whether it runs; --view shows a saved view",
            )
        })?;
    view.findings.extend(left_out.iter().map(ToString::to_string));
    Ok(view)
}

/// Whether there is such a partition.
pub fn check_partition(view: &ClusterView, name: &str) -> Result<(), Failure> {
    if view.partitions.iter().any(|partition| partition.name == name) {
        return Ok(());
    }
    let names: Vec<&str> = view.partitions.iter().map(|partition| &*partition.name).collect();
    let mend = match names.is_empty() {
        true => "there are no partitions".to_owned(),
        false => format!("partitions are {}", names.join(", ")),
    };
    Err(Failure::new(format!("partition {name}"), "there is no such partition", mend))
}

/// Reads a saved view.
pub fn saved(path: &Path) -> Result<ClusterView, Failure> {
    let file = path.display();
    let bytes = flexmig_site::read(path).map_err(|error| {
        Failure::new(file, error, "name a file that `flexmig status --save FILE` wrote")
    })?;
    parse(&bytes).map_err(|why| {
        Failure::new(path.display(), why, "save it again with `flexmig status --save FILE`")
    })
}

/// What is wrong with the text of a view, or the view.
fn parse(bytes: &[u8]) -> Result<ClusterView, String> {
    // The version first: another one may have any fields.
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))?;
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    match format {
        None => return Err("no view of a cluster: it has no field \"format\"".to_owned()),
        Some(format) if format != u64::from(FORMAT) => {
            return Err(format!("format {format}, and this flexmig reads format {FORMAT}"));
        }
        Some(_) => {}
    }
    serde_json::from_slice(bytes).map_err(|error| format!("no view of a cluster: {error}"))
}

/// Writes a view for [`saved`].
pub fn save(path: &Path, view: &ClusterView) -> Result<(), Failure> {
    let text = crate::json(view)?;
    // /dev/stdout, a pipe, a link: what is no plain file is written into, never replaced.
    let plain = std::fs::symlink_metadata(path).map_or(true, |found| found.is_file());
    let written = match plain {
        true => flexmig_site::write_atomically(path, text.as_bytes()),
        false => std::fs::write(path, text),
    };
    written.map_err(|error| {
        Failure::new(path.display(), error, "name a file in a directory that can be written")
    })
}

/// Names of users; the number where the system knows none.
pub fn user_names(ids: impl Iterator<Item = u32>) -> BTreeMap<u32, String> {
    let mut names: BTreeMap<u32, String> = ids.map(|id| (id, id.to_string())).collect();
    // Without a name getent lists all users, which a directory may have many of.
    if names.is_empty() {
        return names;
    }
    let mut getent = Command::new("getent");
    getent.arg("passwd").args(names.values()).stdin(Stdio::null()).stderr(Stdio::null());
    let Ok(output) = getent.output() else { return names };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut fields = line.split(':');
        let (name, id) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok()));
        if let (Some(name), Some(known)) = (name, id.and_then(|id: u32| names.get_mut(&id))) {
            name.clone_into(known);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_view_is_told() {
        let told = |text: &str| parse(text.as_bytes()).unwrap_err();
        assert!(told("").starts_with("not JSON: EOF"), "{}", told(""));
        assert!(told("{\"format\": 1").starts_with("not JSON: "));
        assert_eq!(told("[1]"), "no view of a cluster: it has no field \"format\"");
        assert_eq!(
            told("{\"format\": 9, \"new\": 1}"),
            "format 9, and this flexmig reads format 1"
        );
        assert!(told("{\"format\": 1, \"new\": 1}").contains("unknown field `new`"));
        let view = ClusterView { format: FORMAT, ..ClusterView::default() };
        assert_eq!(parse(crate::json(&view).unwrap().as_bytes()), Ok(view));
    }

    #[test]
    fn users_have_names_where_the_system_knows_them() {
        let names = user_names([0, 4_000_000_001].into_iter());
        assert_eq!(names[&0], "root");
        assert_eq!(names[&4_000_000_001], "4000000001");
    }
}
