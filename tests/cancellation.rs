//! Cancellation: it unwinds from the next suspension point, sticks, and waits for who may not be
//! interrupted. The end of `run` is the cancellation of all.

#![forbid(unsafe_code)]

mod strands_support;

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use runtime::coroutine::{self, Cancelled, JoinHandle, park, spawn, spawn_local};
use runtime::generator::Generator;
use runtime::{time, yield_now};
use strands_support::*;

#[test]
fn whatever_a_coroutine_waits_for_its_cancellation_ends_the_wait() {
    on_one_worker_and_on_two(|| {
        let waits: [fn(); 8] = [
            park,
            || loop {
                yield_now();
            },
            || time::sleep(Duration::MAX),
            || time::sleep(Duration::from_secs(3600)),
            || coroutine::park_timeout(Duration::from_secs(3600)),
            || drop(spawn(park).join()),
            || time::timeout(Duration::from_secs(3600), park).unwrap(),
            || {
                runtime::scope(|s| {
                    s.spawn(park);
                })
            },
        ];
        for (n, wait) in waits.into_iter().enumerate() {
            let (dropped, begun) = (Tally::default(), Tally::default());
            let (local, start) = (dropped.on_drop(), begun.clone());
            let child = spawn(move || {
                let _local = local;
                start.add();
                wait();
            });
            pass_until(|| begun.get() == 1);
            let_the_others_run();
            child.cancel();
            child.cancel();
            let outcome = child.join();
            assert!(
                outcome.is_err_and(|payload| payload.is::<Cancelled>()),
                "wait {n}"
            );
            assert_eq!(dropped.get(), 1, "wait {n}");
        }
    });
}

#[test]
fn one_that_has_not_started_never_does() {
    on_one_worker_and_on_two(|| {
        let (ran, dropped) = (Tally::default(), Tally::default());
        for _ in 0..100 {
            let (tally, captured) = (ran.clone(), dropped.on_drop());
            // Local, so that no idle worker begins it before it is cancelled.
            let child = spawn_local(move || {
                let _captured = captured;
                tally.add();
            });
            child.cancel();
            assert!(child.join().unwrap_err().is::<Cancelled>());
        }
        assert_eq!((ran.get(), dropped.get()), (0, 100));
    });
}

#[test]
fn one_that_has_finished_keeps_its_result() {
    on_one_worker_and_on_two(|| {
        let child = spawn(|| 5);
        pass_until(|| child.is_finished());
        child.cancel();
        assert_eq!(child.join().unwrap(), 5);
    });
}

#[test]
fn one_that_never_suspends_again_returns_its_value() {
    on_one_worker_and_on_two(|| {
        let child = spawn_local(|| {
            coroutine::shield(yield_now);
            5
        });
        yield_now();
        child.cancel();
        assert_eq!(child.join().unwrap(), 5);
    });
}

#[test]
fn a_coroutine_may_cancel_itself_and_its_joiner() {
    on_one_worker_and_on_two(|| {
        let (give, take) = std::sync::mpsc::channel::<JoinHandle<()>>();
        let child = spawn_local(move || {
            let own = take.recv().unwrap();
            own.cancel();
            yield_now();
            unreachable!("cancelled at the yield");
        });
        let id = child.id();
        give.send(child).unwrap();
        let_the_others_run();
        assert_eq!(spawn(move || id).join().unwrap(), id, "the runtime goes on");
    });
}

#[test]
fn a_plain_thread_may_cancel() {
    on_one_worker_and_on_two(|| {
        for n in 0..50 {
            let child = spawn(park);
            if n % 2 == 0 {
                yield_now();
            }
            let thread = thread::spawn(move || {
                child.cancel();
                child
            });
            pass_until(|| thread.is_finished());
            assert!(thread.join().unwrap().join().unwrap_err().is::<Cancelled>());
        }
    });
}

#[test]
fn pa5_swallowed_it_is_raised_again_at_the_next_suspension_point() {
    on_one_worker_and_on_two(|| {
        let swallowed = Tally::default();
        let tally = swallowed.clone();
        let child = spawn_local(move || {
            park_or_be_cancelled();
            for _ in 0..1000 {
                if catch_unwind(yield_now).is_err() {
                    tally.add();
                }
            }
            for wait in [park as fn(), || time::sleep(Duration::MAX)] {
                assert!(catch_unwind(wait).is_err());
            }
            "its own way"
        });
        yield_now();
        child.cancel();
        assert_eq!(child.join().unwrap(), "its own way");
        assert_eq!(swallowed.get(), 1000);
    });
}

fn park_or_be_cancelled() {
    assert!(catch_unwind(park).is_err());
}

