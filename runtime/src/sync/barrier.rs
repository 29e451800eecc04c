//! Barriers: so many wait for each other.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use super::fault::{self, Fault};
use crate::lock::{Guard, Lock};
use crate::seam::clock;
use crate::task::WaitReason;
use crate::wait::{self, WaitQueue};

/// Lets those who come wait until they are `n`; then all go on, and it waits for the next `n`.
///
/// As [`std::sync::Barrier`]. One that is cancelled, or whose time is over, before they are `n` does not count any
/// more: the others wait for one in its place.
///
/// ```
/// use runtime::sync::Barrier;
///
/// runtime::run(|| {
///     let barrier = Barrier::new(3);
///     let leaders: usize = runtime::scope(|s| {
///         let phase = || usize::from(barrier.wait().is_leader());
///         let others = [s.spawn(phase), s.spawn(phase)];
///         phase() + others.map(|other| other.join().unwrap()).iter().sum::<usize>()
///     });
///     assert_eq!(leaders, 1);
/// });
/// ```
pub struct Barrier {
    n: usize,
    state: Lock<State>,
}

struct State {
    /// So many wait.
    there: usize,
    /// So often they were let go on.
    rounds: usize,
    queue: WaitQueue<()>,
}

/// What those who wait are told.
const GO_ON: u8 = 0;

/// Whether one that comes back from a barrier was the last to come.
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// It was the last of the `n`: this is true of one of them.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    const_fn! {
        /// A barrier for `n`; 0 is as good as 1.
        pub const fn new(n: usize) -> Self {
            Barrier {
                n,
                state: Lock::new(State {
                    there: 0,
                    rounds: 0,
                    queue: WaitQueue::new(),
                }),
            }
        }
    }

    /// Waits until `n` have come.
    ///
    /// What each has done before is seen by all behind it. Cost for the last one: O(n).
    ///
    /// # Panics
    /// Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it passes.
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        loop {
            if let Some(result) = self.wait_until(None) {
                return result;
            }
        }
    }

    /// Waits until `n` have come, `duration` at most. None: they were fewer, and this one does not count any more.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    ///
    /// ```
    /// use runtime::{sync::Barrier, time::Duration};
    ///
    /// let barrier = Barrier::new(2);
    /// assert!(barrier.wait_timeout(Duration::from_millis(1)).is_none());
    /// ```
    #[track_caller]
    pub fn wait_timeout(&self, duration: Duration) -> Option<BarrierWaitResult> {
        self.wait_until(clock::after(duration))
    }

    /// Waits until `n` have come, or until `deadline`.
    ///
    /// # Panics
    /// As [`wait_timeout`](Self::wait_timeout).
    #[track_caller]
    pub fn wait_deadline(&self, deadline: Instant) -> Option<BarrierWaitResult> {
        self.wait_until(Some(deadline))
    }

    /// Goes on if all others are there already. Never waits, and counts only then.
    pub fn try_wait(&self) -> Option<BarrierWaitResult> {
        let mut state = self.state.lock();
        if state.there + 1 < self.n {
            return None;
        }
        state.there += 1;
        go_on(state);
        Some(BarrierWaitResult(true))
    }

    #[track_caller]
    fn wait_until(&self, deadline: Option<Instant>) -> Option<BarrierWaitResult> {
        let mut state = self.state.lock();
        state.there += 1;
        if state.there >= self.n {
            go_on(state);
            return Some(BarrierWaitResult(true));
        }
        let round = state.rounds;
        let passed = Cell::new(true);
        let leave = |mut state: Guard<'_, State>, _| {
            // Though it was not told yet, all may have come.
            passed.set(state.rounds != round);
            if !passed.get() && !fault::is_in(Fault::LeaverCounts) {
                state.there -= 1;
            }
        };
        wait::wait(
            state,
            |state| &mut state.queue,
            (),
            WaitReason::Barrier.on(self),
            deadline,
            leave,
        );
        passed.get().then_some(BarrierWaitResult(false))
    }
}

/// All have come.
fn go_on(mut state: Guard<'_, State>) {
    state.there = 0;
    state.rounds = state.rounds.wrapping_add(1);
    wait::release_all(state, |state| &mut state.queue, GO_ON);
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("n", &self.n)
            .field("there", &self.state.lock().there)
            .finish()
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult")
            .field("is_leader", &self.is_leader())
            .finish()
    }
}
