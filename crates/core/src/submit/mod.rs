//! What becomes of a job that asks for leaves: accepted and rewritten, or rejected with a line that
//! says what to type instead.
//!
//! [`decide`] is for new jobs, [`decide_change`] for updates of waiting ones. Both are pure: what
//! slurm.conf and flexmig.toml say has been worked into a [`Site`] when they were read.
//!
//! | module | part |
//! |---|---|
//! | `site` | leaves per partition, ready for lookups |
//! | `of_view` | the same and what is free now, from a view |
//! | `ground` | what selection asks, answered from a site |
//! | `choose` | the type that an entry gets |
//! | `features` | features that tell types apart, so that Slurm can choose |
//! | `limits` | what policy allows and what nodes can hold |
//! | `fill` | nodes, tasks, CPUs and memory that the user left out |
//! | `rejection` | every line a rejected user can see |

mod choose;
mod features;
mod fill;
mod ground;
mod limits;
mod of_view;
mod rejection;
mod site;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::request::{self, Notation, Request, push_kind, push_number};
use choose::Choice;
use fill::Nodes;
use limits::Demand;
pub use rejection::{Reason, Rejection};
pub use site::Site;

/// Longest part of ours in a job's admin_comment, in bytes.
pub const NOTE_MAX: usize = 200;

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
    /// Whether memory is named in any way.
    pub memory: bool,
    /// Tasks may share CPUs (`--overcommit`).
    pub overcommit: bool,
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
    let Some(asked) = asked(slurm, job, false)? else { return Ok(None) };
    if let Some(why) = site.refused() {
        return Err(Rejection::refused(&asked, why));
    }
    let scope = site.scope(job.partition);
    let choices = choose::choose(site, &scope, &asked)?;
    let demand = Demand::new(&asked, job, Nodes::of(job), &choices)?;
    limits::check_policy(site, &scope, job, &demand)?;
    limits::check_nodes(site, &scope, job, &demand)?;
    let mut decision = fill::fill(site, &scope, job, &demand);
    rewrite(slurm, &asked, &choices, &mut decision);
    decision.promise = demand.promise();
    decision.note = note(&asked, &choices);
    decision.message =
        site.submit.explain.then(|| message(&asked, job, &demand, &choices, &decision));
    Ok(Some(decision))
}

/// Decides about an update of a waiting job. `None`: it does not concern leaves.
///
/// The job itself cannot be seen. Exact types are checked against slurm.conf; other requests are
/// resolved where every partition gives the same answer, else rejected. Only the request string is
/// changed: nodes and tasks are the job's own.
pub fn decide_change(
    site: &Site,
    slurm: &Dialect,
    job: &Job,
) -> Result<Option<Decision>, Rejection> {
    let Some(asked) = asked(slurm, job, true)? else { return Ok(None) };
    if let Some(why) = site.refused() {
        return Err(Rejection::refused(&asked, why));
    }
    let scope = match job.partition {
        Some(_) => site.scope(job.partition),
        None => site.everywhere(),
    };
    let choices = choose::choose(site, &scope, &asked)?;
    if job.partition.is_none() {
        choose::same_everywhere(site, &asked, &choices)?;
    }
    if !slurm.update_replaces && site.has_several_types() {
        return Err(Rejection::update_adds(&asked, slurm.version));
    }
    let demand = Demand::of_change(&asked, job, &choices);
    limits::check_change(site, &scope, job, &demand)?;
    let mut decision = Decision::default();
    rewrite(slurm, &asked, &choices, &mut decision);
    decision.promise = demand.promise();
    decision.note = note(&asked, &choices);
    Ok(Some(decision))
}

/// Finds the field that asks for leaves, and rejects what no release of Slurm can do with them.
fn asked<'a>(slurm: &Dialect, job: &Job<'a>, change: bool) -> Result<Option<Asked<'a>>, Rejection> {
    let read = |field, text: Option<&'a str>| -> Result<Option<Asked<'a>>, Rejection> {
        let Some(text) = text.filter(|text| request::mentions(text.as_bytes())) else {
            return Ok(None);
        };
        let request = Request::parse(text)
            .map_err(|error| Rejection::unreadable(option(field, change), &error))?;
        let asks = request.terms().next().is_some();
        Ok(asks.then_some(Asked { field, request, change }))
    };
    for (field, text) in [(Field::Job, job.tres_per_job), (Field::Socket, job.tres_per_socket)] {
        if let Some(asked) = read(field, text)? {
            return Err(Rejection::per_job(&asked));
        }
    }
    match (read(Field::Node, job.tres_per_node)?, read(Field::Task, job.tres_per_task)?) {
        (None, None) => Ok(None),
        (Some(asked), None) => Ok(Some(asked)),
        (None, Some(asked)) if slurm.per_task => Ok(Some(asked)),
        (None, Some(asked)) => Err(Rejection::no_per_task(&asked, slurm.version, job.num_tasks)),
        (Some(node), Some(task)) => Err(Rejection::both(&node, &task)),
    }
}

