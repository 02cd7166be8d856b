//! Curves, and bars with what every seed gave.

use super::axis::Axis;
use super::svg::{Point, Svg};

/// Two of these are beside each other on a wide screen; on a telephone letters are larger (see
/// `style.css`), and margins and axes have room for that.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 10.0;
/// Below the plot: its marks.
const BELOW: f64 = 33.0;

/// Curves of policies.
pub struct Lines<'l> {
    pub title: &'l str,
    pub x: Axis,
    pub y: Axis,
    /// Points further apart than this have no line between them.
    pub gap: f64,
    /// Class of the policy, and its points.
    pub curves: Vec<(String, Vec<Point>)>,
}

impl Lines<'_> {
    pub fn figure(&self) -> String {
        let mut svg = Svg::new(WIDTH, HEIGHT, self.title);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BELOW);
        let x = |value: f64| LEFT + self.x.at(value) * (right - LEFT);
        let y = |value: f64| bottom - self.y.at(value) * (bottom - TOP);
        for (value, label) in &self.y.ticks {
            svg.line("grid", (LEFT, y(*value)), (right, y(*value)));
            svg.text("end", (LEFT - 8.0, y(*value)), label);
        }
        for (value, label) in &self.x.ticks {
            svg.line("grid", (x(*value), TOP), (x(*value), bottom));
            svg.text("below", (x(*value), bottom + 10.0), label);
        }
        for (class, points) in &self.curves {
            for part in points.chunk_by(|a, b| b.0 - a.0 <= self.gap) {
                // A line to itself is a dot.
                let again = if part.len() == 1 { part } else { &[] };
                let drawn = part.iter().chain(again).map(|point| (x(point.0), y(point.1)));
                svg.curve(class, drawn);
            }
        }
        svg.figure(self.title)
    }
}

/// A policy's bar.
pub struct Bar {
    pub name: &'static str,
    pub class: String,
    /// What every seed gave.
    pub values: Vec<f64>,
    /// How far the bar goes.
    pub middle: f64,
    /// What is written behind it.
    pub label: String,
}

/// Bars below each other, so that names and numbers have room.
pub struct Bars<'b> {
    pub title: &'b str,
    pub axis: Axis,
    /// Where bars start.
    pub base: f64,
    pub bars: Vec<Bar>,
}

const ROW: f64 = 32.0;
const NAMES: f64 = 146.0;
const NUMBERS: f64 = 110.0;
/// Seeds that are drawn at most.
const DOTS: usize = 40;

impl Bars<'_> {
    pub fn figure(&self) -> String {
        let bottom = TOP + ROW * self.bars.len() as f64;
        let mut svg = Svg::new(WIDTH, bottom + BELOW, self.title);
        let x = |value: f64| NAMES + self.axis.at(value) * (WIDTH - NUMBERS - NAMES);
        for (value, label) in &self.axis.ticks {
            svg.line("grid", (x(*value), TOP), (x(*value), bottom));
            svg.text("below", (x(*value), bottom + 10.0), label);
        }
        for (row, bar) in self.bars.iter().enumerate() {
            let top = TOP + ROW * row as f64;
            let middle = top + ROW / 2.0;
            let class = format!("bar {}", bar.class);
            svg.rect(&class, (x(self.base), top + 5.0), (x(bar.middle), top + ROW - 5.0));
            if bar.values.len() > 1 {
                for value in some(&bar.values, DOTS) {
                    svg.dot("seed", (x(value), middle));
                }
            }
            svg.text("end", (NAMES - 10.0, middle), bar.name);
            svg.text("end", (WIDTH - 4.0, middle), &bar.label);
        }
        svg.line("axis", (x(self.base), TOP), (x(self.base), bottom));
        svg.figure(self.title)
    }
}

/// At most so many of the values, evenly from the least to the most.
fn some(values: &[f64], most: usize) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    if values.len() <= most {
        return values;
    }
    (0..most).map(|place| values[place * (values.len() - 1) / (most - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::axis::number;
    use super::*;

    fn bar(name: &'static str, values: &[f64]) -> Bar {
        let label = "10 h".into();
        Bar { name, class: "p5".into(), values: values.to_vec(), middle: 10.0, label }
    }

    #[test]
    fn a_bar_has_its_name_value_and_seeds() {
        let axis = || Axis::even(0.0, 12.0, 5, number);
        let one = Bars { title: "Makespan", axis: axis(), base: 0.0, bars: vec![] };
        let bars = vec![bar("flex", &[9.0, 10.0, 11.5]), bar("static", &[10.0])];
        let figure = Bars { bars, ..one }.figure();
        for part in [">flex<", ">static<", ">10 h<", "<figcaption>Makespan<", "class=\"bar p5\""] {
            assert!(figure.contains(part), "{part} in {figure}");
        }
        assert_eq!(figure.matches("class=\"seed\"").count(), 3, "{figure}");
    }

    #[test]
    fn many_seeds_are_some_from_least_to_most() {
        let values: Vec<f64> = (0..1000).rev().map(f64::from).collect();
        let drawn = some(&values, 40);
        assert_eq!((drawn.len(), drawn[0], drawn[39]), (40, 0.0, 999.0));
        assert_eq!(some(&[2.0, 1.0], 40), [1.0, 2.0]);
    }

    #[test]
    fn curves_end_where_nothing_is_known() {
        let points = vec![(1.0, 2.0), (2.0, 3.0), (9.0, 1.0)];
        let lines = Lines {
            title: "Queue",
            x: Axis::even(0.0, 10.0, 5, number),
            y: Axis::even(0.0, 5.0, 5, number),
            gap: 1.5,
            curves: vec![("p3".into(), points), ("p0".into(), Vec::new())],
        };
        let figure = lines.figure();
        assert_eq!(figure.matches("<polyline class=\"p3\"").count(), 2, "{figure}");
        assert!(!figure.contains("class=\"p0\""), "{figure}");
    }
}
