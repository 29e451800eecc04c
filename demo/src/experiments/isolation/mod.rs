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

mod verdict;

use std::hint::{black_box, spin_loop};
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{Experiment, panicked};
use crate::comparison::Answer;
use crate::excerpt::Excerpt;
use crate::lab::Lab;
use crate::os::{self, Doomed, End, HeapBlock, HeapNeighbour, SharedWords};
use crate::report::{Effort, Findings, Layout, Metric, Unit, Verdict};
use verdict::{Walls, answers, verdict};

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
        vec![Excerpt::of(file!(), include_str!("mod.rs"), "unit")]
    }

    fn layout(&self) -> Layout {
        Layout::Matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
