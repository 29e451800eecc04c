//! Generators: they run on the turn of whoever resumes them, and take what is theirs along.

#![forbid(unsafe_code)]

mod strands_support;

use std::cell::RefCell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine::{self, Cancelled, park, spawn, spawn_local};
use runtime::generator::GeneratorState::{Complete, Yielded};
use runtime::generator::{Generator, GeneratorState, Yielder, r#gen};
use runtime::time::{Elapsed, sleep, timeout};
use runtime::yield_now;
use strands_support::*;

/// Runs `claim` on a plain thread, then in coroutines.
fn anywhere(claim: fn()) {
    claim();
    on_one_worker_and_on_two(claim);
}

#[test]
fn values_go_in_and_out_and_one_comes_back() {
    anywhere(|| {
        let mut generator = Generator::new(|y, first: u32| {
            let second = y.suspend(first * 2);
            let third = y.suspend(second * 2);
            format!("{first} {second} {third}")
        });
        assert_eq!(generator.resume(1), Yielded(2));
        assert_eq!(generator.resume(5), Yielded(10));
        assert!(!generator.is_done());
        assert_eq!(generator.resume(7), Complete("1 5 7".to_string()));
        assert!(generator.is_done());
        assert_eq!(
            r#gen(|y| (0..5).for_each(|n| y.suspend(n))).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
    });
}

#[test]
fn sc2_a_resume_after_the_end_panics_and_an_iterator_stays_at_its_end() {
    anywhere(|| {
        let mut generator = Generator::new(|_, ()| ());
        let () = generator.resume_to_end();
        let again = catch_unwind(AssertUnwindSafe(|| generator.resume(())));
        assert!(text(&*again.map(|_| ()).unwrap_err()).contains("after its end"));
        let mut iterator = r#gen::<(), _>(|_| ());
        assert_eq!((iterator.next(), iterator.next()), (None, None));
    });
}

trait ResumeToEnd<Ret> {
    fn resume_to_end(&mut self) -> Ret;
}

impl<Ret> ResumeToEnd<Ret> for Generator<(), (), Ret> {
    fn resume_to_end(&mut self) -> Ret {
        loop {
            if let Complete(value) = self.resume(()) {
                return value;
            }
        }
    }
}

#[test]
fn dropped_before_its_end_it_unwinds_from_where_it_is_suspended() {
    anywhere(|| {
        let dropped = Tally::default();
        let (captured, local) = (dropped.on_drop(), dropped.on_drop());
        let mut generator = Generator::new(move |y, ()| {
            let _captured = captured;
            let _local = local;
            y.suspend(());
            unreachable!("never resumed");
        });
        let _: GeneratorState<(), ()> = generator.resume(());
        assert_eq!(dropped.get(), 0);
        drop(generator);
        assert_eq!(dropped.get(), 2);
        let captured = dropped.on_drop();
        drop(Generator::<(), (), ()>::new(move |_, ()| drop(captured))); // never started
        assert_eq!(dropped.get(), 3);
        assert!(!thread::panicking());
    });
}

#[test]
fn forgotten_it_leaves_its_locals_alone_and_harms_nobody() {
    anywhere(|| {
        let dropped = Tally::default();
        let local = dropped.on_drop();
        let mut generator = Generator::new(move |y, ()| {
            let _local = local;
            y.suspend(());
        });
        assert_eq!(generator.resume(()), Yielded(()));
        mem::forget(generator);
        assert_eq!(dropped.get(), 0);
    });
}

#[test]
fn a_panic_in_its_body_goes_on_in_whoever_resumed_it() {
    anywhere(|| {
        let dropped = Tally::default();
        let local = dropped.on_drop();
        let mut generator = Generator::new(move |y, ()| {
            let _local = local;
            y.suspend(());
            panic!("in the body");
        });
        assert_eq!(generator.resume(()), Yielded(()));
        let outcome = catch_unwind(AssertUnwindSafe(|| generator.resume(())));
        let payload = outcome.map(|_: GeneratorState<(), ()>| ()).unwrap_err();
        assert_eq!(
            (text(&*payload).as_str(), dropped.get(), generator.is_done()),
            ("in the body", 1, true)
        );
    });
}

#[test]
fn generators_nest() {
    anywhere(|| {
        let outer = r#gen(|y| {
            for inner in (1..4).map(|n| r#gen(move |y| (0..n).for_each(|m| y.suspend((n, m))))) {
                inner.for_each(|pair| y.suspend(pair));
            }
        });
        assert_eq!(
            outer.collect::<Vec<_>>(),
            [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
        );
    });
}

#[test]
fn a_body_that_waits_has_its_resumer_wait_while_the_others_run() {
    on_one_worker_and_on_two(|| {
        let neighbour = spawn_local(|| (0..5).map(|_| yield_now()).count());
        let mut generator = Generator::new(|y, ()| {
            sleep(Duration::from_millis(1));
            y.suspend(spawn(|| 5).join().unwrap());
            yield_now();
            coroutine::current().id()
        });
        assert_eq!(generator.resume(()), Yielded(5));
        assert_eq!(generator.resume(()), Complete(coroutine::current().id()));
        assert_eq!(neighbour.join().unwrap(), 5);
    });
}

#[test]
fn one_generator_is_resumed_by_several_coroutines_in_turn() {
    on_one_worker_and_on_two(|| {
        let numbers = Rc::new(RefCell::new(r#gen(|y| {
            for n in 0.. {
                yield_now(); // as whoever resumes it
                y.suspend(n);
            }
        })));
        let taken = Rc::new(RefCell::new(Vec::new()));
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let (numbers, taken) = (numbers.clone(), taken.clone());
                spawn_local(move || {
                    for _ in 0..10 {
                        pass_until(|| numbers.try_borrow_mut().is_ok());
                        let number = numbers.borrow_mut().next().unwrap();
                        taken.borrow_mut().push(number);
                    }
                })
            })
            .collect();
        takers.into_iter().for_each(|taker| taker.join().unwrap());
        assert!(taken.borrow().iter().copied().eq(0..40));
    });
}

