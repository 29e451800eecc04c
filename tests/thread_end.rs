//! The end of a thread, and exit(3) on top of whatever runs: destructors of thread-locals run, the youngest first, and
//! nobody goes on who may have borrowed one that is gone.
//!
//! Here a stack is suspended with `BORROWED` borrowed, whose destructor spoils it, and the destructor of an older or
//! a younger thread-local has it go on:
//!
//! ```text
//!   reserve_last_words    borrowing_generator()      say_last(resume it)
//!   LAST_WORDS is older   BORROWED is younger        at the end BORROWED goes first
//! ```

mod support;

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, exit};
use std::thread;
use std::time::Duration;
use std::{env, mem};

use runtime::coroutine::JoinHandle;
use runtime::generator::GeneratorState::{Complete, Yielded};
use runtime::generator::{Generator, r#gen};
use runtime::{Builder, Runtime, coroutine, time, yield_now};
use support::{End, child, foreign};

/// What a thread does in the end.
struct LastWords(RefCell<Option<Box<dyn FnOnce()>>>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if let Some(words) = self.0.take() {
            words();
        }
    }
}

/// A value that shows that it was destroyed.
struct Borrowed(Cell<u64>);

const SOUND: u64 = 0x600D;

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.0.set(black_box(0xBAD));
        eprintln!("destroyed");
    }
}

thread_local! {
    static LAST_WORDS: LastWords = const { LastWords(RefCell::new(None)) };
    static BORROWED: Borrowed = const { Borrowed(Cell::new(SOUND)) };
}

/// Puts the last words in their place: what the thread uses for the first time after this goes before them.
fn reserve_last_words() {
    LAST_WORDS.with(|_| ());
}

fn say_last(words: impl FnOnce() + 'static) {
    LAST_WORDS.with(|last| last.0.replace(Some(Box::new(words))));
}

/// Looks, when dropped, at what it borrows.
struct Looks<'a>(&'a Borrowed);

impl Drop for Looks<'_> {
    fn drop(&mut self) {
        let sound = self.0.0.get() == SOUND;
        eprintln!("went on, {}", if sound { "sound" } else { "SPOILT" });
    }
}

/// Suspends by `suspend` with `BORROWED` borrowed, and looks at it after that.
fn borrow_across(suspend: impl FnOnce()) {
    BORROWED.with(|borrowed| {
        let _looks = Looks(borrowed);
        suspend();
    });
}

type Plain = Generator<(), (), ()>;

fn borrowing_generator() -> Plain {
    let mut generator = Plain::new(|y, ()| borrow_across(|| y.suspend(())));
    assert_eq!(generator.resume(()), Yielded(()));
    generator
}

/// A runtime whose coroutine is suspended with `BORROWED` borrowed.
fn borrowing_runtime() -> Runtime {
    let runtime = Builder::new().build().unwrap();
    drop(runtime.spawn(|| borrow_across(coroutine::park)));
    assert_eq!(runtime.run_ready(), 1);
    runtime
}

/// The ways in which the destructors of a thread come to run, but for the return of `main`.
const WAYS: [&str; 5] = [
    "return",
    "foreign",
    "exit",
    "exit in a coroutine",
    "exit in a generator",
];

/// Calls `prepare` on some thread, which then ends in this way.
fn end_by(way: &str, prepare: fn()) {
    match way {
        "return" => thread::spawn(prepare).join().unwrap(),
        "foreign" => foreign::on_foreign_thread(prepare),
        "exit" => {
            prepare();
            exit(0)
        }
        "exit in a coroutine" => runtime::run(|| {
            prepare();
            yield_now();
            exit(0)
        }),
        "exit in a generator" => {
            prepare();
            let mut generator = Plain::new(|_, ()| exit(0));
            generator.resume(());
        }
        _ => unreachable!("{way}"),
    }
}

/// Where the C library's list of destructors cannot be read, the stack is walked.
const BY: [&str; 2] = ["", "destructor_list"];

trait Verdict {
    fn refused(&self) -> &Self;
    fn ended_well(&self) -> &Self;
}

impl Verdict for End {
    /// The process ended with a text that tells why, after something was destroyed that nobody looked at any more.
    #[track_caller]
    fn refused(&self) -> &Self {
        self.died_of(libc::SIGABRT)
            .says("destroyed")
            .says("destructor of a thread-local")
            .never_says("went on")
    }

