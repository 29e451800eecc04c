//! `join_all` and `race`: several things at once, and nothing of them is left afterwards.

#![forbid(unsafe_code)]

mod strands_support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use runtime::coroutine::{Cancelled, join_all, park, race, spawn_local};
use runtime::time::{self, Elapsed};
use runtime::{scope, yield_now};
use strands_support::*;

const SHORT: Duration = Duration::from_millis(2);

type Boxed<'a, T> = Box<dyn FnOnce() -> T + Send + 'a>;

#[test]
fn results_come_in_the_order_of_the_closures_and_may_borrow() {
    on_one_worker_and_on_two(|| {
        let texts = ["a", "bb", "ccc"].map(String::from);
        let slow_first = join_all((0..3).map(|n| {
            let texts = &texts;
            move || {
                (n..3).for_each(|_| yield_now());
                &texts[n][..]
            }
        }));
        assert_eq!(slow_first, ["a", "bb", "ccc"]);
        let none: [fn() -> u8; 0] = [];
        assert!(join_all(none).is_empty());
        let mut buffer = [0; 100];
        join_all(buffer.iter_mut().map(|place| move || *place = 1));
        assert_eq!(buffer, [1; 100]);
    });
}

#[test]
fn a_panic_in_one_cancels_the_others_and_goes_on_in_the_caller() {
    on_one_worker_and_on_two(|| {
        let (begun, unwound) = (Tally::default(), Tally::default());
        let closures = (0..5).map(|n| {
            let (begun, end) = (begun.clone(), unwound.on_drop());
            move || {
                let _end = end;
                begun.add();
                if n == 3 {
                    pass_until(|| begun.get() == 5);
                    resume_unwind(Box::new("the fourth"));
                }
                park();
            }
        });
        let outcome = catch_unwind(AssertUnwindSafe(|| join_all(closures)));
        assert_eq!(text(&*outcome.unwrap_err()), "the fourth");
        assert_eq!(unwound.get(), 5);
    });
}

#[test]
fn the_first_that_finishes_wins_and_the_others_have_unwound() {
    on_one_worker_and_on_two(|| {
        let (begun, unwound) = (Tally::default(), Tally::default());
        let winner = race((0..5).map(|n| {
            let (begun, unwound) = (begun.clone(), unwound.clone());
            move || {
                begun.add();
                let _slow = OnDrop::new(move || {
                    let_the_others_run();
                    unwound.add();
                });
                if n == 2 {
                    pass_until(|| begun.get() == 5);
                } else {
                    park();
                }
                n
            }
        }));
        assert_eq!((winner, unwound.get()), (2, 5));
    });
}

#[test]
fn those_who_have_not_begun_when_one_has_won_never_do() {
    runtime_of(1).run(|| {
        let (begun, dropped) = (Tally::default(), Tally::default());
        let winner = race((0..5).map(|n| {
            let (begun, captured) = (begun.clone(), dropped.on_drop());
            move || {
                drop(captured);
                begun.add();
                n
            }
        }));
        assert_eq!((winner, begun.get(), dropped.get()), (0, 1, 5));
    });
}

#[test]
fn what_a_loser_returns_all_the_same_is_dropped_before_the_race_returns() {
    on_one_worker_and_on_two(|| {
        let dropped = Tally::default();
        let begun = Tally::default();
        let winner = race([false, true].map(|wins| {
            let (dropped, begun) = (dropped.clone(), begun.clone());
            move || {
                begun.add();
                if wins {
                    pass_until(|| begun.get() == 2);
                } else {
                    // Its cancellation says that the other one has won.
                    assert!(catch_unwind(park_for_ever).is_err());
                }
                (wins, dropped.on_drop())
            }
        }));
        assert!(winner.0);
        assert_eq!(dropped.get(), 1);
        drop(winner);
        assert_eq!(dropped.get(), 2);
    });
}

#[test]
fn a_panic_before_the_first_result_ends_the_race() {
    on_one_worker_and_on_two(|| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            race([
                Box::new(park) as Boxed<'_, ()>,
                Box::new(|| resume_unwind(Box::new("out of the race"))),
            ]);
        }));
        assert_eq!(text(&*outcome.unwrap_err()), "out of the race");
        let none: [fn(); 0] = [];
        let empty = catch_unwind(AssertUnwindSafe(|| race(none)));
        assert!(text(&*empty.unwrap_err()).contains("a closure at least"));
    });
}

/// Bounded and cancelled from outside; nested in a scope, and in each other.
#[test]
fn a_timeout_or_a_cancellation_around_them_ends_all_that_they_run() {
    on_one_worker_and_on_two(|| {
        let unwound = Tally::default();
        let waits = |n: usize| {
            let unwound = unwound.clone();
            (0..n).map(move |_| {
                let end = unwound.on_drop();
                move || {
                    let _end = end;
                    park();
                }
            })
        };
        assert_eq!(
            time::timeout(SHORT, || join_all(waits(3)).len()),
            Err(Elapsed)
        );
        assert_eq!(time::timeout(SHORT, || race(waits(3))), Err(Elapsed));
        assert_eq!(unwound.get(), 6);
        let (begun, tally) = (Tally::default(), unwound.clone());
        let start = begun.clone();
        let nested = (0..4).map(move |_| {
            let (start, end) = (start.clone(), tally.on_drop());
            move || {
                let _end = end;
                start.add();
                park();
            }
        });
        let cancelled = spawn_local(move || {
            scope(|s| {
                s.spawn(|| race([|| drop(join_all(nested))]));
                park();
            });
        });
        pass_until(|| begun.get() == 4);
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        assert_eq!(unwound.get(), 10);
        let inner = race([|| join_all([|| 1, || 2]), || vec![park_for_ever()]]);
        assert_eq!(inner, [1, 2]);
    });
}

fn park_for_ever() -> i32 {
    loop {
        park();
    }
}
