//! `scheduling`: who decides who runs next, and what it takes.
//!
//! ```text
//!   threads, processes   run 1   A B A C B B C A C      the kernel decides: each run has its order
//!                        run 2   A A B C A C B C B
//!   coroutines           run 1   A B C A B C A B C      their runtime does, first come, first served
//!                        run 2   A B C A B C A B C
//! ```
//!
//! Whether the kernel had a part in a hand-over can be seen from outside: it counts the context switches
//! (getrusage) and stops a traced program at each system call ([`os::system_calls`]).
#![forbid(unsafe_code)]

mod inside;
mod verdict;

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine;
use runtime::generator::{Generator, GeneratorState};
use runtime::observe::trace;

use super::switch::{Place as Pinned, between_processes, between_threads, ring};
use super::{Experiment, panicked};
use crate::climb::Population;
use crate::comparison::Answer;
use crate::crowd::{Coroutines, Threads};
use crate::excerpt::Excerpt;
use crate::figure::{Lane, Timeline};
use crate::lab::Lab;
use crate::link::Pipe;
use crate::options::Choice;
use crate::os::{self, SharedWords, Usage, Whose};
use crate::report::{Body, Effort, Findings, Layout, Metric, Unit, Verdict};
use verdict::{Parts, answers, verdict};

/// See the module's head.
pub struct Scheduling;

const ORDERS: &str = "orders";
const SWITCHES: &str = "switches";
const CALLS: &str = "system_calls";
const TASKS: &str = "tasks";
const PAUSES: &str = "pauses";

const ORDERS_ROW: &str = "different orders of the ticks of three";
const INVOLUNTARY_ROW: &str = "involuntary switches in a run of three";
const VOLUNTARY_ROW: &str = "voluntary switches for each hand-over";
const CALLS_ROW: &str = "system calls for each hand-over";
const TASKS_ROW: &str = "kernel threads that 100 of them add";
const PAUSES_ROW: &str = "pauses in the middle of a loop, nothing lost";

/// How many ticks each of the three has.
const TICKS: usize = 8;
/// What a unit computes for each tick.
const TICK: Duration = Duration::from_micros(500);
const NAMES: [&str; 3] = ["A", "B", "C"];

fn runs(effort: Effort) -> usize {
    match effort {
        Effort::Quick => 10,
        Effort::Standard => 30,
        Effort::Full => 200,
    }
}

/// The ticks of three units, in the order in which they were made.
struct Ticks {
    words: SharedWords,
    begin: Instant,
}

/// Of each tick: whose it was, from when and to when, in microseconds.
type Tick = [u32; 3];

impl Ticks {
    /// The word that counts the ticks; those follow.
    const COUNT: usize = 0;

    fn new() -> io::Result<Ticks> {
        Ok(Ticks {
            words: SharedWords::new()?,
            begin: Instant::now(),
        })
    }

    // excerpt: unit
    /// All that unit number `unit` does: it computes for a tick, notes it, and lets others run if that is its way.
    fn make(&self, unit: usize, give_way: fn()) {
        for _ in 0..TICKS {
            let from = self.begin.elapsed();
            while self.begin.elapsed() - from < TICK {}
            self.note(unit, from);
            give_way();
        }
    }
    // excerpt: end

