//! What a cluster shall look like: the builder.

use std::path::{Path, PathBuf};

use crate::cluster::Cluster;

/// Which of our plugins the cluster loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugins {
    /// None: Slurm only counts.
    None,
    /// `build/lib/slurm`, the files that are installed on real machines.
    Release,
    /// `build/test/lib/slurm`, the same with fault injection.
    FaultInjection,
    /// A directory of the test's own.
    Directory(PathBuf),
}

/// How Slurm's parts trust each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// munged, started by the harness.
    Munge,
    /// auth/none: no munged; the only choice without root.
    None,
}

/// One node. All nodes are slurmd processes on this machine.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) name: String,
    pub(crate) cpus: u32,
    pub(crate) memory: u32,
    pub(crate) sockets: u32,
    pub(crate) gres: String,
    pub(crate) conf: String,
    pub(crate) mock: Option<mock_nvml::NodeSpec>,
    pub(crate) policy: String,
    pub(crate) nccl: String,
    pub(crate) env: Vec<(String, String)>,
}

impl Node {
    /// A node with 16 CPUs on one socket, 64000 MiB and no GRES.
    pub fn new(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            cpus: 16,
            memory: 64_000,
            sockets: 1,
            gres: String::new(),
            conf: String::new(),
            mock: None,
            policy: String::new(),
            nccl: String::new(),
            env: Vec::new(),
        }
    }

    /// CPUs, all sockets together, and the number of sockets.
    pub fn cpus(mut self, cpus: u32, sockets: u32) -> Node {
        (self.cpus, self.sockets) = (cpus, sockets);
        self
    }

    /// RealMemory in MiB.
    pub fn memory(mut self, mib: u32) -> Node {
        self.memory = mib;
        self
    }

    /// The value of `Gres=` in slurm.conf, for example `flexmig:1g.10gb:14`.
    pub fn gres(mut self, gres: &str) -> Node {
        self.gres = gres.to_owned();
        self
    }

    /// More words for the node's line in slurm.conf, for example `Features=a100 Weight=10`.
    pub fn conf(mut self, words: &str) -> Node {
        self.conf = words.to_owned();
        self
    }

    /// What NVML finds on this node. The harness serves it through mock-nvml under the node's name,
    /// builds the `dev` and `proc` trees, and points the node's flexmig.toml at all of them.
    pub fn mock(mut self, spec: mock_nvml::NodeSpec) -> Node {
        self.mock = Some(spec.named(&self.name));
        self
    }

    /// One line for the common case: GPUs of a preset, all with the same layout, and the GRES that
    /// slurm.conf needs for it. `node.leaves("dgx-a100", 2, "1g.10gb*7", "flexmig:1g.10gb:14")`.
    ///
    /// # Panics
    /// If mock-nvml knows no such preset.
    pub fn leaves(self, preset: &str, gpus: usize, mig: &str, gres: &str) -> Node {
        let spec = mock_nvml::NodeSpec::preset(preset).unwrap_or_else(|error| panic!("{error}"));
        self.mock(spec.gpus(gpus).mig(mig)).gres(gres)
    }

    /// More lines for table `[node]` of the node's flexmig.toml, for example `order = "spread"`.
    pub fn policy(mut self, lines: &str) -> Node {
        self.policy = lines.to_owned();
        self
    }

    /// More lines for table `[nccl]` of the node's flexmig.toml, for example `mode = "net"`. The
    /// libraries of this build and a topology directory of the cluster's own are set.
    pub fn nccl(mut self, lines: &str) -> Node {
        self.nccl = lines.to_owned();
        self
    }

    /// A variable in the environment of this slurmd and so of its slurmstepds.
    pub fn env(mut self, name: &str, value: &str) -> Node {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Describes a cluster; [`Builder::start`] starts it.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) nodes: Vec<Node>,
    pub(crate) plugins: Plugins,
    pub(crate) auth: Auth,
    pub(crate) cgroups: bool,
    pub(crate) root: Option<PathBuf>,
    pub(crate) gres_types: Option<String>,
    pub(crate) job_submit: Option<String>,
    pub(crate) partitions: Option<String>,
    pub(crate) scheduler_parameters: String,
    pub(crate) slurm_conf: String,
    pub(crate) gres_conf: Option<String>,
    pub(crate) cgroup_conf: String,
    pub(crate) policy: String,
    pub(crate) files: Vec<(String, String)>,
    pub(crate) controller_env: Vec<(String, String)>,
    pub(crate) backup: bool,
}

/// Makes the scheduler act at once.
const SCHEDULER_PARAMETERS: &str =
    "sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0";

