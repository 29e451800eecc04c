//! A seat: where a coroutine waits for a source whose home is its own worker.
//!
//! That is nearly every wait there is, and it needs neither lock nor atomic read-modify-write: the
//! waiter sits down, dispatch makes it runnable, and both do so on the same thread.
//!
//! ```text
//!   Record (shared)                 this thread
//!   read:  seat ──── key ─────────► table: the waiting coroutine
//!   write: seat (nobody)
//! ```
//!
//! The seat itself holds but a key, because a record is seen by all threads and a coroutine's
//! pointer must not be. A second waiter finds the seat taken and joins the list, as those of other
//! workers do.

#![forbid(unsafe_code)]

use std::cell::RefCell;

use super::table::{Key, Table};
use crate::seam::sync::atomic::{AtomicU64, Ordering};
use crate::seam::sync::thread_local;
use crate::task::TaskPtr;

thread_local! {
    /// The coroutines of this thread that sit somewhere.
    static SITTING: RefCell<Table<TaskPtr>> = const { RefCell::new(Table::new()) };
}

/// No key makes this token.
const NOBODY: u64 = u64::MAX;

/// Room for one waiter. Read and written by one thread, the home's, so every access is Relaxed.
pub(super) struct Seat(AtomicU64);

impl Seat {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(NOBODY))
    }

    /// Sits down; `None` if the seat is taken (or the thread is ending and has no table any more).
    pub(super) fn sit(&self, task: TaskPtr) -> Option<Key> {
        if self.0.load(Ordering::Relaxed) != NOBODY {
            return None;
        }
        let key = SITTING
            .try_with(|sitting| sitting.borrow_mut().insert(task))
            .ok()?;
        self.0.store(key.to_token(), Ordering::Relaxed);
        Some(key)
    }

    /// Gets up without having been woken.
    pub(super) fn rise(&self, key: Key) {
        if self.0.load(Ordering::Relaxed) == key.to_token() {
            self.take();
        }
    }

    /// Takes whoever sits here, to wake it. The home's thread only: keys mean nothing elsewhere.
    pub(super) fn take(&self) -> Option<TaskPtr> {
        let token = self.0.load(Ordering::Relaxed);
        if token == NOBODY {
            return None;
        }
        self.0.store(NOBODY, Ordering::Relaxed);
        let key = Key::from_token(token);
        SITTING
            .try_with(|sitting| sitting.borrow_mut().remove(key))
            .ok()?
    }

    /// Forgets whoever sits here, who will never return from its wait: it was given up.
    pub(super) fn clear(&self) {
        self.0.store(NOBODY, Ordering::Relaxed);
    }
}
