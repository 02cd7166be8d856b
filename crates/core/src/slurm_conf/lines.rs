//! How text becomes statements: continuation lines, comments, escapes and `Key=Value` pairs, with
//! the rules of Slurm's parse_config.c (read in 22.05 to 26.05).

/// `Key=Value` as it stands in the file, quotes removed.
pub(super) type Pair = (String, String);

/// One logical line: what `\` at the ends of lines joins, without comment and escapes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Number of its first line, from 1.
    pub number: usize,
    pub text: String,
}

/// The logical lines of a file that are not empty.
pub(super) fn logical_lines(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut joined = String::new();
    let mut first = 1;
    for (index, line) in text.lines().enumerate() {
        let line = without_comment(line);
        let (part, goes_on) = without_continuation(line);
        joined.push_str(part);
        if goes_on {
            continue;
        }
        push(&mut lines, first, &joined);
        joined.clear();
        first = index + 2;
    }
    push(&mut lines, first, &joined);
    lines
}

fn push(lines: &mut Vec<Line>, number: usize, joined: &str) {
    let text = without_escapes(joined);
    if !text.trim().is_empty() {
        lines.push(Line { number, text });
    }
}

/// The line up to the first `#` after an even number of backslashes.
fn without_comment(line: &str) -> &str {
    let mut backslashes = 0usize;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'#' if backslashes.is_multiple_of(2) => return &line[..at],
            b'\\' => backslashes += 1,
            _ => backslashes = 0,
        }
    }
    line
}

/// The line without an odd backslash at its end, and whether there was one.
fn without_continuation(line: &str) -> (&str, bool) {
    let trimmed = line.trim_end();
    let backslashes = trimmed.bytes().rev().take_while(|&b| b == b'\\').count();
    if backslashes % 2 == 1 { (&trimmed[..trimmed.len() - 1], true) } else { (line, false) }
}

/// `\x` becomes `x`.
fn without_escapes(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

/// The file that `Include FILE` names.
pub(super) fn include(line: &str) -> Option<&str> {
    let keyword = line.get(..7).filter(|word| word.eq_ignore_ascii_case("include"))?;
    let rest = &line[keyword.len()..];
    rest.starts_with(|c: char| c.is_ascii_whitespace())
        .then(|| rest.split_ascii_whitespace().next())?
}

/// The pairs of a line, and the first word that is not part of one, which Slurm calls a parse
/// error.
pub(super) fn pairs(line: &str) -> (Vec<Pair>, Option<&str>) {
    let mut pairs = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let Some((key, value, after)) = pair(rest) else {
            return (pairs, rest.split_ascii_whitespace().next());
        };
        pairs.push((key.to_owned(), value.to_owned()));
        rest = after.trim_ascii_start();
    }
    (pairs, None)
}

/// Reads `key = value` or `key="a value"` and returns what follows.
fn pair(text: &str) -> Option<(&str, &str, &str)> {
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let key_end = text.find(|c| !is_key(c)).filter(|&end| end > 0)?;
    let (key, rest) = text.split_at(key_end);
    let rest = rest.trim_ascii_start();
    // `+=` and the like exist in the grammar; nothing we read uses them, so they set.
    let rest = rest.strip_prefix(['-', '*', '+', '/']).unwrap_or(rest);
    let rest = rest.strip_prefix('=')?.trim_ascii_start();
    if let Some((value, after)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'))
        && after.chars().next().is_none_or(|c| c.is_ascii_whitespace())
    {
        return Some((key, value, after));
    }
    let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
    (end > 0).then(|| (key, &rest[..end], &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, String)> {
        logical_lines(text).into_iter().map(|line| (line.number, line.text)).collect()
    }

    #[test]
    fn continuations_join_and_comments_end_them() {
        let text = "A=1 \\\n  B=2\\  \n\nC=3 # see \\\nD=4\\\\\n\\";
        let expected = [(1, "A=1   B=2"), (4, "C=3 "), (5, "D=4\\")];
        assert_eq!(lines(text), expected.map(|(number, text)| (number, text.to_owned())));
    }

    #[test]
    fn an_escaped_hash_is_no_comment() {
        assert_eq!(lines("A=b\\#c # d"), [(1, "A=b#c ".to_owned())]);
        assert_eq!(lines("A=b\\\\# d"), [(1, "A=b\\".to_owned())]);
        assert!(lines("  \n# all comment \\\n").is_empty());
    }

    #[test]
    fn pairs_have_quotes_and_spaces_around_the_sign() {
        let (found, junk) = pairs(" A = 1 b=\"x y\" C=\"\" D=\"e\"f G=\"h");
        let expected = [("A", "1"), ("b", "x y"), ("C", ""), ("D", "\"e\"f"), ("G", "\"h")];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(junk, None);
    }

    #[test]
    fn words_that_are_no_pair_are_told() {
        assert_eq!(pairs("A=1 junk B=2").1, Some("junk"));
        assert_eq!(pairs("=1"), (vec![], Some("=1")));
        assert_eq!(pairs("A="), (vec![], Some("A=")));
    }

    #[test]
    fn include_is_a_word_of_its_own() {
        assert_eq!(include("Include  nodes.conf "), Some("nodes.conf"));
        assert_eq!(include("INCLUDE /etc/x"), Some("/etc/x"));
        assert_eq!(include("Includes=1"), None);
        assert_eq!(include("include "), None);
        assert_eq!(include("éééé"), None);
    }
}
