//! Wait groups: waiting until all others are through.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::{Duration, Instant};

use crate::lock::{Guard, Lock};
use crate::seam::clock;
use crate::seam::sync::Arc;
use crate::task::WaitReason;
use crate::wait::{self, WaitQueue};

/// One member of a group; whoever waits waits until all the other members are dropped.
///
/// As crossbeam's: a clone is one more member, and one that waits is none any more. So members dropped by a panic or a
/// cancellation count as through, and whoever needs to know what became of them joins them instead.
///
/// ```
/// use runtime::sync::WaitGroup;
///
/// runtime::run(|| {
///     let group = WaitGroup::new();
///     for _ in 0..5 {
///         let member = group.clone();
///         runtime::spawn(move || {
///             runtime::yield_now(); // works
///             drop(member);
///         });
///     }
///     group.wait();
/// });
/// ```
pub struct WaitGroup {
    group: Arc<Lock<State>>,
}

struct State {
    members: usize,
    queue: WaitQueue<()>,
}

/// What those who wait are told.
const THROUGH: u8 = 0;

impl WaitGroup {
    /// The first member of a new group. Cost: one allocation.
    pub fn new() -> Self {
        WaitGroup {
            group: Arc::new(Lock::new(State {
                members: 1,
                queue: WaitQueue::new(),
            })),
        }
    }

    /// Leaves the group, and waits until all other members have.
    ///
    /// # Panics
    /// Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it passes.
    #[track_caller]
    pub fn wait(self) {
        let group = self.leave();
        wait_in(&group, None);
    }

    /// As [`wait`](Self::wait), for `duration` at most.
    ///
    /// # Errors
    /// When the time is over: a member again, to wait once more with.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    ///
    /// ```
    /// use runtime::{sync::WaitGroup, time::Duration};
    ///
    /// let group = WaitGroup::new();
    /// let other = group.clone();
    /// let group = group.wait_timeout(Duration::from_millis(1)).unwrap_err();
    /// drop(other);
    /// group.wait();
    /// ```
    #[track_caller]
    pub fn wait_timeout(self, duration: Duration) -> Result<(), WaitGroup> {
        self.wait_until(clock::after(duration))
    }

    /// As [`wait_timeout`](Self::wait_timeout), until `deadline` at most.
    ///
    /// # Errors
    /// As [`wait_timeout`](Self::wait_timeout).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_deadline(self, deadline: Instant) -> Result<(), WaitGroup> {
        self.wait_until(Some(deadline))
    }

    /// Leaves the group if there is no other member. Never waits.
    ///
    /// # Errors
    /// The member, if there are others.
    pub fn try_wait(self) -> Result<(), WaitGroup> {
        if self.group.lock().members > 1 {
            Err(self)
        } else {
            Ok(())
        }
    }

    #[track_caller]
    fn wait_until(self, deadline: Option<Instant>) -> Result<(), WaitGroup> {
        let group = self.leave();
        if wait_in(&group, deadline) {
            return Ok(());
        }
        group.lock().members += 1;
        Err(WaitGroup { group })
    }

    fn leave(self) -> Arc<Lock<State>> {
        self.group.clone()
    }
}

/// Waits until there is no member; false when the deadline has passed before.
#[track_caller]
fn wait_in(group: &Lock<State>, deadline: Option<Instant>) -> bool {
    let state = group.lock();
    state.members == 0 || {
        // Who leaves takes nothing away from anybody.
        let leave = |_: Guard<'_, State>, _| ();
        wait::wait(
            state,
            |state| &mut state.queue,
            (),
            WaitReason::WaitGroup.on(group),
            deadline,
            leave,
        )
        .is_some()
    }
}

impl Clone for WaitGroup {
    /// One more member.
    fn clone(&self) -> Self {
        self.group.lock().members += 1;
        WaitGroup {
            group: self.group.clone(),
        }
    }
}

impl Drop for WaitGroup {
    fn drop(&mut self) {
        let mut state = self.group.lock();
        state.members -= 1;
        if state.members == 0 && !state.queue.is_empty() {
            wait::release_all(state, |state| &mut state.queue, THROUGH);
        }
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup")
            .field("members", &self.group.lock().members)
            .finish()
    }
}
