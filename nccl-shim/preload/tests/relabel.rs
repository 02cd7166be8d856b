//! Relabelling, with libcuda and libnvidia-ml from mocks: what a library that stands in for NCCL gets
//! from `dlsym`, and what every other caller gets.

use std::path::Path;
use std::process::Command;

use mock_nvml::{Node, NodeSpec};

mod common;

use common::{Finished, Job, mock_cuda};

/// Two GPUs with two leaves each, the mock libraries in a folder, and a job on all four leaves.
struct Fixture {
    dir: tempfile::TempDir,
    uuids: Vec<String>,
    /// Synthetic.
    ids: Vec<String>,
    /// Of the GPUs, as CUDA writes them.
    real: Vec<String>,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let spec = NodeSpec::preset("dgx-a100").unwrap().gpus(2).mig("3g.40gb*2");
        mock_nvml::install(dir.path(), &spec).unwrap();
        std::fs::copy(mock_cuda().join("libmock_cuda.so"), dir.path().join("libcuda.so.1"))
            .unwrap();
        let node = Node::new(spec).unwrap();
        let leaves =
            || node.gpus.iter().flat_map(|gpu| gpu.leaves.iter().map(move |leaf| (gpu, leaf)));
        Fixture {
            dir,
            uuids: leaves().map(|(_, leaf)| leaf.uuid.clone()).collect(),
            ids: leaves()
                .map(|(gpu, leaf)| {
                    gpu.bus_id.synthetic(leaf.gi, leaf.compute.id).unwrap().to_string()
                })
                .collect(),
            real: leaves().map(|(gpu, _)| gpu.bus_id.to_string()[4..].to_uppercase()).collect(),
        }
    }

    /// Rank `local` of the job.
    fn rank(&self, local: u32, mode: &str) -> Job {
        let devices: Vec<String> =
            self.uuids.iter().zip(&self.real).map(|(uuid, id)| format!("{uuid}@{id}")).collect();
        Job::new()
            .rank(local)
            .with("FLEXMIG_MODE", mode)
            .with("FLEXMIG_UUIDS", &self.uuids.join(","))
            .with("FLEXMIG_BUS_IDS", &self.ids.join(","))
            .with("CUDA_VISIBLE_DEVICES", &self.uuids.join(","))
            .with("MOCK_CUDA_DEVICES", &devices.join(","))
            .with("LD_LIBRARY_PATH", self.dir.path().to_str().unwrap())
    }

    /// What the stand-in for NCCL finds.
    fn nccl(&self, job: &Job) -> Finished {
        resolve(job, Some(&mock_cuda().join("examples/libstand_in_nccl.so")))
    }
}

fn resolve(job: &Job, library: Option<&Path>) -> Finished {
    let program = mock_cuda().join("mock-cudart");
    let library: Vec<&str> = library.iter().map(|path| path.to_str().unwrap()).collect();
    job.run(program.to_str().unwrap(), &library)
}

/// The domain of a bus id over the rest of a real one, in CUDA's case.
fn synthetic(real: &str, id: &str) -> String {
    format!("{}{}", id[4..8].to_uppercase(), &real[4..])
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
}

#[test]
fn nccl_sees_the_leafs_own_synthetic_id() {
    let fixture = Fixture::new();
    for rank in 0..4 {
        let found = fixture.nccl(&fixture.rank(rank as u32, "relabel-shm")).clean();
        let id = synthetic(&fixture.real[rank], &fixture.ids[rank]);
        // By all three ways; in buffers of 13, 16 and 3 bytes.
        let line = format!("own bus id: 0 {id}; 0 {id}; 0 {}", &id[..2]);
        assert_eq!(found.matches(&line).count(), 3, "rank {rank}: {line}\n{found}");
        has(&found, "dlsym cuGetProcAddress_v2: libflexmig_preload.so");
        has(&found, "cuGetProcAddress 12000: libflexmig_preload.so");
        has(&found, "cuGetProcAddress 11030: libflexmig_preload.so");
        has(&found, "cuGetProcAddress cuDeviceGetByPCIBusId: libflexmig_preload.so");
        // What CUDA's runtime checks is the driver's own.
        has(&found, "dlsym cuInit: libcuda.so.1");
        has(&found, "dlsym cuDeviceGetUuid_v2: libcuda.so.1");
        has(&found, "cuGetProcAddress cuDeviceGetUuid: libcuda.so.1");
        has(&found, "dlsym cuNoSuchFunction: nowhere");
        for (leaf, id) in fixture.ids.iter().enumerate() {
            // The others are not devices of this process; 1 and 101 are CUDA's words for it.
            let answer = match leaf {
                _ if leaf == rank => "0 device 0",
                _ if leaf / 2 == rank / 2 => "101 device 0",
                _ => "1 device -1",
            };
            has(&found, &format!("cuda {id}: {answer}"));
        }
    }
}

