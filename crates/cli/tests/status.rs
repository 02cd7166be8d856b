//! `flexmig status` on saved views: what is shown, and what is told about views that are no good.

mod common;

use common::{Host, Ran, a100};
use flexmig_core::layout::Layout;
use flexmig_core::view::{
    ClusterView, FORMAT, JobState, JobView, LeafCount, NodeView, PartitionView,
};

/// Two GPUs, a 3g.40gb and three 1g.10gb each.
const LAYOUT: &str = r#"
nodes = "n1"
[[gpu]]
minor = 0
model = "NVIDIA A100-SXM4-80GB"
bus_id = "00000000:07:00.0"
numa = 3
leaves = [
  { profile = "3g.40gb", gi = 1, ci = 0, start = 0, size = 4 },
  { profile = "1g.10gb", gi = 7, ci = 0, start = 4, size = 1 },
  { profile = "1g.10gb", gi = 8, ci = 0, start = 5, size = 1 },
  { profile = "1g.10gb", gi = 9, ci = 0, start = 6, size = 1 },
]
[[gpu]]
minor = 1
model = "NVIDIA A100-SXM4-80GB"
bus_id = "00000000:0F:00.0"
leaves = [
  { profile = "3g.40gb", gi = 1, ci = 0, start = 0, size = 4 },
  { profile = "1g.10gb", gi = 7, ci = 0, start = 4, size = 1 },
  { profile = "1g.10gb", gi = 8, ci = 0, start = 5, size = 1 },
  { profile = "1g.10gb", gi = 9, ci = 0, start = 6, size = 1 },
]
"#;

fn leaves(kind: &str, configured: u64, used: u64, used_indices: &str) -> LeafCount {
    LeafCount { kind: Some(kind.into()), configured, used, used_indices: used_indices.into() }
}

fn node(name: &str, state: &str, leaves: Vec<LeafCount>) -> NodeView {
    NodeView {
        name: name.into(),
        state: state.into(),
        usable: state != "DOWN",
        cpus: 16,
        cpus_used: 3,
        memory: 64_000,
        leaves,
        ..NodeView::default()
    }
}

fn running(job_id: u32, nodes: &str, gres_detail: &[&str]) -> JobView {
    JobView {
        job_id,
        partition: "gpu".into(),
        state: JobState::Running,
        tres_per_node: "gres/flexmig:1g.10gb:3".into(),
        admin_comment: "mine [flexmig:v1 req=3g:1 got=1g.10gb:3 why=starts-now]".into(),
        time_limit: Some(60),
        end_time: Some(4_600),
        nodes: nodes.into(),
        gres_detail: gres_detail.iter().map(|&text| text.into()).collect(),
        ..JobView::default()
    }
}

fn view() -> ClusterView {
    let waiting = JobView {
        job_id: 45,
        array_job_id: Some(44),
        array_tasks: "1-3".into(),
        partition: "gpu,all".into(),
        tres_per_node: "gres/flexmig:1g.10gb:6".into(),
        reason: "Resources".into(),
        start_time: Some(1_060),
        ..JobView::default()
    };
    ClusterView {
        format: FORMAT,
        taken_at: 1_000,
        release: "24.11.5".into(),
        nodes: vec![
            node("login", "IDLE", vec![]),
            node("n1", "MIXED", vec![leaves("3g.40gb", 2, 0, ""), leaves("1g.10gb", 6, 3, "2-4")]),
            node("n2", "DOWN", vec![leaves("1g.10gb", 7, 0, "")]),
        ],
        partitions: vec![
            PartitionView {
                name: "gpu".into(),
                nodes: "n[1-2]".into(),
                up: true,
                ..Default::default()
            },
            PartitionView {
                name: "all".into(),
                nodes: "n2,login".into(),
                up: true,
                ..Default::default()
            },
        ],
        jobs: Some(vec![
            waiting,
            running(42, "n[1,3]", &["gpu:1(IDX:0),flexmig:1g.10gb:3(IDX:2-4)", ""]),
            JobView { job_id: 43, state: JobState::Pending, ..JobView::default() },
        ]),
        layouts: vec![Layout::from_bytes("a.toml", LAYOUT.as_bytes()).unwrap()],
        ..ClusterView::default()
    }
}

fn host(view: &ClusterView) -> Host {
    let host = Host::new(a100(1, "1g.10gb*7"));
    host.write("view.json", &serde_json::to_string(view).unwrap());
    host
}

fn status(host: &Host, args: &[&str]) -> Ran {
    let file = host.path("view.json").display().to_string();
    let args = [&["status", "--view", &file], args].concat();
    let mut command = host.command(&args);
    let output = command.env("LC_ALL", "C.UTF-8").output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn the_exact_picture_of_a_view() {
    let ran = status(&host(&view()), &[]);
    let expected = "\
15 leaves on 2 nodes: 3 used, 5 free, 7 unusable; fragmentation 33%; 1 job waits for leaves

n1  mixed  free: 5 of 8 leaves, 13 of 16 CPUs, 62 of 62 GiB; fragmentation 33%
  GPU 0  │········│AA│AA│AA│  IDX 0,2-4  3g.40gb, 3 x 1g.10gb (A100-SXM4-80GB, NUMA 3)
  GPU 1  │········│··│··│··│  IDX 1,5-7  3g.40gb, 3 x 1g.10gb (A100-SXM4-80GB)

n2  down  free: 0 of 7 leaves, 13 of 16 CPUs, 62 of 62 GiB
  1g.10gb  │××│××│××│××│××│××│××│  IDX 0-6

a letter: the job below; · free; × unusable

   JOB  USER  PARTITION  ASKED FOR  TIME LEFT  LEAVES
A   42  root  gpu        3g:1         1:00:00  n1:1g.10gb:3(2-4)

   WAITS  USER  PARTITION  ASKED FOR  WAITS FOR  REASON     STARTS IN
44_[1-3]  root  gpu,all    1g.10gb:6  1g.10gb:6  Resources       1:00
note: n2: no layout file, so counts only are known, not GPUs: deploy what `flexmig config --layout` prints in flexmig-layouts/
";
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, expected);
}

