//! What slurm.conf says about nodes, their leaves and partitions.
//!
//! A lenient reader: it takes what it understands and lists the rest as [`Problem`]s, as Slurm
//! itself has the last word on its file. `Include` goes to a callback, so nothing here does I/O.
//! Rules as in Slurm's parse_config.c and read_config.c, 22.05 to 26.05.

mod gres;
mod lines;

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::hostlist;
pub use gres::Gres;
pub(crate) use gres::{count as parse_count, parse as parse_gres};

/// Name of the GRES that leaves are handed out as.
pub const GRES_NAME: &str = "flexmig";
/// Files in files in files: deeper ones are taken for a circle.
const MAX_DEPTH: usize = 8;
/// Most `Include` lines that are followed.
const MAX_INCLUDES: usize = 1024;

/// Something in the file that Slurm refuses too, or reads in another way than it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// One `NodeName=` line, with `NodeName=DEFAULT` worked in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLine {
    /// Names of the nodes.
    pub names: Vec<String>,
    /// Host names: one per node, or one for all of them, or none if they are the node names.
    pub hostnames: Vec<String>,
    /// `Gres=`, in the order of the file.
    pub gres: Vec<Gres>,
    /// CPUs, as given or as sockets, cores and threads make them.
    pub cpus: u32,
    /// Memory in MiB; 1 if the file does not say, as in Slurm.
    pub real_memory: u64,
    /// `Feature=`.
    pub features: Vec<String>,
}

impl NodeLine {
    /// The flexmig types of these nodes with their counts, in the order of the file. That is the
    /// order of slurmctld's indices; a type that is named twice counts once, at its first place.
    pub fn flexmig_types(&self) -> Vec<(Option<String>, u64)> {
        let mut types: Vec<(Option<String>, u64)> = Vec::new();
        for gres in self.gres.iter().filter(|gres| gres.name == GRES_NAME) {
            match types.iter_mut().find(|(kind, _)| *kind == gres.kind) {
                Some((_, count)) => *count = count.saturating_add(gres.count),
                None => types.push((gres.kind.clone(), gres.count)),
            }
        }
        types
    }

    /// Host name of the node at this place in `names`.
    fn hostname(&self, place: usize) -> Option<&str> {
        let own = || self.names.get(place);
        let name = match self.hostnames.len() {
            0 => own(),
            1 => self.hostnames.first(),
            _ => self.hostnames.get(place).or_else(own),
        };
        name.map(String::as_str)
    }
}

/// One `PartitionName=` line, with `PartitionName=DEFAULT` worked in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Name.
    pub name: String,
    /// `Nodes=` as written: a host list in which node sets may stand, or `ALL`.
    pub nodes: String,
    /// `Default=YES`.
    pub default: bool,
}

/// One `NodeSet=` line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeSet {
    name: String,
    feature: Option<String>,
    nodes: String,
}

/// Nodes that are equal for flexmig, so that a submit looks at a few classes and not at all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeClass {
    /// flexmig types with their counts, in slurm.conf's order; never empty.
    pub types: Vec<(Option<String>, u64)>,
    /// Number of nodes.
    pub nodes: u64,
    /// CPUs of each.
    pub cpus: u32,
    /// The first of them, to name one.
    pub example: String,
    /// Features that all of them have.
    pub common_features: Vec<String>,
    /// Features that any of them has.
    pub features: Vec<String>,
}

impl NodeClass {
    /// Takes in what more nodes have as features.
    pub fn add_features(&mut self, features: &[String]) {
        self.common_features.retain(|feature| features.contains(feature));
        let new = features.iter().filter(|feature| !self.features.contains(feature));
        let new: Vec<String> = new.cloned().collect();
        self.features.extend(new);
    }
}

/// What we know of slurm.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlurmConf {
    settings: HashMap<String, String>,
    nodes: Vec<NodeLine>,
    /// Node name to (line, place in the line).
    by_name: HashMap<String, (usize, usize)>,
    /// `NodeAddr` of those nodes that have one.
    addresses: HashMap<String, String>,
    partitions: Vec<Partition>,
    node_sets: Vec<NodeSet>,
    problems: Vec<Problem>,
}

