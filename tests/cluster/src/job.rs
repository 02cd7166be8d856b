//! A submitted batch job.

use std::fs;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::parse::JobInfo;
use crate::wait::wait_for;

/// A job that sbatch submitted.
#[derive(Clone, Debug)]
pub struct Job<'c> {
    cluster: &'c Cluster,
    /// The job id that sbatch printed.
    pub id: u32,
    /// What sbatch wrote on stderr: the lines of job_submit plugins.
    pub messages: String,
}

impl<'c> Job<'c> {
    pub(crate) fn new(cluster: &'c Cluster, id: u32, messages: String) -> Job<'c> {
        Job { cluster, id, messages }
    }

    /// The first record of `scontrol -d show job`.
    #[track_caller]
    pub fn info(&self) -> JobInfo {
        self.infos().swap_remove(0)
    }

    /// All records of `scontrol -d show job`: tasks of an array, parts of a het job.
    #[track_caller]
    pub fn infos(&self) -> Vec<JobInfo> {
        self.cluster.job_infos(&self.id.to_string())
    }

    /// Its state, for example `RUNNING`.
    #[track_caller]
    pub fn state(&self) -> String {
        self.info().get("JobState").to_owned()
    }

    /// Indices of GRES flexmig that it holds on `node`.
    #[track_caller]
    pub fn indices(&self, node: &str) -> Vec<u32> {
        self.info().indices(node, "flexmig")
    }

    /// Waits until every record of the job is in `state`.
    ///
    /// # Panics
    /// After 30 seconds, or when it has ended in another state.
    #[track_caller]
    pub fn wait_state(&self, state: &str) -> &Job<'c> {
        wait_for(&format!("job {} to be {state}", self.id), 30, || {
            let infos = self.infos();
            let other = infos.iter().find(|info| info.get("JobState") != state);
            if let Some(other) = other {
                let ended = has_ended(other.get("JobState"));
                assert!(
                    !ended,
                    "job {} is not {state}:\n{}\n{}",
                    self.id,
                    other.text,
                    self.output()
                );
            }
            other.is_none().then_some(())
        });
        self
    }

    /// Waits until it runs.
    #[track_caller]
    pub fn wait_running(&self) -> &Job<'c> {
        self.wait_state("RUNNING")
    }

    /// Waits until it has ended, all tasks of an array too; returns the state of its first record.
    #[track_caller]
    pub fn wait_end(&self) -> String {
        wait_for(&format!("job {} to end", self.id), 60, || {
            let infos = self.infos();
            let all = infos.iter().all(|info| has_ended(info.get("JobState")));
            all.then(|| infos[0].get("JobState").to_owned())
        })
    }

    /// Waits until it has completed; returns its output.
    #[track_caller]
    pub fn finish(&self) -> String {
        let state = self.wait_end();
        assert_eq!(state, "COMPLETED", "job {}:\n{}", self.id, self.output());
        self.output()
    }

    /// Cancels it and waits for its end.
    #[track_caller]
    pub fn cancel(&self) {
        self.cluster.client("scancel").arg(self.id.to_string()).run().ok();
        self.wait_end();
    }

    /// Where its output goes, stdout and stderr.
    pub fn output_path(&self) -> PathBuf {
        self.cluster.dir().join(format!("work/{}.out", self.id))
    }

    /// Its output so far.
    pub fn output(&self) -> String {
        let bytes = fs::read(self.output_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until its output holds a line that contains `needle`; returns the output.
    #[track_caller]
    pub fn wait_output(&self, needle: &str) -> String {
        wait_for(&format!("`{needle}` in the output of job {}", self.id), 30, || {
            let output = self.output();
            output.lines().any(|line| line.contains(needle)).then_some(output)
        })
    }
}

fn has_ended(state: &str) -> bool {
    let going_on = ["PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED"];
    !going_on.contains(&state)
}
