//! The sets of leaves that serve a request, and what each takes above what was asked.

use super::mixed::closest;
use super::rank::static_key;
use super::{Candidate, How, Kind, Need, Part, Parts, Rules, Supply, Unit, Waste};
use crate::policy::Compose;
use crate::profile::Profile;
use crate::request::{Term, Want};

/// Most candidates of a request of several terms.
const MOST: usize = 64;
/// Nodes that compositions of several types are made to fit.
const MOST_NODES: usize = 32;

/// A term that no leaves serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFit {
    /// Position among the terms.
    pub term: usize,
    /// Why.
    pub why: WhyNot,
}

/// Why no leaves serve a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// There are no leaves at all.
    NoLeaves,
    /// The leaves have no types, but one was named.
    Untyped,
    /// No type of this name.
    NoType,
    /// No type of this shape, and nothing may or can be composed.
    NoProfile,
    /// Policy does not offer the type that was named.
    NotOffered,
    /// Policy offers none of the types.
    NothingOffered,
    /// The types do not tell their sizes.
    Unsized,
    /// No leaf has so much memory; the most that one on offer has.
    NoMemory(u16),
    /// Policy does not allow several types.
    MixedOff,
}

/// All candidates, without what depends on free leaves.
pub(super) fn candidates<'k>(
    kinds: &[&'k Kind],
    terms: &[Term<'k>],
    rules: &Rules,
    need: &Need,
    supply: &dyn Supply,
) -> Result<Vec<Candidate<'k>>, NoFit> {
    let alternatives = |place: usize, term| {
        let set = Set { kinds, term, rules };
        let mut found = set.alternatives(supply).map_err(|why| NoFit { term: place, why })?;
        keep_thrifty(&mut found, rules, need);
        Ok(found)
    };
    if let [term] = terms {
        let mut found = alternatives(0, term)?;
        set_unit(&mut [&mut found]);
        return Ok(found);
    }
    let all = terms.iter().enumerate().map(|(place, term)| alternatives(place, term));
    let mut all = all.collect::<Result<Vec<_>, NoFit>>()?;
    set_unit(&mut all.iter_mut().collect::<Vec<_>>());
    Ok(combined(all))
}

/// Leaves out what takes more slices than policy lets a job waste. The least wasteful stay: the
/// limit never makes a request impossible.
fn keep_thrifty(found: &mut Vec<Candidate>, rules: &Rules, need: &Need) {
    let Some(limit) = rules.policy.max_waste else { return };
    let waste = |candidate: &Candidate| candidate.slices.unwrap_or(0);
    let least = found.iter().map(waste).min().unwrap_or(0);
    let per_job = need.times.saturating_mul(need.nodes.max(1));
    found.retain(|candidate| {
        let slices = waste(candidate);
        slices == least || slices.saturating_mul(per_job) <= limit
    });
}

/// Counts compute in one unit: SMs if all of them have some, else slices.
fn set_unit(terms: &mut [&mut Vec<Candidate>]) {
    let all = |of: fn(&Candidate) -> Option<u64>| {
        terms.iter().flat_map(|term| term.iter()).all(|candidate| of(candidate).is_some())
    };
    let unit = if all(|candidate| candidate.sms) {
        Unit::Sms
    } else if all(|candidate| candidate.slices) {
        Unit::Slices
    } else {
        Unit::Unknown
    };
    for candidate in terms.iter_mut().flat_map(|term| term.iter_mut()) {
        let compute = match unit {
            Unit::Sms => candidate.sms,
            Unit::Slices => candidate.slices,
            Unit::Unknown => None,
        };
        candidate.waste.compute = compute.unwrap_or(0);
        candidate.waste.slices = candidate.slices.unwrap_or(0);
        candidate.waste.unit = unit;
    }
}

/// Every choice of one alternative per term, each type once.
fn combined(terms: Vec<Vec<Candidate>>) -> Vec<Candidate> {
    let mut terms = terms.into_iter();
    let mut found = terms.next().unwrap_or_default();
    for term in terms {
        // What comes out on top must not depend on the order of terms with many alternatives.
        if found.len().saturating_mul(term.len()) > MOST {
            found.sort_by(|a, b| static_key(a).cmp(&static_key(b)));
            found.truncate((MOST / term.len()).max(1));
        }
        let next = found
            .iter()
            .flat_map(|candidate| term.iter().map(move |alternative| candidate.with(alternative)));
        found = next.take(MOST).collect();
    }
    found
}

