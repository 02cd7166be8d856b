//! Which of the leaves that serve a job it gets.

use flexmig_core::policy::Select;
use flexmig_core::request::Term;
use flexmig_core::select::{self, Kind, Need, Part as CorePart, Rules, Supply};

use crate::Gpu;
use crate::class::{Alternative, Asked, Class, Part};
use crate::fabric::{Fabric, Hint, Leaves};
use crate::farm::Farm;

/// An alternative of a class, by place, and the nodes for it.
pub(crate) type Choice = (usize, Vec<u32>);

/// Chooses among alternatives.
pub(crate) trait Chooser<F: Fabric> {
    /// All that serve a class, none if it never fits; the best on an idle cluster first.
    fn alternatives(&self, farm: &Farm<F>, asked: &Asked) -> Vec<Alternative>;

    /// The alternative and the nodes on which a job could start now, of the nodes that are
    /// admitted.
    fn choose(
        &self,
        farm: &Farm<F>,
        class: &Class,
        admits: &dyn Fn(usize, &Alternative) -> bool,
    ) -> Option<Choice>;

    /// The alternative, by place, of a job that keeps it for as long as it waits; `queue`: leaves that
    /// jobs wait for.
    fn settle(
        &self,
        farm: &Farm<F>,
        class: &Class,
        _queue: &Hint,
        admits: &dyn Fn(usize, &Alternative) -> bool,
    ) -> usize {
        self.choose(farm, class, admits).map_or(0, |(choice, _)| choice)
    }
}

/// The first alternative that can start.
pub(crate) struct First;

impl<F: Fabric> Chooser<F> for First {
    fn alternatives(&self, farm: &Farm<F>, asked: &Asked) -> Vec<Alternative> {
        farm.fabric.alternatives(asked)
    }

    fn choose(
        &self,
        farm: &Farm<F>,
        class: &Class,
        admits: &dyn Fn(usize, &Alternative) -> bool,
    ) -> Option<Choice> {
        let all = class.alternatives.iter().enumerate();
        all.filter_map(|(place, alternative)| {
            let nodes = farm.nodes_for(class, alternative, &|node| admits(node, alternative))?;
            Some((place, nodes))
        })
        .next()
    }
}

/// The alternative that flexmig-core selects.
pub(crate) struct Selected {
    kinds: Vec<Kind>,
    policy: Select,
}

impl Selected {
    /// Over the shapes of a fabric.
    pub fn new(gpu: &Gpu, leaves: &Leaves, policy: Select) -> Selected {
        let kind = |profile: &Option<flexmig_core::profile::Profile>| {
            let mut kind = Kind::new(profile.map(|profile| profile.to_string()), &[]);
            kind.model = gpu.model();
            kind
        };
        Selected { kinds: leaves.profiles.iter().map(kind).collect(), policy }
    }

    /// All candidates, best first, as alternatives with whether they can start.
    fn select(
        &self,
        farm: &Farm<Leaves>,
        asked: &Asked,
        queue: Option<&Hint>,
        awaited: &Hint,
        starts: &dyn Fn(&Alternative) -> bool,
    ) -> Vec<(Alternative, bool)> {
        let enough = |kind: &&Kind| asked.memory_gb == 0 || kind.memory_gb >= Some(asked.memory_gb);
        let kinds: Vec<&Kind> = self.kinds.iter().filter(enough).collect();
        let text = SLICES[usize::from(asked.slices.min(7))];
        let term = Term { kind: Some(text), count: asked.gpus.into() };
        let rules = Rules { policy: &self.policy, open: false, stays: queue.is_some() };
        let need = Need { nodes: asked.nodes.into(), ..Need::default() };
        let stock = Stock { farm, kinds: &self.kinds, queue, awaited, starts };
        let Ok(selection) = select::select(&kinds, &[term], &rules, &need, &stock) else {
            return Vec::new();
        };
        let fits = selection.candidates.iter().filter(|candidate| candidate.fits);
        let read = |candidate: &select::Candidate| {
            let starts = candidate.starts_now == Some(true) && !candidate.left;
            let mut alternative = stock.alternative(&candidate.parts);
            alternative.wasteful = candidate.is_wasteful(&kinds);
            (alternative, starts)
        };
        fits.map(read).collect()
    }
}

/// Requests for slices, by their number.
const SLICES: [&str; 8] = ["0g", "1g", "2g", "3g", "4g", "5g", "6g", "7g"];

impl Chooser<Leaves> for Selected {
    fn alternatives(&self, farm: &Farm<Leaves>, asked: &Asked) -> Vec<Alternative> {
        let found = self.select(farm, asked, None, &Hint::default(), &|_| true);
        found.into_iter().map(|(alternative, _)| alternative).collect()
    }

