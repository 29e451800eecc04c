//! The real code under shuttle, with threads of its for those who wait: many random orders, among which each priority
//! inversion of small depth is likely (PCT; Burckhardt et al., 2010).
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p runtime --lib --profile ci --target-dir target/shuttle model`
//!
//! Each check has a sister that puts a [`Fault`] in, and has to fail. A deadlock is a failure, too.

use std::cell::Cell;

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use super::fault::{self, Fault};
use super::oneshot;
use super::{Barrier, Condvar, Mutex, OnceCell, RwLock};
use crate::seam::clock;

const SCHEDULES: usize = 20_000;
/// Steps of which the order matters, at most.
const DEPTH: usize = 3;

/// Has all visitors come, each on a thread of its own, in many orders; then looks at what they have left.
fn in_many_orders<S: Send + Sync + 'static>(
    subject: fn() -> S,
    visitors: &'static [fn(&S)],
    look: fn(&S),
) {
    shuttle::check_pct(
        move || {
            let subject = Arc::new(subject());
            let visitors: Vec<_> = visitors
                .iter()
                .map(|visit| {
                    let subject = subject.clone();
                    thread::spawn(move || visit(&subject))
                })
                .collect();
            visitors.into_iter().for_each(|it| it.join().unwrap());
            look(&subject);
        },
        SCHEDULES,
        DEPTH,
    );
}

fn broken_in_many_orders<S: Send + Sync + 'static>(
    fault: Fault,
    subject: fn() -> S,
    visitors: &'static [fn(&S)],
    look: fn(&S),
) {
    fault::put_in(fault);
    in_many_orders(subject, visitors, look);
}

// ---- Mutex ---------------------------------------------------------------------------------------------------------

/// How often it was locked; whoever has it is alone for several steps.
type Counted = Mutex<Cell<usize>>;

fn counted() -> Counted {
    Mutex::new(Cell::new(0))
}

fn add(mutex: &Counted) {
    let count = mutex.lock();
    let seen = count.get();
    thread::yield_now();
    assert_eq!(count.replace(seen + 1), seen, "one at a time");
}

fn add_in_haste(mutex: &Counted) {
    match mutex.lock_deadline(clock::now()) {
        Some(count) => count.set(count.get() + 1),
        None => add(mutex),
    }
}

fn begin_and_leave(mutex: &Counted) {
    mutex.begin_and_leave();
}

const MUTEX: &[fn(&Counted)] = &[add, begin_and_leave, add_in_haste];

fn two_have_added(mutex: &Counted) {
    assert_eq!(mutex.try_lock().expect("nobody holds it").get(), 2);
}

#[test]
fn mutex() {
    in_many_orders(counted, MUTEX, two_have_added);
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutex_that_is_lost() {
    broken_in_many_orders(Fault::MutexLost, counted, MUTEX, two_have_added);
}

// ---- Reader-writer lock --------------------------------------------------------------------------------------------

/// How often it was written; each access is a step at which others can run.
type Shared = RwLock<AtomicUsize>;

fn shared() -> Shared {
    RwLock::new(AtomicUsize::new(0))
}

fn read(lock: &Shared) {
    let reader = lock.read();
    let seen = reader.load(Ordering::SeqCst);
    thread::yield_now();
    assert_eq!(reader.load(Ordering::SeqCst), seen, "nobody writes");
}

fn write(lock: &Shared) {
    let writer = lock.write();
    let seen = writer.load(Ordering::SeqCst);
    assert_eq!(writer.swap(seen + 1, Ordering::SeqCst), seen, "one writes");
}

fn write_in_haste(lock: &Shared) {
    if lock.write_deadline(clock::now()).is_none() {
        read(lock);
    }
}

fn begin_to_write_and_leave(lock: &Shared) {
    lock.begin_to_write_and_leave();
}

const RWLOCK: &[fn(&Shared)] = &[read, begin_to_write_and_leave, read, write];
const RWLOCK_HASTE: &[fn(&Shared)] = &[read, write_in_haste, write];

fn one_has_written(lock: &Shared) {
    let writer = lock.try_write().expect("nobody has it");
    assert_eq!(writer.load(Ordering::SeqCst), 1);
}

#[test]
fn rwlock() {
    in_many_orders(shared, RWLOCK, one_has_written);
}

#[test]
fn rwlock_in_haste() {
    in_many_orders(shared, RWLOCK_HASTE, one_has_written);
}

/// Nobody comes who would let them in by the way. The first goes on looking until shuttle has had enough.
#[test]
#[should_panic(expected = "max_steps")]
fn rwlock_whose_readers_are_held_up() {
    const VISITORS: &[fn(&Shared)] = &[
        |lock| {
            let reader = lock.read();
            // Leaves when the other reader has been in.
            while reader.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
        },
        begin_to_write_and_leave,
        |lock| {
            lock.read().fetch_add(1, Ordering::SeqCst);
        },
    ];
    broken_in_many_orders(Fault::ReadersHeldUp, shared, VISITORS, one_has_written);
}

// ---- Condition variable --------------------------------------------------------------------------------------------

type Tokens = (Mutex<usize>, Condvar);

fn no_tokens() -> Tokens {
    (Mutex::new(0), Condvar::new())
}

fn take((tokens, added): &Tokens) {
    *added.wait_while(tokens.lock(), |tokens| *tokens == 0) -= 1;
}

fn give((tokens, added): &Tokens) {
    *tokens.lock() += 1;
    added.notify_one();
}

fn give_to_all((tokens, added): &Tokens) {
    *tokens.lock() += 2;
    added.notify_all();
}

fn begin_to_take_and_leave((tokens, added): &Tokens) {
    added.begin_and_leave(tokens.lock());
}

fn look_in_haste((tokens, added): &Tokens) {
    drop(added.wait_deadline(tokens.lock(), clock::now()));
}

const CONDVAR: &[fn(&Tokens)] = &[take, begin_to_take_and_leave, give];

fn none_is_left((tokens, _): &Tokens) {
    assert_eq!(*tokens.try_lock().expect("nobody holds it"), 0);
}

#[test]
fn condvar() {
    in_many_orders(no_tokens, CONDVAR, none_is_left);
}

#[test]
fn condvar_to_all_and_in_haste() {
    const VISITORS: &[fn(&Tokens)] = &[take, look_in_haste, take, give_to_all];
    in_many_orders(no_tokens, VISITORS, none_is_left);
}

#[test]
#[should_panic(expected = "deadlock")]
fn condvar_whose_notification_is_lost() {
    broken_in_many_orders(Fault::NotificationLost, no_tokens, CONDVAR, none_is_left);
}

#[test]
#[should_panic(expected = "deadlock")]
fn condvar_that_unlocks_too_early() {
    const VISITORS: &[fn(&Tokens)] = &[take, give];
    broken_in_many_orders(Fault::UnlockedTooEarly, no_tokens, VISITORS, none_is_left);
}

// ---- Once ------------------------------------------------------------------------------------------------------------

type Made = OnceCell<u32>;

fn make(cell: &Made) {
    let made = *cell.get_or_init(|| {
        thread::yield_now();
        7
    });
    assert_eq!(made, 7);
}

fn fail_to_make(cell: &Made) {
    let outcome = cell.get_or_try_init(|| {
        thread::yield_now();
        Err(())
    });
    assert!(matches!(outcome, Ok(7) | Err(())));
}

fn wait_for_it(cell: &Made) {
    assert_eq!(*cell.wait(), 7);
}

const ONCE: &[fn(&Made)] = &[fail_to_make, make, wait_for_it];

fn it_is_there(cell: &Made) {
    assert_eq!(cell.get(), Some(&7));
}

#[test]
fn once() {
    in_many_orders(Made::new, ONCE, it_is_there);
}

#[test]
#[should_panic(expected = "deadlock")]
fn once_whose_turn_is_lost() {
    broken_in_many_orders(Fault::TurnLost, Made::new, ONCE, it_is_there);
}

// ---- Barrier ---------------------------------------------------------------------------------------------------------

fn come(barrier: &Barrier) {
    barrier.wait();
}

/// Comes, goes, and comes again until it was let through.
fn come_and_go(barrier: &Barrier) {
    if barrier.wait_deadline(clock::now()).is_none() {
        barrier.wait();
    }
}

const BARRIER: &[fn(&Barrier)] = &[come, come_and_go, come];

fn nobody_is_left(barrier: &Barrier) {
    assert_eq!(format!("{barrier:?}"), "Barrier { n: 3, there: 0 }");
}

fn for_three() -> Barrier {
    Barrier::new(3)
}

#[test]
fn barrier() {
    in_many_orders(for_three, BARRIER, nobody_is_left);
}

#[test]
#[should_panic(expected = "deadlock")]
fn barrier_where_a_leaver_counts() {
    broken_in_many_orders(Fault::LeaverCounts, for_three, BARRIER, nobody_is_left);
}

// ---- Oneshot ---------------------------------------------------------------------------------------------------------

/// The value arrives, or goes back to its sender, or the receiver sees that there will be none: in each order.
#[test]
fn oneshot() {
    shuttle::check_pct(
        || {
            let (sender, mut receiver) = oneshot::channel();
            let sends = thread::spawn(move || sender.send(7));
            let early = receiver.recv_deadline(clock::now());
            match early {
                Ok(value) => assert_eq!(value, 7),
                Err(error) => {
                    assert_eq!(error, oneshot::RecvTimeoutError::Timeout);
                    assert_eq!(receiver.recv(), Ok(7));
                }
            }
            assert_eq!(sends.join().unwrap(), Ok(()));
        },
        SCHEDULES,
        DEPTH,
    );
}