    fn note(&self, unit: usize, from: Duration) {
        let us = |time: Duration| time.as_micros() as u32;
        let tick = [unit as u32, us(from), us(self.begin.elapsed())];
        // Relaxed, all: each has its own place, and they are read when the units have ended.
        let index = self.words[Self::COUNT].fetch_add(1, Ordering::Relaxed) as usize;
        let place = &self.words[Self::COUNT + 1 + index * tick.len()..];
        for (word, value) in place.iter().zip(tick) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn all(&self) -> Vec<Tick> {
        let count = self.words[Self::COUNT].load(Ordering::Relaxed) as usize;
        let words = &self.words[Self::COUNT + 1..];
        let ticks = words.chunks_exact(3).take(count);
        ticks
            .map(|tick| [0, 1, 2].map(|part| tick[part].load(Ordering::Relaxed)))
            .collect()
    }
}

fn three_coroutines() -> io::Result<Vec<Tick>> {
    runtime::run(|| {
        let ticks = Arc::new(Ticks::new()?);
        let unit = |unit| {
            let ticks = Arc::clone(&ticks);
            let named = coroutine::Builder::new().name(NAMES[unit]);
            named.spawn_local(move || ticks.make(unit, runtime::yield_now))
        };
        let units = [unit(0)?, unit(1)?, unit(2)?];
        units
            .into_iter()
            .try_for_each(|unit| unit.join().map_err(panicked))?;
        Ok(ticks.all())
    })
}

/// Where a trace of the three coroutines is to be written.
const TRACE: Choice = Choice {
    name: "trace",
    value: "FILE",
    help: "Write to FILE who of three coroutines ran when, for https://ui.perfetto.dev",
};

fn write_trace(path: &Path) -> io::Result<()> {
    trace::start();
    let ticks = three_coroutines();
    let trace = trace::stop();
    ticks?;
    let mut file = BufWriter::new(fs::File::create(path)?);
    trace.write_json(&mut file)?;
    file.flush()
}

fn three_threads() -> io::Result<Vec<Tick>> {
    let ticks = Arc::new(Ticks::new()?);
    let unit = |unit| {
        let ticks = Arc::clone(&ticks);
        thread::Builder::new().spawn(move || ticks.make(unit, || ()))
    };
    let units = [unit(0)?, unit(1)?, unit(2)?];
    units
        .into_iter()
        .try_for_each(|unit| unit.join().map_err(panicked))?;
    Ok(ticks.all())
}

fn three_processes() -> io::Result<Vec<Tick>> {
    let ticks = Ticks::new()?;
    let unit = |unit| {
        os::fork(|| {
            ticks.make(unit, || ());
            0
        })
    };
    let units = [unit(0)?, unit(1)?, unit(2)?];
    units.into_iter().try_for_each(os::Child::wait)?;
    Ok(ticks.all())
}

/// Runs three units again and again: in how many orders do they tick, and how often is one interrupted?
fn order(lab: &mut Lab, body: Body, three: fn() -> io::Result<Vec<Tick>>) -> io::Result<()> {
    const SHOWN: usize = 2;
    lab.unpin();
    let runs = runs(lab.effort);
    let mut orders = HashSet::new();
    let mut involuntary = Vec::new();
    for run in 0..runs {
        lab.progress(ORDERS_ROW, run as u64, runs as u64);
        let before = all_usage();
        let ticks = three()?;
        involuntary.push(all_usage().since(before).involuntary_switches as f64);
        if ticks.len() != NAMES.len() * TICKS {
            return Err(io::Error::other(format!("{} ticks were made", ticks.len())));
        }
        orders.insert(ticks.iter().map(|&[unit, ..]| unit).collect::<Vec<_>>());
        if run < SHOWN {
            lab.timeline(timeline(body, run + 1, &ticks));
        }
    }
    lab.figures(ORDERS_ROW, ORDERS, &[orders.len() as f64]);
    lab.figures(INVOLUNTARY_ROW, SWITCHES, &involuntary);
    Ok(())
}

fn timeline(body: Body, run: usize, ticks: &[Tick]) -> Timeline {
    let title = match body {
        Body::Coroutine => "three coroutines, one worker",
        Body::Thread => "three threads",
        Body::Process | Body::Baseline => "three processes",
    };
    let lane = |(unit, name): (usize, &&str)| Lane {
        name: (*name).to_owned(),
        spans: ticks
            .iter()
            .filter(|tick| tick[0] == unit as u32)
            .map(|&[_, from, to]| (u64::from(from) * 1_000, u64::from(to) * 1_000))
            .collect(),
    };
    Timeline {
        title: format!("{title}, run {run}"),
        body,
        lanes: NAMES.iter().enumerate().map(lane).collect(),
    }
}

/// Of this process, its threads, and the children that it has waited for.
fn all_usage() -> Usage {
    Usage::of(Whose::Process) + Usage::of(Whose::Children)
}

/// `hand_overs` hands control over so often as it is told, from one to another and back.
fn kernel_part(lab: &mut Lab, hand_overs: fn(u64) -> io::Result<Duration>) -> io::Result<()> {
    const MANY: u64 = 1_000;
    let mut voluntary = Vec::new();
    for _ in 0..lab.plan().samples {
        let before = all_usage();
        hand_overs(MANY)?;
        let switches = all_usage().since(before).voluntary_switches;
        voluntary.push(switches as f64 / MANY as f64);
    }
    lab.figures(VOLUNTARY_ROW, SWITCHES, &voluntary);
    Ok(())
}

/// As [`kernel_part`], for a process that has one thread now.
fn count_calls(lab: &mut Lab, hand_overs: fn(u64) -> io::Result<Duration>) -> io::Result<()> {
    const FEW: u64 = 200;
    const MANY: u64 = 1_000;
    // What starting and ending takes is in both.
    let count = |number| os::system_calls(|| hand_overs(number).is_err().into());
    let each = || io::Result::Ok((count(MANY)? as f64 - count(FEW)? as f64) / (MANY - FEW) as f64);
    match each() {
        Ok(calls) => lab.figures(CALLS_ROW, CALLS, &[calls.max(0.0)]),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            lab.skip(CALLS_ROW, "tracing a child (ptrace) is not permitted here");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn ring_hand_overs(count: u64) -> io::Result<Duration> {
    runtime::run(|| ring(2, count / 2))
}

fn thread_hand_overs(count: u64) -> io::Result<Duration> {
    between_threads::<Pipe>(Pinned::OneCpu, count / 2)
}

fn process_hand_overs(count: u64) -> io::Result<Duration> {
    between_processes::<Pipe>(Pinned::OneCpu, count / 2)
}

/// Threads of this process that the kernel knows.
fn tasks() -> io::Result<f64> {
    // A directory has two links, and one for each directory in it.
    Ok(fs::metadata("/proc/self/task")?.nlink().saturating_sub(2) as f64)
}

const CROWD: u64 = 100;

/// A function that adds up numbers, paused at each; returns how often it was, if it went on where it had stopped.
fn pause_and_resume() -> io::Result<f64> {
    const NUMBERS: u64 = 1_000;
    // excerpt: pause
    let mut sums = Generator::<(), u64, u64>::new(|pause, ()| {
        let mut sum = 0;
        for number in 1..=NUMBERS {
            sum += number;
            pause.suspend(sum);
        }
        sum
    });
    // excerpt: end
    let mut pauses = 0;
    loop {
        match sums.resume(()) {
            GeneratorState::Yielded(sum) => {
                pauses += 1;
                if sum != pauses * (pauses + 1) / 2 {
                    return Err(io::Error::other("a paused function has lost its sum"));
                }
            }
            GeneratorState::Complete(_) => return Ok(pauses as f64),
        }
    }
}

impl Experiment for Scheduling {
    fn name(&self) -> &'static str {
        "scheduling"
    }

    fn claim(&self) -> &'static str {
        "Processes and threads are scheduled by the kernel, coroutines in user space, cooperatively."
    }

    fn method(&self, effort: Effort) -> Vec<String> {
        vec![
            format!(
                "Three units tick {TICKS} times each, computing 500 us for a tick, on every CPU that the demo may use: in \
                 how many orders, of {} runs? Coroutines are on one worker, and yield after each tick.",
                runs(effort)
            ),
            "Two hand control to each other on one CPU: threads and processes by a byte in a pipe, coroutines by \
             yield_now. getrusage counts the kernel's context switches; a traced child (ptrace) stops at each \
             system call."
                .to_owned(),
            "After that nothing is measured: a trace shows some milliseconds of two workers from inside. `hog` computes \
             2 ms without a yield, and `consumer`, on its worker, has to wait."
                .to_owned(),
        ]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(ORDERS, Unit::Count, "different orders in all runs"),
            Metric::new(
                SWITCHES,
                Unit::Count,
                "the kernel's context switches (getrusage)",
            ),
            Metric::new(CALLS, Unit::Count, "system calls (ptrace)"),
            Metric::new(
                TASKS,
                Unit::Count,
                "threads of its process that the kernel knows",
            ),
            Metric::new(PAUSES, Unit::Count, "how often it was paused and resumed"),
        ]
    }

