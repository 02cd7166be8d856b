//! Where the files are: environment and command line of this process.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use flexmig_core::policy::Policy;
use flexmig_core::slurm_conf::SlurmConf;

/// slurmd's spool directory where slurm.conf names none.
const DEFAULT_SPOOL_DIR: &str = "/var/spool/slurmd";

/// What decides where the files are. Plain data, so that tests make their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `SLURM_CONF`.
    pub slurm_conf: Option<PathBuf>,
    /// `FLEXMIG_CONF`.
    pub flexmig_conf: Option<PathBuf>,
    /// `SLURMD_NODENAME`, which slurmd gives to jobs.
    pub slurmd_nodename: Option<String>,
    /// Command line of this process with its name.
    pub command_line: Vec<OsString>,
    /// slurm.conf as Slurm was built, `/etc/slurm/slurm.conf` on most systems.
    pub default_slurm_conf: PathBuf,
    /// slurm.conf of a configless node.
    pub configless_slurm_conf: PathBuf,
    /// flexmig.toml if none lies beside slurm.conf.
    pub default_flexmig_conf: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Surroundings {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let command_line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
        let arguments = command_line.split(|&b| b == 0).map(|a| OsString::from_vec(a.to_vec()));
        Surroundings {
            slurm_conf: set("SLURM_CONF").map(PathBuf::from),
            flexmig_conf: set("FLEXMIG_CONF").map(PathBuf::from),
            slurmd_nodename: set("SLURMD_NODENAME").and_then(|name| name.into_string().ok()),
            command_line: arguments.collect(),
            default_slurm_conf: "/etc/slurm/slurm.conf".into(),
            configless_slurm_conf: "/run/slurm/conf/slurm.conf".into(),
            default_flexmig_conf: "/etc/flexmig/flexmig.toml".into(),
        }
    }

    /// slurm.conf as Slurm itself looks for it: `-f` of slurmctld and slurmd, `SLURM_CONF`, the
    /// built-in path, and the copy of a configless node if there is nothing at the built-in path.
    pub fn slurm_conf_path(&self) -> PathBuf {
        if let Some(path) = self.option('f') {
            return path.into();
        }
        if let Some(path) = &self.slurm_conf {
            return path.clone();
        }
        let is_configless =
            !self.default_slurm_conf.exists() && self.configless_slurm_conf.exists();
        if is_configless { &self.configless_slurm_conf } else { &self.default_slurm_conf }.clone()
    }

    /// flexmig.toml: what `FLEXMIG_CONF` names, else the first of [`policy_candidates`] that
    /// exists. `None`: there is none and the defaults hold.
    ///
    /// [`policy_candidates`]: Surroundings::policy_candidates
    pub fn policy_path(&self) -> Option<PathBuf> {
        let named = self.flexmig_conf.clone();
        named.or_else(|| self.policy_candidates().into_iter().find(|path| path.exists()))
    }

    /// Every place where flexmig.toml is looked for, best first.
    pub fn policy_candidates(&self) -> Vec<PathBuf> {
        match &self.flexmig_conf {
            Some(path) => vec![path.clone()],
            None => vec![
                self.slurm_conf_path().with_file_name("flexmig.toml"),
                self.default_flexmig_conf.clone(),
            ],
        }
    }

    /// Directory of the layout files: `flexmig-layouts` beside flexmig.toml, beside slurm.conf if
    /// there is no flexmig.toml.
    pub fn layouts_dir(&self) -> PathBuf {
        let beside = self.policy_path().unwrap_or_else(|| self.slurm_conf_path());
        beside.with_file_name("flexmig-layouts")
    }

    /// What `flexmig probe` found out: beside flexmig.toml, beside slurm.conf if there is no
    /// flexmig.toml.
    pub fn probe_path(&self) -> PathBuf {
        let beside = self.policy_path().unwrap_or_else(|| self.slurm_conf_path());
        beside.with_file_name(flexmig_core::probe::FILE_NAME)
    }

    /// The Slurm name of this node: slurmd's `-N`, `SLURMD_NODENAME`, the node whose
    /// `NodeHostname` this host is, else the host name up to the first dot.
    pub fn node_name(&self, conf: &SlurmConf, hostname: &str) -> String {
        let given = self.option('N').and_then(|name| name.into_string().ok());
        let short = hostname.split('.').next().unwrap_or(hostname);
        given
            .or_else(|| self.slurmd_nodename.clone())
            .or_else(|| conf.nodes_of_host(hostname).first().map(|&name| name.to_owned()))
            .unwrap_or_else(|| short.to_owned())
    }

    /// The value of a one-letter option, if this process is slurmctld or slurmd. The last counts.
    fn option(&self, letter: char) -> Option<OsString> {
        let (program, arguments) = self.command_line.split_first()?;
        let name = Path::new(program).file_name()?.to_string_lossy().into_owned();
        // Debian's programs are called slurmd-wlm and slurmctld-wlm.
        let with_value = match name.strip_suffix("-wlm").unwrap_or(&name) {
            "slurmctld" => "fLn",
            "slurmd" => "dfLnN",
            _ => return None,
        };
        let mut found = None;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let bytes = argument.as_bytes();
            if bytes == b"--" {
                break;
            }
            let is_letters = bytes.starts_with(b"-") && !bytes.starts_with(b"--");
            let Some(letters) = bytes.get(1..).filter(|_| is_letters) else { continue };
            // Letters without a value may stand in one word: -Dvvf FILE, -DfFILE.
            let Some(at) = letters.iter().position(|&b| with_value.contains(b as char)) else {
                continue;
            };
            let attached = &letters[at + 1..];
            let value = match attached {
                [] => arguments.next().cloned(),
                attached => Some(OsStr::from_bytes(attached).to_owned()),
            };
            if letters[at] == letter as u8 {
                found = value.or(found);
            }
        }
        found
    }
}