#[test]
fn pa13_a_timeout_inside_reaches_its_own_frame_and_no_other() {
    anywhere(|| {
        let mut generator = Generator::new(|y, ()| {
            let inside = timeout(Duration::from_millis(1), || {
                y.suspend("inside the timeout");
                sleep(Duration::MAX);
            });
            assert_eq!(inside, Err(Elapsed));
            "it elapsed"
        });
        assert_eq!(generator.resume(()), Yielded("inside the timeout"));
        // Whoever has resumed it is not inside: its waits are not cut short.
        let before = Instant::now();
        sleep(Duration::from_millis(3));
        assert!(before.elapsed() >= Duration::from_millis(3));
        assert_eq!(
            timeout(Duration::MAX, || generator.resume(())),
            Ok(Complete("it elapsed"))
        );
    });
}

#[test]
fn pa13_a_timeout_of_the_resumer_unwinds_the_body_that_waits_in_it() {
    anywhere(|| {
        let dropped = Tally::default();
        let local = dropped.on_drop();
        let mut generator = Generator::<(), (), ()>::new(move |_, ()| {
            let _local = local;
            let _ = timeout(Duration::MAX, || {
                timeout(Duration::from_secs(3600), || sleep(Duration::MAX))
            });
        });
        let outcome = timeout(Duration::from_millis(1), || {
            generator.resume(());
        });
        assert_eq!(
            (outcome, dropped.get(), generator.is_done()),
            (Err(Elapsed), 1, true)
        );
    });
}

#[test]
fn pa13_forgotten_or_dropped_inside_a_timeout_it_leaves_no_frame_behind() {
    anywhere(|| {
        for forgets in [true, false] {
            let mut generator = Generator::new(|y, ()| {
                let _ = timeout(Duration::from_millis(1), || y.suspend(()));
            });
            assert_eq!(generator.resume(()), Yielded(()));
            if forgets {
                mem::forget(generator)
            } else {
                drop(generator)
            }
            sleep(Duration::from_millis(3));
            sleep(Duration::from_micros(1));
        }
    });
}

#[test]
fn pa13_its_timeout_holds_for_each_coroutine_that_resumes_it() {
    on_one_worker_and_on_two(|| {
        let mut generator = Generator::new(|y, ()| {
            timeout(Duration::from_millis(2), || {
                y.suspend(());
                park();
            })
        });
        let generator = spawn_local(move || {
            assert_eq!(generator.resume(()), Yielded(()));
            generator
        });
        let mut generator = generator.join().unwrap();
        let other = spawn_local(move || generator.resume(()));
        assert_eq!(other.join().unwrap(), Complete(Err(Elapsed)));
    });
}

#[test]
fn cancellation_of_the_resumer_unwinds_the_body_and_then_the_resumer() {
    on_one_worker_and_on_two(|| {
        let dropped = Tally::default();
        let (inner, outer) = (dropped.on_drop(), dropped.on_drop());
        let child = spawn_local(move || {
            let _outer = outer;
            let mut generator = Generator::<(), (), ()>::new(move |_, ()| {
                let _inner = inner;
                park();
            });
            generator.resume(());
        });
        yield_now();
        child.cancel();
        assert!(child.join().unwrap_err().is::<Cancelled>());
        assert_eq!(dropped.get(), 2);
    });
}

