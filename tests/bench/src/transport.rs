//! Messages between two processes of one host, through the net plugin as `flexmig bench transport`
//! drives it: against UCX over shared memory, and against what two copy loops reach.

use crate::copy_limit;
use crate::peers::{self, Ucx};
use crate::report::{Figure, Report, load};
use crate::stats::Sample;

const MIB: usize = 1 << 20;

/// How much is measured.
pub struct Plan {
    /// Rounds; a ratio is taken of each.
    pub rounds: usize,
    /// Each size is the one before times this, from 8 bytes to 64 MiB.
    pub factor: usize,
}

/// What was measured of one size: a number per round.
#[derive(Default)]
struct Row {
    bytes: usize,
    ours: Series,
    ucx: Series,
    /// Two copy loops with our primitive, and with the fastest one.
    limit: Vec<f64>,
    fastest: Vec<f64>,
}

/// Microseconds of half a round trip, and bytes per second one way.
#[derive(Default)]
struct Series {
    latency: Vec<f64>,
    bandwidth: Vec<f64>,
}

/// Measures; the plugin and the command must have been built.
pub fn measure(plan: &Plan) -> Result<Report, String> {
    let ucx = Ucx::find().inspect_err(|reason| eprintln!("transport: {reason}")).ok();
    let mut rows: Vec<Row> =
        sizes(plan.factor).into_iter().map(|bytes| Row { bytes, ..Row::default() }).collect();
    let before = load();
    for round in 0..plan.rounds {
        for row in &mut rows {
            row.measure(ucx.as_ref(), round % 2 == 1)?;
        }
    }
    println!("\ntransport between two processes, medians; load average {before} to {}", load());
    print_table(&rows, ucx.as_ref());
    Ok(report(&rows))
}

