//! Waiting in a queue: how a coroutine or a thread gets, in its turn, what another one gives.
//!
//! ```text
//!   object: Lock<S>           on the waiters' own stacks
//!   ┌───────────────────┐     ┌────────────────┐     ┌────────────────┐
//!   │ .. WaitQueue ─────┼───► │ Node   payload │ ◄─► │ Node   payload │      first come, first served
//!   └───────────────────┘     └──────┬─────────┘     └──────┬─────────┘
//!                                    ▼                      ▼
//!                             Waiter  who, outcome   Waiter  who, outcome
//!
//!   waiter, by `wait`                        granter, by `WaitQueue::grant`
//!   1 lock; nothing to be had: link; unlock  1 lock; something to give: unlink the first
//!   2 outcome? park; again                   2 take down whom to wake; hand over; outcome = granted
//!   3 granted: return                        3 unlock; wake
//! ```
//!
//! What is given goes straight to the one whose turn it is, under the object's lock: it is that waiter's before it
//! runs again, and nobody can come in between. Waiting allocates nothing.
//!
//! **Whoever leaves without a grant** (its time is over, or it unwinds because it is cancelled) unlinks its node under
//! the lock before its frame goes. If it finds there that it was granted after all, then a timeout is none, and the
//! wait returns; an unwinding cannot be turned back, so the object gets the grant back by
//! the wait's `leave`, to pass it on. That is told of those who leave in vain too: whoever stood behind one that wanted
//! much may be content with what there is.
//!
//! **Who touches a node when.** Node and payload: under the object's lock, while linked; a grant unlinks. The outcome
//! is what the waiter looks at without the lock: *once it is written the node may be gone*, so it is the last that a
//! granter touches. A waiter that waits in one queue only is granted under that object's lock, by a plain
//! store. One that waits in [several](Waiter::in_several) has several objects, with a lock each: whoever grants must win
//! the outcome first, by one compare-and-swap, or else goes on to the next node.
//!
//! **The waiter stays the same** for the whole of a wait, though it be inside a generator: between its parks only this
//! file's code runs, and a generator changes hands where its body suspends itself, nowhere else.

mod queue;
mod waiter;

use std::time::Instant;

use crate::lock::{Guard, Lock};
use crate::park::{Wait, Wake};

pub(crate) use queue::{Node, Place, WaitQueue, release_all};
pub(crate) use waiter::{Waiter, Wakeup};

