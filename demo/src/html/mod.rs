//! The report as one HTML file that needs nothing else: style and figures are in it, scripts there are none.
//!
//! | file           | part of the page                                         |
//! |----------------|----------------------------------------------------------|
//! | [`element`]    | elements and escaped text, which everything is made of   |
//! | `style.css`    | light and dark, a phone, paper                           |
//! | [`comparison`] | the table of the text under test, its lists, the verdicts |
//! | [`section`]    | claim, verdict, method, figures, numbers, code, doubts   |
#![forbid(unsafe_code)]

mod comparison;
mod element;
mod section;

pub use element::escape;

use element::{Html, classed, element, headed, join, list, said, with};

use crate::environment::Environment;
use crate::quantity::with_unit;
use crate::report::{Effort, Outcome, Report, Section, Unit, Verdict};

const STYLE: &str = include_str!("style.css");

/// Nothing may be loaded from anywhere, whatever a report says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const TITLE: &str = "Process, thread, coroutine: measured";

/// The whole page. `whole`: the comparison shows also the claims whose sections were not run.
pub fn page(report: &Report, whole: bool) -> String {
    let environment = environment(&report.sections);
    let machine_cautions = environment
        .as_ref()
        .map_or(Vec::new(), Environment::cautions);
    let cautions = machine_cautions
        .iter()
        .map(|text| said("p", "caution", text));
    let body = [
        element("h1", [Html::text(TITLE)]),
        said("p", "quiet", &about(report)),
        headed(
            "h3",
            "The machine",
            environment.as_ref().map_or(Html::default(), machine),
        ),
        join(cautions),
        element("nav", [contents(&report.sections)]),
        comparison::comparison(&report.sections, whole),
        join(
            report
                .sections
                .iter()
                .map(|section| section::section(section, &machine_cautions)),
        ),
    ];
    let meta = |attributes: &str| format!("<meta {attributes}/>\n");
    let head = [
        meta("charset=\"utf-8\""),
        meta("name=\"viewport\" content=\"width=device-width, initial-scale=1\""),
        meta(&format!(
            "http-equiv=\"Content-Security-Policy\" content=\"{}\"",
            escape(POLICY)
        )),
        format!(
            "<title>{}</title>\n<style>\n{STYLE}</style>\n",
            escape(TITLE)
        ),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n{}</head>\n<body>\n{}</body>\n</html>\n",
        head.concat(),
        join(body).into_string()
    )
}

fn about(report: &Report) -> String {
    let effort = match report.mode {
        Effort::Quick => "A quick run: few samples, good for a first look.",
        Effort::Standard => "A standard run.",
        Effort::Full => "A full run, for figures to publish.",
    };
    format!(
        "{effort} Each figure is a median with its 5th and 95th percentile; every claim of the classic comparison has a \
         verdict. Written by demo {}.",
        report.demo
    )
}

/// The machine of all sections, which they ran on one after the other; pinned if all were.
fn environment(sections: &[Section]) -> Option<Environment> {
    let first = sections.first()?.environment.clone();
    let pinned = sections.iter().all(|section| section.environment.pinned);
    Some(Environment { pinned, ..first })
}

fn machine(environment: &Environment) -> Html {
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let lines = [
        ("processor", environment.cpu.clone()),
        ("CPUs used", environment.cores.to_string()),
        (
            "memory",
            with_unit(Unit::Bytes, environment.memory_bytes as f64),
        ),
        (
            "kernel",
            format!("{}, {}", environment.kernel, environment.arch),
        ),
        (
            "virtual machine",
            environment.virtualised.map_or("not known".to_owned(), yes),
        ),
        (
            "frequency governor",
            environment.governor.clone().unwrap_or("none".to_owned()),
        ),
        ("pinned to CPUs", yes(environment.pinned)),
        ("build", environment.build.clone()),
    ];
    let line = |(name, value): &(&str, String)| {
        let dt = element("dt", [Html::text(name)]);
        join([dt, element("dd", [Html::text(value)])])
    };
    classed("dl", "machine", lines.iter().map(line))
}

fn contents(sections: &[Section]) -> Html {
    let entry = |section: &Section| {
        let target = format!("#{}", section.name);
        let link = with("a", &[("href", &target)], [Html::text(&section.name)]);
        join([
            link,
            Html::text(" "),
            verdict_badge(section.verdict.as_ref()),
        ])
    };
    list("", sections.iter().map(entry))
}

/// A verdict, or the lack of one.
fn verdict_badge(verdict: Option<&Verdict>) -> Html {
    match verdict {
        Some(verdict) => badge(verdict.outcome),
        None => said("span", "badge none", "no verdict"),
    }
}

fn badge(outcome: Outcome) -> Html {
    let word = match outcome {
        Outcome::Confirmed => "confirmed",
        Outcome::Refuted => "refuted",
        Outcome::Depends => "depends",
    };
    said("span", &format!("badge {word}"), word)
}

#[cfg(test)]
pub mod tests;
