//! Lines: one for each series, with a dot and its spread for each row, a legend below.
//!
//! ```text
//!   time                          title of the y axis
//!                   L2            label of a mark on the x axis
//!   1 ms ┤        .-o
//!        │    o--'  ┆
//!   1 us ┤ o-'      ┆
//!        └─┬────┬───┬──
//!          1   100  10,000
//!              units alive        title of the x axis
//!   --o-- thread   ··s·· process
//! ```
#![forbid(unsafe_code)]

use super::Format;
use super::canvas::{Align, Canvas, DASHES, Ink, Spot, svg};
use super::frame::{Frame, LINE, height, in_rows, mark_labels};
use super::labels::{fitted, width};
use super::scale::{Scale, Tick};
use crate::figure::{Figure, Mark, Point, Series, Side};

/// How a series is told from the others.
struct Style {
    ink: Ink,
    /// The shape of its dots: a number for each series of one body, as the dashes of its line.
    shape: usize,
    name: String,
}

/// The figure as an `<svg>` element.
pub fn draw(figure: &Figure, format: Format) -> Option<String> {
    let points = || figure.series.iter().flat_map(|series| &series.points);
    let on = |side| figure.marks.iter().filter(move |mark| mark.axis == side);
    let of = |side| on(side).map(|mark| mark.at);
    let plot = match format {
        Format::Wide => 320.0,
        Format::Narrow => 260.0,
    };
    points().next()?;

    // The height of the plot is known, where it begins is not: the labels of the marks come above it.
    let all = format.width();
    let ys = points().flat_map(|point| [point.y, point.p5, point.p95]);
    let upright = Scale::new(&figure.y, ys.chain(of(Side::Y)), (plot, 0.0))?;
    let ticks = upright.ticks(8);
    let tick_widths = ticks.iter().map(|tick| width(&tick.label));
    let (left, right) = (tick_widths.fold(0.0, f64::max) + 10.0, all - 10.0);
    let xs = points().map(|point| point.x).chain(of(Side::X));
    let across = Scale::new(&figure.x, xs, (left, right))?;
    let labels = mark_labels(on(Side::X), &across, (left, all));
    let top = LINE + height(&labels) + 6.0;
    let frame = Frame {
        width: all,
        left,
        right,
        top,
        bottom: top + plot,
    };
    let styles = styles(&figure.series);
    let legend_top = frame.bottom + 2.0 * LINE + 12.0;
    let rooms = styles.iter().map(|style| SAMPLE + width(&style.name));
    let places = in_rows(rooms, all);
    let rows = places.last().map_or(0.0, |&(_, y)| y / LINE + 1.0);
    let size = (all, legend_top + rows * LINE + 4.0);
    Some(svg(size, &figure.title, |canvas| {
        canvas.text(
            &fitted(&figure.y.name, all),
            (0.0, LINE / 2.0),
            Align::Left,
            Ink::TEXT,
        );
        y_axis(canvas, &frame, &ticks);
        frame.x_axis(canvas, &across);
        let below = ((left + right) / 2.0, frame.bottom + 6.0 + 1.5 * LINE);
        let name = fitted(&figure.x.name, right - left);
        canvas.text(&name, below, Align::Middle, Ink::TEXT);
        frame.x_marks(canvas, &labels, LINE);
        let at = |point: &Point, y: f64| (across.at(point.x), frame.top + upright.at(y));
        for (series, style) in figure.series.iter().zip(&styles) {
            line(canvas, series, style, at);
        }
        y_marks(canvas, &frame, &upright, on(Side::Y).collect());
        for (style, (x, y)) in styles.iter().zip(&places) {
            entry(canvas, style, (*x, legend_top + y + LINE / 2.0), all);
        }
    }))
}

fn styles(series: &[Series]) -> Vec<Style> {
    let style = |(index, one): (usize, &Series)| {
        let before = series[..index]
            .iter()
            .filter(|other| other.body == one.body);
        let is_namesake = |other: &Series| other.name == one.name && other.body != one.body;
        let shape = before.count();
        Style {
            ink: Ink::of(one.body).dash(shape),
            shape,
            name: if series.iter().any(is_namesake) {
                format!("{} ({})", one.name, one.body.name())
            } else {
                one.name.clone()
            },
        }
    };
    series.iter().enumerate().map(style).collect()
}

fn y_axis(canvas: &Canvas<'_>, frame: &Frame, ticks: &[Tick]) {
    for tick in ticks {
        let y = frame.top + tick.at;
        canvas.line((frame.left - 4.0, y), (frame.right, y), Ink::FAINT, 1);
        canvas.text(&tick.label, (frame.left - 8.0, y), Align::Right, Ink::TEXT);
    }
}

