//! Reading flexmig.toml, slurm.conf with its includes, and layout files.

use std::path::{Path, PathBuf};

use flexmig_core::layout::Layout;
use flexmig_core::policy::{FileError, IfBroken, Policy};
use flexmig_core::slurm_conf::SlurmConf;

use crate::files::{self, Stamp};
use crate::surroundings::Surroundings;

/// What became of flexmig.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// There is no such file; the defaults hold.
    Missing,
    /// It was read.
    Good {
        /// What it says.
        policy: Box<Policy>,
        /// Where it is.
        path: PathBuf,
    },
    /// It is there, or was named by `FLEXMIG_CONF`, and could not be used.
    Broken {
        /// Why, with file and line.
        error: FileError,
        /// What the file wants to happen in this case.
        if_broken: IfBroken,
        /// The defaults, with what could be salvaged of the file.
        policy: Box<Policy>,
    },
}

impl PolicyState {
    /// The policy of a good file, else the defaults; of a broken one what counts all the same.
    pub fn policy(&self) -> Policy {
        match self {
            PolicyState::Good { policy, .. } | PolicyState::Broken { policy, .. } => {
                policy.as_ref().clone()
            }
            PolicyState::Missing => Policy::default(),
        }
    }

    /// Why the file could not be used.
    pub fn error(&self) -> Option<&FileError> {
        match self {
            PolicyState::Broken { error, .. } => Some(error),
            PolicyState::Missing | PolicyState::Good { .. } => None,
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> FileError {
    FileError {
        file: path.display().to_string(),
        line: 1,
        message: format!("cannot be read: {error}"),
    }
}

/// Reads flexmig.toml from the place that [`Surroundings::policy_path`] found.
pub fn load_policy(path: Option<&Path>) -> PolicyState {
    let Some(path) = path else { return PolicyState::Missing };
    let bytes = match files::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let error = unreadable(path, &error);
            return PolicyState::Broken {
                error,
                if_broken: IfBroken::default(),
                policy: Box::default(),
            };
        }
    };
    match Policy::from_bytes(&path.display().to_string(), &bytes) {
        Ok(policy) => PolicyState::Good { policy: Box::new(policy), path: path.to_owned() },
        Err(error) => PolicyState::Broken {
            error,
            if_broken: Policy::if_broken(&bytes),
            policy: Box::new(Policy::while_broken(&bytes)),
        },
    }
}

/// Reads slurm.conf and what it includes; a relative name is relative to slurm.conf. Also returns
/// every file that was read or should have been, for [`files::stamp`].
pub fn load_slurm_conf(path: &Path) -> (Result<SlurmConf, FileError>, Vec<PathBuf>) {
    let mut seen = vec![path.to_owned()];
    let bytes = match files::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return (Err(unreadable(path, &error)), seen),
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    let conf = SlurmConf::parse(&path.display().to_string(), &bytes, &mut |name| {
        let included = dir.join(name);
        let read = files::read(&included).map_err(|error| error.to_string());
        seen.push(included);
        read
    });
    (Ok(conf), seen)
}

/// One layout file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says, or why it could not be used.
    pub layout: Result<Layout, FileError>,
}

/// Reads every `NAME.toml` of the directory, by name. No directory is no layout file.
pub fn load_layouts(dir: &Path) -> Vec<LayoutFile> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        // Hidden ones are another program's temporary files.
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter(|path| path.file_name().is_some_and(|n| !n.to_string_lossy().starts_with('.')))
        .collect();
    paths.sort();
    let load = |path: PathBuf| {
        let layout = match files::read(&path) {
            Ok(bytes) => Layout::from_bytes(&path.display().to_string(), &bytes),
            Err(error) => Err(unreadable(&path, &error)),
        };
        LayoutFile { path, layout }
    };
    paths.into_iter().map(load).collect()
}

/// Everything an administrator wrote, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// flexmig.toml.
    pub policy: PolicyState,
    /// Where slurm.conf is.
    pub slurm_conf_path: PathBuf,
    /// slurm.conf.
    pub slurm_conf: Result<SlurmConf, FileError>,
    /// The layout files.
    pub layouts: Vec<LayoutFile>,
    /// What was looked at, also what does not exist.
    pub watched: Vec<PathBuf>,
    /// How that looked just before it was read.
    pub stamp: Stamp,
}

impl Site {
    /// Reads everything.
    pub fn load(surroundings: &Surroundings) -> Site {
        // Which files there are is known only after reading them, but an edit between reading and
        // looking must not go unseen. So the look that counts is taken before a second reading.
        let first = Site::read(surroundings);
        let stamp = files::stamp(&first.watched);
        Site { stamp, ..Site::read(surroundings) }
    }

