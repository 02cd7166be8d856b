//! `flexmig status`: which leaves there are, who holds them, and which are free.
//!
//! | module | part |
//! |---|---|
//! | [`report`] | what is shown: plain data, also as JSON |
//! | `build` | from the controller's view to the report |
//! | `parents` | which GPU an index belongs to, where layout files tell |
//! | `draw` | the picture |
//! | `fold` | how much of many nodes is shown |

mod build;
mod draw;
mod fold;
mod parents;
pub mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use flexmig_core::hostlist;
use flexmig_core::view::ClusterView;

use crate::canvas::Style;
use crate::{Failure, cluster, json, print};
use build::Choice;
pub(crate) use draw::duration;

const HELP: &str = "\
One bar per GPU and one cell per leaf, as wide as the leaf has compute slices. A letter is the job of the list below, a dot is free, a \
cross cannot be used. Which GPU a leaf is cut from is known where a layout file covers the node (`flexmig config --layout`), else there \
is a bar per type. When there are many nodes, those that look the same share a line, and beyond a screen there is a line per kind of \
node; nodes that you name get their picture in any case. Characters beyond ASCII need a UTF-8 locale; NO_COLOR turns colours off.

Fragmentation: of the free compute slices, the share that the largest request of equal leaves cannot take on its node.

Fields of --json (fields are added, never renamed; null where unknown):
  version            1
  taken              when the controller was asked, seconds since 1970
  slurm              its version
  totals             nodes, leaves, used, free, unusable, fragmentation_percent
  nodes[]            name, state, usable, cpus, cpus_free, memory_mib, memory_free_mib, partitions[], fragmentation_percent,
                     types[] {type, configured, used, free}, gpus[] {minor, model, numa, leaves[] (indices)},
                     leaves[] {index, type, profile, slices, gpu (minor), state (free, used or unusable), job}
  jobs[]             id, user, partition, request, leaves[] {node, indices[], what}, ends
  pending[]          id, user, partition, request, composition, reason, start
  notes[]            text

Examples:
  flexmig status
  flexmig status gpu[01-04]
  flexmig status --json | jq '.totals.free'
  flexmig status --save now.json && flexmig explain --view now.json --gres=flexmig:3g:1";

/// `flexmig status`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Status {
    /// Only these nodes, as host lists
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Only nodes of this partition, and jobs that may run in it
    #[arg(short, long, value_name = "NAME")]
    pub partition: Option<String>,
    /// Show a view that --save wrote instead of asking the controller
    #[arg(long, value_name = "FILE")]
    pub view: Option<PathBuf>,
    /// Write the controller's view to FILE, for --view of status and explain, and print nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["view", "json", "nodes", "partition"])]
    pub save: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Shows or saves.
pub fn run(args: &Status) -> Result<(), Failure> {
    let (view, policy) = cluster::view_and_policy(args.view.as_deref())?;
    if let Some(path) = &args.save {
        return cluster::save(path, &view);
    }
    let nodes = named(&args.nodes, &view)?;
    if let Some(partition) = &args.partition {
        cluster::check_partition(&view, partition)?;
    }
    let names = cluster::user_names(view.jobs.iter().flatten().map(|job| job.user_id));
    let report = build::report(
        &view,
        &Choice {
            partition: args.partition.as_deref(),
            nodes: &nodes,
            order: policy.node.order,
            user: &|id| names.get(&id).cloned().unwrap_or_else(|| id.to_string()),
        },
    );
    if report.nodes.is_empty() {
        return Err(no_leaves(args.partition.as_deref()));
    }
    if args.json {
        return print(&json(&report)?);
    }
    print(&draw::text(&report, !nodes.is_empty(), &Style::of_stdout()))
}

/// The nodes on the command line; each must be one with leaves.
fn named(lists: &[String], view: &ClusterView) -> Result<BTreeSet<String>, Failure> {
    let mut names = BTreeSet::new();
    for list in lists {
        let expanded = hostlist::expand(list).map_err(|error| {
            Failure::new(format!("node {list}"), error, "name nodes as n1 or n[1-4]")
        })?;
        names.extend(expanded);
    }
    let with_leaves: BTreeSet<&str> = view
        .nodes
        .iter()
        .filter(|node| !node.leaves.is_empty())
        .map(|node| node.name.as_str())
        .collect();
    match names.iter().find(|name| !with_leaves.contains(name.as_str())) {
        Some(name) => {
            let why = if view.node(name).is_some() {
                "it has no leaves"
            } else {
                "there is no such node"
            };
            let mend = match with_leaves.is_empty() {
                true => "no node has leaves".to_owned(),
                false => format!("nodes with leaves are {}", hostlist::compact(&with_leaves)),
            };
            Err(Failure::new(format!("node {name}"), why, mend))
        }
        None => Ok(names),
    }
}

fn no_leaves(partition: Option<&str>) -> Failure {
    let place =
        partition.map_or_else(|| "this cluster".to_owned(), |name| format!("partition {name}"));
    Failure::new(
        place,
        "no node has leaves",
        "`flexmig config` on a node with GPUs prints what slurm.conf needs",
    )
}
