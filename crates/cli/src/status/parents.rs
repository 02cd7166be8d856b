//! Which GPU an index belongs to: computed from the layout file as slurmd assigns indices, since
//! Slurm's controller knows neither parents nor UUIDs.

use flexmig_core::layout::Layout;
use flexmig_core::leaf::{DeviceFiles, Leaf, Parent};
use flexmig_core::order;
use flexmig_core::policy::Order;
use flexmig_core::profile::Profile;

use super::report::Gpu;

/// What a layout file tells about one node's leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parents {
    /// GPUs by minor, with the indices of their leaves in order of their places.
    pub gpus: Vec<Gpu>,
    /// By index: profile and GPU; `None` where the file has no such leaf.
    pub leaves: Vec<Option<(Profile, u32)>>,
}

impl Parents {
    /// For a node whose slurm.conf has these types and counts, with the order of indices that
    /// flexmig.toml asks for.
    pub fn new(layout: &Layout, types: &[(Option<String>, u64)], order: Order) -> Parents {
        let leaves = leaves(layout);
        let assignment = order::assign(&leaves, types, order, &[], false);
        let mut parents = Parents {
            gpus: Vec::new(),
            leaves: assignment
                .slots
                .iter()
                .map(|slot| slot.leaf().map(|leaf| (leaf.profile, leaf.parent.minor)))
                .collect(),
        };
        for gpu in &layout.gpus {
            let own = assignment.leaves().filter(|(_, leaf)| leaf.parent.minor == gpu.minor);
            let mut own: Vec<(u32, u32, u32, usize)> = own
                .map(|(index, leaf)| {
                    let start = leaf.placement.map_or(0, |place| place.start);
                    (start, leaf.gi, leaf.ci, index)
                })
                .collect();
            own.sort_unstable();
            parents.gpus.push(Gpu {
                minor: gpu.minor,
                model: gpu.model.clone(),
                numa: gpu.numa,
                leaves: own.iter().filter_map(|&(.., index)| index.try_into().ok()).collect(),
            });
        }
        parents.gpus.sort_by_key(|gpu| gpu.minor);
        parents
    }
}

/// The leaves that the file describes, in slurmd's order: by GPU, place, compute instance.
fn leaves(layout: &Layout) -> Vec<Leaf> {
    let mut gpus: Vec<_> = layout.gpus.iter().collect();
    gpus.sort_by_key(|gpu| gpu.minor);
    let leaves = gpus.into_iter().flat_map(|gpu| {
        let mut places: Vec<_> = gpu.leaves.iter().collect();
        places.sort_by_key(|place| (place.start, place.gi, place.ci));
        places.into_iter().map(|place| Leaf {
            uuid: format!("{}/{}/{}", gpu.minor, place.gi, place.ci),
            profile: place.profile,
            memory_mib: u64::from(place.profile.memory_gb) * 1024,
            sm_count: 0,
            gi: place.gi,
            ci: place.ci,
            placement: place.placement(),
            devices: DeviceFiles {
                parent: String::new(),
                gpu_instance: String::new(),
                compute_instance: String::new(),
            },
            parent: Parent {
                uuid: format!("{}", gpu.minor),
                model: gpu.model.clone(),
                index: gpu.minor,
                minor: gpu.minor,
                bus_id: gpu.bus_id,
                numa: gpu.numa,
                cpus: gpu.cpus.clone(),
            },
        })
    });
    leaves.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: &str = "\
nodes = \"n1\"
[[gpu]]
minor = 1
model = \"NVIDIA A100-SXM4-80GB\"
bus_id = \"00000000:0F:00.0\"
leaves = [
  { profile = \"1g.10gb\", gi = 8, ci = 0, start = 4, size = 1 },
  { profile = \"3g.40gb\", gi = 1, ci = 0, start = 0, size = 4 },
]
[[gpu]]
minor = 0
model = \"NVIDIA A100-SXM4-80GB\"
bus_id = \"00000000:07:00.0\"
numa = 3
leaves = [
  { profile = \"1g.10gb\", gi = 7, ci = 0, start = 0, size = 1 },
  { profile = \"1g.10gb\", gi = 9, ci = 0, start = 1, size = 1 },
]
";

    fn parents(order: Order, small: u64) -> Parents {
        let layout = Layout::from_bytes("a.toml", LAYOUT.as_bytes()).unwrap();
        let types = [(Some("1g.10gb".to_owned()), small), (Some("3g.40gb".to_owned()), 1)];
        Parents::new(&layout, &types, order)
    }

    fn indices(parents: &Parents) -> Vec<(u32, Vec<u32>)> {
        parents.gpus.iter().map(|gpu| (gpu.minor, gpu.leaves.clone())).collect()
    }

    #[test]
    fn indices_are_those_that_slurmd_gives() {
        let pack = parents(Order::Pack, 3);
        assert_eq!(indices(&pack), [(0, vec![0, 1]), (1, vec![3, 2])]);
        assert_eq!(pack.leaves[3], Some((Profile::new(3, 40), 1)));
        let spread = parents(Order::Spread, 3);
        assert_eq!(indices(&spread), [(0, vec![0, 2]), (1, vec![3, 1])]);
    }

    #[test]
    fn what_the_file_does_not_have_has_no_parent() {
        let more = parents(Order::Pack, 5);
        assert_eq!(more.leaves[3..], [None, None, Some((Profile::new(3, 40), 1))]);
        assert_eq!(indices(&more), [(0, vec![0, 1]), (1, vec![5, 2])]);
    }
}
