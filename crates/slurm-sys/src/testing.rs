//! For unit tests, here and in the plugins: the real libslurm, structures to
//! pass to entry points, and captured log lines. Only in test builds (feature
//! `testing`).

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::NonNull;

use crate::memory::Fields;
use crate::raw::{Buf, JobDescMsg, List};
use crate::release::{Attached, attach};
use crate::{NO_VAL, NO_VAL16, NO_VAL64, Slurm};

/// The installed Slurm, its libslurmfull.so loaded into the test as a daemon
/// has it. `None`, with the reason on stderr, where no Slurm is installed.
pub fn slurm() -> Option<Slurm> {
    if let Some(slurm) = crate::slurm() {
        return Some(slurm);
    }
    let Some(path) = library() else {
        eprintln!("skipped: no libslurmfull.so found: install slurm or set FLEXMIG_LIBSLURM");
        return None;
    };
    let name = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: the path of Slurm's own library, whose constructors are made to be run.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        eprintln!("skipped: {} cannot be loaded", path.display());
        return None;
    }
    match attach() {
        Attached::Known(slurm) => {
            crate::plugin::known_version("test", slurm.release());
            Some(slurm)
        }
        other => {
            eprintln!("skipped: {}: {other:?}", path.display());
            None
        }
    }
}

/// `FLEXMIG_LIBSLURM`, else where packages put it.
#[must_use]
pub fn library() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FLEXMIG_LIBSLURM") {
        return Some(path.into());
    }
    let directories = [
        format!("/usr/lib/{}-linux-gnu/slurm-wlm", std::env::consts::ARCH),
        "/usr/lib64/slurm".to_owned(),
        "/usr/lib/slurm".to_owned(),
        "/usr/local/lib/slurm".to_owned(),
        "/opt/slurm/lib/slurm".to_owned(),
    ];
    directories.iter().map(|d| PathBuf::from(d).join("libslurmfull.so")).find(|p| p.is_file())
}