/// Waits in `queue` until granted, and returns the granter's code; `None` when `deadline` has passed before.
///
/// `leave` is called with the lock taken when the wait ends otherwise, after the node is out of the queue: in vain,
/// with `None`, or, only if the waiter unwinds, with the code of a grant that it cannot take any more.
///
/// Inlined, and so should be whatever calls it on a hot path: each call between a coroutine's code and its switch
/// costs a return that the processor predicts wrongly, after others have run.
///
/// # Panics
/// Unwinds if cancellation or a passed deadline of a `timeout` is due; `leave` has been called then.
#[inline(always)]
pub(crate) fn wait<S, P: Copy>(
    state: Guard<'_, S>,
    queue: impl Fn(&mut S) -> &mut WaitQueue<P>,
    payload: P,
    wait: Wait,
    deadline: Option<Instant>,
    leave: impl FnOnce(Guard<'_, S>, Option<u8>),
) -> Option<u8> {
    wait_after(state, queue, payload, wait, deadline, || (), leave)
}

/// As [`wait`], but calls `before` first: it can be granted something by then, and the lock is not held any more.
#[inline(always)]
pub(crate) fn wait_after<S, P: Copy>(
    mut state: Guard<'_, S>,
    queue: impl Fn(&mut S) -> &mut WaitQueue<P>,
    payload: P,
    wait: Wait,
    deadline: Option<Instant>,
    before: impl FnOnce(),
    leave: impl FnOnce(Guard<'_, S>, Option<u8>),
) -> Option<u8> {
    let waiter = Waiter::in_one();
    let node = Node::new(&waiter, 0, payload);
    let lock = Guard::of(&state);
    // SAFETY: waiter and node stay in this frame, which is left after a grant or after `Enlisted` has
    // unlinked the node. What the payload leads to is the caller's, who waits here.
    unsafe { queue(&mut state).push_back(&node) };
    drop(state);
    let enlisted = Enlisted {
        lock,
        node: &node,
        waiter: &waiter,
        queue,
        leave: Some(leave),
    };
    before();
    loop {
        if let Some(grant) = waiter.grant() {
            enlisted.granted();
            return Some(grant.code);
        }
        if waiter.park(wait, deadline) == Wake::TimedOut {
            return enlisted.time_out();
        }
    }
}

/// A node in a queue, unlinked when dropped.
struct Enlisted<'a, S, P: Copy, Q, L>
where
    Q: Fn(&mut S) -> &mut WaitQueue<P>,
    L: FnOnce(Guard<'_, S>, Option<u8>),
{
    lock: &'a Lock<S>,
    node: &'a Node<P>,
    waiter: &'a Waiter,
    queue: Q,
    /// None once the wait has ended.
    leave: Option<L>,
}

impl<S, P: Copy, Q, L> Enlisted<'_, S, P, Q, L>
where
    Q: Fn(&mut S) -> &mut WaitQueue<P>,
    L: FnOnce(Guard<'_, S>, Option<u8>),
{
    /// Ends a wait that was granted.
    #[inline(always)]
    fn granted(mut self) {
        self.leave = None;
    }

    /// Ends the wait because its time is over, if it still waits.
    #[cold]
    fn time_out(mut self) -> Option<u8> {
        let mut state = self.lock.lock();
        // SAFETY: the node was added to this queue.
        let in_vain = unsafe { (self.queue)(&mut state).unlink(self.node) };
        let leave = self.leave.take();
        if !in_vain {
            // Under the lock there is nothing between unlinked and granted.
            return self.waiter.grant().map(|grant| grant.code);
        }
        if let Some(leave) = leave {
            leave(state, None);
        }
        None
    }

    #[cold]
    fn unwind(&mut self, leave: L) {
        let mut state = self.lock.lock();
        // SAFETY: the node was added to this queue.
        let in_vain = unsafe { (self.queue)(&mut state).unlink(self.node) };
        let granted = self.waiter.grant().filter(|_| !in_vain);
        leave(state, granted.map(|grant| grant.code));
    }
}

impl<S, P: Copy, Q, L> Drop for Enlisted<'_, S, P, Q, L>
where
    Q: Fn(&mut S) -> &mut WaitQueue<P>,
    L: FnOnce(Guard<'_, S>, Option<u8>),
{
    #[inline]
    fn drop(&mut self) {
        if let Some(leave) = self.leave.take() {
            self.unwind(leave);
        }
    }
}

/// What a cancellation does to a wait that has just begun, with others at work meanwhile. A real one unwinds, which
/// shuttle takes for a failure of the thread.
#[cfg(all(test, shuttle))]
pub(crate) fn begin_and_leave<S, P: Copy>(
    mut state: Guard<'_, S>,
    queue: impl Fn(&mut S) -> &mut WaitQueue<P>,
    payload: P,
    leave: impl FnOnce(Guard<'_, S>, Option<u8>),
) {
    let waiter = Waiter::in_one();
    let node = Node::new(&waiter, 0, payload);
    let lock = Guard::of(&state);
    // SAFETY: as in `wait`.
    unsafe { queue(&mut state).push_back(&node) };
    drop(state);
    crate::seam::sync::thread::yield_now();
    drop(Enlisted {
        lock,
        node: &node,
        waiter: &waiter,
        queue,
        leave: Some(leave),
    });
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::cell::Cell;

    const CODE: u8 = 5;

    /// SY2, at the one moment at which it can happen: the grant comes after the waiter has looked and before it unwinds.
    #[test]
    fn sy2_a_grant_to_one_that_unwinds_goes_back_to_the_object() {
        for granted in [false, true] {
            let lock = Lock::new(WaitQueue::new());
            let waiter = Waiter::in_one();
            let node = Node::new(&waiter, 0, ());
            // SAFETY: `Enlisted` unlinks it.
            unsafe { lock.lock().push_back(&node) };
            let told = Cell::new(None);
            let enlisted = Enlisted {
                lock: &lock,
                node: &node,
                waiter: &waiter,
                queue: |queue: &mut WaitQueue<()>| queue,
                leave: Some(|queue: Guard<'_, WaitQueue<()>>, grant| {
                    assert!(queue.is_empty(), "SY6: unlinked before");
                    told.set(Some(grant));
                }),
            };
            if granted {
                lock.lock().grant(CODE, |()| ()).unwrap().wake();
            }
            drop(enlisted);
            assert_eq!(told.get(), Some(granted.then_some(CODE)));
        }
    }

    #[test]
    fn ti5_a_grant_at_the_last_moment_is_not_traded_for_a_timeout() {
        let lock = Lock::new(WaitQueue::new());
        let waiter = Waiter::in_one();
        let node = Node::new(&waiter, 0, ());
        // SAFETY: granted below.
        unsafe { lock.lock().push_back(&node) };
        lock.lock().grant(CODE, |()| ()).unwrap().wake();
        let enlisted = Enlisted {
            lock: &lock,
            node: &node,
            waiter: &waiter,
            queue: |queue: &mut WaitQueue<()>| queue,
            leave: Some(|_: Guard<'_, WaitQueue<()>>, _| unreachable!("it stays")),
        };
        assert_eq!(enlisted.time_out(), Some(CODE));
    }
}
