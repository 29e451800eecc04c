//! Faults that the model checks put in on purpose, one at a time, to show that they would find them.
//!
//! Elsewhere there is none, and the compiler knows it.
#![forbid(unsafe_code)]

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A mutex that was handed to one that leaves is lost.
    MutexLost,
    /// Readers behind a writer that leaves go on waiting.
    ReadersHeldUp,
    /// A notification of one that leaves is lost.
    NotificationLost,
    /// A condition variable unlocks the mutex before it can be notified.
    UnlockedTooEarly,
    /// The turn of one that fails to make a value is lost.
    TurnLost,
    /// One that leaves a barrier goes on counting.
    LeaverCounts,
}

#[cfg(all(test, shuttle))]
crate::seam::sync::thread_local! {
    /// shuttle runs all its threads on this one.
    static PUT_IN: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// From now on, on the thread of the test that calls.
#[cfg(all(test, shuttle))]
pub(super) fn put_in(fault: Fault) {
    PUT_IN.set(Some(fault));
}

#[cfg(all(test, shuttle))]
pub(super) fn is_in(fault: Fault) -> bool {
    PUT_IN.get() == Some(fault)
}

#[cfg(not(all(test, shuttle)))]
#[inline(always)]
pub(super) const fn is_in(_: Fault) -> bool {
    false
}
