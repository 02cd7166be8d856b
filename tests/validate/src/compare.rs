//! How far two accounts of the same jobs are apart. Pure.

/// What became of one job, in seconds since the first moment of the replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ran {
    /// When it was submitted.
    pub submit: f64,
    /// When it started.
    pub start: f64,
    /// When it had ended.
    pub end: f64,
    /// Place of its node, from 0.
    pub node: usize,
    /// How many leaves it had.
    pub leaves: usize,
}

/// Figures of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// From the first moment to the last end.
    pub makespan: f64,
    /// Mean wait.
    pub wait: f64,
    /// 95 of 100 jobs wait at most so long.
    pub wait_p95: f64,
}

impl Figures {
    /// Of these jobs.
    pub fn of(jobs: &[Ran]) -> Figures {
        let mut waits: Vec<f64> = jobs.iter().map(|job| job.start - job.submit).collect();
        waits.sort_by(f64::total_cmp);
        let place = (0.95 * waits.len() as f64).ceil() as usize;
        Figures {
            makespan: jobs.iter().map(|job| job.end).fold(0.0, f64::max),
            wait: mean(&waits),
            wait_p95: waits.get(place.saturating_sub(1)).copied().unwrap_or(0.0),
        }
    }
}

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The middle; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// Kendall's tau-b: 1 if all pairs come in the same order, -1 if all in the opposite one. Pairs that
/// are equal on one side only count against it.
pub fn tau(a: &[f64], b: &[f64]) -> f64 {
    let sign = |x: f64, y: f64| x.total_cmp(&y) as i64;
    let (mut sum, mut pairs_a, mut pairs_b) = (0, 0, 0);
    for i in 0..a.len().min(b.len()) {
        for j in 0..i {
            let (in_a, in_b) = (sign(a[i], a[j]), sign(b[i], b[j]));
            sum += in_a * in_b;
            pairs_a += in_a.abs();
            pairs_b += in_b.abs();
        }
    }
    let pairs = (pairs_a as f64 * pairs_b as f64).sqrt();
    if pairs == 0.0 { 1.0 } else { sum as f64 / pairs }
}

/// Two accounts of the same jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What happened.
    pub real: Figures,
    /// What was predicted.
    pub predicted: Figures,
    /// Kendall's tau of the start times.
    pub tau: f64,
    /// The same of the submissions against the real starts: what knowing nothing is worth.
    pub tau_submission: f64,
    /// The same of the waits.
    pub tau_wait: f64,
    /// Median of how far apart the start of a job is, in seconds.
    pub start_error: f64,
    /// Share of the jobs on the predicted node.
    pub same_node: f64,
}

impl Comparison {
    /// Job by job.
    pub fn of(real: &[Ran], predicted: &[Ran]) -> Comparison {
        assert_eq!(real.len(), predicted.len(), "not the same jobs");
        let column =
            |jobs: &[Ran], value: fn(&Ran) -> f64| -> Vec<f64> { jobs.iter().map(value).collect() };
        let start = |job: &Ran| job.start;
        let wait = |job: &Ran| job.start - job.submit;
        let pairs = || real.iter().zip(predicted);
        let same = pairs().filter(|(real, predicted)| real.node == predicted.node).count();
        let apart = pairs().map(|(real, predicted)| (real.start - predicted.start).abs());
        Comparison {
            real: Figures::of(real),
            predicted: Figures::of(predicted),
            tau: tau(&column(real, start), &column(predicted, start)),
            tau_submission: tau(&column(real, start), &column(real, |job| job.submit)),
            tau_wait: tau(&column(real, wait), &column(predicted, wait)),
            start_error: median(apart.collect()),
            same_node: same as f64 / real.len().max(1) as f64,
        }
    }

    /// Predicted over real makespan, less 1.
    pub fn error(&self) -> f64 {
        self.predicted.makespan / self.real.makespan - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tau_counts_pairs() {
        assert_eq!(tau(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]), 1.0);
        assert_eq!(tau(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), -1.0);
        // Six pairs, one of them the other way round.
        assert_eq!(tau(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]), 4.0 / 6.0);
        // Equal on both sides: not counted. On one side: counted there.
        assert_eq!(tau(&[1.0, 1.0, 2.0], &[5.0, 5.0, 6.0]), 1.0);
        let one_side = tau(&[1.0, 1.0, 2.0], &[5.0, 6.0, 7.0]);
        assert!((one_side - 2.0 / 6f64.sqrt()).abs() < 1e-12, "{one_side}");
    }

    #[test]
    fn accounts_are_compared_job_by_job() {
        let ran =
            |submit: f64, start: f64, end: f64, node| Ran { submit, start, end, node, leaves: 1 };
        let real = [ran(0.0, 1.0, 100.0, 0), ran(10.0, 50.0, 200.0, 1)];
        let predicted = [ran(0.0, 0.0, 99.0, 0), ran(10.0, 47.0, 190.0, 2)];
        let comparison = Comparison::of(&real, &predicted);
        assert_eq!(comparison.real, Figures { makespan: 200.0, wait: 20.5, wait_p95: 40.0 });
        assert!((comparison.error() + 0.05).abs() < 1e-12);
        assert_eq!((comparison.tau, comparison.start_error), (1.0, 2.0));
        assert_eq!(comparison.same_node, 0.5);
    }

    #[test]
    fn the_middle_of_few() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
