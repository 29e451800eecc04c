//! Reader-writer locks: what is theirs alone. What every primitive does alike is in `sync_matrix`.

#![forbid(unsafe_code)]

mod strands_support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::thread;
use std::time::Duration;

use runtime::coroutine::{JoinHandle, spawn, spawn_local};
use runtime::sync::{RwLock, RwLockWriteGuard};
use runtime::{scope, yield_now};
use strands_support::*;

const SHORT: Duration = Duration::from_millis(2);

/// Starts one that notes its name under the lock, and holds it for a turn.
fn start(
    lock: &Arc<RwLock<()>>,
    notes: &Notes,
    writes: bool,
    name: &'static str,
) -> JoinHandle<()> {
    let (lock, notes) = (lock.clone(), notes.clone());
    let strand = spawn_local(move || {
        if writes {
            let _writer = lock.write();
            notes.lock().unwrap().push(name);
            yield_now();
        } else {
            let _reader = lock.read();
            notes.lock().unwrap().push(name);
            yield_now();
        }
    });
    yield_now();
    strand
}

type Notes = Arc<std::sync::Mutex<Vec<&'static str>>>;

#[test]
fn neither_writers_nor_readers_are_overtaken() {
    on_one_worker_and_on_two(|| {
        let (lock, notes) = (Arc::new(RwLock::new(())), Notes::default());
        let reader = lock.read();
        let strands = [
            start(&lock, &notes, false, "with the first"),
            start(&lock, &notes, true, "writer"),
            start(&lock, &notes, false, "behind the writer"),
            start(&lock, &notes, false, "behind the writer too"),
            start(&lock, &notes, true, "last"),
        ];
        assert!(lock.try_read().is_none(), "a writer waits");
        drop(reader);
        assert!(lock.try_read().is_none());
        strands.into_iter().for_each(|it| it.join().unwrap());
        let order = notes.lock().unwrap().clone();
        assert_eq!(
            order,
            [
                "with the first",
                "writer",
                "behind the writer",
                "behind the writer too",
                "last"
            ]
        );
    });
}

/// A writer gets its turn though readers come without end, and at no moment nobody reads.
#[test]
fn a_writer_does_not_starve_among_readers_that_never_stop() {
    for workers in [1, 2] {
        runtime_of(workers).run(|| {
            let (lock, over) = (RwLock::new(false), AtomicIsize::new(0));
            scope(|s| {
                for _ in 0..4 {
                    s.spawn(|| {
                        loop {
                            let written = lock.read();
                            yield_now();
                            if *written {
                                break;
                            }
                        }
                        over.fetch_add(1, Ordering::Relaxed);
                    });
                }
                let_the_others_run();
                *lock.write() = true;
            });
            assert_eq!(over.into_inner(), 4);
        });
    }
}

#[test]
fn readers_behind_a_writer_that_leaves_read_beside_those_who_do() {
    on_one_worker_and_on_two(|| {
        let (lock, notes) = (Arc::new(RwLock::new(())), Notes::default());
        let reader = lock.read();
        let gives_up = {
            let lock = lock.clone();
            spawn_local(move || lock.write_timeout(SHORT).is_none())
        };
        yield_now();
        let second = start(&lock, &notes, false, "second reader");
        assert!(gives_up.join().unwrap());
        second.join().unwrap();

        let cancelled = start(&lock, &notes, true, "never");
        let third = start(&lock, &notes, false, "third reader");
        cancelled.cancel();
        third.join().unwrap();
        drop(reader);
        assert!(cancelled.join().is_err());
        assert_eq!(*notes.lock().unwrap(), ["second reader", "third reader"]);
        drop(lock.try_write().unwrap());
    });
}

