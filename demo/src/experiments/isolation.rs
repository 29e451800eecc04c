//! `isolation`: one unit does something terrible; what becomes of the others?
//!
//! ```text
//!   observer (the helper) ── forks ──> host: a neighbour, and beside it the unit that breaks
//!      │                                      process: its child      thread: its second thread
//!      │                                      coroutine: one more coroutine on its thread
//!      └── how did the host end?       status 0: the unit harmed itself only, the neighbour lives on
//!                                      a signal, another status, never: it took the neighbour along
//! ```
//!
//! Each host is a process of its own ([`os::fork_doomed`]), so whatever happens the observer can tell.
#![forbid(unsafe_code)]

use std::hint::{black_box, spin_loop};
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{Experiment, panicked};
use crate::comparison::{Answer, Feature, Place};
use crate::excerpt::Excerpt;
use crate::lab::Lab;
use crate::os::{self, Doomed, End, HeapBlock, HeapNeighbour, SharedWords};
use crate::quantity::{times, with_unit};
use crate::report::{Body, Effort, Findings, Layout, Metric, Outcome, Unit, Verdict};

/// See the module's head.
pub struct Isolation;

const HARMS: &str = "harms";
const PRICE: &str = "price";

const PRICE_ROW: &str = "nothing: created, run, waited for";
const CONTAINED: &str = "itself only";

/// What a unit does to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Panic,
    EndlessLoop,
    Exit,
    NullWrite,
    StackOverflow,
    HeapOverrun,
}

impl Fault {
    const ALL: [Fault; 6] = [
        Fault::Panic,
        Fault::EndlessLoop,
        Fault::Exit,
        Fault::NullWrite,
        Fault::StackOverflow,
        Fault::HeapOverrun,
    ];

    fn label(self) -> &'static str {
        match self {
            Fault::Panic => "it panics",
            Fault::EndlessLoop => "it loops for ever",
            Fault::Exit => "it calls exit(3)",
            Fault::NullWrite => "it writes to address 0",
            Fault::StackOverflow => "it overflows its stack",
            Fault::HeapOverrun => "it writes past its block of the heap",
        }
    }

    /// Whether it is a crash: the kernel, or the library, would end the program.
    fn is_crash(self) -> bool {
        !matches!(self, Fault::Panic | Fault::EndlessLoop)
    }
}

/// The unit that breaks.
struct Culprit {
    fault: Fault,
    doomed: Doomed,
    heap: HeapBlock,
    words: Arc<SharedWords>,
}

/// The word that says that the unit has begun.
const BEGUN: usize = 0;

impl Culprit {
    // excerpt: unit
    fn run(&self) {
        // Relaxed: it announces, and hands nothing over.
        self.words[BEGUN].store(1, Ordering::Relaxed);
        match self.fault {
            Fault::Panic => panic!("a unit panics"),
            Fault::EndlessLoop => loop {
                spin_loop();
            },
            Fault::Exit => process::exit(3),
            Fault::NullWrite => os::null_write(self.doomed),
            Fault::StackOverflow => drop(black_box(descend(0))),
            Fault::HeapOverrun => self.heap.overrun(self.doomed),
        }
    }
    // excerpt: end
}

/// Calls itself until no stack is left.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    let mut frame = [depth; 64];
    black_box(&mut frame);
    if depth == u64::MAX {
        return 0;
    }
    descend(depth + 1) + frame[0]
}

/// The neighbour, which is the rest of the host.
struct Neighbour {
    fault: Fault,
    heap: HeapNeighbour,
    words: Arc<SharedWords>,
}

/// A host that could not make its unit.
const STATUS_NO_UNIT: i32 = 4;
/// A host whose allocator gives no neighbours.
const STATUS_NO_HEAP: i32 = 5;
/// A host whose neighbour found its data overwritten.
const STATUS_DAMAGED: i32 = 6;

