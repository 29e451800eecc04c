//! What an experiment is: a claim, three bodies that do the same with a coroutine, a thread and a forked
//! process, and a judge.
//!
//! | section         | file            | claim under test                            |
//! |-----------------|-----------------|---------------------------------------------|
//! | `memory-space`  | `memory_space`  | who sees what another writes                |
//! | `isolation`     | `isolation`     | what a unit that breaks harms beside itself |
//! | `scheduling`    | `scheduling`    | who decides who runs next                   |
//! | `switch`        | `switch`        | what it costs to hand control over          |
//! | `creation`      | `creation`      | what it costs to create, run and join one   |
//! | `scalability`   | `scalability`   | how many there can be, and what each takes  |
//! | `communication` | `communication` | what it costs to hand over bytes            |
//! | `preemption`    | `preemption`    | who is interrupted                          |
//! | `parallelism`   | `parallelism`   | who gets a job done faster together         |
//!
//! # To add a section
//!
//! A file here that implements [`Experiment`], and its line in [`ALL`]. Of the methods, those without a default
//! are what it cannot do without; the others are for the report:
//!
//! - [`Experiment::answers`]: one [`Answer`] to each claim that [`comparison::CLAIMS`] gives to this section. They
//!   fill the table at the end of a run. `Answer::value` is what stands in the cell: short, a figure.
//! - [`Experiment::code`]: put `// excerpt: NAME` and `// excerpt: end` around the lines that a reader should see
//!   (20 at most), and return `vec![Excerpt::of(file!(), include_str!("switch.rs"), "NAME")]`.
//! - [`Experiment::figures`]: [`Figure::ladder`] for bars, [`Figure::lines`] over `Row::units` or `Row::size`, with
//!   [`Figure::mark`] for limits and targets. Without it a section with one numeric metric gets a ladder.
//! - Rows that are no numbers: a metric of [`Unit::Words`], its text in [`Row::words`], reported with
//!   [`Lab::words`]. With [`Layout::Matrix`] the table has a line for each label and a column for each body.
//! - Timelines: [`Lab::timeline`] from any body; traces: [`Lab::trace`].
//!
//! A body starts pinned to one CPU; [`Lab::unpin`] gives it all. How long it may take stands at [`Effort`].
//!
//! # To add a scenario
//!
//! The same, with [`Experiment::is_scenario`], and for real input:
//!
//! - [`Experiment::options`] declares `--input DIR` and its like; `demo run NAME --help` shows them.
//! - [`Experiment::check`] refuses what makes no sense, with exit status 2, before anything is run.
//! - [`Experiment::alone`] does the work itself if the options ask for that (`--listen`: serve until Ctrl-C). It
//!   runs in the demo's process, on its terminal, before any other thread is there, and may fork; nobody else clears up.
//! - Else the bodies are compared, and find the options in [`Lab::options`].
//! - Files and sockets go into [`Lab::scratch`], one directory for all bodies of a section, which is removed at the
//!   end and on Ctrl-C. The baseline runs first: what it makes there the others find.
//!
//! [`comparison::CLAIMS`]: crate::comparison::CLAIMS
//! [`Unit::Words`]: crate::report::Unit::Words
//! [`Row::words`]: crate::report::Row::words
#![forbid(unsafe_code)]

mod communication;
mod creation;
mod isolation;
mod memory_space;
mod parallelism;
mod preemption;
mod scalability;
mod scheduling;
mod sweep;
mod switch;

use std::any::Any;
use std::io;

use crate::comparison::Answer;
use crate::excerpt::Excerpt;
use crate::figure::Figure;
use crate::lab::Lab;
use crate::options::{Choice, Options};
use crate::report::{Effort, Findings, Layout, Metric, Unit, Verdict};
use crate::scenarios;

/// The hidden argument with which the demo ends at once: the program that `creation` spawns.
pub const NOTHING: &str = "__nothing";

/// One claim and the measurement that tests it.
///
/// A body runs in a helper process of its own ([`crate::lab`]); the rest runs in the demo.
pub trait Experiment: Sync {
    /// The name that `demo run` takes.
    fn name(&self) -> &'static str;

    /// The claim, as the classic comparison makes it.
    fn claim(&self) -> &'static str;

    /// What is run and how it is counted, a sentence each.
    fn method(&self, effort: Effort) -> Vec<String>;

    /// The columns of the table.
    fn metrics(&self) -> Vec<Metric>;

    /// Rows that the three approaches are read against; none unless the experiment has some.
    ///
    /// # Errors
    /// What keeps the body from being measured at all, as of the three bodies below. What concerns one
    /// row is better reported with [`Lab::fail`].
    fn baseline(&self, _lab: &mut Lab) -> io::Result<()> {
        Ok(())
    }

    /// The rows of the coroutines.
    ///
    /// # Errors
    /// As of [`Experiment::baseline`].
    fn coroutine(&self, lab: &mut Lab) -> io::Result<()>;

    /// The rows of the threads.
    ///
    /// # Errors
    /// As of [`Experiment::baseline`].
    fn thread(&self, lab: &mut Lab) -> io::Result<()>;

    /// The rows of the processes. The calling process has one thread, so it may fork.
    ///
    /// # Errors
    /// As of [`Experiment::baseline`].
    fn process(&self, lab: &mut Lab) -> io::Result<()>;

