//! A trace: a lane for each thread and coroutine, what it did when, and arrows for who woke whom.
//!
//! ```text
//!   worker-0  ████  ███████     a thread that runs something
//!                   ┃
//!   main      ████──┃───────    runs, then waits
//!                   ▼
//!   consumer        ▄▄████      could run, then runs
//! ```
#![forbid(unsafe_code)]

use super::Format;
use super::canvas::{Align, Canvas, Ink, Spot, svg};
use super::frame::{LINE, in_rows};
use super::labels::{fitted, width};
use super::lanes::{BOX, LANE, boxes, frame_of};
use super::scale::Scale;
use crate::figure::{Arrow, Axis, Course, State, Trace};
use crate::report::{Body, Unit};

/// How high the boxes are of one that could run, and of one that waits.
const READY: f64 = 8.0;
const WAITS: f64 = 2.0;

/// Arrows between the same two lanes that are closer than this are drawn as one, in pixels.
const ARROWS_APART: f64 = 4.0;

/// The trace as an `<svg>` element.
pub fn draw(trace: &Trace, format: Format) -> Option<String> {
    let spans = trace.lanes.iter().flat_map(|lane| &lane.spans);
    let end = spans.map(|span| span.to).max()?;
    let frame = frame_of(trace.lanes.iter().map(|lane| lane.name.as_str()), format);
    let (all, left) = (frame.width, frame.left);
    let axis = Axis::linear("time", Unit::Nanoseconds);
    let scale = Scale::new(&axis, [0.0, end.max(1) as f64], (frame.left, frame.right))?;
    let entries = in_rows(KEYS.map(|key| SAMPLE + width(key.name())), all);
    let rows = entries.last().map_or(0.0, |&(_, y)| y / LINE + 1.0);
    let legend_top = frame.bottom + LINE + 12.0;
    let size = (all, legend_top + rows * LINE + 4.0);
    Some(svg(size, &in_words(trace), |canvas| {
        frame.x_axis(canvas, &scale);
        let middle = |lane: usize| frame.top + LANE * (lane as f64 + 0.5);
        for (index, lane) in trace.lanes.iter().enumerate() {
            let name = fitted(&lane.name, left - 10.0);
            let spot = (left - 8.0, middle(index));
            canvas.text(&name, spot, Align::Right, Ink::TEXT);
            course(canvas, lane, &scale, middle(index));
        }
        arrows(canvas, trace, &scale, middle);
        for (key, (x, y)) in KEYS.into_iter().zip(entries) {
            key.draw(canvas, (x, legend_top + y + LINE / 2.0));
        }
    }))
}

/// For those who cannot see it.
fn in_words(trace: &Trace) -> String {
    let names: Vec<&str> = trace.lanes.iter().map(|lane| lane.name.as_str()).collect();
    format!("{}: lanes of {}", trace.title, names.join(", "))
}

fn course(canvas: &Canvas<'_>, lane: &Course, scale: &Scale, middle: f64) {
    let of = |state| {
        let spans = lane.spans.iter().filter(move |span| span.state == state);
        spans
            .map(|span| (span.from, span.to))
            .collect::<Vec<(u64, u64)>>()
    };
    let waits = Ink::of(Body::Baseline);
    // What runs is on top: it may be shorter than a pixel, and is drawn as one.
    for (state, ink, height) in [
        (State::Waits, waits, WAITS),
        (State::Ready, Ink::READY, READY),
        (State::Runs, Ink::of(lane.body), BOX),
    ] {
        boxes(canvas, &of(state), scale, ink, (middle, height));
    }
}

fn arrows(canvas: &Canvas<'_>, trace: &Trace, scale: &Scale, middle: impl Fn(usize) -> f64) {
    let mut drawn: Vec<(f64, &Arrow)> = Vec::new();
    for arrow in &trace.wake_ups {
        let x = scale.at(arrow.at as f64);
        let is_same = |(other_x, other): &(f64, &Arrow)| {
            (other.from, other.to) == (arrow.from, arrow.to) && (x - other_x).abs() < ARROWS_APART
        };
        let is_known = arrow.from.max(arrow.to) < trace.lanes.len();
        if is_known && arrow.from != arrow.to && !drawn.iter().any(is_same) {
            drawn.push((x, arrow));
            pointer(canvas, (x, middle(arrow.from)), (x, middle(arrow.to)));
        }
    }
}

/// A vertical arrow, from a dot in the middle of one lane to the near edge of another's boxes.
fn pointer(canvas: &Canvas<'_>, from: Spot, (x, to): Spot) {
    const HEAD: f64 = 3.0;
    let down = if to > from.1 { 1.0 } else { -1.0 };
    let tip = to - down * READY / 2.0;
    let back = tip - down * 2.0 * HEAD;
    canvas.line(from, (x, back), Ink::TEXT, 1);
    canvas.disc(from, 2, Ink::TEXT);
    canvas.polygon(&[(x, tip), (x - HEAD, back), (x + HEAD, back)], Ink::TEXT);
}

