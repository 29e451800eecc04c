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
//! look worth a try: one call more that says `EAGAIN`. The counts are 63 bits wide because a stream
//! that never blocks on writing spends no write edge for life, and 2^32 of them come within a day.

#![forbid(unsafe_code)]

use crate::seam::sync::atomic::{AtomicU64, Ordering};

/// Lowest bit of the word, the count is above: a call may stop short although more lies behind, at
/// the peer's end, a hang-up, an error or an urgent byte. Once set it stays.
const STOPS_SHORT: u64 = 1;

const ONE_EDGE: u64 = 2;

/// A direction's count of edges at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edges(u64);

/// Reading or writing, as the reactor knows it.
pub(crate) struct Side {
    edges: AtomicU64,
    spent: AtomicU64,
}

impl Side {
    pub(super) fn new() -> Self {
        Self {
            edges: AtomicU64::new(ONE_EDGE),
            spent: AtomicU64::new(0),
        }
    }

    /// The count so far. Read it before the system call whose outcome will be [`spend`](Side::spend)ed.
    pub(crate) fn edges(&self) -> Edges {
        // Acquire: pairs with the Release in `count`, so that what was set before an edge is seen by
        // whom it wakes.
        Edges(self.edges.load(Ordering::Acquire))
    }

    /// Whether nothing has come since the descriptor was found dry.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_since().is_some()
    }

    /// The count at which the descriptor was found dry, if nothing has come since.
    pub(super) fn dry_since(&self) -> Option<Edges> {
        let edges = self.edges();
        // Relaxed: who misses another's `spend` makes one more call.
        (edges.0 == self.spent.load(Ordering::Relaxed)).then_some(edges)
    }

    /// Says that a call made after `edges` was read found the descriptor dry (`EAGAIN`).
    pub(crate) fn spend(&self, edges: Edges) {
        self.spent.store(edges.0, Ordering::Relaxed);
    }

    /// Takes that back, because nobody is going to tell of the next edge: the next call tries for itself.
    pub(crate) fn unspend(&self) {
        let edges = self.edges.load(Ordering::Relaxed);
        self.spent.store(edges - ONE_EDGE, Ordering::Relaxed);
    }

    /// Says that such a call moved fewer bytes than it had room for, which means dry as well
    /// (epoll(7), question 9) unless something lies in the way.
    pub(crate) fn spend_short(&self, edges: Edges) {
        if edges.0 & STOPS_SHORT == 0 {
            self.spend(edges);
        }
    }

    /// Counts an edge. Called by dispatch, on one thread, and by the end of a registration, after
    /// which the count matters to nobody: so two calls at a time may count one.
    pub(super) fn count(&self, stops_short: bool) {
        let edges = self.edges.load(Ordering::Relaxed) + ONE_EDGE;
        let edges = edges | if stops_short { STOPS_SHORT } else { 0 };
        // Release: pairs with the Acquire in `edges`.
        self.edges.store(edges, Ordering::Release);
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
    fn what_is_taken_back_is_worth_a_try_again() {
        let side = Side::new();
        for _ in 0..2 {
            side.spend(side.edges());
            assert!(side.is_dry());
            side.unspend();
            assert!(!side.is_dry());
            side.count(true);
        }
    }

    #[test]
    fn a_short_read_means_dry_unless_something_lies_in_the_way() {
        let side = Side::new();
        side.spend_short(side.edges());
        assert!(side.is_dry());
        side.count(true);
        side.count(false);
        side.spend_short(side.edges());
        assert!(!side.is_dry());
        side.spend(side.edges());
        assert!(side.is_dry(), "EAGAIN is to be believed always");
    }
}
