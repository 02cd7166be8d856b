//! Changing a waiting job, as `scontrol update job` does.

use std::ffi::{CString, c_char, c_void};
use std::ptr::{NonNull, null_mut};

use super::record::Message;
use super::{Cluster, failure_is_forced, last_errno};
use crate::memory::c_string;
use crate::raw::JobDescMsg;

/// What to change; `None` leaves a field alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobUpdate<'a> {
    /// `20`, `20_6` or `20_[3-5]`. For an array without a task all that wait.
    pub job: &'a str,
    /// `--gres`, in the release's own notation.
    pub tres_per_node: Option<&'a str>,
    /// `--tres-per-task`, likewise.
    pub tres_per_task: Option<&'a str>,
    /// Replaces the whole comment.
    pub admin_comment: Option<&'a str>,
    /// `--constraint`.
    pub features: Option<&'a str>,
    /// `--prefer`.
    pub prefer: Option<&'a str>,
    /// Tasks.
    pub num_tasks: Option<u32>,
    /// Tasks per node.
    pub ntasks_per_node: Option<u16>,
    /// CPUs per task.
    pub cpus_per_task: Option<u16>,
    /// CPUs, at least.
    pub min_cpus: Option<u32>,
    /// CPUs, at most.
    pub max_cpus: Option<u32>,
    /// Nodes, at least.
    pub min_nodes: Option<u32>,
    /// Nodes, at most.
    pub max_nodes: Option<u32>,
    /// CPUs per node, at least. Slurm raises it with the tasks per node, but does not lower it.
    pub pn_min_cpus: Option<u16>,
    /// MiB per node, or per CPU with [`MEM_PER_CPU`](crate::MEM_PER_CPU).
    pub pn_min_memory: Option<u64>,
}

/// An update that was refused, or never arrived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job {job}: {text}")]
pub struct UpdateError {
    /// Which job or task.
    pub job: String,
    /// Slurm's error number, the first where several tasks have one.
    pub code: i32,
    /// Its text, with what a plugin said, as far as Slurm passes that on: for arrays it does, for
    /// single jobs its library logs it as an error.
    pub text: String,
}

/// Room for any release's `job_desc_msg_t`, of which `slurm_init_job_desc_msg` fills all.
const ROOM: usize = 4096;

pub(super) fn send(cluster: Cluster, update: &JobUpdate<'_>) -> Result<(), UpdateError> {
    let mut description = Description::new(cluster);
    let rows = &cluster.release().layout().job_desc;
    description.text(rows.job_id_str, Some(update.job));
    description.text(rows.tres_per_node, update.tres_per_node);
    description.text(rows.tres_per_task, update.tres_per_task);
    description.text(rows.admin_comment, update.admin_comment);
    description.text(rows.features, update.features);
    description.text(rows.prefer, update.prefer);
    description.number(rows.num_tasks, update.num_tasks);
    description.number(rows.ntasks_per_node, update.ntasks_per_node);
    description.number(rows.cpus_per_task, update.cpus_per_task);
    description.number(rows.min_cpus, update.min_cpus);
    description.number(rows.max_cpus, update.max_cpus);
    description.number(rows.min_nodes, update.min_nodes);
    description.number(rows.max_nodes, update.max_nodes);
    description.number(rows.pn_min_cpus, update.pn_min_cpus);
    description.number(rows.pn_min_memory, update.pn_min_memory);

    let refused = |code, text| Err(UpdateError { job: update.job.to_owned(), code, text });
    if failure_is_forced() {
        return refused(-1, cluster.strerror(-1));
    }
    let mut slot = null_mut::<c_void>();
    // SAFETY: a whole description with strings that outlive the call, which only reads it, and a
    // slot for the answer.
    let code = unsafe { (cluster.0.api.update_job)(description.as_ptr(), &raw mut slot) };
    let errno = last_errno();
    if let Some(head) = NonNull::new(slot) {
        // SAFETY: the answer is ours now, with this destructor.
        let answer = unsafe { Message::new(cluster, head.cast(), cluster.0.api.free_array_resp) };
        return first_error(&answer);
    }
    if code != 0 {
        let code = if errno == 0 { code } else { errno };
        return refused(code, cluster.strerror(code));
    }
    Ok(())
}

/// The first task's error in the answer for an array.
fn first_error(answer: &Message) -> Result<(), UpdateError> {
    let cluster = answer.cluster();
    let rows = &cluster.0.layout.array_resp;
    let head = answer.head(rows.size);
    let count = head.u32(rows.job_array_count).unwrap_or(0) as usize;
    let codes = head.array::<u32>(rows.error_code, count);
    let Some(index) = codes.iter().position(|&code| code != 0) else { return Ok(()) };
    let code = i32::try_from(codes[index]).unwrap_or(-1);
    let one = |row| head.texts(row, count).into_iter().nth(index).flatten();
    let text = match one(rows.err_msg) {
        Some(said) => format!("{}: {}", cluster.strerror(code), said.trim_end()),
        None => cluster.strerror(code),
    };
    Err(UpdateError { job: one(rows.job_array_id).unwrap_or_default().into_owned(), code, text })
}

/// A `job_desc_msg_t` in our own memory: the call only reads it, and nothing in it is freed by
/// Slurm.
struct Description {
    memory: Box<[u64; ROOM / 8]>,
    strings: Vec<CString>,
}

impl Description {
    fn new(cluster: Cluster) -> Self {
        let mut memory = Box::new([0_u64; ROOM / 8]);
        // SAFETY: the memory is larger than the structure of any release, and aligned for it.
        unsafe { (cluster.0.api.init_job_desc)(memory.as_mut_ptr().cast()) };
        Self { memory, strings: Vec::new() }
    }

    fn as_ptr(&mut self) -> *mut JobDescMsg {
        self.memory.as_mut_ptr().cast()
    }

    fn number<T: Copy>(&mut self, offset: usize, value: Option<T>) {
        let Some(value) = value else { return };
        assert!(offset <= ROOM - size_of::<T>(), "an offset inside the structure");
        // SAFETY: inside our memory (see above).
        unsafe {
            self.memory.as_mut_ptr().cast::<u8>().add(offset).cast::<T>().write_unaligned(value);
        }
    }

    fn text(&mut self, offset: usize, text: Option<&str>) {
        let Some(text) = text else { return };
        let string = c_string(text.as_bytes());
        self.number(offset, Some(string.as_ptr().cast::<c_char>()));
        self.strings.push(string);
    }
}
