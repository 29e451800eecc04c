//! Scopes: children borrow from the frame that spawns them, and nothing outlives it.

#![forbid(unsafe_code)]

mod strands_support;

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runtime::coroutine::{self, Cancelled, park, spawn, spawn_local};
use runtime::time::{self, Elapsed};
use runtime::{scope, yield_now};
use strands_support::*;

#[test]
fn children_borrow_from_the_parents_frame_and_are_waited_for() {
    on_one_worker_and_on_two(|| {
        let words = ["one", "two", "three"].map(String::from);
        let mut lengths = [0; 3];
        let total = AtomicUsize::new(0);
        let value = scope(|s| {
            for (word, length) in words.iter().zip(&mut lengths) {
                let total = &total;
                s.spawn(move || {
                    yield_now();
                    *length = word.len();
                    total.fetch_add(word.len(), Ordering::Relaxed);
                });
            }
            "the body's value"
        });
        assert_eq!(
            (value, lengths, total.into_inner()),
            ("the body's value", [3, 3, 5], 11)
        );
    });
}

#[test]
fn a_handle_joins_its_child_and_gives_its_borrowing_value() {
    on_one_worker_and_on_two(|| {
        let text = String::from("borrowed");
        let (slice, cancelled) = scope(|s| {
            let child = s.spawn(|| &text[..3]);
            let waits = s.spawn(park);
            yield_now();
            waits.cancel();
            (
                child.join().unwrap(),
                waits.join().unwrap_err().is::<Cancelled>(),
            )
        });
        assert_eq!((slice, cancelled), ("bor", true));
    });
}

#[test]
fn children_may_spawn_siblings_and_scopes_may_nest() {
    on_one_worker_and_on_two(|| {
        let count = AtomicUsize::new(0);
        let add = || {
            yield_now();
            count.fetch_add(1, Ordering::Relaxed);
        };
        scope(|outer| {
            outer.spawn(move || {
                outer.spawn(add);
                scope(|inner| {
                    inner.spawn(add);
                    inner.spawn(move || scope(|innermost| innermost.spawn(add).join().unwrap()));
                });
                add();
            });
        });
        assert_eq!(count.into_inner(), 4);
    });
}

#[test]
fn a_childs_panic_cancels_its_siblings_waits_for_them_and_goes_on_in_the_scope() {
    on_one_worker_and_on_two(|| {
        let (unwound, begun) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                for _ in 0..10 {
                    s.spawn(|| {
                        let _end = OnDrop::new(|| {
                            let_the_others_run();
                            unwound.fetch_add(1, Ordering::Relaxed);
                        });
                        begun.fetch_add(1, Ordering::Relaxed);
                        park();
                    });
                }
                pass_until(|| begun.load(Ordering::Relaxed) == 10);
                s.spawn(|| panic!("the eleventh"));
            })
        }));
        assert_eq!(text(&*outcome.unwrap_err()), "the eleventh");
        assert_eq!(unwound.into_inner(), 10);
    });
}

#[test]
fn a_panic_of_the_body_cancels_the_children_and_waits_for_them() {
    on_one_worker_and_on_two(|| {
        let (unwound, begun) = (Tally::default(), Tally::default());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.spawn(|| {
                    let _end = OnDrop::new(|| {
                        let_the_others_run();
                        unwound.add();
                    });
                    begun.add();
                    park();
                });
                pass_until(|| begun.get() == 1);
                panic!("the body");
            })
        }));
        let payload: Box<dyn std::any::Any + Send> = outcome.unwrap_err();
        assert_eq!((text(&*payload).as_str(), unwound.get()), ("the body", 1));
    });
}

#[test]
fn a_panic_that_was_joined_is_dealt_with() {
    on_one_worker_and_on_two(|| {
        let survived = scope(|s| {
            let panics = s.spawn(|| panic!("joined"));
            panics.join().is_err()
        });
        assert!(survived);
    });
}

#[test]
fn sc12_a_forgotten_handle_does_not_let_its_child_outlive_the_scope() {
    on_one_worker_and_on_two(|| {
        let mut buffer = vec![0_u8; 64];
        let ended = Tally::default();
        scope(|s| {
            let end = ended.on_drop();
            let child = s.spawn(|| {
                let _end = end;
                time::sleep(Duration::from_millis(2));
                buffer.fill(7);
            });
            mem::forget(child);
        });
        assert_eq!(ended.get(), 1);
        assert_eq!(buffer, [7; 64]);
    });
}

