//! The recorder: where events go while somebody wants to know what happens when.
//!
//! ```text
//!   worker 0 ──► ring: [ ... | turn | wake | turn ]   one writer, four stores an event, the oldest are lost
//!   worker 1 ──► ring: [ ... ]                         ──► collect: who has called for it copies all
//!   others   ──► one list, behind a lock
//! ```
//!
//! - **Off** it is one flag, which a worker looks at once a round; others look when they spawn, wake or cancel.
//! - **On**, an event is a time stamp and five plain stores: 32 bytes of a ring that only its worker writes.
//! - **A ring is read while it is written**, as a seqlock: `head` says how many events were ever written, so a reader
//!   that looks at it before and after knows which of those it has copied may have been overwritten meanwhile.
//!
//! What the events mean to a reader is in `observe::trace`; here are only those who write them.
#![forbid(unsafe_code)]

mod event;
mod ring;
mod sites;

use std::collections::VecDeque;
use std::panic::Location;

use crate::id::Id;
use crate::seam::sync::Arc;
use crate::seam::sync::real::atomic::{AtomicU32, AtomicUsize, Ordering};
use crate::seam::sync::real::{Mutex, lock, thread};
use crate::sys::ticks::{self, Moment};

pub(crate) use event::{Cause, Event, Kind, Stop};
pub(crate) use ring::{Label, Ring};
pub(crate) use sites::{Sites, site};

/// How many want events to be recorded.
static WANTED: AtomicUsize = AtomicUsize::new(0);

/// Grows with each that begins to want it, so that a coroutine's name is told once to each. 0 for nobody yet. By steps
/// that leave room for what is told [in between](Told).
static GENERATION: AtomicU32 = AtomicU32::new(0);

static SINCE: Mutex<Option<Moment>> = Mutex::new(None);

/// The rings of all workers that have recorded something since somebody last looked; also of those that have ended.
static RINGS: Mutex<Vec<Arc<Ring>>> = Mutex::new(Vec::new());

/// Of workers that have ended as many are kept, 2 MiB each: for somebody who traces a runtime from before its start.
const ENDED_MAX: usize = 32;

/// What happens on threads that are no workers.
static OUTSIDE: Mutex<VecDeque<Outside>> = Mutex::new(VecDeque::new());

/// Of those as many are kept.
const OUTSIDE_MAX: usize = 1 << 16;

/// An event of a thread that is no worker.
pub(crate) struct Outside {
    pub(crate) event: Event,
    pub(crate) thread: thread::ThreadId,
    pub(crate) thread_name: Option<Box<str>>,
    /// Where a blocking call was submitted.
    pub(crate) site: Option<&'static Location<'static>>,
}

/// Somebody wants events.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    // Relaxed: who turns it on wants what happens from then on, not what has happened.
    WANTED.load(Ordering::Relaxed) != 0
}

/// Which of those that want events was the last to begin.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// What those who want events know of a coroutine, beside its number. As its record keeps it; 0: nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told(pub(crate) u32);

impl Told {
    const STEP: u32 = 4;

    /// Its name, and where it was spawned.
    #[inline(always)]
    pub(crate) fn all() -> Self {
        Told(generation())
    }

    /// Where it was spawned, by the event of its spawn; it has no name.
    #[inline]
    pub(crate) fn by_its_spawn() -> Self {
        Told(generation() + 1)
    }

    /// The same of one that has had its first turn. Most have no other: a look into a table for each would cost more
    /// than all of its events. Who has a second is told of, for its spawn may be overwritten while it lives.
    #[inline]
    pub(crate) fn by_its_spawn_a_turn_ago() -> Self {
        Told(generation() + 2)
    }
}

/// Since when somebody has wanted events.
pub(crate) fn since() -> Moment {
    lock(&SINCE).unwrap_or_else(Moment::now)
}

/// One more wants events.
pub(crate) fn turn_on() {
    let mut rings = lock(&RINGS);
    if WANTED.load(Ordering::Relaxed) == 0 {
        *lock(&SINCE) = Some(Moment::now());
        rings.retain(|ring| ring.is_in_use());
        lock(&OUTSIDE).clear();
    }
    GENERATION.fetch_add(Told::STEP, Ordering::Relaxed);
    WANTED.fetch_add(1, Ordering::Relaxed);
}

/// One less does.
pub(crate) fn turn_off() {
    let mut rings = lock(&RINGS);
    if WANTED.fetch_sub(1, Ordering::Relaxed) == 1 {
        rings.retain(|ring| ring.is_in_use());
    }
}

/// A new ring, for the worker of this name.
pub(crate) fn new_ring(worker: String) -> Arc<Ring> {
    let ring = Arc::new(Ring::new(worker));
    let mut rings = lock(&RINGS);
    let mut of_the_ended = rings.iter().filter(|ring| !ring.is_in_use());
    if of_the_ended.clone().count() >= ENDED_MAX
        && let Some(oldest) = of_the_ended.next().cloned()
    {
        rings.retain(|ring| !Arc::ptr_eq(ring, &oldest));
    }
    rings.push(Arc::clone(&ring));
    ring
}

/// All rings there are.
pub(crate) fn rings() -> Vec<Arc<Ring>> {
    lock(&RINGS).clone()
}

/// Looks at what the other threads have recorded.
pub(crate) fn with_outside<T>(f: impl FnOnce(&VecDeque<Outside>) -> T) -> T {
    f(&lock(&OUTSIDE))
}

/// Records what a thread does that is no worker.
#[cold]
pub(crate) fn record_outside(kind: Kind, id: Option<Id>) {
    let now = ticks::now();
    push_outside(Event::new(now, now, kind, id.map_or(0, Id::get), 0), None);
}

/// A blocking call that runs on this thread; recorded when dropped.
pub(crate) struct CallInProgress(Option<(u64, &'static Location<'static>)>);

impl CallInProgress {
    /// Begins one that was submitted at `site`.
    pub(crate) fn begin(site: &'static Location<'static>) -> Self {
        CallInProgress(is_on().then(|| (ticks::now(), site)))
    }
}

impl Drop for CallInProgress {
    fn drop(&mut self) {
        if let Some((from, site)) = self.0 {
            push_outside(Event::new(from, ticks::now(), Kind::Call, 0, 0), Some(site));
        }
    }
}

fn push_outside(event: Event, site: Option<&'static Location<'static>>) {
    let thread = thread::current();
    let entry = Outside {
        event,
        thread: thread.id(),
        thread_name: thread.name().map(Box::from),
        site,
    };
    let mut list = lock(&OUTSIDE);
    if list.len() == OUTSIDE_MAX {
        list.pop_front();
    }
    list.push_back(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rings_of_workers_that_have_ended_do_not_pile_up() {
        for _ in 0..ENDED_MAX + 3 {
            new_ring("ended".into()).leave();
        }
        let ended = rings().iter().filter(|ring| !ring.is_in_use()).count();
        // The last comes on top.
        assert!((1..=ENDED_MAX + 1).contains(&ended), "{ended}");
    }
}
