//! What `flexmig explain` knows: plain data, the same for the text and for `--json`.
//!
//! The field names below are those of `--json`, which scripts rely on: add, never rename.

use flexmig_core::select::Unit;
use flexmig_core::submit::{Considered, Explanation};
use serde::Serialize;

use crate::Failure;

/// The answer to one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Format of the JSON; 1.
    pub version: u32,
    /// The request as it was understood.
    pub request: String,
    /// Where: `partition gpu`.
    pub place: String,
    /// When the view was taken, in seconds since 1970.
    pub taken: u64,
    /// Slurm's version.
    pub slurm: String,
    /// Whether the job would be accepted.
    pub accepted: bool,
    /// What the user is told.
    pub line: String,
    /// The sets of leaves that serve the request, best first.
    pub candidates: Vec<Candidate>,
    /// The request that Slurm gets, per node.
    pub tres_per_node: Option<String>,
    /// The request that Slurm gets, per task.
    pub tres_per_task: Option<String>,
    /// Nodes at least.
    pub min_nodes: Option<u32>,
    /// Nodes at most.
    pub max_nodes: Option<u32>,
    /// Tasks.
    pub num_tasks: Option<u32>,
    /// Tasks per node.
    pub ntasks_per_node: Option<u16>,
    /// CPUs per task.
    pub cpus_per_task: Option<u16>,
    /// Memory per node in MiB.
    pub memory_mib: Option<u64>,
    /// Constraint.
    pub features: Option<String>,
    /// Preferred feature.
    pub prefer: Option<String>,
    /// For FLEXMIG_REQUEST.
    pub promise: Option<String>,
    /// For AdminComment.
    pub note: Option<String>,
}

/// One set of leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// In words: `3 x 1g.10gb`.
    pub composition: String,
    /// Types and counts, per node or per task.
    pub parts: Vec<Part>,
    /// The choice.
    pub chosen: bool,
    /// What policy or the nodes forbid about it.
    pub forbidden: Option<String>,
    /// What sets it behind the choice.
    pub behind: Option<String>,
    /// Enough nodes hold it, whatever runs there.
    pub fits: bool,
    /// Can start now; null where free leaves are not known.
    pub starts_now: Option<bool>,
    /// Composed in place of the type that was named.
    pub substitute: bool,
    /// Leaves that waiting jobs ask for, per thousand that there are.
    pub queue_per_1000: u64,
    /// Leaves of one profile.
    pub equal: bool,
    /// What it takes above what was asked.
    pub waste: Waste,
    /// The same in words.
    #[serde(skip)]
    pub above: String,
    /// Leaves.
    pub leaves: u64,
    /// Harm to larger requests.
    pub harm: u64,
    /// Whether one socket can hold it; null where no layout file tells.
    pub one_socket: Option<bool>,
}

/// Leaves of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Type in slurm.conf; null for any.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// How many.
    pub count: u64,
}

/// What is taken above what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waste {
    /// Compute.
    pub compute: u64,
    /// In SMs, or in slices where the GPU model is not known; null where types tell neither.
    pub unit: Option<&'static str>,
    /// Gigabytes.
    pub memory_gb: u64,
    /// Compute slices.
    pub slices: u64,
}

impl Report {
    /// From core's answer. `None` in it means that the request names no leaves.
    pub fn new(explanation: Explanation) -> Result<Report, Failure> {
        let mut report = Report {
            version: 1,
            request: explanation.request,
            place: explanation.place,
            candidates: explanation.considered.into_iter().map(Candidate::from).collect(),
            ..Report::default()
        };
        match explanation.answer {
            Ok(None) => {
                return Err(Failure::new(
                    "--gres",
                    "it asks for no leaves",
                    "type --gres=flexmig:N, flexmig:PROFILE:N, flexmig:20gb:N or flexmig:3g:N",
                ));
            }
            Ok(Some(decision)) => {
                report.accepted = true;
                report.line = match &decision.message {
                    Some(message) => format!("flexmig: {message}"),
                    None => {
                        "accepted; policy has no line for the user (explain = false)".to_owned()
                    }
                };
                report.tres_per_node = decision.tres_per_node;
                report.tres_per_task = decision.tres_per_task;
                report.min_nodes = decision.min_nodes;
                report.max_nodes = decision.max_nodes;
                report.num_tasks = decision.num_tasks;
                report.ntasks_per_node = decision.ntasks_per_node;
                report.cpus_per_task = decision.cpus_per_task;
                report.memory_mib = decision.memory;
                report.features = decision.features;
                report.prefer = decision.prefer;
                report.promise = Some(decision.promise);
                report.note = Some(decision.note);
            }
            Err(rejection) => report.line = format!("flexmig: {rejection}"),
        }
        Ok(report)
    }
}

impl From<Considered> for Candidate {
    fn from(considered: Considered) -> Candidate {
        let parts = considered.parts.into_iter().map(|(kind, count)| Part { kind, count });
        Candidate {
            composition: considered.composition,
            parts: parts.collect(),
            chosen: considered.chosen,
            forbidden: considered.forbidden,
            behind: considered.behind.map(str::to_owned),
            fits: considered.fits,
            starts_now: considered.starts_now,
            substitute: considered.substitute,
            queue_per_1000: considered.queue,
            equal: considered.equal,
            waste: Waste {
                compute: considered.waste.compute,
                unit: match considered.waste.unit {
                    Unit::Sms => Some("SMs"),
                    Unit::Slices => Some("slices"),
                    Unit::Unknown => None,
                },
                memory_gb: considered.waste.memory_gb,
                slices: considered.waste.slices,
            },
            above: considered.above,
            leaves: considered.leaves,
            harm: considered.harm,
            one_socket: considered.one_socket,
        }
    }
}
