//! The channel itself: sending and receiving, with and without a wait.
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

use std::mem::ManuallyDrop;
use std::time::Instant;

use super::error::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};
use super::slot::{RESERVE, Slot, put, take};
use super::state::{BROKEN, ENDED, GRANTED, PROMISED, State, grant, pass_on, refill, settle, tell};
use super::timer::Timer;
use crate::lock::{Guard, Lock};
use crate::seam::clock;
use crate::seam::sync::atomic::{AtomicUsize, Ordering};
use crate::task::WaitReason;
use crate::wait;

pub(super) struct Channel<T> {
    pub(super) state: Lock<State<T>>,
    /// None: unbounded.
    pub(super) capacity: Option<usize>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// What somebody who came to receive has got.
enum Received<T> {
    Value(T),
    /// The promise of one, by a select.
    Owed,
    /// There will be none.
    Ended,
}

/// Why a value was not delivered.
enum Undelivered<'a, T> {
    Closed(T),
    /// It has to wait; the lock is still held.
    Full(Guard<'a, State<T>>, T),
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

    // ---- Sending ------------------------------------------------------------------------------------------

    /// Sends, waiting until `deadline` at most.
    #[inline(always)]
    pub(super) fn send_until(
        &self,
        value: T,
        deadline: Option<Instant>,
    ) -> Result<(), SendTimeoutError<T>> {
        match self.deliver(value) {
            Ok(()) => Ok(()),
            Err(Undelivered::Closed(value)) => Err(SendTimeoutError::Disconnected(value)),
            Err(Undelivered::Full(state, value)) => wait_with(state, value, deadline),
        }
    }

    #[inline(always)]
    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.deliver(value) {
            Ok(()) => Ok(()),
            Err(Undelivered::Closed(value)) => Err(TrySendError::Disconnected(value)),
            Err(Undelivered::Full(state, value)) => {
                drop(state);
                Err(TrySendError::Full(value))
            }
        }
    }

