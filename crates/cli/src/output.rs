//! Writing to stdout: whole outputs at once, tables, and the width of the terminal.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table};

/// Writes a finished output. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Columns of the terminal that stdout is; `None` if it is none, and then nothing is cut.
pub fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// A column's heading and whether its values are numbers, which stand to the right.
pub type Column = (&'static str, bool);

/// A table without lines, as Slurm's own commands print them: two blanks between columns, nothing
/// after the last. Rows never wrap.
pub fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(name, _)| *name));
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if columns.get(index).is_some_and(|(_, number)| *number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Width in columns that [`table`] would need.
pub fn width(table: &str) -> usize {
    table.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

/// `text` cut to at most `columns` columns, the last of them a `+` if anything is cut, as Slurm does.
pub fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(columns.saturating_sub(1)).collect();
    short.push('+');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_leave_no_blanks_at_the_end() {
        let rows = [vec!["1".into(), "a".into()], vec!["10".into(), "bcd".into()]];
        let text = table(&[("N", true), ("NAME", false)], &rows);
        assert_eq!(text, " N  NAME\n 1  a\n10  bcd\n");
        assert_eq!(width(&text), 8);
    }

    #[test]
    fn cut_says_that_it_cut() {
        assert_eq!(cut("MIG-0123", 8), "MIG-0123");
        assert_eq!(cut("MIG-0123", 6), "MIG-0+");
    }
}
