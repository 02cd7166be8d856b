//! Findings about flexmig lines in gres.conf, which may have none: the plugin finds the leaves.

use flexmig_core::hostlist;
use flexmig_core::slurm_conf::GRES_NAME;

use super::finding::Finding;
use crate::text::{File, Statement, statements};

/// Checks the lines that are for this node. `exists` says whether a path is there: slurmd waits for
/// a missing file 20 s and then ends (gres.c).
pub fn findings(file: &File, node: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let statements = statements(file);
    let lines: Vec<&Statement> = statements.iter().filter(|line| is_own(line, node)).collect();
    let missing = lines.iter().filter_map(|line| {
        let list = line.value("File").or(line.value("MultipleFiles"))?;
        let path = hostlist::expand(list).ok()?.into_iter().find(|path| !exists(path))?;
        Some(Finding::error(
            "gres.conf",
            &line.place,
            format!("{path} does not exist, so slurmd ends after 20 s"),
            "remove the flexmig lines (the plugin finds the leaves), or write those of \
             `flexmig config --explicit`",
        ))
    });
    let missing: Vec<Finding> = missing.collect();
    if missing.is_empty() && !lines.is_empty() {
        return vec![Finding::ok(
            "gres.conf",
            &file.name,
            "its flexmig lines name files that are there",
        )];
    }
    missing
}

/// On a node with leaves and gres/gpu: AutoDetect=nvml finds MIG devices too, as GPUs.
pub fn auto_detect(file: &File) -> Option<Finding> {
    let statements = statements(file);
    let line = statements.iter().find(|line| {
        line.value("AutoDetect").is_some_and(|how| how.eq_ignore_ascii_case("nvml"))
    })?;
    Some(Finding::warning(
        "gres.conf",
        &line.place,
        "AutoDetect=nvml takes the leaves for GPUs as well, so two jobs can get one leaf",
        "write the gpu lines of this node by hand, with AutoDetect=off",
    ))
}

fn is_own(line: &Statement, node: &str) -> bool {
    let named = line.value("Name").is_some_and(|name| name.eq_ignore_ascii_case(GRES_NAME));
    named && (line.value("NodeName").is_none() || line.names("NodeName", node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File { name: "gres.conf".into(), text: text.into() }
    }

    fn check(text: &str) -> Vec<String> {
        let exists = |path: &str| path.starts_with("/dev/null");
        findings(&file(text), "n2", exists).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn no_lines_are_fine() {
        assert_eq!(check("AutoDetect=off\nName=gpu File=/dev/nvidia0\n"), [""; 0]);
        assert_eq!(check("NodeName=n[3-4] Name=flexmig File=/gone"), [""; 0]);
    }

    #[test]
    fn gpus_must_not_be_detected_among_leaves() {
        assert_eq!(auto_detect(&file("AutoDetect=off\nName=gpu File=/dev/nvidia7")), None);
        let finding = auto_detect(&file("\nautodetect=NVML")).unwrap().to_string();
        assert_eq!(
            finding,
            "warning gres.conf:2: AutoDetect=nvml takes the leaves for GPUs as well, so two jobs can \
             get one leaf: write the gpu lines of this node by hand, with AutoDetect=off"
        );
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
