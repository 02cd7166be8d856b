//! From a trace, or from nothing but a seed, to the jobs of one simulation.
//!
//! A trace does not know everything: jobs of one GPU get a size by a [`Mix`], jobs without a time
//! limit get one, and submissions are drawn together or apart until the cluster has the wanted load.
//! All of it follows from the seed.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp, LogNormal};

use crate::trace::{Size, Trace, TraceError};
use crate::{Cluster, Job, SECOND, Time};

/// Sizes in slices that a [`Mix`] weighs.
pub const SIZES: [u8; 5] = [1, 2, 3, 4, 7];

/// Shares of the sizes 1g, 2g, 3g, 4g and 7g among jobs whose size is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// A weight per size of [`SIZES`]; not all 0.
    pub weights: [u32; 5],
}

impl Mix {
    /// Each size as often as the others: the default.
    pub const EVEN: Mix = Mix { weights: [20, 20, 20, 20, 20] };
    /// Mostly small jobs.
    pub const SMALL: Mix = Mix { weights: [50, 25, 12, 8, 5] };
    /// Mostly large jobs.
    pub const LARGE: Mix = Mix { weights: [5, 10, 15, 25, 45] };
    const NAMED: [(&'static str, Mix); 3] =
        [("even", Mix::EVEN), ("small", Mix::SMALL), ("large", Mix::LARGE)];

    fn draw(&self, random: &mut ChaCha8Rng) -> u8 {
        let total: u64 = self.weights.iter().map(|&weight| u64::from(weight)).sum();
        let mut left = random.random_range(0..total.max(1));
        for (size, &weight) in SIZES.iter().zip(&self.weights) {
            match left.checked_sub(weight.into()) {
                Some(rest) => left = rest,
                None => return *size,
            }
        }
        SIZES[4]
    }

    /// Slices of a job, on average.
    pub fn mean(&self) -> f64 {
        let total: f64 = self.weights.iter().map(|&weight| f64::from(weight)).sum();
        let sum = SIZES.iter().zip(&self.weights).map(|(&s, &w)| f64::from(s) * f64::from(w));
        sum.sum::<f64>() / total
    }
}

impl Default for Mix {
    fn default() -> Mix {
        Mix::EVEN
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Mix::NAMED.iter().find(|(_, mix)| mix == self) {
            Some((name, _)) => f.write_str(name),
            None => {
                let weights = self.weights.map(|weight| weight.to_string());
                f.write_str(&weights.join(":"))
            }
        }
    }
}

impl FromStr for Mix {
    type Err = TraceError;

    /// `even`, `small`, `large`, or the weights of 1g, 2g, 3g, 4g and 7g: `50:25:12:8:5`.
    fn from_str(text: &str) -> Result<Mix, TraceError> {
        if let Some((_, mix)) = Mix::NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*mix);
        }
        let weights: Option<Vec<u32>> =
            text.split(':').map(|w| w.parse().ok().filter(|&w| w <= 1_000_000)).collect();
        let weights = weights.and_then(|weights| <[u32; 5]>::try_from(weights).ok());
        match weights.filter(|weights| weights.iter().any(|&weight| weight > 0)) {
            Some(weights) => Ok(Mix { weights }),
            None => Err(TraceError(format!(
                "{}: no such mix: type even, small, large, or the weights of 1g, 2g, 3g, 4g and 7g \
                 as 50:25:12:8:5",
                text.chars().take(64).collect::<String>()
            ))),
        }
    }
}

/// What to make of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Sizes of jobs of one GPU where the trace has none.
    pub mix: Mix,
    /// Decides sizes, limits, and which part of the trace is taken.
    pub seed: u64,
    /// Slice-seconds of all jobs over those that the cluster has between the first and the last
    /// submission; `None`: submissions as they are.
    pub load: Option<f64>,
    /// So many jobs that follow each other, from a place that the seed decides; `None`: all.
    pub jobs: Option<usize>,
    /// Take jobs of several GPUs too.
    pub multi_gpu: bool,
    /// Time limits of jobs without one are up to this many times their run time (evenly spread from
    /// 1), in whole minutes.
    pub limits: f64,
}

impl Default for Options {
    fn default() -> Options {
        Options { mix: Mix::EVEN, seed: 1, load: None, jobs: None, multi_gpu: true, limits: 4.0 }
    }
}

/// The jobs of a simulation, and what became of the trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// By submission.
    pub jobs: Vec<Job>,
    /// Jobs of several GPUs that were left out.
    pub left_out: u64,
    /// Slice-seconds of the jobs over those of the cluster while jobs come; infinite if all come at
    /// once.
    pub load: f64,
}