#[test]
fn nvml_finds_the_parent_of_every_leaf() {
    let fixture = Fixture::new();
    let real = fixture.real[2].clone();
    let id = &fixture.ids[1];
    let upper = format!("{}:{}", id[4..8].to_uppercase(), &id[9..]);
    let job = fixture
        .rank(1, "relabel-shm")
        .with("ASK_BUS_IDS", &format!("{real},{upper},8000:77:00.0,x"));
    let found = fixture.nccl(&job).clean();
    for (place, id) in fixture.ids.iter().enumerate() {
        let line = format!("nvml {id}: 0 GPU {}", place / 2);
        assert_eq!(found.matches(&line).count(), 2, "both forms: {line}\n{found}");
    }
    for form in ["nvmlDeviceGetHandleByPciBusId", "nvmlDeviceGetHandleByPciBusId_v2"] {
        has(&found, &format!("dlsym {form}: libflexmig_preload.so"));
    }
    has(&found, &format!("nvml {real}: 0 GPU 1"));
    has(&found, &format!("nvml {upper}: 0 GPU 0"));
    has(&found, "nvml 8000:77:00.0: 6 GPU -1");
    has(&found, "nvml x: 2 GPU -1");
}

#[test]
fn p2p_inside_a_gpu_is_answered_in_relabel_p2p_only() {
    let fixture = Fixture::new();
    let statuses = |mode| {
        let found = fixture.nccl(&fixture.rank(0, mode)).clean();
        let lines: Vec<String> =
            found.lines().filter(|line| line.contains("p2p: ")).map(str::to_owned).collect();
        lines.join(", ")
    };
    // Leaves 0 and 1, 1 and 2, 2 and 3; 5 is NVML_P2P_STATUS_NOT_SUPPORTED.
    assert_eq!(statuses("relabel-p2p"), "p2p: 0, p2p: 5, p2p: 0");
    assert_eq!(statuses("relabel-shm"), "p2p: 5, p2p: 5, p2p: 5");
}

#[test]
fn only_nccl_and_only_where_relabelling_is_wanted() {
    let fixture = Fixture::new();
    let without = |found: String| {
        assert!(!found.contains("flexmig"), "{found}");
        let real = &fixture.real[2];
        has(&found, &format!("own bus id: 0 {real}; 0 {real}; 0 {}", &real[..2]));
        found
    };
    let plain = fixture.rank(2, "relabel-shm").without("LD_PRELOAD");
    let plain = plain.with("CUDA_VISIBLE_DEVICES", &fixture.uuids[2]);
    // Any other caller: every answer is what it is without us.
    let bare = without(resolve(&plain, None).clean());
    assert_eq!(bare, without(resolve(&fixture.rank(2, "relabel-shm"), None).clean()));
    for mode in ["native", "net"] {
        assert_eq!(bare, without(fixture.nccl(&fixture.rank(2, mode)).clean()), "{mode}");
    }
    let off =
        plain.with("FLEXMIG_MODE", "off").with("LD_PRELOAD", common::library().to_str().unwrap());
    assert_eq!(bare, without(fixture.nccl(&off).clean()));
}

#[test]
fn nccl_is_known_by_its_symbol_or_by_the_users_word() {
    let fixture = Fixture::new();
    let library = fixture.dir.path().join("libother.so");
    let original = mock_cuda().join("examples/libstand_in_nccl.so");
    // The same library under another name, and without the symbol.
    std::fs::copy(&original, &library).unwrap();
    let ours = "dlsym cuGetProcAddress_v2: libflexmig_preload.so";
    let theirs = "dlsym cuGetProcAddress_v2: libcuda.so.1";
    let job = fixture.rank(2, "relabel-shm");
    has(&resolve(&job, Some(&library)).clean(), ours);
    let text = std::fs::read(&original).unwrap();
    let name = b"ncclGetVersion\0";
    let mut renamed = text.clone();
    let places: Vec<usize> =
        (0..text.len() - name.len()).filter(|place| text[*place..].starts_with(name)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|place| renamed[*place] = b'x');
    let unnamed = fixture.dir.path().join("libnccl.so.2");
    std::fs::write(&unnamed, renamed).unwrap();
    has(&resolve(&job, Some(&unnamed)).clean(), theirs);
    let named = job.clone().with("FLEXMIG_NCCL_CALLERS", "libx.so,libnccl.so.2,");
    has(&resolve(&named, Some(&unnamed)).clean(), ours);
    has(&resolve(&job.with("FLEXMIG_NCCL_CALLERS", "mock-cudart"), None).clean(), ours);
}

