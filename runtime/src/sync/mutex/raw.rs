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
use crate::task::WaitReason;
use crate::wait::{self, WaitQueue};

pub(super) struct RawMutex {
    state: Lock<State>,
}

struct State {
    holder: Strand,
    /// By who each is, to be the next holder.
    queue: WaitQueue<Strand>,
}

/// What those who wait are told: it is theirs.
const LOCKED: u8 = 0;

impl RawMutex {
    const_fn! {
        pub(super) const fn new() -> Self {
            RawMutex {
                state: Lock::new(State {
                    holder: Strand::NOBODY,
                    queue: WaitQueue::new(),
                }),
            }
        }
    }

    // Inlined down to the switch, for the reason that `wait` gives: a lock that waits, with its unlock and a yield, took
    // 94 ns with two calls in between, and takes 54 ns.
    #[inline(always)]
    pub(super) fn lock(&self) {
        let me = Strand::current();
        let mut state = self.state.lock();
        if !state.take(me) {
            if state.holder.is(me) {
                drop(state);
                would_wait_for_itself();
            }
            let locked = wait_in(state, me, None);
            debug_assert!(locked, "without a deadline a wait ends with a grant");
        }
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        let me = Strand::current();
        self.state.lock().take(me)
    }

    pub(super) fn lock_until(&self, deadline: Option<Instant>) -> bool {
        let me = Strand::current();
        let mut state = self.state.lock();
        state.take(me) || wait_in(state, me, deadline)
    }

    /// By whoever has the guard.
    #[inline]
    pub(super) fn unlock(&self) {
        let mut state = self.state.lock();
        debug_assert!(!state.holder.is_nobody());
        if state.queue.is_empty() {
            state.holder = Strand::NOBODY;
        } else {
            hand_over(state);
        }
    }
}

impl State {
    #[inline(always)]
    fn take(&mut self, me: Strand) -> bool {
        let free = self.holder.is_nobody();
        debug_assert!(!free || self.queue.is_empty(), "whoever waits is handed it");
        if free {
            self.holder = me;
        }
        free
    }
}

#[inline(always)]
fn wait_in(state: Guard<'_, State>, me: Strand, deadline: Option<Instant>) -> bool {
    wait::wait(
        state,
        |state| &mut state.queue,
        me,
        WaitReason::Mutex,
        deadline,
        leave,
    )
    .is_some()
}

/// One has left the queue, and cannot hold the mutex any more if it was handed over.
fn leave(state: Guard<'_, State>, granted: Option<u8>) {
    if granted.is_some() && !fault::is_in(Fault::MutexLost) {
        hand_over(state);
    }
}

/// Gives it to the one that has waited longest; to nobody if all have left.
fn hand_over(mut state: Guard<'_, State>) {
    let State { holder, queue } = &mut *state;
    *holder = Strand::NOBODY;
    let wakeup = queue.grant(LOCKED, |next| *holder = next);
    drop(state);
    if let Some(wakeup) = wakeup {
        wakeup.wake();
    }
}

#[cfg(all(test, shuttle))]
impl RawMutex {
    /// What a cancellation does to a lock that has just begun.
    pub(super) fn begin_and_leave(&self) {
        let me = Strand::current();
        let mut state = self.state.lock();
        if state.take(me) {
            drop(state);
            self.unlock();
        } else {
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
