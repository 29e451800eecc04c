//! `switch`: what it costs to hand control from one unit to another.
//!
//! ```text
//!   function call      call, return
//!   system call        user -> kernel -> user
//!   coroutine          save ~7 registers, change the stack pointer         (no kernel)
//!   thread, one CPU    kernel: wake the other, sleep, choose, change the stack
//!   process, one CPU   the same, and change the page tables
//!   two CPUs           the same, and an interrupt to wake the other CPU
//! ```
//!
//! Every figure of the ladder is one **hand-over**: control passes once, in one direction. A round trip has two.
//! Why it costs what it costs is seen from the differences between its steps, and from the [`sweep`], in which
//! those who take turns have something in the caches.
#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::hint::black_box;
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine::{Coroutine, current, park};
use runtime::generator::{Generator, GeneratorState};

use super::{Experiment, panicked, sweep};
use crate::comparison::{Answer, Feature, Prose};
use crate::excerpt::Excerpt;
use crate::figure::{Axis, Figure, Over};
use crate::lab::Lab;
use crate::link::{Between, Futex, Link, Pipe};
use crate::os::{self, Pin};
use crate::quantity::{times, with_unit};
use crate::report::{Body, Effort, Findings, Metric, Outcome, Unit, Verdict};

/// See the module's head.
pub struct Switch;

const HAND_OVER: &str = "hand_over";

const CALL: &str = "function call, not inlined";
const SYSTEM_CALL: &str = "empty system call (getppid)";
const RESUME: &str = "coroutine, resume or suspend";
const RING_2: &str = "coroutine, yield_now, ring of 2";
const RING_100: &str = "coroutine, yield_now, ring of 100";
const UNPARK: &str = "coroutine, unpark and park, two";

/// Where the two ends of a link run.
#[derive(Clone, Copy)]
pub enum Place {
    OneCpu,
    /// The second end on this CPU.
    TwoCpus(usize),
}

fn link_label<L: Link>(body: Body, cpus: &str) -> String {
    format!("{}, {}, {cpus}", body.name(), L::NAME)
}

const ONE_CPU: &str = "one CPU";
const TWO_CPUS: &str = "two CPUs";

