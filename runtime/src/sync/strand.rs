//! Who holds a lock: so that whoever would wait for itself is told so.
#![forbid(unsafe_code)]

#[cfg(not(any(loom, shuttle)))]
use std::cell::Cell;

#[cfg(not(any(loom, shuttle)))]
use crate::home;
#[cfg(not(any(loom, shuttle)))]
use crate::seam::sync::thread_local;

/// A coroutine, a plain thread, or nobody.
///
/// A coroutine is known by its number, which is never given twice; a thread by the address of something of its own. So
/// only what a thread has left locked when it ended can be taken for that of a later one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Strand(u64);

impl Strand {
    pub(super) const NOBODY: Strand = Strand(0);

    /// Whoever calls. Cost: four loads in a coroutine.
    #[cfg(not(any(loom, shuttle)))]
    #[inline(always)]
    pub(super) fn current() -> Self {
        // Addresses are even.
        match home::strand() {
            Some((_, task)) => Strand(task.id().get() << 1 | 1),
            None => Strand(thread_mark()),
        }
    }

    /// The threads of a model checker share the one that they run on: not told apart.
    #[cfg(any(loom, shuttle))]
    pub(super) fn current() -> Self {
        Strand(2)
    }

    /// As a [`Holder`](crate::task::Holder) notes it, and back.
    #[inline(always)]
    pub(super) fn number(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(super) fn of(number: u64) -> Self {
        Strand(number)
    }

    #[inline(always)]
    pub(super) fn is_nobody(self) -> bool {
        self == Strand::NOBODY
    }

    /// Both are the same, for sure.
    #[inline(always)]
    pub(super) fn is(self, other: Strand) -> bool {
        !cfg!(any(loom, shuttle)) && self == other
    }
}

#[cfg(not(any(loom, shuttle)))]
#[cold]
fn thread_mark() -> u64 {
    thread_local! {
        static MARK: Cell<u16> = const { Cell::new(0) };
    }
    MARK.with(|mark| std::ptr::from_ref(mark).addr() as u64)
}
