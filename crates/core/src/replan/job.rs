//! A waiting job: whether it may be moved at all, what it asks for now and asked for at first, and
//! what an update has to change.

use crate::note::Note;
use crate::request::{self, Request};
use crate::select::Part;
use crate::submit::{Decision, Job};
use crate::view::JobView;

/// What a job needs beside leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// Nodes.
    pub nodes: u64,
    /// CPUs on each.
    pub cpus: u64,
    /// Memory on each in MiB.
    pub memory: u64,
}

/// The job as Slurm's commands name it: `20`, `20_6`.
pub(super) fn name(job: &JobView) -> String {
    match (job.array_job_id, job.array_task_id) {
        (Some(array), Some(task)) if array > 0 => format!("{array}_{task}"),
        _ => job.job_id.to_string(),
    }
}

/// Whether the job asks for other GRES beside so many entries for leaves.
pub(super) fn asks_for_more(job: &JobView, leaves: usize) -> bool {
    request::mentions(job.tres_per_task.as_bytes())
        || job.tres_per_node.split(',').filter(|entry| !entry.is_empty()).count() > leaves
}

/// The first tasks of `3-5,9%2` and how many may run at once. Slurm cuts long lists off.
pub(super) fn array_tasks(text: &str, most: usize) -> (Vec<u32>, Option<u64>) {
    let (list, throttle) = match text.split_once('%') {
        Some((list, throttle)) => (list, throttle.parse().ok()),
        None => (text, None),
    };
    let mut tasks = Vec::new();
    for range in list.split(',') {
        let (range, step) = match range.split_once(':') {
            Some((range, step)) => (range, step.parse().unwrap_or(1).max(1)),
            None => (range, 1),
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else { break };
        let room = most.saturating_sub(tasks.len());
        tasks.extend((first..=last).step_by(step).take(room));
    }
    (tasks, throttle)
}

/// The fields that a move changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub tres_per_node: String,
    pub num_tasks: Option<u32>,
    pub ntasks_per_node: Option<u16>,
    pub cpus_per_task: Option<u16>,
    pub min_cpus: Option<u32>,
    pub pn_min_cpus: Option<u32>,
    /// MiB per node.
    pub memory: Option<u64>,
}

impl Shape {
    /// As the job is now.
    pub fn of(job: &JobView) -> Shape {
        Shape {
            tres_per_node: job.tres_per_node.clone(),
            num_tasks: job.num_tasks,
            ntasks_per_node: job.ntasks_per_node,
            cpus_per_task: job.cpus_per_task,
            min_cpus: job.min_cpus,
            pn_min_cpus: job.pn_min_cpus,
            memory: job.memory_per_node,
        }
    }

    /// As a decision about the job's first request would make it. Only what we filled in changes;
    /// with `limits` neither the job's CPUs nor its memory: the CPUs per node are enough for the
    /// tasks, and what needs more memory is out.
    pub fn decided(job: &JobView, note: &Note, decision: &Decision, limits: bool) -> Option<Shape> {
        let mut shape = Shape::of(job);
        shape.tres_per_node = decision.tres_per_node.clone()?;
        if note.fill.cpus {
            shape.cpus_per_task = Some(decision.cpus_per_task.unwrap_or(1));
        }
        if note.fill.tasks {
            // Where so many tasks do not fit, Slurm's own default.
            shape.ntasks_per_node = Some(decision.ntasks_per_node.unwrap_or(1));
            shape.num_tasks = Some(decision.num_tasks.unwrap_or(nodes(job)));
        }
        if note.fill.tasks || note.fill.cpus {
            let cpus = u32::from(shape.cpus_per_task.unwrap_or(1).max(1));
            let tasks = shape.num_tasks.unwrap_or(1).max(1);
            if !limits {
                shape.min_cpus = Some(tasks.saturating_mul(cpus));
            }
            shape.pn_min_cpus = Some(pn_min_cpus(job, &shape));
        }
        if note.fill.memory {
            let memory = decision.memory.or(shape.memory);
            if limits && memory > shape.memory {
                return None;
            }
            if !limits {
                shape.memory = memory;
            }
        }
        Some(shape)
    }

