//! Plotters' SVG for this page: as wide as the page, with colours by name.

use std::fmt::Write;

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, IntoDrawingArea, RGBColor, SVGBackend, TextStyle};
use plotters::style::{Color, IntoFont};

/// An area to draw on.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Why nothing was drawn.
pub type Failed = Box<dyn std::error::Error>;

/// Width of every plot in its own units.
pub const WIDTH: u32 = 960;

/// Colours of things that are told apart, per kind.
pub const COLOURS: u8 = 8;

/// Text and axes.
pub const INK: RGBColor = RGBColor(1, 1, 1);
/// Lines of the grid.
pub const GRID: RGBColor = RGBColor(1, 1, 2);
/// A job on one leaf.
pub const ONE: RGBColor = RGBColor(1, 1, 3);

/// The colour of the n-th policy.
pub fn policy(place: usize) -> RGBColor {
    RGBColor(1, 2, place as u8 % COLOURS)
}

/// The colour of a job on several leaves.
pub fn job(id: u32) -> RGBColor {
    RGBColor(1, 3, (id.wrapping_mul(0x9e37_79b1) >> 24) as u8 % COLOURS)
}

/// Text of a plot.
pub fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK.to_rgba())
}

/// Draws; the result goes into a page as it is.
pub fn draw(
    height: u32,
    title: &str,
    picture: impl FnOnce(&Area<'_>) -> Result<(), Failed>,
) -> String {
    let mut svg = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        picture(&area).and_then(|()| area.present().map_err(Failed::from))
    };
    match drawn {
        Ok(()) => fit(&svg, height, title),
        Err(error) => format!("<p>No plot: {}</p>\n", escape(&error.to_string())),
    }
}

/// Names the colours, which the page's style gives, and lets the width follow the page.
fn fit(svg: &str, height: u32, title: &str) -> String {
    let mut text = svg.replace("\"#010101\"", "\"currentColor\"");
    text = text.replace("\"#010102\"", "\"var(--grid)\"").replace("\"#010103\"", "\"var(--one)\"");
    for place in 0..COLOURS {
        text = text.replace(&format!("\"#0102{place:02X}\""), &format!("\"var(--p{place})\""));
        text = text.replace(&format!("\"#0103{place:02X}\""), &format!("\"var(--j{place})\""));
    }
    let body = text.split_once('>').map_or("", |(_, body)| body);
    let title = escape(title);
    let mut fitted = String::with_capacity(body.len() + 200);
    let _ = writeln!(
        fitted,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">{}",
        body.trim_end()
    );
    fitted
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::prelude::{PathElement, Rectangle};

    #[test]
    fn colours_have_names_and_nothing_is_fetched() {
        let svg = draw(100, "a < b", |area| {
            area.draw(&Rectangle::new([(0, 0), (5, 5)], policy(9).filled()))?;
            area.draw(&PathElement::new([(0, 0), (5, 5)], job(7)))?;
            area.draw(&plotters::prelude::Text::new("here", (1, 1), text(12)))?;
            Ok(())
        });
        assert!(
            svg.starts_with("<svg viewBox=\"0 0 960 100\" role=\"img\" aria-label=\"a &lt; b\">")
        );
        assert!(svg.ends_with("</svg>\n"), "{svg}");
        assert!(svg.contains("var(--p1)") && svg.contains("var(--j"), "{svg}");
        assert!(svg.contains("fill=\"currentColor\"") && !svg.contains("#01"), "{svg}");
        assert!(!svg.contains("http"), "{svg}");
    }

    #[test]
    fn a_plot_that_fails_says_so() {
        let svg = draw(100, "", |_| Err("<no>".into()));
        assert_eq!(svg, "<p>No plot: &lt;no&gt;</p>\n");
    }
}
