//! What of an outcome a report keeps: a few kilobytes, however many jobs there were.

use std::collections::HashSet;

use crate::{Metrics, Outcome, PolicyName, SECOND, Sample, Span, Time};

/// Points of a distribution.
const QUANTILES: usize = 200;

/// One simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    /// How leaves were given to jobs.
    pub policy: PolicyName,
    /// Which jobs these were.
    pub seed: u64,
    /// Figures.
    pub metrics: Metrics,
    /// [`Outcome::layout`].
    pub layout: String,
    /// Seconds from submission to end that the shares 0, 1/200, 2/200 ... 1 of the jobs do not exceed;
    /// empty if no job ran.
    pub jct: Vec<f64>,
    /// What happened when, if that is wanted.
    pub detail: Option<Detail>,
}

/// What happened when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detail {
    /// The cluster over time.
    pub samples: Vec<Sample>,
    /// Jobs on leaves.
    pub spans: Vec<Span>,
    /// Jobs of these that had several leaves, by [`Job::id`](crate::Job::id).
    pub several: HashSet<u32>,
    /// The first submission.
    pub start: Time,
}

impl Digest {
    /// Of an outcome; `detailed`: with what happened when.
    pub fn of(policy: PolicyName, seed: u64, outcome: Outcome, detailed: bool) -> Digest {
        let ended = outcome.records.iter().filter_map(|record| Some((record, record.ran?)));
        let mut times: Vec<Time> =
            ended.map(|(record, (_, end))| end - record.job.submit).collect();
        times.sort_unstable();
        let at = |step: usize| times[(times.len() - 1) * step / QUANTILES] as f64 / SECOND as f64;
        let jct = match times.is_empty() {
            true => Vec::new(),
            false => (0..=QUANTILES).map(at).collect(),
        };
        let start = outcome.records.iter().map(|record| record.job.submit).min();
        let drawn: HashSet<u32> = outcome.spans.iter().map(|span| span.job).collect();
        let several = outcome.records.iter().filter(|record| record.leaves > 1);
        let detail = detailed.then(|| Detail {
            samples: outcome.samples,
            spans: outcome.spans,
            several: several.map(|record| record.job.id).filter(|id| drawn.contains(id)).collect(),
            start: start.unwrap_or(0),
        });
        Digest { policy, seed, metrics: outcome.metrics, layout: outcome.layout, jct, detail }
    }
}

/// Means of equal parts of the time from `start` to `end`; a sample holds until the next. Parts
/// without a value, as those after the last sample, are left out.
pub fn means(
    samples: &[Sample],
    value: impl Fn(&Sample) -> Option<f64>,
    (start, end): (Time, Time),
    parts: usize,
) -> Vec<(Time, f64)> {
    let width = (end.saturating_sub(start) / parts as Time).max(1);
    let mut sums = vec![(0.0, 0.0); parts];
    for pair in samples.windows(2) {
        let Some(value) = value(&pair[0]) else { continue };
        let (mut from, to) = (pair[0].time.max(start), pair[1].time.min(end));
        while from < to {
            let part = ((from - start) / width) as usize;
            let Some(sum) = sums.get_mut(part) else { break };
            let until = to.min(start + (part as Time + 1) * width);
            let time = (until - from) as f64;
            sum.0 += value * time;
            sum.1 += time;
            from = until;
        }
    }
    let middle = |part: usize| start + part as Time * width + width / 2;
    let known = sums.iter().enumerate().filter(|(_, sum)| sum.1 > 0.0);
    known.map(|(part, sum)| (middle(part), sum.0 / sum.1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Job, Record};

    fn sample(time: Time, sms: f64) -> Sample {
        Sample { time, sms, ..Sample::default() }
    }

    #[test]
    fn means_weigh_by_time() {
        let samples = [sample(0, 1.0), sample(25, 0.0), sample(100, 0.5), sample(150, 0.5)];
        let all = means(&samples, |sample| Some(sample.sms), (0, 200), 4);
        assert_eq!(all, [(25, 0.5), (75, 0.0), (125, 0.5)]);
        let busy = |sample: &Sample| (sample.sms > 0.0).then_some(sample.sms);
        assert_eq!(means(&samples, busy, (0, 200), 4), [(25, 1.0), (125, 0.5)]);
    }

    #[test]
    fn no_time_is_no_mean() {
        assert_eq!(means(&[sample(5, 1.0)], |sample| Some(sample.sms), (5, 5), 4), []);
    }

    #[test]
    fn distributions_leave_out_jobs_that_never_ran() {
        let record = |run: Option<(Time, Time)>| Record {
            job: Job::new(0, 1000, 1, 1),
            ran: run,
            leaves: 1,
            parents: 1,
            slowdown: 1.0,
        };
        let records = vec![record(Some((2000, 4000))), record(None), record(Some((1000, 2000)))];
        let outcome = Outcome { records, ..Outcome::default() };
        let digest = Digest::of(PolicyName::Flex, 1, outcome, true);
        assert_eq!((digest.jct[0], digest.jct[200], digest.jct.len()), (1.0, 3.0, 201));
        assert_eq!(digest.detail.unwrap().start, 1000);
        let none = Digest::of(PolicyName::Flex, 1, Outcome::default(), false);
        assert_eq!((none.jct.len(), none.detail), (0, None));
    }
}
