//! How much the results depend on the numbers of the model: each is changed alone, over the range in
//! which it may well be.

use crate::{Performance, PolicyName};

/// One number of the model changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its name in the model file.
    pub number: &'static str,
    /// What it is here.
    pub value: f64,
    /// Whether the unchanged model has this value.
    pub unchanged: bool,
    /// The model with it.
    pub performance: Performance,
}

/// Values that each number of the model may well have.
const VALUES: [(&str, &[f64]); 8] = [
    ("speed_below", &[0.8, 0.9, 1.0]),
    ("speed_above", &[0.0, 0.33, 0.66, 1.0]),
    ("communication", &[0.0, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0]),
    ("cost_in_parent", &[0.0, 0.18, 0.5, 1.0]),
    ("cost_across", &[0.0, 0.5, 1.0, 2.0, 4.0]),
    ("cost_nodes", &[1.0, 2.0, 4.0, 8.0]),
    ("drain_seconds", &[0.0, 30.0, 60.0, 180.0, 300.0, 600.0]),
    ("dynamic_seconds", &[0.0, 5.0, 30.0, 60.0, 180.0]),
];

/// All changes, by number and value; the unchanged value is among those of each number.
pub fn points(base: &Performance) -> Vec<Point> {
    let mut points = Vec::new();
    for ((number, values), (_, own)) in VALUES.into_iter().zip(base.numbers()) {
        let mut values = values.to_vec();
        if !values.contains(&own) {
            values.push(own);
        }
        values.sort_by(f64::total_cmp);
        points.extend(values.into_iter().map(|value| Point {
            number,
            value,
            unchanged: value == own,
            performance: with(base, number, value),
        }));
    }
    points
}

/// Whether a policy's results can depend on a number.
pub fn concerns(number: &str, policy: PolicyName) -> bool {
    match number {
        "drain_seconds" => policy == PolicyName::Drain,
        "dynamic_seconds" => policy == PolicyName::Dynamic,
        _ => policy != PolicyName::Pooled,
    }
}

/// Of makespans the shortest, by a policy that can be had: not `pooled`.
pub fn winner(makespans: &[(PolicyName, f64)]) -> Option<PolicyName> {
    let real = makespans.iter().filter(|(policy, _)| *policy != PolicyName::Pooled);
    real.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(policy, _)| *policy)
}

fn with(base: &Performance, number: &str, value: f64) -> Performance {
    let mut performance = base.clone();
    let place = match number {
        "speed_below" => &mut performance.speed_below,
        "speed_above" => &mut performance.speed_above,
        "communication" => &mut performance.communication,
        "cost_in_parent" => &mut performance.cost_in_parent,
        "cost_across" => &mut performance.cost_across,
        "cost_nodes" => &mut performance.cost_nodes,
        "drain_seconds" => &mut performance.drain_seconds,
        "dynamic_seconds" => &mut performance.dynamic_seconds,
        _ => return performance,
    };
    *place = value;
    performance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_changed_alone() {
        let base = Performance { communication: 0.2, ..Performance::default() };
        let points = points(&base);
        for (place, (name, own)) in base.numbers().into_iter().enumerate() {
            let of: Vec<&Point> = points.iter().filter(|point| point.number == name).collect();
            assert_eq!(of.iter().filter(|point| point.unchanged).count(), 1, "{name}");
            assert!(of.iter().any(|point| point.value != own), "{name}");
            for point in of {
                let numbers = point.performance.numbers();
                assert_eq!(numbers[place].1, point.value, "{name}");
                let others = numbers.iter().zip(base.numbers()).filter(|(a, b)| **a != *b);
                assert_eq!(others.count(), usize::from(!point.unchanged), "{name}");
            }
        }
    }

    #[test]
    fn the_ideal_never_wins() {
        let makespans =
            [(PolicyName::Static, 3.0), (PolicyName::Flex, 2.0), (PolicyName::Pooled, 1.0)];
        assert_eq!(winner(&makespans), Some(PolicyName::Flex));
        assert_eq!(winner(&[]), None);
    }
}
