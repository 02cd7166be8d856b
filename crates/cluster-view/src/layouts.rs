//! Which layout files can be believed: those that say of their nodes what slurm.conf says.
//!
//! A wrong one is left out whole. Selection then knows counts only, as it does without the file.

use std::collections::HashSet;
use std::fmt;

use flexmig_core::hostlist;
use flexmig_core::layout::Layout;
use flexmig_core::order::profile_of_type;
use flexmig_core::profile::Profile;
use flexmig_core::slurm_conf::{GRES_NAME, SlurmConf};
use flexmig_site::LayoutFile;

/// A file that is left out. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The file, with the line where there is one.
    pub place: String,
    /// Why.
    pub why: String,
    /// It cannot be read at all.
    pub is_broken: bool,
}

/// What to do about it.
pub const MEND: &str =
    "write it anew with `flexmig config --layout` on one of its nodes, or mend slurm.conf";

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeftOut { place, why, .. } = self;
        write!(f, "{place}: {why}: left out: {MEND}")
    }
}

/// The good layouts, and the files that are left out. Without slurm.conf all that can be read are
/// good.
pub fn believed(files: &[LayoutFile], conf: Option<&SlurmConf>) -> (Vec<Layout>, Vec<LeftOut>) {
    let mut layouts = Vec::new();
    let mut left_out = Vec::new();
    // Nodes that have a file.
    let mut named: HashSet<String> = HashSet::new();
    for file in files {
        let layout = match &file.layout {
            Ok(layout) => layout,
            Err(error) => {
                let place = format!("{}:{}", error.file, error.line);
                left_out.push(LeftOut { place, why: error.message.clone(), is_broken: true });
                continue;
            }
        };
        let nodes = hostlist::expand(&layout.nodes).unwrap_or_default();
        let twice = nodes.iter().find(|node| named.contains(*node));
        let wrong = match (twice, conf) {
            (Some(node), _) => Some(format!("another layout file names node {node} too")),
            (None, Some(conf)) => contradiction(layout, &nodes, conf),
            (None, None) => None,
        };
        match wrong {
            Some(why) => {
                let place = file.path.display().to_string();
                left_out.push(LeftOut { place, why, is_broken: false });
            }
            None => {
                named.extend(nodes);
                layouts.push(layout.clone());
            }
        }
    }
    (layouts, left_out)
}

/// The first node about which the two disagree, and how.
fn contradiction(layout: &Layout, nodes: &[String], conf: &SlurmConf) -> Option<String> {
    let profiles: Vec<Profile> =
        layout.gpus.iter().flat_map(|gpu| &gpu.leaves).map(|leaf| leaf.profile).collect();
    // Nodes of a class have one line in slurm.conf: each set of types is looked at once.
    let mut good: Vec<Vec<(Option<String>, u64)>> = Vec::new();
    nodes.iter().find_map(|node| {
        let Some(line) = conf.node(node) else {
            // A node that joins by itself is not in slurm.conf.
            return (!conf.has_dynamic_nodes()).then(|| format!("slurm.conf has no node {node}"));
        };
        let types = line.flexmig_types();
        if good.contains(&types) {
            return None;
        }
        let wrong = difference(&profiles, &types);
        if wrong.is_none() {
            good.push(types);
        }
        wrong.map(|wrong| format!("node {node}: {wrong}"))
    })
}