/// An entry of the legend.
#[derive(Clone, Copy)]
enum Key {
    Thread,
    Coroutine,
    Ready,
    Waits,
    Wakes,
}

const KEYS: [Key; 5] = [
    Key::Thread,
    Key::Coroutine,
    Key::Ready,
    Key::Waits,
    Key::Wakes,
];

/// The width of what stands before the text of an entry.
const SAMPLE: f64 = 26.0;

impl Key {
    fn name(self) -> &'static str {
        match self {
            Key::Thread => "thread runs",
            Key::Coroutine => "coroutine runs",
            Key::Ready => "could run",
            Key::Waits => "waits",
            Key::Wakes => "spawns or wakes",
        }
    }

    fn draw(self, canvas: &Canvas<'_>, (x, middle): Spot) {
        let sample = |ink, height: f64| {
            let half = height / 2.0;
            canvas.bar((x, middle - half), (x + 20.0, middle + half), ink);
        };
        match self {
            Key::Thread => sample(Ink::of(Body::Thread), BOX - 4.0),
            Key::Coroutine => sample(Ink::of(Body::Coroutine), BOX - 4.0),
            Key::Ready => sample(Ink::READY, READY),
            Key::Waits => sample(Ink::of(Body::Baseline), WAITS),
            Key::Wakes => pointer(
                canvas,
                (x + 10.0, middle - 7.0),
                (x + 10.0, middle + 7.0 + READY / 2.0),
            ),
        }
        canvas.text(self.name(), (x + SAMPLE, middle), Align::Left, Ink::TEXT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Span;

    fn lane(name: &str, body: Body, spans: &[(u64, u64, State)]) -> Course {
        let span = |&(from, to, state)| Span { from, to, state };
        Course {
            name: name.into(),
            body,
            spans: spans.iter().map(span).collect(),
        }
    }

    fn trace(wake_ups: Vec<Arrow>) -> Trace {
        Trace {
            title: "two".into(),
            lanes: vec![
                lane("worker-0", Body::Thread, &[(0, 900, State::Runs)]),
                lane("main", Body::Coroutine, &[(0, 500, State::Runs)]),
                lane(
                    "child",
                    Body::Coroutine,
                    &[
                        (400, 500, State::Ready),
                        (500, 700, State::Runs),
                        (700, 900, State::Waits),
                    ],
                ),
            ],
            wake_ups,
            text: String::new(),
        }
    }

    fn arrow(at: u64, from: usize, to: usize) -> Arrow {
        Arrow { at, from, to }
    }

    #[test]
    fn each_lane_has_its_name_and_each_state_its_box() {
        for format in Format::ALL {
            let svg = draw(&trace(vec![]), format).unwrap();
            for name in [">worker-0<", ">main<", ">child<", ">could run<"] {
                assert!(svg.contains(name), "{name}: {svg}");
            }
            assert!(svg.contains("aria-label=\"two: lanes of worker-0, main, child\""));
            // One in the lanes, or two, and one in the legend.
            let boxes = |class: &str| {
                let class = format!("class=\"{class}\"");
                let rects = svg.split("<rect").skip(1);
                rects
                    .filter(|rect| rect.split_once('>').unwrap().0.contains(&class))
                    .count()
            };
            let counts = ["f-thread", "f-coroutine", "f-ready", "f-baseline"].map(boxes);
            assert_eq!(counts, [2, 3, 2, 2], "{svg}");
        }
    }

    #[test]
    fn arrows_go_from_lane_to_lane_and_those_at_one_place_are_one() {
        let heads = |wake_ups| {
            let svg = draw(&trace(wake_ups), Format::Wide).unwrap();
            svg.matches("<polygon").count() - 1 // that of the legend
        };
        assert_eq!(heads(vec![]), 0);
        assert_eq!(heads(vec![arrow(400, 1, 2), arrow(800, 1, 2)]), 2);
        assert_eq!(heads(vec![arrow(400, 1, 2), arrow(401, 1, 2)]), 1);
        assert_eq!(heads(vec![arrow(400, 1, 2), arrow(401, 0, 2)]), 2);
        assert_eq!(heads(vec![arrow(400, 1, 1), arrow(400, 1, 9)]), 0);
    }

    #[test]
    fn a_trace_in_which_nothing_happened_is_not_drawn() {
        let empty = Trace {
            lanes: vec![],
            ..trace(vec![])
        };
        assert_eq!(draw(&empty, Format::Narrow), None);
    }
}
