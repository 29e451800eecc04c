//! Semaphores: first come, first served, and no permit is ever lost, whatever becomes of those who wait.
//!
//! Every claim on one worker, on two, and with plain threads in the place of some or all of the coroutines.

#![forbid(unsafe_code)]

mod strands_support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine::{self, Cancelled, spawn, spawn_local};
use runtime::generator::Generator;
use runtime::sync::{Event, Permit, Semaphore};
use runtime::time::{self, Elapsed};
use runtime::yield_now;
use strands_support::*;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(2);

// ---- Ready ---------------------------------------------------------------------------------------------------

#[test]
fn permits_that_are_there_are_taken_at_once() {
    everywhere(|| {
        let semaphore = Semaphore::new(3);
        let one = semaphore.acquire();
        let two = semaphore.acquire_many(2);
        assert_eq!(semaphore.available(), 0);
        assert!(semaphore.try_acquire().is_none());
        assert!(semaphore.try_acquire_many(0).is_some());
        drop((semaphore.acquire_many(0), one));
        assert!(semaphore.try_acquire_many(2).is_none());
        let long_ago = Instant::now();
        drop(semaphore.acquire_deadline(long_ago).unwrap());
        drop(semaphore.acquire_timeout(LONG).unwrap());
        drop((two, semaphore.try_acquire().unwrap()));
        assert_eq!(semaphore.available(), 3);
        semaphore.acquire().forget();
        semaphore.add_permits(2);
        assert_eq!(semaphore.available(), 4);
    });
}

#[test]
fn more_permits_than_can_be_counted_are_refused_and_change_nothing() {
    let semaphore = Semaphore::new(usize::MAX);
    assert!(catch_unwind(AssertUnwindSafe(|| semaphore.add_permits(1))).is_err());
    assert_eq!(semaphore.available(), usize::MAX);
    drop(semaphore.acquire());
}

// ---- Has to wait -----------------------------------------------------------------------------------------------

#[test]
fn whoever_waits_gets_permits_in_the_order_of_coming() {
    on_one_worker_and_on_two(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..20)
            .map(|n| {
                let (semaphore, order) = (semaphore.clone(), order.clone());
                let waiter = spawn_local(move || {
                    // Some want more than there will be for a while: nobody overtakes them.
                    semaphore.acquire_many(1 + n % 3).forget();
                    order.lock().unwrap().push(n);
                });
                yield_now();
                waiter
            })
            .collect();
        for _ in 0..39 {
            assert!(semaphore.try_acquire().is_none(), "others have come before");
            semaphore.add_permits(1);
            yield_now();
        }
        waiters.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
        assert_eq!(semaphore.available(), 0);
    });
}

#[test]
fn a_permit_goes_straight_to_the_one_that_waits() {
    on_one_worker_and_on_two(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = semaphore.acquire();
        let theirs = semaphore.clone();
        let waiter = spawn_local(move || theirs.acquire().forget());
        let_the_others_run();
        drop(held);
        // It has not run yet, and still nobody can come in between.
        assert!(semaphore.try_acquire().is_none());
        assert_eq!(semaphore.available(), 0);
        waiter.join().unwrap();
    });
}

#[test]
fn one_that_wants_many_is_served_by_those_who_give_one_each() {
    for threads in [false, true] {
        runtime_of(2).run(move || {
            let semaphore = Arc::new(Semaphore::new(0));
            let theirs = semaphore.clone();
            let waiter = start(threads, move || theirs.acquire_many(100).forget());
            for _ in 0..100 {
                let theirs = semaphore.clone();
                start(false, move || theirs.add_permits(1))();
            }
            waiter();
            assert_eq!(semaphore.available(), 0);
        });
    }
}