impl Neighbour {
    /// Waits for the unit's end by `join`, or for its beginning if it has no end; then goes on with its own block.
    /// The status of the host.
    fn outlive(self, give_way: impl Fn(), join: impl FnOnce()) -> i32 {
        if self.fault == Fault::EndlessLoop {
            while self.words[BEGUN].load(Ordering::Relaxed) == 0 {
                give_way();
            }
            // Once more: now it is in its loop.
            give_way();
        } else {
            join();
        }
        if self.heap.free() { 0 } else { STATUS_DAMAGED }
    }
}

/// How the unit ended is its own affair; that it did is what the neighbour waits for.
fn host_a_process(culprit: Culprit, neighbour: Neighbour) -> i32 {
    let run = || {
        culprit.run();
        0
    };
    match os::fork(run) {
        Ok(unit) if neighbour.fault == Fault::EndlessLoop => {
            let status = neighbour.outlive(thread::yield_now, || ());
            drop(unit);
            status
        }
        Ok(unit) => neighbour.outlive(thread::yield_now, || drop(unit.end())),
        Err(_) => STATUS_NO_UNIT,
    }
}

fn host_a_thread(culprit: Culprit, neighbour: Neighbour) -> i32 {
    match thread::Builder::new().spawn(move || culprit.run()) {
        Ok(unit) => neighbour.outlive(thread::yield_now, || drop(unit.join())),
        Err(_) => STATUS_NO_UNIT,
    }
}

fn host_a_coroutine(culprit: Culprit, neighbour: Neighbour) -> i32 {
    runtime::run(|| {
        let unit = runtime::spawn_local(move || culprit.run());
        neighbour.outlive(runtime::yield_now, || drop(unit.join()))
    })
}

type Host = fn(Culprit, Neighbour) -> i32;

/// Sets the scene in this process, which is doomed.
fn set_scene(fault: Fault, host: Host, doomed: Doomed) -> i32 {
    let Ok(words) = SharedWords::new().map(Arc::new) else {
        return STATUS_NO_UNIT;
    };
    let Some((block, neighbouring)) = os::heap_neighbours(doomed) else {
        return STATUS_NO_HEAP;
    };
    let culprit = Culprit {
        fault,
        doomed,
        heap: block,
        words: Arc::clone(&words),
    };
    let neighbour = Neighbour {
        fault,
        heap: neighbouring,
        words,
    };
    host(culprit, neighbour)
}

/// A row for each fault: whom it harmed.
fn observe(lab: &mut Lab, host: Host) {
    for (done, fault) in Fault::ALL.into_iter().enumerate() {
        lab.progress(fault.label(), done as u64, Fault::ALL.len() as u64);
        // A wait for nothing takes long, and what has no way out does not differ from one time to the next.
        let (times, patience) = match fault {
            Fault::EndlessLoop => (1, Duration::from_secs(1)),
            _ => (5, Duration::from_secs(20)),
        };
        let mut harms = Vec::new();
        for _ in 0..times {
            match harm(fault, host, patience) {
                Ok(text) if harms.contains(&text) => {}
                Ok(text) => harms.push(text),
                Err(error) => return lab.fail(fault.label(), &error),
            }
        }
        lab.words(fault.label(), HARMS, &harms.join(" or "));
    }
}

/// Whom `fault` harms, as its observer can tell.
fn harm(fault: Fault, host: Host, patience: Duration) -> io::Result<String> {
    let host = os::fork_doomed(|doomed| set_scene(fault, host, doomed))?;
    told(host.end_within(patience)?)
}

