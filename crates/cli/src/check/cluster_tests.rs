use super::*;

const GOOD: &str = "\
ClusterName=test
GresTypes=gpu,flexmig
JobSubmitPlugins=flexmig,lua
SelectType=select/cons_tres
TaskPlugin=task/cgroup,task/affinity
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageTRES=gres/flexmig,gres/flexmig:1g.10gb
NodeName=n[1-4] CPUs=16 Gres=flexmig:1g.10gb:14
";

/// Findings that are not ok, as lines, with `from` replaced by `to` in GOOD.
fn bad(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    bad_with(&GOOD.replace(from, to), Some("ConstrainDevices=yes\n"), None)
}

fn bad_with(text: &str, cgroup: Option<&str>, slurm: Option<u32>) -> Vec<String> {
    let lines = findings(text, cgroup, slurm);
    lines.into_iter().filter(|line| !line.starts_with("ok")).collect()
}

fn findings(text: &str, cgroup: Option<&str>, slurm: Option<u32>) -> Vec<String> {
    let conf = SlurmConf::parse("slurm.conf", text.as_bytes(), &mut |_| Err("none".into()));
    let file = |name: &str, text: &str| File { name: name.into(), text: text.into() };
    let files = [file("slurm.conf", text)];
    let (found, cgroup) = (cgroup.is_some(), file("cgroup.conf", cgroup.unwrap_or_default()));
    let slurm = slurm.map(Version);
    let cluster = Cluster { files: &files, conf: &conf, cgroup: (&cgroup, found), slurm };
    cluster.findings().iter().map(Finding::to_string).collect()
}

#[test]
fn a_good_configuration_is_ok() {
    let expected = [
        "ok      slurm.conf:2: GresTypes=gpu,flexmig",
        "ok      slurm.conf:3: JobSubmitPlugins=flexmig,lua",
        "ok      slurm.conf: 56 leaves on 4 nodes",
        "ok      slurm.conf:7: leaves are accounted",
        "ok      cgroup.conf:2: ConstrainDevices=yes, with task/cgroup",
    ];
    assert_eq!(
        findings(GOOD, Some("\nconstraindevices=Yes\n"), None)
            .join("\n")
            .replace("constraindevices=Yes", "ConstrainDevices=yes"),
        expected.join("\n")
    );
}

#[test]
fn gres_types_must_name_flexmig_after_gpu() {
    assert_eq!(
        bad("GresTypes=gpu,flexmig\n", "GresTypes=gpu\n"),
        [
            "error   slurm.conf:2: GresTypes=gpu has no flexmig, so Slurm refuses --gres=flexmig: write \
          GresTypes=gpu,flexmig and restart slurmctld and slurmd"
        ]
    );
    assert_eq!(
        bad("GresTypes=gpu,flexmig\n", ""),
        ["error   slurm.conf: GresTypes is not set, so Slurm refuses --gres=flexmig: write \
          GresTypes=flexmig and restart slurmctld and slurmd"]
    );
    assert_eq!(
        bad("GresTypes=gpu,flexmig\n", "GresTypes=flexmig,gpu\n"),
        ["error   slurm.conf:2: GresTypes=flexmig,gpu: gpu comes after flexmig and unsets \
          CUDA_VISIBLE_DEVICES of flexmig jobs: write GresTypes=gpu,flexmig and restart slurmctld \
          and slurmd"]
    );
}

#[test]
fn job_submit_plugins_must_name_flexmig() {
    assert_eq!(
        bad("JobSubmitPlugins=flexmig,lua", "JobSubmitPlugins=lua"),
        ["error   slurm.conf:3: JobSubmitPlugins=lua has no flexmig, so requests reach Slurm \
          unchecked: write JobSubmitPlugins=flexmig,lua and restart slurmctld"]
    );
    assert_eq!(
        bad("JobSubmitPlugins=flexmig,lua\n", ""),
        [
            "error   slurm.conf: JobSubmitPlugins is not set, so requests reach Slurm unchecked: write \
          JobSubmitPlugins=flexmig and restart slurmctld"
        ]
    );
}

#[test]
fn some_node_must_have_leaves() {
    assert_eq!(
        bad(" Gres=flexmig:1g.10gb:14", ""),
        [
            "error   slurm.conf: no NodeName line has Gres=flexmig: run `flexmig config` on a node with \
          leaves and paste its NodeName line"
        ]
    );
    assert_eq!(bad(" Gres=flexmig:1g.10gb:14", "\nMaxNodeCount=10"), [""; 0]);
    assert_eq!(
        bad("1g.10gb:14", "1g.10gb:2000"),
        [
            "error   slurm.conf: NodeName=n1 has 2000 leaves: Slurm numbers at most 1024 on a node: mend \
          the counts in Gres="
        ]
    );
}

#[test]
fn accounting_needs_slurmdbd_and_should_be_used() {
    assert_eq!(
        bad("AccountingStorageTRES=gres/flexmig,gres/flexmig:1g.10gb\n", ""),
        [
            "warning slurm.conf: leaves are not accounted: no limits, no billing, nothing in sacct: add \
          gres/flexmig to AccountingStorageTRES and restart slurmctld"
        ]
    );
    assert_eq!(
        bad("AccountingStorageType=accounting_storage/slurmdbd\n", ""),
        [
            "error   slurm.conf:6: gres/flexmig without slurmdbd: slurmctld does not start: remove it, \
          or set AccountingStorageType=accounting_storage/slurmdbd"
        ]
    );
}

#[test]
fn whole_nodes_for_jobs_are_told() {
    let tail = " gives whole nodes to jobs, so a job of one leaf takes all of them: write \
                SelectType=select/cons_tres and restart slurmctld and slurmd";
    assert_eq!(
        bad("select/cons_tres", "select/linear"),
        [format!("warning slurm.conf:4: select/linear{tail}")]
    );
    let text = GOOD.replace("SelectType=select/cons_tres\n", "");
    let devices = Some("ConstrainDevices=yes\n");
    assert_eq!(
        bad_with(&text, devices, Some(0x16_05_08)),
        [format!("warning slurm.conf: select/linear, the default of this release,{tail}")]
    );
    assert_eq!(bad_with(&text, devices, Some(0x1a_05_05)), [""; 0]);
}

#[test]
fn leaves_should_be_isolated() {
    let tail = "any job can open all leaves: write ConstrainDevices=yes and restart slurmd";
    assert_eq!(
        bad_with(GOOD, None, None),
        [format!(
            "warning cgroup.conf: there is no such file, so ConstrainDevices is off and {tail}"
        )]
    );
    assert_eq!(
        bad_with(GOOD, Some("ConstrainCores=yes\n"), None),
        [format!("warning cgroup.conf: ConstrainDevices is not set, so {tail}")]
    );
    assert_eq!(
        bad_with(GOOD, Some("# a\nConstrainDevices=no\n"), None),
        [format!("warning cgroup.conf:2: ConstrainDevices=no, so {tail}")]
    );
    assert_eq!(
        bad("task/cgroup,task/affinity", "task/affinity"),
        [
            "warning slurm.conf:5: TaskPlugin has no task/cgroup, which ConstrainDevices needs, so any \
          job can open all leaves: write TaskPlugin=task/cgroup,task/affinity and restart slurmd"
        ]
    );
}

#[test]
fn what_the_reader_cannot_use_is_told() {
    assert_eq!(
        bad("ClusterName=test\n", "ClusterName=test junk\n"),
        ["warning slurm.conf:1: \"junk\" is not Key=Value"]
    );
}
