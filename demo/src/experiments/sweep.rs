//! The working-set sweep of `switch`: what a hand-over costs those who have something in the caches.
//!
//! ```text
//!   alone          touch own set ........ again, still in the cache
//!   in turns       touch own set, hand over; the other touches his, hands back; own lines and TLB entries are gone
//!                  |---- direct cost ---|                                      |----- indirect cost -----------
//! ```
//!
//! Each of two units touches every cache line of a set of its own in each of its turns.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::panicked;
use crate::lab::Lab;
use crate::link::{Between, Link, Pipe};
use crate::os::{self, Counter, Miss};
use crate::report::{Body, Effort, Findings, Row};
use crate::stats::Summary;

/// The metric: nanoseconds of one turn.
pub const TURN: &str = "turn";
/// The metrics: misses in one turn.
pub const TLB_MISSES: &str = "tlb_misses";
pub const CACHE_MISSES: &str = "cache_misses";

pub const ALONE: &str = "alone, no hand-over";

/// The row of `body`.
pub fn label(body: Body) -> &'static str {
    match body {
        Body::Baseline => ALONE,
        Body::Coroutine => "coroutines in turns",
        Body::Thread => "threads in turns",
        Body::Process => "processes in turns",
    }
}

const KIB: usize = 1 << 10;

fn sizes(effort: Effort) -> &'static [usize] {
    match effort {
        Effort::Quick => &[0, 64 * KIB, 1024 * KIB],
        _ => &[0, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB, 4096 * KIB],
    }
}

/// The set for which misses are counted: it fits into the second-level cache of most machines, once.
const COUNTED: usize = 256 * KIB;

/// What a unit works with.
pub struct WorkingSet(Vec<u64>);

impl WorkingSet {
    /// All of it touched once.
    pub fn new(bytes: usize) -> WorkingSet {
        WorkingSet(vec![1; bytes / size_of::<u64>()])
    }

    // excerpt: touch
    /// Touches every cache line.
    fn touch(&mut self) {
        const LINE: usize = 64 / size_of::<u64>();
        for word in self.0.iter_mut().step_by(LINE) {
            *word += 1;
        }
        black_box(&self.0);
    }
    // excerpt: end
}

/// One unit alone: turns without a hand-over.
pub fn alone(bytes: usize, turns: u64) -> io::Result<Duration> {
    let mut set = WorkingSet::new(bytes);
    let start = Instant::now();
    (0..turns).for_each(|_| set.touch());
    Ok(start.elapsed())
}

/// Two coroutines, so many turns each.
pub fn coroutines(bytes: usize, turns: u64) -> io::Result<Duration> {
    runtime::run(|| {
        let unit = || {
            let mut set = WorkingSet::new(bytes);
            move || {
                for _ in 0..turns {
                    set.touch();
                    runtime::yield_now();
                }
            }
        };
        let units = [unit(), unit()];
        let start = Instant::now();
        let units = units.map(runtime::spawn_local);
        units
            .into_iter()
            .try_for_each(|unit| unit.join().map_err(panicked))?;
        Ok(start.elapsed())
    })
}

/// Two threads, so many turns each, which take them over a pipe.
pub fn threads(bytes: usize, turns: u64) -> io::Result<Duration> {
    let (ping, pong) = Pipe::pair(Between::Threads)?;
    let second = thread::Builder::new().spawn(move || serve(&pong, bytes, turns))?;
    let took = drive(&ping, bytes, turns)?;
    second.join().map_err(panicked)??;
    Ok(took)
}

/// Two processes, likewise.
pub fn processes(bytes: usize, turns: u64) -> io::Result<Duration> {
    let (ping, pong) = Pipe::pair(Between::Processes)?;
    let second = os::fork(move || serve(&pong, bytes, turns).is_err().into())?;
    let took = drive(&ping, bytes, turns)?;
    second.wait()?;
    Ok(took)
}

