//! Coroutine-locals: each coroutine has its own, and drops them itself, youngest first.

#![forbid(unsafe_code)]

mod strands_support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use runtime::coroutine::{self, Coroutine, current, park, spawn, spawn_local};
use runtime::coroutine_local;
use runtime::{time, yield_now};
use strands_support::*;

coroutine_local! {
    static COUNT: Cell<u32> = Cell::new(0);
    static NAME: RefCell<String> = RefCell::new(String::from("initial"));
}

#[test]
fn each_coroutine_has_its_own_and_keeps_it_across_waits() {
    COUNT.with(|count| count.set(1000));
    on_one_worker_and_on_two(|| {
        let all: Vec<_> = (0..20)
            .map(|n| {
                spawn(move || {
                    assert_eq!(COUNT.with(Cell::get), 0);
                    for turn in 0..20 {
                        COUNT.with(|count| count.set(count.get() + n));
                        if turn % 5 == 0 {
                            time::sleep(Duration::from_micros(50))
                        } else {
                            yield_now()
                        }
                    }
                    NAME.with(|name| name.borrow_mut().push('!'));
                    (
                        COUNT.with(Cell::get),
                        NAME.with(|name| name.borrow().clone()),
                    )
                })
            })
            .collect();
        for (n, handle) in all.into_iter().enumerate() {
            assert_eq!(
                handle.join().unwrap(),
                (20 * n as u32, "initial!".to_string())
            );
        }
    });
    assert_eq!(COUNT.with(Cell::get), 1000, "the thread's own is another");
}

#[test]
fn on_a_plain_thread_it_is_the_threads() {
    COUNT.with(|count| count.set(1));
    let other = thread::spawn(|| COUNT.with(Cell::get));
    assert_eq!((other.join().unwrap(), COUNT.with(Cell::get)), (0, 1));
}

/// Tells a channel about its drop.
struct Noted(&'static str);

static DROPS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

impl Drop for Noted {
    fn drop(&mut self) {
        DROPS.lock().unwrap().push(self.0);
    }
}

coroutine_local! {
    static OLDEST: Noted = Noted("oldest");
    static MIDDLE: Noted = {
        OLDEST.with(|_| ());
        Noted("middle")
    };
    static YOUNGEST: Noted = {
        MIDDLE.with(|_| ());
        Noted("youngest")
    };
}

#[test]
fn they_are_dropped_at_the_end_of_the_coroutine_youngest_first() {
    on_one_worker_and_on_two(|| {
        let bodies: [fn(); 3] = [|| (), || panic!("with locals"), park];
        for body in bodies {
            let child = spawn_local(move || {
                YOUNGEST.with(|_| ());
                body();
            });
            yield_now();
            child.cancel();
            let _ = child.join();
            let dropped = std::mem::take(&mut *DROPS.lock().unwrap());
            assert_eq!(dropped, ["youngest", "middle", "oldest"]);
        }
    });
}

struct UsesAnother(mpsc::Sender<u32>);

impl Drop for UsesAnother {
    fn drop(&mut self) {
        yield_now(); // a destructor may block
        self.0.send(COUNT.with(Cell::get)).unwrap();
    }
}

coroutine_local! {
    static USES: RefCell<Option<UsesAnother>> = RefCell::new(None);
}

#[test]
fn the_destructor_of_one_may_wait_and_use_the_older_ones() {
    on_one_worker_and_on_two(|| {
        let (tell, told) = mpsc::channel();
        for cancels in [false, true] {
            let tell = tell.clone();
            let child = spawn_local(move || {
                COUNT.with(|count| count.set(7));
                USES.with(|uses| *uses.borrow_mut() = Some(UsesAnother(tell)));
                if cancels {
                    park();
                }
            });
            yield_now();
            child.cancel();
            assert_eq!(child.join().is_err(), cancels);
            assert_eq!(told.try_recv(), Ok(7));
        }
    });
}

#[test]
fn with_may_wait_and_the_value_stays() {
    on_one_worker_and_on_two(|| {
        NAME.with(|name| {
            name.borrow_mut().push_str(" and more");
            time::sleep(Duration::from_millis(1));
            spawn(|| NAME.with(|name| name.borrow_mut().clear()))
                .join()
                .unwrap();
            assert_eq!(*name.borrow(), "initial and more");
        });
        let nested = NAME.with(|_| COUNT.with(|count| count.replace(3)));
        assert_eq!((nested, COUNT.with(Cell::get)), (0, 3));
    });
}

coroutine_local! {
    static PANICS: () = panic!("in the init");
}

#[test]
fn pa2_a_panic_in_the_init_is_contained_and_the_next_use_tries_again() {
    on_one_worker_and_on_two(|| {
        for _ in 0..2 {
            let child = spawn(|| PANICS.with(|()| ()));
            assert_eq!(text(&*child.join().unwrap_err()), "in the init");
        }
    });
}

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("in a local's destructor");
    }
}

