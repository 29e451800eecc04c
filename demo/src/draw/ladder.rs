//! A ladder: a bar for each row, with its spread as a line across its end.
//!
//! ```text
//!   wide                                            narrow
//!   thread, pipe   |██████████─ 2.35 us              thread, pipe
//!   process, pipe  |███████████─ 2.37 us             |██████─ 2.35 us
//!                  |1 ns       1 us                  process, pipe
//!                                                    |███████─ 2.37 us
//! ```
#![forbid(unsafe_code)]

use super::Format;
use super::canvas::{Align, Canvas, Ink, svg};
use super::frame::{Frame, LINE, height, mark_labels};
use super::labels::{fitted, width};
use super::scale::Scale;
use crate::figure::{Figure, Point, Series};
use crate::quantity::with_unit;

/// How thick a bar is.
const BAR: f64 = 14.0;

/// The figure as an `<svg>` element.
pub fn draw(figure: &Figure, format: Format) -> Option<String> {
    let first = |series: &'_ Series| series.points.first().copied();
    let bars: Vec<(&Series, Point)> = figure
        .series
        .iter()
        .filter_map(|series| Some((series, first(series)?)))
        .collect();
    let names = bars.iter().map(|(series, _)| width(&series.name));
    let values = bars
        .iter()
        .map(|(_, point)| width(&with_unit(figure.y.unit, point.y)));
    let values_width = values.fold(0.0, f64::max);

    let all = format.width();
    let (room, left, row) = match format {
        Format::Wide => {
            let room = names.fold(0.0, f64::max).min(all * 0.42);
            (room, room + 8.0, LINE + 6.0)
        }
        Format::Narrow => (all, 2.0, 2.0 * LINE + 6.0),
    };
    let right = all - values_width - 10.0;
    let marks = figure.marks.iter().map(|mark| mark.at);
    let ends = bars
        .iter()
        .flat_map(|(_, point)| [point.y, point.p5, point.p95]);
    let scale = Scale::new(&figure.y, ends.chain(marks), (left, right))?;
    let labels = mark_labels(&figure.marks, &scale, (left, all));
    let top = height(&labels) + 4.0;
    let frame = Frame {
        width: all,
        left,
        right,
        top,
        bottom: top + row * bars.len() as f64,
    };
    let size = (all, frame.bottom + LINE + 6.0);
    Some(svg(size, &figure.title, |canvas| {
        frame.x_axis(canvas, &scale);
        frame.x_marks(canvas, &labels, 0.0);
        for (index, (series, point)) in bars.iter().enumerate() {
            let top = frame.top + row * index as f64;
            let middle = match format {
                Format::Wide => {
                    let middle = top + row / 2.0;
                    let name = fitted(&series.name, room);
                    canvas.text(&name, (left - 8.0, middle), Align::Right, Ink::TEXT);
                    middle
                }
                Format::Narrow => {
                    let name = fitted(&series.name, room);
                    canvas.text(&name, (left, top + LINE / 2.0), Align::Left, Ink::TEXT);
                    top + LINE + 2.0 + BAR / 2.0
                }
            };
            let after = bar(canvas, &scale, Ink::of(series.body), point, middle);
            let value = with_unit(figure.y.unit, point.y);
            canvas.text(&value, (after + 6.0, middle), Align::Left, Ink::TEXT);
        }
    }))
}

/// A bar with its spread; returns where both have ended.
fn bar(canvas: &Canvas<'_>, scale: &Scale, ink: Ink, point: &Point, middle: f64) -> f64 {
    let (origin, end) = (scale.origin(), scale.at(point.y));
    let half = BAR / 2.0;
    let upper_left = (origin.min(end), middle - half);
    canvas.bar(upper_left, (origin.max(end), middle + half), ink);
    let (low, high) = (scale.at(point.p5), scale.at(point.p95));
    if high - low >= 2.0 {
        canvas.line((low, middle), (high, middle), Ink::TEXT, 1);
        for x in [low, high] {
            canvas.line((x, middle - 3.0), (x, middle + 3.0), Ink::TEXT, 1);
        }
    }
    origin.max(end).max(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Axis, Kind};
    use crate::report::{Body, Unit};

    fn figure(bars: &[(&str, f64)]) -> Figure {
        let axis = Axis::log("time", Unit::Nanoseconds);
        let bar = |&(name, median): &(&str, f64)| Series {
            name: name.into(),
            body: Body::Thread,
            points: vec![Point {
                x: 0.0,
                y: median,
                p5: median,
                p95: median * 3.0,
            }],
        };
        Figure {
            title: "t".into(),
            kind: Kind::Ladder,
            x: axis.clone(),
            y: axis,
            series: bars.iter().map(bar).collect(),
            marks: vec![],
        }
    }

    #[test]
    fn each_row_has_its_label_its_bar_and_its_value() {
        for format in Format::ALL {
            let svg = draw(&figure(&[("call", 2.0), ("pipe", 2_000.0)]), format).unwrap();
            assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
            for text in [">call<", ">pipe<", ">2.00 ns<", ">2.00 us<", ">100 ns<"] {
                assert!(svg.contains(text), "{text} is missing: {svg}");
            }
        }
    }

    #[test]
    fn without_bars_there_is_nothing_to_draw() {
        assert_eq!(draw(&figure(&[]), Format::Wide), None);
    }
}
