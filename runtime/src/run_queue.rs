//! The run queue: who runs next, in order of arrival.
//!
//! A ring of slots in a power of two. `head` and `tail` only ever grow; a *position* is such a
//! count, so the position that [`push`](RunQueue::push) returns names one entry for ever:
//!
//! ```text
//!   slots   | . | . | A | _ | C | D | . | . |      capacity 8
//!                     ^head       ^tail = head + 4
//!   position          10  11  12  13
//! ```
//!
//! [`remove`](RunQueue::remove) takes an entry out of the middle: it leaves a hole (`_`) that `pop`
//! skips, and when the hole is at the end the ring shrinks over it. That is what a join needs
//! which runs its child at once: in a tree of a million coroutines that is walked depth first the
//! ring then holds a few dozen entries.
//!
//! An array of pointers was chosen over an intrusive list because the processor can fetch
//! ahead of it: [`ahead`](RunQueue::ahead) tells who runs a few turns from now.
#![forbid(unsafe_code)]

use crate::seam::schedule;

/// A first-in first-out queue of small copies, with removal by position.
pub(crate) struct RunQueue<T> {
    slots: Box<[Option<T>]>,
    head: usize,
    tail: usize,
}

/// Where an entry stands; unique in one queue (it would take centuries to wrap around).
pub(crate) type Position = usize;

const CAPACITY_MIN: usize = 64;

impl<T: Copy + PartialEq> RunQueue<T> {
    pub(crate) fn new() -> Self {
        RunQueue {
            slots: vec![None; CAPACITY_MIN].into_boxed_slice(),
            head: 0,
            tail: 0,
        }
    }

    /// No entry, not even a hole.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Entries and holes: at least the number of entries.
    #[inline]
    pub(crate) fn span(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    /// The position of the entry that goes next.
    #[inline]
    pub(crate) fn head(&self) -> Position {
        self.head
    }

    /// The position that the next push will get.
    #[inline]
    pub(crate) fn tail(&self) -> Position {
        self.tail
    }

    #[inline]
    fn slot(&mut self, position: Position) -> &mut Option<T> {
        let mask = self.slots.len() - 1;
        &mut self.slots[position & mask]
    }

    /// Appends `entry`.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) -> Position {
        if self.span() == self.slots.len() {
            self.grow();
        }
        let position = self.tail;
        *self.slot(position) = Some(entry);
        self.tail = position.wrapping_add(1);
        position
    }

    /// Puts `entry` before all others.
    #[inline]
    pub(crate) fn push_front(&mut self, entry: T) {
        if self.span() == self.slots.len() {
            self.grow();
        }
        self.head = self.head.wrapping_sub(1);
        let position = self.head;
        *self.slot(position) = Some(entry);
    }

    /// Appends `entry` and takes the one that goes next, which is `entry` itself if there is no other. Never grows: the
    /// one that leaves makes room.
    #[inline(always)]
    pub(crate) fn rotate(&mut self, entry: T) -> T {
        let (head, tail) = (self.head, self.tail);
        let mask = self.slots.len() - 1;
        // As `pop` and `push`, with both ends in registers.
        if head != tail
            && schedule::pick(tail.wrapping_sub(head)) == 0
            && let Some(next) = self.slots[head & mask]
        {
            self.slots[tail & mask] = Some(entry);
            self.head = head.wrapping_add(1);
            self.tail = tail.wrapping_add(1);
            return next;
        }
        self.rotate_slowly(entry)
    }

    /// Over holes, or by a schedule that is not first come, first served.
    #[cold]
    fn rotate_slowly(&mut self, entry: T) -> T {
        match self.pop() {
            Some(next) => {
                let position = self.tail;
                *self.slot(position) = Some(entry);
                self.tail = position.wrapping_add(1);
                next
            }
            None => entry,
        }
    }

