//! Mutexes: what is theirs alone. What every primitive does alike is in `sync_matrix`.

#![forbid(unsafe_code)]

mod strands_support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use runtime::coroutine::{Cancelled, spawn, spawn_local};
use runtime::generator::Generator;
use runtime::sync::{MappedMutexGuard, Mutex, MutexGuard, OnceCell, RwLock, oneshot};
use runtime::yield_now;
use strands_support::*;

const SHORT: Duration = Duration::from_millis(2);

// ---- SY4: who locks twice, who comes first -----------------------------------------------------------------

#[test]
fn sy4_whoever_holds_it_and_locks_it_again_panics_with_what_to_do_and_the_mutex_is_unharmed() {
    fn claim() {
        let mutex = Mutex::new(0);
        let mut guard = mutex.lock();
        let again = catch_unwind(AssertUnwindSafe(|| drop(mutex.lock())));
        assert!(text(&*again.unwrap_err()).contains("drop the guard first"));
        assert!(mutex.try_lock().is_none());
        assert!(mutex.lock_timeout(SHORT).is_none());
        *guard += 1;
        drop(guard);
        assert_eq!(*mutex.lock(), 1);
    }
    on_one_worker_and_on_two(claim);
    claim();
}

#[test]
fn sy4_one_that_was_handed_it_is_its_holder_too() {
    on_one_worker_and_on_two(|| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock();
        let theirs = mutex.clone();
        let next = spawn(move || {
            let _guard = theirs.lock();
            catch_unwind(AssertUnwindSafe(|| drop(theirs.lock()))).is_err()
        });
        let_the_others_run();
        drop(guard);
        assert!(next.join().unwrap());
        drop(mutex.lock());
    });
}

/// SY4: the bound is zero: the one that unlocks and locks again, and one that tries, come after all who wait.
#[test]
fn sy4_nobody_overtakes_one_of_a_hundred_who_wait() {
    const WAITERS: usize = 100;
    on_one_worker_and_on_two(|| {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let guard = mutex.lock();
        let waiters: Vec<_> = (0..WAITERS)
            .map(|n| {
                let mutex = mutex.clone();
                let waiter = spawn_local(move || {
                    mutex.lock().push(n);
                    // Whoever comes twice comes after all who have come once.
                    mutex.lock().push(WAITERS + n);
                });
                yield_now();
                waiter
            })
            .collect();
        drop(guard);
        // It has been handed to the first, which has not run yet.
        assert!(mutex.try_lock().is_none());
        mutex.lock().push(usize::MAX);
        waiters.into_iter().for_each(|it| it.join().unwrap());
        let mut order = mutex.lock().clone();
        let ours = order.iter().position(|&n| n == usize::MAX).unwrap();
        assert!(ours <= WAITERS, "{ours} were before us, of {WAITERS}");
        order.remove(ours);
        assert!(order.is_sorted(), "{order:?}");
    });
}

#[test]
fn sy4_guards_are_dropped_in_any_order() {
    on_one_worker_and_on_two(|| {
        let mutexes = [(); 3].map(|()| Mutex::new(0));
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut guards = mutexes.each_ref().map(|mutex| Some(mutex.lock()));
            for place in order {
                **guards[place].as_mut().unwrap() += 1;
                guards[place] = None;
                assert!(mutexes[place].try_lock().is_some());
            }
        }
        assert_eq!(mutexes.map(Mutex::into_inner), [3; 3]);
    });
}

// ---- SY5, SC6: one at a time, whoever they are ---------------------------------------------------------------

/// SY5; and SC6: a guard is held across a yield, and neighbours of the same worker lock meanwhile.
#[test]
fn sy5_sc6_one_at_a_time_is_inside_among_coroutines_and_threads() {
    const VISITORS: usize = 8;
    const ROUNDS: usize = 300;
    for workers in [1, 2] {
        for threads in [0, 3, VISITORS] {
            runtime_of(workers).run(move || {
                let mutex = Arc::new(Mutex::new(0));
                let inside = Arc::new(AtomicUsize::new(0));
                let visit = move |mutex: &Mutex<usize>, inside: &AtomicUsize, on_thread: bool| {
                    for round in 0..ROUNDS {
                        let mut visits = match round % 3 {
                            0 => mutex.lock(),
                            1 => loop {
                                if let Some(guard) = mutex.lock_timeout(SHORT) {
                                    break guard;
                                }
                            },
                            _ => match mutex.try_lock() {
                                Some(guard) => guard,
                                None => mutex.lock(),
                            },
                        };
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                        let seen = *visits;
                        if !on_thread {
                            yield_now();
                        }
                        *visits = seen + 1;
                        inside.fetch_sub(1, Ordering::Relaxed);
                    }
                };
                let on_threads: Vec<_> = (0..threads)
                    .map(|_| {
                        let (mutex, inside) = (mutex.clone(), inside.clone());
                        thread::spawn(move || visit(&mutex, &inside, true))
                    })
                    .collect();
                let coroutines: Vec<_> = (threads..VISITORS)
                    .map(|_| {
                        let (mutex, inside) = (mutex.clone(), inside.clone());
                        spawn(move || visit(&mutex, &inside, false))
                    })
                    .collect();
                coroutines.into_iter().for_each(|it| it.join().unwrap());
                on_threads.into_iter().for_each(|it| {
                    pass_until(|| it.is_finished());
                    it.join().unwrap();
                });
                assert_eq!(*mutex.lock(), VISITORS * ROUNDS);
            });
        }
    }
}

