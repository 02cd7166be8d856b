//! Medians and spread. Pure.

use std::fmt;

/// Several measurements of one thing, sorted.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// From measurements in any order.
    ///
    /// # Panics
    /// If there are none, or one is not a number.
    pub fn new(mut values: Vec<f64>) -> Sample {
        assert!(!values.is_empty(), "nothing was measured");
        assert!(values.iter().all(|value| value.is_finite()), "not a number: {values:?}");
        values.sort_by(f64::total_cmp);
        Sample(values)
    }

    /// `mine[i] / other[i]`: measurements of the same round belong together, so that what slows a
    /// whole round down cancels out.
    pub fn ratios(mine: &[f64], other: &[f64]) -> Sample {
        assert_eq!(mine.len(), other.len(), "not measured in pairs");
        Sample::new(mine.iter().zip(other).map(|(mine, other)| mine / other).collect())
    }

    /// The value below which a share of the measurements lies, linear between neighbours.
    fn quantile(&self, share: f64) -> f64 {
        let place = share * (self.0.len() - 1) as f64;
        let (low, high) = (self.0[place.floor() as usize], self.0[place.ceil() as usize]);
        low + (high - low) * place.fract()
    }

    /// The middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// Median, quartiles, extremes, and how many measurements.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantiles = [0.5, 0.25, 0.75, 0.0, 1.0].map(|share| self.quantile(share));
        // About four significant digits.
        let digits = (3 - self.median().abs().log10().floor() as i32).clamp(0, 4) as usize;
        let [median, q1, q3, min, max] = quantiles.map(|value| format!("{value:.digits$}"));
        let spread = format!("{q1} .. {q3}");
        let range = format!("{min} .. {max}");
        write!(f, "{median:>8}  {spread:>18}  {range:>18}  {:>3}", self.0.len())
    }
}

/// What the columns of a [`Sample`] are.
pub const COLUMNS: &str = "  median           quartiles          min .. max    n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Sample::new(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Sample::new(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(Sample::new(vec![7.0]).median(), 7.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // Both took twice as long in the second round.
        let sample = Sample::ratios(&[11.0, 22.0], &[10.0, 20.0]);
        assert_eq!(sample, Sample::new(vec![1.1, 1.1]));
    }

    #[test]
    fn a_sample_fits_its_columns() {
        let sample = Sample::new((1..=12).map(|n| f64::from(n) * 123.4).collect());
        let text = sample.to_string();
        assert_eq!(text.len(), COLUMNS.len(), "\n{COLUMNS}\n{text}");
        assert!(text.ends_with(" 12"), "{text}");
    }

    #[test]
    #[should_panic(expected = "nothing was measured")]
    fn no_measurement_is_an_error() {
        Sample::new(Vec::new());
    }
}
