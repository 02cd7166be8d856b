//! Which job had which leaf when: the first GPUs of the cluster, and the first hours.

use std::fmt::Write;

use super::Report;
use super::axis::{Axis, Unit};
use super::compare::reference;
use super::digest::Detail;
use super::svg::Svg;
use crate::{PolicyName, SECOND, Span, Time};

/// GPUs that are shown.
const GPUS: u32 = 8;
/// Leaves with a job that are drawn at most.
const SPANS: usize = 1200;
/// Colours of jobs on several leaves, as in `style.css`.
const COLOURS: u32 = 6;

const WIDTH: f64 = 1080.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 24.0;
/// Of a GPU, and from one to the next.
const BAND: f64 = 42.0;
const ROW: f64 = 50.0;

/// What is common to all timelines of a page, so that they can be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    start: Time,
    end: Time,
    /// GPUs.
    gpus: u32,
    /// Slices of the memory axis of a GPU.
    axis: u8,
}

/// A timeline per policy.
pub fn section(page: &mut String, report: &Report) {
    let details = report.details();
    let spans = || details.iter().flat_map(|(_, detail)| &detail.spans);
    let Some(gpus) = spans().map(|span| span.gpu + 1).max() else { return };
    let gpus = gpus.min(GPUS);
    let slices = spans().map(|span| span.start + span.size).max().unwrap_or(8);
    let ends = details.iter().map(|(_, detail)| end(&detail.spans, gpus));
    let end = ends.filter(|end| *end > 0).min().unwrap_or(0);
    let start = details.iter().map(|(_, detail)| detail.start).min().unwrap_or(0);
    let axis = if slices > 4 { 8 } else { 4 };
    let window = Window { start, end, gpus, axis };
    let _ = writeln!(
        page,
        "<h2>Timeline of leaves (seed {})</h2>\n<p class=\"note\">The first GPUs, and as long as not \
         too many jobs had them. A GPU is as high as its memory; what is drawn in it are leaves with \
         jobs. <span class=\"key one\"></span> A job on one leaf. <span class=\"key j0\"></span>\
         <span class=\"key j1\"></span><span class=\"key j2\"></span> Jobs on several leaves: the \
         leaves of a job have one colour. <span class=\"key band\"></span> Free.</p>",
        details.first().map_or(0, |(digest, _)| digest.seed)
    );
    let compared = reference(&report.policies());
    for (digest, detail) in details {
        let policy = digest.policy;
        let open = policy == PolicyName::Flex || Some(policy) == compared;
        let open = if open { " open" } else { "" };
        let _ = write!(
            page,
            "<details{open}><summary>{policy}</summary><div class=\"wide timeline\">\n\
             {}</div></details>\n",
            figure(&format!("Leaves under {policy}"), detail, &window)
        );
    }
}

/// The spans that are shown, by start.
fn shown(spans: &[Span], gpus: u32) -> Vec<Span> {
    let mut shown: Vec<Span> = spans.iter().filter(|span| span.gpu < gpus).copied().collect();
    shown.sort_by_key(|span| (span.from, span.gpu, span.start));
    shown
}

/// How long a timeline can be with not too many spans.
fn end(spans: &[Span], gpus: u32) -> Time {
    let shown = shown(spans, gpus);
    let last = || shown.iter().map(|span| span.to).max();
    shown.get(SPANS).map(|span| span.from).or_else(last).unwrap_or(0)
}

/// One policy's picture.
fn figure(title: &str, detail: &Detail, window: &Window) -> String {
    let length = window.end.saturating_sub(window.start);
    let unit = Unit::of(length as f64 / SECOND as f64);
    let bottom = ROW * f64::from(window.gpus);
    let mut svg = Svg::new(WIDTH, bottom + 26.0, title);
    let axis = Axis::even(0.0, unit.time(length.max(1)), 5, |value| unit.label(value));
    let right = WIDTH - RIGHT;
    let x = |value: f64| LEFT + axis.at(value) * (right - LEFT);
    for gpu in 0..window.gpus {
        let top = ROW * f64::from(gpu);
        svg.rect("band", (LEFT, top), (right, top + BAND));
        svg.text("end", (LEFT - 8.0, top + BAND / 2.0), &format!("GPU {gpu}"));
    }
    for (value, label) in &axis.ticks {
        svg.line("grid", (x(*value), 0.0), (x(*value), bottom));
        svg.text("below", (x(*value), bottom + 4.0), label);
    }
    let at = |time: Time| x(unit.time(time.saturating_sub(window.start)));
    let slice = BAND / f64::from(window.axis);
    let mine = shown(&detail.spans, window.gpus);
    for span in mine.iter().filter(|span| span.from < window.end) {
        let top = ROW * f64::from(span.gpu) + slice * f64::from(span.start);
        // A little less than its room, so that leaves and jobs beside each other are told apart.
        let under = top + slice * f64::from(span.size) - 0.6;
        let (from, to) = (at(span.from), at(span.to.min(window.end)));
        let colour = match detail.several.contains(&span.job) {
            true => format!("j{}", (span.job.wrapping_mul(0x9e37_79b1) >> 24) % COLOURS),
            false => "one".to_owned(),
        };
        svg.rect(&colour, (from, top), ((to - 0.6).max(from + 0.4), under));
    }
    svg.figure(title)
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
        let window = Window { start: 0, end: 2000, gpus: 2, axis: 8 };
        let figure = figure("Leaves under flex", &detail, &window);
        assert_eq!(figure.matches("class=\"one\"").count(), 1, "{figure}");
        assert_eq!(figure.matches("class=\"j").count(), 2, "{figure}");
        for part in [">GPU 1<", ">2 s<", "Leaves under flex"] {
            assert!(figure.contains(part), "{part} in {figure}");
        }
    }

    #[test]
    fn a_job_of_no_length_can_be_drawn() {
        let detail = Detail { spans: vec![span(1, 0, 0, 5, 5)], ..Detail::default() };
        let window = Window { start: 0, end: 1_000_000, gpus: 1, axis: 8 };
        let figure = figure("t", &detail, &window);
        assert!(figure.contains("width=\"0.4\"") && !figure.contains("\"-"), "{figure}");
    }

    #[test]
    fn crowded_timelines_are_short() {
        let many: Vec<Span> =
            (0..3000).map(|n| span(n, n % 4, 0, Time::from(n), Time::from(n) + 10)).collect();
        assert_eq!(end(&many, 4), 1200);
        assert_eq!(end(&many[..100], 4), 109);
        assert_eq!(end(&[], 4), 0);
    }
}
