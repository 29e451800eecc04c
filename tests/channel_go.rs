//! The scenarios of Go's own channel tests, told anew: `chan_test`, and `fifo`, `perm`, `nonblock`, `select3`, `doubleselect`
//! and `sieve` of its directory `chan`. A nil channel is [`never`] here, and a closed one has lost the ends of one side.

#![forbid(unsafe_code)]

mod strands_support;

use std::thread;

use runtime::channel::{
    Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError, bounded, never, select,
    unbounded,
};
use runtime::coroutine::{Cancelled, spawn, spawn_local};
use strands_support::*;

/// As the shared one, but joins a thread by blocking: these claims run where there is no coroutine, too.
fn start<T: Send + 'static>(
    on_thread: bool,
    f: impl FnOnce() -> T + Send + 'static,
) -> Box<dyn FnOnce() -> T> {
    if on_thread {
        let thread = thread::spawn(f);
        Box::new(move || thread.join().unwrap())
    } else {
        let coroutine = spawn(f);
        Box::new(move || coroutine.join().unwrap())
    }
}

/// Where the others are coroutines, on one worker and on two; then threads (it is told so), beside a worker and alone.
fn among_all(claim: fn(bool)) {
    for (workers, threads) in [(1, false), (2, false), (1, true)] {
        runtime_of(workers).run(move || claim(threads));
    }
    claim(true);
}

/// True if `f` waits, and nobody helps; it is cancelled then. On a worker only.
fn blocks(f: impl FnOnce() + Send + 'static) -> bool {
    let coroutine = spawn_local(f);
    let_the_others_run();
    let blocks = !coroutine.is_finished();
    coroutine.cancel();
    match coroutine.join() {
        Ok(()) => assert!(!blocks),
        Err(payload) => assert!(blocks && payload.is::<Cancelled>()),
    }
    blocks
}

// ---- chan_test --------------------------------------------------------------------------------------------------

/// To each of four channels one sends, and one selects among them to send; so they receive, until the ends.
#[test]
fn single_operations_and_selects_on_the_same_channels() {
    among_all(|threads| {
        const EACH: usize = 200;
        let [(s0, r0), (s1, r1), (s2, r2), (s3, r3)] = [0, 0, 2, 3].map(bounded::<usize>);
        let mut senders = Vec::from([&s0, &s1, &s2, &s3].map(|s| {
            let s = s.clone();
            start(threads, move || (0..EACH).for_each(|n| s.send(n).unwrap()))
        }));
        let mut receivers = Vec::from([&r0, &r1, &r2, &r3].map(|r| {
            let r = r.clone();
            start(threads, move || r.iter().sum::<usize>())
        }));
        senders.push(start(threads, move || {
            for n in 0..EACH {
                select! {
                    send(s0, n) -> sent => sent, send(s1, n) -> sent => sent,
                    send(s2, n) -> sent => sent, send(s3, n) -> sent => sent,
                }
                .unwrap();
            }
        }));
        receivers.push(start(threads, move || {
            let mut sum = 0;
            while let Ok(n) = select! { recv(r0) -> n => n, recv(r1) -> n => n, recv(r2) -> n => n, recv(r3) -> n => n } {
                sum += n;
            }
            sum
        }));
        senders.into_iter().for_each(|it| it());
        let sum: usize = receivers.into_iter().map(|it| it()).sum();
        assert_eq!(sum, 5 * (0..EACH).sum::<usize>());
    });
}

/// SY3: two, each of which selects to send and to receive on the one channel, never get their own from a rendezvous.
#[test]
fn sy3_two_that_select_both_sides_of_one_channel() {
    among_all(|threads| {
        for capacity in [0, 10] {
            let (s, r) = bounded(capacity);
            let both = [0, 1].map(|me| {
                let (s, r) = (s.clone(), r.clone());
                start(threads, move || {
                    let mut balance = 0;
                    for _ in 0..1000 {
                        let got = select! {
                            send(s, me) -> sent => { sent.unwrap(); None }
                            recv(r) -> got => Some(got),
                        };
                        assert!(capacity > 0 || got != Some(Ok(me)), "it met itself");
                        balance += if got.is_none() { 1 } else { -1_isize };
                    }
                    balance
                })
            });
            let balance: isize = both.into_iter().map(|it| it()).sum();
            assert_eq!(balance, r.len() as isize, "sent, and not received");
        }
    });
}

/// SY3: there is always something in one of the two, though not in either all the time.
#[test]
fn sy3_a_look_at_two_channels_misses_nothing() {
    among_all(|threads| {
        for _ in 0..500 {
            let ((s1, r1), (s2, r2)) = (bounded(1), bounded(1));
            s1.send(1).unwrap();
            let (theirs, other) = (r1.clone(), r2.clone());
            let looks = start(threads, move || {
                select! { recv(theirs) -> _ => true, recv(other) -> _ => true, default => false }
            });
            s2.send(2).unwrap();
            _ = r1.try_recv();
            assert!(looks());
        }
    });
}

