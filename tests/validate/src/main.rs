//! `make validate-sim`: the same jobs on a real slurmctld and in the simulator.
//!
//! | module | part |
//! |---|---|
//! | [`plan`] | cluster, scheduler parameters and jobs, for both sides |
//! | [`replay`] | the jobs as `sleep` on a real cluster of 12 nodes |
//! | [`predict`] | the simulator's account of them |
//! | [`compare`] | how far both are apart |
//! | [`record`] | what is kept: a table of each replay, and `validate-sim.json` |
//!
//! Three seeds, each as exact types and as flexmig requests: six clusters at the same time, as jobs
//! that sleep cost nothing. `--short`: one seed with fewer jobs. `--again`: compares the replays of the
//! last run with what the simulator says now.

mod compare;
mod plan;
mod predict;
mod record;
mod replay;

use std::process::ExitCode;
use std::time::Instant;

use compare::{Comparison, median};
use plan::{Size, Variant};
use record::Case;
use replay::Replay;

const USAGE: &str = "usage: validate-sim [--short] [--again]";
const SEEDS: [u64; 3] = [20, 11, 2026];
const FULL: Size = Size { jobs: 180, load: 1.6 };
const SHORT: Size = Size { jobs: 70, load: 2.0 };

/// What must hold of the medians of all cases. Two replays of flexmig requests on Slurm 22.05, where
/// a job keeps what it got, have a tau of 0.88 to 0.92 against each other: no prediction of one such
/// case can be held to more.
const MAKESPAN_ERROR: f64 = 0.10;
const TAU: f64 = 0.9;

fn main() -> ExitCode {
    let (mut short, mut again) = (false, false);
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--short" => short = true,
            "--again" => again = true,
            _ => {
                eprintln!("validate-sim: {word}: not known: {USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    match run(short, again) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("validate-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(short: bool, again: bool) -> Result<(), String> {
    let (seeds, size) = if short { (&SEEDS[..1], SHORT) } else { (&SEEDS[..], FULL) };
    let name = if short { "validate-sim-short" } else { "validate-sim" };
    let dir = flexmig_cluster::build_dir().join("bench").join(name);
    let begin = Instant::now();
    let cases: Vec<Case> =
        seeds.iter().flat_map(|&seed| Variant::ALL.map(|variant| Case { seed, variant })).collect();
    let replays: Vec<Replay> = if again {
        cases.iter().map(|case| record::load(&dir, case)).collect::<Result<_, _>>()?
    } else {
        let replays = std::thread::scope(|scope| {
            let threads: Vec<_> = cases
                .iter()
                .map(|case| {
                    let jobs = plan::jobs(case.seed, &size);
                    scope.spawn(move || replay::replay(&jobs, case.variant))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().ok()).collect::<Option<Vec<_>>>()
        });
        let replays = replays.ok_or("a replay failed: see above")?;
        for (case, replay) in cases.iter().zip(&replays) {
            record::save(&dir, case, replay, &plan::jobs(case.seed, &size))?;
        }
        println!("replayed in {} s", begin.elapsed().as_secs());
        replays
    };
    let mut compared = Vec::new();
    println!("{}", record::HEADER);
    for (case, replay) in cases.iter().zip(&replays) {
        let jobs = plan::jobs(case.seed, &size);
        let predicted = predict::predict(&jobs, case.variant, replay);
        let comparison = Comparison::of(&replay.jobs, &predicted);
        record::print(case, replay, &comparison);
        record::side_by_side(&dir, case, replay, &predicted)?;
        compared.push((*case, comparison));
    }
    judge(&compared, &dir)
}

/// Prints the spread, and says what does not hold.
fn judge(compared: &[(Case, Comparison)], dir: &std::path::Path) -> Result<(), String> {
    let errors: Vec<f64> = compared.iter().map(|(_, c)| c.error().abs()).collect();
    let taus: Vec<f64> = compared.iter().map(|(_, c)| c.tau).collect();
    let (least, most) = spread(&errors);
    let error = median(errors.clone());
    println!(
        "error of the makespan: median {:.1} %, {:.1} to {:.1} %",
        error * 100.0,
        least * 100.0,
        most * 100.0
    );
    println!("tau of the starts: median {:.3}, least {:.3}", median(taus.clone()), spread(&taus).0);
    let mut wrong = Vec::new();
    for pair in compared.chunks(2) {
        let [(case, exact), (_, flexmig)] = pair else { continue };
        let real = flexmig.real.makespan / exact.real.makespan;
        let predicted = flexmig.predicted.makespan / exact.predicted.makespan;
        println!("seed {}: flexmig over exact {real:.3}, predicted {predicted:.3}", case.seed);
        if (real < 1.0) != (predicted < 1.0) {
            wrong.push(format!("seed {}: another policy comes first", case.seed));
        }
    }
    if error > MAKESPAN_ERROR {
        wrong.push(format!("the median error of the makespan is {:.1} %", error * 100.0));
    }
    if median(taus.clone()) < TAU {
        wrong.push(format!("the median tau of the starts is {:.3}", median(taus.clone())));
    }
    record::summary(dir, error, &errors, &taus)?;
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn spread(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}
