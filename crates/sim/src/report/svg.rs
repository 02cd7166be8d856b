//! Drawings. Colours, widths and letters are classes of the page's style, which follows the reader's
//! light or dark mode and the width of the screen.

use std::fmt::{Display, Write};

/// A point: from the left, from the top.
pub type Point = (f64, f64);

/// A picture that is being drawn.
pub struct Svg {
    text: String,
}

impl Svg {
    /// An empty one; `label` is for those who do not see it.
    pub fn new(width: f64, height: f64, label: &str) -> Svg {
        let label = escape(label);
        let text = format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\">\n"
        );
        Svg { text }
    }

    pub fn line(&mut self, class: &str, (x1, y1): Point, (x2, y2): Point) {
        let (x1, y1, x2, y2) = (Short(x1), Short(y1), Short(x2), Short(y2));
        let _ = writeln!(
            self.text,
            "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>"
        );
    }

    /// From a corner to the one across, in any order.
    pub fn rect(&mut self, class: &str, (x1, y1): Point, (x2, y2): Point) {
        let (x, y) = (Short(x1.min(x2)), Short(y1.min(y2)));
        let (width, height) = (Short((x2 - x1).abs()), Short((y2 - y1).abs()));
        let _ = writeln!(
            self.text,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
        );
    }

    pub fn dot(&mut self, class: &str, (x, y): Point) {
        let (x, y) = (Short(x), Short(y));
        let _ = writeln!(self.text, "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>");
    }

    pub fn curve(&mut self, class: &str, points: impl Iterator<Item = Point>) {
        let _ = write!(self.text, "<polyline class=\"{class}\" points=\"");
        for (x, y) in points {
            let _ = write!(self.text, "{},{} ", Short(x), Short(y));
        }
        self.text.push_str("\"/>\n");
    }

    /// Letters; the class says which end of them is at the point.
    pub fn text(&mut self, class: &str, (x, y): Point, text: &str) {
        let (x, y, text) = (Short(x), Short(y), escape(text));
        let _ = writeln!(self.text, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>");
    }

    /// The picture under its caption.
    pub fn figure(self, caption: &str) -> String {
        let (caption, svg) = (escape(caption), self.text);
        format!("<figure><figcaption>{caption}</figcaption>\n{svg}</svg></figure>\n")
    }
}

/// A coordinate: a tenth of a unit is finer than any screen shows.
struct Short(f64);

impl Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round() / 10.0;
        write!(f, "{}", tenths + 0.0)
    }
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

    #[test]
    fn shapes_have_classes_and_short_numbers() {
        let mut svg = Svg::new(100.0, 50.0, "a < b");
        svg.rect("bar p1", (10.04, 20.0), (5.0, 8.0));
        svg.line("grid", (0.0, 1.0 / 3.0), (-0.01, 2.0));
        svg.curve("p2", [(1.0, 2.0), (3.25, 4.0)].into_iter());
        svg.text("end", (1.0, 1.0), "\"<1 h>\"");
        let figure = svg.figure("a & b");
        assert_eq!(
            figure,
            "<figure><figcaption>a &amp; b</figcaption>\n\
             <svg viewBox=\"0 0 100 50\" role=\"img\" aria-label=\"a &lt; b\">\n\
             <rect class=\"bar p1\" x=\"5\" y=\"8\" width=\"5\" height=\"12\"/>\n\
             <line class=\"grid\" x1=\"0\" y1=\"0.3\" x2=\"0\" y2=\"2\"/>\n\
             <polyline class=\"p2\" points=\"1,2 3.3,4 \"/>\n\
             <text class=\"end\" x=\"1\" y=\"1\">&quot;&lt;1 h&gt;&quot;</text>\n\
             </svg></figure>\n"
        );
    }
}
