//! Does the installed Slurm load this plugin? Tried for real, in a child process.
//!
//! A plugin is code: a damaged one can crash whoever loads it. So `flexmig check` runs itself as
//! `flexmig load PLUGIN SLURM_DIR`, which does what slurmctld and slurmd do (plugin.c,
//! `plugin_load_from_file`) short of calling `init`: Slurm's library first with its symbols global,
//! then a plugin of Slurm's own, as in the daemons where auth and select come before ours, then the
//! plugin, all its symbols at once. The child tells what it saw as one line of JSON.

use std::ffi::{CStr, c_char, c_long};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW};
use serde::{Deserialize, Serialize};

/// Loading takes milliseconds; a plugin that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plugins of Slurm's own that load outside the daemons: they need nothing that only a daemon has.
pub const SIBLINGS: [&str; 7] = [
    "hash_k12.so",
    "auth_none.so",
    "cred_none.so",
    "jobcomp_none.so",
    "auth_munge.so",
    "cred_munge.so",
    "proctrack_pgid.so",
];

/// What loading one plugin showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// The high half of `slurm_api_version()`: 38 for 22.05.
    pub api: Option<u32>,
    /// Version of the installed Slurm, as in [`Version`].
    pub slurm: Option<u32>,
    /// The plugin's `plugin_type`.
    pub kind: Option<String>,
    /// The plugin's `plugin_version`.
    pub version: Option<u32>,
    /// Why there is no Slurm library to try with.
    pub untested: Option<String>,
    /// Why the plugin does not load.
    pub error: Option<String>,
}

/// A Slurm version number, `major << 16 | minor << 8 | micro`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

/// The releases that this version of Flex-MIG knows, as `major << 8 | minor`.
const RELEASES: [u32; 8] = [0x1605, 0x1702, 0x170b, 0x1805, 0x180b, 0x1905, 0x190b, 0x1a05];

impl Version {
    /// Whether Flex-MIG knows the structures of this release.
    pub fn is_known(self) -> bool {
        RELEASES.contains(&(self.0 >> 8))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}.{}", self.0 >> 16, self.0 >> 8 & 0xff, self.0 & 0xff)
    }
}

/// Tries `plugin` with the Slurm whose own plugins are in `slurm_dir`.
pub fn probe(plugin: &Path, slurm_dir: &Path) -> Probe {
    let failed = |error: String| Probe { error: Some(error), ..Probe::default() };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return failed(format!("cannot find this program to run it: {error}")),
    };
    let child = Command::new(program)
        .arg("load")
        .args([plugin, slurm_dir])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Ok(child) => wait(child).unwrap_or_else(failed),
        Err(error) => failed(format!("cannot start a process to load it: {error}")),
    }
}

fn wait(mut child: Child) -> Result<Probe, String> {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                // Gone already is as good as killed.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("loading it takes more than {} s", PATIENCE.as_secs()));
            }
            None => sleep(Duration::from_millis(2)),
        }
    };
    if let Some(signal) = status.signal() {
        return Err(format!("the process that loads it dies of signal {signal}"));
    }
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut text).map_err(|error| error.to_string())?;
    }
    serde_json::from_str(&text)
        .map_err(|_| format!("the process that loads it ended with {status}"))
}

/// `flexmig load`: the child's side of [`probe`].
pub fn load(plugin: &Path, slurm_dir: &Path) -> Probe {
    let mut found = Probe::default();
    if let Err(reason) = slurm_library(slurm_dir, &mut found) {
        found.untested = Some(reason);
        return found;
    }
    for name in SIBLINGS {
        if let Ok(sibling) = open(&slurm_dir.join(name), RTLD_LAZY | RTLD_LOCAL) {
            found.slurm = version(&sibling);
            keep(sibling);
            if found.slurm.is_some() {
                break;
            }
        }
    }
    match open(plugin, RTLD_NOW | RTLD_LOCAL) {
        Ok(library) => {
            found.kind = text(&library, c"plugin_type");
            found.version = version(&library);
            keep(library);
        }
        Err(error) => found.error = Some(error),
    }
    found
}

/// Slurm's functions, global as they are in the daemons.
fn slurm_library(slurm_dir: &Path, found: &mut Probe) -> Result<(), String> {
    let in_dir = slurm_dir.join("libslurmfull.so");
    let path = if in_dir.exists() { in_dir } else { PathBuf::from("libslurmfull.so") };
    let library = open(&path, RTLD_LAZY | RTLD_GLOBAL)?;
    // SAFETY: slurm_api_version has this signature in slurm.h of every release (slurm.h, section
    // "SLURM API VERSION"); it returns a constant and the library stays loaded.
    let api = unsafe {
        library.get::<extern "C" fn() -> c_long>(c"slurm_api_version").map(|version| version())
    };
    found.api = api.ok().and_then(|version| u32::try_from(version >> 16).ok());
    keep(library);
    Ok(())
}

fn open(path: &Path, flags: i32) -> Result<Library, String> {
    // SAFETY: loading runs the library's constructors, which may do anything; this process exists
    // to find out, has one thread, holds nothing of value, and ends right after its report.
    unsafe { Library::open(Some(path), flags) }.map_err(|error| {
        // libloading puts its own words before those of dlerror, which name file and symbol.
        std::error::Error::source(&error).map_or(error.to_string(), |source| source.to_string())
    })
}

/// Leaves a library loaded until the process ends: destructors are not part of the test.
fn keep(library: Library) {
    std::mem::forget(library);
}

fn version(library: &Library) -> Option<u32> {
    // SAFETY: plugin.h of every release declares `const uint32_t plugin_version`; the symbol's
    // address is that of the number, which lives as long as the library.
    unsafe { library.get::<*const u32>(c"plugin_version").ok().map(|version| version.read()) }
}

fn text(library: &Library, symbol: &CStr) -> Option<String> {
    // SAFETY: plugin.h of every release declares plugin_type and plugin_name as arrays of char that
    // hold a C string; the symbol's address is that of its first byte.
    unsafe {
        let start = library.get::<*const c_char>(symbol).ok()?;
        Some(CStr::from_ptr(*start).to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_print_as_slurm_prints_them() {
        assert_eq!(Version(0x16_05_08).to_string(), "22.05.8");
        assert_eq!(Version(0x17_0b_0a).to_string(), "23.11.10");
        assert!(Version(0x16_05_08).is_known() && Version(0x1a_05_05).is_known());
        assert!(!Version(0x15_08_08).is_known() && !Version(0x1b_05_00).is_known());
    }
}
