//! Lines and bars.

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    Cartesian2d, DrawingArea, IntoLogRange, IntoSegmentedCoord, LineSeries, PathElement, Rectangle,
    SVGBackend, SegmentValue, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, ShapeStyle};

use super::svg::{self, Failed, GRID, INK};

const HEIGHT: u32 = 300;

/// Curves over time, or over anything else.
pub struct Lines<'l> {
    pub title: &'l str,
    pub x: &'l str,
    pub y: &'l str,
    /// From and to; more than nothing. With `log` more than 0.
    pub x_range: (f64, f64),
    pub y_top: f64,
    pub log: bool,
    pub y_label: fn(&f64) -> String,
    /// Place of the policy, and its points.
    pub curves: Vec<(usize, Vec<(f64, f64)>)>,
}

impl Lines<'_> {
    pub fn svg(&self) -> String {
        svg::draw(HEIGHT, self.title, |area| {
            let mut builder = ChartBuilder::on(area);
            builder.caption(self.title, svg::text(19)).margin(8);
            builder.x_label_area_size(44).y_label_area_size(64);
            let (x, y) = (self.x_range.0..self.x_range.1, 0.0..self.y_top);
            match self.log {
                true => self.finish(builder.build_cartesian_2d(x.log_scale(), y)?),
                false => self.finish(builder.build_cartesian_2d(x, y)?),
            }
        })
    }

    fn finish<'a, X>(
        &self,
        mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, RangedCoordf64>>,
    ) -> Result<(), Failed>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut mesh = chart.configure_mesh();
        mesh.axis_style(INK).bold_line_style(GRID).light_line_style(GRID.mix(0.0));
        mesh.label_style(svg::text(14)).axis_desc_style(svg::text(15));
        mesh.x_desc(self.x).y_desc(self.y).x_labels(10).y_labels(6);
        mesh.y_label_formatter(&self.y_label).x_label_formatter(&number);
        mesh.draw()?;
        for (place, points) in &self.curves {
            let style = ShapeStyle::from(svg::policy(*place)).stroke_width(2);
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        }
        Ok(())
    }
}

/// A bar per policy, as high as the value in the middle, with a mark from the least to the most.
pub struct Bars<'b> {
    pub title: &'b str,
    pub y: &'b str,
    /// Name; least, middle and most.
    pub bars: Vec<(&'b str, [f64; 3])>,
    /// What stands above a bar.
    pub label: &'b dyn Fn(f64) -> String,
}

impl Bars<'_> {
    pub fn svg(&self) -> String {
        svg::draw(HEIGHT, self.title, |area| self.draw(area))
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failed> {
        let Some(last) = (self.bars.len() as u32).checked_sub(1) else {
            return Err("no policy".into());
        };
        let most = self.bars.iter().map(|(_, [_, _, most])| *most).fold(0.0, f64::max);
        let mut builder = ChartBuilder::on(area);
        builder.caption(self.title, svg::text(19)).margin(8);
        builder.x_label_area_size(30).y_label_area_size(64);
        let top = if most > 0.0 { most * 1.12 } else { 1.0 };
        let mut chart = builder.build_cartesian_2d((0..last).into_segmented(), 0.0..top)?;
        let name = |value: &SegmentValue<u32>| match value {
            SegmentValue::CenterOf(place) => {
                self.bars.get(*place as usize).map_or("", |bar| bar.0).to_owned()
            }
            _ => String::new(),
        };
        let mut mesh = chart.configure_mesh();
        mesh.axis_style(INK).bold_line_style(GRID).light_line_style(GRID.mix(0.0)).disable_x_mesh();
        mesh.label_style(svg::text(14)).axis_desc_style(svg::text(15));
        mesh.x_labels(self.bars.len()).x_label_formatter(&name);
        mesh.y_desc(self.y).y_labels(6).y_label_formatter(&number);
        mesh.draw()?;
        for (place, (_, [least, middle, most])) in self.bars.iter().enumerate() {
            let edges = (SegmentValue::Exact(place as u32), SegmentValue::Exact(place as u32 + 1));
            let corners = [(edges.0, 0.0), (edges.1, *middle)];
            let mut bar = Rectangle::new(corners, svg::policy(place).filled());
            bar.set_margin(0, 0, 14, 14);
            chart.draw_series([bar])?;
            let center = || SegmentValue::CenterOf(place as u32);
            if most > least {
                let style = ShapeStyle::from(INK).stroke_width(2);
                let mark = PathElement::new([(center(), *least), (center(), *most)], style);
                chart.draw_series([mark])?;
            }
            let style = svg::text(14).pos(Pos::new(HPos::Center, VPos::Bottom));
            let above = Text::new((self.label)(*middle), (center(), *most + top * 0.01), style);
            chart.draw_series([above])?;
        }
        Ok(())
    }
}

/// `0.25`, `12`, `1500`: no more digits than a reader needs.
pub fn number(value: &f64) -> String {
    let digits = match value.abs() {
        small if small >= 100.0 || (small - small.round()).abs() < 1e-9 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// `75 %` of 0.75.
pub fn percent(value: &f64) -> String {
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
            assert_eq!(number(&value), text);
        }
        assert_eq!(percent(&0.756), "76 %");
    }

    #[test]
    fn a_bar_has_its_name_value_and_spread() {
        let one = Bars {
            title: "Makespan",
            y: "hours",
            bars: vec![("flex", [9.0, 10.0, 11.5])],
            label: &|value| format!("{value} h"),
        };
        let svg = one.svg();
        for part in ["flex", "Makespan", "hours", "10 h", "var(--p0)"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        let two = Bars { bars: vec![("a", [1.0, 1.0, 1.0]), ("b", [0.0, 0.0, 0.0])], ..one };
        let svg = two.svg();
        assert!(svg.contains(">\na\n") && svg.contains(">\nb\n"), "{svg}");
        let none = Bars { bars: Vec::new(), title: "", y: "", label: &|_| String::new() };
        assert_eq!(none.svg(), "<p>No plot: no policy</p>\n");
    }

    #[test]
    fn curves_are_drawn_on_both_scales() {
        for log in [false, true] {
            let lines = Lines {
                title: "Queue",
                x: "hours",
                y: "jobs",
                x_range: (0.01, 100.0),
                y_top: 5.0,
                log,
                y_label: number,
                curves: vec![(3, vec![(1.0, 2.0), (50.0, 3.0)]), (0, Vec::new())],
            };
            let svg = lines.svg();
            assert!(svg.contains("<polyline") && svg.contains("var(--p3)"), "{svg}");
        }
    }
}