/// From 8 bytes to 64 MiB, always with the sizes that figures are named after.
fn sizes(factor: usize) -> Vec<usize> {
    let mut sizes = vec![8, MIB, 64 * MIB];
    sizes.extend(
        std::iter::successors(Some(8), |size| Some(size * factor))
            .take_while(|&size| size <= 64 * MIB),
    );
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

impl Row {
    fn is_chief(&self) -> bool {
        [MIB, 64 * MIB].contains(&self.bytes)
    }

    /// One round of one size: everybody's turn, in changing order.
    fn measure(&mut self, ucx: Option<&Ucx>, ucx_first: bool) -> Result<(), String> {
        for turn in [ucx_first, !ucx_first] {
            match ucx {
                Some(ucx) if turn => {
                    self.ucx.latency.push(ucx.latency(self.bytes)?);
                    self.ucx.bandwidth.push(ucx.bandwidth(self.bytes)?);
                }
                _ if turn => {}
                _ => {
                    let (time, rate) = peers::flexmig("transport", 2, self.bytes)?;
                    self.ours.latency.push(time);
                    self.ours.bandwidth.push(rate);
                }
            }
        }
        if self.is_chief() {
            let limits = copy_limit::measure(self.bytes)?;
            self.limit.push(limits.same);
            self.fastest.push(limits.fastest);
        }
        Ok(())
    }
}

fn print_table(rows: &[Row], ucx: Option<&Ucx>) {
    let peer = ucx.map_or("UCX: not measured", |ucx| &ucx.version);
    println!("{:>10} {:>27} {:>27}", "", "one way, GB/s", "half a round trip, us");
    println!(
        "{:>10} {:>9}{:>9}{:>9} {:>9}{:>9}{:>9}   [1] {peer}",
        "bytes", "FlexMIG", "UCX [1]", "ratio", "FlexMIG", "UCX [1]", "ratio"
    );
    let median = |values: &[f64]| Sample::new(values.to_vec()).median();
    for Row { bytes, ours, ucx, .. } in rows {
        let (rate, time) = (median(&ours.bandwidth) / 1e9, median(&ours.latency));
        if ucx.latency.is_empty() {
            println!("{bytes:>10} {rate:>9.3}{:>9}{:>9} {time:>9.2}", "", "");
            continue;
        }
        let (ucx_rate, ucx_time) = (median(&ucx.bandwidth) / 1e9, median(&ucx.latency));
        let more = Sample::ratios(&ours.bandwidth, &ucx.bandwidth).median();
        let longer = Sample::ratios(&ours.latency, &ucx.latency).median();
        println!(
            "{bytes:>10} {rate:>9.3}{ucx_rate:>9.3}{more:>9.2} {time:>9.2}{ucx_time:>9.2}{longer:>9.2}"
        );
    }
}

fn report(rows: &[Row]) -> Report {
    let mut report = Report::new("transport, GB/s and microseconds");
    let row = |bytes| rows.iter().find(|row| row.bytes == bytes).expect("a chief size is measured");
    let scaled = |values: &[f64]| Sample::new(values.iter().map(|value| value / 1e9).collect());
    for (bytes, title, [limit_name, fastest_name, ucx_name]) in [
        (
            MIB,
            "1 MiB",
            [
                "transport_bw_1m_vs_copy_limit",
                "transport_bw_1m_vs_fastest_copy_loops",
                "transport_bw_1m_vs_ucx",
            ],
        ),
        (
            64 * MIB,
            "64 MiB",
            [
                "transport_bw_64m_vs_copy_limit",
                "transport_bw_64m_vs_fastest_copy_loops",
                "transport_bw_64m_vs_ucx",
            ],
        ),
    ] {
        let Row { ours, ucx, limit, fastest, .. } = row(bytes);
        let figure = |name, against, other: &[f64]| {
            let sample = Sample::ratios(&ours.bandwidth, other);
            Figure { name, against, lower_is_better: false, sample }
        };
        report.row(format!("{title}, FlexMIG"), scaled(&ours.bandwidth));
        report.row(format!("{title}, two loops of the kernel's copy together"), scaled(limit));
        report.row(format!("{title}, two loops of the fastest copy together"), scaled(fastest));
        report.figure(figure(limit_name, "two loops with its copy", limit));
        report.figure(figure(fastest_name, "two fastest copy loops", fastest));
        if !ucx.bandwidth.is_empty() {
            report.row(format!("{title}, UCX"), scaled(&ucx.bandwidth));
            report.figure(figure(ucx_name, "ucx_perftest tag_bw", &ucx.bandwidth));
        }
    }
    let Row { ours, ucx, .. } = row(8);
    report.row("8 B, FlexMIG, us", Sample::new(ours.latency.clone()));
    if !ucx.latency.is_empty() {
        report.row("8 B, UCX, us", Sample::new(ucx.latency.clone()));
        report.figure(Figure {
            name: "transport_latency_8b_vs_ucx",
            against: "ucx_perftest tag_lat",
            lower_is_better: true,
            sample: Sample::ratios(&ours.latency, &ucx.latency),
        });
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chief_sizes_are_always_there() {
        assert_eq!(sizes(2).len(), 24);
        for factor in [2, 8, 1024] {
            let sizes = sizes(factor);
            assert!([8, MIB, 64 * MIB].iter().all(|size| sizes.contains(size)), "{sizes:?}");
            assert!(sizes.is_sorted());
        }
    }

    #[test]
    fn without_ucx_its_figures_are_missing() {
        let rows = [8, MIB, 64 * MIB].map(|bytes| Row {
            bytes,
            ours: Series { latency: vec![1.0], bandwidth: vec![2e9] },
            ucx: Series::default(),
            limit: vec![4e9],
            fastest: vec![5e9],
        });
        let names: Vec<_> = report(&rows).names().collect();
        let expected = [
            "transport_bw_1m_vs_copy_limit",
            "transport_bw_1m_vs_fastest_copy_loops",
            "transport_bw_64m_vs_copy_limit",
            "transport_bw_64m_vs_fastest_copy_loops",
        ];
        assert_eq!(names, expected);
    }
}
