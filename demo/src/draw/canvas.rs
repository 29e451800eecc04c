//! A drawing in the making: plotters' marks on an SVG, in inks instead of colours.
//!
//! plotters writes fixed colours, and the page has two sets of them, for light and for dark. So an ink goes in as a
//! colour that stands for it, and comes out as a class:
//!
//! ```text
//!   Ink::of(Body::Thread).dash(1)  ──>  stroke="#0501AB"  ──>  class="s-thread d1"
//! ```
#![forbid(unsafe_code)]

use plotters::coord::Shift;
use plotters::element::{Circle, Drawable, PathElement, PointCollection, Polygon, Rectangle, Text};
use plotters::prelude::{Color, DrawingArea, FontFamily, IntoDrawingArea, RGBColor, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{ShapeStyle, TextStyle};

use crate::report::Body;

/// A place in pixels, from the upper left corner.
pub type Spot = (f64, f64);

/// What a mark is drawn with. The style sheet decides how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ink {
    role: u8,
    dash: u8,
}

/// The roles by number, which are their names in the style sheet: `f-thread`, `s-thread`.
const ROLES: [&str; 7] = [
    "text",
    "faint",
    "baseline",
    "coroutine",
    "thread",
    "process",
    "ready",
];

/// The third number of a colour that is an ink.
const IS_INK: u8 = 0xAB;

impl Ink {
    /// Letters.
    pub const TEXT: Ink = Ink { role: 0, dash: 0 };
    /// Axes and grids.
    pub const FAINT: Ink = Ink { role: 1, dash: 0 };

    /// Who could run and does not.
    pub const READY: Ink = Ink { role: 6, dash: 0 };

    /// The ink of `body`.
    pub fn of(body: Body) -> Ink {
        let role = match body {
            Body::Baseline => 2,
            Body::Coroutine => 3,
            Body::Thread => 4,
            Body::Process => 5,
        };
        Ink { role, dash: 0 }
    }

    /// The same, its lines dashed in the `pattern`th way; 0 is solid. There are [`DASHES`].
    pub fn dash(self, pattern: usize) -> Ink {
        let dash = u8::try_from(pattern % DASHES).expect("there are few patterns");
        Ink { dash, ..self }
    }

    fn colour(self) -> RGBColor {
        RGBColor(self.role, self.dash, IS_INK)
    }
}

/// How many patterns of dashes the style sheet has, the solid one included.
pub const DASHES: usize = 5;

/// The size of all letters, in pixels.
pub const LETTERS: f64 = 13.0;

/// plotters asks for the height of a line, and writes down this part of it as the size of its letters.
const LINE_HEIGHT: f64 = 1.24;

/// Where a text stands to its spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Middle,
    Right,
}

/// What is drawn on.
pub struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

impl Canvas<'_> {
    /// A line.
    pub fn line(&self, from: Spot, to: Spot, ink: Ink, thickness: u32) {
        self.path(&[from, to], ink, thickness);
    }

    /// A line through all of `spots`.
    pub fn path(&self, spots: &[Spot], ink: Ink, thickness: u32) {
        let spots: Vec<_> = spots.iter().map(|&spot| pixel(spot)).collect();
        self.put(&PathElement::new(
            spots,
            ink.colour().stroke_width(thickness),
        ));
    }

    /// A filled box.
    pub fn bar(&self, upper_left: Spot, lower_right: Spot, ink: Ink) {
        let corners = [pixel(upper_left), pixel(lower_right)];
        self.put(&Rectangle::new(corners, ink.colour().filled()));
    }

    /// A filled disc.
    pub fn disc(&self, centre: Spot, radius: u32, ink: Ink) {
        self.put(&Circle::new(pixel(centre), radius, ink.colour().filled()));
    }

    /// A filled polygon.
    pub fn polygon(&self, corners: &[Spot], ink: Ink) {
        let corners: Vec<_> = corners.iter().map(|&corner| pixel(corner)).collect();
        let style: ShapeStyle = ink.colour().filled();
        self.put(&Polygon::new(corners, style));
    }

    /// One line of letters, `spot` at half their height.
    pub fn text(&self, text: &str, spot: Spot, align: Align, ink: Ink) {
        let h_pos = match align {
            Align::Left => HPos::Left,
            Align::Middle => HPos::Center,
            Align::Right => HPos::Right,
        };
        let colour = ink.colour();
        let style = TextStyle::from((FontFamily::SansSerif, LETTERS * LINE_HEIGHT))
            .color(&colour)
            .pos(Pos::new(h_pos, VPos::Center));
        self.put(&Text::new(text.to_owned(), pixel(spot), style));
    }

    fn put<E>(&self, element: &E)
    where
        for<'e> &'e E: PointCollection<'e, (i32, i32)>,
        for<'a> E: Drawable<SVGBackend<'a>>,
    {
        self.0
            .draw(element)
            .expect("a string takes all that is written to it");
    }
}

