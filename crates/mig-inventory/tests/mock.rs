//! Inventories of mock nodes.

use std::fs;
use std::path::PathBuf;

use flexmig_core::leaf::{Leaf, Placement};
use flexmig_core::policy::{Node as NodePolicy, Verify};
use mig_inventory::{Inventory, InventoryError, Warning, verify_leaf, verify_leaves};
use mock_nvml::{DeviceKind, Fail, Node, NodeSpec, install, set_node, spec};

struct Mock {
    dir: tempfile::TempDir,
    policy: NodePolicy,
}

impl Mock {
    fn new(spec: &NodeSpec) -> Mock {
        let dir = tempfile::tempdir().unwrap();
        let nvml_library = install(dir.path(), spec).unwrap();
        let root = dir.path().join("root");
        let policy = NodePolicy { nvml_library, root, ..NodePolicy::default() };
        let mock = Mock { dir, policy };
        mock.build(spec);
        mock
    }

    fn build(&self, spec: &NodeSpec) {
        let node = Node::new(spec.clone()).unwrap();
        node.build_tree(&self.policy.root, DeviceKind::Regular).unwrap();
    }

    fn change(&self, spec: &NodeSpec) {
        set_node(self.dir.path(), spec).unwrap();
        self.build(spec);
    }

    fn read(&self) -> Inventory {
        Inventory::read(&self.policy).unwrap()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.policy.root.join(path)
    }

    fn warnings(&self) -> Vec<String> {
        let warnings: Vec<String> = self.read().warnings.iter().map(ToString::to_string).collect();
        assert!(warnings.iter().all(|line| !line.contains('\n')), "{warnings:?}");
        warnings
    }
}

fn preset(name: &str, layout: &str) -> NodeSpec {
    NodeSpec::preset(name).unwrap().named("n1").mig(layout)
}

fn seven() -> NodeSpec {
    preset("dgx-a100", "1g.10gb*7").gpus(2)
}

fn fail(call: &str, gpu: Option<u32>, gi: Option<u32>, error: u32) -> Fail {
    Fail { call: call.into(), gpu, gi, error }
}

#[test]
fn every_preset_is_read_as_described() {
    for name in spec::presets() {
        for layout in layouts(name) {
            let spec = preset(name, layout);
            let node = Node::new(spec.clone()).unwrap();
            let mock = Mock::new(&spec);
            let inventory = mock.read();
            assert_eq!(inventory.warnings, []);
            assert_eq!(inventory.driver_version, spec.driver);
            assert_eq!(inventory.nvml_version, spec.nvml);
            assert_eq!(inventory.parents.len(), node.gpus.len());
            for (parent, gpu) in inventory.parents.iter().zip(&spec.gpu) {
                assert_eq!((parent.minor, parent.bus_id), (gpu.minor, gpu.bus_id));
                assert_eq!((parent.numa, &parent.cpus), (gpu.numa, &gpu.cpus));
            }
            let mut leaves = inventory.leaves.iter();
            for gpu in &node.gpus {
                for expected in &gpu.leaves {
                    let leaf = leaves.next().unwrap();
                    let instance = gpu.instance(expected.gi).unwrap();
                    assert_eq!(leaf.uuid, expected.uuid);
                    assert!(leaf.profile.same_name(&expected.profile));
                    assert_eq!((leaf.gi, leaf.ci), (expected.gi, expected.compute.id));
                    assert_eq!(leaf.memory_mib, instance.fact.memory_mib);
                    assert_eq!(leaf.placement, Some(instance.placement));
                    assert_eq!(leaf.parent.model, gpu.part.model);
                    assert!(leaf.devices.paths().iter().all(|path| fs::exists(path).unwrap()));
                    assert_eq!(leaf.bus_id().unwrap().leaf().unwrap().1, leaf.gi);
                }
            }
            assert_eq!(leaves.next(), None);
        }
    }
}

