//! The constructor in real programs: the environment that each sees, and hands on, is the bound one.

use std::os::unix::process::CommandExt;

mod common;

use common::{Job, UUIDS, have};

/// What a rank may look at, as `sh -c` prints it.
const SHOW: &str = "echo $CUDA_VISIBLE_DEVICES $LOCAL_RANK $FLEXMIG_LOCAL_RANK $FLEXMIG_LEAF";
const PYTHON: &str = "import os; e = os.environ; print(e['CUDA_VISIBLE_DEVICES'], \
                      e['LOCAL_RANK'], e['FLEXMIG_LOCAL_RANK'], e['FLEXMIG_LEAF'])";
const PERL: &str = r#"print join(" ", @ENV{qw(CUDA_VISIBLE_DEVICES LOCAL_RANK FLEXMIG_LOCAL_RANK FLEXMIG_LEAF)}), "\n""#;
const JAVA: &str = r#"public class Show { public static void main(String[] a) throws Exception {
    String[] names = {"CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "FLEXMIG_LOCAL_RANK", "FLEXMIG_LEAF"};
    StringBuilder line = new StringBuilder();
    for (String name : names) line.append(System.getenv(name)).append(" ");
    System.out.println(line.toString().trim());
    ProcessBuilder child = new ProcessBuilder("sh", "-c", a[0]);
    System.exit(child.inheritIO().start().waitFor());
} }"#;

fn bound(leaf: usize) -> String {
    format!("{} 0 {leaf} {leaf}\n", UUIDS[leaf])
}

#[test]
fn every_program_sees_and_hands_on_the_binding() {
    let python =
        |inner: &str| format!("{PYTHON}; import subprocess; subprocess.check_call({inner})");
    let cases: [(&str, Vec<String>, usize); 6] = [
        ("dash", vec!["-c".into(), format!("{SHOW}; dash -c '{SHOW}'")], 2),
        // bash exports a setenv of its own.
        ("bash", vec!["-c".into(), format!("{SHOW}; bash -c '{SHOW}'; (bash -c '{SHOW}')")], 3),
        (
            "perl",
            vec!["-e".into(), format!("$| = 1; {PERL}; system('sh', '-c', $ARGV[0])"), SHOW.into()],
            2,
        ),
        ("python3", vec!["-c".into(), python(&format!("['sh', '-c', '{SHOW}']"))], 2),
        ("bash", vec!["-c".into(), format!("{SHOW}; python3 -c \"{PYTHON}\"")], 2),
        ("env", vec!["sh".into(), "-c".into(), SHOW.into()], 1),
    ];
    for (program, arguments, lines) in cases {
        if !have(program) {
            continue;
        }
        for leaf in [0, 3] {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let finished = Job::new().rank(leaf as u32).run(program, &arguments);
            assert_eq!(finished.clean(), bound(leaf).repeat(lines), "{program} {arguments:?}");
        }
    }
}

#[test]
fn java_sees_and_hands_on_the_binding() {
    if !have("java") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("Show.java");
    std::fs::write(&source, JAVA).unwrap();
    let finished =
        Job::new().rank(2).run("java", &["-Xshare:auto", source.to_str().unwrap(), SHOW]);
    if finished.stderr.contains("jdk.compiler")
        || finished.stderr.contains("Could not find or load")
    {
        return eprintln!("skipped: this java has no compiler");
    }
    assert_eq!(finished.clean(), bound(2).repeat(2));
}

#[test]
fn what_is_no_rank_is_left_alone() {
    let list = UUIDS.join(",");
    let show = "echo $CUDA_VISIBLE_DEVICES $LOCAL_RANK $FLEXMIG_BOUND";
    assert_eq!(Job::new().run("bash", &["-c", show]).clean(), format!("{list}\n"));
    let off = Job::new().rank(2).with("FLEXMIG_MODE", "off");
    assert_eq!(off.run("bash", &["-c", show]).clean(), format!("{list} 2\n"));
    let outside = Job::new().rank(2).without("FLEXMIG_UUIDS");
    assert_eq!(outside.run("bash", &["-c", show]).clean(), format!("{list} 2\n"));
    let users = Job::new().rank(2).with("CUDA_VISIBLE_DEVICES", "GPU-mine");
    assert_eq!(users.run("bash", &["-c", show]).clean(), "GPU-mine 2\n");
}

