//! Queues of those who wait for one thing: a doubly linked list through their stacks.

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::ptr;

use super::{Waiter, Wakeup};
use crate::lock::Guard;

/// A waiter's place in a queue, on its stack. The payload tells the granter what it wants, or where to put it.
pub(crate) struct Node<P> {
    // Guarded by the lock of the object whose queue it is in.
    previous: Cell<*const Node<P>>,
    next: Cell<*const Node<P>>,
    linked: Cell<bool>,
    // Never changes.
    waiter: *const Waiter,
    payload: P,
    case: u16,
    /// Its neighbours know where it is.
    _pinned: PhantomPinned,
}

/// A payload: where in the waiter's frame it is that something is put, or lies ready. Of any type, so that the nodes
/// of one that waits for different things are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) *const ());

// SAFETY: an address. What may be done there is the affair of whoever linked the node.
unsafe impl Send for Place {}

impl Place {
    /// Nothing is put anywhere.
    pub(crate) const NOWHERE: Place = Place(ptr::null());
}

impl<P> Node<P> {
    /// A node of `waiter`, which calls it `case`.
    #[inline]
    pub(crate) fn new(waiter: &Waiter, case: u16, payload: P) -> Self {
        Node {
            previous: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            linked: Cell::new(false),
            waiter,
            payload,
            case,
            _pinned: PhantomPinned,
        }
    }
}

impl<P> Drop for Node<P> {
    #[inline(always)]
    fn drop(&mut self) {
        debug_assert!(!self.linked.get(), "a wait is left by one that is linked");
    }
}

/// Those who wait, first come first served. Part of what its object's [`Lock`] guards.
pub(crate) struct WaitQueue<P> {
    first: *const Node<P>,
    last: *const Node<P>,
    /// All up to this one are to be granted by whoever comes by; see [`release_all`].
    last_leaving: *const Node<P>,
}

// SAFETY: what its pointers lead to is on the waiters' stacks, pinned, and stays while linked (the contract of
// `push_back`). Nodes are touched by who holds the lock of the object that the queue is part of; of a waiter, others
// touch what is atomic, and what the claim gives them. A payload is read by the granter's thread.
unsafe impl<P: Send> Send for WaitQueue<P> {}

impl<P: Copy> WaitQueue<P> {
    pub(crate) const fn new() -> Self {
        WaitQueue {
            first: ptr::null(),
            last: ptr::null(),
            last_leaving: ptr::null(),
        }
    }

    /// Nobody waits here.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// What the first one wants, or has wanted until a moment ago.
    pub(crate) fn first(&self) -> Option<P> {
        // SAFETY: linked, so it is there.
        unsafe { self.first.as_ref() }.map(|node| node.payload)
    }

    /// Adds a node, behind all others.
    ///
    /// # Safety
    /// The node is linked nowhere. It, its waiter, and what the payload leads to stay where they are until the node is
    /// unlinked or granted, under the lock of this queue's object; and as long as it is linked the waiter has not been
    /// granted anything, or is about to unlink it.
    #[inline]
    pub(crate) unsafe fn push_back(&mut self, node: &Node<P>) {
        debug_assert!(!node.linked.get(), "a node is in one queue at a time");
        node.linked.set(true);
        node.previous.set(self.last);
        node.next.set(ptr::null());
        // SAFETY: linked, so it is there.
        match unsafe { self.last.as_ref() } {
            Some(last) => last.next.set(node),
            None => self.first = node,
        }
        self.last = node;
    }

