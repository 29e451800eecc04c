//! Sending: to a receiver that waits, into the ring, or with a wait; and what a select has been promised room for.

use std::time::Instant;

use super::chan::Channel;
use super::error::{SendTimeoutError, TrySendError};
use super::slot::{RESERVE, Slot, put};
use super::state::{BROKEN, GRANTED, State, grant, settle, tell};
use crate::lock::Guard;
use crate::task::WaitReason;
use crate::wait;

/// Why a value was not delivered.
enum Undelivered<'a, T> {
    Closed(T),
    /// It has to wait; the lock is still held.
    Full(Guard<'a, State<T>>, T),
}

impl<T> Channel<T> {
    /// Sends, waiting until `deadline` at most.
    #[inline(always)]
    #[track_caller]
    pub(super) fn send_until(
        &self,
        value: T,
        deadline: Option<Instant>,
    ) -> Result<(), SendTimeoutError<T>> {
        match self.deliver(value) {
            Ok(()) => Ok(()),
            Err(Undelivered::Closed(value)) => Err(SendTimeoutError::Disconnected(value)),
            Err(Undelivered::Full(state, value)) => self.wait_with(state, value, deadline),
        }
    }

    #[inline(always)]
    #[track_caller]
    fn wait_with(
        &self,
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
            WaitReason::Send.on(self),
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
