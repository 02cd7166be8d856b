//! Places in Slurm's files: on which line a key stands, and how a line reads.
//!
//! What the lines mean is [`flexmig_core::slurm_conf`]'s business; here it is only for messages and
//! for lines that are to be pasted back.

use flexmig_core::hostlist;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// As messages name it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// One statement: lines that `\` joins, without comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// `file:line` of its first line.
    pub place: String,
    /// Its text, blanks squeezed.
    pub text: String,
}

/// The statements of a file that are not empty.
pub fn statements(file: &File) -> Vec<Statement> {
    let place = |line: usize| format!("{}:{line}", file.name);
    let mut statements = Vec::new();
    let mut joined = String::new();
    let mut first = 1;
    for (index, line) in file.text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        if joined.is_empty() {
            first = index + 1;
        }
        for word in part.split_whitespace() {
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(word);
        }
        if !goes_on && !joined.is_empty() {
            statements.push(Statement { place: place(first), text: std::mem::take(&mut joined) });
        }
    }
    if !joined.is_empty() {
        statements.push(Statement { place: place(first), text: joined });
    }
    statements
}

impl Statement {
    /// Its `Key=Value` words.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.split(' ').filter_map(|word| word.split_once('='))
    }

    /// The value of a key, in any case.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.pairs().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    /// Whether its host list `key` names a node.
    pub fn names(&self, key: &str, node: &str) -> bool {
        let names = self.value(key).map(|list| hostlist::expand(list.trim_matches('"')));
        matches!(names, Some(Ok(names)) if names.iter().any(|name| name == node))
    }
}

/// `file:line` of the last statement that starts with `key`, the one that counts; only the first
/// file if it is nowhere.
pub fn place(files: &[File], key: &str) -> String {
    let is_key =
        |s: &Statement| s.pairs().next().is_some_and(|(first, _)| first.eq_ignore_ascii_case(key));
    let found = files.iter().rev().find_map(|file| statements(file).into_iter().rfind(is_key));
    let first = || files.first().map(|file| file.name.clone()).unwrap_or_default();
    found.map_or_else(first, |statement| statement.place)
}

/// The `NodeName=` statement of a node.
pub fn node_statement(files: &[File], node: &str) -> Option<Statement> {
    let is_node_line = |s: &Statement| {
        s.pairs().next().is_some_and(|(key, _)| key.eq_ignore_ascii_case("NodeName"))
    };
    let mut statements = files.iter().flat_map(statements);
    statements.find(|s| is_node_line(s) && s.names("NodeName", node))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment\nGresTypes=gpu\n\ngrestypes=gpu,flexmig # last\n\
                        NodeName=n[1-4]  CPUs=16 \\\n   Gres=flexmig:1g.10gb:14\nPluginDir=/a\n";

    fn files() -> [File; 2] {
        let file = |name: &str, text: &str| File { name: name.into(), text: text.into() };
        [file("slurm.conf", TEXT), file("nodes.conf", "\nNodeName=m1\n")]
    }

    #[test]
    fn keys_have_places() {
        assert_eq!(place(&files(), "GresTypes"), "slurm.conf:4");
        assert_eq!(place(&files(), "PluginDir"), "slurm.conf:7");
        assert_eq!(place(&files(), "JobSubmitPlugins"), "slurm.conf");
    }

    #[test]
    fn node_lines_are_found_by_any_of_their_nodes() {
        let line = node_statement(&files(), "n3").unwrap();
        assert_eq!(line.place, "slurm.conf:5");
        assert_eq!(line.text, "NodeName=n[1-4] CPUs=16 Gres=flexmig:1g.10gb:14");
        assert_eq!(line.value("gres"), Some("flexmig:1g.10gb:14"));
        assert_eq!(node_statement(&files(), "m1").unwrap().place, "nodes.conf:2");
        assert_eq!(node_statement(&files(), "n5"), None);
    }
}
