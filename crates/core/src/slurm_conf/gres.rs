//! The value of `Gres=`: `gpu:2,flexmig:1g.10gb:14(S:0-1)`.

/// One entry of a node's `Gres=`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gres {
    /// Name, `flexmig`.
    pub name: String,
    /// Type, `1g.10gb`; `None` if the entry has none.
    pub kind: Option<String>,
    /// Count, suffix included; 1 if the entry has none.
    pub count: u64,
}

/// Reads the list. An entry that cannot be read comes back as an error of one line; the others
/// count.
///
/// An entry without a count counts 1, as Slurm's manual says. Slurm itself takes a type that
/// starts with a digit for a count there and refuses `flexmig:1g.10gb`; [`writes_no_count`] tells.
pub(crate) fn parse(list: &str) -> (Vec<Gres>, Vec<String>) {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match parse_entry(entry) {
            Ok(gres) => found.push(gres),
            Err(error) => errors.push(error),
        }
        if writes_no_count(entry) {
            let plain = without_sockets(entry);
            errors.push(format!("Gres={entry}: Slurm takes the type for a count: write {plain}:1"));
        }
    }
    (found, errors)
}

/// Without the sockets that Slurm appends, `(S:0-1)`.
fn without_sockets(entry: &str) -> &str {
    entry.rfind('(').map_or(entry, |at| &entry[..at])
}

fn parse_entry(entry: &str) -> Result<Gres, String> {
    let mut parts = without_sockets(entry).split(':');
    let name = parts.next().unwrap_or_default().to_owned();
    let mut parts: Vec<&str> =
        parts.filter(|part| !part.eq_ignore_ascii_case("no_consume")).collect();
    let error = || format!("Gres={entry}: write name:count or name:type:count");
    let count = match parts.last() {
        Some(last) => match count(last) {
            Some(count) => {
                parts.pop();
                count
            }
            None if last.is_empty() || last.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(error());
            }
            None => 1,
        },
        None => 1,
    };
    let kind = match parts[..] {
        [] => None,
        [kind] if !kind.is_empty() => Some(kind.to_owned()),
        _ => return Err(error()),
    };
    if name.is_empty() { Err(error()) } else { Ok(Gres { name, kind, count }) }
}

/// Whether the last part is a type that starts with a digit, where a count belongs.
fn writes_no_count(entry: &str) -> bool {
    let last = without_sockets(entry).split(':').skip(1).last().unwrap_or_default();
    last.starts_with(|c: char| c.is_ascii_digit())
        && count(last).is_none()
        && last.bytes().any(|b| b.is_ascii_alphabetic())
}

/// A count with Slurm's suffixes: k, m, g, t, p and kib ... pib are powers of 1024, kb ... pb of
/// 1000.
pub(crate) fn count(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let suffix = suffix.to_ascii_lowercase();
    let (base, letter) = match suffix.strip_suffix("ib") {
        Some(letter) if letter.len() == 1 => (1024u64, letter),
        _ => match suffix.strip_suffix('b') {
            Some(letter) if letter.len() == 1 => (1000, letter),
            _ => (1024, suffix.as_str()),
        },
    };
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == letter)?;
    number.checked_mul(base.checked_pow(u32::try_from(power).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gres(name: &str, kind: &str, count: u64) -> Gres {
        let kind = (!kind.is_empty()).then(|| kind.to_owned());
        Gres { name: name.into(), kind, count }
    }

    #[test]
    fn lists_are_read() {
        let (found, errors) =
            parse("gpu:2,flexmig:1g.10gb:14(S:0-1), flexmig:a100_3g.20gb:2,nic,shard:a");
        assert!(errors.is_empty(), "{errors:?}");
        let expected = [
            gres("gpu", "", 2),
            gres("flexmig", "1g.10gb", 14),
            gres("flexmig", "a100_3g.20gb", 2),
            gres("nic", "", 1),
            gres("shard", "a", 1),
        ];
        assert_eq!(found, expected);
        assert_eq!(parse("gpu:a:no_consume:4").0, [gres("gpu", "a", 4)]);
        assert_eq!(parse("flexmig:2K,b:1kb").0, [gres("flexmig", "", 2048), gres("b", "", 1000)]);
        assert_eq!(parse(""), (vec![], vec![]));
    }

    #[test]
    fn a_type_without_a_count_counts_one_and_is_told() {
        let (found, errors) = parse("flexmig:1g.10gb(S:0)");
        assert_eq!(found, [gres("flexmig", "1g.10gb", 1)]);
        let expected = "Gres=flexmig:1g.10gb(S:0): Slurm takes the type for a count: \
                        write flexmig:1g.10gb:1";
        assert_eq!(errors, [expected]);
    }

    #[test]
    fn broken_entries_are_told_and_the_others_count() {
        for entry in
            ["flexmig:", ":3", "flexmig:a:b:3", "flexmig::3", "flexmig:99999999999999999999"]
        {
            let (found, errors) = parse(&format!("gpu:1,{entry}"));
            assert_eq!(found, [gres("gpu", "", 1)], "{entry}");
            assert!(errors[0].starts_with(&format!("Gres={entry}: ")), "{errors:?}");
        }
    }

    #[test]
    fn counts_know_slurms_suffixes() {
        let cases = [("7", Some(7)), ("1k", Some(1024)), ("2KiB", Some(2048)), ("3kb", Some(3000))];
        for (text, expected) in cases {
            assert_eq!(count(text), expected, "{text}");
        }
        for text in ["", "k", "-1", "1x", "1g.10gb", "1ib", "99999999999p"] {
            assert_eq!(count(text), None, "{text}");
        }
    }
}
