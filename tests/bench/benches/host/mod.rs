//! Just enough of slurmctld for two job_submit plugins: libslurmfull.so in the global scope, the
//! variables of slurmctld that job_submit/lua reads, and a slurm.conf with the files beside it.
//!
//! The lists of jobs, reservations and partitions are empty, so job_submit/lua is spared the tables
//! of them that it builds in a real slurmctld after every change of a job: what is measured of it
//! is the least that it costs.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};
use slurm_sys::raw::JobDescMsg;
use slurm_sys::{Slurm, testing};

/// slurm.conf: 64 nodes of one kind and 32 of another; job_submit.lua says the same in its tables.
const SLURM_CONF: &str = "\
ClusterName=bench
SlurmctldHost=localhost
GresTypes=gpu,flexmig
NodeName=n[1-64] CPUs=128 RealMemory=1000000 Gres=flexmig:1g.10gb:28,flexmig:2g.20gb:8,flexmig:3g.40gb:4
NodeName=m[1-32] CPUs=128 RealMemory=1000000 Gres=gpu:4,flexmig:1g.10gb:14
PartitionName=gpu Nodes=n[1-64] Default=YES
PartitionName=train Nodes=ALL
";
const POLICY: &str = "\
[submit]
max_leaves_per_node = 28
max_leaves_per_job = 112
[span]
partitions = [\"gpu\", \"train\"]
";
const SCRIPT: &str = include_str!("../job_submit.lua");

// slurmctld's own variables. A plugin finds them in the executable; build.rs exports them.
#[used]
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static job_list: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
#[used]
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static part_list: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
#[used]
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static resv_list: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
#[used]
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static last_job_update: AtomicI64 = AtomicI64::new(0);
#[used]
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static last_resv_update: AtomicI64 = AtomicI64::new(0);

/// Reads the script of a job record; never called, as there are none.
#[unsafe(no_mangle)]
extern "C" fn get_job_script(_job: *const c_void) -> *mut c_void {
    null_mut()
}

type Init = unsafe extern "C" fn() -> c_int;
type JobSubmit = unsafe extern "C" fn(*mut JobDescMsg, u32, *mut *mut c_char) -> c_int;
type Xfree = unsafe extern "C" fn(*mut *mut c_void);
type ListCreate = unsafe extern "C" fn(Option<unsafe extern "C" fn(*mut c_void)>) -> *mut c_void;

/// A job_submit plugin that is loaded and initialised.
pub struct Plugin {
    /// Its name in reports.
    pub name: &'static str,
    submit: JobSubmit,
    free: Xfree,
}

impl Plugin {
    fn load(name: &'static str, path: &Path, free: Xfree) -> Result<Plugin, String> {
        let shown = path.display();
        // SAFETY: a Slurm plugin, in a process that holds Slurm's library as slurmctld does; its
        // constructors are made for that.
        let library = unsafe { Library::open(Some(path), RTLD_LAZY | RTLD_LOCAL) }
            .map_err(|error| format!("{shown}: {error}"))?;
        // SAFETY: the two symbols have these types in every job_submit plugin.
        let (init, submit) = unsafe {
            let init = library.get::<Init>(b"init\0").map_err(|error| error.to_string())?;
            let submit = library.get::<JobSubmit>(b"job_submit\0");
            (*init, *submit.map_err(|error| error.to_string())?)
        };
        // Stays loaded, as in slurmctld.
        std::mem::forget(library);
        // SAFETY: called once, before job_submit, as slurmctld does.
        match unsafe { init() } {
            0 => Ok(Plugin { name, submit, free }),
            code => Err(format!("{shown}: init() said {code}")),
        }
    }

    /// Calls `job_submit()` for user 1000 and shows `read` what it says to the user.
    pub fn submit<T>(
        &self,
        job: &testing::TestJob,
        read: impl FnOnce(Option<&CStr>) -> T,
    ) -> (i32, T) {
        let mut text: *mut c_char = null_mut();
        // SAFETY: a job description in Slurm's memory that is ours during the call, and a slot for
        // a string that holds none yet.
        let code = unsafe { (self.submit)(job.as_ptr(), 1000, &raw mut text) };
        // SAFETY: null or a terminated string, until it is freed below.
        let answer = read((!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }));
        // SAFETY: null or a string of Slurm's allocator, which the plugin has left to the caller.
        unsafe { (self.free)((&raw mut text).cast()) };
        (code, answer)
    }
}

/// The message as text.
pub fn message(text: Option<&CStr>) -> Option<String> {
    text.map(|text| text.to_string_lossy().into_owned())
}

/// Both plugins, ready to be called.
pub struct Host {
    /// The installed Slurm.
    pub slurm: Slurm,
    /// The built job_submit_flexmig.so.
    pub flexmig: Plugin,
    /// The installed job_submit_lua.so.
    pub lua: Plugin,
    _files: tempfile::TempDir,
}

/// Loads Slurm's library and both plugins. Call it before the process has a second thread.
pub fn start() -> Result<Host, String> {
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let texts = [("slurm.conf", SLURM_CONF), ("flexmig.toml", POLICY), ("job_submit.lua", SCRIPT)];
    for (name, text) in texts {
        fs::write(files.path().join(name), text).map_err(|error| format!("{name}: {error}"))?;
    }
    // SAFETY: the process has one thread.
    unsafe {
        std::env::set_var("SLURM_CONF", files.path().join("slurm.conf"));
        std::env::remove_var("FLEXMIG_CONF");
    }
    let slurm = testing::slurm().ok_or("no Slurm: run `make setup`")?;
    let lua = testing::library().ok_or("no Slurm")?.with_file_name("job_submit_lua.so");

    let process = Library::this();
    // SAFETY: slurm_xfree and slurm_list_create have these types in every release.
    let (free, list_create) = unsafe {
        let free = process.get::<Xfree>(b"slurm_xfree\0").map_err(|error| error.to_string())?;
        let create = process.get::<ListCreate>(b"slurm_list_create\0");
        (*free, *create.map_err(|error| error.to_string())?)
    };
    for list in [&job_list, &part_list, &resv_list] {
        // SAFETY: a list without a destructor for its elements; it never has any.
        list.store(unsafe { list_create(None) }, Ordering::Relaxed);
    }
    for time in [&last_job_update, &last_resv_update] {
        time.store(1, Ordering::Relaxed);
    }
    Ok(Host {
        slurm,
        flexmig: Plugin::load("flexmig", &flexmig_library(), free)?,
        lua: Plugin::load("lua", &lua, free)?,
        _files: files,
    })
}

fn flexmig_library() -> PathBuf {
    flexmig_cluster::build_dir().join("lib/slurm/job_submit_flexmig.so")
}

/// Slurm's log goes to stderr here. A line for each of a million calls is of no use; its writing to
/// /dev/null stays part of the call.
pub fn discard_log() {
    if let Ok(null) = fs::File::options().write(true).open("/dev/null") {
        // SAFETY: both are open descriptors; number 2 becomes a copy of the other.
        unsafe { libc::dup2(null.as_raw_fd(), libc::STDERR_FILENO) };
    }
}
