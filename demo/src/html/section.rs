//! One section: claim, verdict, method, figures, numbers, code, and every doubt.
#![forbid(unsafe_code)]

use super::element::{Html, classed, element, headed, join, list, said, with};
use super::verdict_badge;
use crate::draw::{self, Format};
use crate::excerpt::Excerpt;
use crate::figure::{Figure, Timeline, Trace, full_label};
use crate::matrix::{Matrix, notes};
use crate::quantity::Scale;
use crate::report::{Body, Layout, Metric, Row, Section, Unit};

/// The section; cautions that the head of the page gives are not repeated.
pub fn section(section: &Section, given: &[String]) -> Html {
    let badge = verdict_badge(section.verdict.as_ref());
    let heading = [Html::text(&section.name), Html::text(" "), badge];
    let why = section.verdict.as_ref().map(|verdict| &verdict.why);
    let cautions = section.cautions.iter().filter(|text| !given.contains(text));
    let failures = section.failures.iter();
    let method = section.method.iter().map(|sentence| Html::prose(sentence));
    let mut rows = Rows::default();
    let table = match section.layout {
        Layout::List => rows.list(&section.metrics, &section.rows),
        Layout::Matrix => rows.matrix(&section.metrics, &section.rows),
    };
    let content = [
        element("h2", heading),
        element("blockquote", [Html::prose(&section.claim)]),
        join(why.map(|why| element("p", [Html::prose(&format!("Why: {why}"))]))),
        headed("h3", "What is run", list("", method)),
        join(section.figures.iter().map(figure)),
        join(section.timelines.iter().map(timeline)),
        join(section.traces.iter().map(trace)),
        headed("h3", "The numbers", table),
        rows.notes(),
        columns(&section.metrics),
        headed("h3", "The code", join(section.code.iter().map(code))),
        join(cautions.map(|text| said("p", "caution", text))),
        join(failures.map(|text| said("p", "failure", &format!("Not measured: {text}")))),
    ];
    with("section", &[("id", &section.name)], content)
}

fn figure(figure: &Figure) -> Html {
    drawn(&figure.title, |format| draw::figure(figure, format))
}

fn timeline(timeline: &Timeline) -> Html {
    drawn(&timeline.title, |format| draw::timeline(timeline, format))
}

/// The drawing, and below it, for who wants it, the text.
fn trace(trace: &Trace) -> Html {
    let summary = element("summary", [Html::text("The same as text")]);
    let text = element("pre", [Html::text(&trace.text)]);
    join([
        drawn(&trace.title, |format| draw::trace(trace, format)),
        element("details", [summary, text]),
    ])
}

fn drawn(title: &str, draw: impl Fn(Format) -> Option<String>) -> Html {
    let drawing = |format| {
        let class = match format {
            Format::Wide => "wide",
            Format::Narrow => "narrow",
        };
        draw(format).map(|svg| classed("div", class, [Html::svg(svg)]))
    };
    let drawings: Vec<Html> = Format::ALL.into_iter().filter_map(drawing).collect();
    if drawings.is_empty() {
        return Html::default();
    }
    let caption = element("figcaption", [Html::text(title)]);
    element("figure", [caption].into_iter().chain(drawings))
}

fn code(excerpt: &Excerpt) -> Html {
    let place = format!("{}, line {}", excerpt.file, excerpt.line);
    let code = element("code", [Html::text(&excerpt.code)]);
    join([said("div", "note", &place), element("pre", [code])])
}

fn columns(metrics: &[Metric]) -> Html {
    let line = |metric: &Metric| {
        let dt = element("dt", [Html::text(&named(metric))]);
        join([dt, element("dd", [Html::prose(&metric.meaning)])])
    };
    classed("dl", "columns note", metrics.iter().map(line))
}

fn named(metric: &Metric) -> String {
    metric.name.replace('_', " ")
}

fn by(name: &str, body: Body) -> Html {
    said(name, &format!("by by-{}", body.name()), body.name())
}

/// A table in the making, with the notes that its rows refer to.
#[derive(Default)]
struct Rows {
    notes: Vec<String>,
}

impl Rows {
    fn list(&mut self, metrics: &[Metric], rows: &[Row]) -> Html {
        let name = |metric: &Metric| {
            let name = Html::text(&named(metric));
            match metric.unit {
                Unit::Words => element("th", [name]),
                _ => join([
                    classed("th", "number", [name]),
                    said("th", "spread", "p5 .. p95"),
                ]),
            }
        };
        let titles = ["what", "by"].map(|title| element("th", [Html::text(title)]));
        let titles = titles.into_iter().chain(metrics.iter().map(name));
        let count = said("th", "number", "n");
        let head = element("tr", titles.chain([count]));
        let line = |row: &Row| {
            let label = self.marked(&full_label(row), notes(row));
            let head = with("th", &[("scope", "row")], [label]);
            let cells = metrics.iter().map(|metric| value(metric, row));
            let counts = row.values.values().map(|value| value.n);
            let count = counts.max().map_or_else(String::new, |n| n.to_string());
            let count = said("td", "number", &count);
            let cells = [head, by("td", row.body)].into_iter().chain(cells);
            element("tr", cells.chain([count]))
        };
        let lines: Vec<Html> = rows.iter().map(line).collect();
        tabulated(head, lines)
    }

    fn matrix(&mut self, metrics: &[Metric], rows: &[Row]) -> Html {
        let matrix = Matrix::of(metrics, rows);
        let corner = element("th", [Html::text("what")]);
        let bodies = matrix.bodies.iter().map(|&body| by("th", body));
        let head = element("tr", [corner].into_iter().chain(bodies));
        let mut lines = Vec::new();
        for line in matrix.lines {
            let mut cells = vec![with("th", &[("scope", "row")], [Html::text(&line.label)])];
            for cell in line.cells {
                let text = self.marked(&cell.text, cell.notes);
                cells.push(classed("td", "words", [text]));
            }
            lines.push(element("tr", cells));
        }
        tabulated(head, lines)
    }

    /// `text` with the numbers of its notes.
    fn marked(&mut self, text: &str, notes: Vec<String>) -> Html {
        let mut text = text.to_owned();
        for note in notes {
            let known = self.notes.iter().position(|other| *other == note);
            let index = known.unwrap_or_else(|| {
                self.notes.push(note);
                self.notes.len() - 1
            });
            text.push_str(&format!(" [{}]", index + 1));
        }
        Html::text(&text)
    }

    fn notes(&self) -> Html {
        let note = |(index, note): (usize, &String)| {
            said("div", "note", &format!("[{}] {note}", index + 1))
        };
        join(self.notes.iter().enumerate().map(note))
    }
}

fn tabulated(head: Html, lines: Vec<Html>) -> Html {
    if lines.is_empty() {
        return Html::default();
    }
    let table = [element("thead", [head]), element("tbody", lines)];
    classed("div", "scroll", [element("table", table)])
}

fn value(metric: &Metric, row: &Row) -> Html {
    let words = row.words.get(&metric.name).map(String::as_str);
    if metric.unit == Unit::Words {
        return said("td", "words", words.unwrap_or("-"));
    }
    let Some(value) = row.values.get(&metric.name) else {
        let median = said("td", "number", words.unwrap_or("-"));
        return join([median, said("td", "spread", "")]);
    };
    let scale = Scale::of(metric.unit, value.median);
    let median = format!("{} {}", scale.number(value.median), scale.symbol);
    let spread = format!("{} .. {}", scale.number(value.p5), scale.number(value.p95));
    join([
        said("td", "number", median.trim_end()),
        said("td", "spread", &spread),
    ])
}
