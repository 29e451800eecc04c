//! The list of those who wait for one direction of a descriptor and have no seat: coroutines of
//! other workers, and whoever came second.
//!
//! Nearly always nobody or one, so the first lives in the record itself; more of them go to a
//! vector. An edge wakes **all**: each tries, and who finds nothing left waits again. Waking only
//! one would need a hand-on from it to the next whenever it leaves something behind, is cancelled or
//! times out; that is worth it for locks, not for sockets that two coroutines seldom read.

#![forbid(unsafe_code)]

use crate::park::Unparker;

/// Names one waiter, so that it can withdraw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

struct Waiter {
    ticket: Ticket,
    unparker: Unparker,
}

/// The waiters of one direction.
pub(super) struct Waiters {
    first: Option<Waiter>,
    rest: Vec<Waiter>,
    next: u32,
}

impl Waiters {
    pub(super) const fn new() -> Self {
        Self {
            first: None,
            rest: Vec::new(),
            next: 0,
        }
    }

    /// Adds a waiter.
    pub(super) fn add(&mut self, unparker: Unparker) -> Ticket {
        let ticket = Ticket(self.next);
        self.next = self.next.wrapping_add(1);
        let waiter = Waiter { ticket, unparker };
        match self.first {
            None => self.first = Some(waiter),
            Some(_) => self.rest.push(waiter),
        }
        ticket
    }

    /// Takes a waiter out that no longer waits. No-op when it has been woken meanwhile.
    pub(super) fn withdraw(&mut self, ticket: Ticket) {
        self.first.take_if(|first| first.ticket == ticket);
        self.rest.retain(|waiter| waiter.ticket != ticket);
    }

    /// Whether nobody waits here.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    /// Moves every waiter to `wakes`, to be unparked when no lock is held any more.
    pub(super) fn take_all(&mut self, wakes: &mut Vec<Unparker>) {
        let all = self.first.take().into_iter().chain(self.rest.drain(..));
        wakes.extend(all.map(|waiter| waiter.unparker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::park::unparker;

    #[test]
    fn re12_a_second_waiter_of_one_direction_is_woken_too() {
        let (mut waiters, mut wakes) = (Waiters::new(), Vec::new());
        for _ in 0..3 {
            waiters.add(unparker());
        }
        waiters.take_all(&mut wakes);
        assert_eq!(wakes.len(), 3);
        waiters.take_all(&mut wakes);
        assert_eq!(wakes.len(), 3, "each is woken once");
    }

    #[test]
    fn whoever_withdraws_is_not_woken_and_the_others_are() {
        let (mut waiters, mut wakes) = (Waiters::new(), Vec::new());
        let tickets = [(); 3].map(|()| waiters.add(unparker()));
        waiters.withdraw(tickets[0]);
        waiters.withdraw(tickets[2]);
        waiters.withdraw(tickets[2]);
        waiters.take_all(&mut wakes);
        assert_eq!(wakes.len(), 1);
    }
}
