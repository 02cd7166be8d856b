//! Slurm's texts about the leaves of a node or job.
//!
//! Configured: `gpu:2,flexmig:1g.10gb:7(S:0-1)`. Used, and held by a job:
//! `flexmig:1g.10gb:4(IDX:0-1,3-4)`, `flexmig:2(IDX:0-1)`, `flexmig:(null):0(IDX:N/A)`. Nonsense is
//! told and left out; it never stops the rest.

use super::LeafCount;
use crate::request::shown;
use crate::slurm_conf::{GRES_NAME, Gres, parse_gres};

/// Leaves of one type in use, on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Type; `None` where leaves have none.
    pub kind: Option<String>,
    /// How many.
    pub count: u64,
    /// Node-wide indices, `0-1,3`; empty if Slurm does not tell.
    pub indices: String,
}

/// Reads what is used of a node's leaves or held by a job on one node, and what cannot be read.
pub fn read_used(text: &str) -> (Vec<Used>, Vec<String>) {
    let mut used = Vec::new();
    let mut findings = Vec::new();
    for entry in flexmig_entries(text) {
        match read_entry(entry) {
            Ok(gres) => {
                let indices = entry.split_once("(IDX:").map_or("", |(_, rest)| rest);
                let indices = indices.strip_suffix(')').unwrap_or(indices);
                let indices = if indices == "N/A" { "" } else { indices };
                used.push(Used { kind: gres.kind, count: gres.count, indices: indices.to_owned() });
            }
            Err(finding) => findings.push(finding),
        }
    }
    (used, findings)
}

/// The leaves of a node from its `Gres` and `GresUsed`. Where the second says nothing usable, the
/// leaves count as used: a job must not be told that they are free.
pub fn leaf_counts(gres: &str, gres_used: &str) -> (Vec<LeafCount>, Vec<String>) {
    let mut leaves: Vec<LeafCount> = Vec::new();
    let (used, mut findings) = read_used(gres_used);
    for entry in flexmig_entries(gres) {
        match read_entry(entry) {
            Ok(Gres { kind, count, .. }) => match leaves.iter_mut().find(|l| l.kind == kind) {
                Some(known) => known.configured = known.configured.saturating_add(count),
                None => leaves.push(LeafCount { kind, configured: count, ..LeafCount::default() }),
            },
            Err(finding) => findings.push(finding),
        }
    }
    for leaf in &mut leaves {
        let mut same = used.iter().filter(|used| used.kind == leaf.kind).peekable();
        if same.peek().is_none() {
            findings.push(format!("{}: not in GresUsed: taken for used", named(&leaf.kind)));
            leaf.used = leaf.configured;
            continue;
        }
        let mut total = 0u64;
        for used in same {
            total = total.saturating_add(used.count);
            leaf.used_indices.clone_from(&used.indices);
        }
        if total > leaf.configured {
            let (name, configured) = (named(&leaf.kind), leaf.configured);
            findings.push(format!("{name}: {total} used of {configured}"));
        }
        leaf.used = total.min(leaf.configured);
    }
    for used in used.iter().filter(|used| used.count > 0) {
        if !leaves.iter().any(|leaf| leaf.kind == used.kind) {
            findings.push(format!("{}: {} used of none", named(&used.kind), used.count));
        }
    }
    (leaves, findings)
}

fn named(kind: &Option<String>) -> String {
    match kind {
        Some(kind) => format!("{GRES_NAME}:{}", shown(kind)),
        None => GRES_NAME.to_owned(),
    }
}

/// The entries of GRES `flexmig`; commas inside brackets do not separate.
fn flexmig_entries(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    let entries = text.split(move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    let is_ours = |entry: &&str| {
        let rest = entry.strip_prefix(GRES_NAME);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '(']))
    };
    entries.map(str::trim).filter(is_ours)
}

fn read_entry(entry: &str) -> Result<Gres, String> {
    let typeless = entry.replacen(":(null)", "", 1);
    let plain = typeless.split('(').next().unwrap_or_default();
    let (mut found, mut errors) = parse_gres(plain);
    match (found.pop(), errors.pop()) {
        (Some(gres), None) => Ok(gres),
        (_, Some(error)) => Err(error),
        (None, None) => Err(format!("Gres={}: cannot be read", shown(entry))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(gres: &str, used: &str) -> Vec<(Option<String>, u64, u64, String)> {
        let (leaves, findings) = leaf_counts(gres, used);
        assert_eq!(findings, [] as [&str; 0]);
        leaves.into_iter().map(|l| (l.kind, l.configured, l.used, l.used_indices)).collect()
    }

    #[test]
    fn slurms_texts_are_read() {
        assert_eq!(
            counts(
                "gpu:2(S:0,1),flexmig:1g.10gb:7(S:0-1),flexmig:3g.40gb:2",
                "gpu:0(IDX:N/A),flexmig:1g.10gb:4(IDX:0-1,3-4),flexmig:3g.40gb:0(IDX:N/A)"
            ),
            [
                (Some("1g.10gb".into()), 7, 4, "0-1,3-4".into()),
                (Some("3g.40gb".into()), 2, 0, String::new()),
            ]
        );
        for used in ["flexmig:2(IDX:0-1)", "flexmig:(null):2(IDX:0-1)"] {
            assert_eq!(counts("flexmig:7", used), [(None, 7, 2, "0-1".into())]);
        }
        assert_eq!(counts("flexmig:7", "flexmig:2"), [(None, 7, 2, String::new())]);
        assert_eq!(counts("gpu:1,flexmiggy:2", ""), []);
    }

    #[test]
    fn nonsense_is_told_and_counts_as_used() {
        let (leaves, findings) = leaf_counts("flexmig:1g.10gb:7,flexmig:a:2", "flexmig:1g.10gb:9");
        assert_eq!((leaves[0].used, leaves[1].used), (7, 2));
        assert_eq!(
            findings,
            ["flexmig:1g.10gb: 9 used of 7", "flexmig:a: not in GresUsed: taken for used"]
        );
        let (leaves, findings) = leaf_counts("flexmig:1g.10gb:x:3,flexmig:b:1", "flexmig:b:1(");
        assert_eq!((leaves.len(), leaves[0].used, findings.len()), (1, 1, 1));
        let (_, findings) = leaf_counts("flexmig:a:1", "flexmig:a:0,flexmig:b:2(IDX:0-1)");
        assert_eq!(findings, ["flexmig:b: 2 used of none"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(gres in "((flexmig|gpu)?[:(),0-9a-z./-]{0,9}){0,5}",
            used in "((flexmig|gpu)?(:1g)?[:(),0-9IDX/-]{0,9}){0,5}") {
            let (leaves, findings) = leaf_counts(&gres, &used);
            prop_assert!(leaves.iter().all(|leaf| leaf.used <= leaf.configured));
            prop_assert!(findings.iter().all(|line| !line.contains('\n')));
        }
    }
}
