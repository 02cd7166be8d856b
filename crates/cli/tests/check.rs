//! `flexmig check`: each kind of disagreement, its exact line, and the exit status.

mod common;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use common::{Host, SLURM_CONF, a100};

const NONE: [&str; 0] = [];

#[test]
fn a_host_in_order_has_only_ok_lines() {
    let host = Host::in_order();
    let ran = host.run(&["check", "--node", "n1"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let expected = [
        "ok      DIR/flexmig.toml: read",
        "ok      DIR/plugins: Slurm 22.05.8, a supported release",
        "ok      DIR/plugins/gres_flexmig.so: gres/flexmig, loads into Slurm 22.05.8",
        "ok      DIR/slurm.conf:3: GresTypes=flexmig",
        "ok      DIR/slurm.conf:4: JobSubmitPlugins=flexmig",
        "ok      DIR/slurm.conf: 14 leaves on 1 node",
        "ok      DIR/cgroup.conf:1: ConstrainDevices=yes, with task/cgroup",
        "ok      n1: driver 550.54.15, NVML 12.550.54.15",
        "ok      n1: flexmig:1g.10gb:14, as slurm.conf says",
        "ok      DIR/spool/flexmig-indices-n1.toml: not there yet; slurmd writes it when it starts \
         with gres/flexmig",
        "ok      DIR/flexmig/libflexmig_preload.so: loads",
        "ok      DIR/flexmig/libnccl-net-flexmig.so: loads",
        "ok      n1: 30 device files there, with the driver's numbers",
        "ok      DIR/flexmig-layouts/a100.toml: node n1 is as it says",
    ];
    assert_eq!(ran.lines(&host), expected);
    let quiet = host.run(&["check", "--quiet", "--node", "n1"]);
    assert_eq!((quiet.status, quiet.stdout.as_str()), (0, ""));
}

#[test]
fn json_says_the_same() {
    let host = Host::in_order();
    host.edit("slurm.conf", "GresTypes=flexmig", "GresTypes=gpu");
    host.edit("cgroup.conf", "yes", "no");
    let ran = host.run(&["check", "--json", "--node", "n1"]);
    let json = ran.json();
    assert_eq!(ran.status, 1);
    assert_eq!((&json["version"], &json["node"]), (&1.into(), &"n1".into()));
    assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &1.into()));
    let findings = json["findings"].as_array().unwrap();
    let error = findings.iter().find(|finding| finding["level"] == "error").unwrap();
    assert_eq!(error["topic"], "GresTypes");
    assert_eq!(error["where"], format!("{}:3", host.path("slurm.conf").display()));
    assert_eq!(error["what"], "GresTypes=gpu has no flexmig, so Slurm refuses --gres=flexmig");
    assert_eq!(error["mend"], "write GresTypes=gpu,flexmig and restart slurmctld and slurmd");
}

#[test]
fn warnings_alone_are_status_0() {
    let host = Host::in_order();
    host.edit("cgroup.conf", "yes", "no");
    let ran = host.run(&["check", "--quiet", "--node", "n1"]);
    assert_eq!(ran.status, 0);
    assert_eq!(
        ran.lines(&host),
        ["warning DIR/cgroup.conf:1: ConstrainDevices=no, so any job can open all leaves: write \
          ConstrainDevices=yes and restart slurmd"]
    );
}

#[test]
fn plugins_are_tried_for_real() {
    let host = Host::in_order();
    let head = "error   DIR/plugins/gres_flexmig.so: ";
    let tail = ": Slurm only counts leaves, and jobs get no devices: install the file again from the \
                build for this machine";
    let cases = [
        ("old", "says it is for Slurm 22.05.7, and Slurm is 22.05.8".to_owned()),
        ("other", "is the plugin gres/gpu, not gres/flexmig".to_owned()),
        (
            "unresolved",
            "does not load: DIR/plugins/gres_flexmig.so: undefined symbol: slurm_nowhere"
                .to_owned(),
        ),
        ("crashing", "does not load: the process that loads it dies of signal 6".to_owned()),
    ];
    for (which, expected) in cases {
        host.install_plugins(which);
        assert_eq!(host.complaints(), [format!("{head}{expected}{tail}")], "{which}");
    }
    host.write("plugins/gres_flexmig.so", "garbage");
    let expected = "does not load: DIR/plugins/gres_flexmig.so: file too short";
    assert_eq!(host.complaints(), [format!("{head}{expected}{tail}")]);
}