#[test]
fn json_says_which_job_holds_which_leaf_of_which_gpu() {
    let json = status(&host(&view()), &["--json"]).json();
    assert_eq!((&json["version"], &json["taken"]), (&1.into(), &1000.into()));
    assert_eq!(json["totals"]["unusable"], 7);
    let n1 = &json["nodes"][0];
    assert_eq!(n1["name"], "n1");
    assert_eq!(n1["partitions"], serde_json::json!(["gpu"]));
    assert_eq!(
        n1["leaves"][2],
        serde_json::json!({"index": 2, "type": "1g.10gb", "profile": "1g.10gb", "slices": 1,
                           "gpu": 0, "state": "used", "job": "42"})
    );
    assert_eq!(n1["gpus"][1]["leaves"], serde_json::json!([1, 5, 6, 7]));
    let n2 = &json["nodes"][1];
    assert_eq!(n2["gpus"], serde_json::json!([]));
    assert_eq!(n2["leaves"][0]["state"], "unusable");
    assert_eq!(
        json["jobs"][0]["leaves"],
        serde_json::json!([{"node": "n1", "indices": [2, 3, 4], "what": "1g.10gb:3"}])
    );
    assert_eq!(json["pending"][0]["id"], "44_[1-3]");
}

#[test]
fn nodes_and_partitions_narrow_what_is_shown() {
    let host = host(&view());
    let names = |args: &[&str]| -> Vec<String> {
        let json = status(&host, &[args, &["--json"]].concat()).json();
        let nodes = json["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["n1"]), ["n1"]);
    assert_eq!(names(&["n[1-2]"]), ["n1", "n2"]);
    assert_eq!(names(&["-p", "gpu"]), ["n1", "n2"]);
    assert_eq!(names(&["-p", "all"]), ["n2"]);
}

#[test]
fn the_order_of_indices_is_that_of_policy() {
    let host = host(&view());
    host.edit("flexmig.toml", "[node]\n", "[node]\norder = \"spread\"\n");
    let json = status(&host, &["--json"]).json();
    assert_eq!(json["nodes"][0]["gpus"][0]["leaves"], serde_json::json!([0, 2, 4, 6]));
}

#[test]
fn what_cannot_be_shown_is_told_in_one_line() {
    let host = host(&view());
    let told = |args: &[&str]| {
        let ran = status(&host, args);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{args:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        ran.stderr
    };
    assert_eq!(
        told(&["n9"]),
        "flexmig: node n9: there is no such node: nodes with leaves are n[1-2]\n"
    );
    assert_eq!(
        told(&["login"]),
        "flexmig: node login: it has no leaves: nodes with leaves are n[1-2]\n"
    );
    assert!(told(&["n[1-"]).starts_with("flexmig: node n[1-: "));
    assert_eq!(
        told(&["-p", "big"]),
        "flexmig: partition big: there is no such partition: partitions are gpu, all\n"
    );
    let empty = ClusterView { format: FORMAT, ..ClusterView::default() };
    host.write("view.json", &serde_json::to_string(&empty).unwrap());
    let line = "flexmig: this cluster: no node has leaves: `flexmig config` on a node with GPUs prints \
                what slurm.conf needs\n";
    assert_eq!(told(&[]), line);
    assert_eq!(told(&["--json"]), line);
    assert!(told(&["n1"]).ends_with("no node has leaves\n"));
    for (text, why) in [
        ("", "not JSON"),
        ("{\"format\": 7}", "format 7, and this flexmig reads format 1"),
        ("{\"format\": 1}", "no view of a cluster: missing field"),
    ] {
        host.write("view.json", text);
        let line = told(&[]);
        let end = ": save it again with `flexmig status --save FILE`\n";
        assert!(line.contains(why) && line.ends_with(end), "{line}");
    }
    std::fs::remove_file(host.path("view.json")).unwrap();
    assert!(told(&[]).contains("view.json: No such file"), "{}", told(&[]));
}

#[test]
fn nonsense_in_a_view_is_no_crash() {
    let mut wrong = view();
    wrong.nodes[1].leaves[1].used_indices = "4-2,[,9999999".into();
    wrong.nodes[1].leaves[0] = leaves("3g.40gb", 2, 2, "0-1");
    wrong.partitions[0].nodes = "n[".into();
    wrong.jobs.as_mut().unwrap()[1].gres_detail = vec!["flexmig:1g.10gb:3(IDX:2-400)".into(); 9];
    wrong.jobs.as_mut().unwrap()[1].nodes = "n[1-9".into();
    wrong.layouts[0].nodes = "n[2-1]".into();
    wrong.findings = vec!["node n1: flexmig:a: 9 used of 7".into()];
    let ran = status(&host(&wrong), &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.contains("note: node n1: flexmig:a: 9 used of 7\n"), "{}", ran.stdout);
}

#[test]
fn without_a_controller_one_line_says_so() {
    let host = Host::new(a100(1, "1g.10gb*7"));
    let ran = host.run(&["status"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("slurm.conf") && ran.stderr.contains("set SLURM_CONF"), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}
