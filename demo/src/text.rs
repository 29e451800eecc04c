//! Laying out text for a terminal of 100 columns: wrapping, tables, bars, colour.
#![forbid(unsafe_code)]

use std::env;

use crate::figure::full_label;
use crate::quantity::{Scale, grouped};
use crate::report::{Metric, Row, Unit};

/// The widest line that the demo prints.
pub const COLUMNS: usize = 100;

/// Whether and how to colour; without colour every method returns its text unchanged.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    on: bool,
}

impl Palette {
    /// Colours if the output is a terminal that can show them and `NO_COLOR` is unset or empty.
    ///
    /// Source: <https://no-color.org>.
    pub fn for_output(is_terminal: bool) -> Palette {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Palette {
            on: is_terminal && !refused && !dumb,
        }
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Good news.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something to be careful about.
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Bad news.
    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Breaks `text` at spaces into lines of at most `width` characters; a longer word stays whole.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A section's table: a header, a line for each row, then the notes that rows refer to.
///
/// ```text
///   what                                   time  p5..p95       n
///   thread, pipe, one CPU               2.35 us  2.30..2.70   31  ###########
///   thread, pipe, two CPUs [1]                -
///   [1] skipped: one CPU only
/// ```
///
/// One that is too wide for the terminal is set closer, then without its spreads.
pub fn table(metrics: &[Metric], rows: &[Row]) -> Vec<String> {
    let mut notes = Vec::new();
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
    let (gap, cells, cell_widths, used) = [(2, true), (1, true), (2, false)]
        .map(lay_out)
        .into_iter()
        .find(|&(.., used)| used <= COLUMNS)
        .unwrap_or_else(|| lay_out((1, false)));
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
    for (index, note) in notes.iter().enumerate() {
        let mark = format!("[{}] ", index + 1);
        lines.extend(hanging(&format!("  {mark}"), note));
    }
    lines
}

/// `head` and then `text` wrapped, its further lines indented to below its first.
pub fn hanging(head: &str, text: &str) -> Vec<String> {
    let indent = head.chars().count();
    let wrapped = wrap(text, COLUMNS - indent);
    let head_of = |line: usize| {
        if line == 0 {
            head.to_owned()
        } else {
            " ".repeat(indent)
        }
    };
    let join = |(index, line): (usize, &String)| format!("{}{line}", head_of(index));
    wrapped.iter().enumerate().map(join).collect()
}

/// The row's label with its units and the mark of its note, which is added to `notes` if it is new.
fn label(row: &Row, notes: &mut Vec<String>) -> String {
    let mut label = match (row.units, row.size) {
        (Some(units), None) => format!("{:<9} {:>9}", row.label, grouped(units)),
        _ => full_label(row),
    };
    let skipped = row.skipped.as_ref().map(|why| format!("skipped: {why}"));
    for note in skipped.into_iter().chain(row.note.clone()) {
        let known = notes.iter().position(|other| *other == note);
        let number = known.unwrap_or_else(|| {
            notes.push(note);
            notes.len() - 1
        });
        label.push_str(&format!(" [{}]", number + 1));
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

fn width(texts: &[String]) -> usize {
    texts
        .iter()
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0)
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
    fn text_is_broken_at_spaces_and_nowhere_else() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("a  b\n c", 80), ["a b c"]);
        assert_eq!(wrap("tooolong a", 4), ["tooolong", "a"]);
        assert_eq!(wrap("", 4), [""]);
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

    #[test]
    fn without_a_terminal_nothing_is_coloured() {
        assert_eq!(Palette::for_output(false).red("x"), "x");
        assert_eq!(Palette { on: true }.red("x"), "\x1b[31mx\x1b[0m");
    }
}
