//! Timers: who is to be called at what time.
//!
//! A 4-ary heap of `(deadline, key)`, earliest on top, beside a slab that knows where in the heap
//! each key stands, so that a timer is cancelled in place and leaves nothing behind:
//!
//! ```text
//!   heap     [ (3 ms, k2) | (7 ms, k0) (4 ms, k5) (9 ms, k1) (8 ms, k3) | ... ]
//!   entries  k0 -> place 1, k1 -> place 3, k2 -> place 0, ...
//! ```
//!
//! Four children to a node halve the depth of a binary heap, and the four lie in one or two cache
//! lines (LaMarca and Ladner, *The influence of caches on the performance of heaps*, 1996).
//! Insert and cancel are O(log n), the earliest deadline is at hand and exact: a lone sleeper is
//! not rounded to a tick. A key carries a generation, so one that has fired or was cancelled
//! never touches its successor.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// Names one pending timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    index: u32,
    generation: u32,
}

#[derive(Clone, Copy)]
struct Node {
    /// Nanoseconds from the `base` of the timers: half the size of an `Instant`, and one comparison.
    deadline: u64,
    index: u32,
}

struct Entry<T> {
    generation: u32,
    /// Place in the heap while pending; the next free entry while free.
    place: u32,
    target: Option<T>,
}

/// The pending timers of one worker.
pub(crate) struct Timers<T> {
    base: Instant,
    heap: Vec<Node>,
    entries: Vec<Entry<T>>,
    free: u32,
}

const ARITY: usize = 4;
const NONE: u32 = u32::MAX;

impl<T> Timers<T> {
    /// No timer yet. Deadlines before `base` are due at once.
    pub(crate) fn new(base: Instant) -> Self {
        Timers {
            base,
            heap: Vec::new(),
            entries: Vec::new(),
            free: NONE,
        }
    }

    fn nanos(&self, time: Instant) -> u64 {
        let nanos = time.saturating_duration_since(self.base).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX) // 584 years
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The earliest deadline.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.heap
            .first()
            .map(|node| self.base + Duration::from_nanos(node.deadline))
    }

    /// Adds a timer. O(log n); allocates only when more are pending than ever before.
    pub(crate) fn insert(&mut self, deadline: Instant, target: T) -> TimerKey {
        let place = self.heap.len();
        let index = if self.free == NONE {
            self.entries.push(Entry {
                generation: 0,
                place: 0,
                target: None,
            });
            u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 timers")
        } else {
            let index = self.free;
            self.free = self.entries[index as usize].place;
            index
        };
        let entry = &mut self.entries[index as usize];
        entry.target = Some(target);
        let generation = entry.generation;
        let deadline = self.nanos(deadline);
        self.heap.push(Node { deadline, index });
        self.sift_up(place);
        TimerKey { index, generation }
    }

    /// Takes a timer back; `None` if it has fired already.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = &self.entries[key.index as usize];
        if entry.generation != key.generation || entry.target.is_none() {
            return None;
        }
        self.take_at(entry.place as usize)
    }

    /// Takes the earliest timer if it is due at `now`.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        if self.heap.first()?.deadline > self.nanos(now) {
            return None;
        }
        self.take_at(0)
    }

    fn take_at(&mut self, place: usize) -> Option<T> {
        let node = self.heap.swap_remove(place);
        if place < self.heap.len() {
            // The node that came from the end may belong above or below this place.
            self.sift_down(place);
            self.sift_up(place);
        }
        let entry = &mut self.entries[node.index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.place = self.free;
        self.free = node.index;
        entry.target.take()
    }

    /// Lets the node at `place` rise to where it belongs. Those that it passes move down one by one; it is written
    /// once, at the end.
    fn sift_up(&mut self, mut place: usize) {
        let node = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if self.heap[parent].deadline <= node.deadline {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, node);
    }

    /// Lets the node at `place` sink to where it belongs.
    fn sift_down(&mut self, mut place: usize) {
        let node = self.heap[place];
        loop {
            let first = place * ARITY + 1;
            let last = (first + ARITY).min(self.heap.len());
            let Some(child) = (first..last).min_by_key(|&c| self.heap[c].deadline) else {
                break;
            };
            if node.deadline <= self.heap[child].deadline {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, node);
    }

    fn put(&mut self, place: usize, node: Node) {
        self.heap[place] = node;
        self.entries[node.index as usize].place = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at(base: Instant, n: u64) -> Instant {
        base + Duration::from_nanos(n)
    }

    #[test]
    fn timers_fire_in_order_and_only_when_due() {
        let base = Instant::now();
        let mut timers = Timers::new(base);
        for n in [5, 3, 9, 1, 7] {
            timers.insert(at(base, n), n);
        }
        assert_eq!(timers.next_deadline(), Some(at(base, 1)));
        let due: Vec<_> = std::iter::from_fn(|| timers.pop_due(at(base, 5))).collect();
        assert_eq!(due, [1, 3, 5]);
        assert_eq!(timers.len(), 2);
    }

    #[test]
    fn a_key_that_fired_does_not_cancel_its_successor() {
        let base = Instant::now();
        let mut timers = Timers::new(base);
        let old = timers.insert(base, "old");
        assert_eq!(timers.pop_due(base), Some("old"));
        let new = timers.insert(base, "new");
        assert_eq!(old.index, new.index, "the entry is reused");
        assert_eq!(timers.cancel(old), None);
        assert_eq!(timers.cancel(new), Some("new"));
        assert_eq!(timers.cancel(new), None);
    }

    #[test]
    fn any_sequence_of_calls_agrees_with_a_sorted_map() {
        let base = Instant::now();
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..50 {
            let (mut timers, mut model) = (Timers::new(base), BTreeMap::new());
            for step in 0..2000u64 {
                random = random
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let draw = random >> 33;
                match draw % 4 {
                    0 | 1 => {
                        let deadline = at(base, draw % 10_007);
                        let key = timers.insert(deadline, step);
                        model.insert((deadline, step), key);
                    }
                    2 => {
                        let chosen = model.iter().nth(draw as usize % model.len().max(1));
                        if let Some((&(deadline, step), &key)) = chosen {
                            assert_eq!(timers.cancel(key), Some(step));
                            model.remove(&(deadline, step));
                        }
                    }
                    _ => {
                        let earliest = model.first_key_value().map(|(&(deadline, _), _)| deadline);
                        assert_eq!(timers.next_deadline(), earliest);
                        if let Some(now) = earliest {
                            let fired = timers.pop_due(now).expect("due");
                            assert!(
                                model.remove(&(now, fired)).is_some(),
                                "a timer of that deadline"
                            );
                        }
                    }
                }
                assert_eq!(timers.len(), model.len());
            }
        }
    }
}
