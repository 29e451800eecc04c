//! The comparison at the end of a run: what the text says, what was measured, and a verdict for each.
#![forbid(unsafe_code)]

use super::{Cell, Notes, Palette, hanging, paint_of, side_by_side, word};
use crate::comparison::{
    COLUMNS, Claim, Feature, Place, Standing, VALUE_MAX, claim_at, lists, standing, tally,
};
use crate::report::{Outcome, Section};

/// A value takes two lines at most, also where a word would not fit at the end of the first.
const CELL: usize = VALUE_MAX / 2 + 2;
const WIDTHS: [usize; 4] = [14, CELL, CELL, CELL];

/// The comparison table, then the other claims as lists; `whole`: also those whose sections were not run.
///
/// ```text
///                   process                     thread                      coroutine
///
///   context switch  "high: registers, address   "medium: still a kernel     "low: no kernel"
///   cost            space, TLB"                 entry"
///                   2.37 us                     2.35 us                     63 ns
///                   DEPENDS [1]                 CONFIRMED                   CONFIRMED
///   ...
///   [1] as a thread's; the difference shows in the working set
/// ```
pub fn claims(palette: Palette, sections: &[Section], whole: bool) -> Vec<String> {
    let is_shown = |claim: &&Claim| whole || standing(sections, claim) != Standing::NotRun;
    let mut lines = Vec::new();
    let features: Vec<Feature> = Feature::ALL
        .into_iter()
        .filter(|&feature| row(feature).iter().any(is_shown))
        .collect();
    if !features.is_empty() {
        lines.push(String::new());
        lines.extend(table(palette, sections, &features));
    }
    for (heading, claims) in lists() {
        let claims: Vec<&Claim> = claims.into_iter().filter(is_shown).collect();
        if claims.is_empty() {
            continue;
        }
        lines.push(String::new());
        lines.push(palette.bold(heading));
        for claim in claims {
            lines.extend(item(palette, claim, standing(sections, claim)));
        }
    }
    if whole {
        lines.push(String::new());
        lines.extend(hanging("", &tally(sections)));
    }
    lines
}

fn row(feature: Feature) -> [&'static Claim; 3] {
    COLUMNS.map(|body| claim_at(Place::Cell(feature, body)))
}

fn table(palette: Palette, sections: &[Section], features: &[Feature]) -> Vec<String> {
    let [first, width, ..] = WIDTHS;
    let line = |head: &str, cells: [Cell; 3]| {
        let head = Cell::new(head, first).painted(Palette::bold);
        let cells: Vec<Cell> = [head].into_iter().chain(cells).collect();
        side_by_side(palette, &WIDTHS, &cells)
    };
    let mut notes = Notes::default();
    let names = COLUMNS.map(|body| Cell::new(body.name(), width).painted(Palette::bold));
    let mut lines = line("", names);
    for &feature in features {
        let claims = row(feature);
        let says = claims.map(|claim| Cell::new(&format!("\"{}\"", claim.text), width));
        let standings = claims.map(|claim| (claim, standing(sections, claim)));
        let values = standings.map(|(_, standing)| match standing {
            Standing::Answered(answer) => Cell::new(&answer.value, width),
            _ => Cell::new("-", width),
        });
        let verdicts = standings.map(|(claim, standing)| {
            let (text, paint) = match standing {
                Standing::Answered(answer) => {
                    let mut text = word(answer.outcome).to_owned();
                    // Why the text is right, its section has said; a contradiction wants its reason here.
                    if answer.outcome != Outcome::Confirmed {
                        text.push(' ');
                        text.push_str(&notes.mark(answer.why.clone()));
                    }
                    (text, paint_of(answer.outcome))
                }
                Standing::Unanswered => ("no verdict".to_owned(), Palette::red as _),
                Standing::NotRun => (format!("not run ({})", claim.section), Palette::plain as _),
            };
            Cell::new(&text, width).painted(paint)
        });
        lines.push(String::new());
        lines.extend(line(feature.name(), says));
        if standings
            .iter()
            .any(|(_, standing)| matches!(standing, Standing::Answered(_)))
        {
            lines.extend(line("", values));
        }
        lines.extend(line("", verdicts));
    }
    let notes = notes.lines();
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes);
    }
    lines
}

fn item(palette: Palette, claim: &Claim, standing: Standing<'_>) -> Vec<String> {
    const WIDTHS: [usize; 2] = [10, 84];
    let [left, right] = WIDTHS;
    let (head, paint, value, why) = match standing {
        Standing::Answered(answer) => {
            let why = (answer.outcome != Outcome::Confirmed).then_some(answer.why.as_str());
            let paint = paint_of(answer.outcome);
            (word(answer.outcome), paint, Some(&answer.value), why)
        }
        Standing::Unanswered => ("no verdict", Palette::red as _, None, None),
        Standing::NotRun => ("not run", Palette::plain as _, None, None),
    };
    let mut text = Cell::new(&format!("\"{}\"", claim.text), right);
    if standing == Standing::NotRun {
        let section = Cell::new(&format!("(section {})", claim.section), right);
        text.lines.extend(section.lines);
    }
    for more in value.map(String::as_str).into_iter().chain(why) {
        text.lines.extend(Cell::new(more, right).lines);
    }
    let cells = [Cell::new(head, left).painted(paint), text];
    side_by_side(palette, &WIDTHS, &cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::{Answer, CLAIMS};
    use crate::report::{Body, tests::section};
    use crate::text::COLUMNS as WIDTH;

    /// Every claim of the switch section but that of the coroutine's cell, all of them contradicted.
    fn sections() -> Vec<Section> {
        let mut section = section("switch");
        let coroutine = Place::Cell(Feature::SwitchCost, Body::Coroutine);
        let claims = CLAIMS.iter().filter(|claim| claim.section == "switch");
        let value = "x".repeat(VALUE_MAX);
        let why = "because ".repeat(30);
        section.answers = claims
            .filter(|claim| claim.place != coroutine)
            .map(|claim| Answer::new(claim.place, Outcome::Depends, &value, &why))
            .collect();
        vec![section]
    }

    #[test]
    fn each_of_the_45_claims_is_there_with_a_verdict_or_the_lack_of_it() {
        let text = claims(Palette::OFF, &sections(), true);
        assert!(
            text.iter().all(|line| line.chars().count() <= WIDTH),
            "{text:#?}"
        );
        let text = text.join("\n");
        let count = |what: &str| text.matches(what).count();
        let of_switch = CLAIMS.iter().filter(|claim| claim.section == "switch");
        let answered = of_switch.count() - 1;
        assert_eq!(count("DEPENDS"), answered);
        assert_eq!(count("no verdict"), 1);
        assert_eq!(count("not run") - 1, CLAIMS.len() - answered - 1, "{text}");
        assert!(text.contains("Of 45 claims 0 are confirmed, 0 refuted, 4 depend, 1 could"));
        // Two cells with one reason share its note.
        assert!(
            text.contains("DEPENDS [1]                 DEPENDS [1]"),
            "{text}"
        );
    }

    #[test]
    fn of_a_part_only_its_own_claims_are_shown() {
        let text = claims(Palette::OFF, &sections(), false).join("\n");
        assert!(text.contains("context switch") && !text.contains("isolation"));
        assert!(text.contains("What the prose says") && !text.contains("takeaways"));
        assert!(claims(Palette::OFF, &[section("none")], false).is_empty());
    }
}
