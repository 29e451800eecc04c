//! A section's table as a list: a line for each row, a column for each metric.
#![forbid(unsafe_code)]

use super::{COLUMNS, Cell, Notes, Palette, side_by_side, width};
use crate::figure::full_label;
use crate::matrix::notes as notes_of;
use crate::quantity::{Scale, grouped};
use crate::report::{Metric, Row, Unit};

/// A section's table: a header, a line for each row, then the notes that rows refer to.
///
/// ```text
///   what                                   time  p5..p95       n
///   thread, pipe, one CPU               2.35 us  2.30..2.70   31  ###########
///   thread, pipe, two CPUs [1]                -
///   [1] skipped: one CPU only
/// ```
///
/// One that is too wide for the terminal is set closer, then without its spreads, then as several tables.
pub fn table(metrics: &[Metric], rows: &[Row]) -> Vec<String> {
    let mut notes = Notes::default();
    let labels: Vec<String> = rows.iter().map(|row| label(row, &mut notes)).collect();
    let counts: Vec<String> = rows.iter().map(count).collect();

    let label_width = width(&labels).max("what".len());
    let count_width = width(&counts).max("n".len());
    let lay_out = |(gap, spread)| {
        let column = |metric| column(metric, rows, gap, spread);
        let cells: Vec<Vec<String>> = metrics.iter().map(column).collect();
        let cell_widths: Vec<usize> = cells.iter().map(|column| width(column)).collect();
        let cells_width: usize = cell_widths.iter().map(|width| gap + width).sum();
        let used = 2 + label_width + cells_width + gap + count_width;
        (gap, cells, cell_widths, used)
    };
    let fitting = [(2, true), (1, true), (2, false), (1, false)]
        .map(lay_out)
        .into_iter()
        .find(|&(.., used)| used <= COLUMNS);
    let Some((gap, cells, cell_widths, used)) = fitting else {
        let mut lines = several(metrics, rows, &labels);
        lines.extend(notes.lines());
        return lines;
    };
    let between = " ".repeat(gap);
    let bars = match metrics {
        [only] => bars(only, rows, COLUMNS.saturating_sub(used + 2)),
        _ => vec![String::new(); rows.len()],
    };

    let line = |label: &str, row: usize, count: &str| {
        let mut line = format!("  {label:<label_width$}");
        for (column, width) in cells.iter().zip(&cell_widths) {
            line.push_str(&format!("{between}{:<width$}", column[row]));
        }
        line.push_str(&format!("{between}{count:>count_width$}"));
        line
    };
    let mut lines = vec![line("what", 0, "n")];
    for (row, label) in labels.iter().enumerate() {
        let text = format!("{}  {}", line(label, row + 1, &counts[row]), bars[row]);
        lines.push(text.trim_end().to_owned());
    }
    lines.extend(notes.lines());
    lines
}

/// Tables with the same labels and as many of the metrics as fit into the terminal, one below the other.
fn several(metrics: &[Metric], rows: &[Row], labels: &[String]) -> Vec<String> {
    const LABEL_MAX: usize = 44;
    const CELL_MAX: usize = 30;
    let label_width = width(labels).clamp("what".len(), LABEL_MAX);
    let mut lines = Vec::new();
    let mut columns: Vec<(usize, Vec<String>)> = Vec::new();
    let flush = |columns: &mut Vec<(usize, Vec<String>)>, lines: &mut Vec<String>| {
        let widths = columns.iter().map(|&(width, _)| width);
        let widths: Vec<usize> = [label_width].into_iter().chain(widths).collect();
        let heads = ["what"]
            .into_iter()
            .chain(labels.iter().map(String::as_str));
        for (index, head) in heads.enumerate() {
            let cells = columns
                .iter()
                .map(|(width, cells)| Cell::new(&cells[index], *width));
            let cells: Vec<Cell> = [Cell::new(head, label_width)]
                .into_iter()
                .chain(cells)
                .collect();
            lines.extend(side_by_side(Palette::OFF, &widths, &cells));
        }
        columns.clear();
    };
    for metric in metrics {
        let cells = column(metric, rows, 1, false);
        let cell_width = width(&cells).min(CELL_MAX);
        let used: usize = columns.iter().map(|&(width, _)| width + 2).sum();
        if 2 + label_width + used + 2 + cell_width > COLUMNS {
            flush(&mut columns, &mut lines);
            lines.push(String::new());
        }
        columns.push((cell_width, cells));
    }
    flush(&mut columns, &mut lines);
    lines
}

