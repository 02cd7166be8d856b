//! What selection costs on large clusters: `decide()` on views of 10 to 10,000 nodes with 56 leaves
//! each, and building what it looks at.
//!
//! No Slurm and no plugin here, only core: the numbers are those of the choice itself.

use std::hint::black_box;
use std::time::Instant;

use flexmig_core::policy::Policy;
use flexmig_core::request::Notation;
use flexmig_core::submit::{Dialect, Job, Site, decide};
use flexmig_core::view::{ClusterView, FORMAT, LeafCount, NodeView, PartitionView, leaf_counts};

use crate::report::{Figure, Report};
use crate::stats::Sample;

/// How much is measured.
pub struct Plan {
    /// Rounds; in each, all views take turns.
    pub rounds: usize,
    /// Decisions per view and round.
    pub decisions: usize,
}

const NODES: [u32; 4] = [10, 100, 1_000, 10_000];
const TAKEN_AT: u64 = 1_700_000_000;

/// Types of a node, and how many leaves of each: 56 in all.
const TYPES: [(&str, u64); 4] = [("1g.10gb", 28), ("1g.20gb", 4), ("2g.20gb", 16), ("3g.40gb", 8)];

const REQUESTS: [&str; 5] =
    ["flexmig:4", "flexmig:3g:1", "flexmig:3g:4", "flexmig:20gb:2", "flexmig:3g.40gb:1"];

/// How full the nodes are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fill {
    Free,
    Half,
    Fragmented,
}

