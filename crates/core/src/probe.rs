//! The probe file: between which leaves CUDA memory can be shared, as `flexmig probe` found out.
//!
//! One process on a leaf exports memory (cuMemExportToShareableHandle), another on a second leaf of
//! the same GPU imports it. Whether that works depends on driver, GPU model and the two profiles,
//! so these are the key. `gres/flexmig` chooses `relabel-p2p` only if the file says that it works:
//! NCCL has no way back once it has started to import.
//!
//! The file is `flexmig-probe.toml` beside flexmig.toml. The text is TOML, one `[[result]]` per key.

use serde::{Deserialize, Serialize};

use crate::policy::FileError;
use crate::profile::Profile;

/// The file's name, in the directory of flexmig.toml.
pub const FILE_NAME: &str = "flexmig-probe.toml";

/// Version of the format that is written; others are refused.
const VERSION: u32 = 1;

/// What the probe found for one driver, GPU model and pair of profiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeResult {
    /// Version of the NVIDIA driver, `580.65.06`.
    pub driver: String,
    /// Product name of the GPU as NVML gives it.
    pub gpu: String,
    /// The profiles of the two leaves, the smaller first.
    pub profiles: [Profile; 2],
    /// Whether memory of one leaf was imported, read and written by the other.
    pub import: bool,
    /// Where it stopped and the driver's answer, for people; empty if it worked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure: String,
}

/// All that was ever probed on this site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeResults(Vec<ProbeResult>);

/// What is known about sharing memory between the leaves of one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Import {
    /// It works between any two of them.
    Works,
    /// It fails between these two profiles.
    Fails([Profile; 2]),
    /// These two profiles have not been probed with this driver on this GPU model.
    Unknown([Profile; 2]),
}

/// The text's shape.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    #[serde(default, rename = "result")]
    results: Vec<ProbeResult>,
}

/// The pair in the order of the file.
fn pair(a: Profile, b: Profile) -> [Profile; 2] {
    if b < a { [b, a] } else { [a, b] }
}

impl ProbeResult {
    /// With the profiles in order. `outcome` is where it stopped, if it did.
    pub fn new(
        driver: &str,
        gpu: &str,
        profiles: [Profile; 2],
        outcome: Result<(), String>,
    ) -> ProbeResult {
        ProbeResult {
            driver: driver.to_owned(),
            gpu: gpu.to_owned(),
            profiles: pair(profiles[0], profiles[1]),
            import: outcome.is_ok(),
            failure: outcome.err().unwrap_or_default(),
        }
    }

    fn is_about(&self, driver: &str, gpu: &str, profiles: [Profile; 2]) -> bool {
        self.driver == driver && self.gpu == gpu && self.profiles == profiles
    }
}

impl ProbeResults {
    /// Reads the bytes of a probe file; `file` is only for messages. Of two results with one key
    /// the later holds.
    pub fn read(file: &str, bytes: &[u8]) -> Result<ProbeResults, FileError> {
        let error = |message: String| FileError { file: file.to_owned(), line: 1, message };
        let text = std::str::from_utf8(bytes).map_err(|_| error("not UTF-8 text".to_owned()))?;
        let parsed: Text =
            toml::from_str(text).map_err(|e| FileError::from_toml(file, text, &e))?;
        if parsed.version != VERSION {
            let version = parsed.version;
            return Err(error(format!(
                "version {version} of the format; this is version {VERSION}"
            )));
        }
        let mut results = ProbeResults::default();
        parsed.results.into_iter().for_each(|result| results.record(result));
        Ok(results)
    }

    /// The text of a probe file.
    pub fn write(&self) -> Result<String, toml::ser::Error> {
        let text = Text { version: VERSION, results: self.0.clone() };
        let head = "# Written by `flexmig probe`: whether memory of one leaf can be imported by another leaf of\n\
                    # the same GPU. gres/flexmig reads it for mode = \"auto\". Run the probe again after a\n\
                    # driver update; results of other drivers stay and do no harm.\n";
        Ok(format!("{head}{}", toml::to_string(&text)?))
    }

    /// The results in the order in which they were recorded.
    pub fn results(&self) -> &[ProbeResult] {
        &self.0
    }

