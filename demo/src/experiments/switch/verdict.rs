//! What `switch` concludes: which step of the ladder costs what.
#![forbid(unsafe_code)]

use super::{HAND_OVER, ONE_CPU, RESUME, RING_2, SYSTEM_CALL, link_label};
use crate::comparison::{Answer, Feature, Place, Prose};
use crate::experiments::sweep;
use crate::link::{Futex, Pipe};
use crate::quantity::{times, with_unit};
use crate::report::{Body, Findings, Outcome, Unit, Verdict};

/// Medians in nanoseconds, the kernel's hand-overs on one CPU.
pub(super) struct Costs {
    system_call: f64,
    /// The least that saving registers and changing stacks takes.
    resume: f64,
    coroutine: f64,
    /// Over a pipe.
    thread: f64,
    process: f64,
    /// How many times a thread a process takes over a futex.
    by_futex: f64,
    /// The largest working set, and what a turn with it takes: coroutine, thread, process.
    working_set: u64,
    turns: [f64; 3],
}

// "Least" is a class of its own from a factor of five on; a process costs more than a thread if it does so by more
// than two runs differ, whichever way control is handed over.
const CLASS: f64 = 5.0;
const MORE: f64 = 1.5;

impl Costs {
    pub(super) fn of(findings: Findings<'_>) -> Option<Costs> {
        let of = |label: &str| findings.median(label, HAND_OVER);
        let largest = |body| sweep::largest(findings, body);
        let (working_set, coroutine) = largest(Body::Coroutine)?;
        Some(Costs {
            system_call: of(SYSTEM_CALL)?,
            resume: of(RESUME)?,
            coroutine: of(RING_2)?,
            thread: of(&link_label::<Pipe>(Body::Thread, ONE_CPU))?,
            process: of(&link_label::<Pipe>(Body::Process, ONE_CPU))?,
            by_futex: of(&link_label::<Futex>(Body::Process, ONE_CPU))?
                / of(&link_label::<Futex>(Body::Thread, ONE_CPU))?,
            working_set,
            turns: [
                coroutine,
                largest(Body::Thread)?.1,
                largest(Body::Process)?.1,
            ],
        })
    }

    fn is_process_dearer(&self) -> bool {
        (self.process / self.thread).min(self.by_futex) >= MORE
    }

    fn is_coroutine_cheap(&self) -> bool {
        self.thread / self.coroutine >= CLASS
    }

    /// What registers and a change of stacks, and the change of address space, are of a process's hand-over.
    fn named_share(&self) -> f64 {
        (self.resume + (self.process - self.thread).max(0.0)) / self.process
    }
}

fn ns(value: f64) -> String {
    with_unit(Unit::Nanoseconds, value)
}

pub(super) fn verdict(costs: &Costs) -> Verdict {
    let outcome = match (costs.is_coroutine_cheap(), costs.is_process_dearer()) {
        (true, true) => Outcome::Confirmed,
        (true, false) => Outcome::Depends,
        (false, _) => Outcome::Refuted,
    };
    let processes = if costs.is_process_dearer() {
        "the change of address space shows directly"
    } else {
        "no class of its own: both enter the kernel and go through its scheduler, and with tagged TLB \
         entries changing the page tables is a small part of that; what a process loses in caches and \
         TLB shows only with a working set"
    };
    let [coroutine, thread, process] = costs.turns.map(ns);
    Verdict {
        outcome,
        why: format!(
            "on one CPU a coroutine hands over in {}, a thread over a pipe in {} ({} times as long): the \
             coroutine saves a few registers and stays in user space, the thread makes two system calls of \
             {} at least each and goes through the scheduler. A process takes {}, {} times a thread (over a \
             futex {} times): {}. A turn that also touches {} of one's own takes a coroutine {coroutine}, a thread \
             {thread}, a process {process}: the larger the set, the less the hand-over matters.",
            ns(costs.coroutine),
            ns(costs.thread),
            times(costs.thread, costs.coroutine),
            ns(costs.system_call),
            ns(costs.process),
            times(costs.process, costs.thread),
            times(costs.by_futex, 1.0),
            processes,
            with_unit(Unit::Bytes, costs.working_set as f64),
        ),
    }
}