/// The row's label with its units and the mark of its note, which is added to `notes` if it is new.
fn label(row: &Row, notes: &mut Notes) -> String {
    let mut label = match (row.units, row.size) {
        (Some(units), None) => format!("{:<9} {:>9}", row.label, grouped(units)),
        _ => full_label(row),
    };
    for note in notes_of(row) {
        label.push(' ');
        label.push_str(&notes.mark(note));
    }
    label
}

/// The cells of one metric, the header first: median to the right, spread, if wanted, to the left of one seam.
fn column(metric: &Metric, rows: &[Row], gap: usize, spread: bool) -> Vec<String> {
    let cell = |row: &Row| match row.values.get(&metric.name) {
        Some(value) => {
            let scale = Scale::of(metric.unit, value.median);
            (
                format!("{} {}", scale.number(value.median), scale.symbol),
                format!("{}..{}", scale.number(value.p5), scale.number(value.p95)),
            )
        }
        None => {
            let words = row.words.get(&metric.name);
            (words.map_or("-", String::as_str).to_owned(), String::new())
        }
    };
    let is_number = metric.unit != Unit::Words;
    let over_spread = if is_number { "p5..p95" } else { "" };
    let header = (metric.name.replace('_', " "), over_spread.to_owned());
    let cells: Vec<_> = [header].into_iter().chain(rows.iter().map(cell)).collect();
    let left = cells
        .iter()
        .map(|cell| cell.0.chars().count())
        .max()
        .unwrap_or(0);
    let seam = " ".repeat(gap);
    let join = |(median, range): &(String, String)| match (is_number, spread) {
        (true, true) => format!("{median:>left$}{seam}{range}"),
        (true, false) => format!("{median:>left$}"),
        (false, _) => median.clone(),
    };
    cells.iter().map(join).collect()
}

fn count(row: &Row) -> String {
    let counts = row.values.values().map(|value| value.n);
    counts.max().map_or_else(String::new, |n| n.to_string())
}

