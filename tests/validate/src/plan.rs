//! What is replayed and simulated: the cluster, its scheduler, and the jobs of a seed. Pure.

use flexmig_core::profile::Profile;
use flexmig_sim::layout::Cut;
use flexmig_sim::workload::{Generator, Mix};
use flexmig_sim::{
    Cluster, Gpu, Job, Layout, Performance, PolicyName, SECOND, SchedulerName, Setup,
    SlurmParameters, Time,
};

/// Nodes of one GPU each.
pub const NODES: u32 = 12;
/// How the GPUs are cut, in turn.
const LAYOUT: &str = "7x1g,3g+2x2g,4g+3g,3g+2g+2x1g";
/// Shortest and longest job, in seconds.
const SECONDS: (Time, Time) = (60, 300);
/// Shortest and longest time limit, in minutes.
const MINUTES: (Time, Time) = (2, 6);
/// A job's limit leaves it at least so many seconds more than it needs.
const SPARE: Time = 15;

/// Seconds between two looks of flexmig's view of nodes and queue, and of its re-planner.
pub const REFRESH: Time = 1;
const BF_INTERVAL: Time = 10;
const BF_RESOLUTION: Time = 60;
const BATCH_SCHED_DELAY: Time = 3;
const DEPTH: usize = 500;
/// Slurm's schedulers look at the clock once a second.
const LATENCY: Time = SECOND / 2;

/// Seconds for which a job holds its leaves beyond its own time: until its script runs, and from its
/// end until Slurm has noticed. The mean of twelve replays on 22.05.8 and 24.11.5, 0.00 to 0.33; each
/// replay prints its own.
pub const OVERHEAD: f64 = 0.13;

/// How the same jobs are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// `flexmig:3g.40gb:1`: the smallest type that serves.
    Exact,
    /// `flexmig:3g:1`: the plugin chooses.
    Flexmig,
}

impl Variant {
    /// Both.
    pub const ALL: [Variant; 2] = [Variant::Exact, Variant::Flexmig];

    /// `exact`, `flexmig`.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Exact => "exact",
            Variant::Flexmig => "flexmig",
        }
    }

    /// What the simulator calls it.
    pub fn policy(self) -> PolicyName {
        match self {
            Variant::Exact => PolicyName::Static,
            Variant::Flexmig => PolicyName::Flex,
        }
    }

    /// What a user types for so many slices.
    pub fn asks(self, slices: u8) -> String {
        match self {
            Variant::Flexmig => format!("flexmig:{slices}g:1"),
            Variant::Exact => {
                let shapes = gpu().shapes.iter().map(|shape| shape.profile);
                let mut serve = shapes.filter(|profile| profile.slices >= slices && cut(*profile));
                let profile = serve.next().expect("the layout has leaves for every size");
                format!("flexmig:{profile}:1")
            }
        }
    }
}

fn cut(profile: Profile) -> bool {
    let cuts = layout().cuts;
    let mut leaves = cuts.iter().flat_map(Cut::instances);
    leaves.any(|instance| instance.shape.profile == profile)
}

/// How much is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Jobs of a seed.
    pub jobs: usize,
    /// Their slice-seconds over those of the cluster, while they come.
    pub load: f64,
}

/// The GPUs' model.
pub fn gpu() -> &'static Gpu {
    Gpu::named("a100-80").expect("a model")
}

/// The cut of each GPU.
pub fn layout() -> Layout {
    Layout::parse(gpu(), LAYOUT).expect("a layout")
}

/// The cluster.
pub fn cluster() -> Cluster {
    Cluster { gpus: NODES, gpus_per_node: 1, gpu: gpu() }
}

/// The jobs of a seed: at random times, of all sizes that one leaf of the cluster can have.
pub fn jobs(seed: u64, size: &Size) -> Vec<Job> {
    let generator = Generator {
        jobs: size.jobs,
        seed,
        mix: Mix { weights: [35, 26, 31, 8, 0] },
        median_run: 140.0,
        sigma: 0.5,
        load: size.load,
        limits: 2.0,
    };
    let seconds = |time: Time| time.div_ceil(SECOND);
    let fit = |mut job: Job| {
        let run = seconds(job.run).clamp(SECONDS.0, SECONDS.1);
        let least = (run + SPARE).div_ceil(60).max(MINUTES.0);
        let minutes = (job.limit / (60 * SECOND)).clamp(least, MINUTES.1);
        (job.run, job.limit) = (run * SECOND, minutes * 60 * SECOND);
        // Whole seconds: none is submitted while Slurm's clock is between two.
        job.submit = job.submit / SECOND * SECOND;
        job
    };
    generator.jobs(&cluster()).map(fit).collect()
}

/// The same parameters as slurm.conf has them.
pub fn scheduler_parameters() -> String {
    format!(
        "bf_interval={BF_INTERVAL},bf_resolution={BF_RESOLUTION},bf_max_job_test={DEPTH},\
         default_queue_depth={DEPTH},batch_sched_delay={BATCH_SCHED_DELAY}"
    )
}

/// The simulation of a variant. `replans`: flexmig may change the request of a waiting job.
pub fn setup(variant: Variant, replans: bool) -> Setup {
    let mut setup = Setup::new(cluster(), variant.policy(), SchedulerName::Slurm);
    setup.layout = Some(layout());
    // A job that sleeps is as fast on all leaves.
    setup.performance =
        Performance { speed_below: 0.0, speed_above: 0.0, communication: 0.0, ..setup.performance };
    setup.slurm = SlurmParameters {
        bf_interval: BF_INTERVAL * SECOND,
        bf_resolution: BF_RESOLUTION * SECOND,
        bf_max_job_test: DEPTH,
        default_queue_depth: DEPTH,
        batch_sched_delay: BATCH_SCHED_DELAY * SECOND,
        latency: LATENCY,
        replan_interval: if replans { REFRESH * SECOND } else { 0 },
        ..SlurmParameters::default()
    };
    setup
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_limits_are_as_the_validation_says() {
        let jobs = jobs(7, &Size { jobs: 400, load: 1.6 });
        assert_eq!(jobs.len(), 400);
        assert!(jobs.is_sorted_by_key(|job| job.submit));
        for job in jobs {
            assert!((60..=300).contains(&(job.run / SECOND)), "{job:?}");
            assert!((2..=6).contains(&(job.limit / 60 / SECOND)), "{job:?}");
            assert!(job.limit >= job.run + SPARE * SECOND && job.limit % (60 * SECOND) == 0);
            assert!((1..=4).contains(&job.slices) && job.submit % SECOND == 0, "{job:?}");
        }
    }

    #[test]
    fn both_sides_ask_for_the_same() {
        let asks = |variant: Variant| [1, 2, 3, 4].map(|slices| variant.asks(slices));
        assert_eq!(asks(Variant::Flexmig), [1, 2, 3, 4].map(|n| format!("flexmig:{n}g:1")));
        let exact = ["1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb"];
        assert_eq!(asks(Variant::Exact), exact.map(|name| format!("flexmig:{name}:1")));
        // What the simulator gives to one-to-one policies are the same leaves.
        let outcome = flexmig_sim::simulate(
            &setup(Variant::Exact, false),
            &[1, 2, 3, 4].map(|slices| Job::new(slices, 0, SECOND, slices as u8)),
        );
        let mut slices: Vec<u8> = outcome.spans.iter().map(|span| span.slices).collect();
        slices.sort_unstable();
        assert_eq!(slices, [1, 2, 3, 4]);
    }
}
