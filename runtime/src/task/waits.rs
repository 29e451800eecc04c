//! Waits: what a coroutine waits for, written by itself when it parks, read by reports.

use std::mem::MaybeUninit;
use std::panic::Location;
use std::ptr;

use super::{CANCEL, Held, Holder, Holders, Task, TaskPtr, Token, Wait, WaitReason};
use crate::id::Id;
use crate::seam::sync::atomic::Ordering;

/// What a record keeps of a wait, beside its reason.
#[derive(Clone, Copy)]
pub(super) struct LastWait {
    on: *const (),
    site: &'static Location<'static>,
    /// Since when, by the worker's clock; the lowest bit: it does not wait longer than until a deadline.
    parked_at: u64,
}

/// A wait, as the record of a coroutine tells of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    pub(crate) wait: Wait,
    /// Since when, by the clock of its worker.
    pub(crate) since: u64,
    /// It ends at a deadline.
    pub(crate) is_timed: bool,
    /// How many it was in before, and this one.
    pub(crate) number: u32,
}

/// Whom a coroutine waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// All of these: who has what it wants, or comes before it. Those of them that are known.
    Holders(Vec<Held>),
    /// The end of this one.
    End(Id),
    /// The ends of all children of the scope with this address.
    Scope(usize),
}

impl TaskPtr {
    /// Notes what it waits for, from this time of its worker's clock on, and whether no longer than until a deadline.
    #[inline(always)]
    pub(crate) fn note_wait(self, wait: Wait, at: u64, is_timed: bool) {
        self.wait_reason.set(wait.reason);
        self.wait.set(MaybeUninit::new(LastWait {
            on: wait.on,
            site: wait.site,
            parked_at: at | u64::from(is_timed),
        }));
        self.parks.set(self.parks.get().wrapping_add(1));
    }

    /// What it waits for, or has waited for last.
    pub(crate) fn last_wait(self) -> Waited {
        let last = if self.parks.get() > 0 || self.token.get() == Token::Parked {
            // SAFETY: whoever has parked has noted it.
            unsafe { self.wait.get().assume_init() }
        } else {
            LastWait {
                on: ptr::null(),
                site: self.label.spawned_at,
                parked_at: 0,
            }
        };
        Waited {
            wait: Wait {
                reason: self.wait_reason.get(),
                on: last.on,
                site: last.site,
            },
            since: last.parked_at & !1,
            is_timed: last.parked_at & 1 != 0,
            number: self.parks.get(),
        }
    }

    /// Whom it waits for, if it is parked and that can be told.
    ///
    /// By the home worker, outside of this coroutine.
    pub(crate) fn waits_for(self) -> Option<WaitsFor> {
        if self.token.get() != Token::Parked {
            return None;
        }
        let on = self.last_wait().wait.on;
        match self.wait_reason.get() {
            reason @ (WaitReason::RwLockRead | WaitReason::RwLockWrite) => {
                // SAFETY: who parks for a reader-writer lock names the holders in it. Its frames borrow the lock, and it is
                // parked on this thread, so they are there.
                let holders = unsafe { &*on.cast::<Holders>() };
                Some(WaitsFor::Holders(match reason {
                    WaitReason::RwLockRead => holders.of_reader(),
                    _ => holders.of_writer(),
                }))
            }
            reason if reason.has_holder() => {
                // SAFETY: whoever parks for such a reason names the holder's place of an object that its frames borrow,
                // and it is parked on this thread, so they are there.
                let holder = unsafe { &*on.cast::<Holder>() };
                Some(WaitsFor::Holders(holder.look().into_iter().collect()))
            }
            WaitReason::Join => {
                // SAFETY: whoever joins has the handle, which keeps the other's record; its label never changes.
                let label = unsafe { &(*on.cast::<Task>()).label };
                Some(WaitsFor::End(label.id))
            }
            WaitReason::Scope => Some(WaitsFor::Scope(on.addr())),
            _ => None,
        }
    }

    /// Something other than what it waits for can end its wait: a timeout around it, or a cancellation.
    pub(crate) fn may_leave(self) -> bool {
        let is_cancelled = self.state.load(Ordering::Relaxed) & CANCEL != 0;
        is_cancelled || self.interrupts.depth() > 0 || self.interrupts.is_pending()
    }
}
