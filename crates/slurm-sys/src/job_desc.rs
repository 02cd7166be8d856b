//! The job description: what a user asks for, as job_submit sees and changes it.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::consts::{NO_VAL, NO_VAL16, NO_VAL64};
use crate::environment::EnvArray;
use crate::memory::{Fields, text};
use crate::raw::JobDescMsg;
use crate::{Slurm, layout::JobDescLayout};

/// A `job_desc_msg_t`. Numbers are `None` where Slurm says "not set"; text is
/// `None` for null, and reads lossily where it is not UTF-8.
pub struct JobDesc<'a> {
    fields: Fields,
    _borrow: PhantomData<&'a mut JobDescMsg>,
}

macro_rules! text_fields {
    ($($(#[$doc:meta])* $field:ident $(/ $set:ident)?;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $field(&self) -> Option<Cow<'_, str>> {
            text(self.fields.c_str(self.layout().$field))
        }
        $(
            /// Replaces the field of the same name; `None` stores null.
            pub fn $set(&mut self, text: Option<&str>) {
                self.fields.set_text(self.layout().$field, text.map(str::as_bytes));
            }
        )?
    )*};
}

macro_rules! number_fields {
    ($($(#[$doc:meta])* $field:ident: $type:ty, $none:ident $(/ $set:ident)?;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $field(&self) -> Option<$type> {
            let value = self.fields.get::<$type>(self.layout().$field);
            (value != $none).then_some(value)
        }
        $(
            /// Sets the field of the same name.
            pub fn $set(&mut self, value: $type) {
                self.fields.set(self.layout().$field, value);
            }
        )?
    )*};
}

