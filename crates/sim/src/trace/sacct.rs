//! `sacct --parsable2` of one's own cluster.
//!
//! What was asked for comes from ReqTRES: leaves (`gres/flexmig:3g.40gb=1`), MIG types of gres/gpu
//! (`gres/gpu:a100_3g.20gb=1`), or whole GPUs (`gres/gpu=2`). Several leaves count as their slices
//! together, up to a whole GPU, and beyond that as whole GPUs, rounded up.

use flexmig_core::profile::Profile;

use super::columns::{Columns, seconds};
use super::{Row, Size, Trace, TraceError, whole_gpus};

/// The command that makes such a file. Only whole jobs (`-X`), of all users.
pub const SACCT: &str = "sacct --allusers --allocations --parsable2 --starttime=now-30days \
    --format=JobIDRaw,Submit,Start,ElapsedRaw,TimelimitRaw,NNodes,State,ReqTRES > trace.txt";

pub fn read(text: &str, trace: &mut Trace) -> Result<(), TraceError> {
    let needed = ["Submit", "ElapsedRaw", "ReqTRES"];
    let optional = ["TimelimitRaw", "JobIDRaw", "State"];
    let mend = format!("make the file with: {SACCT}");
    let columns = Columns::new(text, b'|', &needed, &optional, &mend)?;
    columns.each(trace, |trace, line, fields| {
        let [submit, elapsed, tres, limit, id, state] = fields else { return };
        if id.contains('.') {
            return trace.skip(line, "a step: run sacct with --allocations", id);
        }
        let Some(submit) = seconds(submit) else {
            return trace.skip(line, "Submit is no time", submit);
        };
        let Ok(run) = elapsed.parse() else {
            return trace.skip(line, "ElapsedRaw is no number", elapsed);
        };
        if run == 0.0 || state.starts_with("PENDING") {
            return trace.skip(line, "never ran", "");
        }
        if state.starts_with("RUNNING") {
            return trace.skip(line, "still runs, so its length is not known", "");
        }
        let limit = limit.parse::<f64>().ok().map(|minutes| minutes * 60.0);
        match asked(tres) {
            Some((size, memory_gb)) => {
                trace.push(Row { line, submit, run, limit, size, memory_gb });
            }
            None => trace.skip(line, "no GPU", ""),
        }
    });
    Ok(())
}

/// Size, and the memory of its smallest leaf.
fn asked(tres: &str) -> Option<(Size, u16)> {
    let (mut slices, mut memory, mut gpus) = (0u64, None::<u16>, 0u64);
    let (mut untyped_gpus, mut untyped_leaves) = (0u64, 0u64);
    for entry in tres.split(',') {
        let Some((name, count)) = entry.split_once('=') else { continue };
        let Ok(count) = count.parse::<u64>() else { continue };
        let Some(gres) = name.strip_prefix("gres/") else { continue };
        let (gres, kind) =
            gres.split_once(':').map_or((gres, None), |(gres, kind)| (gres, Some(kind)));
        match (gres, kind, kind.and_then(Profile::of_type)) {
            ("gpu" | "flexmig", _, Some(profile)) => {
                slices = slices.saturating_add(count.saturating_mul(profile.compute.into()));
                memory = memory.into_iter().chain([profile.memory_gb]).min();
            }
            ("gpu", Some(_), None) => gpus = gpus.saturating_add(count),
            ("gpu", None, _) => untyped_gpus = untyped_gpus.saturating_add(count),
            ("flexmig", None, _) => untyped_leaves = untyped_leaves.saturating_add(count),
            _ => {}
        }
    }
    if slices > 0 {
        // gres/gpu counts the same devices again.
        return Some((sized(slices)?, memory.unwrap_or(0)));
    }
    if untyped_leaves > 0 {
        return Some((sized(untyped_leaves)?, 0));
    }
    whole_gpus(gpus.max(untyped_gpus)).map(|size| (size, 0))
}

/// The smallest instance with so many slices, or whole GPUs.
fn sized(slices: u64) -> Option<Size> {
    match slices {
        0 => None,
        1..=4 => u8::try_from(slices).ok().map(Size::Slices),
        5..=7 => Some(Size::Slices(7)),
        more => u16::try_from(more.div_ceil(7)).ok().map(Size::Gpus),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Format, Trace};

    #[test]
    fn accounting_becomes_jobs() {
        let text = "JobIDRaw|Submit|Start|ElapsedRaw|TimelimitRaw|NNodes|State|ReqTRES\n\
            1|2026-01-01T00:00:00|2026-01-01T00:00:09|600|60|1|COMPLETED|billing=1,cpu=4,gres/flexmig:3g.40gb=1,gres/flexmig=1,mem=4G\n\
            1.batch|2026-01-01T00:00:00|2026-01-01T00:00:09|600||1|COMPLETED|\n\
            2|2026-01-01T00:01:00|2026-01-01T00:01:00|60|UNLIMITED|1|FAILED|cpu=1,gres/gpu=2\n\
            3|2026-01-01T00:02:00|Unknown|0|5|1|CANCELLED by 0|cpu=1,gres/gpu=1\n\
            4|2026-01-01T00:02:00|2026-01-01T00:02:00|7|5|1|RUNNING|cpu=1,gres/gpu=1\n\
            5|2026-01-01T00:02:00|2026-01-01T00:02:00|7|5|1|COMPLETED|cpu=1\n";
        let trace = Trace::read(Format::Sacct, text.as_bytes()).unwrap();
        let rows: Vec<_> =
            trace.rows.iter().map(|r| (r.line, r.run, r.limit, r.size, r.memory_gb)).collect();
        assert_eq!(
            rows,
            [(2, 600.0, Some(3600.0), Size::Slices(3), 40), (4, 60.0, None, Size::Gpus(2), 0),]
        );
        assert_eq!((trace.rows[0].submit, trace.skipped_count()), (1_767_225_600.0, 4));
        let lines: Vec<usize> = trace.skipped.iter().map(|skipped| skipped.line).collect();
        assert_eq!(lines, [3, 5, 6, 7]);
    }

    #[test]
    fn requests_become_sizes() {
        for (tres, expected) in [
            ("gres/flexmig:1g.10gb=4,gres/flexmig=4", Some((Size::Slices(4), 10))),
            ("gres/flexmig:1g.10gb=9", Some((Size::Gpus(2), 10))),
            ("gres/flexmig=6", Some((Size::Slices(7), 0))),
            ("gres/gpu:a100_3g.20gb=1,gres/gpu=1", Some((Size::Slices(3), 20))),
            ("gres/gpu:a100=1,gres/gpu=1", Some((Size::Unknown, 0))),
            ("gres/gpu=8", Some((Size::Gpus(8), 0))),
            ("cpu=4,mem=5G", None),
            ("", None),
        ] {
            assert_eq!(asked(tres), expected, "{tres}");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_told_how_to_be_made() {
        let error = Trace::read(Format::Sacct, &b"a|b\n1|2\n"[..]).unwrap_err();
        assert!(error.to_string().ends_with(SACCT), "{error}");
    }
}