#[test]
fn plugins_must_be_in_plugin_dir() {
    let host = Host::in_order();
    std::fs::remove_file(host.path("plugins/gres_flexmig.so")).unwrap();
    assert_eq!(
        host.complaints(),
        [
            "error   DIR/slurm.conf:7: gres_flexmig.so is in no directory of PluginDir=DIR/plugins: Slurm \
          only counts leaves, and jobs get no devices: copy it there, or add its directory to \
          PluginDir"
        ]
    );
    host.edit(
        "slurm.conf",
        "PluginDir=DIR".replace("DIR", &host.path("").display().to_string()).trim_end_matches('/'),
        "PluginDir=/nowhere",
    );
    assert_eq!(
        host.complaints(),
        [
            "error   DIR/slurm.conf:7: no plugins of Slurm in PluginDir=/nowhere/plugins: install Slurm on \
          this host, or name the directory of its plugins in PluginDir"
        ]
    );
}

#[test]
fn jobs_need_their_libraries() {
    let host = Host::in_order();
    let (preload, plugin) = ("flexmig/libflexmig_preload.so", "flexmig/libnccl-net-flexmig.so");
    let tail = ": ranks are not bound, and NCCL refuses two leaves of one GPU: ";
    host.write(preload, "garbage");
    let expected = format!(
        "error   DIR/flexmig/libflexmig_preload.so: does not load: file too short{tail}install the file \
         again from the build for this machine"
    );
    assert_eq!(host.complaints(), [expected]);
    std::fs::remove_file(host.path(preload)).unwrap();
    let expected = format!(
        "error   libflexmig_preload.so: is not in DIR/flexmig{tail}install it there, or name its \
         directory in library_dir of flexmig.toml"
    );
    assert_eq!(host.complaints(), [expected]);
    host.install_libraries();
    std::fs::set_permissions(host.path(plugin), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        host.complaints(),
        ["warning DIR/flexmig/libnccl-net-flexmig.so: users may not read \
          DIR/flexmig/libnccl-net-flexmig.so: mode net has no network, and newer NCCL is not served \
          natively: chmod o+rX DIR/flexmig/libnccl-net-flexmig.so"]
    );
}

#[test]
fn a_controller_needs_both_plugins_and_no_gpu() {
    let host = Host::in_order();
    host.write("flexmig.toml", "[node]\nnvml_library = \"DIR/none.so\"\n");
    host.edit("slurm.conf", "NodeName=n1", "NodeName=n[1-3]");
    let run = || host.run(&["check", "--controller", "--quiet"]);
    assert_eq!(
        run().lines(&host),
        [
            "warning DIR/flexmig-layouts: no layout file names n[2-3]: slurmctld knows counts only, no \
          GPUs: print one on a node of each class with `flexmig config --layout`, and put it there as \
          NAME.toml"
        ]
    );
    std::fs::remove_file(host.path("plugins/job_submit_flexmig.so")).unwrap();
    let ran = run();
    assert_eq!(ran.status, 1);
    assert!(
        ran.lines(&host)[0].starts_with(
            "error   DIR/slurm.conf:7: job_submit_flexmig.so is in no directory of \
             PluginDir=DIR/plugins: slurmctld does not start with JobSubmitPlugins=flexmig: "
        ),
        "{}",
        ran.stdout
    );
}

