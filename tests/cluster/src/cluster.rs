//! The running cluster and what a test does with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::client::{Client, Ran};
use crate::daemon::Daemon;
use crate::job::Job;
use crate::parse::{Fields, JobInfo};
use crate::ports::Ports;
use crate::release::Release;
use crate::sandbox::Sandbox;
use crate::setup;
use crate::spec::{Auth, Builder, Node};
use crate::trees;
use crate::wait::wait_for;

/// A cluster. Dropping it ends every daemon and job; its directory goes too, unless the test is
/// failing: then the logs are shown and the directory stays.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    release: Release,
    specs: Vec<Node>,
    policy: String,
    controller: Daemon,
    backup: Option<Daemon>,
    munged: Option<Daemon>,
    slurmds: Vec<Daemon>,
    sandbox: Arc<Sandbox>,
    _ports: Ports,
}

impl Cluster {
    /// Describes a new cluster.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn prepare(builder: Builder) -> Cluster {
        let laid_out = setup::lay_out(&builder).unwrap_or_else(|error| panic!("cluster: {error}"));
        let setup::LaidOut { dir, sandbox, release, ports } = laid_out;
        let controller = Daemon::new(
            "slurmctld",
            &["slurmctld", "-i"],
            &dir,
            &sandbox,
            setup::daemon_env(&dir, None, &builder.controller_env),
        );
        let backup = setup::backup(&dir, &sandbox, &builder.controller_env);
        let backup = builder.backup.then_some(backup);
        let slurmds = builder.nodes.iter().map(|node| {
            Daemon::new(
                &format!("slurmd-{}", node.name),
                &["slurmd", "-N", &node.name],
                &dir,
                &sandbox,
                setup::daemon_env(&dir, Some(&node.name), &node.env),
            )
        });
        let slurmds = slurmds.collect();
        let munged = (builder.auth == Auth::Munge).then(|| setup::munged(&dir, &sandbox));
        if let Some(munged) = &munged {
            munged.start();
        }
        Cluster {
            dir,
            release,
            specs: builder.nodes,
            policy: builder.policy,
            controller,
            backup,
            munged,
            slurmds,
            sandbox,
            _ports: ports,
        }
    }

    /// Starts slurmctld and every slurmd and waits until all nodes are registered.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn start_daemons(&self) {
        self.controller.start_with(&["-c"]).ok();
        std::thread::scope(|scope| {
            for slurmd in &self.slurmds {
                scope.spawn(|| slurmd.start());
            }
        });
        self.wait_ready();
        if let Some(backup) = &self.backup {
            backup.start();
        }
    }

    /// Waits until slurmctld knows every node's version and none is down or not responding. A node
    /// may be drained.
    #[track_caller]
    pub fn wait_ready(&self) {
        let mut seen = Instant::now();
        wait_for("all nodes to be registered", 60, || {
            let running = self.controller.is_running();
            if running {
                seen = Instant::now();
            }
            // From 23.11 a reconfiguration is a new process, with no pid file for a moment.
            assert!(seen.elapsed() < Duration::from_secs(3), "slurmctld has ended");
            let sinfo =
                self.client("sinfo").args("-h -N -O NodeList:64,Version:32,StateCompact:32");
            let ran = sinfo.run();
            // From 23.02 a node has a line for each of its partitions.
            let registered: BTreeSet<&str> = ran.stdout.lines().filter_map(registered).collect();
            (ran.success() && registered.len() == self.specs.len()).then_some(())
        });
    }

    /// Restarts a slurmd and waits until it has registered again.
    #[track_caller]
    pub fn restart_slurmd(&self, node: &str) {
        let slurmd = self.slurmd(node);
        slurmd.stop();
        let mark = slurmd.log_mark();
        slurmd.start();
        slurmd.wait_log(mark, "slurmctld sent back", 30);
    }

    /// Restarts slurmctld, or kills it as a crash would and starts it, and waits until the nodes
    /// have registered.
    ///
    /// Before a kill the state is saved: see [`Cluster::save_state`].
    #[track_caller]
    pub fn restart_controller(&self, kill: bool) {
        if kill {
            self.save_state();
            self.controller.kill9();
        } else {
            self.controller.stop();
        }
        self.controller.start();
        self.wait_ready();
    }

    /// Waits until the plugin's view has seen everything that runs by now.
    ///
    /// # Panics
    /// If that takes over 60 seconds; so does a `refresh` of 0.
    #[track_caller]
    pub fn wait_view(&self) {
        let mark = self.controller().log_mark();
        // The first of these looks may have begun before.
        wait_for("two looks at the cluster", 60, || {
            let log = self.controller().log_since(mark);
            (log.matches("flexmig: view: looked at ").count() >= 2).then_some(())
        });
    }

    /// Makes slurmctld save the state of its jobs and waits until it has.
    ///
    /// Slurm saves on most changes, up to 5 s later, but not when backfill starts a job: without a
    /// later event a crash forgets such a job (seen on 22.05.8, 24.11.5 and 26.05.5).
    #[track_caller]
    pub fn save_state(&self) {
        let asked = SystemTime::now();
        // Fails, as there is no such job, and has the state saved all the same.
        self.scontrol("requeue 66000000");
        let file = self.dir.join("state/job_state");
        wait_for("slurmctld to save its state", 20, || {
            let saved = fs::metadata(&file).and_then(|metadata| metadata.modified());
            saved.is_ok_and(|saved| saved > asked).then_some(())
        });
    }

    /// The cluster's directory; slurm.conf, flexmig.toml and the other files lie in it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of a node: its `flexmig.toml`, `node.toml`, `dev` and `proc`.
    pub fn node_dir(&self, node: &str) -> PathBuf {
        self.dir.join("nodes").join(node)
    }

    /// The Slurm that runs here.
    pub fn release(&self) -> Release {
        self.release
    }

    /// slurmctld.
    pub fn controller(&self) -> &Daemon {
        &self.controller
    }

    /// The slurmctld that stands by, if the cluster was built with one.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn backup(&self) -> &Daemon {
        self.backup.as_ref().expect("a cluster with a second controller")
    }

    /// The slurmd of a node.
    ///
    /// # Panics
    /// If there is no such node.
    #[track_caller]
    pub fn slurmd(&self, node: &str) -> &Daemon {
        let index = self.specs.iter().position(|spec| spec.name == node);
        &self.slurmds[index.unwrap_or_else(|| panic!("no node {node}"))]
    }

    pub(crate) fn command(&self, uid: Option<u32>) -> Command {
        let mut command = self.sandbox.command(uid);
        command.arg(format!("--chdir={}", self.dir.join("work").display()));
        command.args(setup::common_env(&self.dir).map(|(name, value)| format!("{name}={value}")));
        command
    }

    /// A command to be run in the cluster, in its directory `work`.
    pub fn client(&self, program: &str) -> Client<'_> {
        Client::new(self, program)
    }

    /// The command `flexmig` as an admin of `node` would run it.
    #[track_caller]
    pub fn flexmig(&self, node: &str) -> Client<'_> {
        let env = self.slurmd(node).environment();
        let client = self.client("env").arg("SLURMD_NODENAME=".to_owned() + node);
        let client = env.into_iter().fold(client, |client, variable| client.arg(variable));
        client.arg(self.dir.join("bin/flexmig").display().to_string())
    }

    /// Submits a batch script; a first line `#!/bin/sh` is added if it has none. stdout and stderr
    /// go to one file that [`Job::output`] reads.
    ///
    /// # Panics
    /// If sbatch rejects it.
    #[track_caller]
    pub fn sbatch(&self, args: &str, script: &str) -> Job<'_> {
        self.try_sbatch(args, script).unwrap_or_else(|ran| panic!("{ran}"))
    }

    /// As [`Cluster::sbatch`]; a rejection is an answer.
    pub fn try_sbatch(&self, args: &str, script: &str) -> Result<Job<'_>, Ran> {
        self.submit(self.client("sbatch").args(args), script)
    }

    /// As [`Cluster::try_sbatch`] with a client of the test's own, for example with `.uid(65534)`.
    pub fn submit(&self, sbatch: Client<'_>, script: &str) -> Result<Job<'_>, Ran> {
        let shebang = if script.starts_with("#!") { "" } else { "#!/bin/sh\n" };
        let output = self.dir.join("work/%j.out");
        let sbatch = sbatch.arg("--parsable").arg(format!("--output={}", output.display()));
        let ran = sbatch.stdin(format!("{shebang}{script}\n")).run();
        let id = ran.stdout.trim().split(';').next().and_then(|id| id.parse().ok());
        match id {
            Some(id) if ran.success() => Ok(Job::new(self, id, ran.stderr)),
            _ => Err(ran),
        }
    }

    /// Runs srun with these words, split at white space.
    pub fn srun(&self, args: &str) -> Ran {
        self.client("srun").args(args).run()
    }

    /// Runs scontrol with these words, split at white space.
    pub fn scontrol(&self, args: &str) -> Ran {
        self.client("scontrol").args(args).run()
    }

    /// `scontrol reconfigure`; waits until slurmctld knows all nodes. The slurmds take a moment.
    #[track_caller]
    pub fn reconfigure(&self) {
        self.scontrol("reconfigure").ok();
        self.wait_ready();
    }

    /// The records of `scontrol -d show job ID`; there is at least one.
    #[track_caller]
    pub fn job_infos(&self, id: &str) -> Vec<JobInfo> {
        let ran = self.scontrol(&format!("-d show job {id}")).ok();
        let infos = JobInfo::parse_all(&ran.stdout);
        assert!(!infos.is_empty(), "no job {id}: {ran}");
        infos
    }

    /// `scontrol -d show node NAME`.
    #[track_caller]
    pub fn node_info(&self, node: &str) -> Fields {
        Fields::parse(&self.scontrol(&format!("-d show node {node}")).ok().stdout)
    }

    /// Waits until the node's state contains `state`, for example `IDLE` or `DRAIN`.
    #[track_caller]
    pub fn wait_node(&self, node: &str, state: &str) -> Fields {
        wait_for(&format!("node {node} to be {state}"), 30, || {
            let info = self.node_info(node);
            info.get("State").contains(state).then_some(info)
        })
    }

    /// One field of `squeue -O` of one job, for example `tres-per-node`.
    #[track_caller]
    pub fn squeue_field(&self, id: u32, field: &str) -> String {
        let squeue = self.client("squeue").args(&format!("-h -j {id} -O {field}:400"));
        squeue.run().ok().stdout.trim().to_owned()
    }

    /// Reads a file of the cluster's directory.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        let path = self.dir.join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Writes a file of the cluster's directory, for example `slurm.conf`, in one step.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        setup::write(&self.dir, path, text).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Changes a file of the cluster's directory.
    #[track_caller]
    pub fn edit(&self, path: &str, change: impl FnOnce(String) -> String) {
        self.write(path, &change(self.read(path)));
    }

    /// Writes the controller's flexmig.toml; nodes keep theirs.
    #[track_caller]
    pub fn set_policy(&self, text: &str) {
        self.write("flexmig.toml", text);
    }

    /// Writes the node's flexmig.toml with these lines in table `[node]`.
    #[track_caller]
    pub fn set_node_policy(&self, node: &str, lines: &str) {
        let spec = self.specs.iter().find(|spec| spec.name == node);
        let spec = spec.unwrap_or_else(|| panic!("no node {node}"));
        let text = setup::node_policy(&self.dir, spec, &self.policy, lines);
        self.write(&format!("nodes/{node}/flexmig.toml"), &text);
    }

    /// Changes what NVML finds on the node, and its `dev` and `proc` trees with it.
    #[track_caller]
    pub fn set_mock(&self, node: &str, spec: &mock_nvml::NodeSpec) {
        let spec = spec.clone().named(node);
        trees::build(&self.node_dir(node), &spec).unwrap_or_else(|error| panic!("{error}"));
    }

    /// What NVML finds on the node by now, to be changed for [`Cluster::set_mock`].
    ///
    /// # Panics
    /// If the node has no mock NVML.
    #[track_caller]
    pub fn mock(&self, node: &str) -> mock_nvml::NodeSpec {
        let text = self.read(&format!("nodes/{node}/node.toml"));
        mock_nvml::NodeSpec::from_toml(&text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The ends of all daemon logs.
    pub fn logs(&self) -> String {
        let munged = self.munged.iter().map(|daemon| daemon.tail(5));
        let slurm = [&self.controller].into_iter().chain(&self.backup).chain(&self.slurmds);
        munged.chain(slurm.map(|daemon| daemon.tail(100))).collect()
    }

    /// If this thread is panicking, shows the logs and keeps the directory.
    pub(crate) fn show_logs_if_failing(&self) {
        if std::thread::panicking() {
            self.sandbox.keep();
            eprintln!("{}cluster directory kept: {}", self.logs(), self.dir.display());
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.show_logs_if_failing();
    }
}

/// The node of a line `NodeList Version StateCompact` of sinfo, if it has registered and responds.
fn registered(line: &str) -> Option<&str> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        [node, _version, state] => {
            let gone = state.contains('*') || state.starts_with("unk") || state.starts_with("down");
            (!gone).then_some(node)
        }
        _ => None,
    }
}