impl Workload {
    /// Jobs of a trace.
    pub fn of(trace: &Trace, cluster: &Cluster, options: &Options) -> Workload {
        let mut random = ChaCha8Rng::seed_from_u64(options.seed);
        let taken = |size: &Size| options.multi_gpu || !matches!(size, Size::Gpus(_));
        let rows: Vec<_> = trace.rows.iter().filter(|row| taken(&row.size)).collect();
        let left_out = (trace.rows.len() - rows.len()) as u64;
        let count = options.jobs.unwrap_or(rows.len()).min(rows.len());
        let from = random.random_range(0..=rows.len() - count);
        let rows = &rows[from..from + count];
        let start = rows.first().map_or(0.0, |row| row.submit);
        let mut jobs: Vec<Job> = Vec::with_capacity(count);
        for (place, row) in rows.iter().enumerate() {
            let (slices, gpus) = match row.size {
                Size::Slices(slices) => (slices, 1),
                Size::Gpus(gpus) => (7, gpus),
                Size::Unknown => (options.mix.draw(&mut random), 1),
            };
            let id = u32::try_from(place).unwrap_or(u32::MAX);
            let run = time(row.run);
            let limit = match row.limit {
                Some(limit) => time(limit).max(run),
                None => limit(run, options.limits, &mut random),
            };
            let submit = time(row.submit - start);
            let memory_gb = row.memory_gb;
            jobs.push(Job { gpus, limit, memory_gb, ..Job::new(id, submit, run, slices) });
        }
        let load = load(&jobs, cluster);
        let Some(wanted) = options.load.filter(|wanted| *wanted > 0.0 && load.is_finite()) else {
            return Workload { jobs, left_out, load };
        };
        for job in &mut jobs {
            job.submit = (job.submit as f64 * load / wanted).round() as Time;
        }
        Workload { jobs, left_out, load: wanted }
    }
}

/// Slice-seconds of jobs over those of the cluster from the first submission to the last.
pub fn load(jobs: &[Job], cluster: &Cluster) -> f64 {
    let work: f64 = jobs.iter().map(|job| job.all_slices() as f64 * job.run as f64).sum();
    let span = jobs.last().map_or(0, |job| job.submit) as f64;
    work / (f64::from(cluster.gpus) * f64::from(cluster.gpu.slices) * span)
}

/// Jobs out of nothing: they come at random (exponential gaps), and run for log-normal times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generator {
    /// How many.
    pub jobs: usize,
    /// Everything follows from it.
    pub seed: u64,
    /// Their sizes.
    pub mix: Mix,
    /// Median run time in seconds.
    pub median_run: f64,
    /// Standard deviation of the logarithm of the run time.
    pub sigma: f64,
    /// Slice-seconds per second over the cluster's slices.
    pub load: f64,
    /// As [`Options::limits`].
    pub limits: f64,
}

impl Default for Generator {
    /// Half an hour in the middle, with a long tail.
    fn default() -> Generator {
        Generator {
            jobs: 10_000,
            seed: 1,
            mix: Mix::EVEN,
            median_run: 1800.0,
            sigma: 1.2,
            load: 1.0,
            limits: 4.0,
        }
    }
}

impl Generator {
    /// The jobs, one after the other, without keeping them.
    pub fn jobs(&self, cluster: &Cluster) -> impl Iterator<Item = Job> + use<> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let generator = *self;
        let sigma = generator.sigma.clamp(0.0, 5.0);
        let median = generator.median_run.max(1.0);
        let mean_run = median * (sigma * sigma / 2.0).exp();
        let slices = f64::from(cluster.gpus) * f64::from(cluster.gpu.slices);
        let rate = generator.load.max(1e-6) * slices / (mean_run * generator.mix.mean());
        let gaps = Exp::new(rate).ok();
        let runs = LogNormal::new(median.ln(), sigma).ok();
        let draw = |distribution: Option<&dyn DrawF64>, random: &mut ChaCha8Rng| {
            distribution.map_or(1.0, |distribution| distribution.draw(random))
        };
        let mut now = 0.0;
        (0..generator.jobs).map(move |place| {
            now += draw(gaps.as_ref().map(|d| d as &dyn DrawF64), &mut random);
            let run = time(draw(runs.as_ref().map(|d| d as &dyn DrawF64), &mut random));
            let slices = generator.mix.draw(&mut random);
            let id = u32::try_from(place).unwrap_or(u32::MAX);
            let limit = limit(run, generator.limits, &mut random);
            Job { limit, ..Job::new(id, time(now), run, slices) }
        })
    }
}

