//! What all of `runtime::sync` has in common: see [`sync_support`] for the matrix of situations and places.
//!
//! PA10, SY2, SY5, SY6 and TI5 for each; what one of them has alone is in a file of its own.

#![forbid(unsafe_code)]

mod strands_support;
mod sync_support;

use std::sync::{Arc, Mutex as StdMutex};
use std::thread;
use std::time::{Duration, Instant};

use runtime::sync::{Barrier, Condvar, Event, Mutex, Once, OnceCell, RwLock, Semaphore, WaitGroup};
use strands_support::OnDrop;
use sync_support::{Subject, matrix};

/// Somebody holds the mutex.
impl Subject for Mutex<()> {
    fn new(_: usize) -> Self {
        Mutex::new(())
    }

    fn hold(&self, f: &mut dyn FnMut()) {
        let _guard = self.lock();
        f();
    }

    fn wait(&self) {
        drop(self.lock());
    }

    fn wait_timeout(&self, duration: Duration) -> bool {
        self.lock_timeout(duration).is_some()
    }

    fn wait_deadline(&self, deadline: Instant) -> bool {
        self.lock_deadline(deadline).is_some()
    }

    fn try_now(&self) -> bool {
        self.try_lock().is_some()
    }
}

#[test]
fn mutex() {
    matrix::<Mutex<()>>();
}

/// A permit of which there is one.
impl Subject for Semaphore {
    fn new(_: usize) -> Self {
        Semaphore::new(1)
    }

    fn hold(&self, f: &mut dyn FnMut()) {
        let _permit = self.acquire();
        f();
    }

    fn wait(&self) {
        drop(self.acquire());
    }

    fn wait_timeout(&self, duration: Duration) -> bool {
        self.acquire_timeout(duration).is_some()
    }

    fn wait_deadline(&self, deadline: Instant) -> bool {
        self.acquire_deadline(deadline).is_some()
    }

    fn try_now(&self) -> bool {
        self.try_acquire().is_some()
    }
}

#[test]
fn semaphore() {
    matrix::<Semaphore>();
}

/// Those who wait write.
struct Writing(RwLock<()>);

/// Those who wait read, beside one that waits to write, but for a moment.
struct Reading(RwLock<()>);

impl Subject for Writing {
    fn new(_: usize) -> Self {
        Writing(RwLock::new(()))
    }

    fn hold(&self, f: &mut dyn FnMut()) {
        let _readers = [self.0.read(), self.0.read()];
        f();
    }

    fn wait(&self) {
        drop(self.0.write());
    }

    fn wait_timeout(&self, duration: Duration) -> bool {
        self.0.write_timeout(duration).is_some()
    }

    fn wait_deadline(&self, deadline: Instant) -> bool {
        self.0.write_deadline(deadline).is_some()
    }

    fn try_now(&self) -> bool {
        self.0.try_write().is_some()
    }
}

impl Subject for Reading {
    fn new(_: usize) -> Self {
        Reading(RwLock::new(()))
    }

    fn hold(&self, f: &mut dyn FnMut()) {
        let _writer = self.0.write();
        f();
    }

    fn wait(&self) {
        drop(self.0.read());
    }

    fn wait_timeout(&self, duration: Duration) -> bool {
        self.0.read_timeout(duration).is_some()
    }

    fn wait_deadline(&self, deadline: Instant) -> bool {
        self.0.read_deadline(deadline).is_some()
    }

    fn try_now(&self) -> bool {
        self.0.try_read().is_some()
    }
}

#[test]
fn rwlock_to_write() {
    matrix::<Writing>();
}

#[test]
fn rwlock_to_read() {
    matrix::<Reading>();
}

/// A flag behind a mutex, to be cleared; the mutex itself is free meanwhile.
struct Flag {
    held: Mutex<bool>,
    cleared: Condvar,
}

impl Subject for Flag {
    fn new(_: usize) -> Self {
        Flag {
            held: Mutex::new(false),
            cleared: Condvar::new(),
        }
    }

    fn hold(&self, f: &mut dyn FnMut()) {
        *self.held.lock() = true;
        let _clear = OnDrop::new(|| {
            *self.held.lock() = false;
            self.cleared.notify_one();
        });
        f();
    }

    fn wait(&self) {
        drop(self.cleared.wait_while(self.held.lock(), |held| *held));
        self.cleared.notify_one(); // the next
    }

    fn wait_timeout(&self, duration: Duration) -> bool {
        let lock = self.held.lock();
        let (_, result) = self
            .cleared
            .wait_timeout_while(lock, duration, |held| *held);
        !result.timed_out()
    }