// ---- Cancelled on the way ----------------------------------------------------------------------------------------

#[test]
fn sy2_one_that_is_cancelled_after_the_hand_over_has_the_lock_and_unlocks() {
    on_one_worker_and_on_two(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock();
        let theirs = mutex.clone();
        let next = spawn_local(move || {
            *theirs.lock() += 1;
            yield_now();
            unreachable!("cancelled at the yield");
        });
        let_the_others_run();
        drop(guard);
        next.cancel();
        assert!(next.join().unwrap_err().is::<Cancelled>());
        assert_eq!(*mutex.lock(), 1);
    });
}

#[test]
fn pa10_the_value_stays_as_a_panicking_holder_has_left_it() {
    on_one_worker_and_on_two(|| {
        let mutex = Arc::new(Mutex::new(vec![1]));
        let holds = Arc::new(AtomicBool::new(false));
        let (theirs, says_so) = (mutex.clone(), holds.clone());
        let holder = spawn(move || {
            let mut value = theirs.lock();
            value.push(2);
            says_so.store(true, Ordering::Relaxed);
            yield_now();
            std::panic::resume_unwind(Box::new("a holder's panic"));
        });
        // The other worker may have taken the holder, and takes as long as it likes to start it.
        pass_until(|| holds.load(Ordering::Relaxed));
        let theirs = mutex.clone();
        let waits = spawn(move || theirs.lock().push(3));
        assert!(holder.join().is_err());
        waits.join().unwrap();
        let mutex = Arc::into_inner(mutex);
        if let Some(mutex) = mutex {
            assert_eq!(mutex.into_inner(), [1, 2, 3]);
        }
    });
}

#[test]
fn a_guard_that_was_given_to_a_neighbour_unlocks_there() {
    runtime_of(1).run(|| {
        let mutex: &'static Mutex<i32> = Box::leak(Box::new(Mutex::new(0)));
        let mut guard = mutex.lock();
        let neighbour = spawn_local(move || {
            *guard += 1;
            yield_now();
        });
        yield_now();
        assert!(mutex.try_lock().is_none());
        neighbour.join().unwrap();
        assert_eq!(*mutex.lock(), 1);
    });
}

#[test]
fn a_generator_waits_with_whoever_resumes_it() {
    on_one_worker_and_on_two(|| {
        let mutex = Arc::new(Mutex::new(0));
        let theirs = mutex.clone();
        let mut adds = Generator::new(move |y, ()| {
            loop {
                *theirs.lock() += 1;
                y.suspend(());
            }
        });
        for n in 0..3 {
            let guard = mutex.lock();
            let resumer = spawn_local(move || {
                adds.resume(());
                adds
            });
            let_the_others_run();
            assert_eq!(*guard, n);
            drop(guard);
            adds = resumer.join().unwrap();
        }
    });
}

// ---- The rest of the interface -------------------------------------------------------------------------------------

#[test]
fn a_part_of_the_value_keeps_the_whole_locked() {
    let mutex = Mutex::new((1, [0; 4]));
    let mut part: MappedMutexGuard<'_, [i32]> =
        MutexGuard::map(mutex.lock(), |whole| &mut whole.1[1..3]);
    part.fill(7);
    assert!(mutex.try_lock().is_none());
    assert_eq!(
        format!("{part:?} {mutex:?}"),
        "[7, 7] Mutex { value: <locked> }"
    );
    drop(part);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _: MappedMutexGuard<'_, ()> = MutexGuard::map(mutex.lock(), |_| panic!("no part"));
    }));
    assert!(unwound.is_err());
    assert_eq!(*mutex.try_lock().unwrap(), (1, [0, 7, 7, 0]));
}

#[test]
fn it_holds_what_has_no_size_and_lives_in_a_static() {
    static COUNT: Mutex<u32> = Mutex::new(0);
    on_one_worker_and_on_two(|| *COUNT.lock() += 1);
    assert_eq!(*COUNT.lock(), 2);
    let slice: Box<Mutex<[i32]>> = Box::new(Mutex::new([1, 2, 3]));
    slice.lock().reverse();
    assert_eq!(*slice.lock(), [3, 2, 1]);
    let mut from = Mutex::from(5);
    *from.get_mut() += 1;
    assert_eq!(
        (from.into_inner(), Mutex::<u8>::default().into_inner()),
        (6, 0)
    );
}

#[test]
fn what_may_be_shared_and_sent_as_with_std() {
    fn sends<T: Send>() {}
    fn shares<T: Sync>() {}
    sends::<Mutex<Cell<u8>>>();
    shares::<Mutex<Cell<u8>>>();
    sends::<RwLock<Cell<u8>>>();
    shares::<RwLock<u8>>();
    shares::<MutexGuard<'_, u8>>();
    shares::<MappedMutexGuard<'_, u8>>();
    shares::<OnceCell<u8>>();
    sends::<OnceCell<Cell<u8>>>();
    sends::<oneshot::Sender<Cell<u8>>>();
    sends::<oneshot::Receiver<Cell<u8>>>();
}
