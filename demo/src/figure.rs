//! Figures as data: what a section wants drawn, not how. The report draws them, the JSON carries them.
//!
//! | kind       | drawn as                                                    | made by                    |
//! |------------|-------------------------------------------------------------|----------------------------|
//! | `ladder`   | a bar for each row, logarithmic, with its spread            | [`Figure::ladder`]         |
//! | `lines`    | a line for each series over units or bytes, both logarithmic | [`Figure::lines`]          |
//! | [`Timeline`] | a lane for each unit, a box for each time it ran            | a body, with [`crate::lab::Lab::timeline`] |
//! | [`Trace`]    | the same with what each did otherwise, and arrows between them | a body, with [`crate::lab::Lab::trace`] |
//!
//! A figure is derived from the rows, so that it cannot say anything else than the table.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::quantity::{grouped, round_with_unit};
use crate::report::{Body, Metric, Row, Unit};

/// A chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What it shows, in a few words.
    pub title: String,
    /// How it is drawn.
    pub kind: Kind,
    /// What the x axis counts; of a ladder, which has none, the value's axis.
    pub x: Axis,
    /// What the y axis counts; of a ladder the same as `x`.
    pub y: Axis,
    /// The data: of a ladder one series for each bar.
    pub series: Vec<Series>,
    /// Lines across the chart: limits, targets, sizes of caches.
    pub marks: Vec<Mark>,
}

/// How a figure is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Horizontal bars, one above the other.
    Ladder,
    /// Lines with a dot for each row.
    Lines,
}

/// What an axis counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Its title.
    pub name: String,
    /// The unit of its values.
    pub unit: Unit,
    /// Whether equal steps are equal factors.
    pub logarithmic: bool,
}

impl Axis {
    /// A logarithmic axis.
    pub fn log(name: impl Into<String>, unit: Unit) -> Axis {
        Axis {
            name: name.into(),
            unit,
            logarithmic: true,
        }
    }

    /// An axis that starts at 0.
    pub fn linear(name: impl Into<String>, unit: Unit) -> Axis {
        Axis {
            name: name.into(),
            unit,
            logarithmic: false,
        }
    }
}

/// One line, or one bar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// What the legend, or the bar's label, says.
    pub name: String,
    /// Whose it is: decides the colour.
    pub body: Body,
    /// Ascending in `x`; of a bar one.
    pub points: Vec<Point>,
}

/// One value with its spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Where it stands; of a bar 0.
    pub x: f64,
    /// The median.
    pub y: f64,
    /// The 5th percentile.
    pub p5: f64,
    /// The 95th percentile.
    pub p95: f64,
}

/// A line across the chart with a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The axis on which it stands: `"x"` or `"y"`; a ladder has only `"x"`, its value's.
    pub axis: Side,
    /// Where, in the axis's unit.
    pub at: f64,
    /// What is there: `"kernel.pid_max"`, `"L2"`, `"10 ms asked for"`.
    pub label: String,
    /// Whose limit it is, which decides the colour; `null` if everybody's.
    pub body: Option<Body>,
}

/// One of the two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The horizontal one.
    X,
    /// The vertical one.
    Y,
}

/// What the x axis of [`Figure::lines`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// [`Row::units`].
    Units,
    /// [`Row::size`], in bytes.
    Size,
}

impl Figure {
    /// A bar for each of `rows` that has `metric`, longer by the same length for each factor.
    pub fn ladder<'a>(
        title: &str,
        metric: &Metric,
        rows: impl IntoIterator<Item = &'a Row>,
    ) -> Figure {
        let axis = Axis::log(metric.name.replace('_', " "), metric.unit);
        let bar = |row: &Row| {
            Some(Series {
                name: full_label(row),
                body: row.body,
                points: vec![point(row, metric, 0.0)?],
            })
        };
        Figure {
            title: title.to_owned(),
            kind: Kind::Ladder,
            x: axis.clone(),
            y: axis,
            series: rows.into_iter().filter_map(bar).collect(),
            marks: Vec::new(),
        }
    }

    /// `metric` of `rows` over their units or sizes; rows of one label and body make one line.
    pub fn lines<'a>(
        title: &str,
        x: Axis,
        over: Over,
        metric: &Metric,
        rows: impl IntoIterator<Item = &'a Row>,
    ) -> Figure {
        let mut series: Vec<Series> = Vec::new();
        for row in rows {
            let at = match over {
                Over::Units => row.units,
                Over::Size => row.size,
            };
            let point = at.and_then(|at| point(row, metric, at as f64));
            let Some(point) = point else { continue };
            let known = series
                .iter_mut()
                .find(|series| series.name == row.label && series.body == row.body);
            match known {
                Some(series) => series.points.push(point),
                None => series.push(Series {
                    name: row.label.clone(),
                    body: row.body,
                    points: vec![point],
                }),
            }
        }
        for line in &mut series {
            line.points.sort_by(|one, other| one.x.total_cmp(&other.x));
        }
        Figure {
            title: title.to_owned(),
            kind: Kind::Lines,
            x,
            y: Axis::log(metric.name.replace('_', " "), metric.unit),
            series,
            marks: Vec::new(),
        }
    }

    /// The same figure with a line across it at `at` of the axis `side`.
    pub fn mark(mut self, side: Side, at: f64, label: &str, body: Option<Body>) -> Figure {
        self.marks.push(Mark {
            axis: side,
            at,
            label: label.to_owned(),
            body,
        });
        self
    }

    /// The same figure with a y axis (of a ladder: value axis) that starts at 0.
    pub fn linear(mut self) -> Figure {
        self.y.logarithmic = false;
        if self.kind == Kind::Ladder {
            self.x.logarithmic = false;
        }
        self
    }
}

