//! What an experiment is: a claim, three bodies that do the same with a coroutine, a thread and a forked
//! process, and a judge.
//!
//! | section       | file          | claim under test                          |
//! |---------------|---------------|-------------------------------------------|
//! | `switch`      | `switch`      | what it costs to hand control over        |
//! | `creation`    | `creation`    | what it costs to create, run and join one |
//! | `scalability` | `scalability` | how many there can be, and what each takes |
//!
//! To add one: a file here that implements [`Experiment`], and its line in [`ALL`].
#![forbid(unsafe_code)]

mod creation;
mod scalability;
mod switch;

use std::any::Any;
use std::io;

use crate::lab::Lab;
use crate::report::{Effort, Findings, Metric, Verdict};
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
}

/// All experiments, in the order in which they are run.
pub const ALL: &[&dyn Experiment] = &[
    &switch::Switch,
    &creation::Creation,
    &scalability::Scalability,
    &scenarios::Hello,
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

#[cfg(test)]
mod tests {
    use super::*;

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
