//! What is locked and unlocked, without the value: who holds it, and who waits for it.
//!
//! ```text
//!   holder:  nobody ──lock──► A ──unlock, nobody waits──────────────► nobody
//!                             └───unlock; queue: [ B | C | .. ]─────► B, before B runs again
//! ```
//!
//! While somebody waits somebody holds it: an unlock hands it over. So whoever finds it free overtakes nobody.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::super::fault::{self, Fault};
use super::super::strand::Strand;
use crate::lock::{Guard, Lock};
use crate::task::{Holder, WaitReason};
use crate::wait::{self, WaitQueue};

pub(super) struct RawMutex {
    /// Written under the lock.
    holder: Holder,
    state: Lock<State>,
}

struct State {
    /// By who each is, to be the next holder.
    queue: WaitQueue<Strand>,
}

/// What those who wait are told: it is theirs.
const LOCKED: u8 = 0;

impl RawMutex {
    const_fn! {
        pub(super) const fn new() -> Self {
            RawMutex {
                holder: Holder::nobody(),
                state: Lock::new(State {
                    queue: WaitQueue::new(),
                }),
            }
        }
    }

    // Inlined down to the switch, for the reason that `wait` gives: a lock that waits, with its unlock and a yield, took
    // 94 ns with two calls in between, and takes 54 ns.
    #[inline(always)]
    #[track_caller]
    pub(super) fn lock(&self) {
        let me = Strand::current();
        let state = self.state.lock();
        if !self.take(&state, me) {
            if self.holder().is(me) {
                drop(state);
                would_wait_for_itself();
            }
            let locked = self.wait_in(state, me, None);
            debug_assert!(locked, "without a deadline a wait ends with a grant");
        }
        self.holder.note_site();
    }

    #[inline]
    #[track_caller]
    pub(super) fn try_lock(&self) -> bool {
        let me = Strand::current();
        let locked = self.take(&self.state.lock(), me);
        if locked {
            self.holder.note_site();
        }
        locked
    }

    #[track_caller]
    pub(super) fn lock_until(&self, deadline: Option<Instant>) -> bool {
        let me = Strand::current();
        let state = self.state.lock();
        let locked = self.take(&state, me) || self.wait_in(state, me, deadline);
        if locked {
            self.holder.note_site();
        }
        locked
    }

    /// By whoever has the guard.
    #[inline]
    pub(super) fn unlock(&self) {
        let state = self.state.lock();
        debug_assert!(!self.holder().is_nobody());
        if state.queue.is_empty() {
            self.holder.set(Strand::NOBODY.number());
        } else {
            self.hand_over(state);
        }
    }

    #[inline(always)]
    fn holder(&self) -> Strand {
        Strand::of(self.holder.get())
    }

    #[inline(always)]
    fn take(&self, state: &State, me: Strand) -> bool {
        let free = self.holder().is_nobody();
        debug_assert!(
            !free || state.queue.is_empty(),
            "whoever waits is handed it"
        );
        if free {
            self.holder.set(me.number());
        }
        free
    }

    #[inline(always)]
    #[track_caller]
    fn wait_in(&self, state: Guard<'_, State>, me: Strand, deadline: Option<Instant>) -> bool {
        wait::wait(
            state,
            |state| &mut state.queue,
            me,
            WaitReason::Mutex.on(&raw const self.holder),
            deadline,
            |state, granted| self.leave(state, granted),
        )
        .is_some()
    }

    /// One has left the queue, and cannot hold the mutex any more if it was handed over.
    fn leave(&self, state: Guard<'_, State>, granted: Option<u8>) {
        if granted.is_some() && !fault::is_in(Fault::MutexLost) {
            self.hand_over(state);
        }
    }

    /// Gives it to the one that has waited longest; to nobody if all have left.
    fn hand_over(&self, mut state: Guard<'_, State>) {
        self.holder.set(Strand::NOBODY.number());
        let wakeup = state
            .queue
            .grant(LOCKED, |next| self.holder.set(next.number()));
        drop(state);
        if let Some(wakeup) = wakeup {
            wakeup.wake();
        }
    }
}

#[cfg(all(test, shuttle))]
impl RawMutex {
    /// What a cancellation does to a lock that has just begun.
    pub(super) fn begin_and_leave(&self) {
        let me = Strand::current();
        let state = self.state.lock();
        if self.take(&state, me) {
            drop(state);
            self.unlock();
        } else {
            let leave = |state: Guard<'_, State>, granted| self.leave(state, granted);
            wait::begin_and_leave(state, |state| &mut state.queue, me, leave);
        }
    }
}

#[cold]
fn would_wait_for_itself() -> ! {
    panic!(
        "a mutex is locked by the one that holds it, which would wait for itself for ever: drop the guard first"
    )
}
