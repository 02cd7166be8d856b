//! Selection against nodes that are looked at one by one.

use proptest::prelude::*;

use super::*;
use crate::models::Model;
use crate::policy::Compose;
use crate::profile::Profile;
use crate::request::{Request, Want};

/// Nodes with (configured, free) leaves of each kind.
#[derive(Clone, Debug)]
struct Farm {
    kinds: Vec<Kind>,
    nodes: Vec<Vec<(u64, u64)>>,
    /// Free leaves are known.
    known: bool,
    waiting: Vec<u64>,
}

impl Farm {
    fn new(model: Option<&str>, types: &[&str], nodes: &[&[(u64, u64)]]) -> Farm {
        let kind = |name: &&str| Kind {
            model: model.and_then(Model::named),
            ..Kind::new(Some((*name).to_owned()), &[])
        };
        Farm {
            kinds: types.iter().map(kind).collect(),
            nodes: nodes.iter().map(|node| node.to_vec()).collect(),
            known: true,
            waiting: vec![0; types.len()],
        }
    }

    fn place(&self, kind: Option<&str>) -> Option<usize> {
        self.kinds.iter().position(|known| known.name.as_deref() == kind)
    }

    fn count(&self, parts: &[Part], need: &Need, of: fn(&(u64, u64)) -> u64) -> u64 {
        let has = |node: &&Vec<(u64, u64)>| {
            parts.iter().all(|part| {
                let there = self.place(part.kind).map_or(0, |place| of(&node[place]));
                there >= part.count.saturating_mul(need.times)
            })
        };
        self.nodes.iter().filter(has).count() as u64
    }

    fn select<'k>(
        &'k self,
        kinds: &[&'k Kind],
        request: &'k str,
        policy: &Select,
    ) -> Result<Selection<'k>, NoFit> {
        let request = Request::parse(request).unwrap();
        let terms: Vec<Term> = request.terms().collect();
        let rules = Rules { policy, open: false, stays: false };
        select(kinds, &terms, &rules, &Need::default(), self)
    }
}

