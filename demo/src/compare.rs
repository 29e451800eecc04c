//! Two reports side by side, of two machines or of two days: what `demo compare` shows.
//!
//! A row of one report belongs to that row of the other which has the same section, label, body, units and size. What
//! the other does not have is named, not left out.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::Value;

use crate::comparison::{CLAIMS, Claim, Standing, standing};
use crate::figure::full_label;
use crate::report::{Metric, Outcome, Report, Row, Section};
use crate::stats::Summary;

/// Reads a report that `--json` has written.
///
/// Control characters in its texts are replaced: whoever wrote the file, it does not command the terminal.
///
/// # Errors
/// A sentence for the user: it cannot be read, is no JSON, or is no report of this demo.
pub fn read(path: &Path) -> Result<Report, String> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let mut json: Value = serde_json::from_reader(BufReader::new(file)).map_err(|error| {
        if error.is_io() {
            format!("cannot read {name}: {error}")
        } else {
            format!("{name} is no JSON: {error}")
        }
    })?;
    tame(&mut json);
    serde_json::from_value(json)
        .map_err(|error| format!("{name} is JSON, but no report of this demo: {error}"))
}

fn tame(json: &mut Value) {
    match json {
        Value::String(text) => *text = tamed(text),
        Value::Array(items) => items.iter_mut().for_each(tame),
        Value::Object(fields) => {
            let owned = std::mem::take(fields);
            for (name, mut value) in owned {
                tame(&mut value);
                fields.insert(tamed(&name), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn tamed(text: &str) -> String {
    let tame = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(tame).collect()
}

/// A section that both reports have.
#[derive(Debug)]
pub struct Pair<'a> {
    /// Of either report.
    pub sections: [&'a Section; 2],
    /// What both have measured, in the first's order.
    pub rows: Vec<Values<'a>>,
    /// What was told in words, and told differently: where, and the words of either report.
    pub words: Vec<(String, [&'a str; 2])>,
    /// The labels of rows that only the first has, and only the second.
    pub only: [Vec<String>; 2],
}

/// One metric of one row, measured twice.
#[derive(Debug)]
pub struct Values<'a> {
    /// The row's label, with its size and units.
    pub label: String,
    /// What was measured.
    pub metric: &'a Metric,
    /// Of either report.
    pub values: [&'a Summary; 2],
}

impl Values<'_> {
    /// How many times the first the second is; `None` where that is no number.
    pub fn ratio(&self) -> Option<f64> {
        let [first, second] = self.values;
        let ratio = second.median / first.median;
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    }

    /// Whether the spreads overlap, so that the difference may be chance.
    pub fn overlap(&self) -> bool {
        let [first, second] = self.values;
        first.p5 <= second.p95 && second.p5 <= first.p95
    }
}

/// The sections that both have, in the order of the first.
pub fn pairs<'a>(first: &'a Report, second: &'a Report) -> Vec<Pair<'a>> {
    let find = |name: &str| second.sections.iter().find(|section| section.name == name);
    let both = first
        .sections
        .iter()
        .filter_map(|section| Some((section, find(&section.name)?)));
    both.map(|(one, other)| pair(one, other)).collect()
}

fn pair<'a>(first: &'a Section, second: &'a Section) -> Pair<'a> {
    let (mut rows, mut words) = (Vec::new(), Vec::new());
    for row in &first.rows {
        let Some(other) = counterpart(row, second) else {
            continue;
        };
        for metric in &first.metrics {
            let values = [row, other].map(|row| row.values.get(&metric.name));
            if let [Some(one), Some(other)] = values {
                rows.push(Values {
                    label: full_label(row),
                    metric,
                    values: [one, other],
                });
            }
            let told = [row, other].map(|row| row.words.get(&metric.name).map(String::as_str));
            if let [Some(one), Some(other)] = told
                && one != other
            {
                let place = format!("{} ({})", full_label(row), row.body.name());
                words.push((place, [one, other]));
            }
        }
    }
    let only = |own: &Section, others: &Section| -> Vec<String> {
        let rows = own.rows.iter();
        let alone = rows.filter(|row| counterpart(row, others).is_none());
        alone.map(full_label).collect()
    };
    Pair {
        sections: [first, second],
        rows,
        words,
        only: [only(first, second), only(second, first)],
    }
}

fn counterpart<'a>(row: &Row, section: &'a Section) -> Option<&'a Row> {
    let key = |row: &Row| (row.label.clone(), row.body, row.units, row.size);
    section.rows.iter().find(|other| key(other) == key(row))
}

/// The names of sections that `own` has and `other` has not.
pub fn only_in<'a>(own: &'a Report, other: &Report) -> Vec<&'a str> {
    let is_there = |name: &str| other.sections.iter().any(|section| section.name == name);
    let names = own.sections.iter().map(|section| section.name.as_str());
    names.filter(|name| !is_there(name)).collect()
}

/// The claims of the comparison that both reports judge, and judge differently.
pub fn disputed<'a>(
    first: &'a Report,
    second: &'a Report,
) -> Vec<(&'static Claim, [Standing<'a>; 2])> {
    let outcome = |standing: &Standing<'_>| -> Option<Outcome> {
        match standing {
            Standing::Answered(answer) => Some(answer.outcome),
            Standing::Unanswered | Standing::NotRun => None,
        }
    };
    let both = CLAIMS.iter().map(|claim| {
        let standings = [first, second].map(|report| standing(&report.sections, claim));
        (claim, standings)
    });
    let differ = |(_, [one, other]): &(&Claim, [Standing<'_>; 2])| matches!((outcome(one), outcome(other)), (Some(one), Some(other)) if one != other);
    both.filter(differ).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::comparison::{Answer, Feature, Place};
    use crate::report::tests::section;
    use crate::report::{Body, Effort, Unit};

    /// A report of one section with one row, and an answer to one claim.
    pub fn report(label: &str, median: f64, outcome: Outcome) -> Report {
        let mut row = Row::new(label, Body::Thread);
        row.values
            .insert("time".into(), Summary::of(&[median]).unwrap());
        let place = Place::Cell(Feature::SwitchCost, Body::Thread);
        Report {
            demo: "0.1.0".into(),
            mode: Effort::Quick,
            sections: vec![Section {
                metrics: vec![Metric::new("time", Unit::Nanoseconds, "")],
                rows: vec![row],
                answers: vec![Answer::new(place, outcome, "v", "w")],
                ..section("switch")
            }],
        }
    }

    #[test]
    fn the_ratio_is_the_second_by_the_first() {
        let first = report("pipe", 2.0, Outcome::Confirmed);
        let second = report("pipe", 3.0, Outcome::Depends);
        let pairs = pairs(&first, &second);
        assert_eq!(pairs[0].rows[0].ratio(), Some(1.5));
        assert!(!pairs[0].rows[0].overlap());
        assert_eq!(pairs[0].only, [Vec::<String>::new(), vec![]]);
        assert_eq!(disputed(&first, &second).len(), 1);
        assert!(disputed(&first, &first).is_empty());
    }

    #[test]
    fn rows_and_sections_without_a_counterpart_are_named() {
        let first = report("pipe", 0.0, Outcome::Confirmed);
        let mut second = report("futex", 0.0, Outcome::Confirmed);
        let pair = &pairs(&first, &second)[0];
        assert_eq!(
            pair.only,
            [vec!["pipe".to_owned()], vec!["futex".to_owned()]]
        );
        assert!(pair.rows.is_empty());
        second.sections.clear();
        assert_eq!(only_in(&first, &second), ["switch"]);
        assert!(pairs(&first, &second).is_empty());
        // Nought by nought is no ratio.
        assert_eq!(pairs(&first, &first)[0].rows[0].ratio(), None);
    }

    #[test]
    fn words_that_differ_are_told_and_those_that_agree_are_not() {
        let told = |words: &str| {
            let mut report = report("null write", 1.0, Outcome::Confirmed);
            let row = &mut report.sections[0].rows[0];
            row.words.insert("time".into(), words.into());
            report
        };
        let (one, other) = (told("killed"), told("goes on"));
        let expected = ("null write (thread)".to_owned(), ["killed", "goes on"]);
        assert_eq!(pairs(&one, &other)[0].words, [expected]);
        assert!(pairs(&one, &one)[0].words.is_empty());
    }

    #[test]
    fn what_a_file_says_cannot_command_the_terminal() {
        let mut json = serde_json::json!({"a\u{1b}[2J": ["x\u{7}\n"]});
        tame(&mut json);
        assert_eq!(json, serde_json::json!({"a\u{fffd}[2J": ["x\u{fffd}\n"]}));
    }
}
