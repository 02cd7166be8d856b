//! Nodes.

use flexmig_core::view::{NodeView, leaf_counts};
use slurm_sys::cluster::{Node, NodeState};

/// The view of a node; `None` for an unused slot of the controller's table. What makes no sense
/// goes to `findings`.
pub fn view(node: &Node<'_>, findings: &mut Vec<String>) -> Option<NodeView> {
    let name = node.name()?.into_owned();
    let state = node.state();
    if state.base() == NodeState::FUTURE {
        return None;
    }
    let cpus = u32::from(node.cpus_efctv().filter(|&n| n > 0).or(node.cpus()).unwrap_or(0));
    let cpus_used = u32::from(node.alloc_cpus().unwrap_or(0)).min(cpus);
    let reserved_memory = node.mem_spec_limit().unwrap_or(0);
    let features = node.features_act().or(node.features()).unwrap_or_default();
    let (gres, used) = (node.gres().unwrap_or_default(), node.gres_used().unwrap_or_default());
    let (leaves, nonsense) = leaf_counts(&gres, &used);
    findings.extend(nonsense.into_iter().map(|line| format!("node {name}: {line}")));
    Some(NodeView {
        state: words(state, cpus_used, cpus),
        usable: usable(state),
        planned: state.any(NodeState::PLANNED),
        reserved: state.any(NodeState::RESERVED | NodeState::MAINT),
        cpus,
        cpus_used,
        memory: node.real_memory().unwrap_or(0).saturating_sub(reserved_memory),
        memory_used: node.alloc_memory().unwrap_or(0),
        features: features.split(',').filter(|f| !f.is_empty()).map(str::to_owned).collect(),
        leaves,
        name,
    })
}

/// States in which no job starts, whatever is free. A node that completes a job is not among them:
/// that takes a moment, and what the job holds still counts as used.
const CLOSED: u32 = NodeState::DRAIN
    | NodeState::FAIL
    | NodeState::NO_RESPOND
    | NodeState::POWERED_DOWN
    | NodeState::POWERING_UP
    | NodeState::POWERING_DOWN
    | NodeState::POWER_DOWN
    | NodeState::POWER_DRAIN
    | NodeState::REBOOT_REQUESTED
    | NodeState::REBOOT_ISSUED
    | NodeState::INVALID_REG
    | NodeState::BLOCKED;

fn usable(state: NodeState) -> bool {
    let up = matches!(state.base(), NodeState::IDLE | NodeState::ALLOCATED | NodeState::MIXED);
    up && !state.any(CLOSED)
}

/// The state as scontrol shows it: base state and flags.
fn words(state: NodeState, cpus_used: u32, cpus: u32) -> String {
    let base = match state.base() {
        NodeState::DOWN => "DOWN",
        NodeState::IDLE => "IDLE",
        // The controller leaves it to its clients to tell a node that has CPUs left.
        NodeState::ALLOCATED if cpus_used < cpus => "MIXED",
        NodeState::ALLOCATED => "ALLOCATED",
        NodeState::MIXED => "MIXED",
        _ => "UNKNOWN",
    };
    let flags = [
        (NodeState::RESERVED, "RESERVED"),
        (NodeState::DRAIN, "DRAIN"),
        (NodeState::COMPLETING, "COMPLETING"),
        (NodeState::NO_RESPOND, "NOT_RESPONDING"),
        (NodeState::POWERED_DOWN, "POWERED_DOWN"),
        (NodeState::FAIL, "FAIL"),
        (NodeState::POWERING_UP, "POWERING_UP"),
        (NodeState::MAINT, "MAINTENANCE"),
        (NodeState::REBOOT_REQUESTED, "REBOOT_REQUESTED"),
        (NodeState::POWERING_DOWN, "POWERING_DOWN"),
        (NodeState::REBOOT_ISSUED, "REBOOT_ISSUED"),
        (NodeState::PLANNED, "PLANNED"),
        (NodeState::INVALID_REG, "INVALID_REG"),
        (NodeState::POWER_DOWN, "POWER_DOWN"),
        (NodeState::POWER_DRAIN, "POWER_DRAIN"),
        (NodeState::BLOCKED, "BLOCKED"),
    ];
    let set = flags.iter().filter(|(flag, _)| state.any(*flag)).map(|(_, word)| *word);
    std::iter::once(base).chain(set).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_as_scontrol_shows_them() {
        let state = |bits| words(NodeState(bits), 3, 8);
        assert_eq!(state(NodeState::IDLE), "IDLE");
        assert_eq!(state(NodeState::ALLOCATED | NodeState::PLANNED), "MIXED+PLANNED");
        assert_eq!(words(NodeState(NodeState::ALLOCATED), 8, 8), "ALLOCATED");
        assert_eq!(state(NodeState::DOWN | NodeState::NO_RESPOND), "DOWN+NOT_RESPONDING");
        assert_eq!(state(15), "UNKNOWN");
    }

    #[test]
    fn jobs_start_on_nodes_that_are_up_and_open() {
        let open = |bits| usable(NodeState(bits));
        assert!(open(NodeState::IDLE) && open(NodeState::ALLOCATED) && open(NodeState::MIXED));
        assert!(open(NodeState::IDLE | NodeState::PLANNED | NodeState::COMPLETING));
        assert!(!open(NodeState::DOWN) && !open(NodeState::UNKNOWN) && !open(NodeState::FUTURE));
        for flag in (0..32).map(|bit| 1 << bit).filter(|flag| CLOSED & flag != 0) {
            assert!(!open(NodeState::IDLE | flag), "{flag:#x}");
        }
    }
}
