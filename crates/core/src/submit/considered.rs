//! What a request was weighed among, as data of its own: for `flexmig explain`.

use super::choose::Case;
use super::limits::{Problem, Who};
use crate::select::{Selection, Waste};

/// One set of leaves that serves a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Types and counts, per node or per task.
    pub parts: Vec<(Option<String>, u64)>,
    /// The same in words: `3 x 1g.10gb`.
    pub composition: String,
    /// What it takes above what was asked, in words.
    pub above: String,
    /// What policy or the nodes forbid about it.
    pub forbidden: Option<String>,
    /// The choice.
    pub chosen: bool,
    /// What sets it behind the choice.
    pub behind: Option<&'static str>,
    /// Enough nodes hold it, whatever runs on them.
    pub fits: bool,
    /// Can start now; `None` where free leaves are not known.
    pub starts_now: Option<bool>,
    /// Composed in place of the type that was named.
    pub substitute: bool,
    /// Leaves that waiting jobs ask for, per thousand that there are.
    pub queue: u64,
    /// One profile.
    pub equal: bool,
    /// What it takes above what was asked.
    pub waste: Waste,
    /// Leaves.
    pub leaves: u64,
    /// Harm to larger requests.
    pub harm: u64,
    /// Whether one socket can hold it; `None` where no layout file tells.
    pub one_socket: Option<bool>,
}

/// All candidates, best first; `chosen` is the place of the choice, if there is one.
pub(super) fn considered<'a>(
    case: &Case<'a>,
    selection: &Selection<'a>,
    chosen: Option<usize>,
) -> Vec<Considered> {
    let best = chosen.and_then(|place| selection.candidates.get(place));
    let candidates = selection.candidates.iter().enumerate().map(|(place, candidate)| {
        let part = |part: &crate::select::Part| (part.kind.map(str::to_owned), part.count);
        let problem = case.problem(candidate);
        Considered {
            parts: candidate.parts.iter().map(part).collect(),
            composition: candidate.composition(),
            above: candidate.waste_in_words(),
            forbidden: problem.as_ref().map(words),
            chosen: Some(place) == chosen,
            behind: best.filter(|_| Some(place) != chosen).map(|best| candidate.behind(best)),
            fits: candidate.fits,
            starts_now: candidate.starts_now,
            substitute: candidate.substitute,
            queue: candidate.queue,
            equal: candidate.equal,
            waste: candidate.waste,
            leaves: candidate.leaves,
            harm: candidate.harm,
            one_socket: candidate.one_socket,
        }
    });
    candidates.collect()
}

/// A problem in a few words.
fn words(problem: &Problem) -> String {
    match problem {
        Problem::Span(Who::Partitions) => "policy: one leaf only in this partition".to_owned(),
        Problem::Span(Who::Accounts) => "policy: one leaf only for this account".to_owned(),
        Problem::Span(Who::Qos) => "policy: one leaf only for this QOS".to_owned(),
        Problem::PerNode(limit) => format!("policy: at most {limit} leaves per node"),
        Problem::PerJob(limit) => format!("policy: at most {limit} leaves per job"),
        Problem::Leaves => "too few nodes have these leaves".to_owned(),
        Problem::Cpus(cpus) => format!("too few nodes have these leaves and {cpus} CPUs"),
        Problem::Tasks => "too few nodes hold all tasks".to_owned(),
        Problem::Named => "a node that is named has not got them".to_owned(),
        Problem::Constraint => "no node with the feature has them".to_owned(),
        Problem::Srun => "srun of this release cannot use them".to_owned(),
    }
}
