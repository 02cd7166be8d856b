//! A MIG layout: which instances a GPU is cut into, and where they lie.
//!
//! Written as nvidia-smi names them: `1g.10gb*7`, or `1c.2g.20gb*2` for two compute instances that
//! share one GPU instance. Consecutive compute instances of one profile fill a GPU instance before
//! the next one is made.

use flexmig_core::leaf::Placement;
use flexmig_core::profile::Profile;

use crate::profiles::{self, ProfileFact};

/// A GPU instance as the driver would make it.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuInstance {
    /// GPU instance id.
    pub id: u32,
    /// What it is.
    pub fact: &'static ProfileFact,
    /// Where it lies on the memory slices.
    pub placement: Placement,
    /// Compute instances in it, in order of their ids.
    pub compute: Vec<ComputeInstance>,
}

/// A compute instance of a GPU instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComputeInstance {
    /// Compute instance id within its GPU instance.
    pub id: u32,
    /// First compute slice.
    pub start: u32,
    /// Number of compute slices.
    pub slices: u32,
}

impl GpuInstance {
    /// The name of a compute instance's profile, `1c.2g.20gb` or `2g.20gb`.
    pub fn leaf_profile(&self, compute: &ComputeInstance) -> Profile {
        Profile { compute: compute.slices as u8, ..self.fact.profile }
    }
}

/// Why a layout is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Not `PROFILE` or `PROFILE*COUNT`.
    #[error("{0:?} is not PROFILE or PROFILE*COUNT, as 1g.10gb*7")]
    Syntax(String),
    /// The part has no such profile.
    #[error("{part} has no profile {profile}; it has {known}")]
    Unknown {
        /// GPU part.
        part: String,
        /// The profile asked for.
        profile: String,
        /// The profiles there are.
        known: String,
    },
    /// More instances of a profile than the driver makes.
    #[error("{count} x {profile}: {part} holds at most {most}")]
    TooMany {
        /// GPU part.
        part: String,
        /// The profile.
        profile: String,
        /// How many were asked for.
        count: usize,
        /// How many are possible.
        most: u32,
    },
    /// The instances do not fit together.
    #[error("{layout}: no placement on {part} holds all of them")]
    NoRoom {
        /// GPU part.
        part: String,
        /// The profiles.
        layout: String,
    },
}

/// Cuts a GPU of `part` into the instances that `items` name.
pub fn solve(part: &str, items: &[String]) -> Result<Vec<GpuInstance>, LayoutError> {
    let wanted = group(&parse(items)?);
    let mut requests = Vec::new();
    for (gpu_profile, compute) in wanted {
        let fact = profiles::find(part, &gpu_profile).ok_or_else(|| LayoutError::Unknown {
            part: part.to_owned(),
            profile: gpu_profile.to_string(),
            known: join(profiles::of_part(part).map(|fact| fact.profile.to_string())),
        })?;
        requests.push((fact, compute));
    }
    for (fact, _) in &requests {
        let count = requests.iter().filter(|(other, _)| other == fact).count();
        if count > fact.max_instances as usize {
            return Err(LayoutError::TooMany {
                part: part.to_owned(),
                profile: fact.profile.to_string(),
                count,
                most: fact.max_instances,
            });
        }
    }
    let wanted: Vec<&ProfileFact> = requests.iter().map(|(fact, _)| *fact).collect();
    let mut places = Vec::new();
    if !place(&wanted, &mut places) {
        return Err(LayoutError::NoRoom {
            part: part.to_owned(),
            layout: join(wanted.iter().map(|fact| fact.profile.to_string())),
        });
    }
    let lower_first = profiles::axis(part) == 4 || wanted.iter().any(|fact| is_4g(fact));
    let mut instances: Vec<GpuInstance> = requests
        .into_iter()
        .zip(places)
        .map(|((fact, compute), placement)| GpuInstance {
            id: instance_id(profiles::axis(part), lower_first, placement),
            fact,
            placement,
            compute: compute_instances(&compute),
        })
        .collect();
    instances.sort_by_key(|instance| instance.id);
    Ok(instances)
}

fn parse(items: &[String]) -> Result<Vec<Profile>, LayoutError> {
    let mut profiles = Vec::new();
    for item in items.iter().flat_map(|item| item.split(',')).map(str::trim) {
        let syntax = || LayoutError::Syntax(item.to_owned());
        let (name, count) = item.split_once('*').unwrap_or((item, "1"));
        let profile: Profile = name.trim().parse().map_err(|_| syntax())?;
        let count: usize = count.trim().parse().map_err(|_| syntax())?;
        if count == 0 || count > 64 {
            return Err(syntax());
        }
        profiles.extend(std::iter::repeat_n(profile, count));
    }
    Ok(profiles)
}

/// Collects compute instances into GPU instances: the profile of each, and the slices of its
/// compute instances.
fn group(leaves: &[Profile]) -> Vec<(Profile, Vec<u32>)> {
    let mut groups: Vec<(Profile, Vec<u32>)> = Vec::new();
    for leaf in leaves {
        let whole = Profile { compute: leaf.slices, ..*leaf };
        let compute = u32::from(leaf.compute);
        match groups.last_mut() {
            Some((profile, parts))
                if profile.same_name(&whole)
                    && parts.iter().sum::<u32>() + compute <= u32::from(leaf.slices) =>
            {
                parts.push(compute);
            }
            _ => groups.push((whole, vec![compute])),
        }
    }
    groups
}

fn compute_instances(slices: &[u32]) -> Vec<ComputeInstance> {
    let mut start = 0;
    let mut instances = Vec::new();
    for (id, &slices) in (0..).zip(slices) {
        instances.push(ComputeInstance { id, start, slices });
        start += slices;
    }
    instances
}