/// One bar for each row, its length the logarithm of the median: one step is one factor.
fn bars(metric: &Metric, rows: &[Row], width_max: usize) -> Vec<String> {
    const WIDTH_MIN: usize = 8;
    const WIDTH_MAX: usize = 30;
    let medians: Vec<Option<f64>> = rows
        .iter()
        .map(|row| row.values.get(&metric.name).map(|value| value.median))
        .collect();
    let known = || {
        medians
            .iter()
            .flatten()
            .copied()
            .filter(|&median| median > 0.0)
    };
    let smallest = known().fold(f64::INFINITY, f64::min);
    let decades = (known().fold(0.0, f64::max) / smallest).log10();
    let width = width_max.min(WIDTH_MAX);
    if width < WIDTH_MIN || !decades.is_finite() || decades <= 0.0 {
        return vec![String::new(); rows.len()];
    }
    let bar = |median: &Option<f64>| match median {
        Some(median) if *median > 0.0 => {
            let share = (median / smallest).log10() / decades;
            "#".repeat(1 + (share * (width - 1) as f64).round() as usize)
        }
        _ => String::new(),
    };
    medians.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Body;
    use crate::stats::Summary;

    fn metric(name: &str, unit: Unit) -> Metric {
        Metric {
            name: name.into(),
            unit,
            meaning: String::new(),
        }
    }

    fn row(label: &str, values: &[(&str, f64)]) -> Row {
        let value = |median: f64| Summary {
            median,
            p5: median * 0.9,
            p95: median * 1.1,
            n: 31,
        };
        let values = values
            .iter()
            .map(|&(name, median)| (name.to_owned(), value(median)));
        Row {
            values: values.collect(),
            ..Row::new(label, Body::Thread)
        }
    }

    #[test]
    fn numbers_stand_in_columns_and_bars_grow_with_the_logarithm() {
        let metrics = [metric("time", Unit::Nanoseconds)];
        let rows = [
            row("call", &[("time", 1.0)]),
            row("pipe", &[("time", 1000.0)]),
        ];
        let lines = table(&metrics, &rows);
        assert_eq!(lines[0], "  what     time  p5..p95      n");
        assert_eq!(lines[1], "  call  1.00 ns  0.90..1.10  31  #");
        assert_eq!(
            lines[2],
            format!("  pipe  1.00 us  0.90..1.10  31  {}", "#".repeat(30))
        );
    }

    #[test]
    fn a_table_of_three_metrics_fits_the_terminal() {
        let metrics = [
            metric("time", Unit::Nanoseconds),
            metric("own_memory", Unit::Bytes),
            metric("all_memory", Unit::Bytes),
        ];
        let values = [
            ("time", 999_000.0),
            ("own_memory", 1_000.0),
            ("all_memory", 1e6),
        ];
        let mut wide = row("coroutine", &values);
        wide.units = Some(1_000_000);
        wide.note = Some("word ".repeat(60));
        for line in table(&metrics, &[wide]) {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
    }

    #[test]
    fn a_table_that_is_too_wide_is_set_closer_and_then_without_its_spreads() {
        let metrics: Vec<Metric> = ["time", "own_memory", "all_memory"]
            .map(|name| metric(name, Unit::Bytes))
            .into();
        let values: Vec<_> = metrics.iter().map(|m| (m.name.as_str(), 999e3)).collect();
        let one = |label: &str| table(&metrics, &[row(label, &values)]);
        let fits = |lines: &[String]| lines.iter().all(|line| line.chars().count() <= COLUMNS);
        let labels = ["x".repeat(12), "x".repeat(30), "x".repeat(50)];
        let [wide, closer, bare] = labels.map(|label| one(&label));
        assert!(fits(&wide) && fits(&closer) && fits(&bare));
        assert!(wide[1].contains("KiB  8") && closer[1].contains("KiB 8"));
        assert!(closer[1].contains("..") && !bare[1].contains(".."));
        assert!(bare[1].contains("976 KiB"));
    }

    #[test]
    fn a_table_that_no_setting_makes_fit_becomes_several() {
        let names = ["seen_by_the_parent", "ended_by_this", "what_was_left_of_it"];
        let metrics = names.map(|name| metric(name, Unit::Words));
        let mut wide = row(&"label ".repeat(12), &[]);
        for name in names {
            wide.words.insert(name.into(), "word ".repeat(10));
        }
        let lines = table(&metrics, &[wide]);
        assert!(
            lines.iter().all(|line| line.chars().count() <= COLUMNS),
            "{lines:#?}"
        );
        let heads = lines.iter().filter(|line| line.starts_with("  what"));
        assert_eq!(heads.count(), 3);
        let words = lines.iter().flat_map(|line| line.split_whitespace());
        assert_eq!(words.filter(|word| *word == "word").count(), 30);
    }

    #[test]
    fn a_skipped_row_says_why_below_and_a_shared_reason_is_said_once() {
        let mut rows = [row("one", &[]), row("two", &[])];
        rows[0].skipped = Some("one CPU only".into());
        rows[1].skipped = Some("one CPU only".into());
        let lines = table(&[metric("time", Unit::Nanoseconds)], &rows);
        assert!(
            lines[1].contains("one [1]") && lines[2].contains("two [1]"),
            "{lines:?}"
        );
        assert_eq!(lines[3], "  [1] skipped: one CPU only");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        assert_eq!(table(&[metric("time", Unit::Nanoseconds)], &[]).len(), 1);
    }
}
