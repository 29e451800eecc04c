//! What the lock of a channel guards, and what holds of it.
//!
//! ```text
//!             receivers that wait                       senders that wait
//!             [ slot | slot | .. ]                      [ slot with value | .. ]
//!                     ▲     no value for them, or              │    no room, or
//!               send  │     it would be theirs                 ▼    it would be filled
//!   ──────────────────┴──►  ring: [ oldest | .. | newest ]  ───────────────────► recv
//! ```
//!
//! A rendezvous has room for none: what one side has goes straight into, or comes out of, the other's slot. Then the
//! ring holds only what found its receiver gone when it came.
//!
//! **Selects** choose first and move the value later, when the program says which. What was chosen is kept for them:
//!
//! | number     | of selects that have chosen | what it keeps                                             |
//! |------------|-----------------------------|-----------------------------------------------------------|
//! | `owed`     | to receive                  | that many values, of those in the ring or promised        |
//! | `promised` | to send                     | room for as many; where there is none, a receiver         |
//!
//! A receiver that has met a select which chose to send, but has not yet sent, is owed a value as well; it waits for it
//! among the `heirs`. All others see only what is neither owed nor promised. Should a select give up what it has
//! chosen, [`settle`] shares out what that leaves.

use std::collections::VecDeque;
use std::time::Instant;

use super::slot::{RESERVE, WATCH, put, take};
use super::timer::Timer;
use crate::lock::Guard;
use crate::wait::{Node, Place, WaitQueue, Wakeup};

pub(super) struct State<T> {
    pub(super) ring: VecDeque<T>,
    /// So many may be in the ring, or promised; none any more when all receivers are gone.
    pub(super) limit: usize,
    pub(super) owed: usize,
    pub(super) promised: usize,
    pub(super) receivers: WaitQueue<Place>,
    pub(super) senders: WaitQueue<Place>,
    pub(super) heirs: WaitQueue<Place>,
    /// All senders are gone.
    pub(super) ended: bool,
    /// All receivers are gone.
    pub(super) closed: bool,
    pub(super) timer: Option<Timer<T>>,
}

/// What one that waits is told. A receiver: the value is in its slot; or, in a select, in the ring.
pub(super) const GRANTED: u8 = 0;
/// It is owed a value, which comes later.
pub(super) const PROMISED: u8 = 1;
/// The other side is gone.
pub(super) const ENDED: u8 = 2;
/// An heir: the value does not come.
pub(super) const BROKEN: u8 = 3;

impl<T> State<T> {
    pub(super) fn new(limit: usize, timer: Option<Timer<T>>) -> Self {
        State {
            ring: VecDeque::new(),
            limit,
            owed: 0,
            promised: 0,
            receivers: WaitQueue::new(),
            senders: WaitQueue::new(),
            heirs: WaitQueue::new(),
            ended: false,
            closed: false,
            timer,
        }
    }

    /// A value is there for whoever comes.
    #[inline(always)]
    pub(super) fn has_value(&self) -> bool {
        self.ring.len() > self.owed
    }

    /// There is room for a value of whoever comes.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.ring.len() + self.promised < self.limit
    }

    /// Takes the oldest value that is for whoever comes.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.has_value() {
            self.ring.pop_front()
        } else {
            None
        }
    }

    /// Moves the message of a timer that is due into the ring, which is empty.
    #[cold]
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let message = self.timer.as_mut().and_then(|timer| timer.fire(now));
        let due = message.is_some();
        self.ring.extend(message);
        due
    }

    /// Its time has come.
    #[cold]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.timer.as_ref().is_some_and(|timer| timer.is_due(now))
    }

    /// How many values whoever comes would find.
    pub(super) fn len(&self) -> usize {
        self.ring.len().saturating_sub(self.owed)
    }
}

/// Grants to the first that waits for more than to know; `hand_over` gets its place, which is a slot or [`RESERVE`].
#[inline(always)]
pub(super) fn grant(
    queue: &mut WaitQueue<Place>,
    code: u8,
    hand_over: impl FnOnce(Place),
) -> Option<Wakeup> {
    queue.grant_where(code, None, |place| place != WATCH, hand_over)
}

/// Tells those who want to know that something can be had, but the waiter of `mine`.
///
/// Under the lock, so that they find what they are told of.
#[cold]
pub(super) fn tell(queue: &mut WaitQueue<Place>, mine: Option<&Node<Place>>) {
    while let Some(wakeup) = queue.grant_where(GRANTED, mine, |place| place == WATCH, |_| ()) {
        wakeup.wake();
    }
}

/// Lets senders that wait have the room that there is.
#[inline]
pub(super) fn refill<T>(mut state: Guard<'_, State<T>>) {
    let lock = Guard::of(&state);
    while state.has_room() {
        let State {
            ring,
            promised,
            senders,
            ..
        } = &mut *state;
        let wakeup = grant(senders, GRANTED, |place| {
            if place == RESERVE {
                *promised += 1;
            } else {
                // SAFETY: senders that wait have a slot of this type, with a value.
                ring.push_back(unsafe { take(place) });
            }
        });
        let Some(wakeup) = wakeup else {
            return tell(senders, None);
        };
        let over = senders.is_empty();
        drop(state);
        wakeup.wake();
        if over {
            return;
        }
        state = lock.lock();
    }
}

/// Shares out what has been left over by one that cannot take it, or has thought better of it.
#[cold]
pub(super) fn settle<T>(mut state: Guard<'_, State<T>>) {
    let lock = Guard::of(&state);
    loop {
        let State {
            ring,
            owed,
            promised,
            receivers,
            limit,
            ..
        } = &mut *state;
        let wakeup = if ring.len() > *owed {
            grant(receivers, GRANTED, |place| {
                if place == RESERVE {
                    *owed += 1;
                } else if let Some(value) = ring.pop_front() {
                    // SAFETY: receivers that wait have an empty slot of this type.
                    unsafe { put(place, value) };
                }
            })
        } else if *limit == 0 && ring.len() + *promised > *owed {
            grant(receivers, PROMISED, |_| *owed += 1)
        } else {
            None
        };
        let Some(wakeup) = wakeup else { break };
        drop(state);
        wakeup.wake();
        state = lock.lock();
    }
    if state.has_value() {
        tell(&mut state.receivers, None);
    }
    refill(state);
}

/// Gives a value back that has come too late for its receiver: it is the oldest.
#[cold]
pub(super) fn pass_on<T>(mut state: Guard<'_, State<T>>, value: T) {
    if cfg!(broken_channel) {
        return; // see `model`: the value is lost
    }
    state.ring.push_front(value);
    settle(state);
}
