//! NCCL's env plugin (2.28 and later): the answers that depend on NCCL's version.
//!
//! A job's variables are set before anybody knows which NCCL its programs bring.
//! They suit every version, but NCCL 2.31 and later on a driver of CUDA 13 or later
//! supports MIG by itself: there, what was set to relabel stands in the way. So for
//! such a process, and only in a job that relabels (`FLEXMIG_MODE`), the variables
//! below read as unset, if they have the value that `FLEXMIG_NCCL_SET` lists for them:
//! `NAME=value` pairs that gres/flexmig set in this job. What the user set stays.
//! Everything else is the environment's own answer.
//!
//! The preload library must stop relabelling in the same process: it is told through
//! its function `flexmig_preload_native`. If it is loaded and has none, nothing
//! changes.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::{offset_of, size_of};
use std::sync::OnceLock;

use crate::abi::Text;
use crate::error::{Code, SUCCESS};
use crate::fence::{fence, install_hook};
use crate::log::{self, Logger};

/// Variables of relabelling that native mode goes without.
const NOT_IN_NATIVE: [&CStr; 5] = [
    c"NCCL_P2P_DISABLE",
    c"NCCL_P2P_LEVEL",
    c"NCCL_CUMEM_ENABLE",
    c"NCCL_CUMEM_HOST_ENABLE",
    c"NCCL_TOPO_FILE",
];
/// NCCL that supports several ranks on one GPU.
const NATIVE_NCCL: (u8, u8) = (2, 31);
/// A driver that supports it, as `cuDriverGetVersion` counts.
const NATIVE_DRIVER: c_int = 13_000;

/// What decides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    nccl: (u8, u8),
    mode: Option<String>,
    driver: Option<c_int>,
}

/// Whether this process goes native although its job relabels.
fn goes_native(facts: &Facts) -> bool {
    matches!(facts.mode.as_deref(), Some("relabel-p2p" | "relabel-shm"))
        && facts.nccl >= NATIVE_NCCL
        && facts.driver.is_some_and(|version| version >= NATIVE_DRIVER)
}

/// The names that read as unset: their value is the one that is listed.
fn hidden(list: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Vec<&'static CStr> {
    let listed = |name: &&CStr| {
        let pairs = list.unwrap_or_default().split(',').filter_map(|pair| pair.split_once('='));
        let ours = pairs.filter(|(listed, _)| listed.as_bytes() == name.to_bytes());
        ours.into_iter().any(|(name, value)| env(name).as_deref() == Some(value))
    };
    NOT_IN_NATIVE.into_iter().filter(listed).collect()
}

/// Set once in `init`; empty but in native processes.
static HIDDEN: OnceLock<Vec<&'static CStr>> = OnceLock::new();

fn start(major: u8, minor: u8) {
    let mode = std::env::var("FLEXMIG_MODE").ok();
    let nccl = (major, minor);
    // The driver is only asked where its answer can matter.
    let mut facts = Facts { nccl, mode, driver: Some(NATIVE_DRIVER) };
    if goes_native(&facts) {
        facts.driver = driver_version();
    }
    let native = goes_native(&facts) && preload_steps_aside();
    let list = std::env::var("FLEXMIG_NCCL_SET").ok();
    let names =
        if native { hidden(list.as_deref(), |name| std::env::var(name).ok()) } else { Vec::new() };
    if native {
        log::info(format_args!(
            "NCCL {major}.{minor} on a driver of CUDA {}: native mode instead of {}: without {names:?}",
            NATIVE_DRIVER / 1000,
            facts.mode.as_deref().unwrap_or_default()
        ));
    }
    let _ = HIDDEN.set(names);
}

/// `cuDriverGetVersion`, which needs neither a device nor `cuInit`.
fn driver_version() -> Option<c_int> {
    // SAFETY: the library stays open, as NCCL is about to use it; the symbol has
    // had this type since CUDA 2.2.
    unsafe {
        let library = libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_LAZY);
        if library.is_null() {
            return None;
        }
        let symbol = libc::dlsym(library, c"cuDriverGetVersion".as_ptr());
        if symbol.is_null() {
            return None;
        }
        let get: unsafe extern "C" fn(*mut c_int) -> c_int = std::mem::transmute(symbol);
        let mut version = 0;
        (get(&raw mut version) == 0).then_some(version)
    }
}

/// Tells the preload library to relabel no more. False: it is there and cannot.
fn preload_steps_aside() -> bool {
    // SAFETY: a look-up in the global scope; the function takes nothing.
    unsafe {
        let symbol = libc::dlsym(libc::RTLD_DEFAULT, c"flexmig_preload_native".as_ptr());
        if !symbol.is_null() {
            let step_aside: unsafe extern "C" fn() = std::mem::transmute(symbol);
            step_aside();
            return true;
        }
    }
    let preloads = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    !preloads.to_string_lossy().contains("libflexmig_preload.so")
}

/// `ncclEnv_v1_t` and `ncclEnv_v2_t`, which differ in `init`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Env<Init> {
    /// For NCCL's log.
    pub name: Text,
    /// Called once, with NCCL's version.
    pub init: Init,
    /// Called at exit.
    pub finalize: unsafe extern "C" fn() -> Code,
    /// The value of a variable; NULL is unset.
    pub get_env: unsafe extern "C" fn(*const c_char) -> *const c_char,
}

