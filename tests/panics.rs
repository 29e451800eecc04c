//! Panics: each ends its own coroutine and nothing else, destructors run once, and may block.

#![forbid(unsafe_code)]

mod strands_support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use runtime::coroutine::{self, Cancelled, park, spawn, spawn_local};
use runtime::{time, yield_now};
use strands_support::*;

#[test]
fn pa1_a_panic_ends_its_coroutine_and_goes_to_its_joiner_only() {
    on_one_worker_and_on_two(|| {
        let sibling = spawn(|| (0..20).map(yield_then).sum::<u32>());
        let payload = spawn(|| panic!("number {}", 7)).join().unwrap_err();
        assert_eq!(text(&*payload), "number 7");
        assert!(!thread::panicking());
        assert_eq!(spawn(|| 1).join().unwrap(), 1, "the worker goes on");
        assert_eq!(sibling.join().unwrap(), 190);
    });
}

fn panic_later(text: &'static str) {
    yield_now();
    panic!("{text}");
}

fn yield_then<T>(value: T) -> T {
    yield_now();
    value
}

#[test]
fn pa1_the_panic_hook_is_called_once_for_a_panic_and_never_for_a_cancellation() {
    let ended = in_own_process(
        "pa1_the_panic_hook_is_called_once_for_a_panic_and_never_for_a_cancellation",
        || {
            std::panic::set_hook(Box::new(|_| eprintln!("<hook>")));
            on_one_worker_and_on_two(|| {
                assert!(spawn(|| panic!("once")).join().is_err());
                let parked = spawn(park);
                yield_now();
                parked.cancel();
                assert!(parked.join().unwrap_err().is::<Cancelled>());
                assert!(
                    time::timeout(Duration::from_millis(1), || time::sleep(Duration::MAX)).is_err()
                );
            });
        },
    );
    assert_eq!(
        ended.well().matches("<hook>").count(),
        2,
        "one for each number of workers"
    );
}

#[test]
fn pa2_a_panic_is_contained_wherever_it_happens() {
    on_one_worker_and_on_two(|| {
        let wherever: [fn(); 6] = [
            || panic!("here"),
            || {
                (0..100).for_each(|_| yield_now());
                panic!("here")
            },
            || {
                let nested = spawn(|| spawn(|| panic!("here")).join());
                resume_unwind(nested.join().unwrap().unwrap_err())
            },
            || time::timeout(Duration::MAX, || panic!("here")).unwrap(),
            || time::timeout(Duration::from_secs(60), || panic_later("here")).unwrap(),
            || coroutine::shield(|| panic!("here")),
        ];
        for body in wherever {
            let payload = spawn(body).join().unwrap_err();
            assert_eq!(text(&*payload), "here");
        }
    });
}

#[test]
fn pa3_a_destructor_may_block_while_its_coroutine_unwinds() {
    on_one_worker_and_on_two(|| {
        for cancels in [true, false] {
            let (dropped, blocked, begun) = (Tally::default(), Tally::default(), Tally::default());
            let unwinds = {
                let (dropped, blocked, begun) = (dropped.clone(), blocked.clone(), begun.clone());
                spawn(move || {
                    let _last = dropped.on_drop();
                    let _blocks = OnDrop::new(move || {
                        blocked.add();
                        let_the_others_run();
                        time::sleep(Duration::from_millis(2));
                        assert_eq!(spawn(|| yield_then(3)).join().unwrap(), 3);
                        blocked.add();
                    });
                    let _first = dropped.on_drop();
                    begun.add();
                    if cancels {
                        park()
                    } else {
                        panic!("a real one")
                    }
                })
            };
            pass_until(|| begun.get() == 1);
            if cancels {
                unwinds.cancel();
            }
            let runs = spawn(|| (0..50).map(yield_then).count());
            let panics = spawn(|| panic_later("beside it"));
            let cancelled = spawn(park);
            pass_until(|| blocked.get() >= 1);
            cancelled.cancel();
            assert_eq!(runs.join().unwrap(), 50);
            assert_eq!(text(&*panics.join().unwrap_err()), "beside it");
            assert!(cancelled.join().unwrap_err().is::<Cancelled>());
            assert_eq!(unwinds.join().unwrap_err().is::<Cancelled>(), cancels);
            assert_eq!((dropped.get(), blocked.get()), (2, 2));
            assert!(!thread::panicking());
        }
    });
}

#[test]
fn pa3_many_coroutines_suspended_in_mid_unwind_finish_in_any_order() {
    on_one_worker_and_on_two(|| {
        let (dropped, begun) = (Tally::default(), Tally::default());
        let all: Vec<_> = (0..100)
            .map(|n| {
                let (dropped, begun) = (dropped.clone(), begun.clone());
                spawn(move || {
                    begun.add();
                    let _after = dropped.on_drop();
                    let _blocks = OnDrop::new(move || (0..n * 7 % 31).for_each(|_| yield_now()));
                    if n % 2 == 0 { panic!("{n}") } else { park() }
                })
            })
            .collect();
        pass_until(|| begun.get() == 100);
        all.iter().for_each(|handle| handle.cancel());
        for (n, handle) in all.into_iter().enumerate() {
            assert_eq!(
                handle.join().unwrap_err().is::<Cancelled>(),
                n % 2 == 1,
                "{n}"
            );
        }
        assert_eq!(dropped.get(), 100);
        assert!(!thread::panicking());
    });
}

