//! Condition variables: what is theirs alone. What every primitive does alike is in `sync_matrix`.

#![forbid(unsafe_code)]

mod strands_support;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine::{Cancelled, shield, spawn, spawn_local};
use runtime::sync::{Condvar, Mutex};
use runtime::time::{self, Elapsed};
use runtime::yield_now;
use strands_support::*;

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(3600);

/// A count behind a mutex, and where to wait for it.
type Tokens = Arc<(Mutex<usize>, Condvar)>;

fn take(tokens: &Tokens) {
    let (count, added) = &**tokens;
    *added.wait_while(count.lock(), |count| *count == 0) -= 1;
}

fn add(tokens: &Tokens) {
    *tokens.0.lock() += 1;
    tokens.1.notify_one();
}

#[test]
fn those_who_wait_are_notified_in_their_order() {
    on_one_worker_and_on_two(|| {
        let tokens = Tokens::default();
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..10)
            .map(|n| {
                let (tokens, order) = (tokens.clone(), order.clone());
                let waiter = spawn_local(move || {
                    take(&tokens);
                    order.lock().push(n);
                });
                yield_now();
                waiter
            })
            .collect();
        (0..10).for_each(|_| add(&tokens));
        waiters.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(*order.lock(), (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn a_notification_without_a_waiter_is_for_nobody() {
    fn claim() {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        condvar.notify_one();
        condvar.notify_all();
        let begun = Instant::now();
        let (guard, result) = condvar.wait_timeout(mutex.lock(), SHORT);
        assert!(result.timed_out() && begun.elapsed() >= SHORT);
        assert!(condvar.wait_deadline(guard, begun).1.timed_out());
        let guard = mutex.try_lock().unwrap();
        let elapsed = time::timeout(SHORT, || drop(condvar.wait(guard)));
        assert_eq!(elapsed, Err(Elapsed));
        assert!(mutex.try_lock().is_some(), "the lock is not taken again");
    }
    on_one_worker_and_on_two(claim);
    claim();
}

#[test]
fn a_bounded_wait_for_a_condition_tells_whether_it_has_come() {
    on_one_worker_and_on_two(|| {
        let tokens = Tokens::default();
        let (count, added) = &*tokens;
        let (guard, result) = added.wait_timeout_while(count.lock(), SHORT, |count| *count == 0);
        assert!(result.timed_out());
        drop(guard);
        let theirs = tokens.clone();
        let waiter = spawn_local(move || {
            let (count, added) = &*theirs;
            // Woken once in vain.
            let wait = added.wait_timeout_while(count.lock(), LONG, |count| *count < 2);
            (*wait.0, wait.1.timed_out())
        });
        let_the_others_run();
        add(&tokens);
        let_the_others_run();
        add(&tokens);
        assert_eq!(waiter.join().unwrap(), (2, false));
        let now = added.wait_timeout_while(count.lock(), Duration::ZERO, |_| false);
        assert!(!now.1.timed_out());
    });
}

#[test]
fn sy2_one_that_is_cancelled_before_it_was_notified_takes_no_notification() {
    on_one_worker_and_on_two(|| {
        let tokens = Tokens::default();
        let waiters = [(); 3].map(|()| {
            let tokens = tokens.clone();
            let waiter = spawn_local(move || take(&tokens));
            yield_now();
            waiter
        });
        let [first, second, third] = waiters;
        second.cancel();
        assert!(second.join().unwrap_err().is::<Cancelled>());
        add(&tokens);
        add(&tokens);
        first.join().unwrap();
        third.join().unwrap();
        assert!(tokens.0.try_lock().is_some());
    });
}

/// SY2: it was notified, waits for the mutex, and is cancelled there: the next is notified instead.
#[test]
fn sy2_one_that_is_cancelled_on_its_way_back_passes_its_notification_on() {
    on_one_worker_and_on_two(|| {
        let tokens = Tokens::default();
        let waiters = [(); 2].map(|()| {
            let tokens = tokens.clone();
            let waiter = spawn_local(move || take(&tokens));
            yield_now();
            waiter
        });
        let mut count = tokens.0.lock();
        *count += 1;
        tokens.1.notify_one();
        let_the_others_run(); // the first has been woken, and waits for the mutex
        let [first, second] = waiters;
        first.cancel();
        assert!(first.join().unwrap_err().is::<Cancelled>());
        drop(count);
        second.join().unwrap();
        assert_eq!(*tokens.0.lock(), 0);
    });
}

/// SY2: the same in all orders that come about, with time-outs beside: no token is left while somebody waits for one.
#[test]
fn sy2_no_notification_is_lost_while_waiters_are_cancelled_and_time_out() {
    for (workers, threads) in [(1, 0), (2, 0), (1, 1), (2, 2)] {
        runtime_of(workers).run(move || {
            let tokens = Tokens::default();
            let on_threads: Vec<_> = (0..threads)
                .map(|_| {
                    let tokens = tokens.clone();
                    thread::spawn(move || {
                        for _ in 0..100 {
                            take(&tokens);
                            add(&tokens);
                        }
                    })
                })
                .collect();
            for round in 0..100 {
                let steady = {
                    let tokens = tokens.clone();
                    spawn(move || take(&tokens))
                };
                let leaves = {
                    let tokens = tokens.clone();
                    spawn(move || {
                        // What it has taken it gives back, whatever comes.
                        let give_back = || shield(|| add(&tokens));
                        let brief = Duration::from_micros(round % 50);
                        if time::timeout(brief, || take(&tokens)).is_ok() {
                            give_back();
                        }
                        take(&tokens);
                        give_back();
                    })
                };
                (0..round % 4).for_each(|_| yield_now());
                add(&tokens);
                leaves.cancel();
                steady.join().unwrap();
                if let Err(payload) = leaves.join() {
                    assert!(payload.is::<Cancelled>());
                }
            }
            // For the threads, which want more of them than there were.
            add(&tokens);
            on_threads.into_iter().for_each(|it| {
                pass_until(|| it.is_finished());
                it.join().unwrap();
            });
            assert_eq!(*tokens.0.lock(), 1);
        });
    }
}

/// TI5: notified when its time was over already, but before it knew.
#[test]
fn ti5_a_notification_that_has_come_is_not_traded_for_a_timeout() {
    on_one_worker_and_on_two(|| {
        for _ in 0..20 {
            let shared = Tokens::default();
            let theirs = shared.clone();
            let waiter = spawn_local(move || {
                let (mutex, condvar) = &*theirs;
                condvar.wait_timeout(mutex.lock(), SHORT).1.timed_out()
            });
            yield_now();
            let due = Instant::now() + SHORT;
            while Instant::now() < due {}
            shared.1.notify_one();
            assert!(!waiter.join().unwrap());
        }
    });
}

#[test]
fn whoever_was_notified_by_one_that_holds_the_mutex_waits_for_it() {
    on_one_worker_and_on_two(|| {
        let tokens = Tokens::default();
        let waiters = [(); 3].map(|()| {
            let tokens = tokens.clone();
            spawn(move || take(&tokens))
        });
        let_the_others_run();
        let mut count = tokens.0.lock();
        *count = 3;
        tokens.1.notify_all();
        let_the_others_run();
        assert_eq!(*count, 3, "they are notified, and the mutex is ours");
        drop(count);
        waiters.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(*tokens.0.lock(), 0);
    });
}