/// The body is suspended inside a `shield`, so the shield is suspended with it.
#[test]
fn pa14_a_generator_suspended_inside_a_shield_does_not_shield_its_resumer() {
    on_one_worker_and_on_two(|| {
        let child = spawn_local(|| {
            let mut generator = Generator::new(|y, ()| coroutine::shield(|| y.suspend(())));
            assert_eq!(generator.resume(()), Yielded(()));
            park();
        });
        yield_now();
        child.cancel();
        assert!(passes_in_time(|| child.is_finished()));
    });
}

/// The end of the shield must not touch the coroutine that it began in: that one may be gone.
#[test]
fn pa14_a_shield_that_begins_in_one_coroutine_and_ends_in_another_outlives_the_first() {
    on_one_worker_and_on_two(|| {
        // All of one type, so that the others' records fit where the first's was.
        let strand = |makes: bool| {
            spawn_local(move || {
                let mut generator = Generator::new(|y, ()| coroutine::shield(|| y.suspend(())));
                if makes {
                    assert_eq!(generator.resume(()), Yielded(()));
                } else {
                    park();
                }
                generator
            })
        };
        let mut generator = strand(true).join().unwrap();
        let others: Vec<_> = (0..4).map(|_| strand(false)).collect();
        let_the_others_run();
        assert_eq!(generator.resume(()), Complete(()));
        others.iter().for_each(|other| other.cancel());
        assert!(passes_in_time(|| others
            .iter()
            .all(|other| other.is_finished())));
    });
}

/// The scope begins in one coroutine and ends in another, which is the one to be woken.
#[test]
fn a_scope_inside_a_generator_wakes_whoever_waits_in_it_now() {
    on_one_worker_and_on_two(|| {
        let first = spawn_local(|| {
            let mut generator = Generator::new(|y, ()| {
                runtime::scope(|s| {
                    s.spawn(|| (0..50).for_each(|_| yield_now()));
                    y.suspend(());
                });
            });
            assert_eq!(generator.resume(()), Yielded(()));
            generator
        });
        let mut generator = first.join().unwrap();
        let second = spawn_local(move || generator.resume(()));
        assert!(
            passes_in_time(|| second.is_finished()),
            "the last child wakes it"
        );
        assert_eq!(second.join().unwrap(), Complete(()));
    });
}

#[test]
fn a_destructor_may_wait_while_its_generator_is_dropped() {
    anywhere(|| {
        let done = Tally::default();
        let tally = done.clone();
        let mut generator = Generator::new(move |y, ()| {
            let _blocks = OnDrop::new(move || {
                sleep(Duration::from_millis(1));
                tally.add();
            });
            y.suspend(());
        });
        assert_eq!(generator.resume(()), Yielded(()));
        drop(generator);
        assert_eq!(done.get(), 1);
        assert!(!thread::panicking());
    });
}

/// A generator whose destructor suspends it with the number of suspensions so far.
fn suspends_in_a_destructor(after: &Tally) -> Generator<(), u32, ()> {
    let after = after.on_drop();
    let mut generator = Generator::new(move |y: &Yielder<(), u32>, ()| {
        let _after = after;
        let _suspends = OnDrop::new(|| {
            y.suspend(2);
            y.suspend(3);
        });
        y.suspend(1);
    });
    assert_eq!(generator.resume(()), Yielded(1));
    generator
}

/// There is nothing that the suspension could return: it would have to unwind, in the middle of an unwinding.
#[test]
fn a_generator_that_suspends_itself_in_a_destructor_while_it_is_dropped_is_leaked_with_a_report() {
    let name = "a_generator_that_suspends_itself_in_a_destructor_while_it_is_dropped_is_leaked_with_a_report";
    let ended = in_own_process(name, || {
        anywhere(|| {
            let after = Tally::default();
            drop(suspends_in_a_destructor(&after));
            // The same where its resumer unwinds.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let _generator = suspends_in_a_destructor(&after);
                std::panic::resume_unwind(Box::new("its resumer"));
            }));
            assert_eq!(text(&*outcome.unwrap_err()), "its resumer");
            // Not dropped, it goes on as it is written.
            let mut generator = suspends_in_a_destructor(&after);
            assert_eq!(generator.resume(()), Yielded(2));
            assert_eq!(generator.resume(()), Yielded(3));
            assert_eq!(after.get(), 0);
            assert_eq!(generator.resume(()), Complete(()));
            assert_eq!(after.get(), 1);
            drop(suspends_in_a_destructor(&after));
            assert_eq!(
                timeout(Duration::from_millis(1), || sleep(Duration::MAX)),
                Err(Elapsed)
            );
        });
        // The thread goes on as before.
        on_one_worker_and_on_two(|| {
            let child = spawn_local(|| {
                let _waits = OnDrop::new(yield_now);
                park()
            });
            yield_now();
            child.cancel();
            assert!(child.join().unwrap_err().is::<Cancelled>());
            assert!(spawn_local(|| panic!("as before")).join().is_err());
        });
    });
    let said = ended.well();
    assert_eq!(
        said.matches("is leaked: it suspended itself").count(),
        9,
        "{said}"
    );
}