    fn options(&self) -> &'static [Choice] {
        &[TRACE]
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        // First, before this process has a runtime of its own.
        count_calls(lab, ring_hand_overs)?;
        kernel_part(lab, ring_hand_overs)?;
        runtime::run(|| {
            let mut crowd = Coroutines::default();
            let before = tasks()?;
            crowd.grow(CROWD);
            lab.figures(TASKS_ROW, TASKS, &[tasks()? - before]);
            crowd.release()
        })?;
        lab.figures(PAUSES_ROW, PAUSES, &[pause_and_resume()?]);
        if let Some(path) = lab.options.path(TRACE.name) {
            write_trace(path)?;
        }
        order(lab, Body::Coroutine, three_coroutines)?;
        lab.trace(inside::look()?);
        Ok(())
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        count_calls(lab, thread_hand_overs)?;
        kernel_part(lab, thread_hand_overs)?;
        let mut crowd = Threads::default();
        let before = tasks()?;
        crowd.grow(CROWD);
        lab.figures(TASKS_ROW, TASKS, &[tasks()? - before]);
        crowd.release()?;
        order(lab, Body::Thread, three_threads)
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        count_calls(lab, process_hand_overs)?;
        kernel_part(lab, process_hand_overs)?;
        order(lab, Body::Process, three_processes)
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        Some(verdict(&Parts::of(findings)?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        Parts::of(findings).map_or_else(Vec::new, |parts| answers(&parts))
    }

    fn code(&self) -> Vec<Excerpt> {
        let here = (file!(), include_str!("mod.rs"));
        let inside = (inside::FILE, include_str!("inside.rs"));
        [(here, "unit"), (here, "pause"), (inside, "trace")]
            .map(|((file, source), name)| Excerpt::of(file, source, name))
            .into()
    }

    fn layout(&self) -> Layout {
        Layout::Matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_coroutines_tick_in_turns_and_three_threads_as_often() {
        let ticks = three_coroutines().unwrap();
        assert!(
            ticks
                .iter()
                .enumerate()
                .all(|(index, tick)| tick[0] as usize == index % 3),
            "{ticks:?}"
        );
        assert_eq!(three_threads().unwrap().len(), 3 * TICKS);
        let timeline = timeline(Body::Coroutine, 1, &ticks);
        assert!(timeline.lanes.iter().all(|lane| lane.spans.len() == TICKS));
    }

    #[test]
    fn a_loop_is_paused_at_every_round() {
        assert_eq!(pause_and_resume().unwrap(), 1_000.0);
    }

    #[test]
    fn a_trace_shows_the_turns_of_the_three() {
        let file = format!("scheduling-{}.json", std::process::id());
        let path = std::env::temp_dir().join(file);
        write_trace(&path).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        fs::remove_file(path).unwrap();
        let turns_of = |name: &str| {
            let events = json["traceEvents"].as_array().unwrap().iter();
            let turns = events.filter(|event| event["ph"] == "X" && event["name"] == name);
            turns.count()
        };
        // Each yields after every tick, and ends with the turn after that. A test beside this one may have its three too.
        let turns = NAMES.map(turns_of);
        assert!(turns.iter().all(|turns| *turns > TICKS), "{turns:?}");
    }
}