/// Name of this host, as the kernel has it.
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// slurmd's spool directory on this node, `%n` and `%h` replaced.
pub fn spool_dir(conf: &SlurmConf, node_name: &str, hostname: &str) -> PathBuf {
    let pattern = conf.get("SlurmdSpoolDir").unwrap_or(DEFAULT_SPOOL_DIR);
    let short = hostname.split('.').next().unwrap_or(hostname);
    pattern.replace("%h", short).replace("%n", node_name).into()
}

/// The index file of a node: in policy's `state_dir`, else in slurmd's spool directory.
pub fn index_file_path(
    policy: &Policy,
    conf: &SlurmConf,
    node_name: &str,
    hostname: &str,
) -> PathBuf {
    let dir = policy.node.state_dir.clone();
    let dir = dir.unwrap_or_else(|| spool_dir(conf, node_name, hostname));
    // Several slurmd of one host may share a directory, so the node is in the name.
    dir.join(format!("flexmig-indices-{}.toml", node_name.replace('/', "_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(command_line: &str) -> Surroundings {
        let command_line = command_line.split_whitespace().map(OsString::from).collect();
        Surroundings {
            command_line,
            slurm_conf: Some("/env/slurm.conf".into()),
            default_slurm_conf: "/nowhere/slurm.conf".into(),
            configless_slurm_conf: "/nowhere/else/slurm.conf".into(),
            default_flexmig_conf: "/nowhere/flexmig.toml".into(),
            ..Surroundings::default()
        }
    }

    #[test]
    fn slurm_conf_is_found_as_slurm_finds_it() {
        let cases = [
            ("slurmd -D -f /a", "/a"),
            ("/usr/sbin/slurmctld-wlm -i -Dvvf /a -c", "/a"),
            ("slurmd -f/a", "/a"),
            ("slurmd -f /a -f /b", "/b"),
            ("slurmd -N -f -f /a", "/a"),
            ("slurmctld -L /log/-f -d -f /a", "/a"),
            ("slurmd -- -f /a", "/env/slurm.conf"),
            ("slurmd -f", "/env/slurm.conf"),
            ("slurmd --conf-server x -Nf", "/env/slurm.conf"),
            ("slurmdbd -f /a", "/env/slurm.conf"),
            ("flexmig -f /a", "/env/slurm.conf"),
            ("", "/env/slurm.conf"),
        ];
        for (command_line, expected) in cases {
            assert_eq!(with(command_line).slurm_conf_path(), Path::new(expected), "{command_line}");
        }
    }

    #[test]
    fn built_in_paths_come_last() {
        let dir = tempfile::tempdir().unwrap();
        let mut surroundings = Surroundings { slurm_conf: None, ..with("slurmd") };
        assert_eq!(surroundings.slurm_conf_path(), Path::new("/nowhere/slurm.conf"));
        surroundings.configless_slurm_conf = dir.path().join("slurm.conf");
        std::fs::write(&surroundings.configless_slurm_conf, "").unwrap();
        assert_eq!(surroundings.slurm_conf_path(), dir.path().join("slurm.conf"));
    }

    #[test]
    fn flexmig_toml_is_beside_slurm_conf_unless_named() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("slurm.conf");
        let mut surroundings = Surroundings { slurm_conf: Some(conf), ..with("slurmd") };
        assert_eq!(surroundings.policy_path(), None);
        assert_eq!(surroundings.layouts_dir(), dir.path().join("flexmig-layouts"));
        surroundings.default_flexmig_conf = dir.path().join("default.toml");
        std::fs::write(dir.path().join("default.toml"), "").unwrap();
        assert_eq!(surroundings.policy_path(), Some(dir.path().join("default.toml")));
        std::fs::write(dir.path().join("flexmig.toml"), "").unwrap();
        assert_eq!(surroundings.policy_path(), Some(dir.path().join("flexmig.toml")));
        surroundings.flexmig_conf = Some("/named/f.toml".into());
        assert_eq!(surroundings.policy_path(), Some("/named/f.toml".into()));
        assert_eq!(surroundings.layouts_dir(), Path::new("/named/flexmig-layouts"));
    }

    #[test]
    fn nodes_are_named_and_have_their_own_index_file() {
        let text = b"SlurmdSpoolDir=/spool/%n.%h\nNodeName=n[1-2] NodeHostname=host";
        let conf = SlurmConf::parse("f", text, &mut |_| Ok(vec![]));
        assert_eq!(with("slurmd -Nn2").node_name(&conf, "host"), "n2");
        assert_eq!(with("flexmig").node_name(&conf, "host.example.org"), "n1");
        assert_eq!(with("flexmig").node_name(&conf, "other.example.org"), "other");
        let in_job = Surroundings { slurmd_nodename: Some("n2".into()), ..with("flexmig") };
        assert_eq!(in_job.node_name(&conf, "host"), "n2");
        let mut policy = Policy::default();
        let path = |policy: &Policy, conf: &SlurmConf| {
            index_file_path(policy, conf, "n2", "host.example.org")
        };
        let expected = "/spool/n2.host/flexmig-indices-n2.toml";
        assert_eq!(path(&policy, &conf), Path::new(expected));
        let expected = "/var/spool/slurmd/flexmig-indices-n2.toml";
        assert_eq!(path(&policy, &SlurmConf::default()), Path::new(expected));
        policy.node.state_dir = Some("/state".into());
        assert_eq!(path(&policy, &conf), Path::new("/state/flexmig-indices-n2.toml"));
    }

    #[test]
    fn this_process_has_a_command_line_and_a_host() {
        assert!(!Surroundings::of_process().command_line.is_empty());
        assert!(!hostname().is_empty());
    }
}
