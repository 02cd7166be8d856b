//! The NCCL side of a job's environment: what slurmd prepares once, and what slurmstepd makes of it
//! for a job or step. The rules are [`flexmig_core::nccl`]'s; here are the files.
//!
//! slurmd looks for the libraries, writes the topology file, and sends where they are. slurmstepd
//! reads the probe's result and the nccl.conf files that hold for the user, resolves the mode, and
//! gives the edits. Both say in slurmd's log what is missing and what was left to the user.

use std::ffi::{CStr, OsStr};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flexmig_core::nccl::libraries::{self, PLUGIN, PRELOAD};
use flexmig_core::nccl::settings::{self, Edit, Lookup, Settings};
use flexmig_core::nccl::variables::Files;
use flexmig_core::nccl::{Choice, Mode, Situation, conf_file, resolve};
use flexmig_core::policy::Policy;
use flexmig_core::probe::ProbeResults;
use mig_inventory::Inventory;
use serde::{Deserialize, Serialize};
use slurm_sys::log;

use crate::node::Node;
use crate::user_file::{self, User};

/// Of all users, and read whatever `NCCL_CONF_FILE` says.
const GLOBAL_CONF: &str = "/etc/nccl.conf";

/// What slurmd tells slurmstepd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nccl {
    /// `mode` of flexmig.toml.
    pub mode: Choice,
    /// Whether LD_PRELOAD may be touched.
    pub ld_preload: bool,
    /// Directory of the two libraries, if there is one.
    pub libraries: Option<PathBuf>,
    /// The node's topology file, if it could be written.
    pub topology: Option<PathBuf>,
    /// Where `flexmig probe` leaves its results.
    pub probe: PathBuf,
    /// Version of the NVIDIA driver.
    pub driver: String,
}

/// In slurmd: looks for the libraries and writes the topology file, unless it `only_looks`.
pub fn prepare(
    name: &str,
    policy: &Policy,
    probe: PathBuf,
    inventory: &Inventory,
    only_looks: bool,
) -> Nccl {
    let policy = &policy.nccl;
    let candidates = libraries::dirs(policy, plugin_dir().as_deref());
    let found_in =
        candidates.iter().find(|dir| [PRELOAD, PLUGIN].iter().any(|f| dir.join(f).is_file()));
    for file in [PRELOAD, PLUGIN] {
        let found = found_in.is_some_and(|dir| dir.join(file).is_file());
        if !found && libraries::is_wanted(policy, file) {
            let dirs: Vec<_> = candidates.iter().map(|dir| dir.display().to_string()).collect();
            log::error(format_args!(
                "{name}: {file}: not in {}: jobs go without it: install it, or set library_dir in \
                 flexmig.toml",
                dirs.join(", ")
            ));
        }
    }
    let file = policy.topology_dir.join(format!("topo-{name}.xml"));
    let topology = if only_looks {
        None
    } else {
        match write_topology(&file, inventory, Path::new("/")) {
            Ok(()) => Some(file),
            Err(error) => {
                log::error(format_args!(
                    "{name}: {}: cannot be written: {error}: NCCL does not know where the leaves are \
                     and is slower: mend it, or set topology_dir in flexmig.toml",
                    file.display()
                ));
                None
            }
        }
    };
    Nccl {
        mode: policy.mode,
        ld_preload: policy.ld_preload,
        libraries: found_in.cloned(),
        topology,
        probe,
        driver: inventory.driver_version.clone(),
    }
}

/// The directory that this plugin was loaded from.
fn plugin_dir() -> Option<PathBuf> {
    // SAFETY: null pointers are a valid Dl_info.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    let here = plugin_dir as *const libc::c_void;
    // SAFETY: the address is of a function of this object; dladdr fills the structure.
    if unsafe { libc::dladdr(here, &raw mut info) } == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's own C string, which lives as long as this object.
    let file = unsafe { CStr::from_ptr(info.dli_fname) };
    fs::canonicalize(OsStr::from_bytes(file.to_bytes())).ok()?.parent().map(Path::to_owned)
}