/// How the leaves of a layout differ from the types and counts of slurm.conf.
fn difference(profiles: &[Profile], types: &[(Option<String>, u64)]) -> Option<String> {
    let mut counts = vec![0_u64; types.len()];
    for profile in profiles {
        // The exact name first, then the same shape under another name, then no type at all.
        let fit = |kind: &Option<String>| match kind.as_deref() {
            None => Some(2),
            Some(kind) => {
                let named = profile_of_type(kind).filter(|named| named == profile)?;
                Some(u8::from(!named.same_name(profile)))
            }
        };
        let fits = types.iter().enumerate().filter_map(|(at, (kind, count))| {
            // One with room before one that is full.
            fit(kind).map(|fit| (counts[at] >= *count, fit, at))
        });
        match fits.min() {
            Some((_, _, at)) => counts[at] += 1,
            None => return Some(format!("it has leaves of {profile}, slurm.conf none")),
        }
    }
    let wrong = types.iter().zip(&counts).find(|((_, wanted), found)| wanted != *found);
    wrong.map(|((kind, wanted), found)| {
        let name = match kind {
            Some(kind) => format!("{GRES_NAME}:{kind}"),
            None => GRES_NAME.to_owned(),
        };
        format!("it has {found} of {name}, slurm.conf {wanted}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, nodes: &str, profiles: &[&str]) -> LayoutFile {
        let leaves: String = profiles
            .iter()
            .enumerate()
            .map(|(gi, profile)| format!("{{ profile = \"{profile}\", gi = {gi}, ci = 0 }},"))
            .collect();
        let text = format!(
            "nodes = \"{nodes}\"\n[[gpu]]\nminor = 0\nmodel = \"m\"\nbus_id = \"0000:07:00.0\"\n\
             leaves = [{leaves}]\n"
        );
        LayoutFile { path: name.into(), layout: Layout::from_bytes(name, text.as_bytes()) }
    }

    fn conf(text: &str) -> SlurmConf {
        SlurmConf::parse("slurm.conf", text.as_bytes(), &mut |_| Err("none".into()))
    }

    fn told(files: &[LayoutFile], text: &str) -> (usize, Vec<String>) {
        let (layouts, left_out) = believed(files, Some(&conf(text)));
        (layouts.len(), left_out.iter().map(LeftOut::to_string).collect())
    }

    #[test]
    fn a_layout_that_agrees_is_believed() {
        let good = file("a.toml", "n[1-2]", &["3g.40gb", "1g.10gb", "1g.10gb+me"]);
        for gres in [
            "flexmig:1g.10gb:2,flexmig:3g.40gb:1",
            "flexmig:1g.10gb:1,flexmig:1g.10gb+me:1,flexmig:a100_3g.40gb:1",
            "gpu:1,flexmig:3",
        ] {
            let conf = format!("NodeName=n[1-2] CPUs=4 Gres={gres}\n");
            assert_eq!(told(std::slice::from_ref(&good), &conf), (1, vec![]), "{gres}");
        }
        assert_eq!(believed(std::slice::from_ref(&good), None).0.len(), 1);
        assert_eq!(told(std::slice::from_ref(&good), "MaxNodeCount=9\n"), (1, vec![]));
    }

    #[test]
    fn one_that_does_not_is_left_out_with_a_line() {
        let one = file("a.toml", "n[1-2]", &["3g.40gb", "1g.10gb"]);
        let one = std::slice::from_ref(&one);
        let end = "left out: write it anew with `flexmig config --layout` on one of its nodes, or \
                   mend slurm.conf";
        let line = |why: &str| (0, vec![format!("a.toml: {why}: {end}")]);
        assert_eq!(
            told(one, "NodeName=n[1-2] Gres=flexmig:3g.40gb:1,flexmig:1g.10gb:7\n"),
            line("node n1: it has 1 of flexmig:1g.10gb, slurm.conf 7")
        );
        assert_eq!(
            told(one, "NodeName=n1 Gres=flexmig:2\nNodeName=n2 Gres=flexmig:1g.10gb:2\n"),
            line("node n2: it has leaves of 3g.40gb, slurm.conf none")
        );
        assert_eq!(told(one, "NodeName=n1 Gres=flexmig:2\n"), line("slurm.conf has no node n2"));
        assert_eq!(
            told(one, "NodeName=n1\n"),
            line("node n1: it has leaves of 3g.40gb, slurm.conf none")
        );
    }

    #[test]
    fn broken_files_and_nodes_with_two_are_told() {
        let files = [
            file("a.toml", "n1", &["1g.10gb"]),
            file("b.toml", "n[1-2]", &["1g.10gb"]),
            LayoutFile { path: "c.toml".into(), layout: Layout::from_bytes("c.toml", b"what") },
        ];
        let (count, lines) = told(&files, "NodeName=n[1-2] Gres=flexmig:1\n");
        assert_eq!((count, lines.len()), (1, 2));
        assert!(lines[0].starts_with("b.toml: another layout file names node n1 too: left out: "));
        assert!(lines[1].starts_with("c.toml:1: "), "{lines:?}");
    }
}
