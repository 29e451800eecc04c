//! Rows by label and body: what [`Layout::Matrix`](crate::report::Layout::Matrix) shows, on a terminal and in the
//! report.
#![forbid(unsafe_code)]

use crate::figure::full_label;
use crate::quantity::with_unit;
use crate::report::{Body, Metric, Row};

/// The rows of one section.
#[derive(Debug)]
pub struct Matrix {
    /// Those that have a row at all, in the order of a table.
    pub bodies: Vec<Body>,
    /// A line for each label, in the order in which the labels come first.
    pub lines: Vec<Line>,
}

/// All rows of one label.
#[derive(Debug)]
pub struct Line {
    /// The label, with its size and units.
    pub label: String,
    /// One for each of [`Matrix::bodies`].
    pub cells: Vec<Entry>,
}

/// What one body did.
#[derive(Debug)]
pub struct Entry {
    /// The first metric that was measured, a value or words; `"-"` if none was.
    pub text: String,
    /// What has to be known of it.
    pub notes: Vec<String>,
}

impl Matrix {
    /// Sorts `rows` into lines and columns.
    pub fn of(metrics: &[Metric], rows: &[Row]) -> Matrix {
        let has_row = |body: &Body| rows.iter().any(|row| row.body == *body);
        let bodies: Vec<Body> = Body::ALL.into_iter().filter(has_row).collect();
        let mut labels: Vec<String> = Vec::new();
        for label in rows.iter().map(full_label) {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        let line = |label: String| {
            let row_of = |body: &Body| {
                let mut rows = rows.iter();
                rows.find(|row| row.body == *body && full_label(row) == label)
            };
            let entries = bodies.iter().map(|body| entry(metrics, row_of(body)));
            let cells = entries.collect();
            Line { label, cells }
        };
        let lines = labels.into_iter().map(line).collect();
        Matrix { bodies, lines }
    }
}

fn entry(metrics: &[Metric], row: Option<&Row>) -> Entry {
    let text = |row: &Row| {
        metrics.iter().find_map(|metric| {
            let value = row.values.get(&metric.name);
            let value = value.map(|value| with_unit(metric.unit, value.median));
            value.or_else(|| row.words.get(&metric.name).cloned())
        })
    };
    Entry {
        text: row.and_then(text).unwrap_or_else(|| "-".to_owned()),
        notes: row.map(notes).unwrap_or_default(),
    }
}

/// What a reader has to know of a row: why it was skipped, and its note.
pub fn notes(row: &Row) -> Vec<String> {
    let skipped = row.skipped.as_ref().map(|why| format!("skipped: {why}"));
    skipped.into_iter().chain(row.note.clone()).collect()
}
