//! The receiving side.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use super::chan::Channel;
use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use super::iter::{IntoIter, Iter, TryIter};
use crate::seam::clock;
use crate::seam::sync::Arc;

/// The receiving side of a channel. Clones are receivers of the same channel: each value goes to one of them.
///
/// ```
/// use runtime::channel::bounded;
///
/// runtime::run(|| {
///     let (sender, receiver) = bounded(2);
///     runtime::scope(|s| {
///         for _ in 0..3 {
///             let receiver = receiver.clone();
///             s.spawn(move || for job in receiver { println!("{job}") });
///         }
///         (0..10).for_each(|job| sender.send(job).unwrap());
///         drop(sender);
///     });
/// });
/// ```
pub struct Receiver<T> {
    pub(super) channel: Arc<Channel<T>>,
}

impl<T> Receiver<T> {
    pub(super) fn of(channel: impl Into<Arc<Channel<T>>>) -> Self {
        Receiver {
            channel: channel.into(),
        }
    }

    /// Receives the oldest value, waiting until there is one.
    ///
    /// Cost: on one worker, when nobody has to be woken, some two dozen plain instructions.
    ///
    /// # Errors
    /// [`RecvError`] if there is none and all senders are gone, or go while it waits.
    ///
    /// # Panics
    /// Unwinds if the coroutine is cancelled, or a [`timeout`](crate::time::timeout) around it passes, while it waits. A value
    /// that was on its way to it then goes to another receiver, or stays in the channel, as its oldest.
    #[inline(always)]
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.channel.recv_until(None) {
            Ok(value) => Ok(value),
            Err(_) => Err(RecvError),
        }
    }

    /// Receives the oldest value, if there is one.
    ///
    /// Never waits, but for what somebody's select has just promised to send.
    ///
    /// # Errors
    /// [`TryRecvError`] says whether there can be any later.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.channel.try_recv()
    }

    /// Receives the oldest value, waiting for `timeout` at most. One that comes when the time is just over is returned.
    ///
    /// # Errors
    /// [`RecvTimeoutError`].
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.channel.recv_until(clock::after(timeout))
    }

    /// Receives the oldest value, waiting until `deadline` at most.
    ///
    /// # Errors
    /// [`RecvTimeoutError`].
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.channel.recv_until(Some(deadline))
    }

    /// Iterates over what comes, waiting for it, until the channel is empty and has no sender.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::of(self)
    }

    /// Iterates over what is there, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter::of(self)
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

    /// Both are receivers of the same channel. All that are [`never`](super::never()) are of the same.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
            || self.channel.is_never() && other.channel.is_never()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.channel.add_receiver();
        Receiver::of(self.channel.clone())
    }
}

/// With the last receiver the channel closes: what is in it is dropped, and senders get errors.
impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.drop_receiver();
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter::of(self)
    }
}

impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Receiver { .. }")
    }
}
