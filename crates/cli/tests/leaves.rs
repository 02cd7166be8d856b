//! `flexmig leaves` on every preset, as table and as JSON.

mod common;

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Stdio;

use common::{Host, SLURM_CONF, a100};
use mock_nvml::{NodeSpec, spec};

const LAYOUTS: [(&str, &str, usize); 5] = [
    ("dgx-a100", "1g.10gb*7", 56),
    ("dgx-a100-40", "3g.20gb, 2g.10gb, 1g.5gb*2", 32),
    ("hgx-h100", "3g.40gb, 1c.2g.20gb*2, 1g.10gb*2", 40),
    ("h200", "1g.35gb*4", 32),
    ("a30", "1g.6gb*4", 16),
];

#[test]
fn every_preset_has_a_layout_here() {
    let here: BTreeSet<&str> = LAYOUTS.iter().map(|(preset, ..)| *preset).collect();
    assert_eq!(here, spec::presets().collect());
}

#[test]
fn every_preset_prints_its_leaves() {
    for (preset, layout, leaves) in LAYOUTS {
        let spec = NodeSpec::preset(preset).unwrap().mig(layout);
        let (gpus, host) = (spec.gpu.len(), Host::new(spec));
        let ran = host.run(&["leaves", "--node", "n1"]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{preset}");
        let lines = ran.lines(&host);
        assert!(
            lines[0]
                .starts_with(&format!("n1: {leaves} leaves on {gpus} GPUs, driver 550.54.15; ")),
            "{}",
            lines[0]
        );
        let rows = lines.iter().skip_while(|line| !line.starts_with("INDEX")).skip(1);
        let rows: Vec<&String> = rows.take_while(|line| !line.is_empty()).collect();
        assert_eq!(rows.len(), leaves, "{preset}");
        for (index, row) in rows.iter().enumerate() {
            let words: Vec<&str> = row.split_whitespace().collect();
            assert_eq!(words[0], index.to_string(), "{row}");
            assert_eq!(words.len(), 12, "one line per leaf, nothing wraps: {row}");
            assert!(words[11].starts_with("MIG-") && words[11].len() == 40, "{row}");
        }
        let longest = lines.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 160 || lines.last().is_some_and(|l| l.len() == longest), "{longest}");
    }
}

#[test]
fn json_has_every_field_of_every_leaf() {
    for (preset, layout, leaves) in LAYOUTS {
        let host = Host::new(NodeSpec::preset(preset).unwrap().mig(layout));
        let json = host.run(&["leaves", "--json", "--node", "n1"]).json();
        assert_eq!((&json["version"], &json["node"]), (&1.into(), &"n1".into()));
        assert_eq!(json["indices_from"], "policy");
        let rows = json["leaves"].as_array().unwrap();
        assert_eq!(rows.len(), leaves, "{preset}");
        let distinct =
            |field: &str| rows.iter().map(|row| row[field].to_string()).collect::<BTreeSet<_>>();
        for field in ["index", "uuid", "bus_id", "device_files"] {
            assert_eq!(distinct(field).len(), leaves, "{preset}: {field}");
        }
        for row in rows {
            for number in ["index", "memory_mib", "sm_count", "gi", "ci", "gpu_minor", "numa"] {
                assert!(row[number].is_u64(), "{number}: {row}");
            }
            for text in ["type", "uuid", "profile", "bus_id", "gpu_uuid", "gpu_bus_id"] {
                assert!(row[text].is_string(), "{text}: {row}");
            }
            assert!(row["placement"]["start"].is_u64() && row["placement"]["size"].is_u64());
            let files = row["device_files"].as_array().unwrap();
            assert!(files.len() == 3 && files.iter().all(|file| file.is_string()), "{row}");
        }
    }
}

