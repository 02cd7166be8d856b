//! The simulation: jobs, events, time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::choose::{Chooser, First, Selected};
use crate::class::Classes;
use crate::fabric::{Drain, Dynamic, Fabric, Leaves};
use crate::farm::{Farm, Run};
use crate::metrics::{Gathered, sample};
use crate::policy::{self, layout_of, with_layout};
use crate::scheduler::{Easy, Ground, News, Scheduler, Slurm, Wait, Waiting, minutes};
use crate::{Job, Metrics, Outcome, PolicyName, Record, Sample, SchedulerName, Setup, Span, Time};

/// Is told what happens.
pub trait Observer {
    /// A job ended, or was found never to fit. `place`: its place in the trace.
    fn record(&mut self, _place: usize, _record: &Record) {}

    /// The cluster at some time, at irregular intervals: whenever something changed.
    fn sample(&mut self, _sample: &Sample) {}

    /// A job left a leaf.
    fn span(&mut self, _span: &Span) {}

    /// The layout that was chosen; empty where there is none.
    fn layout(&mut self, _layout: &str) {}
}

/// Runs jobs, which come in order of submission, with memory for those that run or wait.
///
/// `static-best`, `flex` and `flex-best` have a layout that suits the jobs, so here they need one in the
/// setup, as [`with_layout`] finds it; without, they take one that suits an even mix of sizes.
pub fn run(setup: &Setup, jobs: impl Iterator<Item = Job>, observer: &mut dyn Observer) -> Metrics {
    let (cluster, model) = (&setup.cluster, setup.performance.clone());
    let layout = layout_of(setup);
    let text = |layout: &crate::Layout| layout.to_string();
    let sms = policy::sms_of_slices(cluster.gpu);
    match setup.policy {
        PolicyName::Static | PolicyName::StaticBest => {
            observer.layout(&text(&layout));
            let fabric = Leaves::one_to_one(cluster, &layout, setup.oversize);
            Simulation::new(setup, Farm::new(fabric, model, sms), First).run(jobs, observer)
        }
        PolicyName::Flex | PolicyName::FlexBest | PolicyName::FlexUniform => {
            observer.layout(&text(&layout));
            let fabric = Leaves::selected(cluster, &layout);
            let chooser = Selected::new(cluster.gpu, &fabric, setup.select.clone());
            Simulation::new(setup, Farm::new(fabric, model, sms), chooser).run(jobs, observer)
        }
        PolicyName::Pooled => {
            observer.layout("");
            let fabric = Leaves::pooled(cluster);
            Simulation::new(setup, Farm::new(fabric, model, sms), First).run(jobs, observer)
        }
        PolicyName::Drain => {
            observer.layout(&text(&layout));
            let fabric = Drain::new(cluster, &layout, setup.oversize, model.drain());
            Simulation::new(setup, Farm::new(fabric, model, sms), First).run(jobs, observer)
        }
        PolicyName::Dynamic => {
            observer.layout("");
            let fabric = Dynamic::new(cluster, setup.oversize, model.dynamic());
            Simulation::new(setup, Farm::new(fabric, model, sms), First).run(jobs, observer)
        }
    }
}

struct Simulation<F: Fabric, C: Chooser<F>> {
    farm: Farm<F>,
    chooser: C,
    classes: Classes,
    scheduler: Box<dyn Scheduler<F>>,
    queue: VecDeque<Waiting>,
    ends: BinaryHeap<Reverse<(Time, u32)>>,
    gathered: Gathered,
    gpus_per_node: u32,
    /// Time limits are whole minutes.
    whole_minutes: bool,
}

impl<F: Fabric, C: Chooser<F>> Simulation<F, C> {
    fn new(setup: &Setup, farm: Farm<F>, chooser: C) -> Simulation<F, C> {
        let scheduler: Box<dyn Scheduler<F>> = match setup.scheduler {
            SchedulerName::Easy => Box::new(Easy::new(setup.depth)),
            SchedulerName::Slurm => Box::new(Slurm::new(&setup.slurm)),
        };
        Simulation {
            farm,
            chooser,
            classes: Classes::default(),
            scheduler,
            queue: VecDeque::new(),
            ends: BinaryHeap::new(),
            gathered: Gathered::default(),
            gpus_per_node: setup.cluster.gpus_per_node,
            whole_minutes: setup.scheduler == SchedulerName::Slurm,
        }
    }

    fn run(mut self, jobs: impl Iterator<Item = Job>, observer: &mut dyn Observer) -> Metrics {
        let mut jobs = jobs.enumerate().peekable();
        loop {
            let submit = jobs.peek().map(|(_, job)| job.submit);
            let end = self.ends.peek().map(|Reverse((end, _))| *end);
            let timer = self.scheduler.next().filter(|_| !self.queue.is_empty());
            let Some(now) = [submit, end, timer].into_iter().flatten().min() else { break };
            let now = now.max(self.gathered.now());
            self.gathered.advance(now, &self.farm.busy, self.queue.len());
            let mut news = News::default();
            while let Some(&Reverse((end, id))) = self.ends.peek()
                && end <= now
            {
                self.ends.pop();
                news.ended = true;
                if let Some(run) = self.farm.end(id) {
                    self.finished(&run, observer);
                }
            }
            while let Some((place, job)) = jobs.next_if(|(_, job)| job.submit <= now) {
                news.submitted |= self.submit(place, job, observer);
            }
            self.gathered.jobs(self.queue.len() + self.farm.count());
            if !self.queue.is_empty() {
                self.schedule(now, news);
            }
            observer.sample(&sample(
                now,
                &self.farm.busy,
                self.farm.fabric.total(),
                self.farm.count(),
                self.queue.len(),
            ));
        }
        let cuts = self.farm.nodes.iter().map(|node| self.farm.fabric.cuts(node)).sum();
        let (total, moved) = (self.farm.fabric.total(), self.scheduler.moved());
        self.gathered.metrics(total, moved, cuts)
    }

