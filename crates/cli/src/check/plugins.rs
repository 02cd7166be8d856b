//! Findings about the plugins and the Slurm that is to load them.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::probe::{Probe, Version};

/// A plugin that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// File name in the plugin directory.
    pub file: &'static str,
    /// Its `plugin_type`.
    pub kind: &'static str,
    /// What happens without it.
    pub without: &'static str,
}

/// job_submit/flexmig, loaded by slurmctld.
pub const JOB_SUBMIT: Plugin = Plugin {
    file: "job_submit_flexmig.so",
    kind: "job_submit/flexmig",
    without: "slurmctld does not start with JobSubmitPlugins=flexmig",
};

/// gres/flexmig, loaded by slurmd, slurmstepd and slurmctld.
pub const GRES: Plugin = Plugin {
    file: "gres_flexmig.so",
    kind: "gres/flexmig",
    without: "Slurm only counts leaves, and jobs get no devices",
};

/// Where a plugin was found and what loading it showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which one.
    pub plugin: Plugin,
    /// The file, and the report of the process that loaded it; `None` if no directory has it.
    pub file: Option<(PathBuf, Probe)>,
}

/// Judges Slurm's version and the plugins. `dirs` are those of PluginDir, `slurm_dir` is the one of
/// them that has Slurm's own.
pub fn findings(
    place: &str,
    dirs: &[PathBuf],
    slurm_dir: Option<&Path>,
    slurm: Option<Version>,
    found: &[Found],
) -> Vec<Finding> {
    let list = dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(":");
    let Some(slurm_dir) = slurm_dir else {
        return vec![Finding::error(
            "slurm",
            place,
            format!("no plugins of Slurm in PluginDir={list}"),
            "install Slurm on this host, or name the directory of its plugins in PluginDir",
        )];
    };
    let mut findings = Vec::new();
    findings.extend(slurm.map(|version| release(version, slurm_dir)));
    findings.extend(found.iter().map(|found| judge(found, &list, place)));
    findings
}

fn release(version: Version, slurm_dir: &Path) -> Finding {
    let place = slurm_dir.display();
    if version.is_known() {
        Finding::ok("slurm", place, format!("Slurm {version}, a supported release"))
    } else {
        Finding::error(
            "slurm",
            place,
            format!(
                "Slurm {version} is not a supported release (22.05 to 26.05): the plugins load, but \
                 pass every job unchanged and only count leaves"
            ),
            "install a version of Flex-MIG that knows it",
        )
    }
}

