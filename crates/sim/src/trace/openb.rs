//! Pods of Alibaba's cluster-trace-gpu-v2023. `gpu_milli` is in thousandths of a GPU.

use super::columns::{Columns, MEND};
use super::{Row, Size, Trace, TraceError};

/// Slices for thousandths of a GPU: the smallest instance whose share of seven slices is enough.
pub fn slices(milli: u64) -> u8 {
    match milli {
        0..=143 => 1,
        144..=286 => 2,
        287..=429 => 3,
        430..=571 => 4,
        _ => 7,
    }
}

pub fn read(text: &str, trace: &mut Trace) -> Result<(), TraceError> {
    let needed = ["num_gpu", "gpu_milli", "creation_time", "deletion_time"];
    let columns = Columns::new(text, b',', &needed, &["scheduled_time"], MEND)?;
    columns.each(trace, |trace, line, fields| {
        let [gpus, milli, created, deleted, scheduled] = fields else { return };
        let (Ok(created), Ok(deleted)) = (created.parse::<f64>(), deleted.parse::<f64>()) else {
            return trace.skip(line, "a time is no number", deleted);
        };
        let (Ok(gpus), Ok(milli)) = (gpus.parse::<u64>(), milli.parse::<u64>()) else {
            return trace.skip(line, "num_gpu or gpu_milli is no number", "");
        };
        let size = match gpus {
            0 => return trace.skip(line, "no GPU", ""),
            1 => Size::Slices(slices(milli)),
            more => match u16::try_from(more) {
                Ok(more) => Size::Gpus(more),
                Err(_) => return trace.skip(line, "too many GPUs", ""),
            },
        };
        let Ok(start) = scheduled.parse::<f64>() else {
            return trace.skip(line, "never started", "");
        };
        let run = deleted - start;
        trace.push(Row { line, submit: created, run, limit: None, size, memory_gb: 0 });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::trace::{Format, Size, Trace};

    #[test]
    fn pods_become_jobs() {
        let text = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n\
            a,12000,16384,1,1000,,LS,Running,0,100,10\n\
            b,6000,12288,1,286,,LS,Running,5,55,5\n\
            c,6000,12288,2,1000,V100M16,LS,Running,6,56,6\n\
            d,6000,12288,0,0,,LS,Running,6,56,6\n\
            e,6000,12288,1,460,,LS,Pending,6,56,\n";
        let trace = Trace::read(Format::Openb, text.as_bytes()).unwrap();
        let rows: Vec<_> = trace.rows.iter().map(|r| (r.submit, r.run, r.size)).collect();
        assert_eq!(
            rows,
            [
                (0.0, 90.0, Size::Slices(7)),
                (5.0, 50.0, Size::Slices(2)),
                (6.0, 50.0, Size::Gpus(2)),
            ]
        );
        assert_eq!(trace.reasons, [("no GPU".to_owned(), 1), ("never started".to_owned(), 1)]);
    }

    #[test]
    fn shares_become_slices() {
        for (milli, slices) in
            [(1, 1), (143, 1), (144, 2), (286, 2), (429, 3), (460, 4), (572, 7), (1000, 7)]
        {
            assert_eq!(super::slices(milli), slices);
        }
    }
}
