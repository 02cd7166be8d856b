//! Many nodes: how much of each is shown, and which are shown together.

use std::collections::BTreeMap;

use flexmig_core::hostlist;

use super::draw::{Drawing, type_list};
use super::report::{Node, Report};

/// Lines that pictures may take, and lines of one node or several: a screen, and some more.
const PICTURES: usize = 60;
const LINES: usize = 40;

/// How much of each node is shown.
pub enum Level<'n> {
    /// A bar per GPU.
    Pictures,
    /// A line per node, those that look the same together.
    Lines(Vec<Vec<&'n Node>>),
    /// A line per kind of node.
    Classes,
}

/// As much as fits on a screen; pictures in any case of nodes that the user named.
pub fn level<'n>(report: &'n Report, named: bool, drawing: &Drawing) -> Level<'n> {
    let rows = |node: &Node| 2 + node.gpus.len().max(node.types.len());
    if named || report.nodes.iter().map(rows).sum::<usize>() <= PICTURES {
        return Level::Pictures;
    }
    let groups = groups(&report.nodes, drawing);
    if groups.len() <= LINES { Level::Lines(groups) } else { Level::Classes }
}

/// The nodes by their looks, in order of the first of each.
fn groups<'n>(nodes: &'n [Node], drawing: &Drawing) -> Vec<Vec<&'n Node>> {
    alike(nodes, |node| {
        let mut looks = String::new();
        drawing.signs(node).write_to(&mut looks, &Default::default());
        (looks, &node.state)
    })
}

/// Nodes with one key together, in order of the first of each.
fn alike<'n, K: Ord>(nodes: &'n [Node], key: impl Fn(&'n Node) -> K) -> Vec<Vec<&'n Node>> {
    let mut places = BTreeMap::new();
    let mut groups: Vec<Vec<&Node>> = Vec::new();
    for node in nodes {
        let place = *places.entry(key(node)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(node),
            None => groups.push(vec![node]),
        }
    }
    groups
}

/// Their names as a host list.
pub fn names(nodes: &[&Node]) -> String {
    hostlist::compact(nodes.iter().map(|node| &node.name))
}

/// Nodes with the same leaves.
pub struct Class<'n> {
    /// They.
    pub nodes: Vec<&'n Node>,
    /// Their leaves together.
    pub leaves: u64,
    /// Leaves that jobs hold.
    pub used: u64,
    /// Leaves that nobody can have.
    pub unusable: u64,
    /// Number of nodes with all leaves free.
    pub idle: u64,
    /// With some leaves free.
    pub partly: u64,
    /// With no leaf free.
    pub full: u64,
    /// That start no jobs.
    pub down: u64,
    /// The most leaves that are free on one node.
    pub most_free: u64,
}

/// The nodes by their leaves, in order of the first of each.
pub fn classes(nodes: &[Node]) -> Vec<Class<'_>> {
    alike(nodes, |node| type_list(&node.types)).into_iter().map(class).collect()
}

fn class(nodes: Vec<&Node>) -> Class<'_> {
    let sum = |of: &dyn Fn(&Node) -> u64| nodes.iter().map(|node| of(node)).sum::<u64>();
    let (leaves, used) = (sum(&Node::configured), sum(&Node::used));
    let count = |is: &dyn Fn(&Node) -> bool| nodes.iter().filter(|node| is(node)).count() as u64;
    let is_idle = |node: &Node| node.usable && node.used() == 0;
    let is_full = |node: &Node| node.usable && node.used() > 0 && node.free() == 0;
    let (idle, full, down) = (count(&is_idle), count(&is_full), count(&|node| !node.usable));
    Class {
        leaves,
        used,
        unusable: sum(&Node::unusable),
        idle,
        partly: nodes.len() as u64 - idle - full - down,
        full,
        down,
        most_free: nodes.iter().map(|node| node.free()).max().unwrap_or(0),
        nodes,
    }
}
