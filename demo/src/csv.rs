//! The rows of all sections as one table for a spreadsheet: a line for each value.
//!
//! ```text
//!   section,label,body,units,size,metric,unit,median,p5,p95,n,words,note,skipped
//!   switch,"thread, pipe, one CPU",thread,,,hand_over,ns,2351.0,2301.5,2710.2,31,,,
//! ```
//!
//! Units and names are those of the JSON. Source: RFC 4180, with `\n` at the end of a line.
#![forbid(unsafe_code)]

use serde::Serialize;

use crate::report::{Metric, Report, Row, Section};

const HEADER: &str =
    "section,label,body,units,size,metric,unit,median,p5,p95,n,words,note,skipped\n";

/// The whole table, its header first.
pub fn table(report: &Report) -> String {
    let mut text = HEADER.to_owned();
    for section in &report.sections {
        for row in &section.rows {
            for line in lines(section, row) {
                let fields: Vec<String> = line.iter().map(|field| quoted(field)).collect();
                text.push_str(&fields.join(","));
                text.push('\n');
            }
        }
    }
    text
}

/// One for each metric that the row has; one without a metric if it has none.
fn lines(section: &Section, row: &Row) -> Vec<[String; 14]> {
    let has = |metric: &&Metric| {
        row.values.contains_key(&metric.name) || row.words.contains_key(&metric.name)
    };
    let line = |metric: Option<&Metric>| {
        let name = metric.map_or("", |metric| &metric.name);
        let value = row.values.get(name);
        let number = |number: Option<f64>| number.map_or_else(String::new, |n| n.to_string());
        let whole = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
        [
            section.name.clone(),
            row.label.clone(),
            row.body.name().to_owned(),
            whole(row.units),
            whole(row.size),
            name.to_owned(),
            metric.map_or_else(String::new, |metric| as_in_json(&metric.unit)),
            number(value.map(|value| value.median)),
            number(value.map(|value| value.p5)),
            number(value.map(|value| value.p95)),
            whole(value.map(|value| value.n as u64)),
            row.words.get(name).cloned().unwrap_or_default(),
            row.note.clone().unwrap_or_default(),
            row.skipped.clone().unwrap_or_default(),
        ]
    };
    let metrics: Vec<&Metric> = section.metrics.iter().filter(has).collect();
    if metrics.is_empty() {
        return vec![line(None)];
    }
    metrics
        .into_iter()
        .map(|metric| line(Some(metric)))
        .collect()
}

/// What the JSON says where this stands, without the quotes.
fn as_in_json(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::section;
    use crate::report::{Body, Effort, Unit};
    use crate::stats::Summary;

    #[test]
    fn each_value_has_a_line_and_a_field_with_a_comma_is_quoted() {
        let mut measured = Row::new("thread, \"pipe\"", Body::Thread);
        measured.units = Some(10);
        let summary = Summary::of(&[2.5]).unwrap();
        measured.values.insert("time".into(), summary);
        measured.words.insert("end".into(), "killed".into());
        let mut skipped = Row::new("futex", Body::Process);
        skipped.skipped = Some("one CPU only".into());
        let section = Section {
            metrics: vec![
                Metric::new("time", Unit::Nanoseconds, ""),
                Metric::new("end", Unit::Words, ""),
            ],
            rows: vec![measured, skipped],
            ..section("switch")
        };
        let report = Report {
            demo: String::new(),
            mode: Effort::Quick,
            sections: vec![section],
        };
        let text = table(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..],
            [
                "switch,\"thread, \"\"pipe\"\"\",thread,10,,time,ns,2.5,2.5,2.5,1,,,",
                "switch,\"thread, \"\"pipe\"\"\",thread,10,,end,words,,,,,killed,,",
                "switch,futex,process,,,,,,,,,,,one CPU only",
            ]
        );
    }
}