impl Supply for Farm {
    fn holding(&self, parts: &[Part<'_>], need: &Need) -> u64 {
        self.count(parts, need, |(all, _)| *all)
    }

    fn starts(&self, parts: &[Part<'_>], need: &Need) -> Option<bool> {
        self.known.then(|| self.count(parts, need, |(_, free)| *free) >= need.nodes)
    }

    fn stock(&self, kind: &Kind) -> u64 {
        let place = self.place(kind.name.as_deref()).unwrap();
        self.nodes.iter().map(|node| if self.known { node[place].1 } else { node[place].0 }).sum()
    }

    fn queue(&self, kind: &Kind) -> (u64, u64) {
        let place = self.place(kind.name.as_deref()).unwrap();
        (self.waiting[place], self.nodes.iter().map(|node| node[place].0).sum())
    }

    fn awaited(&self, kind: &Kind) -> bool {
        self.queue(kind).0 > 0
    }

    fn one_socket(&self, _: &[Part<'_>]) -> Option<bool> {
        None
    }

    fn nodes_like(&self, _: &[&Kind], found: &mut Vec<Vec<u64>>) {
        for node in &self.nodes {
            found.push(node.iter().map(|(_, free)| *free).collect());
            found.push(node.iter().map(|(all, _)| *all).collect());
        }
    }
}

/// The candidates as `3 x 1g.10gb`, best first, and the word for the first.
fn chosen(farm: &Farm, request: &str, policy: &Select) -> (Vec<String>, &'static str) {
    let kinds: Vec<&Kind> = farm.kinds.iter().collect();
    let selection = farm.select(&kinds, request, policy).unwrap();
    (selection.candidates.iter().map(Candidate::composition).collect(), selection.why(0))
}

fn why_not(farm: &Farm, request: &str, policy: &Select) -> WhyNot {
    let kinds: Vec<&Kind> = farm.kinds.iter().collect();
    farm.select(&kinds, request, policy).unwrap_err().why
}

const TYPES: [&str; 4] = ["1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb"];

#[test]
fn slices_come_from_one_leaf_if_it_is_free_and_from_several_if_not() {
    let policy = Select::default();
    let mut farm = Farm::new(Some("H100 80GB"), &TYPES, &[&[(7, 7), (3, 3), (2, 2), (1, 1)]]);
    let (order, why) = chosen(&farm, "flexmig:3g:1", &policy);
    // 60 SMs were asked for; 3 x 1g are 48, 2 x 2g and the 4g 64.
    assert_eq!(order, ["1 x 3g.40gb", "3 x 1g.10gb", "1 x 4g.40gb", "2 x 2g.20gb"]);
    assert_eq!(why, "slices");
    farm.nodes[0][2].1 = 0;
    let (order, why) = chosen(&farm, "flexmig:3g:1", &policy);
    assert_eq!(order[..2], ["3 x 1g.10gb", "1 x 4g.40gb"]);
    assert_eq!(why, "starts-now");
    farm.nodes[0][0].1 = 2;
    assert_eq!(chosen(&farm, "flexmig:3g:1", &policy).0[0], "1 x 4g.40gb");
    farm.known = false;
    assert_eq!(chosen(&farm, "flexmig:3g:1", &policy).0[0], "1 x 3g.40gb");
    assert_eq!(chosen(&farm, "flexmig:3g:2", &policy).0[0], "2 x 3g.40gb");
    // No node has three 3g or nine 1g.
    farm.nodes[0][0].0 = 9;
    assert_eq!(chosen(&farm, "flexmig:3g:3", &policy).0[0], "9 x 1g.10gb");
}

#[test]
fn without_a_model_slices_are_weighed() {
    let policy = Select::default();
    let farm = Farm::new(None, &TYPES, &[&[(9, 9), (3, 3), (0, 0), (1, 1)]]);
    let (order, _) = chosen(&farm, "flexmig:3g:1", &policy);
    assert_eq!(order, ["3 x 1g.10gb", "1 x 4g.40gb", "2 x 2g.20gb", "1 x 3g.40gb"]);
}

#[test]
fn small_requests_keep_off_large_leaves_while_small_ones_serve() {
    let policy = Select::default();
    let mut farm = Farm::new(Some("A100 80GB"), &TYPES, &[&[(4, 2), (2, 1), (1, 1), (0, 0)]]);
    assert_eq!(chosen(&farm, "flexmig:1", &policy).0[0], "1 x 1g.10gb");
    assert_eq!(chosen(&farm, "flexmig:20gb:1", &policy).0[0], "1 x 2g.20gb");
    farm.nodes[0][0].1 = 0;
    let (order, why) = chosen(&farm, "flexmig:1", &policy);
    assert_eq!((order[0].as_str(), why), ("1 x 2g.20gb", "starts-now"));
    let thrifty = Select { max_waste: Some(0), ..Select::default() };
    assert_eq!(chosen(&farm, "flexmig:1", &thrifty).0, ["1 x 1g.10gb"]);
    let one = Select { max_waste: Some(1), ..Select::default() };
    assert_eq!(chosen(&farm, "flexmig:1", &one).0, ["1 x 2g.20gb", "1 x 1g.10gb"]);
}

#[test]
fn a_profile_is_composed_where_policy_says_so() {
    let types = ["1g.10gb", "2g.20gb", "3g.40gb"];
    let with = |compose| Select { compose, ..Select::default() };
    let none = Farm::new(Some("A100 80GB"), &types[..2], &[&[(7, 7), (3, 3)]]);
    let (order, why) = chosen(&none, "flexmig:3g.40gb:1", &with(Compose::Missing));
    assert_eq!((order[0].as_str(), why), ("3 x 1g.10gb", "composed"));
    assert_eq!(why_not(&none, "flexmig:3g.40gb:1", &with(Compose::Never)), WhyNot::NoProfile);

    let busy = Farm::new(Some("A100 80GB"), &types, &[&[(7, 7), (3, 3), (2, 0)]]);
    let (order, why) = chosen(&busy, "flexmig:3g.40gb:1", &with(Compose::Missing));
    assert_eq!((order, why), (vec!["1 x 3g.40gb".to_owned()], "exact"));
    let (order, why) = chosen(&busy, "flexmig:3g.40gb:1", &with(Compose::Busy));
    assert_eq!((order[0].as_str(), why), ("3 x 1g.10gb", "starts-now"));
    let full = Farm::new(Some("A100 80GB"), &types, &[&[(7, 0), (3, 0), (2, 0)]]);
    assert_eq!(chosen(&full, "flexmig:3g.40gb:1", &with(Compose::Busy)).0[0], "1 x 3g.40gb");
}

#[test]
fn terms_are_served_together() {
    let policy = Select::default();
    let farm = Farm::new(Some("A100 80GB"), &TYPES, &[&[(7, 4), (3, 0), (2, 0), (0, 0)]]);
    // Three for the slices and two more are not free.
    let (order, _) = chosen(&farm, "flexmig:3g:1,flexmig:1g.10gb:2", &policy);
    assert_eq!(order[0], "1 x 3g.40gb and 2 x 1g.10gb");
    let (order, why) = chosen(&farm, "flexmig:2g:1,flexmig:1g.10gb:2", &policy);
    assert_eq!((order[0].as_str(), why), ("4 x 1g.10gb", "starts-now"));
    let many = ["flexmig:3g:1"; 40].join(",");
    assert!(chosen(&farm, &many, &policy).0.len() <= 64);
}

#[test]
fn mixed_leaves_make_up_what_no_profile_has() {
    let mixed = Select { mixed: true, ..Select::default() };
    let farm = Farm::new(Some("A100 80GB"), &TYPES, &[&[(2, 2), (1, 1), (1, 1), (0, 0)]]);
    assert_eq!(
        chosen(&farm, "flexmig:mixed:7", &mixed).0[0],
        "1 x 3g.40gb and 1 x 2g.20gb and 2 x 1g.10gb"
    );
    assert_eq!(chosen(&farm, "flexmig:mixed:2", &mixed).0[0], "1 x 2g.20gb");
    assert_eq!(why_not(&farm, "flexmig:mixed:2", &Select::default()), WhyNot::MixedOff);
}

#[test]
fn jobs_that_stay_take_the_shorter_queue() {
    let policy = Select::default();
    let mut farm = Farm::new(Some("A100 80GB"), &TYPES, &[&[(7, 0), (0, 0), (2, 0), (0, 0)]]);
    farm.waiting = vec![1, 0, 6, 0];
    let kinds: Vec<&Kind> = farm.kinds.iter().collect();
    let request = Request::parse("flexmig:3g:1").unwrap();
    let terms: Vec<Term> = request.terms().collect();
    let best = |stays| {
        let rules = Rules { policy: &policy, open: false, stays };
        let selection = select(&kinds, &terms, &rules, &Need::default(), &farm).unwrap();
        (selection.best().composition(), selection.why(0))
    };
    assert_eq!(best(true), ("3 x 1g.10gb".into(), "queue"));
    assert_eq!(best(false), ("1 x 3g.40gb".into(), "slices"));
}

#[test]
fn large_leaves_are_left_to_those_who_wait_for_them() {
    let policy = Select::default();
    let types = ["1g.10gb", "4g.40gb", "7g.80gb"];
    let mut farm = Farm::new(Some("A100 80GB"), &types, &[&[(7, 0), (1, 1), (1, 1)]]);
    assert_eq!(chosen(&farm, "flexmig:1g:1", &policy).0[0], "1 x 4g.40gb");
    farm.waiting = vec![0, 2, 0];
    assert_eq!(chosen(&farm, "flexmig:1g:1", &policy).0[0], "1 x 7g.80gb");
    farm.waiting = vec![0, 2, 1];
    let kinds: Vec<&Kind> = farm.kinds.iter().collect();
    let selection = farm.select(&kinds, "flexmig:1g:1", &policy).unwrap();
    assert_eq!(
        selection.explained(0)[..2],
        [
            "1 x 1g.10gb: chosen: has to wait, 1 leaf, nothing above what was asked",
            "1 x 4g.40gb: other jobs wait for these leaves, 1 leaf, 42 SMs above what was asked",
        ]
    );
    // Also where the job stays with what it is given: their queue counts as any other.
    let rules = Rules { policy: &policy, open: false, stays: true };
    let request = Request::parse("flexmig:1g:1").unwrap();
    let terms: Vec<Term> = request.terms().collect();
    let selection = select(&kinds, &terms, &rules, &Need::default(), &farm).unwrap();
    assert_eq!(selection.best().composition(), "1 x 1g.10gb");
    // One slice of four is little enough.
    assert_eq!(chosen(&farm, "flexmig:3g:1", &policy).0[0], "1 x 4g.40gb");
}

#[test]
fn where_all_leaves_waste_as_much_there_is_nothing_to_wait_for() {
    let policy = Select::default();
    let mut farm = Farm::new(Some("A100 80GB"), &["4g.40gb", "7g.80gb"], &[&[(1, 0), (1, 1)]]);
    farm.waiting = vec![1, 1];
    assert_eq!(chosen(&farm, "flexmig:1g:1", &policy).0[0], "1 x 7g.80gb");
    farm.nodes[0][0].1 = 1;
    assert_eq!(chosen(&farm, "flexmig:1g:1", &policy).0[0], "1 x 4g.40gb");
    farm.waiting = vec![1, 0];
    assert_eq!(chosen(&farm, "flexmig:1g:1", &policy).0[0], "1 x 7g.80gb");
}

#[test]
fn what_no_leaf_serves_is_told() {
    let policy = Select::default();
    let farm = Farm::new(None, &["1g.10gb", "2g.20gb"], &[&[(7, 7), (3, 3)]]);
    assert_eq!(why_not(&farm, "flexmig:40gb:1", &policy), WhyNot::NoMemory(20));
    assert_eq!(why_not(&farm, "flexmig:big:1", &policy), WhyNot::NoType);
    assert_eq!(why_not(&Farm::new(None, &[], &[]), "flexmig:1", &policy), WhyNot::NoLeaves);
    let labels = Farm::new(None, &["a", "b"], &[&[(7, 7), (3, 3)]]);
    assert_eq!(why_not(&labels, "flexmig:2", &policy), WhyNot::Unsized);
    assert_eq!(why_not(&labels, "flexmig:3g:2", &policy), WhyNot::Unsized);
    let kinds: Vec<&Kind> = farm.kinds.iter().collect();
    let fail = farm.select(&kinds, "flexmig:1g.10gb:1,flexmig:big:1", &policy).unwrap_err();
    assert_eq!(fail, NoFit { term: 1, why: WhyNot::NoType });
}

#[test]
fn every_candidate_says_what_sets_it_behind() {
    let policy = Select::default();
    let farm = Farm::new(Some("H100 80GB"), &TYPES, &[&[(7, 7), (3, 0), (2, 2), (1, 1)]]);
    let kinds: Vec<&Kind> = farm.kinds.iter().collect();
    let selection = farm.select(&kinds, "flexmig:3g:1", &policy).unwrap();
    assert_eq!(
        selection.explained(0),
        [
            "1 x 3g.40gb: chosen: can start now, 1 leaf, nothing above what was asked",
            "3 x 1g.10gb: can start now, 3 leaves, nothing above what was asked: more leaves",
            "1 x 4g.40gb: can start now, 1 leaf, 4 SMs above what was asked: wastes more compute",
            "2 x 2g.20gb: has to wait, 2 leaves, 4 SMs above what was asked",
        ]
    );
}

fn farm() -> impl Strategy<Value = Farm> {
    let types = proptest::sample::subsequence(
        vec!["1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"],
        1..=5,
    );
    let model = prop_oneof![Just(None), Just(Some("H100 80GB")), Just(Some("A100 80GB"))];
    (types, model, 1..5usize, any::<bool>()).prop_flat_map(|(types, model, nodes, known)| {
        let leaves = (0..9u64, 0..9u64).prop_map(|(all, free)| (all, free.min(all)));
        let node = proptest::collection::vec(leaves, types.len());
        proptest::collection::vec(node, nodes).prop_map(move |nodes| Farm {
            nodes,
            known,
            ..Farm::new(model, &types, &[])
        })
    })
}

fn policy() -> impl Strategy<Value = Select> {
    let compose = prop_oneof![Just(Compose::Missing), Just(Compose::Busy), Just(Compose::Never)];
    (compose, any::<bool>(), proptest::option::of(0..6u64)).prop_map(
        |(compose, mixed, max_waste)| Select { compose, mixed, max_waste, ..Select::default() },
    )
}

fn request() -> impl Strategy<Value = String> {
    let term = prop_oneof![
        (1..6u64).prop_map(|n| format!("flexmig:{n}")),
        (1..8u64, 1..4u64).prop_map(|(s, n)| format!("flexmig:{s}g:{n}")),
        (1..50u64, 1..4u64).prop_map(|(gb, n)| format!("flexmig:{gb}gb:{n}")),
        (1..12u64).prop_map(|n| format!("flexmig:mixed:{n}")),
        ("(1g\\.10gb|3g\\.40gb|7g\\.80gb|1g\\.20gb)", 1..4u64)
            .prop_map(|(profile, n)| format!("flexmig:{profile}:{n}")),
    ];
    proptest::collection::vec(term, 1..3).prop_map(|terms| terms.join(","))
}

/// Whether these leaves serve one term.
fn serves(parts: &[(Profile, u64)], term: &Term) -> bool {
    let leaves: u64 = parts.iter().map(|(_, count)| count).sum();
    let slices: u64 = parts.iter().map(|(p, count)| u64::from(p.compute) * count).sum();
    let one = parts.iter().all(|(profile, _)| *profile == parts[0].0);
    match term.want() {
        Want::Any => one && leaves == term.count,
        Want::Memory(gb) => one && leaves == term.count && parts[0].0.memory_gb >= gb,
        Want::Slices(each) => one && slices >= term.count * u64::from(each),
        Want::Profile(asked) if parts[0].0 == asked => one && leaves == term.count,
        Want::Profile(asked) => one && slices >= term.count * u64::from(asked.compute),
        Want::Mixed => slices >= term.count,
        Want::Name(_) => false,
    }
}

/// What makes one candidate better than another for the user.
fn benefit(c: &Candidate) -> impl Ord + use<> {
    (
        !c.fits,
        c.starts_now == Some(false),
        c.substitute,
        !c.equal,
        c.waste.compute,
        c.waste.memory_gb,
        c.leaves,
    )
}

proptest! {
    #[test]
    fn every_composition_satisfies_its_request(
        farm in farm(), request in request(), policy in policy(),
    ) {
        let kinds: Vec<&Kind> = farm.kinds.iter().collect();
        let parsed = Request::parse(&request).unwrap();
        let terms: Vec<Term> = parsed.terms().collect();
        let Ok(selection) = farm.select(&kinds, &request, &policy) else { return Ok(()) };
        prop_assert!(!selection.candidates.is_empty());
        for candidate in &selection.candidates {
            let profiles = |parts: &[Part]| -> Vec<(Profile, u64)> {
                let part = |part: &Part| (part.kind.unwrap().parse().unwrap(), part.count);
                parts.iter().map(part).collect()
            };
            let parts = profiles(&candidate.parts);
            let leaves: u64 = parts.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(candidate.leaves, leaves);
            if let [term] = terms[..] {
                prop_assert!(serves(&parts, &term), "{} for {}", candidate.composition(), request);
                let several = candidate.parts.len() > 1;
                prop_assert_eq!(several, !candidate.equal);
            } else {
                // Some division into the terms serves each: each alone has such a candidate.
                let alone = |term: &Term| {
                    let text = term.to_string();
                    let own = farm.select(&kinds, &text, &policy).unwrap();
                    own.candidates.iter().any(|c| c.parts.iter().all(|part| {
                        candidate.parts.iter().any(|p| p.kind == part.kind && p.count >= part.count)
                    }))
                };
                prop_assert!(terms.iter().all(alone), "{} for {}", candidate.composition(), request);
            }
            if candidate.starts_now == Some(true) {
                prop_assert!(farm.count(&candidate.parts, &Need::default(), |(_, f)| *f) > 0);
            }
        }
        let words = selection.explained(0);
        prop_assert!(words.iter().all(|line| !line.is_empty() && !line.contains('\n')));
    }

    #[test]
    fn the_choice_does_not_depend_on_the_order_of_nodes(
        farm in farm(), request in request(), policy in policy(),
    ) {
        let kinds: Vec<&Kind> = farm.kinds.iter().collect();
        let mut other = farm.clone();
        other.nodes.reverse();
        let mut selections = [&farm, &other].map(|farm| farm.select(&kinds, &request, &policy));
        if let [Ok(first), Ok(second)] = &mut selections {
            // Further compositions of several types may be looked at or not.
            prop_assert_eq!(&first.candidates[0], &second.candidates[0]);
        }
    }

    #[test]
    fn more_free_leaves_never_make_a_request_worse_off(
        farm in farm(), request in request(), policy in policy(), node in 0..5usize, kind in 0..5usize,
    ) {
        let (node, kind) = (node % farm.nodes.len(), kind % farm.kinds.len());
        let mut more = farm.clone();
        let leaves = &mut more.nodes[node][kind];
        leaves.1 = (leaves.1 + 1).min(leaves.0);
        let kinds: Vec<&Kind> = farm.kinds.iter().collect();
        if let Ok(before) = farm.select(&kinds, &request, &policy) {
            let after = more.select(&kinds, &request, &policy).unwrap();
            prop_assert!(
                benefit(after.best()) <= benefit(before.best()),
                "{:?} then {:?}", before.best(), after.best()
            );
        }
    }
}