#[test]
fn pa4_a_panic_in_a_destructor_during_cancellation_aborts_as_std_does() {
    let ended = in_own_process(
        "pa4_a_panic_in_a_destructor_during_cancellation_aborts_as_std_does",
        || {
            runtime::run(|| {
                let child = spawn(|| {
                    let _panics = OnDrop::new(|| panic!("in a destructor"));
                    park();
                });
                yield_now();
                child.cancel();
                let _ = child.join();
            });
        },
    );
    assert_eq!(ended.signal, Some(6), "{}", ended.stderr); // SIGABRT
    assert!(
        ended
            .stderr
            .contains("panic in a destructor during cleanup"),
        "{}",
        ended.stderr
    );
}

#[test]
fn pa8_a_panic_that_nobody_joins_is_reported_with_name_and_place() {
    let ended = in_own_process(
        "pa8_a_panic_that_nobody_joins_is_reported_with_name_and_place",
        || {
            // What the hook says of one panic must not come between the words of a report.
            std::panic::set_hook(Box::new(|_| ()));
            on_one_worker_and_on_two(|| {
                let begun = Tally::default();
                let start = begun.clone();
                let lost = coroutine::Builder::new()
                    .name("lost")
                    .spawn(move || {
                        start.add();
                        panic!("unheard")
                    })
                    .unwrap();
                drop(lost);
                pass_until(|| begun.get() == 1);
                let finished = coroutine::Builder::new()
                    .name("late")
                    .spawn(|| panic!("unheard"))
                    .unwrap();
                pass_until(|| finished.is_finished());
                drop(finished);
            });
        },
    );
    let said = ended.well();
    for name in ["lost", "late"] {
        let reports = said
            .lines()
            .filter(|line| line.contains(&format!("coroutine '{name}'")));
        let reports: Vec<_> = reports.collect();
        assert_eq!(reports.len(), 2, "once for each number of workers:\n{said}");
        assert!(
            reports
                .iter()
                .all(|line| line.contains("tests/panics.rs:") && line.contains("unheard"))
        );
    }
}

#[test]
fn pa8_a_payload_or_result_whose_drop_panics_harms_nobody() {
    on_one_worker_and_on_two(|| {
        let dropped = Tally::default();
        let bomb = |tally: &Tally| {
            let tally = tally.clone();
            OnDrop::new(move || {
                tally.add();
                panic!("dropped")
            })
        };
        let payload = bomb(&dropped);
        drop(spawn(move || panic_any(payload)));
        let result = bomb(&dropped);
        drop(spawn(move || result));
        let captured = bomb(&dropped);
        let never = spawn(move || drop(captured));
        never.cancel();
        let _ = never.join();
        pass_until(|| dropped.get() == 3);
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    });
}

#[test]
fn pa8_the_destructor_of_a_detached_result_may_block() {
    on_one_worker_and_on_two(|| {
        for yields in [false, true] {
            let dropped = Tally::default();
            let tally = dropped.clone();
            let result = OnDrop::new(move || {
                let_the_others_run();
                time::sleep(Duration::from_millis(1));
                tally.add();
            });
            let child = spawn_local(move || {
                if yields {
                    yield_now();
                }
                result
            });
            drop(child);
            let_the_others_run();
            time::sleep(Duration::from_millis(3));
            assert!(passes_in_time(|| dropped.get() == 1), "yields: {yields}");
        }
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    });
}

#[test]
fn pa9_what_a_closure_that_never_runs_has_captured_is_dropped_once() {
    for workers in [1, 2] {
        let dropped = Tally::default();
        let runtime = runtime_of(workers);
        let captured = dropped.on_drop();
        runtime.run(|| drop(spawn(move || drop(captured)))); // the end of `run` comes first
        assert_eq!(dropped.get(), 1);
        let captured = dropped.on_drop();
        runtime.run(|| {
            let child = spawn(move || drop(captured));
            child.cancel();
            let _ = child.join();
        });
        assert_eq!(dropped.get(), 2);
        let (captured, handle);
        captured = dropped.on_drop();
        handle = runtime.spawn(move || drop(captured)); // with one worker nobody will run it
        drop(runtime);
        assert_eq!(dropped.get(), 3);
        assert!(handle.is_finished());
    }
}