thread_local! {
    static CAPTURE: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs `body` and returns the lines that this thread logged, each with its
/// level: `error: flexmig: ...`, without a level for info.
pub fn captured<T>(body: impl FnOnce() -> T) -> (T, Vec<String>) {
    let outer = CAPTURE.replace(Some(Vec::new()));
    let answer = body();
    (answer, CAPTURE.replace(outer).unwrap_or_default())
}

pub(crate) fn record(level: &str, line: &str) -> bool {
    CAPTURE.with_borrow_mut(|lines| match lines {
        Some(lines) => {
            lines.push(format!("{level}{line}"));
            true
        }
        None => false,
    })
}

/// A `job_desc_msg_t` as slurmctld has it for a plain `srun`: numbers not set,
/// text null.
pub struct TestJob {
    fields: Fields,
}

impl TestJob {
    /// An interactive job of user 1000 that asks for nothing.
    #[must_use]
    pub fn new(slurm: Slurm) -> Self {
        let layout = &slurm.layout().job_desc;
        // SAFETY: zeroed memory of the structure's size, ours alone.
        let fields = unsafe { Fields::new(slurm, slurm.xcalloc(1, layout.size)) };
        for field in [
            layout.het_job_offset,
            layout.job_id,
            layout.num_tasks,
            layout.min_cpus,
            layout.max_cpus,
            layout.min_nodes,
            layout.max_nodes,
            layout.time_limit,
        ] {
            fields.set(field, NO_VAL);
        }
        for field in [
            layout.cpus_per_task,
            layout.ntasks_per_node,
            layout.ntasks_per_tres,
            layout.pn_min_cpus,
            layout.shared,
        ] {
            fields.set(field, NO_VAL16);
        }
        fields.set(layout.pn_min_memory, NO_VAL64);
        fields.set(layout.user_id, 1000_u32);
        Self { fields }
    }

    /// Sets a text field that plugins only read, by its name in slurm.h.
    #[must_use]
    pub fn with_text(self, field: &str, text: &str) -> Self {
        let rows = crate::layout::JobDescLayout::ROWS;
        let (_, row) = rows.iter().find(|(name, _)| *name == field).expect("a field of the table");
        self.fields.set_text(row[self.fields.slurm.release() as usize], Some(text.as_bytes()));
        self
    }

    /// Sets a 32-bit number that plugins only read, by its name in slurm.h.
    #[must_use]
    pub fn with_number(self, field: &str, number: u32) -> Self {
        let rows = crate::layout::JobDescLayout::ROWS;
        let (_, row) = rows.iter().find(|(name, _)| *name == field).expect("a field of the table");
        self.fields.set(row[self.fields.slurm.release() as usize], number);
        self
    }

    /// Makes it a batch job with an environment of `NAME=value` entries.
    #[must_use]
    pub fn batch(self, environment: &[&str]) -> Self {
        let slurm = self.fields.slurm;
        let layout = &slurm.layout().job_desc;
        self.fields.set_text(layout.script, Some(b"#!/bin/sh\n"));
        let array = slurm.xcalloc(environment.len() + 1, size_of::<*mut c_char>());
        let array = array.cast::<*mut c_char>();
        for (i, entry) in environment.iter().enumerate() {
            // SAFETY: the array has one element more than there are entries.
            unsafe { array.add(i).write(slurm.xstrdup(entry.as_bytes())) };
        }
        self.fields.set(layout.environment, array.as_ptr());
        self.fields.set(layout.env_size, u32::try_from(environment.len()).unwrap_or(0));
        self
    }

    /// The pointer to pass to an entry point.
    #[must_use]
    pub fn as_ptr(&self) -> *mut JobDescMsg {
        self.fields.base()
    }
}

impl Drop for TestJob {
    fn drop(&mut self) {
        let slurm = self.fields.slurm;
        let layout = &slurm.layout().job_desc;
        for field in [
            layout.account,
            layout.admin_comment,
            layout.array_inx,
            layout.comment,
            layout.cpus_per_tres,
            layout.exc_nodes,
            layout.features,
            layout.job_id_str,
            layout.mem_per_tres,
            layout.name,
            layout.partition,
            layout.prefer,
            layout.qos,
            layout.req_nodes,
            layout.reservation,
            layout.script,
            layout.tres_bind,
            layout.tres_per_job,
            layout.tres_per_node,
            layout.tres_per_socket,
            layout.tres_per_task,
        ] {
            self.fields.set_text(field, None);
        }
        let mut array = self.fields.get::<*mut *mut c_char>(layout.environment);
        let mut base = self.fields.base::<c_void>();
        // SAFETY: everything below was made with Slurm's allocator by us or by
        // the wrappers under test, and is freed once.
        unsafe {
            let mut entry = array;
            while !entry.is_null() && !entry.read().is_null() {
                slurm.xfree(entry);
                entry = entry.add(1);
            }
            slurm.xfree(&raw mut array);
            slurm.xfree(&raw mut base);
        }
    }
}

/// A `char **` environment for the `set_env` functions.
pub struct TestEnv {
    slurm: Slurm,
    array: *mut *mut c_char,
}

impl TestEnv {
    /// With these variables.
    #[must_use]
    pub fn new(slurm: Slurm, variables: &[(&str, &str)]) -> Self {
        let mut env = Self { slurm, array: std::ptr::null_mut() };
        for (name, value) in variables {
            env.env().set(name, value);
        }
        env
    }

    /// The array, to pass to an entry point.
    pub fn as_ptr(&mut self) -> *mut *mut *mut c_char {
        &raw mut self.array
    }

    #[cfg(test)]
    pub(crate) fn array_for_test(&mut self) -> *mut *mut c_char {
        self.array
    }

    /// The safe view.
    pub fn env(&mut self) -> crate::EnvArray<'_> {
        // SAFETY: our own array of Slurm's allocator, borrowed mutably.
        unsafe { crate::EnvArray::from_raw(self.slurm, &raw mut self.array) }.expect("not null")
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        let mut entry = self.array;
        // SAFETY: the array and its entries are of Slurm's allocator and ours.
        unsafe {
            while !entry.is_null() && !entry.read().is_null() {
                self.slurm.xfree(entry);
                entry = entry.add(1);
            }
            self.slurm.xfree(&raw mut self.array);
        }
    }
}

