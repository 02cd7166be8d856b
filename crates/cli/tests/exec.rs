//! `flexmig exec` as launchers use it.

use std::process::{Command, Output};

const LEAVES: &str = "MIG-a,MIG-b,MIG-c";

fn exec(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flexmig"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.envs(environment.iter().copied()).arg("exec").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const SHOW: [&str; 4] =
    ["--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES $LOCAL_RANK $FLEXMIG_LOCAL_RANK; exit 7"];

#[test]
fn the_command_gets_the_leaf_of_its_rank_and_its_status_is_handed_on() {
    let job = [("FLEXMIG_UUIDS", LEAVES), ("CUDA_VISIBLE_DEVICES", LEAVES)];
    for (rank, leaf) in [("0", "MIG-a"), ("1", "MIG-b"), ("2", "MIG-c")] {
        let launched = [("LOCAL_RANK", rank), ("LOCAL_WORLD_SIZE", "3"), ("RANK", rank)];
        let output = exec(&[&job[..], &launched].concat(), &SHOW);
        assert_eq!(text(&output.stdout), format!("{leaf} 0 {rank}\n"));
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(7), ""));
        let named = [&job[..], &[("WHICH", rank)]].concat();
        let output = exec(&named, &[&["--rank-env", "WHICH"][..], &SHOW].concat());
        assert_eq!(text(&output.stdout), format!("{leaf} {rank}\n"));
    }
}

#[test]
fn an_exec_inside_an_exec_changes_nothing() {
    let job = [("FLEXMIG_UUIDS", LEAVES), ("CUDA_VISIBLE_DEVICES", LEAVES), ("LOCAL_RANK", "2")];
    let again = [&["--", env!("CARGO_BIN_EXE_flexmig"), "exec"][..], &SHOW].concat();
    let output = exec(&job, &again);
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("MIG-c 0 2\n", ""));
}

#[test]
fn what_goes_wrong_is_one_line_and_a_status() {
    let leaves = ("FLEXMIG_UUIDS", LEAVES);
    for (environment, arguments, status, expected) in [
        (&[leaves, ("LOCAL_RANK", "3")][..], &["--", "true"][..], 1, "more ranks than leaves"),
        (&[leaves], &["--rank-env", "R", "--", "true"], 2, "exec: R is not set: name a variable"),
        (&[leaves], &["--", "true"], 0, "no launcher has given this process a rank"),
        (&[], &["--", "true"], 0, "FLEXMIG_UUIDS is not set"),
        (
            &[("FLEXMIG_MODE", "off"), leaves],
            &["--", "no-such-command"],
            127,
            "no-such-command: No such file",
        ),
        (&[("FLEXMIG_MODE", "off"), leaves], &["--", "/"], 126, "exec: /: Permission denied"),
    ] {
        let output = exec(environment, arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
        assert!(error.starts_with("flexmig: ") && error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let silent = exec(&[("FLEXMIG_LOG", "error")], &["--", "true"]);
    assert_eq!(text(&silent.stderr), "");
}
