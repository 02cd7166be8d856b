//! Laying out a cluster's directory.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::conf::{self, Facts};
use crate::daemon::Daemon;
use crate::ports::Ports;
use crate::release::Release;
use crate::sandbox::Sandbox;
use crate::spec::{Builder, Node, Plugins};
use crate::trees;

/// A directory with everything in it, and the sandbox over it.
pub(crate) struct LaidOut {
    pub dir: PathBuf,
    pub sandbox: Arc<Sandbox>,
    pub release: Release,
    pub ports: Ports,
}

/// Where the builds of this repository are: FLEXMIG_BUILD, else `build` of the workspace.
pub fn build_dir() -> PathBuf {
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../../build");
    std::env::var_os("FLEXMIG_BUILD").map_or_else(|| PathBuf::from(workspace), PathBuf::from)
}

pub(crate) fn lay_out(builder: &Builder) -> Result<LaidOut, String> {
    let ports = Ports::claim(builder.nodes.len() as u16 + 1)?;
    // A short path: Unix socket names may have 107 bytes. Not 0700: jobs of other users look in.
    let dir = tempfile::Builder::new()
        .prefix("fm-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in("/tmp")
        .map_err(|error| format!("/tmp: {error}"))?;
    make_directories(builder, dir.path())?;
    if builder.cgroups {
        let names = builder.nodes.iter().map(|node| node.name.clone() + "\n");
        write(dir.path(), "cgroups", &names.collect::<String>())?;
    }
    let sandbox = Arc::new(Sandbox::start(dir.path(), builder.root.as_deref())?);
    // From here on the sandbox's supervisor removes it.
    let dir = dir.keep();

    let release = ask_release(&sandbox)?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let facts = Facts {
        dir: &dir,
        host: host.trim().split('.').next().unwrap_or_default(),
        user: rustix::process::geteuid().as_raw(),
        ports: &ports,
    };
    write(&dir, "slurm.conf", &conf::slurm_conf(builder, &facts))?;
    if let Some(text) = conf::cgroup_conf(builder, release) {
        write(&dir, "cgroup.conf", &text)?;
    }
    if let Some(text) = &builder.gres_conf {
        write(&dir, "gres.conf", &text.replace("{dir}", &dir.display().to_string()))?;
    }
    write(&dir, "flexmig.toml", &builder.policy)?;
    copy_builds(builder, &dir)?;
    for node in &builder.nodes {
        let text = node_policy(&dir, node, &builder.policy, &node.policy);
        write(&dir, &format!("nodes/{}/flexmig.toml", node.name), &text)?;
        if let Some(spec) = &node.mock {
            trees::build(&dir.join("nodes").join(&node.name), spec)?;
        }
    }
    for (path, text) in &builder.files {
        write(&dir, path, &text.replace("{dir}", &dir.display().to_string()))?;
    }
    Ok(LaidOut { dir, sandbox, release, ports })
}

fn make_directories(builder: &Builder, dir: &Path) -> Result<(), String> {
    for name in ["munge", "state", "spool", "log", "run", "nodes", "plugins", "lib", "bin", "work"]
    {
        make_directory(&dir.join(name))?;
    }
    if builder.backup {
        for name in ["backup", "backup/log", "backup/run"] {
            make_directory(&dir.join(name))?;
        }
    }
    for node in &builder.nodes {
        make_directory(&dir.join("spool").join(&node.name))?;
        make_directory(&dir.join("nodes").join(&node.name))?;
    }
    let anyone = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(dir.join("work"), anyone).map_err(|error| error.to_string())
}

fn make_directory(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn ask_release(sandbox: &Sandbox) -> Result<Release, String> {
    let mut command = sandbox.command(None);
    command.args(common_env(Path::new("/")).map(|(name, value)| format!("{name}={value}")));
    let output = command.args(["slurmctld", "-V"]).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    Release::parse(&text).ok_or_else(|| {
        let error = String::from_utf8_lossy(&output.stderr);
        format!("no Slurm found: `slurmctld -V` said {:?}: run `make setup`", error.trim())
    })
}

/// Copies, so that a build beside a running test changes nothing under it.
fn copy_builds(builder: &Builder, dir: &Path) -> Result<(), String> {
    let build = build_dir();
    let plugins = match &builder.plugins {
        Plugins::None => None,
        Plugins::Release => Some(build.join("lib/slurm")),
        Plugins::FaultInjection => Some(build.join("test/lib/slurm")),
        Plugins::Directory(path) => Some(path.clone()),
    };
    if let Some(from) = plugins {
        let files = fs::read_dir(&from)
            .map_err(|error| format!("{}: {error}: run `make build build-test`", from.display()))?;
        for file in files.flatten() {
            copy(&file.path(), &dir.join("plugins").join(file.file_name()))?;
        }
    }
    if builder.nodes.iter().any(|node| node.mock.is_some()) {
        let library = mock_nvml::built_library().map_err(|error| error.to_string())?;
        copy(&library, &dir.join("lib").join(mock_nvml::LIBRARY))?;
    }
    for file in ["bin/flexmig", "lib/libflexmig_preload.so", "lib/libnccl-net-flexmig.so"] {
        if build.join(file).exists() {
            copy(&build.join(file), &dir.join(file))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(|_| ()).map_err(|error| format!("{}: {error}", from.display()))
}

/// Writes a file in one step, so that a daemon never reads half of it.
pub(crate) fn write(dir: &Path, path: &str, text: &str) -> Result<(), String> {
    let path = dir.join(path);
    let mut new = path.clone().into_os_string();
    new.push(".new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// A node's flexmig.toml: the cluster's policy and its own tables `[nccl]` and `[node]`.
pub(crate) fn node_policy(dir: &Path, node: &Node, policy: &str, lines: &str) -> String {
    let (dir, nccl, node) = (dir.display(), &node.nccl, &node.name);
    format!(
        "{policy}\n[nccl]\nlibrary_dir = \"{dir}/lib\"\ntopology_dir = \"{dir}/topology\"\n{nccl}\n\
         [node]\nnvml_library = \"{dir}/lib/libnvidia-ml.so.1\"\n\
         root = \"{dir}/nodes/{node}\"\n{lines}\n"
    )
}

/// The environment of every process.
pub(crate) fn common_env(dir: &Path) -> impl Iterator<Item = (String, String)> {
    let slurm_conf = dir.join("slurm.conf").display().to_string();
    let variables = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C.UTF-8"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    variables.into_iter().chain([("SLURM_CONF".to_owned(), slurm_conf)])
}

/// The environment of slurmctld, or of a node's slurmd.
pub(crate) fn daemon_env(
    dir: &Path,
    node: Option<&str>,
    more: &[(String, String)],
) -> Vec<(String, String)> {
    let mut env: Vec<_> = common_env(dir).collect();
    let mut set =
        |name: &str, path: PathBuf| env.push((name.to_owned(), path.display().to_string()));
    match node {
        None => set("FLEXMIG_CONF", dir.join("flexmig.toml")),
        Some(node) => {
            set("FLEXMIG_CONF", dir.join(format!("nodes/{node}/flexmig.toml")));
            set(mock_nvml::NODE_VARIABLE, dir.join(format!("nodes/{node}/node.toml")));
        }
    }
    env.extend_from_slice(more);
    env
}

/// The slurmctld that stands by: with a host name of its own, as that decides about its part, and
/// with directories of its own for its log and pid file, which slurm.conf names once.
pub(crate) fn backup(dir: &Path, sandbox: &Arc<Sandbox>, more: &[(String, String)]) -> Daemon {
    let (at, host) = (dir.display(), conf::BACKUP_HOST);
    let enter = format!(
        "echo {host} >/proc/sys/kernel/hostname && echo '127.0.0.2 {host}' >{at}/backup/hosts && \
         mount --bind {at}/backup/hosts /etc/hosts && mount --bind {at}/backup/log {at}/log && \
         mount --bind {at}/backup/run {at}/run && exec slurmctld -i"
    );
    let words = ["unshare", "--uts", "--mount", "--propagation", "unchanged", "sh", "-c", &enter];
    Daemon::new("slurmctld", &words, &dir.join("backup"), sandbox, daemon_env(dir, None, more))
}

/// munged with a key of its own.
pub(crate) fn munged(dir: &Path, sandbox: &Arc<Sandbox>) -> Daemon {
    let key = dir.join("munge/key");
    let mut bytes = [0; 128];
    let written = fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .and_then(|()| fs::write(&key, bytes))
        .and_then(|()| fs::set_permissions(&key, fs::Permissions::from_mode(0o400)));
    written.unwrap_or_else(|error| panic!("{}: {error}", key.display()));
    let option = |name: &str, path: &str| format!("--{name}={}/{path}", dir.display());
    let words = [
        "munged".to_owned(),
        option("socket", "munge/socket"),
        option("key-file", "munge/key"),
        option("pid-file", "run/munged.pid"),
        option("log-file", "log/munged.log"),
        option("seed-file", "munge/seed"),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Daemon::new("munged", &words, dir, sandbox, common_env(dir))
}
