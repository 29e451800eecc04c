//! A ring of events, written by one worker, read by anyone.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::panic::Location;

use super::Event;
use crate::id::Id;
use crate::seam::sync::Arc;
use crate::seam::sync::real::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use crate::seam::sync::real::{Mutex, lock};

/// Events that a worker keeps, 2 MiB: the last 65,536.
const EVENTS_MAX: usize = 1 << 16;

/// Who a coroutine is.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) name: Option<Box<str>>,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// Labels that a worker keeps at most.
const LABELS_MAX: usize = 1 << 16;

pub(crate) struct Ring {
    // Never changes.
    worker: String,
    slots: Box<[Slot; EVENTS_MAX]>,
    // Written by the worker.
    /// How many events it has ever written.
    head: AtomicU64,
    /// The worker has ended.
    left: AtomicBool,
    // Any thread; guarded by the lock.
    labels: Mutex<HashMap<u64, Label>>,
}

/// An event.
struct Slot([AtomicU64; 4]);

impl Ring {
    /// A ring for the worker of this name. Touches all of its memory, so that no event has to.
    pub(super) fn new(worker: String) -> Self {
        let slot = || Slot([const { AtomicU64::new(u64::MAX) }; 4]);
        let slots: Box<[Slot]> = (0..EVENTS_MAX).map(|_| slot()).collect();
        Ring {
            worker,
            slots: slots.try_into().unwrap_or_else(|_| unreachable!("as many")),
            head: AtomicU64::new(0),
            left: AtomicBool::new(false),
            labels: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn worker(&self) -> &str {
        &self.worker
    }

    /// Writes an event. The worker only.
    #[inline]
    pub(crate) fn record(&self, event: Event) {
        let head = self.head.load(Ordering::Relaxed);
        // Release: a reader that meets one of the words below meets this head too, by its fence, and knows that the
        // event that was here before is gone.
        fence(Ordering::Release);
        let Slot(slot) = &self.slots[head as usize % EVENTS_MAX];
        for (word, value) in slot.iter().zip(event.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
        // Release: who sees it as written sees its words.
        self.head.store(head + 1, Ordering::Release);
    }

    /// The events that are there, at most `count`, the oldest first; and how many were written before them.
    pub(crate) fn last(&self, count: usize) -> (Vec<Event>, u64) {
        // Acquire: pairs with the Release in `record`.
        let head = self.head.load(Ordering::Acquire);
        let first = head.saturating_sub(count.min(EVENTS_MAX) as u64);
        let copied: Vec<[u64; 4]> = (first..head)
            .map(|n| {
                let Slot(slot) = &self.slots[n as usize % EVENTS_MAX];
                std::array::from_fn(|word| slot[word].load(Ordering::Relaxed))
            })
            .collect();
        // Acquire: pairs with the fence in `record`.
        fence(Ordering::Acquire);
        let now = self.head.load(Ordering::Relaxed);
        // The one that is being written overwrites one more.
        let whole = (now + 1).saturating_sub(EVENTS_MAX as u64).max(first);
        let skipped = usize::try_from(whole - first).map_or(copied.len(), |n| n.min(copied.len()));
        let events = copied[skipped..].iter().copied();
        (events.filter_map(Event::from_words).collect(), whole)
    }

    /// Tells who a coroutine is.
    pub(crate) fn tell(&self, id: Id, name: Option<&str>, spawned_at: &'static Location<'static>) {
        let mut labels = lock(&self.labels);
        if labels.len() < LABELS_MAX {
            let name = name.map(Box::from);
            labels.insert(id.get(), Label { name, spawned_at });
        }
    }

    /// Who the coroutines are that have run here.
    pub(crate) fn labels(&self) -> HashMap<u64, Label> {
        lock(&self.labels).clone()
    }

    /// Who one of them is.
    pub(crate) fn label(&self, id: u64) -> Option<Label> {
        lock(&self.labels).get(&id).cloned()
    }

    /// The worker has ended, or has new readers: nobody asks for those of before.
    pub(crate) fn forget_labels(&self) {
        lock(&self.labels).clear();
    }

    /// The worker ends.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_in_use(self: &Arc<Self>) -> bool {
        !self.left.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn event(n: u64) -> Event {
        Event::new(n, n, Kind::Spawn, n, n)
    }

    #[test]
    fn a_ring_keeps_the_last_events_in_order() {
        let ring = Ring::new("w".into());
        assert_eq!(ring.last(9), (vec![], 0));
        (0..3).for_each(|n| ring.record(event(n)));
        assert_eq!(ring.last(2), (vec![event(1), event(2)], 1));
        assert_eq!(ring.last(9).0.len(), 3);
        (3..EVENTS_MAX as u64 + 9).for_each(|n| ring.record(event(n)));
        let (events, before) = ring.last(usize::MAX);
        // One less than there is room: the oldest may be about to be overwritten.
        assert_eq!((events.len(), before), (EVENTS_MAX - 1, 10));
        assert!(events.iter().zip(before..).all(|(is, n)| *is == event(n)));
    }

    #[test]
    fn a_reader_beside_the_writer_gets_whole_events_only() {
        let ring = Arc::new(Ring::new("w".into()));
        let theirs = ring.clone();
        let writer = std::thread::spawn(move || {
            (0..4 * EVENTS_MAX as u64).for_each(|n| theirs.record(event(n)));
        });
        while !writer.is_finished() {
            let (events, before) = ring.last(usize::MAX);
            assert!(events.iter().zip(before..).all(|(is, n)| *is == event(n)));
        }
        writer.join().unwrap();
    }
}
