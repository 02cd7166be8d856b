//! A node as NVML sees it: layouts placed, ids and UUIDs given.

use std::path::Path;

use flexmig_core::bus_id::BusId;
use flexmig_core::profile::Profile;

use crate::layout::{self, ComputeInstance, GpuInstance};
use crate::spec::{self, Fail, GpuSpec, NodeSpec, Part};
use crate::{Error, uuid};

/// Most GPUs that the driver's mig-minors file lists.
pub const MAX_GPUS: u32 = 32;

/// A node.
#[derive(Debug)]
pub struct Node {
    /// What it was made from.
    pub spec: NodeSpec,
    /// GPUs in NVML's order.
    pub gpus: Vec<Gpu>,
}

/// A GPU of a node.
#[derive(Debug)]
pub struct Gpu {
    /// Part.
    pub part: &'static Part,
    /// UUID.
    pub uuid: String,
    /// Minor number.
    pub minor: u32,
    /// PCI address.
    pub bus_id: BusId,
    /// NUMA node.
    pub numa: Option<u32>,
    /// CPUs nearby.
    pub cpus: Vec<u32>,
    /// GPU instances, in order of their ids; `None` with MIG off.
    pub mig: Option<Vec<GpuInstance>>,
    /// MIG devices, in order of GPU instance and compute instance.
    pub leaves: Vec<MigDevice>,
}

/// A MIG device: a compute instance that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigDevice {
    /// UUID.
    pub uuid: String,
    /// GPU instance id.
    pub gi: u32,
    /// The compute instance.
    pub compute: ComputeInstance,
    /// Profile.
    pub profile: Profile,
}

impl Node {
    /// Places the layouts of `spec`; an impossible one is an error.
    pub fn new(spec: NodeSpec) -> Result<Node, Error> {
        let mut gpus = Vec::new();
        for gpu in &spec.gpu {
            let twice = |other: &&Gpu| other.minor == gpu.minor || other.bus_id == gpu.bus_id;
            if gpu.minor >= MAX_GPUS || gpus.iter().any(|other| twice(&other)) {
                let problem = "its minor or PCI address is taken, or the minor is above 31";
                return Err(Error::Gpu { minor: gpu.minor, problem: problem.to_owned() });
            }
            gpus.push(Gpu::new(&spec, gpu)?);
        }
        if spec.reverse {
            gpus.reverse();
        }
        Ok(Node { spec, gpus })
    }

    /// A preset with MIG off; see [`NodeSpec::preset`].
    pub fn preset(name: &str) -> Result<Node, Error> {
        Node::new(NodeSpec::preset(name)?)
    }

    /// Reads TOML; see [`NodeSpec`].
    pub fn from_toml(text: &str) -> Result<Node, Error> {
        Node::new(NodeSpec::from_toml(text)?)
    }

    /// Reads a TOML file.
    pub fn from_file(path: &Path) -> Result<Node, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, &error))?;
        Node::from_toml(&text)
            .map_err(|error| Error::File { path: path.to_owned(), error: Box::new(error) })
    }

    /// What `call` returns instead of answering, if it is to fail on this GPU and GPU instance.
    pub fn failure(&self, call: &str, gpu: Option<u32>, gi: Option<u32>) -> Option<u32> {
        let hits = |fail: &&Fail| {
            fail.call == call
                && (fail.gpu.is_none() || fail.gpu == gpu)
                && (fail.gi.is_none() || fail.gi == gi)
        };
        self.spec.fail.iter().find(hits).map(|fail| fail.error)
    }
}

impl Gpu {
    fn new(node: &NodeSpec, spec: &GpuSpec) -> Result<Gpu, Error> {
        let error = |problem: String| Error::Gpu { minor: spec.minor, problem };
        let part = spec::find_part(&spec.part).ok_or_else(|| {
            let known: Vec<_> = spec::PARTS.iter().map(|part| part.name).collect();
            error(format!("no part {:?}: there are {}", spec.part, known.join(", ")))
        })?;
        let mig = spec.mig.as_ref().map(|items| layout::solve(part.name, items)).transpose();
        let mig = mig.map_err(|problem| error(problem.to_string()))?;
        let mut gone = spec.missing.clone();
        let mut leaves = Vec::new();
        for gi in mig.iter().flatten() {
            for &compute in &gi.compute {
                let place = format!("gi{}/ci{}", gi.id, compute.id);
                if let Some(index) = gone.iter().position(|name| *name == place) {
                    gone.swap_remove(index);
                    continue;
                }
                let seed = format!("{}/gpu{}/{place}/{}", node.name, spec.minor, node.salt);
                leaves.push(MigDevice {
                    uuid: uuid::new("MIG", &seed),
                    gi: gi.id,
                    compute,
                    profile: gi.leaf_profile(&compute),
                });
            }
        }
        if let Some(name) = gone.first() {
            return Err(error(format!("missing = [{name:?}]: the layout has no such MIG device")));
        }
        let cpus = cpu_list(&spec.cpus).ok_or_else(|| {
            error(format!("cpus = {:?} is not a list of CPUs, as 0-31,64-95", spec.cpus))
        })?;
        Ok(Gpu {
            part,
            uuid: uuid::new("GPU", &format!("{}/gpu{}", node.name, spec.minor)),
            minor: spec.minor,
            bus_id: spec.bus_id,
            numa: spec.numa,
            cpus,
            mig,
            leaves,
        })
    }

