//! `flexmig config`: what it prints, and that pasting it makes `flexmig check` content.

mod common;

use common::{Host, SLURM_CONF, a100};
use flexmig_core::layout::Layout;

#[test]
fn a_new_node_gets_every_part() {
    let host = Host::new(a100(1, "3g.40gb, 1g.10gb*2"));
    let ran = host.run(&["config", "--node", "n1"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let expected = "\
# Flex-MIG: n1 has 3 leaves. Each part says which file it belongs in.

# slurm.conf, the same on all hosts: these lines replace those with the same key.
# Then restart slurmctld and slurmd.
GresTypes=flexmig
JobSubmitPlugins=flexmig
SelectType=select/cons_tres
TaskPlugin=task/cgroup
# With slurmdbd, for limits, billing and sacct:
# AccountingStorageTRES=gres/flexmig,gres/flexmig:1g.10gb,gres/flexmig:3g.40gb
# `slurmd -C` prints the rest of this line (CPUs, RealMemory and so on):
NodeName=n1 Gres=flexmig:1g.10gb:2,flexmig:3g.40gb:1

# cgroup.conf, beside slurm.conf: a job opens its own leaves only.
ConstrainDevices=yes

# gres.conf, beside slurm.conf: needs no flexmig lines, the plugin finds the leaves.

# flexmig-layouts/n1.toml, beside flexmig.toml:
";
    let (head, layout) = ran.stdout.split_at(expected.len());
    assert_eq!(head, expected);
    assert_eq!(layout, host.run(&["config", "--layout", "--node", "n1"]).stdout);
}

#[test]
fn the_layout_file_is_one() {
    let host = Host::new(a100(2, "1g.10gb*7"));
    host.write("slurm.conf", "NodeName=n[1-4] Gres=flexmig:1g.10gb:14\n");
    let ran = host.run(&["config", "--layout", "--node", "n2"]);
    let layout = Layout::from_bytes("f", ran.stdout.as_bytes()).unwrap();
    assert!(layout.covers("n4"), "the class is that of the NodeName line");
    assert_eq!(layout.gpus.iter().map(|gpu| gpu.leaves.len()).sum::<usize>(), 14);
}

#[test]
fn the_parts_are_json_too() {
    let host = Host::new(a100(1, "1g.10gb*2"));
    host.write("slurm.conf", "GresTypes=gpu\nNodeName=n1 CPUs=8 Gres=gpu:1\n");
    let json = host.run(&["config", "--json", "--explicit", "--node", "n1"]).json();
    assert_eq!(json["gres"], "gpu:1,flexmig:1g.10gb:2");
    assert_eq!(json["gres_types"], "gpu,flexmig");
    assert_eq!(json["job_submit_plugins"], "flexmig");
    assert_eq!(json["node_line"], "NodeName=n1 CPUs=8 Gres=gpu:1,flexmig:1g.10gb:2");
    assert_eq!(json["cgroup_conf"][0], "ConstrainDevices=yes");
    assert_eq!(json["layout"]["file"], "flexmig-layouts/n1.toml");
    let line = json["gres_conf"][0].as_str().unwrap();
    let root = host.path("root").display().to_string();
    assert_eq!(
        line.replace(&root, ""),
        "NodeName=n1 Name=flexmig Type=1g.10gb MultipleFiles=/dev/nvidia0,\
         /dev/nvidia-caps/nvidia-cap66,/dev/nvidia-caps/nvidia-cap67"
    );
}

#[test]
fn what_it_prints_makes_check_content() {
    let host = Host::new(a100(2, "3g.40gb, 1g.10gb*3"));
    host.install_plugins("good");
    host.install_libraries();
    host.write(
        "slurm.conf",
        "SlurmctldHost=ctl\nPluginDir=DIR/plugins\nSlurmdSpoolDir=DIR/spool\n",
    );
    for arguments in [&["config", "--node", "n1"][..], &["config", "--explicit", "--node", "n1"]] {
        let text = host.run(arguments).stdout;
        // Every part goes to the file that its comment names.
        let mut parts = text.split("\n\n# ").skip(1);
        let slurm = parts.next().unwrap();
        let base = "SlurmctldHost=ctl\nPluginDir=DIR/plugins\nSlurmdSpoolDir=DIR/spool\n# ";
        host.write("slurm.conf", &format!("{base}{slurm}\n"));
        host.write("cgroup.conf", &format!("# {}\n", parts.next().unwrap()));
        host.write("gres.conf", &format!("# {}\n", parts.next().unwrap()));
        let layout = parts.collect::<Vec<_>>().join("\n\n# ");
        host.write("flexmig-layouts/n1.toml", &format!("# {layout}"));
        assert_eq!(host.complaints(), [""; 0], "{text}");
    }
}

#[test]
fn no_leaves_no_configuration() {
    let mut host = Host::new(a100(1, "1g.10gb*7"));
    host.write("slurm.conf", SLURM_CONF);
    host.change(|spec| spec.gpu[0].mig = None);
    let ran = host.run(&["config", "--node", "n1"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert_eq!(
        ran.stderr,
        "flexmig: node n1: no leaves: MIG is off on its GPUs: nvidia-smi -mig 1, then make the \
         instances (nvidia-mig-parted apply)\n"
    );
    host.change(|spec| spec.gpu[0].mig = Some(vec![]));
    let ran = host.run(&["config", "--node", "n1"]);
    assert!(ran.stderr.contains("node n1: no leaves: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("MIG is on, but there is no MIG device"), "{}", ran.stderr);
}

#[test]
fn a_broken_flexmig_toml_is_told_with_its_line() {
    let host = Host::new(a100(1, "1g.10gb*7"));
    host.write("flexmig.toml", "[node]\nnvml = \"x\"\n");
    let ran = host.run(&["config", "--node", "n1"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    let file = host.path("flexmig.toml").display().to_string();
    assert!(
        ran.stderr.starts_with(&format!("flexmig: {file}:2: unknown field `nvml`")),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.ends_with(": mend it, then try again\n"), "{}", ran.stderr);
}
