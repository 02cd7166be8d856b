//! What makes a library a Slurm plugin: its name, its type, and the version of
//! the very Slurm that loads it.
//!
//! Slurm compares `plugin_version` with its own version to the micro. One file
//! serves all releases because a constructor of the library finds the number
//! out and stores it, after `dlopen` has mapped the file and before Slurm reads
//! the symbol.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr::NonNull;

use crate::release::{Attached, Release, Version, attach, set_version};
use crate::{fence, log, raw};

/// What a plugin does in a Slurm whose API number it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownRelease {
    /// Load and touch nothing: slurmctld does not start without its job_submit plugins.
    Load,
    /// Keep `plugin_version` at 0, so that Slurm refuses the plugin: a GRES then
    /// falls back to counting.
    Refuse,
}

/// Names this library as a Slurm plugin. Use it once, in the plugin's `lib.rs`:
///
/// ```ignore
/// slurm_sys::declare_plugin! {
///     plugin_type: "job_submit/flexmig",
///     plugin_name: "MIG leaves as a generic resource: job submission",
///     unknown_release: Load,
/// }
/// ```
///
/// It exports `plugin_name`, `plugin_type` and `plugin_version`, and adds the
/// constructor that fills the last. Entry points ask [`crate::slurm`] and do
/// nothing when it answers `None`. In a program that is not Slurm's (a unit
/// test, `flexmig check`) the constructor leaves everything as it is.
#[macro_export]
macro_rules! declare_plugin {
    (plugin_type: $type:literal, plugin_name: $name:literal, unknown_release: $unknown:ident $(,)?) => {
        /// The plugin's name, for Slurm's log.
        #[allow(non_upper_case_globals)]
        #[unsafe(no_mangle)]
        pub static plugin_name: [u8; $name.len() + 1] = $crate::plugin::c_text($name);

        /// The plugin's type, by which Slurm finds it.
        #[allow(non_upper_case_globals)]
        #[unsafe(no_mangle)]
        pub static plugin_type: [u8; $type.len() + 1] = $crate::plugin::c_text($type);

        /// The version of the Slurm that loads us, set by the constructor.
        #[allow(non_upper_case_globals)]
        #[unsafe(no_mangle)]
        pub static plugin_version: ::std::sync::atomic::AtomicU32 =
            ::std::sync::atomic::AtomicU32::new(0);

        #[used]
        #[unsafe(link_section = ".init_array")]
        static FLEXMIG_CONSTRUCTOR: extern "C" fn() = {
            extern "C" fn set_plugin_version() {
                let version = $crate::plugin::version_to_export(
                    $type,
                    $crate::plugin::UnknownRelease::$unknown,
                );
                plugin_version.store(version, ::std::sync::atomic::Ordering::Release);
            }
            set_plugin_version
        };
    };
}

/// A text as C wants it, with the final NUL; for [`declare_plugin!`].
#[must_use]
pub const fn c_text<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    assert!(text.len() + 1 == N, "the array must hold the text and its NUL");
    let mut i = 0;
    while i < text.len() {
        bytes[i] = text.as_bytes()[i];
        i += 1;
    }
    bytes
}

/// The number to export as `plugin_version`, 0 for "do not load"; for the
/// constructor of [`declare_plugin!`]. Never unwinds.
#[must_use]
pub fn version_to_export(plugin: &str, unknown: UnknownRelease) -> u32 {
    catch_unwind(AssertUnwindSafe(|| decide(plugin, unknown))).unwrap_or_else(|payload| {
        fence::log_panic("constructor", payload);
        0
    })
}

fn decide(plugin: &str, unknown: UnknownRelease) -> u32 {
    let attached = attach();
    if matches!(attached, Attached::NotSlurm) {
        return 0;
    }
    fence::install_panic_hook();
    let problem = match attached {
        Attached::NotSlurm => return 0,
        Attached::Known(slurm) => return known_version(plugin, slurm.release()).number(),
        Attached::UnknownApi(number) => format!("unknown Slurm API number {number}"),
        Attached::Missing(release, functions) => {
            format!("this Slurm {release} lacks {}", functions.join(", "))
        }
    };
    let consequence = match unknown {
        UnknownRelease::Load => "jobs pass unchanged",
        UnknownRelease::Refuse => "the plugin stands aside, Slurm only counts",
    };
    log::error(format_args!("{plugin}: {problem}: {consequence}: install a newer flexmig"));
    match unknown {
        UnknownRelease::Load => find_version(None).map_or(0, Version::number),
        UnknownRelease::Refuse => 0,
    }
}

/// The version of a Slurm whose release we know. Sets [`crate::Slurm::version`].
pub(crate) fn known_version(plugin: &str, release: Release) -> Version {
    let version = find_version(Some(release)).unwrap_or_else(|| {
        let (major, minor) = release.major_minor();
        let guess = Version::new(major, minor, 0);
        log::error(format_args!(
            "{plugin}: no other Slurm plugin found to tell the exact version: trying {guess}: \
             put the plugin beside Slurm's own"
        ));
        guess
    });
    set_version(version);
    version
}

/// The version of the Slurm in this process, which may be none of its daemons.
pub(crate) fn process_version(release: Release) -> Version {
    crate::release::known_version().unwrap_or_else(|| {
        let (major, minor) = release.major_minor();
        let version = find_version(Some(release)).unwrap_or(Version::new(major, minor, 0));
        set_version(version);
        version
    })
}

