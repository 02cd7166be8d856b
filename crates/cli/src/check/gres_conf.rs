//! Findings about flexmig lines in gres.conf, which may have none: the plugin finds the leaves.

use flexmig_core::hostlist;
use flexmig_core::slurm_conf::GRES_NAME;

use super::finding::Finding;
use crate::text::{Statement, statements};

/// Checks the lines that are for this node. `exists` says whether a path is there: slurmd waits for
/// a missing file 20 s and then ends (gres.c).
pub fn findings(file: &str, text: &str, node: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut lines = 0;
    for line in statements(text).iter().filter(|line| is_own(line, node)) {
        lines += 1;
        let place = format!("{file}:{}", line.line);
        let files = line.value("File").or(line.value("MultipleFiles"));
        for list in files.into_iter().flat_map(|list| hostlist::expand(list).unwrap_or_default()) {
            if !exists(&list) {
                findings.push(Finding::error(
                    "gres.conf",
                    &place,
                    format!("{list} does not exist, so slurmd ends after 20 s"),
                    "remove the flexmig lines (the plugin finds the leaves), or write those of \
                     `flexmig config --explicit`",
                ));
                break;
            }
        }
    }
    if findings.is_empty() && lines > 0 {
        findings.push(Finding::ok(
            "gres.conf",
            file,
            "its flexmig lines name files that are there",
        ));
    }
    findings
}

fn is_own(line: &Statement, node: &str) -> bool {
    let named = line.value("Name").is_some_and(|name| name.eq_ignore_ascii_case(GRES_NAME));
    named && (line.value("NodeName").is_none() || line.names("NodeName", node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let exists = |path: &str| path.starts_with("/dev/null");
        findings("gres.conf", text, "n2", exists).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn no_lines_are_fine() {
        assert_eq!(check("AutoDetect=off\nName=gpu File=/dev/nvidia0\n"), [""; 0]);
        assert_eq!(check("NodeName=n[3-4] Name=flexmig File=/gone"), [""; 0]);
    }

    #[test]
    fn files_must_be_there() {
        let lines =
            "# ours\nNodeName=n[1-2] Name=flexmig Type=a MultipleFiles=/dev/null,/dev/null[0-1]\n";
        assert_eq!(
            check(lines),
            ["ok      gres.conf: its flexmig lines name files that are there"]
        );
        assert_eq!(
            check("\nname=flexmig file=/dev/null,/gone[0-1]\n"),
            ["error   gres.conf:2: /gone0 does not exist, so slurmd ends after 20 s: remove the \
              flexmig lines (the plugin finds the leaves), or write those of `flexmig config \
              --explicit`"]
        );
    }
}