/// SY5: never more inside than there are permits, among coroutines of two workers and plain threads.
#[test]
fn sy5_never_more_are_inside_than_there_are_permits() {
    const PERMITS: usize = 3;
    for workers in [1, 2] {
        for threads in [0, 3, 8] {
            runtime_of(workers).run(move || {
                let semaphore = Arc::new(Semaphore::new(PERMITS));
                let inside = Arc::new(Mutex::new((0, 0)));
                let visitors: Vec<_> = (0..8)
                    .map(|n| {
                        let (semaphore, inside) = (semaphore.clone(), inside.clone());
                        let on_thread = n < threads;
                        start(on_thread, move || {
                            for round in 0..300 {
                                let wants = 1 + (n + round) % PERMITS;
                                let permit = semaphore.acquire_many(wants);
                                {
                                    let mut inside = inside.lock().unwrap();
                                    inside.0 += wants;
                                    inside.1 = inside.1.max(inside.0);
                                }
                                if !on_thread && round % 3 == 0 {
                                    yield_now();
                                }
                                inside.lock().unwrap().0 -= wants;
                                drop(permit);
                            }
                        })
                    })
                    .collect();
                visitors.into_iter().for_each(|visitor| visitor());
                let (inside, most) = *inside.lock().unwrap();
                assert_eq!((inside, semaphore.available()), (0, PERMITS));
                assert!(most <= PERMITS, "{most}");
            });
        }
    }
}

// ---- Cancelled while waiting --------------------------------------------------------------------------------

/// SY6: it is out of the queue before its frames go, so the next permit does not go to it.
#[test]
fn sy6_one_that_is_cancelled_in_the_queue_leaves_it() {
    on_one_worker_and_on_two(|| {
        for place in 0..3 {
            let semaphore = Arc::new(Semaphore::new(0));
            let mut waiters: Vec<_> = (0..3)
                .map(|_| {
                    let theirs = semaphore.clone();
                    let waiter = spawn_local(move || theirs.acquire().forget());
                    yield_now();
                    waiter
                })
                .collect();
            let cancelled = waiters.remove(place);
            cancelled.cancel();
            assert!(cancelled.join().unwrap_err().is::<Cancelled>());
            semaphore.add_permits(2);
            waiters.into_iter().for_each(|it| it.join().unwrap());
            assert_eq!(semaphore.available(), 0);
        }
    });
}

#[test]
fn whoever_stood_behind_one_that_wanted_much_goes_on_when_that_one_is_cancelled() {
    on_one_worker_and_on_two(|| {
        let semaphore = Arc::new(Semaphore::new(2));
        let theirs = semaphore.clone();
        let wants_much = spawn_local(move || theirs.acquire_many(3).forget());
        yield_now();
        let theirs = semaphore.clone();
        let content = [(); 2].map(|()| {
            let theirs = theirs.clone();
            spawn_local(move || theirs.acquire().forget())
        });
        let_the_others_run();
        assert_eq!(semaphore.available(), 2, "kept for the first");
        wants_much.cancel();
        content.into_iter().for_each(|it| it.join().unwrap());
        assert!(wants_much.join().is_err());
        assert_eq!(semaphore.available(), 0);
    });
}

#[test]
fn a_shield_holds_the_cancellation_off_until_the_permit_has_come() {
    on_one_worker_and_on_two(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let theirs = semaphore.clone();
        let waiter = spawn_local(move || {
            let permit = coroutine::shield(|| theirs.acquire());
            drop(permit);
            yield_now();
            unreachable!("cancelled at the yield");
        });
        let_the_others_run();
        waiter.cancel();
        let_the_others_run();
        assert!(!waiter.is_finished());
        semaphore.add_permits(1);
        assert!(waiter.join().unwrap_err().is::<Cancelled>());
        assert_eq!(semaphore.available(), 1);
    });
}

// ---- Cancelled, or out of time, while the grant is in flight ---------------------------------------------

#[test]
fn sy2_one_that_is_cancelled_after_the_grant_returns_with_its_permit() {
    on_one_worker_and_on_two(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let (theirs, got) = (semaphore.clone(), Tally::default());
        let tally = got.clone();
        let waiter = spawn_local(move || {
            let _permit = theirs.acquire();
            tally.add();
            yield_now();
            unreachable!("cancelled at the yield");
        });
        let_the_others_run();
        semaphore.add_permits(1);
        waiter.cancel();
        assert!(waiter.join().unwrap_err().is::<Cancelled>());
        assert_eq!((got.get(), semaphore.available()), (1, 1));
    });
}

