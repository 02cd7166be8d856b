//! Loads built plugins the way Slurm does: libslurmfull.so first, then the
//! plugin, then its three data symbols. Each case is a process of its own,
//! because what a constructor finds is found once.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;

/// The plugin that the child process loads.
const PLUGIN: &str = "FLEXMIG_TEST_PLUGIN";
/// libslurmfull.so, or nothing for a program that is not Slurm's.
const LIBRARY: &str = "FLEXMIG_TEST_LIBRARY";

fn library() -> Option<PathBuf> {
    let path = std::env::var_os("FLEXMIG_LIBSLURM").map_or_else(
        || {
            let arch = std::env::consts::ARCH;
            PathBuf::from(format!("/usr/lib/{arch}-linux-gnu/slurm-wlm/libslurmfull.so"))
        },
        PathBuf::from,
    );
    if !path.is_file() {
        eprintln!("skipped: no {}: install slurm or set FLEXMIG_LIBSLURM", path.display());
    }
    path.is_file().then_some(path)
}

/// Runs [`child`] in a new process. Answers with what it printed of the plugin
/// and with its stderr.
fn load(plugin: &str, library: Option<&Path>, environment: &[(&str, &str)]) -> (String, String) {
    let test = std::env::current_exe().expect("the test itself");
    let plugin = test
        .parent()
        .and_then(Path::parent)
        .expect("target directory")
        .join("examples")
        .join(plugin);
    assert!(plugin.is_file(), "{} is missing: build it with --examples", plugin.display());
    let output = Command::new(&test)
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(PLUGIN, plugin)
        .env(LIBRARY, library.unwrap_or(Path::new("")))
        .envs(environment.iter().copied())
        .output()
        .expect("a child process");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let line = out.lines().find_map(|l| l.split_once("plugin: ")).expect("the child's line").1;
    (line.to_owned(), err.into_owned())
}

/// `dlopen`, or the reason why not.
fn open(path: &str, flags: i32) -> NonNull<c_void> {
    let path = CString::new(path).expect("a path");
    // SAFETY: the libraries are Slurm's own and our examples.
    NonNull::new(unsafe { libc::dlopen(path.as_ptr(), flags) }).unwrap_or_else(|| {
        // SAFETY: a string of the linker's, valid until its next call.
        panic!("{}", unsafe { CStr::from_ptr(libc::dlerror()) }.to_string_lossy())
    })
}

#[test]
#[ignore = "run by the other tests, in processes of their own"]
fn child() {
    let plugin = std::env::var(PLUGIN).expect("a plugin");
    let library = std::env::var(LIBRARY).expect("a library or nothing");
    if !library.is_empty() {
        open(&library, libc::RTLD_LAZY | libc::RTLD_GLOBAL);
    }
    // RTLD_NOW: a symbol that nobody defines is an error at once.
    let handle = open(&plugin, libc::RTLD_NOW);
    let symbol = |name: &CStr| {
        // SAFETY: an open handle and a terminated name.
        NonNull::new(unsafe { libc::dlsym(handle.as_ptr(), name.as_ptr()) }).expect("exported")
    };
    let text = |name: &CStr| {
        let address = symbol(name).cast::<c_char>();
        // SAFETY: declare_plugin! ends the texts with NUL.
        unsafe { CStr::from_ptr(address.as_ptr()) }.to_str().expect("text")
    };
    // SAFETY: a u32, written before dlopen returned.
    let version = unsafe { symbol(c"plugin_version").cast::<u32>().read() };
    println!("plugin: {}, {}, {version:#x}", text(c"plugin_type"), text(c"plugin_name"));
}

#[test]
fn in_another_program_a_plugin_loads_and_claims_no_version() {
    let (line, err) = load("libplugin_load.so", None, &[]);
    assert_eq!(line, "job_submit/flexmig_test, the smallest plugin, 0x0");
    assert!(!err.contains("flexmig:"), "{err}");
}

#[test]
fn in_slurm_a_plugin_carries_its_exact_version() {
    let Some(library) = library() else { return };
    for plugin in ["libplugin_load.so", "libplugin_refuse.so"] {
        let (line, err) = load(plugin, Some(&library), &[]);
        let number = line.rsplit("0x").next().and_then(|n| u32::from_str_radix(n, 16).ok());
        let version = slurm_sys::Version::from_number(number.expect("a number"));
        assert_eq!(expected_version(&library), version, "{line}");
        assert!(!err.contains("flexmig:"), "{err}");
    }
}

/// What one of Slurm's own plugins says.
fn expected_version(library: &Path) -> slurm_sys::Version {
    open(library.to_str().expect("a path"), libc::RTLD_LAZY | libc::RTLD_GLOBAL);
    let plugin = library.with_file_name("gres_nic.so");
    let handle = open(plugin.to_str().expect("a path"), libc::RTLD_LAZY);
    // SAFETY: an open handle of one of Slurm's plugins; its version is a u32.
    let number = unsafe {
        let version = libc::dlsym(handle.as_ptr(), c"plugin_version".as_ptr());
        NonNull::new(version).expect("a plugin").cast::<u32>().read()
    };
    slurm_sys::Version::from_number(number)
}

#[cfg(feature = "fault-injection")]
#[test]
fn with_an_unknown_api_number_job_submit_loads_and_gres_refuses() {
    let Some(library) = library() else { return };
    let unknown = [("FLEXMIG_TEST_API", "99")];
    let (line, err) = load("libplugin_load.so", Some(&library), &unknown);
    assert!(line.ends_with(&format!("{:#x}", expected_version(&library).number())), "{line}");
    assert_eq!(err.matches("unknown Slurm API number 99: jobs pass unchanged").count(), 1, "{err}");
    let (line, err) = load("libplugin_refuse.so", Some(&library), &unknown);
    assert!(line.ends_with(" 0x0"), "{line}");
    assert_eq!(
        err.matches("unknown Slurm API number 99: the plugin stands aside").count(),
        1,
        "{err}"
    );
}
