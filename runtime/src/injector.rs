//! Injectors: queues of coroutines that have not started, which any worker may take from.
//!
//! Each worker of several has one for what its coroutines spawn, and the runtime one for what plain
//! threads spawn. An idle worker takes the oldest: in a tree of coroutines that is the root of the
//! largest part not yet begun, so one theft keeps the thief busy for long (Blumofe and Leiserson,
//! *Scheduling multithreaded computations by work stealing*, 1999). Started coroutines are never in here.
//!
//! A lock around the queue: its owner takes it twice for a coroutine, 10 ns each while nobody
//! steals. A runtime with one worker does not use it at all.
#![forbid(unsafe_code)]

use crate::run_queue::{Position, RunQueue};
use crate::seam::sync::atomic::{AtomicUsize, Ordering};
use crate::seam::sync::{Mutex, lock};

pub(crate) struct Injector<T> {
    // Any thread; a hint without the lock, exact with it.
    len: AtomicUsize,
    queue: Mutex<RunQueue<T>>,
}

impl<T: Copy + PartialEq> Injector<T> {
    pub(crate) fn new() -> Self {
        Injector {
            len: AtomicUsize::new(0),
            queue: Mutex::new(RunQueue::new()),
        }
    }

    /// Appends an entry. `place` is told its position before anyone else can take it. Returns whether `sleepers` was
    /// not zero: then somebody must be woken.
    ///
    /// Whoever falls asleep counts itself first, and looks into the queue [with the lock](Self::is_empty_for_sure)
    /// second. If it looks after this push, it sees the entry; if before, its count is seen here.
    pub(crate) fn push(
        &self,
        entry: T,
        sleepers: &AtomicUsize,
        place: impl FnOnce(Position),
    ) -> bool {
        let mut queue = lock(&self.queue);
        place(queue.tail());
        queue.push(entry);
        self.len
            .store(self.len.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        sleepers.load(Ordering::Relaxed) > 0
    }

    /// Whether there is no entry, and none was pushed by someone who has not seen what the caller did before.
    pub(crate) fn is_empty_for_sure(&self) -> bool {
        let _queue = lock(&self.queue);
        self.is_empty()
    }

    /// Takes the oldest entry; `bind` is told of it before the lock is released.
    pub(crate) fn pop(&self, bind: impl FnOnce(T)) -> Option<T> {
        // A stale 0 is harmless: who falls asleep looks again, with the lock.
        if self.is_empty() {
            return None;
        }
        let mut queue = lock(&self.queue);
        let entry = queue.pop()?;
        self.len
            .store(self.len.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        bind(entry);
        Some(entry)
    }

    /// Takes a certain entry, unless somebody else has; `bind` is told of it before the lock is released.
    pub(crate) fn remove(&self, position: Position, entry: T, bind: impl FnOnce(T)) -> bool {
        let mut queue = lock(&self.queue);
        let removed = queue.remove(position, entry);
        if removed {
            bind(entry);
            self.len
                .store(self.len.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        }
        removed
    }

    /// Shows all entries, the oldest first. None is taken before this returns.
    pub(crate) fn show(&self, show: impl FnMut(T)) {
        let queue = lock(&self.queue);
        let entries = (0..queue.span()).filter_map(|place| queue.ahead(place));
        entries.for_each(show);
    }

    /// How many entries there are, or were a moment ago.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn those_that_are_there_are_shown_the_oldest_first() {
        let (injector, nobody) = (Injector::new(), AtomicUsize::new(0));
        let mut positions = Vec::new();
        for n in 0..5 {
            injector.push(n, &nobody, |position| positions.push(position));
        }
        injector.pop(|_| ());
        injector.remove(positions[2], 2, |_| ());
        let mut shown = Vec::new();
        injector.show(|n| shown.push(n));
        assert_eq!(shown, [1, 3, 4]);
    }

    #[test]
    fn every_entry_goes_to_exactly_one_taker() {
        let (injector, nobody) = (Arc::new(Injector::new()), AtomicUsize::new(0));
        let taken: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut taken = Vec::new();
                        while taken.last() != Some(&u32::MAX) {
                            taken.extend(injector.pop(|_| ()));
                        }
                        taken
                    })
                })
                .collect();
            (0..10_000u32).for_each(|n| {
                let mut position = 0;
                injector.push(n, &nobody, |p| position = p);
                if n % 3 == 0 && injector.remove(position, n, |_| ()) {
                    injector.push(n, &nobody, |_| ());
                }
            });
            for _ in 0..3 {
                injector.push(u32::MAX, &nobody, |_| ());
            }
            takers
                .into_iter()
                .map(|taker| taker.join().unwrap())
                .collect()
        });
        let mut all: Vec<u32> = taken
            .into_iter()
            .flatten()
            .filter(|&n| n != u32::MAX)
            .collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..10_000));
        assert!(injector.is_empty());
    }
}
