//! `flexmig probe` on mock nodes, with a stand-in for libcuda.so.1 whose memory is memfds.

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use common::{Host, Ran, a100};

/// The driver functions of the probe. `STAND_IN` says what goes wrong.
const LIBCUDA: &str = r#"
use std::ffi::{c_char, c_int, c_uint, c_void};
unsafe extern "C" {
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    fn ftruncate(fd: c_int, size: i64) -> c_int;
    fn dup(fd: c_int) -> c_int;
    fn mmap(at: *mut c_void, size: usize, prot: c_int, flags: c_int, fd: c_int, from: i64) -> *mut c_void;
}
fn wrong(what: &str) -> bool { std::env::var("STAND_IN").is_ok_and(|text| text == what) }
fn fails(what: &str, result: c_int) -> c_int { if wrong(what) { result } else { 0 } }
#[unsafe(no_mangle)] extern "C" fn cuInit(_: c_uint) -> c_int {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    if !visible.starts_with("MIG-") || visible.contains(',') { return 100 }
    if wrong("hang") { std::thread::sleep(std::time::Duration::from_secs(1000)) }
    fails("init", 100)
}
#[unsafe(no_mangle)] unsafe extern "C" fn cuDriverGetVersion(to: *mut c_int) -> c_int { *to = 13000; 0 }
#[unsafe(no_mangle)] unsafe extern "C" fn cuGetErrorName(result: c_int, to: *mut *const c_char) -> c_int {
    *to = match result { 2 => c"CUDA_ERROR_OUT_OF_MEMORY", 100 => c"CUDA_ERROR_NO_DEVICE", 801 => c"CUDA_ERROR_NOT_SUPPORTED", _ => return 1 }.as_ptr(); 0
}
#[unsafe(no_mangle)] unsafe extern "C" fn cuDeviceGet(to: *mut c_int, _: c_int) -> c_int { *to = 0; 0 }
#[unsafe(no_mangle)] unsafe extern "C" fn cuDevicePrimaryCtxRetain(to: *mut *mut c_void, _: c_int) -> c_int { *to = 8 as _; 0 }
#[unsafe(no_mangle)] extern "C" fn cuCtxSetCurrent(_: *mut c_void) -> c_int { 0 }
#[unsafe(no_mangle)] unsafe extern "C" fn cuMemGetAllocationGranularity(to: *mut usize, prop: *const c_int, _: c_int) -> c_int {
    // Pinned, exportable as a descriptor, on a device.
    if [*prop, *prop.add(1), *prop.add(2)] != [1, 1, 1] { return 1 }
    *to = 2 << 20; 0
}
#[unsafe(no_mangle)] unsafe extern "C" fn cuMemCreate(to: *mut u64, size: usize, _: *const c_void, _: u64) -> c_int {
    if wrong("full") { return 2 }
    let fd = memfd_create(c"memory".as_ptr(), 0);
    ftruncate(fd, size as i64);
    *to = fd as u64; 0
}
#[unsafe(no_mangle)] unsafe extern "C" fn cuMemExportToShareableHandle(to: *mut c_int, handle: u64, _: c_int, _: u64) -> c_int {
    *to = dup(handle as c_int); fails("export", 801)
}
#[unsafe(no_mangle)] unsafe extern "C" fn cuMemImportFromShareableHandle(to: *mut u64, fd: *mut c_void, _: c_int) -> c_int {
    if wrong("crash") { std::process::abort() }
    *to = dup(fd as usize as c_int) as u64; fails("import", 801)
}
#[unsafe(no_mangle)] unsafe extern "C" fn cuMemAddressReserve(to: *mut u64, size: usize, _: usize, _: u64, _: u64) -> c_int {
    *to = mmap(std::ptr::null_mut(), size, 0, 0x22, -1, 0) as u64; 0
}
#[unsafe(no_mangle)] unsafe extern "C" fn cuMemMap(at: u64, size: usize, _: usize, handle: u64, _: u64) -> c_int {
    mmap(at as _, size, 3, 0x11, handle as c_int, 0); fails("map", 719)
}
#[unsafe(no_mangle)] extern "C" fn cuMemSetAccess(_: u64, _: usize, _: *const c_void, _: usize) -> c_int { 0 }
#[unsafe(no_mangle)] unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const u8, size: usize) -> c_int {
    std::ptr::copy(from, to as *mut u8, size);
    if wrong("damage") { *(to as *mut u8).add(size - 1) ^= 4 }
    0
}
#[unsafe(no_mangle)] unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut u8, from: u64, size: usize) -> c_int {
    std::ptr::copy(from as *const u8, to, size); 0
}
#[unsafe(no_mangle)] extern "C" fn cuMemUnmap(_: u64, _: usize) -> c_int { 0 }
#[unsafe(no_mangle)] extern "C" fn cuMemAddressFree(_: u64, _: usize) -> c_int { 0 }
#[unsafe(no_mangle)] extern "C" fn cuMemRelease(_: u64) -> c_int { 0 }
"#;