fn line(canvas: &Canvas<'_>, series: &Series, style: &Style, at: impl Fn(&Point, f64) -> Spot) {
    let spots: Vec<Spot> = series
        .points
        .iter()
        .map(|point| at(point, point.y))
        .collect();
    if spots.len() > 1 {
        canvas.path(&spots, style.ink, 2);
    }
    for (point, &spot) in series.points.iter().zip(&spots) {
        let (low, high) = (at(point, point.p5), at(point, point.p95));
        if low.1 - high.1 >= 2.0 {
            canvas.line(low, high, style.ink.dash(0), 1);
        }
        dot(canvas, spot, style);
    }
}

/// Where no colour can be seen, the shape of the dots tells the lines of one body apart, as the dashes do.
fn dot(canvas: &Canvas<'_>, (x, y): Spot, style: &Style) {
    const R: f64 = 4.0;
    let corners: &[Spot] = match style.shape % DASHES {
        0 => return canvas.disc((x, y), R as u32, style.ink),
        1 => &[(-R, -R), (R, -R), (R, R), (-R, R)],
        2 => &[(0.0, -R - 1.0), (R + 1.0, R), (-R - 1.0, R)],
        3 => &[
            (0.0, -R - 1.0),
            (R + 1.0, 0.0),
            (0.0, R + 1.0),
            (-R - 1.0, 0.0),
        ],
        _ => &[(0.0, R + 1.0), (R + 1.0, -R), (-R - 1.0, -R)],
    };
    let corners: Vec<Spot> = corners.iter().map(|&(dx, dy)| (x + dx, y + dy)).collect();
    canvas.polygon(&corners, style.ink);
}

/// Lines across at the marks' values, their labels at the right end, one above the other.
fn y_marks(canvas: &Canvas<'_>, frame: &Frame, scale: &Scale, mut marks: Vec<&Mark>) {
    marks.sort_by(|one, other| one.at.total_cmp(&other.at));
    let mut above = f64::INFINITY;
    for mark in marks {
        let ink = mark.body.map_or(Ink::TEXT, Ink::of);
        let y = frame.top + scale.at(mark.at);
        canvas.line((frame.left, y), (frame.right, y), ink.dash(1), 1);
        let middle = (y - LINE / 2.0).min(above - LINE);
        let text = fitted(&mark.label, frame.right - frame.left - 8.0);
        canvas.text(&text, (frame.right - 4.0, middle), Align::Right, ink);
        above = middle;
    }
}

/// The width of a legend's line and dot.
const SAMPLE: f64 = 36.0;

fn entry(canvas: &Canvas<'_>, style: &Style, (x, middle): Spot, all: f64) {
    canvas.line((x + 2.0, middle), (x + 30.0, middle), style.ink, 2);
    dot(canvas, (x + 16.0, middle), style);
    let name = fitted(&style.name, all - x - SAMPLE);
    canvas.text(&name, (x + SAMPLE, middle), Align::Left, Ink::TEXT);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Axis, Kind};
    use crate::report::{Body, Unit};

    fn series(name: &str, body: Body) -> Series {
        let point = |x: f64| Point {
            x,
            y: x * 3.0,
            p5: x * 2.0,
            p95: x * 4.0,
        };
        Series {
            name: name.into(),
            body,
            points: [10.0, 100.0, 1_000.0].map(point).into(),
        }
    }

    fn figure(series: Vec<Series>) -> Figure {
        Figure {
            title: "t".into(),
            kind: Kind::Lines,
            x: Axis::log("units alive", Unit::Count),
            y: Axis::log("time", Unit::Nanoseconds),
            series,
            marks: vec![],
        }
    }

    #[test]
    fn lines_of_one_body_differ_in_dashes_and_dots_and_namesakes_in_their_names() {
        let all = [
            series("pipe", Body::Thread),
            series("futex", Body::Thread),
            series("pipe", Body::Process),
        ];
        let styles = styles(&all);
        let shapes: Vec<usize> = styles.iter().map(|style| style.shape).collect();
        let names: Vec<&str> = styles.iter().map(|style| style.name.as_str()).collect();
        assert_eq!(shapes, [0, 1, 0]);
        assert_eq!(names, ["pipe (thread)", "futex", "pipe (process)"]);
        assert_ne!(styles[0].ink, styles[1].ink);
    }

    #[test]
    fn axes_marks_and_legend_are_all_there() {
        let figure = figure(vec![series("a < b", Body::Coroutine)])
            .mark(Side::X, 5_000.0, "kernel.pid_max", Some(Body::Process))
            .mark(Side::Y, 90.0, "asked for", None);
        for format in Format::ALL {
            let svg = draw(&figure, format).unwrap();
            let texts = [
                ">units alive<",
                ">time<",
                ">kernel.pid_max<",
                ">asked for<",
                ">a &lt; b<",
                ">1,000<",
                ">1 us<",
            ];
            for text in texts {
                assert!(svg.contains(text), "{text} is missing: {svg}");
            }
            // A dot for each point and one in the legend.
            assert_eq!(svg.matches("<circle").count(), 4);
        }
    }

    #[test]
    fn without_points_there_is_nothing_to_draw() {
        let empty = figure(vec![]).mark(Side::X, 1.0, "limit", None);
        assert_eq!(draw(&empty, Format::Wide), None);
    }
}