pub(super) fn answers(costs: &Costs) -> Vec<Answer> {
    let is_dearer = costs.is_process_dearer();
    let cheap = if costs.is_coroutine_cheap() {
        Outcome::Confirmed
    } else {
        Outcome::Refuted
    };
    let classes = match (costs.is_coroutine_cheap(), is_dearer) {
        (true, true) => Outcome::Confirmed,
        (true, false) => Outcome::Depends,
        (false, _) => Outcome::Refuted,
    };
    let cell = |body, outcome, value, why| {
        Answer::new(Place::Cell(Feature::SwitchCost, body), outcome, value, why)
    };
    let beside_thread = format!("{} times a thread's", times(costs.process, costs.thread));
    let beside_coroutine = format!(
        "{} times a coroutine's",
        times(costs.thread, costs.coroutine)
    );
    vec![
        cell(
            Body::Process,
            if is_dearer {
                Outcome::Confirmed
            } else {
                Outcome::Depends
            },
            ns(costs.process),
            format!(
                "{beside_thread} over a pipe, {} times over a futex: {}",
                times(costs.by_futex, 1.0),
                if is_dearer {
                    "the address space shows"
                } else {
                    "high beside a coroutine, not beside a thread; it depends on the working set"
                }
            ),
        ),
        cell(
            Body::Thread,
            classes,
            ns(costs.thread),
            format!(
                "{beside_coroutine}, with two kernel entries of {} at least; {}",
                ns(costs.system_call),
                if is_dearer {
                    "a process takes more"
                } else {
                    "but a process takes hardly more"
                }
            ),
        ),
        cell(
            Body::Coroutine,
            cheap,
            ns(costs.coroutine),
            format!("a thread's is {beside_coroutine}"),
        ),
        Answer::new(
            Place::Prose(Prose::ProcessSwitch),
            if is_dearer && costs.named_share() >= 0.5 {
                Outcome::Confirmed
            } else {
                Outcome::Depends
            },
            format!(
                "these make {:.0} % of {}",
                100.0 * costs.named_share(),
                ns(costs.process)
            ),
            format!(
                "expensive, but mostly for what a thread pays too, kernel entry, wake-up and scheduler ({}): registers \
                 and stack take a coroutine {}, the address space adds {}. TLB and caches depend on the working set: \
                 with {} touched a turn takes a thread {}, a process {}",
                ns(costs.thread),
                ns(costs.resume),
                ns((costs.process - costs.thread).max(0.0)),
                with_unit(Unit::Bytes, costs.working_set as f64),
                ns(costs.turns[1]),
                ns(costs.turns[2]),
            ),
        ),
        Answer::new(
            Place::Prose(Prose::NoKernel),
            cheap,
            format!(
                "{}; a system call {}",
                ns(costs.coroutine),
                ns(costs.system_call)
            ),
            format!(
                "a thread's hand-over takes {beside_coroutine}; `scheduling` counts the system calls of each"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::specimen::{assert_answers_all, value};
    use crate::experiments::switch::Switch;
    use crate::report::Row;

    fn costs(coroutine: f64, process: f64, by_futex: f64) -> Costs {
        Costs {
            system_call: 130.0,
            resume: 4.0,
            coroutine,
            thread: 2_400.0,
            process,
            by_futex,
            working_set: 4 << 20,
            turns: [90e3, 95e3, 99e3],
        }
    }

    #[test]
    fn a_thread_that_costs_as_much_as_a_process_makes_it_depend() {
        let outcome =
            |coroutine, process, by_futex| verdict(&costs(coroutine, process, by_futex)).outcome;
        assert_eq!(outcome(10.0, 2_450.0, 1.1), Outcome::Depends);
        assert_eq!(outcome(10.0, 4_000.0, 1.1), Outcome::Depends);
        assert_eq!(outcome(10.0, 4_000.0, 1.7), Outcome::Confirmed);
        assert_eq!(outcome(2_000.0, 4_000.0, 1.7), Outcome::Refuted);
    }

    #[test]
    fn the_reason_holds_the_figures_that_it_rests_on() {
        let why = verdict(&costs(10.0, 2_450.0, 1.25)).why;
        let figures = [
            "10.0 ns",
            "2.40 us",
            "240 times",
            "2.45 us",
            "1.02 times",
            "1.25 times",
            "130 ns",
            "99.0 us",
        ];
        for figure in figures {
            assert!(why.contains(figure), "{figure}: {why}");
        }
    }

    #[test]
    fn each_claim_of_the_section_is_answered() {
        let row = |label: &str, ns| value(label, Body::Thread, HAND_OVER, ns);
        let turn = |body| Row {
            size: Some(4 << 20),
            ..value(sweep::label(body), body, sweep::TURN, 90e3)
        };
        let rows = [
            row(SYSTEM_CALL, 130.0),
            row(RESUME, 4.0),
            row(RING_2, 10.0),
            row(&link_label::<Pipe>(Body::Thread, ONE_CPU), 2_400.0),
            row(&link_label::<Pipe>(Body::Process, ONE_CPU), 2_450.0),
            row(&link_label::<Futex>(Body::Thread, ONE_CPU), 2_000.0),
            row(&link_label::<Futex>(Body::Process, ONE_CPU), 2_100.0),
            turn(Body::Coroutine),
            turn(Body::Thread),
            turn(Body::Process),
        ];
        let answers = assert_answers_all(&Switch, &rows);
        let outcomes: Vec<Outcome> = answers.iter().map(|answer| answer.outcome).collect();
        let (yes, depends) = (Outcome::Confirmed, Outcome::Depends);
        assert_eq!(outcomes, [depends, depends, yes, depends, yes]);
        assert_eq!(answers[3].value, "these make 2 % of 2.45 us");
    }
}
