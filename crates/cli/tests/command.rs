//! The command line itself: help, version, usage errors, man pages and completions.

mod common;

use common::{Host, a100};

#[test]
fn wrong_usage_is_status_2() {
    let host = Host::new(a100(1, "1g.10gb*7"));
    for args in [
        &[][..],
        &["leafs"],
        &["leaves", "--jsn"],
        &["config", "--layout", "--json"],
        &["check", "-q", "--json"],
    ] {
        let ran = host.run(args);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{args:?}");
        assert!(ran.stderr.contains("Usage: flexmig"), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn help_and_version_are_on_stdout() {
    let host = Host::new(a100(1, "1g.10gb*7"));
    let version = host.run(&["--version"]);
    assert_eq!(
        version.stdout,
        concat!("flexmig ", env!("CARGO_PKG_VERSION"), " (Slurm 22.05 to 26.05)\n")
    );
    let help = host.run(&["--help"]).stdout;
    for part in [
        "leaves",
        "status",
        "explain",
        "config",
        "check",
        "exec",
        "bench",
        "probe",
        "SLURM_CONF",
        "Exit status:",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert!(!help.contains("generate") && !help.contains("probe-side"), "hidden: {help}");
    for command in ["exec", "bench", "probe"] {
        let help = host.run(&[command, "--help"]).stdout;
        assert!(help.contains("Examples:\n  "), "{help}");
    }
    for command in ["leaves", "status", "explain", "config", "check"] {
        let help = host.run(&[command, "--help"]).stdout;
        assert!(help.contains("Examples:\n  flexmig "), "{help}");
        assert!(help.contains("Fields of --json"), "{help}");
    }
}

#[test]
fn man_pages_and_completions_are_written() {
    let host = Host::new(a100(1, "1g.10gb*7"));
    let dir = host.path("out");
    std::fs::create_dir(&dir).unwrap();
    let dir = dir.display().to_string();
    for what in ["man", "completion"] {
        let ran = host.run(&["generate", what, &dir]);
        assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    }
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "_flexmig",
        "flexmig-bench.1",
        "flexmig-check.1",
        "flexmig-config.1",
        "flexmig-exec.1",
        "flexmig-explain.1",
        "flexmig-leaves.1",
        "flexmig-probe.1",
        "flexmig-simulate.1",
        "flexmig-status.1",
        "flexmig.1",
        "flexmig.bash",
        "flexmig.fish",
    ];
    assert_eq!(names, expected);
    let page = std::fs::read_to_string(host.path("out/flexmig-check.1")).unwrap();
    assert!(page.contains(".TH flexmig-check 1") && page.contains("flexmig check"), "{page}");
    let ran = host.run(&["generate", "man", "/nowhere"]);
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.stderr,
        "flexmig: /nowhere: No such file or directory (os error 2): name a directory that exists and \
         can be written\n"
    );
}