#[test]
fn what_cannot_be_relabelled_is_one_line() {
    let fixture = Fixture::new();
    let check = |job: Job, words: &str| {
        let finished = fixture.nccl(&job);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let lines: Vec<&str> = finished.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("flexmig: not relabelled: ") && lines[0].contains(words),
            "{lines:?}"
        );
        let real = &fixture.real[1];
        has(&finished.stdout, &format!("own bus id: 0 {real}; 0 {real}; 0 {}", &real[..2]));
    };
    let job = || fixture.rank(1, "relabel-shm");
    check(job().with("FLEXMIG_BUS_IDS", &fixture.ids[0]), "of unequal length: leave both");
    check(job().with("FLEXMIG_BUS_IDS", "a,b,c,d"), "is not a synthetic bus id of this device");
    check(
        job().with("FLEXMIG_BUS_IDS", &[&fixture.ids[2..], &fixture.ids[2..]].concat().join(",")),
        "of this device",
    );
    let uuids = ["MIG-x", &fixture.uuids[0], "MIG-z", "MIG-y"].join(",");
    let other = job().with("FLEXMIG_UUIDS", &uuids).with("CUDA_VISIBLE_DEVICES", &fixture.uuids[1]);
    check(other, "the CUDA device is not in FLEXMIG_UUIDS");
    let twice = vec![fixture.uuids[1].clone(); 4].join(",");
    let twice = job().with("FLEXMIG_UUIDS", &twice).with("CUDA_VISIBLE_DEVICES", &fixture.uuids[1]);
    check(twice.without("LOCAL_RANK"), "several times in FLEXMIG_UUIDS: set FLEXMIG_LEAF");
}

#[test]
fn one_device_may_be_several_leaves() {
    let fixture = Fixture::new();
    let uuid = &fixture.uuids[0];
    let id = |leaf: u32| format!("{:04X}{}", 0x8000 | leaf << 11, &fixture.real[0][4..]);
    let ids = [id(0), id(1)].join(",");
    for leaf in 0..2 {
        let job = fixture.rank(0, "relabel-shm").without("LOCAL_RANK");
        let job = job
            .with("FLEXMIG_UUIDS", &[uuid.as_str(), uuid].join(","))
            .with("FLEXMIG_BUS_IDS", &ids)
            .with("CUDA_VISIBLE_DEVICES", uuid)
            .with("FLEXMIG_LEAF", &leaf.to_string());
        has(
            &fixture.nccl(&job).clean(),
            &format!("own bus id: 0 {0}; 0 {0}; 0 8{1}", id(leaf), leaf * 8),
        );
    }
}

#[test]
fn the_log_tells_what_was_done() {
    let fixture = Fixture::new();
    let job = fixture.rank(3, "relabel-shm");
    let info = fixture.nccl(&job.clone().with("FLEXMIG_LOG", "info")).stderr;
    let id = synthetic(&fixture.real[3], &fixture.ids[3]);
    has(&info, &format!("flexmig: relabelled: leaf 3 is {id} for NCCL"));
    let debug = fixture.nccl(&job.with("FLEXMIG_LOG", "debug")).stderr;
    let path = mock_cuda().join("examples/libstand_in_nccl.so");
    has(&debug, &format!("flexmig: hook: dlsym cuGetProcAddress_v2 for {}", path.display()));
    has(&debug, "flexmig: hook: cuGetProcAddress cuDeviceGetPCIBusId");
}

#[test]
fn other_preloaded_libraries_work_beside_it() {
    let fixture = Fixture::new();
    let ours = common::library().to_str().unwrap();
    let next = mock_cuda().join("examples/libstand_in_next.so");
    let next = next.to_str().unwrap();
    let mut lists = vec![format!("{next}:{ours}"), format!("{ours}:{next}")];
    let jemalloc = Path::new("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2");
    if jemalloc.exists() {
        lists.push(format!("{}:{ours}", jemalloc.display()));
        lists.push(format!("{ours}:{}:{next}", jemalloc.display()));
    } else {
        eprintln!("skipped: jemalloc (libjemalloc2) is not installed");
    }
    for list in lists {
        let job = fixture.rank(1, "relabel-shm").with("LD_PRELOAD", &list);
        let found = fixture.nccl(&job).clean();
        has(&found, "getppid: right");
        has(&found, "dlsym cuGetProcAddress_v2: libflexmig_preload.so");
        if Command::new("python3").arg("--version").output().is_ok() {
            let script = "import ctypes, os, threading; ctypes.CDLL(None).getppid(); print(os.getppid() > 0)";
            assert_eq!(job.run("python3", &["-c", script]).clean(), "True\n", "{list}");
        }
    }
}