fn told(end: Option<End>) -> io::Result<String> {
    let failed = |text| Err(io::Error::other(text));
    match end {
        Some(End::Status(0)) => Ok(CONTAINED.to_owned()),
        Some(End::Status(os::UNPREPARED)) => failed("the host could not be made harmless"),
        Some(End::Status(STATUS_NO_UNIT)) => failed("the host could not make its unit"),
        Some(End::Status(STATUS_NO_HEAP)) => {
            failed("this allocator never puts two blocks side by side")
        }
        Some(End::Status(STATUS_DAMAGED)) => Ok("its neighbour's data".to_owned()),
        Some(End::Status(status)) => Ok(format!("all: exit status {status}")),
        Some(End::Signal(signal)) => Ok(format!("all: {}", signal_name(signal))),
        None => Ok("all: nobody else runs".to_owned()),
    }
}

fn signal_name(signal: i32) -> String {
    const NAMES: [(i32, &str); 5] = [
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
    ];
    let known = NAMES.iter().find(|&&(number, _)| number == signal);
    known.map_or_else(
        || format!("signal {signal}"),
        |(_, name)| (*name).to_owned(),
    )
}

/// What it costs to have the unit at all.
fn price(lab: &mut Lab, mut live: impl FnMut() -> io::Result<()>) {
    lab.measure(PRICE_ROW, PRICE, 1, |units| {
        let start = Instant::now();
        (0..units).try_for_each(|_| live())?;
        Ok(start.elapsed())
    });
}

impl Experiment for Isolation {
    fn name(&self) -> &'static str {
        "isolation"
    }

    fn claim(&self) -> &'static str {
        "Isolation is high between processes (a crash harms nobody else), medium between threads, low between \
         coroutines."
    }

    fn method(&self, _: Effort) -> Vec<String> {
        let sentences = [
            "For each fault a host process is forked, five times over, which makes a unit and lets it break. The rest \
             of the host is its neighbour: it must go on afterwards, with its own block of the heap whole.",
            "Observed from outside: the host ends with status 0 if the unit harmed itself only. What goes on for \
             ever is given a second, in which the neighbour must get a turn; all are on one CPU.",
            "The price is what a unit costs that does nothing: created, run and waited for.",
        ];
        sentences.map(String::from).to_vec()
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(HARMS, Unit::Words, "whom a unit harms that does this"),
            Metric::new(PRICE, Unit::Nanoseconds, "what one costs that does nothing"),
        ]
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        // Before this process has a runtime of its own.
        observe(lab, host_a_coroutine);
        runtime::run(|| price(lab, || runtime::spawn(|| ()).join().map_err(panicked)));
        Ok(())
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        observe(lab, host_a_thread);
        price(lab, || {
            let thread = thread::Builder::new().spawn(|| ())?;
            thread.join().map_err(panicked)
        });
        Ok(())
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        observe(lab, host_a_process);
        price(lab, || os::fork(|| 0)?.wait());
        Ok(())
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        Some(verdict(&Walls::of(findings)?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        Walls::of(findings).map_or_else(Vec::new, |walls| answers(&walls))
    }

    fn code(&self) -> Vec<Excerpt> {
        vec![Excerpt::of(file!(), include_str!("isolation.rs"), "unit")]
    }

    fn layout(&self) -> Layout {
        Layout::Matrix
    }
}

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

struct Walls {
    coroutine: Wall,
    thread: Wall,
    process: Wall,
}

impl Walls {
    /// `None` unless every fault was tried in all three.
    fn of(findings: Findings<'_>) -> Option<Walls> {
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

fn verdict(walls: &Walls) -> Verdict {
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

fn answers(walls: &Walls) -> Vec<Answer> {
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

    #[test]
    fn the_end_of_a_host_is_told_in_words() {
        let told = |end| told(end).unwrap();
        assert_eq!(told(Some(End::Status(0))), CONTAINED);
        assert_eq!(told(Some(End::Status(3))), "all: exit status 3");
        assert_eq!(told(Some(End::Signal(11))), "all: SIGSEGV");
        assert_eq!(told(Some(End::Signal(99))), "all: signal 99");
        assert_eq!(told(None), "all: nobody else runs");
        assert!(super::told(Some(End::Status(STATUS_NO_UNIT))).is_err());
    }
}