    /// Queues a job. False: it can never run.
    fn submit(&mut self, place: usize, mut job: Job, observer: &mut dyn Observer) -> bool {
        if self.whole_minutes {
            job.limit = minutes(job.limit);
        }
        self.gathered.submitted(job.submit);
        let (farm, chooser) = (&self.farm, &self.chooser);
        let class =
            self.classes.of(&job, self.gpus_per_node, |asked| chooser.alternatives(farm, asked));
        if self.classes.all[class].alternatives.is_empty() {
            self.gathered.unplaced();
            let record = Record { job, ran: None, leaves: 0, parents: 0, slowdown: 1.0 };
            observer.record(place, &record);
            return false;
        }
        self.queue.push_back(Waiting { job, place, class, wait: Wait::default() });
        true
    }

    fn schedule(&mut self, now: Time, news: News) {
        let jobs = self.farm.fabric.hinted_jobs();
        if jobs > 0 {
            self.farm.hint = hint(&self.queue, jobs, &self.classes);
        }
        let mut ground = Ground {
            now,
            farm: &mut self.farm,
            chooser: &self.chooser,
            classes: &self.classes.all,
            queue: &mut self.queue,
            started: Vec::new(),
        };
        self.scheduler.pass(&mut ground, news);
        let started = ground.started;
        for id in started {
            if let Some(run) = self.farm.run(id) {
                self.ends.push(Reverse((run.end, id)));
            }
        }
    }

    fn finished(&mut self, run: &Run, observer: &mut dyn Observer) {
        self.gathered.ended(run);
        let Run { job, start, end, leaves, parents, slowdown, .. } = *run;
        let record = Record { job, ran: Some((start, end)), leaves, parents, slowdown };
        observer.record(run.place, &record);
        for (node, taken) in &run.taken {
            for leaf in taken {
                let weight = self.farm.fabric.weights()[usize::from(leaf.shape)];
                observer.span(&Span {
                    gpu: node * self.gpus_per_node + u32::from(leaf.gpu),
                    start: leaf.start,
                    size: weight.size,
                    slices: weight.slices,
                    from: start,
                    to: end,
                    job: job.id,
                });
            }
        }
    }
}

/// Leaves that the first jobs of the queue, so many, wait for, by shape.
fn hint(queue: &VecDeque<Waiting>, jobs: usize, classes: &Classes) -> crate::fabric::Hint {
    let mut hint = [0; 8];
    for waiting in queue.iter().take(jobs) {
        let first = classes.all[waiting.class].alternatives.first();
        for part in first
            .filter(|alternative| !alternative.wasteful)
            .into_iter()
            .flat_map(|alternative| &alternative.parts)
        {
            hint[usize::from(part.shape) % 8] += u32::from(part.count);
        }
    }
    hint
}

/// Most samples that [`simulate`] keeps.
const SAMPLES: usize = 2000;
/// Most spans, and GPUs of which they are kept.
const SPANS: usize = 20_000;
const SPAN_GPUS: u32 = 32;

/// Keeps everything, but for evenly thinned samples and later spans.
struct Keeper {
    outcome: Outcome,
    records: Vec<Option<Record>>,
    /// Least time between two samples.
    step: Time,
    /// Spans that start later are not kept.
    horizon: Time,
}

impl Observer for Keeper {
    fn record(&mut self, place: usize, record: &Record) {
        if let Some(slot) = self.records.get_mut(place) {
            *slot = Some(*record);
        }
    }

    fn sample(&mut self, sample: &Sample) {
        let samples = &mut self.outcome.samples;
        if samples.last().is_some_and(|last| sample.time < last.time + self.step) {
            return;
        }
        samples.push(*sample);
        if samples.len() >= SAMPLES {
            let span = samples[samples.len() - 1].time - samples[0].time;
            self.step = (span / (SAMPLES as Time / 2)).max(1);
            let (step, mut next) = (self.step, 0);
            samples.retain(|sample| {
                let keep = sample.time >= next;
                if keep {
                    next = sample.time + step;
                }
                keep
            });
        }
    }

    fn span(&mut self, span: &Span) {
        if span.gpu >= SPAN_GPUS || span.from >= self.horizon {
            return;
        }
        let spans = &mut self.outcome.spans;
        spans.push(*span);
        if spans.len() >= SPANS {
            // Those that start first, without a gap: a job that runs long comes late.
            spans.sort_by_key(|span| span.from);
            self.horizon = spans[SPANS / 2].from;
            spans.retain(|span| span.from < self.horizon);
        }
    }

    fn layout(&mut self, layout: &str) {
        layout.clone_into(&mut self.outcome.layout);
    }
}

/// Runs jobs, which come in order of submission, and keeps everything about it.
pub fn simulate(setup: &Setup, jobs: &[Job]) -> Outcome {
    simulate_watched(setup, jobs, || {})
}

/// [`simulate`], with a call for every job that is submitted.
pub fn simulate_watched(setup: &Setup, jobs: &[Job], mut submitted: impl FnMut()) -> Outcome {
    let (outcome, records) = (Outcome::default(), vec![None; jobs.len()]);
    let mut keeper = Keeper { outcome, records, step: 0, horizon: Time::MAX };
    let watched = jobs.iter().copied().inspect(|_| submitted());
    let metrics = run(&with_layout(setup, jobs), watched, &mut keeper);
    let Keeper { mut outcome, records, .. } = keeper;
    outcome.metrics = metrics;
    outcome.records = records.into_iter().flatten().collect();
    outcome
}
