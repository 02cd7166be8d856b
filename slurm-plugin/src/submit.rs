//! A new job: its description is read, decided upon in core, and changed.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::{SystemTime, UNIX_EPOCH};

use flexmig_core::hostlist;
use flexmig_core::note::Note;
use flexmig_core::promise;
use flexmig_core::request;
use flexmig_core::submit::{Decision, Dialect, Job, Reason, Rejection, decide};
use slurm_sys::{
    ESLURM_ACCESS_DENIED, ESLURM_INVALID_GRES, ErrMsg, JobDesc, MEM_PER_CPU, Release,
    SLURM_SUCCESS, Slurm, Version, log,
};

use crate::{environment, settings, view};

/// Handles a new job. Returns Slurm's error code.
pub fn submit(slurm: Slurm, job: &mut JobDesc<'_>, uid: u32, err: Option<ErrMsg<'_>>) -> i32 {
    environment::clean(job);
    if !mentions_leaves(job) {
        return SLURM_SUCCESS;
    }
    let Some(site) = settings::current() else { return SLURM_SUCCESS };
    let version = slurm.version();
    let dialect = dialect(&version);
    let answer = Fields::read(slurm, job).with(|fields| decide(&site, &dialect, fields));
    match answer {
        Ok(None) => SLURM_SUCCESS,
        Ok(Some(decision)) => {
            apply(job, &decision);
            for (kind, leaves) in &decision.claims {
                site.claim(kind.as_deref(), *leaves);
            }
            site.queue_up(&decision.waits);
            if decision.flexible {
                view::want_jobs();
            }
            if let (Some(message), Some(mut err)) = (&decision.message, err) {
                err.add(&["flexmig: ", message].concat());
            }
            SLURM_SUCCESS
        }
        Err(rejection) => rejected(uid, &rejection, err),
    }
}

/// Longest text that Slurm accepts in the request strings and in the list of partitions
/// (`_test_job_desc_fields`, 22.05 to 26.05). It looks only after its plugins.
const LONGEST: usize = 1024;

/// Whether any request string of the job can concern us: all that is done about other jobs. What
/// Slurm refuses for its length in any case is left to it, as slurmctld waits for us with its
/// locks held and a user can send megabytes.
pub(crate) fn mentions_leaves(job: &JobDesc<'_>) -> bool {
    let tres =
        [job.tres_per_node(), job.tres_per_task(), job.tres_per_job(), job.tres_per_socket()];
    let translates = OnceCell::new();
    let gpus = |text: &[u8]| {
        let site = || settings::current().is_some_and(|site| site.translates_gpus());
        request::mentions_gpu(text) && *translates.get_or_init(site)
    };
    let mentions =
        |text: &Cow<'_, str>| request::mentions(text.as_bytes()) || gpus(text.as_bytes());
    // Characters are never more than Slurm's bytes, also where they stand for broken UTF-8.
    let too_long =
        |text: &Cow<'_, str>| text.len() > LONGEST && text.chars().nth(LONGEST).is_some();
    tres.iter().flatten().any(mentions)
        && !tres.iter().flatten().any(too_long)
        && !job.partition().as_ref().is_some_and(too_long)
}

/// What differs between releases.
pub(crate) fn dialect(version: &Version) -> Dialect<'_> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Dialect::of(version.numbers(), version, now)
}

/// The fields of a description that matter, with their texts.
pub(crate) struct Fields<'a> {
    tres: [Option<Cow<'a, str>>; 4],
    partition: Option<Cow<'a, str>>,
    account: Option<Cow<'a, str>>,
    qos: Option<Cow<'a, str>>,
    req_nodes: Option<Cow<'a, str>>,
    features: Option<Cow<'a, str>>,
    prefer: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    numbers: Job<'static>,
}

