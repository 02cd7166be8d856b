//! What becomes of a job that asks for leaves: accepted and rewritten, or rejected with a line that
//! says what to type instead.
//!
//! [`decide`] is for new jobs, [`decide_change`] for updates of waiting ones. Both are pure: what
//! slurm.conf, flexmig.toml and the view of the cluster say has been worked into a [`Site`].
//!
//! | module | part |
//! |---|---|
//! | `site` | leaves per partition, ready for lookups |
//! | `of_view` | the same and what is free now, from a view |
//! | `now` | who waits for what, and what was handed out since the view |
//! | `ground` | what selection asks, answered from a site |
//! | `choose` | the leaves that a request gets |
//! | `features` | features that tell types apart, so that Slurm can choose |
//! | `limits` | what policy allows and what nodes can hold |
//! | `instead` | what to type where that is too little |
//! | `fill` | nodes, tasks, CPUs and memory that the user left out |
//! | `jobs` | waiting jobs, for updates |
//! | `message` | the line that an accepted user sees |
//! | `rejection` | every line a rejected user can see |

mod choose;
mod considered;
mod features;
mod fill;
mod ground;
mod instead;
mod jobs;
mod limits;
mod message;
mod now;
mod of_view;
mod rejection;
mod site;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::note::{self, Filled};
use crate::request::{self, Notation, Request, push_kind, push_number};
use crate::select::{Candidate, Part, Selection};
use choose::{Case, Choice};
pub use considered::Considered;
use limits::Demand;
pub use rejection::{Reason, Rejection};
pub use site::Site;

/// What the description of a job says, as far as it concerns leaves. `None` is "not set" (NO_VAL).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // The names are Slurm's.
pub struct Job<'a> {
    pub tres_per_node: Option<&'a str>,
    pub tres_per_task: Option<&'a str>,
    pub tres_per_job: Option<&'a str>,
    pub tres_per_socket: Option<&'a str>,
    pub num_tasks: Option<u32>,
    pub ntasks_per_node: Option<u16>,
    pub cpus_per_task: Option<u16>,
    pub min_cpus: Option<u32>,
    pub pn_min_cpus: Option<u16>,
    pub min_nodes: Option<u32>,
    pub max_nodes: Option<u32>,
    /// How many nodes `--nodelist` names.
    pub named_nodes: Option<u32>,
    pub partition: Option<&'a str>,
    pub account: Option<&'a str>,
    pub qos: Option<&'a str>,
    /// `--nodelist`, a host list.
    pub req_nodes: Option<&'a str>,
    pub features: Option<&'a str>,
    pub prefer: Option<&'a str>,
    /// In minutes; `u32::MAX` is unlimited.
    pub time_limit: Option<u32>,
    /// Whether memory is named in any way.
    pub memory: bool,
    /// MiB per node.
    pub memory_per_node: Option<u64>,
    /// MiB per CPU.
    pub memory_per_cpu: Option<u64>,
    /// Names nodes, features or a reservation, so that not all nodes of its partition count.
    pub narrowed: bool,
    /// An option that counts per GPU, as `--cpus-per-gpu`.
    pub per_gpu: Option<&'a str>,
    /// The job of an update, in Slurm's forms `20`, `20_6`, `20_[3-5]`.
    pub id: Option<&'a str>,
    /// An update by an admin, who may change more than a user.
    pub by_admin: bool,
    /// Tasks may share CPUs (`--overcommit`).
    pub overcommit: bool,
    /// By an srun that asks for the typed request again when it starts its tasks, and is not told
    /// what the job got: `--gres` before 23.02, `--tres-per-task` before 25.05.
    pub repeats: bool,
    /// Has a script: sbatch, where the task count of the description counts. With srun and salloc
    /// the client's own count does.
    pub batch: bool,
}

/// What differs between the releases of Slurm.
#[derive(Clone, Copy)]
pub struct Dialect<'a> {
    /// How request strings are written.
    pub notation: Notation,
    /// `--tres-per-task` exists (23.02 and later).
    pub per_task: bool,
    /// An update of a waiting job replaces its request (23.02.6 and later). Before, the job gets
    /// both types.
    pub update_replaces: bool,
    /// The version, for messages.
    pub version: &'a dyn fmt::Display,
    /// Seconds since 1970: how old the view is.
    pub now: u64,
}