/// A row's label with its size and its number of units.
pub fn full_label(row: &Row) -> String {
    let mut label = row.label.clone();
    if let Some(size) = row.size {
        label.push_str(", ");
        label.push_str(&round_with_unit(Unit::Bytes, size as f64));
    }
    if let Some(units) = row.units {
        label.push(' ');
        label.push_str(&grouped(units));
    }
    label
}

fn point(row: &Row, metric: &Metric, x: f64) -> Option<Point> {
    let value = row.values.get(&metric.name)?;
    Some(Point {
        x,
        y: value.median,
        p5: value.p5,
        p95: value.p95,
    })
}

/// Who ran when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeline {
    /// What was run, in a few words: `"three threads, one CPU, run 2"`.
    pub title: String,
    /// By which approach.
    pub body: Body,
    /// The units, one below the other.
    pub lanes: Vec<Lane>,
}

impl Timeline {
    /// When the last span ends, in nanoseconds since it began; 0 of nothing.
    pub fn end(&self) -> u64 {
        let spans = self.lanes.iter().flat_map(|lane| &lane.spans);
        spans.map(|&(_, to)| to).max().unwrap_or(0)
    }
}

/// One unit of a timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// What it is called: `"A"`.
    pub name: String,
    /// When it ran, ascending: from and to, in nanoseconds since the timeline began. A point in time (a tick)
    /// is a span without length.
    pub spans: Vec<(u64, u64)>,
}

/// What threads and coroutines did, and who started whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// What was run, in a few words.
    pub title: String,
    /// Threads and coroutines, one below the other.
    pub lanes: Vec<Course>,
    /// Who made whom runnable.
    pub wake_ups: Vec<Arrow>,
    /// The same as lines of text, at most 100 columns wide.
    pub text: String,
}

/// What one of them did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// What it is called: `"worker-0"`, `"producer"`.
    pub name: String,
    /// What it is.
    pub body: Body,
    /// Ascending; where there is none, it did nothing or was not there.
    pub spans: Vec<Span>,
}

/// What it did from when to when, in nanoseconds since the trace began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Its beginning.
    pub from: u64,
    /// Its end.
    pub to: u64,
    /// What it did.
    pub state: State,
}

/// What a coroutine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for something.
    Waits,
    /// It could run, but another does.
    Ready,
    /// It runs.
    Runs,
}

/// One of the lanes made another runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrow {
    /// When, in nanoseconds since the trace began.
    pub at: u64,
    /// Which did it: an index into the lanes.
    pub from: usize,
    /// Which could run from then on.
    pub to: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Summary;

    fn metric() -> Metric {
        Metric {
            name: "hand_over".into(),
            unit: Unit::Nanoseconds,
            meaning: String::new(),
        }
    }

    fn row(label: &str, size: u64, median: Option<f64>) -> Row {
        let mut row = Row {
            size: Some(size),
            ..Row::new(label, Body::Thread)
        };
        let summary = median.and_then(|median| Summary::of(&[median]));
        row.values
            .extend(summary.map(|summary| ("hand_over".to_owned(), summary)));
        row
    }

    #[test]
    fn a_ladder_has_a_bar_for_each_row_that_was_measured() {
        let rows = [row("pipe", 4096, Some(2.0)), row("futex", 1, None)];
        let figure = Figure::ladder("t", &metric(), &rows);
        assert_eq!(figure.series.len(), 1);
        assert_eq!(figure.series[0].name, "pipe, 4 KiB");
        assert_eq!(figure.series[0].points[0].y, 2.0);
    }

    #[test]
    fn rows_of_one_label_make_a_line_in_ascending_order() {
        let rows = [
            row("pipe", 4096, Some(2.0)),
            row("futex", 1, Some(1.0)),
            row("pipe", 1, Some(3.0)),
        ];
        let axis = Axis::log("bytes", Unit::Bytes);
        let figure = Figure::lines("t", axis, Over::Size, &metric(), &rows);
        let xs = |line: usize| figure.series[line].points.iter().map(|point| point.x);
        assert_eq!(figure.series.len(), 2);
        assert_eq!(xs(0).collect::<Vec<_>>(), [1.0, 4096.0]);
    }
}
