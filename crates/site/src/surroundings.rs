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

    /// The Slurm name of this node: slurmd's `-N`, else (in other programs) `SLURMD_NODENAME`, the
    /// node whose `NodeHostname` this host is, the one that is called `localhost`, else the host
    /// name up to the first dot. slurmd does not look at the variable, and its environment may be
    /// that of a job of another cluster.
    pub fn node_name(&self, conf: &SlurmConf, hostname: &str) -> String {
        let given = self.option('N').and_then(|name| name.into_string().ok());
        let variable = || self.slurmd_nodename.clone().filter(|_| !self.is_slurmd());
        let of_host = |host| conf.nodes_of_host(host).first().map(|&name| name.to_owned());
        let short = hostname.split('.').next().unwrap_or(hostname);
        given
            .or_else(variable)
            .or_else(|| of_host(hostname))
            .or_else(|| of_host("localhost"))
            .unwrap_or_else(|| short.to_owned())
    }

    /// Whether this slurmd only prints what it finds (`-G`) and ends, beside another that works.
    pub fn only_prints(&self) -> bool {
        self.is_slurmd() && self.letters().iter().any(|&(letter, _)| letter == b'G')
    }

    /// Whether this process is the controller.
    pub fn is_slurmctld(&self) -> bool {
        self.program().as_deref() == Some("slurmctld")
    }

    fn is_slurmd(&self) -> bool {
        self.program().as_deref() == Some("slurmd")
    }

    /// The name of this program. Debian's are called slurmd-wlm and slurmctld-wlm.
    fn program(&self) -> Option<String> {
        let name = Path::new(self.command_line.first()?).file_name()?.to_string_lossy();
        Some(name.strip_suffix("-wlm").unwrap_or(&name).to_owned())
    }

    /// The value of a one-letter option, if this process is slurmctld or slurmd. The last counts.
    fn option(&self, letter: char) -> Option<OsString> {
        let found =
            self.letters().into_iter().rfind(|&(l, value)| l == letter as u8 && value.is_some());
        found.and_then(|(_, value)| value).map(OsStr::to_owned)
    }

    /// The one-letter options of slurmctld or slurmd with their values, as getopt reads them.
    fn letters(&self) -> Vec<(u8, Option<&OsStr>)> {
        // Letters with a value, and those whose value can only stand in the same word.
        let (with_value, attached_only): (&[u8], &[u8]) = match self.program().as_deref() {
            Some("slurmctld") => (b"fLn", b""),
            Some("slurmd") => (b"dfLnN", b"F"),
            _ => return Vec::new(),
        };
        let mut found = Vec::new();
        let mut arguments = self.command_line.iter().skip(1);
        while let Some(argument) = arguments.next() {
            let bytes = argument.as_bytes();
            if bytes == b"--" {
                break;
            }
            let is_letters = bytes.starts_with(b"-") && !bytes.starts_with(b"--");
            // Letters without a value may stand in one word: -Dvvf FILE, -DfFILE.
            let mut letters = bytes.get(1..).filter(|_| is_letters).unwrap_or_default();
            while let Some((&letter, rest)) = letters.split_first() {
                let attached = (!rest.is_empty()).then(|| OsStr::from_bytes(rest));
                letters = rest;
                let value = if with_value.contains(&letter) {
                    letters = &[];
                    attached.or_else(|| arguments.next().map(OsString::as_os_str))
                } else if attached_only.contains(&letter) {
                    letters = &[];
                    attached
                } else {
                    None
                };
                found.push((letter, value));
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

/// slurmd's spool directory on this node, `%n` and `%h` replaced, each once as in Slurm.
pub fn spool_dir(conf: &SlurmConf, node_name: &str, hostname: &str) -> PathBuf {
    let pattern = conf.get("SlurmdSpoolDir").unwrap_or(DEFAULT_SPOOL_DIR);
    let short = hostname.split('.').next().unwrap_or(hostname);
    pattern.replacen("%h", short, 1).replacen("%n", node_name, 1).into()
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
            ("slurmd -ZFf -f /a", "/a"),
            ("slurmd -F -f /a", "/a"),
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
        let nested = Surroundings { slurmd_nodename: Some("outer".into()), ..with("slurmd -D") };
        assert_eq!(nested.node_name(&conf, "host"), "n1", "slurmd does not look at the variable");
        let local = SlurmConf::parse("f", b"NodeName=localhost", &mut |_| Ok(vec![]));
        assert_eq!(with("slurmd").node_name(&local, "box.example.org"), "localhost");
        let mut policy = Policy::default();
        let path = |policy: &Policy, conf: &SlurmConf| {
            index_file_path(policy, conf, "n2", "host.example.org")
        };
        let expected = "/spool/n2.host/flexmig-indices-n2.toml";
        assert_eq!(path(&policy, &conf), Path::new(expected));
        let expected = "/var/spool/slurmd/flexmig-indices-n2.toml";
        assert_eq!(path(&policy, &SlurmConf::default()), Path::new(expected));
        let twice = SlurmConf::parse("f", b"SlurmdSpoolDir=/%h/%n/%n", &mut |_| Ok(vec![]));
        assert_eq!(spool_dir(&twice, "n2", "host"), Path::new("/host/n2/%n"), "as Slurm has it");
        policy.node.state_dir = Some("/state".into());
        assert_eq!(path(&policy, &conf), Path::new("/state/flexmig-indices-n2.toml"));
    }

    #[test]
    fn a_slurmd_that_only_prints_is_known() {
        for only_prints in
            ["slurmd -G", "/usr/sbin/slurmd-wlm -vG", "slurmd -GN n1", "slurmd -D -vvG"]
        {
            assert!(with(only_prints).only_prints(), "{only_prints}");
        }
        for works in
            ["slurmd", "slurmd -D", "slurmd -N -G", "slurmd -NG", "slurmd -FG", "flexmig -G"]
        {
            assert!(!with(works).only_prints(), "{works}");
        }
    }

    #[test]
    fn this_process_has_a_command_line_and_a_host() {
        assert!(!Surroundings::of_process().command_line.is_empty());
        assert!(!hostname().is_empty());
    }
}
