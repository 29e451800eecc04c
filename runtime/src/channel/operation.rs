//! What a select can wait for: to receive, to send, an event to be set, a coroutine to finish.
//!
//! Of each a select asks the same: to choose it if it can be had at once, to wait in its queue, to be taken out of that
//! again. What was chosen is kept for the select until it completes, or gives it back.

use std::time::Instant;

use super::slot::{RESERVE, WATCH, take};
use super::state::{ENDED, GRANTED, PROMISED, State, grant, tell};
use super::{Receiver, Sender};
use crate::coroutine::JoinHandle;
use crate::lock::Guard;
use crate::park;
use crate::seam::clock;
use crate::sync::Event;
use crate::wait::{Node, Place};

/// What a select has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// It can be done: that is kept for the select.
    Kept,
    /// The other side is gone: completing it is an error.
    Ended,
}

pub(super) trait Operation {
    /// Chooses it, if it can be had at once.
    fn choose(&self) -> Option<Chosen>;

    /// It could be chosen.
    fn is_ready(&self) -> bool;

    /// Puts a node into its queue; false if it looks ready, but for what `node`'s own waiter is ready to do.
    ///
    /// # Safety
    /// As for [`WaitQueue::push_back`](crate::wait::WaitQueue::push_back).
    unsafe fn enlist(&self, node: &Node<Place>) -> bool;

    /// Takes a node that was enlisted here out of the queue, if it is still in it.
    ///
    /// # Safety
    /// It was enlisted here.
    unsafe fn delist(&self, node: &Node<Place>);

    /// What a code that was granted means.
    fn told(&self, code: u8) -> Chosen {
        if code == ENDED {
            Chosen::Ended
        } else {
            Chosen::Kept
        }
    }

    /// Gives back what was kept for the select.
    fn give_back(&self) {}

    /// It has to be completed, or given back.
    fn is_to_be_completed(&self) -> bool {
        true
    }

    /// When it becomes ready of itself.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// It has become ready without a grant, and wakes those who wait at the most.
    fn is_due(&self) -> bool {
        false
    }
}

impl<T> Operation for Receiver<T> {
    fn choose(&self) -> Option<Chosen> {
        let mut state = self.channel.state.lock();
        if state.has_value() {
            state.owed += 1;
            return Some(Chosen::Kept);
        }
        if state.senders.is_empty() && !state.ended && state.timer.is_none() {
            return None;
        }
        choose_to_receive(state)
    }

    fn is_ready(&self) -> bool {
        looks_receivable(&self.channel.state.lock(), None)
    }

    unsafe fn enlist(&self, node: &Node<Place>) -> bool {
        let mut state = self.channel.state.lock();
        if looks_receivable(&state, Some(node)) {
            return false;
        }
        // SAFETY: `enlist` asks of its caller what `push_back` asks of us; the lock is held, so the queue is ours alone.
        unsafe { state.receivers.push_back(node) };
        if !state.senders.is_empty() {
            tell(&mut state.senders, Some(node));
        }
        true
    }

    unsafe fn delist(&self, node: &Node<Place>) {
        // SAFETY: enlisted here, as the caller promises, so if it is in a queue it is in this one; the lock is held.
        unsafe { self.channel.state.lock().receivers.unlink(node) };
    }

    fn give_back(&self) {
        self.channel.decline();
    }

    fn deadline(&self) -> Option<Instant> {
        self.channel.state.lock().timer.as_ref()?.next
    }

    fn is_due(&self) -> bool {
        let state = self.channel.state.lock();
        state.timer.is_some() && state.is_due(clock::now())
    }
}

/// Somebody other than the node's waiter, or time, has something for a receiver.
fn looks_receivable<T>(state: &State<T>, node: Option<&Node<Place>>) -> bool {
    state.has_value()
        || state.ended
        || state.senders.contains(node, |place| place != WATCH)
        || state.timer.is_some() && state.is_due(clock::now())
}