#[test]
fn pa5_one_that_refuses_to_end_is_reported_by_name_and_never_freed_alive() {
    let name = "pa5_one_that_refuses_to_end_is_reported_by_name_and_never_freed_alive";
    let ended = in_own_process(name, || {
        for workers in [1, 2] {
            let runtime = runtime::Builder::new()
                .workers(workers)
                .grace(SHORT_GRACE)
                .build()
                .unwrap();
            let dropped = Tally::default();
            let (local, begun) = (dropped.on_drop(), Tally::default());
            let value = runtime.run(|| {
                let start = begun.clone();
                let refuses = coroutine::Builder::new().name("stubborn").spawn(move || {
                    let _local = local;
                    start.add();
                    loop {
                        let _swallowed = catch_unwind(yield_now);
                    }
                });
                drop(refuses);
                pass_until(|| begun.get() == 1);
                7
            });
            assert_eq!((value, dropped.get()), (7, 0), "leaked, not unwound");
            assert_eq!(
                runtime.run(|| spawn(|| 8).join().unwrap()),
                8,
                "the runtime goes on"
            );
        }
    });
    let said = ended.well();
    let reports = said
        .lines()
        .filter(|line| line.contains("'stubborn'") && line.contains("grace period"));
    assert_eq!(reports.count(), 2, "{said}");
}

#[test]
fn pa5_run_returns_though_one_that_refuses_to_end_goes_on_spawning() {
    let name = "pa5_run_returns_though_one_that_refuses_to_end_goes_on_spawning";
    in_own_process(name, || {
        for workers in [1, 2] {
            let runtime = runtime::Builder::new()
                .workers(workers)
                .grace(SHORT_GRACE)
                .build()
                .unwrap();
            let dropped = Tally::default();
            let count = dropped.clone();
            runtime.run(move || {
                spawn(move || {
                    loop {
                        let captured = [count.on_drop(), count.on_drop(), count.on_drop()];
                        captured
                            .into_iter()
                            .for_each(|one| drop(spawn(move || drop(one))));
                        let _swallowed = catch_unwind(yield_now);
                    }
                });
                let_the_others_run();
            });
            // Those that were never started are not the refuser's frames: they are dropped.
            assert_eq!(dropped.get() % 3, 0);
            assert_eq!(runtime.run(|| spawn(|| 8).join().unwrap()), 8);
        }
    })
    .well();
}

#[test]
fn pa7_a_cancellation_drops_every_local_exactly_once() {
    const ALL: usize = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    const AT_A_TIME: usize = 10_000;
    for workers in [1, 2] {
        let dropped = Tally::default();
        let runtime = runtime_of(workers);
        let before = runtime.metrics();
        runtime.run(|| {
            for _ in 0..ALL / AT_A_TIME {
                let batch: Vec<_> = (0..AT_A_TIME)
                    .map(|_| {
                        let local = dropped.on_drop();
                        spawn(move || {
                            let _local = local;
                            park();
                        })
                    })
                    .collect();
                yield_now();
                batch.iter().for_each(JoinHandle::cancel);
                for child in batch {
                    assert!(child.join().unwrap_err().is::<Cancelled>());
                }
            }
        });
        assert_eq!(dropped.get(), ALL);
        let after = runtime.metrics();
        assert_eq!((after.spawned - before.spawned) as usize, ALL + 1);
        assert_eq!(after.spawned, after.finished);
    }
}

