//! Events: whoever waits when it is set goes on, and whoever comes later until it is reset.

#![forbid(unsafe_code)]

mod strands_support;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine::{Cancelled, spawn, spawn_local};
use runtime::sync::Event;
use runtime::time::{self, Elapsed};
use runtime::yield_now;
use strands_support::*;

const SHORT: Duration = Duration::from_millis(2);

#[test]
fn a_set_event_lets_everyone_through_until_it_is_reset() {
    fn claim() {
        let event = Event::default();
        assert!(!event.is_set());
        let begun = Instant::now();
        assert!(!event.wait_timeout(SHORT) && begun.elapsed() >= SHORT);
        assert!(!event.wait_deadline(begun));
        assert_eq!(time::timeout(SHORT, || event.wait()), Err(Elapsed));
        event.set();
        event.set();
        event.wait();
        assert!(event.is_set() && event.wait_deadline(begun));
        event.reset();
        assert!(!event.wait_timeout(SHORT));
    }
    on_one_worker_and_on_two(claim);
    claim();
}

#[test]
fn all_who_wait_go_on_though_it_be_reset_at_once_and_who_comes_then_waits() {
    on_one_worker_and_on_two(|| {
        let event = Arc::new(Event::new());
        let waits = |event: &Arc<Event>| {
            let event = event.clone();
            spawn_local(move || event.wait())
        };
        for _ in 0..10 {
            let waiters: Vec<_> = (0..20).map(|_| waits(&event)).collect();
            let_the_others_run();
            event.set();
            event.reset();
            let late = waits(&event);
            waiters.into_iter().for_each(|it| it.join().unwrap());
            let_the_others_run();
            assert!(!late.is_finished());
            late.cancel();
            assert!(late.join().unwrap_err().is::<Cancelled>());
        }
    });
}

#[test]
fn coroutines_and_threads_wait_for_each_other() {
    for workers in [1, 2] {
        runtime_of(workers).run(|| {
            for _ in 0..50 {
                let there = Arc::new(Event::new());
                let back = Arc::new(Event::new());
                let threads = [(); 2].map(|()| {
                    let (there, back) = (there.clone(), back.clone());
                    thread::spawn(move || {
                        there.wait();
                        back.set();
                    })
                });
                let coroutines = [(); 3].map(|()| {
                    let (there, back) = (there.clone(), back.clone());
                    spawn(move || {
                        there.wait();
                        back.wait();
                    })
                });
                yield_now();
                there.set();
                back.wait();
                coroutines.into_iter().for_each(|it| it.join().unwrap());
                threads.into_iter().for_each(|it| it.join().unwrap());
            }
        });
    }
}
