//! Who unwinds: nothing is raised in a destructor that an unwinding runs, and everybody else is raised in, though
//! `thread::panicking()` is true for all that share a thread with one that waits in such a destructor.
//!
//! Each test has a process of its own, because what goes wrong here aborts it, or hangs.

#![forbid(unsafe_code)]

mod strands_support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread::panicking;
use std::time::Duration;

use runtime::coroutine::{Cancelled, JoinHandle, park, spawn_local};
use runtime::generator::Generator;
use runtime::generator::GeneratorState::{Complete, Yielded};
use runtime::time::{Elapsed, sleep, timeout};
use runtime::yield_now;
use strands_support::*;

/// Runs `claim` beside a coroutine that waits in a destructor, in the middle of an unwinding that it began by `unwind`.
fn beside_one_that_unwinds(unwind: fn(), claim: impl Fn()) {
    let over = Rc::new(Cell::new(false));
    let until = over.clone();
    let neighbour = spawn_local(move || {
        let _waits = OnDrop::new(move || pass_until(|| until.get()));
        unwind();
    });
    yield_now();
    neighbour.cancel();
    pass_until(panicking);
    claim();
    assert!(panicking(), "it still waits");
    over.set(true);
    assert!(neighbour.join().is_err());
    assert!(!panicking());
}

/// The ways to begin an unwinding: a hook is called, or nobody; by the user, or by a cancellation.
const UNWINDINGS: [fn(); 3] = [
    || panic!("by a panic"),
    || resume_unwind(Box::new("by resume_unwind")),
    park,
];

/// Runs `claim` alone, and beside each kind of neighbour that unwinds, on one worker and on two.
fn whoever_else_unwinds(claim: impl Fn()) {
    for workers in [1, 2] {
        let builder = runtime::Builder::new().workers(workers);
        let runtime = builder.grace(Duration::from_secs(10)).build().unwrap();
        runtime.run(&claim);
        for unwind in UNWINDINGS {
            runtime.run(|| beside_one_that_unwinds(unwind, &claim));
        }
    }
}

/// What a destructor may do that suspends.
const WAITS: [fn(); 6] = [
    let_the_others_run,
    || sleep(Duration::from_millis(1)),
    || _ = timeout(Duration::from_nanos(1), let_the_others_run),
    || _ = catch_unwind(let_the_others_run),
    || runtime::scope(|s| _ = s.spawn(let_the_others_run).join()),
    || {
        let mut generator = Generator::<(), (), ()>::new(|y, ()| {
            let_the_others_run();
            y.suspend(());
            let_the_others_run();
        });
        assert_eq!(generator.resume(()), Yielded(()));
        assert_eq!(generator.resume(()), Complete(()));
    },
];

/// Lets a coroutine unwind, cancels it while its destructor waits, and sees that it has waited to the end.
fn cancel_in_a_destructor(unwind: fn(), wait: fn()) {
    let (begun, done) = (Tally::default(), Tally::default());
    let (begins, waited, after) = (begun.clone(), done.clone(), done.on_drop());
    let unwinds = spawn_local(move || {
        let _after = after;
        let _waits = OnDrop::new(move || {
            begins.add();
            wait();
            waited.add();
        });
        unwind();
    });
    yield_now();
    unwinds.cancel();
    pass_until(|| begun.get() == 1);
    unwinds.cancel();
    assert!(unwinds.join().is_err());
    assert_eq!(done.get(), 2);
}

#[test]
fn nothing_is_raised_in_a_destructor_of_one_that_unwinds() {
    let name = "nothing_is_raised_in_a_destructor_of_one_that_unwinds";
    let ended = in_own_process(name, || {
        whoever_else_unwinds(|| {
            for (unwind, wait) in UNWINDINGS
                .iter()
                .flat_map(|u| WAITS.iter().map(move |w| (u, w)))
            {
                cancel_in_a_destructor(*unwind, *wait);
            }
        });
    });
    ended.well();
}

/// What one that does not unwind may be cancelled in.
const PLACES: [fn(); 5] = [
    park,
    || loop {
        yield_now()
    },
    || runtime::scope(|s| _ = s.spawn(park).join()),
    || _ = Generator::<(), (), ()>::new(|_, ()| park()).resume(()),
    || {
        // It has had its own, which is over; and it still holds what it has caught.
        let _caught = [
            catch_unwind(|| panic!("caught")),
            catch_unwind(|| resume_unwind(Box::new("caught"))),
        ];
        park();
    },
];

