//! What clusters have in common: which of the built plugins they get, and when they are visited.

use std::fs;

use flexmig_cluster::{Cluster, Plugins, build_dir};

/// A directory that holds one of the built plugins alone: a cluster with job_submit/flexmig but
/// without the GRES plugin, or the other way round.
#[derive(Debug)]
pub struct Loaded(tempfile::TempDir);

impl Loaded {
    /// With this file of `build/lib/slurm`.
    pub fn only(file: &str) -> Result<Loaded, String> {
        let from = build_dir().join("lib/slurm").join(file);
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        fs::copy(&from, dir.path().join(file))
            .map_err(|error| format!("{}: {error}: run `make build`", from.display()))?;
        Ok(Loaded(dir))
    }

    /// For the cluster's builder.
    pub fn directory(&self) -> Plugins {
        Plugins::Directory(self.0.path().to_owned())
    }
}

/// Lets slurmctld log as much as sites do; the harness asks for more.
pub fn quiet(cluster: &Cluster) {
    cluster.scontrol("setdebug info").ok();
}

/// Visits every candidate once a round, forwards and backwards in turn (ABC, CBA, ABC, ...), so
/// that a machine that gets slower or faster does it to all alike. Answers the visits of each
/// candidate in the order of rounds.
pub fn rounds<C: Copy, V, const N: usize>(
    what: &str,
    rounds: usize,
    candidates: [C; N],
    mut visit: impl FnMut(C) -> Result<V, String>,
) -> Result<[Vec<V>; N], String> {
    let mut visits = [const { Vec::new() }; N];
    for round in 0..rounds {
        eprint!("\r{what}: round {} of {rounds} ", round + 1);
        for place in order(round, N) {
            visits[place].push(visit(candidates[place])?);
        }
    }
    eprintln!();
    Ok(visits)
}

fn order(round: usize, count: usize) -> Vec<usize> {
    let forwards = 0..count;
    if round.is_multiple_of(2) { forwards.collect() } else { forwards.rev().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_forwards_and_backwards() {
        let mut seen = String::new();
        let visits = rounds("test", 3, ['a', 'b', 'c'], |candidate| {
            seen.push(candidate);
            Ok(seen.len())
        });
        assert_eq!(visits, Ok([vec![1, 6, 7], vec![2, 5, 8], vec![3, 4, 9]]));
        assert_eq!(seen, "abccbaabc");
    }
}
