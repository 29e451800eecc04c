//! `communication`: handing 1 byte, 4 KiB and 1 MiB to another unit, and what goes wrong without a lock.
//!
//! Of two ends one pings and one pongs: each hands the same number of bytes to the other, on one CPU: see
//! [`delivery`]. The race for a total that follows is in [`race`].
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;
use std::time::Duration;

use super::Experiment;
use crate::comparison::{Answer, Feature, Place};
use crate::delivery::{
    self, Channel, Ends, SharedMemory, Variable, between_processes, between_threads,
};
use crate::excerpt::Excerpt;
use crate::figure::{Axis, Figure, Over};
use crate::lab::Lab;
use crate::quantity::{grouped, times, with_unit};
use crate::race;
use crate::report::{Body, Effort, Findings, Metric, Outcome, Row, Unit, Verdict};
use crate::stats::Summary;

/// See the module's head.
pub struct Communication;

const LATENCY: &str = "latency";
const FLOW: &str = "flow";
const LOST: &str = "lost";

const COROUTINE_VARIABLE: &str = "coroutines, shared variable";
const COROUTINE_CHANNEL: &str = "coroutines, channel";
const THREAD_VARIABLE: &str = "threads, mutex and condvar";
const THREAD_CHANNEL: &str = "threads, channel";
const THREAD_PIPE: &str = "threads, pipe";
const PROCESS_PIPE: &str = "processes, pipe";
const PROCESS_PAIR: &str = "processes, socketpair";
const PROCESS_SOCKET: &str = "processes, Unix socket";
const PROCESS_MEMORY: &str = "processes, shared memory, futex";

const THREADS_UNLOCKED: &str = "race: threads, no lock";
const THREADS_LOCKED: &str = "race: threads, mutex";
const PROCESSES_UNLOCKED: &str = "race: processes, shared memory";
const COROUTINES_PLAIN: &str = "race: coroutines";
const COROUTINES_YIELD: &str = "race: coroutines, yield inside";

const SIZES: [usize; 3] = [1, 4 << 10, 1 << 20];
const LARGEST: usize = SIZES[2];

/// A row for each size: of `run`, which makes so many round trips of two deliveries each.
fn deliver(
    lab: &mut Lab,
    label: &str,
    body: Body,
    run: impl Fn(&Path, usize, u64) -> io::Result<Duration>,
) -> io::Result<()> {
    let scratch = lab.scratch.clone();
    for size in SIZES {
        let plan = lab.sweep_plan();
        let trips = lab.sample(label, &plan, |trips| run(&scratch, size, trips))?;
        let deliveries: Vec<f64> = trips.iter().map(|trip| trip / 2.0).collect();
        let flows: Vec<f64> = deliveries
            .iter()
            .map(|ns| size as f64 / (ns / 1e9))
            .collect();
        let mut row = Row {
            size: Some(size as u64),
            ..Row::new(label, body)
        };
        for (metric, samples) in [(LATENCY, deliveries), (FLOW, flows)] {
            row.values
                .extend(Summary::of(&samples).map(|summary| (metric.to_owned(), summary)));
        }
        lab.row(row);
    }
    Ok(())
}

fn race(lab: &mut Lab, label: &str, lost: race::Lost) -> io::Result<()> {
    let samples = (0..11).map(|_| lost()).collect::<io::Result<Vec<_>>>()?;
    lab.figures(label, LOST, &samples);
    Ok(())
}

type Make = fn(usize, &Path) -> io::Result<Ends>;

