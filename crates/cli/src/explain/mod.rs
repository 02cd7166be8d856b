//! `flexmig explain`: what a request would get, what else could serve it, and why this one.
//!
//! The answer is core's, the same call that slurmctld's plugin makes, on a view that was taken now or
//! saved before.

mod draw;
mod job;
mod report;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use flexmig_core::policy::Policy;
use flexmig_core::submit::{self, Dialect, Site};
use flexmig_core::view::ClusterView;

use crate::args::EXIT_ERROR;
use crate::canvas::Style;
use crate::{Failure, cluster, json, print};
use job::Described;
pub use report::{Candidate, Report};

const HELP: &str = "\
The options are those of sbatch and mean the same; what is not named here does not change the choice. Candidates are listed best first; \
docs/selection.md has the order. The last lines are what the user would be told and what Slurm would be asked for.

With --view the answer is that of the moment at which the view was saved. The policy is that of this machine's flexmig.toml.

Fields of --json (fields are added, never renamed; null where unknown):
  version            1
  request            as it was understood: --gres=flexmig:3g:1
  taken, slurm       when the view was taken (seconds since 1970), Slurm's version
  accepted           true or false
  line               what the user is told
  candidates[]       composition, parts[] {type, count}, chosen, forbidden, behind, fits, starts_now, substitute, queue_per_1000,
                     equal, waste {compute, unit (SMs or slices), memory_gb, slices}, leaves, harm, one_socket
  tres_per_node, tres_per_task, min_nodes, max_nodes, num_tasks, ntasks_per_node, cpus_per_task, memory_mib, features, prefer
                     what the job would be given (null: left as it is)
  promise, note      for FLEXMIG_REQUEST and AdminComment

Exit status: 0 if the request would be accepted, 1 if it would be rejected.

Examples:
  flexmig explain --gres=flexmig:3g:1
  flexmig explain --gres=flexmig:20gb:2 -p train -t 4:00:00 -c 8
  flexmig explain --view now.json --gres=flexmig:4 --json | jq '.candidates[0]'";

/// `flexmig explain`.
#[derive(Debug, Default, Args)]
#[command(after_help = HELP)]
pub struct Explain {
    /// The request, as for sbatch
    #[arg(long, value_name = "LIST", required_unless_present = "tres_per_task")]
    pub gres: Option<String>,
    /// The request per task, as for sbatch
    #[arg(long, value_name = "LIST")]
    pub tres_per_task: Option<String>,
    /// Partition, or a comma list [default: the cluster's default partition]
    #[arg(short, long, value_name = "NAME")]
    pub partition: Option<String>,
    /// Nodes: N or MIN-MAX
    #[arg(short = 'N', long, value_name = "N")]
    pub nodes: Option<String>,
    /// Tasks
    #[arg(short = 'n', long, value_name = "N")]
    pub ntasks: Option<u32>,
    /// Tasks per node
    #[arg(long, value_name = "N")]
    pub ntasks_per_node: Option<u16>,
    /// CPUs per task
    #[arg(short, long, value_name = "N")]
    pub cpus_per_task: Option<u16>,
    /// Memory per node, as 16G; MiB without a unit
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<String>,
    /// Time limit, as 30 (minutes), 4:00:00 or 2-0
    #[arg(short, long, value_name = "TIME")]
    pub time: Option<String>,
    /// Nodes by name
    #[arg(short = 'w', long, value_name = "NODES")]
    pub nodelist: Option<String>,
    /// Features
    #[arg(short = 'C', long, value_name = "LIST")]
    pub constraint: Option<String>,
    /// Account, for table span of flexmig.toml
    #[arg(short = 'A', long, value_name = "NAME")]
    pub account: Option<String>,
    /// QOS, for table span of flexmig.toml
    #[arg(short, long, value_name = "NAME")]
    pub qos: Option<String>,
    /// As srun or salloc would ask: nothing is filled in but nodes
    #[arg(long)]
    pub srun: bool,
    /// Look at a view that `flexmig status --save` wrote instead of asking the controller
    #[arg(long, value_name = "FILE")]
    pub view: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Explains; the exit status tells whether the request would be accepted.
pub fn run(args: &Explain) -> Result<u8, Failure> {
    let (view, policy) = cluster::view_and_policy(args.view.as_deref())?;
    for partition in args.partition.iter().flat_map(|list| list.split(',')) {
        cluster::check_partition(&view, partition)?;
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    // What a saved view says holds for its moment.
    let now = if args.view.is_some() { view.taken_at } else { clock };
    let report = report(&view, &policy, args, now)?;
    match args.json {
        true => print(&json(&report)?)?,
        false => print(&draw::text(&report, clock, &Style::of_stdout()))?,
    }
    Ok(if report.accepted { 0 } else { EXIT_ERROR })
}

/// The answer for a view at a moment, in seconds since 1970.
pub fn report(
    view: &ClusterView,
    policy: &Policy,
    args: &Explain,
    now: u64,
) -> Result<Report, Failure> {
    let release = read_release(&view.release).ok_or_else(|| {
        Failure::new(
            format!("Slurm {}", view.release),
            "no version that can be read",
            "save the view again with `flexmig status --save FILE`",
        )
    })?;
    let version = view.release.as_str();
    let slurm = Dialect::of(release, &version, now);
    let described = Described::new(args, slurm.notation)?;
    let site = Site::of_view(policy, view);
    let explanation = submit::explain(&site, &slurm, &described.job(args));
    let mut report = Report::new(explanation)?;
    (report.taken, report.slurm) = (view.taken_at, view.release.clone());
    Ok(report)
}

/// Major, minor and micro number of `24.11.5` or `24.11.5-1`; without a micro number it is taken for the
/// first.
fn read_release(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split(['.', '-']).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(read_release("22.05.8"), Some((22, 5, 8)));
        assert_eq!(read_release("23.02.6-1"), Some((23, 2, 6)));
        assert_eq!(read_release("23.11"), Some((23, 11, 0)));
        assert_eq!(read_release(""), None);
        assert_eq!(read_release("what"), None);
    }
}
