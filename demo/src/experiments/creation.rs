//! `creation`: what it costs to create a unit, run it and wait for its end.
//!
//! ```text
//!   coroutine, stack pooled   one record, a stack that is still warm
//!   coroutine, stack cold     the same, and a stack that nobody has used: guard, first touch of a page
//!   thread                    clone, its stack mapped and guarded, scheduled, joined by futex
//!   posix_spawn               a new address space for another program; the caller's is not copied
//!   fork                      the caller's address space copied: page tables now, pages when written
//!   fork, 1 GiB touched       the same, with 262,144 page-table entries to copy
//!
//!   a stack alone             mapped, guarded, touched for the first time; touched again: what a pool saves
//! ```
#![forbid(unsafe_code)]

use std::env;
use std::ffi::{CStr, CString};
use std::hint::black_box;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

use super::{Experiment, NOTHING, panicked};
use crate::climb::Population;
use crate::comparison::{Answer, Feature, Place};
use crate::crowd::Coroutines;
use crate::excerpt::Excerpt;
use crate::lab::Lab;
use crate::memory;
use crate::os::{self, BareStacks, STACK_BYTES};
use crate::quantity::{times, with_unit};
use crate::report::{Body, Effort, Findings, Metric, Outcome, Unit, Verdict};

/// See the module's head.
pub struct Creation;

const LIFE: &str = "create_run_join";

const POOLED: &str = "coroutine, stack pooled";
const COLD: &str = "coroutine, stack cold";
const THREAD: &str = "thread";
const FORK: &str = "fork and wait";
const SPAWN: &str = "posix_spawn a program and wait";
const STACK_MAPPED: &str = "a stack: mapped, and unmapped again";
const STACK_GUARDED: &str = "a stack: its guard installed";
const STACK_TOUCHED: &str = "a stack: its first page touched";
const STACK_REUSED: &str = "a stack: touched again";

/// Units of one sample of [`COLD`], each of which needs a stack of its own.
const COLD_BATCH: u64 = 200;

