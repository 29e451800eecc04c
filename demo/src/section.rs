//! One section from beginning to end: every body of its experiment, then what follows from them.
#![forbid(unsafe_code)]

use crate::cleanup::Cleanup;
use crate::conduct::{self, Order, conduct};
use crate::environment::Environment;
use crate::experiments::Experiment;
use crate::figure::full_label;
use crate::options::Options;
use crate::progress::Progress;
use crate::report::{Body, Effort, Findings, Row, Section};

/// Measures `experiment`, each body in a process of its own, and judges it.
pub fn measure(
    experiment: &dyn Experiment,
    effort: Effort,
    options: &Options,
    cleanup: &Cleanup,
    progress: &Progress,
) -> Section {
    let bodies = match cleanup.scratch() {
        Ok(scratch) => {
            let order = Order {
                experiment: experiment.name(),
                effort,
                options: &options.of(experiment.options()),
                scratch: scratch.path(),
            };
            Body::ALL.map(|body| conduct(order, body, cleanup, progress))
        }
        Err(error) => {
            let mut bodies: [conduct::Harvest; 4] = Default::default();
            let text = format!("no directory for temporary files could be made: {error}");
            bodies[0].failures.push(text);
            bodies
        }
    };
    progress.clear();
    conclude(experiment, effort, bodies)
}

fn conclude(experiment: &dyn Experiment, effort: Effort, bodies: [conduct::Harvest; 4]) -> Section {
    let environment = Environment::look(bodies.iter().all(|body| body.unpinned.is_none()));
    let mut cautions = environment.cautions();
    let unpinned = bodies.iter().find_map(|body| body.unpinned.as_ref());
    cautions.extend(unpinned.map(|why| format!("pinning was refused: {why}")));

    let mut rows = Vec::new();
    let mut timelines = Vec::new();
    let mut traces = Vec::new();
    let mut failures = Vec::new();
    for body in bodies {
        rows.extend(body.rows);
        timelines.extend(body.timelines);
        traces.extend(body.traces);
        failures.extend(body.failures);
    }
    cautions.extend(wide_rows(&rows));
    let findings = Findings(&rows);
    let verdict = experiment.judge(findings);
    let answers = experiment.answers(findings);
    let figures = experiment.figures(findings);
    if verdict.is_none() && failures.is_empty() {
        failures.push("too little could be measured here for a verdict".to_owned());
    }
    Section {
        name: experiment.name().to_owned(),
        claim: experiment.claim().to_owned(),
        method: experiment.method(effort),
        code: experiment.code(),
        metrics: experiment.metrics(),
        layout: experiment.layout(),
        rows,
        verdict,
        answers,
        figures,
        timelines,
        traces,
        cautions,
        failures,
        environment,
    }
}

/// A caution that names the rows whose samples lie too far apart; `None` if there are none.
fn wide_rows(rows: &[Row]) -> Option<String> {
    const NAMED_MAX: usize = 4;
    let is_wide = |row: &&Row| row.values.values().any(|value| value.is_wide());
    let mut wide: Vec<String> = Vec::new();
    for label in rows.iter().filter(is_wide).map(full_label) {
        // Of a matrix each body has a row of this label.
        if !wide.contains(&label) {
            wide.push(label);
        }
    }
    let more = wide.len().saturating_sub(NAMED_MAX);
    let named = wide.get(..NAMED_MAX).unwrap_or(&wide).join("; ");
    let rest = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    (!wide.is_empty()).then(|| {
        format!(
            "wide spread (p5..p95 over half the median), conclude nothing from small differences: \
             {named}{rest}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments;
    use crate::stats::Summary;

    fn row(label: &str, p95: f64) -> Row {
        let mut row = Row::new(label, Body::Thread);
        row.values.insert(
            "time".into(),
            Summary {
                median: 1.0,
                p5: 1.0,
                p95,
                n: 11,
            },
        );
        row
    }

    #[test]
    fn rows_that_spread_are_named_and_the_others_are_not() {
        assert_eq!(wide_rows(&[row("a", 1.2)]), None);
        let text = wide_rows(&[row("calm", 1.2), row("wild", 3.0)]).unwrap();
        assert!(text.contains("wild") && !text.contains("calm"), "{text}");
    }

    #[test]
    fn of_many_wide_rows_the_first_are_named() {
        let rows: Vec<Row> = (0..6).map(|i| row(&format!("r{i}"), 3.0)).collect();
        let text = wide_rows(&rows).unwrap();
        assert!(text.ends_with("r0; r1; r2; r3; and 2 more"), "{text}");
    }

    #[test]
    fn a_section_without_a_verdict_has_a_failure() {
        for experiment in experiments::ALL {
            let bodies = std::array::from_fn(|_| conduct::Harvest::default());
            let section = conclude(*experiment, Effort::Quick, bodies);
            assert!(section.verdict.is_none() && !section.failures.is_empty());
        }
    }

    #[test]
    fn an_unpinned_body_makes_the_section_unpinned() {
        let mut bodies: [conduct::Harvest; 4] =
            std::array::from_fn(|_| conduct::Harvest::default());
        bodies[2].unpinned = Some("refused".into());
        let section = conclude(experiments::ALL[0], Effort::Quick, bodies);
        assert!(!section.environment.pinned);
        assert!(section.cautions.iter().any(|text| text.contains("refused")));
    }
}