trait DrawF64 {
    fn draw(&self, random: &mut ChaCha8Rng) -> f64;
}

impl<D: Distribution<f64>> DrawF64 for D {
    fn draw(&self, random: &mut ChaCha8Rng) -> f64 {
        self.sample(random)
    }
}

/// A limit as users give them: more than they need, in whole minutes.
fn limit(run: Time, most: f64, random: &mut impl Rng) -> Time {
    let times = 1.0 + random.random::<f64>() * (most - 1.0).max(0.0);
    let minutes = (run as f64 * times / (60 * SECOND) as f64).ceil().max(1.0);
    minutes as Time * 60 * SECOND
}

fn time(seconds: f64) -> Time {
    (seconds.max(0.0) * SECOND as f64).round().max(1.0) as Time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gpu;
    use crate::trace::Format;

    fn cluster() -> Cluster {
        Cluster { gpus: 8, gpus_per_node: 8, gpu: Gpu::named("a100-80").unwrap() }
    }

    fn trace() -> Trace {
        let rows: Vec<String> = (0..50)
            .map(|n| {
                format!("2017-10-09 07:{n:02}:00,{},{}", 600 + n, if n % 5 == 0 { 4 } else { 1 })
            })
            .collect();
        let text = format!("timestamp,duration,num_gpus\n{}\n", rows.join("\n"));
        Trace::read(Format::Philly, text.as_bytes()).unwrap()
    }

    #[test]
    fn the_seed_decides_everything() {
        let of = |seed| {
            Workload::of(
                &trace(),
                &cluster(),
                &Options { seed, jobs: Some(20), ..Options::default() },
            )
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3).jobs, of(4).jobs);
        assert_eq!(of(3).jobs.len(), 20);
        assert!(of(3).jobs[0].submit <= 1);
    }

    #[test]
    fn the_load_is_as_wanted_and_work_stays() {
        let plain = Workload::of(&trace(), &cluster(), &Options::default());
        let options = Options { load: Some(0.5), ..Options::default() };
        let scaled = Workload::of(&trace(), &cluster(), &options);
        assert!((load(&scaled.jobs, &cluster()) - 0.5).abs() < 1e-3);
        let runs =
            |w: &Workload| w.jobs.iter().map(|j| (j.run, j.slices, j.gpus)).collect::<Vec<_>>();
        assert_eq!(runs(&plain), runs(&scaled));
    }

    #[test]
    fn jobs_of_several_gpus_can_be_left_out() {
        let options = Options { multi_gpu: false, ..Options::default() };
        let workload = Workload::of(&trace(), &cluster(), &options);
        assert_eq!((workload.jobs.len(), workload.left_out), (40, 10));
        assert!(workload.jobs.iter().all(|job| job.gpus == 1));
    }

    #[test]
    fn limits_are_whole_minutes_and_enough() {
        for job in Workload::of(&trace(), &cluster(), &Options::default()).jobs {
            assert!(job.limit >= job.run && job.limit % (60 * SECOND) == 0);
            assert!(job.limit <= 4 * job.run + 60 * SECOND);
        }
    }

    #[test]
    fn mixes_are_read_and_drawn() {
        for (text, mix) in [
            ("even", Mix::EVEN),
            ("small", Mix::SMALL),
            ("1:0:0:0:0", Mix { weights: [1, 0, 0, 0, 0] }),
        ] {
            assert_eq!(text.parse(), Ok(mix));
            assert_eq!(mix.to_string(), text);
        }
        for text in ["", "0:0:0:0:0", "1:2", "big", "1:2:3:4:-7"] {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(error.to_string().contains("no such mix"), "{error}");
        }
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let count = |size, random: &mut ChaCha8Rng| {
            (0..10_000).filter(|_| Mix::SMALL.draw(random) == size).count()
        };
        for (size, share) in [(1, 5000), (2, 2500), (7, 500)] {
            assert!(count(size, &mut random).abs_diff(share) < 200);
        }
    }

    #[test]
    fn generated_jobs_have_the_load() {
        let generator = Generator { jobs: 20_000, load: 0.8, ..Generator::default() };
        let jobs: Vec<Job> = generator.jobs(&cluster()).collect();
        assert_eq!(jobs, generator.jobs(&cluster()).collect::<Vec<_>>());
        let load = load(&jobs, &cluster());
        assert!((load - 0.8).abs() < 0.08, "{load}");
        assert!(jobs.windows(2).all(|two| two[0].submit <= two[1].submit));
    }
}
