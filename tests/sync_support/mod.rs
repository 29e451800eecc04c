//! The matrix: every primitive, in every situation of one that waits, on every kind of strand.
//!
//! ```text
//!   Subject     what one holds and others wait for: hold(f) makes them wait while f runs, however f ends
//!   situation   ready | has to wait | cancelled while waiting | timed out | holder panics
//!   place       1 worker | 2 workers | plain threads, alone or beside coroutines
//! ```
#![forbid(unsafe_code)]
#![allow(dead_code)] // each test target uses its part

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine::{Cancelled, JoinHandle, spawn};
use runtime::time::{self, Elapsed};

use crate::strands_support::{Tally, let_the_others_run, pass_until, runtime_of};

pub const SHORT: Duration = Duration::from_millis(2);
/// Longer than any test takes.
pub const LONG: Duration = Duration::from_secs(3600);

/// A primitive, as the matrix sees it.
pub trait Subject: Send + Sync + 'static {
    /// So many can wait for one holder.
    const WAITERS: usize = 4;

    /// One that nobody holds; `waiters` will come, and not leave before they were let through.
    fn new(waiters: usize) -> Self;

    /// One that lets whoever comes through.
    fn ready() -> Self
    where
        Self: Sized,
    {
        let subject = Self::new(1);
        subject.hold(&mut || ());
        subject
    }

    /// Holds it while `f` runs: whoever waits goes on waiting. If `f` unwinds, this does too, and they are let through.
    fn hold(&self, f: &mut dyn FnMut());

    /// Waits until nobody holds it; leaves it as it was.
    fn wait(&self);

    /// As `wait`, for `duration` at most; false: it was held all the time.
    fn wait_timeout(&self, duration: Duration) -> bool;

    /// As `wait_timeout`.
    fn wait_deadline(&self, deadline: Instant) -> bool;

    /// As `wait_timeout`, without waiting at all.
    fn try_now(&self) -> bool;
}

/// Runs the matrix for one subject.
pub fn matrix<S: Subject>() {
    for workers in [1, 2] {
        for threads in [0, 1, S::WAITERS] {
            let place = Place {
                threads,
                in_coroutine: true,
            };
            let run = |situation: fn(Place)| runtime_of(workers).run(move || situation(place));
            run(ready::<S>);
            run(has_to_wait::<S>);
            run(cancelled::<S>);
            run(timed_out::<S>);
            run(holder_panics::<S>);
        }
    }
    // Without any runtime.
    let place = Place {
        threads: S::WAITERS,
        in_coroutine: false,
    };
    ready::<S>(place);
    has_to_wait::<S>(place);
    timed_out::<S>(place);
    holder_panics::<S>(place);
}

/// Who waits, the first so many on plain threads, the others as coroutines; and whether a coroutine holds it.
#[derive(Clone, Copy)]
struct Place {
    threads: usize,
    in_coroutine: bool,
}

impl Place {
    /// Gives the others time to come to their wait. On a plain thread nothing tells when they have.
    fn let_them_come(self) {
        if self.in_coroutine {
            let_the_others_run();
        } else {
            thread::sleep(SHORT);
        }
    }

    fn end(self, strands: impl IntoIterator<Item = Strand>) {
        for strand in strands {
            match strand {
                Strand::Coroutine(coroutine) => coroutine.join().unwrap(),
                Strand::Thread(thread) => {
                    if self.in_coroutine {
                        pass_until(|| thread.is_finished());
                    }
                    thread.join().unwrap();
                }
            }
        }
    }
}

enum Strand {
    Coroutine(JoinHandle<()>),
    Thread(thread::JoinHandle<()>),
}

impl Strand {
    fn start(on_thread: bool, f: impl FnOnce() + Send + 'static) -> Self {
        if on_thread {
            Strand::Thread(thread::spawn(f))
        } else {
            Strand::Coroutine(spawn(f))
        }
    }
}

fn start_waiters<S: Subject>(subject: &Arc<S>, place: Place, through: &Tally) -> Vec<Strand> {
    (0..S::WAITERS)
        .map(|n| {
            let (subject, through) = (subject.clone(), through.clone());
            Strand::start(n < place.threads, move || {
                subject.wait();
                through.add();
            })
        })
        .collect()
}

/// Nobody holds it.
fn ready<S: Subject>(_: Place) {
    let calls: [fn(&S); 4] = [
        |subject| subject.wait(),
        |subject| assert!(subject.try_now()),
        |subject| assert!(subject.wait_timeout(LONG)),
        |subject| assert!(subject.wait_deadline(Instant::now() + LONG)),
    ];
    for call in calls {
        call(&S::ready());
    }
}

/// Somebody holds it, until all wait.
fn has_to_wait<S: Subject>(place: Place) {
    let (subject, through) = (Arc::new(S::new(S::WAITERS)), Tally::default());
    let mut waiters = Vec::new();
    subject.hold(&mut || {
        waiters = start_waiters(&subject, place, &through);
        place.let_them_come();
        assert!(!subject.try_now());
        assert_eq!(through.get(), 0);
    });
    place.end(waiters);
    assert_eq!(through.get(), S::WAITERS);
}

/// SY6: one of those who wait, each in its turn, is cancelled; the others are let through.
fn cancelled<S: Subject>(place: Place) {
    for unlucky in place.threads..S::WAITERS {
        let (subject, through) = (Arc::new(S::new(S::WAITERS - 1)), Tally::default());
        let mut waiters = Vec::new();
        subject.hold(&mut || {
            waiters = start_waiters(&subject, place, &through);
            place.let_them_come();
            let Strand::Coroutine(cancelled) = waiters.remove(unlucky) else {
                unreachable!("threads come first");
            };
            cancelled.cancel();
            assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        });
        place.end(waiters);
        assert_eq!(through.get(), S::WAITERS - 1);
    }
}

/// TI5: some run out of time, by all that can bound a wait; the others are let through.
fn timed_out<S: Subject>(place: Place) {
    let (subject, through) = (Arc::new(S::new(S::WAITERS)), Tally::default());
    let mut waiters = Vec::new();
    subject.hold(&mut || {
        waiters = start_waiters(&subject, place, &through);
        for on_thread in [false, true] {
            if !on_thread && !place.in_coroutine {
                continue;
            }
            let subject = subject.clone();
            let hasty = Strand::start(on_thread, move || {
                let begun = Instant::now();
                assert!(!subject.wait_timeout(SHORT));
                assert!(begun.elapsed() >= SHORT);
                assert!(!subject.wait_timeout(Duration::ZERO));
                assert!(!subject.wait_deadline(begun));
                assert_eq!(time::timeout(SHORT, || subject.wait()), Err(Elapsed));
            });
            place.end([hasty]);
        }
        assert_eq!(through.get(), 0);
    });
    place.end(waiters);
    assert_eq!(through.get(), S::WAITERS);
}

/// PA10: whoever holds it panics; those who wait are let through.
fn holder_panics<S: Subject>(place: Place) {
    let (subject, through) = (Arc::new(S::new(S::WAITERS)), Tally::default());
    let mut waiters = Vec::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        subject.hold(&mut || {
            waiters = start_waiters(&subject, place, &through);
            place.let_them_come();
            resume_unwind(Box::new("a holder's panic"));
        });
    }));
    assert!(outcome.is_err());
    place.end(waiters);
    assert_eq!(through.get(), S::WAITERS);
}
