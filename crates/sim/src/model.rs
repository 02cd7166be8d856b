//! How fast a job is on the leaves that it gets, and what a new cut costs.
//!
//! The one place of the simulator's assumptions. `performance.toml`, which is compiled in, has the
//! defaults and says of each where it comes from: measured, published or assumed.

use serde::Deserialize;

use crate::{SECOND, Time};

/// The defaults, with their sources.
pub const DEFAULTS: &str = include_str!("performance.toml");

/// How far the leaves of a job are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// On one physical GPU.
    Parent,
    /// On several of one node.
    Node,
    /// On several nodes.
    Nodes,
}

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
        let told = |error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            ModelError(format!("line {line}: {}", error.message()))
        };
        let read: Performance = toml::from_str(text).map_err(told)?;
        let numbers = read.numbers();
        match numbers.iter().find(|(_, value)| !(value.is_finite() && (0.0..=1e6).contains(value)))
        {
            Some((name, value)) => {
                Err(ModelError(format!("{name} = {value}: out of range: 0 to 1000000")))
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

    /// How many times as long a job runs on these leaves as on what it asked for.
    ///
    /// `asked` and `sms`: SMs asked for, and those of its leaves.
    pub fn slowdown(&self, asked: f64, sms: f64, leaves: u32, reach: Reach, share: f64) -> f64 {
        let power = if sms < asked { self.speed_below } else { self.speed_above };
        let speed = if sms == asked { 1.0 } else { (sms / asked).powf(power) };
        let cost = match reach {
            Reach::Parent => self.cost_in_parent,
            Reach::Node => self.cost_across,
            Reach::Nodes => self.cost_nodes,
        };
        let others = f64::from(leaves.saturating_sub(1)) / f64::from(leaves.max(1));
        (1.0 + share * cost * others) / speed
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
            communication: 0.12,
            cost_in_parent: 0.18,
            cost_across: 1.0,
            cost_nodes: 2.0,
            drain_seconds: 180.0,
            dynamic_seconds: 5.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_defaults_and_a_source_for_each() {
        assert_eq!(Performance::from_toml(DEFAULTS).unwrap(), Performance::default());
        for (name, _) in Performance::default().numbers() {
            assert!(DEFAULTS.contains(&format!("\n{name} = ")), "{name}");
        }
    }

    #[test]
    fn files_are_checked() {
        assert_eq!(Performance::from_toml("communication = 0.3").unwrap().communication, 0.3);
        let error = |text| Performance::from_toml(text).unwrap_err().to_string();
        assert_eq!(error("cost_across = -1"), "cost_across = -1: out of range: 0 to 1000000");
        assert_eq!(error("cost_nodes = nan"), "cost_nodes = NaN: out of range: 0 to 1000000");
        assert!(error("\nspeed = 1").starts_with("line 2: unknown field `speed`, expected one of"));
    }

    #[test]
    fn leaves_make_jobs_slower() {
        let model = Performance::default();
        assert_eq!(model.slowdown(42.0, 42.0, 1, Reach::Parent, 0.5), 1.0);
        let seven = model.slowdown(98.0, 98.0, 7, Reach::Node, model.communication);
        assert!((1.10..1.11).contains(&seven), "{seven}");
        let within = model.slowdown(98.0, 98.0, 7, Reach::Parent, model.communication);
        assert!((1.01..1.02).contains(&within), "{within}");
        // H100: seven 1g have 112 of 132 SMs.
        assert!(model.slowdown(132.0, 112.0, 7, Reach::Parent, 0.0) > 1.15);
        assert!(model.slowdown(28.0, 42.0, 1, Reach::Parent, 0.0) < 0.9);
    }
}
