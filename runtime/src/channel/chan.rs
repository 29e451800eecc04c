//! The channel itself: what its two ends share, and what happens when either goes. [`send`](super::send) and
//! [`recv`](super::recv) hold what is done with it.
//!
//! ```text
//!   send                                          receive
//!   1 a receiver waits?   into its slot; wake     1 a value?           take it; let a sender have the room
//!   2 room?               into the ring           2 a sender waits?    out of its slot; wake
//!   3 else                wait with the value     3 else               wait for one
//! ```
//!
//! Each under one lock, taken once. Whoever has waited finds its value moved, and does not take the lock again. The path
//! on which nobody has to wait or be woken stands in the caller's code; so does the wait, because a return that was
//! called before it is predicted wrongly after it.
#![forbid(unsafe_code)]

use std::mem::ManuallyDrop;

use super::state::{BROKEN, ENDED, State, settle};
use super::timer::Timer;
use crate::lock::Lock;
use crate::seam::clock;
use crate::seam::sync::atomic::{AtomicUsize, Ordering};
use crate::wait;

pub(super) struct Channel<T> {
    pub(super) state: Lock<State<T>>,
    /// None: unbounded.
    pub(super) capacity: Option<usize>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

impl<T> Channel<T> {
    /// A channel of one sender and one receiver.
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Channel {
            state: Lock::new(State::new(capacity.unwrap_or(usize::MAX), None)),
            capacity,
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        }
    }

    /// A channel of one receiver, and no sender but time.
    pub(super) fn timed(capacity: usize, timer: Timer<T>) -> Self {
        Channel {
            state: Lock::new(State::new(capacity, Some(timer))),
            capacity: Some(capacity),
            senders: AtomicUsize::new(0),
            receivers: AtomicUsize::new(1),
        }
    }

    /// Settles what is owed, after a change that was made without the lock.
    #[cold]
    pub(super) fn settle(&self) {
        settle(self.state.lock());
    }

    // ---- Looking ----------------------------------------------------------------------------------------------

    /// How many values there are for whoever comes.
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        match self.capacity {
            Some(0) => 0, // what was left over there has no place to be counted in
            _ if state.timer.is_some() => {
                usize::from(state.has_value() || state.is_due(clock::now()))
            }
            _ => state.len(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        match self.capacity {
            Some(_) if self.is_timed() => self.len() == 1 || self.is_never(),
            Some(capacity) => {
                let state = self.state.lock();
                state.ring.len() + state.promised >= capacity
            }
            None => false,
        }
    }

    fn is_timed(&self) -> bool {
        self.state.lock().timer.is_some()
    }

    pub(super) fn is_never(&self) -> bool {
        self.capacity == Some(0) && self.is_timed()
    }

    // ---- Those who send and receive -------------------------------------------------------------------------

    pub(super) fn add_sender(&self) {
        // Relaxed: it is made from another one, so there is no moment without any. More than there can be are stopped by
        // the `Arc` of the channel, which counts the same.
        self.senders.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_receiver(&self) {
        // Relaxed: as above.
        self.receivers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn drop_sender(&self) {
        // AcqRel: what the others did is done before the channel ends.
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end();
        }
    }

    pub(super) fn drop_receiver(&self) {
        // AcqRel: as above.
        if self.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }

    /// The last sender is gone.
    fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        if !state.receivers.is_empty() {
            wait::release_all(state, |state| &mut state.receivers, ENDED);
            state = self.state.lock();
        }
        if !state.heirs.is_empty() {
            wait::release_all(state, |state| &mut state.heirs, BROKEN);
        }
    }

    /// The last receiver is gone, and what is in the channel goes with it.
    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.limit = 0;
        state.owed = 0;
        // Should the drop of one panic, the others are leaked: another panic would abort.
        let mut values = ManuallyDrop::new(std::mem::take(&mut state.ring));
        wait::release_all(state, |state| &mut state.senders, ENDED);
        while let Some(value) = values.pop_front() {
            drop(value);
        }
        drop(ManuallyDrop::into_inner(values));
    }
}
