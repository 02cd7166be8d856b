//! A job as sbatch would describe it: options of the command line become the fields that
//! job_submit sees.

use flexmig_core::hostlist;
use flexmig_core::request::Notation;
use flexmig_core::submit::Job;

use super::Explain;
use crate::Failure;

/// What the options say, with texts of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    tres_per_node: Option<String>,
    tres_per_task: Option<String>,
    min_nodes: Option<u32>,
    max_nodes: Option<u32>,
    named_nodes: Option<u32>,
    time_limit: Option<u32>,
    memory: Option<u64>,
}

impl Described {
    /// Reads the options that are more than a number.
    pub fn new(args: &Explain, notation: Notation) -> Result<Described, Failure> {
        let (min_nodes, max_nodes) = match &args.nodes {
            Some(text) => nodes(text).ok_or_else(|| {
                Failure::new(format!("-N {text}"), "no number of nodes", "type -N 2 or -N 2-4")
            })?,
            None => (None, None),
        };
        let time_limit = match &args.time {
            Some(text) => Some(minutes(text).ok_or_else(|| {
                Failure::new(
                    format!("-t {text}"),
                    "no time limit",
                    "type -t 30, -t 4:00:00 or -t 2-0",
                )
            })?),
            None => None,
        };
        let memory = match &args.mem {
            Some(text) => Some(mebibytes(text).ok_or_else(|| {
                Failure::new(format!("--mem={text}"), "no size", "type --mem=16G or --mem=16000")
            })?),
            None => None,
        };
        let named_nodes = match &args.nodelist {
            Some(list) => Some(count(list).map_err(|error| {
                Failure::new(format!("-w {list}"), error, "type -w n1 or -w n[1-4]")
            })?),
            None => None,
        };
        Ok(Described {
            tres_per_node: args.gres.as_deref().map(|text| prefixed(text, notation)),
            tres_per_task: args.tres_per_task.clone(),
            min_nodes,
            max_nodes,
            named_nodes,
            time_limit,
            memory,
        })
    }

    /// The job. Clients compute its CPUs from tasks and CPUs per task, one task if none is named.
    pub fn job<'a>(&'a self, args: &'a Explain) -> Job<'a> {
        let tasks = args.ntasks.unwrap_or(1);
        let cpus = u32::from(args.cpus_per_task.unwrap_or(1));
        Job {
            tres_per_node: self.tres_per_node.as_deref(),
            tres_per_task: self.tres_per_task.as_deref(),
            num_tasks: args.ntasks,
            ntasks_per_node: args.ntasks_per_node,
            cpus_per_task: args.cpus_per_task,
            min_cpus: Some(tasks.saturating_mul(cpus)),
            min_nodes: self.min_nodes,
            max_nodes: self.max_nodes,
            named_nodes: self.named_nodes,
            partition: args.partition.as_deref(),
            account: args.account.as_deref(),
            qos: args.qos.as_deref(),
            req_nodes: args.nodelist.as_deref().filter(|names| !names.is_empty()),
            features: args.constraint.as_deref(),
            time_limit: self.time_limit,
            // 0 is all of a node.
            memory: self.memory.is_some(),
            memory_per_node: self.memory.filter(|&memory| memory > 0),
            narrowed: args.nodelist.is_some() || args.constraint.is_some(),
            batch: !args.srun,
            ..Job::default()
        }
    }
}

/// Each entry with the prefix that clients put in front of it.
fn prefixed(text: &str, notation: Notation) -> String {
    let prefix = match notation {
        Notation::Colon => "gres:",
        Notation::Slash => "gres/",
    };
    let entry = |entry: &str| {
        let known = entry.get(..5).is_some_and(|start| matches!(start, "gres:" | "gres/"));
        if known || entry.is_empty() { entry.to_owned() } else { format!("{prefix}{entry}") }
    };
    text.split(',').map(entry).collect::<Vec<_>>().join(",")
}

