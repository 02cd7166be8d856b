//! Waiting jobs with leaves, as the view tells them: what an update does not name is taken from here.

use std::collections::HashMap;

use super::{Decision, Job};
use crate::note::{Filled, Note};
use crate::request;
use crate::view::{ClusterView, JobState, JobView};

/// The waiting jobs with leaves, by the number of the job and of its array.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs {
    by_number: HashMap<u32, Vec<KnownJob>>,
}

/// What an update must know of a job.
#[derive(Clone, Debug)]
pub(super) struct KnownJob {
    job_id: u32,
    array_task_id: Option<u32>,
    partition: String,
    account: String,
    qos: String,
    features: String,
    req_nodes: String,
    narrowed: bool,
    time_limit: Option<u32>,
    batch: bool,
    num_tasks: Option<u32>,
    ntasks_per_node: Option<u16>,
    cpus_per_task: Option<u16>,
    min_cpus: Option<u32>,
    min_nodes: Option<u32>,
    max_nodes: Option<u32>,
    memory_per_node: Option<u64>,
    memory_per_cpu: Option<u64>,
    fill: Filled,
    pub admin_comment: String,
}

impl Jobs {
    pub fn of(view: &ClusterView) -> Jobs {
        let mut by_number: HashMap<u32, Vec<KnownJob>> = HashMap::new();
        let waits = |job: &&JobView| {
            job.state == JobState::Pending
                && [&job.tres_per_node, &job.tres_per_task]
                    .iter()
                    .any(|text| request::mentions(text.as_bytes()))
        };
        for job in view.jobs.iter().flatten().filter(waits) {
            let array = job.array_job_id.filter(|&array| array != 0 && array != job.job_id);
            for number in [Some(job.job_id), array].into_iter().flatten() {
                by_number.entry(number).or_default().push(KnownJob::of(job));
            }
        }
        Jobs { by_number }
    }

    /// The job of an update, in Slurm's forms `20`, `20_6`, `20_[3-5]`. The tasks of an array are
    /// alike unless they were changed one by one.
    pub fn find(&self, id: &str) -> Option<&KnownJob> {
        let (number, task) = match id.split_once('_') {
            Some((number, task)) => (number, Some(task)),
            None => (id, None),
        };
        let number: u32 = number.parse().ok()?;
        let known = self.by_number.get(&number)?;
        let own = |job: &&KnownJob| match task.map(str::parse::<u32>) {
            Some(Ok(task)) => job.array_task_id == Some(task),
            Some(Err(_)) => job.array_task_id.is_none(),
            None => job.job_id == number,
        };
        // A task that has no record of its own yet is in the record of the rest.
        let rest = |job: &&KnownJob| job.array_task_id.is_none();
        known.iter().find(own).or_else(|| known.iter().find(rest)).or(known.first())
    }
}

impl KnownJob {
    fn of(job: &JobView) -> KnownJob {
        KnownJob {
            job_id: job.job_id,
            array_task_id: job.array_task_id,
            partition: job.partition.clone(),
            account: job.account.clone(),
            qos: job.qos.clone(),
            features: job.features.clone(),
            req_nodes: job.req_nodes.clone(),
            narrowed: !(job.features.is_empty()
                && job.reservation.is_empty()
                && job.req_nodes.is_empty()
                && job.exc_nodes.is_empty()),
            time_limit: job.time_limit.and_then(|minutes| u32::try_from(minutes).ok()),
            batch: job.batch,
            num_tasks: job.num_tasks,
            ntasks_per_node: job.ntasks_per_node.filter(|&tasks| tasks > 0),
            cpus_per_task: job.cpus_per_task,
            min_cpus: job.min_cpus,
            min_nodes: job.min_nodes,
            max_nodes: job.max_nodes.filter(|&nodes| nodes > 0),
            memory_per_node: job.memory_per_node,
            memory_per_cpu: job.memory_per_cpu,
            fill: Note::find(&job.admin_comment).map(|note| note.fill).unwrap_or_default(),
            admin_comment: job.admin_comment.clone(),
        }
    }

    /// The job as the update makes it, without what we once filled in.
    pub fn with<'a>(&'a self, update: &Job<'a>) -> Job<'a> {
        let text = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        let Filled { tasks, cpus, memory } = self.fill;
        let told = |filled: bool, number: Option<u32>| number.filter(|_| !filled);
        let named = update.num_tasks.is_some() || update.cpus_per_task.is_some();
        Job {
            num_tasks: update.num_tasks.or(told(tasks, self.num_tasks)),
            ntasks_per_node: update.ntasks_per_node.or(self.ntasks_per_node.filter(|_| !tasks)),
            cpus_per_task: update.cpus_per_task.or(self.cpus_per_task.filter(|_| !cpus)),
            min_cpus: update.min_cpus.or(told(tasks || cpus || named, self.min_cpus)),
            min_nodes: update.min_nodes.or(self.min_nodes),
            max_nodes: update.max_nodes.or(self.max_nodes).or(self.min_nodes),
            partition: update.partition.or(text(&self.partition)),
            account: update.account.or(text(&self.account)),
            qos: update.qos.or(text(&self.qos)),
            features: update.features.or(text(&self.features)),
            req_nodes: update.req_nodes.or(text(&self.req_nodes)),
            narrowed: update.narrowed || self.narrowed,
            time_limit: update.time_limit.or(self.time_limit),
            memory: update.memory || !memory,
            memory_per_node: update.memory_per_node.or(self.memory_per_node.filter(|_| !memory)),
            memory_per_cpu: update.memory_per_cpu.or(self.memory_per_cpu),
            batch: self.batch && (tasks || cpus || memory),
            ..*update
        }
    }

