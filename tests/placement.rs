//! Placement: who has started stays on its thread, who has not goes where there is time; several
//! runtimes, and plain threads beside them.

mod strands_support;

use std::cell::RefCell;
use std::collections::HashSet;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use runtime::coroutine::{self, Coroutine, JoinHandle, current, park, spawn, spawn_local};
use runtime::generator::{Generator, Yielder};
use runtime::{Runtime, time, yield_now};
use strands_support::*;

#[test]
fn sc1_a_started_coroutine_resumes_on_one_thread_for_life() {
    on_one_worker_and_on_two(|| {
        let all: Vec<_> = (0..50)
            .map(|n| {
                spawn(move || {
                    let home = thread::current().id();
                    let me = current();
                    for turn in 0..20 {
                        match (n + turn) % 4 {
                            0 => yield_now(),
                            1 => time::sleep(Duration::from_micros(50)),
                            2 => spawn(yield_now).join().unwrap(),
                            _ => {
                                let me = me.clone();
                                drop(spawn(move || me.unpark()));
                                park();
                            }
                        }
                        assert_eq!(thread::current().id(), home);
                    }
                })
            })
            .collect();
        all.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

/// Whether a type is `Send`: the inherent constant, if it applies, hides the trait's.
struct Probe<T>(PhantomData<T>);

trait NotSend {
    const IS_SEND: bool = false;
}

impl<T> NotSend for Probe<T> {}

impl<T: Send> Probe<T> {
    const IS_SEND: bool = true;
}

#[test]
fn sc1_what_must_stay_on_its_thread_is_not_send() {
    const { assert!(!Probe::<JoinHandle<Rc<()>>>::IS_SEND) };
    const { assert!(Probe::<JoinHandle<u32>>::IS_SEND) };
    const { assert!(Probe::<Coroutine>::IS_SEND) };
    const { assert!(Probe::<Runtime>::IS_SEND && Probe::<&Runtime>::IS_SEND) };
    const { assert!(!Probe::<Generator<(), (), ()>>::IS_SEND) };
    const { assert!(!Probe::<Yielder<(), ()>>::IS_SEND && !Probe::<&Yielder<(), ()>>::IS_SEND) };
}

#[test]
fn sc4_unstarted_children_of_a_coroutine_that_hogs_its_worker_begin_elsewhere() {
    runtime_of(2).run(|| {
        let hog = thread::current().id();
        let (tell, told) = mpsc::channel();
        for _ in 0..100 {
            let tell = tell.clone();
            drop(spawn(move || tell.send(thread::current().id()).unwrap()));
        }
        // Blocks this thread, not only this coroutine.
        let homes: HashSet<_> = (0..100).map(|_| told.recv().unwrap()).collect();
        assert!(
            !homes.contains(&hog) && homes.len() == 1,
            "all of them on the other worker"
        );
    });
}

#[test]
fn local_coroutines_and_started_ones_are_never_taken_by_an_idle_worker() {
    runtime_of(2).run(|| {
        let home = thread::current().id();
        let begun = Tally::default();
        let all: Vec<_> = (0..100)
            .map(|_| {
                let begun = begun.clone();
                spawn_local(move || {
                    begun.add();
                    let_the_others_run();
                    thread::current().id()
                })
            })
            .collect();
        // The other worker has nothing to do and gets every chance.
        let idle = thread::spawn(|| (0..1000).for_each(|_| thread::yield_now()));
        idle.join().unwrap();
        assert_eq!(begun.get(), 0);
        assert!(all.into_iter().all(|handle| handle.join().unwrap() == home));
    });
}

#[test]
fn plain_threads_spawn_into_a_runtime_and_join() {
    for workers in [1, 2] {
        let runtime = runtime_of(workers);
        let stop = &AtomicBool::new(false);
        let sum: u64 = thread::scope(|scope| {
            let runtime = &runtime;
            let clients: Vec<_> = (0..4)
                .map(|client| {
                    scope.spawn(move || {
                        let handles: Vec<_> = (0..250)
                            .map(|n| runtime.spawn(move || after_a_yield(client * 250 + n)))
                            .collect();
                        handles
                            .into_iter()
                            .map(|handle| handle.join().unwrap())
                            .sum::<u64>()
                    })
                })
                .collect();
            let serves = scope.spawn(move || {
                runtime.run(|| {
                    while !stop.load(Ordering::Acquire) {
                        coroutine::sleep(Duration::from_micros(200));
                    }
                });
            });
            let sum = clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .sum();
            stop.store(true, Ordering::Release);
            serves.join().unwrap();
            sum
        });
        assert_eq!(sum, (0..1000).sum());
    }
}

fn after_a_yield<T>(value: T) -> T {
    yield_now();
    value
}

#[test]
fn with_several_workers_coroutines_run_before_and_after_any_run() {
    let runtime = runtime_of(2);
    for round in 0..100 {
        assert_eq!(
            runtime.spawn(move || after_a_yield(round)).join().unwrap(),
            round
        );
        if round % 10 == 0 {
            runtime.run(yield_now);
        }
    }
    let panicked = runtime.spawn(|| panic!("for a thread"));
    assert_eq!(text(&*panicked.join().unwrap_err()), "for a thread");
}

/// A worker that has just followed the end of one run must not take the first coroutines of what comes
/// after it for leftovers.
#[test]
fn what_is_spawned_right_after_a_run_is_not_cancelled_by_its_end() {
    let runtime = runtime_of(2);
    for round in 0..3000 {
        runtime.run(|| drop(spawn(park)));
        let handles: Vec<_> = (0..3).map(|n| runtime.spawn(move || n)).collect();
        for handle in handles {
            assert!(handle.join().is_ok(), "round {round}");
        }
    }
}

#[test]
fn what_the_next_run_spawns_is_not_cancelled_by_the_end_of_the_last() {
    let runtime = runtime_of(2);
    for round in 0..3000 {
        runtime.run(|| {
            let handles: Vec<_> = (0..3).map(|n| spawn(move || n)).collect();
            for handle in handles {
                assert!(handle.join().is_ok(), "round {round}");
            }
            drop(spawn(park));
        });
    }
}

#[test]
fn a_handle_may_be_joined_by_a_coroutine_of_another_runtime() {
    for workers in [1, 2] {
        let (one, two) = (runtime_of(2), runtime_of(workers));
        two.run(|| {
            let theirs = one.spawn(|| after_a_yield(6));
            assert_eq!(theirs.join().unwrap(), 6);
            let waits = one.spawn(park);
            let cancels = spawn(move || {
                waits.cancel();
                waits.join().is_err()
            });
            assert!(cancels.join().unwrap());
        });
    }
}

#[test]
fn a_run_inside_a_run_has_its_own_coroutines_and_gives_the_outer_ones_back() {
    on_one_worker_and_on_two(|| {
        let outer = current().id();
        let waits = spawn_local(|| after_a_yield(1));
        let inner = runtime::run(|| {
            assert_ne!(current().id(), outer);
            let deepest = runtime::run(|| spawn(|| after_a_yield(2)).join().unwrap());
            deepest + spawn(|| after_a_yield(3)).join().unwrap()
        });
        assert_eq!((inner, current().id()), (5, outer));
        assert!(
            !waits.is_finished(),
            "the outer worker's thread was taken meanwhile"
        );
        assert_eq!(waits.join().unwrap(), 1);
    });
}

#[test]
fn a_panic_in_an_inner_run_is_a_panic_of_the_coroutine_that_runs_it() {
    on_one_worker_and_on_two(|| {
        let child = spawn(|| runtime::run(|| panic!("inside")));
        assert_eq!(text(&*child.join().unwrap_err()), "inside");
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    });
}

#[test]
fn two_runtimes_take_turns_on_one_thread() {
    let runtimes = [runtime_of(1), runtime_of(1)];
    let turns = Tally::default();
    let handles: Vec<_> = (0..10)
        .map(|n| {
            let turns = turns.clone();
            runtimes[n % 2].spawn(move || {
                let_the_others_run();
                turns.add();
                n
            })
        })
        .collect();
    // The second is driven by a coroutine of the first.
    let [first, second] = &runtimes;
    let made = first.run(|| {
        let drives = spawn_local_scoped(|| second.run_ready());
        pass_until(|| turns.get() == 10);
        drives
    });
    assert!(made >= 5);
    let results: Vec<_> = handles
        .into_iter()
        .map(|handle| handle.join().unwrap())
        .collect();
    assert!(results.into_iter().eq(0..10));
}

/// Runs `f` in a child that borrows.
fn spawn_local_scoped<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    runtime::scope(|s| s.spawn(f).join().unwrap())
}

#[test]
fn a_runtime_that_is_running_refuses_a_second_run() {
    for workers in [1, 2] {
        let runtime = runtime_of(workers);
        runtime.run(|| {
            let again = catch_unwind(AssertUnwindSafe(|| runtime.run(|| ())));
            assert!(text(&*again.unwrap_err()).contains("while it is running"));
            assert_eq!(spawn(|| 1).join().unwrap(), 1);
        });
    }
}

#[test]
fn two_runtimes_on_two_threads_talk_through_unparks() {
    let (tell, told) = mpsc::channel::<Coroutine>();
    let thread = thread::spawn(move || {
        runtime::run(|| {
            let other = told.recv().unwrap();
            (0..1000).for_each(|_| {
                other.unpark();
                yield_now();
            });
        });
    });
    runtime::run(|| {
        tell.send(current()).unwrap();
        park();
    });
    thread.join().unwrap();
}

#[test]
fn a_runtime_moves_between_threads_between_its_runs() {
    for workers in [1, 2] {
        let runtime = Arc::new(runtime_of(workers));
        for _ in 0..5 {
            let ours = runtime.clone();
            thread::spawn(move || {
                assert_eq!(ours.run(|| spawn(|| after_a_yield(1)).join().unwrap()), 1)
            })
            .join()
            .unwrap();
            assert_eq!(
                runtime.run(|| spawn(|| after_a_yield(2)).join().unwrap()),
                2
            );
        }
    }
}

thread_local! {
    static AT_EXIT: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    static EXITS: OnDrop<fn()> = OnDrop::new(|| {
        // The younger goes first, so the older is still there.
        let last_words = AT_EXIT.with(|last| last.borrow_mut().take());
        if let Some(last_words) = last_words {
            last_words();
        }
    });
}

#[test]
fn sc8_a_yield_in_the_destructor_of_a_thread_local_panics_with_what_to_do() {
    let (tell, told) = mpsc::channel();
    let at_exit = move || {
        let said = catch_unwind(yield_now).map_err(|payload| text(&*payload));
        tell.send(said).unwrap();
    };
    let thread = thread::spawn(move || {
        AT_EXIT.with(|_| ());
        EXITS.with(|_| ());
        runtime::run(|| {
            yield_now();
            AT_EXIT.with(|last| *last.borrow_mut() = Some(Box::new(at_exit)));
        });
    });
    thread.join().unwrap();
    assert!(told.recv().unwrap().unwrap_err().contains("runtime::run"));
}

#[test]
fn sc8_threads_that_end_may_still_sleep_and_run() {
    let (tell, told) = mpsc::channel();
    let at_exit = move || {
        time::sleep(Duration::from_millis(1));
        let inside = runtime::run(|| spawn(|| after_a_yield(4)).join().unwrap());
        tell.send(inside).unwrap();
    };
    let thread = thread::spawn(move || {
        AT_EXIT.with(|last| *last.borrow_mut() = Some(Box::new(at_exit)));
        EXITS.with(|_| ());
    });
    thread.join().unwrap();
    assert_eq!(told.recv().unwrap(), 4);
}

#[test]
fn a_runtime_dropped_while_its_thread_ends_leaks_its_coroutines_and_says_so() {
    let name = "a_runtime_dropped_while_its_thread_ends_leaks_its_coroutines_and_says_so";
    let ended = in_own_process(name, || {
        let unwound = Tally::default();
        let local = unwound.on_drop();
        let thread = thread::spawn(move || {
            AT_EXIT.with(|_| ());
            EXITS.with(|_| ());
            let runtime = runtime_of(1);
            drop(runtime.spawn(move || {
                let _local = local;
                park();
            }));
            assert!(runtime.run_ready() > 0);
            AT_EXIT.with(|last| *last.borrow_mut() = Some(Box::new(move || drop(runtime))));
        });
        thread.join().unwrap();
        assert_eq!(unwound.get(), 0);
    });
    assert!(
        ended
            .well()
            .contains("1 live coroutines could not be unwound")
    );
}

/// One that is spawned by a plain thread has no stack reserved: that there is none shows when it starts.
#[test]
fn what_could_not_start_for_want_of_a_stack_is_dropped_outside_of_any_other_coroutine() {
    let name = "what_could_not_start_for_want_of_a_stack_is_dropped_outside_of_any_other_coroutine";
    in_own_process(name, || {
        // A backtrace needs memory that is about to be gone.
        std::panic::set_hook(Box::new(|_| {}));
        let runtime = runtime_of(1);
        runtime.run(|| {
            let first = current().id();
            leave_little_address_space();
            let (tell, told) = mpsc::channel();
            let all: Vec<_> = (0..20_000)
                .map(|_| {
                    let tell = tell.clone();
                    let captured = OnDrop::new(move || {
                        let inside = catch_unwind(|| current().id()).ok();
                        let yields = catch_unwind(yield_now).is_ok();
                        tell.send((inside, yields)).unwrap();
                    });
                    runtime.spawn(move || {
                        std::mem::forget(captured); // who starts says nothing
                        park();
                    })
                })
                .collect();
            (0..1000).for_each(|_| yield_now());
            assert_eq!(current().id(), first);
            let ids: HashSet<_> = all.iter().map(JoinHandle::id).collect();
            all.iter().for_each(JoinHandle::cancel);
            let failed = all.into_iter().map(|handle| handle.join().unwrap_err());
            let failed = failed
                .filter(|payload| text(&**payload).contains("could not start"))
                .count();
            assert!(failed > 0, "the limit was not reached");
            drop(tell);
            let said: Vec<_> = told.try_iter().collect();
            assert_eq!(said.len(), failed);
            for (inside, yields) in said {
                assert!(inside.is_none() || inside.is_some_and(|id| ids.contains(&id) && yields));
            }
            assert_eq!(spawn(|| 1).join().unwrap(), 1);
        });
    })
    .well();
}

/// Limits this process to what it has mapped and a few megabytes.
fn leave_little_address_space() {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split_whitespace().next().unwrap().parse().unwrap();
    let bytes = pages * 4096 + (32 << 20);
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: the kernel reads the limit, which outlives the call.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(done, 0);
}
