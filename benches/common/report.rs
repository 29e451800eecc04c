//! The report at the end of a target: a table per contest, then the figures beside their targets.
//!
//! ```text
//! yield/100, ns per yield (15 interleaved rounds: median [quartiles])
//!   ours                 6.31  [6.24 .. 6.40]
//!   raw pair             3.20  [3.19 .. 3.22]
//!
//! figure                                      measured                target     verdict
//! yield/100: ours / raw pair, ns per yield    1.97 [1.95 .. 2.01]     <= 2       met
//! ```
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::machine;
use super::series::Series;

/// What a figure has to reach.
#[derive(Clone, Copy)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// Shown for orientation; nothing is promised.
    Open,
}

impl Target {
    fn text(self) -> String {
        match self {
            Target::AtMost(limit) => format!("<= {limit}"),
            Target::AtLeast(limit) => format!(">= {limit}"),
            Target::Open => "-".to_owned(),
        }
    }

    fn verdict(self, measured: f64) -> &'static str {
        let met = match self {
            Target::AtMost(limit) => measured <= limit,
            Target::AtLeast(limit) => measured >= limit,
            Target::Open => return "-",
        };
        if met { "met" } else { "MISSED" }
    }
}

/// One contest's samples in one unit.
pub struct Table {
    pub title: String,
    pub unit: String,
    pub series: Vec<Series>,
}

impl Table {
    /// The named contender's samples.
    pub fn series(&self, name: &str) -> &Series {
        self.series
            .iter()
            .find(|series| series.name == name)
            .unwrap_or_else(|| panic!("no contender {name}"))
    }

    /// `name` over `other`, round by round.
    pub fn ratio(&self, name: &str, other: &str) -> Series {
        self.series(name).over(self.series(other))
    }
}

/// Collects tables and figures while a target runs.
#[derive(Default)]
pub struct Report {
    tables: String,
    figures: String,
}

impl Report {
    pub fn table(&mut self, table: &Table) {
        let rounds = table
            .series
            .iter()
            .map(|series| series.values.len())
            .max()
            .unwrap_or(0);
        let _ = writeln!(
            self.tables,
            "\n{}, {} ({rounds} interleaved rounds: median [quartiles])",
            table.title, table.unit
        );
        for series in &table.series {
            let _ = writeln!(self.tables, "  {:<20} {}", series.name, spread(series));
        }
    }

    /// Several figures of one contest.
    pub fn tables<'a>(&mut self, tables: impl IntoIterator<Item = &'a Table>) {
        tables.into_iter().for_each(|table| self.table(table));
    }

    /// A line below the last table: what could not be run, and why.
    pub fn note(&mut self, text: &str) {
        let _ = writeln!(self.tables, "  note: {text}");
    }

    /// The share `name / other` of a table, beside its target.
    pub fn ratio(&mut self, table: &Table, name: &str, other: &str, target: Target) {
        let what = format!("{}: {name} / {other}, {}", table.title, table.unit);
        self.figure(&what, &table.ratio(name, other), target);
    }

    /// A contender's own number, beside its target.
    pub fn absolute(&mut self, table: &Table, name: &str, target: Target) {
        self.figure(
            &format!("{}: {name}, {}", table.title, table.unit),
            table.series(name),
            target,
        );
    }

    /// A contender's worst round, where one is too many.
    pub fn worst(&mut self, table: &Table, name: &str, target: Target) {
        let series = table.series(name);
        let worst = Series {
            values: vec![series.quantile(1.0)],
            ..series.clone()
        };
        self.figure(
            &format!("{}: {name}, {} (worst round)", table.title, table.unit),
            &worst,
            target,
        );
    }

    /// Any series of figures, beside its target.
    pub fn figure(&mut self, what: &str, measured: &Series, target: Target) {
        let verdict = target.verdict(measured.median());
        let _ = writeln!(
            self.figures,
            "{what:<66} {:<30} {:<10} {verdict}",
            spread(measured),
            target.text()
        );
    }

    pub fn print(&self) {
        if self.tables.is_empty() {
            return;
        }
        println!("\n{}", machine::describe());
        print!("{}", self.tables);
        println!(
            "\n{:<66} {:<30} {:<10} verdict",
            "figure", "measured", "target"
        );
        print!("{}", self.figures);
    }
}

/// The median with the quartiles around it.
fn spread(series: &Series) -> String {
    let [low, middle, high] = [0.25, 0.5, 0.75].map(|q| digits(series.quantile(q)));
    format!("{middle} [{low} .. {high}]")
}

/// Three significant digits for small numbers, whole ones for large.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
