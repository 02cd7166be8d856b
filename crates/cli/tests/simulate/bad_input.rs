//! Input that is no good: what is said, where, and what to type instead.

use super::{PHILLY, data, simulate};

#[test]
fn input_that_is_no_good_is_one_clear_line() {
    let file = data(PHILLY);
    let philly = file.to_str().unwrap();
    for (args, expected) in [
        (vec!["--trace", "/nowhere", "--format", "swf"], "--trace /nowhere: No such file"),
        (vec!["--trace", philly, "--format", "openb"], "line 1: no column num_gpu, only timestamp"),
        (vec!["--trace", philly, "--format", "swf"], "no job in swf format: line 1: fewer than 5"),
        (vec!["--trace", philly, "--format", "sacct"], "make the file with: sacct --allusers"),
        (
            vec!["--trace", "/dev/null", "--format", "philly"],
            "--trace /dev/null: nothing is in it: ",
        ),
        (vec!["--trace", "/", "--format", "swf"], "--trace /: cannot be read: "),
        (
            vec!["--generate", "5", "--policy", "flex", "--layout", "static=7g"],
            "--layout static=7g: not among the policies: add it to --policy",
        ),
        (vec!["--generate", "5", "--layout", "8x1g"], "--layout 8x1g: not a profile of a100-80"),
        (vec!["--generate", "5", "--layout", "4x2g"], "--layout 4x2g: no placement on a100-80"),
        (vec!["--generate", "5", "--policy", "flex", "--csv", "/nowhere/x"], "--csv /nowhere/x: "),
        (vec!["--generate", "5", "--policy", "flex", "--report", "/proc/x"], "--report /proc/x: "),
        (
            vec!["--generate", "5", "--model-file", "/nowhere"],
            "--model-file /nowhere: No such file",
        ),
    ] {
        let ran = simulate(&args);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{args:?}");
        assert!(ran.stderr.starts_with("flexmig: "), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_wrong_command_line_is_usage() {
    for (args, expected) in [
        (vec![], "required arguments were not provided"),
        (vec!["--generate", "5", "--policy", "best"], "best: no such policy: one of static,"),
        (
            vec!["--generate", "5", "--scheduler", "fifo"],
            "fifo: no such scheduler: one of easy, slurm",
        ),
        (vec!["--generate", "5", "--model", "v100"], "v100: no such GPU model: one of a30-24,"),
        (vec!["--generate", "5", "--mix", "1:2"], "1:2: no such mix: type even,"),
        (vec!["--generate", "5", "--gpus", "0"], "0 is not in 1..=65536"),
        (vec!["--generate", "5", "--load=-1"], "type a number from 0.01 to 100"),
        (vec!["--generate", "5", "--load", "nan"], "type a number from 0.01 to 100"),
        (vec!["--generate", "5", "--seed", "5-1"], "type 1, 1,2,5 or 1-10"),
        (vec!["--generate", "5", "--layout", "pooled=7g"], "pooled has no layout"),
        (vec!["--generate", "5", "--trace", "x", "--format", "swf"], "cannot be used with"),
        (vec!["--generate", "5", "--format", "swf"], "cannot be used with"),
        (vec!["--trace", "x"], "--format <FORMAT>"),
        (vec!["--trace", "x", "--format", "csv"], "csv: no such format: one of philly, openb"),
    ] {
        let ran = simulate(&args);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{args:?}");
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
    }
}
