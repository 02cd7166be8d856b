//! Reading what Slurm's commands print. Pure.

use std::collections::BTreeMap;
use std::fmt;

/// `Key=value` pairs as scontrol prints them. A key that is not there reads as an empty string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub BTreeMap<String, String>);

impl Fields {
    /// The value of `key`, or "".
    pub fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// Reads words `Key=value`; a word without `=` belongs to the value before it. The first of
    /// several equal keys counts.
    pub fn parse(text: &str) -> Fields {
        let mut fields = BTreeMap::<String, String>::new();
        let mut open: Option<String> = None;
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) if key.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                    open = (!fields.contains_key(key)).then(|| key.to_owned());
                    if open.is_some() {
                        fields.insert(key.to_owned(), value.to_owned());
                    }
                }
                _ => {
                    if let Some(value) = open.as_ref().and_then(|key| fields.get_mut(key)) {
                        if !value.is_empty() {
                            value.push(' ');
                        }
                        value.push_str(word);
                    }
                }
            }
        }
        Fields(fields)
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(key, value)| writeln!(f, "{key}={value}"))
    }
}

/// One record of `scontrol -d show job`.
#[derive(Clone, Debug, Default)]
pub struct JobInfo {
    /// The job's own fields.
    pub fields: Fields,
    /// The detail lines `Nodes=... CPU_IDs=... GRES=...`: node name and the line's fields.
    pub nodes: Vec<(String, Fields)>,
    /// The record as printed.
    pub text: String,
}

impl JobInfo {
    /// Reads the records of `scontrol -d show job`: several for arrays and het jobs.
    pub fn parse_all(text: &str) -> Vec<JobInfo> {
        let records = text.split("\n\n").filter(|record| record.contains("JobId="));
        records.map(JobInfo::parse).collect()
    }

    fn parse(record: &str) -> JobInfo {
        let (details, own): (Vec<&str>, Vec<&str>) =
            record.lines().partition(|line| line.trim_start().starts_with("Nodes="));
        let nodes = details.iter().flat_map(|line| {
            let fields = Fields::parse(line);
            let names = expand_hosts(fields.get("Nodes"));
            names.into_iter().map(move |name| (name, fields.clone()))
        });
        JobInfo {
            fields: Fields::parse(&own.join("\n")),
            nodes: nodes.collect(),
            text: record.to_owned(),
        }
    }

    /// The value of `key`, or "".
    pub fn get(&self, key: &str) -> &str {
        self.fields.get(key)
    }

    /// The job's own id, which for an array task is not the array's.
    pub fn id(&self) -> u32 {
        self.get("JobId").parse().unwrap_or(0)
    }

    /// Indices of GRES `name` that the job holds on `node`; empty once the job has ended.
    pub fn indices(&self, node: &str, name: &str) -> Vec<u32> {
        let of_node = self.nodes.iter().filter(|(other, _)| other == node);
        of_node.flat_map(|(_, fields)| gres_indices(fields.get("GRES"), name)).collect()
    }
}

/// Indices of GRES `name` in `flexmig:1g.10gb:3(IDX:0-1,5),gpu:2(IDX:0-1)`, of all its types, in
/// the order printed.
pub fn gres_indices(gres: &str, name: &str) -> Vec<u32> {
    let own = split_outside_brackets(gres).into_iter().filter(|item| {
        item.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', '(']) || rest.is_empty())
    });
    own.filter_map(|item| item.split_once("(IDX:"))
        .flat_map(|(_, list)| numbers(list.trim_end_matches(')')))
        .collect()
}

/// Names in `n[1-3,7],gpu1`; enough for the node names of a test.
pub fn expand_hosts(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    for item in split_outside_brackets(list) {
        match item.split_once('[') {
            Some((prefix, rest)) => {
                let numbers = numbers(rest.trim_end_matches(']'));
                names.extend(numbers.into_iter().map(|number| format!("{prefix}{number}")));
            }
            None => names.push(item.to_owned()),
        }
    }
    names
}

/// `0-1,5` as 0, 1, 5. `N/A` and an empty list have none.
fn numbers(list: &str) -> Vec<u32> {
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    });
    ranges.flatten().collect()
}

/// Splits at commas that stand outside `()` and `[]`.
fn split_outside_brackets(list: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let items = list.split(|c: char| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    items.filter(|item| !item.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "JobId=7 JobName=two words\n   UserId=root(0) Comment=a=b c\n   \
        NodeList=n[1-2]\n   JOB_GRES=flexmig:1g.10gb:8\n     Nodes=n[1-2] CPU_IDs=0-3 Mem=0 \
        GRES=flexmig:1g.10gb:4(IDX:0-1,5-6),gpu:1(IDX:0)\n\nJobId=8 JobName=x\n\n";

    #[test]
    fn a_job_record_has_fields_and_indices_per_node() {
        let jobs = JobInfo::parse_all(JOB);
        assert_eq!(jobs.iter().map(JobInfo::id).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(jobs[0].get("JobName"), "two words");
        assert_eq!(jobs[0].get("Comment"), "a=b c");
        assert_eq!(jobs[0].indices("n2", "flexmig"), [0, 1, 5, 6]);
        assert_eq!(jobs[0].indices("n2", "gpu"), [0]);
        assert_eq!(jobs[0].indices("n3", "flexmig"), [0u32; 0]);
    }

    #[test]
    fn gres_of_another_name_or_without_indices_has_none() {
        assert_eq!(gres_indices("flexmigs:2(IDX:0-1),flexmig:2(CNT:2)", "flexmig"), [0u32; 0]);
        assert_eq!(gres_indices("flexmig:a:0(IDX:N/A)", "flexmig"), [0u32; 0]);
        assert_eq!(gres_indices("flexmig:a:1(IDX:0),flexmig:b:1(IDX:7)", "flexmig"), [0, 7]);
    }

    #[test]
    fn host_lists_are_expanded() {
        assert_eq!(expand_hosts("n[1-2,4],gpu1"), ["n1", "n2", "n4", "gpu1"]);
        assert_eq!(expand_hosts(""), Vec::<String>::new());
    }
}