/// SY3: what a select has not taken finds no trace of it, in however many cases the channel stood.
#[test]
fn sy3_a_select_leaves_nothing_behind_in_the_queue() {
    on_one_worker_and_on_two(|| {
        let (s, r) = bounded(0);
        for round in 0..20 {
            let theirs = r.clone();
            let waiter = spawn_local(move || {
                select! { recv(theirs) -> v => v, recv(theirs) -> v => v, recv(theirs) -> v => v }
            });
            let_the_others_run();
            s.try_send(round).unwrap();
            assert_eq!(waiter.join().unwrap(), Ok(round));
            assert_eq!(s.try_send(99), Err(TrySendError::Full(99)));
        }
    });
}

/// SY3: one that may send 0 or 1 on the same channel sends both.
#[test]
fn sy3_a_choice_between_two_values_for_one_channel_is_random() {
    among_all(|threads| {
        for capacity in [0, 100] {
            let (s, r) = bounded(capacity);
            let sender = start(threads, move || {
                for _ in 0..1000 {
                    select! { send(s, 0) -> sent => sent.unwrap(), send(s, 1) -> sent => sent.unwrap() }
                }
            });
            let ones: usize = r.iter().sum();
            sender();
            assert!((300..=700).contains(&ones), "{ones} of 1000");
        }
    });
}

/// SY3: sends and receives, of channels that have room, values, or no other side any more.
#[test]
fn sy3_each_of_two_that_are_ready_is_selected_about_as_often() {
    everywhere(|| {
        const TIMES: usize = 100_000;
        let ((into, _keep), (from, values)) = (unbounded(), unbounded());
        (0..TIMES).for_each(|_| from.send(()).unwrap());
        let share = |mut pick: Box<dyn FnMut() -> bool + '_>| {
            let first = (0..TIMES).filter(|_| pick()).count();
            let share = first as f64 / TIMES as f64;
            assert!((0.45..=0.55).contains(&share), "{share}");
        };
        share(Box::new(|| {
            select! {
                send(into, ()) -> sent => sent.is_ok(),
                recv(never::<()>()) -> _ => unreachable!(),
                recv(values) -> got => got.is_err(),
            }
        }));
        let (closed, ended) = (bounded::<()>(0).1, bounded(1).0);
        share(Box::new(|| {
            select! {
                recv(closed) -> got => { assert_eq!(got, Err(RecvError)); true }
                send(ended, 5) -> sent => { assert_eq!(sent, Err(SendError(5))); false }
            }
        }));
    });
}

// ---- fifo, perm, nonblock ---------------------------------------------------------------------------------------

/// A chain of receivers, each of which goes on when the one before it has.
#[test]
fn a_rendezvous_keeps_the_order() {
    among_all(|threads| {
        let (s, r) = bounded(0);
        let (first, mut turn) = bounded::<()>(0);
        let mut links = Vec::new();
        for n in 0..10 {
            let (after, next) = bounded(0);
            let (r, turn) = (r.clone(), std::mem::replace(&mut turn, next));
            links.push(start(threads, move || {
                turn.recv().unwrap();
                assert_eq!(r.recv(), Ok(n));
                after.send(()).unwrap();
            }));
        }
        first.send(()).unwrap();
        (0..10).for_each(|n| s.send(n).unwrap());
        turn.recv().unwrap();
        links.into_iter().for_each(|it| it());
    });
}

/// SY1: what the ends of one side may do once those of the other are gone; and not before the last is.
#[test]
fn sy1_what_an_end_may_do_alone() {
    everywhere(|| {
        for capacity in [0, 1, 10] {
            let (s, r) = bounded(capacity);
            (0..capacity).for_each(|n| s.send(n).unwrap());
            let second = s.clone();
            drop(s);
            assert_eq!(second.try_send(99), Err(TrySendError::Full(99)), "it lives");
            drop(second);
            assert!(
                r.iter().eq(0..capacity),
                "what is there comes, in its order"
            );
            assert_eq!(r.recv(), Err(RecvError));
            assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
            select! { recv(r) -> got => assert_eq!(got, Err(RecvError)), default => panic!("ready for ever") }

            let (s, r) = bounded(capacity);
            let second = r.clone();
            drop(r);
            assert_eq!(s.try_send(0).is_ok(), capacity > 0);
            drop(second);
            assert_eq!(s.send(1), Err(SendError(1)));
            assert_eq!(s.try_send(2), Err(TrySendError::Disconnected(2)));
            select! { send(s, 3) -> sent => assert_eq!(sent, Err(SendError(3))), default => panic!("ready for ever") }
        }
    });
}

