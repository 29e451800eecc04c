//! A section's table as a matrix: a line for each label, a column for each body.
#![forbid(unsafe_code)]

use super::{COLUMNS, Cell, Notes, Palette, side_by_side, width};
use crate::matrix::Matrix;
use crate::report::{Metric, Row};

/// The rows of a section by label and body, then the notes that cells refer to.
///
/// ```text
///   what            coroutine                thread          process
///   null write      killed by SIGSEGV        killed by ...   parent goes on
///   exit(3)         ended with 3 [1]         ...
///   [1] skipped: ...
/// ```
pub fn matrix(metrics: &[Metric], rows: &[Row]) -> Vec<String> {
    const LABEL_MAX: usize = 28;
    let matrix = Matrix::of(metrics, rows);
    let mut notes = Notes::default();
    let labels: Vec<String> = matrix.lines.iter().map(|line| line.label.clone()).collect();
    let label_width = width(&labels).clamp("what".len(), LABEL_MAX);
    let columns = matrix.bodies.len();
    let cell_width = (COLUMNS - 2 - label_width) / columns.max(1) - 2;
    let widths: Vec<usize> = [label_width]
        .into_iter()
        .chain(vec![cell_width; columns])
        .collect();

    let head = matrix.bodies.iter().map(|body| body.name());
    let head = [Cell::new("what", label_width)]
        .into_iter()
        .chain(head.map(|name| Cell::new(name, cell_width)));
    let mut lines = side_by_side(Palette::OFF, &widths, &head.collect::<Vec<_>>());
    for line in &matrix.lines {
        let mut cells = vec![Cell::new(&line.label, label_width)];
        for cell in &line.cells {
            let marks = cell.notes.iter().map(|note| notes.mark(note.clone()));
            let text: Vec<String> = [cell.text.clone()].into_iter().chain(marks).collect();
            cells.push(Cell::new(&text.join(" "), cell_width));
        }
        lines.extend(side_by_side(Palette::OFF, &widths, &cells));
    }
    lines.extend(notes.lines());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Body, Unit};

    #[test]
    fn each_body_has_a_column_and_a_long_cell_wraps_inside_it() {
        let metrics = ["outcome", "price"].map(|name| Metric::new(name, Unit::Words, ""));
        let row = |label: &str, body, words: &str| {
            let mut row = Row::new(label, body);
            row.words.insert("outcome".into(), words.into());
            row
        };
        let mut rows = vec![
            row("null write", Body::Coroutine, &"all of it dies ".repeat(5)),
            row("null write", Body::Process, "the parent goes on"),
            row("panic", Body::Process, "x".repeat(80).as_str()),
            Row::new("nothing", Body::Process),
        ];
        rows[3].words.insert("price".into(), "a fork".into());
        rows[1].note = Some("SIGSEGV".into());
        let lines = matrix(&metrics, &rows);
        assert!(
            lines.iter().all(|line| line.chars().count() <= COLUMNS),
            "{lines:#?}"
        );
        assert!(lines[0].contains("coroutine") && lines[0].contains("process"));
        assert!(!lines[0].contains("thread"));
        assert!(lines[1].contains("the parent goes on [1]"));
        assert!(lines.iter().any(|line| line == "  [1] SIGSEGV"));
        assert!(
            lines
                .iter()
                .any(|line| line.contains("nothing") && line.contains("a fork"))
        );
        let panics = lines.iter().find(|line| line.contains("panic")).unwrap();
        assert!(panics.split_whitespace().nth(1) == Some("-"), "{panics}");
    }

    #[test]
    fn a_matrix_without_rows_is_its_corner() {
        assert_eq!(matrix(&[], &[]), ["  what"]);
    }
}