    /// The GPU instance of this id, if a MIG device is left in it.
    pub fn instance(&self, id: u32) -> Option<&GpuInstance> {
        let alive = self.leaves.iter().any(|leaf| leaf.gi == id);
        self.mig.iter().flatten().find(|gi| gi.id == id && alive)
    }

    /// GPU instances that a MIG device is left in.
    pub fn instances(&self) -> impl Iterator<Item = &GpuInstance> {
        self.mig.iter().flatten().filter(|gi| self.instance(gi.id).is_some())
    }

    /// The MIG device of these ids.
    pub fn leaf(&self, gi: u32, ci: u32) -> Option<&MigDevice> {
        self.leaves.iter().find(|leaf| leaf.gi == gi && leaf.compute.id == ci)
    }
}

/// Reads `0-31,64-95`; empty text is no CPU.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= 8192 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_by_seven() -> NodeSpec {
        NodeSpec::preset("dgx-a100").unwrap().gpus(2).mig("1g.10gb*7")
    }

    fn uuids(spec: NodeSpec) -> Vec<String> {
        let node = Node::new(spec).unwrap();
        let mut uuids: Vec<String> =
            node.gpus.iter().flat_map(|gpu| &gpu.leaves).map(|leaf| leaf.uuid.clone()).collect();
        uuids.sort();
        uuids
    }

    #[test]
    fn uuids_are_stable_unique_and_changed_by_name_and_salt() {
        let first = uuids(two_by_seven());
        assert_eq!(first.len(), 14);
        assert!(first.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(first, uuids(two_by_seven()));
        let reversed = NodeSpec { reverse: true, ..two_by_seven() };
        assert_eq!(first, uuids(reversed), "the index order does not matter");
        assert!(!uuids(two_by_seven().named("n2")).iter().any(|uuid| first.contains(uuid)));
        let salted = NodeSpec { salt: "2".into(), ..two_by_seven() };
        assert!(!uuids(salted).iter().any(|uuid| first.contains(uuid)));
    }

    #[test]
    fn a_missing_leaf_leaves_the_others_alone() {
        let mut spec = two_by_seven();
        spec.gpu[1].missing = vec!["gi9/ci0".into()];
        let before = uuids(two_by_seven());
        let after = uuids(spec.clone());
        assert_eq!(after.len(), 13);
        assert!(after.iter().all(|uuid| before.contains(uuid)));
        assert!(Node::new(spec.clone()).unwrap().gpus[1].instance(9).is_none());
        spec.gpu[1].missing = vec!["gi10/ci0".into()];
        let error = Node::new(spec).unwrap_err().to_string();
        assert_eq!(error, "GPU 1: missing = [\"gi10/ci0\"]: the layout has no such MIG device");
    }

    #[test]
    fn impossible_nodes_are_refused_with_the_gpu() {
        let mut spec = two_by_seven();
        spec.gpu[1].mig = Some(vec!["4g.40gb*2".into()]);
        let error = Node::new(spec.clone()).unwrap_err().to_string();
        assert_eq!(error, "GPU 1: 2 x 4g.40gb: A100-80 holds at most 1");
        spec.gpu[1] = spec.gpu[0].clone();
        assert!(Node::new(spec).unwrap_err().to_string().contains("is taken"));
    }

    #[test]
    fn failures_hit_what_they_name() {
        let mut spec = two_by_seven();
        spec.fail.push(Fail { call: "f".into(), gpu: Some(1), gi: Some(7), error: 15 });
        let node = Node::new(spec).unwrap();
        assert_eq!(node.failure("f", Some(1), Some(7)), Some(15));
        assert_eq!(node.failure("f", Some(1), None), None);
        assert_eq!(node.failure("g", Some(1), Some(7)), None);
    }
}
