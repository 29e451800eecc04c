//! The sending side.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use super::chan::Channel;
use super::error::{SendError, SendTimeoutError, TrySendError};
use crate::seam::clock;
use crate::seam::sync::Arc;

/// The sending side of a channel. Clones are senders of the same channel.
///
/// ```
/// use runtime::channel::unbounded;
///
/// runtime::run(|| {
///     let (sender, receiver) = unbounded();
///     for n in 0..3 {
///         let sender = sender.clone();
///         runtime::spawn(move || sender.send(n));
///     }
///     drop(sender); // the receiver's iterator ends with the last sender
///     assert_eq!(receiver.iter().sum::<i32>(), 3);
/// });
/// ```
pub struct Sender<T> {
    pub(super) channel: Arc<Channel<T>>,
}

impl<T> Sender<T> {
    pub(super) fn of(channel: Arc<Channel<T>>) -> Self {
        Sender { channel }
    }

    /// Sends `value`, waiting until there is room, or, with a capacity of zero, until somebody receives it.
    ///
    /// Cost: on one worker, when nobody has to be woken, some two dozen plain instructions.
    ///
    /// # Errors
    /// [`SendError`] with the value, if all receivers are gone, or go while it waits.
    ///
    /// # Panics
    /// Unwinds if the coroutine is cancelled, or a [`timeout`](crate::time::timeout) around it passes, while it waits. The value
    /// was sent if somebody had taken it by then, and is dropped if not.
    #[inline(always)]
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.channel.send_until(value, None) {
            Ok(()) => Ok(()),
            Err(error) => Err(SendError(error.into_inner())),
        }
    }

    /// Sends `value` if that needs no wait.
    ///
    /// # Errors
    /// [`TrySendError`] with the value.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.channel.try_send(value)
    }

    /// Sends `value`, waiting for `timeout` at most. One that is taken when the time is just over was sent.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the value.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.channel.send_until(value, clock::after(timeout))
    }

    /// Sends `value`, waiting until `deadline` at most. If it need not wait, a deadline that has passed does no harm.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the value.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.channel.send_until(value, Some(deadline))
    }

    /// There is nothing in the channel; always so with a capacity of zero.
    pub fn is_empty(&self) -> bool {
        self.channel.len() == 0
    }

    /// There is no room in the channel; always so with a capacity of zero.
    pub fn is_full(&self) -> bool {
        self.channel.is_full()
    }

    /// How many values are in the channel.
    pub fn len(&self) -> usize {
        self.channel.len()
    }

    /// How many values the channel has room for; `None` if it is unbounded.
    pub fn capacity(&self) -> Option<usize> {
        self.channel.capacity
    }

    /// Both are senders of the same channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.channel.add_sender();
        Sender::of(self.channel.clone())
    }
}

/// With the last sender the channel ends: receivers get what is in it, then errors.
impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.channel.drop_sender();
    }
}

impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Sender { .. }")
    }
}