impl JobDesc<'_> {
    /// `None` for null.
    ///
    /// # Safety
    /// `job` is null or the job description that Slurm passed to an entry point,
    /// which nobody else uses during `'a`.
    #[must_use]
    pub unsafe fn from_raw(slurm: Slurm, job: *mut JobDescMsg) -> Option<Self> {
        // SAFETY: Slurm's structure has the layout of its release, and is ours
        // during the call.
        let fields = unsafe { Fields::new(slurm, NonNull::new(job)?) };
        Some(Self { fields, _borrow: PhantomData })
    }

    fn layout(&self) -> &'static JobDescLayout {
        &self.fields.slurm.layout().job_desc
    }

    text_fields! {
        /// The account to charge.
        account;
        /// The comment that only admins and plugins may set.
        admin_comment / set_admin_comment;
        /// `--array`, for the first call of an array.
        array_inx;
        /// `--comment`.
        comment;
        /// `--cpus-per-gpu` and the like.
        cpus_per_tres / set_cpus_per_tres;
        /// `--exclude`.
        exc_nodes;
        /// `--constraint`.
        features / set_features;
        /// The job, array task or array part of an update: `20`, `20_6`, `20_[3-5]`.
        job_id_str;
        /// `--mem-per-gpu` and the like.
        mem_per_tres / set_mem_per_tres;
        /// The job's name.
        name;
        /// The partitions, a comma list; `None` means the default partition.
        partition;
        /// `--prefer`.
        prefer / set_prefer;
        /// The quality of service.
        qos;
        /// `--nodelist`.
        req_nodes;
        /// `--reservation`.
        reservation;
        /// The command line of the client, `srun -n4 ./a`.
        submit_line;
        /// `--tres-bind` and `--gpu-bind`.
        tres_bind / set_tres_bind;
        /// `--gpus` and the like.
        tres_per_job / set_tres_per_job;
        /// `--gres` and `--gpus-per-node`.
        tres_per_node / set_tres_per_node;
        /// `--gpus-per-socket`.
        tres_per_socket / set_tres_per_socket;
        /// `--tres-per-task` and `--gpus-per-task`.
        tres_per_task / set_tres_per_task;
    }

    number_fields! {
        /// Which component of a het job this is.
        het_job_offset: u32, NO_VAL;
        /// The job of an update; scontrol sets [`job_id_str`](Self::job_id_str) instead.
        job_id: u32, NO_VAL;
        /// `--ntasks`.
        num_tasks: u32, NO_VAL / set_num_tasks;
        /// `--cpus-per-task`.
        cpus_per_task: u16, NO_VAL16 / set_cpus_per_task;
        /// The least number of CPUs of the whole job.
        min_cpus: u32, NO_VAL / set_min_cpus;
        /// The largest number of CPUs of the whole job.
        max_cpus: u32, NO_VAL / set_max_cpus;
        /// The least of `--nodes`.
        min_nodes: u32, NO_VAL / set_min_nodes;
        /// The largest of `--nodes`.
        max_nodes: u32, NO_VAL / set_max_nodes;
        /// `--ntasks-per-node`.
        ntasks_per_node: u16, NO_VAL16 / set_ntasks_per_node;
        /// `--ntasks-per-gpu`.
        ntasks_per_tres: u16, NO_VAL16;
        /// `--mincpus`: the least number of CPUs per node.
        pn_min_cpus: u16, NO_VAL16 / set_pn_min_cpus;
        /// MiB per node, or per CPU where [`crate::consts::MEM_PER_CPU`] is set in it.
        pn_min_memory: u64, NO_VAL64 / set_pn_min_memory;
        /// `--time` in minutes; `u32::MAX` is unlimited.
        time_limit: u32, NO_VAL;
        /// `--exclusive` is 0, `--oversubscribe` is 1.
        shared: u16, NO_VAL16;
        /// Who the job is for; an admin may submit for others.
        user_id: u32, NO_VAL;
    }

    /// The flags of `bitflags` in slurm.h.
    #[must_use]
    pub fn bitflags(&self) -> u64 {
        self.fields.get(self.layout().bitflags)
    }

    /// Whether there is a batch script: sbatch, not srun or salloc.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        !self.fields.get::<*mut c_char>(self.layout().script).is_null()
    }

    /// Whether the job brings an environment that the plugin may change: batch
    /// jobs only.
    #[must_use]
    pub fn has_environment(&self) -> bool {
        let size = self.fields.get::<u32>(self.layout().env_size);
        let array = self.fields.get::<*mut *mut c_char>(self.layout().environment);
        if array.is_null() || size == 0 || size == NO_VAL {
            return false;
        }
        // SAFETY: Slurm unpacks `env_size` strings into an array of one more,
        // whose last element is null; so `size` is a valid index. An array that
        // is not ended like that is left alone.
        unsafe { array.add(size as usize).read() }.is_null()
    }

    fn environment(&self) -> Option<EnvArray<'_>> {
        if !self.has_environment() {
            return None;
        }
        // SAFETY: the field is an environment array of Slurm's allocator, checked
        // to be ended by null. With `&self` callers only read.
        unsafe {
            EnvArray::from_raw(self.fields.slurm, self.fields.slot(self.layout().environment))
        }
    }

    /// A variable of the job's environment.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<Cow<'_, str>> {
        self.environment()?.get(name).map(|value| Cow::Owned(value.into_owned()))
    }

    /// Whether the job brings a variable whose name begins like this.
    #[must_use]
    pub fn env_has_prefix(&self, prefix: &CStr) -> bool {
        self.environment().is_some_and(|env| env.has_prefix(prefix))
    }

    /// The names of the variables that the job brings.
    #[must_use]
    pub fn env_names(&self) -> Vec<String> {
        let name = |entry: &[u8]| {
            let end = entry.iter().position(|&b| b == b'=').unwrap_or(entry.len());
            String::from_utf8_lossy(&entry[..end]).into_owned()
        };
        self.environment().map(|env| env.iter().map(name).collect()).unwrap_or_default()
    }

    /// Sets a variable. Without [`has_environment`](Self::has_environment)
    /// nothing happens, and the answer is false.
    pub fn set_env(&mut self, name: &str, value: &str) -> bool {
        self.change_env(|env| env.set(name, value))
    }

    /// Adds a variable of which the caller knows that it is not there: unlike
    /// [`set_env`](Self::set_env) this looks at no other one, which counts at submission.
    pub fn append_env(&mut self, name: &str, value: &str) -> bool {
        if !self.has_environment() {
            return false;
        }
        let slurm = self.fields.slurm;
        let size = self.fields.get::<u32>(self.layout().env_size);
        let mut old = self.fields.get::<*mut *mut c_char>(self.layout().environment);
        let entry = slurm.xstrdup(&[name.as_bytes(), b"=", value.as_bytes()].concat());
        let new = slurm.xcalloc(size as usize + 2, size_of::<*mut c_char>()).cast::<*mut c_char>();
        // SAFETY: the old array has `size` entries (see `has_environment`), the new one two more
        // places, of which the last stays null; they are different allocations. The entries move
        // over, so that only the old array itself is freed, which Slurm's allocator made.
        unsafe {
            old.copy_to_nonoverlapping(new.as_ptr(), size as usize);
            new.add(size as usize).write(entry);
            self.fields.set(self.layout().environment, new.as_ptr());
            slurm.xfree(&raw mut old);
        }
        self.fields.set(self.layout().env_size, size + 1);
        true
    }

    /// Removes a variable. Says whether it was there.
    pub fn remove_env(&mut self, name: &str) -> bool {
        let mut found = false;
        self.change_env(|env| found = env.remove(name));
        found
    }

    fn change_env(&mut self, change: impl FnOnce(&mut EnvArray<'_>)) -> bool {
        let Some(mut env) = self.environment() else { return false };
        change(&mut env);
        let size = u32::try_from(env.len()).unwrap_or(NO_VAL);
        self.fields.set(self.layout().env_size, size);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, TestJob};

    fn view(slurm: Slurm, job: &TestJob) -> JobDesc<'_> {
        // SAFETY: a description of ours, used through one view at a time.
        unsafe { JobDesc::from_raw(slurm, job.as_ptr()) }.unwrap()
    }

    #[test]
    fn text_is_read_and_replaced() {
        let Some(slurm) = testing::slurm() else { return };
        let test = TestJob::new(slurm).with_text("tres_per_node", "gres/flexmig:4");
        let mut job = view(slurm, &test);
        assert_eq!(job.tres_per_node().as_deref(), Some("gres/flexmig:4"));
        assert_eq!(job.admin_comment(), None);
        job.set_tres_per_node(Some("gres/flexmig:1g.10gb:4"));
        job.set_admin_comment(Some("[flexmig:v1]"));
        assert_eq!(job.tres_per_node().as_deref(), Some("gres/flexmig:1g.10gb:4"));
        assert_eq!(job.admin_comment().as_deref(), Some("[flexmig:v1]"));
        job.set_tres_per_node(None);
        assert_eq!(job.tres_per_node(), None);
    }

    #[test]
    fn numbers_that_slurm_calls_unset_are_none() {
        let Some(slurm) = testing::slurm() else { return };
        let test = TestJob::new(slurm);
        let mut job = view(slurm, &test);
        assert_eq!(job.num_tasks(), None);
        assert_eq!(job.cpus_per_task(), None);
        assert_eq!(job.pn_min_memory(), None);
        assert_eq!(job.het_job_offset(), None);
        job.set_num_tasks(4);
        job.set_min_nodes(1);
        job.set_max_nodes(2);
        job.set_cpus_per_task(8);
        job.set_ntasks_per_node(3);
        job.set_pn_min_memory(64 | crate::MEM_PER_CPU);
        assert_eq!(job.num_tasks(), Some(4));
        assert_eq!((job.min_nodes(), job.max_nodes()), (Some(1), Some(2)));
        assert_eq!((job.cpus_per_task(), job.ntasks_per_node()), (Some(8), Some(3)));
        assert_eq!(job.pn_min_memory(), Some(64 | crate::MEM_PER_CPU));
        assert_eq!(job.user_id(), Some(1000));
    }

    #[test]
    fn the_environment_of_a_batch_job_keeps_its_size() {
        let Some(slurm) = testing::slurm() else { return };
        let test = TestJob::new(slurm).batch(&["A=1", "FLEXMIG_BOUND=x"]);
        let mut job = view(slurm, &test);
        assert!(job.is_batch() && job.has_environment());
        assert!(job.set_env("FLEXMIG_REQUEST", "1g.10gb:4"));
        assert_eq!(job.env("FLEXMIG_REQUEST").as_deref(), Some("1g.10gb:4"));
        assert_eq!(job.env_names(), ["A", "FLEXMIG_BOUND", "FLEXMIG_REQUEST"]);
        assert_eq!(job.fields.get::<u32>(job.layout().env_size), 3);
        assert!(job.remove_env("FLEXMIG_BOUND"));
        assert!(!job.remove_env("FLEXMIG_BOUND"));
        assert_eq!(job.fields.get::<u32>(job.layout().env_size), 2);
        assert!(job.append_env("B", "2"));
        assert_eq!(job.env_names(), ["A", "FLEXMIG_REQUEST", "B"]);
        assert_eq!(job.env("B").as_deref(), Some("2"));
        assert_eq!(job.fields.get::<u32>(job.layout().env_size), 3);
        assert!(job.set_env("C", "3") && job.remove_env("A"), "the array is still Slurm's");
        assert_eq!(job.env_names(), ["FLEXMIG_REQUEST", "B", "C"]);
    }

    #[test]
    fn an_interactive_job_has_no_environment() {
        let Some(slurm) = testing::slurm() else { return };
        let test = TestJob::new(slurm);
        let mut job = view(slurm, &test);
        assert!(!job.is_batch());
        assert!(!job.set_env("A", "1") && !job.append_env("A", "1"));
        assert_eq!(job.env("A"), None);
        assert!(!job.remove_env("A"));
        assert!(job.env_names().is_empty());
    }
}
