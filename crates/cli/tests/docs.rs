//! The worked examples of docs/selection.md are what `flexmig explain` says on the cluster that they
//! describe, and its table of policy keys has the keys of conf/flexmig.toml.

use flexmig_cli::explain::{Explain, report};
use flexmig_core::layout::Layout;
use flexmig_core::policy::Policy;
use flexmig_core::view::{ClusterView, FORMAT, LeafCount, NodeView, PartitionView};

const DOCS: &str = include_str!("../../../docs/selection.md");
const CONF: &str = include_str!("../../../conf/flexmig.toml");

/// Two nodes with two A100-80, a 3g.40gb and three 1g.10gb each; on both so many leaves are used.
fn view(small: u64, large: u64) -> ClusterView {
    let leaves = |kind: &str, configured, used| LeafCount {
        kind: Some(kind.into()),
        configured,
        used,
        ..LeafCount::default()
    };
    let node = |name: &str| NodeView {
        name: name.into(),
        usable: true,
        cpus: 16,
        memory: 64_000,
        leaves: vec![leaves("1g.10gb", 6, small), leaves("3g.40gb", 2, large)],
        ..NodeView::default()
    };
    let gpu = |minor: u32| {
        let small: String = (0..3)
            .map(|n| {
                format!("{{ profile = \"1g.10gb\", gi = {}, ci = 0, start = {} }},", 7 + n, 4 + n)
            })
            .collect();
        format!(
            "[[gpu]]\nminor = {minor}\nmodel = \"NVIDIA A100-SXM4-80GB\"\nbus_id = \"0000:0{minor}:00.0\"\n\
             numa = {minor}\nleaves = [{{ profile = \"3g.40gb\", gi = 1, ci = 0, start = 0 }}, {small}]\n"
        )
    };
    let layout = format!("nodes = \"n[1-2]\"\n{}{}", gpu(0), gpu(1));
    ClusterView {
        format: FORMAT,
        taken_at: 1_000_000,
        release: "24.11.5".into(),
        nodes: vec![node("n1"), node("n2")],
        partitions: vec![PartitionView {
            name: "all".into(),
            nodes: "n[1-2]".into(),
            default: true,
            up: true,
            ..PartitionView::default()
        }],
        layouts: vec![Layout::from_bytes("a.toml", layout.as_bytes()).unwrap()],
        ..ClusterView::default()
    }
}

#[test]
fn the_lines_of_the_examples_are_those_that_users_see() {
    for (view, gres) in [
        (view(0, 2), "flexmig:3g:1"),
        (view(6, 2), "flexmig:3g:1"),
        (view(5, 0), "flexmig:2"),
        (view(0, 0), "flexmig:2g.20gb:1"),
    ] {
        let args = Explain { gres: Some(gres.into()), ..Explain::default() };
        let told = report(&view, &Policy::default(), &args, view.taken_at).unwrap();
        let line = format!("\nsbatch: {}\n", told.line);
        assert!(DOCS.contains(&line), "docs/selection.md lacks{line}");
    }
}

#[test]
fn the_table_of_the_first_example_is_what_explain_knows() {
    let args = Explain { gres: Some("flexmig:3g:1".into()), ..Explain::default() };
    let view = view(0, 0);
    let told = report(&view, &Policy::default(), &args, view.taken_at).unwrap();
    for line in [&told.line, told.note.as_ref().unwrap(), told.tres_per_node.as_ref().unwrap()] {
        assert!(DOCS.contains(line), "docs/selection.md lacks {line}");
    }
    for candidate in &told.candidates {
        let row = DOCS.lines().find(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.contains(&candidate.harm.to_string().as_str())
                && line.contains(&candidate.composition)
        });
        assert!(row.is_some(), "docs/selection.md lacks {candidate:?}");
    }
}

#[test]
fn every_key_of_selection_is_in_the_table() {
    for table in ["select", "translate"] {
        let (_, part) = CONF.split_once(&format!("\n[{table}]")).unwrap();
        let part = part.split("\n[").next().unwrap();
        let keys = part.lines().filter_map(|line| {
            let (key, _) = line.trim_start_matches("# ").split_once(" = ")?;
            (!key.contains(' ')).then_some(key)
        });
        let keys: Vec<&str> = keys.collect();
        assert!(!keys.is_empty());
        for key in keys {
            let row = format!("| `[{table}] {key}` |");
            assert!(DOCS.contains(&row), "docs/selection.md has no row {row}");
        }
    }
}
