//! A timeline: a lane for each unit, a box for each time it ran, a line for each tick.
#![forbid(unsafe_code)]

use super::Format;
use super::canvas::{Align, Canvas, Ink, svg};
use super::frame::{Frame, LINE};
use super::labels::{fitted, width};
use super::scale::Scale;
use crate::figure::{Axis, Timeline};
use crate::report::Unit;

/// How high a lane is, and the box in it.
pub(super) const LANE: f64 = 24.0;
pub(super) const BOX: f64 = 16.0;

/// The frame around lanes of these names, which stand to the left of it.
pub(super) fn frame_of<'a>(names: impl ExactSizeIterator<Item = &'a str>, format: Format) -> Frame {
    let all = format.width();
    let bottom = 2.0 + LANE * names.len() as f64;
    let widest = names.map(width).fold(0.0, f64::max);
    Frame {
        width: all,
        left: widest.min(all * 0.3) + 10.0,
        right: all - 6.0,
        top: 2.0,
        bottom,
    }
}

/// The timeline as an `<svg>` element.
pub fn draw(timeline: &Timeline, format: Format) -> Option<String> {
    let has_run = timeline.lanes.iter().any(|lane| !lane.spans.is_empty());
    if !has_run {
        return None;
    }
    let frame = frame_of(timeline.lanes.iter().map(|lane| lane.name.as_str()), format);
    let (all, left) = (frame.width, frame.left);
    let axis = Axis::linear("time", Unit::Nanoseconds);
    let end = timeline.end().max(1) as f64;
    let scale = Scale::new(&axis, [0.0, end], (frame.left, frame.right))?;
    let size = (all, frame.bottom + LINE + 8.0);
    Some(svg(size, &timeline.title, |canvas| {
        frame.x_axis(canvas, &scale);
        for (index, lane) in timeline.lanes.iter().enumerate() {
            let middle = frame.top + LANE * (index as f64 + 0.5);
            let name = fitted(&lane.name, left - 10.0);
            canvas.text(&name, (left - 8.0, middle), Align::Right, Ink::TEXT);
            canvas.line((left, middle), (frame.right, middle), Ink::FAINT, 1);
            boxes(
                canvas,
                &lane.spans,
                &scale,
                Ink::of(timeline.body),
                (middle, BOX),
            );
        }
    }))
}

/// The boxes of one lane, around its `middle`. Those that touch on the screen become one: a thousand would be a large file
/// and the same picture.
pub(super) fn boxes(
    canvas: &Canvas<'_>,
    spans: &[(u64, u64)],
    scale: &Scale,
    ink: Ink,
    (middle, height): (f64, f64),
) {
    let pixels = |&(from, to): &(u64, u64)| {
        let (from, to) = (scale.at(from as f64).round(), scale.at(to as f64).round());
        (from, to.max(from + 1.0))
    };
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for (from, to) in spans.iter().map(pixels) {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    for (from, to) in merged {
        canvas.bar(
            (from, middle - height / 2.0),
            (to, middle + height / 2.0),
            ink,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Lane;
    use crate::report::Body;

    fn timeline(spans: Vec<(u64, u64)>) -> Timeline {
        Timeline {
            title: "t".into(),
            body: Body::Thread,
            lanes: vec![Lane {
                name: "A".into(),
                spans,
            }],
        }
    }

    #[test]
    fn spans_that_touch_on_the_screen_are_one_box_and_a_tick_can_be_seen() {
        let many: Vec<(u64, u64)> = (0..1_000).map(|i| (i, i + 1)).collect();
        let boxes = |spans| {
            let svg = draw(&timeline(spans), Format::Wide).unwrap();
            svg.matches("<rect").count()
        };
        assert_eq!(boxes(many), 1);
        assert_eq!(boxes(vec![(0, 100), (900, 900), (1_000, 1_000)]), 3);
    }

    #[test]
    fn a_timeline_in_which_nobody_ran_is_not_drawn() {
        assert_eq!(draw(&timeline(vec![]), Format::Narrow), None);
    }
}