/// The version that Slurm's own plugins carry: those loaded already, else one
/// from the directories where Slurm keeps them.
fn find_version(release: Option<Release>) -> Option<Version> {
    let fits =
        |v: &Version| v.number() != 0 && release.is_none_or(|r| r.major_minor() == v.major_minor());
    loaded_objects()
        .iter()
        .filter_map(|path| version_of(path, libc::RTLD_LAZY | libc::RTLD_NOLOAD))
        .find(fits)
        .or_else(|| {
            siblings()
                .iter()
                .filter_map(|path| version_of(path, libc::RTLD_LAZY | libc::RTLD_LOCAL))
                .find(fits)
        })
}

/// The paths of all objects in the process, without the main program.
fn loaded_objects() -> Vec<CString> {
    unsafe extern "C" fn collect(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        paths: *mut c_void,
    ) -> c_int {
        // SAFETY: `paths` is the vector below, borrowed by nobody else during the
        // walk; `info` and its name are valid for the time of the call.
        let (paths, name) = unsafe { (&mut *paths.cast::<Vec<CString>>(), (*info).dlpi_name) };
        if !name.is_null() {
            // SAFETY: the dynamic linker's names are terminated strings.
            let name = unsafe { CStr::from_ptr(name) };
            if !name.is_empty() {
                paths.push(name.to_owned());
            }
        }
        0
    }
    let mut paths: Vec<CString> = Vec::new();
    // SAFETY: the callback has the wanted signature, does not unwind, and opens
    // nothing: that is done after the walk, without the linker's list lock.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut paths).cast()) };
    paths
}

/// Small plugins that come with every release, beside ours or beside libslurmfull.so.
fn siblings() -> Vec<CString> {
    const FILES: [&str; 4] =
        ["hash_k12.so", "auth_none.so", "job_submit_require_timelimit.so", "auth_munge.so"];
    let here = NonNull::from(&FILES).cast::<c_void>();
    let slurm = raw::api_version().map(|(_, address)| address);
    [slurm, Some(here)]
        .into_iter()
        .flatten()
        .filter_map(object_of)
        .flat_map(|object| {
            let object = Path::new(OsStr::from_bytes(object.to_bytes())).to_owned();
            FILES.map(|file| object.with_file_name(file))
        })
        .filter(|path| path.is_file())
        .filter_map(|path| CString::new(path.as_os_str().as_bytes()).ok())
        .collect()
}

/// The path of the object that holds an address.
fn object_of(address: NonNull<c_void>) -> Option<CString> {
    // SAFETY: an all-zero Dl_info is a valid one (pointers and numbers).
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: dladdr reads no memory behind `address` and fills `info`.
    if unsafe { libc::dladdr(address.as_ptr(), &raw mut info) } == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: a terminated string that lives as long as the object is loaded.
    Some(unsafe { CStr::from_ptr(info.dli_fname) }.to_owned())
}

/// `plugin_version` of an object, if it is a plugin that must match Slurm to the
/// micro. Not so: SPANK plugins (major and minor are enough for Slurm) and our
/// own, whose number is what we are looking for.
fn version_of(path: &CStr, flags: c_int) -> Option<Version> {
    // SAFETY: the path is terminated. With RTLD_NOLOAD nothing is run; without,
    // the file is one of Slurm's own plugins, loaded by the Slurm it belongs to.
    let handle = NonNull::new(unsafe { libc::dlopen(path.as_ptr(), flags) })?;
    // SAFETY: the handle is open until the dlclose below.
    let symbol = |name: &CStr| NonNull::new(unsafe { libc::dlsym(handle.as_ptr(), name.as_ptr()) });
    let version =
        symbol(c"plugin_type").zip(symbol(c"plugin_version")).and_then(|(kind, version)| {
            // SAFETY: the two symbols mark a Slurm plugin, whose plugin_type is a
            // terminated string and whose plugin_version an aligned u32.
            let (kind, version) = unsafe {
                (CStr::from_ptr(kind.as_ptr().cast::<c_char>()), version.cast::<u32>().read())
            };
            let kind = kind.to_bytes();
            let counts = kind.contains(&b'/') && !kind.ends_with(b"/flexmig");
            counts.then_some(Version::from_number(version))
        });
    // SAFETY: the handle is ours and not used again; nothing borrowed from the object is left.
    unsafe { libc::dlclose(handle.as_ptr()) };
    version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_text_ends_with_nul() {
        assert_eq!(c_text::<5>("gres"), *b"gres\0");
    }

    #[test]
    fn the_loaded_objects_include_the_c_library() {
        assert!(loaded_objects().iter().any(|path| path.to_bytes().ends_with(b"libc.so.6")));
    }

    #[test]
    fn the_c_library_is_no_plugin() {
        assert_eq!(version_of(c"libc.so.6", libc::RTLD_LAZY | libc::RTLD_NOLOAD), None);
        assert_eq!(version_of(c"/nowhere/auth_none.so", libc::RTLD_LAZY), None);
    }

    #[test]
    fn slurms_own_plugins_tell_the_version_to_the_micro() {
        let Some(slurm) = crate::testing::slurm() else { return };
        let release = slurm.release();
        let (version, lines) = crate::testing::captured(|| known_version("test", release));
        assert_eq!(version.major_minor(), release.major_minor());
        assert_eq!(lines, [""; 0], "no guess");
        assert_eq!(slurm.version(), version);
        let plugins: Vec<_> =
            siblings().iter().filter_map(|p| version_of(p, libc::RTLD_LAZY)).collect();
        assert!(!plugins.is_empty() && plugins.iter().all(|v| *v == version), "{plugins:?}");
    }

    #[test]
    fn another_releases_plugins_are_not_believed() {
        let Some(slurm) = crate::testing::slurm() else { return };
        let other =
            Release::ALL.into_iter().find(|r| *r != slurm.release()).expect("eight releases");
        assert_eq!(find_version(Some(other)), None);
    }
}
