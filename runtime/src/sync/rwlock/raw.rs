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
use crate::task::WaitReason;
use crate::wait::{self, WaitQueue};

pub(super) struct RawRwLock {
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
    writer: Strand,
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
                state: Lock::new(State {
                    inside: Inside {
                        readers: 0,
                        writer: Strand::NOBODY,
                    },
                    queue: WaitQueue::new(),
                }),
            }
        }
    }

    // Inlined down to the switch, for the reason that `wait` gives.
    #[inline(always)]
    pub(super) fn lock(&self, access: Access) {
        let mut state = self.state.lock();
        if !state.take(access) {
            if state.inside.writer.is(Strand::current()) {
                drop(state);
                would_wait_for_itself();
            }
            let granted = wait_in(state, access, None);
            debug_assert!(granted, "without a deadline a wait ends with a grant");
        }
    }

    #[inline]
    pub(super) fn try_lock(&self, access: Access) -> bool {
        self.state.lock().take(access)
    }

    pub(super) fn lock_until(&self, access: Access, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        state.take(access) || wait_in(state, access, deadline)
    }

    /// By whoever has that access.
    #[inline(always)]
    pub(super) fn unlock(&self, access: Access) {
        let mut state = self.state.lock();
        state.inside.remove(access);
        if !state.queue.is_empty() {
            serve(state);
        }
    }

    /// The writer becomes a reader, and nobody writes in between.
    pub(super) fn downgrade(&self) {
        let mut state = self.state.lock();
        state.inside.remove(Access::written());
        state.inside.add(Access::Read);
        serve(state);
    }
}

impl State {
    /// Takes what nobody stands in the way of, and nobody waits before.
    #[inline(always)]
    fn take(&mut self, access: Access) -> bool {
        let taken = self.queue.is_empty() && self.inside.admits(access);
        if taken {
            self.inside.add(access);
        }
        taken
    }
}

impl Inside {
    /// Nobody stands in the way of `access`.
    #[inline(always)]
    fn admits(&self, access: Access) -> bool {
        self.writer.is_nobody() && (access == Access::Read || self.readers == 0)
    }

    #[inline(always)]
    fn add(&mut self, access: Access) {
        match access {
            Access::Read => self.readers += 1,
            Access::Write(writer) => self.writer = writer,
        }
    }

    #[inline(always)]
    fn remove(&mut self, access: Access) {
        match access {
            Access::Read => self.readers -= 1,
            Access::Write(_) => self.writer = Strand::NOBODY,
        }
    }
}

#[inline(always)]
fn wait_in(state: Guard<'_, State>, access: Access, deadline: Option<Instant>) -> bool {
    let leave = |state: Guard<'_, State>, granted| leave(state, access, granted);
    wait::wait(
        state,
        |state| &mut state.queue,
        access,
        WaitReason::RwLock,
        deadline,
        leave,
    )
    .is_some()
}

/// One that wanted `access` has left the queue, and cannot use it any more if it was granted.
fn leave(mut state: Guard<'_, State>, access: Access, granted: Option<u8>) {
    if granted.is_some() {
        state.inside.remove(access);
    } else if fault::is_in(Fault::ReadersHeldUp) {
        return;
    }
    // There is something to pass on; or those who stood behind a writer can read beside the others.
    serve(state);
}

/// Lets those in who wait, in their order, as far as they go together with those who are in.
#[cold]
fn serve(mut state: Guard<'_, State>) {
    let lock = Guard::of(&state);
    loop {
        let State { inside, queue } = &mut *state;
        let now = *inside;
        let admitted = |access| now.admits(access);
        let Some(wakeup) = queue.grant_if(GRANTED, admitted, |access| inside.add(access)) else {
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

#[cfg(all(test, shuttle))]
impl RawRwLock {
    /// What a cancellation does to a lock that has just begun.
    pub(super) fn begin_and_leave(&self, access: Access) {
        let mut state = self.state.lock();
        if state.take(access) {
            drop(state);
            self.unlock(access);
        } else {
            let leave = |state: Guard<'_, State>, granted| leave(state, access, granted);
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