    fn read(surroundings: &Surroundings) -> Site {
        let slurm_conf_path = surroundings.slurm_conf_path();
        let layouts_dir = surroundings.layouts_dir();
        let (slurm_conf, conf_files) = load_slurm_conf(&slurm_conf_path);
        let layouts = load_layouts(&layouts_dir);
        let mut watched = surroundings.policy_candidates();
        watched.extend(conf_files);
        watched.push(layouts_dir);
        watched.extend(layouts.iter().map(|file| file.path.clone()));
        Site {
            policy: load_policy(surroundings.policy_path().as_deref()),
            slurm_conf_path,
            slurm_conf,
            layouts,
            watched,
            stamp: Stamp::default(),
        }
    }

    /// Whether a file has changed since, at the cost of a few `stat`s.
    pub fn is_outdated(&self) -> bool {
        files::stamp(&self.watched) != self.stamp
    }

    /// The layout files that are for a node. More than one is a mistake of the administrator.
    pub fn layouts_of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = (&'a Path, &'a Layout)> {
        self.layouts.iter().filter_map(move |file| {
            let layout = file.layout.as_ref().ok().filter(|layout| layout.covers(node))?;
            Some((file.path.as_path(), layout))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn surroundings(dir: &Path) -> Surroundings {
        Surroundings {
            slurm_conf: Some(dir.join("slurm.conf")),
            default_flexmig_conf: dir.join("none.toml"),
            ..Surroundings::default()
        }
    }

    #[test]
    fn policy_is_missing_good_or_broken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flexmig.toml");
        assert_eq!(load_policy(None), PolicyState::Missing);
        let gone = load_policy(Some(&path));
        let told = format!("{}:1: cannot be read: No such file", path.display());
        assert!(gone.error().unwrap().to_string().starts_with(&told), "{gone:?}");
        fs::write(&path, "if_broken = \"refuse\"\n[submit]\nexplain = 7\n").unwrap();
        let PolicyState::Broken { error, if_broken, .. } = load_policy(Some(&path)) else {
            panic!()
        };
        assert_eq!((error.line, if_broken), (3, IfBroken::Refuse));
        fs::write(&path, "[submit]\nexplain = false\n").unwrap();
        assert!(!load_policy(Some(&path)).policy().submit.explain);
    }

    #[test]
    fn includes_are_beside_slurm_conf() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("slurm.conf");
        fs::write(&conf, "Include nodes.conf\nInclude gone.conf\n").unwrap();
        fs::write(dir.path().join("nodes.conf"), "NodeName=n1 Gres=flexmig:7\n").unwrap();
        let (read, files) = load_slurm_conf(&conf);
        let read = read.unwrap();
        assert_eq!(read.flexmig_capacity(None).len(), 1);
        assert_eq!(files, ["slurm.conf", "nodes.conf", "gone.conf"].map(|n| dir.path().join(n)));
        let told = format!("{}:2: Include gone.conf: No such file", conf.display());
        assert!(read.problems()[0].to_string().starts_with(&told), "{:?}", read.problems());
        assert!(load_slurm_conf(dir.path()).0.is_err());
    }

    #[test]
    fn a_site_knows_when_it_is_outdated() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let surroundings = surroundings(dir.path());
        let changes: [&dyn Fn(); 6] = [
            &|| fs::write(at("slurm.conf"), "Include more.conf\n").unwrap(),
            &|| fs::write(at("more.conf"), "NodeName=n1\n").unwrap(),
            &|| fs::write(at("flexmig.toml"), "").unwrap(),
            &|| fs::create_dir(at("flexmig-layouts")).unwrap(),
            &|| fs::write(at("flexmig-layouts/a.toml"), "nodes = \"n[1-2]\"\n").unwrap(),
            &|| fs::write(at("flexmig-layouts/a.toml"), "nodes = 7\n").unwrap(),
        ];
        let mut site = Site::load(&surroundings);
        assert_eq!(site.policy, PolicyState::Missing);
        assert!(site.slurm_conf.is_err());
        for (number, change) in changes.iter().enumerate() {
            assert!(!site.is_outdated(), "before change {number}");
            change();
            assert!(site.is_outdated(), "after change {number}");
            site = Site::load(&surroundings);
            let layouts = usize::from(number == 4);
            assert_eq!(site.layouts_of("n2").count(), layouts, "after change {number}");
        }
        assert!(site.layouts[0].layout.is_err());
        assert!(site.slurm_conf.unwrap().node("n1").is_some());
    }

    #[test]
    fn temporary_files_are_no_layouts() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".a.toml", "a.toml~", "b.txt"] {
            fs::write(dir.path().join(name), "nodes = \"n\"").unwrap();
        }
        assert_eq!(load_layouts(dir.path()), []);
    }
}
