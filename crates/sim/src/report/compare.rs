//! Policies against each other, seed by seed: both have the same jobs then.

use super::Digest;
use crate::{Metrics, PolicyName};

/// Takes a figure out of all.
pub type Figure = fn(&Metrics) -> f64;

/// The policy that others are compared with: `static` if it is there, else the first.
pub fn reference(policies: &[PolicyName]) -> Option<PolicyName> {
    let fixed = policies.iter().find(|policy| **policy == PolicyName::Static);
    fixed.or(policies.first()).copied()
}

/// The value in the middle; of an even number the mean of both. 0 of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// A figure of a policy, per seed.
pub fn values(digests: &[Digest], policy: PolicyName, figure: Figure) -> Vec<f64> {
    let own = digests.iter().filter(|digest| digest.policy == policy);
    own.map(|digest| figure(&digest.metrics)).collect()
}

/// A figure of a policy over that of another with the same seed, per seed. A seed in which the other
/// has none is left out.
pub fn ratios(
    digests: &[Digest],
    policy: PolicyName,
    compared: PolicyName,
    figure: Figure,
) -> Vec<f64> {
    let of = |wanted| digests.iter().filter(move |digest| digest.policy == wanted);
    let ratio = |own: &Digest| {
        let other = of(compared).find(|other| other.seed == own.seed)?;
        let base = figure(&other.metrics);
        (base > 0.0).then(|| figure(&own.metrics) / base)
    };
    of(policy).filter_map(ratio).collect()
}

/// The median of [`ratios`], which is not the ratio of medians; `None` if there are none.
pub fn relative(
    digests: &[Digest],
    policy: PolicyName,
    compared: PolicyName,
    figure: Figure,
) -> Option<f64> {
    let ratios = ratios(digests, policy, compared, figure);
    (!ratios.is_empty()).then(|| median(ratios))
}

/// Whether all policies ran the same number of jobs, seed by seed.
pub fn comparable(policies: &[PolicyName], digests: &[Digest]) -> bool {
    let unplaced = |policy: PolicyName| values(digests, policy, |m| m.unplaced as f64);
    policies.windows(2).all(|pair| unplaced(pair[0]) == unplaced(pair[1]))
}

/// What makes policies hard to compare, a line each: jobs that never fit are in no figure.
pub fn cautions(policies: &[PolicyName], digests: &[Digest]) -> Vec<String> {
    let comparable = comparable(policies, digests);
    let caution = |policy: &PolicyName| {
        let own = digests.iter().filter(|digest| digest.policy == *policy);
        let most = own.max_by_key(|digest| digest.metrics.unplaced)?;
        let (unplaced, ran) = (most.metrics.unplaced, most.metrics.jobs);
        let (all, seed) = (unplaced + ran, most.seed);
        match (unplaced, ran) {
            (0, _) => None,
            _ if comparable && policies.len() > 1 => {
                Some(format!("{unplaced} of {all} jobs never fit (seed {seed}), with no policy"))
            }
            (_, 0) => Some(format!("{policy}: none of {all} jobs ever fits (seed {seed})")),
            _ => Some(format!(
                "{policy}: {unplaced} of {all} jobs never fit (seed {seed}); its figures are those \
                 of the other {ran}: compare them with none of a policy that runs more"
            )),
        }
    };
    let mut cautions: Vec<String> = policies.iter().filter_map(caution).collect();
    cautions.dedup();
    cautions
}

#[cfg(test)]
mod tests {
    use super::*;
    use PolicyName::{Flex, Static};

    fn digest(policy: PolicyName, seed: u64, makespan: f64) -> Digest {
        let metrics = Metrics { makespan, jobs: 93, ..Metrics::default() };
        Digest { policy, seed, metrics, layout: String::new(), jct: Vec::new(), detail: None }
    }

    #[test]
    fn relative_is_the_median_over_seeds_of_ratios() {
        // The ratio of medians would be 30/20 = 1.5.
        let digests = [
            digest(Static, 1, 10.0),
            digest(Static, 2, 20.0),
            digest(Static, 3, 100.0),
            digest(Flex, 3, 50.0),
            digest(Flex, 2, 30.0),
            digest(Flex, 1, 9.0),
        ];
        let makespan: Figure = |metrics| metrics.makespan;
        assert_eq!(ratios(&digests, Flex, Static, makespan), [0.5, 1.5, 0.9]);
        assert_eq!(relative(&digests, Flex, Static, makespan), Some(0.9));
        assert_eq!(relative(&digests, Static, Static, makespan), Some(1.0));
    }

    #[test]
    fn nothing_is_relative_to_no_time() {
        let digests = [digest(Static, 1, 0.0), digest(Flex, 1, 5.0), digest(Flex, 2, 5.0)];
        assert_eq!(relative(&digests, Flex, Static, |metrics| metrics.makespan), None);
    }

    #[test]
    fn a_policy_that_leaves_jobs_out_is_told() {
        let mut digests = [digest(Static, 1, 1.0), digest(Static, 2, 1.0), digest(Flex, 1, 1.0)];
        assert!(cautions(&[Static, Flex], &digests).is_empty());
        digests[1].metrics.unplaced = 7;
        let told = cautions(&[Static, Flex], &digests);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("static: 7 of 100 jobs never fit (seed 2); "), "{told:?}");
        let mut both = digests.to_vec();
        both.push(digest(Flex, 2, 1.0));
        both[3].metrics.unplaced = 7;
        assert!(comparable(&[Static, Flex], &both) && !comparable(&[Static, Flex], &digests));
        let told = cautions(&[Static, Flex], &both);
        assert_eq!(told, ["7 of 100 jobs never fit (seed 2), with no policy"]);
        digests[1].metrics.jobs = 0;
        assert_eq!(cautions(&[Static], &digests), ["static: none of 7 jobs ever fits (seed 2)"]);
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }
}