#[test]
fn the_environment_is_otherwise_as_it_was() {
    let job =
        Job::new().rank(1).with("FLEXMIG_MODE", "net").with("EMPTY", "").with("LINES", "a\nb");
    let before = job.clone().without("LD_PRELOAD").run("env", &["-0"]).clean();
    let after = job.run("env", &["-0"]).clean();
    let changed = ["CUDA_VISIBLE_DEVICES=", "LOCAL_RANK=", "FLEXMIG_", "LD_PRELOAD="];
    let kept = |text: &str| -> Vec<String> {
        let lines =
            text.split('\0').filter(|line| !changed.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(kept(&before), kept(&after));
    assert!(after.contains("FLEXMIG_MODE=net\0"), "what we do not set stays");
    let bound = after.split('\0').find(|line| line.starts_with("FLEXMIG_BOUND=")).unwrap();
    assert_eq!(bound, "FLEXMIG_BOUND=1:0,4,,none,,,,,,,17,,,");
}

#[test]
fn more_ranks_than_leaves_is_one_line_and_exit_1() {
    let finished = Job::new().rank(4).run("bash", &["-c", "echo started"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    assert_eq!(
        finished.stderr,
        "flexmig: more ranks than leaves: LOCAL_RANK makes this rank 4, and there are 4 leaves: \
         start one rank per leaf, ask for more leaves, or set FLEXMIG_MODE=off\n"
    );
}

#[test]
fn malformed_variables_are_one_line_and_the_program_runs() {
    let long = "x".repeat(100_000);
    for (name, value) in [
        ("FLEXMIG_MODE", "relabel"),
        ("FLEXMIG_UUIDS", ",,,"),
        ("FLEXMIG_UUIDS", &long),
        ("FLEXMIG_LEAF", "-1"),
        ("FLEXMIG_LEAF", &long),
        ("FLEXMIG_BOUND", "\u{1b}[31m\n"),
        ("FLEXMIG_BOUND", &long),
        ("FLEXMIG_REWRITE", "everything"),
        ("FLEXMIG_KEEP_LOCAL_RANK", "maybe"),
        ("FLEXMIG_LOG", "loud"),
    ] {
        let job = Job::new().rank(1).with(name, value);
        // The children do not repeat it.
        let finished = job.run("bash", &["-c", "bash -c 'bash -c \"echo ran\"'"]);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "ran\n"), "{name}");
        let lines: Vec<&str> = finished.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        let start = format!("flexmig: {name}: ");
        assert!(lines[0].starts_with(&start) && lines[0].len() < 500, "{lines:?}");
    }
}

#[test]
fn log_levels_decide_what_is_said() {
    let say = |level: &str| Job::new().rank(2).with("FLEXMIG_LOG", level).run("dash", &["-c", ":"]);
    assert_eq!(say("info").stderr, format!("flexmig: bound to leaf 2, {}\n", UUIDS[2]));
    assert_eq!(say("error").stderr, "");
    let users = Job::new().rank(2).with("FLEXMIG_LOG", "info").with("CUDA_VISIBLE_DEVICES", "");
    assert!(users.run("dash", &["-c", ":"]).stderr.starts_with("flexmig: not bound: CUDA_VISIBLE"));
}

#[test]
fn the_loader_and_setuid_programs_are_not_disturbed() {
    // ld.so ignores a preload with a path for a setuid program; `su` must start and say its usage.
    let finished = Job::new().rank(9).run("/bin/su", &["--version"]);
    if finished.code == Some(0) {
        assert!(!finished.stderr.contains("flexmig"), "{finished:?}");
    }
    // All symbols are there when they are bound at start.
    let job = Job::new().rank(0).with("LD_BIND_NOW", "1");
    assert_eq!(job.run("true", &[]).clean(), "");
}

#[test]
fn a_thousand_forks() {
    let script =
        "i=0; while [ $i -lt 500 ]; do /bin/true || exit 1; (:); i=$((i+1)); done; echo done";
    assert_eq!(Job::new().rank(3).run("dash", &["-c", script]).clean(), "done\n");
}

#[test]
fn a_program_that_execs_itself_with_other_ranks_is_bound_anew() {
    let mut command = Job::new().rank(0).command("bash");
    command.arg0("bash").args([
        "-c",
        &format!("for i in 0 1 2 3; do LOCAL_WORLD_SIZE=5 LOCAL_RANK=$i sh -c '{SHOW}'; done"),
    ]);
    let lines = common::Finished::of(command.output().unwrap()).clean();
    // A launcher inside rank 0: 0 * 5 + i.
    let expected: String = (0..4).map(bound).collect();
    assert_eq!(lines, expected);
}
