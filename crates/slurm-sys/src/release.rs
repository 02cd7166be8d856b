//! Which Slurm this process is, and the token that proves we know it.
//!
//! [`attach`] looks once; the constructor of a plugin calls it. [`slurm`] then
//! gives a [`Slurm`], without which none of the safe types can be made: in a
//! process of an unknown release nothing of Slurm's can be touched.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::layout::Layout;
use crate::raw;

/// The releases of Slurm that this crate knows. Ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum Release {
    V22_05,
    V23_02,
    V23_11,
    V24_05,
    V24_11,
    V25_05,
    V25_11,
    V26_05,
}

impl Release {
    /// All of them, the oldest first.
    pub const ALL: [Self; 8] = [
        Self::V22_05,
        Self::V23_02,
        Self::V23_11,
        Self::V24_05,
        Self::V24_11,
        Self::V25_05,
        Self::V25_11,
        Self::V26_05,
    ];

    /// The release whose `slurm_api_version() >> 16` this is.
    #[must_use]
    pub fn from_api_number(number: u32) -> Option<Self> {
        crate::layout::API_NUMBERS.iter().position(|&n| n == number).map(|i| Self::ALL[i])
    }

    /// `slurm_api_version() >> 16` of this release.
    #[must_use]
    pub fn api_number(self) -> u32 {
        crate::layout::API_NUMBERS[self as usize]
    }

    /// Major and minor number, `(22, 5)`.
    #[must_use]
    pub fn major_minor(self) -> (u32, u32) {
        match self {
            Self::V22_05 => (22, 5),
            Self::V23_02 => (23, 2),
            Self::V23_11 => (23, 11),
            Self::V24_05 => (24, 5),
            Self::V24_11 => (24, 11),
            Self::V25_05 => (25, 5),
            Self::V25_11 => (25, 11),
            Self::V26_05 => (26, 5),
        }
    }

    /// Whether `job_modify` has a fourth argument, `char **err_msg` (23.02 and
    /// later). On 22.05 that argument must not be touched.
    #[must_use]
    pub fn job_modify_has_err_msg(self) -> bool {
        self >= Self::V23_02
    }

    /// Whether `SLURM_TRES_BIND=gres/flexmig:per_task:1` binds tasks to units of
    /// any GRES (23.11 and later).
    #[must_use]
    pub fn binds_gres_per_task(self) -> bool {
        self >= Self::V23_11
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.major_minor();
        write!(f, "{major}.{minor:02}")
    }
}

/// A version of Slurm to the micro, as in a plugin's `plugin_version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u32);

impl Version {
    /// `major.minor.micro`.
    #[must_use]
    pub const fn new(major: u32, minor: u32, micro: u32) -> Self {
        Self(major << 16 | minor << 8 | micro)
    }

    /// From the number that Slurm's plugins export.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The number that Slurm's plugins export.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Major and minor number.
    #[must_use]
    pub const fn major_minor(self) -> (u32, u32) {
        (self.0 >> 16, self.0 >> 8 & 0xff)
    }

    /// Major, minor and micro number.
    #[must_use]
    pub const fn numbers(self) -> (u32, u32, u32) {
        (self.0 >> 16, self.0 >> 8 & 0xff, self.0 & 0xff)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, micro) = self.numbers();
        write!(f, "{major}.{minor:02}.{micro}")
    }
}

struct Known {
    api: raw::Api,
    release: Release,
    layout: &'static Layout,
}

/// The Slurm in this process, of a release we know. Copy it around freely.
#[derive(Clone, Copy)]
pub struct Slurm(&'static Known);

impl Slurm {
    /// The release.
    #[must_use]
    pub fn release(self) -> Release {
        self.0.release
    }

    /// The version to the micro; the micro number is 0 where it could not be found.
    #[must_use]
    pub fn version(self) -> Version {
        match VERSION.load(Ordering::Relaxed) {
            0 => {
                let (major, minor) = self.0.release.major_minor();
                Version::new(major, minor, 0)
            }
            number => Version(number),
        }
    }

    /// Whether this process sees a job's units under local numbers, because
    /// cgroups hide the others. Only meaningful in slurmstepd.
    #[must_use]
    pub fn uses_local_device_index(self) -> bool {
        // SAFETY: it takes nothing and reads Slurm's cgroup configuration, which
        // is loaded before any GRES plugin is called.
        unsafe { (self.0.api.gres_use_local_device_index)() }
    }

    /// The number under which slurmctld and slurmd know a GRES.
    #[must_use]
    pub fn gres_id(self, name: &std::ffi::CStr) -> u32 {
        // SAFETY: the function only reads the terminated string; its parameter
        // lacks the const.
        unsafe { (self.0.api.gres_build_id)(name.as_ptr().cast_mut()) }
    }

    pub(crate) fn api(self) -> &'static raw::Api {
        &self.0.api
    }

    pub(crate) fn layout(self) -> &'static Layout {
        self.0.layout
    }
}

