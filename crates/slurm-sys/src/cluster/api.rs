//! Slurm's client functions, found at run time like those of [`crate::raw`].

use std::ffi::{c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr::NonNull;

use crate::raw::{JobDescMsg, function_table, lookup};

/// `slurm_free_*`.
pub(super) type FreeFn = unsafe extern "C" fn(*mut c_void);
/// `slurm_get_select_nodeinfo`: node information of the select plugin, what of it, for which state
/// (C enums), a slot.
pub(super) type NodeinfoFn = unsafe extern "C" fn(*mut c_void, c_int, c_int, *mut c_void) -> c_int;

/// `job_state_reason_string` (`job_reason_string` before 24.05): a C enum to a static word.
type ReasonFn = unsafe extern "C" fn(c_int) -> *const c_char;

function_table! {
    /// What every release has, in libslurmfull.so and libslurm.so alike.
    Functions {
        init = c"slurm_init": fn(*const c_char);
        strerror = c"slurm_strerror": fn(c_int) -> *const c_char;
        xsize = c"slurm_xsize": fn(*mut c_void) -> usize;
        load_nodes = c"slurm_load_node": fn(libc::time_t, *mut *mut c_void, u16) -> c_int;
        free_nodes = c"slurm_free_node_info_msg": fn(*mut c_void);
        load_partitions = c"slurm_load_partitions": fn(libc::time_t, *mut *mut c_void, u16) -> c_int;
        free_partitions = c"slurm_free_partition_info_msg": fn(*mut c_void);
        load_jobs = c"slurm_load_jobs": fn(libc::time_t, *mut *mut c_void, u16) -> c_int;
        free_jobs = c"slurm_free_job_info_msg": fn(*mut c_void);
        init_job_desc = c"slurm_init_job_desc_msg": fn(*mut JobDescMsg);
        update_job = c"slurm_update_job2": fn(*mut JobDescMsg, *mut *mut c_void) -> c_int;
        free_array_resp = c"slurm_free_job_array_resp": fn(*mut c_void);
    }
}

/// The functions of this process.
pub(super) struct Api {
    functions: Functions,
    /// Until 24.11 what a node has allocated is in the select plugin's keeping.
    pub(super) nodeinfo: Option<NodeinfoFn>,
    /// Not in libslurm.so, which exports what slurm.h declares.
    pub(super) reason: Option<ReasonFn>,
}

impl Api {
    pub(super) fn resolve() -> Result<Self, Vec<&'static str>> {
        let nodeinfo = lookup(c"slurm_get_select_nodeinfo").map(|address| {
            // SAFETY: slurm.h of 22.05 to 24.11 declares it so, with enums for the ints.
            unsafe { transmute::<NonNull<c_void>, NodeinfoFn>(address) }
        });
        let reason = [c"job_state_reason_string", c"job_reason_string"].map(lookup);
        let reason = reason.into_iter().flatten().next().map(|address| {
            // SAFETY: job_state_reason.h, and slurm_protocol_defs.h before 24.05, declare it so.
            unsafe { transmute::<NonNull<c_void>, ReasonFn>(address) }
        });
        Ok(Self { functions: Functions::resolve()?, nodeinfo, reason })
    }
}

impl std::ops::Deref for Api {
    type Target = Functions;

    fn deref(&self) -> &Functions {
        &self.functions
    }
}