    /// Takes a node out, wherever it is; false if it is not linked any more: it has been granted, or passed over.
    ///
    /// # Safety
    /// It was added to this queue, if to any.
    #[inline]
    pub(crate) unsafe fn unlink(&mut self, node: &Node<P>) -> bool {
        if !node.linked.replace(false) {
            return false;
        }
        let (previous, next) = (node.previous.get(), node.next.get());
        if ptr::eq(self.last_leaving, node) {
            self.last_leaving = previous;
        }
        // SAFETY: its neighbours are linked, so they are there.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.first = next,
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.last = previous,
        }
        true
    }

    /// Grants to the first that waits: `hand_over` gets its payload, then it is told `code`. `None` if nobody waits.
    ///
    /// `hand_over` runs no code of the user's.
    #[inline]
    pub(crate) fn grant(&mut self, code: u8, hand_over: impl FnOnce(P)) -> Option<Wakeup> {
        self.grant_if(code, |_| true, hand_over)
    }

    /// As [`grant`](Self::grant), if what the first one wants fits; otherwise everybody goes on waiting.
    #[inline]
    pub(crate) fn grant_if(
        &mut self,
        code: u8,
        fits: impl Fn(P) -> bool,
        hand_over: impl FnOnce(P),
    ) -> Option<Wakeup> {
        loop {
            // SAFETY: linked, so it is there, and by the contract of `push_back` its waiter too.
            let node = unsafe { self.first.as_ref() }?;
            // SAFETY: see above.
            let waiter = unsafe { &*node.waiter };
            let gone = waiter.is_gone();
            if !gone && !fits(node.payload) {
                return None;
            }
            // From here on the node is known to us alone, and to its waiter, which does not leave before it has had the
            // lock that we hold, or sees the outcome.
            // SAFETY: it is the first of this queue.
            unsafe { self.unlink(node) };
            if !gone && waiter.claim() {
                let wakeup = Wakeup::of(waiter);
                hand_over(node.payload);
                waiter.publish(node.case, code);
                return Some(wakeup);
            }
        }
    }
}

impl<P: Copy> WaitQueue<P> {
    /// As [`grant`](Self::grant), to the first whose payload `fits`, wherever it stands, and that is not the waiter of `mine`.
    #[inline(always)]
    pub(crate) fn grant_where(
        &mut self,
        code: u8,
        mine: Option<&Node<P>>,
        fits: impl Fn(P) -> bool,
        hand_over: impl FnOnce(P),
    ) -> Option<Wakeup> {
        let me = mine.map_or(ptr::null(), |node| node.waiter);
        let mut next = self.first;
        // SAFETY: linked, so it is there.
        while let Some(node) = unsafe { next.as_ref() } {
            next = node.next.get();
            if ptr::eq(node.waiter, me) || !fits(node.payload) {
                continue;
            }
            // SAFETY: as in `grant_if`.
            let waiter = unsafe { &*node.waiter };
            // SAFETY: it is in this queue.
            unsafe { self.unlink(node) };
            if !waiter.is_gone() && waiter.claim() {
                let wakeup = Wakeup::of(waiter);
                hand_over(node.payload);
                waiter.publish(node.case, code);
                return Some(wakeup);
            }
        }
        None
    }

    /// Somebody other than the waiter of `mine` waits here with a payload that `fits`, or has until a moment ago.
    pub(crate) fn contains(&self, mine: Option<&Node<P>>, fits: impl Fn(P) -> bool) -> bool {
        let me = mine.map_or(ptr::null(), |node| node.waiter);
        let mut next = self.first;
        // SAFETY: linked, so it is there.
        while let Some(node) = unsafe { next.as_ref() } {
            if !ptr::eq(node.waiter, me) && fits(node.payload) {
                return true;
            }
            next = node.next.get();
        }
        false
    }
}

