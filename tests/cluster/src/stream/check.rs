//! Whether jobs were served and no leaf was held twice, from what the jobs saw. Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::generate::{Form, Request};

/// What a job of a stream wrote down about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its place in the stream.
    pub place: usize,
    /// Its job id.
    pub id: u32,
    /// The node it ran on.
    pub node: String,
    /// When it began and ended, in seconds since 1970.
    pub begin: f64,
    /// See `begin`.
    pub end: f64,
    /// UUIDs of its leaves.
    pub uuids: Vec<String>,
    /// Profiles of its leaves, in the same order.
    pub profiles: Vec<String>,
    /// UUIDs whose lock file another job held.
    pub clashes: Vec<String>,
}

impl Seen {
    /// Reads `PLACE ID NODE BEGIN END UUID,.. PROFILE,.. CLASH,..`; `-` is an empty list.
    pub fn parse(line: &str) -> Option<Seen> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[place, id, node, begin, end, uuids, profiles, clashes] = &words[..] else {
            return None;
        };
        let list = |text: &str| -> Vec<String> {
            let items = text.split(',').filter(|item| !item.is_empty() && *item != "-");
            items.map(str::to_owned).collect()
        };
        Some(Seen {
            place: place.parse().ok()?,
            id: id.parse().ok()?,
            node: node.to_owned(),
            begin: begin.parse().ok()?,
            end: end.parse().ok()?,
            uuids: list(uuids),
            profiles: list(profiles),
            clashes: list(clashes),
        })
    }
}

/// Compute slices and GB of a profile such as `3g.40gb`.
fn size(profile: &str) -> Option<(u32, u32)> {
    let (slices, memory) = profile.split_once("g.")?;
    Some((slices.parse().ok()?, memory.strip_suffix("gb")?.parse().ok()?))
}

/// Whether leaves of these profiles serve the request, else why not.
pub fn satisfies(request: &Request, profiles: &[String]) -> Result<(), String> {
    let Some(first) = profiles.first() else {
        return Err("no leaf at all".to_owned());
    };
    if profiles.iter().any(|profile| profile != first) {
        return Err(format!("leaves are not equal: {}", profiles.join(",")));
    }
    let (slices, memory) = size(first).ok_or_else(|| format!("{first} is no profile"))?;
    let leaves = match request.form {
        Form::Any => request.count,
        Form::Slices(wanted) => request.count * wanted.div_ceil(slices),
        Form::Memory(wanted) if memory < wanted => {
            return Err(format!("{first} has less than {wanted} GB"));
        }
        Form::Memory(_) => request.count,
    };
    match profiles.len() == leaves as usize {
        true => Ok(()),
        false => Err(format!("{} leaves of {first}, not {leaves}", profiles.len())),
    }
}

/// Two jobs that held one leaf at the same time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clashes(pub Vec<(String, u32, u32)>);

impl Clashes {
    /// Looks for them in the jobs' own times, and in the lock files that jobs met.
    pub fn find(seen: &[Seen]) -> Clashes {
        let mut holds: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
        for job in seen {
            job.uuids.iter().for_each(|uuid| holds.entry(uuid).or_default().push(job));
        }
        let mut clashes = Vec::new();
        for (uuid, mut jobs) in holds {
            jobs.sort_by(|a, b| a.begin.total_cmp(&b.begin));
            for pair in jobs.windows(2).filter(|pair| pair[1].begin < pair[0].end) {
                clashes.push((uuid.to_owned(), pair[0].id, pair[1].id));
            }
        }
        let met =
            seen.iter().flat_map(|job| job.clashes.iter().map(|uuid| (uuid.clone(), 0, job.id)));
        clashes.extend(met);
        Clashes(clashes)
    }
}

impl fmt::Display for Clashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(uuid, first, second)| match first {
            0 => writeln!(f, "job {second} met the lock file of {uuid}"),
            _ => writeln!(f, "{uuid}: jobs {first} and {second}"),
        })
    }
}

/// How requests were served: `3g:1 as 1g.10gb x3`, and how often.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uses(BTreeMap<(Request, String), usize>);

impl Uses {
    /// Counts one job.
    pub fn add(&mut self, request: Request, profiles: &[String]) {
        let leaf = profiles.first().map_or("nothing", String::as_str);
        let leaves = format!("{leaf} x{}", profiles.len());
        *self.0.entry((request, leaves)).or_default() += 1;
    }
}

impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut open = None;
        for ((request, leaves), jobs) in &self.0 {
            if open == Some(request) {
                write!(f, ", {leaves}: {jobs}")?;
            } else {
                let line = if open.is_some() { "\n" } else { "" };
                write!(f, "{line}    {:<8}{leaves}: {jobs}", request.to_string())?;
            }
            open = Some(request);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, count: u32, profiles: &str) -> Result<(), String> {
        let profiles: Vec<String> = profiles.split_whitespace().map(str::to_owned).collect();
        satisfies(&Request { form, count }, &profiles)
    }

    #[test]
    fn three_slices_may_come_from_one_leaf_or_from_several() {
        let three = Form::Slices(3);
        assert_eq!(check(three, 1, "3g.40gb"), Ok(()));
        assert_eq!(check(three, 1, "4g.40gb"), Ok(()));
        assert_eq!(check(three, 1, "1g.10gb 1g.10gb 1g.10gb"), Ok(()));
        assert_eq!(check(three, 2, "2g.20gb 2g.20gb 2g.20gb 2g.20gb"), Ok(()));
        assert!(check(three, 1, "2g.20gb").is_err());
        assert!(check(three, 1, "2g.20gb 1g.10gb").is_err());
        assert!(check(three, 1, "3g.40gb 3g.40gb").is_err());
        assert!(check(three, 1, "").is_err());
    }

    #[test]
    fn memory_is_that_of_each_leaf() {
        assert_eq!(check(Form::Memory(20), 1, "2g.20gb"), Ok(()));
        assert_eq!(check(Form::Memory(20), 1, "4g.40gb"), Ok(()));
        assert!(check(Form::Memory(20), 1, "1g.10gb 1g.10gb").is_err());
        assert_eq!(check(Form::Any, 2, "3g.40gb 3g.40gb"), Ok(()));
        assert!(check(Form::Any, 2, "3g.40gb").is_err());
    }

    #[test]
    fn a_leaf_that_two_jobs_held_is_found() {
        let line = |id: u32, begin: f64, end: f64| {
            Seen::parse(&format!("0 {id} n1 {begin} {end} MIG-a,MIG-b 1g.10gb,1g.10gb -")).unwrap()
        };
        assert_eq!(Clashes::find(&[line(2, 5.0, 6.0), line(1, 1.0, 5.0)]), Clashes::default());
        let clashes = Clashes::find(&[line(2, 4.9, 6.0), line(1, 1.0, 5.0)]);
        assert_eq!(clashes.to_string(), "MIG-a: jobs 1 and 2\nMIG-b: jobs 1 and 2\n");
        let met = Seen::parse("0 3 n1 1 2 MIG-a 1g.10gb MIG-a").unwrap();
        assert_eq!(Clashes::find(&[met]).0.len(), 1);
        assert!(Seen::parse("0 3 n1 1 2 MIG-a").is_none());
    }
}
