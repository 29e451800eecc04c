//! SC10: nobody starves. One worker, one that yields without end, and each class of others gets on within a bounded
//! number of turns of that one.

#![forbid(unsafe_code)]

mod strands_support;

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine::{JoinHandle, spawn, spawn_local};
use runtime::net::{TcpListener, TcpStream};
use runtime::sync::{Event, Mutex, Semaphore};
use runtime::time;
use runtime::yield_now;
use strands_support::*;

/// The worker polls after so many turns.
const ROUND: usize = 64;
/// Turns of the one that yields, until another one must have got on that could: the rest of this round, a round, and the
/// turns of the others in between.
const BOUND: usize = 3 * ROUND;

/// Has somebody of the class get ready to go on, by what `start` does and returns: within [`BOUND`] turns it must have.
fn gets_on(class: &str, start: impl FnOnce(Tally)) {
    let progress = Tally::default();
    start(progress.clone());
    assert!(
        passes_within(BOUND, || progress.get() > 0),
        "{class} starve beside one that yields"
    );
}

/// Two neighbours that yield without end, too.
fn beside_yielders(claim: fn()) {
    runtime_of(1).run(|| {
        let stop = std::rc::Rc::new(std::cell::Cell::new(false));
        let yielders: [JoinHandle<u64>; 2] = [(); 2].map(|()| {
            let stop = stop.clone();
            spawn_local(move || {
                let mut turns = 0;
                while !stop.get() {
                    yield_now();
                    turns += 1;
                }
                turns
            })
        });
        claim();
        stop.set(true);
        let [one, other] = yielders.map(|it| it.join().unwrap());
        assert!(one.abs_diff(other) <= 1, "{one} and {other} turns");
    });
}

#[test]
fn sc10_descriptors() {
    beside_yielders(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        gets_on("those who accept or connect", |progress| {
            spawn_local(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                progress.add();
            });
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[1]).unwrap();
        });
    });
}

#[test]
fn sc10_timers() {
    beside_yielders(|| {
        gets_on("sleepers", |progress| {
            let due = Instant::now() + Duration::from_millis(2);
            spawn_local(move || {
                time::sleep_until(due);
                progress.add();
            });
            yield_now();
            // A grain later, which timers are rounded up to.
            while Instant::now() < due + Duration::from_millis(1) {}
        });
    });
}

#[test]
fn sc10_what_other_threads_send() {
    beside_yielders(|| {
        gets_on("those whom threads wake", |progress| {
            let event = std::sync::Arc::new(Event::new());
            let theirs = event.clone();
            spawn_local(move || {
                event.wait();
                progress.add();
            });
            let_the_others_run();
            thread::spawn(move || theirs.set()).join().unwrap();
        });
    });
}

#[test]
fn sc10_newcomers_and_those_who_wait_for_each_other() {
    beside_yielders(|| {
        gets_on("newcomers", |progress| {
            spawn(move || progress.add());
        });
        gets_on("those who wait for a lock", |progress| {
            let mutex = std::sync::Arc::new(Mutex::new(()));
            // Some who lock, yield, unlock and lock again, all the time.
            for _ in 0..5 {
                let mutex = mutex.clone();
                spawn_local(move || {
                    (0..BOUND).for_each(|_| {
                        let _guard = mutex.lock();
                        yield_now();
                    });
                });
            }
            let_the_others_run();
            spawn_local(move || {
                drop(mutex.lock());
                progress.add();
            });
        });
        gets_on("those who wait for a permit", |progress| {
            let semaphore = std::sync::Arc::new(Semaphore::new(0));
            let theirs = semaphore.clone();
            spawn_local(move || {
                theirs.acquire().forget();
                progress.add();
            });
            spawn_local(move || semaphore.add_permits(1));
        });
    });
}