#[test]
fn the_exact_table_of_a_small_node() {
    let host = Host::new(a100(1, "3g.40gb"));
    host.write("slurm.conf", &SLURM_CONF.replace("1g.10gb:14", "3g.40gb:1"));
    let ran = host.run(&["leaves", "--node", "n1"]);
    let json = host.run(&["leaves", "--json", "--node", "n1"]).json();
    let (leaf, gpu) =
        (json["leaves"][0]["uuid"].as_str().unwrap(), json["gpus"][0]["uuid"].as_str().unwrap());
    let expected = format!(
        "\
n1: 1 leaf on 1 GPU, driver 550.54.15; indices as slurmd would assign them (order pack)

GPU  MODEL                  BUS ID            NUMA  CPUS           LEAVES  UUID
  0  NVIDIA A100-SXM4-80GB  00000000:07:00.0     3  48-63,176-191       1  {gpu}

INDEX  PROFILE    MIB  SMS  GPU  GI  CI  BUS ID            DEVICE FILES         UUID
    0  3g.40gb  40192   42    0   1   0  00008800:07:00.0  nvidia0 cap12 cap13  {leaf}
"
    );
    assert_eq!(ran.stdout, expected);
}

#[test]
fn the_order_of_policy_decides_before_slurmd_has_run() {
    let host = Host::new(a100(2, "1g.10gb*7"));
    host.write("slurm.conf", SLURM_CONF);
    let gpus = |host: &Host| -> Vec<u64> {
        let json = host.run(&["leaves", "--json", "--node", "n1"]).json();
        let rows = json["leaves"].as_array().unwrap();
        rows.iter().take(4).map(|row| row["gpu_minor"].as_u64().unwrap()).collect()
    };
    assert_eq!(gpus(&host), [0, 0, 0, 0]);
    host.edit("flexmig.toml", "[node]\n", "[node]\norder = \"spread\"\n");
    assert_eq!(gpus(&host), [0, 1, 0, 1]);
}

#[test]
fn the_index_file_decides_once_slurmd_has_run() {
    let mut host = Host::new(a100(1, "1g.10gb*2"));
    host.write("slurm.conf", &SLURM_CONF.replace(":14", ":2"));
    let json = host.run(&["leaves", "--json", "--node", "n1"]).json();
    let uuid = |index: usize| json["leaves"][index]["uuid"].as_str().unwrap().to_owned();
    let entry = |index: u32, uuid: &str| {
        format!(
            "[[leaf]]\nindex = {index}\nuuid = \"{uuid}\"\ntype = \"1g.10gb\"\nprofile = \"1g.10gb\"\n\
             present = true\n[leaf.devices]\nparent = \"a\"\ngpu_instance = \"b\"\ncompute_instance = \"c\"\n"
        )
    };
    let text = format!("version = 1\n{}{}", entry(0, &uuid(1)), entry(1, &uuid(0)));
    host.write("spool/flexmig-indices-n1.toml", &text);
    let turned = host.run(&["leaves", "--json", "--node", "n1"]).json();
    assert_eq!(turned["indices_from"], "index file");
    assert_eq!(turned["leaves"][0]["uuid"], uuid(1));
    let text = host.run(&["leaves", "--node", "n1"]);
    let from = "; indices from DIR/spool/flexmig-indices-n1.toml";
    assert!(text.lines(&host)[0].ends_with(from), "{}", text.stdout);

    host.change(|spec| spec.gpu[0].missing = vec!["gi7/ci0".into()]);
    let less = host.run(&["leaves", "--json", "--node", "n1"]).json();
    assert_eq!(less["leaves"].as_array().unwrap().len(), 1);
    assert_eq!(less["gone"][0]["uuid"], uuid(0));
    assert_eq!(less["gone"][0]["index"], 1);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let host = Host::new(a100(8, "1g.10gb*7"));
    let mut child = host
        .command(&["leaves", "--json", "--node", "n1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn without_nvml_one_line_says_so() {
    let host = Host::new(a100(1, "1g.10gb*7"));
    host.write("flexmig.toml", "[node]\nnvml_library = \"DIR/none.so\"\n");
    let ran = host.run(&["leaves", "--node", "n1"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with("flexmig: NVML library "), "{}", ran.stderr);
    assert!(ran.stderr.contains(": cannot be loaded: "), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1);
}
