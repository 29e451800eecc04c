//! Semaphores: permits to be taken and given back.
//!
//! ```text
//!   permits: 1 ──► try: enough there, and nobody waits? take them
//!   queue: [ wants 3 | wants 1 | .. ]      else wait behind the others
//!          ▲
//!          └── whoever gives permits hands them to the first, when there are as many as it wants
//! ```
#![forbid(unsafe_code)]

use std::fmt;
use std::time::{Duration, Instant};

use crate::lock::{Guard, Lock};
use crate::seam::clock;
use crate::task::WaitReason;
use crate::wait::{self, WaitQueue};

/// A number of permits; who finds too few waits until others give some back.
///
/// First come, first served, also among those who want different numbers: nobody overtakes one that waits for
/// many, so that it gets them. Permits given go straight to who waits.
///
/// ```
/// use runtime::sync::Semaphore;
///
/// runtime::run(|| {
///     let printers = Semaphore::new(2);
///     runtime::scope(|s| {
///         for _ in 0..10 {
///             s.spawn(|| {
///                 let _printer = printers.acquire(); // at most two at a time
///                 runtime::yield_now();
///             });
///         }
///     });
///     assert_eq!(printers.available(), 2);
/// });
/// ```
pub struct Semaphore {
    state: Lock<State>,
}

struct State {
    available: usize,
    /// By how many permits each wants.
    queue: WaitQueue<usize>,
}

/// Permits that were acquired; given back when dropped.
#[must_use = "permits go back to the semaphore when this is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

/// What those who wait are told: the permits are theirs.
const ACQUIRED: u8 = 0;

impl Semaphore {
    /// A semaphore with so many permits. There may be none to begin with.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new(permits: usize) -> Self {
        Semaphore {
            state: Lock::new(State::new(permits)),
        }
    }

    /// A semaphore with so many permits.
    #[cfg(any(loom, shuttle))]
    pub fn new(permits: usize) -> Self {
        Semaphore {
            state: Lock::new(State::new(permits)),
        }
    }

    /// Takes a permit, waiting until there is one.
    ///
    /// # Panics
    /// Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it passes.
    #[inline(always)]
    #[track_caller]
    pub fn acquire(&self) -> Permit<'_> {
        self.acquire_many(1)
    }

    /// Takes `permits` at once, waiting until there are so many.
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use runtime::sync::Semaphore;
    ///
    /// let seats = Semaphore::new(5);
    /// let party = seats.acquire_many(3);
    /// assert_eq!(seats.available(), 2);
    /// assert!(seats.try_acquire_many(3).is_none());
    /// drop(party);
    /// assert!(seats.try_acquire_many(3).is_some());
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn acquire_many(&self, permits: usize) -> Permit<'_> {
        let acquired = self.acquire_until(permits, None);
        debug_assert!(acquired, "without a deadline a wait ends with a grant");
        self.permit(permits)
    }

    /// Takes a permit if there is one that nobody waits for. Never waits.
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes `permits` at once if there are so many, and nobody waits. Never waits.
    #[inline]
    pub fn try_acquire_many(&self, permits: usize) -> Option<Permit<'_>> {
        let taken = self.state.lock().take(permits);
        taken.then(|| self.permit(permits))
    }

    /// Takes a permit, waiting `duration` at most. A permit that comes when the time is just over is returned.
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use runtime::{sync::Semaphore, time::Duration};
    ///
    /// let none = Semaphore::new(0);
    /// assert!(none.acquire_timeout(Duration::from_millis(1)).is_none());
    /// ```
    #[track_caller]
    pub fn acquire_timeout(&self, duration: Duration) -> Option<Permit<'_>> {
        self.acquire_until(1, clock::after(duration))
            .then(|| self.permit(1))
    }

    /// Takes a permit, waiting until `deadline` at most.
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_deadline(&self, deadline: Instant) -> Option<Permit<'_>> {
        self.acquire_until(1, Some(deadline))
            .then(|| self.permit(1))
    }

    /// Adds `permits` to the semaphore, more than it was made with if need be.
    ///
    /// # Panics
    /// If there are more than `usize::MAX` then.
    ///
    /// ```
    /// use runtime::sync::Semaphore;
    ///
    /// runtime::run(|| {
    ///     let items = Semaphore::new(0);
    ///     runtime::scope(|s| {
    ///         s.spawn(|| items.acquire_many(3).forget());
    ///         (0..3).for_each(|_| items.add_permits(1));
    ///     });
    ///     assert_eq!(items.available(), 0);
    /// });
    /// ```
    #[inline]
    pub fn add_permits(&self, permits: usize) {
        let mut state = self.state.lock();
        let Some(sum) = state.available.checked_add(permits) else {
            drop(state);
            panic!("a semaphore has more than usize::MAX permits: are some added twice?");
        };
        state.available = sum;
        if !state.queue.is_empty() {
            serve(state);
        }
    }

    /// How many permits nobody holds at this moment. Some may be kept for one that waits for more.
    pub fn available(&self) -> usize {
        self.state.lock().available
    }

    fn permit(&self, permits: usize) -> Permit<'_> {
        Permit {
            semaphore: self,
            permits,
        }
    }

    #[inline(always)]
    #[track_caller]
    fn acquire_until(&self, permits: usize, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        state.take(permits) || wait_in(state, permits, deadline)
    }
}