    fn wait_deadline(&self, deadline: Instant) -> bool {
        let held = self.held.lock();
        !*held || !self.cleared.wait_deadline(held, deadline).1.timed_out()
    }

    fn try_now(&self) -> bool {
        !*self.held.lock()
    }
}

#[test]
fn condvar() {
    matrix::<Flag>();
}

impl Subject for Event {
    fn new(_: usize) -> Self {
        Event::new()
    }

    fn hold(&self, f: &mut dyn FnMut()) {
        let _set = OnDrop::new(|| self.set());
        f();
    }

    fn wait(&self) {
        Event::wait(self);
    }

    fn wait_timeout(&self, duration: Duration) -> bool {
        Event::wait_timeout(self, duration)
    }

    fn wait_deadline(&self, deadline: Instant) -> bool {
        Event::wait_deadline(self, deadline)
    }

    fn try_now(&self) -> bool {
        self.is_set()
    }
}

#[test]
fn event() {
    matrix::<Event>();
}

/// The last two to come are the holder's.
struct Meeting(Arc<Barrier>);

impl Subject for Meeting {
    fn new(waiters: usize) -> Self {
        Meeting(Arc::new(Barrier::new(waiters + 2)))
    }

    fn ready() -> Self {
        Meeting(Arc::new(Barrier::new(1)))
    }

    fn hold(&self, f: &mut dyn FnMut()) {
        let _come = OnDrop::new(|| {
            let barrier = self.0.clone();
            thread::spawn(move || barrier.wait());
            self.0.wait();
        });
        f();
    }

    fn wait(&self) {
        self.0.wait();
    }

    fn wait_timeout(&self, duration: Duration) -> bool {
        self.0.wait_timeout(duration).is_some()
    }

    fn wait_deadline(&self, deadline: Instant) -> bool {
        self.0.wait_deadline(deadline).is_some()
    }

    fn try_now(&self) -> bool {
        self.0.try_wait().is_some()
    }
}

#[test]
fn barrier() {
    matrix::<Meeting>();
}

/// The holder is a member; those who wait become members in order to wait.
struct Group(StdMutex<Option<WaitGroup>>);

impl Group {
    fn join(&self) -> WaitGroup {
        self.0.lock().unwrap().clone().unwrap_or_default()
    }
}

impl Subject for Group {
    fn new(_: usize) -> Self {
        Group(StdMutex::new(Some(WaitGroup::new())))
    }

    fn hold(&self, f: &mut dyn FnMut()) {
        let _leave = OnDrop::new(|| drop(self.0.lock().unwrap().take()));
        f();
    }

    fn wait(&self) {
        self.join().wait();
    }

    fn wait_timeout(&self, duration: Duration) -> bool {
        self.join().wait_timeout(duration).is_ok()
    }

    fn wait_deadline(&self, deadline: Instant) -> bool {
        self.join().wait_deadline(deadline).is_ok()
    }

    fn try_now(&self) -> bool {
        self.join().try_wait().is_ok()
    }
}

#[test]
fn wait_group() {
    matrix::<Group>();
}

/// The holder makes the value. Those who wait make it if it fails.
impl Subject for OnceCell<()> {
    fn new(_: usize) -> Self {
        OnceCell::new()
    }

    fn hold(&self, f: &mut dyn FnMut()) {
        self.get_or_init(f);
    }

    fn wait(&self) {
        self.get_or_init(|| ());
    }

    fn wait_timeout(&self, duration: Duration) -> bool {
        OnceCell::wait_timeout(self, duration).is_some()
    }

    fn wait_deadline(&self, deadline: Instant) -> bool {
        OnceCell::wait_deadline(self, deadline).is_some()
    }

    fn try_now(&self) -> bool {
        self.get().is_some()
    }
}

#[test]
fn once_cell() {
    matrix::<OnceCell<()>>();
}

impl Subject for Once {
    fn new(_: usize) -> Self {
        Once::new()
    }

    fn hold(&self, f: &mut dyn FnMut()) {
        self.call_once(f);
    }

    fn wait(&self) {
        self.call_once(|| ());
    }

    fn wait_timeout(&self, duration: Duration) -> bool {
        Once::wait_timeout(self, duration)
    }

    fn wait_deadline(&self, deadline: Instant) -> bool {
        Once::wait_deadline(self, deadline)
    }

    fn try_now(&self) -> bool {
        self.is_completed()
    }
}

#[test]
fn once() {
    matrix::<Once>();
}