    /// Sends, if there is a receiver that waits, or room.
    #[inline(always)]
    fn deliver(&self, value: T) -> Result<(), Undelivered<'_, T>> {
        let mut state = self.state.lock();
        if state.receivers.is_empty() && state.has_room() {
            state.ring.push_back(value);
            return Ok(());
        }
        deliver_to_waiting(state, value)
    }

    /// Sends what a select has been promised room for.
    pub(super) fn fulfil(&self, value: T) -> Result<(), T> {
        let mut state = self.state.lock();
        state.promised -= 1;
        if state.closed {
            drop(state);
            return Err(value);
        }
        if state.ring.len() < state.owed {
            // It was promised to somebody.
            let mut value = Some(value);
            let wakeup = state.heirs.grant(GRANTED, |place| {
                if let Some(value) = value.take() {
                    // SAFETY: heirs have an empty slot of this type.
                    unsafe { put(place, value) };
                }
            });
            match wakeup {
                Some(_) => state.owed -= 1,
                None => state.ring.extend(value),
            }
            drop(state);
            if let Some(wakeup) = wakeup {
                wakeup.wake();
            }
            return Ok(());
        }
        match deliver_to_waiting(state, value) {
            Ok(()) => self.settle(),
            Err(Undelivered::Closed(value)) => return Err(value),
            Err(Undelivered::Full(state, value)) => store(state, value),
        }
        Ok(())
    }

    /// Gives back what a select has been promised, and does not use.
    #[cold]
    pub(super) fn renounce(&self) {
        let mut state = self.state.lock();
        state.promised -= 1;
        if state.owed > state.ring.len() + state.promised {
            let wakeup = state.heirs.grant(BROKEN, |_| ());
            drop(state);
            if let Some(wakeup) = wakeup {
                wakeup.wake();
            }
            state = self.state.lock();
        }
        settle(state);
    }

    // ---- Receiving -------------------------------------------------------------------------------------------

    /// Receives, waiting until `deadline` at most.
    #[inline(always)]
    pub(super) fn recv_until(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        let mut state = self.state.lock();
        if let Some(value) = state.pop() {
            if !state.senders.is_empty() {
                refill(state);
            }
            return Ok(value);
        }
        match receive(state) {
            Ok(Received::Value(value)) => Ok(value),
            Ok(Received::Owed) => self.inherit(deadline),
            Ok(Received::Ended) => Err(RecvTimeoutError::Disconnected),
            Err(state) => self.wait_for(state, deadline),
        }
    }

    #[inline(always)]
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.state.lock();
        if let Some(value) = state.pop() {
            if !state.senders.is_empty() {
                refill(state);
            }
            return Ok(value);
        }
        match receive(state) {
            Ok(Received::Value(value)) => Ok(value),
            Ok(Received::Owed) => match self.collect() {
                Some(value) => Ok(value),
                None => Err(TryRecvError::Empty),
            },
            Ok(Received::Ended) => Err(TryRecvError::Disconnected),
            Err(_) => Err(TryRecvError::Empty),
        }
    }

    #[inline(always)]
    fn wait_for(
        &self,
        state: Guard<'_, State<T>>,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        if state.timer.is_some() {
            return self.wait_for_time(state, deadline);
        }
        let slot = Slot::new(None);
        match wait_in(state, &slot, deadline) {
            Some(GRANTED) => {
                let value = slot.into_inner();
                debug_assert!(value.is_some());
                value.ok_or(RecvTimeoutError::Disconnected)
            }
            Some(PROMISED) => self.inherit(deadline),
            Some(_) => Err(RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Waits for the message of a timer: until it is due, then looks again, since another may have been faster.
    #[cold]
    fn wait_for_time(
        &self,
        state: Guard<'_, State<T>>,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        let next = state.timer.as_ref().and_then(|timer| timer.next);
        let until = next.into_iter().chain(deadline).min();
        let slot = Slot::new(None);
        match wait_in(state, &slot, until) {
            None if deadline.is_some_and(|deadline| deadline <= clock::now()) => {
                self.try_recv().map_err(|_| RecvTimeoutError::Timeout)
            }
            None => self.recv_again(deadline),
            // By a select that has given it back.
            Some(_) => slot.into_inner().ok_or(RecvTimeoutError::Disconnected),
        }
    }

    /// Receives what it is owed; or, if nothing comes of that, anything.
    #[cold]
    fn inherit(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        match self.collect() {
            Some(value) => Ok(value),
            None => self.recv_again(deadline),
        }
    }

    #[cold]
    #[inline(never)]
    fn recv_again(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        self.recv_until(deadline)
    }

    /// Receives what the caller is owed; none if who promised it has not kept the promise.
    pub(super) fn collect(&self) -> Option<T> {
        let mut state = self.state.lock();
        if let Some(value) = state.ring.pop_front() {
            state.owed -= 1;
            if !state.senders.is_empty() {
                refill(state);
            }
            return Some(value);
        }
        if state.owed > state.promised || state.ended {
            state.owed -= 1;
            return None;
        }
        let slot = Slot::new(None);
        let told = wait::wait(
            state,
            |state| &mut state.heirs,
            slot.place(),
            WaitReason::Receive,
            None,
            |mut state, granted| match granted {
                // SAFETY: out of the queue, so the slot is ours alone.
                Some(GRANTED) => match unsafe { slot.take() } {
                    Some(value) => pass_on(state, value),
                    None => settle(state),
                },
                _ => {
                    state.owed -= 1;
                    settle(state);
                }
            },
        );
        if told != Some(GRANTED) {
            self.decline();
            return None;
        }
        slot.into_inner()
    }

    /// Gives back what the caller is owed, and does not take.
    #[cold]
    pub(super) fn decline(&self) {
        let mut state = self.state.lock();
        state.owed -= 1;
        settle(state);
    }

    #[cold]
    fn settle(&self) {
        settle(self.state.lock());
    }

    /// Receives, or begins to wait and is cancelled, maybe when a value is on its way already.
    #[cfg(all(test, shuttle))]
    pub(super) fn recv_and_leave(&self) -> Option<T> {
        let mut state = self.state.lock();
        if let Some(value) = state.pop() {
            refill(state);
            return Some(value);
        }
        match receive(state) {
            Ok(Received::Value(value)) => Some(value),
            Ok(Received::Owed) => self.collect(),
            Ok(Received::Ended) => None,
            Err(state) => {
                let slot = Slot::new(None);
                wait::begin_and_leave(
                    state,
                    |state| &mut state.receivers,
                    slot.place(),
                    |state, granted| leave(state, &slot, granted),
                );
                None
            }
        }
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

/// Delivers to one that waits; else, if there is room after all, into the ring.
#[inline(always)]
fn deliver_to_waiting<T>(
    mut state: Guard<'_, State<T>>,
    value: T,
) -> Result<(), Undelivered<'_, T>> {
    let mut value = Some(value);
    let State {
        ring,
        owed,
        receivers,
        ..
    } = &mut *state;
    let wakeup = grant(receivers, GRANTED, |place| {
        if place == RESERVE {
            ring.extend(value.take());
            *owed += 1;
        } else if let Some(value) = value.take() {
            // SAFETY: receivers that wait have an empty slot of this type.
            unsafe { put(place, value) };
        }
    });
    let Some(value) = value else {
        drop(state);
        if let Some(wakeup) = wakeup {
            wakeup.wake();
        }
        return Ok(());
    };
    if state.closed {
        drop(state);
        Err(Undelivered::Closed(value))
    } else if state.has_room() {
        store(state, value);
        Ok(())
    } else {
        Err(Undelivered::Full(state, value))
    }
}

/// Puts a value into the ring, and says so.
#[cold]
fn store<T>(mut state: Guard<'_, State<T>>, value: T) {
    state.ring.push_back(value);
    tell(&mut state.receivers, None);
}

#[inline(always)]
fn wait_with<T>(
    mut state: Guard<'_, State<T>>,
    value: T,
    deadline: Option<Instant>,
) -> Result<(), SendTimeoutError<T>> {
    if !state.receivers.is_empty() {
        tell(&mut state.receivers, None);
    }
    let slot = Slot::new(Some(value));
    // Who leaves takes nothing from anybody: its value was taken, or is still in the slot, and goes with it.
    let told = wait::wait(
        state,
        |state| &mut state.senders,
        slot.place(),
        WaitReason::Send,
        deadline,
        |_, _| (),
    );
    if told == Some(GRANTED) {
        return Ok(());
    }
    match slot.into_inner() {
        Some(value) if told.is_none() => Err(SendTimeoutError::Timeout(value)),
        Some(value) => Err(SendTimeoutError::Disconnected(value)),
        None => Ok(()),
    }
}

/// Takes from one that waits with a value; if the caller has to wait it gets the lock back.
#[inline(always)]
fn receive<T>(mut state: Guard<'_, State<T>>) -> Result<Received<T>, Guard<'_, State<T>>> {
    let mut got = None;
    let State {
        owed,
        promised,
        senders,
        ..
    } = &mut *state;
    let wakeup = grant(senders, GRANTED, |place| {
        if place == RESERVE {
            *owed += 1;
            *promised += 1;
            got = Some(Received::Owed);
        } else {
            // SAFETY: senders that wait have a slot of this type, with a value.
            got = Some(Received::Value(unsafe { take(place) }));
        }
    });
    if let Some(got) = got {
        drop(state);
        if let Some(wakeup) = wakeup {
            wakeup.wake();
        }
        return Ok(got);
    }
    if state.ended {
        return Ok(Received::Ended);
    }
    if state.timer.is_some()
        && state.tick(clock::now())
        && let Some(value) = state.pop()
    {
        return Ok(Received::Value(value));
    }
    Err(state)
}

/// Waits among the receivers, with an empty slot.
#[inline(always)]
fn wait_in<T>(
    mut state: Guard<'_, State<T>>,
    slot: &Slot<T>,
    deadline: Option<Instant>,
) -> Option<u8> {
    if !state.senders.is_empty() {
        tell(&mut state.senders, None);
    }
    wait::wait(
        state,
        |state| &mut state.receivers,
        slot.place(),
        WaitReason::Receive,
        deadline,
        |state, granted| leave(state, slot, granted),
    )
}

/// A receiver has left the queue, and cannot take any more what it has been granted.
#[cold]
fn leave<T>(mut state: Guard<'_, State<T>>, slot: &Slot<T>, granted: Option<u8>) {
    match granted {
        Some(GRANTED) => {
            // SAFETY: out of the queue, so the slot is ours alone.
            if let Some(value) = unsafe { slot.take() } {
                pass_on(state, value);
            }
        }
        Some(PROMISED) => {
            state.owed -= 1;
            settle(state);
        }
        _ => {}
    }
}
