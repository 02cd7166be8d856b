//! Axes: what stands where, and how numbers are written.

use crate::{SECOND, Time};

/// An axis with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    from: f64,
    to: f64,
    log: bool,
    /// Values that are marked, and what is written there.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An even one, of at most so many steps.
    pub fn even(from: f64, to: f64, steps: u32, label: impl Fn(f64) -> String) -> Axis {
        let to = if to > from { to } else { from + 1.0 };
        let step = step((to - from) / f64::from(steps));
        let first = (from / step - 1e-9).ceil();
        let values = (0..20).map(|n| (first + f64::from(n)) * step);
        let ticks = values.take_while(|value| *value <= to + step * 1e-9);
        Axis { from, to, log: false, ticks: ticks.map(|value| (value, label(value))).collect() }
    }

    /// Seconds, from little to much; `from` above 0.
    pub fn durations(from: f64, to: f64) -> Axis {
        const MARKS: [(f64, &str); 10] = [
            (0.1, "0.1 s"),
            (1.0, "1 s"),
            (10.0, "10 s"),
            (60.0, "1 min"),
            (600.0, "10 min"),
            (3600.0, "1 h"),
            (36_000.0, "10 h"),
            (345_600.0, "4 d"),
            (3_456_000.0, "40 d"),
            (34_560_000.0, "400 d"),
        ];
        let to = if to > from { to } else { from * 2.0 };
        let marks = MARKS.iter().filter(|(seconds, _)| (from..=to).contains(seconds));
        let ticks = marks.map(|(seconds, label)| (*seconds, (*label).to_owned())).collect();
        Axis { from, to, log: true, ticks }
    }

    /// Where a value is: 0 at the start, 1 at the end.
    pub fn at(&self, value: f64) -> f64 {
        match self.log {
            true => (value / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        }
    }
}

/// The next of 1, 2, 5, 10 and so on.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= least * 0.999);
    times.unwrap_or(10.0) * power
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// Seconds of it.
    pub seconds: f64,
    /// `h`.
    pub name: &'static str,
}

impl Unit {
    /// The one in which so many seconds are best told.
    pub fn of(seconds: f64) -> Unit {
        let (seconds, name) = match seconds {
            short if short <= 600.0 => (1.0, "s"),
            short if short <= 36_000.0 => (60.0, "min"),
            long if long <= 720_000.0 => (3600.0, "h"),
            _ => (86_400.0, "d"),
        };
        Unit { seconds, name }
    }

    /// So much time in this unit.
    pub fn time(self, time: Time) -> f64 {
        time as f64 / SECOND as f64 / self.seconds
    }

    /// `12.5 h`.
    pub fn label(self, value: f64) -> String {
        format!("{} {}", number(value), self.name)
    }
}

/// Decimals with which numbers up to this one are written below each other.
pub fn decimals(most: f64) -> usize {
    match most {
        large if large >= 1000.0 => 0,
        middle if middle >= 100.0 => 1,
        _ => 2,
    }
}

/// `0.25`, `12`, `1500`: no more digits than a reader needs.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// `75 %` of 0.75.
pub fn percent(value: f64) -> String {
    format!("{:.0} %", value * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (0.001, "0.001"),
            (12.0, "12"),
            (12.55, "12.6"),
            (1500.4, "1500"),
            (100.0, "100"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(percent(0.756), "76 %");
        assert_eq!([99.0, 100.0, 1000.0].map(decimals), [2, 1, 0]);
    }

    #[test]
    fn marks_are_round_and_few() {
        let texts = |axis: Axis| axis.ticks.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts(Axis::even(0.0, 103.0, 5, number)), ["0", "50", "100"]);
        assert_eq!(texts(Axis::even(0.0, 1.0, 5, percent)).len(), 6);
        assert_eq!(texts(Axis::even(0.73, 1.02, 5, number)), ["0.8", "0.9", "1"]);
        assert_eq!(texts(Axis::even(3.0, 3.0, 5, number)).len(), 6);
        for most in 1..2000 {
            let marks = Axis::even(0.0, f64::from(most) * 0.37, 5, number).ticks.len();
            assert!((3..=6).contains(&marks), "{most}: {marks}");
        }
        assert_eq!(texts(Axis::durations(30.0, 4000.0)), ["1 min", "10 min", "1 h"]);
    }

    #[test]
    fn places_are_shares_of_the_axis() {
        let even = Axis::even(1.0, 3.0, 5, number);
        assert_eq!([1.0, 2.0, 3.0].map(|value| even.at(value)), [0.0, 0.5, 1.0]);
        let log = Axis::durations(1.0, 100.0);
        assert!((log.at(10.0) - 0.5).abs() < 1e-9);
        assert!(Axis::durations(5.0, 5.0).at(5.0).abs() < 1e-9);
    }

    #[test]
    fn times_have_the_unit_of_their_length() {
        for (seconds, name) in [(0.0, "s"), (601.0, "min"), (40_000.0, "h"), (1e6, "d")] {
            assert_eq!(Unit::of(seconds).name, name);
        }
        let hours = Unit::of(40_000.0);
        assert_eq!(hours.label(hours.time(5400 * SECOND)), "1.5 h");
    }
}