fn pixel((x, y): Spot) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

/// An `<svg>` element of this size that shows what `draw` draws; `title` is for those who cannot see it.
pub fn svg((width, height): Spot, title: &str, draw: impl FnOnce(&Canvas<'_>)) -> String {
    let mut svg = String::new();
    let size = (width.ceil() as u32, height.ceil() as u32);
    let canvas = Canvas(SVGBackend::with_string(&mut svg, size).into_drawing_area());
    draw(&canvas);
    canvas
        .0
        .present()
        .expect("a string takes all that is written to it");
    drop(canvas);
    finished(svg, title)
}

/// Inks as classes; without what every element would say alike and the page says once.
fn finished(svg: String, title: &str) -> String {
    let letters = format!(" font-size=\"{}\"", LETTERS * LINE_HEIGHT / LINE_HEIGHT);
    let mut svg = svg
        .replace(" xmlns=\"http://www.w3.org/2000/svg\"", " role=\"img\"")
        .replace(" font-family=\"sans-serif\"", "")
        .replace(&letters, "")
        .replace(" opacity=\"1\"", "")
        .replace(" fill=\"none\"", "")
        .replace(" stroke=\"none\"", "")
        .replace(" stroke-width=\"1\"", "")
        .replace(" \"/>", "\"/>")
        .replace("\">\n", "\">")
        .replace("\n</text>", "</text>");
    for (role, name) in ROLES.iter().enumerate() {
        for dash in 0..DASHES {
            let colour = format!("#{role:02X}{dash:02X}{IS_INK:02X}");
            let dashed = if dash > 0 {
                format!(" d{dash}")
            } else {
                String::new()
            };
            let fill = format!("fill=\"{colour}\"");
            let stroke = format!("stroke=\"{colour}\"");
            svg = svg
                .replace(&fill, &format!("class=\"f-{name}\""))
                .replace(&stroke, &format!("class=\"s-{name}{dashed}\""));
        }
    }
    let label = format!(
        " aria-label=\"{}\" role=\"img\"",
        crate::html::escape(title)
    );
    svg.replacen(" role=\"img\"", &label, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_become_classes_and_text_is_escaped() {
        let svg = svg((20.0, 10.0), "a < \"b\"", |canvas| {
            let thread = Ink::of(Body::Thread);
            canvas.line((1.0, 2.0), (3.4, 4.6), thread.dash(2), 2);
            canvas.bar((0.0, 0.0), (5.0, 5.0), thread);
            canvas.text("<&\"", (1.0, 1.0), Align::Right, Ink::TEXT);
        });
        let golden = "<svg width=\"20\" height=\"10\" viewBox=\"0 0 20 10\" aria-label=\"a &lt; &quot;b&quot;\" \
                      role=\"img\"><polyline class=\"s-thread d2\" stroke-width=\"2\" points=\"1,2 3,5\"/>\n\
                      <rect x=\"0\" y=\"0\" width=\"5\" height=\"5\" class=\"f-thread\"/>\n\
                      <text x=\"1\" y=\"1\" dy=\"0.5ex\" text-anchor=\"end\" class=\"f-text\">&lt;&amp;&quot;</text>\n\
                      </svg>\n";
        assert_eq!(svg, golden);
    }
}