fn serve(pong: &impl Link, bytes: usize, turns: u64) -> io::Result<()> {
    let mut set = WorkingSet::new(bytes);
    // Once before the clock starts: then this end is up, and its set there.
    pong.pong()?;
    (0..turns).try_for_each(|_| {
        set.touch();
        pong.pong()
    })
}

fn drive(ping: &impl Link, bytes: usize, turns: u64) -> io::Result<Duration> {
    let mut set = WorkingSet::new(bytes);
    ping.ping()?;
    let start = Instant::now();
    (0..turns).try_for_each(|_| {
        set.touch();
        ping.ping()
    })?;
    Ok(start.elapsed())
}

/// A row for each size of the set, then one with the misses. `takers` is how many take so many turns each.
pub fn sweep(
    lab: &mut Lab,
    body: Body,
    takers: u32,
    take: fn(usize, u64) -> io::Result<Duration>,
) -> io::Result<()> {
    for &size in sizes(lab.effort) {
        let plan = lab.sweep_plan();
        let rounds = lab.sample(label(body), &plan, |turns| take(size, turns))?;
        let turns: Vec<f64> = rounds.iter().map(|ns| ns / f64::from(takers)).collect();
        let mut row = sized(body, size);
        row.values
            .extend(Summary::of(&turns).map(|summary| (TURN.to_owned(), summary)));
        lab.row(row);
    }
    count_misses(lab, body, takers, take)
}

fn sized(body: Body, size: usize) -> Row {
    Row {
        size: Some(size as u64),
        ..Row::new(label(body), body)
    }
}

fn count_misses(
    lab: &mut Lab,
    body: Body,
    takers: u32,
    take: fn(usize, u64) -> io::Result<Duration>,
) -> io::Result<()> {
    const TURNS: u64 = 200;
    const SAMPLES: usize = 11;
    let mut row = Row::new(format!("misses, {}", label(body)), body);
    row.size = Some(COUNTED as u64);
    for (metric, miss) in [(TLB_MISSES, Miss::Tlb), (CACHE_MISSES, Miss::Cache)] {
        let samples = (0..SAMPLES).map(|_| {
            let counter = Counter::of(miss)?;
            take(COUNTED, TURNS)?;
            Ok(counter.read()? as f64 / (TURNS * u64::from(takers)) as f64)
        });
        match samples.collect::<io::Result<Vec<f64>>>() {
            Ok(samples) => row
                .values
                .extend(Summary::of(&samples).map(|summary| (metric.to_owned(), summary))),
            // No such counter, or not for us.
            Err(_) => {
                row.skipped = Some(
                    "this machine lets no program count TLB and cache misses (perf events)"
                        .to_owned(),
                )
            }
        }
    }
    lab.row(row);
    Ok(())
}

/// What a turn of `body` takes with the largest set that was swept, and that set's size.
pub fn largest(findings: Findings<'_>, body: Body) -> Option<(u64, f64)> {
    let rows = findings.0.iter().filter(|row| row.label == label(body));
    rows.filter_map(|row| Some((row.size?, row.values.get(TURN)?.median)))
        .max_by_key(|&(size, _)| size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::specimen::value;

    #[test]
    fn every_way_of_taking_turns_comes_to_an_end() {
        for bytes in [0, 4096] {
            for take in [alone, coroutines, threads] {
                take(bytes, 3).unwrap();
            }
        }
    }

    #[test]
    fn a_touch_reaches_every_line_once() {
        let mut set = WorkingSet::new(256);
        set.touch();
        assert_eq!(set.0.iter().filter(|&&word| word == 2).count(), 4);
    }

    #[test]
    fn the_largest_set_is_found_by_its_size() {
        let row = |size, turn| Row {
            size: Some(size),
            ..value(label(Body::Thread), Body::Thread, TURN, turn)
        };
        let rows = [row(64, 2.0), row(1024, 9.0), row(0, 1.0)];
        assert_eq!(largest(Findings(&rows), Body::Thread), Some((1024, 9.0)));
        assert_eq!(largest(Findings(&rows), Body::Process), None);
    }
}
