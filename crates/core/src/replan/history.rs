//! What is remembered of each waiting job, by its name.

use std::collections::{HashMap, HashSet};

use super::Past;
use super::job::Shape;

/// What is remembered of all jobs.
#[derive(Debug, Default)]
pub(super) struct History {
    jobs: HashMap<String, Past<Shape>>,
}

impl History {
    /// Forgets the jobs that do not wait any more.
    pub fn keep(&mut self, waiting: &HashSet<String>) {
        self.jobs.retain(|name, _| waiting.contains(name));
    }

    /// What is remembered of one job.
    pub fn of(&mut self, name: &str) -> &mut Past<Shape> {
        self.jobs.entry(name.to_owned()).or_default()
    }
}
