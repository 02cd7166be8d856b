//! Slurm's client library in a command of ours.

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::layout::API_NUMBERS;

/// Where the library may be: beside the plugins (`plugin_dirs`, slurm.conf's PluginDir, a colon
/// list), where packages put the plugins, and as the public libslurm.so of a known release, which
/// the loader's own path finds.
#[must_use]
pub fn candidates(plugin_dirs: Option<&str>) -> Vec<PathBuf> {
    let named = plugin_dirs.unwrap_or_default().split(':').filter(|dir| !dir.is_empty());
    let usual = [
        format!("/usr/lib/{}-linux-gnu/slurm-wlm", std::env::consts::ARCH),
        "/usr/lib64/slurm".to_owned(),
        "/usr/lib/slurm".to_owned(),
        "/usr/local/lib/slurm".to_owned(),
        "/opt/slurm/lib64/slurm".to_owned(),
        "/opt/slurm/lib/slurm".to_owned(),
    ];
    let directories = named.map(str::to_owned).chain(usual);
    let mut paths: Vec<_> =
        directories.map(|dir| PathBuf::from(dir).join("libslurmfull.so")).collect();
    paths.dedup();
    paths.extend(API_NUMBERS.iter().rev().map(|n| PathBuf::from(format!("libslurm.so.{n}"))));
    paths
}

/// Loads the first that can be. Slurm's own plugins, loaded later, need its symbols: they are
/// made global.
pub(super) fn load(paths: &[PathBuf]) -> Result<(), String> {
    let mut last = String::from("none was tried");
    for path in paths {
        let absent = path.is_absolute() && !path.exists();
        let Some(name) =
            (!absent).then(|| CString::new(path.as_os_str().as_bytes()).ok()).flatten()
        else {
            continue;
        };
        // The library calls a function `error` of its own. libc has one too, which stands first in
        // a process that loads the library late, and which ends the process: hence deep binding.
        let flags = libc::RTLD_NOW | libc::RTLD_GLOBAL | libc::RTLD_DEEPBIND;
        // SAFETY: Slurm's own library, whose constructors are made to be run; it stays loaded.
        let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
        if !handle.is_null() {
            return Ok(());
        }
        last = dl_error();
    }
    Err(last)
}

fn dl_error() -> String {
    // SAFETY: dlerror returns null or a string that lives until this thread's next dl call.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            return "no reason given".to_owned();
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// `slurm_init`, once in the process.
pub(super) fn init_once(init: unsafe extern "C" fn(*const c_char), conf: Option<&Path>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let conf = conf.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
        // SAFETY: null or a terminated path; called once, and before any other call.
        unsafe { init(conf.as_ref().map_or(std::ptr::null(), |path| path.as_ptr())) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_directories_come_first() {
        let paths = candidates(Some("/a/plugins:/b"));
        assert_eq!(paths[0], Path::new("/a/plugins/libslurmfull.so"));
        assert_eq!(paths[1], Path::new("/b/libslurmfull.so"));
        assert_eq!(paths.last().unwrap(), Path::new("libslurm.so.38"));
    }

    #[test]
    fn what_cannot_be_loaded_says_why() {
        assert_eq!(load(&[]).unwrap_err(), "none was tried");
        let error = load(&["libflexmig-not-there.so".into()]).unwrap_err();
        assert!(error.contains("libflexmig-not-there.so"), "{error}");
    }
}