/// Writes the request with the chosen types in the release's notation.
fn rewrite(slurm: &Dialect, asked: &Asked, choices: &[Choice], decision: &mut Decision) {
    let leaves: Vec<_> = choices.iter().map(|choice| (choice.kind, choice.count)).collect();
    let text = asked.request.write_composed(slurm.notation, &leaves);
    match asked.field {
        Field::Task => decision.tres_per_task = Some(text),
        Field::Node | Field::Job | Field::Socket => decision.tres_per_node = Some(text),
    }
}

/// `[flexmig:v1 req=20gb:2 got=2g.20gb:2 why=memory]`
fn note(asked: &Asked, choices: &[Choice]) -> String {
    let per_task = if asked.field == Field::Task { "/task" } else { "" };
    let mut text = String::with_capacity(NOTE_MAX);
    text.push_str("[flexmig:v1 req=");
    for (place, term) in asked.request.terms().enumerate() {
        push_comma(&mut text, place);
        let start = text.len();
        push_kind(&mut text, term.kind, term.count);
        // A bracket in the user's text must not end our part early.
        if text[start..].contains(']') {
            let cleaned = text[start..].replace(']', "?");
            text.replace_range(start.., &cleaned);
        }
    }
    shorten(&mut text, NOTE_MAX / 2 - 20);
    text.push_str(per_task);
    text.push_str(" got=");
    for (place, choice) in choices.iter().enumerate() {
        push_comma(&mut text, place);
        push_kind(&mut text, choice.kind, choice.count);
    }
    shorten(&mut text, NOTE_MAX - 30);
    text.push_str(per_task);
    text.push_str(" why=");
    text.push_str(choices.first().map_or("", |choice| choice.why));
    text.push(']');
    text
}

/// Cuts what does not fit.
fn shorten(text: &mut String, room: usize) {
    if text.len() > room {
        let end = (0..=room).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
}

fn push_comma(text: &mut String, place: usize) {
    if place > 0 {
        text.push(',');
    }
}

/// The line for the user of an accepted job, as
/// `--gres=flexmig:4: 4 leaves of 1g.10gb on one node, 4 tasks`.
fn message(
    asked: &Asked,
    job: &Job,
    demand: &Demand,
    choices: &[Choice],
    decision: &Decision,
) -> String {
    let mut text = String::with_capacity(160);
    asked.push_to(&mut text);
    text.push_str(": ");
    for (place, choice) in choices.iter().enumerate() {
        text.push_str(if place == 0 { "" } else { " and " });
        push_leaves(&mut text, choice.count, choice.kind);
    }
    if let Some(tasks) = demand.tasks {
        text.push_str(if tasks == 1 { " for " } else { " for each of " });
        push_counted(&mut text, tasks, "task");
    }
    let nodes = &demand.nodes;
    match (nodes.min, nodes.max) {
        (1, Some(1)) => text.push_str(" on one node"),
        (min, Some(max)) if min == max => {
            text.push_str(if demand.tasks.is_some() { " on " } else { " on each of " });
            push_counted(&mut text, min, "node");
        }
        _ if demand.tasks.is_none() => text.push_str(" on each node"),
        _ => {}
    }
    if let Some(tasks) = decision.num_tasks {
        text.push_str(", ");
        push_counted(&mut text, tasks.into(), "task");
    }
    if let Some(cpus) = decision.cpus_per_task {
        text.push_str(", ");
        push_counted(&mut text, cpus.into(), "CPU");
        text.push_str(" per task");
    }
    if let Some(memory) = decision.memory {
        text.push_str(", ");
        push_number(&mut text, memory);
        text.push_str(" MiB of memory per node");
    }
    let untold = job.num_tasks.is_none() && job.ntasks_per_node.is_none();
    if !job.batch
        && untold
        && demand.unit > 1
        && let Some(tasks) = nodes.fixed().and_then(|nodes| demand.unit.checked_mul(nodes))
    {
        text.push_str(": add -n ");
        push_number(&mut text, tasks);
        text.push_str(", one task per leaf");
    }
    text
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
