//! How fast a job is on the leaves that it gets, and what a new cut costs.
//!
//! The one place of the simulator's assumptions. `performance.toml`, which is compiled in, has the
//! defaults and says of each where it comes from: measured, published or assumed.

use serde::Deserialize;

use crate::{SECOND, Time};

/// The defaults, with their sources.
pub const DEFAULTS: &str = include_str!("performance.toml");

/// All numbers of the model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Performance {
    /// Speed grows as SMs to this power up to what a job asked for.
    pub speed_below: f64,
    /// ... and to this power above it.
    pub speed_above: f64,
    /// Share of a job's run time that goes into collectives when it spans leaves, where the trace
    /// does not say.
    pub communication: f64,
    /// What spanning leaves of one physical GPU makes of that share: 1 doubles the time of
    /// collectives.
    pub cost_in_parent: f64,
    /// The same, with leaves of several physical GPUs.
    pub cost_across: f64,
    /// The same, with leaves on several nodes.
    pub cost_nodes: f64,
    /// Seconds for which a GPU is out of use while it is cut anew (policy `drain`).
    pub drain_seconds: f64,
    /// Seconds that making an instance takes (policy `dynamic`).
    pub dynamic_seconds: f64,
}

/// A model file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ModelError(pub String);

impl Performance {
    /// Reads a model; what it does not name stays as it is by default.
    pub fn from_toml(text: &str) -> Result<Performance, ModelError> {
        let read: Performance =
            toml::from_str(text).map_err(|error| ModelError(error.to_string()))?;
        let numbers = read.numbers();
        match numbers.iter().find(|(_, value)| !(value.is_finite() && (0.0..=1e6).contains(value)))
        {
            Some((name, value)) => {
                Err(ModelError(format!("{name} = {value}: out of range: 0 or more")))
            }
            None => Ok(read),
        }
    }

    /// Every number with its name.
    pub fn numbers(&self) -> [(&'static str, f64); 8] {
        [
            ("speed_below", self.speed_below),
            ("speed_above", self.speed_above),
            ("communication", self.communication),
            ("cost_in_parent", self.cost_in_parent),
            ("cost_across", self.cost_across),
            ("cost_nodes", self.cost_nodes),
            ("drain_seconds", self.drain_seconds),
            ("dynamic_seconds", self.dynamic_seconds),
        ]
    }

    /// Time for which a GPU is out of use while it is cut anew.
    pub fn drain(&self) -> Time {
        milliseconds(self.drain_seconds)
    }

    /// Time that making an instance takes.
    pub fn dynamic(&self) -> Time {
        milliseconds(self.dynamic_seconds)
    }
}

fn milliseconds(seconds: f64) -> Time {
    (seconds * SECOND as f64).round() as Time
}

impl Default for Performance {
    fn default() -> Performance {
        Performance {
            speed_below: 0.98,
            speed_above: 0.33,
            communication: 0.1,
            cost_in_parent: 1.0,
            cost_across: 1.0,
            cost_nodes: 2.0,
            drain_seconds: 180.0,
            dynamic_seconds: 5.0,
        }
    }
}