impl Default for Builder {
    fn default() -> Builder {
        let root = std::env::var_os("FLEXMIG_SLURM_ROOT").filter(|root| !root.is_empty());
        Builder {
            nodes: Vec::new(),
            plugins: Plugins::None,
            auth: if crate::is_root() { Auth::Munge } else { Auth::None },
            cgroups: false,
            root: root.map(PathBuf::from),
            gres_types: None,
            job_submit: None,
            partitions: None,
            scheduler_parameters: SCHEDULER_PARAMETERS.to_owned(),
            slurm_conf: String::new(),
            gres_conf: None,
            cgroup_conf: String::new(),
            policy: String::new(),
            files: Vec::new(),
            controller_env: Vec::new(),
            backup: false,
        }
    }
}

impl Builder {
    /// Adds a node.
    pub fn node(mut self, node: Node) -> Builder {
        self.nodes.push(node);
        self
    }

    /// Adds nodes `n1` to `n{count}`, each made by `spec` from its name.
    pub fn nodes(mut self, count: usize, spec: impl Fn(&str) -> Node) -> Builder {
        self.nodes.extend((1..=count).map(|number| spec(&format!("n{number}"))));
        self
    }

    /// Which of our plugins to load; none unless said.
    pub fn plugins(mut self, plugins: Plugins) -> Builder {
        self.plugins = plugins;
        self
    }

    /// How Slurm's parts trust each other: munge as root, else none.
    pub fn auth(mut self, auth: Auth) -> Builder {
        self.auth = auth;
        self
    }

    /// Uses task/cgroup and proctrack/cgroup with `ConstrainDevices=yes` on cgroup v1. Ask
    /// [`crate::cgroups`] first. Clusters with cgroups run one at a time on a machine, as Slurm
    /// names its cgroups after the node.
    pub fn cgroups(mut self) -> Builder {
        self.cgroups = true;
        self
    }

    /// Uses the Slurm in this root directory; else the one that FLEXMIG_SLURM_ROOT names, else the
    /// installed one.
    pub fn slurm_root(mut self, root: &Path) -> Builder {
        self.root = Some(root.to_owned());
        self
    }

    /// `GresTypes=`; else the names in the nodes' GRES.
    pub fn gres_types(mut self, types: &str) -> Builder {
        self.gres_types = Some(types.to_owned());
        self
    }

    /// `JobSubmitPlugins=`; else `flexmig` if there are plugins. Empty: none.
    pub fn job_submit(mut self, plugins: &str) -> Builder {
        self.job_submit = Some(plugins.to_owned());
        self
    }

    /// The partition lines of slurm.conf; else one default partition `all` of all nodes.
    pub fn partitions(mut self, lines: &str) -> Builder {
        self.partitions = Some(lines.to_owned());
        self
    }

    /// `SchedulerParameters=` instead of what makes the scheduler act at once.
    pub fn scheduler_parameters(mut self, parameters: &str) -> Builder {
        self.scheduler_parameters = parameters.to_owned();
        self
    }

    /// More lines for slurm.conf.
    pub fn slurm_conf(mut self, lines: &str) -> Builder {
        self.slurm_conf.push_str(lines);
        self.slurm_conf.push('\n');
        self
    }

    /// gres.conf; else there is none. `{dir}` stands for the cluster's directory.
    pub fn gres_conf(mut self, text: &str) -> Builder {
        self.gres_conf = Some(text.to_owned());
        self
    }

    /// More lines for cgroup.conf.
    pub fn cgroup_conf(mut self, lines: &str) -> Builder {
        self.cgroup_conf.push_str(lines);
        self.cgroup_conf.push('\n');
        self
    }

    /// flexmig.toml of the controller, and of each node in front of its table `[node]`.
    pub fn policy(mut self, text: &str) -> Builder {
        self.policy = text.to_owned();
        self
    }

    /// A file that is there before anything starts; `path` is relative to the cluster's directory,
    /// beside slurm.conf, and `{dir}` in the text stands for that directory.
    pub fn file(mut self, path: &str, text: &str) -> Builder {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// A variable in the environment of slurmctld.
    pub fn controller_env(mut self, name: &str, value: &str) -> Builder {
        self.controller_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A second slurmctld stands by on a host of its own name: see [`Cluster::backup`]. It takes over
    /// some seconds after the first has died. Needs root and namespaces.
    pub fn backup_controller(mut self) -> Builder {
        self.backup = true;
        self
    }

    /// Starts the cluster and waits until every node is registered.
    ///
    /// # Panics
    /// If it does not come up; the message holds the daemons' logs.
    pub fn start(self) -> Cluster {
        let cluster = self.prepare();
        cluster.start_daemons();
        cluster
    }

    /// Lays everything out but starts only munged: for tests of a start that fails.
    pub fn prepare(self) -> Cluster {
        Cluster::prepare(self)
    }
}