#[test]
fn the_host_that_slurm_conf_names_is_a_controller() {
    let host = Host::in_order();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let is_controller =
        || host.run(&["check", "--json", "--node", "n1"]).json()["controller"].clone();
    assert_eq!(is_controller(), false);
    let both = format!("SlurmctldHost={}(10.0.0.1)\nSlurmctldHost=standby\n", name.trim());
    host.edit("slurm.conf", "SlurmctldHost=ctl\n", &both);
    assert_eq!(is_controller(), true);
}

#[test]
fn a_host_without_a_role_is_told() {
    let host = Host::in_order();
    host.write("flexmig.toml", "[node]\nnvml_library = \"DIR/none.so\"\n");
    let ran = host.run(&["check", "--quiet"]);
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let expected = format!(
        "warning DIR/slurm.conf: names this host ({}) neither in SlurmctldHost nor in NodeName: say \
         --node NAME or --controller",
        name.trim()
    );
    assert_eq!((ran.status, ran.lines(&host)), (0, vec![expected]));
}

#[test]
fn a_broken_flexmig_toml_is_told_with_its_line() {
    let host = Host::in_order();
    host.edit("flexmig.toml", "[node]", "if_broken = \"refuse\"\n[node]\nmax = 3");
    let first = host.complaints().remove(0);
    assert!(first.starts_with("error   DIR/flexmig.toml:3: unknown field `max`"), "{first}");
    assert!(
        first.ends_with(": mend the file; until then slurmctld refuses flexmig jobs"),
        "{first}"
    );
}

#[test]
fn no_slurm_conf_is_an_error() {
    let host = Host::in_order();
    std::fs::remove_file(host.path("slurm.conf")).unwrap();
    assert_eq!(
        host.complaints(),
        ["error   DIR/slurm.conf:1: cannot be read: No such file or directory (os error 2): set \
          SLURM_CONF to where it is"]
    );
}

#[test]
fn a_node_that_slurm_conf_does_not_know_is_an_error() {
    let host = Host::in_order();
    host.edit("slurm.conf", "NodeName=n1", "NodeName=n7");
    let lines = host.complaints();
    assert_eq!(
        lines,
        [
            "error   DIR/slurm.conf: no NodeName line has node n1: paste what `flexmig config` prints, or \
          say --node NAME if it has another name there"
        ]
    );
}

#[test]
fn slurm_conf_must_give_the_node_its_leaves() {
    let host = Host::in_order();
    host.edit(
        "slurm.conf",
        " Gres=flexmig:1g.10gb:14\n",
        "\nNodeName=n2 Gres=flexmig:1g.10gb:14\n",
    );
    assert_eq!(
        host.complaints(),
        ["error   DIR/slurm.conf:9: node n1: has 14 leaves, but no flexmig in Gres=: add \
          flexmig:1g.10gb:14 to its Gres= and restart slurmctld and slurmd"]
    );
}

#[test]
fn counts_must_be_those_of_nvml() {
    let host = Host::in_order();
    host.edit("slurm.conf", "1g.10gb:14", "1g.10gb:16");
    assert_eq!(
        host.complaints(),
        [
            "error   DIR/slurm.conf:9: node n1: slurm.conf has flexmig:1g.10gb:16, this node has 14 (GPU \
          0: 7, GPU 1: 7): make the leaves and restart slurmd, or write Gres=flexmig:1g.10gb:14 in \
          slurm.conf"
        ]
    );
    host.edit("slurm.conf", "1g.10gb:16", "1g.10gb:13");
    let lines = host.complaints();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with(
            "warning DIR/slurm.conf:9: node n1: 1 leaf is not in slurm.conf and not used: MIG-"
        ),
        "{lines:?}"
    );
    host.edit("slurm.conf", "1g.10gb:13", "3g.40gb:4");
    let lines = host.complaints();
    assert_eq!(lines.len(), 2, "missing ones and extra ones: {lines:?}");
    assert!(lines[0].contains("slurm.conf has flexmig:3g.40gb:4, this node has 0: "), "{lines:?}");
}

