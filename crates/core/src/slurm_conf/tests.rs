use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> SlurmConf {
    SlurmConf::parse("slurm.conf", text.as_bytes(), &mut |_| Err("no file".into()))
}

fn class(types: &[(&str, u64)], nodes: u64, cpus: u32, example: &str) -> NodeClass {
    let kind = |kind: &str| (!kind.is_empty()).then(|| kind.to_owned());
    let types = types.iter().map(|&(name, count)| (kind(name), count)).collect();
    NodeClass { types, nodes, cpus, example: example.into(), ..NodeClass::default() }
}

const CLUSTER: &str = r#"
clustername=Test
GresTypes=gpu,flexmig          # gpu first
PluginDir=/opt/ours:/usr/lib/slurm
NodeName=DEFAULT CPUs=16 RealMemory=64000 Gres=flexmig:1g.10gb:14
NodeName=n[1-4] NodeHostname=host1 Feature=a100,ib
NodeName=m[1-2] gres=flexmig:1g.10gb:14,flexmig:3g.40gb:2 \
    Sockets=2 CoresPerSocket=8
NodeName=cpu[1-3] Gres=none
nodeset=big Nodes=m[1-2]
NodeSet=old Feature=a100
PartitionName=DEFAULT MaxTime=INFINITE
PartitionName=all Nodes=ALL Default=YES
PartitionName=two Nodes=big,cpu1
PartitionName=old Nodes="old, m2"
PartitionName=none Nodes=""
"#;

#[test]
fn settings_are_looked_up_in_any_case() {
    let conf = parse(CLUSTER);
    assert_eq!(conf.get("ClusterName"), Some("Test"));
    assert_eq!(conf.words("grestypes").collect::<Vec<_>>(), ["gpu", "flexmig"]);
    assert_eq!(conf.get("StateSaveLocation"), None);
    assert_eq!(parse("A=1\na=2").get("A"), Some("2"), "the last one counts");
}

#[test]
fn nodes_have_the_defaults_of_the_lines_before() {
    let conf = parse(CLUSTER);
    assert_eq!(conf.problems(), [], "nothing to complain about");
    let n2 = conf.node("n2").unwrap();
    assert_eq!((n2.cpus, n2.real_memory), (16, 64000));
    assert_eq!(n2.flexmig_types(), [(Some("1g.10gb".into()), 14)]);
    let m1 = conf.node("m1").unwrap();
    assert_eq!(m1.flexmig_types(), [(Some("1g.10gb".into()), 14), (Some("3g.40gb".into()), 2)]);
    assert_eq!(conf.node("cpu1").unwrap().flexmig_types(), []);
    assert_eq!(conf.node("n5"), None);
    let plain = parse("NodeName=a Boards=2 SocketsPerBoard=2 CoresPerSocket=8 ThreadsPerCore=2");
    assert_eq!(plain.node("a").unwrap().cpus, 64);
    assert_eq!(plain.node("a").unwrap().real_memory, 1);
}

#[test]
fn hosts_and_nodes_find_each_other() {
    let conf = parse(CLUSTER);
    assert_eq!(conf.hostname("n2"), Some("host1"));
    assert_eq!(conf.nodes_of_host("host1"), ["n1", "n2", "n3", "n4"]);
    assert_eq!(conf.nodes_of_host("m1.example.org"), ["m1"]);
    let conf = parse("NodeName=b1\nNodeName=b[1-3] NodeHostname=h[1-3]");
    assert_eq!(conf.hostname("b1"), Some("b1"));
    assert_eq!(conf.hostname("b3"), Some("h3"));
    let text = "NodeName=a NodeHostname=h NodeAddr=10.0.0.1\nNodeName=c[1-2] NodeAddr=10.0.1.[1-2]\n\
                NodeName=d NodeHostname=h\nNodeName=e\nNodeName=a NodeAddr=10.9.9.9";
    let addresses = parse(text);
    let address = |name| addresses.address(name).unwrap_or("none").to_owned();
    assert_eq!(["a", "c2", "d", "e", "f"].map(address), ["10.0.0.1", "10.0.1.2", "h", "e", "none"]);
    let told = "slurm.conf:2: NodeName=b1: named before; the first line counts";
    assert_eq!(conf.problems()[0].to_string(), told);
}

