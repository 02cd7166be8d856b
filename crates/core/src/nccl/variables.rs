//! What NCCL is told in each mode: one table, of which docs/runtime.md shows a copy (tested).
//!
//! A job's variables are set before anybody knows which NCCL its programs bring, so each row suits
//! every NCCL from 2.18 to 2.32: a version that does not know a name does not read it. What depends
//! on the version is answered by the env plugin (2.28 and later).

use std::fmt::Write as _;

use super::Mode;

/// The files on this node that values are made of; absent where there is no such file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// libflexmig_preload.so, absolute.
    pub preload: Option<&'a str>,
    /// libnccl-net-flexmig.so, absolute.
    pub plugin: Option<&'a str>,
    /// The node's topology file, absolute.
    pub topology: Option<&'a str>,
    /// Name of the node.
    pub node: &'a str,
}

/// What a variable is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// Not set.
    No,
    /// This.
    Is(&'static str),
    /// This, if there is no topology file.
    WithoutTopology(&'static str),
    /// This, if there is a libnccl-net-flexmig.so.
    WithPlugin(&'static str),
    /// Path of libnccl-net-flexmig.so.
    Plugin,
    /// Path of the topology file.
    Topology,
    /// The node's name; a task that Slurm bound gets its leaf's index behind it.
    Node,
}

/// A row of the table.
#[derive(Debug)]
pub struct Variable {
    /// Name in the environment.
    pub name: &'static str,
    /// In native, relabel-p2p, relabel-shm, net.
    values: [Value; 4],
    /// What it is for.
    why: &'static str,
}

use Value::{Is, No, Node, Plugin, Topology, WithPlugin, WithoutTopology};

const fn row(name: &'static str, values: [Value; 4], why: &'static str) -> Variable {
    Variable { name, values, why }
}

/// The table.
pub static VARIABLES: [Variable; 14] = [
    row(
        "NCCL_ENV_PLUGIN",
        [Plugin, Plugin, Plugin, Plugin],
        "2.28 and later ask it for what depends on their version",
    ),
    row(
        "NCCL_MULTI_RANK_GPU_ENABLE",
        [Is("1"), Is("1"), Is("1"), No],
        "several ranks on one GPU: 2.31 and later, and 2.30.7, which compares UUIDs",
    ),
    row("NCCL_NVLS_ENABLE", [Is("0"); 4], "a leaf has no NVLink SHARP"),
    row("NCCL_MNNVL_ENABLE", [Is("0"); 4], "nor NVLink between hosts"),
    row(
        "NCCL_IGNORE_DISABLED_P2P",
        [Is("1"), Is("1"), Is("1"), No],
        "a P2P status that NVML reports as bad is no error",
    ),
    row("NCCL_P2P_DISABLE", [No, No, Is("1"), No], "no P2P; 2.18 would try it whatever NVML says"),
    row(
        "NCCL_P2P_LEVEL",
        [No, WithoutTopology("SYS"), No, No],
        "without a topology file two leaves look far apart",
    ),
    row("NCCL_CUMEM_ENABLE", [No, Is("1"), Is("0"), Is("0")], "P2P between leaves is by cuMem"),
    row("NCCL_CUMEM_HOST_ENABLE", [No, Is("0"), Is("0"), Is("0")], "host memory from /dev/shm"),
    row(
        "NCCL_MAX_CTAS",
        [Is("8"), Is("8"), No, No],
        "NCCL would take up to 64 SMs, more than a leaf has",
    ),
    row(
        "NCCL_TOPO_FILE",
        [No, Topology, Topology, No],
        "where the leaves are: PCI bridges, NUMA node, CPUs",
    ),
    row("NCCL_NET_PLUGIN", [No, No, No, Plugin], "the net plugin; else the user's stays in place"),
    row("NCCL_NET", [No, No, No, WithPlugin("FlexMIG")], "no other network between leaves"),
    row(
        HOST_ID,
        [No, No, No, Node],
        "each rank a host of its own, so that NCCL goes through the network",
    ),
];

/// The variable whose value is each rank's own in mode net.
pub const HOST_ID: &str = "NCCL_HOSTID";

impl Variable {
    /// The value in a mode, `None` for not set.
    pub fn value(&self, mode: Mode, files: &Files<'_>) -> Option<String> {
        let column = match mode {
            Mode::Native => 0,
            Mode::RelabelP2p => 1,
            Mode::RelabelShm => 2,
            Mode::Net => 3,
            Mode::Off => return None,
        };
        let value = match self.values[column] {
            No => None,
            Is(text) => Some(text),
            WithoutTopology(text) => Some(text).filter(|_| files.topology.is_none()),
            WithPlugin(text) => Some(text).filter(|_| files.plugin.is_some()),
            Plugin => files.plugin,
            Topology => files.topology,
            // Without the net plugin ranks on hosts of their own would meet over TCP.
            Node => Some(files.node).filter(|_| files.plugin.is_some()),
        };
        value.map(str::to_owned)
    }
}

/// The table as Markdown, for the documentation.
pub fn markdown() -> String {
    let mut text = String::from(
        "| variable | native | relabel-p2p | relabel-shm | net | why |\n|---|---|---|---|---|---|\n",
    );
    for Variable { name, values, why } in &VARIABLES {
        let cell = |value: &Value| match value {
            No => "-".to_owned(),
            Is(text) | WithPlugin(text) => format!("`{text}`"),
            WithoutTopology(text) => format!("`{text}` without a topology file"),
            Plugin => "net library".to_owned(),
            Topology => "topology file".to_owned(),
            Node => "`NODE-INDEX`".to_owned(),
        };
        let [native, p2p, shm, net] = values.each_ref().map(cell);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{name}` | {native} | {p2p} | {shm} | {net} | {why} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Files<'_> = Files {
        preload: Some("/l/libflexmig_preload.so"),
        plugin: Some("/l/libnccl-net-flexmig.so"),
        topology: Some("/run/flexmig/topo-n1.xml"),
        node: "n1",
    };

    fn set(mode: Mode, files: &Files<'_>) -> Vec<String> {
        let pair = |v: &Variable| Some(format!("{}={}", &v.name[5..], v.value(mode, files)?));
        VARIABLES.iter().filter_map(pair).collect()
    }

    #[test]
    fn each_mode_has_its_variables() {
        assert_eq!(
            set(Mode::RelabelShm, &ALL),
            [
                "ENV_PLUGIN=/l/libnccl-net-flexmig.so",
                "MULTI_RANK_GPU_ENABLE=1",
                "NVLS_ENABLE=0",
                "MNNVL_ENABLE=0",
                "IGNORE_DISABLED_P2P=1",
                "P2P_DISABLE=1",
                "CUMEM_ENABLE=0",
                "CUMEM_HOST_ENABLE=0",
                "TOPO_FILE=/run/flexmig/topo-n1.xml",
            ]
        );
        let p2p = set(Mode::RelabelP2p, &ALL);
        assert!(!p2p.iter().any(|v| v.starts_with("P2P_")), "{p2p:?}");
        assert!(p2p.contains(&"CUMEM_ENABLE=1".to_owned()), "{p2p:?}");
        let native = set(Mode::Native, &ALL);
        assert!(!native.iter().any(|v| v.starts_with("CUMEM") || v.starts_with("TOPO")));
        let net = set(Mode::Net, &ALL);
        for wanted in ["NET_PLUGIN=/l/libnccl-net-flexmig.so", "NET=FlexMIG", "HOSTID=n1"] {
            assert!(net.iter().any(|v| v == wanted), "{net:?}");
        }
        assert_eq!(set(Mode::Off, &ALL), [""; 0]);
    }

    #[test]
    fn only_net_touches_the_users_network() {
        for mode in [Mode::Native, Mode::RelabelP2p, Mode::RelabelShm] {
            let set = set(mode, &ALL);
            assert!(!set.iter().any(|v| v.starts_with("NET") || v.starts_with("HOSTID")));
        }
    }

    #[test]
    fn files_that_are_not_there_are_not_named() {
        let none = Files { node: "n1", ..Files::default() };
        for mode in [Mode::Native, Mode::RelabelP2p, Mode::RelabelShm, Mode::Net] {
            let set = set(mode, &none);
            assert!(!set.iter().any(|v| v.contains("PLUGIN") || v.contains("TOPO")), "{set:?}");
            assert!(!set.iter().any(|v| v.starts_with("NET") || v.starts_with("HOSTID")));
        }
        assert!(set(Mode::RelabelP2p, &none).contains(&"P2P_LEVEL=SYS".to_owned()));
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let docs = include_str!("../../../../docs/runtime.md");
        assert!(docs.contains(&markdown()), "put this into docs/runtime.md:\n{}", markdown());
    }
}
