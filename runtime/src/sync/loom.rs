//! The real code under loom, which tries every order of every access, and what weak memory makes of it, with two threads
//! that are preempted up to three times:
//!
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p runtime --lib --profile ci --target-dir target/loom sync::loom`
//!
//! What the [model](super::model) does with more of them at random, this does with two to the end. What a primitive
//! guards is a cell of loom's, which sees to it that each visit happens after the one before. There are no sisters with a
//! fault here: loom finds a deadlock, but cannot unwind from it, and ends the process.

use std::sync::Arc;

use loom::cell::UnsafeCell as Watched;
use loom::thread;

use super::{Barrier, Condvar, Mutex, OnceCell, RwLock};

/// Both visitors, one on a thread of its own.
fn in_all_orders<S: Send + Sync + 'static>(subject: fn() -> S, first: fn(&S), second: fn(&S)) {
    loom::model(move || {
        let subject = Arc::new(subject());
        let theirs = subject.clone();
        let second = thread::spawn(move || second(&theirs));
        first(&subject);
        second.join().unwrap();
    });
}

/// A cell that threads share: whether they may is what loom finds out.
struct Cell(Watched<usize>);

// SAFETY: loom tells of accesses that race.
unsafe impl Sync for Cell {}

impl Cell {
    fn new() -> Self {
        Cell(Watched::new(0))
    }

    fn get(&self) -> usize {
        // SAFETY: as above.
        self.0.with(|value| unsafe { *value })
    }

    fn add(&self) {
        // SAFETY: as above.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }
}

#[test]
fn mutex() {
    fn add(mutex: &Mutex<Cell>) {
        mutex.lock().add();
    }
    fn add_twice(mutex: &Mutex<Cell>) {
        add(mutex);
        add(mutex);
    }
    in_all_orders(|| Mutex::new(Cell::new()), add_twice, add);
}

#[test]
fn rwlock() {
    fn write(lock: &RwLock<Cell>) {
        lock.write().add();
    }
    fn read(lock: &RwLock<Cell>) {
        lock.read().get();
    }
    in_all_orders(|| RwLock::new(Cell::new()), write, read);
}

#[test]
fn condvar() {
    type Flag = (Mutex<bool>, Condvar);
    fn wait((set, changed): &Flag) {
        drop(changed.wait_while(set.lock(), |set| !*set));
    }
    fn set((set, changed): &Flag) {
        *set.lock() = true;
        changed.notify_one();
    }
    in_all_orders(|| (Mutex::new(false), Condvar::new()), wait, set);
}

#[test]
fn once() {
    fn get((cell, made): &(OnceCell<()>, Cell)) {
        cell.get_or_init(|| made.add());
    }
    in_all_orders(|| (OnceCell::new(), Cell::new()), get, get);
}

#[test]
fn barrier() {
    /// What each has done before.
    type Phase = (Barrier, [Cell; 2]);
    fn come((barrier, before): &Phase, own: usize) {
        before[own].add();
        barrier.wait();
        assert_eq!(before[1 - own].get(), 1);
    }
    fn phase() -> Phase {
        (Barrier::new(2), [Cell::new(), Cell::new()])
    }
    in_all_orders(phase, |phase| come(phase, 0), |phase| come(phase, 1));
}
