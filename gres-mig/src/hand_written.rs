//! Hand-written lines of gres.conf: which leaves they mean. Pure.
//!
//! A line names device files: `MultipleFiles=` the three of one leaf, `File=` one name per leaf,
//! best that of its compute instance. Where there are such lines, only the leaves they name are
//! handed out; the order of indices is policy's all the same, and a line's `Cores=` goes with its
//! leaves. Without them every leaf of the node is handed out.

use std::collections::{BTreeMap, HashMap};

use flexmig_core::hostlist;
use flexmig_core::leaf::Leaf;

/// What a record of Slurm's says, which it made of slurm.conf and gres.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Type, `None` where slurm.conf has none.
    pub kind: Option<String>,
    /// Number of leaves.
    pub count: u64,
    /// `File=` or `MultipleFiles=`.
    pub files: Option<String>,
    /// Whether the files are all of one leaf.
    pub multiple: bool,
    /// `Cores=` as text and as numbers.
    pub cores: Option<Cores>,
}

/// The cores of a line, in Slurm's abstract numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    /// As written.
    pub text: String,
    /// One by one.
    pub numbers: Vec<usize>,
}

/// What the lines mean.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Types with their counts in slurm.conf's order.
    pub types: Vec<(Option<String>, u64)>,
    /// The leaves to hand out.
    pub leaves: Vec<Leaf>,
    /// Cores of leaves that a line gives, by UUID.
    pub cores: HashMap<String, Cores>,
    /// One line per thing that is wrong.
    pub findings: Vec<String>,
}

/// Finds the leaves that the lines mean among those of the node.
pub fn choose(lines: &[Line], leaves: &[Leaf]) -> Chosen {
    let mut chosen = Chosen { types: types(lines), ..Chosen::default() };
    if lines.iter().all(|line| line.files.is_none()) {
        chosen.leaves = leaves.to_vec();
        return chosen;
    }
    let mut named: BTreeMap<usize, &Line> = BTreeMap::new();
    for line in lines {
        for unit in units(line, &mut chosen.findings) {
            match leaf_of(&unit, leaves) {
                Some(leaf) if named.contains_key(&leaf) => chosen.findings.push(format!(
                    "gres.conf names leaf {} twice ({}): remove one of the lines",
                    leaves[leaf].uuid,
                    unit.join(",")
                )),
                Some(leaf) => _ = named.insert(leaf, line),
                None => chosen.findings.push(format!(
                    "gres.conf names {}, which are not the device files of one leaf of this node: \
                     leave the lines of flexmig out of gres.conf, or write those that `flexmig \
                     config` prints",
                    unit.join(",")
                )),
            }
        }
    }
    for (leaf, line) in named {
        let leaf = &leaves[leaf];
        chosen.leaves.push(leaf.clone());
        chosen.cores.extend(line.cores.clone().map(|cores| (leaf.uuid.clone(), cores)));
    }
    chosen
}

/// Slurm gives the records of one type one after the other, and one more for what gres.conf lacks.
fn types(lines: &[Line]) -> Vec<(Option<String>, u64)> {
    let mut types: Vec<(Option<String>, u64)> = Vec::new();
    for line in lines {
        match types.iter_mut().find(|(kind, _)| *kind == line.kind) {
            Some((_, count)) => *count = count.saturating_add(line.count),
            None => types.push((line.kind.clone(), line.count)),
        }
    }
    types.retain(|(_, count)| *count > 0);
    types
}

/// The files of each leaf of a line.
fn units(line: &Line, findings: &mut Vec<String>) -> Vec<Vec<String>> {
    let Some(files) = &line.files else { return Vec::new() };
    match hostlist::expand(files) {
        Ok(files) if line.multiple => vec![files],
        Ok(files) => files.into_iter().map(|file| vec![file]).collect(),
        Err(error) => {
            findings.push(format!("gres.conf: {files}: {error}"));
            Vec::new()
        }
    }
}

