//! The message from slurmd to slurmstepd: one block in a pack buffer.
//!
//! ```text
//! "FLEXMIG\0"   8 bytes
//! version       u32, little endian
//! length        u32, little endian: bytes of JSON that follow
//! JSON          the node; GPUs once, leaves refer to them
//! ```
//!
//! slurmd keeps the plugin that it was started with, slurmstepd loads the one on disk: after an
//! update of the package the two differ until slurmd is restarted. So fields may be added (with a
//! default) without a new version, and a block that cannot be read is an error that says so.

use std::path::PathBuf;

use flexmig_core::leaf::{DeviceFiles, Leaf, Parent, Placement};
use flexmig_core::policy::{self, Verify};
use flexmig_core::profile::Profile;
use serde::{Deserialize, Serialize};

use crate::nccl::Nccl;
use crate::node::{Index, Node};

const MAGIC: &[u8; 8] = b"FLEXMIG\0";
const VERSION: u32 = 1;
const HEAD: usize = 16;

/// Why a block is not the node.
#[derive(Debug, PartialEq, Eq)]
pub enum BlobError {
    /// It is not ours, or not whole.
    Damaged,
    /// It is of another version of this plugin.
    Version(u32),
    /// It does not hold what it should.
    Content(String),
}

impl std::fmt::Display for BlobError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BlobError::Damaged => f.write_str("the list of leaves from slurmd is damaged"),
            BlobError::Version(version) => write!(
                f,
                "slurmd runs another version of gres/flexmig (message {version}, here {VERSION})"
            ),
            BlobError::Content(why) => {
                write!(f, "the list of leaves from slurmd cannot be read: {why}")
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct WireNode {
    name: String,
    bind_tasks: bool,
    verify_nvml: bool,
    nvml_library: PathBuf,
    root: PathBuf,
    #[serde(default)]
    nccl: Nccl,
    parents: Vec<Parent>,
    indices: Vec<WireIndex>,
}

#[derive(Serialize, Deserialize)]
struct WireIndex {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaf: Option<WireLeaf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<String>,
}

/// A [`Leaf`] with the number of its parent in the list.
#[derive(Serialize, Deserialize)]
struct WireLeaf {
    uuid: String,
    profile: Profile,
    memory_mib: u64,
    sm_count: u32,
    gi: u32,
    ci: u32,
    placement: Option<Placement>,
    devices: DeviceFiles,
    parent: usize,
}

/// The block for a node.
pub fn encode(node: &Node) -> Result<Vec<u8>, serde_json::Error> {
    let mut parents: Vec<Parent> = Vec::new();
    let mut wire_leaf = |leaf: &Leaf| {
        let parent =
            parents.iter().position(|parent| *parent == leaf.parent).unwrap_or_else(|| {
                parents.push(leaf.parent.clone());
                parents.len() - 1
            });
        WireLeaf {
            uuid: leaf.uuid.clone(),
            profile: leaf.profile,
            memory_mib: leaf.memory_mib,
            sm_count: leaf.sm_count,
            gi: leaf.gi,
            ci: leaf.ci,
            placement: leaf.placement,
            devices: leaf.devices.clone(),
            parent,
        }
    };
    let indices = node.indices.iter().map(|index| WireIndex {
        kind: index.kind.clone(),
        leaf: index.leaf.as_ref().map(&mut wire_leaf),
        gone: index.gone.clone(),
    });
    let indices = indices.collect();
    let json = serde_json::to_vec(&WireNode {
        name: node.name.clone(),
        bind_tasks: node.policy.bind_tasks,
        verify_nvml: node.policy.verify == Verify::Nvml,
        nvml_library: node.policy.nvml_library.clone(),
        root: node.policy.root.clone(),
        nccl: node.nccl.clone(),
        parents,
        indices,
    })?;
    // More than 4 GiB cannot come from 1024 leaves; a wrong length would be found by `decode`.
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut block = Vec::with_capacity(HEAD + json.len());
    block.extend_from_slice(MAGIC);
    block.extend_from_slice(&VERSION.to_le_bytes());
    block.extend_from_slice(&length.to_le_bytes());
    block.extend_from_slice(&json);
    Ok(block)
}

/// The node of a block.
pub fn decode(block: &[u8]) -> Result<Node, BlobError> {
    let (head, json) = block.split_at_checked(HEAD).ok_or(BlobError::Damaged)?;
    let number = |at: usize| head[at..at + 4].try_into().map(u32::from_le_bytes);
    let (Ok(version), Ok(length)) = (number(8), number(12)) else { return Err(BlobError::Damaged) };
    if !head.starts_with(MAGIC) {
        return Err(BlobError::Damaged);
    }
    if version != VERSION {
        return Err(BlobError::Version(version));
    }
    if length as usize != json.len() {
        return Err(BlobError::Damaged);
    }
    let wire: WireNode =
        serde_json::from_slice(json).map_err(|error| BlobError::Content(error.to_string()))?;
    let leaf = |wire_leaf: WireLeaf| {
        let missing = || BlobError::Content(format!("no GPU {}", wire_leaf.parent));
        let parent = wire.parents.get(wire_leaf.parent).cloned().ok_or_else(missing)?;
        Ok(Leaf {
            uuid: wire_leaf.uuid,
            profile: wire_leaf.profile,
            memory_mib: wire_leaf.memory_mib,
            sm_count: wire_leaf.sm_count,
            gi: wire_leaf.gi,
            ci: wire_leaf.ci,
            placement: wire_leaf.placement,
            devices: wire_leaf.devices,
            parent,
        })
    };
    let indices = wire.indices.into_iter().map(|index| {
        Ok(Index { kind: index.kind, leaf: index.leaf.map(leaf).transpose()?, gone: index.gone })
    });
    Ok(Node {
        name: wire.name,
        policy: policy::Node {
            bind_tasks: wire.bind_tasks,
            verify: if wire.verify_nvml { Verify::Nvml } else { Verify::Files },
            nvml_library: wire.nvml_library,
            root: wire.root,
            ..policy::Node::default()
        },
        nccl: wire.nccl,
        indices: indices.collect::<Result<_, BlobError>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn a_node_arrives_as_it_was_sent() {
        let mut sent = node();
        sent.indices[1] =
            Index { kind: Some("1g.10gb".into()), leaf: None, gone: Some("MIG-x".into()) };
        sent.policy.verify = Verify::Files;
        sent.policy.bind_tasks = false;
        sent.nccl.mode = flexmig_core::nccl::Choice::RelabelP2p;
        sent.nccl.topology = Some("/run/flexmig/topo-n1.xml".into());
        let block = encode(&sent).unwrap();
        assert_eq!(decode(&block), Ok(sent));
    }

    #[test]
    fn gpus_are_sent_once() {
        let mut many = node();
        let first = many.indices[0].clone();
        many.indices = vec![first; 56];
        let block = encode(&many).unwrap();
        let text = String::from_utf8_lossy(&block);
        assert_eq!(text.matches("NVIDIA H100 80GB HBM3").count(), 1);
        assert!(block.len() < 56 * 300, "{} bytes", block.len());
    }

    #[test]
    fn what_is_not_whole_is_an_error() {
        let block = encode(&node()).unwrap();
        for cut in [0, 7, 15, 16, block.len() - 1] {
            assert!(decode(&block[..cut]).is_err(), "{cut} bytes");
        }
        let mut other = block.clone();
        other[8] = 2;
        assert_eq!(decode(&other), Err(BlobError::Version(2)));
        other = block.clone();
        other[0] = b'X';
        assert_eq!(decode(&other), Err(BlobError::Damaged));
        let mut longer = block;
        longer.push(b' ');
        assert_eq!(decode(&longer), Err(BlobError::Damaged));
    }

    #[test]
    fn a_newer_slurmd_may_send_more_fields() {
        let block = encode(&node()).unwrap();
        let json = String::from_utf8(block[HEAD..].to_vec()).unwrap();
        let json = json.replacen('{', "{\"mode\":\"auto\",", 1);
        let mut newer = block[..12].to_vec();
        newer.extend_from_slice(&u32::try_from(json.len()).unwrap().to_le_bytes());
        newer.extend_from_slice(json.as_bytes());
        assert_eq!(decode(&newer), Ok(node()));
    }
}