fn layouts(preset: &str) -> &'static [&'static str] {
    match preset {
        "dgx-a100" => &["1g.10gb*7", "3g.40gb, 1c.2g.20gb*2, 1g.10gb", "7g.80gb"],
        "dgx-a100-40" => &["1c.3g.20gb*3, 2c.4g.20gb*2", "1g.5gb+me, 1g.10gb*3"],
        "hgx-h100" => &["1g.10gb*7", "2g.20gb*3, 1g.20gb"],
        "h200" => &["1g.18gb*7", "4g.71gb, 3g.71gb"],
        _ => &["1g.6gb*4", "2g.12gb, 1g.6gb+me, 1g.6gb"],
    }
}

#[test]
fn leaves_have_the_sizes_of_their_profile() {
    let inventory = Mock::new(&preset("hgx-h100", "2g.20gb*3, 1g.20gb").gpus(1)).read();
    let sizes: Vec<_> = inventory
        .leaves
        .iter()
        .map(|leaf| (leaf.profile.to_string(), leaf.sm_count, leaf.memory_mib))
        .collect();
    let two = ("2g.20gb".to_owned(), 32, 20_091);
    assert_eq!(sizes.iter().filter(|size| **size == two).count(), 3, "{sizes:?}");
    assert!(sizes.contains(&("1g.20gb".to_owned(), 26, 20_091)), "{sizes:?}");
}

#[test]
fn reversed_indices_change_nothing_but_the_index() {
    let spec = preset("dgx-a100", "1g.10gb*7");
    let first = Mock::new(&spec).read();
    let mock = Mock::new(&NodeSpec { reverse: true, ..spec });
    let reversed = mock.read();
    let facts = |inventory: &Inventory| {
        let leaves = inventory.leaves.iter();
        leaves.map(|leaf| (leaf.uuid.clone(), leaf.parent.minor, leaf.gi)).collect::<Vec<_>>()
    };
    assert_eq!(facts(&first), facts(&reversed));
    assert_eq!((first.parents[0].index, reversed.parents[0].index), (0, 7));
}

#[test]
fn device_files_follow_the_minor_not_the_index() {
    let mut spec = seven();
    spec.gpu[0].minor = 5;
    let inventory = Mock::new(&spec).read();
    let leaf = inventory.leaves.iter().find(|leaf| leaf.parent.index == 0).unwrap();
    assert!(leaf.devices.parent.ends_with("/dev/nvidia5"));
    let cap = format!("/dev/nvidia-caps/nvidia-cap{}", mock_nvml::tree::gi_minor(5, leaf.gi));
    assert!(leaf.devices.gpu_instance.ends_with(&cap), "{leaf:?}");
    assert_eq!(inventory.mig_minors, [1, 5]);
}

#[test]
fn gpus_without_mig_are_parents_without_leaves() {
    let mut spec = seven();
    spec.gpu[0].mig = None;
    let inventory = Mock::new(&spec).read();
    assert_eq!((inventory.parents.len(), inventory.leaves.len()), (2, 7));
    assert_eq!((inventory.mig_minors, inventory.warnings), (vec![1], vec![]));

    spec.gpu[1].mig = None;
    let mock = Mock::new(&spec);
    fs::remove_dir_all(mock.path("proc")).unwrap();
    assert_eq!(mock.read().warnings, [], "without MIG nobody needs mig-minors");
}

#[test]
fn mig_without_instances_is_a_warning() {
    let mut spec = seven();
    spec.gpu[1].mig = Some(vec![]);
    assert_eq!(
        Mock::new(&spec).warnings(),
        ["GPU /dev/nvidia1 (00000000:0f:00.0): MIG is on, but there is no MIG device: make the \
          instances (nvidia-mig-parted apply) before slurmd starts"]
    );
}

