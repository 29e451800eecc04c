//! One value from one end to the other: ready, waited for, cancelled, too late, and with an end that goes.

#![forbid(unsafe_code)]

mod strands_support;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine::{Cancelled, shield, spawn, spawn_local};
use runtime::sync::oneshot::{self, RecvError, RecvTimeoutError, TryRecvError};
use runtime::time::{self, Elapsed};
use runtime::yield_now;
use strands_support::*;

const SHORT: Duration = Duration::from_millis(2);

#[test]
fn a_value_that_is_there_is_received_by_each_call_and_once_only() {
    fn claim() {
        let (sender, receiver) = oneshot::channel();
        assert!(!sender.is_closed());
        sender.send(1).unwrap();
        assert_eq!(receiver.recv(), Ok(1));
        type Call = fn(&mut oneshot::Receiver<i32>) -> Option<i32>;
        let calls: [Call; 3] = [
            |receiver| receiver.try_recv().ok(),
            |receiver| receiver.recv_timeout(SHORT).ok(),
            |receiver| receiver.recv_deadline(Instant::now()).ok(),
        ];
        for call in calls {
            let (sender, mut receiver) = oneshot::channel();
            assert_eq!(call(&mut receiver), None);
            sender.send(2).unwrap();
            assert_eq!(call(&mut receiver), Some(2));
            assert_eq!(call(&mut receiver), None);
            assert_eq!(receiver.recv(), Err(RecvError));
        }
    }
    on_one_worker_and_on_two(claim);
    claim();
}

#[test]
fn a_receiver_waits_for_a_coroutine_or_a_thread() {
    for workers in [1, 2] {
        runtime_of(workers).run(|| {
            for n in 0..100 {
                let (sender, receiver) = oneshot::channel();
                let (back, answer) = oneshot::channel();
                let thread = thread::spawn(move || back.send(receiver.recv().unwrap() + 1));
                let coroutine = spawn(move || answer.recv().unwrap());
                yield_now();
                sender.send(n).unwrap();
                assert_eq!(coroutine.join().unwrap(), n + 1);
                thread.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn an_end_that_goes_is_noticed_by_the_other() {
    on_one_worker_and_on_two(|| {
        let (sender, receiver) = oneshot::channel::<i32>();
        let waits = spawn(move || receiver.recv());
        let panics = spawn(move || {
            let _sender = sender;
            let_the_others_run();
            std::panic::resume_unwind(Box::new("the sender's panic"));
        });
        assert_eq!(waits.join().unwrap(), Err(RecvError));
        assert!(panics.join().is_err());

        let (sender, mut receiver) = oneshot::channel::<i32>();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        drop(sender);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        let outcome = receiver.recv_timeout(SHORT);
        assert_eq!(outcome, Err(RecvTimeoutError::Disconnected));

        let (sender, receiver) = oneshot::channel();
        let dropped = Tally::default();
        drop(receiver);
        assert!(sender.is_closed());
        drop(sender.send(dropped.on_drop()).err().unwrap());
        assert_eq!(dropped.get(), 1);
    });
}

/// A value that has been sent, and a receiver that does not take it: dropped once, by a destructor that uses the end.
#[test]
fn a_value_that_nobody_takes_is_dropped_with_the_receiver() {
    on_one_worker_and_on_two(|| {
        let (sender, receiver) = oneshot::channel();
        let (inner, outcome) = oneshot::channel();
        sender
            .send(OnDrop::new(move || inner.send("dropped").unwrap()))
            .ok()
            .unwrap();
        drop(receiver);
        assert_eq!(outcome.recv(), Ok("dropped"));
    });
}

#[test]
fn sy6_a_cancelled_receiver_leaves_and_its_sender_sees_it() {
    on_one_worker_and_on_two(|| {
        let (sender, receiver) = oneshot::channel();
        let waits = spawn_local(move || receiver.recv());
        let_the_others_run();
        waits.cancel();
        assert!(waits.join().unwrap_err().is::<Cancelled>());
        assert_eq!(sender.send(7), Err(7));
    });
}

#[test]
fn sy2_a_receiver_that_is_cancelled_when_the_value_has_come_has_it() {
    on_one_worker_and_on_two(|| {
        let (sender, receiver) = oneshot::channel();
        let waits = spawn_local(move || receiver.recv());
        let_the_others_run();
        sender.send(7).unwrap();
        waits.cancel();
        assert_eq!(waits.join().unwrap(), Ok(7));
    });
}

#[test]
fn ti5_a_value_that_comes_when_the_time_is_just_over_is_received() {
    fn claim() {
        let (sender, mut receiver) = oneshot::channel();
        assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        let outcome = time::timeout(SHORT, || receiver.recv_timeout(Duration::MAX));
        assert_eq!(outcome, Err(Elapsed));
        sender.send(7).unwrap();
        assert_eq!(receiver.recv(), Ok(7));
    }
    on_one_worker_and_on_two(claim);
    claim();
    on_one_worker_and_on_two(|| {
        let (sender, mut receiver) = oneshot::channel();
        let waits = spawn_local(move || receiver.recv_timeout(SHORT));
        yield_now();
        let due = Instant::now() + SHORT;
        while Instant::now() < due {}
        sender.send(7).unwrap();
        assert_eq!(waits.join().unwrap(), Ok(7));
    });
}

#[test]
fn ends_are_shared_across_threads_and_shields_hold() {
    on_one_worker_and_on_two(|| {
        let (sender, receiver) = oneshot::channel();
        let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
        let theirs = receiver.clone();
        let waits = spawn_local(move || {
            let receiver = theirs.lock().unwrap().take().unwrap();
            shield(|| receiver.recv())
        });
        let_the_others_run();
        waits.cancel();
        let_the_others_run();
        assert!(!waits.is_finished());
        sender.send(1).unwrap();
        assert_eq!(waits.join().unwrap(), Ok(1));
    });
}
