//! Jobs.

use std::borrow::Cow;

use flexmig_core::view::{JobState, JobView};
use slurm_sys::MEM_PER_CPU;
use slurm_sys::cluster::{INFINITE, Job};

/// The view of a job record.
pub fn view(job: &Job<'_>) -> JobView {
    let (memory_per_node, memory_per_cpu) = memory(job.pn_min_memory());
    JobView {
        job_id: job.job_id().unwrap_or(0),
        array_job_id: job.array_job_id().filter(|&id| id > 0),
        array_task_id: job.array_task_id(),
        array_tasks: text(job.array_task_str()),
        het_job_id: job.het_job_id().filter(|&id| id > 0),
        name: text(job.name()),
        user_id: job.user_id().unwrap_or(0),
        account: text(job.account()),
        qos: text(job.qos()),
        partition: text(job.partition()),
        state: match job.state() {
            state if state.is_pending() => JobState::Pending,
            state if state.holds_units() => JobState::Running,
            _ => JobState::Done,
        },
        reason: job.reason(),
        priority: job.priority().unwrap_or(0),
        batch: job.is_batch(),
        tres_per_node: text(job.tres_per_node()),
        tres_per_task: text(job.tres_per_task()),
        admin_comment: text(job.admin_comment()),
        features: text(job.features()),
        reservation: text(job.resv_name()),
        dependency: text(job.dependency()),
        time_limit: job.time_limit().filter(|&limit| limit != INFINITE).map(u64::from),
        submit_time: time(job.submit_time()).unwrap_or(0),
        begin_time: time(job.eligible_time()),
        start_time: time(job.start_time()),
        end_time: time(job.end_time()),
        sched_nodes: text(job.sched_nodes()),
        nodes: text(job.nodes()),
        gres_detail: job.gres_detail().into_iter().map(text).collect(),
        req_nodes: text(job.req_nodes()),
        exc_nodes: text(job.exc_nodes()),
        num_tasks: job.num_tasks(),
        ntasks_per_node: job.ntasks_per_node().filter(|&tasks| tasks > 0),
        cpus_per_task: job.cpus_per_task(),
        min_cpus: job.num_cpus(),
        pn_min_cpus: job.pn_min_cpus().map(u32::from),
        memory_per_node,
        memory_per_cpu,
        min_nodes: job.num_nodes(),
        max_nodes: job.max_nodes().filter(|&nodes| nodes > 0 && nodes != INFINITE),
        exclusive: job.is_exclusive(),
    }
}

fn text(text: Option<Cow<'_, str>>) -> String {
    text.unwrap_or_default().into_owned()
}

fn time(seconds: Option<i64>) -> Option<u64> {
    u64::try_from(seconds?).ok()
}

/// `pn_min_memory` as MiB per node and per CPU; 0 is no request.
fn memory(value: Option<u64>) -> (Option<u64>, Option<u64>) {
    match value {
        Some(0) | None => (None, None),
        Some(per_cpu) if per_cpu & MEM_PER_CPU != 0 => (None, Some(per_cpu & !MEM_PER_CPU)),
        per_node => (per_node, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_per_node_or_per_cpu() {
        assert_eq!(memory(None), (None, None));
        assert_eq!(memory(Some(0)), (None, None));
        assert_eq!(memory(Some(500)), (Some(500), None));
        assert_eq!(memory(Some(MEM_PER_CPU | 500)), (None, Some(500)));
    }
}