#[test]
fn a_failing_call_costs_its_gpu_or_leaf_only() {
    let cases = [
        (fail("nvmlDeviceGetHandleByIndex_v2", Some(0), None, 15), 7, "GPU with NVML index 0: "),
        (fail("nvmlDeviceGetMinorNumber", Some(0), None, 15), 7, "GPU with NVML index 0: "),
        (fail("nvmlDeviceGetMigMode", Some(1), None, 15), 7, "GPU /dev/nvidia1 (00000000:0f:00.0)"),
        (fail("nvmlDeviceGetMaxMigDeviceCount", Some(1), None, 999), 7, "GPU /dev/nvidia1 "),
        (fail("nvmlDeviceGetUUID", Some(1), Some(9), 15), 13, "MIG device 2 of GPU /dev/nvidia1 "),
        (fail("nvmlDeviceGetGpuInstanceId", Some(1), Some(9), 15), 13, "MIG device 2 of "),
        (fail("nvmlDeviceGetAttributes_v2", Some(1), Some(9), 15), 13, "leaf gpu1/gi9/ci0 (MIG-"),
    ];
    for (fail, leaves, start) in cases {
        let mock = Mock::new(&NodeSpec { fail: vec![fail.clone()], ..seven() });
        assert_eq!(mock.read().leaves.len(), leaves, "{fail:?}");
        let warnings = mock.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(start), "{warnings:?}");
        assert!(warnings[0].contains(" failed: ") && warnings[0].contains("restart slurmd"));
    }
}

#[test]
fn a_failing_name_or_place_costs_nothing() {
    let gone = vec![
        fail("nvmlDeviceGetName", Some(1), Some(9), 999),
        fail("nvmlDeviceGetGpuInstanceById", None, None, 4),
        fail("nvmlDeviceGetMemoryAffinity", None, None, 3),
        fail("nvmlDeviceGetCpuAffinity", None, None, 3),
        fail("nvmlSystemGetNVMLVersion", None, None, 999),
    ];
    let inventory = Mock::new(&NodeSpec { fail: gone, ..seven() }).read();
    assert_eq!((inventory.leaves.len(), &inventory.warnings[..]), (14, &[][..]));
    assert!(inventory.leaves.iter().all(|leaf| leaf.profile.to_string() == "1g.10gb"));
    assert!(inventory.leaves.iter().all(|leaf| leaf.placement.is_none()));
    assert_eq!((inventory.parents[0].numa, inventory.parents[0].cpus.as_str()), (None, ""));
    assert_eq!(inventory.nvml_version, "");
}

#[test]
fn numa_and_cpus_come_from_the_kernel_where_nvml_does_not_tell() {
    let mut spec = seven().gpus(1);
    (spec.gpu[0].numa, spec.gpu[0].cpus) = (None, String::new());
    let mock = Mock::new(&spec);
    let pci = mock.path("sys/bus/pci/devices/0000:07:00.0");
    fs::create_dir_all(&pci).unwrap();
    fs::write(pci.join("numa_node"), "3\n").unwrap();
    fs::write(pci.join("local_cpulist"), "48-63\n").unwrap();
    let parent = &mock.read().parents[0];
    assert_eq!((parent.numa, parent.cpus.as_str()), (Some(3), "48-63"));
    fs::write(pci.join("numa_node"), "-1\n").unwrap();
    assert_eq!(mock.read().parents[0].numa, None);
}

#[test]
fn no_library_is_an_error_that_names_it() {
    let mock = Mock::new(&seven());
    let policy = NodePolicy { nvml_library: "/nowhere/libnvidia-ml.so.1".into(), ..mock.policy };
    let error = Inventory::read(&policy).unwrap_err().to_string();
    assert!(error.starts_with("NVML library /nowhere/libnvidia-ml.so.1: cannot be loaded: "));
    assert!(error.ends_with("or set nvml_library in [node] of flexmig.toml"), "{error}");
    assert!(!error.contains('\n'));

    let policy = NodePolicy { nvml_library: "libc.so.6".into(), ..policy };
    assert!(matches!(Inventory::read(&policy), Err(InventoryError::Library { .. })));
}

#[test]
fn an_init_error_says_what_to_do() {
    let cases = [
        (9, "NVIDIA driver is not loaded: load the nvidia kernel module before slurmd starts"),
        (18, "reboot, or load the kernel module of the library's version"),
        (4, "let this user open /dev/nvidiactl"),
        (999, "check the driver with nvidia-smi"),
    ];
    for (code, end) in cases {
        let failing = vec![fail("nvmlInit_v2", None, None, code)];
        let mock = Mock::new(&NodeSpec { fail: failing, ..seven() });
        let error = Inventory::read(&mock.policy).unwrap_err().to_string();
        assert!(error.contains(": cannot be initialised: ") && error.ends_with(end), "{error}");
    }
    let failing = vec![fail("nvmlDeviceGetCount_v2", None, None, 999)];
    let mock = Mock::new(&NodeSpec { fail: failing, ..seven() });
    let error = Inventory::read(&mock.policy).unwrap_err();
    assert!(matches!(error, InventoryError::Call { call: "nvmlDeviceGetCount", .. }), "{error}");
}

