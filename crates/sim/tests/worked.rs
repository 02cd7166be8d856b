//! Cases small enough to work out by hand, for every policy and scheduler.

use flexmig_sim::{
    Cluster, Gpu, Job, Layout, Outcome, Oversize, Performance, PolicyName, SECOND, SchedulerName,
    Setup, simulate,
};

/// A100-80, all on one node; collectives cost nothing.
fn setup(gpus: u32, policy: PolicyName, scheduler: SchedulerName) -> Setup {
    let gpu = Gpu::named("a100-80").unwrap();
    let mut setup = Setup::new(Cluster { gpus, gpus_per_node: 8, gpu }, policy, scheduler);
    setup.performance.communication = 0.0;
    setup
}

fn easy(gpus: u32, policy: PolicyName) -> Setup {
    setup(gpus, policy, SchedulerName::Easy)
}

fn layout(mut setup: Setup, text: &str) -> Setup {
    setup.layout = Some(Layout::parse(setup.cluster.gpu, text).unwrap());
    setup
}

/// Jobs from (submission, slices, run time) in seconds, with their run time as limit.
fn jobs(of: &[(u64, u8, u64)]) -> Vec<Job> {
    let job = |(id, &(submit, slices, run)): (usize, &(u64, u8, u64))| {
        Job::new(id as u32, submit * SECOND, run * SECOND, slices)
    };
    of.iter().enumerate().map(job).collect()
}

/// Start and end of every job in seconds.
fn times(outcome: &Outcome) -> Vec<(f64, f64)> {
    let seconds = |time: u64| time as f64 / SECOND as f64;
    outcome
        .records
        .iter()
        .map(|r| r.ran.map_or((-1.0, -1.0), |(s, e)| (seconds(s), seconds(e))))
        .collect()
}

#[test]
fn static_leaves_wait_for_their_size() {
    // 4g+2g+1g; the second 2g waits for the first, whatever else is free.
    let outcome = simulate(
        &easy(1, PolicyName::Static),
        &jobs(&[(0, 4, 10), (0, 2, 100), (0, 2, 50), (0, 3, 100), (0, 1, 10)]),
    );
    // The job of three slices gets the 4g, whose SMs above three help it a little.
    assert_eq!(times(&outcome)[..3], [(0.0, 10.0), (0.0, 100.0), (100.0, 150.0)]);
    let (start, end) = times(&outcome)[3];
    assert_eq!(start, 10.0);
    assert!((end - start - 100.0 * (42.0f64 / 56.0).powf(0.33)).abs() < 0.001);
    assert_eq!(outcome.metrics.makespan, 150.0);
    assert_eq!(outcome.layout, "4g.40gb+2g.20gb+1g.10gb");
}

#[test]
fn jobs_larger_than_any_instance_shrink_or_never_fit() {
    let mut setup = easy(1, PolicyName::Static);
    let all = jobs(&[(0, 7, 100), (0, 1, 10)]);
    let end = times(&simulate(&setup, &all))[0].1;
    assert!((end - 100.0 * (98.0f64 / 56.0).powf(0.98)).abs() < 0.001, "{end}");
    setup.oversize = Oversize::Reject;
    let outcome = simulate(&setup, &all);
    assert_eq!((outcome.metrics.unplaced, outcome.metrics.jobs), (1, 1));
    assert_eq!(times(&outcome)[0], (-1.0, -1.0));
}

#[test]
fn drained_gpus_are_cut_for_what_waits() {
    // Idle: cut into 2x3g in 180 s. The job for the whole GPU waits until it is idle again.
    let outcome =
        simulate(&easy(1, PolicyName::Drain), &jobs(&[(0, 3, 100), (0, 3, 100), (0, 7, 100)]));
    assert_eq!(times(&outcome), [(180.0, 280.0), (180.0, 280.0), (460.0, 560.0)]);
    assert_eq!(outcome.metrics.reconfigurations, 2);
}

#[test]
fn dynamic_instances_come_and_go() {
    // 4g and 3g side by side; for the 2g there is no room, then there is.
    let outcome = simulate(
        &easy(1, PolicyName::Dynamic),
        &jobs(&[(0, 4, 100), (0, 3, 120), (0, 2, 50), (0, 7, 10)]),
    );
    assert_eq!(times(&outcome), [(5.0, 105.0), (5.0, 125.0), (110.0, 160.0), (165.0, 175.0)]);
}

#[test]
fn uniform_leaves_are_all_used() {
    let outcome = simulate(
        &easy(1, PolicyName::FlexUniform),
        &jobs(&[(0, 3, 100), (0, 4, 100), (0, 2, 50), (0, 7, 10)]),
    );
    assert_eq!(times(&outcome), [(0.0, 100.0), (0.0, 100.0), (100.0, 150.0), (150.0, 160.0)]);
    let leaves: Vec<u32> = outcome.records.iter().map(|record| record.leaves).collect();
    assert_eq!(leaves, [3, 4, 2, 7]);
}

#[test]
fn spanning_costs_what_the_model_says() {
    let mut setup = easy(2, PolicyName::FlexUniform);
    setup.performance = Performance::default();
    let outcome = simulate(&setup, &jobs(&[(0, 7, 100), (0, 4, 100), (0, 1, 100), (0, 2, 100)]));
    let ends: Vec<f64> = times(&outcome).into_iter().map(|(_, end)| end).collect();
    // Within one GPU: 100 x (1 + 0.12 x 0.18 x (n - 1) / n).
    assert_eq!(ends, [101.851, 101.62, 100.0, 101.08]);
    // Six leaves are left of one GPU: the next seven are on two.
    let outcome = simulate(&setup, &jobs(&[(0, 1, 500), (0, 7, 100), (0, 6, 100)]));
    assert_eq!(times(&outcome)[1], (0.0, 110.286));
    assert_eq!(outcome.records[1].parents, 2);
}