fn libcuda() -> &'static str {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = path.join(format!("libcuda-{}.so", std::process::id()));
        let source = path.with_extension("rs");
        let head = "#![allow(non_snake_case, unsafe_op_in_unsafe_fn)]\n";
        std::fs::write(&source, format!("{head}{LIBCUDA}")).unwrap();
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.args(["--edition=2024", "--crate-type=cdylib", "--crate-name=cuda", "-o"]);
        assert!(command.args([&path, &source]).status().unwrap().success());
        path
    });
    path.to_str().unwrap()
}

fn probe(host: &Host, wrong: &str, more: &[&str]) -> Ran {
    let arguments = [&["probe", "--node", "n1", "--cuda", libcuda()][..], more].concat();
    let output = host.command(&arguments).env("STAND_IN", wrong).output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Two GPUs, each with two profiles.
fn host() -> Host {
    Host::new(a100(2, "3g.40gb,1g.10gb*2"))
}

fn stored(host: &Host) -> String {
    std::fs::read_to_string(host.path("flexmig-probe.toml")).unwrap_or_default()
}

#[test]
fn every_pair_of_profiles_is_tried_once_and_the_result_stored() {
    let host = host();
    let ran = probe(&host, "", &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let works: Vec<&str> = ran.stdout.lines().filter(|line| line.ends_with(": works")).collect();
    assert_eq!(works, ["  3g.40gb to 1g.10gb: works", "  1g.10gb to 1g.10gb: works"]);
    for part in [
        "driver 550.",
        "CUDA API 13.0",
        ": create, map and write, export, read what the other wrote\n",
        ": import, map, read what the other wrote, write\n",
        "  2097152 bytes\n",
        "stored in ",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let text = stored(&host);
    assert!(text.contains("profiles = [\"1g.10gb\", \"3g.40gb\"]\nimport = true\n"), "{text}");
    // A later answer takes the place of the earlier.
    probe(&host, "import", &[]);
    let text = stored(&host);
    assert_eq!(text.matches("[[result]]").count(), 2, "{text}");
    assert_eq!(text.matches("import = false").count(), 2, "{text}");
}

#[test]
fn a_driver_that_refuses_is_a_no_with_its_reason() {
    for (wrong, reason) in [
        ("import", "importer: cuMemImportFromShareableHandle: CUDA_ERROR_NOT_SUPPORTED (801)"),
        ("export", "exporter: cuMemExportToShareableHandle: CUDA_ERROR_NOT_SUPPORTED (801)"),
        ("map", "exporter: cuMemMap: an unknown error (719)"),
        ("damage", "importer: what the exporter wrote is not what the importer reads"),
        ("crash", "importer: died of signal 6 in the driver"),
    ] {
        let host = host();
        let ran = probe(&host, wrong, &[]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert!(ran.stdout.contains(&format!("1g.10gb to 1g.10gb: FAILS: {reason}\n")), "{ran:?}");
        assert!(stored(&host).contains(&format!("import = false\nfailure = \"{reason}\"\n")));
    }
}

#[test]
fn what_could_not_be_tested_is_not_stored() {
    for (wrong, reason) in [
        ("init", "exporter: cuInit: CUDA_ERROR_NO_DEVICE (100)"),
        ("full", "exporter: cuMemCreate: CUDA_ERROR_OUT_OF_MEMORY (2)"),
    ] {
        let host = host();
        let ran = probe(&host, wrong, &[]);
        assert_eq!((ran.status, ran.stderr.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stdout.contains(&format!("could not be tested: {reason}\n")), "{ran:?}");
        assert!(ran.stdout.ends_with("\nnot stored\n"), "{ran:?}");
        assert_eq!(stored(&host), "");
    }
    let host = host();
    let ran = host.run(&["probe", "--node", "n1", "--cuda", "/nowhere/libcuda.so.1"]);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.contains("/nowhere/libcuda.so.1: cannot open shared object"), "{ran:?}");
}

#[test]
fn json_says_the_same_and_no_store_leaves_the_file() {
    let host = host();
    let ran = probe(&host, "", &["--json", "--no-store"]);
    let json = ran.json();
    assert_eq!((&json["node"], &json["stored_in"]), (&"n1".into(), &serde_json::Value::Null));
    let pair = &json["pairs"][0];
    assert_eq!((&pair["import"], &pair["bytes"]), (&true.into(), &(2 << 20).into()));
    assert_eq!(pair["profiles"][1], "1g.10gb");
    assert_eq!(stored(&host), "");
}

#[test]
fn nothing_to_probe_and_a_damaged_file_are_one_line() {
    let alone = Host::new(a100(2, "7g.80gb"));
    let ran = probe(&alone, "", &[]);
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.stderr,
        "flexmig: node n1: no GPU has two leaves: 2 leaves on 2 GPUs: there is nothing to probe; run \
         it where GPUs are cut into several leaves\n"
    );
    let host = host();
    host.write("flexmig-probe.toml", "version = 9\n");
    let ran = probe(&host, "", &[]);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.contains(": works"), "the report is printed: {ran:?}");
    assert!(ran.stderr.ends_with("mend or remove the file, then probe again\n"), "{ran:?}");
    assert!(ran.stderr.contains("flexmig-probe.toml:1: version 9"), "{ran:?}");
    assert_eq!(stored(&host), "version = 9\n");
}
