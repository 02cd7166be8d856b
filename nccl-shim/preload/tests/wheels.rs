//! NVIDIA's published libnccl.so.2 without a GPU: is the hook reached, is the caller known, and when
//! does it read its variables? `make wheels` fetches the binaries; without them this is skipped.
//!
//! NCCL comes as far as the checks that CUDA's runtime makes of the driver. These are NVIDIA's own;
//! the mock does not answer them, and NCCL stops there.

use std::path::{Path, PathBuf};

mod common;

use common::{Job, UUIDS, mock_cuda};

/// The published binaries that are here, with their versions.
fn binaries() -> Vec<(String, PathBuf)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../build/wheels"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(String, PathBuf)> = entries
        .map(|entry| {
            (entry.file_name().to_string_lossy().into_owned(), entry.path().join("libnccl.so.2"))
        })
        .filter(|(_, library)| library.exists())
        .collect();
    found.sort();
    if found.is_empty() {
        eprintln!("skipped: no published NCCL in build/wheels: run `make wheels`");
    }
    found
}

/// What a rank says on stderr: variables read, hooks taken, results.
fn rank(library: &Path, rank: u32, mode: &str) -> String {
    rank_with(library, rank, mode, "none")
}

/// The same with an env plugin.
fn rank_with(library: &Path, rank: u32, mode: &str, plugin: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let built = mock_cuda();
    std::fs::copy(built.join("libmock_cuda.so"), dir.path().join("libcuda.so.1")).unwrap();
    let trace = built.join("examples/libtrace_getenv.so");
    let preload = [trace.to_str().unwrap(), common::library().to_str().unwrap()].join(":");
    let job = Job::new()
        .with("FLEXMIG_MODE", mode)
        .with("FLEXMIG_LOG", "debug")
        .with("FLEXMIG_UUIDS", UUIDS[0])
        .with("FLEXMIG_BUS_IDS", "0000b800:3b:00.0")
        .with("CUDA_VISIBLE_DEVICES", UUIDS[0])
        .with("MOCK_CUDA_DEVICES", &format!("{}@0000:3B:00.0", UUIDS[0]))
        .with("LD_LIBRARY_PATH", dir.path().to_str().unwrap())
        .with("HOME", dir.path().to_str().unwrap())
        .with("NCCL_ENV_PLUGIN", plugin)
        .with("LD_PRELOAD", &preload);
    let program = built.join("mock-rank");
    let limited = ["120", program.to_str().unwrap(), library.to_str().unwrap(), &rank.to_string()];
    let finished = job.run("timeout", &limited);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stderr
}

/// Where a line is, counted from 0.
#[track_caller]
fn place(said: &str, line: &str) -> usize {
    let place = said.lines().position(|found| found.starts_with(line));
    place.unwrap_or_else(|| panic!("no line {line:?} in\n{said}"))
}

#[test]
fn the_hook_is_reached_and_the_caller_known() {
    for (version, library) in binaries() {
        let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        let number = parts[0] * 10_000 + parts[1] * 100 + parts[2];
        for local in [0, 1] {
            let said = rank(&library, local, "relabel-shm");
            place(&said, &format!("ncclGetVersion: 0 {number}"));
            let hook =
                format!("flexmig: hook: dlsym cuGetProcAddress_v2 for {}", library.display());
            let hook = place(&said, &hook);
            let again = place(&said, "flexmig: hook: cuGetProcAddress cuGetProcAddress");
            let bus_id = place(&said, "flexmig: hook: cuGetProcAddress cuDeviceGetPCIBusId");
            assert!(hook < again && again < bus_id, "{version} rank {local}: {said}");
            // As far as it goes: CUDA's runtime does not start.
            place(&said, "ncclCommInitRank: 1");
        }
        let said = rank(&library, 0, "native");
        assert!(!said.contains("flexmig: hook"), "{version}: {said}");
    }
}

#[test]
fn variables_that_are_read_before_the_hook_must_be_set_at_job_start() {
    for (version, library) in binaries() {
        let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
        for local in [0, 1] {
            let said = rank(&library, local, "relabel-shm");
            let hook = place(&said, "flexmig: hook: dlsym");
            let before = |name: &str| {
                let line = format!("getenv {name}");
                said.lines().position(|found| found == line).is_some_and(|place| place < hook)
            };
            // Rank 0 opens the net plugin for its unique id, up to 2.21 and before CUDA.
            assert_eq!(before("NCCL_NET_PLUGIN"), minor <= 21 && local == 0, "{version}: {said}");
            // From 2.28 on the file and the env plugin come first of all, on every rank.
            assert_eq!(before("NCCL_CONF_FILE"), minor >= 28, "{version} {local}: {said}");
            if minor >= 28 {
                let file = place(&said, "getenv NCCL_CONF_FILE");
                let plugin = place(&said, "getenv NCCL_ENV_PLUGIN");
                let first = place(&said, "getenv NCCL_");
                assert!(
                    first == file && file < plugin && plugin < hook,
                    "{version} {local}: {said}"
                );
            }
            // What chooses the transport is read later, so it could still be said after the hook.
            for name in
                ["P2P_DISABLE", "P2P_LEVEL", "SHM_DISABLE", "CUMEM_ENABLE", "TOPO_FILE", "HOSTID"]
            {
                assert!(!before(&format!("NCCL_{name}")), "{version} {local}: {name}: {said}");
            }
        }
    }
}

#[test]
fn the_env_plugin_hears_the_version_and_ends_relabelling_where_nccl_needs_none() {
    let binaries = binaries();
    if binaries.is_empty() {
        return;
    }
    common::cargo(&["build", "-q", "-p", "flexmig-nccl-net", "--lib"]);
    let plugin = common::target().join("debug/libnccl_net_flexmig.so");
    for (version, library) in binaries {
        let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
        for local in [0, 1] {
            // The mock's driver is of CUDA 13.
            let said = rank_with(&library, local, "relabel-shm", plugin.to_str().unwrap());
            let relabelled = said.contains("flexmig: hook: cuGetProcAddress cuDeviceGetPCIBusId");
            assert_eq!(relabelled, minor < 31, "{version} rank {local}: {said}");
            place(&said, "ncclCommInitRank: 1");
        }
    }
}