/// Replaces the topology file; every user's ranks read it, whatever slurmd's umask is.
fn write_topology(file: &Path, inventory: &Inventory, root: &Path) -> io::Result<()> {
    let text = mig_inventory::topology::write(&inventory.leaves, root)?;
    if let Some(dir) = file.parent().filter(|dir| !dir.exists()) {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    flexmig_site::write_atomically(file, &text)?;
    fs::set_permissions(file, Permissions::from_mode(0o644))
}

/// In slurmstepd: the edits for a job or step with leaves.
pub fn edits(node: &Node, env: Lookup<'_>) -> Vec<Edit> {
    let nccl = &node.nccl;
    let user = settings::users_mode(env);
    let probe = match nccl.mode {
        Choice::Auto => read_probe(&nccl.probe),
        _ => Ok(ProbeResults::default()),
    };
    let leaves: Vec<_> = node.indices.iter().filter_map(|index| index.leaf.as_ref()).collect();
    let resolved = resolve(&Situation {
        policy: nccl.mode,
        user: user.as_deref(),
        driver: &nccl.driver,
        probe: probe.as_ref().map_err(String::as_str),
        leaves: &leaves,
    });
    let there = |path: PathBuf| path.is_file().then(|| path.display().to_string());
    let library = |file: &str| nccl.libraries.as_ref().map(|dir| dir.join(file)).and_then(there);
    let (preload, plugin) = (library(PRELOAD).filter(|_| nccl.ld_preload), library(PLUGIN));
    let topology = nccl.topology.clone().and_then(there);
    let files = Files {
        preload: preload.as_deref(),
        plugin: plugin.as_deref(),
        topology: topology.as_deref(),
        node: &node.name,
    };
    let conf = match resolved.mode {
        None | Some(Mode::Off) => Vec::new(),
        Some(_) => conf_names(Path::new(GLOBAL_CONF), env),
    };
    let named = |name: &str| {
        let file = conf.iter().find(|(_, names)| names.iter().any(|listed| listed == name));
        file.map(|(path, _)| path.clone())
    };
    let Settings { edits, kept } = settings::settings(&resolved, &files, &named, env);
    if !kept.is_empty() {
        let mode = resolved.mode.map_or("no mode", Mode::name);
        log::info(format_args!(
            "{}: {mode}: left as the user has it: {}",
            node.name,
            kept.join(", ")
        ));
    }
    edits
}

fn read_probe(path: &Path) -> Result<ProbeResults, String> {
    let name = path.display().to_string();
    match flexmig_site::read(path) {
        Ok(bytes) => ProbeResults::read(&name, &bytes).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ProbeResults::default()),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// The nccl.conf files that NCCL will read in this environment, with the names that they set:
/// `NCCL_CONF_FILE` instead of `~/.nccl.conf`, and the global one.
fn conf_names(global: &Path, env: Lookup<'_>) -> Vec<(String, Vec<String>)> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let own = match set("NCCL_CONF_FILE") {
        // As NCCL opens it, in the job's directory.
        Some(file) => Some(Path::new(&set("PWD").unwrap_or_default()).join(file)),
        None => set("HOME").map(|home| Path::new(&home).join(".nccl.conf")),
    };
    let own = own.filter(|path| path.is_absolute());
    let own = own.and_then(|path| Some((user_file::read(&path, User::of_job(env))?, path)));
    let global = flexmig_site::read(global).ok().map(|bytes| (bytes, global.to_owned()));
    let names = |(bytes, path): (Vec<u8>, PathBuf)| {
        let names = conf_file::names(&bytes).map(str::to_owned).collect();
        (path.display().to_string(), names)
    };
    own.into_iter().chain(global).map(names).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing;

    /// A node whose libraries are in `dir`.
    fn node(dir: &Path) -> Node {
        for file in [PRELOAD, PLUGIN] {
            fs::write(dir.join(file), "").unwrap();
        }
        let mut node = testing::node();
        node.nccl.libraries = Some(dir.to_owned());
        node.nccl.ld_preload = true;
        node.nccl.probe = dir.join("flexmig-probe.toml");
        node
    }

    fn made(node: &Node, env: &[(&str, &str)]) -> BTreeMap<&'static str, String> {
        let env: BTreeMap<&str, &str> = env.iter().copied().collect();
        let edits = edits(node, &|name| env.get(name).map(|&value| value.to_owned()));
        edits.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    #[test]
    fn the_plugin_knows_where_it_is() {
        assert!(plugin_dir().is_some_and(|dir| dir.is_absolute() && dir.is_dir()));
    }

    #[test]
    fn files_that_are_gone_are_not_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut node = node(dir.path());
        node.nccl.topology = Some(dir.path().join("topo-n1.xml"));
        let before = made(&node, &[]);
        assert!(before["LD_PRELOAD"].ends_with("/libflexmig_preload.so"));
        assert!(before["NCCL_ENV_PLUGIN"].ends_with("/libnccl-net-flexmig.so"));
        assert!(!before.contains_key("NCCL_TOPO_FILE"));
        fs::remove_file(dir.path().join(PRELOAD)).unwrap();
        fs::write(dir.path().join("topo-n1.xml"), "").unwrap();
        let after = made(&node, &[]);
        assert!(!after.contains_key("LD_PRELOAD") && after.contains_key("NCCL_TOPO_FILE"));
        node.nccl.libraries = None;
        assert!(!made(&node, &[]).contains_key("NCCL_ENV_PLUGIN"));
    }

    #[test]
    fn auto_follows_the_probe_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut node = node(dir.path());
        node.nccl.driver = "580.65.06".into();
        let mode = |node: &Node| {
            let mut made = made(node, &[]);
            (made.remove("FLEXMIG_MODE").unwrap(), made.remove("FLEXMIG_MODE_REASON").unwrap())
        };
        let (unknown, reason) = mode(&node);
        assert_eq!(unknown, "relabel-shm");
        assert!(reason.ends_with("have not been tried by flexmig probe"), "{reason}");
        let mut text = String::from("version = 1\n");
        for pair in ["\"1g.10gb\", \"1g.10gb\"", "\"1g.10gb\", \"3g.40gb\""] {
            text += &format!(
                "[[result]]\ndriver = \"580.65.06\"\ngpu = \"NVIDIA H100 80GB HBM3\"\n\
                 profiles = [{pair}]\nimport = true\n"
            );
        }
        fs::write(&node.nccl.probe, text).unwrap();
        assert_eq!(mode(&node).0, "relabel-p2p");
        fs::write(&node.nccl.probe, "version = 9").unwrap();
        let (broken, reason) = mode(&node);
        assert_eq!(broken, "relabel-shm");
        assert!(reason.contains("flexmig-probe.toml:1: version 9"), "{reason}");
    }

    #[test]
    fn conf_files_are_those_that_nccl_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::write(path(".nccl.conf"), "NCCL_NET=IB\n").unwrap();
        fs::write(path("other.conf"), "NCCL_ALGO=Ring\n").unwrap();
        fs::write(path("global.conf"), "NCCL_DEBUG=WARN\n").unwrap();
        // Also nobody may read them, who stands in for root.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let found = |env: &[(&str, &str)]| {
            let env: BTreeMap<&str, &str> = env.iter().copied().collect();
            let get = |name: &str| env.get(name).map(|&value| value.to_owned());
            let names = conf_names(Path::new(&path("global.conf")), &get);
            names.into_iter().flat_map(|(_, names)| names).collect::<Vec<_>>()
        };
        let home = dir.path().display().to_string();
        assert_eq!(found(&[]), ["NCCL_DEBUG"]);
        assert_eq!(found(&[("HOME", &home)]), ["NCCL_NET", "NCCL_DEBUG"]);
        let named = [("HOME", home.as_str()), ("NCCL_CONF_FILE", &path("other.conf"))];
        assert_eq!(found(&named), ["NCCL_ALGO", "NCCL_DEBUG"]);
        let relative = [("PWD", home.as_str()), ("NCCL_CONF_FILE", "other.conf")];
        assert_eq!(found(&relative), ["NCCL_ALGO", "NCCL_DEBUG"]);
        assert_eq!(found(&[("NCCL_CONF_FILE", "other.conf")]), ["NCCL_DEBUG"]);
    }

    #[test]
    fn the_topology_file_can_be_read_by_everyone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run/topo-n1.xml");
        let leaves = vec![testing::leaf(0, 7), testing::leaf(1, 8)];
        let inventory = Inventory { leaves, ..Inventory::default() };
        write_topology(&file, &inventory, dir.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o644, 0o755));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("b800:10:00.0") && text.contains("c000:11:00.0"), "{text}");
    }
}
