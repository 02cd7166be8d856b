//! One node unless asked otherwise.

mod common;

use common::{STAY, flexmig, shown, two_gpus};

#[test]
fn four_tasks_of_eight_cpus_never_become_eight_leaves_on_two_nodes() {
    // On 16-CPU nodes Slurm by itself puts this on two nodes, with four leaves on each.
    let cluster = flexmig().nodes(4, two_gpus).start();
    match cluster.try_sbatch("-n4 -c8 --gres=flexmig:4", STAY) {
        Ok(job) => {
            shown(&job);
            panic!("32 CPUs on one 16-CPU node: {}", job.info().text);
        }
        Err(ran) => assert!(ran.stderr.contains("flexmig:"), "{ran}"),
    }
    let job = cluster.sbatch("-n4 -c4 --gres=flexmig:4", STAY);
    shown(&job);
    assert_eq!(job.info().get("NumNodes"), "1", "{}", job.info().text);
    let held: usize = (1..=4).map(|n| job.indices(&format!("n{n}")).len()).sum();
    assert_eq!(held, 4);
}

#[test]
fn a_request_that_no_node_holds_is_rejected_with_the_form_that_works() {
    let cluster = flexmig().nodes(2, two_gpus).start();
    let ran = cluster.try_sbatch("--gres=flexmig:28", STAY).expect_err("a rejection");
    let form = "-N 2 --gres=flexmig:1g.10gb:14";
    assert!(ran.stderr.contains(form), "{ran}");
    let job = cluster.sbatch(form, STAY);
    shown(&job);
    assert_eq!((job.indices("n1").len(), job.indices("n2").len()), (14, 14));
}

#[test]
fn a_node_count_of_the_users_own_stays() {
    let cluster = flexmig().nodes(3, two_gpus).start();
    let job = cluster.sbatch("-N2 -n2 --gres=flexmig:3", STAY);
    shown(&job);
    assert_eq!(job.info().get("NumNodes"), "2");
    assert_eq!((job.indices("n1").len(), job.indices("n2").len()), (3, 3));
}
