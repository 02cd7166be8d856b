//! Many nodes: how much of each is shown, and which are shown together.

use std::collections::BTreeMap;

use flexmig_core::hostlist;

use super::draw::{Drawing, type_list};
use super::report::{Node, Report};

/// Lines that pictures may take, and lines of one node or several: a screen, and some more.
const PICTURES: usize = 60;
const LINES: usize = 40;

/// How much of each node is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A bar per GPU.
    Pictures,
    /// A line per node, those that look the same together.
    Lines,
    /// A line per kind of node.
    Classes,
}

/// As much as fits on a screen; pictures in any case of nodes that the user named.
pub fn level(report: &Report, named: bool, drawing: &Drawing) -> Level {
    let rows = |node: &Node| 2 + node.gpus.len().max(node.types.len());
    if named || report.nodes.iter().map(rows).sum::<usize>() <= PICTURES {
        Level::Pictures
    } else if groups(&report.nodes, drawing).len() <= LINES {
        Level::Lines
    } else {
        Level::Classes
    }
}

/// Nodes that look the same.
pub struct Group<'n> {
    /// One of them.
    pub first: &'n Node,
    names: Vec<&'n str>,
}

impl Group<'_> {
    /// Their names as a host list.
    pub fn names(&self) -> String {
        hostlist::compact(&self.names)
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.names.len()
    }
}

/// The nodes by their looks, in order of the first of each.
pub fn groups<'n>(nodes: &'n [Node], drawing: &Drawing) -> Vec<Group<'n>> {
    let mut places = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for node in nodes {
        let mut looks = String::new();
        drawing.signs(node).write_to(&mut looks, &Default::default());
        let place = *places.entry((looks, &node.state)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.names.push(&node.name),
            None => groups.push(Group { first: node, names: vec![&node.name] }),
        }
    }
    groups
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

impl Class<'_> {
    /// Their names as a host list.
    pub fn names(&self) -> String {
        hostlist::compact(self.nodes.iter().map(|node| &node.name))
    }
}

/// The nodes by their leaves, in order of the first of each.
pub fn classes(nodes: &[Node]) -> Vec<Class<'_>> {
    let mut places = BTreeMap::new();
    let mut groups: Vec<Vec<&Node>> = Vec::new();
    for node in nodes {
        let place = *places.entry(type_list(&node.types)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(node),
            None => groups.push(vec![node]),
        }
    }
    groups.into_iter().map(class).collect()
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
