//! The same library for aarch64, under qemu's user emulation: the naked function, the constructor,
//! the wrappers. Skipped where the cross compiler (gcc-aarch64-linux-gnu) or qemu-user is missing.

use std::path::PathBuf;
use std::process::Command;

mod common;

use common::{Finished, Job, UUIDS, have, target};

const TRIPLE: &str = "aarch64-unknown-linux-gnu";
const SYSROOT: &str = "/usr/aarch64-linux-gnu";

/// The directory of the cross builds, if they can be made.
fn build() -> Option<PathBuf> {
    if !have("aarch64-linux-gnu-gcc") || !have("qemu-aarch64") {
        return None;
    }
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).ok()?.trim());
    if !sysroot.join("lib/rustlib").join(TRIPLE).exists() {
        eprintln!("skipped: rustup target add {TRIPLE}");
        return None;
    }
    common::cargo(&[
        "build",
        "-q",
        "-p",
        "flexmig-preload",
        "--profile",
        "preload",
        "--target",
        TRIPLE,
    ]);
    let mocks = ["--lib", "--bins", "--examples"];
    common::cargo(&[&["build", "-q", "-p", "mock-cuda", "--target", TRIPLE], &mocks[..]].concat());
    Some(target().join(TRIPLE))
}

#[test]
fn binding_and_relabelling_work_on_aarch64() {
    let Some(folder) = build() else { return };
    let library = folder.join("preload/libflexmig_preload.so");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/check-preload");
    assert!(Command::new("sh").arg(script).arg(&library).status().unwrap().success());

    let dir = tempfile::tempdir().unwrap();
    let built = folder.join("debug");
    std::fs::copy(built.join("libmock_cuda.so"), dir.path().join("libcuda.so.1")).unwrap();
    let next = built.join("examples/libstand_in_next.so");
    for list in [[&library, &next], [&next, &library]] {
        let preload = list.map(|path| path.to_str().unwrap()).join(":");
        let devices = UUIDS[..2].iter().map(|uuid| format!("{uuid}@0000:3B:00.0"));
        let output = Job::new()
            .rank(1)
            .without("LD_PRELOAD")
            .with("QEMU_SET_ENV", &format!("LD_PRELOAD={preload}"))
            .with("LD_LIBRARY_PATH", dir.path().to_str().unwrap())
            .with("FLEXMIG_MODE", "relabel-shm")
            .with("FLEXMIG_UUIDS", &UUIDS[..2].join(","))
            .with("FLEXMIG_BUS_IDS", "0000b800:3b:00.0,0000c000:3b:00.0")
            .with("CUDA_VISIBLE_DEVICES", &UUIDS[..2].join(","))
            .with("MOCK_CUDA_DEVICES", &devices.collect::<Vec<_>>().join(","))
            .command("qemu-aarch64")
            .args(["-L", SYSROOT])
            .args([built.join("mock-cudart"), built.join("examples/libstand_in_nccl.so")])
            .output();
        let found = Finished::of(output.unwrap()).clean();
        for line in [
            "getppid: right",
            "dlsym cuGetProcAddress_v2: libflexmig_preload.so",
            "dlsym cuInit: libcuda.so.1",
            "dlsym cuNoSuchFunction: nowhere",
            "own bus id: 0 C000:3B:00.0; 0 C000:3B:00.0; 0 C0",
        ] {
            assert!(found.lines().any(|found| found == line), "no line {line:?} in\n{found}");
        }
    }
}
