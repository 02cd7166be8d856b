//! Which job had which leaf when: the first GPUs of the cluster, and the first hours.

use plotters::chart::ChartBuilder;
use plotters::prelude::Rectangle;
use plotters::style::Color;

use super::charts::number;
use super::digest::Detail;
use super::svg::{self, Failed, GRID, INK};
use crate::{Span, Time};

/// GPUs that are shown.
pub const GPUS: u32 = 8;
/// Leaves with a job that are drawn at most.
const SPANS: usize = 1200;

/// What is common to all timelines of a page, so that they can be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub start: Time,
    pub end: Time,
    /// GPUs.
    pub gpus: u32,
    /// Slices of the memory axis of a GPU.
    pub axis: u8,
    /// Milliseconds of a unit, and its name.
    pub unit: (f64, &'static str),
}

/// The spans that are shown, by start.
fn shown(spans: &[Span], gpus: u32) -> Vec<Span> {
    let mut shown: Vec<Span> = spans.iter().filter(|span| span.gpu < gpus).copied().collect();
    shown.sort_by_key(|span| (span.from, span.gpu, span.start));
    shown
}

/// How long a timeline can be with not too many spans.
pub fn end(spans: &[Span], gpus: u32) -> Time {
    let shown = shown(spans, gpus);
    let last = || shown.iter().map(|span| span.to).max();
    shown.get(SPANS).map(|span| span.from).or_else(last).unwrap_or(0)
}

/// One policy's picture.
pub fn svg(title: &str, detail: &Detail, window: &Window) -> String {
    svg::draw(90 + window.gpus * 44, title, |area| {
        let at = |time: Time| time.saturating_sub(window.start) as f64 / window.unit.0;
        let last = at(window.end);
        if last <= 0.0 {
            return Err("no job ran".into());
        }
        let mut builder = ChartBuilder::on(area);
        builder.caption(title, svg::text(19)).margin(8);
        builder.x_label_area_size(44).y_label_area_size(64);
        let gpus = f64::from(window.gpus);
        let mut chart = builder.build_cartesian_2d(0.0..last, gpus..0.0)?;
        let name = |gpu: &f64| match *gpu < gpus {
            true => format!("{gpu:.0}"),
            false => String::new(),
        };
        let mut mesh = chart.configure_mesh();
        mesh.axis_style(INK).bold_line_style(GRID).light_line_style(GRID.mix(0.0)).disable_x_mesh();
        mesh.label_style(svg::text(14)).axis_desc_style(svg::text(15));
        mesh.x_desc(window.unit.1).x_labels(10).x_label_formatter(&number);
        mesh.y_desc("GPU, slices of its memory").y_labels(window.gpus as usize + 1);
        mesh.y_label_formatter(&name);
        mesh.draw()?;
        let axis = f64::from(window.axis.max(1));
        let mine = shown(&detail.spans, window.gpus);
        for span in mine.iter().filter(|span| span.from < window.end) {
            let top = f64::from(span.gpu) + 0.04 + 0.92 * f64::from(span.start) / axis;
            let bottom = top + 0.92 * f64::from(span.size) / axis;
            let corners = [(at(span.from), top), (at(span.to.min(window.end)), bottom)];
            let several = detail.several.contains(&span.job);
            let colour = if several { svg::job(span.job) } else { svg::ONE };
            let mut leaf = Rectangle::new(corners, colour.filled());
            leaf.set_margin(0, 1, 0, 1);
            chart.draw_series([leaf])?;
        }
        Ok::<(), Failed>(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(job: u32, gpu: u32, start: u8, from: Time, to: Time) -> Span {
        Span { gpu, start, size: 1, slices: 1, from, to, job }
    }

    #[test]
    fn jobs_on_several_leaves_stand_out() {
        let spans = vec![span(1, 0, 0, 0, 1000), span(2, 0, 1, 0, 2000), span(2, 1, 0, 0, 2000)];
        let detail = Detail { spans, several: [2].into(), ..Detail::default() };
        let window = Window { start: 0, end: 2000, gpus: 2, axis: 8, unit: (1000.0, "seconds") };
        let svg = svg("flex", &detail, &window);
        assert_eq!(svg.matches("var(--one)").count(), 1, "{svg}");
        assert_eq!(svg.matches("var(--j").count(), 2, "{svg}");
        assert!(svg.contains("seconds") && svg.contains("flex"));
    }

    #[test]
    fn crowded_timelines_are_short() {
        let many: Vec<Span> =
            (0..3000).map(|n| span(n, n % 4, 0, Time::from(n), Time::from(n) + 10)).collect();
        assert_eq!(end(&many, 4), 1200);
        assert_eq!(end(&many[..100], 4), 109);
        assert_eq!(end(&[], 4), 0);
        let window = Window { start: 0, end: 0, gpus: 2, axis: 8, unit: (1000.0, "s") };
        assert!(svg("t", &Detail::default(), &window).contains("no job ran"));
    }
}
