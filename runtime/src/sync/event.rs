//! Events: something has happened, or not yet.

use std::fmt;
use std::time::{Duration, Instant};

use crate::lock::{Guard, Lock};
use crate::seam::clock;
use crate::task::WaitReason;
use crate::wait::{self, Node, Place, WaitQueue};

/// A flag that can be waited for, until it is set. It stays so until it is [reset](Event::reset).
///
/// What was done before `set` is seen by those who return from `wait` because of it.
///
/// ```
/// use runtime::sync::Event;
///
/// runtime::run(|| {
///     let ready = Event::new();
///     runtime::scope(|s| {
///         s.spawn(|| ready.wait());
///         s.spawn(|| ready.wait());
///         ready.set();
///     });
/// });
/// ```
pub struct Event {
    state: Lock<State>,
}

struct State {
    set: bool,
    queue: WaitQueue<Place>,
}

/// What those who wait are told.
const SET: u8 = 0;

impl Event {
    /// An event that is not set.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new() -> Self {
        Event {
            state: Lock::new(State::new()),
        }
    }

    /// An event that is not set.
    #[cfg(any(loom, shuttle))]
    pub fn new() -> Self {
        Event {
            state: Lock::new(State::new()),
        }
    }

    /// Sets it, and wakes all who wait: each of them returns, though it be reset at once.
    ///
    /// Cost: O(waiters).
    ///
    /// ```
    /// let event = runtime::sync::Event::new();
    /// event.set();
    /// event.wait(); // returns at once, as often as you like
    /// ```
    pub fn set(&self) {
        let mut state = self.state.lock();
        state.set = true;
        if !state.queue.is_empty() {
            wait::release_all(state, |state| &mut state.queue, SET);
        }
    }

    /// From now on it is to be waited for again.
    pub fn reset(&self) {
        self.state.lock().set = false;
    }

    /// It is set: a wait would return at once.
    pub fn is_set(&self) -> bool {
        self.state.lock().set
    }

    /// Waits until it is set.
    ///
    /// # Panics
    /// Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it passes.
    #[track_caller]
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits until it is set, `duration` at most. Returns whether it was set.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    ///
    /// ```
    /// use runtime::{sync::Event, time::Duration};
    ///
    /// let never = Event::new();
    /// assert!(!never.wait_timeout(Duration::from_millis(1)));
    /// ```
    #[track_caller]
    pub fn wait_timeout(&self, duration: Duration) -> bool {
        self.wait_until(clock::after(duration))
    }

    /// Waits until it is set, or until `deadline`. Returns whether it was set.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    #[track_caller]
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let state = self.state.lock();
        state.set || {
            // Who leaves takes nothing away from anybody.
            let leave = |_: Guard<'_, State>, _| ();
            wait::wait(
                state,
                |state| &mut state.queue,
                Place::NOWHERE,
                WaitReason::Event.on(self),
                deadline,
                leave,
            )
            .is_some()
        }
    }
}

/// For a select, which waits for other things too.
impl Event {
    /// Adds a node, unless the event is set.
    ///
    /// # Safety
    /// As for [`WaitQueue::push_back`].
    pub(crate) unsafe fn enlist(&self, node: &Node<Place>) -> bool {
        let mut state = self.state.lock();
        if !state.set {
            // SAFETY: the caller's promise.
            unsafe { state.queue.push_back(node) };
        }
        !state.set
    }

    /// Takes a node out, if it is still in.
    ///
    /// # Safety
    /// It was added to this event, if to anything.
    pub(crate) unsafe fn delist(&self, node: &Node<Place>) {
        // SAFETY: the caller's promise.
        unsafe { self.state.lock().queue.unlink(node) };
    }
}

impl State {
    const fn new() -> Self {
        State {
            set: false,
            queue: WaitQueue::new(),
        }
    }
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .finish()
    }
}
