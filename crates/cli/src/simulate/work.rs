//! Simulations side by side. Each is on its own, so their order changes no result.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use flexmig_sim::report::Digest;
use flexmig_sim::{Job, Setup, simulate_watched};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One simulation.
#[derive(Debug)]
pub struct Task<'t> {
    /// What is simulated.
    pub setup: Setup,
    /// Which jobs these are.
    pub seed: u64,
    /// By submission.
    pub jobs: &'t [Job],
    /// Keep what happened when, for plots.
    pub detailed: bool,
}

/// Jobs after which the bar moves.
const STEP: usize = 256;
/// A run that takes no longer has no bar.
const PATIENCE: Duration = Duration::from_secs(2);

/// All of them; the results are in the order of the tasks.
pub fn run(tasks: &[Task<'_>], threads: usize) -> Vec<Digest> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(tasks.len())));
    let bar = Bar::new(tasks.iter().map(|task| task.jobs.len()).sum());
    let work = || {
        while let Some((place, task)) = {
            let place = next.fetch_add(1, Ordering::Relaxed);
            tasks.get(place).map(|task| (place, task))
        } {
            let mut jobs = 0;
            let outcome = simulate_watched(&task.setup, task.jobs, || {
                jobs += 1;
                if jobs % STEP == 0 {
                    bar.forward(STEP);
                }
            });
            bar.forward(jobs % STEP);
            let digest = Digest::of(task.setup.policy, task.seed, outcome, task.detailed);
            // Nobody panics with the lock.
            done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((place, digest));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(tasks.len()) {
            scope.spawn(work);
        }
        work();
    });
    bar.clear();
    let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, digest)| digest).collect()
}

/// How far it is, on a terminal, for those who have to wait.
struct Bar(ProgressBar);

impl Bar {
    fn new(jobs: usize) -> Bar {
        let bar = ProgressBar::with_draw_target(Some(jobs as u64), ProgressDrawTarget::hidden());
        let template = "simulating {wide_bar} {percent:>3} % of jobs, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Bar(bar)
    }

    fn forward(&self, jobs: usize) {
        self.0.inc(jobs as u64);
        let late = self.0.elapsed() > PATIENCE && self.0.position() < self.0.length().unwrap_or(0);
        if late && self.0.is_hidden() && std::io::stderr().is_terminal() {
            self.0.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}