/// SY2: permits come, from coroutines of two workers and from threads, while those who wait for them are cancelled and
/// run out of time. At the end none is missing. (The model under shuttle meets each single order on purpose.)
#[test]
fn sy2_no_permit_is_lost_while_waiters_are_cancelled_and_time_out() {
    const PERMITS: usize = 2;
    for (workers, threads) in [(1, 0), (2, 0), (1, 2), (2, 2)] {
        runtime_of(workers).run(move || {
            let semaphore = Arc::new(Semaphore::new(PERMITS));
            let stop = Arc::new(Event::new());
            let givers: Vec<_> = (0..2 + threads)
                .map(|n| {
                    let (semaphore, stop) = (semaphore.clone(), stop.clone());
                    let on_thread = n < threads;
                    start(on_thread, move || {
                        while !stop.is_set() {
                            let permit = semaphore.acquire_timeout(SHORT);
                            if !on_thread {
                                yield_now();
                            }
                            drop(permit);
                            if !on_thread {
                                yield_now();
                            }
                        }
                    })
                })
                .collect();
            for round in 0..400_u64 {
                let theirs = semaphore.clone();
                let waiter = spawn(move || {
                    if round % 4 == 0 {
                        let brief = Duration::from_micros(round % 100);
                        let outcome = time::timeout(brief, || drop(theirs.acquire_many(PERMITS)));
                        assert!(matches!(outcome, Ok(()) | Err(Elapsed)));
                    } else {
                        drop(theirs.acquire());
                        yield_now();
                    }
                });
                (0..round % 5).for_each(|_| yield_now());
                waiter.cancel();
                if let Err(payload) = waiter.join() {
                    assert!(payload.is::<Cancelled>());
                }
            }
            stop.set();
            givers.into_iter().for_each(|giver| giver());
            assert_eq!(semaphore.available(), PERMITS);
        });
    }
}

// ---- Timed out ------------------------------------------------------------------------------------------------

#[test]
fn one_whose_time_is_over_leaves_the_queue() {
    everywhere(|| {
        let semaphore = Semaphore::new(0);
        let begun = Instant::now();
        assert!(semaphore.acquire_timeout(SHORT).is_none());
        assert!(begun.elapsed() >= SHORT);
        assert!(semaphore.acquire_deadline(begun).is_none());
        let outcome = time::timeout(SHORT, || drop(semaphore.acquire()));
        assert_eq!(outcome, Err(Elapsed));
        semaphore.add_permits(1);
        assert_eq!(semaphore.available(), 1, "it goes to nobody who has left");
    });
}

#[test]
fn whoever_stood_behind_one_that_wanted_much_goes_on_when_its_time_is_over() {
    on_one_worker_and_on_two(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let theirs = semaphore.clone();
        let wants_much = spawn_local(move || {
            time::timeout(SHORT, || theirs.acquire_many(2).forget()).unwrap_err()
        });
        yield_now();
        semaphore.acquire_timeout(LONG).unwrap().forget();
        assert_eq!(wants_much.join().unwrap(), Elapsed);
    });
}

/// TI5: the permit that comes in the same tick as the deadline is returned, not dropped.
#[test]
fn ti5_a_permit_that_has_come_is_not_traded_for_a_timeout() {
    on_one_worker_and_on_two(|| {
        for _ in 0..20 {
            let semaphore = Arc::new(Semaphore::new(0));
            let theirs = semaphore.clone();
            let waiter = spawn_local(move || {
                let permit = theirs.acquire_timeout(SHORT);
                permit.map(Permit::forget).is_some()
            });
            yield_now();
            let due = Instant::now() + SHORT;
            while Instant::now() < due {} // its timer will be due when the worker looks
            semaphore.add_permits(1);
            assert!(waiter.join().unwrap());
            assert_eq!(semaphore.available(), 0);
        }
    });
}

// ---- Holder panics -----------------------------------------------------------------------------------------------