impl<'a> Dialect<'a> {
    /// That of a release: major, minor and micro number.
    pub fn of(release: (u32, u32, u32), version: &'a dyn fmt::Display, now: u64) -> Dialect<'a> {
        let slash = release >= (23, 11, 0);
        Dialect {
            notation: if slash { Notation::Slash } else { Notation::Colon },
            per_task: release >= (23, 2, 0),
            update_replaces: release >= (23, 2, 6),
            version,
            now,
        }
    }
}

/// What to change in the job. `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The names are Slurm's.
pub struct Decision {
    pub tres_per_node: Option<String>,
    pub tres_per_task: Option<String>,
    pub min_nodes: Option<u32>,
    pub max_nodes: Option<u32>,
    pub num_tasks: Option<u32>,
    pub ntasks_per_node: Option<u16>,
    pub cpus_per_task: Option<u16>,
    pub min_cpus: Option<u32>,
    /// Memory per node in MiB (pn_min_memory).
    pub memory: Option<u64>,
    pub features: Option<String>,
    pub prefer: Option<String>,
    /// Leaves that the job takes at once, for [`Site::claim`].
    pub claims: Vec<(Option<String>, u64)>,
    /// Leaves that the job has to wait for, for [`Site::queue_up`].
    pub waits: Vec<(Option<String>, u64)>,
    /// Other leaves would serve the request too.
    pub flexible: bool,
    /// The user asked for GPUs.
    pub translated: bool,
    /// For `FLEXMIG_REQUEST` of a batch job, a [`Promise`](crate::promise::Promise).
    pub promise: String,
    /// For admin_comment.
    pub note: String,
    /// For the user, without the prefix `flexmig: `; `None` if policy wants no such line.
    pub message: Option<String>,
}

/// The field of a job that asks for leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Node,
    Task,
    Job,
    Socket,
}

/// What is asked for, in which field.
struct Asked<'a> {
    field: Field,
    request: Request<'a>,
    /// By `scontrol update`.
    change: bool,
}

impl Asked<'_> {
    /// How the option is typed: `--gres=`.
    fn option(&self) -> &'static str {
        option(self.field, self.change)
    }
}

fn option(field: Field, change: bool) -> &'static str {
    match (field, change) {
        (Field::Node, false) => "--gres=",
        (Field::Node, true) => "Gres=",
        (Field::Task, false) => "--tres-per-task=gres/",
        (Field::Task, true) => "TresPerTask=gres/",
        (Field::Job, _) => "tres_per_job=gres/",
        (Field::Socket, _) => "tres_per_socket=gres/",
    }
}

impl Asked<'_> {
    /// Appends it as the user could have typed it: `--gres=flexmig:4`.
    fn push_to(&self, text: &mut String) {
        text.push_str(self.option());
        self.request.push_typed(text);
    }
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.push_to(&mut text);
        f.write_str(&text)
    }
}

/// Decides about a new job. `None`: it asks for no leaves.
pub fn decide(site: &Site, slurm: &Dialect, job: &Job) -> Result<Option<Decision>, Rejection> {
    let Some(asked) = asked(site, slurm, job, false)? else { return Ok(None) };
    if let Some(why) = site.refused() {
        return Err(Rejection::refused(&asked, why));
    }
    let scope = site.scope(job.partition);
    let case = Case::new(site, slurm, &scope, &asked, job)?;
    let selection = case.selection()?;
    let choice = case.choose(&selection)?;
    Ok(Some(decision(&case, &selection, &choice)))
}

/// The best set of leaves for a job that waits, of all that policy allows and nodes can hold, with
/// their types. `starts` tells which could start now, for re-planning, which looks at nodes more
/// closely than a submit: the best of those then, if there is one that is not left to other jobs.
/// Without what is for the user and for other submits.
pub fn decide_again(
    site: &Site,
    slurm: &Dialect,
    job: &Job,
    starts: Option<&dyn Fn(&Decision) -> bool>,
) -> Option<Decision> {
    let asked = asked(site, slurm, job, false).ok()??;
    if site.refused().is_some() {
        return None;
    }
    let scope = site.scope(job.partition);
    let case = Case::new(site, slurm, &scope, &asked, job).ok()?;
    let decision = |parts: &[Part]| asking(&case, &case.demand(parts));
    let selection = match starts {
        Some(starts) => case.selection_of(&|parts| starts(&decision(parts))).ok()?,
        None => case.selection().ok()?,
    };
    let serves = |candidate: &&Candidate| {
        let now = candidate.starts_now == Some(true) && !candidate.left;
        (now || starts.is_none()) && case.problem(candidate).is_none()
    };
    Some(decision(&selection.candidates.iter().find(serves)?.parts))
}

/// How an answer came about, for `flexmig explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Each set of leaves that serves the request, best first: its score, and what sets it behind
    /// the choice. None if nothing serves it.
    pub candidates: Vec<String>,
    /// The same as data.
    pub considered: Vec<Considered>,
    /// The request as it was understood: `--gres=flexmig:3g:1`; empty if it was not.
    pub request: String,
    /// Where: `partition gpu`.
    pub place: String,
    /// What [`decide`] says.
    pub answer: Result<Option<Decision>, Rejection>,
}