#[test]
fn sc12_a_scope_whose_parent_is_cancelled_still_waits_for_its_children() {
    on_one_worker_and_on_two(|| {
        let (ended, begun) = (Tally::default(), Tally::default());
        let (tally, start) = (ended.clone(), begun.clone());
        let parent = spawn_local(move || {
            let borrowed = [1, 2, 3];
            scope(|s| {
                let child = s.spawn(|| {
                    let _slow = OnDrop::new(|| {
                        let_the_others_run();
                        assert_eq!(borrowed, [1, 2, 3]);
                        tally.add();
                    });
                    start.add();
                    park();
                });
                mem::forget(child);
            });
        });
        pass_until(|| begun.get() == 1);
        let_the_others_run();
        parent.cancel();
        let _ = parent.join();
        assert_eq!(ended.get(), 1);
    });
}

#[test]
fn a_timeout_around_a_scope_cancels_the_children_and_elapses() {
    on_one_worker_and_on_two(|| {
        let (unwound, begun) = (Tally::default(), Tally::default());
        let outcome = time::timeout(Duration::from_millis(2), || {
            scope(|s| {
                s.spawn(|| {
                    let _end = unwound.on_drop();
                    begun.add();
                    time::sleep(Duration::MAX);
                });
            });
        });
        assert_eq!(unwound.get(), begun.get());
        assert_eq!(outcome, Err(Elapsed), "the children did not do their work");
    });
}

#[test]
fn a_cancelled_parent_does_not_go_on_behind_its_scope_as_if_the_children_had_finished() {
    on_one_worker_and_on_two(|| {
        let (after, begun) = (Tally::default(), Tally::default());
        let (reached, start) = (after.clone(), begun.clone());
        let parent = spawn_local(move || {
            scope(|s| {
                s.spawn(|| {
                    start.add();
                    park();
                });
            });
            reached.add();
        });
        pass_until(|| begun.get() == 1);
        let_the_others_run();
        parent.cancel();
        assert!(
            parent
                .join()
                .is_err_and(|payload| payload.is::<Cancelled>())
        );
        assert_eq!(after.get(), 0);
    });
}

#[test]
fn a_joined_panic_leaves_the_siblings_cancelled_and_the_scope_returns() {
    on_one_worker_and_on_two(|| {
        let outcome = scope(|s| {
            let sibling = s.spawn(park);
            let_the_others_run();
            let panicked = s.spawn(|| panic!("joined")).join();
            (
                panicked.is_err(),
                sibling.join().unwrap_err().is::<Cancelled>(),
            )
        });
        assert_eq!(outcome, (true, true));
    });
}

/// Several children panic, each with a payload whose destructor waits for its turn.
#[test]
fn pa8_payloads_that_block_when_dropped_do_not_block_the_scope() {
    let name = "pa8_payloads_that_block_when_dropped_do_not_block_the_scope";
    in_own_process(name, || {
        on_one_worker_and_on_two(|| {
            let dropped = Tally::default();
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                scope(|s| {
                    for _ in 0..5 {
                        let tally = dropped.clone();
                        s.spawn(move || {
                            coroutine::shield(let_the_others_run);
                            panic_any(OnDrop::new(move || {
                                let_the_others_run();
                                tally.add();
                            }));
                        });
                    }
                    let_the_others_run();
                })
            }));
            drop(outcome.unwrap_err());
            assert!(dropped.get() >= 1);
        });
    })
    .well();
}

#[test]
fn results_and_captures_of_children_are_dropped_before_the_scope_returns() {
    on_one_worker_and_on_two(|| {
        let dropped = Mutex::new(Vec::new());
        scope(|s| {
            let note = |what: &'static str| {
                let dropped = &dropped;
                OnDrop::new(move || dropped.lock().unwrap().push(what))
            };
            let (captured, result) = (note("captured"), note("result"));
            drop(s.spawn(move || {
                drop(captured);
                yield_now();
                result
            }));
            let (captured, result) = (note("captured"), note("result"));
            let _ = s.spawn(move || {
                drop(captured);
                result
            });
        });
        let mut dropped = dropped.into_inner().unwrap();
        dropped.sort_unstable();
        assert_eq!(dropped, ["captured", "captured", "result", "result"]);
    });
}

#[test]
fn a_scope_waits_for_ten_thousand_children() {
    on_one_worker_and_on_two(|| {
        let count = AtomicUsize::new(0);
        scope(|s| {
            for n in 0..10_000 {
                s.spawn({
                    let count = &count;
                    move || {
                        if n % 3 == 0 {
                            yield_now();
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 10_000);
    });
}

#[test]
fn a_scope_outside_a_coroutine_panics_with_what_to_do() {
    let outcome = catch_unwind(|| scope(|s| drop(s.spawn(|| ()))));
    assert!(text(&*outcome.unwrap_err()).contains("runtime::run"));
    assert_eq!(runtime::run(|| spawn(|| 1).join().unwrap()), 1);
}
