//! How much room a text takes, and how labels share it.
//!
//! Nobody here knows the reader's font. The widths are those of DejaVu Sans, one of the widest that a browser takes for
//! `sans-serif`: a label that has room by them has room.
#![forbid(unsafe_code)]

use std::cmp::Ordering;

use super::canvas::LETTERS;

/// The width of `text` in pixels.
pub fn width(text: &str) -> f64 {
    let of = |c: char| match c {
        'i' | 'j' | 'l' | '\'' | '|' => 0.30,
        'f' | 't' | 'r' | ' ' | '.' | ',' | ':' | ';' | '(' | ')' | '[' | ']' | '/' | '-' | '!' => {
            0.41
        }
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 1.0,
        'A'..='Z' | '=' | '+' | '<' | '>' | '#' => 0.80,
        c if c.is_ascii() => 0.64,
        _ => 1.0,
    };
    text.chars().map(of).sum::<f64>() * LETTERS
}

/// `text`, or as much of it as fits into `room` pixels, with an ellipsis.
pub fn fitted(text: &str, room: f64) -> String {
    // What was computed from this same width, there and back, may be a hair less.
    if width(text) <= room + 0.01 {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if width(&kept) + width(&format!("{c}…")) > room {
            break;
        }
        kept.push(c);
    }
    format!("{}…", kept.trim_end())
}

/// Where the label of something below it stands: its left end, and its row, 0 on top.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spot {
    pub left: f64,
    pub row: usize,
}

/// What must stay free between two labels, in pixels.
const BETWEEN: f64 = 8.0;

/// Places labels, given by where the line below each stands and how wide they are, between `low` and `high`, in as few
/// rows as will do: none touches another, nor is crossed by the line that hangs from a label above it.
///
/// ```text
///      max_map_count          a label stands over its line, or begins or ends at it
///            ┆pid_max  L3     the line of the one above passes beside those below
///            ┆┆        ┆
/// ```
///
/// Where two lines stand at one place, or there is no room for labels to begin at theirs, some may be crossed.
pub fn place(labels: &[(f64, f64)], bounds: (f64, f64)) -> Vec<Spot> {
    let middle = |(at, width): (f64, f64)| at - width / 2.0;
    let begin = |(at, _): (f64, f64)| at;
    let end = |(at, width): (f64, f64)| at - width;
    let (spots, is_free) = placed(labels, bounds, &[&middle, &begin, &end]);
    if is_free {
        return spots;
    }
    // Each that begins at its line, above all those to its right, is in nobody's way.
    placed(labels, bounds, &[&begin]).0
}

/// The left end of a label, given as for [`place`].
type Align<'a> = &'a dyn Fn((f64, f64)) -> f64;

/// Tries `aligns` for each label; also whether all of them stand free.
fn placed(
    labels: &[(f64, f64)],
    (low, high): (f64, f64),
    aligns: &[Align<'_>],
) -> (Vec<Spot>, bool) {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|&one, &other| labels[other].0.total_cmp(&labels[one].0));
    // Rows count downwards, and may begin below 0 until all have one.
    let mut placed: Vec<(usize, f64, i32)> = Vec::new();
    let mut all_free = true;
    for index in order {
        let (at, width) = labels[index];
        let lowest = placed.iter().map(|&(.., row)| row).max().unwrap_or(0);
        let highest = placed.iter().map(|&(.., row)| row).min().unwrap_or(0);
        let is_free = |left: f64, row: i32| {
            placed.iter().all(|&(other, other_left, other_row)| {
                let (other_at, other_width) = labels[other];
                let touches = left < other_left + other_width + BETWEEN
                    && other_left < left + width + BETWEEN;
                match row.cmp(&other_row) {
                    Ordering::Equal => !touches,
                    Ordering::Less => !crosses(at, other_left, other_width),
                    Ordering::Greater => !crosses(other_at, left, width),
                }
            })
        };
        let left = |align: &Align<'_>| align((at, width)).min(high - width).max(low);
        let lefts: Vec<f64> = aligns.iter().map(left).collect();
        let rows = (highest..=lowest).rev().chain([lowest + 1, highest - 1]);
        let mut candidates = rows.flat_map(|row| lefts.iter().map(move |&left| (left, row)));
        let free = candidates.find(|&(left, row)| is_free(left, row));
        all_free &= free.is_some();
        let (left, row) = free.unwrap_or((lefts[0], highest - 1));
        placed.push((index, left, row));
    }
    let highest = placed.iter().map(|&(.., row)| row).min().unwrap_or(0);
    let mut spots = vec![Spot::default(); labels.len()];
    for (index, left, row) in placed {
        let row = usize::try_from(row - highest).expect("no row is above the highest");
        spots[index] = Spot { left, row };
    }
    (spots, all_free)
}

fn crosses(line: f64, left: f64, width: f64) -> bool {
    line > left && line < left + width
}

/// A label of this width that stands in the middle at `at`, moved so far that it lies between `low` and `high`:
/// its left end.
pub fn inside(at: f64, width: f64, low: f64, high: f64) -> f64 {
    (at - width / 2.0).min(high - width).max(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels that lie apart, none crossed by the line of another.
    fn assert_legible(labels: &[(f64, f64)], spots: &[Spot]) {
        for (index, (one, &(at, width))) in spots.iter().zip(labels).enumerate() {
            for (other, &(_, other_width)) in spots.iter().zip(labels).skip(index + 1) {
                let apart = one.left + width <= other.left || other.left + other_width <= one.left;
                assert!(one.row != other.row || apart, "{spots:?}");
            }
            for (other, &(_, other_width)) in spots.iter().zip(labels) {
                let is_beside = at <= other.left || at >= other.left + other_width;
                assert!(other.row <= one.row || is_beside, "{spots:?}");
            }
        }
    }

    #[test]
    fn labels_share_a_row_while_they_have_room() {
        let labels = [(50.0, 40.0), (150.0, 40.0), (250.0, 40.0)];
        let spots = place(&labels, (0.0, 300.0));
        assert!(spots.iter().all(|spot| spot.row == 0), "{spots:?}");
        assert_eq!(spots[1].left, 130.0);
        assert!(place(&[], (0.0, 300.0)).is_empty());
    }

    #[test]
    fn labels_that_are_close_stay_legible() {
        for step in [0.0, 1.0, 3.0, 10.0, 25.0] {
            let labels: Vec<_> = (0..6).map(|i| (60.0 + f64::from(i) * step, 80.0)).collect();
            let spots = place(&labels, (0.0, 600.0));
            // Two lines at one place are one line: it cannot but pass the labels of both.
            if step > 0.0 {
                assert_legible(&labels, &spots);
            }
            assert!(spots.iter().all(|spot| spot.row < 6), "{spots:?}");
        }
    }

    #[test]
    fn a_text_without_room_is_cut_and_one_with_room_is_not() {
        assert_eq!(fitted("thread", 100.0), "thread");
        let cut = fitted("thread, pipe, one CPU", 80.0);
        assert!(cut.ends_with('…') && width(&cut) <= 80.0, "{cut}");
    }

    #[test]
    fn a_label_at_the_edge_is_moved_inside() {
        assert_eq!(inside(50.0, 20.0, 0.0, 100.0), 40.0);
        assert_eq!(inside(99.0, 20.0, 0.0, 100.0), 80.0);
        assert_eq!(inside(1.0, 20.0, 0.0, 100.0), 0.0);
    }
}
