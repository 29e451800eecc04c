//! Selects: over channels, timers, events and ends of coroutines, by macro and by hand.

#![forbid(unsafe_code)]

mod strands_support;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::channel::{Select, after, bounded, never, select, tick, unbounded};
use runtime::coroutine::{Cancelled, spawn, spawn_local};
use runtime::sync::Event;
use runtime::time::{self, Elapsed};
use runtime::yield_now;
use strands_support::*;

const SHORT: Duration = Duration::from_millis(2);

/// SY3: of two that are ready each is selected about as often, whether it is found so or comes while it waits.
#[test]
fn sy3_two_that_are_ready_are_selected_equally_often() {
    const TIMES: usize = 100_000;
    everywhere(|| {
        let ((s1, r1), (s2, r2)) = (unbounded(), unbounded());
        let ready = |n: usize| (0..n).for_each(|_| (s1.send(()).unwrap(), s2.send(()).unwrap()).0);
        ready(TIMES);
        let mut first = 0;
        for _ in 0..TIMES {
            select! {
                recv(r1) -> _ => first += 1,
                recv(never::<u8>()) -> _ => unreachable!(),
                recv(r2) -> _ => {}
            }
        }
        let share = first as f64 / TIMES as f64;
        assert!((0.45..=0.55).contains(&share), "{share}");
    });
}

/// SY3: one channel in several cases.
#[test]
fn sy3_a_channel_that_stands_in_several_cases() {
    on_one_worker_and_on_two(|| {
        let (s, r) = bounded(0);
        let sender = spawn(move || (0..1000).for_each(|n| s.send(n).unwrap()));
        let mut hits = [0; 3];
        for n in 0..1000 {
            let (case, got) = select! {
                recv(r) -> got => (0, got),
                recv(r) -> got => (1, got),
                recv(r) -> got => (2, got),
            };
            assert_eq!(got, Ok(n));
            hits[case] += 1;
        }
        assert!(hits.iter().all(|&hits| hits > 200), "{hits:?}");
        sender.join().unwrap();
    });
}

/// SY3: a select never meets itself.
#[test]
fn sy3_both_sides_of_a_rendezvous_in_one_select() {
    everywhere(|| {
        let (s, r) = bounded(0);
        for _ in 0..3 {
            select! {
                send(s, 1) -> _ => unreachable!(),
                recv(r) -> _ => unreachable!(),
                default(SHORT) => {}
            }
        }
        assert!(s.try_send(2).is_err() && r.try_recv().is_err());
    });
}

#[test]
fn sy3_all_that_are_closed_are_ready() {
    everywhere(|| {
        let ((s1, r1), (s2, r2)) = (bounded::<u8>(0), bounded::<u8>(5));
        drop((s1, r2));
        let mut select = Select::new();
        let received = select.recv(&r1);
        let sent = select.send(&s2);
        for _ in 0..2 {
            let selected = select.select();
            if selected.index() == received {
                assert!(selected.recv(&r1).is_err());
                select.remove(received);
            } else {
                assert_eq!(selected.index(), sent);
                assert!(selected.send(&s2, 1).is_err());
                select.remove(sent);
            }
        }
    });
}

/// Two that only select, the one to send and the other to receive, meet.
#[test]
fn selects_meet_selects() {
    for (workers, threads) in [(1, 0), (2, 0), (2, 1), (1, 2)] {
        runtime_of(workers).run(move || {
            let ((s1, r1), (s2, r2)) = (bounded(0), bounded(0));
            let both = move |turn: u64| {
                let (mut sent, mut received) = (0_u64, 0_u64);
                while sent < 500 || received < 500 {
                    let (s, r) = if turn == 0 { (&s1, &r2) } else { (&s2, &r1) };
                    if sent == 500 {
                        assert_eq!(r.recv(), Ok(received));
                        received += 1;
                        continue;
                    }
                    if received == 500 {
                        s.send(sent).unwrap();
                        sent += 1;
                        continue;
                    }
                    select! {
                        send(s, sent) -> done => { done.unwrap(); sent += 1 }
                        recv(r) -> got => { assert_eq!(got, Ok(received)); received += 1 }
                    }
                }
            };
            let other = both.clone();
            if threads > 0 {
                let other = thread::spawn(move || other(1));
                both(0);
                pass_until(|| other.is_finished());
                other.join().unwrap();
            } else {
                let other = spawn(move || other(1));
                both(0);
                other.join().unwrap();
            }
        });
    }
}

#[test]
fn a_select_over_everything() {
    for workers in [1, 2] {
        runtime_of(workers).run(|| {
            let (_s, r) = bounded::<u8>(0);
            let event = Arc::new(Event::new());
            let ticks = tick(SHORT);
            let theirs = event.clone();
            let child = spawn(move || theirs.wait());
            let_the_others_run();
            let waits = |limit: &runtime::channel::Receiver<Instant>| {
                select! {
                    recv(r) -> _ => "channel",
                    event(event) => "event",
                    join(child) => "child",
                    recv(limit) -> _ => "time",
                }
            };
            assert_eq!(waits(&after(SHORT)), "time");
            assert_eq!(waits(&ticks), "time");
            event.set();
            assert_ne!(waits(&never()), "time");
            // It may start only now, on the other worker, and must still find the event set.
            while !child.is_finished() {
                yield_now();
            }
            event.reset();
            assert_eq!(waits(&never()), "child");
            child.join().unwrap();
        });
    }
}

