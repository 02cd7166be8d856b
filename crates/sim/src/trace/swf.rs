//! Standard Workload Format 2.2: eighteen fields per job, `-1` for what is not known, `;` before
//! comments. It has no GPUs: processors used (field 5, else requested, field 8) are taken for them.

use super::{Row, Trace, whole_gpus};

pub fn read(text: &str, trace: &mut Trace) {
    for (place, text) in text.lines().enumerate() {
        let line = place + 1;
        let text = text.trim();
        if text.is_empty() || text.starts_with(';') {
            continue;
        }
        let mut fields = Vec::with_capacity(18);
        for word in text.split_ascii_whitespace() {
            match word.parse::<f64>() {
                Ok(number) => fields.push(number),
                Err(_) => break,
            }
        }
        // 1 job, 2 submit, 3 wait, 4 run time, 5 processors, 8 processors and 9 time requested.
        let [_, submit, _, run, used, ..] = fields[..] else {
            trace.skip(line, "fewer than 5 fields", "");
            continue;
        };
        let requested = fields.get(7).copied().unwrap_or(-1.0);
        let processors = if requested > 0.0 { requested } else { used };
        let size = (processors > 0.0 && processors < 1e9).then_some(processors as u64);
        let limit = fields.get(8).copied().filter(|&limit| limit > 0.0);
        match size.and_then(whole_gpus) {
            Some(size) => trace.push(Row { line, submit, run, limit, size, memory_gb: 0 }),
            None => trace.skip(line, "no processors", ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::trace::{Format, Size, Trace};

    #[test]
    fn lines_become_jobs() {
        let text = "; Version: 2.2\n\
            \n\
            1 0 5 100 1 -1 -1 1 120 -1 1 1 1 1 1 1 -1 -1\n\
            2 7.5 0 50 4 -1 -1 -1 -1 -1 1 1 1 1 1 1 -1 -1\n\
            3 8 0 -1 1 -1 -1 1 120 -1 0 1 1 1 1 1 -1 -1\n\
            4 9 0 10 -1 -1 -1 -1 -1\n\
            five\n";
        let trace = Trace::read(Format::Swf, text.as_bytes()).unwrap();
        let rows: Vec<_> =
            trace.rows.iter().map(|r| (r.line, r.submit, r.run, r.limit, r.size)).collect();
        assert_eq!(
            rows,
            [(3, 0.0, 100.0, Some(120.0), Size::Unknown), (4, 7.5, 50.0, None, Size::Gpus(4)),]
        );
        let told: Vec<_> = trace.skipped.iter().map(|s| format!("{}: {}", s.line, s.why)).collect();
        assert_eq!(told, ["5: ran for no time", "6: no processors", "7: fewer than 5 fields"]);
    }
}
