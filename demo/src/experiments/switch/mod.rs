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

mod verdict;

use std::cell::{Cell, OnceCell};
use std::hint::black_box;
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine::{Coroutine, current, park};
use runtime::generator::{Generator, GeneratorState};

use super::{Experiment, panicked, sweep};
use crate::comparison::Answer;
use crate::excerpt::Excerpt;
use crate::figure::{Axis, Figure, Over};
use crate::lab::Lab;
use crate::link::{Between, Futex, Link, Pipe};
use crate::os::{self, Pin};
use crate::report::{Body, Effort, Findings, Metric, Unit, Verdict};
use verdict::{Costs, answers, verdict};

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
            Excerpt::of(file!(), include_str!("mod.rs"), "ring"),
            Excerpt::of("demo/src/link.rs", include_str!("../../link.rs"), "pipe"),
            Excerpt::of(
                "demo/src/experiments/sweep.rs",
                include_str!("../sweep.rs"),
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