    #[track_caller]
    fn ended_well(&self) -> &Self {
        assert!(matches!(self.status.code(), Some(0 | 42)), "{self}");
        self.says("destroyed").never_says("SPOILT")
    }
}

// ---- Generators ------------------------------------------------------------------------------------------------------

#[test]
fn a_generator_is_not_resumed_after_what_it_borrows_is_gone() {
    for (way, by) in WAYS.into_iter().flat_map(|way| BY.map(|by| (way, by))) {
        let end = child().given(way).with_env("RUNTIME_FAIL", by).run(|way| {
            end_by(way, || {
                reserve_last_words();
                let mut generator = borrowing_generator();
                say_last(move || _ = generator.resume(()));
            })
        });
        end.refused();
    }
}

const ON_MAIN: &str = "THREAD_END_ON_MAIN";

/// Called on the main thread, before `main`: tests have threads of their own.
extern "C" fn before_main() {
    if env::var_os(ON_MAIN).is_some() {
        reserve_last_words();
        let mut generator = borrowing_generator();
        say_last(move || _ = generator.resume(()));
    }
}

// SAFETY: the C library calls what it finds here, as functions of this type, before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

#[test]
fn a_generator_is_not_resumed_after_the_return_of_main() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "none"])
        .env(ON_MAIN, "")
        .output()
        .unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    let end = End {
        status: output.status,
        stdout,
        stderr,
    };
    assert!(end.stdout.contains("0 passed"), "main has returned: {end}");
    end.refused();
}

#[test]
fn a_generator_dropped_after_what_it_borrows_is_gone_is_leaked_with_a_report() {
    for (way, by) in WAYS.into_iter().flat_map(|way| BY.map(|by| (way, by))) {
        let end = child().given(way).with_env("RUNTIME_FAIL", by).run(|way| {
            end_by(way, || {
                reserve_last_words();
                let generator = borrowing_generator();
                say_last(move || drop(generator));
            })
        });
        end.ended_well().says("is leaked").never_says("went on");
    }
}

/// It has borrowed nothing younger than what runs now.
#[test]
fn a_generator_may_go_on_in_a_destructor_before_what_it_borrows_is_gone() {
    for way in WAYS {
        for drops in [false, true] {
            let end = child()
                .given(way)
                .with_env("DROPS", if drops { "1" } else { "" })
                .run(|way| {
                    end_by(way, || {
                        let mut generator = borrowing_generator();
                        say_last(move || {
                            if env::var("DROPS").unwrap().is_empty() {
                                assert_eq!(generator.resume(()), Complete(()));
                            }
                        });
                    })
                });
            end.ended_well().says("went on, sound");
        }
    }
}

#[test]
fn a_destructor_may_make_generators_and_use_them() {
    for way in WAYS {
        let end = child().given(way).run(|way| {
            end_by(way, || {
                drop(borrowing_generator()); // a stack to use again
                reserve_last_words();
                // One that has not started, too: it has borrowed nothing.
                let mut early = Plain::new(|_, ()| eprintln!("started"));
                say_last(move || {
                    assert_eq!(early.resume(()), Complete(()));
                    let squares = r#gen(|y| (1..9).for_each(|n| y.suspend(n * n)));
                    let squares: Vec<u32> = squares.take(4).collect();
                    eprintln!("squares: {squares:?}");
                });
            })
        });
        end.ended_well()
            .says("started")
            .says("squares: [1, 4, 9, 16]");
    }
}

/// Each time it suspends counts, not only the first.
#[test]
fn what_a_generator_borrows_later_counts_as_well() {
    let end = child().run(|_| {
        end_by("return", || {
            let mut generator = Plain::new(|y, ()| {
                y.suspend(());
                borrow_across(|| y.suspend(()));
            });
            assert_eq!(generator.resume(()), Yielded(()));
            reserve_last_words();
            assert_eq!(generator.resume(()), Yielded(()));
            say_last(move || _ = generator.resume(()));
        })
    });
    end.refused();
}

// ---- Coroutines ------------------------------------------------------------------------------------------------------

