//! Laying out text for a terminal of 100 columns: colour, wrapping, cells side by side, notes.
//!
//! | file       | lays out                                                        |
//! |------------|-----------------------------------------------------------------|
//! | [`table`]  | the rows of a section, a line each, with bars                   |
//! | [`matrix`] | the rows of a section, a column for each body                   |
//! | [`lanes`]  | who ran when                                                    |
//! | [`claims`] | the comparison: what the text says, what was measured, verdicts |
//! | [`versus`] | two reports side by side                                        |
#![forbid(unsafe_code)]

pub mod claims;
pub mod lanes;
pub mod matrix;
pub mod table;
pub mod versus;

use std::env;

use crate::report::Outcome;

/// The widest line that the demo prints.
pub const COLUMNS: usize = 100;

/// Whether and how to colour; without colour every method returns its text unchanged.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    on: bool,
}

impl Palette {
    /// No colours.
    pub const OFF: Palette = Palette { on: false };

    /// Colours if the output is a terminal that can show them and `NO_COLOR` is unset or empty.
    ///
    /// Source: <https://no-color.org>.
    pub fn for_output(is_terminal: bool) -> Palette {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Palette {
            on: is_terminal && !refused && !dumb,
        }
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Good news.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something to be careful about.
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Bad news.
    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Neither good nor bad.
    pub fn plain(self, text: &str) -> String {
        text.to_owned()
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// One of the methods of [`Palette`].
pub type Paint = fn(Palette, &str) -> String;

/// The colour of a verdict.
pub fn paint_of(outcome: Outcome) -> Paint {
    match outcome {
        Outcome::Confirmed => Palette::green,
        Outcome::Refuted => Palette::red,
        Outcome::Depends => Palette::yellow,
    }
}

/// A verdict in one word.
pub fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Confirmed => "CONFIRMED",
        Outcome::Refuted => "REFUTED",
        Outcome::Depends => "DEPENDS",
    }
}

/// Breaks `text` at spaces into lines of at most `width` characters; a longer word stays whole.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// `head` and then `text` wrapped, its further lines indented to below its first.
pub fn hanging(head: &str, text: &str) -> Vec<String> {
    let indent = head.chars().count();
    let wrapped = cut(text, COLUMNS - indent);
    let head_of = |line: usize| {
        if line == 0 {
            head.to_owned()
        } else {
            " ".repeat(indent)
        }
    };
    let join = |(index, line): (usize, &String)| format!("{}{line}", head_of(index));
    wrapped.iter().enumerate().map(join).collect()
}

fn width(texts: &[String]) -> usize {
    texts
        .iter()
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0)
}

/// As [`wrap`], but a word longer than a line is cut: for cells, which have neighbours.
pub fn cut(text: &str, width: usize) -> Vec<String> {
    let pieces = |line: String| {
        let chars: Vec<char> = line.chars().collect();
        let of = |piece: &[char]| piece.iter().collect::<String>();
        // An empty line is a line.
        let none = chars.is_empty().then(String::new);
        let pieces: Vec<String> = chars.chunks(width).map(of).collect();
        none.into_iter().chain(pieces)
    };
    wrap(text, width).into_iter().flat_map(pieces).collect()
}

/// Some lines in a column of a table.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Each no longer than the column is wide.
    pub lines: Vec<String>,
    /// How all of them are painted.
    pub paint: Paint,
}

impl Cell {
    /// An unpainted cell, its text wrapped to `width`.
    pub fn new(text: &str, width: usize) -> Cell {
        Cell {
            lines: cut(text, width),
            paint: Palette::plain,
        }
    }

    /// The same cell, painted.
    pub fn painted(self, paint: Paint) -> Cell {
        Cell { paint, ..self }
    }
}

/// Cells side by side, two spaces apart and indented by two; `widths` are those of their columns.
pub fn side_by_side(palette: Palette, widths: &[usize], cells: &[Cell]) -> Vec<String> {
    let height = cells.iter().map(|cell| cell.lines.len()).max().unwrap_or(0);
    let line = |index: usize| {
        let mut line = String::new();
        let mut padding = 2;
        for (cell, width) in cells.iter().zip(widths) {
            let text = cell.lines.get(index).map_or("", String::as_str);
            let length = text.chars().count();
            // Nothing follows that would need the spaces, unless a text does.
            if !text.is_empty() {
                line.push_str(&" ".repeat(padding));
                line.push_str(&(cell.paint)(palette, text));
                padding = 0;
            }
            padding += width.saturating_sub(length) + 2;
        }
        line
    };
    (0..height).map(line).collect()
}

/// What is said below a table, each thing once, and where in the table its number stands.
#[derive(Debug, Default)]
pub struct Notes(Vec<String>);

impl Notes {
    /// The mark of `note`, `[1]` for the first.
    pub fn mark(&mut self, note: String) -> String {
        let known = self.0.iter().position(|other| *other == note);
        let number = known.unwrap_or_else(|| {
            self.0.push(note);
            self.0.len() - 1
        });
        format!("[{}]", number + 1)
    }

    /// The notes, each behind its mark.
    pub fn lines(&self) -> Vec<String> {
        let line = |(index, note): (usize, &String)| hanging(&format!("  [{}] ", index + 1), note);
        self.0.iter().enumerate().flat_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_at_spaces_and_nowhere_else() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("a  b\n c", 80), ["a b c"]);
        assert_eq!(wrap("tooolong a", 4), ["tooolong", "a"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn without_a_terminal_nothing_is_coloured() {
        assert_eq!(Palette::for_output(false).red("x"), "x");
        assert_eq!(Palette { on: true }.red("x"), "\x1b[31mx\x1b[0m");
    }

    #[test]
    fn a_cell_is_cut_where_its_neighbour_begins() {
        assert_eq!(cut("tooolong a", 4), ["tooo", "long", "a"]);
        assert_eq!(cut("", 4), [""]);
        let cells = [Cell::new("aa bb", 2), Cell::new("c", 1)];
        let palette = Palette::OFF;
        assert_eq!(side_by_side(palette, &[2, 1], &cells), ["  aa  c", "  bb"]);
        let painted = [cells[0].clone(), cells[1].clone().painted(Palette::red)];
        let lines = side_by_side(Palette { on: true }, &[2, 1], &painted);
        assert_eq!(lines, ["  aa  \x1b[31mc\x1b[0m", "  bb"]);
    }

    #[test]
    fn a_note_that_was_made_before_keeps_its_number() {
        let mut notes = Notes::default();
        assert_eq!(notes.mark("a".into()), "[1]");
        assert_eq!(notes.mark("b".into()), "[2]");
        assert_eq!(notes.mark("a".into()), "[1]");
        assert_eq!(notes.lines(), ["  [1] a", "  [2] b"]);
    }
}
