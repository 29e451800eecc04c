//! Condition variables: waiting until somebody has changed what a mutex guards.
//!
//! ```text
//!   wait: join the queue, and only then unlock       notify: grant to the first, or to all
//!         wait for the grant                                      │
//!         lock the mutex again  ◄─────────────────────────────────┘
//! ```
//!
//! Whoever is notified waits for the mutex in a second queue. To move it there at once, without waking it in between
//! (wait morphing), saves nothing on one worker, where a notifier has unlocked by the time that it runs.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::{Duration, Instant};

use super::fault::{self, Fault};
use super::mutex::MutexGuard;
use crate::lock::{Guard, Lock};
use crate::seam::clock;
use crate::task::WaitReason;
use crate::wait::{self, WaitQueue};

/// Where those wait who find that what a [`Mutex`](super::Mutex) guards is not yet as they want it.
///
/// As [`std::sync::Condvar`]: a wait takes the guard, and returns one when it was notified and the mutex is locked
/// again. It is never woken for nothing, but others may have come in between, so look again, or let
/// [`wait_while`](Self::wait_while) do it. Those who wait are notified in their order.
///
/// **Cancelled, or out of a `timeout`, while it waits**, a coroutine unwinds without the lock, for the guard has gone:
/// nobody is held up. If it was notified already, and waited for the mutex, the next one is notified in its place.
///
/// ```
/// use runtime::sync::{Condvar, Mutex};
///
/// runtime::run(|| {
///     let (items, added) = (Mutex::new(Vec::new()), Condvar::new());
///     runtime::scope(|s| {
///         let consumer = s.spawn(|| {
///             let mut items = added.wait_while(items.lock(), |items| items.is_empty());
///             items.pop()
///         });
///         items.lock().push("item");
///         added.notify_one();
///         assert_eq!(consumer.join().unwrap(), Some("item"));
///     });
/// });
/// ```
pub struct Condvar {
    queue: Lock<WaitQueue<()>>,
}

/// Whether a wait has ended because its time was over, and not by a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// The time was over.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

/// What those who wait are told: that a notification is theirs, which they pass on if they cannot use it.
const ONE: u8 = 0;
/// Or that all were notified.
const ALL: u8 = 1;

impl Condvar {
    const_fn! {
        /// A condition variable that nobody waits for.
        pub const fn new() -> Self {
            Condvar {
                queue: Lock::new(WaitQueue::new()),
            }
        }
    }

    /// Notifies the one that has waited longest, if anybody waits.
    ///
    /// Nothing is kept for those who come later: change what the mutex guards, then notify.
    pub fn notify_one(&self) {
        notify(self.queue.lock());
    }

    /// Notifies all who wait. Cost: O(waiters).
    ///
    /// ```
    /// use runtime::sync::{Condvar, Mutex};
    ///
    /// runtime::run(|| {
    ///     let (open, changed) = (Mutex::new(false), Condvar::new());
    ///     runtime::scope(|s| {
    ///         for _ in 0..3 {
    ///             s.spawn(|| drop(changed.wait_while(open.lock(), |open| !*open)));
    ///         }
    ///         *open.lock() = true;
    ///         changed.notify_all();
    ///     });
    /// });
    /// ```
    pub fn notify_all(&self) {
        let queue = self.queue.lock();
        if !queue.is_empty() {
            wait::release_all(queue, |queue| queue, ALL);
        }
    }

    /// Unlocks the mutex, waits until notified, and locks the mutex again.
    ///
    /// Whoever locks the mutex from then on can be sure that this one waits already.
    ///
    /// # Panics
    /// Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it passes; the mutex is
    /// unlocked then.
    // Inlined down to the switch, for the reason that `wait::wait` gives.
    #[inline(always)]
    #[track_caller]
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until(guard, None).0
    }

    /// Waits as long as `condition` holds, which it looks at first, and after each notification.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[inline]
    #[track_caller]
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`wait`](Self::wait), for `duration` at most. The mutex is locked again in either case, however long that
    /// takes. A notification that comes when the time is just over is not lost: the result is not "timed out".
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    ///
    /// ```
    /// use runtime::{sync::{Condvar, Mutex}, time::Duration};
    ///
    /// let (mutex, never) = (Mutex::new(5), Condvar::new());
    /// let (guard, result) = never.wait_timeout(mutex.lock(), Duration::from_millis(1));
    /// assert!(result.timed_out());
    /// assert_eq!(*guard, 5);
    /// ```
    #[track_caller]
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        duration: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_until(guard, clock::after(duration))
    }

    /// As [`wait_timeout`](Self::wait_timeout), until `deadline` at most.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_deadline<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_until(guard, Some(deadline))
    }

    /// Waits as long as `condition` holds, `duration` at most. "Timed out" says that it still holds.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        duration: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let deadline = clock::after(duration);
        let mut result = WaitTimeoutResult(false);
        loop {
            if !condition(&mut guard) {
                return (guard, WaitTimeoutResult(false));
            }
            if result.timed_out() {
                return (guard, result);
            }
            (guard, result) = self.wait_until(guard, deadline);
        }
    }

    #[inline(always)]
    #[track_caller]
    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let mutex = MutexGuard::mutex(&guard);
        let mut guard = Some(guard);
        if fault::is_in(Fault::UnlockedTooEarly) {
            guard = None;
        }
        let told = wait::wait_after(
            self.queue.lock(),
            |queue| queue,
            (),
            WaitReason::Condvar.on(self),
            deadline,
            || drop(guard),
            leave,
        );
        let passes_on = PassesOn {
            condvar: self,
            told,
        };
        let guard = mutex.lock();
        std::mem::forget(passes_on);
        (guard, WaitTimeoutResult(told.is_none()))
    }
}

#[cfg(all(test, shuttle))]
impl Condvar {
    /// What a cancellation does to a wait that has just begun.
    pub(super) fn begin_and_leave<T>(&self, guard: MutexGuard<'_, T>) {
        let queue = self.queue.lock();
        drop(guard);
        wait::begin_and_leave(queue, |queue| queue, (), leave);
    }
}

/// One has left the queue, and cannot use a notification any more.
fn leave(queue: Guard<'_, WaitQueue<()>>, told: Option<u8>) {
    if told == Some(ONE) && !fault::is_in(Fault::NotificationLost) {
        notify(queue);
    }
}

fn notify(mut queue: Guard<'_, WaitQueue<()>>) {
    let wakeup = queue.grant(ONE, |()| ());
    drop(queue);
    if let Some(wakeup) = wakeup {
        wakeup.wake();
    }
}

/// One that unwinds, when it has been notified, while it waits for the mutex.
struct PassesOn<'a> {
    condvar: &'a Condvar,
    told: Option<u8>,
}

impl Drop for PassesOn<'_> {
    fn drop(&mut self) {
        leave(self.condvar.queue.lock(), self.told);
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