    /// Of what would be filled into a new job that which was filled into this one. Slurm lets only
    /// admins change the tasks per node (`_update_job`, 22.05 to 26.05), so in the update of a user
    /// the tasks become fewer with the leaves, but not more.
    pub fn refilled(&self, filled: Decision, by_admin: bool) -> Decision {
        let Filled { tasks, cpus, memory } = self.fill;
        let new_tasks = filled
            .num_tasks
            .filter(|&new| tasks && (by_admin || self.num_tasks.is_some_and(|tasks| new <= tasks)));
        let new_cpus = new_tasks.is_some() || cpus && !tasks;
        Decision {
            num_tasks: new_tasks,
            ntasks_per_node: filled.ntasks_per_node.filter(|_| tasks && by_admin),
            cpus_per_task: filled.cpus_per_task.filter(|_| cpus && new_cpus),
            min_cpus: filled.min_cpus.filter(|_| new_cpus),
            memory: filled.memory.filter(|_| memory),
            ..Decision::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(job_id: u32, array: Option<u32>, task: Option<u32>, partition: &str) -> JobView {
        JobView {
            job_id,
            array_job_id: array,
            array_task_id: task,
            partition: partition.into(),
            tres_per_node: "gres/flexmig:1g.10gb:2".into(),
            ..JobView::default()
        }
    }

    #[test]
    fn every_form_of_a_job_id_is_found() {
        let view = ClusterView {
            jobs: Some(vec![
                job(19, None, None, "single"),
                job(20, Some(20), None, "rest"),
                job(22, Some(20), Some(6), "six"),
                JobView { tres_per_node: String::new(), ..job(30, None, None, "cpu") },
                JobView { state: JobState::Running, ..job(31, None, None, "runs") },
            ]),
            ..ClusterView::default()
        };
        let jobs = Jobs::of(&view);
        let find = |id: &str| jobs.find(id).map(|job| job.partition.as_str());
        for (id, expected) in [
            ("19", Some("single")),
            ("20", Some("rest")),
            ("20_6", Some("six")),
            ("22", Some("six")),
            ("20_7", Some("rest")),
            ("20_[3-5]", Some("rest")),
            ("20_[3-5,6]", Some("rest")),
            ("30", None),
            ("31", None),
            ("21", None),
            ("20+1", None),
            ("", None),
            ("x_1", None),
        ] {
            assert_eq!(find(id), expected, "{id:?}");
        }
    }

    #[test]
    fn what_was_filled_in_is_left_out_again() {
        let view = JobView {
            num_tasks: Some(3),
            ntasks_per_node: Some(3),
            cpus_per_task: Some(2),
            min_cpus: Some(6),
            min_nodes: Some(1),
            batch: true,
            admin_comment: "[flexmig:v1 req=3g:1 got=1g.10gb:3 fill=t why=slices]".into(),
            ..job(1, None, None, "p")
        };
        let known = KnownJob::of(&view);
        let update = Job { tres_per_node: Some("flexmig:2"), ..Job::default() };
        let whole = known.with(&update);
        assert_eq!((whole.num_tasks, whole.ntasks_per_node), (None, None));
        assert_eq!((whole.cpus_per_task, whole.min_cpus), (Some(2), None));
        assert_eq!((whole.min_nodes, whole.max_nodes), (Some(1), Some(1)));
        assert_eq!((whole.partition, whole.batch, whole.memory), (Some("p"), true, true));
        let named = Job { num_tasks: Some(5), partition: Some("q"), ..update };
        assert_eq!(
            (known.with(&named).num_tasks, known.with(&named).partition),
            (Some(5), Some("q"))
        );
        let filled = Decision {
            num_tasks: Some(2),
            ntasks_per_node: Some(2),
            cpus_per_task: Some(4),
            memory: Some(7),
            max_nodes: Some(1),
            ..Decision::default()
        };
        let expected =
            Decision { num_tasks: Some(2), ntasks_per_node: Some(2), ..Decision::default() };
        assert_eq!(known.refilled(filled.clone(), true), expected);
        // Users cannot change the tasks per node, so theirs are not more than before.
        let expected = Decision { num_tasks: Some(2), ..Decision::default() };
        assert_eq!(known.refilled(filled.clone(), false), expected);
        let more = Decision { num_tasks: Some(4), ..filled };
        assert_eq!(known.refilled(more, false), Decision::default());
    }
}
