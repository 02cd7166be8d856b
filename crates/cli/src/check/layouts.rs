//! Findings about layout files, which tell the controller what counts cannot: parents and places.

use flexmig_cluster_view::layouts::{self, LeftOut};
use flexmig_core::hostlist;
use flexmig_core::leaf::Leaf;
use flexmig_core::slurm_conf::SlurmConf;
use flexmig_site::LayoutFile;

use super::finding::Finding;

/// Longest host list that a line names.
const LONGEST: usize = 80;

/// Files that cannot be used: broken ones, and on the controller (with slurm.conf) those that it
/// leaves out.
pub fn files(files: &[LayoutFile], controller: Option<&SlurmConf>) -> Vec<Finding> {
    let (_, left_out) = layouts::believed(files, controller);
    let unusable = left_out.into_iter().filter(|file| controller.is_some() || file.is_broken);
    let error = |file: LeftOut| Finding::error("layout", &file.place, &file.why, layouts::MEND);
    unusable.map(error).collect()
}

/// Whether this node is as its layout file says.
pub fn node(files: &[LayoutFile], dir: &str, node: &str, leaves: &[Leaf]) -> Vec<Finding> {
    let covering: Vec<_> = files
        .iter()
        .filter_map(|file| Some((file, file.layout.as_ref().ok()?)))
        .filter(|(_, layout)| layout.covers(node))
        .collect();
    let [(file, layout)] = covering[..] else {
        if covering.is_empty() {
            return vec![missing(dir, node)];
        }
        let files = covering.iter().map(|(file, _)| file.path.display().to_string());
        return vec![Finding::error(
            "layout",
            dir,
            format!("several files name node {node}: {}", files.collect::<Vec<_>>().join(", ")),
            "leave it in nodes = of one of them",
        )];
    };
    let place = file.path.display();
    let differences = layout.differences(leaves);
    if differences.is_empty() {
        return vec![Finding::ok("layout", place, format!("node {node} is as it says"))];
    }
    let mend = "cut the GPU as it says, or write it anew with `flexmig config --layout`";
    let finding =
        |what: String| Finding::error("layout", &place, format!("node {node}: {what}"), mend);
    differences.into_iter().map(finding).collect()
}

/// Whether every node with leaves has a layout file; for the controller.
pub fn cluster(files: &[LayoutFile], dir: &str, nodes: &[&str]) -> Option<Finding> {
    let layouts: Vec<_> = files.iter().filter_map(|file| file.layout.as_ref().ok()).collect();
    let named: std::collections::HashSet<String> = layouts
        .iter()
        .flat_map(|layout| hostlist::expand(&layout.nodes).unwrap_or_default())
        .collect();
    let lacking: Vec<&&str> = nodes.iter().filter(|node| !named.contains(**node)).collect();
    if lacking.is_empty() {
        let what = format!("a file for every node with leaves ({})", files.len());
        return (!nodes.is_empty()).then(|| Finding::ok("layout", dir, what));
    }
    Some(missing(dir, &crate::output::cut(&hostlist::compact(&lacking), LONGEST)))
}

fn missing(dir: &str, nodes: &str) -> Finding {
    Finding::warning(
        "layout",
        dir,
        format!("no layout file names {nodes}: slurmctld knows counts only, no GPUs"),
        "print one on a node of each class with `flexmig config --layout`, and put it there as NAME.toml",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use flexmig_core::layout::Layout;

    fn file(name: &str, text: &str) -> LayoutFile {
        let path = format!("/l/{name}.toml");
        LayoutFile { layout: Layout::from_bytes(&path, text.as_bytes()), path: path.into() }
    }

    fn lines(findings: impl IntoIterator<Item = Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    const GPU: &str = "[[gpu]]\nminor = 0\nmodel = \"A\"\nbus_id = \"0000:07:00.0\"\n\
                       leaves = [{ profile = \"1g.10gb\", gi = 7, ci = 0 }]\n";

    #[test]
    fn every_node_needs_one_file() {
        let print = "slurmctld knows counts only, no GPUs: print one on a node of each class with \
                     `flexmig config --layout`, and put it there as NAME.toml";
        assert_eq!(
            lines(node(&[], "/l", "n1", &[])),
            [format!("warning /l: no layout file names n1: {print}")]
        );
        let one = file("a", "nodes = \"n[1-2]\"\n");
        assert_eq!(
            lines(node(std::slice::from_ref(&one), "/l", "n1", &[])),
            ["ok      /l/a.toml: node n1 is as it says"]
        );
        assert_eq!(
            lines(cluster(std::slice::from_ref(&one), "/l", &["n1", "n3", "n4"])),
            [format!("warning /l: no layout file names n[3-4]: {print}")]
        );
        assert_eq!(
            lines(cluster(std::slice::from_ref(&one), "/l", &["n1"])),
            ["ok      /l: a file for every node with leaves (1)"]
        );
        let two = [one, file("b", "nodes = \"n1\"\n")];
        assert_eq!(
            lines(node(&two, "/l", "n1", &[])),
            [
                "error   /l: several files name node n1: /l/a.toml, /l/b.toml: leave it in nodes = of \
              one of them"
            ]
        );
    }

    #[test]
    fn a_node_must_be_as_its_file_says() {
        let one = file("a", &format!("nodes = \"n1\"\n{GPU}"));
        assert_eq!(
            lines(node(&[one], "/l", "n1", &[])),
            [
                "error   /l/a.toml: node n1: GPU 0: the layout has 1 leaf, this node has none there: cut \
              the GPU as it says, or write it anew with `flexmig config --layout`"
            ]
        );
    }

    #[test]
    fn broken_files_are_told_with_their_line() {
        let text = lines(files(&[file("a", "nodes = \"n1\"\nnode = 3\n")], None)).remove(0);
        assert!(text.starts_with("error   /l/a.toml:2: unknown field `node`"), "{text}");
        assert!(
            text.contains(": write it anew with `flexmig config --layout` on one of its nodes")
        );
    }

    #[test]
    fn the_controller_holds_files_against_slurm_conf() {
        let one = [file("a", &format!("nodes = \"n1\"\n{GPU}"))];
        let conf = |gres| {
            let text = format!("NodeName=n1 Gres={gres}\n");
            SlurmConf::parse("slurm.conf", text.as_bytes(), &mut |_| Err("none".into()))
        };
        assert!(files(&one, Some(&conf("flexmig:1g.10gb:1"))).is_empty());
        let text = lines(files(&one, Some(&conf("flexmig:1g.10gb:7")))).remove(0);
        let told = "error   /l/a.toml: node n1: it has 1 of flexmig:1g.10gb, slurm.conf 7: write";
        assert!(text.starts_with(told), "{text}");
        assert!(files(&one, None).is_empty(), "a node looks at itself");
    }
}