#[test]
fn one_that_does_not_unwind_is_cancelled_though_others_of_its_thread_do() {
    let name = "one_that_does_not_unwind_is_cancelled_though_others_of_its_thread_do";
    let ended = in_own_process(name, || {
        whoever_else_unwinds(|| {
            for place in PLACES {
                let child = spawn_local(place);
                let_the_others_run();
                child.cancel();
                assert!(child.join().unwrap_err().is::<Cancelled>());
            }
        });
    });
    ended.well();
}

#[test]
fn a_timeout_passes_though_others_of_the_thread_unwind() {
    let name = "a_timeout_passes_though_others_of_the_thread_unwind";
    let ended = in_own_process(name, || {
        whoever_else_unwinds(|| {
            for place in PLACES {
                assert!(timeout(Duration::from_millis(1), place).is_err());
            }
        });
    });
    ended.well();
}

/// Whoever waits for a child in a destructor waits for ever if the child is taken for one that unwinds.
#[test]
fn pa12_a_destructor_may_cancel_children_and_wait_for_them_whatever_it_unwinds_by() {
    let name = "pa12_a_destructor_may_cancel_children_and_wait_for_them_whatever_it_unwinds_by";
    let ended = in_own_process(name, || {
        for unwind in UNWINDINGS {
            for place in PLACES {
                on_one_worker_and_on_two_with(move || {
                    let cancels_and_joins = move || {
                        let child: JoinHandle<()> = spawn_local(place);
                        let_the_others_run();
                        child.cancel();
                        assert!(child.join().unwrap_err().is::<Cancelled>());
                    };
                    let fails_in_a_scope = move || {
                        let failed = catch_unwind(|| {
                            runtime::scope(|s| {
                                s.spawn(place);
                                let_the_others_run();
                                resume_unwind(Box::new("the body"));
                            });
                        });
                        assert!(failed.is_err());
                    };
                    let waits: [Rc<dyn Fn()>; 2] =
                        [Rc::new(cancels_and_joins), Rc::new(fails_in_a_scope)];
                    for wait in waits {
                        let parent = spawn_local(move || {
                            let _waits = OnDrop::new(move || wait());
                            unwind();
                        });
                        yield_now();
                        parent.cancel();
                        assert!(parent.join().is_err());
                    }
                });
            }
        }
    });
    ended.well();
}

fn on_one_worker_and_on_two_with(claim: impl Fn()) {
    for workers in [1, 2] {
        let builder = runtime::Builder::new().workers(workers);
        builder
            .grace(Duration::from_secs(10))
            .build()
            .unwrap()
            .run(&claim);
    }
}

/// A generator takes an unwinding along that it is suspended in.
#[test]
fn a_generator_suspended_in_a_destructor_unwinds_and_whoever_has_resumed_it_does_not() {
    let name = "a_generator_suspended_in_a_destructor_unwinds_and_whoever_has_resumed_it_does_not";
    let ended = in_own_process(name, || {
        whoever_else_unwinds(|| {
            let child = spawn_local(|| {
                let mut generator = Generator::<(), (), ()>::new(|y, ()| {
                    let y = RefCell::new(Some(y));
                    let _suspends = OnDrop::new(|| y.take().unwrap().suspend(()));
                    resume_unwind(Box::new("the body"));
                });
                assert_eq!(generator.resume(()), Yielded(()));
                let cancelled = catch_unwind(AssertUnwindSafe(park));
                assert!(cancelled.is_err(), "raised here");
                let thrown = catch_unwind(AssertUnwindSafe(|| generator.resume(())));
                assert_eq!(text(&*thrown.unwrap_err()), "the body");
                park();
            });
            let_the_others_run();
            child.cancel();
            assert!(child.join().unwrap_err().is::<Cancelled>());
        });
    });
    ended.well();
}

/// Such a hook is not wrapped. What is raised in it takes the place of the panic, as bad as that is, and all go on.
#[test]
fn a_hook_that_is_set_too_late_and_yields_is_survived() {
    let name = "a_hook_that_is_set_too_late_and_yields_is_survived";
    let ended = in_own_process(name, || {
        on_one_worker_and_on_two(|| {
            std::panic::set_hook(Box::new(|_| let_the_others_run()));
            for cancels in [false, true] {
                let child = spawn_local(|| {
                    let _waits = OnDrop::new(let_the_others_run);
                    panic!("with a hook that yields")
                });
                if cancels {
                    yield_now();
                    child.cancel();
                }
                let_the_others_run();
                assert_eq!(child.join().unwrap_err().is::<Cancelled>(), cancels);
                assert_eq!(spawn_local(|| 1).join().unwrap(), 1);
                assert_eq!(timeout(Duration::from_millis(1), park), Err(Elapsed));
            }
        });
    });
    ended.well();
}