    /// Takes the entry that goes next.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        while self.head != self.tail {
            let place = schedule::pick(self.span());
            if place != 0 {
                self.bring_to_head(place);
            }
            let position = self.head;
            self.head = position.wrapping_add(1);
            if let Some(entry) = *self.slot(position) {
                return Some(entry);
            }
        }
        None
    }

    /// The entry `distance` places behind the head, if there is one.
    #[inline]
    pub(crate) fn ahead(&self, distance: usize) -> Option<T> {
        if distance >= self.span() {
            return None;
        }
        let mask = self.slots.len() - 1;
        self.slots[self.head.wrapping_add(distance) & mask]
    }

    /// Takes `entry` out if it still stands at `position`; false if it has left.
    #[inline]
    pub(crate) fn remove(&mut self, position: Position, entry: T) -> bool {
        // Beyond the head and the tail the slots hold what they held last.
        if position.wrapping_sub(self.head) >= self.span() || *self.slot(position) != Some(entry) {
            return false;
        }
        if position.wrapping_add(1) == self.tail {
            self.tail = position;
        } else {
            *self.slot(position) = None;
        }
        while self.head != self.tail && self.slot(self.tail.wrapping_sub(1)).is_none() {
            self.tail = self.tail.wrapping_sub(1);
        }
        true
    }

    #[cold]
    fn bring_to_head(&mut self, place: usize) {
        let (head, chosen) = (self.head, self.head.wrapping_add(place));
        let mask = self.slots.len() - 1;
        self.slots.swap(head & mask, chosen & mask);
    }

    #[cold]
    fn grow(&mut self) {
        let (old_mask, new_len) = (self.slots.len() - 1, self.slots.len() * 2);
        let mut slots = vec![None; new_len].into_boxed_slice();
        for distance in 0..self.span() {
            let position = self.head.wrapping_add(distance);
            slots[position & (new_len - 1)] = self.slots[position & old_mask];
        }
        self.slots = slots;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn entries_leave_in_order_of_arrival() {
        let mut queue = RunQueue::new();
        (0..1000).for_each(|n| {
            queue.push(n);
        });
        assert!((0..1000).eq(std::iter::from_fn(|| queue.pop())));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_removed_entry_is_skipped_and_cannot_be_removed_twice() {
        let mut queue = RunQueue::new();
        let positions = ['a', 'b', 'c'].map(|c| queue.push(c));
        assert!(queue.remove(positions[1], 'b'));
        assert!(!queue.remove(positions[1], 'b'));
        assert_eq!(
            [queue.pop(), queue.pop(), queue.pop()],
            [Some('a'), Some('c'), None]
        );
        assert!(!queue.remove(positions[0], 'a'), "it has left");
    }

    #[test]
    fn removal_at_the_end_gives_the_room_back() {
        let mut queue = RunQueue::new();
        for _ in 0..10_000 {
            let positions: Vec<_> = (0..10).map(|n| (queue.push(n), n)).collect();
            positions
                .iter()
                .for_each(|&(p, n)| assert!(queue.remove(p, n)));
        }
        assert_eq!(queue.span(), 0);
        assert_eq!(queue.slots.len(), CAPACITY_MIN);
    }

    /// A position is reused after the ring shrank: an old holder must not take the new entry.
    #[test]
    fn removal_compares_the_entry_not_the_place_alone() {
        let mut queue = RunQueue::new();
        let place = queue.push(1);
        assert!(queue.remove(place, 1));
        assert_eq!(queue.push(2), place);
        assert!(!queue.remove(place, 1));
        assert_eq!(queue.pop(), Some(2));
    }

    #[test]
    fn any_sequence_of_calls_agrees_with_a_plain_deque() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200 {
            let (mut queue, mut model) = (RunQueue::new(), VecDeque::new());
            for step in 0..500u32 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                match (random >> 33) % 5 {
                    0..3 => model.push_back((queue.push(step), step)),
                    3 => assert_eq!(queue.pop(), model.pop_front().map(|(_, n)| n)),
                    _ if model.is_empty() => {}
                    _ => {
                        let (position, n) =
                            model.remove((random >> 40) as usize % model.len()).unwrap();
                        assert!(queue.remove(position, n));
                    }
                }
            }
            assert!(
                model
                    .iter()
                    .map(|&(_, n)| n)
                    .eq(std::iter::from_fn(|| queue.pop()))
            );
        }
    }
}
