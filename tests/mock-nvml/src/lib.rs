//! A stand-in for NVIDIA's management library, for nodes described in TOML.
//!
//! The built `libmock_nvml.so`, copied to `libnvidia-ml.so.1`, answers the calls of nvml-wrapper and
//! of mig-inventory as a driver would; [`Node::build_tree`] makes the `dev` and `proc` trees that go
//! with it. The node is read at each `nvmlInit`, from the file that the environment variable
//! `MOCK_NVML_NODE` names, else from `mock-nvml.toml` beside the library. A node that cannot be read
//! is a driver that is not loaded, with the reason on stderr.
//!
//! ```
//! use mock_nvml::{DeviceKind, Node, NodeSpec};
//! let spec = NodeSpec::preset("dgx-a100").unwrap().named("n1").gpus(2).mig("1g.10gb*7");
//! let node = Node::new(spec).unwrap();
//! assert_eq!(node.gpus[0].leaves.len(), 7);
//! # let dir = tempfile::tempdir().unwrap();
//! # let dir = dir.path();
//! node.build_tree(dir, DeviceKind::Regular).unwrap();
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | [`profiles`] | the facts of `data/mig_profiles.csv` |
//! | [`layout`] | which instances fit on a GPU, and the ids the driver gives them |
//! | [`spec`] | a node as TOML, and the presets |
//! | [`node`] | a node with everything placed |
//! | [`tree`] | its `dev` and `proc` |
//! | `state`, `api` | the shared library: what is loaded, and the C entry points |

mod api;
pub mod layout;
pub mod node;
pub mod profiles;
mod ret;
pub mod spec;
mod state;
pub mod tree;
mod uuid;

use std::path::{Path, PathBuf};
use std::{fs, io};

pub use node::Node;
pub use spec::{Fail, GpuSpec, NodeSpec};
pub use tree::DeviceKind;

/// Environment variable that names the node's TOML file.
pub const NODE_VARIABLE: &str = "MOCK_NVML_NODE";
/// The node's TOML file beside the library, if [`NODE_VARIABLE`] is not set.
pub const NODE_FILE: &str = "mock-nvml.toml";
/// The name under which programs look for NVML.
pub const LIBRARY: &str = "libnvidia-ml.so.1";

/// Why a node, its tree or its library could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such preset.
    #[error("no preset {name:?}: there are {known}")]
    Preset {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The text is not a node's TOML.
    #[error("line {line}: {message}")]
    Toml {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A GPU is impossible.
    #[error("GPU {minor}: {problem}")]
    Gpu {
        /// Minor number.
        minor: u32,
        /// What is wrong.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("{}: {reason}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// What is wrong in a file.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The problem.
        error: Box<Error>,
    },
}

impl Error {
    fn io(path: &Path, error: &io::Error) -> Error {
        Error::Io { path: path.to_owned(), reason: error.to_string() }
    }
}

/// Copies the built library to `dir/libnvidia-ml.so.1` and writes `spec` beside it, so that the copy
/// serves this node without an environment variable. Returns the path of the copy.
///
/// A copy is a library of its own: several in one process do not disturb each other.
pub fn install(dir: &Path, spec: &NodeSpec) -> Result<PathBuf, Error> {
    let built = built_library()?;
    fs::create_dir_all(dir).map_err(|error| Error::io(dir, &error))?;
    let library = dir.join(LIBRARY);
    if !library.exists() {
        fs::copy(&built, &library).map_err(|error| Error::io(&built, &error))?;
    }
    set_node(dir, spec)?;
    Ok(library)
}

/// Changes the node that the library in `dir` serves; seen at the next `nvmlInit`.
pub fn set_node(dir: &Path, spec: &NodeSpec) -> Result<(), Error> {
    let (file, draft) = (dir.join(NODE_FILE), dir.join("mock-nvml.toml.new"));
    fs::write(&draft, spec.to_toml())
        .and_then(|()| fs::rename(&draft, &file))
        .map_err(|error| Error::io(&file, &error))
}

/// The `libmock_nvml.so` that cargo built with the running test or program.
///
/// Cargo puts it into `target/PROFILE/deps` for a crate that depends on this one, and into
/// `target/PROFILE` after `cargo build -p mock-nvml`.
pub fn built_library() -> Result<PathBuf, Error> {
    let program =
        std::env::current_exe().map_err(|error| Error::io(Path::new("/proc/self/exe"), &error))?;
    let name = "libmock_nvml.so";
    let folders = program.ancestors().skip(1).take(2);
    let found = folders
        .flat_map(|folder| [folder.join("deps").join(name), folder.join(name)])
        .filter(|path| path.exists())
        // Both can be there; the one built last belongs to this build.
        .max_by_key(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok());
    found.ok_or_else(|| Error::Io {
        path: program.with_file_name(name),
        reason: "not built: run cargo build -p mock-nvml".to_owned(),
    })
}