impl Experiment for Switch {
    fn name(&self) -> &'static str {
        "switch"
    }

    fn claim(&self) -> &'static str {
        "Handing control over costs most between processes (registers, address space, TLB), less between \
         threads (still a kernel entry), and least between coroutines (no kernel)."
    }

    fn method(&self, _: Effort) -> Vec<String> {
        let sentences = [
            "One hand-over: control passes once, in one direction. What goes back and forth is \
             halved: resume and suspend, unpark and park, pipe and futex are timed as round trips.",
            "A ring of k coroutines runs on one worker; each yields as soon as it gets its turn.",
            "Threads and processes pass one byte through a pair of pipes, or sleep on a futex (between \
             processes in shared memory), without spinning; pinned to one CPU, then to two.",
            "A turn: two of a kind, on one CPU, touch every cache line of a set of their own, as large as the row \
             says, and hand over (threads and processes by pipe). Where perf events are allowed, their misses in \
             user mode are counted.",
        ];
        sentences.map(String::from).to_vec()
    }

    fn metrics(&self) -> Vec<Metric> {
        let misses = |name, what| Metric::new(name, Unit::Count, what);
        vec![
            hand_over(),
            turn(),
            misses(
                sweep::TLB_MISSES,
                "loads in a turn whose address the TLB did not know",
            ),
            misses(
                sweep::CACHE_MISSES,
                "accesses in a turn that no cache could serve",
            ),
        ]
    }

    fn baseline(&self, lab: &mut Lab) -> io::Result<()> {
        lab.measure(CALL, HAND_OVER, 1, |calls| {
            timed(|| (0..calls).for_each(call))
        });
        lab.measure(SYSTEM_CALL, HAND_OVER, 1, |calls| {
            timed(|| (0..calls).for_each(system_call))
        });
        sweep::sweep(lab, Body::Baseline, 1, sweep::alone)
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        lab.measure(RESUME, HAND_OVER, 2, resume_and_suspend);
        runtime::run(|| {
            lab.measure(RING_2, HAND_OVER, 2, |turns| ring(2, turns));
            lab.measure(RING_100, HAND_OVER, 100, |turns| ring(100, turns));
            lab.measure(UNPARK, HAND_OVER, 2, unpark_and_park);
        });
        sweep::sweep(lab, Body::Coroutine, 2, sweep::coroutines)
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        linked::<Pipe>(lab, Body::Thread, between_threads::<Pipe>);
        linked::<Futex>(lab, Body::Thread, between_threads::<Futex>);
        sweep::sweep(lab, Body::Thread, 2, sweep::threads)
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        linked::<Pipe>(lab, Body::Process, between_processes::<Pipe>);
        linked::<Futex>(lab, Body::Process, between_processes::<Futex>);
        sweep::sweep(lab, Body::Process, 2, sweep::processes)
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        Some(verdict(&Costs::of(findings)?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        Costs::of(findings).map_or_else(Vec::new, |costs| answers(&costs))
    }

    fn code(&self) -> Vec<Excerpt> {
        vec![
            Excerpt::of(file!(), include_str!("switch.rs"), "ring"),
            Excerpt::of("demo/src/link.rs", include_str!("../link.rs"), "pipe"),
            Excerpt::of(
                "demo/src/experiments/sweep.rs",
                include_str!("sweep.rs"),
                "touch",
            ),
        ]
    }

    fn figures(&self, findings: Findings<'_>) -> Vec<Figure> {
        let axis = Axis::log("bytes touched in each turn", Unit::Bytes);
        let touched = findings.0.iter().filter(|row| row.size != Some(0));
        vec![
            Figure::ladder("One hand-over", &hand_over(), findings.0),
            Figure::lines(
                "A turn with a working set",
                axis,
                Over::Size,
                &turn(),
                touched,
            ),
        ]
    }
}

fn hand_over() -> Metric {
    Metric::new(
        HAND_OVER,
        Unit::Nanoseconds,
        "time of one hand-over, or of one call",
    )
}

fn turn() -> Metric {
    let meaning =
        "time of one turn: touching a set of one's own, and the hand-over if there is one";
    Metric::new(sweep::TURN, Unit::Nanoseconds, meaning)
}

/// Medians in nanoseconds, the kernel's hand-overs on one CPU.
struct Costs {
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
    fn of(findings: Findings<'_>) -> Option<Costs> {
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

fn verdict(costs: &Costs) -> Verdict {
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

fn answers(costs: &Costs) -> Vec<Answer> {
    use crate::comparison::Place;

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
            if costs.named_share() >= 0.5 {
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

fn timed(work: impl FnOnce()) -> io::Result<Duration> {
    let start = Instant::now();
    work();
    Ok(start.elapsed())
}

#[inline(never)]
fn call(argument: u64) {
    black_box(argument);
}

/// The system call that does least: nothing is looked up, and no library keeps its answer.
fn system_call(_: u64) {
    black_box(rustix::process::getppid());
}

/// A generator resumed `pairs` times: it suspends itself each time, nothing else.
fn resume_and_suspend(pairs: u64) -> io::Result<Duration> {
    let mut generator = Generator::<(), (), ()>::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    });
    timed(|| {
        for _ in 0..pairs {
            match generator.resume(()) {
                GeneratorState::Yielded(()) => {}
                GeneratorState::Complete(()) => unreachable!("it suspends for ever"),
            }
        }
    })
}

// excerpt: ring
/// `size` coroutines that yield to each other, `turns` times each. The time of starting and joining them is in
/// it, which so many turns outweigh.
///
/// # Errors
/// If one of them panicked.
pub fn ring(size: usize, turns: u64) -> io::Result<Duration> {
    let start = Instant::now();
    let yields = move || (0..turns).for_each(|_| runtime::yield_now());
    let ring: Vec<_> = (0..size).map(|_| runtime::spawn_local(yields)).collect();
    for coroutine in ring {
        coroutine.join().map_err(panicked)?;
    }
    Ok(start.elapsed())
}
// excerpt: end

/// This coroutine and a second one start each other and stop, in turns.
fn unpark_and_park(trips: u64) -> io::Result<Duration> {
    let turn = Rc::new(Turn::default());
    let first = current();
    let second = runtime::spawn_local({
        let turn = Rc::clone(&turn);
        move || {
            let _ = turn.second.set(current());
            for _ in 0..trips {
                turn.wait_for(1);
                turn.pass_to(0, &first);
            }
        }
    });
    while turn.second.get().is_none() {
        runtime::yield_now();
    }
    let other = turn.second.get().expect("set before the loop ended");
    let start = Instant::now();
    for _ in 0..trips {
        turn.pass_to(1, other);
        turn.wait_for(0);
    }
    let took = start.elapsed();
    second.join().map_err(panicked)?;
    Ok(took)
}

/// Whose turn it is; checked around each `park`, which may return without an `unpark`.
#[derive(Default)]
struct Turn {
    whose: Cell<u8>,
    second: OnceCell<Coroutine>,
}

impl Turn {
    fn wait_for(&self, me: u8) {
        while self.whose.get() != me {
            park();
        }
    }

    fn pass_to(&self, whom: u8, coroutine: &Coroutine) {
        self.whose.set(whom);
        coroutine.unpark();
    }
}

/// Both rows of one link: on one CPU, and on two if there are two.
fn linked<L: Link>(lab: &mut Lab, body: Body, trips: fn(Place, u64) -> io::Result<Duration>) {
    let one = |count| trips(Place::OneCpu, count);
    lab.measure(&link_label::<L>(body, ONE_CPU), HAND_OVER, 2, one);
    let label = link_label::<L>(body, TWO_CPUS);
    match lab.second_cpu() {
        None => lab.skip(&label, "this process may use one core only"),
        Some(other) => {
            let two = |count| trips(Place::TwoCpus(other), count);
            lab.measure(&label, HAND_OVER, 2, two);
        }
    }
}

/// `trips` round trips to a second thread, which is up and waiting before the clock starts.
///
/// # Errors
/// The system's.
pub fn between_threads<L: Link>(place: Place, trips: u64) -> io::Result<Duration> {
    let (ping, pong) = L::pair(Between::Threads)?;
    let second = thread::Builder::new().spawn(move || serve(&pong, place, trips + 1))?;
    let took = time_trips(&ping, trips)?;
    second.join().map_err(panicked)??;
    Ok(took)
}

/// The same to a forked process.
///
/// # Errors
/// The system's.
pub fn between_processes<L: Link>(place: Place, trips: u64) -> io::Result<Duration> {
    let (ping, pong) = L::pair(Between::Processes)?;
    let child = os::fork(move || match serve(&pong, place, trips + 1) {
        Ok(()) => 0,
        Err(_) => 1,
    })?;
    let took = time_trips(&ping, trips)?;
    child.wait()?;
    Ok(took)
}

fn serve(pong: &impl Link, place: Place, trips: u64) -> io::Result<()> {
    let _pin = match place {
        Place::OneCpu => None,
        Place::TwoCpus(other) => Some(Pin::to(other)?),
    };
    pong.serve(trips)
}

fn time_trips(ping: &impl Link, trips: u64) -> io::Result<Duration> {
    ping.ping()?;
    let start = Instant::now();
    for _ in 0..trips {
        ping.ping()?;
    }
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::specimen::{assert_answers_all, value};
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

    #[test]
    fn a_missing_row_leaves_the_verdict_open() {
        assert_eq!(Switch.judge(Findings(&[])), None);
    }

    #[test]
    fn every_way_of_handing_over_comes_to_an_end() {
        resume_and_suspend(3).unwrap();
        runtime::run(|| {
            ring(3, 3).unwrap();
            unpark_and_park(3).unwrap();
        });
        between_threads::<Pipe>(Place::OneCpu, 3).unwrap();
        between_threads::<Futex>(Place::OneCpu, 3).unwrap();
    }
}
