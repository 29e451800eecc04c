//! `Builder::spin`: a worker that spins is there at once for whatever comes, and one that does not spin sleeps.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::net::TcpListener;
use runtime::{Builder, Runtime, coroutine, spawn, time};

fn spinning(workers: usize) -> Runtime {
    let builder = Builder::new().workers(workers);
    builder.spin(Duration::MAX).build().unwrap()
}

/// How often this thread has given its CPU up by itself: it sleeps in epoll_wait(2), or waits for a lock.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// How often a worker sleeps while it answers so many requests of a client that takes its time.
fn sleeps_for(requests: u64, builder: Builder) -> u64 {
    let runtime = builder.build().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let client = thread::spawn(move || {
        client.set_nodelay(true).unwrap();
        for _ in 0..requests {
            client.write_all(b"?").unwrap();
            client.read_exact(&mut [0]).unwrap();
            // Not to let anything happen: to be a client that lets the worker have nothing to do.
            thread::sleep(Duration::from_micros(300));
        }
    });
    let sleeps = runtime.run(|| {
        let (mut stream, _) = TcpListener::from(listener).accept().unwrap();
        let before = sleeps();
        while stream.read(&mut [0]).unwrap() == 1 {
            stream.write_all(b"!").unwrap();
        }
        sleeps() - before
    });
    client.join().unwrap();
    sleeps
}

#[test]
fn a_worker_that_spins_hears_of_descriptors_without_a_sleep() {
    if thread::available_parallelism().unwrap().get() < 2 {
        return println!("skipped: on one CPU nobody spins");
    }
    let spinning = sleeps_for(100, Builder::new().spin(Duration::from_secs(60)));
    assert!(spinning < 20, "{spinning} sleeps for 100 requests");
}

#[test]
fn one_that_spins_for_no_time_or_not_long_enough_sleeps() {
    // Fewer than there are pauses, where the machine is so busy that a client's pause is over before we come to sleep.
    for spin in [Duration::ZERO, Duration::from_micros(1)] {
        let asleep = sleeps_for(100, Builder::new().spin(spin));
        assert!(asleep > 20, "{asleep} sleeps for 100 requests");
    }
}

#[test]
fn timers_messages_and_spawns_of_others_reach_one_that_spins() {
    for workers in [1, 2] {
        let runtime = spinning(workers);
        let (tell, told) = mpsc::channel();
        thread::scope(|s| {
            let runtime = &runtime;
            s.spawn(move || {
                let parked: coroutine::Coroutine = told.recv().unwrap();
                assert_eq!(runtime.spawn(|| 42).join().unwrap(), 42);
                parked.unpark();
            });
            runtime.run(|| {
                let waits = spawn(move || {
                    tell.send(coroutine::current()).unwrap();
                    coroutine::park();
                });
                let (before, nap) = (Instant::now(), Duration::from_millis(2));
                time::sleep(nap);
                assert!(before.elapsed() >= nap);
                waits.join().unwrap();
            });
        });
    }
}

#[test]
fn a_runtime_that_spins_for_ever_ends() {
    for workers in [1, 2] {
        let runtime = spinning(workers);
        for _ in 0..3 {
            runtime.run(|| {
                for _ in 0..4 {
                    spawn(coroutine::park);
                }
                time::sleep(Duration::from_millis(1)); // all workers are idle, and spin
            });
        }
    }
}