impl Experiment for Communication {
    fn name(&self) -> &'static str {
        "communication"
    }

    fn claim(&self) -> &'static str {
        "Processes communicate by IPC (pipes, sockets, shared memory); threads by shared memory, which needs a mutex or \
         semaphore; coroutines by shared state."
    }

    fn method(&self, _: Effort) -> Vec<String> {
        let sentences = [
            "Two units on one CPU hand so many bytes to each other, back and forth: half of a round trip is the \
             latency of one delivery. The sender writes the first and the last byte anew, the receiver reads one byte \
             of each cache line.",
            "Where memory is shared nothing is copied.",
            "The race: two units add to one total, by a load and a store; threads and processes for 20 ms on every \
             CPU, coroutines 10,000 times each on one worker.",
        ];
        sentences.map(String::from).to_vec()
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            latency(),
            flow(),
            Metric::new(LOST, Unit::Count, "additions lost, of a million"),
        ]
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        runtime::run(|| {
            deliver(
                lab,
                COROUTINE_VARIABLE,
                Body::Coroutine,
                |_, size, trips| delivery::by_variable(size, trips),
            )?;
            deliver(lab, COROUTINE_CHANNEL, Body::Coroutine, |_, size, trips| {
                delivery::by_channel(size, trips)
            })?;
            race(lab, COROUTINES_PLAIN, race::coroutines)?;
            race(lab, COROUTINES_YIELD, race::coroutines_that_yield_inside)
        })
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        let ways: [(&str, Make); 3] = [
            (THREAD_VARIABLE, Variable::pair),
            (THREAD_CHANNEL, Channel::pair),
            (THREAD_PIPE, delivery::pipes),
        ];
        for (label, make) in ways {
            deliver(lab, label, Body::Thread, |scratch, size, trips| {
                between_threads(make(size, scratch)?, trips)
            })?;
        }
        lab.unpin();
        race(lab, THREADS_UNLOCKED, race::threads_without_a_lock)?;
        race(lab, THREADS_LOCKED, race::threads_with_a_mutex)
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        let ways: [(&str, Make); 4] = [
            (PROCESS_PIPE, delivery::pipes),
            (PROCESS_PAIR, delivery::socketpair),
            (PROCESS_SOCKET, delivery::unix_socket),
            (PROCESS_MEMORY, SharedMemory::pair),
        ];
        for (label, make) in ways {
            deliver(lab, label, Body::Process, |scratch, size, trips| {
                between_processes(make(size, scratch)?, trips)
            })?;
        }
        lab.unpin();
        race(lab, PROCESSES_UNLOCKED, race::processes_without_a_lock)
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        Some(verdict(&Ways::of(findings)?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        Ways::of(findings).map_or_else(Vec::new, |ways| answers(&ways))
    }

    fn code(&self) -> Vec<Excerpt> {
        let source = include_str!("../delivery.rs");
        let of = |name| Excerpt::of("demo/src/delivery.rs", source, name);
        let [ends, coroutines] = ["ends", "coroutines"].map(of);
        let race = Excerpt::of("demo/src/race.rs", include_str!("../race.rs"), "race");
        vec![ends, coroutines, race]
    }

    fn figures(&self, findings: Findings<'_>) -> Vec<Figure> {
        let lines = |title, metric: &Metric| {
            let axis = Axis::log("bytes handed over", Unit::Bytes);
            Figure::lines(title, axis, Over::Size, metric, findings.0)
        };
        vec![
            lines("Latency of one delivery", &latency()),
            lines("Bytes handed over in a second", &flow()),
        ]
    }
}

fn latency() -> Metric {
    Metric::new(
        LATENCY,
        Unit::Nanoseconds,
        "time until the other has the bytes",
    )
}

fn flow() -> Metric {
    Metric::new(FLOW, Unit::BytesPerSecond, "bytes by that time")
}

/// Medians: latencies in nanoseconds, losses of a million.
struct Ways {
    /// One byte.
    coroutine_small: f64,
    thread_small: f64,
    process_small: f64,
    /// [`LARGEST`].
    process_pipe: f64,
    process_pair: f64,
    process_socket: f64,
    process_memory: f64,
    /// At worst: on one CPU it takes an interruption at the wrong moment.
    threads_unlocked: f64,
    threads_locked: f64,
    processes_unlocked: f64,
    coroutines_plain: f64,
    coroutines_yield: f64,
}

impl Ways {
    fn of(findings: Findings<'_>) -> Option<Ways> {
        let latency = |label: &str, size: usize| {
            let mut rows = findings.0.iter();
            let row = rows.find(|row| row.label == label && row.size == Some(size as u64))?;
            row.values.get(LATENCY).map(|summary| summary.median)
        };
        let lost = |label| findings.median(label, LOST);
        let lost_at_worst = |label: &str| {
            let row = findings.0.iter().find(|row| row.label == label)?;
            row.values.get(LOST).map(|summary| summary.p95)
        };
        Some(Ways {
            coroutine_small: latency(COROUTINE_VARIABLE, SIZES[0])?,
            thread_small: latency(THREAD_VARIABLE, SIZES[0])?,
            process_small: latency(PROCESS_PIPE, SIZES[0])?,
            process_pipe: latency(PROCESS_PIPE, LARGEST)?,
            process_pair: latency(PROCESS_PAIR, LARGEST)?,
            process_socket: latency(PROCESS_SOCKET, LARGEST)?,
            process_memory: latency(PROCESS_MEMORY, LARGEST)?,
            threads_unlocked: lost_at_worst(THREADS_UNLOCKED)?,
            threads_locked: lost(THREADS_LOCKED)?,
            processes_unlocked: lost_at_worst(PROCESSES_UNLOCKED)?,
            coroutines_plain: lost(COROUTINES_PLAIN)?,
            coroutines_yield: lost(COROUTINES_YIELD)?,
        })
    }

    fn threads_need_a_lock(&self) -> bool {
        self.threads_unlocked > 0.0 && self.threads_locked == 0.0
    }

    fn coroutines_need_none(&self) -> bool {
        self.coroutines_plain == 0.0
    }
}

fn ns(value: f64) -> String {
    with_unit(Unit::Nanoseconds, value)
}

fn percent(of_a_million: f64) -> String {
    format!("{:.0} %", of_a_million / 1e4)
}

