//! What slurmd found out about its node and every slurmstepd needs to know: which leaf stands
//! behind which index, and how to check it.

use std::collections::BTreeMap;

use flexmig_core::leaf::Leaf;
use flexmig_core::order::{Assignment, Slot};
use flexmig_core::policy;
use flexmig_core::promise::Promise;

use crate::environment::Granted;
use crate::nccl::Nccl;

/// One index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Type in slurm.conf.
    pub kind: Option<String>,
    /// The leaf, if there is one that can be handed out.
    pub leaf: Option<Leaf>,
    /// UUID of a leaf that is gone.
    pub gone: Option<String>,
}

/// The node as slurmd saw it when it started or was reconfigured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name in slurm.conf.
    pub name: String,
    /// How leaves are checked and tasks bound.
    pub policy: policy::Node,
    /// What jobs are given for NCCL.
    pub nccl: Nccl,
    /// By index.
    pub indices: Vec<Index>,
}

/// What every refusal ends with.
pub const NOT_STARTED: &str = "the program was not started";

impl Node {
    /// From slurmd's assignment.
    pub fn new(name: String, policy: policy::Node, nccl: Nccl, assignment: &Assignment) -> Node {
        let index = |(index, slot): (usize, &Slot)| Index {
            kind: assignment.kind(index).map(str::to_owned),
            leaf: slot.leaf().cloned(),
            gone: match slot {
                Slot::Unusable(entry) => Some(entry.uuid.clone()),
                Slot::Leaf(_) | Slot::Empty => None,
            },
        };
        let indices = assignment.slots.iter().enumerate().map(index).collect();
        Node { name, policy, nccl, indices }
    }

    /// The leaf of an index, if it can be handed out.
    pub fn leaf(&self, index: usize) -> Option<&Leaf> {
        self.indices.get(index)?.leaf.as_ref()
    }

    /// The leaves of a job's or step's indices (ascending), or one line that says what is wrong.
    pub fn granted(&self, bits: &[usize]) -> Result<Vec<Granted<'_>>, String> {
        let granted = |&index: &usize| match self.indices.get(index) {
            Some(Index { leaf: Some(leaf), .. }) => Ok(Granted { index, leaf }),
            Some(Index { gone: Some(uuid), .. }) => Err(format!(
                "{}: leaf {index} ({uuid}) is gone since jobs started on this node: {NOT_STARTED}: \
                 tell your administrator, who finds the mend in slurmd's log",
                self.name
            )),
            _ => Err(format!(
                "{}: there is no leaf {index}: {NOT_STARTED}: tell your administrator, who finds \
                 the mend in slurmd's log",
                self.name
            )),
        };
        bits.iter().map(granted).collect()
    }

    /// One line if the leaves are not of the types that job_submit promised (`FLEXMIG_REQUEST`).
    ///
    /// It compares types, not numbers: `scontrol update` may have changed the number, `--exclusive`
    /// gives all leaves of the node, and the variable stays as it was at submission.
    pub fn broken_promise(&self, granted: &[Granted<'_>], promise: &Promise) -> Option<String> {
        let mut promised: BTreeMap<&str, usize> = BTreeMap::new();
        for part in &promise.parts {
            let kind = part.kind.as_deref()?;
            let count = part.count.and_then(|count| usize::try_from(count).ok());
            *promised.entry(kind).or_default() += count.unwrap_or(granted.len());
        }
        let wanted = promised.values().sum::<usize>().min(granted.len());
        let mut wrong = Vec::new();
        for granted in granted {
            let fits = promised.iter_mut().find(|(kind, left)| {
                **left > 0 && self.is_of_type(granted.index, granted.leaf, kind)
            });
            match fits {
                Some((_, left)) => *left -= 1,
                None => wrong.push(granted),
            }
        }
        if granted.len() - wrong.len() >= wanted {
            return None;
        }
        let wrong: Vec<String> =
            wrong.iter().map(|g| format!("{} ({})", g.index, g.leaf.profile)).collect();
        Some(format!(
            "{}: the job was promised {promise} and was given leaf {}: {NOT_STARTED}: submit the \
             job again",
            self.name,
            wrong.join(", ")
        ))
    }

    fn is_of_type(&self, index: usize, leaf: &Leaf, kind: &str) -> bool {
        let configured = self.indices.get(index).and_then(|index| index.kind.as_deref());
        configured.is_some_and(|configured| configured.eq_ignore_ascii_case(kind))
            || flexmig_core::order::profile_of_type(kind) == Some(leaf.profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{leaf, node};

    fn line(node: &Node, bits: &[usize], promise: &str) -> Option<String> {
        let granted = node.granted(bits).unwrap();
        node.broken_promise(&granted, &promise.parse().unwrap())
    }

    #[test]
    fn indices_become_leaves_in_rank_order() {
        let node = node();
        let granted = node.granted(&[0, 2]).unwrap();
        let uuids: Vec<&str> = granted.iter().map(|g| g.leaf.uuid.as_str()).collect();
        assert_eq!(uuids, ["MIG-0-7", "MIG-1-7"]);
        assert_eq!(granted[1].index, 2);
        assert_eq!(node.leaf(2), Some(&leaf(1, 7)));
    }

    #[test]
    fn a_gone_leaf_and_an_unknown_index_are_told_with_node_and_index() {
        let mut node = node();
        node.indices[1] = Index { leaf: None, gone: Some("MIG-x".into()), kind: None };
        let gone = node.granted(&[0, 1]).unwrap_err();
        assert!(gone.starts_with("n1: leaf 1 (MIG-x) is gone since"), "{gone}");
        let unknown = node.granted(&[99]).unwrap_err();
        assert!(unknown.starts_with("n1: there is no leaf 99: the program was not"), "{unknown}");
    }

    #[test]
    fn leaves_of_another_type_break_the_promise() {
        let node = node();
        assert_eq!(line(&node, &[0, 1], "1g.10gb:2"), None);
        assert_eq!(line(&node, &[3], "3g.40gb:1"), None);
        assert_eq!(
            line(&node, &[2, 3], "1g.10gb:2").unwrap(),
            "n1: the job was promised 1g.10gb:2 and was given leaf 3 (3g.40gb): the program was \
             not started: submit the job again"
        );
        assert!(line(&node, &[0, 1], "3g.40gb:1,1g.10gb:1").is_some());
        assert_eq!(line(&node, &[2, 3], "3g.40gb:1,1g.10gb:1"), None);
    }

    #[test]
    fn numbers_may_differ_from_the_promise() {
        let node = node();
        assert_eq!(line(&node, &[0], "1g.10gb:2"), None, "updated to fewer");
        assert_eq!(line(&node, &[0, 1, 2], "1g.10gb:2"), None, "updated to more");
        assert_eq!(line(&node, &[0, 1, 2, 3], "1g.10gb:2"), None, "--exclusive");
        assert_eq!(line(&node, &[0, 3], "any:2"), None);
        assert_eq!(line(&node, &[0, 1], "1g.10gb"), None);
        assert!(line(&node, &[3], "1g.10gb").is_some());
    }

    #[test]
    fn any_spelling_of_the_type_is_the_type() {
        let mut node = node();
        node.indices.iter_mut().for_each(|index| index.kind = Some("small".into()));
        assert_eq!(line(&node, &[0, 3], "SMALL:2"), None);
        node.indices.iter_mut().for_each(|index| index.kind = None);
        assert_eq!(line(&node, &[0], "a100_1g.10gb:1"), None);
    }
}
