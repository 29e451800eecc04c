//! Channels that time fills: [`after`], [`at`], [`tick`], and [`never`].
//!
//! Nobody sends: whoever looks finds the message there once its time has come. So they take no thread, and, while nobody
//! waits, no timer; each that waits sets its own, like a sleeper.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::Receiver;
use super::chan::Channel;
use crate::seam::clock;

/// When the next message comes of itself.
pub(super) struct Timer<T> {
    /// None: never.
    pub(super) next: Option<Instant>,
    /// Between two messages; none: there is one only.
    period: Option<Duration>,
    /// `T` is `Instant`, which only who made the channel knows.
    make: fn(Instant) -> T,
}

impl<T> Timer<T> {
    /// It is time for a message, `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// Makes the message that is due. What was missed since is not made up for.
    pub(super) fn fire(&mut self, now: Instant) -> Option<T> {
        let due = self.next.filter(|&due| due <= now)?;
        self.next = self.period.and_then(|period| {
            let following = due.checked_add(period)?;
            if following > now {
                Some(following)
            } else {
                now.checked_add(period)
            }
        });
        Some((self.make)(due))
    }
}

/// A receiver that gets one message, the instant at which it was due, `duration` from now.
///
/// The channel holds it from then on, and is never disconnected. For ever, if the clock cannot count so far.
///
/// ```
/// use runtime::{channel::{self, unbounded}, select, time::Duration};
///
/// runtime::run(|| {
///     let (_sender, receiver) = unbounded::<u8>();
///     select! {
///         recv(receiver) -> _ => unreachable!("nobody sends"),
///         recv(channel::after(Duration::from_millis(1))) -> _ => println!("too late"),
///     }
/// });
/// ```
pub fn after(duration: Duration) -> Receiver<Instant> {
    timer(clock::after(duration), None)
}

/// A receiver that gets one message at the instant `when`, which is the message.
///
/// ```
/// use runtime::channel;
/// use runtime::time::{Duration, Instant};
///
/// let when = Instant::now() + Duration::from_millis(1);
/// assert_eq!(channel::at(when).recv(), Ok(when));
/// ```
pub fn at(when: Instant) -> Receiver<Instant> {
    timer(Some(when), None)
}

/// A receiver that gets a message every `duration`: the instant at which it was due.
///
/// The channel holds one at a time. Who comes too late for the next gets the one that is there, and the next a whole
/// `duration` later. Never disconnected.
///
/// ```
/// use runtime::channel;
/// use runtime::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let ticks = channel::tick(Duration::from_millis(1));
/// let third = ticks.iter().nth(2).unwrap();
/// assert!(third >= start + Duration::from_millis(3));
/// ```
pub fn tick(duration: Duration) -> Receiver<Instant> {
    timer(clock::after(duration), Some(duration))
}

fn timer(next: Option<Instant>, period: Option<Duration>) -> Receiver<Instant> {
    if next.is_none() {
        return never();
    }
    let make = |due| due;
    Receiver::of(Channel::timed(1, Timer { next, period, make }))
}

/// A receiver that never gets anything. In a `select!`, the place of one that is not there.
///
/// ```
/// use runtime::{channel::{self, unbounded}, select};
///
/// let (sender, receiver) = unbounded();
/// sender.send(1).unwrap();
/// let second: Option<channel::Receiver<u8>> = None;
/// select! {
///     recv(receiver) -> value => assert_eq!(value, Ok(1)),
///     recv(second.as_ref().unwrap_or(&channel::never())) -> _ => unreachable!(),
/// }
/// ```
pub fn never<T>() -> Receiver<T> {
    let timer = Timer {
        next: None,
        period: None,
        make: |_| unreachable!("it is never due"),
    };
    Receiver::of(Channel::timed(0, timer))
}