#[test]
fn missing_mig_minors_is_an_error_that_names_the_file() {
    let mock = Mock::new(&seven());
    let file = mock.path("proc/driver/nvidia-caps/mig-minors");
    fs::remove_file(&file).unwrap();
    let error = Inventory::read(&mock.policy).unwrap_err().to_string();
    let start = format!("{}: cannot be read: No such file or directory", file.display());
    assert!(
        error.starts_with(&start) && error.contains("load the nvidia kernel module"),
        "{error}"
    );

    fs::write(&file, "config 1\nmonitor 2\ngarbage\n").unwrap();
    let inventory = mock.read();
    assert_eq!((inventory.leaves.len(), inventory.warnings.len()), (0, 14));
    assert!(matches!(inventory.warnings[0], Warning::NotListed { .. }));
}

#[test]
fn a_missing_device_file_costs_its_leaf_or_gpu() {
    let mock = Mock::new(&seven());
    let leaf = mock.read().leaves[0].clone();
    fs::remove_file(&leaf.devices.compute_instance).unwrap();
    let warnings = mock.warnings();
    assert_eq!(mock.read().leaves.len(), 13);
    assert_eq!(
        warnings,
        [format!(
            "leaf gpu0/gi7/ci0 ({}): {}: No such file or directory (os error 2): left out; run \
             nvidia-modprobe -f /proc/driver/nvidia/capabilities/gpu0/mig/gi7/ci0/access, then \
             restart slurmd",
            leaf.uuid, leaf.devices.compute_instance
        )]
    );
    fs::remove_file(&leaf.devices.parent).unwrap();
    let warnings = mock.warnings();
    assert_eq!((mock.read().leaves.len(), warnings.len()), (7, 1));
    assert!(warnings[0].starts_with("GPU /dev/nvidia0 (00000000:07:00.0): "), "{warnings:?}");
    assert!(warnings[0].contains("run nvidia-modprobe -c 0"), "{warnings:?}");
}

#[test]
fn a_leaf_that_no_bus_id_holds_is_left_out() {
    let mut spec = seven();
    spec.gpu[1].bus_id.domain = 0x100;
    let mock = Mock::new(&spec);
    assert_eq!(mock.read().leaves.len(), 7);
    let warnings = mock.warnings();
    assert_eq!(warnings.len(), 7);
    assert!(warnings[0].contains("PCI domain 0x100 is above 0xff"), "{warnings:?}");
}

#[test]
fn reading_leaves_nothing_behind() {
    let mock = Mock::new(&seven());
    let loaded = || {
        fs::read_to_string("/proc/self/maps").unwrap().contains(mock.dir.path().to_str().unwrap())
    };
    for _ in 0..3 {
        let inventory = mock.read();
        assert_eq!(verify_leaf(&mock.policy, &inventory.leaves[0]), Ok(()));
        assert!(!loaded(), "the library is unloaded again");
    }
}

fn problems(mock: &Mock, verify: Verify, leaves: &[Leaf]) -> Vec<String> {
    let policy = NodePolicy { verify, ..mock.policy.clone() };
    let problems = verify_leaves(&policy, leaves);
    assert!(problems.iter().all(|line| !line.contains('\n')), "{problems:?}");
    problems
}

const BOTH: [Verify; 2] = [Verify::Files, Verify::Nvml];

#[test]
fn unchanged_leaves_are_well() {
    let mock = Mock::new(&preset("dgx-a100", "3g.40gb, 1c.2g.20gb*2, 1g.10gb"));
    let leaves = mock.read().leaves;
    for verify in BOTH {
        assert_eq!(problems(&mock, verify, &leaves), [""; 0]);
    }
    let reversed =
        NodeSpec { reverse: true, ..preset("dgx-a100", "3g.40gb, 1c.2g.20gb*2, 1g.10gb") };
    mock.change(&reversed);
    assert_eq!(problems(&mock, Verify::Nvml, &leaves), [""; 0]);
}

