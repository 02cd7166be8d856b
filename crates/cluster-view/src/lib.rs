//! The live cluster as a [`ClusterView`]: what slurmctld answers, with what the layout files add.
//!
//! slurmctld's plugin and the `flexmig` command get their views here, so that they see the same. In
//! slurmctld the requests run as SlurmUser; in the command as the user who called it, who with
//! `PrivateData=jobs` sees only jobs of his own.
//!
//! | module | part |
//! |---|---|
//! | this one | [`take`]: one snapshot |
//! | [`layouts`] | which layout files can be believed |
//! | `node`, `job` | from Slurm's fields to the view's |
#![forbid(unsafe_code)]

mod job;
pub mod layouts;
mod node;

use std::time::{SystemTime, UNIX_EPOCH};

use flexmig_core::layout::Layout;
use flexmig_core::slurm_conf::SlurmConf;
use flexmig_core::view::{ClusterView, FORMAT, PartitionView};
use slurm_sys::cluster::{Cluster, ClusterError, INFINITE, Partition};

/// What the controller does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// slurm.conf: the cluster's name, and whether nodes may join that it does not list.
    pub conf: Option<&'a SlurmConf>,
    /// Layout files; [`layouts::believed`] has sorted out the wrong ones.
    pub layouts: &'a [Layout],
}

/// Takes a snapshot: two requests to the controller, three with jobs. They are not one atomic
/// picture; a job that starts in between is seen in one part of it only.
pub fn take(
    cluster: Cluster,
    files: Files<'_>,
    with_jobs: bool,
) -> Result<ClusterView, ClusterError> {
    let taken_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    // Jobs first: one that starts meanwhile then holds its leaves twice, waiting and in use, which
    // only costs a start now. The other way round it would hold none.
    let jobs = if with_jobs { Some(cluster.jobs()?) } else { None };
    let nodes = cluster.nodes()?;
    let partitions = cluster.partitions()?;

    let mut findings = Vec::new();
    Ok(ClusterView {
        format: FORMAT,
        taken_at,
        release: cluster.version().to_string(),
        cluster: files.conf.and_then(|conf| conf.get("ClusterName")).unwrap_or_default().to_owned(),
        open: files.conf.is_some_and(SlurmConf::has_dynamic_nodes),
        nodes: nodes.iter().filter_map(|node| node::view(&node, &mut findings)).collect(),
        partitions: partitions.iter().filter_map(|part| partition(&part)).collect(),
        jobs: jobs.map(|jobs| jobs.iter().map(|job| job::view(&job)).collect()),
        layouts: files.layouts.to_vec(),
        findings,
    })
}

fn partition(partition: &Partition<'_>) -> Option<PartitionView> {
    let minutes =
        |minutes: Option<u32>| minutes.filter(|&minutes| minutes != INFINITE).map(u64::from);
    Some(PartitionView {
        name: partition.name()?.into_owned(),
        nodes: partition.nodes().unwrap_or_default().into_owned(),
        default: partition.is_default(),
        up: partition.starts_jobs(),
        default_minutes: minutes(partition.default_time()),
        max_minutes: minutes(partition.max_time()),
    })
}