impl State {
    const fn new(permits: usize) -> Self {
        State {
            available: permits,
            queue: WaitQueue::new(),
        }
    }

    /// Takes `permits`, if there are so many and nobody waits for them; none can always be taken.
    #[inline]
    fn take(&mut self, permits: usize) -> bool {
        let taken = permits == 0 || permits <= self.available && self.queue.is_empty();
        if taken {
            self.available -= permits;
        }
        taken
    }
}

// Inlined: see `wait`.
#[inline(always)]
#[track_caller]
fn wait_in(state: Guard<'_, State>, permits: usize, deadline: Option<Instant>) -> bool {
    let wait = WaitReason::Semaphore.on(Guard::of(&state));
    let leave = |state: Guard<'_, State>, granted| leave(state, permits, granted);
    wait::wait(
        state,
        |state| &mut state.queue,
        permits,
        wait,
        deadline,
        leave,
    )
    .is_some()
}

/// One that wanted `permits` has left the queue, and cannot take them any more if they were granted.
fn leave(mut state: Guard<'_, State>, permits: usize, granted: Option<u8>) {
    if granted.is_some() {
        if cfg!(broken_semaphore) {
            return; // see `model`: the permits are lost
        }
        state.available += permits; // they were there before
    }
    // There is something to pass on; or whoever stood behind wants less than this one did.
    serve(state);
}

/// Hands permits to those who wait, in their order, until there are too few for the next.
#[cold]
fn serve(mut state: Guard<'_, State>) {
    let lock = Guard::of(&state);
    loop {
        let State { available, queue } = &mut *state;
        let there = *available;
        let fits = |wanted| wanted <= there;
        let Some(wakeup) = queue.grant_if(ACQUIRED, fits, |wanted| *available -= wanted) else {
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

impl Permit<'_> {
    /// Keeps the permits from being given back; [`Semaphore::add_permits`] can do that some day.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        let mut state = self.semaphore.state.lock();
        // Saturating: only somebody who has added permits without end can have come there.
        state.available = state.available.saturating_add(self.permits);
        if !state.queue.is_empty() {
            serve(state);
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("permits", &self.permits)
            .finish_non_exhaustive()
    }
}

/// The real code under shuttle, with threads of its for those who wait: many random orders, among which each
/// priority inversion of small depth is likely (PCT; Burckhardt et al., 2010).
///
/// `RUSTFLAGS="--cfg shuttle" cargo test -p runtime --lib --profile ci --target-dir target/shuttle semaphore::model`;
/// with `--cfg broken_semaphore` beside it a permit that is granted to one that leaves is lost, and it must fail.
#[cfg(all(test, shuttle))]
mod model {
    use super::*;
    use shuttle::sync::Arc;
    use shuttle::thread;

    const SCHEDULES: usize = 20_000;
    /// Steps of which the order matters, at most.
    const DEPTH: usize = 3;

    fn in_many_orders(permits: usize, visitors: &'static [fn(&Semaphore)]) {
        shuttle::check_pct(
            move || {
                let semaphore = Arc::new(Semaphore::new(permits));
                let visitors: Vec<_> = visitors
                    .iter()
                    .map(|visit| {
                        let semaphore = semaphore.clone();
                        thread::spawn(move || visit(&semaphore))
                    })
                    .collect();
                visitors.into_iter().for_each(|it| it.join().unwrap());
                assert_eq!(semaphore.available(), permits, "none is lost, none is made");
                assert!(semaphore.state.lock().queue.is_empty());
            },
            SCHEDULES,
            DEPTH,
        );
    }

    /// Takes what it wants, and gives it back.
    fn visit(semaphore: &Semaphore) {
        drop(semaphore.acquire());
    }

    fn visit_with_another(semaphore: &Semaphore) {
        drop(semaphore.acquire_many(2));
    }

    /// Waits no longer than it takes to see that the time is over.
    fn visit_in_haste(semaphore: &Semaphore) {
        drop(semaphore.acquire_deadline(clock::now()));
    }

    /// Is cancelled while it waits, or while the permit is on its way.
    fn begin_and_leave(semaphore: &Semaphore) {
        let mut state = semaphore.state.lock();
        if state.take(1) {
            drop(state);
            drop(semaphore.permit(1));
        } else {
            wait::begin_and_leave(
                state,
                |state| &mut state.queue,
                1,
                |state, granted| leave(state, 1, granted),
            );
        }
    }

    #[test]
    fn sy2_sy5_everyone_gets_its_permit_though_others_leave() {
        in_many_orders(1, &[visit, begin_and_leave, visit]);
    }

    #[test]
    fn ti5_everyone_gets_its_permit_though_others_are_in_haste() {
        in_many_orders(1, &[visit, visit_in_haste, visit]);
    }

    #[test]
    fn one_that_wants_many_gets_them_and_holds_nobody_up_when_it_leaves() {
        in_many_orders(2, &[visit, visit_with_another, visit, begin_and_leave]);
    }
}
