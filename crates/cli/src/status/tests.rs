//! The exact picture of small clusters, and what becomes of large ones.

use super::draw::{duration, ranges, text};
use super::report::{Gpu, Held, Holder, Leaf, LeafState, Node, Report, Totals, TypeCount, Waiting};
use crate::canvas::Style;

const UTF8: Style = Style { width: None, unicode: true, colour: false };

/// A node with these leaves: type, compute slices, GPU, and job (`-` free, `x` unusable).
fn node(name: &str, leaves: &[(&str, u8, Option<u32>, &str)]) -> Node {
    let mut node = Node {
        name: name.into(),
        state: "mixed".into(),
        usable: true,
        cpus: 16,
        cpus_free: 12,
        memory_mib: 64_000,
        memory_free_mib: 64_000,
        fragmentation_percent: Some(25),
        ..Node::default()
    };
    for (index, &(kind, slices, gpu, job)) in (0..).zip(leaves) {
        let state = match job {
            "-" => LeafState::Free,
            "x" => LeafState::Unusable,
            _ => LeafState::Used,
        };
        let used = u64::from(state == LeafState::Used);
        let job = (used == 1).then(|| job.to_owned());
        node.leaves.push(Leaf {
            index,
            kind: Some(kind.into()),
            profile: Some(kind.into()),
            slices: Some(slices),
            gpu,
            state,
            job,
        });
        match node.types.iter_mut().find(|known| known.kind.as_deref() == Some(kind)) {
            Some(known) => {
                known.configured += 1;
                known.used += used;
                known.free += 1 - used;
            }
            None => node.types.push(TypeCount {
                kind: Some(kind.into()),
                configured: 1,
                used,
                free: 1 - used,
            }),
        }
        if let Some(minor) = gpu {
            match node.gpus.iter_mut().find(|gpu| gpu.minor == minor) {
                Some(gpu) => gpu.leaves.push(index),
                None => node.gpus.push(Gpu {
                    minor,
                    model: "NVIDIA A100-SXM4-80GB".into(),
                    numa: Some(3),
                    leaves: vec![index],
                }),
            }
        }
    }
    node
}

fn report(nodes: Vec<Node>) -> Report {
    let sum = |of: fn(&Node) -> u64| nodes.iter().map(of).sum::<u64>();
    Report {
        version: 1,
        taken: 1_000,
        slurm: Some("24.11.5".into()),
        totals: Totals {
            nodes: nodes.len() as u64,
            leaves: sum(Node::configured),
            used: sum(Node::used),
            free: sum(Node::free),
            unusable: sum(Node::unusable),
            fragmentation_percent: Some(12),
        },
        nodes,
        ..Report::default()
    }
}

fn holder(id: &str, node: &str, what: &str, indices: &[u32]) -> Holder {
    Holder {
        id: id.into(),
        user: "alice".into(),
        partition: "gpu".into(),
        request: "3g:1".into(),
        leaves: vec![Held { node: node.into(), indices: indices.to_vec(), what: what.into() }],
        ends: Some(4_600),
    }
}

/// Two GPUs: seven small leaves, and one of each size.
fn small() -> Report {
    let small = ["42", "42", "42", "7", "-", "-", "-"].map(|job| ("1g.10gb", 1, Some(0), job));
    let sizes =
        [("3g.40gb", 3, "43"), ("2g.20gb", 2, "-"), ("1g.10gb", 1, "x"), ("1g.10gb", 1, "-")];
    let sizes = sizes.map(|(kind, slices, job)| (kind, slices, Some(1), job));
    let mut report = report(vec![node("n1", &[&small[..], &sizes].concat())]);
    report.jobs = vec![
        holder("7", "n1", "1g.10gb:1", &[3]),
        holder("42", "n1", "1g.10gb:3", &[0, 1, 2]),
        holder("43", "n1", "3g.40gb:1", &[7]),
    ];
    report.pending = vec![Waiting {
        id: "44_[1-3]".into(),
        user: "bob".into(),
        partition: "gpu".into(),
        request: "3g:2".into(),
        composition: "1g.10gb:6".into(),
        reason: "Resources".into(),
        start: Some(1_060),
    }];
    report.notes = vec!["no layout file covers node n2".into()];
    report
}

