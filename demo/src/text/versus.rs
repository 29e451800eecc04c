//! Two reports side by side.
#![forbid(unsafe_code)]

use super::{Cell, Palette, hanging, paint_of, side_by_side, word};
use crate::compare::{Pair, Values, disputed, only_in, pairs};
use crate::comparison::Standing;
use crate::quantity::{times, with_unit};
use crate::report::{Report, Section};

/// What the two are called.
const NAMES: [&str; 2] = ["A", "B"];

/// The machines, what was measured on both with the ratio, verdicts that differ, and what only one has.
///
/// ```text
///   what                          metric      A         B         B / A
///   thread, pipe, one CPU         hand over   2.35 us   2.40 us   1.02 ~
/// ```
///
/// `~`: the spreads overlap.
pub fn versus(palette: Palette, reports: [(&str, &Report); 2]) -> Vec<String> {
    let [(_, first), (_, second)] = reports;
    let mut lines = Vec::new();
    for (name, (file, report)) in NAMES.iter().zip(reports) {
        lines.extend(hanging(&format!("{name}        "), &machine(file, report)));
    }
    if first.mode != second.mode || build(first) != build(second) {
        let text = "the two were not measured alike (mode or build): ratios say little";
        let caution = hanging("Caution  ", text);
        lines.extend(caution.iter().map(|line| palette.yellow(line)));
    }
    for pair in pairs(first, second) {
        lines.push(String::new());
        lines.push(palette.bold(&pair.sections[0].name));
        lines.extend(section(palette, &pair));
    }
    let disputed = disputed(first, second);
    if !disputed.is_empty() {
        lines.push(String::new());
        lines.push(palette.bold("Claims that they judge differently"));
    }
    for (claim, standings) in disputed {
        lines.extend(hanging(
            "  ",
            &format!("\"{}\" ({})", claim.text, claim.place),
        ));
        for (name, standing) in NAMES.iter().zip(standings) {
            if let Standing::Answered(answer) = standing {
                let head = word(answer.outcome);
                let text = format!("{}: {}", answer.value, answer.why);
                let cells = [
                    Cell::new(name, 1),
                    Cell::new(head, 9).painted(paint_of(answer.outcome)),
                    Cell::new(&text, 82),
                ];
                lines.extend(side_by_side(palette, &[1, 9, 82], &cells));
            }
        }
    }
    for (name, (own, other)) in NAMES.iter().zip([(first, second), (second, first)]) {
        let only = only_in(own, other);
        if !only.is_empty() {
            lines.push(String::new());
            let text = format!("Sections only in {name}: {}", only.join(", "));
            lines.extend(hanging("", &text));
        }
    }
    lines
}

fn machine(file: &str, report: &Report) -> String {
    let environment = report
        .sections
        .first()
        .map(|section| section.environment.line());
    let environment = environment.unwrap_or_else(|| "nothing was measured".to_owned());
    format!("{file}: {environment}, {} run", report.mode.name())
}

fn build(report: &Report) -> Option<&str> {
    let first = report.sections.first();
    first.map(|section| section.environment.build.as_str())
}

fn section(palette: Palette, pair: &Pair<'_>) -> Vec<String> {
    const WIDTHS: [usize; 5] = [40, 18, 11, 11, 8];
    let line = |texts: [&str; 5]| {
        let cells: Vec<Cell> = texts
            .iter()
            .zip(WIDTHS)
            .map(|(text, width)| Cell::new(text, width))
            .collect();
        side_by_side(palette, &WIDTHS, &cells)
    };
    let [a, b] = NAMES;
    let mut lines = Vec::new();
    if !pair.rows.is_empty() {
        lines.extend(line(["what", "metric", a, b, "B / A"]));
    }
    for row in &pair.rows {
        let [one, other] = row
            .values
            .map(|value| with_unit(row.metric.unit, value.median));
        let metric = row.metric.name.replace('_', " ");
        lines.extend(line([&row.label, &metric, &one, &other, &ratio(row)]));
    }
    for (place, [one, other]) in &pair.words {
        lines.extend(hanging("  ", &format!("{place}: {one} in A, {other} in B")));
    }
    for (name, labels) in NAMES.iter().zip(&pair.only) {
        if !labels.is_empty() {
            lines.extend(hanging(&format!("  only {name}: "), &labels.join("; ")));
        }
    }
    lines.extend(verdicts(palette, pair.sections));
    lines
}

fn ratio(values: &Values<'_>) -> String {
    let mark = if values.overlap() { " ~" } else { "" };
    match values.ratio() {
        Some(ratio) => format!("{}{mark}", times(ratio, 1.0)),
        None => "-".to_owned(),
    }
}

fn verdicts(palette: Palette, sections: [&Section; 2]) -> Vec<String> {
    let outcomes = sections.map(|section| section.verdict.as_ref().map(|verdict| verdict.outcome));
    let words = outcomes.map(|outcome| outcome.map_or("none", word));
    let [one, other] = words;
    let text = if one == other {
        format!("  verdict: {one} in both")
    } else {
        palette.yellow(&format!("  verdict: {one} in A, {other} in B"))
    };
    vec![text]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::report;
    use crate::report::Outcome;
    use crate::text::COLUMNS;

    #[test]
    fn ratios_disputes_and_gaps_are_shown_within_100_columns() {
        let label = "a label of many words ".repeat(5);
        let first = report(&label, 2_000.0, Outcome::Confirmed);
        let mut second = report(&label, 90_000.0, Outcome::Refuted);
        second.sections.push(crate::report::tests::section("hello"));
        let lines = versus(Palette::OFF, [("a.json", &first), ("b.json", &second)]);
        assert!(
            lines.iter().all(|line| line.chars().count() <= COLUMNS),
            "{lines:#?}"
        );
        let text = lines.join("\n");
        assert!(text.contains("2.00 us      90.0 us      45"), "{text}");
        assert!(
            text.contains("A  CONFIRMED  v: w") && text.contains("B  REFUTED"),
            "{text}"
        );
        assert!(text.contains("Sections only in B: hello"), "{text}");
        assert!(!text.contains("Caution"), "{text}");
    }

    #[test]
    fn reports_that_were_not_made_alike_are_no_fair_pair() {
        let first = report("pipe", 1.0, Outcome::Confirmed);
        let mut second = first.clone();
        second.mode = crate::report::Effort::Full;
        let text = versus(Palette::OFF, [("a", &first), ("b", &second)]).join("\n");
        assert!(
            text.contains("not measured alike") && text.contains("1.00 ~"),
            "{text}"
        );
    }
}
