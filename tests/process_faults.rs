//! The faults of processes and threads around a runtime, each test bearing its id: forks, thread-locals that go
//! before it, and a build that cannot unwind. How runtimes end otherwise is in `shutdown`.

mod support;

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use runtime::net::TcpListener;
use runtime::{Builder, Runtime, coroutine, time};
use support::{End, aborting, child, os, panic_text};

/// Far beyond any test.
const AN_HOUR: Duration = Duration::from_secs(3600);

fn one_worker() -> Runtime {
    Builder::new().build().unwrap()
}

fn two_workers() -> Runtime {
    Builder::new().workers(2).build().unwrap()
}

// ---- Forks -----------------------------------------------------------------------------------------

/// Forks, and checks that `call` is refused in the child by a panic that says why and what to do instead.
#[track_caller]
fn refused_in_fork(call: impl FnOnce()) {
    let told = os::fork(|| {
        let text = panic_text(call);
        u8::from(text.contains("forked child") && text.contains("posix_spawn"))
    });
    assert_eq!(told, 1, "no panic that says it");
}

#[test]
fn pr1_a_child_forked_in_a_coroutine_is_refused_at_its_first_wait() {
    for workers in [1, 2] {
        let end = child().given(workers).run(|workers| {
            let runtime = Builder::new()
                .workers(workers.parse().unwrap())
                .build()
                .unwrap();
            runtime.run(|| {
                let neighbour = coroutine::spawn(coroutine::park);
                runtime::yield_now();
                refused_in_fork(runtime::yield_now);
                refused_in_fork(coroutine::park);
                refused_in_fork(|| coroutine::park_timeout(AN_HOUR));
                refused_in_fork(|| coroutine::sleep(AN_HOUR));
                refused_in_fork(|| drop(coroutine::spawn(|| ()).join()));
                refused_in_fork(|| runtime::scope(|s| drop(s.spawn(|| ()).join())));
                refused_in_fork(|| _ = time::timeout(AN_HOUR, runtime::yield_now));
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                refused_in_fork(|| drop(listener.accept()));
                // The parent goes on.
                assert_eq!(coroutine::spawn(|| 7).join().unwrap(), 7);
                neighbour.cancel();
                assert!(neighbour.join().is_err());
            });
        });
        end.returned();
    }
}

#[test]
fn pr1_a_child_forked_outside_a_coroutine_can_neither_use_a_runtime_nor_make_one() {
    let end = child().run(|_| {
        let runtime = two_workers();
        runtime.run(|| ());
        refused_in_fork(|| drop(runtime.spawn(|| ())));
        refused_in_fork(|| runtime.run(|| ()));
        refused_in_fork(|| drop(Builder::new().build()));
        refused_in_fork(|| runtime::run(|| ()));
        assert_eq!(runtime.run(|| coroutine::spawn(|| 7).join().unwrap()), 7);
    });
    end.returned();
}

#[test]
fn pr1_a_forked_child_that_lets_the_runtime_be_ends_undisturbed_and_runs_no_other_coroutine() {
    struct Counts<'a>(&'a Cell<u32>);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let end = child().run(|_| {
        let ended = Rc::new(Cell::new(0));
        let runtime = one_worker();
        let in_child = runtime.run(|| {
            let also = ended.clone();
            coroutine::spawn_local(move || {
                let _counts = Counts(&also);
                coroutine::park();
            });
            runtime::yield_now();
            // This time both sides return from `run`.
            // SAFETY: as in `os::fork`.
            unsafe { libc::fork() == 0 }
        });
        drop(runtime);
        if in_child {
            // SAFETY: ends the process.
            unsafe { libc::_exit(ended.get() as i32) };
        }
        assert_eq!(ended.get(), 1, "the parent has unwound it");
        let mut status = -1;
        // SAFETY: the kernel writes `status` during the call.
        unsafe { libc::wait(&mut status) };
        assert_eq!(status, 0, "the child exited, and has unwound nobody");
    });
    end.returned();
}

// ---- Thread-locals that go first ---------------------------------------------------------------------

thread_local! {
    static KEPT: RefCell<Option<Runtime>> = const { RefCell::new(None) };
    static BORROWED: Borrowed = const { Borrowed(Cell::new(true)) };
}

/// A thread-local that coroutines borrow; says whether it has been destroyed.
struct Borrowed(Cell<bool>);

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A local of a coroutine that looks at what it borrows when it goes.
struct Looks<'a>(&'a Borrowed);

