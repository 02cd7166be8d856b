//! Every line that a rejected user can see: `what: why: what to type instead`.

use std::fmt;

use super::choose::Case;
use super::instead::elsewhere;
use super::{Asked, Field, leaves};
use crate::policy::Compose;
use crate::request::{RequestError, Term, shown};
use crate::select::{NoFit, WhyNot};

/// Whose fault a rejection is, which decides about Slurm's error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request cannot be met or understood.
    Invalid,
    /// Site policy forbids it.
    Denied,
}

/// Why a job is rejected. Displayed as one line, without the prefix `flexmig: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Invalid or denied.
    pub reason: Reason,
    what: String,
    why: String,
    instead: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.what, self.why, self.instead)
    }
}

impl std::error::Error for Rejection {}

fn invalid(
    what: impl fmt::Display,
    why: impl fmt::Display,
    instead: impl fmt::Display,
) -> Rejection {
    let (what, why, instead) = (what.to_string(), why.to_string(), instead.to_string());
    Rejection { reason: Reason::Invalid, what, why, instead }
}

fn denied(
    what: impl fmt::Display,
    why: impl fmt::Display,
    instead: impl fmt::Display,
) -> Rejection {
    Rejection { reason: Reason::Denied, ..invalid(what, why, instead) }
}

/// `flexmig:1g.10gb:4`
pub(super) fn typed(kind: Option<&str>, count: u64) -> String {
    Term { kind, count }.to_string()
}

/// `a`, `a or b`, `a, b or c`; the first eight of more.
pub(super) fn alternatives(names: &[&str]) -> String {
    let shown = &names[..names.len().min(8)];
    match shown {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [before @ .., last] => format!("{} or {last}", before.join(", ")),
    }
}

/// What to type when the type was wrong: the one there is, or one of several.
pub(super) fn type_one_of(asked: &Asked, names: &[&str], count: u64) -> String {
    let option = asked.option();
    match names {
        [] => format!("type {option}flexmig:{count}"),
        [name] => format!("type {option}flexmig:{name}:{count}"),
        _ => format!("type {option}flexmig:TYPE:{count} with TYPE {}", alternatives(names)),
    }
}

// The request itself.
impl Rejection {
    pub(super) fn unreadable(option: &str, error: &RequestError) -> Rejection {
        let (text, why, instead) = match error {
            RequestError::Count(text, count) => (
                text,
                format!("{count:?} is not a count from 1 up"),
                "type flexmig:N with N leaves per node",
            ),
            RequestError::Form(text) => (
                text,
                "cannot be read".to_owned(),
                "type flexmig:N, flexmig:PROFILE:N, flexmig:20gb:N or flexmig:3g:N",
            ),
        };
        invalid(format_args!("{option}{text}"), why, instead)
    }

    pub(super) fn too_many_terms(option: &str, terms: usize, most: usize) -> Rejection {
        let why = format!("{terms} entries for leaves, and {most} are the most");
        invalid(format_args!("{option}..."), why, "type each profile once, as flexmig:PROFILE:N")
    }

    pub(super) fn per_job(asked: &Asked) -> Rejection {
        let unit = if asked.field == Field::Socket { "socket" } else { "job" };
        let terms: Vec<String> =
            asked.request.terms().map(|term| shown(&term.to_string()).into_owned()).collect();
        let why = format!("leaves are counted per node, not per {unit}");
        invalid(asked, why, format!("type --gres={}", terms.join(",")))
    }

    pub(super) fn no_per_task(
        asked: &Asked,
        version: &dyn fmt::Display,
        tasks: Option<u32>,
    ) -> Rejection {
        let terms: Vec<String> = asked
            .request
            .terms()
            .map(|term| match tasks {
                Some(tasks) => typed(term.kind, term.count.saturating_mul(tasks.into())),
                None => typed(term.kind, term.count),
            })
            .map(|text| shown(&text).into_owned())
            .collect();
        let why = format!("Slurm {version} cannot count leaves per task");
        invalid(asked, why, format!("type --gres={} for each node", terms.join(",")))
    }

    pub(super) fn both(node: &Asked, task: &Asked) -> Rejection {
        let what = format!("{node} {task}");
        invalid(what, "leaves are asked for twice", "type one of the two options")
    }

    pub(super) fn no_tasks(asked: &Asked) -> Rejection {
        invalid(asked, "the number of tasks is not known", "add -n N for N tasks")
    }

    pub(super) fn per_gpu(asked: &Asked, option: &str) -> Rejection {
        let why = format!("the site gives leaves for GPUs of a MIG type, and {option} counts GPUs");
        invalid(asked, why, format!("leave {option} out"))
    }