/// Finds a place for every instance, by trying; the driver prefers the upper half.
fn place(wanted: &[&'static ProfileFact], places: &mut Vec<Placement>) -> bool {
    let Some(fact) = wanted.get(places.len()) else {
        return true;
    };
    let half = profiles::axis(&fact.part) / 2;
    let mut candidates = fact.placements.clone();
    candidates.sort_by_key(|placement| (placement.start < half, placement.start));
    for candidate in candidates {
        let free = |other: &Placement| {
            candidate.start + candidate.size <= other.start
                || other.start + other.size <= candidate.start
        };
        if places.iter().all(free) {
            places.push(candidate);
            if place(wanted, places) {
                return true;
            }
            places.pop();
        }
    }
    false
}

fn is_4g(fact: &ProfileFact) -> bool {
    fact.profile.slices == 4
}

/// The id that the driver gives an instance at this place: nodes of a binary tree over the memory
/// slices, numbered from the root, level by level.
///
/// Seen on A100 and H100: seven 1g get 7, 8, 9 at slices 4 to 6 and 11 to 14 at 0 to 3; two 3g get
/// 1 at 4 and 2 at 0; but 4g gets 1 at 0 and 3g beside it 2 at 4. On A30 1g get 3 to 6 from slice 0.
fn instance_id(axis: u32, lower_first: bool, placement: Placement) -> u32 {
    let offset =
        if lower_first { placement.start } else { (placement.start + axis / 2) % axis.max(1) };
    axis / placement.size - 1 + offset / placement.size
}

fn join(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(part: &str, layout: &str) -> Vec<(u32, String, u32, u32)> {
        let instances = solve(part, &[layout.to_owned()]).unwrap();
        instances
            .iter()
            .map(|gi| (gi.id, gi.fact.profile.to_string(), gi.placement.start, gi.placement.size))
            .collect()
    }

    fn error(part: &str, layout: &str) -> String {
        solve(part, &[layout.to_owned()]).unwrap_err().to_string()
    }

    #[test]
    fn ids_are_the_drivers() {
        let seven: Vec<_> =
            ids("A100-80", "1g.10gb*7").iter().map(|(id, _, start, _)| (*id, *start)).collect();
        assert_eq!(seven, [(7, 4), (8, 5), (9, 6), (11, 0), (12, 1), (13, 2), (14, 3)]);
        assert_eq!(
            ids("H100-80", "3g.40gb*2"),
            [(1, "3g.40gb".into(), 4, 4), (2, "3g.40gb".into(), 0, 4)]
        );
        assert_eq!(
            ids("A100-40", "4g.20gb,3g.20gb"),
            [(1, "4g.20gb".into(), 0, 4), (2, "3g.20gb".into(), 4, 4)]
        );
        assert_eq!(ids("A100-40", "7g.40gb"), [(0, "7g.40gb".into(), 0, 8)]);
        let a30: Vec<_> = ids("A30-24", "1g.6gb*4").iter().map(|(id, ..)| *id).collect();
        assert_eq!(a30, [3, 4, 5, 6]);
    }

    #[test]
    fn compute_instances_fill_a_gpu_instance() {
        let instances =
            solve("A100-80", &["1c.2g.20gb*3, 2c.3g.40gb".into(), "1c.3g.40gb".into()]).unwrap();
        let shape: Vec<Vec<(u32, u32)>> = instances
            .iter()
            .map(|gi| gi.compute.iter().map(|ci| (ci.id, ci.slices)).collect())
            .collect();
        assert_eq!(instances.len(), 3, "{instances:?}");
        assert!(shape.contains(&vec![(0, 1), (1, 1)]) && shape.contains(&vec![(0, 2), (1, 1)]));
    }

    #[test]
    fn impossible_layouts_are_refused_with_the_reason() {
        assert_eq!(error("A100-80", "1g.10gb*8"), "8 x 1g.10gb: A100-80 holds at most 7");
        assert_eq!(
            error("A100-80", "4g.40gb, 3g.40gb, 1g.10gb"),
            "4g.40gb, 3g.40gb, 1g.10gb: no placement on A100-80 holds all of them"
        );
        assert!(
            error("A30-24", "3g.12gb").starts_with("A30-24 has no profile 3g.12gb; it has 1g.")
        );
        assert_eq!(
            error("H100-80", "seven"),
            "\"seven\" is not PROFILE or PROFILE*COUNT, as 1g.10gb*7"
        );
        assert!(error("H100-80", "1g.10gb+me*2").contains("at most 1"));
    }

    proptest! {
        #[test]
        fn what_is_accepted_has_room(picks in proptest::collection::vec(0..60usize, 1..8)) {
            let part = &profiles::facts()[picks[0] % profiles::facts().len()].part;
            let all: Vec<_> = profiles::of_part(part).collect();
            let items: Vec<String> =
                picks.iter().map(|pick| all[pick % all.len()].profile.to_string()).collect();
            if let Ok(instances) = solve(part, &items) {
                let mut used = vec![false; profiles::axis(part) as usize];
                let mut ids: Vec<u32> = instances.iter().map(|gi| gi.id).collect();
                ids.dedup();
                prop_assert_eq!(ids.len(), items.len(), "ids are unique");
                prop_assert!(ids.iter().all(|&id| id <= 14));
                for gi in &instances {
                    prop_assert!(gi.fact.placements.contains(&gi.placement));
                    for slice in gi.placement.start..gi.placement.start + gi.placement.size {
                        prop_assert!(!std::mem::replace(&mut used[slice as usize], true));
                    }
                }
            }
        }
    }
}
