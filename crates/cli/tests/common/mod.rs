//! A host in a directory: slurm.conf, flexmig.toml, mock NVML with its device tree, and stand-ins
//! for Slurm's library and plugins. Nothing outside the directory is looked at.
#![allow(dead_code)] // Each test file uses a part.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use mock_nvml::{DeviceKind, Node, NodeSpec};

/// What the command did.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The lines of stdout with the host's directory written as `DIR`.
    pub fn lines(&self, host: &Host) -> Vec<String> {
        let dir = host.path("").display().to_string();
        let dir = dir.trim_end_matches('/');
        self.stdout.lines().map(|line| line.replace(dir, "DIR")).collect()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub struct Host {
    dir: tempfile::TempDir,
    pub spec: NodeSpec,
}

/// slurm.conf and cgroup.conf that fit two A100 of seven leaves.
pub const SLURM_CONF: &str = "\
ClusterName=test
SlurmctldHost=ctl
GresTypes=flexmig
JobSubmitPlugins=flexmig
SelectType=select/cons_tres
TaskPlugin=task/cgroup
PluginDir=DIR/plugins
SlurmdSpoolDir=DIR/spool
NodeName=n1 CPUs=16 Gres=flexmig:1g.10gb:14
";

impl Host {
    /// With this node, a flexmig.toml for it, and no slurm.conf yet.
    pub fn new(spec: NodeSpec) -> Host {
        let host = Host { dir: tempfile::tempdir().unwrap(), spec };
        let library = mock_nvml::install(&host.path("nvml"), &host.spec).unwrap();
        let (library, root) = (library.display(), host.path("root"));
        host.build_tree();
        let root = root.display();
        host.write(
            "flexmig.toml",
            &format!("[node]\nnvml_library = \"{library}\"\nroot = \"{root}\"\n"),
        );
        host
    }

    /// Two A100 of seven leaves with everything in order: check has nothing to say.
    pub fn in_order() -> Host {
        let host = Host::new(a100(2, "1g.10gb*7"));
        host.write("slurm.conf", SLURM_CONF);
        host.write("cgroup.conf", "ConstrainDevices=yes\n");
        host.install_plugins("good");
        host.install_libraries();
        let layout = host.run(&["config", "--layout", "--node", "n1"]);
        assert_eq!(layout.status, 0, "{layout:?}");
        host.write("flexmig-layouts/a100.toml", &layout.stdout);
        host
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file; `DIR` in it stands for the host's directory.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("DIR", &self.dir.path().display().to_string())).unwrap();
    }

    /// Replaces a text that a file must contain.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, &text.replace(from, to));
    }

    /// Changes what NVML and the device tree show.
    pub fn change(&mut self, change: impl FnOnce(&mut NodeSpec)) {
        change(&mut self.spec);
        mock_nvml::set_node(&self.path("nvml"), &self.spec).unwrap();
        self.build_tree();
    }

    fn build_tree(&self) {
        let node = Node::new(self.spec.clone()).unwrap();
        fs::create_dir_all(self.path("root")).unwrap();
        node.build_tree(&self.path("root"), DeviceKind::Regular).unwrap();
    }

    /// Puts a stand-in for Slurm and both plugins into PluginDir; `which` is a stand-in for ours.
    pub fn install_plugins(&self, which: &str) {
        fs::create_dir_all(self.path("plugins")).unwrap();
        let put = |library: &str, name: &str| {
            let to = self.path("plugins").join(name);
            fs::copy(stand_ins().join(library), to).unwrap();
        };
        put("slurm", "libslurmfull.so");
        put("sibling", "hash_k12.so");
        put(which, "gres_flexmig.so");
        put("job_submit", "job_submit_flexmig.so");
    }

    /// Puts stand-ins for the libraries of jobs beside PluginDir, for all users.
    pub fn install_libraries(&self) {
        fs::create_dir_all(self.path("flexmig")).unwrap();
        fs::set_permissions(self.path(""), Permissions::from_mode(0o755)).unwrap();
        for name in ["libflexmig_preload.so", "libnccl-net-flexmig.so"] {
            fs::copy(stand_ins().join("slurm"), self.path("flexmig").join(name)).unwrap();
        }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flexmig"));
        command.args(args).env_remove("FLEXMIG_CONF").env_remove("SLURMD_NODENAME");
        command.env("SLURM_CONF", self.path("slurm.conf")).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().unwrap();
        Ran {
            status: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `flexmig check` for n1 with what is not ok, `DIR` for the directory.
    pub fn complaints(&self) -> Vec<String> {
        let ran = self.run(&["check", "--quiet", "--node", "n1"]);
        let lines = ran.lines(self);
        let errors = lines.iter().any(|line| line.starts_with("error"));
        assert_eq!(ran.status, i32::from(errors), "{ran:?}");
        assert_eq!(ran.stderr, "");
        lines
    }
}

pub fn a100(gpus: usize, layout: &str) -> NodeSpec {
    NodeSpec::preset("dgx-a100").unwrap().named("n1").gpus(gpus).mig(layout)
}

/// Stand-ins for libslurmfull.so and for plugins, compiled once per test program.
fn stand_ins() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-ins");
        fs::create_dir_all(&dir).unwrap();
        let version = |number: u32| {
            format!("#[unsafe(no_mangle)] pub static plugin_version: u32 = {number};\n")
        };
        let kind = |kind: &str| {
            let length = kind.len() + 1;
            format!(
                "#[unsafe(no_mangle)] pub static plugin_type: [u8; {length}] = *b\"{kind}\\0\";\n"
            )
        };
        let api =
            "#[unsafe(no_mangle)] pub extern \"C\" fn slurm_api_version() -> i64 { 38 << 16 }";
        let needs = "unsafe extern \"C\" { fn slurm_nowhere(); }\n\
                     // SAFETY: never called: no library defines the function, so none that needs it loads.\n\
                     #[unsafe(no_mangle)] pub fn init() { unsafe { slurm_nowhere() } }\n";
        let crash = "#[used] #[unsafe(link_section = \".init_array\")]\n\
                     static AT_LOAD: extern \"C\" fn() = crash;\n\
                     extern \"C\" fn crash() { std::process::abort() }\n";
        const SLURM: u32 = 0x16_05_08;
        let gres = kind("gres/flexmig");
        compile(&dir, "slurm", api);
        compile(&dir, "sibling", &(kind("hash/k12") + &version(SLURM)));
        compile(&dir, "job_submit", &(kind("job_submit/flexmig") + &version(SLURM)));
        compile(&dir, "good", &(gres.clone() + &version(SLURM)));
        compile(&dir, "old", &(gres.clone() + &version(SLURM - 1)));
        compile(&dir, "other", &(kind("gres/gpu") + &version(SLURM)));
        compile(&dir, "unresolved", &(gres.clone() + &version(SLURM) + needs));
        compile(&dir, "crashing", &(gres + &version(SLURM) + crash));
        dir
    })
}

/// Replaces the file as a whole, as another test program may do the same just now.
fn compile(dir: &Path, name: &str, text: &str) {
    let draft = dir.join(format!("{name}.{}", std::process::id()));
    let source = draft.with_extension(format!("{}.rs", std::process::id()));
    fs::write(&source, format!("#![allow(non_upper_case_globals)]\n{text}")).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=cdylib", "-Cpanic=abort", "--crate-name=stand_in"])
        .arg("-o")
        .args([&draft, &source])
        .status()
        .unwrap();
    assert!(status.success(), "{name}");
    fs::rename(&draft, dir.join(name)).unwrap();
    fs::remove_file(source).unwrap();
}