/// `2`, `2-4`, `2-`
fn nodes(text: &str) -> Option<(Option<u32>, Option<u32>)> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|&nodes| nodes > 0);
    match text.split_once('-') {
        None => number(text).map(|nodes| (Some(nodes), Some(nodes))),
        Some((min, "")) => number(min).map(|min| (Some(min), None)),
        Some((min, max)) => {
            let (min, max) = (number(min)?, number(max)?);
            (min <= max).then_some((Some(min), Some(max)))
        }
    }
}

/// Slurm's forms of a time limit: `min`, `min:s`, `h:min:s`, `d-h`, `d-h:min`, `d-h:min:s`, rounded
/// up to minutes; unlimited is `u32::MAX`.
fn minutes(text: &str) -> Option<u32> {
    if ["unlimited", "infinite", "-1"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Some(u32::MAX);
    }
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(days.parse::<u32>().ok()?), clock),
        None => (None, text),
    };
    let parts: Option<Vec<u32>> = clock.split(':').map(|part| part.parse().ok()).collect();
    let (hours, minutes, seconds) = match (days.is_some(), &parts?[..]) {
        (false, &[minutes]) => (0, minutes, 0),
        (false, &[minutes, seconds]) => (0, minutes, seconds),
        (_, &[hours, minutes, seconds]) => (hours, minutes, seconds),
        (true, &[hours]) => (hours, 0, 0),
        (true, &[hours, minutes]) => (hours, minutes, 0),
        _ => return None,
    };
    let hours = days.unwrap_or(0).checked_mul(24)?.checked_add(hours)?;
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    minutes.checked_add(seconds.div_ceil(60))
}

/// `16000`, `16G`: MiB.
fn mebibytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, "m"),
    };
    let number: u64 = digits.parse().ok()?;
    match unit.to_ascii_lowercase().trim_end_matches('b') {
        "k" => Some(number.div_ceil(1024)),
        "m" => Some(number),
        "g" => number.checked_mul(1024),
        "t" => number.checked_mul(1024 * 1024),
        _ => None,
    }
}

/// How many nodes a host list names.
fn count(list: &str) -> Result<u32, hostlist::HostlistError> {
    let mut names = hostlist::expand(list)?;
    names.sort_unstable();
    names.dedup();
    Ok(u32::try_from(names.len()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_read_as_slurm_reads_them() {
        for (text, expected) in [
            ("30", 30),
            ("1:30", 2),
            ("2:00:00", 120),
            ("1-2", 26 * 60),
            ("1-2:03", 26 * 60 + 3),
            ("0-0:0:1", 1),
        ] {
            assert_eq!(minutes(text), Some(expected), "{text}");
        }
        assert_eq!(minutes("UNLIMITED"), Some(u32::MAX));
        for text in ["", "a", "1:2:3:4", "1-", "-2", "99999999999"] {
            assert_eq!(minutes(text), None, "{text}");
        }
    }

    #[test]
    fn node_counts_are_read_as_slurm_reads_them() {
        assert_eq!(nodes("2"), Some((Some(2), Some(2))));
        assert_eq!(nodes("2-4"), Some((Some(2), Some(4))));
        assert_eq!(nodes("2-"), Some((Some(2), None)));
        for text in ["", "0", "4-2", "x", "-2"] {
            assert_eq!(nodes(text), None, "{text}");
        }
    }

    #[test]
    fn memory_is_read_as_slurm_reads_it() {
        assert_eq!(mebibytes("16000"), Some(16_000));
        assert_eq!(mebibytes("16G"), Some(16_384));
        assert_eq!(mebibytes("1tb"), Some(1024 * 1024));
        assert_eq!(mebibytes("1025K"), Some(2));
        for text in ["", "G", "1.5G", "-1", "4X"] {
            assert_eq!(mebibytes(text), None, "{text}");
        }
    }

    #[test]
    fn requests_get_the_prefix_of_the_release() {
        assert_eq!(prefixed("flexmig:3g:1,gpu:1", Notation::Slash), "gres/flexmig:3g:1,gres/gpu:1");
        assert_eq!(prefixed("gres:flexmig:2", Notation::Colon), "gres:flexmig:2");
    }
}