#[test]
fn capacity_is_in_classes_per_partition() {
    let conf = parse(CLUSTER);
    let features: Vec<String> = ["a100", "ib"].map(str::to_owned).into();
    let n = NodeClass {
        common_features: features.clone(),
        features,
        ..class(&[("1g.10gb", 14)], 4, 16, "n1")
    };
    let m = class(&[("1g.10gb", 14), ("3g.40gb", 2)], 2, 16, "m1");
    assert_eq!(conf.default_partition(), Some("all"));
    assert_eq!(conf.flexmig_capacity(None), [n.clone(), m.clone()]);
    assert_eq!(conf.flexmig_capacity(Some("all")), [n.clone(), m.clone()]);
    assert_eq!(conf.flexmig_capacity(Some("two")), std::slice::from_ref(&m));
    let m2 = class(&[("1g.10gb", 14), ("3g.40gb", 2)], 1, 16, "m2");
    assert_eq!(conf.flexmig_capacity(Some("old")), [n.clone(), m2]);
    assert_eq!(conf.flexmig_capacity(Some("old,two")), [n, m]);
    assert_eq!(conf.flexmig_capacity(Some("none")), []);
    assert_eq!(conf.flexmig_capacity(Some("unheard-of")), []);
}

#[test]
fn lines_of_equal_nodes_are_one_class() {
    let conf = parse("NodeName=a Gres=flexmig:7\nNodeName=b Gres=gpu:1,flexmig:4,flexmig:3");
    assert_eq!(conf.flexmig_capacity(None), [class(&[("", 7)], 2, 1, "a")]);
    let conf =
        parse("NodeName=a Gres=flexmig:7 Feature=x,y\nNodeName=b Gres=flexmig:7 Feature=y,z");
    let class = &conf.flexmig_capacity(None)[0];
    assert_eq!(
        (&class.common_features[..], &class.features[..]),
        (&["y".into()][..], &["x".into(), "y".into(), "z".into()][..])
    );
}

#[test]
fn includes_are_followed_in_place() {
    let mut asked = Vec::new();
    let conf = SlurmConf::parse(
        "slurm.conf",
        b"ClusterName=Big\nInclude nodes-%c.conf\nNodeName=n1 CPUs=8\nInclude gone\n",
        &mut |name| {
            asked.push(name.to_owned());
            match name {
                "nodes-big.conf" => Ok(b"NodeName=DEFAULT Gres=flexmig:2\nwhat".to_vec()),
                _ => Err("no such file".into()),
            }
        },
    );
    assert_eq!(asked, ["nodes-big.conf", "gone"]);
    assert_eq!(conf.node("n1").unwrap().flexmig_types(), [(None, 2)]);
    let problems: Vec<String> = conf.problems().iter().map(Problem::to_string).collect();
    let expected =
        ["nodes-big.conf:2: \"what\" is not Key=Value", "slurm.conf:4: Include gone: no such file"];
    assert_eq!(problems, expected);
}

#[test]
fn files_that_include_each_other_end() {
    let conf = SlurmConf::parse("a", b"Include a\nInclude a\nA=1", &mut |_| {
        Ok(b"Include a\nInclude a\nA=1".to_vec())
    });
    assert_eq!(conf.get("A"), Some("1"));
    assert!(conf.problems()[0].to_string().contains("too many files"));
}

#[test]
fn too_many_nodes_are_told() {
    let conf = parse("NodeName=a[1-60000]\nNodeName=b[1-60000]\nNodeName=c[1-2\n");
    assert_eq!(conf.by_name.len(), hostlist::MAX_NAMES);
    let problems: Vec<String> = conf.problems().iter().map(Problem::to_string).collect();
    let expected = [
        "slurm.conf:2: more than 65536 nodes",
        "slurm.conf:3: host list \"c[1-2\": brackets do not match: write n[1-4,7]",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn dynamic_nodes_are_announced() {
    assert!(parse("MaxNodeCount=100").has_dynamic_nodes());
    assert!(!parse(CLUSTER).has_dynamic_nodes());
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let conf = SlurmConf::parse("f", &bytes, &mut |_| Ok(b"NodeName=x".to_vec()));
        let _ = conf.flexmig_capacity(Some("a,b"));
    }

    #[test]
    fn any_text_that_looks_like_a_configuration_is_read(
        text in "((NodeName|NodeSet|PartitionName|Include|gres|nodes|CPUs|feature)[ =]\
                 [a-c0-9\\[\\],:\\-\"#\\\\()]{0,12}[ \n\\\\]{0,2}){0,8}",
    ) {
        let conf = parse(&text);
        for partition in conf.partitions() {
            let nodes: u64 =
                conf.flexmig_capacity(Some(&partition.name)).iter().map(|c| c.nodes).sum();
            prop_assert!(nodes <= conf.by_name.len() as u64);
        }
    }
}
