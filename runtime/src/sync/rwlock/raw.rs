//! Who reads, who writes, and who waits for it, without the value.
//!
//! ```text
//!   readers: 2   writer: nobody     queue: [ write | read | read | write | .. ]
//!                                            ▲
//!      the last of the readers unlocks ──────┘ it writes; when it unlocks, both that read behind it, together; ..
//! ```
//!
//! One queue for both: whoever comes while somebody waits goes behind it, a reader too. So writers do not starve, nor
//! do readers.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::super::fault::{self, Fault};
use super::super::strand::Strand;
use crate::lock::{Guard, Lock};
use crate::task::{Holder, WaitReason};
use crate::wait::{self, WaitQueue};

pub(super) struct RawRwLock {
    /// Who writes. Written under the lock.
    writer: Holder,
    state: Lock<State>,
}

struct State {
    inside: Inside,
    queue: WaitQueue<Access>,
}

/// Those who have what they wanted: some who read, or one that writes.
#[derive(Clone, Copy)]
struct Inside {
    readers: usize,
    is_written: bool,
}

/// What one wants, or has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// By whom.
    Write(Strand),
}

/// What those who wait are told: that they have it.
const GRANTED: u8 = 0;

impl Access {
    /// To write, by whoever calls.
    #[inline]
    pub(super) fn write() -> Self {
        Access::Write(Strand::current())
    }

    /// What a writer gives up, whoever it is.
    #[inline]
    pub(super) fn written() -> Self {
        Access::Write(Strand::NOBODY)
    }
}

impl RawRwLock {
    const_fn! {
        pub(super) const fn new() -> Self {
            RawRwLock {
                writer: Holder::nobody(),
                state: Lock::new(State {
                    inside: Inside {
                        readers: 0,
                        is_written: false,
                    },
                    queue: WaitQueue::new(),
                }),
            }
        }
    }

    // Inlined down to the switch, for the reason that `wait` gives.
    #[inline(always)]
    #[track_caller]
    pub(super) fn lock(&self, access: Access) {
        let mut state = self.state.lock();
        if !self.take(&mut state, access) {
            if Strand::of(self.writer.get()).is(Strand::current()) {
                drop(state);
                would_wait_for_itself();
            }
            let granted = self.wait_in(state, access, None);
            debug_assert!(granted, "without a deadline a wait ends with a grant");
        }
        self.note_site(access);
    }

    #[inline(always)]
    #[track_caller]
    fn note_site(&self, access: Access) {
        if access != Access::Read {
            self.writer.note_site();
        }
    }

    #[inline]
    #[track_caller]
    pub(super) fn try_lock(&self, access: Access) -> bool {
        let locked = self.take(&mut self.state.lock(), access);
        if locked {
            self.note_site(access);
        }
        locked
    }

    #[track_caller]
    pub(super) fn lock_until(&self, access: Access, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        let locked = self.take(&mut state, access) || self.wait_in(state, access, deadline);
        if locked {
            self.note_site(access);
        }
        locked
    }

    /// By whoever has that access.
    #[inline(always)]
    pub(super) fn unlock(&self, access: Access) {
        let mut state = self.state.lock();
        self.remove(&mut state, access);
        if !state.queue.is_empty() {
            self.serve(state);
        }
    }

    /// The writer becomes a reader, and nobody writes in between.
    pub(super) fn downgrade(&self) {
        let mut state = self.state.lock();
        self.remove(&mut state, Access::written());
        self.add(&mut state.inside, Access::Read);
        self.serve(state);
    }

    /// Takes what nobody stands in the way of, and nobody waits before.
    #[inline(always)]
    fn take(&self, state: &mut State, access: Access) -> bool {
        let taken = state.queue.is_empty() && state.inside.admits(access);
        if taken {
            self.add(&mut state.inside, access);
        }
        taken
    }

    #[inline(always)]
    fn add(&self, inside: &mut Inside, access: Access) {
        match access {
            Access::Read => inside.readers += 1,
            Access::Write(writer) => {
                inside.is_written = true;
                self.writer.set(writer.number());
            }
        }
    }

    #[inline(always)]
    fn remove(&self, state: &mut State, access: Access) {
        match access {
            Access::Read => state.inside.readers -= 1,
            Access::Write(_) => {
                state.inside.is_written = false;
                self.writer.set(Strand::NOBODY.number());
            }
        }
    }

    #[inline(always)]
    #[track_caller]
    fn wait_in(&self, state: Guard<'_, State>, access: Access, deadline: Option<Instant>) -> bool {
        let reason = match access {
            Access::Read => WaitReason::RwLockRead,
            Access::Write(_) => WaitReason::RwLockWrite,
        };
        wait::wait(
            state,
            |state| &mut state.queue,
            access,
            reason.on(&raw const self.writer),
            deadline,
            |state, granted| self.leave(state, access, granted),
        )
        .is_some()
    }

    /// One that wanted `access` has left the queue, and cannot use it any more if it was granted.
    fn leave(&self, mut state: Guard<'_, State>, access: Access, granted: Option<u8>) {
        if granted.is_some() {
            self.remove(&mut state, access);
        } else if fault::is_in(Fault::ReadersHeldUp) {
            return;
        }
        // There is something to pass on; or those who stood behind a writer can read beside the others.
        self.serve(state);
    }

    /// Lets those in who wait, in their order, as far as they go together with those who are in.
    #[cold]
    fn serve(&self, mut state: Guard<'_, State>) {
        let lock = Guard::of(&state);
        loop {
            let State { inside, queue } = &mut *state;
            let now = *inside;
            let admitted = |access| now.admits(access);
            let hand_over = |access| self.add(inside, access);
            let Some(wakeup) = queue.grant_if(GRANTED, admitted, hand_over) else {
                return;
            };
            let over = queue.is_empty();
            drop(state);
            wakeup.wake();
            if over {
                return;
            }
            state = lock.lock();
        }
    }
}

impl Inside {
    /// Nobody stands in the way of `access`.
    #[inline(always)]
    fn admits(&self, access: Access) -> bool {
        !self.is_written && (access == Access::Read || self.readers == 0)
    }
}

#[cfg(all(test, shuttle))]
impl RawRwLock {
    /// What a cancellation does to a lock that has just begun.
    pub(super) fn begin_and_leave(&self, access: Access) {
        let mut state = self.state.lock();
        if self.take(&mut state, access) {
            drop(state);
            self.unlock(access);
        } else {
            let leave = |state: Guard<'_, State>, granted| self.leave(state, access, granted);
            wait::begin_and_leave(state, |state| &mut state.queue, access, leave);
        }
    }
}

#[cold]
fn would_wait_for_itself() -> ! {
    panic!(
        "a reader-writer lock is locked by the one that writes, which would wait for itself for ever: drop the guard \
         first"
    )
}