impl SlurmConf {
    /// Reads the bytes of slurm.conf; `file` is only for messages. `include` returns the bytes of
    /// a file that an `Include` line names (`%c` already replaced), or why it could not.
    pub fn parse(
        file: &str,
        bytes: &[u8],
        include: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> SlurmConf {
        let mut reader = Reader {
            conf: SlurmConf::default(),
            node_defaults: HashMap::new(),
            partition_defaults: HashMap::new(),
            include,
            includes: 0,
        };
        reader.file(file, bytes, 0);
        reader.conf
    }

    /// The value of a key that stands on a line of its own, as `PluginDir`; case does not matter.
    /// The last one counts.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(&key.to_ascii_lowercase()).map(String::as_str)
    }

    /// The comma-separated words of such a value, as of `GresTypes`.
    pub fn words(&self, key: &str) -> impl Iterator<Item = &str> {
        words(self.get(key).unwrap_or_default())
    }

    /// The `NodeName=` lines.
    pub fn nodes(&self) -> &[NodeLine] {
        &self.nodes
    }

    /// The line that configures a node.
    pub fn node(&self, name: &str) -> Option<&NodeLine> {
        self.by_name.get(name).map(|&(line, _)| &self.nodes[line])
    }

    /// `NodeHostname` of a node, its name if it has none.
    pub fn hostname(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).and_then(|&(line, place)| self.nodes[line].hostname(place))
    }

    /// Where a node is reached: its `NodeAddr`, else its `NodeHostname`, else its name.
    pub fn address(&self, name: &str) -> Option<&str> {
        self.addresses.get(name).map(String::as_str).or_else(|| self.hostname(name))
    }

    /// The nodes of a host: those with this `NodeHostname`, in full or up to the first dot.
    pub fn nodes_of_host(&self, hostname: &str) -> Vec<&str> {
        let short = hostname.split('.').next().unwrap_or_default();
        let lines = self.nodes.iter();
        let nodes = lines.flat_map(|line| {
            line.names.iter().enumerate().map(|(place, name)| (name, line.hostname(place)))
        });
        nodes
            .filter(|(_, host)| host.is_some_and(|host| host == hostname || host == short))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The `PartitionName=` lines.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The partition of jobs that name none.
    pub fn default_partition(&self) -> Option<&str> {
        self.partitions.iter().rfind(|p| p.default).map(|p| p.name.as_str())
    }

    /// Whether nodes may exist that the file does not name (dynamic nodes): then nothing can be
    /// called impossible from the file alone.
    pub fn has_dynamic_nodes(&self) -> bool {
        self.get("MaxNodeCount").is_some()
    }

    /// What the reader could not use.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The nodes with leaves, in classes: those of a partition, of several (`a,b`, as a job may
    /// name them), or with `None` all. A partition that is not in the file has no nodes.
    pub fn flexmig_capacity(&self, partition: Option<&str>) -> Vec<NodeClass> {
        let chosen = partition.map(|names| self.nodes_of_partitions(names));
        let mut classes: Vec<NodeClass> = Vec::new();
        for (index, line) in self.nodes.iter().enumerate() {
            let types = line.flexmig_types();
            if types.iter().all(|&(_, count)| count == 0) {
                continue;
            }
            let is_chosen = |place: usize| match &chosen {
                Some(chosen) => chosen.contains(&(index, place)),
                None => true,
            };
            let mut names = line.names.iter().enumerate().filter(|&(place, _)| is_chosen(place));
            let Some((_, example)) = names.next() else { continue };
            let nodes = 1 + names.count() as u64;
            let equal = |c: &&mut NodeClass| c.types == types && c.cpus == line.cpus;
            match classes.iter_mut().find(equal) {
                Some(class) => {
                    class.nodes += nodes;
                    class.add_features(&line.features);
                }
                None => classes.push(NodeClass {
                    types,
                    nodes,
                    cpus: line.cpus,
                    example: example.clone(),
                    common_features: line.features.clone(),
                    features: line.features.clone(),
                }),
            }
        }
        classes
    }

    /// The nodes of partitions as (line, place).
    fn nodes_of_partitions(&self, names: &str) -> HashSet<(usize, usize)> {
        let mut nodes = HashSet::new();
        for partition in words(names).filter_map(|n| self.partitions.iter().find(|p| p.name == n)) {
            self.add(&partition.nodes, true, &mut nodes);
        }
        nodes
    }

    /// Adds the nodes of a host list; node sets count only in partitions, not in node sets.
    fn add(&self, list: &str, with_sets: bool, nodes: &mut HashSet<(usize, usize)>) {
        if list.eq_ignore_ascii_case("ALL") {
            nodes.extend(self.by_name.values());
            return;
        }
        // A list that cannot be expanded was reported when the line was read.
        for name in hostlist::expand(list).unwrap_or_default() {
            match self.node_sets.iter().find(|set| with_sets && set.name == name) {
                None => nodes.extend(self.by_name.get(&name)),
                Some(set) => {
                    self.add(&set.nodes, false, nodes);
                    let has_feature = |line: &&NodeLine| {
                        line.features.iter().any(|f| Some(f) == set.feature.as_ref())
                    };
                    let lines = self.nodes.iter().filter(has_feature);
                    nodes.extend(lines.flat_map(|l| &l.names).filter_map(|n| self.by_name.get(n)));
                }
            }
        }
    }
}