    fn choose(
        &self,
        farm: &Farm<Leaves>,
        class: &Class,
        admits: &dyn Fn(usize, &Alternative) -> bool,
    ) -> Option<Choice> {
        let nodes = |alternative: &Alternative| {
            farm.nodes_for(class, alternative, &|node| admits(node, alternative))
        };
        // Without one that starts there is no need to weigh them.
        if !class.alternatives.iter().any(|alternative| nodes(alternative).is_some()) {
            return None;
        }
        let starts = |alternative: &Alternative| nodes(alternative).is_some();
        let found = self.select(farm, &class.asked, None, &farm.hint, &starts);
        let (best, _) = found.into_iter().find(|(_, starts)| *starts)?;
        let place = class.alternatives.iter().position(|known| known.parts == best.parts)?;
        Some((place, nodes(&class.alternatives[place])?))
    }

    fn settle(
        &self,
        farm: &Farm<Leaves>,
        class: &Class,
        queue: &Hint,
        admits: &dyn Fn(usize, &Alternative) -> bool,
    ) -> usize {
        let starts = |alternative: &Alternative| {
            farm.nodes_for(class, alternative, &|node| admits(node, alternative)).is_some()
        };
        let found = self.select(farm, &class.asked, Some(queue), &farm.hint, &starts);
        let is_best = |known: &Alternative| found.first().is_some_and(|f| f.0.parts == known.parts);
        class.alternatives.iter().position(is_best).unwrap_or(0)
    }
}

/// The simulated nodes, as selection asks for them.
struct Stock<'s> {
    farm: &'s Farm<Leaves>,
    kinds: &'s [Kind],
    /// Leaves that jobs wait for, where the job keeps what it is given.
    queue: Option<&'s Hint>,
    /// Leaves that the first jobs wait for.
    awaited: &'s Hint,
    starts: &'s dyn Fn(&Alternative) -> bool,
}

impl Stock<'_> {
    fn shape(&self, name: Option<&str>) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.name.as_deref() == name)
    }

    fn alternative(&self, parts: &[CorePart<'_>]) -> Alternative {
        let part = |part: &CorePart<'_>| {
            let shape = self.shape(part.kind)? as u8;
            Some(Part { shape, count: u16::try_from(part.count).unwrap_or(u16::MAX) })
        };
        Alternative { parts: parts.iter().filter_map(part).collect(), wasteful: false }
    }
}

impl Supply for Stock<'_> {
    fn holding(&self, parts: &[CorePart<'_>], need: &Need) -> u64 {
        let alternative = self.alternative(parts);
        let leaves = &self.farm.fabric;
        let holds = |node: &usize| {
            let has = |part: &Part| leaves.all(*node, part.shape.into()) >= part.count.into();
            alternative.parts.iter().all(has)
        };
        let nodes = (0..self.farm.nodes.len()).filter(holds);
        nodes.take(need.nodes as usize).count() as u64
    }

    fn starts(&self, parts: &[CorePart<'_>], _need: &Need) -> Option<bool> {
        Some((self.starts)(&self.alternative(parts)))
    }

    fn stock(&self, kind: &Kind) -> u64 {
        let Some(shape) = self.shape(kind.name.as_deref()) else { return 0 };
        self.farm.nodes.iter().map(|node| self.farm.fabric.free(node, shape)).sum()
    }

    fn queue(&self, kind: &Kind) -> (u64, u64) {
        let Some(shape) = self.shape(kind.name.as_deref()) else { return (0, 0) };
        let nodes = 0..self.farm.nodes.len();
        let all = nodes.map(|node| self.farm.fabric.all(node, shape)).sum();
        (self.queue.map_or(0, |queue| queue[shape]).into(), all)
    }

    fn awaited(&self, kind: &Kind) -> bool {
        self.shape(kind.name.as_deref()).is_some_and(|shape| self.awaited[shape] > 0)
    }

    fn one_socket(&self, _parts: &[CorePart<'_>]) -> Option<bool> {
        None
    }

    fn nodes_like(&self, kinds: &[&Kind], found: &mut Vec<Vec<u64>>) {
        let leaves = &self.farm.fabric;
        for node in &self.farm.nodes {
            let free = |kind: &&Kind| {
                self.shape(kind.name.as_deref()).map_or(0, |shape| leaves.free(node, shape))
            };
            let row: Vec<u64> = kinds.iter().map(free).collect();
            if found.len() < 32 && !found.contains(&row) {
                found.push(row);
            }
        }
    }
}