    pub(super) fn srun(case: &Case, leaves: &str, typed: &str) -> Rejection {
        let why = format!(
            "srun of Slurm {} asks for the same when it starts the tasks, and the job would have \
             {leaves}",
            case.slurm.version
        );
        let instead = format!("type {}{typed}, or use sbatch or salloc", case.asked.option());
        invalid(case.asked, why, instead)
    }

    /// One entry of the request is served by no leaves.
    pub(super) fn no_fit(case: &Case, no_fit: NoFit) -> Rejection {
        let (asked, scope) = (case.asked, case.scope);
        let Some(&term) = case.terms.get(no_fit.term) else {
            return Rejection::nothing_offered(asked, &scope.place());
        };
        let (place, offered) = (scope.place(), scope.offered());
        match no_fit.why {
            WhyNot::NoLeaves if case.site.open => Rejection::nothing_known(asked, term),
            WhyNot::NoLeaves => {
                let elsewhere: Vec<&str> = case.site.partitions_with_leaves().collect();
                Rejection::no_leaves(asked, &place, &elsewhere)
            }
            WhyNot::Untyped => Rejection::untyped(asked, term),
            WhyNot::NoType => Rejection::no_type(asked, term, &place, &offered),
            WhyNot::NoProfile => Rejection::no_profile(case, term, &place, &offered),
            WhyNot::NotOffered => Rejection::not_offered(asked, term, &place, &offered),
            WhyNot::NothingOffered => Rejection::nothing_offered(asked, &place),
            WhyNot::Unsized => Rejection::unsized_types(asked, term, &place, &offered),
            WhyNot::NoMemory(most) => {
                let kinds = scope.kinds();
                let sized = kinds.iter().filter(|k| k.offered && k.memory_gb == Some(most));
                let smallest = sized.min_by_key(|kind| kind.size());
                let kind = smallest.and_then(|kind| kind.name.as_deref());
                let instead = typed(kind, term.count);
                Rejection::no_memory(asked, &place, most, &instead, &elsewhere(case))
            }
            WhyNot::MixedOff => Rejection::mixed(asked, term),
        }
    }

    pub(super) fn mixed(asked: &Asked, term: Term) -> Rejection {
        let instead = format!("type {}flexmig:{} for equal leaves", asked.option(), term.count);
        denied(asked, "site policy gives a job leaves of one profile only", instead)
    }
}

// Types.
impl Rejection {
    pub(super) fn no_type(asked: &Asked, term: Term, place: &str, offered: &[&str]) -> Rejection {
        let why = format!("{place} has no leaves of type {}", shown(term.kind.unwrap_or_default()));
        invalid(asked, why, type_one_of(asked, offered, term.count))
    }

    pub(super) fn no_profile(case: &Case, term: Term, place: &str, offered: &[&str]) -> Rejection {
        let kind = shown(term.kind.unwrap_or_default());
        let why = if case.site.select.compose == Compose::Never {
            format!("{place} has no leaves of {kind}, and site policy composes none of others")
        } else {
            format!("{place} has no leaves of {kind}, and its types do not tell their slices")
        };
        invalid(case.asked, why, type_one_of(case.asked, offered, term.count))
    }

    pub(super) fn no_memory(
        asked: &Asked,
        place: &str,
        most: u16,
        instead: &str,
        elsewhere: &str,
    ) -> Rejection {
        let why = format!("the largest leaves of {place} have {most} GB");
        invalid(asked, why, format!("type {}{instead}{elsewhere}", asked.option()))
    }

    pub(super) fn untyped(asked: &Asked, term: Term) -> Rejection {
        let instead = format!("type {}flexmig:{}", asked.option(), term.count);
        invalid(asked, "the leaves of this cluster have no types", instead)
    }

    pub(super) fn unsized_types(
        asked: &Asked,
        term: Term,
        place: &str,
        offered: &[&str],
    ) -> Rejection {
        let why = format!("the types of {place} do not tell their sizes");
        invalid(asked, why, type_one_of(asked, offered, term.count))
    }

    pub(super) fn nothing_known(asked: &Asked, term: Term) -> Rejection {
        let instead = format!("type {}flexmig:TYPE:{}", asked.option(), term.count);
        invalid(asked, "slurm.conf does not tell which leaves there are", instead)
    }

    pub(super) fn no_leaves(asked: &Asked, place: &str, elsewhere: &[&str]) -> Rejection {
        let instead = match elsewhere {
            [] => "leave flexmig out".to_owned(),
            _ => format!("add -p {}", alternatives(elsewhere)),
        };
        invalid(asked, format!("{place} has no leaves"), instead)
    }

