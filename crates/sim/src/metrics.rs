//! Figures, gathered while a simulation runs.

use crate::farm::{Busy, Run};
use crate::{Metrics, SECOND, Sample, Time};

/// Counts of durations in steps of 1 %, for quantiles without keeping every value.
#[derive(Debug, Default)]
struct Histogram {
    counts: Vec<u64>,
    zero: u64,
    all: u64,
}

/// Logarithm of the width of a step.
const STEP: f64 = 0.01;

impl Histogram {
    fn add(&mut self, milliseconds: Time) {
        self.all += 1;
        if milliseconds == 0 {
            self.zero += 1;
            return;
        }
        let step = ((milliseconds as f64).ln() / STEP).round() as usize;
        if self.counts.len() <= step {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
    }

    /// The value that this share of the values do not exceed, in seconds.
    fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.all as f64 * share).ceil() as u64;
        let mut seen = self.zero;
        if seen >= wanted {
            return 0.0;
        }
        for (step, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return (step as f64 * STEP).exp() / SECOND as f64;
            }
        }
        0.0
    }
}

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    metrics: Metrics,
    first: Option<Time>,
    last: Time,
    now: Time,
    wait: f64,
    jct: f64,
    waits: Histogram,
    jcts: Histogram,
    slowdown: f64,
    sms: f64,
    memory: f64,
    /// Share of fragments times time, while jobs wait and leaves are free.
    fragments: f64,
    waiting: f64,
}

impl Gathered {
    /// Time goes on to `now`, with the cluster as it was since the last call.
    pub fn advance(&mut self, now: Time, busy: &Busy, queued: usize) {
        let past = (now - self.now) as f64;
        self.now = now;
        self.sms += busy.sms * past;
        self.memory += busy.memory * past;
        if queued > 0 && busy.free > 0 {
            self.fragments += share(busy) * past;
            self.waiting += past;
        }
    }

    /// The time of the last event.
    pub fn now(&self) -> Time {
        self.now
    }

    /// A job was submitted.
    pub fn submitted(&mut self, now: Time) {
        self.first.get_or_insert(now);
    }

    /// A job can never run.
    pub fn unplaced(&mut self) {
        self.metrics.unplaced += 1;
    }

    /// So many jobs run or wait.
    pub fn jobs(&mut self, count: usize) {
        self.metrics.most_jobs = self.metrics.most_jobs.max(count as u64);
    }

    /// A job ended.
    pub fn ended(&mut self, run: &Run) {
        let wait = run.start - run.job.submit;
        let jct = run.end - run.job.submit;
        self.metrics.jobs += 1;
        self.metrics.spanning += u64::from(run.leaves > 1);
        self.wait += wait as f64;
        self.jct += jct as f64;
        self.waits.add(wait);
        self.jcts.add(jct);
        self.slowdown += run.slowdown;
        self.last = self.last.max(run.end);
    }

    /// The figures; `total`: SMs and memory of the cluster.
    pub fn metrics(mut self, total: (f64, f64), replanned: u64, reconfigurations: u64) -> Metrics {
        let over = |sum: f64, count: f64| if count > 0.0 { sum / count } else { 0.0 };
        let span = self.last.saturating_sub(self.first.unwrap_or(0)) as f64;
        let (jobs, second) = (self.metrics.jobs as f64, SECOND as f64);
        self.metrics.makespan = span / second;
        self.metrics.mean_wait = over(self.wait, jobs) / second;
        self.metrics.p95_wait = self.waits.quantile(0.95);
        self.metrics.mean_jct = over(self.jct, jobs) / second;
        self.metrics.p95_jct = self.jcts.quantile(0.95);
        self.metrics.utilisation_sm = over(self.sms, total.0 * span);
        self.metrics.utilisation_memory = over(self.memory, total.1 * span);
        self.metrics.fragmentation = over(self.fragments, self.waiting);
        self.metrics.mean_slowdown = over(self.slowdown, jobs);
        self.metrics.replanned = replanned;
        self.metrics.reconfigurations = reconfigurations;
        self.metrics
    }
}

/// Share of the free slices that is fragments.
fn share(busy: &Busy) -> f64 {
    if busy.free == 0 { 0.0 } else { 1.0 - busy.largest as f64 / busy.free as f64 }
}

/// The cluster now.
pub(crate) fn sample(
    time: Time,
    busy: &Busy,
    total: (f64, f64),
    running: usize,
    queued: usize,
) -> Sample {
    Sample {
        time,
        sms: busy.sms / total.0.max(1.0),
        memory: busy.memory / total.1.max(1.0),
        running: running as u32,
        queued: queued as u32,
        fragmentation: share(busy),
    }
}
