//! The harness itself, without our plugins.

use flexmig_cluster::{Cluster, Node};

#[test]
fn a_batch_job_runs_and_its_gres_is_counted() {
    let cluster =
        Cluster::builder().nodes(2, |name| Node::new(name).gres("flexmig:1g.10gb:14")).start();
    let job = cluster.sbatch("-N2 --gres=flexmig:4", "srun hostname; echo $SLURM_JOB_NODELIST");
    assert!(job.finish().contains("n[1-2]"), "{}", job.output());
    println!("{}", job.info().text);
}
