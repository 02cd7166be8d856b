//! `flexmig check`: what is wrong on this host, and how to mend it.

mod cluster;
mod devices;
mod finding;
mod gres_conf;
mod plugins;
mod start;

pub use cluster::{counted, gres_types, job_submit_plugins, task_plugins};
pub use finding::{Finding, Level};