/// As [`decide`], with what it looked at.
pub fn explain(site: &Site, slurm: &Dialect, job: &Job) -> Explanation {
    let scope = site.scope(job.partition);
    let mut explanation = Explanation {
        candidates: Vec::new(),
        considered: Vec::new(),
        request: String::new(),
        place: scope.place(),
        answer: decide(site, slurm, job),
    };
    let Ok(Some(asked)) = asked(site, slurm, job, false) else { return explanation };
    asked.push_to(&mut explanation.request);
    let Ok(case) = Case::new(site, slurm, &scope, &asked, job) else { return explanation };
    if let Ok(selection) = case.selection_in_full() {
        // Where none can be had nothing is chosen.
        let chosen = case.choose(&selection).ok().map(|choice| choice.place);
        explanation.candidates = selection.explained(chosen.unwrap_or(usize::MAX));
        explanation.considered = considered::considered(&case, &selection, chosen);
    }
    explanation
}

/// What a job asks for with these leaves, and what is filled in beside them.
fn asking(case: &Case, demand: &Demand) -> Decision {
    let mut decision = fill::fill(case.site, case.scope, case.job, demand);
    rewrite(case, demand, &mut decision);
    decision
}

/// What to change in a new job.
fn decision(case: &Case, selection: &Selection, choice: &Choice) -> Decision {
    let demand = case.demand(&choice.parts);
    let mut decision = asking(case, &demand);
    if let Some((features, prefer)) = choice.features() {
        (decision.features, decision.prefer) = (Some(features), Some(prefer));
    }
    match selection.candidates[choice.place].starts_now {
        Some(true) => decision.claims = leaves_of(choice, &demand),
        Some(false) => decision.waits = leaves_of(choice, &demand),
        None => {}
    }
    decision.flexible =
        choice.either.is_empty() && selection.candidates.iter().filter(|c| c.fits).nth(1).is_some();
    decision.translated = case.asked.request.has_gpus();
    decision.note = note(case.asked, choice, &decision);
    decision.message = case
        .site
        .submit
        .explain
        .then(|| message::message(case, selection, &demand, choice, &decision));
    decision
}

/// All leaves of a job, by type.
fn leaves_of(choice: &Choice, demand: &Demand) -> Vec<(Option<String>, u64)> {
    let times = demand.tasks.unwrap_or(demand.nodes.min.max(1));
    let preferred = choice.either.first().map(|(kind, _)| *kind);
    let of = |part: &Part| {
        let kind = preferred.map(str::to_owned).or(part.kind.map(str::to_owned));
        (kind, part.count.saturating_mul(times))
    };
    choice.parts.iter().map(of).collect()
}

/// Decides about an update of a waiting job. `None`: it does not concern leaves.
///
/// Where the site's view tells the job, the same rules hold as for a new one, with what the update
/// does not name taken from the job. Else exact types are checked against slurm.conf, and other
/// requests are resolved where every partition gives the same answer, else rejected. Nodes are the
/// job's own; tasks, CPUs and memory change with the leaves only if they were filled in.
pub fn decide_change(
    site: &Site,
    slurm: &Dialect,
    job: &Job,
) -> Result<Option<Decision>, Rejection> {
    let Some(asked) = asked(site, slurm, job, true)? else { return Ok(None) };
    if let Some(why) = site.refused() {
        return Err(Rejection::refused(&asked, why));
    }
    let known = job.id.and_then(|id| site.jobs.find(id));
    let whole = known.map(|known| known.with(job));
    let job = whole.as_ref().unwrap_or(job);
    let scope = match (job.partition, known) {
        (None, None) => site.everywhere(),
        (partition, _) => site.scope(partition),
    };
    let case = Case::of_change(site, slurm, &scope, &asked, job);
    let or_later = |rejection: Rejection| match (&site.now, job.id) {
        // The next two views tell the job.
        (Some(_), Some(_)) => rejection.or_later(2 * u64::from(site.select.refresh)),
        _ => rejection,
    };
    let selection = case.selection()?;
    if known.is_none() {
        limits::check_unknown(&case, &case.demand(&selection.best().parts)).map_err(or_later)?;
    }
    let choice = case.choose(&selection)?;
    if known.is_none() && job.partition.is_none() {
        choose::same_everywhere(&case, &choice).map_err(or_later)?;
    }
    if !slurm.update_replaces && site.has_several_types() {
        return Err(Rejection::update_adds(&asked, slurm.version));
    }
    let demand = case.demand(&choice.parts);
    let mut decision = match known {
        Some(known) => known.refilled(fill::fill(site, &scope, job, &demand), job.by_admin),
        None => Decision::default(),
    };
    rewrite(&case, &demand, &mut decision);
    decision.note = note(&asked, &choice, &decision);
    Ok(Some(decision))
}

