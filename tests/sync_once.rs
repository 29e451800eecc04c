//! `OnceCell` and `Once`: what is theirs alone. What every primitive does alike is in `sync_matrix`.

#![forbid(unsafe_code)]

mod strands_support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use runtime::coroutine::{Cancelled, park, spawn, spawn_local};
use runtime::sync::{Once, OnceCell};
use runtime::yield_now;
use strands_support::*;

const SHORT: Duration = Duration::from_millis(2);

/// SY5
#[test]
fn sy5_of_many_that_come_at_once_one_makes_it_and_all_get_that() {
    for workers in [1, 2] {
        for threads in [0, 3, 8] {
            runtime_of(workers).run(move || {
                for _ in 0..50 {
                    let (cell, made) = (Arc::new(OnceCell::new()), Tally::default());
                    let get = |on_thread: bool| {
                        let (cell, made) = (cell.clone(), made.clone());
                        move || {
                            let value = cell.get_or_init(|| {
                                if !on_thread {
                                    yield_now();
                                }
                                made.add();
                                Box::new(made.get())
                            });
                            assert_eq!(**value, 1);
                        }
                    };
                    let on_threads: Vec<_> =
                        (0..threads).map(|_| thread::spawn(get(true))).collect();
                    let coroutines: Vec<_> = (threads..8).map(|_| spawn(get(false))).collect();
                    coroutines.into_iter().for_each(|it| it.join().unwrap());
                    on_threads.into_iter().for_each(|it| {
                        pass_until(|| it.is_finished());
                        it.join().unwrap();
                    });
                    assert_eq!(made.get(), 1);
                }
            });
        }
    }
}

/// Those who wait try in their order, each with what it has brought itself; one that only waits goes on doing so.
#[test]
fn if_making_it_fails_the_next_that_waits_tries() {
    on_one_worker_and_on_two(|| {
        let (cell, order) = (Arc::new(OnceCell::new()), Arc::new(Tally::default()));
        let watcher = {
            let cell: Arc<OnceCell<usize>> = cell.clone();
            spawn_local(move || *cell.wait())
        };
        let ways: [fn() -> Result<(), &'static str>; 5] = [
            || Err("failed"),
            || std::panic::resume_unwind(Box::new("panicked")),
            || {
                park(); // until it is cancelled
                Ok(())
            },
            || Ok(()),
            || unreachable!("there is one"),
        ];
        let makers: Vec<_> = (0..)
            .zip(ways)
            .map(|(n, way)| {
                let (cell, order) = (cell.clone(), order.clone());
                let maker = spawn_local(move || {
                    cell.get_or_try_init(|| {
                        yield_now();
                        assert_eq!(order.get(), n);
                        order.add();
                        way().map(|()| n)
                    })
                    .copied()
                });
                yield_now();
                maker
            })
            .collect();
        pass_until(|| order.get() == 3);
        assert!(cell.get().is_none() && cell.wait_timeout(SHORT).is_none());
        makers[2].cancel();
        let outcomes: Vec<_> = makers.into_iter().map(|it| it.join()).collect();
        assert_eq!(*outcomes[0].as_ref().unwrap(), Err("failed"));
        assert!(outcomes[1].is_err());
        assert!(outcomes[2].as_ref().unwrap_err().is::<Cancelled>());
        assert_eq!(*outcomes[3].as_ref().unwrap(), Ok(3));
        assert_eq!(*outcomes[4].as_ref().unwrap(), Ok(3));
        assert_eq!((watcher.join().unwrap(), order.get()), (3, 4));
    });
}

/// SY2: it is its turn, and it is cancelled before it has seen that.
#[test]
fn sy2_a_turn_given_to_one_that_leaves_goes_to_the_next() {
    on_one_worker_and_on_two(|| {
        let cell = Arc::new(OnceCell::new());
        let theirs = cell.clone();
        let first = spawn_local(move || {
            let _ = theirs.get_or_try_init(|| {
                yield_now();
                yield_now();
                Err::<i32, ()>(())
            });
        });
        yield_now();
        let others = [(); 3].map(|()| {
            let theirs = cell.clone();
            spawn_local(move || {
                *theirs.get_or_init(|| {
                    yield_now();
                    7
                })
            })
        });
        first.join().unwrap();
        others[0].cancel();
        let [cancelled, second, third] = others;
        assert!(cancelled.join().is_err());
        assert_eq!((second.join().unwrap(), third.join().unwrap()), (7, 7));
    });
}

#[test]
fn sy4_one_that_asks_for_what_it_makes_panics_and_the_place_stays_empty() {
    fn claim() {
        let cell = OnceCell::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            cell.get_or_init(|| *cell.get_or_init(|| 1))
        }));
        assert!(text(&*outcome.unwrap_err()).contains("by the one that makes it"));
        assert_eq!(*cell.get_or_init(|| 2), 2);
        let once = Once::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            once.call_once(|| once.call_once(|| ()));
        }));
        assert!(outcome.is_err() && !once.is_completed());
        once.call_once(|| ());
        once.wait();
    }
    on_one_worker_and_on_two(claim);
    claim();
}

#[test]
fn the_rest_of_the_interface() {
    let dropped = Tally::default();
    let mut cell = OnceCell::default();
    assert_eq!(format!("{cell:?}"), "OnceCell(<empty>)");
    assert!(cell.get_mut().is_none() && cell.take().is_none());
    cell.set(1).unwrap();
    *cell.get_mut().unwrap() += 1;
    assert_eq!(
        (cell.set(5), format!("{cell:?}")),
        (Err(5), "OnceCell(2)".to_owned())
    );
    assert_eq!((cell.take(), cell.get()), (Some(2), None));
    assert_eq!(OnceCell::from("x").into_inner(), Some("x"));
    drop(OnceCell::from(dropped.on_drop()));
    assert_eq!(dropped.get(), 1);
    let once = Once::default();
    assert!(!once.wait_timeout(SHORT));
    assert_eq!(format!("{once:?}"), "Once { is_completed: false }");
}