/// A list of GRES records, for `gres_p_node_config_load`.
pub struct TestConfList {
    slurm: Slurm,
    list: NonNull<List>,
}

impl TestConfList {
    /// An empty list that destroys its records as Slurm's own does.
    #[must_use]
    pub fn new(slurm: Slurm) -> Self {
        let api = slurm.api();
        // SAFETY: the destructor fits the records that are pushed.
        let list = unsafe { (api.list_create)(Some(api.destroy_gres_slurmd_conf)) };
        Self { slurm, list: NonNull::new(list).expect("Slurm's lists are never null") }
    }

    /// The pointer to pass to an entry point.
    #[must_use]
    pub fn as_ptr(&self) -> *mut List {
        self.list.as_ptr()
    }

    /// The safe view.
    pub fn list(&mut self) -> crate::GresConfList<'_> {
        // SAFETY: our own list, borrowed mutably.
        unsafe { crate::GresConfList::from_raw(self.slurm, self.list.as_ptr()) }.expect("not null")
    }
}

impl Drop for TestConfList {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once.
        unsafe { (self.slurm.api().list_destroy)(self.list.as_ptr()) };
    }
}

/// A pack buffer that is written first and read after [`rewind`](Self::rewind).
pub struct TestBuf {
    buffer: NonNull<Buf>,
    written: u32,
}

/// `buf_t` up to what a test needs: magic, head, size, processed (all releases).
#[repr(C)]
struct BufHead {
    magic: u32,
    head: *mut c_char,
    size: u32,
    processed: u32,
}

fn function(name: &std::ffi::CStr) -> NonNull<c_void> {
    // SAFETY: a terminated name.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
        .expect("in libslurmfull")
}

impl TestBuf {
    /// An empty buffer.
    #[must_use]
    pub fn new(_slurm: Slurm) -> Self {
        // SAFETY: buf_t *init_buf(uint32_t size), in every release.
        let init = unsafe {
            std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn(u32) -> *mut Buf>(function(
                c"slurm_init_buf",
            ))
        };
        // SAFETY: any size is allowed.
        let buffer = NonNull::new(unsafe { init(1024) }).expect("a buffer");
        Self { buffer, written: 0 }
    }

    /// The pointer to pass to an entry point.
    #[must_use]
    pub fn as_ptr(&self) -> *mut Buf {
        self.buffer.as_ptr()
    }

    /// Puts the reading position at the start. What is behind the data written
    /// so far is cut off.
    pub fn rewind(&mut self) {
        let head = self.buffer.cast::<BufHead>().as_ptr();
        // SAFETY: a live buffer with these first members.
        unsafe {
            self.written = self.written.max((*head).processed);
            (*head).size = self.written;
            (*head).processed = 0;
        }
    }

    /// How many bytes have been read or written since the start.
    #[must_use]
    pub fn position(&self) -> usize {
        // SAFETY: as in `rewind`.
        unsafe { (*self.buffer.cast::<BufHead>().as_ptr()).processed as usize }
    }
}

impl Drop for TestBuf {
    fn drop(&mut self) {
        // SAFETY: void free_buf(buf_t *), in every release.
        let free = unsafe {
            std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn(*mut Buf)>(function(
                c"slurm_free_buf",
            ))
        };
        // SAFETY: ours, freed once.
        unsafe { free(self.buffer.as_ptr()) };
    }
}