#[test]
fn pa12_a_parent_that_waits_in_a_destructor_for_its_cancelled_child_sees_it_end() {
    on_one_worker_and_on_two(|| {
        for panics in [true, false] {
            let (ended, begun) = (Tally::default(), Tally::default());
            let (tally, start) = (ended.clone(), begun.clone());
            let parent = spawn(move || {
                let child_end = tally.on_drop();
                let child = spawn_local(move || {
                    let _end = child_end;
                    park();
                });
                yield_now();
                start.add();
                let _waits = OnDrop::new(move || {
                    child.cancel();
                    assert!(child.join().unwrap_err().is::<Cancelled>());
                });
                if panics { panic!("the parent") } else { park() }
            });
            pass_until(|| begun.get() == 1);
            parent.cancel();
            assert!(
                passes_in_time(|| parent.is_finished()),
                "parent and child end"
            );
            assert_eq!(ended.get(), 1);
            assert!(parent.join().is_err());
        }
    });
}

/// The child has caught a panic of its own before. That unwinding is over, and must not be taken
/// for the one that its parent is in now.
#[test]
fn pa12_a_child_that_has_once_caught_a_panic_is_cancelled_while_its_parent_unwinds() {
    on_one_worker_and_on_two(|| {
        let parent = spawn(|| {
            let child = spawn_local(|| {
                let caught = catch_unwind(|| panic!("caught by the child"));
                drop(caught);
                park();
            });
            let_the_others_run();
            let _waits = OnDrop::new(move || {
                child.cancel();
                let _ = child.join();
            });
            panic!("the parent");
        });
        assert!(
            passes_in_time(|| parent.is_finished()),
            "parent and child end"
        );
        assert_eq!(text(&*parent.join().unwrap_err()), "the parent");
    });
}

/// A flag that a neighbour's caught panic has left must not hide that this coroutine unwinds.
#[test]
fn pa12_a_panic_caught_by_a_neighbour_does_not_let_a_second_one_into_a_destructor() {
    let name = "pa12_a_panic_caught_by_a_neighbour_does_not_let_a_second_one_into_a_destructor";
    let ended = in_own_process(name, || {
        runtime::run(|| {
            let neighbour = spawn(|| {
                drop(catch_unwind(|| panic!("caught by the neighbour")));
                park();
            });
            yield_now();
            let unwinds = spawn(|| {
                let _blocks = OnDrop::new(yield_now);
                resume_unwind(Box::new("without a hook"));
            });
            unwinds.begin_and_cancel();
            assert!(unwinds.join().is_err());
            drop(neighbour);
        });
    });
    ended.well();
}

/// Lets a coroutine run up to its first suspension, and cancels it there.
trait BeginAndCancel {
    fn begin_and_cancel(&self);
}

impl<T> BeginAndCancel for coroutine::JoinHandle<T> {
    fn begin_and_cancel(&self) {
        yield_now();
        self.cancel();
    }
}

#[test]
fn pa12_a_runtime_inside_a_destructor_of_a_panicking_thread_can_cancel() {
    let name = "pa12_a_runtime_inside_a_destructor_of_a_panicking_thread_can_cancel";
    in_own_process(name, || {
        let outcome = catch_unwind(|| {
            let _runs = OnDrop::new(|| {
                on_one_worker_and_on_two(|| {
                    let late = time::timeout(Duration::from_millis(1), || {
                        time::sleep(Duration::from_millis(50));
                    });
                    assert!(late.is_err(), "a timeout inside is raised");
                    let child = spawn_local(park);
                    child.begin_and_cancel();
                    assert!(passes_in_time(|| child.is_finished()), "and a cancellation");
                });
            });
            panic!("the thread");
        });
        assert_eq!(text(&*outcome.unwrap_err()), "the thread");
    })
    .well();
}

#[test]
fn pa13_nothing_suspends_inside_a_panic_hook() {
    let ended = in_own_process("pa13_nothing_suspends_inside_a_panic_hook", || {
        std::panic::set_hook(Box::new(|_| {
            let start = time::Instant::now();
            yield_now();
            time::sleep(Duration::from_millis(2));
            assert!(
                start.elapsed() >= Duration::from_millis(2),
                "a wait blocks the thread"
            );
            eprintln!("<hook>");
        }));
        on_one_worker_and_on_two(|| {
            let turns = Rc::new(Cell::new(0));
            let counts = turns.clone();
            spawn_local(move || {
                loop {
                    counts.set(counts.get() + 1);
                    yield_now();
                }
            });
            let seen = turns.clone();
            let panics = spawn_local(move || {
                let before = seen.get();
                let _after = OnDrop::new(move || assert_eq!(seen.get(), before, "nobody else ran"));
                panic!("with a hook that waits");
            });
            pass_until(|| panics.is_finished());
            assert!(panics.join().is_err());
            assert!(turns.get() > 0);
        });
    });
    assert_eq!(ended.well().matches("<hook>").count(), 2);
}

#[test]
fn pa14_a_cancellation_inside_the_init_of_a_lazy_lock_poisons_it_as_a_panic_does() {
    on_one_worker_and_on_two(|| {
        let lazy = Arc::new(LazyLock::new(|| yield_then(1)));
        let init = spawn_local({
            let lazy = lazy.clone();
            move || **lazy
        });
        init.begin_and_cancel();
        assert!(init.join().unwrap_err().is::<Cancelled>());
        assert!(
            catch_unwind(AssertUnwindSafe(|| **lazy)).is_err(),
            "poisoned, as std documents it"
        );
    });
}
