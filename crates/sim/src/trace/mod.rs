//! Jobs from files: public traces and a cluster's own accounting.
//!
//! A reader takes what a row says and nothing else. What a trace does not know (sizes in slices, time
//! limits, the load) is added by [`workload`](crate::workload). Rows that make no sense are counted
//! with their line numbers, never silently dropped.
//!
//! | format | file | sizes |
//! |---|---|---|
//! | `philly` | `timestamp,duration,num_gpus,...`, also gzipped | whole GPUs; jobs of one GPU get a size of the mix |
//! | `openb` | pods of Alibaba's cluster-trace-gpu-v2023 | thousandths of a GPU, whole GPUs |
//! | `sacct` | `sacct --parsable2` of one's own cluster, see [`SACCT`] | leaves, MIG types, GPUs |
//! | `swf` | Standard Workload Format 2.2 | processors; jobs get a size of the mix |

mod columns;
mod openb;
mod philly;
mod sacct;
mod swf;

use std::fmt;
use std::io::Read;
use std::str::FromStr;

pub use sacct::SACCT;

/// Most bytes of a trace, packed or not.
const LARGEST: u64 = 4 << 30;

/// Most bad rows of a kind that are listed; all are counted.
const LISTED: u64 = 10;

/// The form of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Microsoft Philly as a CSV.
    Philly,
    /// Alibaba's openb pods.
    Openb,
    /// `sacct --parsable2`.
    Sacct,
    /// Standard Workload Format.
    Swf,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 4] = [Format::Philly, Format::Openb, Format::Sacct, Format::Swf];

    /// `philly`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Philly => "philly",
            Format::Openb => "openb",
            Format::Sacct => "sacct",
            Format::Swf => "swf",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = TraceError;

    fn from_str(text: &str) -> Result<Format, TraceError> {
        Format::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            let known = Format::ALL.map(Format::name).join(", ");
            TraceError(format!("{text}: no such format: one of {known}"))
        })
    }
}

/// Why a trace cannot be used at all, and what to type instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TraceError(pub String);

/// How large a job is, as far as its row tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// An instance of so many compute slices.
    Slices(u8),
    /// So many whole GPUs, 2 or more.
    Gpus(u16),
    /// At most one GPU; how much of it is not known.
    Unknown,
}

/// One job as its row tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Line in the file, from 1.
    pub line: usize,
    /// Seconds, from any start.
    pub submit: f64,
    /// Seconds that it ran; more than 0.
    pub run: f64,
    /// Time limit in seconds, where the trace has it.
    pub limit: Option<f64>,
    /// What it asked for.
    pub size: Size,
    /// Gigabytes that each of its leaves had to have; 0 where that is not known.
    pub memory_gb: u16,
}

/// A row that is no job for the simulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Line in the file, from 1.
    pub line: usize,
    /// Its kind, one of [`Trace::reasons`].
    pub reason: String,
    /// Why, with what the row says.
    pub why: String,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Jobs by submission; of equal ones by line.
    pub rows: Vec<Row>,
    /// The first rows of each kind that were skipped.
    pub skipped: Vec<Skipped>,
    /// How many were skipped, by reason, in order of their first row.
    pub reasons: Vec<(String, u64)>,
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// If it cannot be read or unpacked, is too large, lacks a column, or has not one job.
    pub fn read(format: Format, input: impl Read) -> Result<Trace, TraceError> {
        let text = text_of(input)?;
        if text.trim().is_empty() {
            return Err(TraceError("nothing is in it: name a file with jobs".into()));
        }
        let mut trace = Trace::default();
        match format {
            Format::Philly => philly::read(&text, &mut trace)?,
            Format::Openb => openb::read(&text, &mut trace)?,
            Format::Sacct => sacct::read(&text, &mut trace)?,
            Format::Swf => swf::read(&text, &mut trace),
        }
        if trace.rows.is_empty() {
            let first = trace.skipped.first();
            let first = first.map(|skipped| format!(": line {}: {}", skipped.line, skipped.why));
            let first = first.unwrap_or_default();
            let mend = "type the --format of this file, or name one with jobs";
            return Err(TraceError(format!("no job in {format} format{first}: {mend}")));
        }
        trace.rows.sort_by(|a, b| a.submit.total_cmp(&b.submit).then(a.line.cmp(&b.line)));
        Ok(trace)
    }

    /// Rows that were skipped.
    pub fn skipped_count(&self) -> u64 {
        self.reasons.iter().map(|(_, count)| count).sum()
    }

    /// Counts a row that is no job. `reason` is the same for all rows of a kind.
    fn skip(&mut self, line: usize, reason: &str, detail: &str) {
        let count = match self.reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                self.reasons.push((reason.to_owned(), 1));
                1
            }
        };
        if count <= LISTED {
            let why = match detail {
                "" => reason.to_owned(),
                detail => format!("{reason}: {}", detail.chars().take(40).collect::<String>()),
            };
            self.skipped.push(Skipped { line, reason: reason.to_owned(), why });
        }
    }

    /// Adds a job, or counts it as skipped if its times make no sense.
    fn push(&mut self, row: Row) {
        let sane = |seconds: f64| seconds.is_finite() && seconds.abs() < 1e11;
        if !sane(row.submit) || !sane(row.run) {
            self.skip(row.line, "a time out of range", "");
        } else if row.run <= 0.0 {
            self.skip(row.line, "ran for no time", "");
        } else {
            let limit = row.limit.filter(|&limit| sane(limit) && limit > 0.0);
            self.rows.push(Row { limit, ..row });
        }
    }
}