impl Drop for Looks<'_> {
    fn drop(&mut self) {
        eprintln!(
            "looked: {}",
            if self.0.0.get() { "alive" } else { "destroyed" }
        );
    }
}

#[test]
fn pr7_a_runtime_that_its_ending_thread_drops_leaks_coroutines_instead_of_running_them() {
    for first in ["runtime", "borrowed"] {
        let end = child().given(first).run(|first| {
            let first = first.to_owned();
            let keeps = move || {
                // Destructors run in the reverse order of first use, or in the same: both are tried.
                if first == "borrowed" {
                    BORROWED.with(|_| ());
                }
                KEPT.set(Some(one_worker()));
                KEPT.with_borrow(|runtime| {
                    let runtime = runtime.as_ref().unwrap();
                    for _ in 0..3 {
                        runtime.spawn(|| {
                            BORROWED.with(|borrowed| {
                                let _looks = Looks(borrowed);
                                coroutine::park();
                            })
                        });
                    }
                    runtime.run_ready();
                });
            };
            thread::spawn(keeps).join().unwrap();
        });
        end.returned()
            .never_says("looked")
            .says("its 3 live coroutines could not be unwound and are leaked");
    }
}

#[test]
fn pr7_a_runtime_without_live_coroutines_is_given_back_by_its_ending_thread() {
    let end = child().run(|_| {
        thread::spawn(|| KEPT.set(Some(one_worker())))
            .join()
            .unwrap();
        let before = os::held();
        for _ in 0..10 {
            let keeps = || {
                KEPT.set(Some(two_workers()));
                KEPT.with_borrow(|runtime| {
                    runtime
                        .as_ref()
                        .unwrap()
                        .run(|| coroutine::spawn(|| ()).join().unwrap())
                });
            };
            thread::spawn(keeps).join().unwrap();
            os::until(|| os::held() == before);
        }
    });
    end.returned().never_says("leaked");
}

#[test]
fn pr7_run_is_refused_in_a_destructor_of_a_thread_local_with_live_coroutines() {
    struct RunsAtTheEnd(RefCell<Option<Runtime>>);
    impl Drop for RunsAtTheEnd {
        fn drop(&mut self) {
            let runtime = self.0.take().unwrap();
            let outcome = catch_unwind(AssertUnwindSafe(|| runtime.run_ready()));
            eprintln!("refused: {}", outcome.is_err());
        }
    }
    thread_local! {
        static ENDS: RunsAtTheEnd = const { RunsAtTheEnd(RefCell::new(None)) };
    }
    let end = child().run(|_| {
        let keeps = || {
            ENDS.with(|_| ()); // the oldest, so it goes last
            let runtime = one_worker();
            runtime.spawn(|| {
                BORROWED.with(|borrowed| {
                    let _looks = Looks(borrowed);
                    coroutine::park();
                })
            });
            runtime.run_ready();
            ENDS.with(|ends| ends.0.replace(Some(runtime)));
        };
        thread::spawn(keeps).join().unwrap();
    });
    end.returned().says("refused: true").never_says("looked");
}

// ---- A build that cannot unwind ----------------------------------------------------------------------

/// The program without unwinding has come to its end, and has dropped no local of a suspended coroutine.
#[track_caller]
fn ended_without_unwinding(word: &str) -> End {
    let end = aborting::run(word);
    let ended = end.status.success() && end.stdout.contains("ended");
    assert!(ended && !end.stdout.contains("unwound"), "{word}: {end}");
    end
}

#[test]
fn pa6_without_unwinding_coroutines_run_and_a_panic_aborts_with_its_text() {
    assert_eq!(ended_without_unwinding("runs").stderr, "");
    aborting::run("panics")
        .died_of(libc::SIGABRT)
        .says("on purpose");
}

#[test]
fn pa6_without_unwinding_whoever_is_left_is_leaked_and_counted() {
    for word in ["leaves", "drops"] {
        let end = ended_without_unwinding(word);
        end.says("3 live coroutines")
            .says("leaked")
            .never_says("thread was ending")
            .never_says("panicked");
    }
    ended_without_unwinding("generates")
        .says("a generator")
        .says("leaked")
        .never_says("thread ended");
}

#[test]
fn pa6_without_unwinding_cancel_and_timeout_say_what_they_need() {
    for word in ["cancels", "bounds"] {
        aborting::run(word).says("panic = \"unwind\"");
    }
}
