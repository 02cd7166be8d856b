//! Updates of waiting jobs.

use super::*;

fn changed(site: &Site, job: &Job) -> Result<Option<Decision>, Rejection> {
    decide_change(site, &NEW, job)
}

fn told(site: &Site, slurm: &Dialect, job: &Job) -> String {
    decide_change(site, slurm, job).unwrap_err().to_string()
}

#[test]
fn only_the_request_is_changed() {
    let decision = changed(&site(CLUSTER, ""), &gres("gres:flexmig:2g.20gb:2")).unwrap().unwrap();
    let expected = Decision {
        tres_per_node: Some("gres/flexmig:2g.20gb:2".into()),
        promise: "2g.20gb:2".into(),
        note: "[flexmig:v1 req=2g.20gb:2 got=2g.20gb:2 why=exact]".into(),
        ..Decision::default()
    };
    assert_eq!(decision, expected);
    assert_eq!(changed(&site(CLUSTER, ""), &gres("gres:gpu:1")), Ok(None));
    assert_eq!(changed(&site(CLUSTER, ""), &gres("")), Ok(None));
}

#[test]
fn requests_that_depend_on_the_partition_are_refused() {
    let cluster = site(CLUSTER, "");
    let smallest = changed(&cluster, &gres("flexmig:2")).unwrap().unwrap();
    assert_eq!(smallest.tres_per_node.as_deref(), Some("gres/flexmig:1g.10gb:2"));
    let conf = "NodeName=a Gres=flexmig:1g.10gb:4\nNodeName=b Gres=flexmig:2g.20gb:4\n\
                PartitionName=a Nodes=a\nPartitionName=b Nodes=b";
    let split = site(conf, "");
    assert_eq!(
        told(&split, &NEW, &gres("flexmig:2")),
        "Gres=flexmig:2: the type depends on the partition of the job: \
         type Gres=flexmig:TYPE:2 with TYPE 1g.10gb or 2g.20gb"
    );
    let named = changed(&split, &in_partition("b", "flexmig:2")).unwrap().unwrap();
    assert_eq!(named.tres_per_node.as_deref(), Some("gres/flexmig:2g.20gb:2"));
    assert!(changed(&split, &gres("flexmig:2g.20gb:2")).is_ok());
}

#[test]
fn old_releases_would_add_the_new_type() {
    assert_eq!(
        told(&site(CLUSTER, ""), &OLD, &gres("gres:flexmig:2g.20gb:1")),
        "Gres=flexmig:2g.20gb:1: Slurm 22.05.8 would add it to what the job already asks for: \
         cancel the job and submit it again"
    );
    let one_type = site("NodeName=n1 Gres=flexmig:1g.10gb:7", "");
    let decision = decide_change(&one_type, &OLD, &gres("gres:flexmig:2")).unwrap().unwrap();
    assert_eq!(decision.tres_per_node.as_deref(), Some("gres:flexmig:1g.10gb:2"));
}

#[test]
fn impossible_updates_are_refused() {
    let site = site(CLUSTER, "");
    assert_eq!(
        told(&site, &NEW, &gres("flexmig:1g.10gb:20")),
        "Gres=flexmig:1g.10gb:20: no node of this cluster has 20 leaves of 1g.10gb: \
         type NumNodes=2 Gres=flexmig:1g.10gb:10"
    );
    assert_eq!(
        told(&site, &NEW, &gres("flexmig:0")),
        "Gres=flexmig:0: \"0\" is not a count from 1 up: type flexmig:N with N leaves per node"
    );
}

#[test]
fn policy_is_not_evaded_by_an_update() {
    let limits = "[submit]\nmax_leaves_per_node = 4\nmax_leaves_per_job = 6";
    let site_with_limits = site(CLUSTER, limits);
    assert_eq!(
        told(&site_with_limits, &NEW, &gres("flexmig:1g.10gb:2")),
        "Gres=flexmig:1g.10gb:2: site policy allows at most 6 leaves per job: \
         name the number of nodes too, as NumNodes=1"
    );
    let one_node = Job { min_nodes: Some(1), max_nodes: Some(1), ..gres("flexmig:1g.10gb:5") };
    assert_eq!(
        told(&site_with_limits, &NEW, &one_node),
        "NumNodes=1 Gres=flexmig:1g.10gb:5: site policy allows at most 4 leaves per node: \
         type NumNodes=5 Gres=flexmig:1g.10gb:1"
    );
    let span = site(CLUSTER, "[span]\npartitions = [\"mixed\"]");
    assert_eq!(
        told(&span, &NEW, &gres("flexmig:1g.10gb:2")),
        "Gres=flexmig:1g.10gb:2: site policy restricts who may have more than one leaf, and an \
         update does not say whose job it is: cancel the job and submit it again"
    );
    assert!(changed(&span, &gres("flexmig:1g.10gb:1")).is_ok());
    assert!(changed(&span, &in_partition("mixed", "flexmig:1g.10gb:2")).is_ok());
}