/// Most entries for leaves in a request. Each is weighed with all others while slurmctld waits; no
/// cluster has as many types.
const MOST_TERMS: usize = 16;

/// Finds the field that asks for leaves, and rejects what no release of Slurm can do with them.
fn asked<'a>(
    site: &Site,
    slurm: &Dialect,
    job: &Job<'a>,
    change: bool,
) -> Result<Option<Asked<'a>>, Rejection> {
    let read = |field, text: Option<&'a str>| -> Result<Option<Asked<'a>>, Rejection> {
        let gpus = site.translate.gpu && field == Field::Node;
        let concerns = |text: &&str| {
            request::mentions(text.as_bytes()) || gpus && request::mentions_gpu(text.as_bytes())
        };
        let Some(text) = text.filter(concerns) else { return Ok(None) };
        let mut request = Request::parse(text)
            .map_err(|error| Rejection::unreadable(option(field, change), &error))?;
        if gpus {
            request = request.translated();
        }
        let terms = request.terms().count();
        if terms > MOST_TERMS {
            return Err(Rejection::too_many_terms(option(field, change), terms, MOST_TERMS));
        }
        Ok((terms > 0).then_some(Asked { field, request, change }))
    };
    for (field, text) in [(Field::Job, job.tres_per_job), (Field::Socket, job.tres_per_socket)] {
        if let Some(asked) = read(field, text)? {
            return Err(Rejection::per_job(&asked));
        }
    }
    match (read(Field::Node, job.tres_per_node)?, read(Field::Task, job.tres_per_task)?) {
        (None, None) => Ok(None),
        (Some(asked), None) => match job.per_gpu.filter(|_| asked.request.has_gpus()) {
            Some(option) => Err(Rejection::per_gpu(&asked, option)),
            None => Ok(Some(asked)),
        },
        (None, Some(asked)) if slurm.per_task => Ok(Some(asked)),
        (None, Some(asked)) => Err(Rejection::no_per_task(&asked, slurm.version, job.num_tasks)),
        (Some(node), Some(task)) => Err(Rejection::both(&node, &task)),
    }
}

/// Writes the request with the chosen types in the release's notation, and what is promised.
fn rewrite(case: &Case, demand: &Demand, decision: &mut Decision) {
    let leaves = demand.wanted.iter().map(|part| (part.kind, part.count));
    let text = case.asked.request.write_composed(case.slurm.notation, leaves);
    match case.asked.field {
        Field::Task => decision.tres_per_task = Some(text),
        Field::Node | Field::Job | Field::Socket => decision.tres_per_node = Some(text),
    }
    decision.promise = demand.promise();
}

/// `[flexmig:v1 req=20gb:2 got=2g.20gb:2 fill=t why=memory]`
fn note(asked: &Asked, choice: &Choice, decision: &Decision) -> String {
    let end = if asked.field == Field::Task { "/task" } else { "" };
    let list = |text: &mut String, terms: &mut dyn Iterator<Item = (Option<&str>, u64)>| {
        for (place, (kind, count)) in terms.enumerate() {
            push_comma(text, place);
            push_kind(text, kind, count);
        }
        text.push_str(end);
    };
    let req = |text: &mut String| {
        list(text, &mut asked.request.terms().map(|term| (term.kind, term.count)));
    };
    let got = |text: &mut String| {
        list(text, &mut choice.parts.iter().map(|part| (part.kind, part.count)));
    };
    let fill = Filled {
        tasks: decision.num_tasks.is_some(),
        cpus: decision.cpus_per_task.is_some(),
        memory: decision.memory.is_some(),
    };
    let mut text = String::with_capacity(note::MAX);
    note::push(&mut text, req, got, fill, choice.why, None);
    text
}

fn push_comma(text: &mut String, place: usize) {
    if place > 0 {
        text.push(',');
    }
}

/// `4 leaves of 1g.10gb`
fn leaves(count: u64, kind: Option<&str>) -> String {
    let mut text = String::new();
    push_leaves(&mut text, count, kind);
    text
}

fn push_leaves(text: &mut String, count: u64, kind: Option<&str>) {
    push_number(text, count);
    text.push_str(if count == 1 { " leaf" } else { " leaves" });
    if let Some(kind) = kind {
        text.push_str(" of ");
        text.push_str(kind);
    }
}

/// `1 task`, `4 tasks`
fn counted(count: u64, thing: &str) -> String {
    let mut text = String::new();
    push_counted(&mut text, count, thing);
    text
}

fn push_counted(text: &mut String, count: u64, thing: &str) {
    push_number(text, count);
    text.push(' ');
    text.push_str(thing);
    text.push_str(if count == 1 { "" } else { "s" });
}