#[test]
fn flex_takes_native_leaves_first_and_composes_then() {
    let setup = layout(easy(1, PolicyName::Flex), "3g+4x1g");
    let outcome = simulate(&setup, &jobs(&[(0, 3, 100), (0, 3, 150), (0, 3, 100), (0, 1, 10)]));
    assert_eq!(times(&outcome), [(0.0, 100.0), (0.0, 150.0), (100.0, 200.0), (0.0, 10.0)]);
    let leaves: Vec<u32> = outcome.records.iter().map(|record| record.leaves).collect();
    assert_eq!(leaves, [1, 3, 1, 1]);
}

#[test]
fn a_pool_has_no_fragments() {
    // 14 slices of two GPUs: 5 + 5 leaves 4 over, which no single GPU would have.
    let outcome = simulate(
        &easy(2, PolicyName::Pooled),
        &jobs(&[(0, 3, 100), (0, 7, 100), (0, 4, 100), (0, 7, 50)]),
    );
    assert_eq!(times(&outcome), [(0.0, 100.0), (0.0, 100.0), (0.0, 100.0), (100.0, 150.0)]);
    assert!(
        (outcome.metrics.utilisation_sm - (14.0 * 100.0 + 7.0 * 50.0) / (14.0 * 150.0)).abs()
            < 1e-9
    );
}

#[test]
fn jobs_of_several_gpus_get_them() {
    let mut all = jobs(&[(0, 1, 100), (0, 7, 100), (0, 7, 100)]);
    all[1].gpus = 2;
    all[2].gpus = 12;
    for policy in
        [PolicyName::Pooled, PolicyName::FlexUniform, PolicyName::Dynamic, PolicyName::Drain]
    {
        let mut setup = easy(16, policy);
        setup.performance.cost_nodes = 0.0;
        (setup.performance.drain_seconds, setup.performance.dynamic_seconds) = (0.0, 0.0);
        let outcome = simulate(&setup, &all);
        // Two nodes of eight: six of each for the large job.
        let expected = match policy {
            // Five GPUs are left of the first node.
            PolicyName::Dynamic | PolicyName::Drain => {
                vec![(0.0, 100.0), (0.0, 100.0), (100.0, 200.0)]
            }
            _ => vec![(0.0, 100.0), (0.0, 100.0), (100.0, 200.0)],
        };
        assert_eq!(times(&outcome), expected, "{policy}");
    }
}

#[test]
fn easy_fills_in_what_does_not_delay_the_first_job() {
    // Four of seven leaves are taken; the second job needs all. Of those behind it one is done in
    // time, the other is not.
    let outcome = simulate(
        &easy(1, PolicyName::FlexUniform),
        &jobs(&[(0, 4, 100), (1, 7, 100), (2, 3, 98), (3, 3, 150)]),
    );
    assert_eq!(times(&outcome), [(0.0, 100.0), (100.0, 200.0), (2.0, 100.0), (200.0, 350.0)]);
}

/// The second job is planned for when the first ends: Slurm keeps its whole node for it, EASY its
/// leaves. Only a job that ends before may start.
#[test]
fn slurm_reserves_whole_nodes() {
    let all = jobs(&[(0, 4, 120), (1, 6, 120), (2, 1, 180), (2, 1, 60)]);
    let slurm = simulate(&setup(1, PolicyName::FlexUniform, SchedulerName::Slurm), &all);
    assert_eq!(times(&slurm), [(0.0, 120.0), (120.0, 240.0), (120.0, 300.0), (30.0, 90.0)]);
    let easy = simulate(&easy(1, PolicyName::FlexUniform), &all);
    assert_eq!(times(&easy), [(0.0, 120.0), (120.0, 240.0), (2.0, 182.0), (2.0, 62.0)]);
}

/// The third job is submitted while a 3g is what it would have to wait for, as no other leaves
/// are free. When 1g leaves become free, re-planning moves it.
#[test]
fn waiting_jobs_are_moved_under_slurm() {
    let mut setup = layout(setup(1, PolicyName::Flex, SchedulerName::Slurm), "3g+4x1g");
    let all = jobs(&[(0, 3, 600), (0, 4, 60), (1, 3, 120)]);
    let outcome = simulate(&setup, &all);
    assert_eq!(outcome.metrics.replanned, 1);
    assert_eq!(outcome.records[2].leaves, 3);
    assert!(times(&outcome)[2].0 < 100.0, "{:?}", times(&outcome));
    // Where jobs keep their first composition it is that with the shorter queue.
    setup.slurm.replan_interval = 0;
    assert_eq!(simulate(&setup, &all).metrics.replanned, 0);
    assert_eq!(times(&simulate(&setup, &all))[2], (60.0, 180.0));
}

#[test]
fn equal_input_gives_equal_output() {
    let all: Vec<Job> = (0..300u32)
        .map(|i| {
            Job::new(
                i,
                u64::from(i) * 7000,
                50_000 + u64::from(i * 7919 % 90_000),
                [1, 2, 3, 4, 7][i as usize % 5],
            )
        })
        .collect();
    for policy in PolicyName::ALL {
        for scheduler in SchedulerName::ALL {
            let setup = setup(3, policy, scheduler);
            assert_eq!(simulate(&setup, &all), simulate(&setup, &all), "{policy} {scheduler}");
        }
    }
}