#[test]
fn pa14_a_caught_payload_that_is_forgotten_does_not_end_the_cancellation() {
    on_one_worker_and_on_two(|| {
        let child = spawn_local(|| {
            mem::forget(catch_unwind(park));
            mem::forget(catch_unwind(park));
            park();
        });
        yield_now();
        child.cancel();
        assert!(child.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn pa14_a_shield_holds_it_off_until_its_end() {
    on_one_worker_and_on_two(|| {
        let (inside, after) = (Tally::default(), Tally::default());
        let (tally, reached) = (inside.clone(), after.clone());
        let (tell, who) = mpsc::channel();
        let child = spawn(move || {
            coroutine::shield(|| {
                tell.send(coroutine::current()).unwrap();
                park();
                coroutine::shield(yield_now);
                time::sleep(Duration::from_millis(1));
                tally.add();
            });
            yield_now();
            reached.add();
        });
        let mut found = None;
        pass_until(|| {
            found = who.try_recv().ok();
            found.is_some()
        });
        child.cancel();
        let_the_others_run();
        assert!(!child.is_finished(), "it waits for its unpark");
        found.unwrap().unpark();
        assert!(child.join().unwrap_err().is::<Cancelled>());
        assert_eq!((inside.get(), after.get()), (1, 0));
    });
}

#[test]
fn pa14_a_shield_around_a_scope_holds_for_its_children_too() {
    on_one_worker_and_on_two(|| {
        let (done, begun) = (Tally::default(), Tally::default());
        let (tally, start) = (done.clone(), begun.clone());
        let parent = spawn(move || {
            coroutine::shield(|| {
                runtime::scope(|s| {
                    s.spawn(|| {
                        start.add();
                        let_the_others_run();
                        tally.add();
                    });
                });
            });
        });
        pass_until(|| begun.get() == 1);
        parent.cancel();
        pass_until(|| parent.is_finished());
        assert_eq!(done.get(), 1);
    });
}

#[test]
fn a_destructor_of_a_cancelled_coroutine_may_open_a_scope() {
    on_one_worker_and_on_two(|| {
        let done = Tally::default();
        let tally = done.clone();
        let child = spawn_local(move || {
            let _flushes = OnDrop::new(|| {
                runtime::scope(|s| {
                    s.spawn(|| {
                        yield_now();
                        tally.add();
                    });
                });
            });
            park();
        });
        let_the_others_run();
        child.cancel();
        assert!(child.join().unwrap_err().is::<Cancelled>());
        assert_eq!(
            done.get(),
            1,
            "the children of a destructor's scope run to their ends"
        );
    });
}

/// The generator is dropped first, the blocking local second, both in one unwinding.
#[test]
fn a_destructor_may_block_after_a_suspended_generator_was_dropped_in_the_same_unwinding() {
    let name =
        "a_destructor_may_block_after_a_suspended_generator_was_dropped_in_the_same_unwinding";
    in_own_process(name, || {
        on_one_worker_and_on_two(|| {
            let done = Tally::default();
            let tally = done.clone();
            let child = spawn_local(move || {
                let _blocks = OnDrop::new(|| {
                    let_the_others_run();
                    tally.add();
                });
                let mut generator = Generator::new(|y, ()| y.suspend(()));
                let _ = generator.resume(());
                park();
            });
            yield_now();
            child.cancel();
            assert!(child.join().unwrap_err().is::<Cancelled>());
            assert_eq!(done.get(), 1);
        });
    })
    .well();
}

#[test]
fn what_is_dropped_at_the_end_of_a_cancelled_coroutine_may_block() {
    on_one_worker_and_on_two(|| {
        let done = Tally::default();
        let blocks = || {
            let tally = done.clone();
            OnDrop::new(move || {
                let_the_others_run();
                tally.add();
            })
        };
        // Captured by one that never starts.
        let captured = blocks();
        let never = spawn_local(move || drop(captured));
        never.cancel();
        assert!(never.join().is_err());
        assert_eq!(done.get(), 1);
        // The result of one that is detached and ends before its cancellation is raised.
        let result = blocks();
        let child = spawn_local(move || {
            coroutine::shield(yield_now);
            result
        });
        yield_now();
        child.cancel();
        drop(child);
        assert!(passes_in_time(|| done.get() == 2));
    });
}

#[test]
fn the_end_of_run_cancels_the_others_and_waits_for_their_destructors() {
    for workers in [1, 2] {
        let runtime = runtime_of(workers);
        let (unwound, begun) = (Tally::default(), Tally::default());
        let value = runtime.run(|| {
            for n in 0..100 {
                let (end, start) = (unwound.clone(), begun.clone());
                drop(spawn(move || {
                    let _slow = OnDrop::new(move || {
                        time::sleep(Duration::from_micros(n * 50));
                        end.add();
                    });
                    start.add();
                    park();
                }));
            }
            pass_until(|| begun.get() == 100);
            "the value of the first"
        });
        assert_eq!((value, unwound.get()), ("the value of the first", 100));
        let metrics = runtime.metrics();
        assert_eq!(metrics.spawned, metrics.finished);
    }
}

#[test]
fn a_panic_of_the_first_coroutine_goes_on_in_run_after_the_others_have_ended() {
    for workers in [1, 2] {
        let (runtime, unwound) = (runtime_of(workers), Tally::default());
        let local = unwound.on_drop();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            runtime.run(|| {
                drop(spawn_local(move || {
                    let _local = local;
                    park();
                }));
                yield_now();
                panic!("the first");
            })
        }));
        let payload: Box<dyn std::any::Any + Send> = outcome.unwrap_err();
        assert_eq!((text(&*payload).as_str(), unwound.get()), ("the first", 1));
        assert_eq!(runtime.run(|| 5), 5, "the runtime is as good as new");
    }
}

#[test]
fn whoever_is_spawned_during_the_end_of_run_is_cancelled_and_waited_for() {
    for workers in [1, 2] {
        let (dropped, ran) = (Tally::default(), Tally::default());
        runtime_of(workers).run(|| {
            let (captured, count) = (dropped.on_drop(), ran.clone());
            drop(spawn_local(move || {
                let _spawns = OnDrop::new(move || {
                    drop(spawn(move || {
                        let _captured = captured;
                        count.add();
                    }));
                });
                park();
            }));
            yield_now();
        });
        assert_eq!((dropped.get(), ran.get()), (1, 0));
    }
}
