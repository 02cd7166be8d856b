//! Findings about the order in which systemd starts things: MIG instances do not survive a reboot,
//! so what makes them must run before slurmd looks for them.

use std::fs;
use std::path::Path;

use super::finding::Finding;

const DIRS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
const SLURMD: &str = "slurmd.service";
/// The unit of nvidia-mig-parted.
const MIG: &str = "nvidia-mig-manager.service";

/// What the unit files below a root directory say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// slurmd.service with its drop-ins, if systemd starts slurmd.
    pub slurmd: Option<String>,
    /// The unit that makes the instances, with its drop-ins.
    pub mig: Option<String>,
}

impl Units {
    /// Reads them; what is not there is `None`.
    pub fn read(root: &Path) -> Units {
        Units { slurmd: unit(root, SLURMD), mig: unit(root, MIG) }
    }
}

fn unit(root: &Path, name: &str) -> Option<String> {
    let dirs = || DIRS.iter().map(|dir| root.join(dir));
    let mut text = dirs().find_map(|dir| fs::read_to_string(dir.join(name)).ok())?;
    for dir in dirs() {
        let files = fs::read_dir(dir.join(format!("{name}.d"))).into_iter().flatten().flatten();
        for file in files.filter(|file| file.path().extension().is_some_and(|e| e == "conf")) {
            text.push('\n');
            text.push_str(&fs::read_to_string(file.path()).unwrap_or_default());
        }
    }
    Some(text)
}

/// The words of `After=` or `Before=`.
fn words<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.trim().split_once('='));
    lines
        .filter(|(name, _)| name.trim() == key)
        .flat_map(|(_, value)| value.split_whitespace())
        .collect()
}

/// Nothing to say where systemd does not start slurmd.
pub fn finding(units: &Units) -> Option<Finding> {
    let slurmd = units.slurmd.as_deref()?;
    let after = words(slurmd, "After").into_iter().find(|unit| unit.contains("mig"));
    let before = units.mig.as_deref().is_some_and(|unit| words(unit, "Before").contains(&SLURMD));
    Some(match after.or(before.then_some(MIG)) {
        Some(unit) => Finding::ok("start", SLURMD, format!("starts after {unit}")),
        None => Finding::warning(
            "start",
            SLURMD,
            "is not ordered after the unit that makes the MIG instances, so after a reboot slurmd may \
             find none",
            format!(
                "`systemctl edit slurmd` and write [Unit] and After={MIG} (or the unit you use)"
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(slurmd: Option<&str>, mig: Option<&str>) -> Option<String> {
        let units = Units { slurmd: slurmd.map(str::to_owned), mig: mig.map(str::to_owned) };
        finding(&units).map(|finding| finding.to_string())
    }

    #[test]
    fn either_unit_can_say_the_order() {
        let ok = Some("ok      slurmd.service: starts after nvidia-mig-manager.service".to_owned());
        assert_eq!(
            line(Some("[Unit]\nAfter=munge.service nvidia-mig-manager.service\n"), None),
            ok
        );
        assert_eq!(line(Some("[Unit]\nAfter=munge.service"), Some("Before=slurmd.service")), ok);
        assert_eq!(line(None, None), None, "no systemd, nothing to say");
    }

    #[test]
    fn no_order_is_a_warning() {
        let expected = "warning slurmd.service: is not ordered after the unit that makes the MIG \
                        instances, so after a reboot slurmd may find none: `systemctl edit slurmd` \
                        and write [Unit] and After=nvidia-mig-manager.service (or the unit you use)";
        assert_eq!(line(Some("[Unit]\nAfter=munge.service"), Some("")).as_deref(), Some(expected));
    }

    #[test]
    fn drop_ins_count() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("lib/systemd/system");
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(Units::read(root.path()), Units::default());
        fs::write(dir.join(SLURMD), "After=munge.service\n").unwrap();
        let drop_ins = root.path().join("etc/systemd/system/slurmd.service.d");
        fs::create_dir_all(&drop_ins).unwrap();
        fs::write(drop_ins.join("mig.conf"), "After=my-mig.service\n").unwrap();
        fs::write(drop_ins.join("mig.conf.old"), "After=other-mig.service\n").unwrap();
        let found = finding(&Units::read(root.path())).unwrap().to_string();
        assert_eq!(found, "ok      slurmd.service: starts after my-mig.service");
    }
}
