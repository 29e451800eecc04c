//! What `parallelism` concludes: who ran at the same instant.
#![forbid(unsafe_code)]

use super::{
    LOCKED, LOST, OFTEN, ONE_WORKER, PROCESSES, SPEED_UP, THREADS, TOGETHER, UNLOCKED, WORKERS,
};
use crate::comparison::{Answer, Feature, Place, Prose};
use crate::os;
use crate::quantity::grouped;
use crate::report::{Body, Findings, Outcome, Verdict};

/// What each gained.
pub(super) struct Gains {
    one_worker: Gain,
    workers: Gain,
    threads: Gain,
    processes: Gain,
    /// Additions lost of a million, without a lock (at worst) and with one.
    unlocked: f64,
    locked: f64,
    /// Whether there was more than one CPU to be had.
    has_several: bool,
}

#[derive(Clone, Copy)]
struct Gain {
    speed_up: f64,
    /// Turns passed at best.
    at_once: f64,
}

impl Gain {
    /// At least once, whatever else the machine had to do.
    fn is_parallel(self) -> bool {
        self.at_once >= OFTEN
    }
}

impl Gains {
    pub(super) fn of(findings: Findings<'_>) -> Option<Gains> {
        let row = |label: &str| findings.0.iter().find(|row| row.label == label);
        let gain = |label: &str| {
            let row = row(label)?;
            Some(Gain {
                speed_up: row.values.get(SPEED_UP)?.median,
                at_once: row.values.get(TOGETHER)?.median,
            })
        };
        Some(Gains {
            one_worker: gain(ONE_WORKER)?,
            workers: gain(WORKERS)?,
            threads: gain(THREADS)?,
            processes: gain(PROCESSES)?,
            unlocked: row(UNLOCKED)?.values.get(LOST)?.p95,
            locked: findings.median(LOCKED, LOST)?,
            has_several: os::allowed_cpus().map_or(1, |cpus| cpus.len()) > 1,
        })
    }

    fn when(&self, is_so: bool) -> Outcome {
        match (self.has_several, is_so) {
            (false, _) => Outcome::Depends,
            (true, true) => Outcome::Confirmed,
            (true, false) => Outcome::Refuted,
        }
    }

    fn needs_locks(&self) -> bool {
        self.unlocked > 0.0 && self.locked == 0.0
    }
}

const ONE_CPU: &str = "this process may use one CPU only, where nobody runs in parallel";

fn gained(gain: Gain) -> String {
    format!("{:.2} times as fast", gain.speed_up)
}

pub(super) fn verdict(gains: &Gains) -> Verdict {
    let parallel = gains.threads.is_parallel() && gains.processes.is_parallel();
    let outcome = gains.when(parallel && !gains.one_worker.is_parallel() && gains.needs_locks());
    let cpus = if gains.has_several {
        String::new()
    } else {
        format!("{ONE_CPU}. ")
    };
    Verdict {
        outcome,
        why: format!(
            "{cpus}Together, threads were {}, processes {}, coroutines on one worker {}, on a worker for each CPU {}: it is \
             the threads beneath that are parallel. Of turns that only those can pass who run at the same instant, \
             threads passed {} in 10 ms, processes {}, coroutines of one worker {}. And what runs in parallel must be \
             synchronised: without a lock up to {} of a million additions were lost, with a mutex {}.",
            gained(gains.threads),
            gained(gains.processes),
            gained(gains.one_worker),
            gained(gains.workers),
            grouped(gains.threads.at_once as u64),
            grouped(gains.processes.at_once as u64),
            grouped(gains.one_worker.at_once as u64),
            grouped(gains.unlocked.round() as u64),
            grouped(gains.locked.round() as u64),
        ),
    }
}

pub(super) fn answers(gains: &Gains) -> Vec<Answer> {
    let why = |why: String| {
        if gains.has_several {
            why
        } else {
            ONE_CPU.to_owned()
        }
    };
    let threads = gains.threads.is_parallel();
    vec![
        Answer::new(
            Place::Cell(Feature::UseCase, Body::Thread),
            gains.when(threads),
            gained(gains.threads),
            why(format!(
                "processes will do as well ({}), and so will coroutines on several workers ({}), which are threads",
                gained(gains.processes),
                gained(gains.workers)
            )),
        ),
        Answer::new(
            Place::Prose(Prose::ThreadsParallel),
            gains.when(threads),
            format!(
                "{} turns passed in 10 ms",
                grouped(gains.threads.at_once as u64)
            ),
            why(format!(
                "two that never let go of their CPU passed a turn so often; coroutines of one worker: {}. The job was done {}",
                grouped(gains.one_worker.at_once as u64),
                gained(gains.threads)
            )),
        ),
        Answer::new(
            Place::Takeaway(Body::Thread),
            gains.when(threads && gains.needs_locks()),
            format!(
                "{:.2} times; up to {:.0} % lost unlocked",
                gains.threads.speed_up,
                gains.unlocked / 1e4
            ),
            why(format!(
                "{}; of a million additions up to {} were lost without a lock, {} with one",
                gained(gains.threads),
                grouped(gains.unlocked.round() as u64),
                grouped(gains.locked.round() as u64)
            )),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::parallelism::Parallelism;
    use crate::experiments::specimen::{assert_answers_all, value};
    use crate::report::Row;

    fn row(label: &str, body: Body, factor: f64) -> Row {
        let mut row = value(label, body, SPEED_UP, factor);
        // Who is twice as fast has met thousands of times.
        let met = if factor > 1.3 { 5_000.0 } else { 1.0 };
        row.values.extend(value(label, body, TOGETHER, met).values);
        row
    }

    fn rows(one_worker: f64, threads: f64) -> Vec<Row> {
        vec![
            row(ONE_WORKER, Body::Coroutine, one_worker),
            row(WORKERS, Body::Coroutine, 1.9),
            row(THREADS, Body::Thread, threads),
            row(PROCESSES, Body::Process, 1.9),
            value(UNLOCKED, Body::Thread, LOST, 400e3),
            value(LOCKED, Body::Thread, LOST, 0.0),
        ]
    }

    fn gains(one_worker: f64, threads: f64) -> Gains {
        let gains = Gains::of(Findings(&rows(one_worker, threads))).unwrap();
        Gains {
            has_several: true,
            ..gains
        }
    }

    #[test]
    fn only_what_uses_several_cpus_is_parallel() {
        assert_eq!(verdict(&gains(1.0, 1.9)).outcome, Outcome::Confirmed);
        assert_eq!(verdict(&gains(1.0, 1.0)).outcome, Outcome::Refuted);
        assert_eq!(verdict(&gains(1.9, 1.9)).outcome, Outcome::Refuted);
    }

    #[test]
    fn one_cpu_decides_nothing_and_says_so() {
        let gains = Gains {
            has_several: false,
            ..gains(1.0, 1.0)
        };
        let verdict = verdict(&gains);
        assert_eq!(verdict.outcome, Outcome::Depends);
        assert!(verdict.why.contains("one CPU only"), "{}", verdict.why);
        assert!(answers(&gains).iter().all(|answer| answer.why == ONE_CPU));
    }

    #[test]
    fn each_claim_of_the_section_is_answered() {
        assert_answers_all(&Parallelism, &rows(1.0, 1.9));
        assert!(
            answers(&gains(1.0, 1.9))
                .iter()
                .all(|answer| answer.outcome == Outcome::Confirmed)
        );
    }
}