    pub(super) fn not_offered(
        asked: &Asked,
        term: Term,
        place: &str,
        offered: &[&str],
    ) -> Rejection {
        if offered.is_empty() {
            return Rejection::nothing_offered(asked, place);
        }
        let why = format!("site policy offers only {} in {place}", alternatives(offered));
        denied(asked, why, type_one_of(asked, offered, term.count))
    }

    pub(super) fn nothing_offered(asked: &Asked, place: &str) -> Rejection {
        let why = format!("site policy offers none of the profiles of {place}");
        denied(asked, why, "ask your administrator which partition to use")
    }
}

// Numbers.
impl Rejection {
    /// `what` has the options beside `--gres` that matter, as `-N 9 `; `things` are what is too
    /// much.
    pub(super) fn too_many(
        what: String,
        place: &str,
        nodes: u64,
        things: String,
        instead: String,
    ) -> Rejection {
        let why = match nodes {
            0 | 1 => format!("no node of {place} has {things}"),
            _ => format!("{place} has fewer than {nodes} nodes with {things} each"),
        };
        invalid(what, why, instead)
    }

    pub(super) fn too_many_tasks(
        what: String,
        place: &str,
        nodes: u64,
        instead: String,
    ) -> Rejection {
        let why = match nodes {
            1 => format!("no node of {place} can hold all tasks with their leaves"),
            _ => format!("no {nodes} nodes of {place} can hold all tasks with their leaves"),
        };
        invalid(what, why, instead)
    }

    pub(super) fn named(what: String, things: &str) -> Rejection {
        let why = format!("not every node that is named has {things}");
        invalid(what, why, "name other nodes, or leave -w out")
    }

    pub(super) fn constraint(what: String, place: &str, feature: &str, things: &str) -> Rejection {
        let why = format!("no node of {place} with feature {feature} has {things}");
        invalid(what, why, format!("leave -C {feature} out"))
    }

    pub(super) fn per_node_limit(what: String, limit: u64, instead: String) -> Rejection {
        let why = format!("site policy allows at most {} per node", leaves(limit, None));
        denied(what, why, instead)
    }

    pub(super) fn per_job_limit(what: String, limit: u64, instead: String) -> Rejection {
        let why = format!("site policy allows at most {} per job", leaves(limit, None));
        denied(what, why, instead)
    }

    /// `thing` is `in partition`, `for account` or `with QOS`, `flag` its option.
    pub(super) fn span(
        asked: &Asked,
        thing: &str,
        flag: &str,
        allowed: &[String],
        one_leaf: &str,
    ) -> Rejection {
        let names: Vec<&str> = allowed.iter().map(String::as_str).collect();
        let Some(first) = names.first() else {
            let why = "site policy allows nobody more than one leaf";
            return denied(asked, why, format!("type {one_leaf}"));
        };
        let names = alternatives(&names);
        let why = format!("site policy allows more than one leaf only {thing} {names}");
        denied(asked, why, format!("add {flag}{first}, or type {one_leaf}"))
    }
}

// Updates and broken files.
impl Rejection {
    pub(super) fn update_adds(asked: &Asked, version: &dyn fmt::Display) -> Rejection {
        let why = format!("Slurm {version} would add it to what the job already asks for");
        invalid(asked, why, "cancel the job and submit it again")
    }

    pub(super) fn which_partition(asked: &Asked, offered: &[&str]) -> Rejection {
        let count = asked.request.terms().next().map_or(1, |term| term.count);
        let why = "the type depends on the partition of the job";
        invalid(asked, why, type_one_of(asked, offered, count))
    }

    /// The same, for an update of a job that the site's view does not tell yet but will after so many
    /// seconds.
    pub(super) fn or_later(mut self, seconds: u64) -> Rejection {
        self.instead.push_str(&format!(", or repeat it in {seconds} s"));
        self
    }

    pub(super) fn span_unknown(asked: &Asked) -> Rejection {
        let why = "site policy restricts who may have more than one leaf, and an update does not \
                   say whose job it is";
        denied(asked, why, "cancel the job and submit it again")
    }

    pub(super) fn job_size_unknown(asked: &Asked, limit: u64) -> Rejection {
        let why = format!("site policy allows at most {} per job", leaves(limit, None));
        let instead = match asked.field {
            Field::Task => "name the number of tasks too, as NumTasks=1",
            Field::Node | Field::Job | Field::Socket => {
                "name the number of nodes too, as NumNodes=1"
            }
        };
        denied(asked, why, instead)
    }

    pub(super) fn refused(asked: &Asked, why: &str) -> Rejection {
        let why = format!("site policy cannot be read ({why})");
        denied(asked, why, "ask your administrator to mend it")
    }
}
