//! A stream from a seed. Pure.

use std::fmt;

/// Jobs of a stream.
const JOBS: usize = 300;
/// All jobs are submitted in this many seconds.
pub const WINDOW: f64 = 27.0;
/// Shortest and longest job, in seconds.
const SECONDS: (f64, f64) = (1.0, 3.0);

/// What a job needs, as a user would say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Leaves of any size.
    Any,
    /// This many compute slices.
    Slices(u32),
    /// Leaves with at least this much memory, in GB.
    Memory(u32),
}

/// A job's need: `count` times `form`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// What.
    pub form: Form,
    /// How many times.
    pub count: u32,
}

impl Request {
    /// The request that leaves the choice to the plugin: `flexmig:3g:1`.
    pub fn flexible(&self) -> String {
        format!("flexmig:{self}")
    }

    /// What a user types who has to name a type of the stream's cluster: the smallest that serves.
    pub fn exact(&self) -> String {
        let profile = match self.form {
            Form::Any | Form::Slices(1) => "1g.10gb",
            Form::Slices(2) | Form::Memory(..=20) => "2g.20gb",
            Form::Slices(3) | Form::Memory(..=40) => "3g.40gb",
            Form::Slices(_) | Form::Memory(_) => "4g.40gb",
        };
        format!("flexmig:{profile}:{}", self.count)
    }

    /// What users type who know the cluster and name every type that serves with one leaf, each as
    /// often as there are leaves of it. `turn` counts such requests. Small requests stay small.
    pub fn in_turn(&self, turn: usize) -> String {
        let profile = match self.form {
            Form::Slices(3) => ["3g.40gb", "3g.40gb", "4g.40gb"][turn % 3],
            Form::Memory(20) => ["2g.20gb", "3g.40gb", "3g.40gb", "4g.40gb"][turn % 4],
            _ => return self.exact(),
        };
        format!("flexmig:{profile}:{}", self.count)
    }
}

/// As it stands behind `flexmig:` in a request.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count;
        match self.form {
            Form::Any => write!(f, "{count}"),
            Form::Slices(slices) => write!(f, "{slices}g:{count}"),
            Form::Memory(gb) => write!(f, "{gb}gb:{count}"),
        }
    }
}

/// How often each request comes, in thirds of a percent.
const MIX: [(Form, u32, usize); 8] = [
    (Form::Slices(3), 1, 84),
    (Form::Slices(3), 2, 9),
    (Form::Memory(20), 1, 60),
    (Form::Slices(1), 1, 57),
    (Form::Slices(1), 2, 15),
    (Form::Any, 1, 42),
    (Form::Any, 2, 21),
    (Form::Any, 4, 12),
];

/// One job of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// When it is submitted, in seconds from the start.
    pub at: f64,
    /// What it asks for.
    pub request: Request,
    /// How long it holds its leaves, in seconds.
    pub seconds: f64,
}

/// The jobs, in the order of their submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// What it was made from.
    pub seed: u64,
    /// Its jobs.
    pub jobs: Vec<Planned>,
}

impl Stream {
    /// The stream of a seed. Every stream has the same number of each request; order, times and
    /// lengths differ.
    pub fn generate(seed: u64) -> Stream {
        let mut random = Random(seed);
        let mut requests: Vec<Request> = MIX
            .iter()
            .flat_map(|&(form, count, jobs)| vec![Request { form, count }; jobs])
            .collect();
        for last in (1..requests.len()).rev() {
            let place = (random.unit() * (last + 1) as f64) as usize;
            requests.swap(place, last);
        }
        // Gaps of a Poisson process, stretched to the window.
        let gaps: Vec<f64> = (0..JOBS).map(|_| -(1.0 - random.unit()).ln()).collect();
        let stretch = WINDOW / gaps.iter().sum::<f64>();
        let mut at = 0.0;
        let jobs = requests.into_iter().zip(gaps).map(|(request, gap)| {
            at += gap * stretch;
            let (shortest, longest) = SECONDS;
            let seconds = shortest + random.unit() * (longest - shortest);
            Planned { at, request, seconds }
        });
        Stream { seed, jobs: jobs.collect() }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_stream() {
        let stream = Stream::generate(7);
        assert_eq!(stream, Stream::generate(7));
        assert_ne!(stream.jobs, Stream::generate(8).jobs);
        // The first number of SplitMix64 from 0, as its authors publish it.
        assert_eq!(Random(0).next(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn streams_differ_in_order_only() {
        let sorted = |seed| {
            let mut requests: Vec<Request> =
                Stream::generate(seed).jobs.iter().map(|job| job.request).collect();
            requests.sort();
            requests
        };
        assert_eq!(sorted(1), sorted(2));
        assert_eq!(sorted(1).len(), JOBS);
    }

    #[test]
    fn times_lie_in_their_bounds() {
        let jobs = Stream::generate(3).jobs;
        assert!(jobs.is_sorted_by(|a, b| a.at <= b.at));
        assert!((jobs[JOBS - 1].at - WINDOW).abs() < 1e-6);
        assert!(jobs.iter().all(|job| (SECONDS.0..SECONDS.1).contains(&job.seconds)));
    }

    #[test]
    fn a_request_reads_as_users_type_it() {
        let text = |form, count| {
            let request = Request { form, count };
            (request.flexible(), request.exact())
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(text(Form::Any, 4), pair("flexmig:4", "flexmig:1g.10gb:4"));
        assert_eq!(text(Form::Slices(3), 2), pair("flexmig:3g:2", "flexmig:3g.40gb:2"));
        assert_eq!(text(Form::Memory(20), 1), pair("flexmig:20gb:1", "flexmig:2g.20gb:1"));
        let three = Request { form: Form::Slices(3), count: 1 };
        assert_eq!(three.in_turn(1), "flexmig:3g.40gb:1");
        assert_eq!(three.in_turn(2), "flexmig:4g.40gb:1");
        assert_eq!(Request { form: Form::Any, count: 2 }.in_turn(5), "flexmig:1g.10gb:2");
    }
}
