//! Crowds of parked units: how each kind is made, parked and released.
//!
//! | kind       | parks in             | counted by                    | released by            |
//! |------------|----------------------|-------------------------------|------------------------|
//! | coroutine  | `park`, on its stack | its handle in a list          | `unpark`, one by one   |
//! | thread     | `thread::park`       | an atomic                     | `unpark`, one by one   |
//! | process    | a futex              | a word in shared memory       | one wake-up for all    |
//!
//! A crowd that is dropped unreleased still ends: coroutines with their `run`, processes killed. Threads would stay
//! until their process ends, which is the helper's next step then.
#![forbid(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use runtime::coroutine::{self, Coroutine, current, park};
use rustix::thread::futex;

use crate::climb::{Growth, Population};
use crate::experiments::panicked;
use crate::limits::room_for_threads;
use crate::memory;
use crate::os::{self, SharedWords};

/// Parked coroutines of one worker, which also runs the caller.
#[derive(Default)]
pub struct Coroutines {
    handles: Vec<coroutine::JoinHandle<()>>,
    gate: Arc<Gate>,
}

/// Where units wait to be released.
#[derive(Default)]
struct Gate {
    is_open: AtomicBool,
    waiting: Mutex<Vec<Coroutine>>,
}

impl Gate {
    fn pass(&self) {
        self.waiting().push(current());
        // Relaxed: one worker runs us all, and no other data is handed over.
        while !self.is_open.load(Ordering::Relaxed) {
            park();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Coroutine>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Coroutines {
    /// Lets all of them go on to their end, and waits for it.
    ///
    /// # Errors
    /// If one of them panicked.
    pub fn release(self) -> io::Result<()> {
        self.gate.is_open.store(true, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.gate.waiting());
        waiting.iter().for_each(Coroutine::unpark);
        self.handles
            .into_iter()
            .try_for_each(|handle| handle.join().map_err(panicked))
    }
}

impl Population for Coroutines {
    // excerpt: coroutines
    fn grow(&mut self, count: u64) -> Growth {
        let start = Instant::now();
        let mut refused = None;
        for made in 0..count {
            let gate = Arc::clone(&self.gate);
            match coroutine::Builder::new().spawn(move || gate.pass()) {
                Ok(handle) => self.handles.push(handle),
                Err(error) => {
                    refused = Some((made, error));
                    break;
                }
            }
        }
        while self.gate.waiting().len() < self.handles.len() {
            runtime::yield_now();
        }
        // excerpt: end
        Growth {
            took: start.elapsed(),
            refused,
        }
    }

    fn own_bytes(&self) -> io::Result<u64> {
        memory::own_bytes()
    }
}

/// Parked threads.
#[derive(Default)]
pub struct Threads {
    handles: Vec<thread::JoinHandle<()>>,
    shared: Arc<ThreadGate>,
}

#[derive(Default)]
struct ThreadGate {
    is_open: AtomicBool,
    parked: AtomicU64,
}

impl ThreadGate {
    fn pass(&self) {
        // Relaxed, both: they count and announce, and hand no other data over.
        self.parked.fetch_add(1, Ordering::Relaxed);
        while !self.is_open.load(Ordering::Relaxed) {
            thread::park();
        }
    }
}

impl Threads {
    /// Lets all of them go on to their end, and waits for it.
    ///
    /// # Errors
    /// If one of them panicked.
    pub fn release(self) -> io::Result<()> {
        self.shared.is_open.store(true, Ordering::Relaxed);
        self.handles
            .iter()
            .for_each(|handle| handle.thread().unpark());
        self.handles
            .into_iter()
            .try_for_each(|handle| handle.join().map_err(panicked))
    }
}

impl Population for Threads {
    fn grow(&mut self, count: u64) -> Growth {
        let start = Instant::now();
        let mut refused = None;
        for made in 0..count {
            let shared = Arc::clone(&self.shared);
            match thread::Builder::new().spawn(move || shared.pass()) {
                Ok(handle) => self.handles.push(handle),
                Err(error) => {
                    refused = Some((made, error));
                    break;
                }
            }
        }
        while self.shared.parked.load(Ordering::Relaxed) < self.handles.len() as u64 {
            thread::yield_now();
        }
        Growth {
            took: start.elapsed(),
            refused,
        }
    }

    fn room(&self) -> Option<(u64, String)> {
        room_for_threads()
    }

    fn own_bytes(&self) -> io::Result<u64> {
        memory::own_bytes()
    }
}

/// Forked children that sleep on a futex in shared memory.
pub struct Processes {
    children: Vec<os::Child>,
    words: SharedWords,
    own_bytes: u64,
}

/// The word that counts the children which have come to be parked.
const PARKED: usize = 0;
/// The word that becomes 1 when they may end.
const OPEN: usize = 1;

impl Processes {
    /// None yet.
    ///
    /// # Errors
    /// The system's, if it refuses a page to share with them.
    pub fn new() -> io::Result<Processes> {
        Ok(Processes {
            children: Vec::new(),
            words: SharedWords::new()?,
            own_bytes: 0,
        })
    }

    /// Lets all of them go on to their end, and waits for it.
    ///
    /// # Errors
    /// If one of them did not end as it should.
    pub fn release(mut self) -> io::Result<()> {
        self.words[OPEN].store(1, Ordering::Relaxed);
        futex::wake(&self.words[OPEN], futex::Flags::empty(), i32::MAX as u32)?;
        self.children.drain(..).try_for_each(os::Child::wait)
    }
}

// excerpt: processes
/// What a child does until it is released.
fn wait_for_release(words: &SharedWords) -> i32 {
    // Relaxed, as for threads.
    words[PARKED].fetch_add(1, Ordering::Relaxed);
    while words[OPEN].load(Ordering::Relaxed) == 0 {
        // An error means that the word has changed or a signal came: look again.
        let _ = futex::wait(&words[OPEN], futex::Flags::empty(), 0, None);
    }
    0
}
// excerpt: end

impl Population for Processes {
    fn grow(&mut self, count: u64) -> Growth {
        let start = Instant::now();
        let mut refused = None;
        for made in 0..count {
            match os::fork(|| wait_for_release(&self.words)) {
                Ok(child) => self.children.push(child),
                Err(error) => {
                    refused = Some((made, error));
                    break;
                }
            }
        }
        while u64::from(self.words[PARKED].load(Ordering::Relaxed)) < self.children.len() as u64 {
            thread::yield_now();
        }
        let took = start.elapsed();
        let made = refused.as_ref().map_or(count, |&(made, _)| made);
        let private = self
            .children
            .last()
            .map(|child| memory::private_bytes(child.pid()));
        // A child that cannot be looked at leaves the figure too small rather than the crowd too few.
        self.own_bytes += made * private.and_then(Result::ok).unwrap_or(0);
        Growth { took, refused }
    }

    /// Of each step's children the last one was asked: to ask all would take longer than to make them.
    fn own_bytes(&self) -> io::Result<u64> {
        Ok(self.own_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coroutines_grow_park_and_end_when_released() {
        runtime::run(|| {
            let mut coroutines = Coroutines::default();
            assert!(coroutines.grow(100).refused.is_none());
            assert!(
                coroutines
                    .handles
                    .iter()
                    .all(|handle| !handle.is_finished())
            );
            coroutines.release().unwrap();
        });
    }

    #[test]
    fn threads_grow_park_and_end_when_released() {
        let mut threads = Threads::default();
        assert!(threads.grow(10).refused.is_none());
        assert!(threads.handles.iter().all(|handle| !handle.is_finished()));
        threads.release().unwrap();
    }
}