#[test]
fn leaves_must_not_be_gpus_too() {
    let host = Host::in_order();
    host.edit("slurm.conf", "GresTypes=flexmig", "GresTypes=gpu,flexmig");
    host.edit("slurm.conf", "Gres=", "Gres=gpu:a100_1g.10gb:14,");
    host.write("gres.conf", "AutoDetect=nvml\n");
    assert_eq!(
        host.complaints(),
        [
            "error   DIR/slurm.conf:9: node n1: gpu:a100_1g.10gb:14 and flexmig hand out the same \
             leaves to two jobs: remove gpu:a100_1g.10gb:14 from its Gres= and restart slurmctld and \
             slurmd",
            "warning DIR/gres.conf:1: AutoDetect=nvml takes the leaves for GPUs as well, so two jobs \
             can get one leaf: write the gpu lines of this node by hand, with AutoDetect=off",
        ]
    );
}

#[test]
fn gres_conf_must_name_files_that_exist() {
    let host = Host::in_order();
    host.write("gres.conf", "NodeName=n[1-4] Name=flexmig File=/nowhere/cap[1-2]\n");
    assert_eq!(
        host.complaints(),
        [
            "error   DIR/gres.conf:1: /nowhere/cap1 does not exist, so slurmd ends after 20 s: remove the \
          flexmig lines (the plugin finds the leaves), or write those of `flexmig config --explicit`"
        ]
    );
}

#[test]
fn mig_must_be_on_and_cut() {
    let mut host = Host::in_order();
    host.change(|spec| spec.gpu.iter_mut().for_each(|gpu| gpu.mig = None));
    let lines = host.complaints();
    assert_eq!(
        lines[0],
        "error   n1: MIG is off on 2 GPUs: nvidia-smi -i GPU -mig 1, make the instances \
         (nvidia-mig-parted apply), restart slurmd"
    );
    host.change(|spec| spec.gpu[0].mig = Some(vec!["1g.10gb*7".into()]));
    let lines = host.complaints();
    assert_eq!(
        lines[0],
        "warning n1: MIG is off on GPU 1 (NVIDIA A100-SXM4-80GB), so nobody uses it: nvidia-smi -i \
         00000000:0f:00.0 -mig 1, make the instances (nvidia-mig-parted apply), restart slurmd"
    );
    host.change(|spec| spec.gpu[1].mig = Some(vec![]));
    let lines = host.complaints();
    assert!(lines[0].starts_with("error   GPU /dev/nvidia1"), "{lines:?}");
    assert!(lines[0].contains("MIG is on, but there is no MIG device: "), "{lines:?}");
}

#[test]
fn no_nvml_is_an_error_where_leaves_are_configured() {
    let host = Host::in_order();
    host.write("flexmig.toml", "[node]\nnvml_library = \"DIR/none.so\"\n");
    let lines = host.complaints();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("error   NVML library DIR/none.so: cannot be loaded: "),
        "{lines:?}"
    );
    host.edit(
        "slurm.conf",
        " Gres=flexmig:1g.10gb:14\n",
        "\nNodeName=n2 Gres=flexmig:1g.10gb:14\n",
    );
    assert_eq!(host.complaints(), NONE);
}

#[test]
fn the_node_must_be_as_its_layout_file_says() {
    let mut host = Host::in_order();
    host.change(|spec| spec.gpu[1].mig = Some(vec!["1g.10gb*6, 1g.10gb+me".into()]));
    assert_eq!(host.complaints(), NONE, "another name of the same shape is no difference");
    host.change(|spec| spec.gpu[1].mig = Some(vec!["3g.40gb, 1g.10gb*4".into()]));
    host.edit("slurm.conf", "1g.10gb:14", "1g.10gb:11,flexmig:3g.40gb:1");
    let lines = host.complaints();
    assert!(!lines.is_empty());
    for line in &lines {
        assert!(
            line.starts_with("error   DIR/flexmig-layouts/a100.toml: node n1: GPU 1: "),
            "{line}"
        );
        let mend = ": cut the GPU as it says, or write it anew with `flexmig config --layout`";
        assert!(line.ends_with(mend), "{line}");
    }
}