/// It has panicked; what it was suspended in is its own unwinding.
#[test]
fn a_generator_dropped_in_the_middle_of_its_unwinding_is_leaked_with_a_report() {
    let name = "a_generator_dropped_in_the_middle_of_its_unwinding_is_leaked_with_a_report";
    let ended = in_own_process(name, || {
        anywhere(|| {
            let mut generator = Generator::new(|y: &Yielder<(), ()>, ()| {
                let _suspends = OnDrop::new(|| y.suspend(()));
                std::panic::resume_unwind(Box::new("in the body"));
            });
            let _: GeneratorState<(), ()> = generator.resume(());
            drop(generator);
        });
    });
    assert_eq!(
        ended
            .well()
            .matches("is leaked: it suspended itself")
            .count(),
        3
    );
}

#[test]
fn a_generator_that_swallows_its_end_unwinds_from_its_next_suspension() {
    anywhere(|| {
        let (swallowed, dropped) = (Tally::default(), Tally::default());
        let (swallows, local) = (swallowed.clone(), dropped.on_drop());
        let mut generator = Generator::new(move |y: &Yielder<(), ()>, ()| {
            let _local = local;
            let kept: Vec<_> = (0..10)
                .map(|_| {
                    catch_unwind(AssertUnwindSafe(|| y.suspend(()))).inspect_err(|_| swallows.add())
                })
                .collect();
            y.suspend(());
            drop(kept);
        });
        assert_eq!(generator.resume(()), Yielded(()));
        drop(generator);
        assert_eq!((swallowed.get(), dropped.get()), (10, 1));
        assert!(!thread::panicking());
    });
}

#[test]
fn a_generator_that_swallows_its_end_for_ever_is_leaked_with_a_report() {
    let name = "a_generator_that_swallows_its_end_for_ever_is_leaked_with_a_report";
    let ended = in_own_process(name, || {
        anywhere(|| {
            let mut generator = Generator::<(), (), ()>::new(|y, ()| {
                loop {
                    let _ = catch_unwind(AssertUnwindSafe(|| y.suspend(())));
                }
            });
            assert_eq!(generator.resume(()), Yielded(()));
            drop(generator);
            assert!(!thread::panicking());
        });
    });
    assert_eq!(
        ended
            .well()
            .matches("is leaked: it suspended itself")
            .count(),
        3
    );
}

#[test]
fn what_a_body_throws_or_returns_when_it_is_dropped_goes_where_it_should() {
    anywhere(|| {
        let mut generator = Generator::<(), (), ()>::new(|y, ()| {
            let _ = catch_unwind(AssertUnwindSafe(|| y.suspend(())));
            panic!("instead");
        });
        assert_eq!(generator.resume(()), Yielded(()));
        let outcome = catch_unwind(AssertUnwindSafe(|| drop(generator)));
        assert_eq!(text(&*outcome.unwrap_err()), "instead");
        let returned = Tally::default();
        let value = returned.on_drop();
        let mut generator = Generator::new(|y: &Yielder<(), ()>, ()| {
            let _ = catch_unwind(AssertUnwindSafe(|| y.suspend(())));
            value
        });
        assert!(matches!(generator.resume(()), Yielded(())));
        drop(generator);
        assert_eq!(returned.get(), 1);
    });
}

/// All is there that it may borrow: what became of it otherwise is in `thread_end`.
#[test]
fn a_generator_left_in_a_thread_local_unwinds_at_the_threads_end() {
    thread_local! {
        static LEFT: RefCell<Option<Generator<(), (), ()>>> = const { RefCell::new(None) };
    }
    let dropped = Tally::default();
    let local = dropped.on_drop();
    let thread = thread::spawn(move || {
        let mut generator = Generator::new(move |y, ()| {
            let _local = local;
            y.suspend(());
        });
        assert_eq!(generator.resume(()), Yielded(()));
        LEFT.with(|left| *left.borrow_mut() = Some(generator));
    });
    thread.join().unwrap();
    assert_eq!(dropped.get(), 1);
}