#[test]
fn a_holder_that_panics_gives_its_permits_to_who_waits() {
    for threads in [false, true] {
        on_one_worker_and_on_two(if threads { holder_on_thread } else { holder });
    }
    fn holder() {
        holder_panics(false);
    }
    fn holder_on_thread() {
        holder_panics(true);
    }
    fn holder_panics(on_thread: bool) {
        let semaphore = Arc::new(Semaphore::new(1));
        let (ours, held) = (semaphore.clone(), Arc::new(Event::new()));
        let (go_on, theirs) = (Arc::new(Event::new()), held.clone());
        let may = go_on.clone();
        let holder = start(on_thread, move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let _permit = ours.acquire();
                theirs.set();
                may.wait();
                std::panic::resume_unwind(Box::new("a holder's panic"));
            }));
            outcome.is_err()
        });
        held.wait();
        let theirs = semaphore.clone();
        let waiter = start(!on_thread, move || drop(theirs.acquire()));
        go_on.set();
        waiter();
        assert!(holder());
        assert_eq!(semaphore.available(), 1);
    }
}

// ---- In unusual places -------------------------------------------------------------------------------------------

#[test]
fn a_generator_waits_with_whoever_resumes_it() {
    on_one_worker_and_on_two(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let theirs = semaphore.clone();
        let mut takes = Generator::new(move |y, ()| {
            loop {
                theirs.acquire().forget();
                y.suspend(());
            }
        });
        for _ in 0..3 {
            // Another coroutine each time.
            let waiter = spawn_local(move || {
                takes.resume(());
                takes
            });
            let_the_others_run();
            assert!(!waiter.is_finished());
            semaphore.add_permits(1);
            takes = waiter.join().unwrap();
        }
        let cancelled = spawn_local(move || {
            takes.resume(());
        });
        let_the_others_run();
        cancelled.cancel();
        assert!(cancelled.join().is_err());
        semaphore.add_permits(1);
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn a_destructor_may_wait_while_its_coroutine_unwinds() {
    on_one_worker_and_on_two(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let theirs = semaphore.clone();
        let child = spawn_local(move || {
            let _waits = OnDrop::new(move || theirs.acquire().forget());
            coroutine::park();
        });
        yield_now();
        child.cancel();
        let_the_others_run();
        assert!(!child.is_finished());
        semaphore.add_permits(1);
        assert!(child.join().unwrap_err().is::<Cancelled>());
    });
}

/// A thread-local's destructor runs when what a thread parks on may be gone already.
#[test]
fn a_thread_that_ends_may_wait() {
    struct Waits(Arc<Semaphore>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.acquire().forget();
        }
    }
    thread_local! {
        static WAITS: std::cell::RefCell<Option<Waits>> = const { std::cell::RefCell::new(None) };
    }
    let semaphore = Arc::new(Semaphore::new(0));
    let (theirs, ends) = (semaphore.clone(), Arc::new(Event::new()));
    let end = ends.clone();
    let thread = thread::spawn(move || {
        // First, so that it is destroyed last.
        WAITS.set(Some(Waits(theirs.clone())));
        assert!(theirs.acquire_timeout(SHORT).is_none());
        end.set();
    });
    ends.wait();
    // In most runs it waits by then; whether or not, it must end.
    thread::sleep(SHORT);
    semaphore.add_permits(1);
    thread.join().unwrap();
    assert_eq!(semaphore.available(), 0);
}

#[test]
fn one_that_was_given_up_in_the_queue_is_granted_nothing() {
    let name = "one_that_was_given_up_in_the_queue_is_granted_nothing";
    let ended = in_own_process(name, || {
        for workers in [1, 2] {
            let semaphore = Arc::new(Semaphore::new(0));
            let builder = runtime::Builder::new().workers(workers);
            let runtime = builder.grace(SHORT_GRACE).build().unwrap();
            let theirs = semaphore.clone();
            runtime.run(|| {
                let stubborn = spawn(move || coroutine::shield(|| theirs.acquire_many(2).forget()));
                let_the_others_run();
                drop(stubborn);
            });
            semaphore.add_permits(1);
            let theirs = semaphore.clone();
            runtime.run(move || drop(theirs.acquire()));
            drop(runtime);
            drop(semaphore.acquire());
            assert_eq!(semaphore.available(), 1);
        }
    });
    assert!(ended.well().contains("grace period"));
}
