//! The lost update: two units add to one total, each by reading it and writing back one more.
//!
//! ```text
//!   A   reads 7 ───────────────────> writes 8
//!   B             reads 7, writes 8                two additions, and the total has grown by one
//! ```
//!
//! The total is an atomic, read and written in two steps: what is lost is lost by the race, not by the compiler.
#![forbid(unsafe_code)]

use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::experiments::panicked;
use crate::os::{self, SharedWords};

/// How long two units of the kernel's add: several of its time slices, so that they interleave on one CPU too.
const ADDING: Duration = Duration::from_millis(20);

/// How often each of two coroutines adds.
const ADDS: u32 = 10_000;

/// Two units race once: additions lost, of a million.
pub type Lost = fn() -> io::Result<f64>;

// excerpt: race
/// Adds one by reading and writing, and lets `between` run in the middle.
fn add(total: &AtomicU32, between: impl Fn()) {
    let read = total.load(Ordering::Relaxed);
    between();
    total.store(read.wrapping_add(1), Ordering::Relaxed);
}
// excerpt: end

/// Adds by `add` for a while; returns how often.
fn keep_adding(add: impl Fn()) -> u32 {
    const UNWATCHED: u32 = 256;
    let start = Instant::now();
    let mut made = 0;
    while start.elapsed() < ADDING {
        (0..UNWATCHED).for_each(|_| add());
        made += UNWATCHED;
    }
    made
}

/// Additions that were lost, of a million.
fn lost(made: u32, total: u32) -> f64 {
    f64::from(made.saturating_sub(total)) / f64::from(made) * 1e6
}

/// Two threads that take no lock.
///
/// # Errors
/// The system's, if it refuses a thread.
pub fn threads_without_a_lock() -> io::Result<f64> {
    let total = AtomicU32::new(0);
    let made = two_threads(|| keep_adding(|| add(&total, || ())))?;
    Ok(lost(made, total.into_inner()))
}

/// Two threads that take a lock for each addition.
///
/// # Errors
/// The system's, if it refuses a thread.
pub fn threads_with_a_mutex() -> io::Result<f64> {
    let total = AtomicU32::new(0);
    let lock = Mutex::new(());
    let made = two_threads(|| {
        keep_adding(|| {
            let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
            add(&total, || ());
        })
    })?;
    Ok(lost(made, total.into_inner()))
}

fn two_threads(work: impl Fn() -> u32 + Sync) -> io::Result<u32> {
    thread::scope(|scope| {
        let second = thread::Builder::new().spawn_scoped(scope, &work)?;
        let made = work();
        Ok(made + second.join().map_err(panicked)?)
    })
}

/// Two processes with the total in memory that they share.
///
/// # Errors
/// The system's, if it refuses memory or a child.
pub fn processes_without_a_lock() -> io::Result<f64> {
    const TOTAL: usize = 0;
    const MADE: usize = 1;
    let words = SharedWords::new()?;
    let work = || keep_adding(|| add(&words[TOTAL], || ()));
    let second = os::fork(|| {
        // Relaxed: it is read when the process has ended.
        words[MADE].store(work(), Ordering::Relaxed);
        0
    })?;
    let made = work();
    second.wait()?;
    let [total, others] = [TOTAL, MADE].map(|word| words[word].load(Ordering::Relaxed));
    Ok(lost(made + others, total))
}

/// Two coroutines of one worker that yield after each addition.
///
/// # Errors
/// If one of them panicked.
pub fn coroutines() -> io::Result<f64> {
    two_coroutines(|total| {
        add(total, || ());
        runtime::yield_now();
    })
}

/// Two coroutines that yield in the middle of each.
///
/// # Errors
/// If one of them panicked.
pub fn coroutines_that_yield_inside() -> io::Result<f64> {
    two_coroutines(|total| add(total, runtime::yield_now))
}

fn two_coroutines(add: fn(&AtomicU32)) -> io::Result<f64> {
    let total = Rc::new(AtomicU32::new(0));
    let adder = || {
        let total = Rc::clone(&total);
        runtime::spawn_local(move || (0..ADDS).for_each(|_| add(&total)))
    };
    let both = [adder(), adder()];
    both.into_iter()
        .try_for_each(|one| one.join().map_err(panicked))?;
    Ok(lost(2 * ADDS, total.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coroutines_lose_nothing_until_they_yield_inside() {
        runtime::run(|| {
            assert_eq!(coroutines().unwrap(), 0.0);
            // Each of the two writes the same.
            assert_eq!(coroutines_that_yield_inside().unwrap(), 500_000.0);
        });
    }

    #[test]
    fn a_lock_loses_nothing() {
        assert_eq!(threads_with_a_mutex().unwrap(), 0.0);
        // Whether it happens this once is chance; that it is counted is not.
        assert!((0.0..=1e6).contains(&threads_without_a_lock().unwrap()));
    }

    #[test]
    fn what_is_missing_is_counted_of_a_million() {
        assert_eq!(lost(200, 100), 500_000.0);
        assert_eq!(lost(200, 200), 0.0);
    }
}