fn when(is_so: bool) -> Outcome {
    if is_so {
        Outcome::Confirmed
    } else {
        Outcome::Refuted
    }
}

fn verdict(ways: &Ways) -> Verdict {
    let outcome = when(ways.threads_need_a_lock() && ways.coroutines_need_none());
    Verdict {
        outcome,
        why: format!(
            "one byte takes {} between coroutines that share a variable, {} between threads with a mutex and a condvar, \
             {} between processes through a pipe. 1 MiB takes {} through a pipe, which copies it twice, {} through a \
             socketpair, {} in shared memory, where processes only pass the turn. Sharing has its price: without a lock up to \
             {} of a million additions of two threads are lost ({} with a mutex); between processes with shared memory \
             {}. Of two coroutines {} are lost, as long as neither yields between load and store: else {}.",
            ns(ways.coroutine_small),
            ns(ways.thread_small),
            ns(ways.process_small),
            ns(ways.process_pipe),
            ns(ways.process_pair),
            ns(ways.process_memory),
            grouped(ways.threads_unlocked.round() as u64),
            grouped(ways.threads_locked.round() as u64),
            grouped(ways.processes_unlocked.round() as u64),
            grouped(ways.coroutines_plain.round() as u64),
            grouped(ways.coroutines_yield.round() as u64),
        ),
    }
}

fn answers(ways: &Ways) -> Vec<Answer> {
    let cell = |body, outcome, value, why| {
        Answer::new(
            Place::Cell(Feature::Communication, body),
            outcome,
            value,
            why,
        )
    };
    vec![
        cell(
            Body::Process,
            // All of them have delivered, or there would be no figures.
            Outcome::Confirmed,
            format!(
                "1 MiB: pipe {}, memory {}",
                ns(ways.process_pipe),
                ns(ways.process_memory)
            ),
            format!(
                "pipe, socketpair ({}) and Unix socket ({}) copy 1 MiB twice; shared memory copies nothing, but needs \
                 a futex or its like for the turn, and locks as threads do",
                ns(ways.process_pair),
                ns(ways.process_socket)
            ),
        ),
        cell(
            Body::Thread,
            when(ways.threads_need_a_lock()),
            format!(
                "no lock: up to {} of additions lost",
                percent(ways.threads_unlocked)
            ),
            format!(
                "with a mutex {} are lost; a turn by mutex and condvar takes {}",
                percent(ways.threads_locked),
                ns(ways.thread_small)
            ),
        ),
        cell(
            Body::Coroutine,
            when(ways.coroutines_need_none()),
            format!(
                "{}; yield inside: {} lost",
                ns(ways.coroutine_small),
                percent(ways.coroutines_yield)
            ),
            format!(
                "on one worker a variable needs no lock, {} of additions are lost, until a yield comes between load \
                 and store; a turn takes {}, a thread's {} times that",
                percent(ways.coroutines_plain),
                ns(ways.coroutine_small),
                times(ways.thread_small, ways.coroutine_small)
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::specimen::{assert_answers_all, value};

    fn rows(unlocked: f64, plain: f64) -> Vec<Row> {
        let sized = |label: &str, size: usize, ns| Row {
            size: Some(size as u64),
            ..value(label, Body::Process, LATENCY, ns)
        };
        vec![
            sized(COROUTINE_VARIABLE, 1, 10.0),
            sized(THREAD_VARIABLE, 1, 3e3),
            sized(PROCESS_PIPE, 1, 3e3),
            sized(PROCESS_PIPE, LARGEST, 500e3),
            sized(PROCESS_PAIR, LARGEST, 600e3),
            sized(PROCESS_SOCKET, LARGEST, 600e3),
            sized(PROCESS_MEMORY, LARGEST, 3e3),
            value(THREADS_UNLOCKED, Body::Thread, LOST, unlocked),
            value(THREADS_LOCKED, Body::Thread, LOST, 0.0),
            value(PROCESSES_UNLOCKED, Body::Process, LOST, 400e3),
            value(COROUTINES_PLAIN, Body::Coroutine, LOST, plain),
            value(COROUTINES_YIELD, Body::Coroutine, LOST, 500e3),
        ]
    }

    #[test]
    fn what_is_lost_decides() {
        let outcome = |unlocked, plain| {
            Communication
                .judge(Findings(&rows(unlocked, plain)))
                .unwrap()
                .outcome
        };
        assert_eq!(outcome(400e3, 0.0), Outcome::Confirmed);
        assert_eq!(outcome(0.0, 0.0), Outcome::Refuted);
        assert_eq!(outcome(400e3, 1.0), Outcome::Refuted);
        assert_eq!(Communication.judge(Findings(&[])), None);
    }

    #[test]
    fn each_claim_of_the_section_is_answered() {
        let answers = assert_answers_all(&Communication, &rows(400e3, 0.0));
        assert!(
            answers
                .iter()
                .all(|answer| answer.outcome == Outcome::Confirmed)
        );
    }
}
