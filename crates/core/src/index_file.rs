//! The index file: which leaf had which index when slurmd last ran.
//!
//! It lies in slurmd's spool directory and is written by `gres/flexmig` alone. The text is TOML,
//! one `[[leaf]]` per index.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::order::{Entry, MAX_INDICES};
use crate::policy::FileError;

/// Version of the format that is written; others are refused.
const VERSION: u32 = 1;

/// The text's shape.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    #[serde(default, rename = "leaf")]
    leaves: Vec<Entry>,
}

/// Reads the bytes of an index file; `file` is only for messages.
///
/// Two leaves on one index and one leaf on two are errors, as is another version: then nothing
/// of the file may be used.
pub fn read(file: &str, bytes: &[u8]) -> Result<Vec<Entry>, FileError> {
    let error = |message: String| FileError { file: file.to_owned(), line: 1, message };
    let text = std::str::from_utf8(bytes).map_err(|_| error("not UTF-8 text".to_owned()))?;
    let parsed: Text = toml::from_str(text).map_err(|e| FileError::from_toml(file, text, &e))?;
    if parsed.version != VERSION {
        let version = parsed.version;
        return Err(error(format!("version {version} of the format; this is version {VERSION}")));
    }
    let mut indices = HashSet::new();
    let mut uuids = HashSet::new();
    for Entry { index, uuid, .. } in &parsed.leaves {
        if *index as usize >= MAX_INDICES {
            return Err(error(format!("index {index} is above {}", MAX_INDICES - 1)));
        }
        if !indices.insert(*index) {
            return Err(error(format!("index {index} stands there twice")));
        }
        if !uuids.insert(uuid) {
            return Err(error(format!("leaf {uuid} stands there twice")));
        }
    }
    Ok(parsed.leaves)
}

/// The text of an index file.
pub fn write(entries: &[Entry]) -> Result<String, toml::ser::Error> {
    let text = Text { version: VERSION, leaves: entries.to_vec() };
    let head = "# Written by gres/flexmig when slurmd starts: which leaf has which index.\n\
                # Do not edit or copy it: while jobs run it keeps their leaves theirs.\n";
    Ok(format!("{head}{}", toml::to_string(&text)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::DeviceFiles;
    use proptest::prelude::*;

    fn entry(index: u32, uuid: &str) -> Entry {
        Entry {
            index,
            uuid: uuid.to_owned(),
            kind: Some("1g.10gb".to_owned()),
            profile: "1g.10gb+me".parse().unwrap(),
            present: index.is_multiple_of(2),
            devices: DeviceFiles {
                parent: "/dev/nvidia0".into(),
                gpu_instance: "/dev/nvidia-caps/nvidia-cap66".into(),
                compute_instance: "/dev/nvidia-caps/nvidia-cap67".into(),
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let entries = [entry(0, "MIG-a"), Entry { kind: None, ..entry(7, "MIG-b") }];
        let text = write(&entries).unwrap();
        assert_eq!(read("f", text.as_bytes()).unwrap(), entries);
        assert_eq!(read("f", write(&[]).unwrap().as_bytes()).unwrap(), []);
    }

    #[test]
    fn damage_is_one_line_with_the_file() {
        let twice = write(&[entry(3, "MIG-a"), entry(3, "MIG-b")]).unwrap();
        let same = write(&[entry(3, "MIG-a"), entry(4, "MIG-a")]).unwrap();
        let far = write(&[entry(1024, "MIG-a")]).unwrap();
        let cut = &write(&[entry(0, "MIG-a")]).unwrap()[..180];
        let cases: [(&str, &str); 7] = [
            (&twice, "f:1: index 3 stands there twice"),
            (&same, "f:1: leaf MIG-a stands there twice"),
            (&far, "f:1: index 1024 is above 1023"),
            ("version = 2", "f:1: version 2 of the format; this is version 1"),
            ("", "f:1: missing field `version`"),
            ("version = 1\nleef = 3", "f:2: unknown field `leef`, expected `version` or `leaf`"),
            (cut, "f:"),
        ];
        for (text, expected) in cases {
            let error = read("f", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error:?}");
            assert!(!error.contains('\n'), "{error:?}");
        }
        assert_eq!(read("f", b"\xff").unwrap_err().to_string(), "f:1: not UTF-8 text");
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_read_or_refused(
            position in 0..400usize,
            byte in any::<u8>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut text = write(&[entry(0, "MIG-a"), entry(1, "MIG-b")]).unwrap().into_bytes();
            if let Some(place) = text.get_mut(position) {
                *place = byte;
            }
            let _ = read("f", &text);
            let _ = read("f", &bytes);
        }
    }
}
