//! Microsoft Philly, as flattened to one CSV row per job.

use super::columns::{Columns, MEND, seconds};
use super::{Row, Trace, TraceError, whole_gpus};

pub fn read(text: &str, trace: &mut Trace) -> Result<(), TraceError> {
    let columns = Columns::new(text, b',', &["timestamp", "duration", "num_gpus"], &[], MEND)?;
    columns.each(trace, |trace, line, fields| {
        let [submit, run, gpus] = fields else { return };
        let Some(submit) = seconds(submit).or_else(|| submit.parse().ok()) else {
            return trace.skip(line, "timestamp is no time", submit);
        };
        let Ok(run) = run.parse() else {
            return trace.skip(line, "duration is no number", run);
        };
        // Some flattened forms write counts as 1.0.
        let count = gpus.parse::<f64>().ok().filter(|count| count.fract() == 0.0);
        let Some(count) = count.filter(|count| (0.0..1e9).contains(count)) else {
            return trace.skip(line, "num_gpus is no number", gpus);
        };
        match whole_gpus(count as u64) {
            Some(size) => trace.push(Row { line, submit, run, limit: None, size, memory_gb: 0 }),
            None => trace.skip(line, "no GPU", ""),
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::trace::{Format, Size, Trace};

    #[test]
    fn rows_become_jobs_and_bad_ones_are_told() {
        let text = "timestamp,duration,num_gpus,gpu_time,cluster\n\
            2017-10-09 07:01:55,66.0,1,66.0,11cb48\n\
            2017-10-09 06:13:03,2951.0,8,2951.0,6214e9\n\
            yesterday,1,1,1,x\n\
            2017-10-09 06:13:03,-5,1,1,x\n\
            2017-10-09 06:13:03,5,0,1,x\n\
            2017-10-09 06:13:03,5,1.5,1,x\n\
            2017-10-09 06:13:03\n";
        let trace = Trace::read(Format::Philly, text.as_bytes()).unwrap();
        let rows: Vec<_> = trace.rows.iter().map(|r| (r.line, r.run, r.size)).collect();
        assert_eq!(rows, [(3, 2951.0, Size::Gpus(8)), (2, 66.0, Size::Unknown)]);
        let told: Vec<_> = trace.skipped.iter().map(|s| format!("{}: {}", s.line, s.why)).collect();
        assert_eq!(
            told,
            [
                "4: timestamp is no time: yesterday",
                "5: ran for no time",
                "6: no GPU",
                "7: num_gpus is no number: 1.5",
                "8: duration is no number",
            ]
        );
        assert_eq!(trace.skipped_count(), 5);
    }

    #[test]
    fn a_missing_column_is_an_error() {
        let error = Trace::read(Format::Philly, &b"a,duration\n1,2\n"[..]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1: no column timestamp, only a, duration: type the --format of this file"
        );
    }
}