impl Fill {
    const ALL: [(Fill, &'static str); 3] =
        [(Fill::Free, "all free"), (Fill::Half, "half full"), (Fill::Fragmented, "fragmented")];

    /// Leaves in use of so many, given a random number.
    fn used(self, all: u64, random: u64) -> u64 {
        match self {
            Fill::Free => 0,
            Fill::Half => (all / 2 + random % 5).saturating_sub(2).min(all),
            Fill::Fragmented => all - (random % 3).min(all),
        }
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What Slurm says about the leaves of each node.
fn texts(nodes: u32, fill: Fill) -> Vec<(String, String, u64)> {
    let mut random = Random(u64::from(nodes));
    let configured: Vec<String> =
        TYPES.iter().map(|(kind, all)| format!("flexmig:{kind}:{all}(S:0-1)")).collect();
    let node = |_| {
        let mut used_leaves = 0;
        let used = TYPES.iter().map(|(kind, all)| {
            let used = fill.used(*all, random.next());
            used_leaves += used;
            match used.checked_sub(1) {
                Some(last) => format!("flexmig:{kind}:{used}(IDX:0-{last})"),
                None => format!("flexmig:{kind}:0(IDX:N/A)"),
            }
        });
        let used = used.collect::<Vec<_>>().join(",");
        (configured.join(","), used, used_leaves)
    };
    (0..nodes).map(node).collect()
}

fn view(texts: &[(String, String, u64)]) -> ClusterView {
    let node = |(place, (gres, used, used_leaves)): (usize, &(String, String, u64))| NodeView {
        name: format!("n{}", place + 1),
        state: "MIXED".to_owned(),
        usable: true,
        cpus: 128,
        cpus_used: (*used_leaves * 2) as u32,
        memory: 1_024_000,
        memory_used: *used_leaves * 16_000,
        leaves: leaf_counts(gres, used).0,
        ..NodeView::default()
    };
    let all = format!("n[1-{}]", texts.len());
    let partition = |(name, nodes): (&str, &str)| PartitionView {
        name: name.to_owned(),
        nodes: nodes.to_owned(),
        default: name == "gpu",
        up: true,
        default_minutes: Some(60),
        max_minutes: Some(2880),
    };
    let half = format!("n[1-{}]", texts.len() / 2);
    ClusterView {
        format: FORMAT,
        taken_at: TAKEN_AT,
        release: "24.11.5".to_owned(),
        nodes: texts.iter().enumerate().map(node).collect(),
        partitions: [("gpu", &*all), ("debug", &*all), ("half", &*half)].map(partition).into(),
        ..ClusterView::default()
    }
}

/// Microseconds of single decisions, sorted.
fn decisions(site: &Site, count: usize) -> Vec<f64> {
    let slurm = Dialect {
        notation: Notation::Slash,
        per_task: true,
        update_replaces: true,
        version: &"24.11.5",
        now: TAKEN_AT + 3,
    };
    let job = |place: usize| Job {
        tres_per_node: Some(REQUESTS[place % REQUESTS.len()]),
        partition: Some("gpu"),
        time_limit: Some(60),
        min_cpus: Some(1),
        batch: true,
        ..Job::default()
    };
    let mut times = Vec::with_capacity(count);
    for place in 0..count {
        let job = job(place);
        let start = Instant::now();
        let answer = black_box(decide(site, &slurm, &job));
        times.push(start.elapsed().as_secs_f64() * 1e6);
        assert!(matches!(answer, Ok(Some(_))), "{answer:?}");
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Bytes that a view takes on the heap.
fn size(view: &ClusterView) -> usize {
    let texts = |texts: &[&String]| texts.iter().map(|text| text.capacity()).sum::<usize>();
    let leaf = |leaf: &LeafCount| {
        texts(&[&leaf.used_indices]) + leaf.kind.as_ref().map_or(0, String::capacity)
    };
    let node = |node: &NodeView| {
        texts(&[&node.name, &node.state])
            + node.leaves.capacity() * size_of::<LeafCount>()
            + node.leaves.iter().map(leaf).sum::<usize>()
    };
    view.nodes.capacity() * size_of::<NodeView>() + view.nodes.iter().map(node).sum::<usize>()
}

/// Measures all of it.
pub fn measure(plan: &Plan) -> Result<Report, String> {
    let policy = Policy::default();
    let sites: Vec<Vec<Site>> = Fill::ALL
        .iter()
        .map(|&(fill, _)| {
            let site = |&nodes: &u32| Site::of_view(&policy, &view(&texts(nodes, fill)));
            NODES.iter().map(site).collect()
        })
        .collect();
    // Per fill and size: p50 and p99 of each round.
    let mut p50 = vec![vec![Vec::new(); NODES.len()]; Fill::ALL.len()];
    let mut p99 = p50.clone();
    for round in 0..=plan.rounds {
        for (fill, sites) in sites.iter().enumerate() {
            for (size, site) in sites.iter().enumerate() {
                let times = decisions(site, plan.decisions);
                // The first round fills the caches.
                if round > 0 {
                    p50[fill][size].push(times[times.len() / 2]);
                    p99[fill][size].push(times[times.len() * 99 / 100]);
                }
            }
        }
    }
    let mut report = Report::new("selection: one decision, us");
    let mut ratios = Vec::new();
    for (fill, (_, name)) in Fill::ALL.iter().enumerate() {
        for (size, nodes) in NODES.iter().enumerate() {
            report.row(format!("{nodes} nodes, {name}: p50"), Sample::new(p50[fill][size].clone()));
            report.row(format!("{nodes} nodes, {name}: p99"), Sample::new(p99[fill][size].clone()));
        }
        let (large, small) = (&p99[fill][NODES.len() - 1], &p99[fill][0]);
        ratios.extend(large.iter().zip(small).map(|(large, small)| large / small));
    }
    build(plan, &policy, &mut report);
    report.figure(Figure {
        name: "select_p99_10000_nodes_vs_10_nodes",
        against: "10 nodes",
        lower_is_better: true,
        sample: Sample::new(ratios),
    });
    Ok(report)
}

/// Time and memory of what is built off the submit path, for 10,000 nodes.
fn build(plan: &Plan, policy: &Policy, report: &mut Report) {
    for (fill, name) in Fill::ALL {
        let texts = texts(10_000, fill);
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..plan.rounds {
            let start = Instant::now();
            let view = black_box(view(&texts));
            times[0].push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            black_box(Site::of_view(policy, &view));
            times[1].push(start.elapsed().as_secs_f64() * 1e3);
        }
        let [view_times, site_times] = times;
        report.row(
            format!("view of 10000 nodes, {name}, from Slurm's texts, ms"),
            Sample::new(view_times),
        );
        report.row(
            format!("index of 10000 nodes, {name}, 3 partitions, ms"),
            Sample::new(site_times),
        );
        let view = view(&texts);
        report.row(format!("view of 10000 nodes, {name}, MiB"), mebibytes(size(&view)));
        let site = Site::of_view(policy, &view);
        report.row(format!("index of 10000 nodes, {name}, MiB"), mebibytes(site.index_size()));
    }
}

fn mebibytes(bytes: usize) -> Sample {
    Sample::new(vec![bytes as f64 / f64::from(1 << 20)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_as_described() {
        for (fill, name) in Fill::ALL {
            let view = view(&texts(100, fill));
            let leaves = |of: fn(&LeafCount) -> u64| -> u64 {
                view.nodes.iter().flat_map(|node| &node.leaves).map(of).sum()
            };
            let free = leaves(|leaf| leaf.free()) as f64 / leaves(|leaf| leaf.configured) as f64;
            assert_eq!(leaves(|leaf| leaf.configured), 5600);
            match fill {
                Fill::Free => assert_eq!(free, 1.0),
                Fill::Half => assert!((0.45..0.55).contains(&free), "{name}: {free}"),
                Fill::Fragmented => assert!((0.02..0.10).contains(&free), "{name}: {free}"),
            }
            assert!(!decisions(&Site::of_view(&Policy::default(), &view), 20).is_empty());
        }
    }
}