#[inline(never)]
fn choose_to_receive<T>(mut state: Guard<'_, State<T>>) -> Option<Chosen> {
    let State {
        ring,
        owed,
        promised,
        senders,
        ..
    } = &mut *state;
    let wakeup = grant(senders, GRANTED, |place| {
        *owed += 1;
        if place == RESERVE {
            *promised += 1;
        } else {
            // SAFETY: senders that wait have a slot of this type, with a value.
            ring.push_back(unsafe { take(place) });
        }
    });
    if let Some(wakeup) = wakeup {
        drop(state);
        wakeup.wake();
        return Some(Chosen::Kept);
    }
    if state.timer.is_some() && state.tick(clock::now()) {
        state.owed += 1;
        return Some(Chosen::Kept);
    }
    state.ended.then_some(Chosen::Ended)
}

impl<T> Operation for Sender<T> {
    fn choose(&self) -> Option<Chosen> {
        let mut state = self.channel.state.lock();
        if state.has_room() {
            state.promised += 1;
            return Some(Chosen::Kept);
        }
        if state.receivers.is_empty() && !state.closed {
            return None;
        }
        choose_to_send(state)
    }

    fn is_ready(&self) -> bool {
        looks_sendable(&self.channel.state.lock(), None)
    }

    unsafe fn enlist(&self, node: &Node<Place>) -> bool {
        let mut state = self.channel.state.lock();
        if looks_sendable(&state, Some(node)) {
            return false;
        }
        // SAFETY: as for a receiver.
        unsafe { state.senders.push_back(node) };
        if !state.receivers.is_empty() {
            tell(&mut state.receivers, Some(node));
        }
        true
    }

    unsafe fn delist(&self, node: &Node<Place>) {
        // SAFETY: as for a receiver.
        unsafe { self.channel.state.lock().senders.unlink(node) };
    }

    fn give_back(&self) {
        self.channel.renounce();
    }
}

/// There is room, or somebody other than the node's waiter wants to receive.
fn looks_sendable<T>(state: &State<T>, node: Option<&Node<Place>>) -> bool {
    state.has_room() || state.closed || state.receivers.contains(node, |place| place != WATCH)
}

#[inline(never)]
fn choose_to_send<T>(mut state: Guard<'_, State<T>>) -> Option<Chosen> {
    let State {
        owed,
        promised,
        receivers,
        ..
    } = &mut *state;
    let wakeup = grant(receivers, PROMISED, |_| {
        *promised += 1;
        *owed += 1;
    });
    if let Some(wakeup) = wakeup {
        drop(state);
        wakeup.wake();
        return Some(Chosen::Kept);
    }
    state.closed.then_some(Chosen::Ended)
}

impl Operation for Event {
    fn choose(&self) -> Option<Chosen> {
        self.is_set().then_some(Chosen::Kept)
    }

    fn is_ready(&self) -> bool {
        self.is_set()
    }

    unsafe fn enlist(&self, node: &Node<Place>) -> bool {
        // SAFETY: the event's own method asks for the same.
        unsafe { self.enlist(node) }
    }

    unsafe fn delist(&self, node: &Node<Place>) {
        // SAFETY: likewise.
        unsafe { self.delist(node) };
    }

    fn told(&self, _code: u8) -> Chosen {
        Chosen::Kept
    }

    fn is_to_be_completed(&self) -> bool {
        false
    }
}

/// Grants nothing: the coroutine that finishes wakes whoever waits, who then looks.
impl<T> Operation for JoinHandle<T> {
    fn choose(&self) -> Option<Chosen> {
        self.is_finished().then_some(Chosen::Kept)
    }

    fn is_ready(&self) -> bool {
        self.is_finished()
    }

    unsafe fn enlist(&self, _node: &Node<Place>) -> bool {
        self.watch(park::unparker().into_waker())
    }

    unsafe fn delist(&self, _node: &Node<Place>) {
        self.unwatch();
    }

    fn is_to_be_completed(&self) -> bool {
        false
    }

    fn is_due(&self) -> bool {
        self.is_finished()
    }
}
