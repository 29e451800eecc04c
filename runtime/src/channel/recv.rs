//! Receiving: from the ring, from a sender that waits, or with a wait; and what a select is owed.

use std::time::Instant;

use super::chan::Channel;
use super::error::{RecvTimeoutError, TryRecvError};
use super::slot::{RESERVE, Slot, take};
use super::state::{GRANTED, PROMISED, State, grant, pass_on, refill, settle, tell};
use crate::lock::Guard;
use crate::seam::clock;
use crate::task::WaitReason;
use crate::wait;

/// What somebody who came to receive has got.
enum Received<T> {
    Value(T),
    /// The promise of one, by a select.
    Owed,
    /// There will be none.
    Ended,
}

impl<T> Channel<T> {
    /// Receives, waiting until `deadline` at most.
    #[inline(always)]
    #[track_caller]
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
    #[track_caller]
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
    #[track_caller]
    fn wait_for(
        &self,
        state: Guard<'_, State<T>>,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        if state.timer.is_some() {
            return self.wait_for_time(state, deadline);
        }
        let slot = Slot::new(None);
        match self.wait_in(state, &slot, deadline) {
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
    #[track_caller]
    fn wait_for_time(
        &self,
        state: Guard<'_, State<T>>,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        let next = state.timer.as_ref().and_then(|timer| timer.next);
        let until = next.into_iter().chain(deadline).min();
        let slot = Slot::new(None);
        match self.wait_in(state, &slot, until) {
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
    #[track_caller]
    fn inherit(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        match self.collect() {
            Some(value) => Ok(value),
            None => self.recv_again(deadline),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn recv_again(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        self.recv_until(deadline)
    }

    /// Receives what the caller is owed; none if who promised it has not kept the promise.
    #[track_caller]
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
            WaitReason::Receive.on(self),
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

    /// Waits among the receivers, with an empty slot.
    #[inline(always)]
    #[track_caller]
    fn wait_in(
        &self,
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
            WaitReason::Receive.on(self),
            deadline,
            |state, granted| leave(state, slot, granted),
        )
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