#[test]
fn a_coroutine_that_finishes_on_another_worker_or_later_wakes_the_select() {
    for workers in [1, 2] {
        runtime_of(workers).run(|| {
            let (_s, r) = unbounded::<u8>();
            for n in 0..50 {
                let child = spawn(move || (0..n % 5).for_each(|_| yield_now()));
                let mut select = Select::new();
                let finished = select.join(&child);
                select.recv(&r);
                assert_eq!(select.select().index(), finished);
                assert!(child.is_finished());
                child.join().unwrap();
            }
        });
    }
    // A plain thread waits as well.
    let runtime = runtime_of(1);
    let child = runtime.spawn(|| time::sleep(SHORT));
    thread::scope(|s| {
        s.spawn(|| runtime.run(|| time::sleep(SHORT * 2)));
        let mut select = Select::new();
        select.join(&child);
        assert_eq!(select.select().index(), 0);
    });
}

/// SY2, SY6: a select that is cancelled leaves all queues and takes nothing with it.
#[test]
fn sy2_sy6_no_value_is_lost_while_selects_are_cancelled_and_time_out() {
    for (workers, capacity) in [(1, 0), (2, 0), (1, 1), (2, 1), (2, 100)] {
        runtime_of(workers).run(move || {
            let ((s1, r1), (s2, r2)) = (bounded(capacity), bounded(capacity));
            let senders = [(0, s1), (1, s2)]
                .map(|(n, s)| spawn(move || (0..200).for_each(|k| s.send(k * 2 + n).unwrap())));
            let (keep, kept) = unbounded();
            let mut round = 0_u64;
            while kept.len() < 300 {
                round += 1;
                let (r1, r2, keep) = (r1.clone(), r2.clone(), keep.clone());
                let waiter = spawn(move || {
                    select! {
                        recv(r1) -> got => got.into_iter().for_each(|value| keep.send(value).unwrap()),
                        recv(r2) -> got => got.into_iter().for_each(|value| keep.send(value).unwrap()),
                        default(Duration::from_micros(round % 80)) => {}
                    }
                });
                (0..round % 4).for_each(|_| yield_now());
                waiter.cancel();
                if let Err(payload) = waiter.join() {
                    assert!(payload.is::<Cancelled>());
                }
            }
            r1.iter()
                .chain(r2.iter())
                .for_each(|value| keep.send(value).unwrap());
            senders.into_iter().for_each(|it| it.join().unwrap());
            drop(keep);
            let mut all: Vec<u64> = kept.iter().collect();
            all.sort_unstable();
            assert_eq!(all, (0..400).collect::<Vec<_>>());
        });
    }
}

#[test]
fn one_that_is_selected_and_given_up_is_there_for_the_next() {
    everywhere(|| {
        for capacity in [0, 1] {
            let (s, r) = bounded(capacity);
            let waiting = if capacity == 0 {
                let s = s.clone();
                Some(thread::spawn(move || s.send(7).unwrap()))
            } else {
                s.send(7).unwrap();
                None
            };
            let mut select = Select::new();
            select.recv(&r);
            let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                drop(select.select());
            }));
            assert!(text(&*dropped.unwrap_err()).contains("without completing"));
            assert_eq!(r.recv(), Ok(7));
            if let Some(waiting) = waiting {
                waiting.join().unwrap();
            }
        }
        // A promise that is not kept: whoever relies on it waits on, for others.
        let (s, r) = bounded(0);
        let receiver = {
            let r = r.clone();
            thread::spawn(move || r.recv())
        };
        let mut select = Select::new();
        select.send(&s);
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(select.select());
        }));
        assert!(dropped.is_err());
        s.send(8).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(8));
    });
}

#[test]
fn a_timeout_ends_a_select() {
    on_one_worker_and_on_two(|| {
        let (s, r) = bounded::<u8>(0);
        let outcome = time::timeout(
            SHORT,
            || select! { recv(r) -> _ => (), send(s, 1) -> _ => () },
        );
        assert_eq!(outcome, Err(Elapsed));
        let theirs = r.clone();
        let waiter = spawn_local(move || select! { recv(theirs) -> got => got });
        let_the_others_run();
        s.try_send(5).unwrap();
        assert_eq!(waiter.join().unwrap(), Ok(5));
        assert_eq!(r.try_recv().ok(), None);
    });
}

#[test]
fn ready_says_what_can_be_done_and_does_nothing() {
    for workers in [1, 2] {
        runtime_of(workers).run(|| {
            let ((s1, r1), (s2, r2)) = (bounded(0), bounded(1));
            let sender = spawn(move || (0..200).for_each(|n| s1.send(n).unwrap()));
            let other = spawn(move || (0..200).for_each(|n| s2.send(n).unwrap()));
            let mut next = [0; 2];
            while next != [200, 200] {
                let mut select = Select::new();
                let first = select.recv(&r1);
                select.recv(&r2);
                let which = select.ready();
                let receiver = if which == first { &r1 } else { &r2 };
                match receiver.try_recv() {
                    Ok(n) => {
                        assert_eq!(n, next[which]);
                        next[which] += 1;
                    }
                    Err(error) => {
                        assert!(error.is_disconnected() && next[which] == 200);
                        yield_now(); // it is ready for ever
                    }
                }
            }
            sender.join().unwrap();
            other.join().unwrap();
        });
    }
}
