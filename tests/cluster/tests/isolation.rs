//! Device files: a job opens those of its leaves and is refused on all others.

mod common;

use common::{flexmig, leaves, two_gpus};

/// A shell function that tries each device file named and prints `path open` or `path EPERM`.
const TRY: &str = r#"
try() {
    for file in "$@"; do
        if message=$( (exec 3<"$file") 2>&1); then echo "$file open"; else
            case $message in *"not permitted"*) echo "$file EPERM";; *) echo "$file open";; esac
        fi
    done
}
"#;

#[test]
fn a_job_opens_its_leaves_and_is_refused_on_all_others_in_batch_step_and_task() {
    if let Err(why) = flexmig_cluster::cgroups() {
        println!("skipped: {why}");
        return;
    }
    let cluster = flexmig().node(two_gpus("n1")).cgroups().start();
    let node = leaves(&cluster, "n1");
    let files: Vec<String> = node.iter().flat_map(|leaf| leaf.device_files.clone()).collect();
    let all = files.join(" ");
    let script = format!(
        "{TRY}\nexport -f try\necho [batch]; try {all}\n\
         echo [step]; srun -n1 --exact --gres=flexmig:1 bash -c 'try {all}'\n\
         echo [task]; srun -n2 -l bash -c 'try {all}'\n"
    );
    let job = cluster.sbatch("-n2 --gres=flexmig:2", &format!("#!/bin/bash\n{script}"));
    let output = job.finish();
    let part = |name: &str| {
        let rest =
            output.split(&format!("[{name}]\n")).nth(1).unwrap_or_else(|| panic!("{output}"));
        rest.split("\n[").next().unwrap_or_default().to_owned()
    };
    let opened = |text: &str, prefix: &str| -> Vec<String> {
        let mut opened: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix(prefix)?.strip_suffix(" open").map(str::to_owned))
            .collect();
        opened.sort();
        opened.dedup();
        opened
    };
    let of = |indices: &[usize]| -> Vec<String> {
        let mut files: Vec<_> =
            indices.iter().flat_map(|&index| node[index].device_files.clone()).collect();
        files.sort();
        files.dedup();
        files
    };
    let refused = |text: &str| text.lines().filter(|line| line.ends_with(" EPERM")).count();

    assert_eq!(opened(&part("batch"), ""), of(&[0, 1]), "{output}");
    assert!(refused(&part("batch")) > 20, "{output}");
    assert_eq!(opened(&part("step"), ""), of(&[0]), "{output}");
    let task = part("task");
    if common::binds_tasks(&cluster) {
        assert_eq!(opened(&task, "0: "), of(&[0]), "{output}");
        assert_eq!(opened(&task, "1: "), of(&[1]), "{output}");
    } else {
        assert_eq!(opened(&task, "0: "), of(&[0, 1]), "{output}");
        assert_eq!(opened(&task, "1: "), of(&[0, 1]), "{output}");
    }
}

#[test]
fn a_job_without_leaves_opens_none() {
    if let Err(why) = flexmig_cluster::cgroups() {
        println!("skipped: {why}");
        return;
    }
    let cluster = flexmig().node(two_gpus("n1")).cgroups().start();
    let files: Vec<String> =
        leaves(&cluster, "n1").into_iter().flat_map(|leaf| leaf.device_files).collect();
    let script = format!("#!/bin/bash\n{TRY}\ntry {}", files.join(" "));
    let output = cluster.sbatch("-n1", &script).finish();
    assert_eq!(output.lines().filter(|line| line.ends_with(" EPERM")).count(), files.len());
}
