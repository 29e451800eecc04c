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
//!
//! **Who is inside** is written down by name, for reports: the writer, the first few readers, and the writer that stands first
//! in the queue, behind whom readers wait. Each guard knows where its reader is written down; a reader for whom no place was
//! left is not known.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::time::Instant;

use super::super::fault::{self, Fault};
use super::super::strand::Strand;
use crate::lock::{Guard, Lock};
use crate::task::{Holders, READERS_KNOWN, WaitReason};
use crate::wait::{self, WaitQueue};

pub(super) struct RawRwLock {
    /// Written under the lock.
    who: Holders,
    state: Lock<State>,
}

struct State {
    inside: Inside,
    queue: WaitQueue<Wish>,
}

/// Those who have what they wanted: some who read, or one that writes.
#[derive(Clone, Copy)]
struct Inside {
    readers: usize,
    /// A bit for each place that is taken.
    known: u8,
    is_written: bool,
}

/// What one wants, or has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Who wants it, and where in the program.
#[derive(Clone, Copy)]
struct Wish {
    access: Access,
    who: Strand,
    site: &'static Location<'static>,
}

/// Where a reader is written down, which its guard keeps. Those who wait are told it when they have what they wait for.
#[derive(Clone, Copy)]
pub(super) struct Place(u8);

impl Place {
    /// Of a reader that is not known, and of a writer.
    const NONE: Place = Place(READERS_KNOWN as u8);
}

impl Wish {
    /// By this one, in the call of the caller.
    #[inline(always)]
    #[track_caller]
    fn of(access: Access, who: Strand) -> Self {
        Wish {
            access,
            who,
            site: Location::caller(),
        }
    }
}

