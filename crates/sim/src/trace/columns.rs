//! Files with a line of column names.

use super::{Trace, TraceError};

/// What to do with a file that lacks a column.
pub const MEND: &str = "type the --format of this file";

/// The rows of a file with the columns that are asked for.
pub struct Columns<'t> {
    reader: csv::Reader<&'t [u8]>,
    places: Vec<Option<usize>>,
}

impl<'t> Columns<'t> {
    /// Finds the columns by name, in either case; those of `optional` may be missing. `mend` is what
    /// to do if another is.
    pub fn new(
        text: &'t str,
        delimiter: u8,
        needed: &[&str],
        optional: &[&str],
        mend: &str,
    ) -> Result<Columns<'t>, TraceError> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .quoting(delimiter == b',')
            .from_reader(text.as_bytes());
        let names = reader.headers().map_err(|error| TraceError(error.to_string()))?;
        let find = |name: &str| names.iter().position(|n| n.trim().eq_ignore_ascii_case(name));
        let mut places = Vec::with_capacity(needed.len() + optional.len());
        for name in needed {
            let place = find(name).ok_or_else(|| {
                let names: Vec<&str> = names.iter().take(12).collect();
                TraceError(format!(
                    "line 1: no column {name}, only {}: {mend}",
                    names.join(", ").chars().take(200).collect::<String>()
                ))
            })?;
            places.push(Some(place));
        }
        places.extend(optional.iter().map(|name| find(name)));
        Ok(Columns { reader, places })
    }

    /// Calls back with line and fields of each row, in the order asked for; a field that is not
    /// there is empty.
    pub fn each(mut self, trace: &mut Trace, mut row: impl FnMut(&mut Trace, usize, &[&str])) {
        let mut record = csv::StringRecord::new();
        loop {
            let start = self.reader.position().line();
            match self.reader.read_record(&mut record) {
                Ok(false) => return,
                Ok(true) => {
                    let line = record.position().map_or(start, csv::Position::line);
                    let field = |place: &Option<usize>| {
                        place.and_then(|place| record.get(place)).unwrap_or_default().trim()
                    };
                    let fields: Vec<&str> = self.places.iter().map(field).collect();
                    row(trace, usize::try_from(line).unwrap_or(usize::MAX), &fields);
                }
                Err(error) => {
                    let line = usize::try_from(start).unwrap_or(usize::MAX);
                    trace.skip(line, "cannot be read", &error.to_string());
                    if error.is_io_error() {
                        return;
                    }
                }
            }
        }
    }
}

/// A time `2017-10-09 07:01:55` or `2017-10-09T07:01:55`, in seconds of a clock without time zones.
pub fn seconds(text: &str) -> Option<f64> {
    let time: jiff::civil::DateTime = text.parse().ok()?;
    let start = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    Some(time.duration_since(start).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds("1970-01-02 00:00:01"), Some(86_401.0));
        assert_eq!(seconds("2017-10-09T07:01:55"), Some(1_507_532_515.0));
        assert_eq!(seconds("None"), None);
        assert_eq!(seconds("2017-13-09 07:01:55"), None);
    }
}
