//! Pictures made of characters: what a terminal can show, and lines of painted text that know
//! their width.

use std::io::{self, IsTerminal};

use crate::output::terminal_width;

/// What the place that the text goes to can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Columns to keep within, if there is such a limit.
    pub width: Option<usize>,
    /// Characters beyond ASCII.
    pub unicode: bool,
    /// Colours.
    pub colour: bool,
}

impl Style {
    /// Of stdout: colours on a terminal only and never with NO_COLOR (<https://no-color.org>), other
    /// characters than ASCII where the locale is UTF-8.
    pub fn of_stdout() -> Style {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(name));
        let terminal = io::stdout().is_terminal();
        Style {
            width: terminal_width(),
            unicode: locale.is_some_and(|locale| is_utf8(&locale)),
            colour: terminal
                && set("NO_COLOR").is_none()
                && set("TERM").is_none_or(|t| t != "dumb"),
        }
    }

    /// The first of two spellings where it can be shown.
    pub fn pick<T>(&self, unicode: T, ascii: T) -> T {
        if self.unicode { unicode } else { ascii }
    }
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// How text looks in colour. Without colours nothing is lost: the characters differ too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    Plain,
    /// Headings and what is chosen.
    Bold,
    /// What matters less.
    Dim,
    /// What is free or starts now.
    Good,
    /// What cannot be used.
    Bad,
    /// The n-th of several things that are told apart.
    Thing(usize),
}

impl Paint {
    /// SGR parameters; none for plain text.
    fn code(self) -> &'static str {
        const THINGS: [&str; 6] = ["36", "33", "35", "34", "96", "95"];
        match self {
            Paint::Plain => "",
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Thing(number) => THINGS[number % THINGS.len()],
        }
    }
}

/// One line of painted text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Paint, String)>);

impl Line {
    /// With a first piece.
    pub fn new(paint: Paint, text: impl Into<String>) -> Line {
        Line(vec![(paint, text.into())])
    }

    /// Appends a piece.
    pub fn push(&mut self, paint: Paint, text: impl Into<String>) {
        self.0.push((paint, text.into()));
    }

    /// Appends another line.
    pub fn extend(&mut self, other: Line) {
        self.0.extend(other.0);
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// Blanks up to a column.
    pub fn pad_to(&mut self, column: usize) {
        let missing = column.saturating_sub(self.width());
        self.push(Paint::Plain, " ".repeat(missing));
    }

    /// Appends it with a newline, cut at the style's width as Slurm cuts: the last column is `+`.
    pub fn write_to(&self, text: &mut String, style: &Style) {
        let mut room = style.width.unwrap_or(usize::MAX);
        let whole = self.width() <= room;
        if !whole {
            room = room.saturating_sub(1);
        }
        let mut line = String::new();
        for (paint, piece) in &self.0 {
            let shown: String = piece.chars().take(room).collect();
            room -= shown.chars().count();
            if style.colour && !paint.code().is_empty() && !shown.trim().is_empty() {
                line.push_str(&format!("\x1b[{}m{shown}\x1b[0m", paint.code()));
            } else {
                line.push_str(&shown);
            }
        }
        line.push_str(if whole { "" } else { "+" });
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &Line, style: Style) -> String {
        let mut text = String::new();
        line.write_to(&mut text, &style);
        text
    }

    #[test]
    fn colours_only_where_they_show() {
        let mut line = Line::new(Paint::Bad, "down");
        line.push(Paint::Plain, " n1");
        line.push(Paint::Dim, "   ");
        assert_eq!(written(&line, Style::default()), "down n1\n");
        let style = Style { colour: true, ..Style::default() };
        assert_eq!(written(&line, style), "\x1b[31mdown\x1b[0m n1\n");
    }

    #[test]
    fn lines_are_cut_by_columns_not_by_bytes_or_colours() {
        let mut line = Line::new(Paint::Bold, "│AA│");
        line.push(Paint::Good, "····│");
        let style = Style { width: Some(6), unicode: true, colour: true };
        assert_eq!(written(&line, style), "\x1b[1m│AA│\x1b[0m\x1b[32m·\x1b[0m+\n");
        assert_eq!(written(&line, Style { width: Some(9), ..Style::default() }), "│AA│····│\n");
        assert_eq!(written(&line, Style { width: Some(0), ..Style::default() }), "+\n");
    }

    #[test]
    fn locales_tell_what_can_be_shown() {
        assert!(is_utf8("C.UTF-8") && is_utf8("en_US.utf8"));
        assert!(!is_utf8("C") && !is_utf8("en_US.ISO-8859-1"));
    }
}
