//! Timers: who is to be called at what time.
//!
//! A hierarchical timing wheel (Varghese and Lauck, *Hashed and hierarchical timing wheels*, 1987) in front of a
//! small sorted set. A deadline is a number of 64 bits, nanoseconds since the worker was made, and its bytes say
//! where it waits:
//!
//! ```text
//!   deadline   | byte 7 | 6 | 5 | 4 | 3 | byte 2 | 1 . 0  |
//!                level 5  ...           level 0    granule: 65.5 us
//!
//!   wheel      level 0   [ . | . | k7 | . | k2, k9 | ... ]    256 slots of 65.5 us, 16.8 ms in all
//!              level 1   [ . | k4 | . | . | ............ ]    256 slots of 16.8 ms, 4.3 s in all
//!              ... six levels: 584 years
//!   near       (k0, k5, k1)                                   sorted: all up to the present granule
//! ```
//!
//! Far deadlines are not sorted, only thrown into the slot of the level in which they differ from the present
//! ([`wheel`]). When a slot is the next one, it is *opened*: its timers go one or more levels down, those of the
//! present granule into [`near`], which sorts them. So insert and cancel take a constant number of plain steps, the
//! order of firing is exact, and a lone sleeper is not rounded to a tick.
//!
//! The timers themselves are in a slab, linked by their numbers: nothing is allocated while no more are pending
//! than ever before. A key carries a generation, so one that has fired or was cancelled never touches its successor.
#![forbid(unsafe_code)]

mod near;
#[cfg(test)]
mod tests;
mod wheel;

use std::time::{Duration, Instant};

use near::{Near, Node};
use wheel::{Slot, Wheel, granule_of};

/// Names one pending timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    index: u32,
    generation: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    /// Nanoseconds from the `base` of the timers: half the size of an `Instant`, and one comparison.
    deadline: u64,
    /// Grows when the timer fires or is cancelled.
    generation: u32,
    /// Neighbours in the list of a slot; the next free entry while free.
    next: u32,
    previous: u32,
}

/// The pending timers of one worker.
pub(crate) struct Timers<T> {
    base: Instant,
    len: usize,
    free: u32,
    entries: Vec<Entry>,
    /// What each entry is for. Apart from them, so that the walk along a list meets few cache lines.
    targets: Vec<Option<T>>,
    near: Near,
    wheel: Wheel,
}

const NONE: u32 = u32::MAX;

/// So many timers of a distant slot are compared to find the earliest.
const COMPARED_MAX: usize = 16;

impl<T> Timers<T> {
    /// No timer yet. Deadlines before `base` are due at once.
    pub(crate) fn new(base: Instant) -> Self {
        Timers {
            base,
            len: 0,
            free: NONE,
            entries: Vec::new(),
            targets: Vec::new(),
            near: Near::new(),
            wheel: Wheel::new(),
        }
    }

    fn nanos(&self, time: Instant) -> u64 {
        let nanos = time.saturating_duration_since(self.base).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX) // 584 years
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a timer. O(1), but for one that is due within the present granule, where it is O(log n) in these.
    /// Allocates only when more are pending than ever before.
    pub(crate) fn insert(&mut self, deadline: Instant, target: T) -> TimerKey {
        let deadline = self.nanos(deadline);
        if self.free == NONE {
            self.add_entry();
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        entry.deadline = deadline;
        self.targets[index as usize] = Some(target);
        let generation = entry.generation;
        self.len += 1;
        match self.wheel.slot_of(granule_of(deadline)) {
            Some(slot) => self.link(slot, index),
            None => {
                let entries = &self.entries;
                let node = Node {
                    deadline,
                    index,
                    generation,
                };
                self.near.insert(node, |node| is_pending(entries, node));
            }
        }
        TimerKey { index, generation }
    }

    /// Takes a timer back; `None` if it has fired already. O(1).
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = &self.entries[key.index as usize];
        if entry.generation != key.generation {
            return None;
        }
        // One that is near stays there as a name that means nothing any more.
        if let Some(slot) = self.wheel.slot_of(granule_of(entry.deadline)) {
            self.unlink(slot, key.index);
        }
        self.take(key.index)
    }

