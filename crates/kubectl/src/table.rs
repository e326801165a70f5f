//! Rows of text in columns.
//!
//! Source: cli-runtime `pkg/printers/{tableprinter,tabwriter}.go`: a column is as wide as its widest cell and
//! three blanks, at least six; the last one is not filled up.

use std::fmt::Write as _;

const PADDING: usize = 3;
const LEAST: usize = 6;

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// What the columns are called; none for a table without names.
    pub header: Vec<String>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// How wide columns are; they get wider with what is shown, and never narrower, so that what a watch
/// prints stays aligned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Widths(Vec<usize>);

impl Table {
    /// A table with these columns and no rows.
    #[must_use]
    pub fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The text, a line each row, the columns' names first.
    #[must_use]
    pub fn text(&self) -> String {
        self.text_as(&mut Widths::default(), true)
    }

    /// The text with columns at least as wide as before, with or without their names.
    #[must_use]
    pub fn text_as(&self, widths: &mut Widths, header: bool) -> String {
        let header = Some(&self.header).filter(|names| header && !names.is_empty());
        let lines: Vec<_> = header.into_iter().chain(&self.rows).collect();
        for line in &lines {
            for (i, cell) in line.iter().enumerate() {
                if widths.0.len() <= i {
                    widths.0.push(LEAST);
                }
                widths.0[i] = widths.0[i].max(one_line(cell).chars().count() + PADDING);
            }
        }
        let mut text = String::new();
        for line in lines {
            let mut shown = String::new();
            for (i, cell) in line.iter().enumerate() {
                // Writing to a String does not fail.
                let _ = write!(shown, "{:width$}", one_line(cell), width = widths.0[i]);
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A cell is one line: what comes behind is left out, and that is shown.
fn one_line(cell: &str) -> String {
    match cell.find(['\n', '\r', '\x0c']) {
        Some(end) => format!("{}...", &cell[..end]),
        None => cell.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_kubectls() {
        let mut table = Table::new(&["NAME", "READY", "AGE"]);
        table.row(["a-longer-name", "1/1", "5s"]);
        table.row(["b", "", ""]);
        table.row(["c\nd", "x", "y"]);
        let mut widths = Widths::default();
        let mut text = table.text_as(&mut widths, true);
        let mut more = Table::new(&[]);
        more.row(["z", "0/1", "0s"]);
        text += &more.text_as(&mut widths, false);
        insta::assert_snapshot!(text, @r"
        NAME            READY   AGE
        a-longer-name   1/1     5s
        b
        c...            x       y
        z               0/1     0s
        ");
    }
}
