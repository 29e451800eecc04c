//! Numbers for coroutines: unique in the process, never given twice.
//!
//! A worker draws [`BLOCK`] numbers at a time from the process-wide counter and hands them out one
//! by one, so that a spawn needs no atomic operation for its number.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;

use crate::seam::sync::real::atomic::{AtomicU64, Ordering};

/// The next number. No other memory hangs on it, and a `static` must be const: so std's own atomic.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Numbers drawn at once.
const BLOCK: u64 = 1024;

/// The name of a coroutine among all of the process, as [`std::thread::ThreadId`] of a thread.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(NonZeroU64);

impl Id {
    /// The number itself; the first coroutine of a process has 1.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl Id {
    #[cfg(test)]
    pub(crate) fn of(number: u64) -> Id {
        Id(NonZeroU64::new(number).expect("numbers start at 1"))
    }

    /// A number for a coroutine that no worker spawns.
    pub(crate) fn take_one() -> Id {
        Id(NonZeroU64::new(NEXT.fetch_add(1, Ordering::Relaxed)).expect("numbers start at 1"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One worker's supply of numbers.
pub(crate) struct Ids {
    next: Cell<u64>,
    end: Cell<u64>,
}

impl Ids {
    pub(crate) const fn new() -> Self {
        Ids {
            next: Cell::new(0),
            end: Cell::new(0),
        }
    }

    /// A number that nobody had before.
    #[inline]
    pub(crate) fn take(&self) -> Id {
        if self.next.get() == self.end.get() {
            self.refill();
        }
        let id = self.next.get();
        self.next.set(id + 1);
        Id(NonZeroU64::new(id).expect("numbers start at 1"))
    }

    #[cold]
    fn refill(&self) {
        let first = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
        self.next.set(first);
        self.end.set(first + BLOCK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn two_supplies_never_give_the_same_number() {
        let (a, b) = (Ids::new(), Ids::new());
        let numbers: HashSet<Id> = (0..3 * BLOCK).flat_map(|_| [a.take(), b.take()]).collect();
        assert_eq!(numbers.len(), 6 * BLOCK as usize);
    }
}
