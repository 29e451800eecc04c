//! Figures as SVG, to stand in a page.
//!
//! | file         | what it does                                                             |
//! |--------------|--------------------------------------------------------------------------|
//! | [`canvas`]   | the marks of plotters, in inks that the page's style sheet colours        |
//! | [`scale`]    | values to pixels, and the ticks of an axis                               |
//! | [`labels`]   | how long a text is, and where labels may stand without touching each other |
//! | [`frame`]    | the x axis, its grid, and the marks that stand on it                     |
//! | [`ladder`]   | bars, one above the other                                                |
//! | [`lines`]    | lines with dots                                                          |
//! | [`lanes`]    | who ran when                                                             |
//! | [`trace`]    | who ran, could have run and waited when, and who woke whom               |
//!
//! Each is drawn twice, [`Format::Wide`] for a screen or paper and [`Format::Narrow`] for a phone, because letters that
//! shrink with a figure cannot be read. The page shows one of the two.
#![forbid(unsafe_code)]

mod canvas;
mod frame;
mod labels;
mod ladder;
mod lanes;
mod lines;
mod scale;
mod trace;

use crate::figure::{Figure, Kind, Timeline, Trace};

/// For what a figure is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 880 pixels.
    Wide,
    /// 340 pixels: a phone's 390 less what is around a figure.
    Narrow,
}

impl Format {
    /// Both.
    pub const ALL: [Format; 2] = [Format::Wide, Format::Narrow];

    /// How wide the drawing is, in pixels.
    pub fn width(self) -> f64 {
        match self {
            Format::Wide => 880.0,
            Format::Narrow => 340.0,
        }
    }
}

/// The figure as an `<svg>` element; `None` if there is nothing that could be drawn.
pub fn figure(figure: &Figure, format: Format) -> Option<String> {
    match figure.kind {
        Kind::Ladder => ladder::draw(figure, format),
        Kind::Lines => lines::draw(figure, format),
    }
}

/// The timeline as an `<svg>` element; `None` if nobody ran.
pub fn timeline(timeline: &Timeline, format: Format) -> Option<String> {
    lanes::draw(timeline, format)
}

/// The trace as an `<svg>` element; `None` if nobody ran.
pub fn trace(trace: &Trace, format: Format) -> Option<String> {
    trace::draw(trace, format)
}
