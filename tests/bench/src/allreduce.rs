//! An all-reduce of 16 MiB of floats over four ranks of one host: ours through the net plugin, Open
//! MPI's over shared memory, and PyTorch's gloo.

use crate::peers::{self, Gloo, OpenMpi};
use crate::report::{Figure, Report, load};
use crate::stats::Sample;

const RANKS: usize = 4;
const BYTES: usize = 16 << 20;

/// Measures in turns; the plugin and the command must have been built.
pub fn measure(rounds: usize) -> Result<Report, String> {
    let say = |reason: &String| eprintln!("allreduce: {reason}");
    let open_mpi = OpenMpi::build().inspect_err(say).ok();
    let mut gloo = Gloo::start(RANKS, BYTES).inspect_err(say).ok();
    let (mut ours, mut theirs, mut gloos) = (Vec::new(), Vec::new(), Vec::new());
    let mut version = String::new();
    let before = load();
    for _ in 0..rounds {
        ours.push(peers::flexmig("allreduce", RANKS, BYTES)?.0);
        if let Some(open_mpi) = &open_mpi {
            let (time, says) = open_mpi.allreduce(RANKS, BYTES)?;
            theirs.push(time);
            version = says;
        }
        if let Some(gloo) = &mut gloo {
            gloos.push(gloo.allreduce()?);
        }
    }
    let mut report =
        Report::new(format!("all-reduce of 16 MiB, 4 ranks, ms; load {before} to {}", load()));
    let milliseconds = |times: &[f64]| Sample::new(times.iter().map(|us| us / 1e3).collect());
    report.row("FlexMIG", milliseconds(&ours));
    if !theirs.is_empty() {
        report.row(version, milliseconds(&theirs));
        report.figure(figure(
            "allreduce_4x16m_vs_openmpi",
            "Open MPI, shared memory",
            &ours,
            &theirs,
        ));
    }
    if let Some(gloo) = gloo {
        report.row(format!("gloo of {}", gloo.version), milliseconds(&gloos));
        report.figure(figure("allreduce_4x16m_vs_gloo", "PyTorch gloo", &ours, &gloos));
        gloo.end()?;
    }
    Ok(report)
}

/// The ratio of bandwidths, from times.
fn figure(name: &'static str, against: &'static str, ours: &[f64], theirs: &[f64]) -> Figure {
    Figure { name, against, lower_is_better: false, sample: Sample::ratios(theirs, ours) }
}