#[test]
fn the_exact_picture() {
    let expected = "\
11 leaves on 1 node: 5 used, 5 free, 1 unusable; fragmentation 12%; 1 job waits for leaves

n1  mixed  free: 5 of 11 leaves, 12 of 16 CPUs, 62 of 62 GiB; fragmentation 25%
  GPU 0  │BB│BB│BB│AA│··│··│··│  IDX 0-6  7 x 1g.10gb (A100-SXM4-80GB, NUMA 3)
  GPU 1  │CCCCCCCC│·····│××│··│  IDX 7-10  3g.40gb, 2g.20gb, 2 x 1g.10gb (A100-SXM4-80GB, NUMA 3)

a letter: the job below; · free; × unusable

   JOB  USER   PARTITION  ASKED FOR  TIME LEFT  LEAVES
A    7  alice  gpu        3g:1         1:00:00  n1:1g.10gb:1(3)
B   42  alice  gpu        3g:1         1:00:00  n1:1g.10gb:3(0-2)
C   43  alice  gpu        3g:1         1:00:00  n1:3g.40gb:1(7)

   WAITS  USER  PARTITION  ASKED FOR  WAITS FOR  REASON     STARTS IN
44_[1-3]  bob   gpu        3g:2       1g.10gb:6  Resources       1:00
note: no layout file covers node n2
";
    assert_eq!(text(&small(), false, &UTF8), expected);
}

#[test]
fn ascii_has_the_same_in_other_characters() {
    let ascii = text(&small(), false, &Style::default());
    assert!(ascii.is_ascii(), "{ascii}");
    assert!(ascii.contains("GPU 1  |CCCCCCCC|.....|xx|..|  IDX 7-10"), "{ascii}");
    let utf8 = text(&small(), false, &UTF8);
    assert_eq!(utf8.replace('│', "|").replace('·', ".").replace('×', "x"), ascii);
}

#[test]
fn colours_change_no_character() {
    let coloured = text(&small(), false, &Style { colour: true, ..UTF8 });
    assert!(coloured.contains("\x1b[32m··\x1b[0m"), "{coloured}");
    let mut plain = String::new();
    for (place, piece) in coloured.split("\x1b[").enumerate() {
        plain += if place == 0 { piece } else { piece.split_once('m').unwrap().1 };
    }
    assert_eq!(plain, text(&small(), false, &UTF8));
}

#[test]
fn nothing_is_wider_than_the_terminal() {
    let mut many = report((1..=100).map(|n| numbered(n, n % 50)).collect());
    many.jobs = vec![holder("7", "n1", "1g.10gb:1", &[3])];
    for report in [small(), without_parents(), many] {
        for width in [40, 60, 80, 200] {
            let text = text(&report, false, &Style { width: Some(width), ..UTF8 });
            let widest = text
                .lines()
                .filter(|line| !line.starts_with("note"))
                .map(|line| line.chars().count());
            assert!(widest.max() <= Some(width), "{width}: {text}");
        }
    }
}

/// 28 leaves of one type whose GPUs are not known.
fn without_parents() -> Report {
    report(vec![node("n1", &[("1g.10gb", 1, None, "-"); 28])])
}

#[test]
fn without_layout_files_there_is_a_bar_per_type_that_goes_on_below() {
    let text = text(&without_parents(), false, &Style { width: Some(80), ..UTF8 });
    let bars: Vec<&str> = text.lines().filter(|line| line.contains('│')).collect();
    let cells = |line: &str| line.matches("··").count();
    assert_eq!(bars.iter().map(|line| cells(line)).collect::<Vec<_>>(), [18, 10], "{text}");
    assert!(bars[0].starts_with("  1g.10gb  │··│") && bars[0].ends_with("IDX 0-17"), "{text}");
    assert!(bars[1].starts_with("           │··│") && bars[1].ends_with("IDX 18-27"), "{text}");
}