    /// What the rows say about the claim; `None` if a row that decides it is missing.
    fn judge(&self, findings: Findings<'_>) -> Option<Verdict>;

    /// What the rows say about the claims of the comparison that belong to this section; one whose rows are
    /// missing is left out.
    fn answers(&self, _findings: Findings<'_>) -> Vec<Answer> {
        Vec::new()
    }

    /// The lines of this experiment's source that a reader should see.
    fn code(&self) -> Vec<Excerpt> {
        Vec::new()
    }

    /// How the table shows the rows.
    fn layout(&self) -> Layout {
        Layout::List
    }

    /// What the report draws of the rows: a ladder, if there is one metric and it is a number.
    fn figures(&self, findings: Findings<'_>) -> Vec<Figure> {
        match &self.metrics()[..] {
            [only] if only.unit != Unit::Words => {
                vec![Figure::ladder(&only.meaning, only, findings.0)]
            }
            _ => Vec::new(),
        }
    }

    /// Whether it is a program of use to somebody rather than the measurement of one property.
    fn is_scenario(&self) -> bool {
        false
    }

    /// What it can be told on the command line.
    fn options(&self) -> &'static [Choice] {
        &[]
    }

    /// Looks at the options before anything is run.
    ///
    /// # Errors
    /// What makes no sense in them, in a sentence for the user: exit status 2.
    fn check(&self, _options: &Options) -> Result<(), String> {
        Ok(())
    }

    /// Does its work on real input if the options ask for that; `None` if they do not, and the bodies are to be
    /// compared. Returns whether all went well (exit status 0, else 1).
    fn alone(&self, _options: &Options) -> Option<io::Result<bool>> {
        None
    }
}

/// All experiments, in the order in which they are run.
pub const ALL: &[&dyn Experiment] = &[
    &memory_space::MemorySpace,
    &isolation::Isolation,
    &scheduling::Scheduling,
    &switch::Switch,
    &creation::Creation,
    &scalability::Scalability,
    &communication::Communication,
    &preemption::Preemption,
    &parallelism::Parallelism,
    &scenarios::Hello,
    &scenarios::ImagePipeline,
    &scenarios::WebCrawler,
    &scenarios::Shell,
    &scenarios::Untrusted,
    &scenarios::Http10k,
];

/// The experiment of this name.
pub fn find(name: &str) -> Option<&'static dyn Experiment> {
    ALL.iter()
        .copied()
        .find(|experiment| experiment.name() == name)
}

/// A panic that `join` returned, as an error.
pub fn panicked(payload: Box<dyn Any + Send>) -> io::Error {
    let text = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "a payload that is no text",
    };
    io::Error::other(format!("a unit panicked: {text}"))
}

/// Rows made by hand, to see how they are judged.
#[cfg(test)]
pub mod specimen {
    use super::*;
    use crate::comparison::{CLAIMS, VALUE_MAX};
    use crate::report::{Body, Row};
    use crate::stats::Summary;

    /// A row whose median, and every other figure, is `value`.
    pub fn value(label: &str, body: Body, metric: &str, value: f64) -> Row {
        let mut row = Row::new(label, body);
        let summary = Summary::of(&[value]).expect("one sample is enough");
        row.values.insert(metric.to_owned(), summary);
        row
    }

    /// A row that is no number.
    pub fn words(label: &str, body: Body, metric: &str, words: &str) -> Row {
        let mut row = Row::new(label, body);
        row.words.insert(metric.to_owned(), words.to_owned());
        row
    }

    /// Asserts that the rows are judged and every claim that belongs to this section is answered, in values that
    /// fit a cell.
    pub fn assert_answers_all(experiment: &dyn Experiment, rows: &[Row]) -> Vec<Answer> {
        assert!(experiment.judge(Findings(rows)).is_some());
        let answers = experiment.answers(Findings(rows));
        for claim in CLAIMS {
            let is_answered = answers.iter().any(|answer| answer.claim == claim.place);
            assert_eq!(
                is_answered,
                claim.section == experiment.name(),
                "{}",
                claim.place
            );
        }
        for Answer { value, why, .. } in &answers {
            assert!(
                !why.is_empty() && !value.is_empty() && value.len() <= VALUE_MAX,
                "{value}"
            );
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::{CLAIMS, Place};

    #[test]
    fn every_experiment_has_a_name_of_its_own_a_claim_a_method_and_a_metric() {
        for (index, experiment) in ALL.iter().enumerate() {
            assert!(
                ALL[..index]
                    .iter()
                    .all(|other| other.name() != experiment.name())
            );
            assert!(!experiment.claim().is_empty() && !experiment.metrics().is_empty());
            assert!(!experiment.method(Effort::Quick).is_empty());
            assert!(
                experiment
                    .code()
                    .iter()
                    .all(|excerpt| !excerpt.code.is_empty())
            );
        }
    }

    #[test]
    fn every_claim_belongs_to_a_section_that_is_there_or_to_a_scenario() {
        let scenarios = CLAIMS
            .iter()
            .filter_map(|claim| matches!(claim.place, Place::Scenario(_)).then_some(claim.section));
        let scenarios: Vec<&str> = scenarios.collect();
        for claim in CLAIMS {
            // That each section answers its claims, its own tests show.
            let is_there = find(claim.section).is_some() || scenarios.contains(&claim.section);
            assert!(is_there, "{}: {}", claim.place, claim.section);
        }
    }

    #[test]
    fn the_text_of_a_panic_survives_as_an_error() {
        assert!(panicked(Box::new("boom")).to_string().ends_with("boom"));
        assert!(
            panicked(Box::new(String::from("bang")))
                .to_string()
                .ends_with("bang")
        );
    }
}