#[test]
fn a_vanished_leaf_is_found_and_named() {
    let mock = Mock::new(&seven());
    let leaves = mock.read().leaves;
    let mut spec = seven();
    spec.gpu[1].missing = vec!["gi9/ci0".into()];
    mock.change(&spec);
    let gone = leaves.iter().find(|leaf| leaf.parent.minor == 1 && leaf.gi == 9).unwrap();
    for verify in BOTH {
        let problems = problems(&mock, verify, &leaves);
        assert_eq!(problems.len(), 1);
        let start = format!("leaf gpu1/gi9/ci0 ({}): is gone: ", gone.uuid);
        assert!(problems[0].starts_with(&start), "{problems:?}");
    }
}

#[test]
fn new_uuids_are_found_by_nvml_only() {
    let mock = Mock::new(&seven());
    let leaves = mock.read().leaves;
    mock.change(&NodeSpec { salt: "again".into(), ..seven() });
    assert_eq!(problems(&mock, Verify::Files, &leaves), [""; 0], "the files are the same");
    let problems = problems(&mock, Verify::Nvml, &leaves);
    assert_eq!(problems.len(), 14);
    assert!(problems[0].contains("is gone: NVML no longer knows its UUID"), "{problems:?}");
}

#[test]
fn another_profile_at_the_same_place_is_found_by_nvml() {
    let mock = Mock::new(&preset("dgx-a100", "1g.20gb*3").gpus(1));
    let leaves = mock.read().leaves;
    assert_eq!(leaves[0].placement, Some(Placement { start: 4, size: 2 }));
    mock.change(&preset("dgx-a100", "2g.20gb*3").gpus(1));
    let problems = problems(&mock, Verify::Nvml, &leaves[..1]);
    assert!(
        problems[0].contains("has changed: it was a 1g.20gb and is a 2g.20gb now"),
        "{problems:?}"
    );
}

#[test]
fn changed_minors_and_files_are_found() {
    let mock = Mock::new(&seven());
    let leaves = &mock.read().leaves[..1];
    let minors = mock.path("proc/driver/nvidia-caps/mig-minors");
    let text = fs::read_to_string(&minors).unwrap();
    fs::write(&minors, text.replace("gpu0/gi7/access 66", "gpu0/gi7/access 5000")).unwrap();
    let found = problems(&mock, Verify::Files, leaves);
    assert!(found[0].contains("nvidia-cap66 and is "), "{found:?}");

    fs::write(&minors, &text).unwrap();
    let access = mock.path("proc/driver/nvidia/capabilities/gpu0/mig/gi7/access");
    fs::write(&access, "DeviceFileMinor: 99\n").unwrap();
    let found = problems(&mock, Verify::Files, leaves);
    assert!(found[0].contains("says minor \"99\""), "{found:?}");

    fs::write(&access, "DeviceFileMinor: 66\n").unwrap();
    assert_eq!(problems(&mock, Verify::Files, leaves), [""; 0]);
    fs::remove_file(&leaves[0].devices.parent).unwrap();
    let found = problems(&mock, Verify::Files, leaves);
    assert!(found[0].contains("/dev/nvidia0: No such file"), "{found:?}");

    fs::remove_file(&minors).unwrap();
    let found = problems(&mock, Verify::Files, leaves);
    assert!(found[0].contains("mig-minors: cannot be read"), "{found:?}");
}

#[test]
fn files_mode_does_not_need_nvml() {
    let mock = Mock::new(&seven());
    let leaves = mock.read().leaves;
    let without = NodePolicy { nvml_library: "/nowhere.so".into(), ..mock.policy.clone() };
    let files = NodePolicy { verify: Verify::Files, ..without.clone() };
    assert_eq!(verify_leaf(&files, &leaves[0]), Ok(()));
    let problem = verify_leaf(&without, &leaves[0]).unwrap_err();
    assert!(problem.starts_with("NVML library /nowhere.so: cannot be loaded"), "{problem}");
}