    /// What the job needs on each of its nodes.
    pub fn demand(&self, job: &JobView) -> Demand {
        let nodes = nodes(job);
        let total = self.min_cpus.unwrap_or(1).div_ceil(nodes);
        let per_node = u32::from(self.ntasks_per_node.unwrap_or(0))
            .saturating_mul(u32::from(self.cpus_per_task.unwrap_or(1).max(1)));
        let cpus = total.max(per_node).max(self.pn_min_cpus.unwrap_or(0)).max(1);
        let per_cpu = job.memory_per_cpu.unwrap_or(0).saturating_mul(cpus.into());
        let memory = self.memory.unwrap_or(0).max(per_cpu);
        Demand { nodes: nodes.into(), cpus: cpus.into(), memory }
    }

    /// The leaves that it asks for on each node. `None` if the text cannot be read.
    pub fn parts(&self) -> Option<Vec<Part<'_>>> {
        let request = Request::parse(&self.tres_per_node).ok()?;
        Some(request.terms().map(|term| Part { kind: term.kind, count: term.count }).collect())
    }

    /// Leaves on each node.
    pub fn leaves(&self) -> u64 {
        let parts = self.parts().unwrap_or_default();
        parts.iter().fold(0, |sum, part| sum.saturating_add(part.count))
    }

    /// The composition as notes have it: `1g.10gb:3`.
    pub fn got(&self) -> String {
        let request = Request::parse(&self.tres_per_node).unwrap_or_default();
        let terms: Vec<String> = request
            .terms()
            .map(|term| term.to_string().split_once(':').map_or(String::new(), |(_, t)| t.into()))
            .collect();
        terms.join(",")
    }
}

/// Nodes that the job gets.
fn nodes(job: &JobView) -> u32 {
    job.min_nodes.unwrap_or(1).max(1)
}

/// Slurm keeps CPUs per node at tasks per node times CPUs per task at least, and does not lower
/// them by itself. A user's own higher number stays.
fn pn_min_cpus(job: &JobView, shape: &Shape) -> u32 {
    let made = |tasks: Option<u16>, cpus: Option<u16>| {
        u32::from(tasks.unwrap_or(1).max(1)).saturating_mul(u32::from(cpus.unwrap_or(1).max(1)))
    };
    let ours = made(shape.ntasks_per_node, shape.cpus_per_task);
    match job.pn_min_cpus {
        Some(now) if now > made(job.ntasks_per_node, job.cpus_per_task) => now.max(ours),
        _ => ours,
    }
}

/// The job's first request as a whole string, for [`first_job`]. `None` if it is not known, or
/// counts leaves per task: Slurm works such a request into tasks and CPUs, which cannot be undone.
pub(super) fn first_request(job: &JobView, note: &Note) -> Option<String> {
    let (leaves, per_task) = note.request()?;
    if per_task {
        return None;
    }
    // What is not ours stays as it is.
    let others = job.tres_per_node.split(',').filter(|entry| {
        !entry.is_empty() && Request::parse(entry).is_ok_and(|r| r.terms().next().is_none())
    });
    let entries: Vec<&str> = others.chain([leaves.as_str()]).collect();
    Some(entries.join(","))
}

/// The job as it was submitted, as far as that is known: what we filled in is left out again.
pub(super) fn first_job<'a>(job: &'a JobView, note: &Note, request: &'a str) -> Job<'a> {
    fn text(text: &str) -> Option<&str> {
        Some(text).filter(|text| !text.is_empty())
    }
    let fill = note.fill;
    let told = |filled: bool, number: Option<u32>| if filled { None } else { number };
    let nodes = nodes(job);
    let max_nodes = job.max_nodes.filter(|&most| most > 0).unwrap_or(nodes);
    Job {
        tres_per_node: Some(request),
        num_tasks: told(fill.tasks, Some(job.num_tasks.unwrap_or(1))),
        ntasks_per_node: if fill.tasks { None } else { job.ntasks_per_node },
        cpus_per_task: if fill.cpus { None } else { Some(job.cpus_per_task.unwrap_or(1)) },
        min_cpus: told(fill.tasks || fill.cpus, job.min_cpus),
        min_nodes: Some(nodes),
        max_nodes: Some(max_nodes),
        memory: !fill.memory,
        memory_per_node: if fill.memory { None } else { job.memory_per_node },
        memory_per_cpu: job.memory_per_cpu,
        time_limit: Some(job.time_limit.map_or(u32::MAX, |m| u32::try_from(m).unwrap_or(u32::MAX))),
        narrowed: [&job.req_nodes, &job.exc_nodes, &job.features].iter().any(|t| !t.is_empty()),
        partition: text(&job.partition),
        account: text(&job.account),
        qos: text(&job.qos),
        // Only for these anything was filled in.
        batch: fill.tasks || fill.cpus || fill.memory,
        ..Job::default()
    }
}