#[test]
fn sy4_a_writer_that_locks_again_panics_with_what_to_do() {
    fn claim() {
        let lock = RwLock::new(1);
        let writer = lock.write();
        let read = catch_unwind(AssertUnwindSafe(|| drop(lock.read())));
        let write = catch_unwind(AssertUnwindSafe(|| drop(lock.write())));
        for again in [read, write] {
            assert!(text(&*again.unwrap_err()).contains("drop the guard first"));
        }
        assert!(lock.try_read().is_none() && lock.read_timeout(SHORT).is_none());
        drop(writer);
        assert_eq!(*lock.read(), 1);
    }
    on_one_worker_and_on_two(claim);
    claim();
}

#[test]
fn a_writer_that_goes_on_reading_lets_the_readers_in_and_no_writer() {
    on_one_worker_and_on_two(|| {
        let (lock, notes) = (Arc::new(RwLock::new(())), Notes::default());
        let writer = lock.write();
        let reads = start(&lock, &notes, false, "reads");
        let writes = start(&lock, &notes, true, "writes");
        let reader = RwLockWriteGuard::downgrade(writer);
        reads.join().unwrap();
        let_the_others_run();
        assert!(!writes.is_finished());
        drop(reader);
        writes.join().unwrap();
        assert_eq!(*notes.lock().unwrap(), ["reads", "writes"]);
    });
}

/// SY5: a writer is alone, readers are not with one, among coroutines and threads.
#[test]
fn sy5_a_writer_is_alone_among_coroutines_and_threads() {
    const VISITORS: usize = 8;
    for workers in [1, 2] {
        for threads in [0, 3, VISITORS] {
            runtime_of(workers).run(move || {
                let lock = Arc::new(RwLock::new(0));
                // Readers count up, a writer is -1000.
                let inside = Arc::new(AtomicIsize::new(0));
                let visit =
                    |n: usize, lock: &RwLock<usize>, inside: &AtomicIsize, on_thread: bool| {
                        for round in 0..300 {
                            if (n + round).is_multiple_of(4) {
                                let mut writer = lock.write();
                                assert_eq!(inside.fetch_sub(1000, Ordering::Relaxed), 0);
                                let seen = *writer;
                                if !on_thread {
                                    yield_now();
                                }
                                *writer = seen + 1;
                                inside.fetch_add(1000, Ordering::Relaxed);
                            } else {
                                let Some(reader) = lock.read_timeout(SHORT) else {
                                    continue;
                                };
                                assert!(inside.fetch_add(1, Ordering::Relaxed) >= 0);
                                let seen = *reader;
                                if !on_thread {
                                    yield_now();
                                }
                                assert_eq!(*reader, seen);
                                inside.fetch_sub(1, Ordering::Relaxed);
                            }
                        }
                    };
                let on_threads: Vec<_> = (0..threads)
                    .map(|n| {
                        let (lock, inside) = (lock.clone(), inside.clone());
                        thread::spawn(move || visit(n, &lock, &inside, true))
                    })
                    .collect();
                let coroutines: Vec<_> = (threads..VISITORS)
                    .map(|n| {
                        let (lock, inside) = (lock.clone(), inside.clone());
                        spawn(move || visit(n, &lock, &inside, false))
                    })
                    .collect();
                coroutines.into_iter().for_each(|it| it.join().unwrap());
                on_threads.into_iter().for_each(|it| {
                    pass_until(|| it.is_finished());
                    it.join().unwrap();
                });
                assert_eq!(*lock.read(), VISITORS * 300 / 4);
            });
        }
    }
}

#[test]
fn the_rest_of_the_interface() {
    static TABLE: RwLock<u32> = RwLock::new(1);
    *TABLE.write() += 1;
    assert_eq!(*TABLE.read(), 2);
    let mut lock: Box<RwLock<[i32]>> = Box::new(RwLock::new([1, 2]));
    lock.get_mut()[0] = 5;
    assert_eq!(format!("{lock:?}"), "RwLock { value: [5, 2] }");
    let writer = lock.write();
    assert_eq!(
        format!("{lock:?} {writer:?}"),
        "RwLock { value: <locked> } [5, 2]"
    );
    drop(writer);
    assert_eq!(
        RwLock::from("x").into_inner(),
        RwLock::new("x").into_inner()
    );
}