fn judge(found: &Found, dirs: &str, place: &str) -> Finding {
    let Plugin { file, kind, without } = found.plugin;
    let Some((path, probe)) = &found.file else {
        let what = format!("{file} is in no directory of PluginDir={dirs}: {without}");
        return Finding::error(
            "plugin",
            place,
            what,
            "copy it there, or add its directory to PluginDir",
        );
    };
    let place = path.display();
    let wrong = |what: String, mend: &str| Finding::error("plugin", &place, what, mend);
    const AGAIN: &str = "install the file again from the build for this machine";
    if let Some(reason) = &probe.untested {
        return Finding::warning(
            "plugin",
            &place,
            format!(
                "cannot be tried, as this Slurm has its functions inside the daemons ({reason})"
            ),
            "look for flexmig in the logs of slurmctld and slurmd after they started",
        );
    }
    if let Some(error) = &probe.error {
        return wrong(format!("does not load: {error}: {without}"), AGAIN);
    }
    if probe.kind.as_deref() != Some(kind) {
        let what = match &probe.kind {
            Some(other) => format!("is the plugin {other}, not {kind}"),
            None => "is not a Slurm plugin".to_owned(),
        };
        return wrong(format!("{what}: {without}"), AGAIN);
    }
    match (probe.version.map(Version), probe.slurm.map(Version)) {
        (Some(own), Some(slurm)) if own == slurm => {
            Finding::ok("plugin", &place, format!("{kind}, loads into Slurm {slurm}"))
        }
        (Some(own), Some(slurm)) => {
            wrong(format!("says it is for Slurm {own}, and Slurm is {slurm}: {without}"), AGAIN)
        }
        (Some(_), None) => Finding::warning(
            "plugin",
            &place,
            "loads, but no plugin of Slurm's own is there to tell Slurm's version",
            "check that PluginDir names the directory of Slurm's own plugins",
        ),
        (None, _) => wrong(format!("has no plugin_version: {without}"), AGAIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded() -> Probe {
        Probe {
            api: Some(38),
            slurm: Some(0x16_05_08),
            kind: Some("gres/flexmig".into()),
            version: Some(0x16_05_08),
            ..Probe::default()
        }
    }

    fn lines(probe: Option<Probe>) -> Vec<String> {
        let file = probe.map(|probe| (PathBuf::from("/p/gres_flexmig.so"), probe));
        let found = [Found { plugin: GRES, file }];
        let slurm_dir = Path::new("/usr/lib/slurm");
        let slurm = found[0].file.as_ref().and_then(|(_, probe)| probe.slurm).map(Version);
        let dirs = ["/p".into(), slurm_dir.into()];
        let findings = findings("slurm.conf:3", &dirs, Some(slurm_dir), slurm, &found);
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_plugin_that_loads_is_ok() {
        let expected = [
            "ok      /usr/lib/slurm: Slurm 22.05.8, a supported release",
            "ok      /p/gres_flexmig.so: gres/flexmig, loads into Slurm 22.05.8",
        ];
        assert_eq!(lines(Some(loaded())), expected);
    }

    #[test]
    fn a_plugin_that_is_missing_is_an_error() {
        let expected = "error   slurm.conf:3: gres_flexmig.so is in no directory of \
                        PluginDir=/p:/usr/lib/slurm: Slurm only counts leaves, and jobs get no \
                        devices: copy it there, or add its directory to PluginDir";
        assert_eq!(lines(None), [expected]);
    }

    #[test]
    fn what_slurm_would_refuse_is_an_error() {
        let last = |probe| lines(Some(probe)).pop().unwrap();
        let text = last(Probe { error: Some("undefined symbol: foo".into()), ..loaded() });
        assert_eq!(
            text,
            "error   /p/gres_flexmig.so: does not load: undefined symbol: foo: Slurm only counts \
             leaves, and jobs get no devices: install the file again from the build for this machine"
        );
        let text = last(Probe { kind: Some("gres/gpu".into()), ..loaded() });
        assert!(text.contains(": is the plugin gres/gpu, not gres/flexmig: "), "{text}");
        let text = last(Probe { kind: None, ..loaded() });
        assert!(text.contains(": is not a Slurm plugin: "), "{text}");
        let text = last(Probe { version: Some(0), ..loaded() });
        assert!(text.contains(": says it is for Slurm 0.00.0, and Slurm is 22.05.8: "), "{text}");
    }

    #[test]
    fn an_unknown_release_is_an_error() {
        let probe = Probe { slurm: Some(0x1b_05_00), version: Some(0x1b_05_00), ..loaded() };
        assert_eq!(
            lines(Some(probe))[0],
            "error   /usr/lib/slurm: Slurm 27.05.0 is not a supported release (22.05 to 26.05): the \
             plugins load, but pass every job unchanged and only count leaves: install a version of \
             Flex-MIG that knows it"
        );
    }

    #[test]
    fn a_static_slurm_cannot_be_tried() {
        let probe = Probe { untested: Some("no libslurmfull.so".into()), ..Probe::default() };
        let expected = "warning /p/gres_flexmig.so: cannot be tried, as this Slurm has its \
                        functions inside the daemons (no libslurmfull.so): look for flexmig in the \
                        logs of slurmctld and slurmd after they started";
        assert_eq!(lines(Some(probe)), [expected]);
    }
}