/// The index file that slurmd would write.
fn index_file(host: &Host) -> String {
    let json = host.run(&["leaves", "--json", "--node", "n1"]).json();
    let mut text = "version = 1\n".to_owned();
    for leaf in json["leaves"].as_array().unwrap() {
        let file = |index: usize| leaf["device_files"][index].as_str().unwrap();
        text.push_str(&format!(
            "[[leaf]]\nindex = {}\nuuid = {}\ntype = {}\nprofile = {}\npresent = true\n[leaf.devices]\n\
             parent = {:?}\ngpu_instance = {:?}\ncompute_instance = {:?}\n",
            leaf["index"], leaf["uuid"], leaf["type"], leaf["profile"], file(0), file(1), file(2)
        ));
    }
    text
}

const INDEX_FILE: &str = "spool/flexmig-indices-n1.toml";

#[test]
fn the_index_file_must_agree() {
    let mut host = Host::in_order();
    let text = index_file(&host);
    host.write(INDEX_FILE, &text);
    let ran = host.run(&["check", "--node", "n1"]);
    let expected = "ok      DIR/spool/flexmig-indices-n1.toml: pins 14 leaves".to_owned();
    assert!(ran.lines(&host).contains(&expected), "{}", ran.stdout);
    assert_eq!(host.complaints(), NONE);

    host.write(INDEX_FILE, &text.replacen("nvidia-cap66", "nvidia-cap999", 1));
    let lines = host.complaints();
    assert_eq!(lines.len(), 1);
    let head = "error   DIR/spool/flexmig-indices-n1.toml: ";
    let what = "1 leaf has another profile or other device files than when slurmd started: MIG-";
    assert!(lines[0].starts_with(&format!("{head}{what}")), "{lines:?}");
    let tail = " (index 4): restart slurmd; jobs that start on them before that fail";
    assert!(lines[0].ends_with(tail), "{lines:?}");

    host.write(INDEX_FILE, &text);
    host.change(|spec| spec.gpu[1].missing = vec!["gi7/ci0".into()]);
    let lines = host.complaints();
    assert!(lines[0].contains("this node has 13 (GPU 0: 7, GPU 1: 6), gone: MIG-"), "{lines:?}");
    assert!(
        lines[1].starts_with(&format!("{head}1 leaf is gone since slurmd started: MIG-")),
        "{lines:?}"
    );
}

#[test]
fn a_corrupt_index_file_is_an_error_with_its_line() {
    let host = Host::in_order();
    host.write(INDEX_FILE, "version = 1\n[[leaf]]\nindex = \"x\"\n");
    let lines = host.complaints();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("error   DIR/spool/flexmig-indices-n1.toml:3: "), "{lines:?}");
    let mend = ": remove it when no job runs on this node, and restart slurmd";
    assert!(lines[0].ends_with(mend), "{lines:?}");
}

#[test]
fn another_order_waits_until_no_job_runs() {
    let host = Host::in_order();
    host.write(INDEX_FILE, &index_file(&host));
    host.edit("flexmig.toml", "[node]\n", "[node]\norder = \"spread\"\n");
    assert_eq!(
        host.complaints(),
        [
            "warning DIR/slurm.conf:9: node n1: flexmig.toml asks for another order of leaves than the \
          index file has: restart slurmd when no job runs on this node"
        ]
    );
}

