//! Jobs.

use std::borrow::Cow;

use super::record::{Record, Records, fields};

/// The answer of `slurm_load_jobs`.
pub struct Jobs(pub(super) Records);

impl Jobs {
    /// How many records there are: one per job, per running array task and per rest of an array.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Job<'_>> {
        self.0.iter().map(Job)
    }

    /// When the backfill scheduler last ran through, in seconds since 1970.
    #[must_use]
    pub fn last_backfill(&self) -> Option<i64> {
        let message = self.0.message();
        let rows = &message.cluster().0.layout.job_msg;
        message.head(rows.size).time(rows.last_backfill)
    }
}

/// `slurm_job_info_t`.
#[derive(Clone, Copy)]
pub struct Job<'a>(Record<'a>);

impl<'a> Job<'a> {
    fields! { job {
        /// Its number; the record's own for a task of an array.
        job_id: u32;
        /// The array's number, 0 if it is none.
        array_job_id: u32;
        /// Which task; `None` for what is left of an array, and for other jobs.
        array_task_id: u32;
        /// `3-5,8%2`, the tasks that are left; cut off with `...` in long ones.
        array_task_str: text;
        /// The first component's number, 0 if it is no het job.
        het_job_id: u32;
        /// Whose it is.
        user_id: u32;
        /// JobName.
        name: text;
        /// Account.
        account: text;
        /// QOS.
        qos: text;
        /// Partition; several with commas while it waits.
        partition: text;
        /// Priority; 0: held.
        priority: u32;
        /// Minutes, [`INFINITE`](super::INFINITE) for none; the partition's where it names none.
        time_limit: u32;
        /// Submission.
        submit_time: time;
        /// When it may start at the earliest. `None` with an unfulfilled dependency.
        eligible_time: time;
        /// Start; for a waiting job what the scheduler expects.
        start_time: time;
        /// End, likewise.
        end_time: time;
        /// Nodes that the backfill scheduler keeps for it.
        sched_nodes: text;
        /// Its nodes.
        nodes: text;
        /// `--nodelist`.
        req_nodes: text;
        /// `--exclude`.
        exc_nodes: text;
        /// `--constraint`.
        features: text;
        /// What is left of `--dependency`.
        dependency: text;
        /// `--reservation`.
        resv_name: text;
        /// Tasks.
        num_tasks: u32;
        /// Nodes, at least that many while it waits.
        num_nodes: u32;
        /// At most that many nodes; 0 or `None`: as `num_nodes`.
        max_nodes: u32;
        /// CPUs, at least that many while it waits.
        num_cpus: u32;
        /// CPUs per task.
        cpus_per_task: u16;
        /// Tasks per node.
        ntasks_per_node: u16;
        /// CPUs per node, at least.
        pn_min_cpus: u16;
        /// MiB per node, or per CPU with [`MEM_PER_CPU`](crate::MEM_PER_CPU).
        pn_min_memory: u64;
        /// `--gres`.
        tres_per_node: text;
        /// `--tres-per-task` and what stands for it.
        tres_per_task: text;
        /// The administrator's comment, with our note. Slurm shows it to everybody.
        admin_comment: text;
    } }

    /// Whether it has a script.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        self.0.u16(self.0.cluster().0.layout.job.batch_flag).is_some_and(|flag| flag != 0)
    }

    /// Whether it wants whole nodes, or nodes that only its user or group shares.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        let rows = &self.0.cluster().0.layout.job;
        // JOB_SHARED_OK is --oversubscribe, NO_VAL16 the default. 26.05 has a field of its own, and
        // keeps the old one for older clients.
        let shared = self.0.u16(rows.shared).is_some_and(|shared| shared != 1);
        self.0.u16(rows.exclusive).map_or(shared, |exclusive| exclusive != 0)
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> JobState {
        JobState(self.0.get(self.0.cluster().0.layout.job.job_state).unwrap_or(0))
    }

    /// Why it waits: a number of `enum job_state_reason`, the same in all releases up to the end of
    /// the older one's list. 16 bits of a field that is wider from 23.02 on.
    #[must_use]
    pub fn state_reason(&self) -> u16 {
        self.0.get(self.0.cluster().0.layout.job.state_reason).unwrap_or(0)
    }

    /// The same as a word: `Resources`, `AssocGrpGRES`.
    #[must_use]
    pub fn reason(&self) -> String {
        let number = self.state_reason();
        self.0.cluster().reason_word(number).unwrap_or_else(|| format!("Reason{number}"))
    }

    /// `flexmig:1g.10gb:3(IDX:0-2)` for each of its nodes, in their order; `None` for a node where
    /// it has no units. Only with SHOW_DETAIL, and only for jobs that have started.
    #[must_use]
    pub fn gres_detail(&self) -> Vec<Option<Cow<'a, str>>> {
        let rows = &self.0.cluster().0.layout.job;
        let count: u32 = self.0.get(rows.gres_detail_cnt).unwrap_or(0);
        self.0.texts(rows.gres_detail_str, count as usize)
    }

    /// Its name for `scontrol` and [`JobUpdate`](super::JobUpdate): `20`, `20_6` for a task of an
    /// array.
    #[must_use]
    pub fn id_string(&self) -> String {
        match (self.array_job_id().unwrap_or(0), self.array_task_id()) {
            (array @ 1.., Some(task)) => format!("{array}_{task}"),
            _ => self.job_id().unwrap_or(0).to_string(),
        }
    }
}

/// `job_state`: a base state and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobState(pub u32);

impl JobState {
    /// Base state: waiting.
    pub const PENDING: u32 = 0;
    /// Base state: running.
    pub const RUNNING: u32 = 1;
    /// Base state: suspended, its units still its own.
    pub const SUSPENDED: u32 = 2;
    /// Ending; its units are still its own.
    pub const COMPLETING: u32 = 1 << 15;

    /// The base state, without the flags.
    #[must_use]
    pub fn base(self) -> u32 {
        self.0 & 0xff
    }

    /// Whether it waits for its start, and is not being requeued.
    #[must_use]
    pub fn is_pending(self) -> bool {
        self.base() == Self::PENDING && self.0 & Self::COMPLETING == 0
    }

    /// Whether it has units: running, suspended or ending.
    #[must_use]
    pub fn holds_units(self) -> bool {
        matches!(self.base(), Self::RUNNING | Self::SUSPENDED) || self.0 & Self::COMPLETING != 0
    }
}