/// Keys in lower case with their values.
type Settings = HashMap<String, String>;

struct Reader<'a> {
    conf: SlurmConf,
    node_defaults: Settings,
    partition_defaults: Settings,
    include: &'a mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    includes: usize,
}

impl Reader<'_> {
    fn file(&mut self, file: &str, bytes: &[u8], depth: usize) {
        for line in lines::logical_lines(&String::from_utf8_lossy(bytes)) {
            let result = match lines::include(&line.text) {
                Some(name) => self.include(name, depth),
                None => self.statement(&line.text),
            };
            for message in result {
                self.conf.problems.push(Problem { file: file.into(), line: line.number, message });
            }
        }
    }

    fn include(&mut self, name: &str, depth: usize) -> Vec<String> {
        self.includes += 1;
        if depth >= MAX_DEPTH || self.includes > MAX_INCLUDES {
            return vec![format!("Include {name}: too many files, or they include each other")];
        }
        let cluster = self.conf.get("ClusterName").unwrap_or_default().to_lowercase();
        let name = name.replace("%c", &cluster);
        match (self.include)(&name) {
            Ok(bytes) => {
                self.file(&name, &bytes, depth + 1);
                Vec::new()
            }
            Err(error) => vec![format!("Include {name}: {error}")],
        }
    }

    /// Takes in one line; returns what is wrong with it.
    fn statement(&mut self, text: &str) -> Vec<String> {
        let (pairs, junk) = lines::pairs(text);
        let mut problems: Vec<String> =
            junk.map(|word| format!("{word:?} is not Key=Value")).into_iter().collect();
        let Some((key, value)) = pairs.first() else { return problems };
        let lower = |(key, value): &lines::Pair| (key.to_ascii_lowercase(), value.clone());
        let line: Settings = pairs[1..].iter().map(lower).collect();
        let is_default = value.eq_ignore_ascii_case("DEFAULT");
        match key.to_ascii_lowercase().as_str() {
            "nodename" if is_default => self.node_defaults.extend(line),
            "nodename" => problems.extend(self.node_line(value, &line)),
            "partitionname" if is_default => self.partition_defaults.extend(line),
            "partitionname" => problems.extend(self.partition(value, &line)),
            "nodeset" => self.conf.node_sets.push(NodeSet {
                name: value.clone(),
                feature: line.get("feature").cloned(),
                nodes: line.get("nodes").cloned().unwrap_or_default(),
            }),
            other => {
                self.conf.settings.insert(other.to_owned(), value.clone());
            }
        }
        problems
    }

    fn node_line(&mut self, names: &str, line: &Settings) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expand = |list: &str| match hostlist::expand(list) {
            Ok(names) => names,
            Err(error) => {
                problems.push(error.to_string());
                Vec::new()
            }
        };
        let names = expand(names);
        let hostnames = line.get("nodehostname").map(|list| expand(list)).unwrap_or_default();
        let addresses = line.get("nodeaddr").map(|list| expand(list)).unwrap_or_default();
        for (place, name) in names.iter().enumerate() {
            let one = addresses.first().filter(|_| addresses.len() == 1);
            if let Some(address) = addresses.get(place).or(one)
                && !self.conf.by_name.contains_key(name)
            {
                self.conf.addresses.insert(name.clone(), address.clone());
            }
        }
        let dflt = &self.node_defaults;
        let get = |key: &str| line.get(key).or_else(|| dflt.get(key)).map(String::as_str);
        let number = |key: &str| get(key).and_then(gres::count).filter(|&number| number > 0);
        let feature = ["feature", "features"];
        let features = feature.iter().find_map(|key| line.get(*key));
        let features = features.or_else(|| feature.iter().find_map(|key| dflt.get(*key)));
        let boards = number("boards").unwrap_or(1);
        let sockets = number("socketsperboard").map(|sockets| sockets.saturating_mul(boards));
        let cpus = number("cpus").or_else(|| number("procs")).unwrap_or_else(|| {
            let sockets = sockets.or_else(|| number("sockets")).unwrap_or(boards);
            let cores = sockets.saturating_mul(number("corespersocket").unwrap_or(1));
            cores.saturating_mul(number("threadspercore").unwrap_or(1))
        });
        let (gres, gres_problems) = gres::parse(get("gres").unwrap_or_default());
        let node = NodeLine {
            hostnames,
            gres,
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            real_memory: number("realmemory").unwrap_or(1),
            features: words(features.map_or("", String::as_str)).map(str::to_owned).collect(),
            names: Vec::new(),
        };
        problems.extend(gres_problems);
        problems.extend(self.push_node_line(names, node));
        problems
    }

    /// Adds a line with those of its names that are new.
    fn push_node_line(&mut self, names: Vec<String>, mut node: NodeLine) -> Option<String> {
        let mut problem = None;
        let hostnames = std::mem::take(&mut node.hostnames);
        for (place, name) in names.into_iter().enumerate() {
            if self.conf.by_name.contains_key(&name) {
                problem = Some(format!("NodeName={name}: named before; the first line counts"));
            } else if self.conf.by_name.len() >= hostlist::MAX_NAMES {
                problem = Some(format!("more than {} nodes", hostlist::MAX_NAMES));
                break;
            } else {
                let place_in_line = (self.conf.nodes.len(), node.names.len());
                self.conf.by_name.insert(name.clone(), place_in_line);
                node.names.push(name);
                if hostnames.len() > 1 {
                    // Keeps the two lists in step when a name was left out.
                    let own = || node.names.last().cloned();
                    node.hostnames.extend(hostnames.get(place).cloned().or_else(own));
                }
            }
        }
        if let [hostname] = &hostnames[..] {
            node.hostnames.push(hostname.clone());
        }
        if !node.names.is_empty() {
            self.conf.nodes.push(node);
        }
        problem
    }

    fn partition(&mut self, name: &str, line: &Settings) -> Option<String> {
        let dflt = &self.partition_defaults;
        let get = |key: &str| line.get(key).or_else(|| dflt.get(key)).map(String::as_str);
        let nodes = get("nodes").unwrap_or_default().to_owned();
        // What Slurm's s_p_get_boolean takes for true.
        let yes = |value: &str| ["yes", "up", "true", "1"].contains(&value.to_lowercase().as_str());
        let default = get("default").is_some_and(yes);
        let problem = hostlist::expand(&nodes).err().map(|error| error.to_string());
        self.conf.partitions.push(Partition { name: name.to_owned(), nodes, default });
        problem
    }
}

/// Comma-separated words without the spaces around them.
fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests;