/// The text, decompressed if it is gzip. What is not UTF-8 is replaced, and fails in its field.
fn text_of(input: impl Read) -> Result<String, TraceError> {
    let unread = |error| format!("cannot be read: {error}: name a file that can be");
    let mut bytes = bytes_of(input, LARGEST, unread)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let broken =
            |error| format!("cannot be unpacked: {error}: copy it again, it is cut off or damaged");
        bytes = bytes_of(flate2::read::MultiGzDecoder::new(&bytes[..]), LARGEST, broken)?;
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    Ok(text)
}

/// All bytes. More than `most` are an error, as jobs would be missing without a word.
fn bytes_of(
    input: impl Read,
    most: u64,
    told: impl Fn(std::io::Error) -> String,
) -> Result<Vec<u8>, TraceError> {
    let mut bytes = Vec::new();
    input.take(most + 1).read_to_end(&mut bytes).map_err(|error| TraceError(told(error)))?;
    if bytes.len() as u64 > most {
        return Err(TraceError(format!("more than {most} bytes: cut it into several traces")));
    }
    Ok(bytes)
}

/// Whole GPUs, or one of which it is not known how much.
fn whole_gpus(count: u64) -> Option<Size> {
    match count {
        0 => None,
        1 => Some(Size::Unknown),
        more => u16::try_from(more).ok().map(Size::Gpus),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn formats_have_names() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        let error = "csv".parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), "csv: no such format: one of philly, openb, sacct, swf");
    }

    #[test]
    fn gzip_is_unpacked() {
        let text = "timestamp,duration,num_gpus\n2017-10-09 07:01:55,66.0,1\n";
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        let plain = Trace::read(Format::Philly, text.as_bytes()).unwrap();
        assert_eq!(Trace::read(Format::Philly, &packed[..]).unwrap(), plain);
        let broken = Trace::read(Format::Philly, &packed[..packed.len() / 2]).unwrap_err();
        assert!(broken.to_string().starts_with("cannot be unpacked: "), "{broken}");
    }

    #[test]
    fn what_is_too_large_is_not_cut_off() {
        let told = |error: std::io::Error| error.to_string();
        assert_eq!(bytes_of(&b"1234"[..], 4, told).unwrap(), b"1234");
        let error = bytes_of(&b"12345"[..], 4, told).unwrap_err();
        assert_eq!(error.to_string(), "more than 4 bytes: cut it into several traces");
    }

    #[test]
    fn a_trace_without_a_job_is_an_error() {
        let error = Trace::read(Format::Swf, &b"; nothing\n"[..]).unwrap_err();
        assert!(error.to_string().starts_with("no job in swf format: type the --format "));
        let error = Trace::read(Format::Swf, &b"; \n1 2 3\n"[..]).unwrap_err();
        let told = "no job in swf format: line 2: fewer than 5 fields: type the --format ";
        assert!(error.to_string().starts_with(told), "{error}");
        for nothing in [&b""[..], b" \n\n"] {
            let error = Trace::read(Format::Philly, nothing).unwrap_err();
            assert_eq!(error.to_string(), "nothing is in it: name a file with jobs");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in "(timestamp,duration,num_gpus\n|JobIDRaw\\|Submit\\|ElapsedRaw\\|ReqTRES\n)?([0-9a-z:,|. =/-]{0,30}\n){0,5}",
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            for format in Format::ALL {
                for input in [text.as_bytes(), &bytes[..]] {
                    if let Ok(trace) = Trace::read(format, input) {
                        prop_assert!(!trace.rows.is_empty());
                        prop_assert!(trace.rows.windows(2).all(|w| w[0].submit <= w[1].submit));
                    }
                }
            }
        }
    }
}