/// Grants `code` to all who wait now, and to none who come later. Leaves the lock to others in between.
pub(crate) fn release_all<S, P: Copy>(
    mut state: Guard<'_, S>,
    queue: impl Fn(&mut S) -> &mut WaitQueue<P>,
    code: u8,
) {
    let lock = Guard::of(&state);
    let all = queue(&mut state);
    all.last_leaving = all.last;
    loop {
        let all = queue(&mut state);
        if all.last_leaving.is_null() {
            return;
        }
        let wakeup = all.grant(code, |_| ());
        drop(state);
        if let Some(wakeup) = wakeup {
            wakeup.wake();
        }
        state = lock.lock();
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::super::waiter::Grant;
    use super::*;
    use crate::lock::Lock;
    use crate::park::{WaitReason, Wake};
    use crate::seam::clock;

    const ENDED: u8 = 7;

    /// Takes all out by granting, and returns their payloads.
    fn drain(queue: &mut WaitQueue<u32>) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(wakeup) = queue.grant(0, |payload| order.push(payload)) {
            wakeup.wake();
        }
        order
    }

    #[test]
    fn nodes_come_out_in_their_order_whichever_have_left() {
        for left in 0..1_u32 << 4 {
            let waiters = [(); 4].map(|()| Waiter::in_one());
            let nodes: Vec<_> = (0..)
                .zip(&waiters)
                .map(|(n, waiter)| Node::new(waiter, 0, n))
                .collect();
            let mut queue = WaitQueue::new();
            // SAFETY: all is on this stack, and `drain` unlinks what is left.
            nodes
                .iter()
                .for_each(|node| unsafe { queue.push_back(node) });
            for (n, node) in (0..).zip(&nodes) {
                if left & 1 << n != 0 {
                    // SAFETY: added to this queue.
                    assert!(unsafe { queue.unlink(node) });
                    // SAFETY: as above.
                    assert!(!unsafe { queue.unlink(node) }, "once");
                }
            }
            let stayed: Vec<u32> = (0..4).filter(|n| left & 1 << n == 0).collect();
            assert_eq!(drain(&mut queue), stayed);
            assert!(queue.is_empty());
            for (n, waiter) in waiters.iter().enumerate() {
                assert_eq!(waiter.grant().is_some(), left & 1 << n == 0);
            }
        }
    }

    #[test]
    fn one_that_wants_what_does_not_fit_keeps_its_place() {
        let waiters = [(); 2].map(|()| Waiter::in_one());
        let nodes = [Node::new(&waiters[0], 0, 5), Node::new(&waiters[1], 0, 1)];
        let mut queue = WaitQueue::new();
        // SAFETY: all is on this stack, and `drain` unlinks.
        nodes
            .iter()
            .for_each(|node| unsafe { queue.push_back(node) });
        assert!(queue.grant_if(0, |wanted| wanted < 5, |_| ()).is_none());
        assert_eq!(drain(&mut queue), [5, 1]);
    }

    #[test]
    fn one_that_waits_in_several_queues_is_granted_once() {
        let (several, plain) = (Waiter::in_several(), Waiter::in_one());
        let nodes = [1, 2].map(|case| Node::new(&several, case, u32::from(case)));
        let behind = Node::new(&plain, 0, 9);
        let mut queues = [WaitQueue::new(), WaitQueue::new()];
        // SAFETY: all is on this stack, and granting unlinks all of it.
        unsafe {
            queues[0].push_back(&nodes[0]);
            queues[1].push_back(&nodes[1]);
            queues[1].push_back(&behind);
        }
        queues[0].grant(ENDED, |_| ()).unwrap().wake();
        let grant = Grant {
            case: 1,
            code: ENDED,
        };
        assert_eq!(several.grant(), Some(grant));
        assert_eq!(drain(&mut queues[1]), [9], "passed over");
        assert_eq!(several.grant(), Some(grant));
        assert!(!several.withdraw());
        assert_eq!(
            several.park(WaitReason::Event.alone(), None),
            Wake::Unparked
        );
    }

    #[test]
    fn one_that_has_withdrawn_is_granted_nothing() {
        let waiter = Waiter::in_several();
        let node = Node::new(&waiter, 3, 0);
        let mut queue = WaitQueue::new();
        // SAFETY: all is on this stack, and `grant` unlinks it.
        unsafe { queue.push_back(&node) };
        assert!(waiter.withdraw());
        assert!(queue.grant(0, |_| unreachable!()).is_none());
        assert_eq!(waiter.grant(), None);
        let now = Some(clock::now());
        assert_eq!(waiter.park(WaitReason::Event.alone(), now), Wake::TimedOut);
    }

    #[test]
    fn a_release_of_all_spares_those_who_come_while_it_goes_on() {
        let waiters = [(); 4].map(|()| Waiter::in_one());
        let nodes: Vec<_> = waiters
            .iter()
            .map(|waiter| Node::new(waiter, 0, 0))
            .collect();
        let lock = Lock::new(WaitQueue::new());
        let mut queue = lock.lock();
        // SAFETY: all is on this stack, and unlinked below.
        nodes[..3]
            .iter()
            .for_each(|node| unsafe { queue.push_back(node) });
        queue.last_leaving = queue.last;
        queue.grant(0, |_| ()).unwrap().wake();
        // SAFETY: as above. The last of those who are to be released leaves; somebody comes.
        unsafe {
            queue.unlink(&nodes[2]);
            queue.push_back(&nodes[3]);
        }
        assert!(std::ptr::eq(queue.last_leaving, &nodes[1]));
        queue.grant(0, |_| ()).unwrap().wake();
        assert!(queue.last_leaving.is_null());
        drop(queue);
        release_all(lock.lock(), |queue| queue, ENDED);
        assert!(lock.lock().is_empty());
        let codes = waiters.map(|waiter| waiter.grant().map(|grant| grant.code));
        assert_eq!(codes, [Some(0), Some(0), None, Some(ENDED)]);
    }
}