    /// When to ask for due timers again: at the earliest deadline. Only if that one is beyond the first level, and one
    /// of many in its slot, it may be earlier, at the beginning of the slot.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        let nanos = loop {
            if let Some(node) = self.first_near() {
                break node.deadline;
            }
            let slot = self.wheel.first()?;
            if !slot.is_granule() {
                break self.earliest_of(slot);
            }
            self.open(slot);
        };
        Some(self.base + Duration::from_nanos(nanos))
    }

    /// The earliest deadline of a slot that is too far away to be opened, or, if they are many, its beginning.
    fn earliest_of(&self, slot: Slot) -> u64 {
        let mut earliest = u64::MAX;
        let mut index = self.wheel.head(slot);
        for _ in 0..COMPARED_MAX {
            if index == NONE {
                return earliest;
            }
            let entry = &self.entries[index as usize];
            earliest = earliest.min(entry.deadline);
            index = entry.next;
        }
        self.wheel.start_ns(slot)
    }

    /// Moves those that are due at `now` into `due`, the earliest first, until it holds `max`.
    pub(crate) fn take_due(&mut self, now: Instant, max: usize, due: &mut Vec<T>) {
        let now = self.nanos(now);
        while due.len() < max
            && let Some(target) = self.pop(now)
        {
            due.push(target);
        }
    }

    /// Takes the earliest timer if it is due at `now`.
    #[inline]
    fn pop(&mut self, now: u64) -> Option<T> {
        loop {
            if let Some(node) = self.first_near() {
                if node.deadline > now {
                    return None;
                }
                self.near.pop();
                return self.take(node.index);
            }
            if !self.advance(granule_of(now)) {
                return None;
            }
        }
    }

    /// The earliest of those that are near.
    #[inline]
    fn first_near(&mut self) -> Option<Node> {
        loop {
            let node = self.near.first()?;
            if is_pending(&self.entries, node) {
                return Some(node);
            }
            self.near.pop();
        }
    }

    /// Opens the first slot if it has begun by `granule`; false if there is none, and nobody near then. Nobody is now.
    fn advance(&mut self, granule: u64) -> bool {
        match self.wheel.first() {
            Some(slot) if self.wheel.start(slot) <= granule => {
                self.open(slot);
                true
            }
            _ => {
                self.wheel.advance(granule);
                false
            }
        }
    }

    /// Makes the beginning of the first slot, past or ahead, the present, and brings its timers nearer.
    fn open(&mut self, slot: Slot) {
        self.wheel.advance(self.wheel.start(slot));
        let mut index = self.wheel.clear(slot);
        while index != NONE {
            let entry = &self.entries[index as usize];
            let next = entry.next;
            match self.wheel.slot_of(granule_of(entry.deadline)) {
                Some(lower) => self.link(lower, index),
                None => self.near.add(Node {
                    deadline: entry.deadline,
                    index,
                    generation: entry.generation,
                }),
            }
            index = next;
        }
        self.near.sort();
    }

    #[inline]
    fn link(&mut self, slot: Slot, index: u32) {
        let next = self.wheel.push(slot, index);
        if next != NONE {
            self.entries[next as usize].previous = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.next = next;
        entry.previous = NONE;
    }

    fn unlink(&mut self, slot: Slot, index: u32) {
        let Entry { next, previous, .. } = self.entries[index as usize];
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else {
            self.wheel.set_head(slot, next);
        }
    }

    /// Ends a timer that is in no list any more.
    #[inline]
    fn take(&mut self, index: u32) -> Option<T> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
        self.targets[index as usize].take()
    }

    #[cold]
    fn add_entry(&mut self) {
        let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 timers");
        assert_ne!(index, NONE, "fewer than 2^32 timers");
        self.entries.push(Entry {
            deadline: 0,
            generation: 0,
            next: NONE,
            previous: NONE,
        });
        self.targets.push(None);
        self.free = index;
    }
}

#[inline]
fn is_pending(entries: &[Entry], node: Node) -> bool {
    entries[node.index as usize].generation == node.generation
}