impl RawRwLock {
    const_fn! {
        pub(super) const fn new() -> Self {
            RawRwLock {
                who: Holders::nobody(),
                state: Lock::new(State {
                    inside: Inside {
                        readers: 0,
                        known: 0,
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
    pub(super) fn lock(&self, access: Access) -> Place {
        let me = Strand::current();
        let mut state = self.state.lock();
        if let Some(place) = self.take(&mut state, Wish::of(access, me)) {
            return place;
        }
        if Strand::of(self.who.writer.get()).is(me) {
            drop(state);
            would_wait_for_itself();
        }
        let granted = self.wait_in(state, access, me, None);
        debug_assert!(
            granted.is_some(),
            "without a deadline a wait ends with a grant"
        );
        granted.unwrap_or(Place::NONE)
    }

    #[inline]
    #[track_caller]
    pub(super) fn try_lock(&self, access: Access) -> Option<Place> {
        let wish = Wish::of(access, Strand::current());
        self.take(&mut self.state.lock(), wish)
    }

    #[track_caller]
    pub(super) fn lock_until(&self, access: Access, deadline: Option<Instant>) -> Option<Place> {
        let me = Strand::current();
        let mut state = self.state.lock();
        match self.take(&mut state, Wish::of(access, me)) {
            Some(place) => Some(place),
            None => self.wait_in(state, access, me, deadline),
        }
    }

    /// By whoever has read, and was noted there.
    #[inline(always)]
    pub(super) fn unlock_read(&self, place: Place) {
        self.unlock(Access::Read, place);
    }

    /// By whoever has written.
    #[inline(always)]
    pub(super) fn unlock_write(&self) {
        self.unlock(Access::Write, Place::NONE);
    }

    #[inline(always)]
    fn unlock(&self, access: Access, place: Place) {
        let mut state = self.state.lock();
        self.remove(&mut state.inside, access, place);
        if !state.queue.is_empty() {
            self.serve(state);
        }
    }

    /// The writer becomes a reader, and nobody writes in between.
    #[track_caller]
    pub(super) fn downgrade(&self) -> Place {
        let wish = Wish::of(Access::Read, Strand::current());
        let mut state = self.state.lock();
        self.remove(&mut state.inside, Access::Write, Place::NONE);
        let place = state.inside.place_of(Access::Read);
        self.add(&mut state.inside, wish, place);
        self.serve(state);
        place
    }

    /// Takes what nobody stands in the way of, and nobody waits before.
    #[inline(always)]
    fn take(&self, state: &mut State, wish: Wish) -> Option<Place> {
        if !state.queue.is_empty() || !state.inside.admits(wish.access) {
            return None;
        }
        let place = state.inside.place_of(wish.access);
        self.add(&mut state.inside, wish, place);
        Some(place)
    }

    #[inline(always)]
    fn add(&self, inside: &mut Inside, wish: Wish, place: Place) {
        let holder = match wish.access {
            Access::Read => {
                inside.readers += 1;
                let known = self.who.readers.get(usize::from(place.0));
                known.inspect(|_| inside.known |= 1 << place.0)
            }
            Access::Write => {
                inside.is_written = true;
                Some(&self.who.writer)
            }
        };
        if let Some(holder) = holder {
            holder.note(wish.who.number(), wish.site);
        }
    }

    #[inline(always)]
    fn remove(&self, inside: &mut Inside, access: Access, place: Place) {
        match access {
            Access::Read => {
                inside.readers -= 1;
                if let Some(reader) = self.who.readers.get(usize::from(place.0)) {
                    inside.known &= !(1 << place.0);
                    reader.set(Strand::NOBODY.number());
                }
            }
            Access::Write => {
                inside.is_written = false;
                self.who.writer.set(Strand::NOBODY.number());
            }
        }
    }

    #[inline(always)]
    #[track_caller]
    fn wait_in(
        &self,
        state: Guard<'_, State>,
        access: Access,
        me: Strand,
        deadline: Option<Instant>,
    ) -> Option<Place> {
        let reason = match access {
            Access::Read => WaitReason::RwLockRead,
            Access::Write => WaitReason::RwLockWrite,
        };
        // Made here, and not handed down: its address is taken, and then the compiler would not know what the access is
        // on the way on which nobody waits. A read took 19 instructions more so, of 108.
        let wish = Wish::of(access, me);
        if state.queue.is_empty() {
            self.note_first(Some(wish));
        }
        wait::wait(
            state,
            |state| &mut state.queue,
            wish,
            reason.on(&raw const self.who),
            deadline,
            |state, granted| self.leave(state, wish, granted),
        )
        .map(Place)
    }

    /// `wish` is the first in the queue now.
    fn note_first(&self, wish: Option<Wish>) {
        match wish.filter(|wish| wish.access == Access::Write) {
            Some(wish) => self.who.next_writer.note(wish.who.number(), wish.site),
            None => self.who.next_writer.set(Strand::NOBODY.number()),
        }
    }

    /// One that wanted access has left the queue, and cannot use it any more if it was granted.
    fn leave(&self, mut state: Guard<'_, State>, wish: Wish, granted: Option<u8>) {
        if let Some(place) = granted.map(Place) {
            self.remove(&mut state.inside, wish.access, place);
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
            // For a reader; a writer has no use for it.
            let place = now.place_of(Access::Read);
            let admitted = |wish: Wish| now.admits(wish.access);
            let hand_over = |wish| self.add(inside, wish, place);
            let granted = queue.grant_if(place.0, admitted, hand_over);
            self.note_first(queue.first());
            let Some(wakeup) = granted else {
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
    /// The first that is free, for one that is about to be let in.
    #[inline(always)]
    fn place_of(&self, access: Access) -> Place {
        match access {
            Access::Read => Place(self.known.trailing_ones() as u8),
            Access::Write => Place::NONE,
        }
    }

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
        let wish = Wish::of(access, Strand::current());
        let mut state = self.state.lock();
        if let Some(place) = self.take(&mut state, wish) {
            drop(state);
            self.unlock(access, place);
        } else {
            let leave = |state: Guard<'_, State>, granted| self.leave(state, wish, granted);
            wait::begin_and_leave(state, |state| &mut state.queue, wish, leave);
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
