//! The exported functions, called as slurmctld calls them, with the installed Slurm's allocator.
//! Skipped where no Slurm is installed.

use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::Mutex;
use std::time::Instant;

use flexmig_core::policy::Policy;
use flexmig_core::slurm_conf::SlurmConf;
use flexmig_core::submit::Site;
use job_submit_flexmig::{job_modify, job_submit, settings};
use slurm_sys::testing::{self, TestJob};
use slurm_sys::{
    ESLURM_ACCESS_DENIED, ESLURM_INVALID_GRES, ErrMsg, JobDesc, Release, SLURM_SUCCESS, Slurm,
    Version,
};

/// The snapshot is one per process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const CONF: &str = "NodeName=n[1-2] CPUs=16 Gres=flexmig:1g.10gb:14\n\
                    NodeName=m1 CPUs=16 Gres=flexmig:2g.20gb:4\n\
                    PartitionName=small Nodes=n[1-2] Default=YES\nPartitionName=large Nodes=m1\n";

fn site(policy: &str) -> Site {
    let conf = SlurmConf::parse("slurm.conf", CONF.as_bytes(), &mut |_| Err("none".into()));
    Site::new(&Policy::from_toml("flexmig.toml", policy).unwrap(), Some(&conf))
}

/// Runs a test on the installed Slurm with this policy.
fn with_slurm(policy: &str, test: impl FnOnce(Slurm)) {
    let Some(slurm) = testing::slurm() else { return };
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    settings::publish(site(policy));
    test(slurm);
    drop(guard);
}

fn view(slurm: Slurm, job: &TestJob) -> JobDesc<'_> {
    // SAFETY: a description of ours, used through one view at a time.
    unsafe { JobDesc::from_raw(slurm, job.as_ptr()) }.unwrap()
}

/// A slot for messages, as slurmctld has it, with what an earlier plugin said.
struct Message(*mut c_char);

impl Message {
    fn new(slurm: Slurm, earlier: Option<&str>) -> Message {
        let mut message = Message(ptr::null_mut());
        if let Some(earlier) = earlier {
            // SAFETY: a slot of ours that holds null.
            unsafe { ErrMsg::from_raw(slurm, &raw mut message.0) }.unwrap().add(earlier);
        }
        message
    }