impl<'k> Candidate<'k> {
    /// Leaves of one type that waste nothing.
    fn of(kind: Option<&'k str>, count: u64, place: usize, how: How) -> Candidate<'k> {
        Candidate {
            parts: Parts::one(kind, count),
            how,
            fits: false,
            starts_now: None,
            wanted: false,
            left: false,
            substitute: false,
            queue: 0,
            equal: true,
            waste: Waste::default(),
            leaves: count,
            harm: 0,
            one_socket: None,
            sms: Some(0),
            slices: Some(0),
            variant: false,
            place: u16::try_from(place).unwrap_or(u16::MAX),
        }
    }

    /// With the leaves of a further term.
    fn with(&self, other: &Candidate<'k>) -> Candidate<'k> {
        let mut both = self.clone();
        other.parts.iter().for_each(|part| both.parts.add(*part));
        both.leaves = both.leaves.saturating_add(other.leaves);
        let (waste, more) = (&mut both.waste, &other.waste);
        waste.compute = waste.compute.saturating_add(more.compute);
        waste.memory_gb = waste.memory_gb.saturating_add(more.memory_gb);
        waste.slices = waste.slices.saturating_add(more.slices);
        both.substitute |= other.substitute;
        both.variant |= other.variant;
        both.equal &= other.equal;
        both
    }
}

/// A term and the types that may serve it.
struct Set<'s, 'k> {
    kinds: &'s [&'k Kind],
    term: &'s Term<'k>,
    rules: &'s Rules<'s>,
}

impl<'k> Set<'_, 'k> {
    fn alternatives(&self, supply: &dyn Supply) -> Result<Vec<Candidate<'k>>, WhyNot> {
        let (term, kinds) = (self.term, self.kinds);
        if kinds.is_empty() {
            return match term.want() {
                Want::Any if self.rules.open => Ok(vec![self.unknown(How::Untyped)]),
                Want::Profile(_) | Want::Name(_) if self.rules.open => {
                    Ok(vec![self.unknown(How::Exact)])
                }
                _ => Err(WhyNot::NoLeaves),
            };
        }
        let Some(text) = term.kind else { return self.any() };
        let is_named =
            |kind: &&Kind| kind.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(text));
        if let Some(place) = kinds.iter().position(is_named) {
            if !kinds[place].offered {
                return Err(WhyNot::NotOffered);
            }
            let mut found = vec![self.exactly(place, How::Exact)];
            if let Some(profile) = kinds[place].profile
                && self.rules.policy.compose == Compose::Busy
            {
                found.extend(self.composed(&profile));
            }
            return Ok(found);
        }
        if kinds.iter().all(|kind| kind.name.is_none()) {
            return Err(WhyNot::Untyped);
        }
        match term.want() {
            Want::Any => self.any(),
            Want::Profile(profile) => self.profile(&profile),
            Want::Memory(gigabytes) => self.memory(gigabytes),
            Want::Slices(slices) => {
                let found = self.slices(slices, None);
                if !found.is_empty() {
                    return Ok(found);
                }
                Err(if self.offered().next().is_none() {
                    WhyNot::NothingOffered
                } else {
                    WhyNot::Unsized
                })
            }
            Want::Mixed if !self.rules.policy.mixed => Err(WhyNot::MixedOff),
            Want::Mixed => self.mixed(supply),
            Want::Name(_) if self.rules.open => Ok(vec![self.unknown(How::Exact)]),
            Want::Name(_) => Err(WhyNot::NoType),
        }
    }

    /// Types on offer with their places.
    fn offered(&self) -> impl Iterator<Item = (usize, &'k Kind)> + '_ {
        let all = self.kinds.iter().enumerate().map(|(place, kind)| (place, *kind));
        all.filter(|(_, kind)| kind.offered && kind.name.is_some())
    }

    /// The term as it is, for types that are not known.
    fn unknown(&self, how: How) -> Candidate<'k> {
        Candidate::of(self.term.kind, self.term.count, usize::MAX, how)
    }

    /// So many leaves of one type, which waste nothing.
    fn of(&self, place: usize, count: u64, how: How) -> Candidate<'k> {
        Candidate::of(self.kinds[place].name.as_deref(), count, place, how)
    }

    fn exactly(&self, place: usize, how: How) -> Candidate<'k> {
        self.of(place, self.term.count, how)
    }

    /// `flexmig:N`: so many leaves of any one type; the smallest wastes nothing.
    fn any(&self) -> Result<Vec<Candidate<'k>>, WhyNot> {
        if self.kinds.iter().all(|kind| kind.name.is_none()) {
            return Ok(vec![self.exactly(0, How::Untyped)]);
        }
        let count = self.term.count;
        let has_profile = |(_, kind): &(usize, &Kind)| kind.profile.is_some();
        let profiles = self.offered().any(|kind| has_profile(&kind));
        // Where none tells a profile, memory is what counts.
        let sized = || {
            let tells_memory = move |(_, kind): &(usize, &Kind)| kind.memory_gb.is_some();
            self.offered().filter(move |kind| has_profile(kind) || !profiles && tells_memory(kind))
        };
        let Some((_, smallest)) = sized().min_by_key(|(_, k)| (k.size(), k.memory_gb)) else {
            let mut offered = self.offered();
            return match (offered.next(), offered.next()) {
                (None, _) => Err(WhyNot::NothingOffered),
                (Some((place, _)), None) => Ok(vec![self.exactly(place, How::Only)]),
                _ => Err(WhyNot::Unsized),
            };
        };
        let above = |mine: Option<u64>, base: Option<u64>| {
            Some(mine?.saturating_sub(base?).saturating_mul(count))
        };
        let memory = |kind: &Kind| kind.memory_gb.map(u64::from);
        let (sms, slices) = (smallest.sms(), smallest.slices());
        let alternative = |(place, kind): (usize, &Kind)| Candidate {
            sms: above(kind.sms(), sms),
            slices: above(kind.slices(), slices),
            waste: memory_waste(above(memory(kind), memory(smallest))),
            ..self.exactly(place, How::Any)
        };
        Ok(sized().map(alternative).collect())
    }

    /// `flexmig:20gb:N`: so many leaves of a type with enough memory.
    fn memory(&self, gigabytes: u16) -> Result<Vec<Candidate<'k>>, WhyNot> {
        let has_enough = |kind: &Kind| kind.memory_gb.is_some_and(|memory| memory >= gigabytes);
        let enough = || self.offered().filter(move |(_, kind)| has_enough(kind));
        if enough().next().is_none() {
            let most = self.offered().filter_map(|(_, kind)| kind.memory_gb).max();
            return Err(match most {
                Some(most) => WhyNot::NoMemory(most),
                None if self.offered().next().is_none() => WhyNot::NothingOffered,
                None => WhyNot::Unsized,
            });
        }
        let count = self.term.count;
        // No compute was asked for: what the leanest of them has is free.
        let sms = enough().filter_map(|(_, kind)| kind.sms()).min();
        let slices = enough().filter_map(|(_, kind)| kind.slices()).min();
        let above = |mine: Option<u64>, base: Option<u64>| {
            Some(mine?.saturating_sub(base?).saturating_mul(count))
        };
        let alternative = |(place, kind): (usize, &Kind)| Candidate {
            sms: above(kind.sms(), sms),
            slices: above(kind.slices(), slices),
            waste: memory_waste(above(kind.memory_gb.map(u64::from), Some(gigabytes.into()))),
            ..self.exactly(place, How::Memory)
        };
        Ok(enough().map(alternative).collect())
    }

    /// `flexmig:1g.10gb:N` where no type has this name: those of this shape, else composed.
    fn profile(&self, profile: &Profile) -> Result<Vec<Candidate<'k>>, WhyNot> {
        let same = |kind: &Kind| kind.profile == Some(*profile);
        let shapes = self.offered().filter(|(_, kind)| same(kind));
        let found: Vec<_> = shapes
            .map(|(place, kind)| Candidate {
                variant: !kind.profile.is_some_and(|known| known.same_name(profile)),
                ..self.exactly(place, How::Shape)
            })
            .collect();
        if !found.is_empty() {
            let mut found = found;
            if self.rules.policy.compose == Compose::Busy {
                found.extend(self.composed(profile));
            }
            return Ok(found);
        }
        if self.kinds.iter().any(|kind| same(kind)) {
            return Err(WhyNot::NotOffered);
        }
        if self.rules.open {
            return Ok(vec![self.unknown(How::Exact)]);
        }
        let composed = match self.rules.policy.compose {
            Compose::Missing | Compose::Busy => self.composed(profile),
            Compose::Never => Vec::new(),
        };
        if composed.is_empty() { Err(WhyNot::NoProfile) } else { Ok(composed) }
    }

    /// In place of a profile: as many slices of other shapes.
    fn composed(&self, profile: &Profile) -> Vec<Candidate<'k>> {
        let mut found = self.slices(profile.compute, Some(*profile));
        for alternative in &mut found {
            (alternative.how, alternative.substitute) = (How::Composed, true);
        }
        found
    }

    /// N times so many slices, each from one leaf or from several of one type. In place of a
    /// profile: without the leaves of that shape, and memory above the profile's is waste.
    fn slices(&self, slices: u8, instead_of: Option<Profile>) -> Vec<Candidate<'k>> {
        let asked = u64::from(slices);
        let alternative = |(place, kind): (usize, &'k Kind)| {
            let each = kind.slices().filter(|_| instead_of != kind.profile || instead_of.is_none());
            let each = each.filter(|&each| each > 0)?;
            let count = self.term.count.checked_mul(asked.div_ceil(each))?;
            let above = |one: Option<u64>, asked: Option<u64>| {
                let asked = asked?.saturating_mul(self.term.count);
                Some(one?.saturating_mul(count).saturating_sub(asked))
            };
            let asked_sms = kind.model.and_then(|model| model.sms_of_slices(slices));
            let asked_memory = instead_of.map(|profile| u64::from(profile.memory_gb));
            Some(Candidate {
                sms: above(kind.sms(), asked_sms.map(u64::from)),
                slices: above(Some(each), Some(asked)),
                waste: memory_waste(above(kind.memory_gb.map(u64::from), asked_memory)),
                ..self.of(place, count, How::Slices)
            })
        };
        self.offered().filter_map(alternative).collect()
    }

    /// `flexmig:mixed:N`: N slices of one profile or of several, as single nodes have them. What is
    /// asked for are slices, so that waste is counted in them.
    fn mixed(&self, supply: &dyn Supply) -> Result<Vec<Candidate<'k>>, WhyNot> {
        let mut sizes: Vec<(usize, u64)> = self
            .offered()
            .filter_map(|(place, kind)| Some((place, kind.slices().filter(|&s| s > 0)?)))
            .collect();
        if sizes.is_empty() {
            let none = self.offered().next().is_none();
            return Err(if none { WhyNot::NothingOffered } else { WhyNot::Unsized });
        }
        // Large leaves first; of one size in the order of kinds.
        sizes.sort_by_key(|&(place, slices)| (std::cmp::Reverse(slices), place));
        let mut nodes = Vec::new();
        supply.nodes_like(self.kinds, &mut nodes);
        nodes.truncate(MOST_NODES);
        let asked = self.term.count;
        let single = sizes.iter().map(|&(place, each)| vec![(place, asked.div_ceil(each))]);
        let mut several: Vec<_> =
            nodes.iter().filter_map(|node| closest(asked, &sizes, node)).collect();
        if several.is_empty() {
            // What no node has is told as what it would be.
            several.extend(closest(asked, &sizes, &vec![u64::MAX; self.kinds.len()]));
        }
        let mut found: Vec<Candidate> = Vec::new();
        for counts in single.chain(several) {
            let candidate = self.of_several(&counts);
            if !found.iter().any(|known| known.parts == candidate.parts) {
                found.push(candidate);
            }
        }
        Ok(found)
    }

    /// Leaves of several types, as (place, count).
    fn of_several(&self, counts: &[(usize, u64)]) -> Candidate<'k> {
        let slices = |&(place, count): &(usize, u64)| {
            self.kinds[place].slices().unwrap_or(0).saturating_mul(count)
        };
        let total = counts.iter().map(slices).fold(0, u64::saturating_add);
        let mut candidate = self.of(counts[0].0, counts[0].1, How::Mixed);
        for &(place, count) in &counts[1..] {
            candidate.parts.add(Part { kind: self.kinds[place].name.as_deref(), count });
            candidate.leaves = candidate.leaves.saturating_add(count);
        }
        Candidate {
            equal: counts.len() == 1,
            sms: None,
            slices: Some(total.saturating_sub(self.term.count)),
            ..candidate
        }
    }
}

fn memory_waste(gigabytes: Option<u64>) -> Waste {
    Waste { memory_gb: gigabytes.unwrap_or(0), ..Waste::default() }
}