impl<'a> Fields<'a> {
    /// Reads them.
    pub fn read(slurm: Slurm, job: &'a JobDesc<'_>) -> Fields<'a> {
        let (num_tasks, cpus_per_task, min_cpus) =
            (job.num_tasks(), job.cpus_per_task(), job.min_cpus());
        let numbers = Job {
            num_tasks,
            ntasks_per_node: job.ntasks_per_node(),
            cpus_per_task,
            min_cpus,
            // Slurm's clients set it for --cpus-per-task too.
            pn_min_cpus: job.pn_min_cpus().filter(|&cpus| Some(cpus) != cpus_per_task),
            min_nodes: job.min_nodes(),
            max_nodes: job.max_nodes(),
            named_nodes: job.req_nodes().and_then(|list| named_nodes(&list)),
            time_limit: job.time_limit(),
            memory: job.pn_min_memory().is_some() || job.mem_per_tres().is_some(),
            memory_per_node: job.pn_min_memory().filter(|memory| memory & MEM_PER_CPU == 0),
            memory_per_cpu: job
                .pn_min_memory()
                .filter(|memory| memory & MEM_PER_CPU != 0)
                .map(|memory| memory & !MEM_PER_CPU),
            narrowed: is_narrowed(job),
            per_gpu: per_gpu(job),
            overcommit: overcommit(num_tasks, cpus_per_task, min_cpus),
            repeats: repeats(slurm, job),
            batch: job.is_batch(),
            ..Job::default()
        };
        Fields {
            tres: [
                job.tres_per_node(),
                job.tres_per_task(),
                job.tres_per_job(),
                job.tres_per_socket(),
            ],
            partition: job.partition(),
            account: job.account(),
            qos: job.qos(),
            req_nodes: job.req_nodes(),
            features: job.features(),
            prefer: job.prefer(),
            id: id(job),
            numbers,
        }
    }

    /// Passes them on as core takes them.
    pub fn with<T>(&self, decide: impl FnOnce(&Job<'_>) -> T) -> T {
        let [node, task, job, socket] = &self.tres;
        decide(&Job {
            tres_per_node: node.as_deref(),
            tres_per_task: task.as_deref(),
            tres_per_job: job.as_deref(),
            tres_per_socket: socket.as_deref(),
            partition: self.partition.as_deref().filter(|name| !name.is_empty()),
            account: self.account.as_deref().filter(|name| !name.is_empty()),
            qos: self.qos.as_deref().filter(|name| !name.is_empty()),
            req_nodes: self.req_nodes.as_deref().filter(|names| !names.is_empty()),
            features: self.features.as_deref().filter(|names| !names.is_empty()),
            prefer: self.prefer.as_deref().filter(|names| !names.is_empty()),
            id: self.id.as_deref(),
            ..self.numbers
        })
    }
}

/// Whether the job names nodes, features or a reservation.
fn is_narrowed(job: &JobDesc<'_>) -> bool {
    let names = [job.req_nodes(), job.exc_nodes(), job.features(), job.reservation()];
    names.iter().flatten().any(|names| !names.is_empty())
}

/// Whether the client is an srun that keeps to what was typed. From these releases on it takes over
/// what slurmctld answers (`src/srun/allocate.c`, `src/srun/srun_job.c`).
fn repeats(slurm: Slurm, job: &JobDesc<'_>) -> bool {
    let told = if job.tres_per_task().is_some_and(|text| request::mentions(text.as_bytes())) {
        Release::V25_05
    } else {
        Release::V23_02
    };
    slurm.release() < told && job.submit_line().is_some_and(|line| is_srun(&line))
}

/// Whether the client is srun, by the first word of its command line.
fn is_srun(line: &str) -> bool {
    let command = line.split_ascii_whitespace().next().unwrap_or_default();
    command.rsplit('/').next() == Some("srun")
}

