//! Seats: where a coroutine waits for a source whose home is its own worker.
//!
//! That is nearly every wait there is, and it needs neither lock nor atomic read-modify-write: the
//! waiter sits down, dispatch makes it runnable, and both do so on the same thread.
//!
//! ```text
//!   owner    the worker whose coroutines may sit here, or nobody's
//!   reader   ──► the coroutine that waits to read, or nobody
//!   writer   ──► the coroutine that waits to write, or nobody
//! ```
//!
//! A second waiter of a direction finds the seat taken and joins the list, as those of other workers
//! do. A record is seen by all threads and a coroutine's pointer must not be; hence the owner, which
//! everyone has to show before it gets hold of one.

use std::ptr;

use super::source::Interest;
use crate::home::Home;
use crate::seam::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::task::TaskPtr;

/// Two seats. All accesses are Relaxed: the pointers are read and written by the owner's thread only, and
/// nobody else is ever told its owner's name.
pub(super) struct Seats {
    /// The [`name`] of a worker.
    owner: AtomicUsize,
    reader: AtomicPtr<u8>,
    writer: AtomicPtr<u8>,
}

/// Nobody's name.
const NOBODY: usize = 0;

/// A number that is one worker's as long as it lives. A mailbox is never freed; its next worker gets it
/// after the last one has closed its reactor, which gives all seats up.
fn name(home: &Home) -> usize {
    ptr::from_ref(home.mailbox).addr()
}

impl Seats {
    pub(super) fn new() -> Self {
        Self {
            owner: AtomicUsize::new(NOBODY),
            reader: AtomicPtr::new(ptr::null_mut()),
            writer: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn seat(&self, interest: Interest) -> &AtomicPtr<u8> {
        match interest {
            Interest::Read => &self.reader,
            Interest::Write => &self.writer,
        }
    }

    /// Makes `home` the owner.
    pub(super) fn give_to(&self, home: Option<&Home>) {
        self.owner
            .store(home.map_or(NOBODY, name), Ordering::Relaxed);
    }

    /// Takes the seats away from their owner. Whoever still sits there has been given up and will never
    /// return from its wait, or is on its way out: an owner wakes its own first.
    pub(super) fn give_up(&self) {
        self.owner.store(NOBODY, Ordering::Relaxed);
        self.reader.store(ptr::null_mut(), Ordering::Relaxed);
        self.writer.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Whether coroutines of `home` may sit here.
    #[inline]
    pub(super) fn are_of(&self, home: &Home) -> bool {
        self.owner.load(Ordering::Relaxed) == name(home)
    }

    /// Lets `task`, a coroutine of `home`, sit down; false if it may not or somebody sits there.
    ///
    /// It stays in its wait, on its worker, until it has been [taken](Seats::take) or has
    /// [risen](Seats::rise).
    #[inline]
    pub(super) fn sit(&self, interest: Interest, home: &Home, task: TaskPtr) -> bool {
        let seat = self.seat(interest);
        let free = self.are_of(home) && seat.load(Ordering::Relaxed).is_null();
        if free {
            seat.store(task.into_raw().as_ptr(), Ordering::Relaxed);
        }
        free
    }

    /// Takes whoever sits there, to wake it.
    #[inline]
    pub(super) fn take(&self, interest: Interest, home: &Home) -> Option<TaskPtr> {
        if !self.are_of(home) {
            return None;
        }
        let seat = self.seat(interest);
        let task = ptr::NonNull::new(seat.load(Ordering::Relaxed))?;
        seat.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: `sit` has put it there, by `into_raw`. It is alive, as whoever holds a `TaskPtr` sees to:
        // it is inside its wait, or else would have risen. And it is this thread's: it was one of the owner's
        // coroutines, and the owner is `home`, which is not `Sync`, so this is the thread they run on.
        Some(unsafe { TaskPtr::from_raw(task) })
    }

    /// Gets up without having been woken. The waiter itself; nobody has sat down there since.
    pub(super) fn rise(&self, interest: Interest) {
        self.seat(interest)
            .store(ptr::null_mut(), Ordering::Relaxed);
    }
}