/// The one leaf that has all these files. A leaf's own file is that of its compute instance, so the
/// others may be left out; they tell leaves apart only if they are not shared.
fn leaf_of(files: &[String], leaves: &[Leaf]) -> Option<usize> {
    let has_all =
        |leaf: &Leaf| files.iter().all(|file| leaf.devices.paths().contains(&file.as_str()));
    let mut found = (0..leaves.len()).filter(|&leaf| has_all(&leaves[leaf]));
    let first = found.next().filter(|_| !files.is_empty())?;
    found.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::leaf;

    fn leaves() -> Vec<Leaf> {
        vec![leaf(0, 7), leaf(0, 8), leaf(1, 7)]
    }

    fn line(count: u64, files: &str, multiple: bool) -> Line {
        let files = (!files.is_empty()).then(|| files.to_owned());
        Line { kind: Some("1g.10gb".into()), count, files, multiple, cores: None }
    }

    fn uuids(chosen: &Chosen) -> Vec<&str> {
        chosen.leaves.iter().map(|leaf| leaf.uuid.as_str()).collect()
    }

    #[test]
    fn an_empty_gres_conf_means_every_leaf() {
        let big = Line { kind: Some("3g.40gb".into()), count: 1, ..Line::default() };
        let chosen = choose(&[line(2, "", false), big], &leaves());
        assert_eq!(uuids(&chosen), ["MIG-0-7", "MIG-0-8", "MIG-1-7"]);
        assert_eq!(chosen.types, [(Some("1g.10gb".into()), 2), (Some("3g.40gb".into()), 1)]);
        assert!(chosen.findings.is_empty());
    }

    #[test]
    fn multiple_files_are_one_leaf_each() {
        let files = |minor: u32, gi: u32| leaf(minor, gi).devices.paths().join(",");
        let mut second = line(1, &files(0, 8), true);
        second.cores = Some(Cores { text: "0-3".into(), numbers: vec![0, 1, 2, 3] });
        let chosen = choose(&[line(1, &files(1, 7), true), second.clone()], &leaves());
        assert_eq!(uuids(&chosen), ["MIG-0-8", "MIG-1-7"]);
        assert_eq!(chosen.types, [(Some("1g.10gb".into()), 2)]);
        assert_eq!(chosen.cores, HashMap::from([("MIG-0-8".into(), second.cores.unwrap())]));
        assert!(chosen.findings.is_empty(), "{:?}", chosen.findings);
    }

    #[test]
    fn file_names_one_leaf_per_name() {
        // Compute instances 15 and 17 of GPU 0, 115 of GPU 1.
        let chosen = choose(&[line(2, "/dev/nvidia-caps/nvidia-cap[15,115]", false)], &leaves());
        assert_eq!(uuids(&chosen), ["MIG-0-7", "MIG-1-7"]);
    }

    #[test]
    fn what_slurm_conf_has_more_still_counts() {
        let chosen = choose(
            &[line(1, "/dev/nvidia-caps/nvidia-cap15", false), line(3, "", false)],
            &leaves(),
        );
        assert_eq!(uuids(&chosen), ["MIG-0-7"]);
        assert_eq!(chosen.types, [(Some("1g.10gb".into()), 4)]);
    }

    #[test]
    fn files_of_no_leaf_or_of_several_are_told() {
        for files in ["/dev/nvidia-caps/nvidia-cap999", "/dev/nvidia0", "/dev/null"] {
            let chosen = choose(&[line(1, files, false)], &leaves());
            assert!(chosen.leaves.is_empty());
            let start = format!("gres.conf names {files}, which are not the device files of one");
            assert!(chosen.findings[0].starts_with(&start), "{:?}", chosen.findings);
        }
        let own = "/dev/nvidia-caps/nvidia-cap15";
        let twice = choose(&[line(1, own, false), line(1, own, false)], &leaves());
        assert_eq!(uuids(&twice), ["MIG-0-7"]);
        assert!(twice.findings[0].starts_with("gres.conf names leaf MIG-0-7 twice"));
        let bad = choose(&[line(1, "/dev/x[1-", false)], &leaves());
        assert!(bad.findings[0].starts_with("gres.conf: /dev/x[1-: "), "{:?}", bad.findings);
    }
}
