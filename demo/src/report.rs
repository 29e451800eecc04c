//! What the demo found: the types behind the tables and behind `--json`.
//!
//! ```text
//! Report ─┬─ demo, mode
//!         └─ sections[] ─┬─ name, claim, method[], code[]
//!                        ├─ metrics[]   name, unit, meaning
//!                        ├─ layout, rows[]  label, body, units, size, values{metric: median p5 p95 n},
//!                        │                  words{metric: text}, note, skipped
//!                        ├─ verdict     outcome, why
//!                        ├─ answers[]   claim, outcome, value, why      (to the claims of `comparison`)
//!                        ├─ figures[], timelines[], traces[]            (see `figure`)
//!                        ├─ cautions[], failures[]
//!                        └─ environment
//! ```
//!
//! The field names are the schema of `--json`: they are read by other programs, so a change of one is a
//! change of the format. Units are fixed (nanoseconds, bytes, ...); only people's tables scale them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::comparison::Answer;
use crate::environment::Environment;
use crate::excerpt::Excerpt;
use crate::figure::{Figure, Timeline, Trace};
use crate::stats::Summary;

/// The whole answer of one run of the demo: the top-level JSON object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Version of the demo that measured.
    pub demo: String,
    /// How much was measured: `"quick"`, `"standard"` or `"full"`.
    pub mode: Effort,
    /// One object for each section that was run, in the order in which they were.
    pub sections: Vec<Section>,
}

/// How much to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Fewer and shorter samples and smaller populations: about one second for each section, or less.
    Quick,
    /// The tour: about five seconds for each section, or less; all of them in under 60 seconds.
    Standard,
    /// Figures to publish: as long as it takes, about a minute for each section at most.
    Full,
}

impl Effort {
    /// Its name, as in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Effort::Quick => "quick",
            Effort::Standard => "standard",
            Effort::Full => "full",
        }
    }
}

/// One experiment: a claim, what was run to test it, what came out, and what follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The name that `demo run` takes.
    pub name: String,
    /// The claim under test, as the classic comparison makes it.
    pub claim: String,
    /// What is run and how it is counted, a sentence each.
    pub method: Vec<String>,
    /// The lines of source that did it.
    pub code: Vec<Excerpt>,
    /// The columns: what each value of a row means, and its unit.
    pub metrics: Vec<Metric>,
    /// How people's tables show the rows.
    pub layout: Layout,
    /// The measurements, in the order in which they are to be read.
    pub rows: Vec<Row>,
    /// What the rows say about the claim; `null` when too little could be measured.
    pub verdict: Option<Verdict>,
    /// What they say about claims of the comparison, one by one.
    pub answers: Vec<Answer>,
    /// What is drawn of the rows.
    pub figures: Vec<Figure>,
    /// Who ran when, where the section watched that.
    pub timelines: Vec<Timeline>,
    /// The same from inside: who could have run, and who started whom.
    pub traces: Vec<Trace>,
    /// Why the numbers may not be trusted as they stand; empty when nothing speaks against them.
    pub cautions: Vec<String>,
    /// What could not be measured although it should have been; if not empty, the exit status is 1.
    pub failures: Vec<String>,
    /// The machine that the rows were measured on.
    pub environment: Environment,
}

/// A column: something that is measured in every row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// The key of this metric in [`Row::values`], or in [`Row::words`] if its unit is [`Unit::Words`].
    pub name: String,
    /// The unit of its median and percentiles.
    pub unit: Unit,
    /// What exactly is counted, in one sentence.
    pub meaning: String,
}

impl Metric {
    /// A metric of this name and unit.
    pub fn new(name: &str, unit: Unit, meaning: &str) -> Metric {
        Metric {
            name: name.to_owned(),
            unit,
            meaning: meaning.to_owned(),
        }
    }
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
    /// A number of things.
    #[serde(rename = "count")]
    Count,
    /// Things in a second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Bytes in a second.
    #[serde(rename = "B/s")]
    BytesPerSecond,
    /// No number at all: an outcome in a few words.
    #[serde(rename = "words")]
    Words,
}

/// How the rows of a section are laid out for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A line for each row, a column for each metric.
    List,
    /// A line for each label, a column for each body; a cell holds the first metric that was measured in the row
    /// of that label and body.
    Matrix,
}

/// One line of a section's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What was measured.
    pub label: String,
    /// By which of the three approaches, or the baseline that they are read against.
    pub body: Body,
    /// How many units were alive, where the section counts them; `null` elsewhere.
    pub units: Option<u64>,
    /// How many bytes were handed over or touched, where the section varies that; `null` elsewhere.
    pub size: Option<u64>,
    /// The figures, by metric name; a metric that was not measured here is absent.
    pub values: BTreeMap<String, Summary>,
    /// What is no number, by metric name: `"killed by SIGSEGV"`. A few words each.
    pub words: BTreeMap<String, String>,
    /// What a reader of this row has to know; `null` mostly.
    pub note: Option<String>,
    /// Why the row has no figures; `null` when it has.
    pub skipped: Option<String>,
}

impl Row {
    /// A row without figures yet.
    pub fn new(label: impl Into<String>, body: Body) -> Row {
        Row {
            label: label.into(),
            body,
            units: None,
            size: None,
            values: BTreeMap::new(),
            words: BTreeMap::new(),
            note: None,
            skipped: None,
        }
    }
}

/// Who does the work: the baseline or one of the three approaches under comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// None of the three: what the others are read against.
    Baseline,
    /// A coroutine of this project's runtime.
    Coroutine,
    /// A thread of the operating system.
    Thread,
    /// A forked process.
    Process,
}