    /// Adds a result; it takes the place of one with the same key.
    pub fn record(&mut self, mut result: ProbeResult) {
        result.profiles = pair(result.profiles[0], result.profiles[1]);
        let same =
            |old: &&mut ProbeResult| old.is_about(&result.driver, &result.gpu, result.profiles);
        match self.0.iter_mut().find(same) {
            Some(old) => *old = result,
            None => self.0.push(result),
        }
    }

    /// Whether leaves of these profiles, all of one GPU, can import each other's memory. One leaf
    /// or none shares with nobody: that works.
    pub fn import(&self, driver: &str, gpu: &str, leaves: &[Profile]) -> Import {
        let mut unknown = None;
        for (index, &first) in leaves.iter().enumerate() {
            for &second in &leaves[index + 1..] {
                let profiles = pair(first, second);
                match self.0.iter().find(|result| result.is_about(driver, gpu, profiles)) {
                    Some(result) if result.import => {}
                    Some(_) => return Import::Fails(profiles),
                    None => unknown = unknown.or(Some(profiles)),
                }
            }
        }
        unknown.map_or(Import::Works, Import::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Profile = Profile::new(1, 10);
    const LARGE: Profile = Profile::new(3, 40);

    fn result(profiles: [Profile; 2], outcome: Result<(), &str>) -> ProbeResult {
        ProbeResult::new("580.65.06", "H100", profiles, outcome.map_err(str::to_owned))
    }

    fn results() -> ProbeResults {
        let mut results = ProbeResults::default();
        results.record(result([SMALL, SMALL], Ok(())));
        results.record(result([LARGE, SMALL], Err("cuMemImportFromShareableHandle: 801")));
        results
    }

    #[test]
    fn what_is_written_is_read() {
        let text = results().write().unwrap();
        assert_eq!(ProbeResults::read("f", text.as_bytes()).unwrap(), results());
        assert!(text.contains("profiles = [\"1g.10gb\", \"3g.40gb\"]"), "{text}");
        let none = ProbeResults::default();
        assert_eq!(ProbeResults::read("f", none.write().unwrap().as_bytes()).unwrap(), none);
    }

    #[test]
    fn every_pair_of_a_job_must_have_been_probed() {
        let results = results();
        let import = |leaves: &[Profile]| results.import("580.65.06", "H100", leaves);
        assert_eq!(import(&[]), Import::Works);
        assert_eq!(import(&[LARGE]), Import::Works);
        assert_eq!(import(&[SMALL, SMALL, SMALL]), Import::Works);
        assert_eq!(import(&[SMALL, LARGE]), Import::Fails([SMALL, LARGE]));
        assert_eq!(import(&[LARGE, LARGE, SMALL]), Import::Fails([SMALL, LARGE]));
        assert_eq!(import(&[LARGE, LARGE]), Import::Unknown([LARGE, LARGE]));
        assert_eq!(
            results.import("570.1", "H100", &[SMALL, SMALL]),
            Import::Unknown([SMALL, SMALL])
        );
        assert_eq!(
            results.import("580.65.06", "A100", &[SMALL, SMALL]),
            Import::Unknown([SMALL, SMALL])
        );
    }

    #[test]
    fn a_new_result_takes_the_old_ones_place() {
        let mut results = results();
        results.record(result([SMALL, LARGE], Ok(())));
        assert_eq!(results.results().len(), 2);
        assert_eq!(results.import("580.65.06", "H100", &[LARGE, SMALL]), Import::Works);
    }

    #[test]
    fn damage_is_one_line_with_the_file() {
        let cases = [
            ("version = 2", "f:1: version 2 of the format; this is version 1"),
            ("", "f:1: missing field `version`"),
            ("version = 1\n[[result]]\ndriver = 3", "f:3: invalid type"),
            ("version = 1\n[[results]]", "f:2: unknown field `results`"),
        ];
        for (text, expected) in cases {
            let error = ProbeResults::read("f", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains('\n'), "{error:?}");
        }
        let error = ProbeResults::read("f", b"\xff").unwrap_err().to_string();
        assert_eq!(error, "f:1: not UTF-8 text");
    }
}
