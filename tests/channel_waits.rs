//! Channels: each flavour, whoever waits and whatever becomes of it; on one worker, on two, and with plain threads.

#![forbid(unsafe_code)]

mod strands_support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use runtime::channel::{
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, bounded, unbounded,
};
use runtime::coroutine::{Cancelled, spawn, spawn_local};
use runtime::time::{self, Elapsed};
use runtime::yield_now;
use strands_support::*;

const SHORT: Duration = Duration::from_millis(2);
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);

/// A channel of each flavour: rendezvous, one with little room, one with much, one without bounds.
fn flavours<T>() -> [(Sender<T>, Receiver<T>); 4] {
    [bounded(0), bounded(1), bounded(100), unbounded()]
}

// ---- Ready ------------------------------------------------------------------------------------------------

#[test]
fn sy1_what_is_there_is_taken_at_once_and_what_is_not_is_said() {
    everywhere(|| {
        for (capacity, (s, r)) in [0, 1, 100, usize::MAX].into_iter().zip(flavours()) {
            assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
            if capacity > 0 {
                let long_ago = Instant::now();
                s.send_deadline(1, long_ago).unwrap();
                assert_eq!(r.recv_deadline(long_ago), Ok(1));
                for n in 0..capacity.min(100) {
                    assert_eq!((s.len(), s.is_full()), (n, false));
                    s.try_send(n).unwrap();
                }
            }
            if capacity <= 100 {
                assert!(r.is_full());
                assert_eq!(s.try_send(7), Err(TrySendError::Full(7)));
            }
            drop(s);
            assert_eq!(
                r.iter().collect::<Vec<_>>(),
                (0..capacity.min(100)).collect::<Vec<_>>()
            );
            assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
            assert_eq!(r.recv(), Err(RecvError));
            assert_eq!(r.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        }
        for (s, r) in flavours() {
            drop(r);
            assert_eq!(s.send(1), Err(SendError(1)));
            assert_eq!(s.try_send(1), Err(TrySendError::Disconnected(1)));
            assert_eq!(
                s.send_timeout(1, LONG),
                Err(SendTimeoutError::Disconnected(1))
            );
        }
    });
}

/// SY1: the largest capacity is a number, and values without a size are values.
#[test]
fn sy1_room_is_made_when_it_is_needed() {
    let (s, r) = bounded::<[u64; 1000]>(usize::MAX);
    assert_eq!(s.capacity(), Some(usize::MAX));
    s.send([1; 1000]).unwrap();
    assert_eq!(r.recv().unwrap()[999], 1);
    for (s, r) in flavours::<()>() {
        let others = thread::spawn(move || (0..1000).for_each(|_| s.send(()).unwrap()));
        assert_eq!(r.iter().count(), 1000);
        others.join().unwrap();
    }
}

#[test]
fn sy1_every_value_is_dropped_once() {
    everywhere(|| {
        for (s, r) in flavours() {
            let dropped = Tally::default();
            let theirs = s.clone();
            if theirs.capacity() != Some(0) {
                theirs
                    .send(Box::new(dropped.on_drop()) as Box<dyn Send>)
                    .unwrap();
                assert_eq!(dropped.get(), 0);
            }
            drop(r);
            let sent = usize::from(theirs.capacity() != Some(0));
            assert_eq!(dropped.get(), sent, "with the last receiver");
            assert!(theirs.send(Box::new(dropped.on_drop())).is_err());
            assert_eq!(dropped.get(), sent + 1);
        }
    });
}

// ---- Has to wait ----------------------------------------------------------------------------------------------

/// SY5: nothing is lost or doubled, and each sender's values come in its order.
#[test]
fn sy5_many_senders_and_receivers_of_all_kinds() {
    const EACH: usize = 500;
    for workers in [1, 2] {
        for threads in [0, 3, 6] {
            for flavour in 0..4 {
                runtime_of(workers).run(move || {
                    let (s, r) = flavours().into_iter().nth(flavour).unwrap();
                    let senders: Vec<_> = (0..3)
                        .map(|n| {
                            let s = s.clone();
                            start(n * 2 < threads, move || {
                                for k in 0..EACH {
                                    s.send((n, k)).unwrap();
                                }
                            })
                        })
                        .collect();
                    let receivers: Vec<_> = (0..3)
                        .map(|n| {
                            let r = r.clone();
                            start(n * 2 + 1 < threads, move || r.iter().collect::<Vec<_>>())
                        })
                        .collect();
                    drop((s, r));
                    senders.into_iter().for_each(|it| it());
                    let mut all = Vec::new();
                    for receiver in receivers {
                        let got = receiver();
                        for n in 0..3 {
                            let of_one = got.iter().filter(|it| it.0 == n);
                            assert!(of_one.is_sorted_by_key(|it| it.1));
                        }
                        all.extend(got);
                    }
                    all.sort_unstable();
                    let expected: Vec<_> = (0..3)
                        .flat_map(|n| (0..EACH).map(move |k| (n, k)))
                        .collect();
                    assert_eq!(all, expected);
                });
            }
        }
    }
}

#[test]
fn whoever_waits_is_served_in_the_order_of_coming() {
    on_one_worker_and_on_two(|| {
        for (s, r) in flavours() {
            let got = Arc::new(Mutex::new(Vec::new()));
            let receivers: Vec<_> = (0..10)
                .map(|n| {
                    let (r, got) = (r.clone(), got.clone());
                    let receiver = spawn_local(move || {
                        let value = r.recv().unwrap();
                        got.lock().unwrap().push((n, value));
                    });
                    yield_now();
                    receiver
                })
                .collect();
            for value in 0..10 {
                s.try_send(value).unwrap();
                assert_eq!(r.try_recv(), Err(TryRecvError::Empty), "it is another's");
            }
            receivers.into_iter().for_each(|it| it.join().unwrap());
            assert_eq!(
                *got.lock().unwrap(),
                (0..10).map(|n| (n, n)).collect::<Vec<_>>()
            );
        }
    });
}

#[test]
fn sy1_the_last_of_one_side_wakes_all_who_wait_on_the_other() {
    for (workers, threads) in [(1, false), (2, false), (2, true)] {
        runtime_of(workers).run(move || {
            for (s, r) in flavours::<u8>() {
                let waiters: Vec<_> = (0..5)
                    .map(|_| {
                        let r = r.clone();
                        start(threads, move || r.recv())
                    })
                    .collect();
                let_the_others_run();
                drop(s);
                waiters
                    .into_iter()
                    .for_each(|it| assert_eq!(it(), Err(RecvError)));
            }
            for (s, r) in flavours().into_iter().take(2) {
                while s.try_send(0).is_ok() {}
                let waiters: Vec<_> = (0..5)
                    .map(|n| {
                        let s = s.clone();
                        start(threads, move || s.send(n))
                    })
                    .collect();
                let_the_others_run();
                drop(r);
                for (n, waiter) in waiters.into_iter().enumerate() {
                    assert_eq!(waiter(), Err(SendError(n)));
                }
            }
        });
    }
}

// ---- Cancelled, or out of time ----------------------------------------------------------------------------------

/// SY6: out of the queue before its frames go.
#[test]
fn sy6_one_that_is_cancelled_in_the_queue_leaves_it() {
    on_one_worker_and_on_two(|| {
        for place in 0..3 {
            for (s, r) in flavours() {
                let mut waiters: Vec<_> = (0..3)
                    .map(|_| {
                        let r = r.clone();
                        let waiter = spawn_local(move || r.recv().unwrap());
                        yield_now();
                        waiter
                    })
                    .collect();
                let cancelled = waiters.remove(place);
                cancelled.cancel();
                assert!(cancelled.join().unwrap_err().is::<Cancelled>());
                (0..2).for_each(|n| s.try_send(n).unwrap());
                let got: Vec<_> = waiters.into_iter().map(|it| it.join().unwrap()).collect();
                assert_eq!(got, [0, 1]);
            }
        }
    });
}

#[test]
fn sy6_a_sender_that_is_cancelled_takes_its_value_with_it() {
    on_one_worker_and_on_two(|| {
        for (s, r) in flavours().into_iter().take(2) {
            let dropped = Tally::default();
            while s.try_send(None).is_ok() {}
            let (theirs, value) = (s.clone(), Some(dropped.on_drop()));
            let waiter = spawn_local(move || theirs.send(value).is_ok());
            let_the_others_run();
            waiter.cancel();
            assert!(waiter.join().is_err());
            assert_eq!(dropped.get(), 1);
            drop(s);
            assert!(r.iter().all(|value| value.is_none()));
        }
    });
}

#[test]
fn sy2_one_that_is_cancelled_after_the_grant_returns_with_its_value() {
    on_one_worker_and_on_two(|| {
        for (s, r) in flavours() {
            let got = Arc::new(Mutex::new(None));
            let theirs = got.clone();
            let waiter = spawn_local(move || {
                *theirs.lock().unwrap() = Some(r.recv());
                yield_now();
                unreachable!("cancelled at the yield");
            });
            let_the_others_run();
            s.try_send(5).unwrap();
            waiter.cancel();
            assert!(waiter.join().is_err());
            assert_eq!(*got.lock().unwrap(), Some(Ok(5)));
        }
    });
}

/// SY2, TI3: values come while those who wait for them are cancelled and run out of time; each comes out once.
#[test]
fn sy2_no_value_is_lost_while_receivers_are_cancelled_and_time_out() {
    for (workers, threads) in [(1, false), (2, false), (1, true), (2, true)] {
        for flavour in 0..4 {
            runtime_of(workers).run(move || {
                let (s, r) = flavours().into_iter().nth(flavour).unwrap();
                let got = Arc::new(Mutex::new(Vec::new()));
                let keep = |got: &Arc<Mutex<Vec<u64>>>| {
                    let got = got.clone();
                    move |value| got.lock().unwrap().push(value)
                };
                let sender = start(threads, move || (0..300).for_each(|n| s.send(n).unwrap()));
                let mut round = 0_u64;
                while !(r.is_empty() && got.lock().unwrap().len() >= 250) {
                    round += 1;
                    let (theirs, keep) = (r.clone(), keep(&got));
                    let waiter = spawn(move || {
                        if round.is_multiple_of(4) {
                            let brief = Duration::from_micros(round % 50);
                            if let Ok(value) = theirs.recv_timeout(brief) {
                                keep(value);
                            }
                        } else if let Ok(value) = theirs.recv() {
                            keep(value);
                        }
                    });
                    (0..round % 5).for_each(|_| yield_now());
                    waiter.cancel();
                    let _ = waiter.join();
                }
                let rest = keep(&got);
                r.iter().for_each(rest);
                sender();
                let mut all = std::mem::take(&mut *got.lock().unwrap());
                all.sort_unstable();
                assert_eq!(all, (0..300).collect::<Vec<_>>());
            });
        }
    }
}

#[test]
fn one_whose_time_is_over_leaves_the_queue() {
    everywhere(|| {
        for (s, r) in flavours() {
            let begun = Instant::now();
            assert_eq!(r.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
            assert!(begun.elapsed() >= SHORT);
            assert_eq!(time::timeout(SHORT, || r.recv()), Err(Elapsed));
            if s.capacity().is_some_and(|capacity| capacity < 2) {
                while s.try_send(0).is_ok() {}
                assert_eq!(s.send_timeout(8, SHORT), Err(SendTimeoutError::Timeout(8)));
                assert_eq!(time::timeout(SHORT, || s.send(9)), Err(Elapsed));
                drop(s);
                assert!(r.iter().all(|value| value == 0));
            }
        }
    });
}

/// TI5: what comes in the same tick as the deadline is returned, not dropped.
#[test]
fn ti5_a_value_that_has_come_is_not_traded_for_a_timeout() {
    on_one_worker_and_on_two(|| {
        for (s, r) in flavours() {
            for _ in 0..5 {
                let theirs = r.clone();
                let waiter = spawn_local(move || theirs.recv_timeout(SHORT));
                yield_now();
                let due = Instant::now() + SHORT;
                while Instant::now() < due {} // its timer will be due when the worker looks
                s.try_send(3).unwrap();
                assert_eq!(waiter.join().unwrap(), Ok(3));
            }
        }
    });
}

// ---- Panics --------------------------------------------------------------------------------------------------------

#[test]
fn a_peer_that_panics_ends_the_channel_for_who_waits() {
    for (workers, threads) in [(1, false), (2, false), (2, true)] {
        runtime_of(workers).run(move || {
            for (s, r) in flavours::<u8>() {
                let peer = start(threads, move || {
                    catch_unwind(AssertUnwindSafe(move || {
                        let _s = s;
                        std::panic::resume_unwind(Box::new("a peer's panic"));
                    }))
                    .is_err()
                });
                assert_eq!(r.recv(), Err(RecvError));
                assert!(peer());
            }
        });
    }
}

/// A value's drop comes back to the channel that it was in.
#[test]
fn user_code_never_runs_under_the_lock() {
    struct Returns(Sender<Option<Returns>>, Tally);
    impl Drop for Returns {
        fn drop(&mut self) {
            assert!(self.0.try_send(None).is_err());
            self.1.add();
        }
    }
    everywhere(|| {
        for (s, r) in flavours().into_iter().skip(1) {
            let dropped = Tally::default();
            s.send(Some(Returns(s.clone(), dropped.clone()))).unwrap();
            drop(r);
            assert_eq!(dropped.get(), 1);
        }
    });
}
