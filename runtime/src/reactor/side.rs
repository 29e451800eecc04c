//! Readiness of one direction of a descriptor, as two counters.
//!
//! | counter | who writes it          | meaning                                                     |
//! |---------|------------------------|-------------------------------------------------------------|
//! | `edges` | the reactor's dispatch | how many edges the kernel has told                          |
//! | `spent` | whoever finds it dry   | the `edges` read **before** the system call that found it so|
//!
//! `edges == spent`: dry, so wait. `edges != spent`: worth a try. An edge that comes between the
//! system call and the `spend` raises `edges` past what is being spent, so it cannot be lost, and
//! no read-modify-write is needed to see to that. At the start nothing is known: worth a try.
//!
//! When two readers race, the slower one may spend an older count. That only makes a dry descriptor
//! look worth a try: one call more that says `EAGAIN`. The counts are 64 bits wide because a stream
//! that never blocks on writing spends no write edge for life, and 2^32 of them come within a day.

#![forbid(unsafe_code)]

use crate::seam::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A direction's count of edges at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edges(u64);

/// Reading or writing, as the reactor knows it.
pub(crate) struct Side {
    edges: AtomicU64,
    spent: AtomicU64,
    /// Set for good once something lies in the way that makes a call stop short although more is
    /// behind it: the peer's end, a hang-up, an error, an urgent byte.
    stops_short: AtomicBool,
}

impl Side {
    pub(super) fn new() -> Self {
        Self {
            edges: AtomicU64::new(1),
            spent: AtomicU64::new(0),
            stops_short: AtomicBool::new(false),
        }
    }

    /// The count so far. Read it before the system call whose outcome will be [`spend`](Side::spend)ed.
    pub(crate) fn edges(&self) -> Edges {
        // Acquire: pairs with the Release in `count`, so that with an edge comes its `stops_short`.
        Edges(self.edges.load(Ordering::Acquire))
    }

    /// Whether nothing has come since the descriptor was found dry.
    pub(crate) fn is_dry(&self) -> bool {
        self.edges() == Edges(self.spent.load(Ordering::Relaxed))
    }

    /// Says that a call made after `edges` was read found the descriptor dry (`EAGAIN`).
    pub(crate) fn spend(&self, edges: Edges) {
        // Relaxed: a reader elsewhere that misses it makes one more call.
        self.spent.store(edges.0, Ordering::Relaxed);
    }

    /// Says that such a call moved fewer bytes than it had room for, which means dry as well
    /// (epoll(7), question 9) unless something lies in the way.
    pub(crate) fn spend_short(&self, edges: Edges) {
        // Relaxed: an edge that brought it came with the Acquire in `edges`; a later one counts
        // past `edges` and makes what is spent here not matter.
        if !self.stops_short.load(Ordering::Relaxed) {
            self.spend(edges);
        }
    }

    /// Counts an edge. Called by one thread at a time: under the source's lock.
    pub(super) fn count(&self, stops_short: bool) {
        if stops_short {
            self.stops_short.store(true, Ordering::Relaxed);
        }
        let edges = self.edges.load(Ordering::Relaxed);
        // Release: pairs with the Acquire in `edges`.
        self.edges.store(edges + 1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_first_it_is_worth_a_try() {
        assert!(!Side::new().is_dry());
    }

    #[test]
    fn re7_an_edge_between_the_call_and_the_spend_is_not_lost() {
        let side = Side::new();
        let before_the_call = side.edges();
        side.count(false);
        side.spend(before_the_call);
        assert!(!side.is_dry());
    }

    #[test]
    fn a_short_read_means_dry_unless_something_lies_in_the_way() {
        let side = Side::new();
        side.spend_short(side.edges());
        assert!(side.is_dry());
        side.count(true);
        side.spend_short(side.edges());
        assert!(!side.is_dry());
        side.spend(side.edges());
        assert!(side.is_dry(), "EAGAIN is to be believed always");
    }
}
