//! What `isolation` concludes: how high the walls are.
#![forbid(unsafe_code)]

use super::{CONTAINED, Fault, HARMS, PRICE, PRICE_ROW};
use crate::comparison::{Answer, Feature, Place};
use crate::quantity::{times, with_unit};
use crate::report::{Body, Findings, Outcome, Unit, Verdict};

/// What keeps the harm of one kind of unit to itself.
struct Wall {
    /// The faults that harmed nobody else.
    holds: Vec<Fault>,
    price: f64,
}

impl Wall {
    fn crashes(&self) -> usize {
        self.holds.iter().filter(|fault| fault.is_crash()).count()
    }

    /// `2 of 6`.
    fn share(&self) -> String {
        format!("{} of {}", self.holds.len(), Fault::ALL.len())
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.holds.iter().map(|fault| fault.label()).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }
}

pub(super) struct Walls {
    coroutine: Wall,
    thread: Wall,
    process: Wall,
}

impl Walls {
    /// `None` unless every fault was tried in all three.
    pub(super) fn of(findings: Findings<'_>) -> Option<Walls> {
        let wall = |body| {
            let mut holds = Vec::new();
            for fault in Fault::ALL {
                if findings.words(fault.label(), body, HARMS)? == CONTAINED {
                    holds.push(fault);
                }
            }
            let price = findings.of(PRICE_ROW, body, PRICE)?;
            Some(Wall { holds, price })
        };
        Some(Walls {
            coroutine: wall(Body::Coroutine)?,
            thread: wall(Body::Thread)?,
            process: wall(Body::Process)?,
        })
    }

    fn is_high(&self) -> bool {
        self.process.holds.len() == Fault::ALL.len()
    }

    /// "Medium" is more than a coroutine's, and more than nothing against a crash.
    fn medium(&self) -> Outcome {
        match (
            self.thread.holds.len() > self.coroutine.holds.len(),
            self.thread.crashes(),
        ) {
            (true, 1..) => Outcome::Confirmed,
            (true, 0) => Outcome::Depends,
            (false, _) => Outcome::Refuted,
        }
    }

    fn is_low(&self) -> bool {
        self.coroutine.crashes() == 0
    }
}

pub(super) fn verdict(walls: &Walls) -> Verdict {
    let Walls {
        coroutine,
        thread,
        process,
    } = walls;
    let outcome = match (walls.is_high() && walls.is_low(), walls.medium()) {
        (true, medium) => medium,
        (false, _) => Outcome::Refuted,
    };
    Verdict {
        outcome,
        why: format!(
            "of {} faults a process keeps {} to itself, a thread {} ({}), a coroutine {} ({}). Between threads there \
             is no wall in memory: of the {} crashes a thread keeps {} to itself, a coroutine {}. A panic is caught where the \
             unit is joined, in all three. What a thread has over a coroutine is that the kernel takes the CPU \
             away from it.",
            Fault::ALL.len(),
            process.holds.len(),
            thread.holds.len(),
            thread.names(),
            coroutine.holds.len(),
            coroutine.names(),
            Fault::ALL.iter().filter(|fault| fault.is_crash()).count(),
            thread.crashes(),
            coroutine.crashes(),
        ),
    }
}

pub(super) fn answers(walls: &Walls) -> Vec<Answer> {
    let Walls {
        coroutine,
        thread,
        process,
    } = walls;
    let when = |is_so| {
        if is_so {
            Outcome::Confirmed
        } else {
            Outcome::Refuted
        }
    };
    let cell = |body, outcome, wall: &Wall, why: &str| {
        let place = Place::Cell(Feature::Isolation, body);
        Answer::new(
            place,
            outcome,
            format!("{} faults contained", wall.share()),
            why,
        )
    };
    // A process costs more than a thread if it does so by more than two runs differ.
    const MORE: f64 = 1.5;
    let costs = with_unit(Unit::Nanoseconds, process.price);
    vec![
        cell(
            Body::Process,
            when(walls.is_high()),
            process,
            "each has its own memory and its own end; the observer reads how it ended from its status",
        ),
        cell(
            Body::Thread,
            walls.medium(),
            thread,
            "it depends on the fault: a panic and an endless loop stay with the thread; a crash takes the whole \
             process along, as a coroutine's does",
        ),
        cell(
            Body::Coroutine,
            when(walls.is_low()),
            coroutine,
            "a panic stays with the coroutine; a crash ends the process, and one that never yields stops its neighbours",
        ),
        Answer::new(
            Place::Takeaway(Body::Process),
            when(walls.is_high() && process.price / thread.price >= MORE),
            format!("{} contained; {costs} each", process.share()),
            format!(
                "a process that does nothing costs {} times a thread, {} times a coroutine",
                times(process.price, thread.price),
                times(process.price, coroutine.price)
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::Experiment;
    use crate::experiments::isolation::Isolation;
    use crate::experiments::specimen::{assert_answers_all, value, words};
    use crate::report::Row;

    /// What a Linux machine shows, with a thread that keeps the first `by_thread` faults to itself.
    fn rows(by_thread: usize) -> Vec<Row> {
        let of = |body, contained: usize, price| {
            let row = move |(index, fault): (usize, Fault)| {
                let harm = if index < contained {
                    CONTAINED
                } else {
                    "all: SIGSEGV"
                };
                words(fault.label(), body, HARMS, harm)
            };
            let price = [value(PRICE_ROW, body, PRICE, price)];
            Fault::ALL.into_iter().enumerate().map(row).chain(price)
        };
        of(Body::Coroutine, 1, 50.0)
            .chain(of(Body::Thread, by_thread, 25e3))
            .chain(of(Body::Process, 6, 130e3))
            .collect()
    }

    #[test]
    fn a_thread_is_medium_by_the_crashes_that_it_contains() {
        let outcome = |by_thread| Isolation.judge(Findings(&rows(by_thread))).unwrap().outcome;
        assert_eq!(outcome(1), Outcome::Refuted);
        assert_eq!(outcome(2), Outcome::Depends);
        assert_eq!(outcome(3), Outcome::Confirmed);
    }

    #[test]
    fn a_fault_that_was_not_tried_leaves_the_verdict_open() {
        assert_eq!(Isolation.judge(Findings(&rows(2)[1..])), None);
    }

    #[test]
    fn each_claim_of_the_section_is_answered() {
        let answers = assert_answers_all(&Isolation, &rows(2));
        assert_eq!(answers[1].value, "2 of 6 faults contained");
        assert_eq!(answers[3].outcome, Outcome::Confirmed);
    }
}
