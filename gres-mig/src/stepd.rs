//! In slurmstepd: the leaves of a job, of a step and of a task.
//!
//! slurmstepd calls [`receive`] once, then one of [`set_environment`] for the job or step, and
//! after forking [`bind_task`] in the task's process, where no lock may be taken and nothing be
//! initialised.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use flexmig_core::nccl::settings;
use flexmig_core::promise::{self, Promise};
use slurm_sys::{BitstrRef, DeviceSlot, EnvArray, Slurm, Truncated, Version, log};

use crate::environment::{self, Edit, Granted, Scope};
use crate::node::{NOT_STARTED, Node};
use crate::{blob, devices, nccl, refuse};

/// What slurmd sent, or why it cannot be read.
type Received = Result<Node, String>;

static RECEIVED: AtomicPtr<Received> = AtomicPtr::new(null_mut());
static DEVICES: DeviceSlot = DeviceSlot::new();

/// Keeps what slurmd sent. A process receives once, so nothing of it is freed.
fn store(received: Received) {
    RECEIVED.store(Box::into_raw(Box::new(received)), Ordering::Release);
}

fn received() -> Option<&'static Received> {
    // SAFETY: null or a message of `store`, which is never freed.
    unsafe { RECEIVED.load(Ordering::Acquire).as_ref() }
}

/// Reads the block that slurmd sent.
pub fn receive(slurm: Slurm, block: &Result<Vec<u8>, Truncated>) {
    let node = match block.as_deref() {
        // slurmd has no leaves on this node, or could not send them, and logged why.
        Ok([]) => return,
        Ok(block) => blob::decode(block).map_err(|error| error.to_string()),
        Err(truncated) => Err(truncated.to_string()),
    };
    match &node {
        Ok(node) => {
            // SAFETY: slurmstepd receives once, with its GRES lock held, and asks for devices only
            // later; so there is no old list of which it could hold elements.
            unsafe { DEVICES.replace(slurm, Some(devices::list(slurm, node))) };
        }
        Err(error) => log::error(format_args!("{error}: restart slurmd")),
    }
    store(node);
}

/// The device list for `gres_p_get_devices`; null where there is none.
pub fn device_list() -> *mut slurm_sys::raw::List {
    DEVICES.as_ptr()
}

/// Sets the environment of a job or step, or refuses it.
pub fn set_environment(
    slurm: Slurm,
    scope: Scope,
    env: &mut EnvArray<'_>,
    bits: Option<BitstrRef<'_>>,
    count: u64,
) {
    let bits: Vec<usize> = bits.map(|bits| bits.iter().collect()).unwrap_or_default();
    if bits.is_empty() && count == 0 {
        let edits = environment::withdraw(&|name| get(env, name));
        return apply(env, edits);
    }
    match leaves(slurm, scope, env, &bits, count) {
        Ok((node, granted)) => {
            let bind = node.policy.bind_tasks && slurm.release().binds_gres_per_task();
            let edits = environment::grant(scope, &granted, bind, &|name| get(env, name));
            apply(env, edits);
            let edits = nccl::edits(node, &|name| get(env, name));
            apply(env, edits.into_iter().map(Edit::from));
        }
        Err(line) => {
            let edits = environment::withdraw(&|name| get(env, name));
            apply(env, edits);
            refuse::refuse(env, &line);
        }
    }
}

/// The leaves behind the bits, checked; or the line with which to refuse the job.
fn leaves(
    slurm: Slurm,
    scope: Scope,
    env: &EnvArray<'_>,
    bits: &[usize],
    count: u64,
) -> Result<(&'static Node, Vec<Granted<'static>>), String> {
    let node = match received() {
        Some(Ok(node)) => node,
        Some(Err(error)) => return Err(format!("{error}: {NOT_STARTED}: restart slurmd")),
        None => {
            return Err(format!(
                "slurmd knows no leaves of this node: {NOT_STARTED}: tell your administrator, who \
                 finds the mend in slurmd's log"
            ));
        }
    };
    if bits.is_empty() {
        return Err(format!(
            "{}: slurmctld gave {count} leaves and did not say which: {NOT_STARTED}: submit the \
             job again",
            node.name
        ));
    }
    let granted = node.granted(bits)?;
    if scope == Scope::Job && checks_types(slurm.version()) && is_batch(&process_title()) {
        check_promise(node, &granted, env)?;
    }
    for granted in &granted {
        // Inventory left such a leaf out; a bus id that is not its own would confuse NCCL.
        granted
            .leaf
            .bus_id()
            .map_err(|error| format!("{}: leaf {}: {error}", node.name, granted.index))?;
    }
    let problems = mig_inventory::verify_leaves(&node.policy, granted.iter().map(|g| g.leaf));
    match bad_leaves(&node.name, &granted, &problems) {
        Some(line) => Err(line),
        None => Ok((node, granted)),
    }
}