#[test]
fn what_does_not_wait_says_what_it_has_found() {
    fn finds_nothing(r: &Receiver<usize>) {
        assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
        select! { recv(r) -> _ => panic!("it is empty"), default => {} }
    }
    fn finds_no_room(s: &Sender<usize>) {
        assert_eq!(s.try_send(99), Err(TrySendError::Full(99)));
        select! { send(s, 99) -> _ => panic!("it is full"), default => {} }
    }
    everywhere(|| {
        for capacity in [0, 1, 2, 10] {
            let (s, r) = bounded(capacity);
            finds_nothing(&r);
            for n in 0..capacity {
                select! { send(s, n) -> sent => sent.unwrap(), default => panic!("there is room") }
            }
            finds_no_room(&s);
            for n in 0..capacity {
                select! { recv(r) -> got => assert_eq!(got, Ok(n)), default => panic!("there is a value") }
            }
            finds_nothing(&r);
        }
    });
    // Without room it is the other who has to wait.
    on_one_worker_and_on_two(|| {
        let (s, r) = bounded(0);
        let (theirs, other) = (s.clone(), r.clone());
        let sends = spawn_local(move || theirs.send(7).unwrap());
        let_the_others_run();
        assert_eq!(r.try_recv(), Ok(7));
        let receives = spawn_local(move || other.recv().unwrap());
        let_the_others_run();
        s.try_send(8).unwrap();
        assert_eq!((sends.join().unwrap(), receives.join().unwrap()), ((), 8));
        finds_nothing(&r);
        finds_no_room(&s);
    });
}

// ---- select3, doubleselect, sieve -------------------------------------------------------------------------------

/// SY3: a send, a receive, a select with each of them or both: it waits exactly when none could go on.
#[test]
fn sy3_which_forms_wait_and_which_do_not() {
    on_one_worker_and_on_two(|| {
        assert!(blocks(|| _ = never::<u8>().recv()));
        assert!(blocks(|| select! { recv(never::<u8>()) -> _ => {} }));
        // Capacity and values; whether the other side of the sender, of the receiver, is there.
        for (capacity, values) in [(0, 0), (1, 0), (1, 1), (5, 0), (5, 4), (5, 5)] {
            for (receivers, senders) in [(true, true), (false, true), (true, false)] {
                // Every claim has channels of its own: what does not wait changes them.
                let ends = || {
                    let ((s, theirs), (others, r)) = (bounded(capacity), bounded(capacity));
                    for s in [&s, &others] {
                        (0..values).for_each(|_| s.send(7).unwrap());
                    }
                    let (theirs, others) = (receivers.then_some(theirs), senders.then_some(others));
                    ((s, theirs), (r, others))
                };
                let send_waits = receivers && values == capacity;
                let recv_waits = senders && values == 0;
                let ((s, _r), (r, _s)) = ends();
                let (sends, receives) = (move || _ = s.send(1), move || _ = r.recv());
                assert_eq!((blocks(sends), blocks(receives)), (send_waits, recv_waits));
                let ((s, _r), (r, _s)) = ends();
                let (sends, receives) = (
                    move || select! { send(s, 1) -> _ => {} },
                    move || select! { recv(r) -> _ => {} },
                );
                assert_eq!((blocks(sends), blocks(receives)), (send_waits, recv_waits));
                let ((s, _r), (r, _s)) = ends();
                let either = move || select! { send(s, 1) -> _ => {} recv(r) -> _ => {} };
                assert_eq!(blocks(either), send_waits && recv_waits);
                let ((s, _r), (r, _s)) = ends();
                let looks = move || {
                    select! {
                        send(s, 1) -> _ => assert!(!send_waits),
                        recv(r) -> _ => assert!(!recv_waits),
                        default => assert!(send_waits && recv_waits),
                    }
                };
                assert!(!blocks(looks));
            }
        }
    });
}

/// SY3: each value leaves by one case of four, on two channels of two cases each.
#[test]
fn sy3_a_select_over_the_same_channel_twice_sends_no_value_twice() {
    among_all(|threads| {
        for capacity in [0, 1, 10] {
            let ((a, from_a), (b, from_b)) = (bounded(capacity), bounded(capacity));
            let receivers =
                [from_a, from_b].map(|r| start(threads, move || r.iter().collect::<Vec<_>>()));
            for n in 0..1000 {
                select! {
                    send(a, n) -> sent => sent.unwrap(),
                    send(b, n) -> sent => sent.unwrap(),
                    send(a, n) -> sent => sent.unwrap(),
                    send(b, n) -> sent => sent.unwrap(),
                }
            }
            drop((a, b));
            let got = receivers.map(|it| it());
            assert!(got.iter().all(|of_one| of_one.is_sorted()));
            let mut all = got.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..1000));
        }
    });
}

#[test]
fn a_sieve_of_filters_finds_the_first_50_primes() {
    among_all(|threads| {
        let (s, mut numbers) = bounded(0);
        // Each ends when nobody receives from it any more.
        let mut all = vec![start(threads, move || {
            _ = (2..).try_for_each(|n: u32| s.send(n));
        })];
        let mut primes = Vec::new();
        while primes.len() < 50 {
            let prime = numbers.recv().unwrap();
            primes.push(prime);
            let (s, rest) = bounded(0);
            let input = std::mem::replace(&mut numbers, rest);
            all.push(start(threads, move || {
                let mut others = input.iter().filter(|n| !n.is_multiple_of(prime));
                _ = others.try_for_each(|n| s.send(n));
            }));
        }
        drop(numbers);
        all.into_iter().for_each(|it| it());
        let is_prime = |n: &u32| (2..*n).all(|divisor| !n.is_multiple_of(divisor));
        assert!(primes.into_iter().eq((2..).filter(is_prime).take(50)));
    });
}