impl fmt::Debug for Slurm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slurm {}", self.version())
    }
}

/// What [`attach`] found.
#[derive(Debug, Clone)]
pub enum Attached {
    /// This is no program of Slurm: nothing to do.
    NotSlurm,
    /// A release that we know.
    Known(Slurm),
    /// An API number that this crate does not know.
    UnknownApi(u32),
    /// The API number is known, but these functions are not there.
    Missing(Release, Vec<&'static str>),
}

static ATTACHED: OnceLock<Attached> = OnceLock::new();
static KNOWN: OnceLock<Known> = OnceLock::new();
static VERSION: AtomicU32 = AtomicU32::new(0);

/// Looks for Slurm in this process. The first call that finds it decides; later
/// ones only repeat the answer. Call it in the constructor, where one thread runs.
pub fn attach() -> Attached {
    if let Some(done) = ATTACHED.get() {
        return done.clone();
    }
    let Some((number, _)) = raw::api_version() else {
        return Attached::NotSlurm;
    };
    crate::log::functions();
    let number = forced_api_number().unwrap_or(number);
    ATTACHED.get_or_init(|| look_up(number)).clone()
}

fn look_up(number: u32) -> Attached {
    let Some(release) = Release::from_api_number(number) else {
        return Attached::UnknownApi(number);
    };
    match raw::Api::resolve() {
        Ok(api) => {
            let layout = release.layout();
            Attached::Known(Slurm(KNOWN.get_or_init(|| Known { api, release, layout })))
        }
        Err(missing) => Attached::Missing(release, missing),
    }
}

/// The Slurm of this process, if [`attach`] found one that we know. One atomic
/// load; safe after a fork.
#[must_use]
pub fn slurm() -> Option<Slurm> {
    KNOWN.get().map(Slurm)
}

/// The release of this process's Slurm, if known.
#[must_use]
pub fn release() -> Option<Release> {
    slurm().map(Slurm::release)
}

/// What [`set_version`] was told.
pub(crate) fn known_version() -> Option<Version> {
    Some(VERSION.load(Ordering::Relaxed)).filter(|&number| number != 0).map(Version)
}

pub(crate) fn set_version(version: Version) {
    VERSION.store(version.number(), Ordering::Relaxed);
}

/// `FLEXMIG_TEST_API`, in test builds only.
#[cfg(feature = "fault-injection")]
pub(crate) fn forced_api_number() -> Option<u32> {
    std::env::var("FLEXMIG_TEST_API").ok()?.parse().ok()
}

#[cfg(not(feature = "fault-injection"))]
pub(crate) fn forced_api_number() -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_numbers_and_releases_belong_together() {
        assert_eq!(Release::from_api_number(38), Some(Release::V22_05));
        assert_eq!(Release::from_api_number(45), Some(Release::V26_05));
        assert_eq!(Release::from_api_number(37), None);
        assert_eq!(Release::from_api_number(46), None);
        for release in Release::ALL {
            assert_eq!(Release::from_api_number(release.api_number()), Some(release));
        }
    }

    #[test]
    fn versions_print_and_compare_like_slurms() {
        let version = Version::from_number(0x0016_0508);
        assert_eq!(version.to_string(), "22.05.8");
        assert_eq!(version, Version::new(22, 5, 8));
        assert!(Version::new(23, 2, 5) < Version::new(23, 2, 6));
        assert!(Version::new(23, 11, 0) > Version::new(23, 2, 6));
        assert_eq!(Release::V22_05.to_string(), "22.05");
    }

    #[test]
    fn arguments_change_at_the_right_release() {
        assert!(!Release::V22_05.job_modify_has_err_msg());
        assert!(Release::V23_02.job_modify_has_err_msg());
    }
}