#[test]
fn device_files_must_have_the_drivers_numbers() {
    let host = Host::in_order();
    host.write("root/proc/devices", "Character devices:\n195 nvidia-frontend\n237 nvidia-caps\n");
    let lines = host.complaints();
    assert_eq!(lines.len(), 30, "stand-ins are no devices at all");
    assert_eq!(
        lines[0],
        "error   DIR/root/dev/nvidia-caps/nvidia-cap102: is no character device: remove it and run \
         nvidia-modprobe -f /proc/driver/nvidia/capabilities/gpu0/mig/gi11/access"
    );
}

#[test]
fn slurmd_must_start_after_what_cuts_the_gpus() {
    let host = Host::in_order();
    host.write("root/usr/lib/systemd/system/slurmd.service", "[Unit]\nAfter=munge.service\n");
    let lines = host.complaints();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("warning slurmd.service: is not ordered after the unit"),
        "{lines:?}"
    );
    host.write(
        "root/etc/systemd/system/slurmd.service.d/mig.conf",
        "[Unit]\nAfter=nvidia-mig-manager.service\n",
    );
    assert_eq!(host.complaints(), NONE);
}

#[test]
fn calls_that_fail_are_told() {
    let mut host = Host::in_order();
    host.change(|spec| {
        spec.fail = vec![mock_nvml::Fail {
            call: "nvmlDeviceGetUUID".into(),
            gpu: Some(1),
            gi: Some(7),
            error: 15,
        }];
    });
    let lines = host.complaints();
    assert!(
        lines[0].starts_with("error   ") && lines[0].contains("this leaf is left out"),
        "{lines:?}"
    );
    assert!(lines[1].contains("slurm.conf has flexmig:1g.10gb:14, this node has 13 "), "{lines:?}");
}

#[test]
fn a_node_name_comes_from_slurmd_or_the_host() {
    let host = Host::in_order();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let node = |command: &mut std::process::Command| -> serde_json::Value {
        let output = command.output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["node"].clone()
    };
    let args = ["check", "--json"];
    assert_eq!(node(host.command(&args).env("SLURMD_NODENAME", "n1")), "n1");
    host.write(
        "slurm.conf",
        &SLURM_CONF.replace("NodeName=n1", &format!("NodeName=gpu7 NodeHostname={}", name.trim())),
    );
    assert_eq!(node(&mut host.command(&args)), "gpu7");
}

#[test]
fn a_single_gpu_node_reads_well() {
    let host = Host::new(a100(1, "3g.40gb"));
    host.write("slurm.conf", &SLURM_CONF.replace("1g.10gb:14", "3g.40gb:1"));
    host.write("cgroup.conf", "ConstrainDevices=yes\n");
    host.install_plugins("good");
    let ran = host.run(&["check", "--node", "n1"]);
    assert!(ran.stdout.contains("slurm.conf: 1 leaf on 1 node\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("n1: 3 device files there"), "{}", ran.stdout);
}

#[test]
fn lines_of_included_files_are_named() {
    let host = Host::in_order();
    host.edit("slurm.conf", "NodeName=n1 CPUs=16 Gres=flexmig:1g.10gb:14", "Include nodes.conf");
    host.write("nodes.conf", "# nodes\nNodeName=n1 CPUs=16 Gres=flexmig:1g.10gb:16\n");
    let lines = host.complaints();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("error   DIR/nodes.conf:2: node n1: slurm.conf has "),
        "{lines:?}"
    );
    let json = host.run(&["config", "--json", "--node", "n1"]).json();
    assert_eq!(json["node_line"], "NodeName=n1 CPUs=16 Gres=flexmig:1g.10gb:14");
}

#[test]
fn the_installed_slurm_is_told_without_our_plugins() {
    let host = Host::in_order();
    std::fs::remove_file(host.path("plugins/gres_flexmig.so")).unwrap();
    host.edit("slurm.conf", "SelectType=select/cons_tres\n", "");
    let lines = host.complaints();
    assert!(
        lines[1].starts_with("warning DIR/slurm.conf: select/linear, the default of this release"),
        "{lines:?}"
    );
}
