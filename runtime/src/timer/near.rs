//! Near: the timers of the present granule, in order.
//!
//! ```text
//!   run    [ 9, 7, 4, 3 ]   a slot's timers, sorted when it was opened; taken from the end
//!   late   ( 5, 8 )         a heap: those that were inserted after that
//! ```
//!
//! The earlier of the two fronts is the first. A timer that is cancelled stays in here as a name whose generation has
//! passed; the caller skips it. The run ends within a granule, and the heap, before it grows, is swept.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A timer by name. Ordered by deadline first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    pub(super) deadline: u64,
    pub(super) index: u32,
    pub(super) generation: u32,
}

pub(super) struct Near {
    run: Vec<Node>,
    late: BinaryHeap<Reverse<Node>>,
}

impl Near {
    pub(super) fn new() -> Self {
        Near {
            run: Vec::new(),
            late: BinaryHeap::new(),
        }
    }

    /// Adds to the run, which is to be sorted then.
    #[inline]
    pub(super) fn add(&mut self, node: Node) {
        self.run.push(node);
    }

    pub(super) fn sort(&mut self) {
        self.run.sort_unstable_by_key(|node| Reverse(node.deadline));
    }

    /// Adds a timer to those that are sorted already.
    pub(super) fn insert(&mut self, node: Node, is_pending: impl Fn(Node) -> bool) {
        let late = &mut self.late;
        if late.len() == late.capacity() {
            late.retain(|&Reverse(node)| is_pending(node));
            // A sweep must pay: half of it is room for as many inserts as it has looked at.
            late.reserve(late.len() + 16);
        }
        late.push(Reverse(node));
    }

    #[cfg(test)]
    pub(super) fn late_capacity(&self) -> usize {
        self.late.capacity()
    }

    /// The earliest.
    #[inline]
    pub(super) fn first(&self) -> Option<Node> {
        match (self.run.last(), self.late.peek()) {
            (Some(&run), Some(&Reverse(late))) => Some(run.min(late)),
            (run, late) => run.copied().or_else(|| late.map(|late| late.0)),
        }
    }

    /// Takes the earliest out.
    #[inline]
    pub(super) fn pop(&mut self) {
        match (self.run.last(), self.late.peek()) {
            (Some(run), Some(Reverse(late))) if late < run => drop(self.late.pop()),
            (None, _) => drop(self.late.pop()),
            _ => drop(self.run.pop()),
        }
    }
}
