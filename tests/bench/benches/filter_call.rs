//! Time of one `job_submit()` call: the built `job_submit_flexmig.so` against the installed
//! `job_submit_lua.so` with an equivalent rule, in one process, on the same job descriptions.
//!
//! `host` stands in for slurmctld. Before anything is timed both plugins must have rewritten the
//! request in the same way, else the comparison would be void.
#![allow(missing_docs)] // criterion's macros

mod host;

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion};
use slurm_sys::{ESLURM_ACCESS_DENIED, JobDesc, Slurm, testing::TestJob};

use host::{Plugin, message};

/// A job, and what both plugins must make of it.
struct Case {
    name: &'static str,
    gres: Option<&'static str>,
    /// Return code, and the request afterwards.
    expect: (i32, Option<&'static str>),
}

const CASES: [Case; 5] = [
    Case {
        name: "untyped",
        gres: Some("gres:flexmig:4"),
        expect: (0, Some("gres:flexmig:1g.10gb:4")),
    },
    Case {
        name: "by_memory",
        gres: Some("gres:flexmig:20gb:2"),
        expect: (0, Some("gres:flexmig:2g.20gb:2")),
    },
    Case {
        name: "exact",
        gres: Some("gres:gpu:1,gres:flexmig:3g.40gb:2"),
        expect: (0, Some("gres:gpu:1,gres:flexmig:3g.40gb:2")),
    },
    Case {
        name: "rejected",
        gres: Some("gres:flexmig:40"),
        expect: (ESLURM_ACCESS_DENIED, Some("gres:flexmig:40")),
    },
    Case { name: "no_leaves", gres: None, expect: (0, None) },
];

/// The environment that sbatch sends along: a login shell's, and Slurm's own variables.
fn environment() -> Vec<String> {
    let mut variables: Vec<String> = [
        "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
        "HOME=/home/user",
        "USER=user",
        "SHELL=/bin/bash",
        "LANG=C.UTF-8",
        "SLURM_JOB_NAME=train",
        "SLURM_PRIO_PROCESS=0",
        "SLURM_SUBMIT_DIR=/home/user/run",
        "SLURM_SUBMIT_HOST=login1",
    ]
    .map(str::to_owned)
    .into();
    variables.extend((0..40).map(|n| format!("MODULE_VARIABLE_{n}=/opt/software/module/{n}/lib")));
    variables
}

fn job(slurm: Slurm, case: &Case, environment: &[&str]) -> TestJob {
    let job = TestJob::new(slurm).batch(environment).with_text("partition", "gpu");
    match case.gres {
        Some(gres) => job.with_text("tres_per_node", gres),
        None => job,
    }
}

/// What is compared of a job after the call.
#[derive(Debug, PartialEq)]
struct Rewritten {
    code: i32,
    gres: Option<String>,
    nodes: (Option<u32>, Option<u32>),
    tasks: Option<u32>,
    promise: Option<String>,
}

fn check(slurm: Slurm, plugin: &Plugin, case: &Case, environment: &[&str]) -> Rewritten {
    let job = job(slurm, case, environment);
    let (code, text) = plugin.submit(&job, message);
    // SAFETY: our own job description, used by nobody else.
    let desc = unsafe { JobDesc::from_raw(slurm, job.as_ptr()) }.expect("not null");
    let gres = desc.tres_per_node().map(|gres| gres.into_owned());
    let name = plugin.name;
    assert_eq!((code, gres.as_deref()), case.expect, "{name}, {}: {text:?}", case.name);
    // A job that asks for no leaves passes in silence; all others get a line.
    assert_eq!(text.is_some(), case.gres.is_some(), "{name}, {}: {text:?}", case.name);
    let accepted = code == 0 && case.gres.is_some();
    let note = desc.admin_comment().is_some_and(|note| note.contains("[flexmig:v1 req="));
    assert_eq!(note, accepted, "{name}, {}: admin_comment", case.name);
    Rewritten {
        code,
        gres,
        nodes: (desc.min_nodes(), desc.max_nodes()),
        tasks: desc.num_tasks(),
        promise: desc.env("FLEXMIG_REQUEST").map(|value| value.into_owned()),
    }
}

/// Times the call alone; each job is made just before it.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    plugin: &Plugin,
    mut job: impl FnMut() -> TestJob,
) {
    group.bench_function(plugin.name, |bencher| {
        bencher.iter_batched(
            &mut job,
            |job| (black_box(plugin.submit(&job, |_| ())), job),
            BatchSize::PerIteration,
        );
    });
}

fn main() {
    let host = host::start().unwrap_or_else(|error| panic!("filter_call: {error}"));
    let plugins = [&host.flexmig, &host.lua];
    let variables = environment();
    let environment: Vec<&str> = variables.iter().map(String::as_str).collect();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    for case in &CASES {
        let [ours, lua] = plugins.map(|plugin| check(host.slurm, plugin, case, &environment));
        assert_eq!(ours, lua, "{}: not the same work", case.name);
    }
    host::discard_log();
    for case in &CASES {
        let mut group = criterion.benchmark_group(format!("filter_call_{}", case.name));
        for plugin in plugins {
            measure(&mut group, plugin, || job(host.slurm, case, &environment));
        }
        group.finish();
    }
    // In a real slurmctld other work has taken the caches since the last call.
    let mut memory = vec![1_u8; 64 << 20];
    let mut group = criterion.benchmark_group("filter_call_cold");
    for plugin in plugins {
        measure(&mut group, plugin, || {
            let job = job(host.slurm, &CASES[0], &environment);
            memory.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
            job
        });
    }
    group.finish();
    criterion.final_summary();
}