coroutine_local! {
    static BEFORE: Noted2 = Noted2(RefCell::new(None));
    static BOMB: PanicsOnDrop = PanicsOnDrop;
}

struct Noted2(RefCell<Option<Tally>>);

impl Drop for Noted2 {
    fn drop(&mut self) {
        self.0.take().inspect(Tally::add);
    }
}

#[test]
fn pa1_a_panic_in_a_locals_destructor_is_the_coroutines_and_the_others_are_dropped() {
    on_one_worker_and_on_two(|| {
        let dropped = Tally::default();
        let tally = dropped.clone();
        let child = spawn(move || {
            BEFORE.with(|before| *before.0.borrow_mut() = Some(tally));
            BOMB.with(|_| ());
        });
        assert_eq!(text(&*child.join().unwrap_err()), "in a local's destructor");
        assert_eq!(dropped.get(), 1);
    });
}

thread_local! {
    static OF_WORKER: Rc<Cell<u32>> = Rc::new(Cell::new(0));
}

/// A value that must not leave its thread: it shares a counter with the worker's thread-local.
struct NotSend(Rc<Cell<u32>>, thread::ThreadId, mpsc::Sender<bool>);

impl Drop for NotSend {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        let _ = self.2.send(thread::current().id() == self.1);
    }
}

coroutine_local! {
    static KEPT: RefCell<Option<NotSend>> = RefCell::new(None);
}

/// The result of a detached coroutine is dropped last, on the coroutine; a local that its destructor
/// makes must still be dropped there, whoever lets go of the coroutine's record last.
#[test]
fn a_local_made_by_the_destructor_of_a_detached_result_is_dropped_on_its_own_thread() {
    for workers in [1, 2] {
        let runtime = runtime_of(workers);
        let (tell, told) = mpsc::channel();
        let (give, take) = mpsc::channel::<Coroutine>();
        runtime.run(|| {
            let result = OnDrop::new(move || {
                let value = NotSend(OF_WORKER.with(Rc::clone), thread::current().id(), tell);
                KEPT.with(|kept| *kept.borrow_mut() = Some(value));
            });
            drop(spawn_local(move || {
                give.send(current()).unwrap();
                result
            }));
            let_the_others_run();
        });
        // The last who knows of the coroutine is another thread.
        let last = take.recv().unwrap();
        thread::spawn(move || drop(last)).join().unwrap();
        assert_eq!(
            told.try_recv(),
            Ok(true),
            "dropped on the thread that made it"
        );
    }
}

#[test]
fn locals_of_one_that_never_runs_are_never_made_and_a_shielded_end_drops_them() {
    on_one_worker_and_on_two(|| {
        let dropped = Tally::default();
        let tally = dropped.clone();
        let child = spawn_local(move || {
            BEFORE.with(|before| *before.0.borrow_mut() = Some(tally));
            coroutine::shield(yield_now);
        });
        yield_now();
        child.cancel();
        child.join().unwrap();
        assert_eq!(dropped.get(), 1);
    });
}