/// The option that counts something per GPU, if there is one.
fn per_gpu(job: &JobDesc<'_>) -> Option<&'static str> {
    let named = |text: Option<Cow<'_, str>>| text.is_some_and(|text| !text.is_empty());
    if named(job.cpus_per_tres()) {
        Some("--cpus-per-gpu")
    } else if named(job.mem_per_tres()) {
        Some("--mem-per-gpu")
    } else if job.ntasks_per_tres().is_some() {
        Some("--ntasks-per-gpu")
    } else {
        None
    }
}

/// The job of an update, in Slurm's forms `20`, `20_6`, `20_[3-5]`.
pub(crate) fn id<'a>(job: &'a JobDesc<'_>) -> Option<Cow<'a, str>> {
    job.job_id_str().or_else(|| Some(job.job_id()?.to_string().into()))
}

/// How many nodes `--nodelist` names.
fn named_nodes(list: &str) -> Option<u32> {
    let mut names = hostlist::expand(list).ok()?;
    names.sort_unstable();
    names.dedup();
    u32::try_from(names.len()).ok().filter(|&count| count > 0)
}

/// `--overcommit`, which Slurm's clients show by asking for fewer CPUs than the tasks make.
fn overcommit(tasks: Option<u32>, cpus_per_task: Option<u16>, min_cpus: Option<u32>) -> bool {
    let cpus = tasks.map(|tasks| tasks.saturating_mul(cpus_per_task.unwrap_or(1).into()));
    cpus.zip(min_cpus).is_some_and(|(cpus, given)| given < cpus)
}

fn apply(job: &mut JobDesc<'_>, decision: &Decision) {
    apply_request(job, decision);
    apply_numbers(job, decision);
    if let Some(features) = &decision.features {
        job.set_features(Some(features));
    }
    if let Some(prefer) = &decision.prefer {
        job.set_prefer(Some(prefer));
    }
    // An inherited one is gone: see `environment::clean`.
    job.append_env(promise::VARIABLE, &decision.promise);
    if decision.translated {
        // `--gpus-per-node`: an srun inside would ask for GPUs again.
        job.remove_env("SLURM_GPUS_PER_NODE");
    }
    add_note(job, &decision.note);
}

/// Sets nodes, tasks, CPUs and memory.
pub(crate) fn apply_numbers(job: &mut JobDesc<'_>, decision: &Decision) {
    let set = |value: Option<u32>, set: &mut dyn FnMut(u32)| value.into_iter().for_each(set);
    set(decision.min_nodes, &mut |nodes| job.set_min_nodes(nodes));
    set(decision.max_nodes, &mut |nodes| job.set_max_nodes(nodes));
    set(decision.num_tasks, &mut |tasks| job.set_num_tasks(tasks));
    set(decision.min_cpus, &mut |cpus| job.set_min_cpus(cpus));
    if let Some(tasks) = decision.ntasks_per_node {
        job.set_ntasks_per_node(tasks);
    }
    if let Some(cpus) = decision.cpus_per_task {
        job.set_cpus_per_task(cpus);
    }
    if let Some(memory) = decision.memory {
        job.set_pn_min_memory(memory);
    }
}

/// Replaces the request strings.
pub(crate) fn apply_request(job: &mut JobDesc<'_>, decision: &Decision) {
    if let Some(text) = &decision.tres_per_node {
        job.set_tres_per_node(Some(text));
    }
    if let Some(text) = &decision.tres_per_task {
        job.set_tres_per_task(Some(text));
    }
}

/// Appends our part to admin_comment.
fn add_note(job: &mut JobDesc<'_>, note: &str) {
    let comment = match job.admin_comment() {
        // An admin who submits a job again with the comment of another one brings its note along.
        Some(comment) if !comment.is_empty() => match (Note::find(&comment), Note::find(note)) {
            (Some(_), Some(own)) => Cow::Owned(own.put_into(&comment)),
            _ => Cow::Owned([&*comment, " ", note].concat()),
        },
        _ => Cow::Borrowed(note),
    };
    job.set_admin_comment(Some(&comment));
}

/// Tells user and log, and finds Slurm's error code.
pub(crate) fn rejected(uid: u32, rejection: &Rejection, err: Option<ErrMsg<'_>>) -> i32 {
    log::info(format_args!("uid {uid}: {rejection}"));
    if let Some(mut err) = err {
        err.add(&format!("flexmig: {rejection}"));
    }
    match rejection.reason {
        Reason::Invalid => ESLURM_INVALID_GRES,
        Reason::Denied => ESLURM_ACCESS_DENIED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_lists_are_counted_once_per_node() {
        assert_eq!(named_nodes("n[1-3],n2"), Some(3));
        assert_eq!(named_nodes("n[1-"), None);
        assert_eq!(named_nodes(""), None);
    }

    #[test]
    fn srun_is_known_by_its_command_line() {
        assert!(is_srun("srun -n4 ./a") && is_srun("/opt/slurm/bin/srun ./a"));
        assert!(!is_srun("salloc srun ./a") && !is_srun("") && !is_srun("/opt/srun/bin/salloc"));
    }

    #[test]
    fn fewer_cpus_than_tasks_make_means_overcommit() {
        assert!(overcommit(Some(4), Some(8), Some(1)));
        assert!(!overcommit(Some(4), Some(8), Some(32)));
        assert!(!overcommit(Some(4), None, None));
        assert!(!overcommit(None, Some(8), Some(1)));
    }

    #[test]
    fn a_comment_has_one_note() {
        let Some(slurm) = slurm_sys::testing::slurm() else { return };
        let note = "[flexmig:v1 req=3g:1 got=b:1 why=slices]";
        let with = |comment: &str| {
            let test = slurm_sys::testing::TestJob::new(slurm).with_text("admin_comment", comment);
            // SAFETY: a description of ours, which lives as long as the view.
            let mut job = unsafe { JobDesc::from_raw(slurm, test.as_ptr()) }.unwrap();
            add_note(&mut job, note);
            job.admin_comment().unwrap_or_default().into_owned()
        };
        assert_eq!(with(""), note);
        assert_eq!(with("mine"), format!("mine {note}"));
        assert_eq!(
            with("mine [flexmig:v1 req=1 got=a:1 why=any] yours"),
            format!("mine {note} yours")
        );
    }

    #[test]
    fn what_slurm_finds_too_long_is_left_to_it() {
        let Some(slurm) = slurm_sys::testing::slurm() else { return };
        let concerns = |request: &str, partition: &str| {
            let test = slurm_sys::testing::TestJob::new(slurm)
                .with_text("tres_per_node", request)
                .with_text("partition", partition);
            // SAFETY: a description of ours, which lives as long as the view.
            mentions_leaves(&unsafe { JobDesc::from_raw(slurm, test.as_ptr()) }.unwrap())
        };
        assert!(concerns("gres:flexmig:1", "small"));
        assert!(concerns("gres:flexmig:1", &"x".repeat(LONGEST)));
        assert!(!concerns("gres:flexmig:1", &"x".repeat(LONGEST + 1)));
        assert!(!concerns(&"gres:flexmig:1,".repeat(1000), "small"));
    }
}
