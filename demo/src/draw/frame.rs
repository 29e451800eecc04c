//! What figures have around them: the x axis with its grid, the marks that stand on it, the places of a legend.
//!
//! ```text
//!       L2     vm.max_map_count      labels of marks, in as many rows as they need
//!   ┌────┆───────────┆────────┐ top
//!   │    ┆           ┆        │
//!   └──┬─┆───┬───────┆──┬─────┘ bottom
//!    1 KiB  32 KiB    1 MiB          ticks
//! ```
#![forbid(unsafe_code)]

use super::canvas::{Align, Canvas, Ink, Spot};
use super::labels::{Spot as LabelSpot, fitted, inside, place, width};
use super::scale::Scale;
use crate::figure::Mark;

/// How high a line of letters is, in pixels.
pub const LINE: f64 = 18.0;

/// The edges of what is drawn inside, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Of the whole drawing.
    pub width: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Frame {
    /// The vertical lines of the grid, and the labels below them: [`LINE`] and a little.
    pub fn x_axis(&self, canvas: &Canvas<'_>, scale: &Scale) {
        const TICK_ROOM: f64 = 76.0;
        let count_max = ((self.right - self.left) / TICK_ROOM).max(2.0) as usize;
        let middle = self.bottom + 4.0 + LINE / 2.0;
        for tick in scale.ticks(count_max) {
            canvas.line(
                (tick.at, self.top),
                (tick.at, self.bottom + 4.0),
                Ink::FAINT,
                1,
            );
            let room = width(&tick.label);
            let at = inside(tick.at, room, 0.0, self.width) + room / 2.0;
            canvas.text(&tick.label, (at, middle), Align::Middle, Ink::TEXT);
        }
    }

    /// Lines from each label down to the bottom, behind all that follows; then the labels, the first row at `top`.
    pub fn x_marks(&self, canvas: &Canvas<'_>, labels: &[MarkLabel<'_>], top: f64) {
        for label in labels {
            let above = top + (label.row + 1) as f64 * LINE - 3.0;
            canvas.line(
                (label.at, above),
                (label.at, self.bottom),
                label.ink().dash(1),
                1,
            );
        }
        for label in labels {
            let middle = top + label.row as f64 * LINE + LINE / 2.0;
            canvas.text(&label.text, (label.left, middle), Align::Left, label.ink());
        }
    }
}

/// Where the label of a mark on the x axis stands.
#[derive(Debug)]
pub struct MarkLabel<'a> {
    mark: &'a Mark,
    /// The mark's own place.
    at: f64,
    text: String,
    left: f64,
    /// The row above the frame, 0 on top.
    row: usize,
}

impl MarkLabel<'_> {
    fn ink(&self) -> Ink {
        self.mark.body.map_or(Ink::TEXT, Ink::of)
    }
}

/// Places the labels of `marks` between the pixels `low` and `high`, none touching another.
pub fn mark_labels<'a>(
    marks: impl IntoIterator<Item = &'a Mark>,
    scale: &Scale,
    (low, high): Spot,
) -> Vec<MarkLabel<'a>> {
    let texts = |mark: &'a Mark| (mark, fitted(&mark.label, high - low));
    let texts: Vec<(&'a Mark, String)> = marks.into_iter().map(texts).collect();
    let lines = texts
        .iter()
        .map(|(mark, text)| (scale.at(mark.at), width(text)));
    let spots = place(&lines.collect::<Vec<_>>(), (low, high));
    let label = |((mark, text), spot): ((&'a Mark, String), LabelSpot)| MarkLabel {
        mark,
        at: scale.at(mark.at),
        text,
        left: spot.left,
        row: spot.row,
    };
    texts.into_iter().zip(spots).map(label).collect()
}

/// Where each entry of a legend begins, given how wide it is, from the legend's own corner: beside each other while the
/// width of `all` does.
pub fn in_rows(widths: impl IntoIterator<Item = f64>, all: f64) -> Vec<Spot> {
    /// What is left free behind an entry.
    const GAP: f64 = 18.0;
    let (mut x, mut y) = (0.0, 0.0);
    let place = |width: f64| {
        if x > 0.0 && x + width > all {
            (x, y) = (0.0, y + LINE);
        }
        let place = (x, y);
        x += width + GAP;
        place
    };
    widths.into_iter().map(place).collect()
}

/// How high all the rows of `labels` are.
pub fn height(labels: &[MarkLabel<'_>]) -> f64 {
    let rows = labels.iter().map(|label| label.row + 1).max().unwrap_or(0);
    rows as f64 * LINE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Axis, Side};
    use crate::report::Unit;

    #[test]
    fn a_legend_that_is_too_long_goes_on_below() {
        let places = in_rows([100.0; 6], 340.0);
        assert!(places.iter().all(|&(x, _)| x + 100.0 <= 340.0));
        assert_eq!(places[2..4], [(236.0, 0.0), (0.0, LINE)]);
    }

    #[test]
    fn marks_that_are_close_have_labels_in_different_rows() {
        let mark = |at| Mark {
            axis: Side::X,
            at,
            label: "the limit of something".into(),
            body: None,
        };
        let marks = [1e5, 1.1e5, 1.2e5].map(mark);
        let axis = Axis::log("units", Unit::Count);
        let scale = Scale::new(&axis, [1.0, 1e6], (0.0, 300.0)).unwrap();
        let labels = mark_labels(&marks, &scale, (0.0, 340.0));
        let mut rows: Vec<usize> = labels.iter().map(|label| label.row).collect();
        rows.sort_unstable();
        assert_eq!(rows, [0, 1, 2]);
        assert_eq!(height(&labels), 3.0 * LINE);
        assert_eq!(height(&[]), 0.0);
    }
}