impl Experiment for Creation {
    fn name(&self) -> &'static str {
        "creation"
    }

    fn claim(&self) -> &'static str {
        "Creating a process is expensive, a thread less so, a coroutine very cheap."
    }

    fn method(&self, _: Effort) -> Vec<String> {
        let sentences = [
            "Each unit is created, does nothing, ends, and is waited for before the next one; all pinned to \
             one CPU.",
            "A cold stack is one that nobody has used before: the coroutines park on their stacks, so that each \
             needs another one, and are joined at the end.",
            "Processes are forked from a helper with one thread and little memory, then again after it has \
             touched more in pages of 4 KiB; posix_spawn starts this program, which ends as soon as it \
             is loaded and linked.",
            "Stacks alone are of 64 KiB, in rows of 256; each of their steps is timed by itself.",
        ];
        sentences.map(String::from).to_vec()
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![Metric {
            name: LIFE.to_owned(),
            unit: Unit::Nanoseconds,
            meaning: "time from the call that creates one unit until its end is known; of a stack alone, \
                      of that step"
                .to_owned(),
        }]
    }

    fn baseline(&self, lab: &mut Lab) -> io::Result<()> {
        lab.measure(STACK_MAPPED, LIFE, 1, |stacks| {
            one_by_one(stacks, || BareStacks::reserve(1).map(drop))
        });
        lab.measure(STACK_GUARDED, LIFE, 1, |stacks| {
            step_by_step(stacks, BareStacks::guard)
        });
        lab.measure(STACK_TOUCHED, LIFE, 1, |stacks| {
            step_by_step(stacks, |stacks, index| {
                stacks.touch(index);
                Ok(())
            })
        });
        lab.measure(STACK_REUSED, LIFE, 1, touch_again);
        Ok(())
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        runtime::run(|| {
            // Cold first: afterwards the pool is full of used stacks.
            match cold(lab) {
                Ok(samples) => lab.figures(COLD, LIFE, &samples),
                Err(error) => lab.fail(COLD, &error),
            }
            lab.measure(POOLED, LIFE, 1, |units| {
                one_by_one(units, || runtime::spawn(|| ()).join().map_err(panicked))
            });
        });
        Ok(())
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        lab.measure(THREAD, LIFE, 1, |units| {
            one_by_one(units, || {
                let thread = thread::Builder::new().spawn(|| ())?;
                thread.join().map_err(panicked)
            })
        });
        Ok(())
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        let program = CString::new(env::current_exe()?.as_os_str().as_bytes())?;
        let argument = CString::new(NOTHING)?;
        small_and_large(lab, |lab, suffix| {
            lab.measure(&format!("{FORK}{suffix}"), LIFE, 1, forks);
            let spawn = |units| spawns(units, &program, &argument);
            lab.measure(&format!("{SPAWN}{suffix}"), LIFE, 1, spawn);
        })
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        Some(verdict(&Lives::of(findings)?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        Lives::of(findings).map_or_else(Vec::new, |lives| answers(&lives))
    }

    fn code(&self) -> Vec<Excerpt> {
        vec![Excerpt::of(file!(), include_str!("creation.rs"), "lives")]
    }
}

/// Medians in nanoseconds.
struct Lives {
    pooled: f64,
    cold: f64,
    thread: f64,
    fork: f64,
    /// The fork of a process with much memory, and its label.
    large: (String, f64),
    /// Of a stack: its guard, its first touch, its second.
    stack: [f64; 3],
}

// "Very cheap" is a class of its own from a factor of five on; one kind is dearer than another if the difference is
// larger than that between two runs.
const CLASS: f64 = 5.0;
const MORE: f64 = 1.5;

impl Lives {
    fn of(findings: Findings<'_>) -> Option<Lives> {
        let of = |label: &str| findings.median(label, LIFE);
        let mut rows = findings.0.iter().rev();
        let large = &rows.find(|row| row.label.starts_with(FORK))?.label;
        Some(Lives {
            pooled: of(POOLED)?,
            cold: of(COLD)?,
            thread: of(THREAD)?,
            fork: of(FORK)?,
            large: (large.clone(), of(large)?),
            stack: [of(STACK_GUARDED)?, of(STACK_TOUCHED)?, of(STACK_REUSED)?],
        })
    }

    fn is_very_cheap(&self) -> bool {
        self.thread / self.pooled >= CLASS
    }

    fn is_ladder(&self) -> bool {
        self.thread / self.cold >= MORE && self.is_process_dearer()
    }

    fn is_process_dearer(&self) -> bool {
        self.fork / self.thread >= MORE
    }
}

fn ns(value: f64) -> String {
    with_unit(Unit::Nanoseconds, value)
}

fn verdict(lives: &Lives) -> Verdict {
    let outcome = match (lives.is_very_cheap(), lives.is_ladder()) {
        (true, true) => Outcome::Confirmed,
        (true, false) => Outcome::Depends,
        (false, _) => Outcome::Refuted,
    };
    let Lives {
        pooled,
        cold,
        thread,
        fork,
        ..
    } = *lives;
    let [guard, touch, again] = lives.stack.map(ns);
    Verdict {
        outcome,
        why: format!(
            "a thread takes {}, {} times a coroutine on a pooled stack ({}) and {} times one on a cold stack \
             ({}): a pooled stack needs a record and two switches, a cold one also a guard ({guard}) and the first \
             touch of a page ({touch}; the next takes {again}). A small process takes {}, {} times a thread, because \
             its address space is copied; how much depends on its size: {}, {}.",
            ns(thread),
            times(thread, pooled),
            ns(pooled),
            times(thread, cold),
            ns(cold),
            ns(fork),
            times(fork, thread),
            lives.large.0,
            ns(lives.large.1),
        ),
    }
}

fn answers(lives: &Lives) -> Vec<Answer> {
    let when = |is_so, otherwise| if is_so { Outcome::Confirmed } else { otherwise };
    let cell = |body, outcome, value, why| {
        Answer::new(Place::Cell(Feature::Creation, body), outcome, value, why)
    };
    vec![
        cell(
            Body::Process,
            when(lives.is_process_dearer(), Outcome::Refuted),
            ns(lives.fork),
            format!(
                "{} times a thread while it is small; {}: {}",
                times(lives.fork, lives.thread),
                lives.large.0,
                ns(lives.large.1)
            ),
        ),
        cell(
            Body::Thread,
            when(lives.is_ladder(), Outcome::Depends),
            ns(lives.thread),
            format!(
                "{} times a coroutine on a cold stack; a process takes {} times as long",
                times(lives.thread, lives.cold),
                times(lives.fork, lives.thread)
            ),
        ),
        cell(
            Body::Coroutine,
            when(lives.is_very_cheap(), Outcome::Refuted),
            format!("{}; {} on a cold stack", ns(lives.pooled), ns(lives.cold)),
            format!(
                "a thread takes {} times as long as one on a pooled stack",
                times(lives.thread, lives.pooled)
            ),
        ),
    ]
}

// excerpt: lives
fn one_by_one(units: u64, mut live: impl FnMut() -> io::Result<()>) -> io::Result<Duration> {
    let start = Instant::now();
    for _ in 0..units {
        live()?;
    }
    Ok(start.elapsed())
}

fn forks(units: u64) -> io::Result<Duration> {
    one_by_one(units, || os::fork(|| 0)?.wait())
}
// excerpt: end

fn spawns(units: u64, program: &CStr, argument: &CStr) -> io::Result<Duration> {
    one_by_one(units, || os::spawn_program(program, argument)?.wait())
}

/// Stacks that are made in a row: 16 MiB of address space.
const ROW: u64 = 256;
const _: () = assert!(STACK_BYTES == 64 << 10, "the method says so");

/// How long `step` takes with so many fresh stacks, one after the other.
fn step_by_step(
    stacks: u64,
    step: impl Fn(&mut BareStacks, usize) -> io::Result<()>,
) -> io::Result<Duration> {
    let mut took = Duration::ZERO;
    let mut left = stacks;
    while left > 0 {
        let count = left.min(ROW) as usize;
        let mut row = BareStacks::reserve(count)?;
        let start = Instant::now();
        (0..count).try_for_each(|index| step(&mut row, index))?;
        took += start.elapsed();
        left -= count as u64;
    }
    Ok(took)
}

/// How long it takes to touch so many stacks that have been touched before.
fn touch_again(touches: u64) -> io::Result<Duration> {
    let mut row = BareStacks::reserve(ROW as usize)?;
    (0..ROW as usize).for_each(|index| row.touch(index));
    let start = Instant::now();
    (0..touches).for_each(|touch| row.touch((touch % ROW) as usize));
    Ok(start.elapsed())
}

/// Calls `measure` in this small process, then with a lot of memory touched, the suffix saying how much.
fn small_and_large(lab: &mut Lab, measure: impl Fn(&mut Lab, &str)) -> io::Result<()> {
    measure(lab, "");
    let Some(ballast_bytes) = ballast_bytes(memory::available_bytes()?) else {
        lab.skip(
            &format!("{FORK}, much touched"),
            "too little memory is available",
        );
        return Ok(());
    };
    // Huge pages would leave one page-table entry where a program of small objects has 512.
    rustix::thread::disable_transparent_huge_pages(true)?;
    lab.progress("touching memory", 0, 1);
    let ballast = vec![1u8; ballast_bytes];
    let touched = with_unit(Unit::Bytes, ballast_bytes as f64);
    measure(lab, &format!(", {} touched", touched.replace(".00", "")));
    drop(black_box(ballast));
    Ok(())
}

/// 1 GiB if that is a quarter of what is available at most, less if less is there.
fn ballast_bytes(available: u64) -> Option<usize> {
    const SIZES: [usize; 3] = [1 << 30, 1 << 28, 1 << 26];
    SIZES.into_iter().find(|&size| 4 * size as u64 <= available)
}

/// Samples of coroutines that each get a stack which nobody has used: nanoseconds per unit.
///
/// All stay parked until the last one is made, so no stack comes back meanwhile. A sample adds up what a
/// batch took to be created and run until parked, and what the same batch took to be started again and joined.
fn cold(lab: &mut Lab) -> io::Result<Vec<f64>> {
    let plan = lab.plan();
    let mut batches = Vec::new();
    for made in 0..plan.warm_up + plan.samples {
        lab.progress(COLD, made as u64, (plan.warm_up + plan.samples) as u64);
        let mut batch = Coroutines::default();
        let growth = batch.grow(COLD_BATCH);
        if let Some((_, error)) = growth.refused {
            return Err(error);
        }
        batches.push((batch, growth.took));
    }
    let mut samples = Vec::new();
    for (batch, created) in batches {
        let start = Instant::now();
        batch.release()?;
        let elapsed = created + start.elapsed();
        samples.push(lab.net_ns(elapsed) / COLD_BATCH as f64);
    }
    Ok(samples.split_off(plan.warm_up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::specimen::{assert_answers_all, value};
    use crate::lab::tests::Tape;

    fn lives(cold: f64, thread: f64, fork: f64) -> Lives {
        Lives {
            pooled: 30.0,
            cold,
            thread,
            fork,
            large: ("fork and wait, 1 GiB touched".to_owned(), 6e6),
            stack: [700.0, 800.0, 2.0],
        }
    }

    #[test]
    fn each_step_of_the_ladder_must_be_there_to_confirm() {
        let outcome = |cold, thread, fork| verdict(&lives(cold, thread, fork)).outcome;
        assert_eq!(outcome(2e3, 25e3, 130e3), Outcome::Confirmed);
        assert_eq!(outcome(20e3, 25e3, 130e3), Outcome::Depends);
        assert_eq!(outcome(2e3, 25e3, 25e3), Outcome::Depends);
        assert_eq!(outcome(2e3, 100.0, 130e3), Outcome::Refuted);
    }

    #[test]
    fn each_claim_of_the_section_is_answered() {
        let rows = [
            (POOLED, 30.0),
            (COLD, 2e3),
            (THREAD, 25e3),
            (FORK, 25e3),
            ("fork and wait, 1 GiB touched", 6e6),
            (STACK_GUARDED, 700.0),
            (STACK_TOUCHED, 800.0),
            (STACK_REUSED, 2.0),
        ]
        .map(|(label, ns)| value(label, Body::Process, LIFE, ns));
        let answers = assert_answers_all(&Creation, &rows);
        let outcomes: Vec<Outcome> = answers.iter().map(|answer| answer.outcome).collect();
        assert_eq!(
            outcomes,
            [Outcome::Refuted, Outcome::Depends, Outcome::Confirmed]
        );
    }

    #[test]
    fn the_steps_of_more_stacks_than_a_row_has_are_all_made() {
        let made = std::cell::Cell::new(0);
        let count = |_: &mut BareStacks, _| {
            made.set(made.get() + 1);
            Ok(())
        };
        step_by_step(300, count).unwrap();
        assert_eq!(made.get(), 300);
        step_by_step(3, BareStacks::guard).unwrap();
        touch_again(300).unwrap();
    }

    #[test]
    fn the_ballast_is_a_quarter_of_the_memory_at_most() {
        assert_eq!(ballast_bytes(32 << 30), Some(1 << 30));
        assert_eq!(ballast_bytes(4 << 30), Some(1 << 30));
        assert_eq!(ballast_bytes((4 << 30) - 1), Some(1 << 28));
        assert_eq!(ballast_bytes(100 << 20), None);
    }

    #[test]
    fn cold_coroutines_all_end_and_give_as_many_samples_as_planned() {
        let samples = runtime::run(|| cold(&mut Tape::default().lab(Body::Coroutine))).unwrap();
        assert_eq!(samples.len(), 11);
        assert!(samples.iter().all(|&ns| ns > 0.0), "{samples:?}");
    }
}