impl Body {
    /// All, in the order of a table.
    pub const ALL: [Body; 4] = [Body::Baseline, Body::Coroutine, Body::Thread, Body::Process];

    /// Its name in the singular, as in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Body::Baseline => "baseline",
            Body::Coroutine => "coroutine",
            Body::Thread => "thread",
            Body::Process => "process",
        }
    }
}

/// What the measurement says about the claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The judgement in one word.
    pub outcome: Outcome,
    /// The figures that it rests on, and the reason behind them.
    pub why: String,
}

/// The judgement in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The numbers bear the claim out.
    Confirmed,
    /// The numbers contradict it.
    Refuted,
    /// True in part or under conditions, which the reason names.
    Depends,
}

/// The rows of a section as its judge reads them.
#[derive(Clone, Copy, Debug)]
pub struct Findings<'a>(pub &'a [Row]);

impl Findings<'_> {
    /// The median of `metric` in the first row labelled `label`; `None` if it was not measured.
    pub fn median(&self, label: &str, metric: &str) -> Option<f64> {
        let row = self.0.iter().find(|row| row.label == label)?;
        row.values.get(metric).map(|summary| summary.median)
    }

    /// The median of `metric` in the row labelled `label` of `body`; `None` if it was not measured.
    pub fn of(&self, label: &str, body: Body, metric: &str) -> Option<f64> {
        let mut rows = self.0.iter();
        let row = rows.find(|row| row.label == label && row.body == body)?;
        row.values.get(metric).map(|summary| summary.median)
    }

    /// What `metric` says in the row labelled `label` of `body`; `None` if there is no such row.
    pub fn words(&self, label: &str, body: Body, metric: &str) -> Option<&str> {
        let mut rows = self.0.iter();
        let row = rows.find(|row| row.label == label && row.body == body)?;
        row.words.get(metric).map(String::as_str)
    }

    /// The row of `body` with the most units for which `metric` was measured.
    pub fn largest(&self, body: Body, metric: &str) -> Option<(u64, f64)> {
        let measured = self.0.iter().filter(|row| row.body == body);
        measured
            .filter_map(|row| Some((row.units?, row.values.get(metric)?.median)))
            .max_by_key(|&(units, _)| units)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::comparison::{Feature, Place};
    use serde_json::{Value, json};

    /// A section of this name in which nothing was measured.
    pub fn section(name: &str) -> Section {
        Section {
            name: name.into(),
            claim: "c".into(),
            method: vec!["m".into()],
            code: vec![],
            metrics: vec![],
            layout: Layout::List,
            rows: vec![],
            verdict: None,
            answers: vec![],
            figures: vec![],
            timelines: vec![],
            traces: vec![],
            cautions: vec![],
            failures: vec![],
            environment: Environment::default(),
        }
    }

    fn row(label: &str, units: Option<u64>, median: f64) -> Row {
        let value = Summary {
            median,
            p5: median,
            p95: median,
            n: 10,
        };
        Row {
            units,
            values: BTreeMap::from([("time".into(), value)]),
            ..Row::new(label, Body::Thread)
        }
    }

    fn report() -> Report {
        Report {
            demo: "0.1.0".into(),
            mode: Effort::Quick,
            sections: vec![Section {
                metrics: vec![Metric::new("time", Unit::Nanoseconds, "t")],
                rows: vec![row("thread", None, 2.5)],
                verdict: Some(Verdict {
                    outcome: Outcome::Depends,
                    why: "w".into(),
                }),
                answers: vec![Answer::new(
                    Place::Cell(Feature::SwitchCost, Body::Thread),
                    Outcome::Confirmed,
                    "2.50 ns",
                    "a",
                )],
                ..section("switch")
            }],
        }
    }

    #[test]
    fn the_json_has_the_documented_fields() {
        let json = serde_json::to_value(report()).unwrap();
        let section = &json["sections"][0];
        assert_eq!(json["mode"], "quick");
        assert_eq!(section["metrics"][0]["unit"], "ns");
        assert_eq!(
            section["verdict"],
            json!({"outcome": "depends", "why": "w"})
        );
        assert_eq!(
            section["answers"][0],
            json!({"claim": "context-switch-cost/thread", "outcome": "confirmed", "value": "2.50 ns", "why": "a"})
        );
        assert_eq!(
            section["rows"][0],
            json!({"label": "thread", "body": "thread", "units": null, "size": null, "note": null,
                   "skipped": null, "words": {}, "values": {"time": {"median": 2.5, "p5": 2.5, "p95": 2.5, "n": 10}}})
        );
    }

    #[test]
    fn a_report_read_back_is_the_report_written() {
        let text = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report());
    }

    #[test]
    fn a_field_that_the_schema_does_not_know_is_refused() {
        let mut json = serde_json::to_value(report()).unwrap();
        json["sections"][0]["colour"] = Value::from("red");
        assert!(serde_json::from_value::<Report>(json).is_err());
    }

    #[test]
    fn a_row_without_the_metric_has_no_median() {
        let rows = [row("a", None, 1.0), row("b", None, 2.0)];
        assert_eq!(Findings(&rows).median("b", "time"), Some(2.0));
        assert_eq!(Findings(&rows).median("b", "memory"), None);
        assert_eq!(Findings(&rows).median("c", "time"), None);
    }

    #[test]
    fn the_largest_population_is_the_one_that_was_measured() {
        let mut refused = row("c", Some(1_000), 0.0);
        refused.values.clear();
        let rows = [row("a", Some(10), 1.0), row("b", Some(100), 2.0), refused];
        assert_eq!(
            Findings(&rows).largest(Body::Thread, "time"),
            Some((100, 2.0))
        );
        assert_eq!(Findings(&rows).largest(Body::Process, "time"), None);
    }
}