    /// What the user would see. The few bytes are never freed.
    fn text(&self) -> String {
        // SAFETY: null or a terminated string, set by the code under test.
        let text = (!self.0.is_null()).then(|| unsafe { CStr::from_ptr(self.0) });
        text.map(|text| text.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

fn submit(job: &TestJob, message: &mut Message) -> i32 {
    // SAFETY: both are ours and live as long as the call.
    unsafe { job_submit(job.as_ptr(), 1000, &raw mut message.0) }
}

fn modify(job: &TestJob, message: &mut Message) -> i32 {
    // SAFETY: both are ours and live as long as the call; the record is not touched.
    unsafe { job_modify(job.as_ptr(), ptr::null_mut(), 1000, &raw mut message.0) }
}

/// The prefix of this release.
fn gres(slurm: Slurm) -> &'static str {
    if slurm.release() >= Release::V23_11 { "gres/" } else { "gres:" }
}

#[test]
fn a_batch_job_is_rewritten_filled_in_and_annotated() {
    with_slurm("[submit]\ncpus_per_leaf = 2\nmemory_per_leaf = 100", |slurm| {
        let test = TestJob::new(slurm)
            .with_text("tres_per_node", "gres/flexmig:4")
            .with_text("admin_comment", "by lua")
            .batch(&["HOME=/root"]);
        let mut message = Message::new(slurm, Some("lua was here"));
        assert_eq!(submit(&test, &mut message), SLURM_SUCCESS);
        let job = view(slurm, &test);
        let expected = format!("{}flexmig:1g.10gb:4", gres(slurm));
        assert_eq!(job.tres_per_node().as_deref(), Some(expected.as_str()));
        assert_eq!((job.min_nodes(), job.max_nodes()), (Some(1), Some(1)));
        assert_eq!((job.num_tasks(), job.ntasks_per_node()), (Some(4), Some(4)));
        assert_eq!((job.cpus_per_task(), job.min_cpus()), (Some(2), Some(8)));
        assert_eq!(job.pn_min_memory(), Some(400));
        assert_eq!(job.env("FLEXMIG_REQUEST").as_deref(), Some("1g.10gb:4"));
        assert_eq!(
            job.admin_comment().as_deref(),
            Some("by lua [flexmig:v1 req=4 got=1g.10gb:4 fill=tcm why=smallest]")
        );
        assert_eq!(
            message.text(),
            "lua was here\n\
             flexmig: --gres=flexmig:4: 4 leaves of 1g.10gb on one node, 4 tasks, 2 CPUs per task, \
             400 MiB of memory per node"
        );
    });
}

#[test]
fn a_job_without_leaves_is_left_alone_and_loses_what_it_inherited() {
    with_slurm("", |slurm| {
        let test = TestJob::new(slurm).with_text("tres_per_node", "gres:gpu:1").batch(&[
            "HOME=/root",
            "FLEXMIG_UUIDS=MIG-a,MIG-b",
            "FLEXMIG_REQUEST=1g.10gb:2",
            "FLEXMIG_LOG=info",
            "FLEXMIG_MODE=off",
            "SLURM_JOB_FLEXMIGS=0,1",
            "CUDA_VISIBLE_DEVICES=MIG-a,MIG-b",
            "NVIDIA_VISIBLE_DEVICES=GPU-1,MIG-b",
            "SLURM_TRES_BIND=gres/flexmig:per_task:1",
            "FLEXMIG_NCCL_SET=NCCL_P2P_DISABLE=1,NCCL_CUMEM_ENABLE=0,LD_PRELOAD=/l/ours.so",
            "FLEXMIG_MODE_REASON=set by the user",
            "NCCL_P2P_DISABLE=1",
            "NCCL_CUMEM_ENABLE=1",
            "LD_PRELOAD=/a.so:/l/ours.so",
        ]);
        let mut message = Message::new(slurm, None);
        assert_eq!(submit(&test, &mut message), SLURM_SUCCESS);
        let job = view(slurm, &test);
        assert_eq!(job.tres_per_node().as_deref(), Some("gres:gpu:1"));
        assert_eq!((job.min_nodes(), job.num_tasks(), job.admin_comment()), (None, None, None));
        let names = [
            "HOME",
            "FLEXMIG_LOG",
            "FLEXMIG_MODE",
            "NVIDIA_VISIBLE_DEVICES",
            "NCCL_CUMEM_ENABLE",
            "LD_PRELOAD",
        ];
        assert_eq!(job.env_names(), names);
        assert_eq!(job.env("NVIDIA_VISIBLE_DEVICES").as_deref(), Some("GPU-1"));
        assert_eq!(job.env("LD_PRELOAD").as_deref(), Some("/a.so"));
        assert_eq!(job.env("NCCL_CUMEM_ENABLE").as_deref(), Some("1"), "the user's own value");
        assert_eq!(message.text(), "");
    });
}

#[test]
fn rejections_have_a_line_and_a_code() {
    with_slurm("[submit]\nmax_leaves_per_node = 4", |slurm| {
        for (request, code, line) in [
            (
                "flexmig:0",
                ESLURM_INVALID_GRES,
                "flexmig: --gres=flexmig:0: \"0\" is not a count from 1 up: \
                 type flexmig:N with N leaves per node",
            ),
            (
                "flexmig:8",
                ESLURM_ACCESS_DENIED,
                "flexmig: --gres=flexmig:8: site policy allows at most 4 leaves per node: \
                 type -N 2 --gres=flexmig:1g.10gb:4",
            ),
        ] {
            let test = TestJob::new(slurm).with_text("tres_per_node", request);
            let mut message = Message::new(slurm, None);
            assert_eq!(submit(&test, &mut message), code);
            assert_eq!(message.text(), line);
            assert_eq!(view(slurm, &test).tres_per_node().as_deref(), Some(request));
        }
    });
}

#[test]
fn updates_change_the_request_only() {
    with_slurm("", |slurm| {
        let test = TestJob::new(slurm).with_text("tres_per_node", "gres/flexmig:2g.20gb:2");
        let mut message = Message::new(slurm, None);
        let code = modify(&test, &mut message);
        let job = view(slurm, &test);
        if slurm.version() >= Version::new(23, 2, 6) {
            assert_eq!(code, SLURM_SUCCESS);
            let expected = format!("{}flexmig:2g.20gb:2", gres(slurm));
            assert_eq!(job.tres_per_node().as_deref(), Some(expected.as_str()));
        } else {
            assert_eq!(code, ESLURM_INVALID_GRES);
        }
        // 22.05 has no place for a message: whatever stands there is not touched.
        assert_eq!(
            message.text().is_empty(),
            code == SLURM_SUCCESS || !slurm.release().job_modify_has_err_msg()
        );
        assert_eq!((job.min_nodes(), job.num_tasks(), job.admin_comment()), (None, None, None));
        let other = TestJob::new(slurm).with_text("comment", "flexmig");
        assert_eq!(modify(&other, &mut message), SLURM_SUCCESS);
    });
}

/// slurmctld calls from many threads at once (23.02 and later), while the settings change.
#[test]
fn submits_run_at_once() {
    with_slurm("", |slurm| {
        let ones = || {
            for _ in 0..300 {
                let test = TestJob::new(slurm)
                    .with_text("tres_per_node", "gres:flexmig:4")
                    .batch(&["FLEXMIG_UUIDS=MIG-outer", "HOME=/root"]);
                assert_eq!(submit(&test, &mut Message::new(slurm, None)), SLURM_SUCCESS);
                let job = view(slurm, &test);
                let expected = format!("{}flexmig:1g.10gb:4", gres(slurm));
                assert_eq!(job.tres_per_node().as_deref(), Some(expected.as_str()));
                assert_eq!(job.env("FLEXMIG_UUIDS"), None);
            }
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(ones)));
            (0..300).for_each(|_| settings::publish(site("[submit]\nmax_leaves_per_node = 9")));
        });
    });
}

/// Not a benchmark, a guard against I/O or a walk over all nodes on the submit path: `make bench`
/// has the figures.
#[test]
fn a_submit_takes_microseconds() {
    with_slurm("", |slurm| {
        const ROUNDS: u32 = 200;
        let environment: Vec<String> = (0..100).map(|n| format!("VARIABLE_{n}=value")).collect();
        let environment: Vec<&str> = environment.iter().map(String::as_str).collect();
        for request in ["gres:gpu:1", "gres:flexmig:4"] {
            let jobs: Vec<TestJob> = (0..ROUNDS)
                .map(|_| {
                    TestJob::new(slurm).with_text("tres_per_node", request).batch(&environment)
                })
                .collect();
            let start = Instant::now();
            for job in &jobs {
                assert_eq!(submit(job, &mut Message::new(slurm, None)), SLURM_SUCCESS);
            }
            let each = start.elapsed() / ROUNDS;
            println!("{request}: {each:?}");
            assert!(each.as_micros() < 2000, "{request}: {each:?}");
        }
    });
}