/// Eight GPUs of seven leaves, so many of them used.
fn numbered(number: usize, used: usize) -> Node {
    let leaf =
        |place: usize| ("1g.10gb", 1, Some(place as u32 / 7), if place < used { "7" } else { "-" });
    node(&format!("n{number:03}"), &(0..56).map(leaf).collect::<Vec<_>>())
}

#[test]
fn nodes_that_look_the_same_share_a_line() {
    let nodes = (1..=20).map(|number| numbered(number, if number == 7 { 3 } else { 0 })).collect();
    let mut report = report(nodes);
    report.jobs = vec![holder("7", "n007", "1g.10gb:3", &[0, 1, 2])];
    let text = text(&report, false, &UTF8);
    let idle = "·".repeat(7);
    let all = [idle.as_str(); 8].join(" ");
    let line = format!("n[001-006,008-020] x19  mixed   56 of 56  free  {all}\n");
    assert!(text.contains(&line), "{text}");
    let line =
        format!("n007                    mixed   53 of 56  free  AAA{}\n", &all["···".len()..]);
    assert!(text.contains(&line), "{text}");
    assert_eq!(text.matches("mixed").count(), 2, "{text}");
}

#[test]
fn many_different_nodes_become_a_line_per_kind() {
    let mut nodes: Vec<Node> = (1..=5_000).map(|number| numbered(number, number % 57)).collect();
    nodes.iter_mut().take(10).for_each(|node| node.usable = false);
    nodes.push(node("m1", &[("3g.40gb", 3, None, "-"); 2]));
    let whole = report(nodes);
    let shown = text(&whole, false, &UTF8);
    assert!(shown.lines().count() < 10, "{shown}");
    let squeezed = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = "n[1000-5000,001-999] 5000 56 x 1g.10gb ██████████░░░░░░░░░░ 49% 87 4816 87 10 56";
    let second = "m1 1 2 x 3g.40gb ░░░░░░░░░░░░░░░░░░░░ 0% 1 0 0 0 2";
    assert!(squeezed.contains(&format!("{first} {second} ")), "{shown}");
    // Named nodes get their pictures all the same.
    let named = report(whole.nodes[..20].to_vec());
    assert!(text(&named, true, &UTF8).contains("GPU 7"));
}

#[test]
fn an_empty_cluster_is_told_in_a_line() {
    let text = text(&report(Vec::new()), false, &UTF8);
    assert!(text.starts_with("0 leaves on 0 nodes: 0 used, 0 free"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn more_jobs_than_letters_share_the_last_sign() {
    let ids: Vec<String> = (0..56).map(|number| (1000 + number).to_string()).collect();
    let leaves: Vec<_> = ids.iter().map(|id| ("1g.10gb", 1, Some(0), id.as_str())).collect();
    let mut report = report(vec![node("n1", &leaves)]);
    report.jobs = ids.iter().map(|id| holder(id, "n1", "1g.10gb:1", &[0])).collect();
    let text = text(&report, false, &UTF8);
    assert!(text.contains("│zz│##│##│##│##│"), "{text}");
    assert!(text.contains("... and 16 more: flexmig status --json has them"), "{text}");
}

#[test]
fn numbers_read_as_slurm_writes_them() {
    assert_eq!(ranges(&[0, 1, 2, 7]), "0-2,7");
    assert_eq!(ranges(&[8, 9, 10, 11]), "8-11");
    assert_eq!(ranges(&[5]), "5");
    assert_eq!(duration(59), "0:59");
    assert_eq!(duration(3_600), "1:00:00");
    assert_eq!(duration(93_784), "1-02:03:04");
}