/// Version 1's `init`: major, minor, patch, suffix.
pub type InitV1 = unsafe extern "C" fn(u8, u8, u8, *const c_char) -> Code;
/// Version 2's adds the logger.
pub type InitV2 = unsafe extern "C" fn(u8, u8, u8, *const c_char, Option<Logger>) -> Code;

unsafe extern "C" fn init_v1(major: u8, minor: u8, _patch: u8, _suffix: *const c_char) -> Code {
    install_hook();
    fence("env init", || {
        start(major, minor);
        Ok(())
    })
}

unsafe extern "C" fn init_v2(
    major: u8,
    minor: u8,
    patch: u8,
    suffix: *const c_char,
    logger: Option<Logger>,
) -> Code {
    log::set_logger(logger);
    // SAFETY: NCCL's arguments, passed on.
    unsafe { init_v1(major, minor, patch, suffix) }
}

unsafe extern "C" fn finalize() -> Code {
    SUCCESS
}

unsafe extern "C" fn get_env(name: *const c_char) -> *const c_char {
    if name.is_null() {
        return std::ptr::null();
    }
    let mut answer: *const c_char = std::ptr::null();
    fence("getEnv", || {
        // SAFETY: NCCL passes a C string. getenv's answer is as valid for NCCL as
        // with its own plugin, which calls getenv too.
        unsafe {
            let hidden = HIDDEN.get().is_some_and(|names| names.contains(&CStr::from_ptr(name)));
            if !hidden {
                answer = libc::getenv(name);
            }
        }
        Ok(())
    });
    answer
}

/// The env plugin as NCCL 2.28 and 2.29 look it up.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "NCCL's name")]
pub static ncclEnvPlugin_v1: Env<InitV1> =
    Env { name: Text(c"FlexMIG".as_ptr()), init: init_v1, finalize, get_env };

/// The env plugin as NCCL 2.30 and later look it up.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "NCCL's name")]
pub static ncclEnvPlugin_v2: Env<InitV2> =
    Env { name: Text(c"FlexMIG".as_ptr()), init: init_v2, finalize, get_env };

const _: () = {
    assert!(size_of::<Env<InitV1>>() == 4 * size_of::<*const c_void>());
    assert!(size_of::<Env<InitV2>>() == 4 * size_of::<*const c_void>());
    assert!(offset_of!(Env<InitV2>, get_env) == 24);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(nccl: (u8, u8), mode: &str, driver: Option<c_int>) -> Facts {
        Facts { nccl, mode: Some(mode.into()), driver }
    }

    #[test]
    fn native_needs_nccl_driver_and_a_relabelling_job() {
        assert!(goes_native(&facts((2, 31), "relabel-shm", Some(13_000))));
        assert!(goes_native(&facts((2, 32), "relabel-p2p", Some(13_020))));
        assert!(goes_native(&facts((3, 0), "relabel-p2p", Some(13_000))));
        assert!(!goes_native(&facts((2, 30), "relabel-shm", Some(13_000))), "too old an NCCL");
        assert!(!goes_native(&facts((2, 31), "relabel-shm", Some(12_090))), "too old a driver");
        assert!(!goes_native(&facts((2, 31), "relabel-shm", None)), "no driver");
        for mode in ["native", "net", "off", "", "relabel"] {
            assert!(!goes_native(&facts((2, 31), mode, Some(13_000))), "{mode}");
        }
        let none = Facts { nccl: (2, 31), mode: None, driver: Some(13_000) };
        assert!(!goes_native(&none), "not our job");
    }

    #[test]
    fn only_what_gres_set_is_hidden() {
        let env = |name: &str| match name {
            "NCCL_P2P_DISABLE" | "NCCL_NVLS_ENABLE" => Some("1".to_owned()),
            "NCCL_TOPO_FILE" => Some("/run/topo.xml".to_owned()),
            "NCCL_CUMEM_ENABLE" => Some("the user's".to_owned()),
            _ => None,
        };
        let all = "NCCL_P2P_DISABLE=1,NCCL_TOPO_FILE=/run/topo.xml,NCCL_NVLS_ENABLE=1,\
                   NCCL_CUMEM_ENABLE=0,NCCL_P2P_LEVEL=SYS";
        assert_eq!(hidden(Some(all), env), [c"NCCL_P2P_DISABLE", c"NCCL_TOPO_FILE"]);
        assert!(hidden(None, env).is_empty());
        assert!(hidden(Some("NCCL_P2P_DISABLED=1,NCCL_P2P_DISABLE,PATH=,"), env).is_empty());
    }

    #[test]
    fn other_answers_are_the_environments() {
        // SAFETY: C strings.
        unsafe {
            let path = get_env(c"PATH".as_ptr());
            assert_eq!(path, libc::getenv(c"PATH".as_ptr()).cast_const());
            assert!(get_env(c"NCCL_NO_SUCH_VARIABLE".as_ptr()).is_null());
            assert!(get_env(std::ptr::null()).is_null());
        }
    }
}
