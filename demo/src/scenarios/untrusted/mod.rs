//! `untrusted`: code that nobody trusts, in a confined process, in a thread, and in a coroutine.
//!
//! | file      | what                                                             |
//! |-----------|------------------------------------------------------------------|
//! | `attacks` | what such code tries                                             |
//! | `stage`   | where each is tried, and what it comes to                        |
//! | `observe` | a child heard out, for so long and so much                       |
//! | `program` | a given program, confined: `--program PATH`                      |
//! | here      | the comparison                                                   |
//!
//! What confines is [`crate::os::confine`]. Where the system cannot do that, nothing is claimed: it says NOT SANDBOXED
//! and runs nothing.
#![forbid(unsafe_code)]

mod attacks;
mod observe;
mod program;
mod stage;

use std::io;

use self::attacks::Attack;
use self::program::{CHOICES, Wish};
use self::stage::stage;
use crate::comparison::{Answer, Feature, Place, Scenario};
use crate::excerpt::Excerpt;
use crate::experiments::Experiment;
use crate::lab::Lab;
use crate::options::{Choice, Options};
use crate::os;
use crate::report::{Body, Effort, Findings, Layout, Metric, Outcome, Row, Unit, Verdict};
use crate::stats::Summary;

/// See the module's head.
pub struct Untrusted;

const OUTCOME: &str = "outcome";
const HARM: &str = "harm";

/// Tries all attacks in one of the three.
fn try_all(lab: &mut Lab, body: Body) -> io::Result<()> {
    let total = Attack::ALL.len() as u64;
    for (done, attack) in (0..).zip(Attack::ALL) {
        lab.progress(attack.label(), done, total);
        let outcome = stage(attack, body)?;
        let mut row = Row::new(attack.label(), body);
        row.words.insert(OUTCOME.to_owned(), outcome.words);
        let harm = if outcome.is_harm { 1.0 } else { 0.0 };
        let summary = Summary::of(&[harm]);
        row.values
            .extend(summary.map(|summary| (HARM.to_owned(), summary)));
        lab.row(row);
    }
    Ok(())
}

impl Experiment for Untrusted {
    fn name(&self) -> &'static str {
        "untrusted"
    }

    fn claim(&self) -> &'static str {
        "Code that nobody trusts belongs into a process of its own, a sandbox."
    }

    fn method(&self, _effort: Effort) -> Vec<String> {
        vec![
            format!(
                "{} attacks, each in a process that is confined (landlock, seccomp with a list of what is allowed, limits \
                 on CPU, memory, output and time), in a thread, and in a coroutine.",
                Attack::ALL.len()
            ),
            "Thread and coroutine live in a process with a neighbour that wants to go on; a parent observes what becomes \
             of it. It gives the attack a second, and 1 GiB of memory."
                .to_owned(),
        ]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(OUTCOME, Unit::Words, "what the attack came to"),
            Metric::new(
                HARM,
                Unit::Count,
                "1 if somebody else was harmed or the attack had what it wanted",
            ),
        ]
    }

    fn layout(&self) -> Layout {
        Layout::Matrix
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        try_all(lab, Body::Coroutine)
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        try_all(lab, Body::Thread)
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        match os::confinement_missing() {
            None => try_all(lab, Body::Process),
            Some(why) => {
                for attack in Attack::ALL {
                    lab.skip(attack.label(), &format!("NOT SANDBOXED: {why}; not run"));
                }
                Ok(())
            }
        }
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        let [process, thread, coroutine] =
            [Body::Process, Body::Thread, Body::Coroutine].map(|body| harms(findings, body));
        Some(verdict(process, thread?, coroutine?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        let answers = || {
            let Verdict { outcome, why } = self.judge(findings)?;
            let [process, thread, coroutine] =
                [Body::Process, Body::Thread, Body::Coroutine].map(|body| harms(findings, body));
            let count = |harms: Option<usize>| {
                harms.map_or_else(|| "?".to_owned(), |count| count.to_string())
            };
            let value = format!(
                "{} of {} harm; thread {}, coroutine {}",
                count(process),
                Attack::ALL.len(),
                count(thread),
                count(coroutine)
            );
            let places = [
                Place::Scenario(Scenario::Untrusted),
                Place::Cell(Feature::UseCase, Body::Process),
            ];
            Some(places.map(|place| Answer::new(place, outcome, &*value, &*why)))
        };
        answers().into_iter().flatten().collect()
    }

    fn code(&self) -> Vec<Excerpt> {
        let stage = include_str!("stage.rs");
        let of_stage = |name| Excerpt::of("demo/src/scenarios/untrusted/stage.rs", stage, name);
        ["confined", "thread", "coroutine"].map(of_stage).into()
    }

    fn is_scenario(&self) -> bool {
        true
    }

    fn options(&self) -> &'static [Choice] {
        CHOICES
    }

    fn check(&self, options: &Options) -> Result<(), String> {
        Wish::of(options).map(|_| ())
    }

    fn alone(&self, options: &Options) -> Option<io::Result<bool>> {
        let wish = Wish::of(options).ok().flatten()?;
        Some(wish.run())
    }
}

/// How many attacks did harm there; `None` if one was not tried.
fn harms(findings: Findings<'_>, body: Body) -> Option<usize> {
    let of = |attack: &Attack| {
        let mut rows = findings.0.iter();
        let row = rows.find(|row| row.body == body && row.label == attack.label())?;
        row.values.get(HARM).map(|harm| harm.median)
    };
    let harms = Attack::ALL.iter().map(of).collect::<Option<Vec<_>>>()?;
    Some(harms.into_iter().filter(|&harm| harm > 0.0).count())
}

/// Judges how many attacks did harm in each; `process` is `None` if none could be confined.
fn verdict(process: Option<usize>, thread: usize, coroutine: usize) -> Verdict {
    let all = Attack::ALL.len();
    let others = format!(
        "In a thread {thread} of {all} harm others or get what they want, in a coroutine {coroutine}: both share memory, \
         descriptors, rights and fate with all else in their process, and a coroutine the worker too."
    );
    let (outcome, why) = match process {
        None => (
            Outcome::Depends,
            format!(
                "on the system: this one cannot confine a process, so none was tried (NOT SANDBOXED). {others}"
            ),
        ),
        Some(0) if thread > 0 && coroutine > 0 => (
            Outcome::Confirmed,
            format!(
                "in a confined process none of {all} attacks harms anybody: it is ended, or refused, or hits its own copy. {others} \
                 It is the confinement that does it, though: a process that is merely another one may still open, connect and \
                 signal."
            ),
        ),
        Some(0) => (Outcome::Depends, others),
        Some(harms) => (
            Outcome::Refuted,
            format!("{harms} of {all} attacks do harm even from a confined process. {others}"),
        ),
    };
    Verdict { outcome, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sandbox_without_a_hole_confirms() {
        let outcome = |process| verdict(process, 12, 13).outcome;
        assert_eq!(outcome(Some(0)), Outcome::Confirmed);
        assert_eq!(outcome(Some(1)), Outcome::Refuted);
        assert_eq!(outcome(None), Outcome::Depends);
    }

    #[test]
    fn a_program_that_is_not_there_is_refused() {
        let wish = |path: &str| {
            let mut options = Options::default();
            options.insert("program", path.into());
            Wish::of(&options).map(|_| ())
        };
        assert!(
            wish("/no/such/program")
                .unwrap_err()
                .contains("No such file")
        );
        assert!(wish("/").unwrap_err().contains("executed"));
        assert_eq!(wish("/bin/sh"), Ok(()));
    }
}