type Named<T> = (&'static str, T);

fn named<T: Copy>(name: &str, all: &[Named<T>]) -> T {
    all.iter().find(|(other, _)| *other == name).unwrap().1
}

/// What a destructor may try while coroutines are suspended below it.
const TRIES: [Named<fn()>; 4] = [
    ("yields", yield_now),
    ("sleeps", || time::sleep(Duration::from_millis(1))),
    ("joins", || drop(coroutine::spawn(|| yield_now()).join())),
    ("bounds", || {
        _ = time::timeout(Duration::from_secs(9), yield_now)
    }),
];

/// Runs the coroutine that will be the neighbour, up to its first suspension.
type Beginning = fn(JoinHandle<()>);

const BEGINNINGS: [Named<Beginning>; 2] = [
    ("by the worker", |neighbour| {
        yield_now();
        drop(neighbour);
    }),
    ("by its joiner", |neighbour| {
        // Cancelled meanwhile, the joiner goes on without the worker's having been asked.
        let cancelled = catch_unwind(AssertUnwindSafe(|| {
            ITSELF.with_borrow(|itself| itself.as_ref().unwrap().cancel());
            neighbour.join()
        }));
        assert!(cancelled.is_err());
    }),
];

thread_local! {
    /// The handle of the coroutine that calls exit(3).
    static ITSELF: RefCell<Option<JoinHandle<()>>> = const { RefCell::new(None) };
}

#[test]
fn a_neighbour_does_not_run_after_what_it_borrows_is_gone() {
    for (try_, beginning) in TRIES
        .iter()
        .flat_map(|try_| BEGINNINGS.iter().map(move |b| (try_.0, b.0)))
    {
        let end = child().given(format!("{try_}/{beginning}")).run(|given| {
            thread_local! {
                static GIVEN: RefCell<String> = const { RefCell::new(String::new()) };
            }
            GIVEN.set(given.to_owned());
            runtime::run(|| {
                // These leave stacks behind, on which a child can begin at once.
                let both = [(); 2].map(|()| coroutine::spawn(yield_now));
                both.into_iter().for_each(|one| one.join().unwrap());
                let ends = coroutine::spawn_local(|| {
                    let given = GIVEN.take();
                    let (try_, beginning) = given.split_once('/').unwrap();
                    reserve_last_words();
                    say_last(named(try_, &TRIES));
                    let neighbour = coroutine::spawn(|| {
                        borrow_across(|| {
                            loop {
                                yield_now()
                            }
                        })
                    });
                    named(beginning, &BEGINNINGS)(neighbour);
                    exit(0);
                });
                ITSELF.set(Some(ends));
                coroutine::park();
            });
        });
        end.refused();
    }
}

/// A destructor may let the others run while all is there that they borrow.
#[test]
fn a_neighbour_may_run_in_a_destructor_before_what_it_borrows_is_gone() {
    let end = child().run(|_| {
        runtime::run(|| {
            drop(coroutine::spawn(|| borrow_across(yield_now)));
            yield_now();
            say_last(yield_now);
            exit(0);
        });
    });
    end.ended_well().says("went on, sound");
}

#[test]
fn a_runtime_is_not_run_after_what_its_coroutines_borrow_is_gone() {
    for (way, by) in WAYS.into_iter().flat_map(|way| BY.map(|by| (way, by))) {
        let end = child().given(way).with_env("RUNTIME_FAIL", by).run(|way| {
            end_by(way, || {
                reserve_last_words();
                let runtime = borrowing_runtime();
                say_last(move || {
                    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.run_ready()));
                    eprintln!("refused: {}", outcome.is_err());
                });
            })
        });
        end.ended_well()
            .says("refused: true")
            .says("are leaked")
            .never_says("went on");
    }
}

#[test]
fn a_runtime_may_run_in_a_destructor_before_what_its_coroutines_borrow_is_gone() {
    for way in WAYS {
        let end = child().given(way).run(|way| {
            end_by(way, || {
                let runtime = borrowing_runtime();
                say_last(move || drop(runtime));
            })
        });
        end.ended_well().says("went on, sound").never_says("leaked");
    }
}

/// One that was made there has coroutines that are as young.
#[test]
fn a_destructor_may_run_a_runtime_of_its_own() {
    for way in WAYS {
        let end = child().given(way).run(|way| {
            end_by(way, || {
                reserve_last_words();
                mem::forget(borrowing_generator());
                say_last(|| {
                    let sum = runtime::run(|| {
                        let children: Vec<_> = (1..=4)
                            .map(|n| coroutine::spawn(move || yield_then(n)))
                            .collect();
                        children
                            .into_iter()
                            .map(|child| child.join().unwrap())
                            .sum::<u32>()
                    });
                    eprintln!("sum {sum}");
                });
            })
        });
        end.ended_well().says("sum 10");
    }
}

fn yield_then(n: u32) -> u32 {
    yield_now();
    n
}