/// One line for the problems that the inventory has with leaves: the first, under its index.
fn bad_leaves(node: &str, granted: &[Granted<'_>], problems: &[String]) -> Option<String> {
    let (first, rest) = problems.split_first()?;
    let more = match rest.len() {
        0 => String::new(),
        more => format!("{more} more of its leaves too: "),
    };
    let of = granted.iter().find(|granted| first.contains(&granted.leaf.uuid));
    // The inventory says "leaf gpu0/gi9/ci0 (UUID): problem"; it does not know indices.
    Some(match (of, first.strip_prefix("leaf ")) {
        (Some(granted), Some(problem)) => {
            format!("{node}: leaf {}, {problem}: {more}{NOT_STARTED}", granted.index)
        }
        _ => format!("{node}: {first}: {more}{NOT_STARTED}"),
    })
}

/// Whether this Slurm can start a job on leaves of another type: between a restart of slurmctld and
/// the node's registration (seen on 22.05.8). Where `scontrol update` can change the type of a
/// waiting job (23.02.6 and later) `FLEXMIG_REQUEST` may rightly differ.
fn checks_types(version: Version) -> bool {
    version < Version::new(23, 2, 6)
}

fn check_promise(node: &Node, granted: &[Granted<'_>], env: &EnvArray<'_>) -> Result<(), String> {
    let Some(text) = get(env, promise::VARIABLE) else { return Ok(()) };
    match text.parse::<Promise>() {
        Ok(promise) => node.broken_promise(granted, &promise).map_or(Ok(()), Err),
        Err(error) => {
            log::info(format_args!("{}: {error}: not checked", promise::VARIABLE));
            Ok(())
        }
    }
}

/// slurmstepd's title, as ps shows it: `slurmstepd: [12.batch]`. Set before the plugin is asked.
fn process_title() -> String {
    let title = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    String::from_utf8_lossy(&title).into_owned()
}

/// Whether the title is that of a batch step. An interactive step (salloc) has its environment from
/// the client, where a `FLEXMIG_REQUEST` of an outer job may be left; job_submit cannot remove it.
fn is_batch(title: &str) -> bool {
    let step = title.split_once('[').map(|(_, step)| step);
    step.is_some_and(|step| step.split([']', ' ']).next().is_some_and(|s| s.ends_with(".batch")))
}

/// Gives a task the leaves that Slurm bound it to. Runs after the fork.
pub fn bind_task(
    env: &mut EnvArray<'_>,
    bits: Option<BitstrRef<'_>>,
    usable: Option<BitstrRef<'_>>,
) {
    let Some(bits) = bits else {
        let edits = environment::withdraw_from_task(&|name| get(env, name));
        return apply(env, edits);
    };
    let (Some(usable), Some(Ok(node))) = (usable, received()) else { return };
    let granted = |bits: &BitstrRef<'_>| node.granted(&bits.iter().collect::<Vec<_>>());
    // Not all there: the step has been refused already.
    if let (Ok(step), Ok(usable)) = (granted(&bits), granted(&usable)) {
        let edits = environment::bind(&step, &usable, &|name| get(env, name));
        apply(env, edits);
        if let [only] = usable.as_slice() {
            let edits = settings::bind(&node.name, only.index, &|name| get(env, name));
            apply(env, edits.into_iter().map(Edit::from));
        }
    }
}

/// Refuses a job or step because of an error of our own.
pub fn refuse_after_panic(env: &mut EnvArray<'_>) {
    let line = format!(
        "internal error while the leaves were handed out: {NOT_STARTED}: tell your administrator, \
         who finds the error in slurmd's log"
    );
    refuse::refuse(env, &line);
}

fn get(env: &EnvArray<'_>, name: &str) -> Option<String> {
    env.get(name).map(|value| value.into_owned())
}

fn apply(env: &mut EnvArray<'_>, edits: impl IntoIterator<Item = Edit>) {
    for edit in edits {
        match edit {
            Edit::Set(name, value) => env.set(name, value),
            Edit::Unset(name) => _ = env.remove(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_steps_are_known_by_the_title() {
        for title in ["slurmstepd: [12.batch]\0", "slurmstepd: [1+0.batch]", "x: [7.batch stepmgr]"]
        {
            assert!(is_batch(title), "{title}");
        }
        for title in
            ["slurmstepd: [12.interactive]", "slurmstepd: [12.0]", "/usr/sbin/slurmstepd\0"]
        {
            assert!(!is_batch(title), "{title}");
        }
    }

    #[test]
    fn bad_leaves_are_one_line_with_node_and_index() {
        let leaves = [crate::testing::leaf(0, 7), crate::testing::leaf(0, 9)];
        let granted =
            [(4, &leaves[0]), (5, &leaves[1])].map(|(index, leaf)| Granted { index, leaf });
        let line = |problems: &[&str]| {
            let problems: Vec<String> = problems.iter().map(|&p| p.to_owned()).collect();
            bad_leaves("n1", &granted, &problems)
        };
        let gone = "leaf gpu0/gi9/ci0 (MIG-0-9): is gone: restart slurmd";
        assert_eq!(line(&[]), None);
        assert_eq!(
            line(&[gone]).unwrap(),
            "n1: leaf 5, gpu0/gi9/ci0 (MIG-0-9): is gone: restart slurmd: the program was not started"
        );
        assert!(
            line(&[gone, gone])
                .unwrap()
                .ends_with(": 1 more of its leaves too: the program was not started")
        );
        assert_eq!(line(&["no NVML"]).unwrap(), "n1: no NVML: the program was not started");
    }

    #[test]
    fn types_are_checked_where_slurm_may_mistake_them() {
        assert!(checks_types(Version::new(22, 5, 8)));
        assert!(!checks_types(Version::new(23, 2, 6)));
        assert!(!checks_types(Version::new(26, 5, 5)));
    }
}
