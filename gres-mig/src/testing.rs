//! Leaves for unit tests.

use flexmig_core::leaf::{DeviceFiles, Leaf, Parent, Placement};
use flexmig_core::policy;
use flexmig_core::profile::Profile;

use crate::nccl::Nccl;
use crate::node::{Index, Node};

/// A `1g.10gb` of GPU `minor`, bus `0x10 + minor`, in GPU instance `gi`.
pub(crate) fn leaf(minor: u32, gi: u32) -> Leaf {
    leaf_of(minor, gi, Profile::new(1, 10))
}

/// A leaf of another profile.
pub(crate) fn leaf_of(minor: u32, gi: u32, profile: Profile) -> Leaf {
    let cap = minor * 100 + gi * 2;
    Leaf {
        uuid: format!("MIG-{minor}-{gi}"),
        profile,
        memory_mib: 9856,
        sm_count: 16,
        gi,
        ci: 0,
        placement: Some(Placement { start: gi - 7, size: 1 }),
        devices: DeviceFiles {
            parent: format!("/dev/nvidia{minor}"),
            gpu_instance: format!("/dev/nvidia-caps/nvidia-cap{cap}"),
            compute_instance: format!("/dev/nvidia-caps/nvidia-cap{}", cap + 1),
        },
        parent: Parent {
            uuid: format!("GPU-{minor}"),
            model: "NVIDIA H100 80GB HBM3".into(),
            index: minor,
            minor,
            bus_id: format!("0000:{:02x}:00.0", 0x10 + minor).parse().unwrap(),
            numa: Some(minor / 4),
            cpus: "0-31".into(),
        },
    }
}

/// Node `n1`: leaves 0 to 2 are `1g.10gb` on GPUs 0, 0 and 1, leaf 3 is a `3g.40gb` on GPU 1.
pub(crate) fn node() -> Node {
    let index =
        |leaf: Leaf| Index { kind: Some(leaf.profile.to_string()), leaf: Some(leaf), gone: None };
    let leaves = [leaf(0, 7), leaf(0, 8), leaf(1, 7), leaf_of(1, 9, Profile::new(3, 40))];
    let policy = policy::Node { root: "/tmp/n1".into(), ..policy::Node::default() };
    let nccl = Nccl::default();
    Node { name: "n1".into(), policy, nccl, indices: leaves.map(index).into() }
}
