//! `creation`: what it costs to create a unit, run it and wait for its end.
//!
//! ```text
//!   coroutine, stack pooled   one record, a stack that is still warm
//!   coroutine, stack cold     the same, and a stack that nobody has used: guard, first touch of a page
//!   thread                    clone, its stack mapped and guarded, scheduled, joined by futex
//!   posix_spawn               a new address space for another program; the caller's is not copied
//!   fork                      the caller's address space copied: page tables now, pages when written
//!   fork, 1 GiB touched       the same, with 262,144 page-table entries to copy
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
use crate::crowd::Coroutines;
use crate::lab::Lab;
use crate::memory;
use crate::os;
use crate::quantity::{times, with_unit};
use crate::report::{Effort, Findings, Metric, Outcome, Unit, Verdict};

/// See the module's head.
pub struct Creation;

const LIFE: &str = "create_run_join";

const POOLED: &str = "coroutine, stack pooled";
const COLD: &str = "coroutine, stack cold";
const THREAD: &str = "thread";
const FORK: &str = "fork and wait";
const SPAWN: &str = "posix_spawn a program and wait";

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
        ];
        sentences.map(String::from).to_vec()
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![Metric {
            name: LIFE.to_owned(),
            unit: Unit::Nanoseconds,
            meaning: "time from the call that creates one unit until its end is known".to_owned(),
        }]
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
        let of = |label: &str| findings.median(label, LIFE);
        let large = findings
            .0
            .iter()
            .rev()
            .find(|row| row.label.starts_with(FORK))?;
        let large = (large.label.as_str(), of(&large.label)?);
        Some(verdict(
            of(POOLED)?,
            of(COLD)?,
            of(THREAD)?,
            of(FORK)?,
            large,
        ))
    }
}

/// Judges medians in nanoseconds; `large` is the fork of a process with much memory and its label.
fn verdict(pooled: f64, cold: f64, thread: f64, fork: f64, large: (&str, f64)) -> Verdict {
    // "Very cheap" is a class of its own from a factor of five on; one kind is dearer than another if the
    // difference is larger than that between two runs.
    const CLASS: f64 = 5.0;
    const MORE: f64 = 1.5;
    let ns = |value| with_unit(Unit::Nanoseconds, value);
    let is_ladder = thread / cold >= MORE && fork / thread >= MORE;
    let outcome = match (thread / pooled >= CLASS, is_ladder) {
        (true, true) => Outcome::Confirmed,
        (true, false) => Outcome::Depends,
        (false, _) => Outcome::Refuted,
    };
    Verdict {
        outcome,
        why: format!(
            "a thread takes {}, {} times a coroutine on a pooled stack ({}) and {} times one on a cold stack \
             ({}): a pooled stack needs a record and two switches, a cold one also a guard and the first touch \
             of a page. A small process takes {}, {} times a thread, because its address space is copied; how \
             much depends on its size: {}, {}.",
            ns(thread),
            times(thread, pooled),
            ns(pooled),
            times(thread, cold),
            ns(cold),
            ns(fork),
            times(fork, thread),
            large.0,
            ns(large.1),
        ),
    }
}

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

fn spawns(units: u64, program: &CStr, argument: &CStr) -> io::Result<Duration> {
    one_by_one(units, || os::spawn_program(program, argument)?.wait())
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
    use crate::lab::tests::Tape;
    use crate::report::Body;

    const LARGE: (&str, f64) = ("fork and wait, 1 GiB touched", 6e6);

    #[test]
    fn each_step_of_the_ladder_must_be_there_to_confirm() {
        let outcome = |cold, thread, fork| verdict(30.0, cold, thread, fork, LARGE).outcome;
        assert_eq!(outcome(2e3, 25e3, 130e3), Outcome::Confirmed);
        assert_eq!(outcome(20e3, 25e3, 130e3), Outcome::Depends);
        assert_eq!(outcome(2e3, 25e3, 25e3), Outcome::Depends);
        assert_eq!(outcome(2e3, 100.0, 130e3), Outcome::Refuted);
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
